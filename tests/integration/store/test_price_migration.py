"""Prices that were kept in a table of their own become facts, and go back, with the same answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from alembic import command
from sqlalchemy import Engine, text

from shoal.domain.facts import SeriesId
from shoal.domain.interval import NS_PER_HOUR
from shoal.store.database import alembic_config, open_database, reading, writing
from shoal.store.facts import FactStore

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
    facts = FactStore(old)

    def asked(point: str, to_ns: int, as_of_ns: int, source: str = "market") -> tuple[list[int], list[float]]:
        series_id = SeriesId(f"price/{source}/{point}")
        found = facts.as_of([series_id], 0, to_ns, as_of_ns)[series_id]
        return found.start_ns.tolist(), found.value[:, 0].tolist()

    starts, prices = asked("HB_NORTH", 6_000 * HOUR, 150)
    assert starts == [hour * HOUR for hour in range(5_000)]
    assert prices == [hour / 7 for hour in range(5_000)]
    _, prices = asked("HB_NORTH", 11 * HOUR, 200)
    assert prices == [1.0, *(hour / 7 for hour in range(1, 10)), 10 / 3 + 1]
    assert asked("HB_WEST", HOUR, 5, "real-time")[1] == [-1.5]
    assert asked("HB_WEST", HOUR, 5)[1] == []

    compacted = facts.compact()
    assert compacted.blocks_after <= compacted.blocks_before
    assert asked("HB_NORTH", 11 * HOUR, 200)[1] == prices
    assert [(f.series_id, f.facts) for f in facts.freshness(0)] == [
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
