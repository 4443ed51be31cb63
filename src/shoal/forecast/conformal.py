"""Quantiles around a point forecast, from what it missed lately: conformal prediction that adapts to how hard a day is.

Errors are kept in units of a scale that each day's circumstances give (how large errors were lately, how far the experts
are apart), so a calm spell does not narrow a stormy day. Levels are then steered by what was covered: a quantile that is
exceeded too often is moved (Gibbs and Candès, "Adaptive conformal inference under distribution shift", NeurIPS 2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError

_LEAST: Final = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class ConformalRecipe:
    """How errors become quantiles.

    Attributes:
        level: Q levels between 0 and 1, ascending.
        window_days: Days of errors that are kept.
        neighbour_count: Hours on either side that lend their errors to an hour.
        slow_frac: Share of an hour's own mean absolute error in the scale.
        fast_frac: Share of all hours' mean absolute error of the last days.
        spread_frac: Factor of the standard deviation among experts.
        slow_days: Memory of the slow mean.
        fast_days: Memory of the fast mean.
        steer_frac: By how much of a day's miss a level is moved.
        least_days: Days of errors without which a normal law stands in.
    """

    level: tuple[float, ...] = tuple(step / 100 for step in range(1, 100))
    window_days: int = 250
    neighbour_count: int = 2
    slow_frac: float = 0.4
    fast_frac: float = 0.3
    spread_frac: float = 0.45
    slow_days: float = 20.0
    fast_days: float = 5.0
    steer_frac: float = 0.02
    least_days: int = 14


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ConformalState:
    """What was missed so far.

    Attributes:
        error_scale: N x H newest errors, observed less forecast, in units of the day's scale.
        slow_scale: H faded means of absolute errors, in the unit of the data.
        fast_scale: Their mean over the hours, faded faster.
        steer_level: Q corrections of the levels.
    """

    error_scale: NDArray[np.float64]
    slow_scale: NDArray[np.float64]
    fast_scale: NDArray[np.float64]
    steer_level: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spread:
    """A predictive distribution of H values.

    Attributes:
        scale: H units that errors are counted in.
        quantile: H x Q, never falling along Q.
        mean: H means.
    """

    scale: NDArray[np.float64]
    quantile: NDArray[np.float64]
    mean: NDArray[np.float64]


def start_conforming(recipe: ConformalRecipe, output_count: int) -> ConformalState:
    """Return the state before the first day.

    Raises:
        InvalidInputError: when levels are out of order or range.
    """
    level = np.asarray(recipe.level)
    if level.size == 0 or np.any(np.diff(level) <= 0) or not (level[0] > 0 and level[-1] < 1):
        raise InvalidInputError(field="level", value=recipe.level, fix="ascend strictly between 0 and 1")
    return ConformalState(
        error_scale=np.empty((0, output_count)),
        slow_scale=np.full(output_count, np.nan),
        fast_scale=np.full(1, np.nan),
        steer_level=np.zeros(level.size),
    )


def spread_around(
    recipe: ConformalRecipe,
    state: ConformalState,
    forecast: NDArray[np.float64],
    disagreement_scale: NDArray[np.float64],
) -> Spread:
    """Return the distribution around H point forecasts.

    Args:
        recipe: How.
        state: What was missed before.
        forecast: H point forecasts.
        disagreement_scale: H standard deviations among the experts.
    """
    if len(state.error_scale):
        usual = recipe.slow_frac * state.slow_scale + recipe.fast_frac * state.fast_scale[0]
        scale = usual + recipe.spread_frac * disagreement_scale + _LEAST
    else:
        scale = disagreement_scale + _LEAST
    sample = _pooled(state.error_scale, recipe.neighbour_count)
    if len(state.error_scale) < recipe.least_days:
        sample = np.vstack([sample, np.broadcast_to(_NORMAL[:, None], (len(_NORMAL), len(forecast)))])
    level = np.clip(np.asarray(recipe.level) + state.steer_level, 0.0, 1.0)
    quantile = np.quantile(sample, np.maximum.accumulate(level), axis=0).T
    return Spread(
        scale=scale,
        quantile=forecast[:, None] + scale[:, None] * quantile,
        mean=forecast + scale * sample.mean(axis=0),
    )


def learn_errors(
    recipe: ConformalRecipe,
    state: ConformalState,
    spread: Spread,
    forecast: NDArray[np.float64],
    observed: NDArray[np.float64],
) -> ConformalState:
    """Return the state after a day whose H values became known."""
    error = observed - forecast
    size = np.abs(error)
    first = not len(state.error_scale)
    slow = size if first else state.slow_scale + (size - state.slow_scale) / recipe.slow_days
    fast = size.mean(keepdims=True)
    if not first:
        fast = state.fast_scale + (fast - state.fast_scale) / recipe.fast_days
    below = np.mean(observed[:, None] <= spread.quantile, axis=0)
    kept = np.vstack([state.error_scale, (error / spread.scale)[None, :]])[-recipe.window_days :]
    return ConformalState(
        error_scale=kept,
        slow_scale=slow,
        fast_scale=fast,
        steer_level=state.steer_level + recipe.steer_frac * (np.asarray(recipe.level) - below),
    )


def _pooled(error: NDArray[np.float64], neighbour_count: int) -> NDArray[np.float64]:
    """Return the errors of each hour and its neighbours, (N * (2 n + 1)) x H."""
    hours = np.arange(error.shape[1])
    shifts = range(-neighbour_count, neighbour_count + 1)
    return np.vstack([error[:, np.clip(hours + shift, 0, len(hours) - 1)] for shift in shifts])


_NORMAL: Final = np.array([-2.0, -1.3, -0.9, -0.6, -0.4, -0.2, 0.0, 0.2, 0.4, 0.6, 0.9, 1.3, 2.0])
"""Stands in for errors until there are some."""
