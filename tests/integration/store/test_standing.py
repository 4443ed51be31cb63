"""Standing services on both databases: revisions, what is refused, windows by the clock on the wall, and the audit."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from sqlalchemy import Engine, update

from shoal.control.standing_asking import window_of, window_words
from shoal.domain.errors import InvalidInputError, UnknownIdError
from shoal.domain.interval import to_ns
from shoal.store.orders import Orders
from shoal.store.standing import StandingService, StandingServices, Window
from shoal.store.standing_schema import STANDING_SERVICE

ZONE = "America/Chicago"


def service(**values: Any) -> StandingService:
    plain: dict[str, Any] = {
        "service_id": "p-1",
        "kind": "peak_shaving",
        "program": "peak",
        "group": "feeder-1",
        "target_kw": 400.0,
        "by": "ann",
        "at_ns": 5,
    }
    return StandingService(**{**plain, **values})


def test_service_is_kept_changed_and_stopped_with_its_audit(tables: Engine) -> None:
    store, orders = StandingServices(tables), Orders(tables)
    before = (store.version(), orders.newest())
    first = store.put(service())
    assert store.services() == [first]
    second = store.put(msgspec.structs.replace(first, revision=2, target_kw=300.0, by="bob"))
    with pytest.raises(InvalidInputError, match="read it again"):
        store.put(msgspec.structs.replace(first, revision=4))
    with pytest.raises(InvalidInputError, match="taken"):
        store.put(service())
    assert store.service("p-1") == second
    ended = store.stop("p-1", by="eve", at_ns=9, reason="enough")
    assert (ended.state, ended.revision, store.services()) == ("stopped", 3, [])
    assert store.services(stopped=True) == [ended]
    with pytest.raises(InvalidInputError, match="stopped"):
        store.stop("p-1", by="eve", at_ns=9)
    with pytest.raises(UnknownIdError):
        store.service("p-2")
    lines = orders.audit(10, subject="p-1")
    assert [(line.action, line.by) for line in lines] == [
        ("cancel", "eve"),
        ("change", "bob"),
        ("put", "ann"),
    ]
    assert store.version() > before[0]
    assert orders.newest() > before[1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"target_kw": 0.0},
        {"target_kw": float("nan")},
        {"ramp_kw_per_min": 1.0},
        {"kind": "smoothing"},
        {"zone": "Mars/Olympus"},
        {"zone": ""},
        {"windows": (Window(start_minute=-1, end_minute=60),)},
        {"windows": (Window(start_minute=0, end_minute=60, days=(7,)),)},
        {"start_ns": 9, "end_ns": 9},
        {"bridge_s": float("inf")},
        {"least_coverage_frac": 1.1},
        {"group": "no such"},
        {"meter": "m-1", "measured_group": "feeder-1"},
        {"service_id": "x" * 60},
    ],
)
def test_what_cannot_be_kept_names_its_field(tables: Engine, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        StandingServices(tables).put(service(**wrong))


def test_windows_go_by_the_clock_on_the_wall() -> None:
    def counts(one: StandingService, *moment: int) -> bool:
        return one.counts_at(to_ns(datetime(*moment, tzinfo=ZoneInfo(ZONE))))  # type: ignore[misc, arg-type]

    evening = service(windows=(window_of("mon-fri 16:00-21:00"),), zone=ZONE)
    assert counts(evening, 2026, 7, 20, 16)
    assert counts(evening, 2026, 1, 5, 20, 59), "in winter by the clock, too"
    assert not counts(evening, 2026, 7, 20, 21)
    assert not counts(evening, 2026, 7, 19, 17), "a Sunday"
    night = service(windows=(window_of("fri 22:00-02:00"),), zone=ZONE)
    assert counts(night, 2026, 7, 24, 23)
    assert counts(night, 2026, 7, 25, 1, 59)
    assert not counts(night, 2026, 7, 24, 1)
    assert not counts(night, 2026, 7, 25, 2)
    assert counts(service(), 2026, 7, 25, 2)


def test_windows_are_read_as_people_write_them() -> None:
    assert window_of("17:00-20:00") == Window(start_minute=1_020, end_minute=1_200)
    assert window_of("Sat,sun 10:30-24:00").days == (5, 6)
    assert window_of("fri-mon 10:00-11:00").days == (0, 4, 5, 6)
    assert window_of("mon-sun 10:00-11:00").days == ()
    for text in ("mon-fri 16:00-21:00", "17:00-20:00", "sat,sun 10:30-24:00"):
        assert window_of(window_words(window_of(text))) == window_of(text)
    for text in ("", "always", "mon 25:00-26:00", "noday 10:00-11:00", "10:61-12:00", "10:00-00:00", "10-12"):
        with pytest.raises(InvalidInputError):
            window_of(text)


def test_service_that_another_version_wrote_does_not_hide_the_others(tables: Engine) -> None:
    store = StandingServices(tables)
    kept = store.put(service())
    store.put(service(service_id="p-2"))
    with tables.begin() as connection:
        connection.execute(
            update(STANDING_SERVICE)
            .where(STANDING_SERVICE.c.service_id == "p-2")
            .values(said='{"service_id": "p-2", "kind": "voltage_support"}')
        )
    assert store.services() == [kept]
