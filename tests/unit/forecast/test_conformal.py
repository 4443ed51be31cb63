"""Quantiles from errors: honest cover when noise changes, order, and that the scale follows the day."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.forecast.conformal import (
    ConformalRecipe,
    ConformalState,
    Spread,
    learn_errors,
    spread_around,
    start_conforming,
)

RECIPE = ConformalRecipe(level=(0.05, 0.25, 0.5, 0.75, 0.95))
Numbers = NDArray[np.float64]


def played(errors: Numbers, disagreement: Numbers, recipe: ConformalRecipe = RECIPE) -> list[Spread]:
    """Return the spreads around a forecast of 40 whose D x H errors come one day after another."""
    state = start_conforming(recipe, errors.shape[1])
    spreads = []
    forecast = np.full(errors.shape[1], 40.0)
    for error, apart in zip(errors, disagreement, strict=True):
        spread = spread_around(recipe, state, forecast, apart)
        spreads.append(spread)
        state = learn_errors(recipe, state, spread, forecast, forecast + error)
    return spreads


def cover(errors: Numbers, spreads: list[Spread], low: int, high: int, since: int) -> float:
    inside = [
        (spread.quantile[:, low] <= 40.0 + error) & (40.0 + error <= spread.quantile[:, high])
        for error, spread in zip(errors[since:], spreads[since:], strict=True)
    ]
    return float(np.mean(inside))


def test_cover_is_what_it_says_though_noise_grows_and_leans() -> None:
    rng = np.random.default_rng(1)
    size = np.repeat([2.0, 9.0, 4.0], 200)[:, None]
    errors = (rng.gamma(2.0, 1.0, (600, 6)) - 2.0) * size
    spreads = played(errors, np.ones((600, 6)))
    assert cover(errors, spreads, 0, 4, 60) == pytest.approx(0.90, abs=0.02)
    assert cover(errors, spreads, 1, 3, 60) == pytest.approx(0.50, abs=0.03)


def test_days_on_which_experts_disagree_get_wider_quantiles() -> None:
    rng = np.random.default_rng(2)
    apart = rng.uniform(0.5, 8.0, (400, 6))
    errors = rng.normal(size=(400, 6)) * apart
    recipe = ConformalRecipe(level=RECIPE.level, slow_frac=0.0, fast_frac=0.0, spread_frac=1.0)
    spreads = played(errors, apart, recipe)
    width = np.array([spread.quantile[:, 4] - spread.quantile[:, 0] for spread in spreads[60:]])
    assert np.corrcoef(width.ravel(), apart[60:].ravel())[0, 1] > 0.95
    calm, wild = apart[60:] < 2.0, apart[60:] > 6.0
    inside = np.array([np.abs(e) <= w / 2 for e, w in zip(errors[60:], width, strict=True)])
    assert inside[calm].mean() == pytest.approx(inside[wild].mean(), abs=0.05)


def test_quantiles_never_fall_and_the_mean_leans_with_the_errors() -> None:
    rng = np.random.default_rng(3)
    errors = rng.exponential(5.0, (120, 4))
    spread = played(errors, np.ones((120, 4)))[-1]
    assert np.all(np.diff(spread.quantile, axis=1) >= 0.0)
    np.testing.assert_allclose(spread.mean, 45.0, atol=1.5)


def test_first_day_has_quantiles_from_disagreement_alone() -> None:
    state = start_conforming(RECIPE, 3)
    spread = spread_around(RECIPE, state, np.full(3, 40.0), np.array([1.0, 2.0, 3.0]))
    assert np.all(np.isfinite(spread.quantile))
    assert np.all(np.diff(spread.quantile[:, -1] - spread.quantile[:, 0]) > 0.0)


def test_errors_are_kept_for_their_window_only() -> None:
    recipe = ConformalRecipe(level=(0.5,), window_days=10)
    state: ConformalState = start_conforming(recipe, 2)
    for _ in range(25):
        spread = spread_around(recipe, state, np.zeros(2), np.ones(2))
        state = learn_errors(recipe, state, spread, np.zeros(2), np.ones(2))
    assert state.error_scale.shape == (10, 2)


@pytest.mark.parametrize("level", [(), (0.5, 0.5), (0.0, 0.5), (0.5, 1.0)])
def test_levels_out_of_order_are_refused(level: tuple[float, ...]) -> None:
    with pytest.raises(InvalidInputError):
        start_conforming(ConformalRecipe(level=level), 24)
