"""Alarms about parts of the plant: one value each, two bounds with a dead band between them, and delays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from shoal.domain.alarms import Alarm, AlarmEvent, AlarmKind
from shoal.domain.interval import NS_PER_S
from shoal.domain.outcome import Rejected
from shoal.twin.alarm_lives import Lives, event
from shoal.twin.alarm_rules import MeasureRule


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One value of one part of the plant: `subject` is its id, `name` says it in words."""

    kind: AlarmKind
    subject: str
    value: float
    name: str = ""


@dataclass(slots=True)
class _Part:
    """One part of the plant: its alarm, and since when its value says otherwise than the alarm."""

    alarm: Alarm | None = None
    changing_since_ns: int | None = None


class PartAlarms:
    """The alarms about parts.

    Args:
        rules: How they are alarmed.
        lives: Gives the numbers.
        active: Those that stood when a former book ended.
    """

    def __init__(self, rules: Mapping[AlarmKind, MeasureRule], lives: Lives, active: Sequence[Alarm]) -> None:
        self._rules = rules
        self._lives = lives
        self._parts = {(alarm.kind, alarm.subject): _Part(alarm) for alarm in active}

    def active(self) -> Iterable[Alarm]:
        """Yield the alarms that stand."""
        return (part.alarm for part in self._parts.values() if part.alarm is not None)

    def acknowledge(
        self, number: int, *, by: str, t_ns: int, note: str
    ) -> tuple[Alarm | Rejected, list[AlarmEvent]] | None:
        """Note that somebody knows of an alarm; None when there is none of that number."""
        for part in self._parts.values():
            if part.alarm is not None and part.alarm.number == number:
                found, events = self._lives.acknowledge(part.alarm, by, t_ns, note)
                part.alarm = found if isinstance(found, Alarm) else part.alarm
                return found, events
        return None

    def step(self, measures: Sequence[Measure], t_ns: int) -> list[AlarmEvent]:
        """Take the values of all parts; return what that raised and cleared."""
        events: list[AlarmEvent] = []
        values = {(one.kind, one.subject): one for one in measures if one.kind in self._rules}
        for key in values:
            self._parts.setdefault(key, _Part())
        for key, part in list(self._parts.items()):
            rule = self._rules.get(key[0])
            if rule is None:
                if part.alarm is not None:
                    self._lives.clear(part.alarm, t_ns, events)
                del self._parts[key]
                continue
            self._judge(key, part, rule, values.get(key), t_ns, events)
            if part.alarm is None and part.changing_since_ns is None:
                del self._parts[key]
        return events

    def _judge(
        self,
        key: tuple[AlarmKind, str],
        part: _Part,
        rule: MeasureRule,
        measure: Measure | None,
        t_ns: int,
        events: list[AlarmEvent],
    ) -> None:
        standing = part.alarm is not None
        bad = measure is not None and rule.is_bad(measure.value, standing=standing)
        if part.alarm is not None and measure is not None:
            part.alarm = msgspec.structs.replace(part.alarm, value=measure.value, detail=rule.unit)
        if bad == standing:
            part.changing_since_ns = None
            return
        since_ns = t_ns if part.changing_since_ns is None else part.changing_since_ns
        part.changing_since_ns = since_ns
        delay_s = rule.delay.raise_after_s if bad else rule.delay.clear_after_s
        if t_ns - since_ns < delay_s * NS_PER_S:
            return
        part.changing_since_ns = None
        if part.alarm is not None:
            self._lives.clear(part.alarm, t_ns, events)
            part.alarm = None
        elif measure is not None:
            kind, subject = key
            part.alarm = self._lives.open(
                kind,
                "part",
                subject,
                t_ns,
                severity=rule.severity,
                name=measure.name or subject,
                value=measure.value,
                detail=rule.unit,
            )
            events.append(event("raised", part.alarm, t_ns))
