"""Kernel ridge: added days count as if they had been fitted, and older days count less."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.forecast.dayahead_kernel import KernelRecipe, fit_kernel, left_out_errors, predict_kernel

RECIPE = KernelRecipe(noise_frac=0.05, half_life_days=1e9)
Numbers = NDArray[np.float32]
NONE = np.empty((0, 4), dtype=np.float32)


def samples(count: int) -> tuple[Numbers, Numbers]:
    rng = np.random.default_rng(1)
    x = (rng.normal(size=(count, 4)) / 2.0).astype(np.float32)
    y = np.stack([np.sin(3.0 * x[:, 0]), x[:, 1] * x[:, 2]], axis=1).astype(np.float32)
    return x, y


def ages(count: int) -> Numbers:
    return np.arange(count, 0, -1, dtype=np.float32)


@pytest.mark.parametrize("added", [0, 1, 6])
def test_days_added_later_count_as_if_fitted(added: int) -> None:
    x, y = samples(121)
    end = 120 - added
    whole = fit_kernel(RECIPE, x[:120], y[:120], ages(120))
    part = fit_kernel(RECIPE, x[:end], y[:end], ages(end))
    exact = predict_kernel(RECIPE, whole, NONE, NONE[:, :2], x[120:])
    told = predict_kernel(RECIPE, part, x[end:120], y[end:120], x[120:])
    np.testing.assert_allclose(told, exact, atol=2e-3)


def test_it_learns_what_is_not_linear() -> None:
    x, y = samples(500)
    model = fit_kernel(RECIPE, x[:460], y[:460], ages(460))
    told = np.array([predict_kernel(RECIPE, model, NONE, NONE[:, :2], x[k : k + 1]) for k in range(460, 500)])
    assert np.abs(told - y[460:]).mean() < 0.3 * np.abs(y[460:] - y[:460].mean(axis=0)).mean()


def test_old_days_count_less() -> None:
    """The same days come twice, at first two higher; the newer ones should win."""
    x, y = samples(100)
    both, told = np.vstack([x, x]), np.vstack([y + np.float32(2.0), y])
    recipe = KernelRecipe(noise_frac=0.05, half_life_days=30.0)
    bias = {
        each.half_life_days: np.mean(
            [predict_kernel(each, model, NONE, NONE[:, :2], x[k : k + 1]) - y[k] for k in range(100)]
        )
        for each in (recipe, RECIPE)
        for model in (fit_kernel(each, both, told, ages(200)),)
    }
    assert bias[RECIPE.half_life_days] == pytest.approx(1.0, abs=0.1)
    assert abs(bias[30.0]) < 0.35


def test_what_does_not_fit_is_refused() -> None:
    x, y = samples(20)
    with pytest.raises(InvalidInputError):
        fit_kernel(RECIPE, x, y[:10], ages(20))
    x[3, 1] = np.nan
    with pytest.raises(InvalidInputError, match="not finite"):
        fit_kernel(RECIPE, x, y, ages(20))


def test_errors_of_days_left_out_are_those_of_fits_without_them() -> None:
    x, y = samples(40)
    missed = left_out_errors(fit_kernel(RECIPE, x, y, ages(40)))
    for left_out in (0, 17, 39):
        kept = np.arange(40) != left_out
        model = fit_kernel(RECIPE, x[kept], y[kept], ages(40)[kept])
        told = predict_kernel(RECIPE, model, NONE, NONE[:, :2], x[left_out : left_out + 1])
        np.testing.assert_allclose(missed[left_out], y[left_out] - told, atol=2e-3)
