"""Bids and awards of the first day-ahead path are found where those of every market are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Engine, text

from shoal.domain.interval import NS_PER_HOUR
from shoal.market.bids import Orders
from shoal.market.registry import market_module
from shoal.store.cycles import Cycles
from shoal.store.database import alembic_config, open_database, writing

DAY = "2021-07-02"
MARKET = market_module("ercot-da")
CLOSES_NS = MARKET.gates("day-ahead", MARKET.delivery_date(1_625_250_000_000_000_000))[0].closes_ns
ORDER = {"start_ns": 0, "end_ns": NS_PER_HOUR, "side": "sell", "quantity_mw": 0.3, "limit_price_per_mwh": 7.5}


def _bid(key: str, status: str, *, revision: int, sent: bool = True) -> dict[str, Any]:
    bid = {
        "idempotency_key": key,
        "resource_id": "bess-1",
        "market_id": "ercot-da",
        "settlement_point": "HB_NORTH",
        "delivery_date": DAY,
        "revision": revision,
        "orders": [ORDER],
    }
    answered = status in {"accepted", "rejected"}
    receipt = {"idempotency_key": key, "bid_id": "m-1", "status": status, "received_ns": 30, "detail": "why"}
    return {
        "key": key,
        "resource": "bess-1",
        "day": DAY,
        "revision": revision,
        "bid": json.dumps(bid),
        "status": status,
        "rung": "fresh",
        "reason": "",
        "created": 10,
        "submitted": 20 if sent else None,
        "receipt": json.dumps(receipt) if answered else None,
        "received": 30 if answered else None,
    }


@pytest.fixture
def old(empty_url: str) -> Iterator[Engine]:
    """Yield a database of the time before, with bids in every state and a corrected award."""
    engine = open_database(empty_url)
    with writing(engine) as connection:
        command.upgrade(alembic_config(connection), "0009")
        connection.execute(
            text(
                "INSERT INTO bid VALUES (:key, :resource, :day, :revision, :bid, :status, :rung, :reason, "
                ":created, :submitted, :receipt, :received)"
            ),
            [
                _bid("a", "rejected", revision=1),
                _bid("b", "accepted", revision=2),
                _bid("c", "unknown", revision=3),
                _bid("d", "building", revision=4, sent=False),
            ],
        )
        for version, energy_wh in ((1, -300_000), (2, 0)):
            interval = {
                "start_ns": 0,
                "end_ns": NS_PER_HOUR,
                "energy_wh": energy_wh,
                "price_per_mwh": 21.5,
            }
            award = {
                "resource_id": "bess-1",
                "market_id": "ercot-da",
                "settlement_point": "HB_NORTH",
                "delivery_date": DAY,
                "bid_id": "m-1",
                "version": version,
                "published_ns": version,
                "intervals": [interval],
            }
            connection.execute(
                text("INSERT INTO award VALUES ('bess-1', :day, :version, 0, :end, :version, :award)"),
                {"day": DAY, "version": version, "end": NS_PER_HOUR, "award": json.dumps(award)},
            )
    yield engine
    engine.dispose()


def test_bids_go_on_where_they_were(old: Engine) -> None:
    with writing(old) as connection:
        command.upgrade(alembic_config(connection), "head")
    cycles = Cycles(old)
    found = {one.bid.idempotency_key: one for one in cycles.bids(resource_id="bess-1", market_id="ercot-da")}
    assert {key: one.state for key, one in found.items()} == {
        "a": "rejected",
        "b": "accepted",
        "c": "unknown",
        "d": "draft",
    }
    assert [step.state for step in cycles.steps("b")] == ["draft", "submitted", "accepted"]
    assert [step.state for step in cycles.steps("d")] == ["draft"]
    accepted = found["b"]
    assert accepted.closes_ns == CLOSES_NS
    assert accepted.receipt is not None and accepted.receipt.bid_id == "m-1"
    (offer,) = accepted.bid.offers
    assert isinstance(offer, Orders)
    assert (offer.product, offer.orders[0].quantity_mw) == ("day-ahead", 0.3)
    assert found["a"].receipt is not None and found["a"].receipt.fix == "why"
    assert cycles.move_bid("c", "accepted", at_ns=40, by="test").state == "accepted"


def test_awards_keep_their_versions(old: Engine) -> None:
    with writing(old) as connection:
        command.upgrade(alembic_config(connection), "head")
    first, second = Cycles(old).awards("bess-1", "ercot-da", DAY)
    assert (first.version, first.quantities[0].power_w, first.quantities[0].price_per_mwh) == (
        1,
        -300_000,
        21.5,
    )
    assert (second.version, second.quantities[0].power_w) == (2, 0)


def test_the_tables_come_back_empty(old: Engine) -> None:
    with writing(old) as connection:
        command.upgrade(alembic_config(connection), "head")
        command.downgrade(alembic_config(connection), "0009")
        assert connection.execute(text("SELECT count(*) FROM bid")).scalar() == 0
        command.upgrade(alembic_config(connection), "head")
    assert len(Cycles(old).bids()) == 4
