"""The test of Diebold and Mariano: by hand, under the null, and when days resemble each other."""

from __future__ import annotations

from math import erf, sqrt

import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.forecast.compare import compare, relative_mae, symmetric_mape

Numbers = NDArray[np.float64]


def drifting(seed: int, days: int, memory: float) -> Numbers:
    """Return D x 24 absolute errors that are alike on neighbouring days."""
    rng = np.random.default_rng(seed)
    level = np.zeros(days)
    for day in range(1, days):
        level[day] = memory * level[day - 1] + rng.normal()
    return np.asarray(np.exp(0.3 * level)[:, None] * np.ones(24))


def test_without_lags_it_is_the_plain_test_on_daily_losses() -> None:
    rng = np.random.default_rng(1)
    observed = rng.normal(size=(100, 24))
    one, two = (observed + rng.normal(size=(100, 24)) * scale for scale in (1.0, 1.1))
    loss = np.abs(observed - one).sum(axis=1) - np.abs(observed - two).sum(axis=1)
    z = loss.mean() / (loss.std() / 10.0)
    told = compare(observed, one, two, lag_days=0)
    assert told.z_scale == pytest.approx(z)
    assert told.p_better_frac == pytest.approx(0.5 * (1.0 + erf(z / sqrt(2.0))))
    assert told.p_better_frac < 0.05


def test_two_directions_sum_to_one_and_a_copy_is_no_better() -> None:
    rng = np.random.default_rng(2)
    observed, one, two = rng.normal(size=(3, 80, 24))
    assert compare(observed, one, two).p_better_frac + compare(
        observed, two, one
    ).p_better_frac == pytest.approx(1)
    assert compare(observed, one, one).p_better_frac == 0.5


@pytest.mark.parametrize(("memory", "most"), [(0.0, 0.09), (0.6, 0.12)])
def test_a_lead_by_chance_is_rarely_called_sure(memory: float, most: float) -> None:
    """Under the null a p below 0.05 comes about once in twenty, also when days resemble each other."""
    observed = np.zeros((400, 24))
    p = [
        compare(observed, drifting(seed, 400, memory), drifting(seed + 5_000, 400, memory)).p_better_frac
        for seed in range(300)
    ]
    assert np.mean(np.array(p) < 0.05) < most


def test_resemblance_of_days_makes_a_lead_less_sure() -> None:
    observed = np.zeros((300, 24))
    one, two = drifting(1, 300, 0.9), drifting(2, 300, 0.9)
    assert abs(compare(observed, one, two).z_scale) < abs(compare(observed, one, two, lag_days=0).z_scale)


def test_relative_and_symmetric_errors_by_hand() -> None:
    observed, forecast, naive = np.array([[10.0, 0.0]]), np.array([[12.0, 0.0]]), np.array([[6.0, 4.0]])
    assert relative_mae(observed, forecast, naive) == pytest.approx(1.0 / 4.0)
    assert symmetric_mape(observed, forecast) == pytest.approx((4.0 / 22.0) / 2.0)


def test_what_does_not_fit_is_refused() -> None:
    zeros = np.zeros((20, 24))
    with pytest.raises(InvalidInputError):
        compare(zeros, zeros[:10], zeros)
    with pytest.raises(InvalidInputError, match="more than"):
        compare(zeros[:5], zeros[:5], zeros[:5])
    with pytest.raises(InvalidInputError, match="not finite"):
        compare(zeros, zeros, np.full_like(zeros, np.nan))
    with pytest.raises(InvalidInputError, match="perfect"):
        relative_mae(zeros, zeros + 1.0, zeros)
