"""What energy and reserve may cost together over the next hours, from what such hours missed their forecast by.

The forecast of an hour is what the same hour of the days before did, the newest counting most. By how much it missed a past
day, in all hours and all products at once, is one scenario: so a dear evening comes with dear reserve, as it did. All of it
works on ``asinh(price / scale)``. Which days are drawn depends on the seed alone, so a replay draws the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.bidding.cycle.known import Series, Situation
from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_HOUR

HISTORY_DAYS: Final = 112
MOST_SCENARIOS: Final = 40
_PROFILE_DAYS: Final = 28
_RECENCY_DAYS: Final = 5.0
_SAME_WEEKDAY_BONUS: Final = 0.5
_ERROR_DAYS: Final = 84
_ERROR_RECENCY_DAYS: Final = 28.0
_LEAST_DAYS: Final = 7
_LEAST_LAGS: Final = 3
_HOURS: Final = 24
_LEAST_HOURS: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HourScenarios:
    """S scenarios of T hours.

    Attributes:
        energy_per_mwh: S x T prices of energy.
        reserve_per_mw: S x T x P prices of reserve, never negative.
        products: P names, those of which anything is known.
    """

    energy_per_mwh: NDArray[np.float64]
    reserve_per_mw: NDArray[np.float64]
    products: tuple[str, ...]

    @property
    def expected_per_mwh(self) -> NDArray[np.float64]:
        """T means of the price of energy."""
        return np.asarray(self.energy_per_mwh.mean(axis=0))


def seed_of(situation: Situation) -> str:
    """Return what draws of a decision depend on: the resource and the gate, nothing else."""
    return f"{situation.resource_id}/{situation.gate.key}"


def hourly_means(series: Series | None, *, until_ns: int) -> dict[int, float]:
    """Return the mean price of each hour, by its start, from the intervals that end by an instant."""
    if series is None or not len(series.start_ns):
        return {}
    there = np.isfinite(series.value[:, 0]) & (series.end_ns <= until_ns)
    hour_ns, row = np.unique(series.start_ns[there] // NS_PER_HOUR * NS_PER_HOUR, return_inverse=True)
    if not len(hour_ns):
        return {}
    mean = np.bincount(row, weights=series.value[there, 0]) / np.bincount(row)
    return dict(zip(hour_ns.tolist(), mean.tolist(), strict=True))


def hour_scenarios(
    energy: Mapping[int, float],
    reserve: Mapping[str, Mapping[int, float]],
    *,
    cells: Mapping[int, tuple[int, int]],
    target_cells: Sequence[tuple[int, int]],
    price_limits: tuple[float, float],
    seed: str,
    most_count: int = MOST_SCENARIOS,
) -> HourScenarios:
    """Return scenarios of the hours to come.

    Args:
        energy: Prices by the start of the hour.
        reserve: The same of each product.
        cells: For every hour of the past that counts, its day (any whole number that grows by one a day) and its hour, 0 to 23.
        target_cells: The same of the T hours to come, the day after the last one of the past first.
        price_limits: Floor and cap; what errors add stays within.
        seed: What the draw depends on.
        most_count: No more scenarios than this; of more days that many are drawn, newer ones likelier.

    Raises:
        InvalidInputError: when fewer than seven days are known.
    """
    names = tuple(name for name in reserve if reserve[name])
    first_day, last_day = target_cells[0][0] - HISTORY_DAYS, target_cells[0][0] - 1
    cube = np.full((HISTORY_DAYS, _HOURS, 1 + len(names)), np.nan)
    for column, prices in enumerate((energy, *(reserve[name] for name in names))):
        for hour_ns, price in prices.items():
            day, hour = cells.get(hour_ns, (last_day + 1, 0))
            if first_day <= day <= last_day:
                cube[day - first_day, hour, column] = price
    whole = np.isfinite(cube[:, :, 0]).sum(axis=1) >= _LEAST_HOURS
    if int(whole.sum()) < _LEAST_DAYS:
        raise InvalidInputError(
            field="price history", value=f"{int(whole.sum())} days", fix=f"{_LEAST_DAYS} days are needed"
        )
    scale = np.array([_scale_of(cube[:, :, column]) for column in range(cube.shape[2])])
    z = np.arcsinh(cube / scale)
    centre, errors, age_days = _forecast(z)
    chosen = _drawn(
        whole[-len(errors) :] & np.isfinite(errors[:, :, 0]).any(axis=1), age_days, seed, most_count
    )
    slots = np.array([hour for _, hour in target_cells])
    drawn = np.nan_to_num(errors[chosen])[:, slots, :]
    price = scale * np.sinh(np.nan_to_num(centre)[slots] + drawn)
    floor, cap = price_limits
    return HourScenarios(
        energy_per_mwh=np.ascontiguousarray(np.clip(price[:, :, 0], floor, cap)),
        reserve_per_mw=np.ascontiguousarray(np.clip(price[:, :, 1:], 0.0, cap)),
        products=names,
    )


def _scale_of(prices: NDArray[np.float64]) -> float:
    known = np.abs(prices[np.isfinite(prices)])
    return max(float(np.median(known)), 1.0)


def _forecast(
    z: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return the forecast of the day after the last, and what the same rule missed the last days by, with their ages."""
    days = len(z)
    total, weight_of = np.zeros((days + 1, *z.shape[1:])), np.zeros((days + 1, *z.shape[1:]))
    seen = np.zeros((days + 1, *z.shape[1:]), dtype=np.int64)
    there = np.isfinite(z)
    filled = np.where(there, z, 0.0)
    for lag in range(1, _PROFILE_DAYS + 1):
        weight = np.exp(-(lag - 1) / _RECENCY_DAYS) * (1.0 + _SAME_WEEKDAY_BONUS * (lag % 7 == 0))
        total[lag:] += weight * filled[: days + 1 - lag]
        weight_of[lag:] += weight * there[: days + 1 - lag]
        seen[lag:] += there[: days + 1 - lag]
    enough = seen >= _LEAST_LAGS
    enough[-1] = seen[-1] > 0
    centre = np.divide(total, weight_of, out=np.full_like(total, np.nan), where=enough & (weight_of > 0))
    # an hour that was never seen is like the day as a whole
    last = centre[-1]
    for column in range(last.shape[1]):
        known = np.isfinite(last[:, column])
        if known.any():
            last[~known, column] = last[known, column].mean()
    tested = min(_ERROR_DAYS, days)
    errors = (z - centre[:-1])[-tested:]
    return last, errors, np.arange(tested, 0, -1)


def _drawn(
    usable: NDArray[np.bool_], age_days: NDArray[np.int64], seed: str, most_count: int
) -> NDArray[np.int64]:
    """Return the rows drawn without replacement, in order of time: the newer, the likelier (Efraimidis and Spirakis, 2006)."""
    rows = np.flatnonzero(usable)
    if not len(rows):
        raise InvalidInputError(field="price history", value="scattered days", fix="give consecutive days")
    keys = [
        -log(_uniform(f"{seed}/{age}")) / float(np.exp(-age / _ERROR_RECENCY_DAYS))
        for age in age_days[rows].tolist()
    ]
    kept = np.argsort(np.array(keys), kind="stable")[:most_count]
    return np.sort(rows[kept])


def _uniform(text: str) -> float:
    """Return a number in (0, 1] that depends on a text alone."""
    return (int.from_bytes(hashlib.sha256(text.encode()).digest()[:6]) + 1) / float(1 << 48)
