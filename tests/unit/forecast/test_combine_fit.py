"""Weights by regression: shares, and what errors that cancel are worth."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shoal.forecast.combine_fit import FitRecipe, FitState, learn_fit, start_fitting

Numbers = NDArray[np.float64]
RECIPE = FitRecipe()


def fitted(forecasts: Numbers, observed: Numbers, recipe: FitRecipe = RECIPE) -> FitState:
    """Return the state after D days of D x H x K forecasts."""
    state = start_fitting(forecasts.shape[2])
    for one, truth in zip(forecasts, observed, strict=True):
        state = learn_fit(recipe, state, one, truth)
    return state


def drawn(errors: list[list[float]], days: int = 200) -> tuple[Numbers, Numbers]:
    """Return forecasts of experts whose errors are mixtures of common normal ones: a row an expert."""
    rng = np.random.default_rng(6)
    mixture = np.array(errors)
    observed = rng.normal(40.0, 15.0, (days, 24))
    common = rng.normal(0.0, 1.0, (days, 24, mixture.shape[1]))
    return observed[:, :, None] + common @ mixture.T, observed


def test_errors_that_cancel_are_found() -> None:
    """The first two err alike but for the sign: halves of both beat the third, which is better than either."""
    weight = fitted(*drawn([[3.0, 0.5, 0.0], [-3.0, 0.5, 0.0], [0.0, 0.0, 1.5]])).weight
    assert abs(weight[0] - weight[1]) < 0.05
    assert weight[0] + weight[1] > 0.7


def test_shares_are_near_the_best_mixture_on_those_days() -> None:
    forecasts, observed = drawn([[2.0, 1.0, 0.0], [0.0, 1.0, 2.5], [0.5, 3.0, 0.0]], days=300)
    weight = fitted(forecasts, observed, FitRecipe(memory_frac=1.0, equal_scale=0.0)).weight
    grid = [(a, b, 1.0 - a - b) for a in np.arange(0, 1.01, 0.05) for b in np.arange(0, 1.01 - a, 0.05)]
    best = min(np.abs(forecasts @ np.array(each) - observed).mean() for each in grid)
    assert np.abs(forecasts @ weight - observed).mean() < 1.01 * best


def test_one_wild_day_does_not_decide() -> None:
    forecasts, observed = drawn([[1.0, 0.0], [0.0, 1.0]])
    before = fitted(forecasts, observed)
    wild = observed[0] + 1e4
    after = learn_fit(RECIPE, before, np.stack([observed[0], observed[0] + 50.0], axis=1), wild)
    assert np.abs(after.weight - before.weight).max() < 0.25  # squares would take the second alone


def test_no_error_changes_nothing() -> None:
    observed = np.ones((3, 24))
    state = fitted(np.ones((3, 24, 2)), observed)
    np.testing.assert_array_equal(state.weight, 0.5)
    np.testing.assert_array_equal(state.gram_total, 0.0)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 8), power=st.floats(-3.0, 4.0))
def test_shares_are_shares_in_any_unit(seed: int, count: int, power: float) -> None:
    rng = np.random.default_rng(seed)
    forecasts = rng.normal(0.0, 1.0, (15, 5, count)) * rng.uniform(0.1, 9.0, count)
    observed = rng.normal(0.0, 2.0, (15, 5))
    weight = fitted(forecasts, observed).weight
    assert np.all(weight >= 0.0)
    np.testing.assert_allclose(weight.sum(), 1.0)
    unit = 10.0**power
    np.testing.assert_allclose(fitted(unit * forecasts, unit * observed).weight, weight, atol=1e-6)
