"""What sites would have used without an event: baselines by rule, with the days they rest on and why others do not.

A baseline is whole watt-hours by metering interval, so that what was delivered is an exact difference. A site for which a
rule gives none has a reason instead; nothing is filled in. See `shoal.settle.baseline_rules` for the rules and sources.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, assert_never

import numpy as np
from numpy.typing import NDArray

from shoal.domain.interval import NS_PER_HOUR, Interval
from shoal.settle._baseline_days import Days, candidate_days
from shoal.settle.baseline_calendar import MeterData
from shoal.settle.baseline_rules import BaselineRule, DayMatchRule, MeterBeforeRule, SameDayRule

WhyNone: TypeAlias = Literal[
    "",
    "too_few_days",
    "window_unknown",
    "window_disturbed",
    "window_leaves_day",
    "window_beyond_data",
    "event_not_metered",
]
"""Why a site has no baseline; empty when it has one."""
Note: TypeAlias = Literal["", "no_adjustment", "adjustment_disturbed", "adjustment_unknown", "not_positive"]
"""Why a baseline was not adjusted; ``not_positive``: a site that exports in the hours of adjustment has no such ratio."""

_DOUBLE: Final = 2
"""A place of the day on which clocks went back counts half of each of its two intervals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExcludedDays:
    """Local days, as ordinals, that are no ordinary ones, with a reason each.

    Attributes:
        all_sites: For every site.
        by_row: For the site of a row.
    """

    all_sites: Mapping[int, str] = field(default_factory=dict)
    by_row: Mapping[int, Mapping[int, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Baseline:
    """The baseline of N sites in the K intervals of an event.

    Attributes:
        rule_name: By which rule.
        interval_start_ns: K.
        baseline_wh: N x K, import positive; 0 where there is none.
        metered_wh: N x K, what was metered; 0 where it was not.
        known: N x K, whether both are known.
        why_none: N.
        note: N.
        factor_frac: N, by how much the same day moved the baseline; 1 where it did not.
        days: What became of each day that was looked at, for rules that look at days.
    """

    rule_name: str
    interval_start_ns: NDArray[np.int64]
    baseline_wh: NDArray[np.int64]
    metered_wh: NDArray[np.int64]
    known: NDArray[np.bool_]
    why_none: tuple[WhyNone, ...]
    note: tuple[Note, ...]
    factor_frac: NDArray[np.float64]
    days: Days | None = None

    @property
    def reduced_wh(self) -> NDArray[np.int64]:
        """N x K, how much less was used than the baseline; 0 where unknown, negative when it was more."""
        return np.where(self.known, self.baseline_wh - self.metered_wh, 0)


def compute_baseline(
    rule: BaselineRule,
    meter: MeterData,
    event: Interval,
    *,
    holidays: frozenset[int] = frozenset(),
    excluded: ExcludedDays | None = None,
    disturbed: Interval | None = None,
) -> Baseline:
    """Return the baseline of every site for an event.

    Args:
        rule: By which.
        meter: Energies up to after the event, and of the days before as far back as the rule looks.
        event: Begins and ends where metering intervals do.
        holidays: Local days, as ordinals, that count as week-ends.
        excluded: Days that are not ordinary: ``event`` for those with an event, any other word for other causes.
        disturbed: When the plant itself moved the sites before or after the event, such as to charge ahead of it; those
            intervals are taken neither for adjusting nor as before or after.

    Raises:
        InvalidInputError: when the event is not where intervals are.
    """
    at = meter.calendar.positions_in(event)
    if isinstance(rule, DayMatchRule):
        return _day_match(rule, meter, event, at, holidays, excluded or ExcludedDays(), disturbed)
    if isinstance(rule, SameDayRule):
        return _level(rule.name, meter, at, _same_day_windows(rule, meter, event), disturbed, same_day=True)
    if isinstance(rule, MeterBeforeRule):
        length_ns = max(int(rule.before_h * NS_PER_HOUR), meter.calendar.step_ns)
        window = Interval(start_ns=event.start_ns - length_ns, end_ns=event.start_ns)
        return _level(rule.name, meter, at, (window,), disturbed, same_day=False)
    assert_never(rule)


def _day_match(
    rule: DayMatchRule,
    meter: MeterData,
    event: Interval,
    at: NDArray[np.int64],
    holidays: frozenset[int],
    excluded: ExcludedDays,
    disturbed: Interval | None,
) -> Baseline:
    calendar = meter.calendar
    before = _adjustment_positions(rule, meter, event)
    wanted = np.concatenate([at, before])
    slot_of = calendar.slot_number[wanted]
    days = candidate_days(
        rule,
        meter,
        event_day_number=int(calendar.day_number[at[0]]),
        # An event past midnight: its later part stands on the day after each chosen one.
        shift_days=calendar.day_number[wanted] - calendar.day_number[at[0]],
        slot_number=slot_of,
        event_slots=len(at),
        holidays=holidays,
        all_sites=excluded.all_sites,
        by_row=excluded.by_row,
    )
    count = days.place_count
    base = np.divide(days.place_twice_wh, _DOUBLE * count, out=np.zeros(count.shape), where=count > 0)
    factor, note = _factors(rule, meter, before, base[:, len(at) :], disturbed)
    baseline_wh = np.rint(base[:, : len(at)] * factor[:, None]).astype(np.int64)
    whole: NDArray[np.bool_] = days.enough & (count[:, : len(at)] > 0).all(axis=1)
    return _finished(
        rule.name,
        meter,
        at,
        baseline_wh,
        _reasons(whole, "too_few_days"),
        note,
        factor,
        days,
    )


def _adjustment_positions(rule: DayMatchRule, meter: MeterData, event: Interval) -> NDArray[np.int64]:
    """Return the positions of the hours of adjustment; none when the rule has none or the data begin too late."""
    if rule.adjustment is None:
        return np.empty(0, dtype=np.int64)
    window = Interval(
        start_ns=event.start_ns - int(rule.adjustment.from_h * NS_PER_HOUR),
        end_ns=event.start_ns - int(rule.adjustment.until_h * NS_PER_HOUR),
    )
    if window.start_ns < meter.calendar.start_ns:
        return np.empty(0, dtype=np.int64)
    return meter.calendar.positions_in(window)


def _factors(
    rule: DayMatchRule,
    meter: MeterData,
    before: NDArray[np.int64],
    base_wh: NDArray[np.float64],
    disturbed: Interval | None,
) -> tuple[NDArray[np.float64], tuple[Note, ...]]:
    """Return N factors of adjustment, and why some are 1."""
    ones = np.ones(meter.sites)
    calm = ~_touched(meter, before, disturbed)
    why: Note = ""
    if rule.adjustment is None:
        why = "no_adjustment"
    elif not len(before):
        why = "adjustment_unknown"
    elif not calm.any():
        why = "adjustment_disturbed"
    if rule.adjustment is None or why:
        return ones, (why,) * meter.sites
    known = meter.known[:, before][:, calm]
    actual_wh = meter.energy_wh[:, before][:, calm].sum(axis=1).astype(np.float64)
    expected_wh = base_wh[:, calm].sum(axis=1)
    complete: NDArray[np.bool_] = np.logical_and.reduce(known, axis=1)
    sound = complete & (actual_wh >= 0) & (expected_wh > 0)
    ratio = np.divide(actual_wh, expected_wh, out=np.ones(meter.sites), where=sound)
    factor = np.where(sound, ratio.clip(rule.adjustment.least_frac, rule.adjustment.most_frac), 1.0)
    note: list[Note] = [
        "" if good else "not_positive" if whole else "adjustment_unknown"
        for good, whole in zip(sound.tolist(), complete.tolist(), strict=True)
    ]
    return factor, tuple(note)


def _same_day_windows(rule: SameDayRule, meter: MeterData, event: Interval) -> tuple[Interval, Interval]:
    skip_ns = int(rule.skip_h * NS_PER_HOUR)
    start_ns, end_ns = event.start_ns - skip_ns, event.end_ns + skip_ns
    return (
        Interval(start_ns=start_ns - int(rule.before_h * NS_PER_HOUR), end_ns=start_ns),
        Interval(start_ns=end_ns, end_ns=end_ns + int(rule.after_h * NS_PER_HOUR)),
    )


def _level(
    name: str,
    meter: MeterData,
    at: NDArray[np.int64],
    windows: tuple[Interval, ...],
    disturbed: Interval | None,
    *,
    same_day: bool,
) -> Baseline:
    """Return a baseline that is one level: the mean of the windows."""
    sites, calendar = meter.sites, meter.calendar
    end_ns = calendar.start_ns + calendar.count * calendar.step_ns
    why: WhyNone = ""
    around = np.empty(0, dtype=np.int64)
    if windows[0].start_ns < calendar.start_ns or windows[-1].end_ns > end_ns:
        why = "window_beyond_data"
    else:
        around = np.concatenate([calendar.positions_in(window) for window in windows])
        if same_day and np.any(calendar.day_number[around] != calendar.day_number[at[0]]):
            why = "window_leaves_day"
        elif np.any(_touched(meter, around, disturbed)):
            why = "window_disturbed"
    baseline_wh = np.zeros((sites, len(at)), dtype=np.int64)
    reasons: tuple[WhyNone, ...] = (why,) * sites
    if not why:
        whole: NDArray[np.bool_] = np.logical_and.reduce(meter.known[:, around], axis=1)
        level_wh = np.rint(meter.energy_wh[:, around].mean(axis=1)).astype(np.int64)
        baseline_wh = np.repeat(np.where(whole, level_wh, 0)[:, None], len(at), axis=1)
        reasons = _reasons(whole, "window_unknown")
    unadjusted: Note = "no_adjustment"
    notes = (unadjusted,) * sites
    return _finished(name, meter, at, baseline_wh, reasons, notes, np.ones(sites), None)


def _finished(
    name: str,
    meter: MeterData,
    at: NDArray[np.int64],
    baseline_wh: NDArray[np.int64],
    why_none: tuple[WhyNone, ...],
    note: tuple[Note, ...],
    factor: NDArray[np.float64],
    days: Days | None,
) -> Baseline:
    metered = meter.known[:, at]
    has = np.array([not why for why in why_none], dtype=np.bool_)
    any_metered: NDArray[np.bool_] = np.logical_or.reduce(metered, axis=1)
    why_none = tuple(
        why if why or seen else "event_not_metered"
        for why, seen in zip(why_none, any_metered.tolist(), strict=True)
    )
    return Baseline(
        rule_name=name,
        interval_start_ns=meter.calendar.start_ns + at * meter.calendar.step_ns,
        baseline_wh=np.where(has[:, None], baseline_wh, 0),
        metered_wh=np.where(metered, meter.energy_wh[:, at], 0),
        known=metered & has[:, None],
        why_none=why_none,
        note=note,
        factor_frac=factor,
        days=days,
    )


def _reasons(has: NDArray[np.bool_], otherwise: WhyNone) -> tuple[WhyNone, ...]:
    """Return N reasons: none where there is a baseline."""
    return tuple("" if one else otherwise for one in has.tolist())


def _touched(meter: MeterData, at: NDArray[np.int64], span: Interval | None) -> NDArray[np.bool_]:
    """Whether each interval shares an instant with the span."""
    if span is None:
        return np.zeros(len(at), dtype=np.bool_)
    start_ns = meter.calendar.start_ns + at * meter.calendar.step_ns
    return (start_ns < span.end_ns) & (start_ns + meter.calendar.step_ns > span.start_ns)
