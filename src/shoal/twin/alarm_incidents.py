"""Alarms about sites: the incidents of each kind, which keep their numbers while their sites come, go and move.

An incident goes on with the alarm of the same subject, else with the one that most of its sites come from. So a storm
that grows from a feeder to its substation stays one alarm, and one that falls apart stays the largest of its parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.domain.alarms import Alarm, AlarmEvent, AlarmKind, Scope, Severity
from shoal.domain.fleet import Fleet
from shoal.domain.outcome import Rejected
from shoal.twin.alarm_lives import Lives, event
from shoal.twin.alarm_rules import AlarmRules, SiteRule
from shoal.twin.conditions import Watch
from shoal.twin.incidents import NO_GROUP, Forest, Incident, explain

FLEET: Final = "fleet"
SCATTERED: Final = "scattered"
EXAMPLES: Final = 5
NO_ROWS: Final[NDArray[np.int64]] = np.empty(0, dtype=np.int64)


@dataclass(slots=True)
class _Standing:
    """An active alarm with the sites that it is about."""

    alarm: Alarm
    rows: NDArray[np.int64]
    incident: Incident | None = None
    told_sites: int = 0
    told_value: float = 0.0


class SiteAlarms:
    """The alarms about sites.

    Args:
        fleet: Sites and groups.
        rules: How they are alarmed.
        lives: Gives the numbers.
        active: Those that stood when a former book ended.
    """

    def __init__(self, fleet: Fleet, rules: AlarmRules, lives: Lives, active: Sequence[Alarm]) -> None:
        self._fleet = fleet
        self._forest = Forest(fleet)
        self._rules = rules
        self._lives = lives
        sites = len(fleet.site_ids)
        self._watch = Watch(sites, {rule.condition: rule.delay for rule in rules.sites.values()})
        self._held: dict[AlarmKind, list[_Standing]] = {kind: [] for kind in rules.sites}
        self._label = np.zeros(sites, dtype=np.int32)
        self._resumed = bool(active)
        self._anew = False
        self._lost: NDArray[np.uint32] | None = None
        for alarm in active:
            self._held[alarm.kind].append(
                _Standing(alarm, NO_ROWS, told_sites=alarm.sites, told_value=alarm.value or 0.0)
            )

    def active(self) -> Iterable[Alarm]:
        """Yield the alarms that stand."""
        return (one.alarm for held in self._held.values() for one in held)

    def rows(self, number: int) -> NDArray[np.int64]:
        """Return the rows of the sites that an alarm is about; none when it does not stand."""
        for held in self._held.values():
            for one in held:
                if one.alarm.number == number:
                    return one.rows
        return NO_ROWS

    def regroup(self, fleet: Fleet) -> None:
        """Take other groups and memberships of the same sites."""
        self._fleet, self._forest, self._anew = fleet, Forest(fleet), True

    def step(
        self, condition_flags: NDArray[np.uint16], t_ns: int, *, lost: NDArray[np.uint32] | None = None
    ) -> list[AlarmEvent]:
        """Take the conditions and the losses of every site; return what that raised, updated and cleared."""
        # A new book goes on with what stood, so what it sees first counts at once.
        changed = self._watch.look(condition_flags, t_ns, at_once=self._resumed)
        events: list[AlarmEvent] = []
        self._lost = lost
        for kind, rule in self._rules.sites.items():
            if rule.condition in changed or self._resumed or self._anew or self._miscounted(kind, rule):
                events += self._explain(kind, rule, t_ns)
        self._resumed = self._anew = False
        return events

    def _miscounted(self, kind: AlarmKind, rule: SiteRule) -> bool:
        """Whether an alarm says another number of lost samples than there is now."""
        return rule.counts_lost and any(
            one.alarm.value != self._lost_count(one.rows) for one in self._held[kind] if len(one.rows)
        )

    def _lost_count(self, rows: NDArray[np.int64]) -> float | None:
        return None if self._lost is None else float(self._lost[rows].sum(dtype=np.int64))

    def acknowledge(
        self, number: int, *, by: str, t_ns: int, note: str
    ) -> tuple[Alarm | Rejected, list[AlarmEvent]] | None:
        """Note that somebody knows of an alarm; None when there is none of that number."""
        for held in self._held.values():
            for position, one in enumerate(held):
                if one.alarm.number != number:
                    continue
                found, events = self._lives.acknowledge(one.alarm, by, t_ns, note)
                if isinstance(found, Alarm):
                    one.alarm = found
                    if found.returned_ns is not None:  # it stayed for this only
                        del held[position]
                        found = self._lives.clear(found, t_ns, events)
                return found, events
        return None

    def _explain(self, kind: AlarmKind, rule: SiteRule, t_ns: int) -> list[AlarmEvent]:
        held = self._held[kind]
        incidents = explain(
            self._forest,
            self._watch.rows(rule.condition),
            rule=self._rules.storm,
            named=frozenset(self._named(held)),
            gathered=any(one.incident is not None and one.incident.gathered for one in held),
        )
        heirs, origins = self._matched(held, incidents)
        events: list[AlarmEvent] = []
        standing: list[_Standing] = []
        for position, incident in enumerate(incidents):
            former = heirs.get(position)
            if former is None:
                origin = origins.get(position)
                standing.append(self._raise(kind, rule, incident, t_ns, events, origin))
            else:
                standing.append(self._update(former, rule, incident, t_ns, events))
        taken = {id(former) for former in heirs.values()}
        for former in held:
            if id(former) not in taken:
                kept = self._end(former, rule, incidents, standing, t_ns, events)
                if kept is not None:
                    standing.append(kept)
        self._held[kind] = standing
        return events

    def _named(self, held: Iterable[_Standing]) -> Iterable[int]:
        for one in held:
            if one.incident is None:  # of a former book: only its subject is known
                number = self._number_of(one.alarm)
                if number != NO_GROUP and one.alarm.returned_ns is None:
                    yield number
            elif one.incident.group != NO_GROUP and not one.incident.gathered:
                yield one.incident.group

    def _number_of(self, alarm: Alarm) -> int:
        if alarm.scope != "group":
            return NO_GROUP
        numbers: Mapping[Any, int] = self._fleet.group_number
        return numbers.get(alarm.subject, NO_GROUP)

    def _matched(
        self, held: Sequence[_Standing], incidents: Sequence[Incident]
    ) -> tuple[dict[int, _Standing], dict[int, int]]:
        """Return which standing alarm each incident goes on with, and of the others, where their sites come from.

        The same subject goes first, then the largest overlap, if it is a tenth of the incident at least.
        """
        subjects = [self._subject(incident) for incident in incidents]
        by_subject = {(one.alarm.scope, one.alarm.subject): one for one in held}
        heirs = {n: by_subject[key] for n, key in enumerate(subjects) if key in by_subject}
        taken = {id(one) for one in heirs.values()}
        for label, one in enumerate(held, start=1):
            self._label[one.rows] = label
        pairs: list[tuple[int, int, int]] = []
        for n, incident in enumerate(incidents):
            if n in heirs:
                continue
            counts = np.bincount(self._label[incident.rows], minlength=len(held) + 1)[1:]
            for label in np.flatnonzero(counts).tolist():
                overlap = int(counts[label])
                if 10 * overlap >= len(incident.rows):
                    pairs.append((-overlap, held[label].alarm.number, n))
        for one in held:
            self._label[one.rows] = 0
        by_number = {one.alarm.number: one for one in held}
        origins: dict[int, int] = {}
        for _, number, n in sorted(pairs):
            one = by_number[number]
            origins.setdefault(n, number)
            if n not in heirs and id(one) not in taken:
                heirs[n] = one
                taken.add(id(one))
        return heirs, origins

    def _raise(
        self,
        kind: AlarmKind,
        rule: SiteRule,
        incident: Incident,
        t_ns: int,
        events: list[AlarmEvent],
        origin: int | None,
    ) -> _Standing:
        scope, subject = self._subject(incident)
        facts = self._facts(incident, rule)
        severity = self._severity(rule, len(incident.rows))
        alarm = self._lives.open(
            kind, scope, subject, t_ns, severity=severity, split_from_number=origin, **facts
        )
        events.append(event("raised", alarm, t_ns))
        return _Standing(
            alarm, incident.rows, incident, told_sites=alarm.sites, told_value=alarm.value or 0.0
        )

    def _update(
        self, former: _Standing, rule: SiteRule, incident: Incident, t_ns: int, events: list[AlarmEvent]
    ) -> _Standing:
        held = former.alarm
        scope, subject = self._subject(incident)
        facts = self._facts(incident, rule)
        facts["peak_sites"] = max(held.peak_sites, facts["sites"])
        severity = max(held.severity, self._severity(rule, len(incident.rows)), key=lambda one: one.order)
        again = held.returned_ns is not None
        worse = severity.order > held.severity.order
        # Who took note of a trouble did not take note of a worse one.
        anew: dict[str, Any] = {}
        if worse or again:
            anew = {"acknowledged_ns": None, "acknowledged_by": "", "note": ""}
        if again:
            anew |= {"returned_ns": None, "count": held.count + 1, "raised_ns": t_ns}
        alarm = msgspec.structs.replace(
            held, scope=scope, subject=subject, severity=severity, **facts, **anew
        )
        told, told_value, value = former.told_sites, former.told_value, alarm.value or 0.0
        moved = self._is_news(alarm.sites, told) or self._is_news(value, told_value)
        if again or worse or subject != held.subject or moved:
            alarm = msgspec.structs.replace(alarm, updated_ns=t_ns)
            events.append(event("raised" if again else "updated", alarm, t_ns))
            told, told_value = alarm.sites, value
        return _Standing(alarm, incident.rows, incident, told_sites=told, told_value=told_value)

    def _is_news(self, now: float, told: float) -> bool:
        return abs(now - told) >= max(1.0, self._rules.report_frac * told)

    def _end(
        self,
        former: _Standing,
        rule: SiteRule,
        incidents: Sequence[Incident],
        standing: Sequence[_Standing],
        t_ns: int,
        events: list[AlarmEvent],
    ) -> _Standing | None:
        """Clear an alarm whose sites are well or elsewhere; return it when it stays until somebody takes note."""
        heir = _heir(former.rows, standing[: len(incidents)])
        alarm = former.alarm
        if heir is None and rule.latching and alarm.acknowledged_ns is None:
            if alarm.returned_ns is None:
                alarm = msgspec.structs.replace(
                    alarm, sites=0, examples=[], returned_ns=t_ns, updated_ns=t_ns
                )
                events.append(event("updated", alarm, t_ns))
            return _Standing(alarm, NO_ROWS)
        self._lives.clear(msgspec.structs.replace(alarm, merged_into_number=heir), t_ns, events)
        return None

    def _subject(self, incident: Incident) -> tuple[Scope, str]:
        if incident.alone:
            return "site", self._fleet.site_ids[int(incident.rows[0])]
        if incident.group == NO_GROUP:
            return "fleet", FLEET
        return "group", self._fleet.groups[incident.group].group_id

    def _facts(self, incident: Incident, rule: SiteRule) -> dict[str, Any]:
        """Return what an alarm says of its sites."""
        sites = len(incident.rows)
        examples = [str(self._fleet.site_ids[row]) for row in incident.rows[:EXAMPLES].tolist()]
        hierarchy_id, of_sites = "", 1
        if incident.alone:
            name = examples[0]
        elif incident.group == NO_GROUP:
            name, of_sites = "the fleet", self._forest.site_count
        else:
            group = self._fleet.groups[incident.group]
            name, hierarchy_id = group.name, str(group.hierarchy_id)
            of_sites = int(self._forest.sites[incident.group])
        return {
            "sites": sites,
            "peak_sites": sites,
            "of_sites": of_sites,
            "examples": examples,
            "name": name,
            "hierarchy_id": hierarchy_id,
            "detail": SCATTERED if incident.gathered else "",
            "value": self._lost_count(incident.rows) if rule.counts_lost else None,
        }

    def _severity(self, rule: SiteRule, sites: int) -> Severity:
        if sites == 1:
            return Severity.NOTICE
        share_frac = sites / self._forest.site_count if sites >= self._rules.least_major_sites else 0.0
        severity = Severity.WARNING
        if share_frac >= self._rules.critical_frac:
            severity = Severity.CRITICAL
        elif share_frac >= self._rules.major_frac:
            severity = Severity.MAJOR
        return min(severity, rule.worst, key=lambda one: one.order)


def _heir(rows: NDArray[np.int64], standing: Sequence[_Standing]) -> int | None:
    """Return the number of the alarm that holds most of these sites now, None when none of them is in any."""
    overlaps = [(_overlap_count(rows, one.rows), -one.alarm.number) for one in standing]
    most, number = max(overlaps, default=(0, 0))
    return -number if most else None


def _overlap_count(one: NDArray[np.int64], other: NDArray[np.int64]) -> int:
    """Return how many rows are in both; each ascending."""
    few, many = sorted((one, other), key=len)
    if not len(few):
        return 0
    at = np.minimum(np.searchsorted(many, few), len(many) - 1)
    return int(np.count_nonzero(many[at] == few))
