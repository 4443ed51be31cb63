"""Weights of experts by regression: the shares whose combination had the least absolute error, on days that fade.

The absolute loss becomes a weighted square (Weiszfeld; Schlossmacher, JASA 68 (1973) 857-859): each day enters once, its
errors divided by what they were, so a Gram matrix of K experts is all that is kept. Shares are not negative and sum to 1
(Granger and Ramanathan, Journal of Forecasting 3 (1984) 197-204) and are drawn towards equal ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

_STEPS: Final = 40
_USUAL_DAYS: Final = 20.0
_FIRST_DAYS: Final = 20.0
"""As many days count for equal shares at the start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitRecipe:
    """How shares are fitted.

    Attributes:
        memory_frac: Share of what a day counted that is kept the day after.
        equal_scale: Pull towards equal shares, in the mean variance of the experts around their mean.
        knee_scale: Errors below it, in the usual one, count by their square.
    """

    memory_frac: float = 0.985
    equal_scale: float = 0.1
    knee_scale: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FitState:
    """Faded sums over days and outputs, and the shares that follow from them.

    Attributes:
        gram_total: K x K products of the experts, less their mean, weighted.
        slope_total: K products with what was observed, less that mean.
        days_total: Faded count of days, one value.
        usual_level: Faded mean of absolute errors, one value; not a number before the first day.
        weight: K shares.
    """

    gram_total: NDArray[np.float64]
    slope_total: NDArray[np.float64]
    days_total: NDArray[np.float64]
    usual_level: NDArray[np.float64]
    weight: NDArray[np.float64]


def start_fitting(expert_count: int) -> FitState:
    """Return the state before the first day: equal shares."""
    return FitState(
        gram_total=np.zeros((expert_count, expert_count)),
        slope_total=np.zeros(expert_count),
        days_total=np.zeros(1),
        usual_level=np.full(1, np.nan),
        weight=np.full(expert_count, 1.0 / expert_count),
    )


def learn_fit(
    recipe: FitRecipe, state: FitState, forecast: NDArray[np.float64], observed: NDArray[np.float64]
) -> FitState:
    """Return the state after a day of H x K forecasts and H values that came."""
    size = np.abs(observed - forecast @ state.weight)
    mean = size.mean(keepdims=True)
    usual = np.where(
        np.isnan(state.usual_level), mean, state.usual_level + (mean - state.usual_level) / _USUAL_DAYS
    )
    if usual[0] <= 0.0:  # no error so far: nothing to choose by
        return state
    level = forecast.mean(axis=1)
    around = forecast - level[:, None]
    weighted = around / np.maximum(size, recipe.knee_scale * usual)[:, None]
    gram = recipe.memory_frac * state.gram_total + weighted.T @ around
    slope = recipe.memory_frac * state.slope_total + weighted.T @ (observed - level)
    days = recipe.memory_frac * state.days_total + 1.0
    pull = recipe.equal_scale * np.trace(gram) / len(gram) * (1.0 + _FIRST_DAYS / days[0])
    return FitState(
        gram_total=gram,
        slope_total=slope,
        days_total=days,
        usual_level=usual,
        weight=_least(gram + pull * np.eye(len(gram)), slope + pull / len(gram), state.weight),
    )


def _least(
    gram: NDArray[np.float64], slope: NDArray[np.float64], start: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return shares that minimise ``w'Gw/2 - s'w``, by projected gradients with momentum (Beck and Teboulle 2009)."""
    largest = float(np.linalg.eigvalsh(gram)[-1])
    if largest <= 0.0:
        return start
    weight = ahead = start
    pace = 1.0
    for _ in range(_STEPS):
        new = _onto_shares(ahead - (gram @ ahead - slope) / largest)
        faster = (1.0 + np.sqrt(1.0 + 4.0 * pace * pace)) / 2.0
        ahead = new + (pace - 1.0) / faster * (new - weight)
        weight, pace = new, faster
    return weight


def _onto_shares(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the nearest point that is not negative and sums to 1 (Held, Wolfe and Crowder 1974)."""
    falling = -np.sort(-value)
    excess = (np.cumsum(falling) - 1.0) / np.arange(1, len(value) + 1)
    kept = int(np.count_nonzero(falling > excess))
    return np.asarray(np.maximum(value - excess[kept - 1], 0.0))
