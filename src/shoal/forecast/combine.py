"""Experts combined online: each output has weights of its own that follow who was right lately.

Bernstein online aggregation with the gradient of the absolute loss (Wintenberger, Machine Learning 106 (2017) 119-141;
Gaillard et al., COLT 2014), with changes for series that drift: regrets fade, and the weights of an output are drawn
towards those of its neighbours and the mean of all, since 24 hours of a day are judged on few days each. Half of a weight
may come from a regression instead (`combine_fit`), which knows how errors cancel; what is still missed on one side, output
by output, is corrected in small steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.forecast.combine_fit import FitRecipe, FitState, learn_fit, start_fitting

_USUAL_DAYS = 20.0
_CORRECTION_POOL_FRAC = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class CombineRecipe:
    """How weights follow the losses.

    Attributes:
        memory_frac: Share of a regret that is kept from one day to the next.
        pool_frac: Share of the mean over all outputs in the weights of one.
        rate_scale: Multiplies the rate at which weights follow; 1 is the theory's.
        equal_frac: Share that all experts have in equal parts, whatever they did.
        neighbour_scale: Outputs over which the weights of one are smoothed, as ``exp(-distance / scale)``; 0 for none.
        fitted_frac: Share of the weights of the regression.
        fit: How that regression is made.
        correction_frac: Step of the correction, in an output's usual error, after a day on its one side.
    """

    memory_frac: float = 0.98
    pool_frac: float = 0.5
    rate_scale: float = 0.7
    equal_frac: float = 0.0
    neighbour_scale: float = 0.0
    fitted_frac: float = 0.0
    fit: FitRecipe = field(default_factory=FitRecipe)
    correction_frac: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CombineState:
    """What was learned of K experts for H outputs.

    Attributes:
        regret_total: H x K faded sums of regrets.
        square_total: H x K faded sums of their squares.
        fit: The regression.
        correction_level: H values that are added to the combination, in the unit of the data.
        usual_level: H faded means of absolute errors of the corrected combination; not a number before the first.
    """

    regret_total: NDArray[np.float64]
    square_total: NDArray[np.float64]
    fit: FitState
    correction_level: NDArray[np.float64]
    usual_level: NDArray[np.float64]


def start_combining(output_count: int, expert_count: int) -> CombineState:
    """Return the state before the first day: all experts weigh the same."""
    zeros = np.zeros((output_count, expert_count))
    return CombineState(
        regret_total=zeros,
        square_total=zeros.copy(),
        fit=start_fitting(expert_count),
        correction_level=np.zeros(output_count),
        usual_level=np.full(output_count, np.nan),
    )


def weights_of(recipe: CombineRecipe, state: CombineState) -> NDArray[np.float64]:
    """Return H x K weights; each row is not negative and sums to 1."""
    weight = _aggregated(recipe, state)
    count = weight.shape[1]
    if recipe.fitted_frac > 0.0:
        weight = (1.0 - recipe.fitted_frac) * weight + recipe.fitted_frac * state.fit.weight
    return np.asarray((1.0 - recipe.equal_frac) * weight + recipe.equal_frac / count)


def combine(weight: NDArray[np.float64], forecast: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return H combined values of H x K forecasts."""
    return np.asarray(np.sum(weight * forecast, axis=1))


def learn(
    recipe: CombineRecipe, state: CombineState, forecast: NDArray[np.float64], observed: NDArray[np.float64]
) -> CombineState:
    """Return the state after a day.

    Args:
        recipe: How weights follow.
        state: The state that the day was forecast with.
        forecast: H x K values that the experts said.
        observed: H values that came.

    Raises:
        InvalidInputError: when shapes do not fit or a number is not finite.
    """
    if forecast.shape != state.regret_total.shape or observed.shape != forecast.shape[:1]:
        raise InvalidInputError(
            field="forecast", value=forecast.shape, fix=f"give shape {state.regret_total.shape}"
        )
    if not (np.isfinite(forecast).all() and np.isfinite(observed).all()):
        raise InvalidInputError(field="forecast", value="not finite", fix="leave the expert out")
    # Each way learns from what it would have said alone.
    combined = combine(_aggregated(recipe, state), forecast)
    gain = np.sign(combined - observed)[:, None] * (combined[:, None] - forecast)
    square = gain * gain
    kept = recipe.memory_frac
    said = combine(weights_of(recipe, state), forecast) + state.correction_level
    usual = _usual(state, observed - said)
    return CombineState(
        # The second order keeps an expert that swings from being trusted for a lucky day.
        regret_total=kept * state.regret_total + gain - _rate(recipe, state) * square,
        square_total=kept * kept * state.square_total + square,
        fit=learn_fit(recipe.fit, state.fit, forecast, observed) if recipe.fitted_frac > 0.0 else state.fit,
        correction_level=_corrected(recipe, state, observed - said, usual),
        usual_level=usual,
    )


def _aggregated(recipe: CombineRecipe, state: CombineState) -> NDArray[np.float64]:
    """Return H x K weights from regrets."""
    regret = state.regret_total
    exponent = _rate(recipe, state) * (regret - regret.max(axis=1, keepdims=True))
    weight = np.exp(np.maximum(exponent, -50.0))
    weight /= weight.sum(axis=1, keepdims=True)
    if recipe.neighbour_scale > 0.0:
        hours = np.arange(len(weight))
        near = np.exp(-np.abs(np.subtract.outer(hours, hours)) / recipe.neighbour_scale)
        weight = near @ weight / near.sum(axis=1, keepdims=True)
    return np.asarray(
        (1.0 - recipe.pool_frac) * weight + recipe.pool_frac * weight.mean(axis=0, keepdims=True)
    )


def _usual(state: CombineState, error: NDArray[np.float64]) -> NDArray[np.float64]:
    size = np.abs(error)
    return np.where(
        np.isnan(state.usual_level), size, state.usual_level + (size - state.usual_level) / _USUAL_DAYS
    )


def _corrected(
    recipe: CombineRecipe, state: CombineState, error: NDArray[np.float64], usual: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the correction after a day: a step towards the side of the error, whatever its size."""
    if recipe.correction_frac == 0.0:
        return state.correction_level
    side = np.sign(error)
    side = (1.0 - _CORRECTION_POOL_FRAC) * side + _CORRECTION_POOL_FRAC * side.mean()
    return np.asarray(recipe.memory_frac * state.correction_level + recipe.correction_frac * usual * side)


def _rate(recipe: CombineRecipe, state: CombineState) -> NDArray[np.float64]:
    """Return H x 1 rates, which fall as squares of regrets add up; the unit of the data cancels."""
    largest = state.square_total.max(axis=1, keepdims=True)
    logarithm = np.log(max(state.square_total.shape[1], 2))
    rate = recipe.rate_scale * np.sqrt(logarithm / np.where(largest > 0.0, largest, np.inf))
    return np.asarray(rate)
