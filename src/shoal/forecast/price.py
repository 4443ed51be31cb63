"""Day-ahead prices by the hour, with quantiles, from nothing but past prices of the same place.

The expectation of an hour is what the same local hour did lately, corrected by where the last known evening
stood. The uncertainty is what this very rule would have missed on the days before: it is replayed over the
last weeks, each day with only the days before it, and its errors are laid around the new forecast. All of it
works on ``asinh(price / scale)``, which is linear near zero, logarithmic in a spike and at home with negative
prices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_HOUR, to_datetime

MODEL: Final = "similar-hours/1"
QUANTILE_LEVELS: Final = tuple(step / 20 for step in range(1, 20))
"""0.05 to 0.95 in steps of 0.05."""
MIN_HISTORY_DAYS: Final = 7
MAX_HORIZON_DAYS: Final = 14

_HOURS: Final = 24
_PROFILE_DAYS: Final = 28
_BACKTEST_DAYS: Final = 56
# Chosen on four ERCOT settlement points, 2021-03-08 to 2021-12-31; later prices were not looked at.
_RECENCY_DAYS: Final = 4.0
_SAME_WEEKDAY_BONUS: Final = 0.5
_LEVEL_GAIN: Final = 0.5
_EVENING_HOURS: Final = 6
_ERROR_RECENCY_DAYS: Final = 28.0
_POOL_HOURS: Final = 2
_POOL_MIN: Final = 60
_MIN_PROFILE_DAYS: Final = 3
_FULL_DAY_HOURS: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceForecast:
    """What the prices of T hours may be.

    Attributes:
        start_ns: T starts of hours, ascending.
        quantile_level: Q levels between 0 and 1, ascending.
        quantile_per_mwh: T x Q prices, never falling along Q.
        expected_per_mwh: T means of the predictive distribution; above the median where spikes are likely.
        issued_ns: When the forecast was made.
        model: Name and version of the rule.
    """

    start_ns: NDArray[np.int64]
    quantile_level: NDArray[np.float64]
    quantile_per_mwh: NDArray[np.float64]
    expected_per_mwh: NDArray[np.float64]
    issued_ns: int
    model: str


def forecast_prices(
    *,
    start_ns: NDArray[np.int64],
    price_per_mwh: NDArray[np.float64],
    target_start_ns: NDArray[np.int64],
    zone: ZoneInfo,
    issued_ns: int,
    quantile_level: tuple[float, ...] = QUANTILE_LEVELS,
) -> PriceForecast:
    """Return the forecast of the target hours from the history of published prices.

    A day-ahead price is known before it is delivered, so the history may reach past `issued_ns`: up to the
    end of the last day that was published by then. The caller passes only that; every target hour comes after
    it.

    Args:
        start_ns: H starts of the hours of history, ascending.
        price_per_mwh: H prices.
        target_start_ns: T starts of the hours to forecast, ascending, at most 14 local days past the history.
        zone: The market's time zone: prices follow the local clock.
        issued_ns: When the forecast is made; only recorded.
        quantile_level: Q levels, ascending, between 0 and 1.

    Raises:
        InvalidInputError: ``history`` when it is out of order, not finite or has fewer than 7 whole days
            among its last 28 (one more for each day of horizon beyond the first); ``target_start_ns`` when it
            is empty, out of order, not after the history or too far; ``quantile_level`` when out of order or
            range.
    """
    levels = np.asarray(quantile_level, dtype=np.float64)
    _check(start_ns, price_per_mwh, target_start_ns, levels)
    target_day, target_hour = _local(target_start_ns, zone)
    days = _by_day(start_ns, price_per_mwh, zone)
    hours_known = np.sum(~np.isnan(days.price_per_mwh[-_PROFILE_DAYS:]), axis=1)
    known = int(np.sum(hours_known >= _FULL_DAY_HOURS))
    last_horizon_days = int(target_day[-1]) - days.last_day
    if last_horizon_days > MAX_HORIZON_DAYS:
        raise InvalidInputError(
            field="target_start_ns",
            value=int(target_start_ns[-1]),
            fix=f"ask for at most {MAX_HORIZON_DAYS} local days past the history",
        )
    needed = MIN_HISTORY_DAYS + max(0, last_horizon_days - 1)
    if known < needed:
        raise InvalidInputError(
            field="history",
            value=f"{known} days",
            fix=f"give at least {needed} whole local days among the last {_PROFILE_DAYS}",
        )

    expected = np.empty(len(target_start_ns))
    quantiles = np.empty((len(target_start_ns), len(levels)))
    for day in np.unique(target_day):
        at = target_day == day
        hour_quantiles, hour_expected = similar_hours_day(
            days.price_per_mwh, horizon_days=int(day) - days.last_day, quantile_level=levels
        )
        quantiles[at] = hour_quantiles[target_hour[at]]
        expected[at] = hour_expected[target_hour[at]]
    return PriceForecast(
        start_ns=target_start_ns.copy(),
        quantile_level=levels,
        quantile_per_mwh=quantiles,
        expected_per_mwh=expected,
        issued_ns=issued_ns,
        model=MODEL,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Days:
    """History as D local days x 24 local hours, NaN where absent; `last_day` is the last one's ordinal."""

    price_per_mwh: NDArray[np.float64]
    last_day: int


def _check(
    start_ns: NDArray[np.int64],
    price_per_mwh: NDArray[np.float64],
    target_start_ns: NDArray[np.int64],
    levels: NDArray[np.float64],
) -> None:
    if len(start_ns) == 0 or len(start_ns) != len(price_per_mwh):
        raise InvalidInputError(
            field="history",
            value=(len(start_ns), len(price_per_mwh)),
            fix="give one price an hour, at least 7 days",
        )
    if np.any(np.diff(start_ns) <= 0) or not np.all(np.isfinite(price_per_mwh)):
        raise InvalidInputError(
            field="history",
            value="unordered or not finite",
            fix="sort by time, each hour once; leave out unknown hours",
        )
    if len(target_start_ns) == 0 or np.any(np.diff(target_start_ns) <= 0):
        raise InvalidInputError(
            field="target_start_ns",
            value=len(target_start_ns),
            fix="give at least one hour, ascending, each once",
        )
    if target_start_ns[0] < start_ns[-1] + NS_PER_HOUR:
        raise InvalidInputError(
            field="target_start_ns",
            value=int(target_start_ns[0]),
            fix="begin after the last hour of the history",
        )
    if len(levels) == 0 or np.any(np.diff(levels) <= 0) or not (levels[0] > 0 and levels[-1] < 1):
        raise InvalidInputError(
            field="quantile_level", value=levels.tolist(), fix="ascend strictly between 0 and 1"
        )


def _local(start_ns: NDArray[np.int64], zone: ZoneInfo) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the local day's ordinal and the local hour of each instant."""
    moments = [to_datetime(t_ns, zone) for t_ns in start_ns.tolist()]
    day = np.array([moment.toordinal() for moment in moments], dtype=np.int64)
    return day, np.array([moment.hour for moment in moments], dtype=np.int64)


def _by_day(start_ns: NDArray[np.int64], price_per_mwh: NDArray[np.float64], zone: ZoneInfo) -> _Days:
    """Return the newest days that the rule can use; an hour that the clock repeats is averaged."""
    span_days = _PROFILE_DAYS + _BACKTEST_DAYS + MAX_HORIZON_DAYS
    recent = start_ns >= start_ns[-1] - span_days * _HOURS * NS_PER_HOUR
    day, hour = _local(start_ns[recent], zone)
    row = day - day[0]
    total = np.zeros((int(row[-1]) + 1, _HOURS))
    count = np.zeros_like(total)
    np.add.at(total, (row, hour), price_per_mwh[recent])
    np.add.at(count, (row, hour), 1.0)
    mean = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return _Days(price_per_mwh=mean, last_day=int(day[-1]))


def similar_hours_day(
    price_per_mwh: NDArray[np.float64], *, horizon_days: int, quantile_level: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return 24 x Q quantiles and 24 means of the local day `horizon_days` after the last one.

    Args:
        price_per_mwh: D x 24 prices of consecutive local days, NaN where absent; the newest 98 are read.
        horizon_days: How many days after the last one; 0 is that day itself, known in part.
        quantile_level: Q levels, ascending, between 0 and 1.

    Raises:
        InvalidInputError: ``history`` when there are too few days to have missed any: 3 and the horizon.
    """
    levels, price = quantile_level, price_per_mwh[-(_PROFILE_DAYS + _BACKTEST_DAYS + MAX_HORIZON_DAYS) :]
    if horizon_days == 0:  # the rest of a day that is known in part: its own hours are no similar hours
        price, horizon_days = price[:-1], 1
    recent = price[-_PROFILE_DAYS:]
    scale = max(float(np.median(np.abs(recent[~np.isnan(recent)]))), 1.0)
    z = np.arcsinh(price / scale)
    centre = _similar_hours(z, len(z) - 1 + horizon_days, horizon_days)

    first = max(_MIN_PROFILE_DAYS + horizon_days - 1, len(z) - _BACKTEST_DAYS)
    tested = np.arange(first, len(z))
    error = np.array([z[row] - _similar_hours(z, row, horizon_days) for row in tested.tolist()])
    weight = np.exp(-(len(z) - tested) / _ERROR_RECENCY_DAYS)
    if not np.any(np.isfinite(error)):
        raise InvalidInputError(field="history", value="scattered days", fix="give consecutive days")

    quantiles = np.empty((_HOURS, len(levels)))
    expected = np.empty(_HOURS)
    for hour in range(_HOURS):
        sample = error[:, max(0, hour - _POOL_HOURS) : hour + _POOL_HOURS + 1]
        if np.sum(~np.isnan(sample)) < _POOL_MIN:
            sample = error
        weights = np.broadcast_to(weight[:, None], sample.shape)
        present = ~np.isnan(sample)
        outcome = scale * np.sinh(centre[hour] + sample[present])
        quantiles[hour] = _weighted_quantile(outcome, weights[present], levels)
        expected[hour] = float(np.average(outcome, weights=weights[present]))
    return quantiles, expected


def _similar_hours(z: NDArray[np.float64], row: int, horizon_days: int) -> NDArray[np.float64]:
    """Return the 24 centres of day `row` from the days up to `row - horizon_days`, and from no later one."""
    end = row - horizon_days + 1
    past = z[max(0, end - _PROFILE_DAYS) : end][::-1]
    age_days = np.arange(horizon_days, horizon_days + len(past))
    weight = np.exp(-(age_days - horizon_days) / _RECENCY_DAYS) * (
        1.0 + _SAME_WEEKDAY_BONUS * (age_days % 7 == 0)
    )
    present = ~np.isnan(past)
    weights = weight[:, None] * present
    total = weights.sum(axis=0)
    hours = np.arange(_HOURS)
    seen = total > 0
    if not np.any(seen):
        return np.full(_HOURS, np.nan)
    profile = np.where(present, past, 0.0)
    centre = np.interp(hours, hours[seen], (weights * profile).sum(axis=0)[seen] / total[seen])
    evening = past[0, -_EVENING_HOURS:] - centre[-_EVENING_HOURS:]
    known = ~np.isnan(evening)
    if not np.any(known):
        return np.asarray(centre)
    return np.asarray(centre + _LEVEL_GAIN * float(np.mean(evening[known])))


def _weighted_quantile(
    value: NDArray[np.float64], weight: NDArray[np.float64], levels: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return quantiles of a weighted sample, linear between the midpoints of its cumulated weights."""
    order = np.argsort(value, kind="stable")
    cumulated = np.cumsum(weight[order])
    midpoint = (cumulated - 0.5 * weight[order]) / cumulated[-1]
    return np.interp(levels, midpoint, value[order])
