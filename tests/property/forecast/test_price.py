"""Properties of the price forecast: no use of later hours, order of quantiles, for any prices."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shoal.domain.interval import NS_PER_HOUR
from shoal.forecast import price as price_model
from shoal.forecast.price import forecast_prices

CHICAGO = ZoneInfo("America/Chicago")
MIDNIGHT_NS = 1_612_159_200 * 1_000_000_000  # 2021-02-01 00:00 in Chicago


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(14, 45),
    st.integers(1, 3),
    st.floats(0.1, 3.0),
    st.floats(-50, 200),
)
def test_forecast_is_ordered_finite_and_independent_of_further_targets(
    seed: int, days: int, horizon_days: int, spread: float, level: float
) -> None:
    hours = 24 * (days + horizon_days)
    start_ns = MIDNIGHT_NS + np.arange(hours, dtype=np.int64) * NS_PER_HOUR
    prices = level + np.sinh(np.random.default_rng(seed).normal(0.0, spread, hours)) * 10.0
    known = 24 * days

    def made(target_hours: int) -> NDArray[np.float64]:
        forecast = forecast_prices(
            start_ns=start_ns[:known],
            price_per_mwh=prices[:known],
            target_start_ns=start_ns[known : known + target_hours],
            zone=CHICAGO,
            issued_ns=int(start_ns[known]),
        )
        assert np.isfinite(forecast.expected_per_mwh).all()
        return forecast.quantile_per_mwh

    quantiles = made(24 * horizon_days)
    assert np.isfinite(quantiles).all()
    assert (np.diff(quantiles, axis=1) >= 0).all()
    # A target hour's forecast does not depend on which further hours are asked for.
    np.testing.assert_array_equal(quantiles[:24], made(24))


@given(st.integers(0, 2**32 - 1), st.integers(4, 39), st.integers(1, 3))
def test_backtest_of_a_day_sees_only_days_before_its_horizon(seed: int, row: int, horizon_days: int) -> None:
    random = np.random.default_rng(seed)
    z = random.normal(size=(40, 24))
    later = z.copy()
    later[row - horizon_days + 1 :] = random.normal(100.0, 10.0, size=(40 - row + horizon_days - 1, 24))
    np.testing.assert_array_equal(
        price_model._similar_hours(z, row, horizon_days), price_model._similar_hours(later, row, horizon_days)
    )
