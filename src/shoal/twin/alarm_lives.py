"""The life of an alarm: its number, its opening, acknowledgement and end, whatever it is about."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from shoal.domain.alarms import Action, Alarm, AlarmEvent, AlarmKind, Scope
from shoal.domain.interval import NS_PER_S
from shoal.domain.outcome import Rejected

REOPENABLE: Final = 10_000
"""Of so many cleared alarms it is known that they stood before."""


class Lives:
    """Gives numbers, and knows which alarms were cleared only just now.

    Args:
        reopen_s: An alarm that is raised again within this time of being cleared keeps its number.
        next_number: The first number to give.
    """

    def __init__(self, *, reopen_s: float, next_number: int) -> None:
        self._reopen_s = reopen_s
        self._next_number = next_number
        self._cleared: dict[tuple[AlarmKind, Scope, str], Alarm] = {}

    def open(self, kind: AlarmKind, scope: Scope, subject: str, t_ns: int, **facts: Any) -> Alarm:
        """Return a new alarm; the same number again when it was cleared only just now."""
        before = self._cleared.pop((kind, scope, subject), None)
        number, count = self._next_number, 1
        if before is not None and t_ns - (before.cleared_ns or 0) < self._reopen_s * NS_PER_S:
            number, count = before.number, before.count + 1
        else:
            self._next_number += 1
        return Alarm(
            number=number,
            kind=kind,
            scope=scope,
            subject=subject,
            raised_ns=t_ns,
            updated_ns=t_ns,
            count=count,
            **facts,
        )

    def clear(self, alarm: Alarm, t_ns: int, events: list[AlarmEvent]) -> Alarm:
        """End an alarm; return it as it then is."""
        cleared = msgspec.structs.replace(alarm, cleared_ns=t_ns, updated_ns=t_ns, sites=0)
        events.append(event("cleared", cleared, t_ns))
        key = (cleared.kind, cleared.scope, cleared.subject)
        self._cleared.pop(key, None)
        self._cleared[key] = cleared
        if len(self._cleared) > REOPENABLE:
            del self._cleared[next(iter(self._cleared))]
        return cleared

    @staticmethod
    def acknowledge(alarm: Alarm, by: str, t_ns: int, note: str) -> tuple[Alarm | Rejected, list[AlarmEvent]]:
        """Note that somebody knows of an alarm; once is enough."""
        if alarm.acknowledged_ns is not None:
            if alarm.acknowledged_by == by:
                return alarm, []  # asked twice
            return Rejected(reason="acknowledged", detail=f"{alarm.acknowledged_by} has done so already"), []
        noted = msgspec.structs.replace(
            alarm, acknowledged_ns=t_ns, acknowledged_by=by, note=note, updated_ns=t_ns
        )
        return noted, [AlarmEvent(t_ns=t_ns, action="acknowledged", alarm=noted, by=by)]


def event(action: Action, alarm: Alarm, t_ns: int) -> AlarmEvent:
    """Return an event with nobody behind it."""
    return AlarmEvent(t_ns=t_ns, action=action, alarm=alarm)
