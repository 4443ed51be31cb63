"""Alarms as the services tell them to each other, to the database and to the page.

An alarm is about one kind of trouble of one subject: a site, a group, the whole fleet, or a part of the plant. It is
raised, updated, acknowledged by a person, and cleared; every step is an `AlarmEvent` that carries the alarm as it was
then.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Literal, TypeAlias

import msgspec


class AlarmKind(StrEnum):
    """What is wrong."""

    COMMUNICATION_LOSS = "communication_loss"
    SUSPECT_SIGN = "suspect_sign"
    SUSPECT_STUCK = "suspect_stuck"
    SUSPECT_REGISTER = "suspect_register"
    SUSPECT_POWER = "suspect_power"
    CLOCK_FAULT = "clock_fault"
    SAMPLES_LOST = "samples_lost"
    HISTORY_LAG = "history_lag"
    JOURNAL_LAG = "journal_lag"
    SHARD_WITHOUT_OWNER = "shard_without_owner"
    COVERAGE_LOW = "coverage_low"
    PARAMETER_DRIFT = "parameter_drift"


class Severity(StrEnum):
    """How bad it is."""

    NOTICE = "notice"
    WARNING = "warning"
    MAJOR = "major"
    CRITICAL = "critical"

    @property
    def order(self) -> int:
        """Position from the mildest, 0."""
        return _ORDER[self]


_ORDER: Final = {severity: order for order, severity in enumerate(Severity)}

Scope: TypeAlias = Literal["site", "group", "fleet", "part"]
Action: TypeAlias = Literal["raised", "updated", "acknowledged", "cleared"]


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """One alarm as it stands.

    Attributes:
        number: Its name; never given twice.
        kind: What is wrong.
        severity: How bad it is, at its worst since it was raised.
        scope: What kind of thing `subject` is.
        subject: The site's, group's or part's id; ``fleet`` for a trouble that no group holds.
        name: The subject in words.
        hierarchy_id: Of a group; else empty.
        sites: How many sites are concerned now; 0 for a part of the plant.
        of_sites: How many sites the subject has; 0 for a part of the plant.
        peak_sites: The most that were concerned.
        examples: The first few of them.
        value: What was measured of a part, in the unit that `detail` names; how many samples the sites have lost, when
            that is the trouble.
        detail: What a person should know.
        raised_ns: When it was raised, last if more than once.
        updated_ns: When its latest event was.
        count: How often it was raised.
        acknowledged_ns: When somebody took note; None while nobody did.
        acknowledged_by: Who.
        note: What they said.
        returned_ns: When the trouble ended of an alarm that stays until somebody takes note of it.
        cleared_ns: When it was over.
        merged_into_number: The alarm that took its sites over.
        split_from_number: The alarm that its sites were in before.
    """

    number: int
    kind: AlarmKind
    severity: Severity
    scope: Scope
    subject: str
    name: str
    raised_ns: int
    updated_ns: int
    hierarchy_id: str = ""
    sites: int = 0
    of_sites: int = 0
    peak_sites: int = 0
    examples: list[str] = []
    value: float | None = None
    detail: str = ""
    count: int = 1
    acknowledged_ns: int | None = None
    acknowledged_by: str = ""
    note: str = ""
    returned_ns: int | None = None
    cleared_ns: int | None = None
    merged_into_number: int | None = None
    split_from_number: int | None = None


class AlarmEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One step in the life of an alarm, and the alarm after it; `by` names the person behind it, if any."""

    t_ns: int
    action: Action
    alarm: Alarm
    by: str = ""


class LiveAlarms(msgspec.Struct, frozen=True, kw_only=True):
    """The active alarms, the worst and latest first; `active_count` counts those beyond the list too."""

    t_ns: int
    active_count: int
    active: list[Alarm]


class AcknowledgeAlarm(msgspec.Struct, frozen=True, kw_only=True):
    """A person's word that they take note of an alarm."""

    number: int
    by: str
    note: str = ""


class AcknowledgeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it: the alarm, or why not (`reason` is a stable code, `detail` is for people)."""

    alarm: Alarm | None = None
    reason: str = ""
    detail: str = ""


def urgency(alarm: Alarm) -> tuple[bool, int, int, int]:
    """Return a key that sorts alarms: not acknowledged first, then the worst, the latest, the newest number."""
    return alarm.acknowledged_ns is not None, -alarm.severity.order, -alarm.raised_ns, -alarm.number
