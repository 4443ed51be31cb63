"""The lasso against the conditions that its optimum must meet, and against least squares where no penalty bites."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.forecast.lear import Lasso, PathRecipe, fit_lasso, predict_lasso

EXACT = PathRecipe(tolerance=1e-10, sweep_count=2_000)
Numbers = NDArray[np.float64]


def samples(count: int = 300, seed: int = 1) -> tuple[Numbers, Numbers]:
    """Return 40 correlated inputs, two of which make up the three outputs."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 40)) + rng.normal(size=(count, 1))
    y = np.stack([2.0 * x[:, 3] - x[:, 7], x[:, 3], np.zeros(count)], axis=1)
    return x, y + rng.normal(0.0, 0.5, y.shape)


def worst_breach(model: Lasso, x: Numbers, y: Numbers) -> float:
    """Return by how much the conditions of Karush, Kuhn and Tucker are missed."""
    z = (x - model.x_level) / model.x_width
    rest = y - predict_lasso(model, x)
    slope = rest.T @ z / len(x)
    used = model.coefficient_scale != 0.0
    at_rest = np.abs(slope) - model.penalty_scale[:, None]
    in_use = slope - model.penalty_scale[:, None] * np.sign(model.coefficient_scale)
    return float(np.max(np.where(used, np.abs(in_use), np.maximum(at_rest, 0.0))))


def test_lasso_meets_the_conditions_of_its_optimum() -> None:
    x, y = samples()
    model = fit_lasso(x, y, recipe=EXACT)
    assert worst_breach(model, x, y) < 1e-8
    assert np.all(model.penalty_scale > 0.0)


def test_lasso_finds_the_inputs_that_matter() -> None:
    x, y = samples(2_000)
    model = fit_lasso(x, y, recipe=EXACT)
    strongest = np.argsort(-np.abs(model.coefficient_scale[0]))[:2]
    assert set(strongest.tolist()) == {3, 7}
    assert np.max(np.abs(model.coefficient_scale[2])) < 0.1


def test_warm_fit_is_the_optimum_of_the_new_samples() -> None:
    x, y = samples(400)
    earlier = fit_lasso(x[:380], y[:380], recipe=EXACT)
    model = fit_lasso(x[20:], y[20:], recipe=EXACT, warm=earlier)
    assert worst_breach(model, x[20:], y[20:]) < 1e-8
    np.testing.assert_array_equal(model.penalty_scale, earlier.penalty_scale)
    assert not np.array_equal(model.coefficient_scale, earlier.coefficient_scale)


def test_smallest_penalty_comes_near_least_squares() -> None:
    x, y = samples(5_000)
    recipe = PathRecipe(tolerance=1e-12, sweep_count=5_000, smallest_frac=1e-7, patience_count=100)
    model = fit_lasso(x[:, :8], y[:, :1], recipe=recipe)
    design = np.column_stack([np.ones(len(x)), x[:, :8]])
    exact = design @ np.linalg.lstsq(design, y[:, :1], rcond=None)[0]
    np.testing.assert_allclose(predict_lasso(model, x[:, :8]), exact, atol=0.05)


def test_flat_input_and_flat_output_do_no_harm() -> None:
    x, y = samples(60)
    x[:, 5] = 7.0
    y[:, 2] = 3.0
    model = fit_lasso(x, y, recipe=PathRecipe())
    assert np.all(model.coefficient_scale[:, 5] == 0.0)
    np.testing.assert_allclose(predict_lasso(model, x + 0.0)[:, 2], 3.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(bad: float) -> None:
    x, y = samples(60)
    x[3, 4] = bad
    with pytest.raises(InvalidInputError, match="not finite"):
        fit_lasso(x, y, recipe=PathRecipe())


def test_warm_start_of_other_inputs_is_refused() -> None:
    x, y = samples(60)
    model = fit_lasso(x, y, recipe=PathRecipe())
    with pytest.raises(InvalidInputError, match="same inputs"):
        fit_lasso(x[:, :30], y, recipe=PathRecipe(), warm=model)
