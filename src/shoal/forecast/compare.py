"""Whether one forecast is better than another, or by chance: relative error and the test of Diebold and Mariano.

A day is the unit of the test, since its 24 hours are forecast at once (Ziel and Weron, Energy Economics 70 (2018); Lago
et al., Applied Energy 293 (2021)). Losses of neighbouring days resemble each other; the variance of their mean is taken
after Newey and West, without which a lead looks surer than it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import erfc, sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError

WEEK_DAYS: Final = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The test of one forecast against another.

    Attributes:
        mean: Mean daily loss of the first less that of the second, summed over the day's hours.
        z_scale: The same in standard errors; below 0 the first is better.
        p_better_frac: Chance of a lead like this if the second were as good: small speaks for the first.
        lag_days: Days over which losses were taken to resemble each other.
    """

    mean: float
    z_scale: float
    p_better_frac: float
    lag_days: int


def compare(
    observed: NDArray[np.float64],
    forecast: NDArray[np.float64],
    other_per_mwh: NDArray[np.float64],
    *,
    lag_days: int = WEEK_DAYS,
) -> Comparison:
    """Return the one-sided Diebold-Mariano test that `forecast` has the smaller daily absolute error.

    Args:
        observed: D x 24 values that came.
        forecast: D x 24 of the first.
        other_per_mwh: D x 24 of the second.
        lag_days: Truncation of the Bartlett window; 0 takes days as independent.

    Raises:
        InvalidInputError: when shapes differ, there are not more days than lags, or a number is not finite.
    """
    _check(observed, forecast)
    _check(observed, other_per_mwh)
    if len(observed) <= lag_days + 1:
        raise InvalidInputError(
            field="observed", value=len(observed), fix=f"give more than {lag_days + 1} days"
        )
    loss = np.abs(observed - forecast).sum(axis=1) - np.abs(observed - other_per_mwh).sum(axis=1)
    mean = float(loss.mean())
    variance = _newey_west(loss - mean, lag_days) / len(loss)
    # Without variance there is no difference on any day, or the same one on each.
    alike = 0.0 if mean == 0.0 else float(np.copysign(np.inf, mean))
    z = mean / sqrt(variance) if variance > 0.0 else alike
    return Comparison(mean=mean, z_scale=z, p_better_frac=0.5 * erfc(-z / sqrt(2.0)), lag_days=lag_days)


def relative_mae(
    observed: NDArray[np.float64], forecast: NDArray[np.float64], naive_per_mwh: NDArray[np.float64]
) -> float:
    """Return the mean absolute error as a multiple of that of the prices a week before (Lago et al.).

    Raises:
        InvalidInputError: when shapes differ, a number is not finite, or the naive forecast is perfect.
    """
    _check(observed, forecast)
    _check(observed, naive_per_mwh)
    reference = float(np.mean(np.abs(observed - naive_per_mwh)))
    if reference == 0.0:
        raise InvalidInputError(field="naive", value=0.0, fix="a perfect reference leaves nothing to compare")
    return float(np.mean(np.abs(observed - forecast))) / reference


def symmetric_mape(observed: NDArray[np.float64], forecast: NDArray[np.float64]) -> float:
    """Return the mean of ``2 |y - f| / (|y| + |f|)``, from 0 to 2; where both are 0 nothing was missed.

    Raises:
        InvalidInputError: when shapes differ or a number is not finite.
    """
    _check(observed, forecast)
    size = np.abs(observed) + np.abs(forecast)
    miss = np.abs(observed - forecast)
    return float(np.mean(2.0 * np.divide(miss, size, out=np.zeros_like(miss), where=size > 0.0)))


def _newey_west(centred: NDArray[np.float64], lag_days: int) -> float:
    """Return the long-run variance of a centred series. Newey and West, Econometrica 55 (1987) 703-708."""
    count = len(centred)
    total = float(centred @ centred) / count
    for lag in range(1, lag_days + 1):
        total += 2.0 * (1.0 - lag / (lag_days + 1.0)) * float(centred[lag:] @ centred[:-lag]) / count
    return total


def _check(observed: NDArray[np.float64], forecast: NDArray[np.float64]) -> None:
    if observed.ndim != 2 or forecast.shape != observed.shape or observed.size == 0:
        raise InvalidInputError(
            field="forecast", value=(observed.shape, forecast.shape), fix="give days x hours of both, alike"
        )
    if not (np.isfinite(observed).all() and np.isfinite(forecast).all()):
        raise InvalidInputError(field="forecast", value="not finite", fix="leave out days without a number")
