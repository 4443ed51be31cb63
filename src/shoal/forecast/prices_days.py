"""From what is known of prices, interval by interval, to days of 24 local hours, and from such days back to intervals.

Recipes of day-ahead prices think in days of 24 hours; markets have days of 23 and 25, quarters of an hour, gaps, and a
newest day that is not out yet. All of that is settled here: short gaps are interpolated, a day with a longer one is dropped
and bridged by its neighbours, and what came after the last whole day stays apart as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, time
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE
from shoal.forecast.dayahead_features import HOURS, MarketDays
from shoal.forecast.protocol import local_clock

LONGEST_GAP_H: Final = 4
"""A longer gap is not interpolated: its days are dropped."""
LONGEST_DROPPED_DAYS: Final = 7
"""After more dropped days in a row history begins anew."""
LEAST_EXOGENOUS_DAYS: Final = 182
"""An exogenous series with a shorter history is left out."""
_QUARTER_NS: Final = 15 * NS_PER_MINUTE
_DAY_NS: Final = HOURS * NS_PER_HOUR
_EPOCH: Final = date(1970, 1, 1).toordinal()
_WEEK_DAYS: Final = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class DayClock:
    """When a market's days begin: at a local time of a zone."""

    zone: str
    day_start: time = time(0)

    def days_and_hours(
        self, first_ns: int, step_ns: int, count: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the day's ordinal and the local hour since its begin for each of `count` steps that divide 15 minutes."""
        begin_ns = (self.day_start.hour * 60 + self.day_start.minute) * NS_PER_MINUTE
        ahead = local_clock(first_ns, step_ns, count, self.zone).ahead_steps
        local = first_ns // step_ns + np.arange(count, dtype=np.int64) + ahead - begin_ns // step_ns
        per_day, per_hour = _DAY_NS // step_ns, NS_PER_HOUR // step_ns
        return local // per_day + _EPOCH, local % per_day // per_hour


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curve:
    """Values over N intervals that do not overlap, ascending; NaN where one is known to be absent."""

    start_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    value: NDArray[np.float64]

    def __post_init__(self) -> None:
        count = len(self.start_ns)
        if not (self.start_ns.shape == self.end_ns.shape == self.value.shape == (count,)):
            raise InvalidInputError(field="value", value=self.value.shape, fix=f"give {count} values")
        if np.any(self.end_ns <= self.start_ns) or np.any(self.end_ns[:-1] > self.start_ns[1:]):
            raise InvalidInputError(field="start_ns", value=count, fix="ascend, and overlap nowhere")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PriceDays:
    """What is known of prices, as days of 24 hours.

    Attributes:
        days: The whole days, up to the last one.
        tail_per_mwh: K x 24 prices of the days between the last whole one and the first to forecast, NaN where unknown.
        ahead_level: (K + F) x 24 x E exogenous forecasts of these days and of the F days to forecast.
        exogenous: Names of the E series that are used.
        left_out: Why the others are not, by name.
        filled_count: Hours that were interpolated; an hour that a clock skips is none of them.
        dropped_count: Days that had too long a gap.
    """

    days: MarketDays
    tail_per_mwh: NDArray[np.float64]
    ahead_level: NDArray[np.float64]
    exogenous: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    filled_count: int = 0
    dropped_count: int = 0

    @property
    def first_target(self) -> date:
        """The first day to forecast."""
        return date.fromordinal(self.days.target_ordinal + len(self.tail_per_mwh))

    @property
    def target_days(self) -> int:
        """How many days are to be forecast."""
        return len(self.ahead_level) - len(self.tail_per_mwh)


def price_days(
    prices: Curve,
    *,
    clock: DayClock,
    target: date,
    target_days: int = 1,
    exogenous: Mapping[str, Curve] | None = None,
) -> PriceDays:
    """Return what is known of the days before `target` as days of 24 hours.

    An hour that the clock repeats is the mean of both, one that it skips lies between its neighbours. Parts of an hour are
    averaged; an hour counts as known when half of one is. Prices of `target` and later are not read.

    Args:
        prices: Prices as known.
        clock: The market's days.
        target: The first day to forecast.
        target_days: How many days.
        exogenous: Forecasts by name, as known; those that do not reach `target` or far enough back are left out.
    """
    hours, skipped, first = _hours(prices, clock)
    last = target.toordinal()
    hours, skipped = hours[: max(0, last - first)], skipped[: max(0, last - first)]
    level, filled_count = _interpolated(hours, skipped)
    whole = _whole(level)
    if not whole.any():
        first = first if len(level) else last
        return _priceless(date.fromordinal(first), _padded(level, last - first), target_days)
    begin, end = int(np.argmax(whole)), len(whole) - int(np.argmax(whole[::-1]))
    begin = _after_holes(whole, begin, end)
    rows = np.arange(begin, end)
    dropped = ~whole[rows]
    price = _bridged(level[rows], dropped)
    first += begin
    tail = _padded(level[end:], last - first - len(rows))
    table, used, left_out, unread = _exogenous(
        exogenous or {}, clock, first, len(rows), len(tail), target_days
    )
    days = MarketDays(
        first_day=date.fromordinal(first + unread),
        price_per_mwh=price[unread:],
        exogenous_level=table[unread : len(rows) + 1],
    )
    return PriceDays(
        days=days,
        tail_per_mwh=tail,
        ahead_level=table[len(rows) :],
        exogenous=used,
        left_out=left_out,
        filled_count=filled_count,
        dropped_count=int(dropped[unread:].sum()),
    )


def on_intervals(
    start_ns: NDArray[np.int64], *, clock: DayClock, first_day: date, level: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return what D x 24 (or D x 24 x Q) values of days from `first_day` on say of intervals by their starts.

    Parts of an hour all get its value; an hour that the clock repeats gets it twice, one that it skips has no interval.

    Raises:
        InvalidInputError: when an interval lies outside the days.
    """
    step_ns = int(np.gcd.reduce(np.append(start_ns, _QUARTER_NS)))
    begin_ns = int(start_ns.min())
    count = int(start_ns.max() - begin_ns) // step_ns + 1
    day, hour = clock.days_and_hours(begin_ns, step_ns, count)
    at = (start_ns - begin_ns) // step_ns
    row = day[at] - first_day.toordinal()
    if row.min() < 0 or row.max() >= len(level):
        raise InvalidInputError(field="start_ns", value=begin_ns, fix=f"stay within {len(level)} days")
    return np.asarray(level[row, hour[at]])


def _hours(curve: Curve, clock: DayClock) -> tuple[NDArray[np.float64], NDArray[np.bool_], int]:
    """Return D x 24 means (NaN where unknown), which hours the clock skips, and the first day's ordinal."""
    there = np.isfinite(curve.value)
    if not there.any():
        return np.empty((0, HOURS)), np.empty((0, HOURS), np.bool_), 0
    start_ns, end_ns, value = curve.start_ns[there], curve.end_ns[there], curve.value[there]
    step_ns = int(np.gcd.reduce(np.concatenate([start_ns, end_ns, [_QUARTER_NS]])))
    if step_ns < NS_PER_MINUTE:
        raise InvalidInputError(field="start_ns", value=step_ns, fix="give intervals of whole minutes")
    # two days more on either side, so that every day with a value is there whole
    first_ns = int(start_ns[0]) // _DAY_NS * _DAY_NS - 2 * _DAY_NS
    count = (int(end_ns[-1]) - first_ns + 2 * _DAY_NS) // step_ns
    parts = (end_ns - start_ns) // step_ns
    offset = np.arange(int(parts.sum())) - np.repeat(np.cumsum(parts) - parts, parts)
    at = np.repeat((start_ns - first_ns) // step_ns, parts) + offset
    day, hour = clock.days_and_hours(first_ns, step_ns, count)
    first = int(day[at[0]])
    row_count = int(day[at[-1]]) - first + 1
    inside = (day >= first) & (day < first + row_count)
    cell = (day - first) * HOURS + hour
    cells = row_count * HOURS
    steps = np.bincount(cell[inside], minlength=cells)
    known = np.bincount(cell[at], minlength=cells)
    total = np.bincount(cell[at], weights=np.repeat(value, parts), minlength=cells)
    enough = 2 * known >= NS_PER_HOUR // step_ns
    mean = np.where(enough, total / np.maximum(known, 1), np.nan)
    return mean.reshape(-1, HOURS), (steps == 0).reshape(-1, HOURS), first


def _interpolated(hours: NDArray[np.float64], skipped: NDArray[np.bool_]) -> tuple[NDArray[np.float64], int]:
    """Fill gaps that are short enough, and hours that the clock skips; return with how many gaps' hours were filled."""
    flat, skip = hours.ravel().copy(), skipped.ravel()
    unknown = np.isnan(flat)
    known = np.flatnonzero(~unknown)
    if not len(known) or not unknown.any():
        return flat.reshape(hours.shape), 0
    missing = np.concatenate([[0], np.cumsum(unknown & ~skip)])
    after = np.searchsorted(known, np.arange(len(flat)))
    between = (after > 0) & (after < len(known)) & unknown
    low, high = known[np.maximum(after - 1, 0)], known[np.minimum(after, len(known) - 1)]
    short = between & (missing[high] - missing[low] <= LONGEST_GAP_H)
    at = np.flatnonzero(short)
    flat[at] = np.interp(at, known, flat[known])
    return flat.reshape(hours.shape), int(np.sum(short & ~skip))


def _whole(level: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which days have all of their hours."""
    return np.asarray(np.isfinite(level).all(axis=1), dtype=np.bool_)


def _after_holes(whole: NDArray[np.bool_], begin: int, end: int) -> int:
    """Return the first row after the last run of too many dropped days."""
    run = 0
    for row in range(begin, end):
        if whole[row]:
            begin = row if run > LONGEST_DROPPED_DAYS else begin
            run = 0
        else:
            run += 1
    return begin


def _bridged(level: NDArray[np.float64], dropped: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return days in which a dropped one lies, hour by hour, between the whole days around it."""
    if not dropped.any():
        return level
    out, kept, gone = level.copy(), np.flatnonzero(~dropped), np.flatnonzero(dropped)
    for hour in range(HOURS):
        out[gone, hour] = np.interp(gone, kept, level[kept, hour])
    return out


def _padded(level: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Return `count` days, unknown where there are none."""
    return np.vstack([level, np.full((max(0, count - len(level)), HOURS), np.nan)])


def _priceless(first_day: date, tail: NDArray[np.float64], target_days: int) -> PriceDays:
    none = np.empty((len(tail) + target_days, HOURS, 0))
    days = MarketDays(first_day=first_day, price_per_mwh=np.empty((0, HOURS)), exogenous_level=none[:1])
    return PriceDays(days=days, tail_per_mwh=tail, ahead_level=none)


def _exogenous(
    curves: Mapping[str, Curve], clock: DayClock, first: int, count: int, tail_count: int, target_days: int
) -> tuple[NDArray[np.float64], tuple[str, ...], dict[str, str], int]:
    """Return (`count` + tail + targets) x 24 x E levels, the names, why others are left out, and rows to leave unread."""
    rows = count + tail_count + target_days
    used: dict[str, NDArray[np.float64]] = {}
    left_out: dict[str, str] = {}
    unread = 0
    for name, curve in sorted(curves.items()):
        level, begin = _aligned(curve, clock, first, rows)
        if begin < 0 or np.isnan(level[count + tail_count]).any():
            left_out[name] = "it does not reach the day to forecast"
        elif begin > 0 and count - begin < LEAST_EXOGENOUS_DAYS:
            left_out[name] = f"it is known for {count - begin} days"
        else:
            for row in range(count + tail_count + 1, rows):
                absent = np.isnan(level[row])
                level[row, absent] = level[row - _WEEK_DAYS if row >= _WEEK_DAYS else row - 1, absent]
            used[name] = level
            unread = max(unread, begin)
    table = np.empty((rows, HOURS, len(used)))
    for number, level in enumerate(used.values()):
        table[:, :, number] = level
    return table, tuple(used), left_out, unread


def _aligned(curve: Curve, clock: DayClock, first: int, rows: int) -> tuple[NDArray[np.float64], int]:
    """Return `rows` days from `first` on and the first from which all is known; -1 when there is none."""
    hours, skipped, begin = _hours(curve, clock)
    filled, _ = _interpolated(hours, skipped)
    level = np.full((rows, HOURS), np.nan)
    source = np.arange(rows) + first - begin
    there = (source >= 0) & (source < len(filled))
    level[there] = filled[source[there]]
    whole = _whole(level)
    if not whole.any():
        return level, -1
    start, end = int(np.argmax(whole)), len(whole) - int(np.argmax(whole[::-1]))
    start = _after_holes(whole, start, end)
    level[start:end] = _bridged(level[start:end], ~whole[start:end])
    return level, start
