"""Prices that were kept in a table of their own become facts, and go back, with the same answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from alembic import command
from sqlalchemy import Engine, text

from shoal.domain.interval import NS_PER_HOUR
from shoal.market.types import ClearingPrice
from shoal.store.database import alembic_config, open_database, reading, writing
from shoal.store.facts import FactStore
from shoal.store.ledger import Ledger

HOUR = NS_PER_HOUR
_INSERT = text("INSERT INTO price VALUES (:point, :source, :start, :known, :end, :price)")
_SELECT = text("SELECT * FROM price ORDER BY settlement_point, source, start_ns, known_ns")


@pytest.fixture
def old(empty_url: str) -> Iterator[Engine]:
    """Yield a database of the time before, with prices of two points, corrected ones among them."""
    engine = open_database(empty_url)
    with writing(engine) as connection:
        command.upgrade(alembic_config(connection), "0005")
        connection.execute(_INSERT, rows())
    yield engine
    engine.dispose()


def rows() -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for point, hours in (("HB_NORTH", 5_000), ("HB_WEST", 3)):
        for hour in range(hours):
            span = {"point": point, "source": "market", "start": hour * HOUR, "end": (hour + 1) * HOUR}
            found.append({**span, "known": 100, "price": hour / 7})
            if hour % 10 == 0:
                found.append({**span, "known": 200, "price": hour / 3 + 1})
    found.append(
        {"point": "HB_WEST", "source": "real-time", "start": 0, "end": HOUR, "known": 5, "price": -1.5}
    )
    return found


def test_prices_are_asked_for_as_before(old: Engine) -> None:
    with writing(old) as connection:
        command.upgrade(alembic_config(connection), "head")
    ledger = Ledger(old)
    starts, prices = ledger.prices("HB_NORTH", 0, 6_000 * HOUR, 150)
    assert starts.tolist() == [hour * HOUR for hour in range(5_000)]
    assert prices.tolist() == [hour / 7 for hour in range(5_000)]
    _, prices = ledger.prices("HB_NORTH", 0, 11 * HOUR, 200)
    assert prices.tolist() == [1.0, *(hour / 7 for hour in range(1, 10)), 10 / 3 + 1]
    assert ledger.prices("HB_WEST", 0, HOUR, 5, source="real-time")[1].tolist() == [-1.5]
    assert ledger.prices("HB_WEST", 0, HOUR, 5)[1].tolist() == []

    same = ClearingPrice(
        settlement_point="HB_WEST", start_ns=HOUR, end_ns=2 * HOUR, price_per_mwh=1 / 7, published_ns=100
    )
    assert ledger.record_prices([same]) == 0
    compacted = FactStore(old).compact()
    assert compacted.blocks_after <= compacted.blocks_before
    assert ledger.prices("HB_NORTH", 0, 11 * HOUR, 200)[1].tolist() == prices.tolist()
    assert [(f.series_id, f.facts) for f in FactStore(old).freshness(0)] == [
        ("price/market/HB_NORTH", 5_500),
        ("price/market/HB_WEST", 4),
        ("price/real-time/HB_WEST", 1),
    ]


def test_prices_go_back_into_their_table(old: Engine) -> None:
    with reading(old) as connection:
        before = connection.execute(_SELECT).all()
    with writing(old) as connection:
        command.upgrade(alembic_config(connection), "head")
        command.downgrade(alembic_config(connection), "0005")
    with reading(old) as connection:
        assert connection.execute(_SELECT).all() == before
        assert connection.execute(text("SELECT count(*) FROM fact_series")).scalar_one() == 0
