"""Forecasts that were issued against what came: each interval by the last word before anything of its outcome was known.

Nothing here is forecast again. A forecast counts when it was said before its interval began and before the first word of
the outcome; the naive one beside it is the same local time a week before, as it was known when the forecast was said.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final, TypeAlias
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from shoal.domain.facts import SeriesId
from shoal.domain.interval import NS_PER_S, to_datetime, to_ns
from shoal.forecast.score import crps_from_quantiles, mae, pinball
from shoal.store.facts_columns import Columns

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

LEVELS: Final = (0.05, 0.5, 0.95)
"""What the second to fourth column of a forecast of the plant are; the first one is its mean."""
NAIVE_DAYS: Final = 7
MARGIN_DAYS: Final = NAIVE_DAYS + 1
"""So much more of the outcomes is read, for the naive forecast."""
OWN: Final = "forecast/"
_OTHERS: Final = {"forecast": "actual", "p5min": "actual"}
_PRICES: Final = ("predispatch", "p5min")
_MEDIAN: Final = LEVELS.index(0.5)
_WHOLE_S: Final = 1e-3


def outcome_of(series_id: str) -> SeriesId | None:
    """Return the series of what came of a forecast; None for a series that is no forecast.

    >>> outcome_of("forecast/price/sdac/DE-LU/day-ahead")
    'price/sdac/DE-LU/day-ahead'
    >>> outcome_of("load/sdac/DE-LU/forecast")
    'load/sdac/DE-LU/actual'
    """
    if series_id.startswith(OWN):
        return SeriesId(series_id.removeprefix(OWN))
    kind, _, rest = series_id.partition("/")
    place, _, last = rest.rpartition("/")
    if kind == "load" and last in _OTHERS:
        return SeriesId(f"{kind}/{place}/{_OTHERS[last]}")
    for name in _PRICES:
        if kind == "price" and (last == name or last.startswith(f"{name}-")):
            return SeriesId(f"{kind}/{place}/dispatch{last.removeprefix(name)}")
    return None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Issued:
    """What was forecast: N words, each about one interval, ordered by start and then by how they replace each other.

    Attributes:
        start_ns: N starts.
        end_ns: N ends.
        known_ns: N instants at which they were said.
        value: N x V: the mean and the quantiles of `LEVELS`, or one number.
    """

    start_ns: Ints
    end_ns: Ints
    known_ns: Ints
    value: Floats

    @property
    def has_quantiles(self) -> bool:
        """Whether it says how sure it is."""
        return bool(self.value.shape[1] > len(LEVELS))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Matched:
    """Forecasts and what came, N intervals, ascending.

    Attributes:
        start_ns: N starts.
        end_ns: N ends.
        issued_ns: N instants at which the forecasts were said.
        day: N local days in which the intervals start.
        observed: N outcomes: means over the intervals.
        mean: N forecasts.
        quantile: N x Q forecasts of the quantiles; Q is 0 for a forecast without.
        naive: N values a week before, NaN where it was not known.
    """

    start_ns: Ints
    end_ns: Ints
    issued_ns: Ints
    day: tuple[date, ...]
    observed: Floats
    mean: Floats
    quantile: Floats
    naive: Floats

    def __len__(self) -> int:
        return len(self.start_ns)

    @property
    def central(self) -> Floats:
        """The medians, or the forecasts themselves."""
        return self.quantile[:, _MEDIAN] if self.quantile.shape[1] else self.mean

    def take(self, rows: NDArray[np.bool_] | Ints) -> Matched:
        """Return some of them."""
        chosen = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        return Matched(
            start_ns=self.start_ns[chosen],
            end_ns=self.end_ns[chosen],
            issued_ns=self.issued_ns[chosen],
            day=tuple(self.day[row] for row in chosen.tolist()),
            observed=self.observed[chosen],
            mean=self.mean[chosen],
            quantile=self.quantile[chosen],
            naive=self.naive[chosen],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Scores over some intervals; None where there is nothing to score, or no quantile.

    Attributes:
        count: Intervals.
        mae: Mean absolute error of the median.
        bias: Mean of forecast less outcome; above 0 it was too high.
        pinball: Mean pinball loss over `LEVELS`.
        crps: Continuous ranked probability score on `LEVELS`.
        inside_frac: Share of outcomes between the outermost quantiles.
        naive_count: Intervals that have a naive forecast.
        naive_mae: Its mean absolute error on them.
        naive_crps: Its score on the same levels, as a forecast that is always sure.
        beside_mae: The forecast's own error on those intervals, to compare.
    """

    count: int
    mae: float | None = None
    bias: float | None = None
    pinball: float | None = None
    crps: float | None = None
    inside_frac: float | None = None
    naive_count: int = 0
    naive_mae: float | None = None
    naive_crps: float | None = None
    beside_mae: float | None = None


def issued_of(columns: Columns) -> Issued:
    """Return what the store of facts holds of a forecast."""
    return Issued(
        start_ns=columns.start_ns, end_ns=columns.end_ns, known_ns=columns.known_ns, value=columns.value
    )


def match(issued: Issued, outcomes: Columns, *, zone: ZoneInfo, as_of_ns: int) -> Matched:
    """Return every interval of which a forecast was said in time and the whole outcome is known.

    Args:
        issued: All that was forecast, in the order (start, revision, known).
        outcomes: All that was said of the outcomes in this order, `NAIVE_DAYS` before the forecasts too.
        zone: The market's clock.
        as_of_ns: Outcomes count as they are known at this instant.
    """
    seen = outcomes.take(outcomes.known_ns <= as_of_ns)
    newest = seen.take(_last_of_each(seen.start_ns))
    newest = newest.take(np.isfinite(newest.value[:, 0]))
    rows = np.flatnonzero(np.isfinite(issued.value).all(axis=1) & (issued.known_ns < issued.start_ns))
    start_ns, end_ns = issued.start_ns[rows], issued.end_ns[rows]
    observed = _means(newest, start_ns, end_ns)
    first_ns = _first_words(seen, start_ns, end_ns)
    in_time = np.isfinite(observed) & (issued.known_ns[rows] < first_ns)
    rows, observed = rows[in_time], observed[in_time]
    last = _last_of_each(issued.start_ns[rows])
    rows, observed = rows[last], observed[last]
    start_ns, end_ns, issued_ns = issued.start_ns[rows], issued.end_ns[rows], issued.known_ns[rows]
    quantiles = len(LEVELS) if issued.has_quantiles else 0
    return Matched(
        start_ns=start_ns,
        end_ns=end_ns,
        issued_ns=issued_ns,
        day=tuple(to_datetime(at_ns, zone).date() for at_ns in start_ns.tolist()),
        observed=observed,
        mean=issued.value[rows, 0],
        quantile=issued.value[rows, 1 : 1 + quantiles],
        naive=naive(outcomes, start_ns, end_ns, issued_ns, zone=zone),
    )


def naive(outcomes: Columns, start_ns: Ints, end_ns: Ints, issued_ns: Ints, *, zone: ZoneInfo) -> Floats:
    """Return the outcomes of the same local time a week before, as known when each forecast was said; NaN where not."""
    found = np.full(len(start_ns), np.nan)
    back = timedelta(days=NAIVE_DAYS)
    before_ns = np.array([_before(at, back, zone) for at in start_ns.tolist()], dtype=np.int64)
    until_ns = before_ns + (end_ns - start_ns)
    for issue_ns in np.unique(issued_ns).tolist():
        rows = np.flatnonzero(issued_ns == issue_ns)
        # of few rows a few outcomes: one before the first is the one that may reach into it
        low, high = outcomes.start_ns.searchsorted((before_ns[rows].min(), until_ns[rows].max())).tolist()
        if low > 0:
            low = int(outcomes.start_ns.searchsorted(outcomes.start_ns[low - 1]))
        near = outcomes.take(slice(low, high))
        seen = near.take(near.known_ns <= issue_ns)
        known = seen.take(_last_of_each(seen.start_ns))
        known = known.take(np.isfinite(known.value[:, 0]))
        found[rows] = _means(known, before_ns[rows], until_ns[rows])
    return found


def scored(matched: Matched) -> Scored:
    """Return the scores over all the intervals given."""
    if not len(matched):
        return Scored(count=0)
    has_quantiles = matched.quantile.shape[1] > 0
    level = np.array(LEVELS)
    beside = matched.take(np.isfinite(matched.naive))
    return Scored(
        count=len(matched),
        mae=mae(matched.observed, matched.central),
        bias=float(np.mean(matched.mean - matched.observed)),
        pinball=float(pinball(matched.observed, matched.quantile, level).mean()) if has_quantiles else None,
        crps=crps_from_quantiles(matched.observed, matched.quantile, level) if has_quantiles else None,
        inside_frac=float(_inside(matched).mean()) if has_quantiles else None,
        naive_count=len(beside),
        naive_mae=mae(beside.observed, beside.naive) if len(beside) else None,
        naive_crps=crps_from_quantiles(
            beside.observed, np.repeat(beside.naive[:, None], len(LEVELS), axis=1), level
        )
        if len(beside)
        else None,
        beside_mae=mae(beside.observed, beside.central) if len(beside) else None,
    )


def by_step(matched: Matched, *, days: int) -> list[tuple[date, date, Matched]]:
    """Return the intervals by stretches of local days: first day, the day after the last, and what lies between.

    Weeks begin on Mondays.
    """
    groups: dict[date, list[int]] = {}
    for row, day in enumerate(matched.day):
        first = day - timedelta(days=day.weekday()) if days == NAIVE_DAYS else day
        groups.setdefault(first, []).append(row)
    return [
        (first, first + timedelta(days=days), matched.take(np.array(rows, dtype=np.int64)))
        for first, rows in sorted(groups.items())
    ]


def shares_below(matched: Matched) -> Floats:
    """Return, for N intervals and Q levels, whether the outcome was at or below the quantile, as 0 or 1."""
    return np.asarray(matched.observed[:, None] <= matched.quantile, dtype=np.float64)


def spread_by_day(matched: Matched, value: Floats) -> float | None:
    """Return the standard error of a mean over intervals, whose unit is the day: hours of one day resemble each other.

    None for fewer than five days: so few say nothing of it.
    """
    days = by_step(matched, days=1)
    if len(days) < 5:
        return None
    at = {day: number for number, (day, _, _) in enumerate(days)}
    owner = np.array([at[day] for day in matched.day])
    # the sandwich of a mean over clusters
    sums = np.bincount(owner, weights=value - value.mean(), minlength=len(days))
    few = len(days) / (len(days) - 1.0)
    return float(np.sqrt(few * np.sum(sums**2)) / len(value))


def _inside(matched: Matched) -> NDArray[np.bool_]:
    low, high = matched.quantile[:, 0], matched.quantile[:, -1]
    return np.asarray((low <= matched.observed) & (matched.observed <= high), dtype=np.bool_)


def _before(at_ns: int, back: timedelta, zone: ZoneInfo) -> int:
    """Return the same local time some days before."""
    local: datetime = to_datetime(at_ns, zone)
    return to_ns(local - back)


def _means(known: Columns, start_ns: Ints, end_ns: Ints) -> Floats:
    """Return the means of what is constant on intervals over others; NaN where not all of it is known."""
    if not len(known) or not len(start_ns):
        return np.full(len(start_ns), np.nan)
    base_ns = int(known.start_ns[0])
    length_s = (known.end_ns - known.start_ns) / NS_PER_S
    at_s = np.column_stack(
        [(known.start_ns - base_ns) / NS_PER_S, (known.end_ns - base_ns) / NS_PER_S]
    ).ravel()
    covered_s, sums = np.cumsum(length_s), np.cumsum(length_s * known.value[:, 0])
    covered = np.column_stack([covered_s - length_s, covered_s]).ravel()
    total = np.column_stack([sums - length_s * known.value[:, 0], sums]).ravel()
    from_s, to_s = (start_ns - base_ns) / NS_PER_S, (end_ns - base_ns) / NS_PER_S
    has_s = np.interp(to_s, at_s, covered) - np.interp(from_s, at_s, covered)
    whole = np.abs(has_s - (to_s - from_s)) < _WHOLE_S
    mean = (np.interp(to_s, at_s, total) - np.interp(from_s, at_s, total)) / np.where(
        whole, to_s - from_s, 1.0
    )
    return np.where(whole, mean, np.nan)


def _first_words(said: Columns, start_ns: Ints, end_ns: Ints) -> Ints:
    """Return when the first word of anything in each interval became known."""
    never = np.iinfo(np.int64).max
    if not len(said):
        return np.full(len(start_ns), never, dtype=np.int64)
    first = np.flatnonzero(np.concatenate([[True], said.start_ns[1:] != said.start_ns[:-1]]))
    first_ns = np.minimum.reduceat(said.known_ns, first)
    starts, ends = said.start_ns[first], np.maximum.reduceat(said.end_ns, first)
    low = np.searchsorted(ends, start_ns, side="right")
    high = np.searchsorted(starts, end_ns, side="left")
    found = np.full(len(start_ns), never, dtype=np.int64)
    one = np.flatnonzero(high - low == 1)
    found[one] = first_ns[low[one]]
    for row in np.flatnonzero(high - low > 1).tolist():
        found[row] = first_ns[low[row] : high[row]].min()
    return found


def _last_of_each(starts: Ints) -> NDArray[np.bool_]:
    last = np.ones(len(starts), dtype=np.bool_)
    np.not_equal(starts[1:], starts[:-1], out=last[:-1])
    return last
