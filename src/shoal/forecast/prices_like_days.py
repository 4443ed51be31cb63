"""Prices of the days to come from the days that were like them: kernel ridge on a whole week of prices, nothing carried on.

One regression a decision, with nothing remembered from the day before; its errors on the newest days, each left out in
turn, are laid around the forecast. It works on ``asinh`` of prices, so quantiles are wide on the side where spikes are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.forecast import _prices_kernel as kernels
from shoal.forecast.dayahead_features import (
    HOURS,
    LONGEST_LAG_DAYS,
    Inputs,
    InputWeights,
    MarketDays,
    Scaler,
    fit_scaler,
)

_FLAT: Final = 1e-6
_BEYOND: Final = 1.0
"""How far beyond the scaled prices of its window a forecast may go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LikeDaysRecipe:
    """What makes days alike, and how much each counts.

    Attributes:
        inputs: What is looked at.
        weights: How much a group of inputs adds to distance.
        linear_scale: Weight of the linear part of the kernel.
        length_scale: Distance over which likeness falls to 1/e.
        noise_frac: Variance of the noise of the newest day, in that of scaled prices.
        half_life_days: Age at which a day counts half.
        error_days: Newest days whose errors are laid around the forecast.
        error_half_life_days: Age at which an error counts half.
        neighbour_count: Hours on either side that lend their errors to an hour.
    """

    inputs: Inputs = field(default_factory=lambda: Inputs(price_lag_days=(1, 2, 3, 4, 5, 6, 7)))
    weights: InputWeights = field(
        default_factory=lambda: InputWeights(
            price_scale=(1.0, 0.5, 0.5, 0.4, 0.4, 0.4, 0.5),
            exogenous_scale=(2.0, 0.7, 0.4),
            level_scale=0.3,
            weekday_scale=0.2,
            season_scale=0.5,
        )
    )
    linear_scale: float = 1.0
    length_scale: float = 2.0
    noise_frac: float = 0.3
    half_life_days: float = 500.0
    error_days: int = 120
    error_half_life_days: float = 30.0
    neighbour_count: int = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LikeDays:
    """A fitted regression of N days.

    Attributes:
        scaler: Of prices and exogenous forecasts.
        x_level: P means of the inputs.
        x_scale: P factors that follow.
        x: N x P inputs.
        y_level: 24 means of scaled prices.
        y_scale: Their unit.
        low: The lowest scaled price, and `high` the highest.
        high: See `low`.
        weight: N x 24 weights of the days.
        error_scale: E x 24 errors on the newest days, observed less what the others say, in scaled prices.
    """

    scaler: Scaler
    x_level: NDArray[np.float64]
    x_scale: NDArray[np.float64]
    x: NDArray[np.float64]
    y_level: NDArray[np.float64]
    y_scale: float
    low: float
    high: float
    weight: NDArray[np.float64]
    error_scale: NDArray[np.float64]


def fit_like_days(recipe: LikeDaysRecipe, days: MarketDays) -> LikeDays:
    """Return the regression of the known days, of which there must be more than 8."""
    first = LONGEST_LAG_DAYS
    scaler = fit_scaler(days, "asinh", first)
    raw = scaler.inputs(days, recipe.inputs, first, days.count - 1)
    observed = scaler.outputs(days, first, days.count - 1)
    spread = raw.std(axis=0)
    factors = recipe.weights.factors(recipe.inputs, "asinh", days.exogenous_level.shape[2])
    x_scale = np.where(spread < _FLAT, 0.0, factors / np.maximum(spread, _FLAT))
    x_level, y_level = raw.mean(axis=0), observed.mean(axis=0)
    y_scale = max(float(observed.std()), _FLAT)
    x = np.ascontiguousarray((raw - x_level) * x_scale)
    y = (observed - y_level) / y_scale
    upper = kernels.likeness(x, np.ascontiguousarray(x.T), recipe.linear_scale, recipe.length_scale)
    age_days = np.arange(len(x), 0, -1)
    upper[np.diag_indices(len(x))] += recipe.noise_frac * 2.0 ** (age_days / recipe.half_life_days)
    kernels.factor_upper(upper)
    weight = kernels.solve_upper(upper, np.ascontiguousarray(y))
    newest = min(recipe.error_days, len(x))
    error = weight[-newest:] / kernels.newest_inverse(upper, newest)[:, None]
    return LikeDays(
        scaler=scaler,
        x_level=x_level,
        x_scale=x_scale,
        x=x,
        y_level=y_level,
        y_scale=y_scale,
        low=float(observed.min()) - _BEYOND,
        high=float(observed.max()) + _BEYOND,
        weight=weight,
        error_scale=error * y_scale,
    )


def predict_like_days(
    recipe: LikeDaysRecipe,
    fitted: LikeDays,
    days: MarketDays,
    level: NDArray[np.float64],
    *,
    ahead_days: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return 24 central prices of the day after some days, and 24 x Q quantiles.

    Args:
        recipe: The one that was fitted.
        fitted: The regression.
        days: What is known, or taken for known, up to the day before.
        level: Q levels, ascending.
        ahead_days: How far the day is from the last known one; uncertainty grows with its root.
    """
    raw = fitted.scaler.inputs(days, recipe.inputs, days.count, days.count)
    columns = np.ascontiguousarray(((raw - fitted.x_level) * fitted.x_scale).T)
    alike = kernels.likeness(fitted.x, columns, recipe.linear_scale, recipe.length_scale)
    z = kernels.weighted_sums(alike, fitted.weight)[0] * fitted.y_scale + fitted.y_level
    central = fitted.scaler.prices(days, np.clip(z, fitted.low, fitted.high))
    quantile = np.empty((HOURS, len(level)))
    error = fitted.error_scale * np.sqrt(float(ahead_days))
    age_days = np.arange(len(error), 0, -1)
    weight = 0.5 ** (age_days / recipe.error_half_life_days)
    for hour in range(HOURS):
        lent = slice(max(0, hour - recipe.neighbour_count), hour + recipe.neighbour_count + 1)
        sample = error[:, lent]
        missed = _weighted_quantile(sample.ravel(), np.repeat(weight, sample.shape[1]), level)
        scaled = np.clip(z[hour] + missed, fitted.low, fitted.high)
        quantile[hour] = fitted.scaler.prices(days, scaled)
    return central, quantile


def followed(
    days: MarketDays, price_per_mwh: NDArray[np.float64], ahead_level: NDArray[np.float64]
) -> MarketDays:
    """Return the days with one more, and the exogenous forecasts, 24 x E, of the one after it."""
    return MarketDays(
        first_day=days.first_day,
        price_per_mwh=np.vstack([days.price_per_mwh, price_per_mwh]),
        exogenous_level=np.concatenate([days.exogenous_level, ahead_level[None]]),
    )


def _weighted_quantile(
    value: NDArray[np.float64], weight: NDArray[np.float64], level: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return quantiles of a weighted sample, linear between the midpoints of its cumulated weights."""
    order = np.argsort(value, kind="stable")
    cumulated = np.cumsum(weight[order])
    midpoint = (cumulated - 0.5 * weight[order]) / cumulated[-1]
    return np.interp(level, midpoint, value[order])
