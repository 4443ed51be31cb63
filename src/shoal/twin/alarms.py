"""The book of alarms: what is observed goes in, alarms that are raised, updated and cleared come out.

Sites are not alarmed one by one: those with the same trouble are explained by few groups (see `incidents`), and an
incident keeps its number while its sites come, go and move between explanations. Pure: the same observations and
acknowledgements give the same events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shoal.domain.alarms import Alarm, AlarmEvent, urgency
from shoal.domain.fleet import Fleet
from shoal.domain.outcome import Rejected
from shoal.twin.alarm_incidents import SiteAlarms
from shoal.twin.alarm_lives import Lives
from shoal.twin.alarm_measures import Measure, PartAlarms
from shoal.twin.alarm_rules import AlarmRules


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What is known at one instant.

    Attributes:
        t_ns: The instant.
        condition_flags: `Condition` bits by fleet row; None when the sites could not be looked at.
        lost: Samples lost of late, by fleet row; None when nothing is known of them.
        measures: Values of parts; a part that is not named is well.
    """

    t_ns: int
    condition_flags: NDArray[np.uint16] | None
    lost: NDArray[np.uint32] | None = None
    measures: Sequence[Measure] = ()


class AlarmBook:
    """The alarms of a fleet.

    Args:
        fleet: Sites and groups.
        rules: How things are alarmed.
        active: Alarms that stood when a former book ended; its first step must see the sites as they are.
        next_number: The first number to give, larger than all that were given.
    """

    def __init__(
        self,
        fleet: Fleet,
        rules: AlarmRules | None = None,
        *,
        active: Sequence[Alarm] = (),
        next_number: int = 1,
    ) -> None:
        rules = rules or AlarmRules()
        first = max((alarm.number + 1 for alarm in active), default=1)
        lives = Lives(reopen_s=rules.reopen_s, next_number=max(next_number, first))
        self._sites = SiteAlarms(fleet, rules, lives, [one for one in active if one.kind in rules.sites])
        self._parts = PartAlarms(
            rules.measures, lives, [one for one in active if one.kind not in rules.sites]
        )

    def active(self) -> list[Alarm]:
        """Return the alarms that stand, the most urgent first."""
        return sorted([*self._sites.active(), *self._parts.active()], key=urgency)

    def rows(self, number: int) -> NDArray[np.int64]:
        """Return the rows of the sites that an active alarm is about; none for a part or another number."""
        return self._sites.rows(number)

    def regroup(self, fleet: Fleet) -> None:
        """Take other groups and memberships of the same sites; alarms are explained anew at the next step."""
        self._sites.regroup(fleet)

    def step(self, seen: Observation) -> list[AlarmEvent]:
        """Take what is observed; return what that raised, updated and cleared."""
        events: list[AlarmEvent] = []
        if seen.condition_flags is not None:
            events = self._sites.step(seen.condition_flags, seen.t_ns, lost=seen.lost)
        return events + self._parts.step(seen.measures, seen.t_ns)

    def acknowledge(
        self, number: int, *, by: str, t_ns: int, note: str = ""
    ) -> tuple[Alarm | Rejected, list[AlarmEvent]]:
        """Note that somebody knows of an alarm; return it, or why not, and the events."""
        for alarms in (self._sites, self._parts):
            answer = alarms.acknowledge(number, by=by, t_ns=t_ns, note=note)
            if answer is not None:
                return answer
        return Rejected(reason="not_active", detail=f"no active alarm has the number {number}"), []
