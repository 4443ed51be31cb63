"""`/api/settlement` over real stores: a day settled by its market, one settled by the plant, and one that is still to come."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pytest
from pyarrow import parquet

from shoal.api.plant import Plant
from shoal.bidding.settling_ports import meter_series
from shoal.domain.facts import Facts
from shoal.domain.fleet import Resource
from shoal.domain.ids import GroupId, ResourceId
from shoal.market.bids import MarketBid
from shoal.market.registry import market_module
from shoal.market.settlement import settlement_intervals
from shoal.settle.statement import day_statement, settle_interval
from shoal.store.consents import Consents
from shoal.store.cycles import Cycles
from shoal.store.database import migrate, open_database
from shoal.store.facts import FactStore
from shoal.store.ledger import Ledger
from shoal.store.records import Statement
from shoal.store.settlings import Settlings
from tests.integration.bidding.decided import DAY, RESOURCE, WORLDS, Stored, World, decide_and_record
from tests.integration.bidding.decided import _gates as gates_of
from tests.integration.cli.test_desk import draft
from tests.integration.cli.test_desk_money import AFTER_NS, PLACE
from tests.integration.cli.test_desk_money import Plant as Desk
from tests.unit.api.doors import ask, make_plant
from tests.unit.api.plants import BESS, make_fleet

MARKET_WORLD: Final = WORLDS[1]
OWN_WORLD: Final = replace(MARKET_WORLD, market_id="ercot-da", gates=gates_of("ercot-da", "day-ahead", (0,)))
BASE: Final = f"/api/settlement/{RESOURCE}/{DAY}"


def _resource(market_id: str) -> Resource:
    return Resource(
        resource_id=ResourceId(RESOURCE),
        market_id=market_id,
        settlement_point="HB_NORTH",
        group_id=GroupId("storage"),
        throughput_cost_per_mwh=10.0,
        owner_share_frac=0.9,
    )


def _opened(folder: Path, world: World) -> tuple[Plant, Desk]:
    """Return the doors and the desk of one plant in which a decision was made and a bid was drafted."""
    url = f"sqlite:///{folder / 'plant.db'}"
    migrate(url)
    engine = open_database(url)
    stored = Stored(cycles=Cycles(engine), facts=FactStore(engine))
    stored.facts.load(world.prices())
    gate = world.gates[0]
    record, climbed = decide_and_record(stored, world.situation(gate, stored.facts))

    def make(revision: int) -> MarketBid:
        return MarketBid(
            idempotency_key=record.decision_id,
            resource_id=RESOURCE,
            market_id=world.market_id,
            settlement_point="HB_NORTH",
            delivery_date=gate.delivery_date,
            revision=revision,
            offers=climbed.decision.offers,
        )

    draft(stored.cycles, make, world.market_id, gate.delivery_date, record.decision_id, gate.closes_ns)
    (folder / "doors").mkdir()
    plant = replace(
        make_plant(folder / "doors"),
        fleet=replace(make_fleet(), resources=(_resource(world.market_id),)),
        ledger=Ledger(engine),
        database=engine,
        now_ns=lambda: AFTER_NS,
    )
    desk = Desk(url, stored.cycles, stored.facts, Settlings(engine), Consents(engine), record.decision_id)
    return plant, desk


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[tuple[Plant, Desk]]:
    plant, desk = _opened(tmp_path, MARKET_WORLD)
    yield plant, desk
    plant.database.dispose()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[tuple[Plant, Desk]]:
    plant, desk = _opened(tmp_path, OWN_WORLD)
    yield plant, desk
    plant.database.dispose()


def told(plant: Plant, path: str, **query: str) -> Any:
    answered = ask(plant, "GET", path, params=query)
    assert answered.status_code == 200, answered.text
    return answered.json()


def closes(fall: dict[str, Any]) -> None:
    """Check that a waterfall adds up, in cents and to the last digit."""
    cents = fall["from_cents"]
    for step in fall["steps"]:
        cents += step["amount_cents"]
        assert cents == step["level_cents"]
    assert cents == fall["to_cents"]
    whole = Decimal(fall["from_amount"]) + sum(Decimal(step["amount"]) for step in fall["steps"])
    assert whole == Decimal(fall["to_amount"]) and Decimal(fall["residual_amount"]) == 0


def test_a_day_that_its_market_settled_is_told_whole(opened: tuple[Plant, Desk]) -> None:
    plant, desk = opened
    desk.settle()
    settlement = desk.cycles.settlements(*PLACE)[-1]
    net = Decimal(settlement.amount).scaleb(-8)
    span = {"from": str(DAY - timedelta(days=3)), "to": str(DAY)}
    page = told(plant, "/api/settlement", resource=RESOURCE, **span)
    (day,) = page["days"]
    assert (page["settled_days"], Decimal(page["net_amount"])) == (1, net) and page[
        "zone"
    ] == "America/Chicago"
    assert (day["status"], day["settled_by"], day["run"], day["disputes"]) == (
        "settled",
        "market",
        "initial",
        0,
    )
    assert day["sold_mwh"] > 0 and day["discharged_mwh"] > 0 and day["imbalance_mwh"] > 0
    detail = told(plant, BASE)
    assert detail["day"] == day
    columns = detail["intervals"]
    assert len(columns["start_ms"]) == 96 and None not in columns["net_amount"]
    assert sum(map(Decimal, columns["net_amount"])) == net
    assert sum(map(Decimal, (part["net_amount"] for part in detail["parts"]))) == net
    assert sum(part["net_cents"] for part in detail["parts"]) == day["net_cents"]
    shares = detail["shares"]
    assert shares["homes"] == 2 and [one["site_id"] for one in shares["largest"]] == ["a", "b"]
    assert Decimal(shares["homes_amount"]) + Decimal(shares["operator_amount"]) == net
    assert shares["homes_cents"] + shares["operator_cents"] == day["net_cents"]


def test_the_waterfall_goes_from_perfect_foresight_to_the_settled_cent(opened: tuple[Plant, Desk]) -> None:
    plant, desk = opened
    desk.settle()
    fall = told(plant, f"{BASE}/waterfall")
    closes(fall)
    assert [fall["first"], *(step["name"] for step in fall["steps"])] == [
        "perfect",
        "forecast",
        "bid",
        "delivered",
        "wear",
        "left in store",
    ]
    assert Decimal(fall["to_amount"]).scaleb(8) == desk.cycles.settlements(*PLACE)[-1].amount
    assert fall["settled_as"] == "initial, version 1"


def test_what_the_market_has_otherwise_stands_with_interval_and_amount(opened: tuple[Plant, Desk]) -> None:
    plant, desk = opened
    desk.settle(wrong_wh=1_000)
    detail = told(plant, BASE)
    (dispute,) = detail["disputes"]
    assert (dispute["reason"], dispute["product"], detail["day"]["disputes"]) == ("energy", "real-time", 1)
    assert dispute["market_mwh"] - dispute["own_mwh"] == pytest.approx(1e-3)
    assert (
        dispute["amount_cents"] == detail["day"]["disputed_cents"] == detail["versions"][0]["disputed_cents"]
    )


def test_files_have_every_line_interval_and_share_exactly(opened: tuple[Plant, Desk]) -> None:
    plant, desk = opened
    desk.settle()
    settlement = desk.cycles.settlements(*PLACE)[-1]
    net = Decimal(settlement.amount).scaleb(-8)
    for what, rows in (("lines", len(settlement.lines)), ("intervals", 96), ("shares", 3)):
        kept = ask(plant, "GET", f"{BASE}/export", params={"format": "parquet", "what": what})
        table = parquet.read_table(io.BytesIO(kept.content))
        assert table.num_rows == rows and sum(table.column("amount").to_pylist()) == net
        assert f"{what}.parquet" in kept.headers["content-disposition"]
        text = ask(plant, "GET", f"{BASE}/export", params={"what": what})
        assert text.headers["content-type"].startswith("text/csv")
        read = list(csv.DictReader(io.StringIO(text.text)))
        assert len(read) == rows and sum(Decimal(row["amount"]) for row in read) == net
    span = {"resource": RESOURCE, "from": str(DAY), "to": str(DAY)}
    days = ask(plant, "GET", "/api/settlement/export", params={**span, "format": "parquet"})
    (row,) = parquet.read_table(io.BytesIO(days.content)).to_pylist()
    assert (row["delivery_date"], row["net_amount"], row["version"]) == (str(DAY), net, 1)


def _award_and_meter(desk: Desk) -> list[int]:
    """Award the bid in the auction, and meter three quarters of it; return what was delivered by interval."""
    market = market_module("ercot-da")
    grid = settlement_intervals(market.rules, DAY)
    record = desk.cycles.bid(desk.key)
    assert record is not None
    prices = OWN_WORLD.prices()
    every = dict(zip(prices.start_ns.tolist(), prices.value[:, 0].tolist(), strict=True))
    award = market.clear(
        record.bid,
        {"day-ahead": {at.start_ns: every[at.start_ns] for at in grid}},
        bid_id="b",
        published_ns=1,
    )
    desk.cycles.record_award(award, known_ns=2)
    watts = {one.start_ns: one.power_w for one in award.quantities}
    delivered = [watts.get(at.start_ns, 0) * 3 // 4 for at in grid]
    desk.facts.record(
        Facts(
            series_id=meter_series("ercot-da", RESOURCE),
            source="meters",
            known_ns=AFTER_NS - 1,
            start_ns=np.array([at.start_ns for at in grid]),
            end_ns=np.array([at.end_ns for at in grid]),
            value=np.array([[wh, 0.0] for wh in delivered], dtype=np.float64),
        )
    )
    return delivered


def _state_own(plant: Plant, desk: Desk, delivered: list[int], *, version: int, price_cents: int) -> int:
    """Keep the plant's own statement of the day; return its net amount."""
    award = desk.cycles.awards(RESOURCE, "ercot-da", str(DAY))[-1]
    watts = {one.start_ns: one.power_w for one in award.quantities}
    statement = day_statement(
        resource_id=RESOURCE,
        delivery_date=str(DAY),
        currency="USD",
        intervals=[
            settle_interval(
                start_ns=at.start_ns,
                end_ns=at.end_ns,
                award_wh=watts.get(at.start_ns, 0),
                delivered_wh=wh,
                price_cents_per_mwh=price_cents,
                deviation_charge_permille=100,
            )
            for at, wh in zip(
                settlement_intervals(market_module("ercot-da").rules, DAY), delivered, strict=True
            )
        ],
    )
    plant.ledger.record_statement(
        Statement(
            resource_id=ResourceId(RESOURCE),
            delivery_date=str(DAY),
            version=version,
            known_ns=AFTER_NS - 10 + version,
            net_amount=statement.net_amount,
            payload=msgspec.json.encode(statement),
        ),
        site_ids=[plant.fleet.site_ids[2]],
        amounts=np.array([statement.net_amount // 2], dtype=np.int64),
    )
    return statement.net_amount


def test_a_day_that_the_plant_settles_itself_ends_in_its_own_statement(own: tuple[Plant, Desk]) -> None:
    plant, desk = own
    delivered = _award_and_meter(desk)
    first = _state_own(plant, desk, delivered, version=1, price_cents=4_000)
    newest = _state_own(plant, desk, delivered, version=2, price_cents=4_711)
    detail = told(plant, BASE)
    day = detail["day"]
    assert (day["settled_by"], day["version"], day["versions"], day["disputes"]) == ("plant", 2, 2, None)
    assert Decimal(day["net_amount"]).scaleb(8) == newest
    assert [Decimal(one["net_amount"]).scaleb(8) for one in detail["versions"]] == [newest, first]
    assert {part["kind"] for part in detail["parts"]} == {"award", "imbalance", "penalty"}
    assert sum(round(mwh * 1e6) for mwh in detail["intervals"]["delivered_mwh"]) == sum(delivered)
    assert sum(map(Decimal, detail["intervals"]["net_amount"])) == Decimal(newest).scaleb(-8)
    assert Decimal(detail["shares"]["homes_amount"]).scaleb(8) == newest // 2
    fall = told(plant, f"{BASE}/waterfall")
    closes(fall)
    assert Decimal(fall["to_amount"]).scaleb(8) == newest


def test_before_a_settlement_there_is_what_is_known(own: tuple[Plant, Desk]) -> None:
    plant, desk = own
    missing = ask(plant, "GET", BASE)
    assert missing.status_code == 404
    delivered = _award_and_meter(desk)
    detail = told(plant, BASE)
    assert (detail["day"]["status"], detail["day"]["settled_by"]) == ("delivered", "nobody")
    assert (detail["day"]["net_amount"], detail["shares"], detail["versions"]) == (None, None, [])
    assert sum(round(mwh * 1e6) for mwh in detail["intervals"]["delivered_mwh"]) == sum(delivered)
    fall = told(plant, f"{BASE}/waterfall")
    closes(fall)
    assert fall["settled_as"] == "metered"
    refused = ask(plant, "GET", f"{BASE}/export")
    assert refused.status_code == 422 and "wait until the day is settled" in refused.json()["fix"]
    text = ask(plant, "GET", f"{BASE}/export", params={"what": "intervals"})
    assert len(text.text.splitlines()) == 25


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"resource": "nobody"}, "there is no resource"),
        ({"resource": BESS, "from": "2024-02-31"}, "day of the calendar"),
        ({"resource": BESS, "to": "0001-01-02"}, "stay within"),
        ({"resource": BESS, "from": "2024-12-05", "to": "2024-12-04"}, "begin by"),
        ({"resource": BESS, "from": "2024-01-01", "to": "2024-12-04"}, "at most 92 days"),
        ({}, "required"),
    ],
)
def test_a_wrong_question_is_told_what_to_do(tmp_path: Path, query: dict[str, str], says: str) -> None:
    answered = ask(make_plant(tmp_path), "GET", "/api/settlement", params=query)
    assert answered.status_code in (404, 422) and says in answered.text


def test_a_day_that_is_none_is_refused(tmp_path: Path) -> None:
    plant = make_plant(tmp_path)
    for day in ("9999-12-31", "2024-13-01"):
        assert ask(plant, "GET", f"/api/settlement/{BESS}/{day}").status_code == 422
    assert ask(plant, "GET", f"/api/settlement/{BESS}/2021-02-10").status_code == 404
