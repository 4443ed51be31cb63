"""Online combination: weights, how they follow, and that little is lost against the best expert."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.forecast.combine import CombineRecipe, CombineState, combine, learn, start_combining, weights_of

Numbers = NDArray[np.float64]


def played(recipe: CombineRecipe, forecasts: Numbers, observed: Numbers) -> tuple[Numbers, CombineState]:
    """Return D x H combined values of D x H x K forecasts, and the last state."""
    state = start_combining(*forecasts.shape[1:])
    said = []
    for one, truth in zip(forecasts, observed, strict=True):
        said.append(combine(weights_of(recipe, state), one))
        state = learn(recipe, state, one, truth)
    return np.array(said), state


def experts(errors: list[float], days: int = 300, hours: int = 4) -> tuple[Numbers, Numbers]:
    rng = np.random.default_rng(5)
    observed = rng.normal(50.0, 10.0, (days, hours))
    noise = rng.normal(0.0, 1.0, (days, hours, len(errors))) * np.array(errors)
    return observed[:, :, None] + noise, observed


def test_first_day_takes_all_experts_alike() -> None:
    weight = weights_of(CombineRecipe(), start_combining(24, 5))
    np.testing.assert_allclose(weight, 0.2)


def test_good_experts_gain_weight_and_errors_cancel() -> None:
    forecasts, observed = experts([1.0, 1.0, 12.0])
    said, state = played(CombineRecipe(), forecasts, observed)
    weight = weights_of(CombineRecipe(), state)
    assert np.all(weight[:, 2] < 0.15)
    late = slice(100, None)
    combined = np.abs(said - observed)[late].mean()
    assert combined < np.abs(forecasts[late, :, 0] - observed[late]).mean()


def test_weights_follow_a_change_of_fortune() -> None:
    forecasts, observed = experts([1.0, 6.0])
    turned = forecasts.copy()
    turned[150:] = forecasts[150:, :, ::-1]
    _, state = played(CombineRecipe(memory_frac=0.97), turned, observed)
    assert np.all(weights_of(CombineRecipe(memory_frac=0.97), state)[:, 1] > 0.7)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 6),
    pool_frac=st.floats(0.0, 1.0),
    equal_frac=st.floats(0.0, 1.0),
    fitted_frac=st.floats(0.0, 1.0),
    neighbour_scale=st.just(0.0) | st.floats(0.1, 5.0),
)
def test_weights_are_shares_and_the_combination_lies_among_the_experts(
    seed: int, count: int, pool_frac: float, equal_frac: float, fitted_frac: float, neighbour_scale: float
) -> None:
    recipe = CombineRecipe(
        pool_frac=pool_frac, equal_frac=equal_frac, fitted_frac=fitted_frac, neighbour_scale=neighbour_scale
    )
    rng = np.random.default_rng(seed)
    forecasts = rng.normal(0.0, 10.0 ** rng.uniform(-3, 4), (12, 3, count))
    said, state = played(recipe, forecasts, rng.normal(0.0, 50.0, (12, 3)))
    weight = weights_of(recipe, state)
    assert np.all(weight >= 0.0)
    np.testing.assert_allclose(weight.sum(axis=1), 1.0)
    slack = 1e-9 * np.abs(forecasts).max()
    assert np.all(said <= forecasts.max(axis=2) + slack)
    assert np.all(said >= forecasts.min(axis=2) - slack)


def test_weights_of_neighbours_are_drawn_together() -> None:
    rng = np.random.default_rng(3)
    observed = rng.normal(0.0, 10.0, (200, 24))
    # The first expert is good in the morning, the second in the evening.
    noise = rng.normal(0.0, 1.0, (200, 24, 2))
    noise[:, :12, 1] *= 4.0
    noise[:, 12:, 0] *= 4.0
    forecasts = observed[:, :, None] + noise
    rough, smooth = (CombineRecipe(pool_frac=0.0, neighbour_scale=scale) for scale in (0.0, 2.0))
    first = {
        scale: weights_of(each, played(each, forecasts, observed)[1])[:, 0]
        for scale, each in ((0, rough), (2, smooth))
    }
    assert first[0][10] - first[0][13] > 0.8
    assert first[2][10] - first[2][13] < 0.7 * (first[0][10] - first[0][13])
    assert first[2][0] > 0.8
    assert first[2][23] < 0.2


def test_equal_weights_stay_equal_whatever_else_is_asked_for() -> None:
    forecasts, observed = experts([1.0, 6.0, 3.0], days=60)
    recipe = CombineRecipe(equal_frac=1.0, fitted_frac=0.5, neighbour_scale=2.0)
    said, state = played(recipe, forecasts, observed)
    np.testing.assert_allclose(weights_of(recipe, state), 1.0 / 3.0)
    np.testing.assert_allclose(said, forecasts.mean(axis=2))


def test_what_is_missed_on_one_side_is_corrected() -> None:
    rng = np.random.default_rng(8)
    observed = rng.normal(50.0, 10.0, (400, 4))
    forecasts = observed[:, :, None] + rng.normal(0.0, 3.0, (400, 4, 2)) - np.array([2.0])
    recipe = CombineRecipe(correction_frac=0.02)
    state = start_combining(4, 2)
    missed = []
    for one, truth in zip(forecasts, observed, strict=True):
        missed.append(truth - combine(weights_of(recipe, state), one) - state.correction_level)
        state = learn(recipe, state, one, truth)
    assert 0.0 < np.mean(missed[200:]) < 0.65 * 2.0
    without = played(CombineRecipe(), forecasts, observed)[1]
    np.testing.assert_array_equal(without.correction_level, 0.0)


def test_loss_stays_near_that_of_the_best_expert() -> None:
    """The theory's bound, without fading: regret grows with the root of time."""
    forecasts, observed = experts([5.0, 2.0, 9.0, 7.0], days=800)
    biased = forecasts + np.array([3.0, 0.0, -4.0, 6.0])
    recipe = CombineRecipe(memory_frac=1.0, pool_frac=0.0)
    said, _ = played(recipe, biased, observed)
    loss = np.abs(said - observed).sum(axis=0)
    best = np.abs(biased - observed[:, :, None]).sum(axis=0).min(axis=1)
    largest = np.abs(biased - observed[:, :, None]).max()
    assert np.all(loss <= best + 2.0 * largest * np.sqrt(800 * np.log(4)))
    assert loss.mean() < 1.02 * best.mean()


def test_what_does_not_fit_is_refused() -> None:
    state = start_combining(3, 2)
    with pytest.raises(InvalidInputError):
        learn(CombineRecipe(), state, np.zeros((3, 4)), np.zeros(3))
    with pytest.raises(InvalidInputError, match="not finite"):
        learn(CombineRecipe(), state, np.full((3, 2), np.nan), np.zeros(3))
