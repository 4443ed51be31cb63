"""Experts combined online: each output has weights of its own that follow who was right lately.

Bernstein online aggregation with the gradient of the absolute loss (Wintenberger, Machine Learning 106 (2017) 119-141;
Gaillard et al., COLT 2014), with two changes for series that drift: regrets fade, and the weights of an output are
drawn towards the mean of all outputs, since 24 hours of a day are judged on few days each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError


@dataclass(frozen=True, slots=True, kw_only=True)
class CombineRecipe:
    """How weights follow the losses.

    Attributes:
        memory_frac: Share of a regret that is kept from one day to the next.
        pool_frac: Share of the mean over all outputs in the weights of one.
        rate_scale: Multiplies the rate at which weights follow; 1 is the theory's.
        equal_frac: Share that all experts have in equal parts, whatever they did.
    """

    memory_frac: float = 0.98
    pool_frac: float = 0.5
    rate_scale: float = 0.7
    equal_frac: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CombineState:
    """Faded sums of regrets and of their squares, H outputs x K experts each."""

    regret_total: NDArray[np.float64]
    square_total: NDArray[np.float64]


def start_combining(output_count: int, expert_count: int) -> CombineState:
    """Return the state before the first day: all experts weigh the same."""
    zeros = np.zeros((output_count, expert_count))
    return CombineState(regret_total=zeros, square_total=zeros.copy())


def weights_of(recipe: CombineRecipe, state: CombineState) -> NDArray[np.float64]:
    """Return H x K weights; each row is not negative and sums to 1."""
    regret = state.regret_total
    count = regret.shape[1]
    exponent = _rate(recipe, state) * (regret - regret.max(axis=1, keepdims=True))
    weight = np.exp(np.maximum(exponent, -50.0))
    weight /= weight.sum(axis=1, keepdims=True)
    weight = (1.0 - recipe.pool_frac) * weight + recipe.pool_frac * weight.mean(axis=0, keepdims=True)
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
    combined = combine(weights_of(recipe, state), forecast)
    gain = np.sign(combined - observed)[:, None] * (combined[:, None] - forecast)
    square = gain * gain
    kept = recipe.memory_frac
    return CombineState(
        # The second order keeps an expert that swings from being trusted for a lucky day.
        regret_total=kept * state.regret_total + gain - _rate(recipe, state) * square,
        square_total=kept * kept * state.square_total + square,
    )


def _rate(recipe: CombineRecipe, state: CombineState) -> NDArray[np.float64]:
    """Return H x 1 rates, which fall as squares of regrets add up; the unit of the data cancels."""
    largest = state.square_total.max(axis=1, keepdims=True)
    logarithm = np.log(max(state.square_total.shape[1], 2))
    rate = recipe.rate_scale * np.sqrt(logarithm / np.where(largest > 0.0, largest, np.inf))
    return np.asarray(rate)
