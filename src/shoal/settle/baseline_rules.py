"""The baselines of programs as data: which days or hours they rest on, how they are adjusted, and where that is written.

Every number of a rule is a field, so that a changed manual is a changed row. `source` says where a number comes from; the
published rule is what settles, and an operator compares the row with the edition in force before relying on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from shoal.domain.errors import InvalidInputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjustment:
    """A same-day factor: metered over baseline in some hours before the event.

    Attributes:
        from_h: The hours begin so long before the event.
        until_h: They end so long before it; what lies between says nothing, for the notice may be known by then.
        least_frac: The factor is at least this.
        most_frac: The factor is at most this; infinite for no limit.
    """

    from_h: float
    until_h: float
    least_frac: float = 0.0
    most_frac: float = float("inf")

    def __post_init__(self) -> None:
        if not 0 <= self.until_h < self.from_h:
            raise InvalidInputError(
                field="adjustment", value=(self.from_h, self.until_h), fix="end after the start"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class DayMatchRule:
    """The mean of like days before the event, place by place of the day.

    Attributes:
        name: Of the rule.
        source: Where it is written.
        business_days: How many of them are used for an event on a business day.
        other_days: How many for one on a week-end or holiday.
        least_business_days: With fewer there is no baseline.
        least_other_days: The same on week-ends and holidays.
        look_back_days: How far back days are looked for.
        drops_extremes: Whether the day of most and the day of least energy are left out of the mean.
        falls_back_on_events: Whether, with too few days, those with an event count after all, the one with the most
            energy in the event's hours first.
        adjustment: Of the same day; None for none.
    """

    name: str
    source: str
    business_days: int
    other_days: int
    least_business_days: int
    least_other_days: int
    look_back_days: int
    drops_extremes: bool = False
    falls_back_on_events: bool = False
    adjustment: Adjustment | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SameDayRule:
    """The mean of hours before and after the event on its own day, one level through the event.

    Attributes:
        name: Of the rule.
        source: Where it is written.
        before_h: Hours before the event.
        after_h: Hours after it.
        skip_h: Left out on either side, next to the event.
    """

    name: str
    source: str
    before_h: float
    after_h: float
    skip_h: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterBeforeRule:
    """Meter before, meter after: the level just before the event, through the event.

    Attributes:
        name: Of the rule.
        source: Where it is written.
        before_h: How long before the event is averaged.
    """

    name: str
    source: str
    before_h: float


BaselineRule: TypeAlias = DayMatchRule | SameDayRule | MeterBeforeRule

CAISO_10_IN_10: Final = DayMatchRule(
    name="caiso-10-in-10",
    source="California ISO, Fifth Replacement Electronic Tariff, section 4.13.4.1 (ten-in-ten); ESDER phase 2 amendment, "
    "FERC docket of 2018-08-17; adjustment of 20 % as described in Baseline Accuracy Work Group Proposal, 2017-04-04, section 1",
    business_days=10,
    other_days=4,
    least_business_days=5,
    least_other_days=4,
    look_back_days=45,
    falls_back_on_events=True,
    adjustment=Adjustment(from_h=4.0, until_h=1.0, least_frac=0.8, most_frac=1.2),
)
ERCOT_MIDDLE_8_OF_10: Final = DayMatchRule(
    name="ercot-mid-8-of-10",
    source="ERCOT, Demand Response Baseline Methodologies, version 19.0 (September 2019), Middle 8-of-10 Preceding Like Days "
    "Model and Event-Day Adjustment; scalar adjustment as in ERCOT, EILS Third Baseline Analysis, DSWG, 2009-03-27",
    business_days=10,
    other_days=10,
    least_business_days=10,
    least_other_days=10,
    look_back_days=75,
    drops_extremes=True,
    adjustment=Adjustment(from_h=3.0, until_h=1.0),
)
PJM_SAME_DAY_3_2: Final = SameDayRule(
    name="pjm-same-day-3-2",
    source="PJM Manual 11, Energy & Ancillary Services Market Operations, Customer Baseline Load, Same Day (3+2): three hours "
    "before and two after, one hour skipped on either side",
    before_h=3.0,
    after_h=2.0,
    skip_h=1.0,
)
PJM_HOUR_BEFORE: Final = MeterBeforeRule(
    name="pjm-hour-before",
    source="PJM, Operating Agreement, Schedule 1, emergency load response: load in the hour before the reduction "
    "(meter before, meter after; NAESB WEQ-015)",
    before_h=1.0,
)
ERCOT_METER_BEFORE: Final = MeterBeforeRule(
    name="ercot-meter-before",
    source="ERCOT, Demand Response Baseline Methodologies, version 19.0 (September 2019), Meter Before-Meter After: the last "
    "whole metering interval before deployment (NAESB WEQ-015)",
    before_h=0.0,
)
RULES: Final[dict[str, BaselineRule]] = {
    rule.name: rule
    for rule in (CAISO_10_IN_10, ERCOT_MIDDLE_8_OF_10, PJM_SAME_DAY_3_2, PJM_HOUR_BEFORE, ERCOT_METER_BEFORE)
}
"""The rules by name. `before_h` 0 stands for one metering interval."""


def baseline_rule(name: str) -> BaselineRule:
    """Return the rule of a name.

    Raises:
        InvalidInputError: when there is none.
    """
    found = RULES.get(name)
    if found is None:
        raise InvalidInputError(field="rule", value=name, fix=f"one of {', '.join(RULES)}")
    return found
