"""Scores, against values worked out by hand and against other readings of the same formula."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.forecast.score import coverage, crps_from_quantiles, mae, pinball


def test_mae_is_the_mean_distance() -> None:
    assert mae(np.array([10.0, 20.0]), np.array([12.0, 19.0])) == 1.5


def test_pinball_weighs_the_sides_by_the_level() -> None:
    observed = np.array([10.0, 10.0])
    quantile = np.array([[8.0, 12.0], [8.0, 12.0]])
    assert pinball(observed, quantile, np.array([0.1, 0.9])).tolist() == pytest.approx([0.2, 0.2])
    assert pinball(observed, quantile[:, ::-1].copy(), np.array([0.1, 0.9])).tolist() == pytest.approx(
        [1.8, 1.8]
    )


def test_pinball_of_the_median_is_half_the_absolute_error() -> None:
    observed, forecast = np.array([1.0, -4.0, 9.0]), np.array([2.0, -1.0, 3.0])
    loss = pinball(observed, forecast[:, None], np.array([0.5]))
    assert loss[0] == pytest.approx(mae(observed, forecast) / 2)


def test_coverage_includes_both_ends() -> None:
    observed = np.array([1.0, 2.0, 3.0, 4.0])
    assert coverage(observed, np.full(4, 1.0), np.full(4, 3.0)) == 0.75


def test_crps_of_a_certain_forecast_is_the_absolute_error() -> None:
    levels = np.arange(1, 20) / 20
    observed = np.array([7.0, -2.0])
    certain = np.repeat(np.array([[5.0], [1.0]]), len(levels), axis=1)
    assert crps_from_quantiles(observed, certain, levels) == pytest.approx(2.5)


def test_crps_of_a_uniform_forecast_approaches_the_closed_form() -> None:
    levels = (np.arange(1_000) + 0.5) / 1_000
    # CRPS of U(0, 1) at y inside: y^2 - y + 1/3 (the integral of (F - 1[x >= y])^2).
    for y in (0.0, 0.3, 1.0):
        score = crps_from_quantiles(np.array([y]), levels[None, :], levels)
        assert score == pytest.approx(y * y - y + 1 / 3, abs=1e-3)


@pytest.mark.parametrize(
    ("observed", "forecast"),
    [
        (np.array([]), np.array([])),
        (np.array([1.0]), np.array([1.0, 2.0])),
        (np.array([np.nan]), np.array([1.0])),
    ],
    ids=["nothing", "shapes", "not finite"],
)
def test_scores_refuse_what_cannot_be_compared(
    observed: NDArray[np.float64], forecast: NDArray[np.float64]
) -> None:
    with pytest.raises(InvalidInputError):
        mae(observed, forecast)
