"""How things are alarmed: delays, bounds, severities, by kind, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

from shoal.domain.alarms import AlarmKind, Severity
from shoal.twin.conditions import Condition, Delay
from shoal.twin.incidents import StormRule


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteRule:
    """How one condition of sites is alarmed.

    Attributes:
        condition: Its bit.
        delay: How long it must stand or be away.
        worst: The highest severity that any number of sites gives.
        latching: Whether the alarm stays until somebody takes note of it.
        counts_lost: Whether the alarm says how many samples its sites have lost of late.
    """

    condition: Condition
    delay: Delay
    worst: Severity = Severity.MAJOR
    latching: bool = False
    counts_lost: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureRule:
    """How one measure of parts of the plant is alarmed; between its bounds nothing changes.

    Attributes:
        low: The lower bound.
        high: The upper bound, `low` or more.
        bad: On which side the alarm is raised; it is cleared at the other bound.
        delay: How long the value must stand beyond a bound.
        severity: How bad it is.
        unit: Of the values, as people read it.
    """

    low: float
    high: float
    bad: Literal["above", "below"]
    delay: Delay
    severity: Severity
    unit: str

    def is_bad(self, value: float, *, standing: bool) -> bool:
        """Whether the value speaks for the alarm, which may be standing already."""
        if self.bad == "above":
            return value > (self.low if standing else self.high)
        return value < (self.high if standing else self.low)


_QUICK: Final = Delay(raise_after_s=60.0, clear_after_s=120.0)
_SLOW: Final = Delay(raise_after_s=300.0, clear_after_s=600.0)
_NOW: Final = Delay(raise_after_s=0.0, clear_after_s=300.0)
_AS_TOLD: Final = Delay(raise_after_s=0.0, clear_after_s=0.0)
"""For what already lasts: lost samples are told of until their site has been quiet for `losses.QUIET_S`."""
_AT_ONCE: Final = Delay(raise_after_s=0.0, clear_after_s=30.0)
"""For what is set, not measured: it does not come and go by itself."""
_PART: Final = Delay(raise_after_s=10.0, clear_after_s=30.0)

SITE_RULES: Final[Mapping[AlarmKind, SiteRule]] = MappingProxyType(
    {
        AlarmKind.COMMUNICATION_LOSS: SiteRule(
            condition=Condition.SILENT, delay=_QUICK, worst=Severity.CRITICAL
        ),
        AlarmKind.SUSPECT_SIGN: SiteRule(condition=Condition.SIGN, delay=_SLOW),
        AlarmKind.SUSPECT_STUCK: SiteRule(condition=Condition.STUCK, delay=_SLOW),
        AlarmKind.SUSPECT_REGISTER: SiteRule(condition=Condition.REGISTER, delay=_NOW, latching=True),
        AlarmKind.SUSPECT_POWER: SiteRule(condition=Condition.POWER, delay=_SLOW),
        AlarmKind.CLOCK_FAULT: SiteRule(condition=Condition.CLOCK, delay=_SLOW),
        AlarmKind.SAMPLES_LOST: SiteRule(condition=Condition.LOST, delay=_AS_TOLD, counts_lost=True),
    }
)
MEASURE_RULES: Final[Mapping[AlarmKind, MeasureRule]] = MappingProxyType(
    {
        AlarmKind.HISTORY_LAG: MeasureRule(
            low=300.0, high=900.0, bad="above", delay=_PART, severity=Severity.WARNING, unit="s"
        ),
        AlarmKind.JOURNAL_LAG: MeasureRule(
            low=10.0, high=30.0, bad="above", delay=_PART, severity=Severity.MAJOR, unit="s"
        ),
        AlarmKind.SHARD_WITHOUT_OWNER: MeasureRule(
            low=0.0, high=10.0, bad="above", delay=_NOW, severity=Severity.CRITICAL, unit="s"
        ),
        AlarmKind.COVERAGE_LOW: MeasureRule(
            low=0.8, high=0.85, bad="below", delay=_QUICK, severity=Severity.MAJOR, unit="of the capacity"
        ),
        AlarmKind.PARAMETER_DRIFT: MeasureRule(
            low=0.0, high=1.0, bad="above", delay=_AT_ONCE, severity=Severity.MAJOR, unit="W"
        ),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmRules:
    """Every rule of a book.

    Attributes:
        sites: By kind, for conditions of sites.
        measures: By kind, for measures of parts.
        storm: When a group is named for its sites.
        reopen_s: An alarm that is raised again within this time of being cleared keeps its number.
        major_frac: Share of the fleet from which on an incident is major.
        critical_frac: Share of the fleet from which on it is critical.
        least_major_sites: Fewest sites of an incident that is more than a warning.
        report_frac: By how much an incident must grow or shrink before that is an event.
    """

    sites: Mapping[AlarmKind, SiteRule] = field(default_factory=lambda: SITE_RULES)
    measures: Mapping[AlarmKind, MeasureRule] = field(default_factory=lambda: MEASURE_RULES)
    storm: StormRule = field(default_factory=StormRule)
    reopen_s: float = 1_800.0
    major_frac: float = 0.01
    critical_frac: float = 0.1
    least_major_sites: int = 10
    report_frac: float = 0.1
