"""The log of alarms on both databases: every step once, the latest state, pages without gap or repetition."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine

from shoal.domain.alarms import Action, Alarm, AlarmEvent, AlarmKind, Severity
from shoal.domain.errors import InvalidInputError
from shoal.store.alarms import AlarmLog


@pytest.fixture
def log(engine: Engine) -> AlarmLog:
    return AlarmLog(engine)


def make_alarm(number: int = 1, *, t_ns: int = 10, **facts: Any) -> Alarm:
    values: dict[str, Any] = {
        "number": number,
        "kind": AlarmKind.COMMUNICATION_LOSS,
        "severity": Severity.MAJOR,
        "scope": "group",
        "subject": f"feeder-{number}",
        "name": f"Feeder {number}",
        "raised_ns": 10,
        "updated_ns": t_ns,
    }
    return Alarm(**values | facts)


def event(action: Action, alarm: Alarm, by: str = "") -> AlarmEvent:
    return AlarmEvent(t_ns=alarm.updated_ns, action=action, alarm=alarm, by=by)


def life(number: int = 1) -> list[AlarmEvent]:
    raised = make_alarm(number, sites=5)
    grown = msgspec.structs.replace(raised, sites=9, updated_ns=20)
    noted = msgspec.structs.replace(grown, acknowledged_ns=30, acknowledged_by="ada", updated_ns=30)
    cleared = msgspec.structs.replace(noted, cleared_ns=30 + number, updated_ns=30 + number)
    return [
        event("raised", raised),
        event("updated", grown),
        event("acknowledged", noted, "ada"),
        event("cleared", cleared),
    ]


def test_log_keeps_the_latest_state_and_every_step(log: AlarmLog) -> None:
    steps = life()
    for step in steps:
        log.record([step])
        held = log.alarm(1)
        assert held is not None and held[0] == step.alarm
    assert log.alarm(1) == (steps[-1].alarm, steps)
    assert log.active() == []
    assert log.alarm(2) is None


def test_log_takes_events_in_any_order_and_any_number_of_times(log: AlarmLog) -> None:
    steps = life()
    order = random.Random(1)
    for _ in range(6):
        some = order.sample(steps, k=order.randint(1, 4))
        log.record(some)
    log.record(steps[::-1])
    assert log.alarm(1) == (steps[-1].alarm, steps)


def test_log_lists_active_alarms_by_urgency(log: AlarmLog) -> None:
    log.record(
        [
            event("raised", make_alarm(1, severity=Severity.NOTICE)),
            event("raised", make_alarm(2, severity=Severity.CRITICAL, acknowledged_ns=11)),
            event("raised", make_alarm(3, severity=Severity.WARNING)),
            *life(4),
        ]
    )
    assert [alarm.number for alarm in log.active()] == [3, 1, 2]
    assert log.next_number() == 5


def test_log_pages_through_cleared_alarms(log: AlarmLog) -> None:
    assert log.next_number() == 1
    assert log.cleared(3) == ([], "")
    for number in range(1, 8):
        log.record(life(number))
    found, before = [], ""
    while True:
        page, before = log.cleared(3, before=before)
        found += [alarm.number for alarm in page]
        if not before:
            break
        assert len(page) == 3
    assert found == [7, 6, 5, 4, 3, 2, 1]
    for odd in ("1; DROP TABLE alarm", f"{2**63}-1", f"1-{2**63}"):
        with pytest.raises(InvalidInputError, match="before"):
            log.cleared(3, before=odd)


def test_reopened_alarm_is_active_again(log: AlarmLog) -> None:
    log.record(life())
    again = make_alarm(1, t_ns=90, count=2)
    log.record([event("raised", again)])
    assert log.active() == [again]
    assert log.cleared(3) == ([], "")
