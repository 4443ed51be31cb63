"""The shelf on disk: it ends by itself, what gets worse leaves it, and every step is kept."""

from __future__ import annotations

import msgspec
import pytest
from sqlalchemy import Engine

from shoal.domain.alarms import Alarm, AlarmEvent, AlarmKind, Severity
from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_MINUTE
from shoal.store.alarm_shelf import MOST_MINUTES, AlarmShelf
from shoal.store.alarms import AlarmLog

NOW_NS = 1_612_972_800_000_000_000
UNTIL_NS = NOW_NS + 30 * NS_PER_MINUTE


def make_alarm(number: int = 1) -> Alarm:
    return Alarm(
        number=number,
        kind=AlarmKind.COMMUNICATION_LOSS,
        severity=Severity.WARNING,
        scope="group",
        subject="feeder-1",
        name="Feeder 1",
        raised_ns=NOW_NS,
        updated_ns=NOW_NS,
        sites=20,
        of_sites=40,
        peak_sites=20,
    )


@pytest.fixture
def shelf(tables: Engine) -> AlarmShelf:
    AlarmLog(tables).record(
        [AlarmEvent(t_ns=NOW_NS, action="raised", alarm=make_alarm(number)) for number in (1, 2)]
    )
    return AlarmShelf(tables)


def put(shelf: AlarmShelf, *numbers: int) -> None:
    alarms = [make_alarm(number) for number in numbers]
    shelf.shelve(alarms, minutes=30, reason=" crew on its way ", by="ada", now_ns=NOW_NS)


def test_shelf_ends_by_itself(shelf: AlarmShelf) -> None:
    put(shelf, 1)
    step = shelf.standing()[1]
    assert (step.by, step.reason, step.until_ns) == ("ada", "crew on its way", UNTIL_NS)
    assert step.ended(make_alarm(), UNTIL_NS - 1) is None
    assert step.ended(make_alarm(), UNTIL_NS) == "time"


@pytest.mark.parametrize(
    ("facts", "ended"),
    [
        ({"severity": Severity.MAJOR}, "worse"),
        ({"count": 2}, "worse"),
        ({"sites": 22, "peak_sites": 22}, "worse"),
        ({"sites": 21, "peak_sites": 21}, None),
        ({"sites": 3}, None),
    ],
)
def test_alarm_that_gets_worse_comes_back(
    shelf: AlarmShelf, facts: dict[str, object], ended: str | None
) -> None:
    put(shelf, 1)
    worse = msgspec.structs.replace(make_alarm(), **facts)
    assert shelf.standing()[1].ended(worse, NOW_NS + 1) == ended


def test_steps_are_kept_and_the_last_one_counts(shelf: AlarmShelf) -> None:
    put(shelf, 1, 2)
    assert [one.number for one in shelf.put_back([make_alarm(1)], by="bob", now_ns=NOW_NS + 1)] == [1]
    assert shelf.put_back([make_alarm(1)], by="bob", now_ns=NOW_NS + 2) == []
    standing = shelf.standing()
    assert standing[1].ended(make_alarm(1), NOW_NS + 2) == "returned"
    assert standing[2].ended(make_alarm(2), NOW_NS + 2) is None
    assert [(one.action, one.by) for one in shelf.steps(1)] == [("shelved", "ada"), ("returned", "bob")]
    assert [one.number for one in shelf.recent(2)] == [1, 2]
    assert shelf.recent(5, from_ns=NOW_NS + 1) == shelf.steps(1)[1:]


def test_cleared_alarm_is_on_no_shelf(shelf: AlarmShelf, tables: Engine) -> None:
    put(shelf, 1)
    over = msgspec.structs.replace(make_alarm(), cleared_ns=NOW_NS + 5, updated_ns=NOW_NS + 5)
    AlarmLog(tables).record([AlarmEvent(t_ns=NOW_NS + 5, action="cleared", alarm=over)])
    assert shelf.standing() == {}
    assert len(shelf.steps(1)) == 1


@pytest.mark.parametrize(
    ("minutes", "reason"), [(0, "why"), (MOST_MINUTES + 1, "why"), (5, "  "), (5, "x" * 501)]
)
def test_shelf_takes_a_time_and_a_reason(shelf: AlarmShelf, minutes: int, reason: str) -> None:
    with pytest.raises(InvalidInputError):
        shelf.shelve([make_alarm()], minutes=minutes, reason=reason, by="ada", now_ns=NOW_NS)
    assert shelf.standing() == {}


def test_ten_thousand_alarms_are_put_aside_together(shelf: AlarmShelf, tables: Engine) -> None:
    alarms = [make_alarm(number) for number in range(3, 10_003)]
    AlarmLog(tables).record([AlarmEvent(t_ns=NOW_NS, action="raised", alarm=one) for one in alarms])
    shelf.shelve(alarms, minutes=5, reason="storm", by="ada", now_ns=NOW_NS)
    assert len(shelf.standing()) == 10_000
