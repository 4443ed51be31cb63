"""How good a baseline is: on days without an event it is compared with what was really metered.

Nothing was reduced on such days, so all that a baseline claims beyond the meter is error: pay for nothing, or work unpaid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.interval import NS_PER_HOUR, NS_PER_S, Interval
from shoal.settle.baseline import ExcludedDays, compute_baseline
from shoal.settle.baseline_calendar import MeterData, is_business_day
from shoal.settle.baseline_rules import BaselineRule

_HOUR_S: Final = 3_600


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineScore:
    """What one rule would have said on days on which nothing happened.

    Attributes:
        rule_name: Of the rule.
        event_count: Days that were tried.
        scored_count: Days and sites for which there was a baseline.
        unscored_count: Days and sites for which there was none, by reason.
        mean_wh: Mean metered energy of an interval.
        bias_wh: Mean of baseline less meter, by interval and site.
        rmse_wh: Root of the mean square of it.
        site_bias_spread_wh: Standard deviation between sites of their own mean errors: who is favoured, who is not.
        together_rmse_wh: Root of the mean square of the error of all sites together, by interval, divided by sites.
    """

    rule_name: str
    event_count: int
    scored_count: int
    unscored_count: dict[str, int]
    mean_wh: float
    bias_wh: float
    rmse_wh: float
    site_bias_spread_wh: float
    together_rmse_wh: float

    @property
    def bias_frac(self) -> float:
        """Mean error as a share of the mean energy; infinite or nan when there is none."""
        return _ratio(self.bias_wh, self.mean_wh)

    @property
    def rmse_frac(self) -> float:
        """Error of a site's interval as a share of the mean energy."""
        return _ratio(self.rmse_wh, self.mean_wh)

    @property
    def together_rmse_frac(self) -> float:
        """Error of all sites together as a share of their energy."""
        return _ratio(self.together_rmse_wh, self.mean_wh)


def trial_events(
    meter: MeterData,
    *,
    from_h: int,
    to_h: int,
    first_day_number: int,
    every_days: int,
    holidays: frozenset[int],
) -> list[Interval]:
    """Return spans of the same local hours on every n-th business day from a day on, as if they were events."""
    calendar = meter.calendar
    events: list[Interval] = []
    for day in range(first_day_number, int(calendar.day_number[-1])):
        if (day - first_day_number) % every_days or not is_business_day(day, holidays):
            continue
        start = calendar.day_table(day)[from_h * _HOUR_S // calendar.step_s, 0]
        if start >= 0:
            start_ns = calendar.start_ns + int(start) * calendar.step_s * NS_PER_S
            events.append(Interval(start_ns=start_ns, end_ns=start_ns + (to_h - from_h) * NS_PER_HOUR))
    return events


def score_baseline(
    rule: BaselineRule,
    meter: MeterData,
    events: Sequence[Interval],
    *,
    holidays: frozenset[int] = frozenset(),
    excluded: ExcludedDays | None = None,
) -> BaselineScore:
    """Return how far a rule's baselines are from the meter at spans in which nothing happened."""
    errors: list[NDArray[np.float64]] = []
    marks: list[NDArray[np.bool_]] = []
    metered: list[NDArray[np.int64]] = []
    unscored: dict[str, int] = {}
    scored_count = 0
    for event in events:
        found = compute_baseline(rule, meter, event, holidays=holidays, excluded=excluded)
        errors.append((found.baseline_wh - found.metered_wh).astype(np.float64))
        marks.append(found.known)
        metered.append(found.metered_wh)
        for why in found.why_none:
            scored_count += not why
            if why:
                unscored[why] = unscored.get(why, 0) + 1
    empty = np.zeros((meter.sites, 0))
    error_wh = np.concatenate([empty, *errors], axis=1)
    known = np.concatenate([empty.astype(np.bool_), *marks], axis=1)
    metered_wh = np.concatenate([empty.astype(np.int64), *metered], axis=1)
    error_wh[~known] = 0.0
    seen = int(known.sum())
    of_site = known.sum(axis=1)
    site_bias_wh = (error_wh.sum(axis=1) / np.maximum(of_site, 1))[of_site > 0]
    of_interval = known.sum(axis=0)
    together_wh = (error_wh.sum(axis=0) / np.maximum(of_interval, 1))[of_interval > 0]
    return BaselineScore(
        rule_name=rule.name,
        event_count=len(events),
        scored_count=scored_count,
        unscored_count=unscored,
        mean_wh=float(metered_wh[known].sum()) / max(seen, 1),
        bias_wh=float(error_wh.sum()) / max(seen, 1),
        rmse_wh=float(np.sqrt((error_wh**2).sum() / max(seen, 1))),
        site_bias_spread_wh=float(site_bias_wh.std()) if len(site_bias_wh) else 0.0,
        together_rmse_wh=float(np.sqrt((together_wh**2).mean())) if len(together_wh) else 0.0,
    )


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
