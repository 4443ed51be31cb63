"""Rows of hours: what each may see, and that nothing later reaches it."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from shoal.forecast.dayahead_features import MarketDays, Scaling, fit_scaler
from shoal.forecast.dayahead_hours import hour_inputs, hours_around

COUNT = 40


def some_days() -> MarketDays:
    rng = np.random.default_rng(2)
    return MarketDays(
        first_day=date(2021, 3, 1),
        price_per_mwh=rng.normal(40.0, 9.0, (COUNT, 24)),
        exogenous_level=rng.normal(100.0, 20.0, (COUNT + 1, 24, 2)),
    )


@pytest.mark.parametrize("scaling", ["local", "asinh", "plain"])
def test_a_row_does_not_see_its_own_prices_nor_anything_later(scaling: Scaling) -> None:
    days = some_days()
    scaler = fit_scaler(days.until(20), scaling, 8)
    price, exogenous = days.price_per_mwh.copy(), days.exogenous_level.copy()
    price[30:] = 1e5
    exogenous[31:] = -1e5
    other = MarketDays(first_day=days.first_day, price_per_mwh=price, exogenous_level=exogenous)
    before = hour_inputs(scaler, days, 8, COUNT)
    after = hour_inputs(scaler, other, 8, COUNT)
    np.testing.assert_array_equal(before[: 31 - 8], after[: 31 - 8])
    assert not np.array_equal(before[31 - 8], after[31 - 8], equal_nan=True)


def test_a_row_is_the_same_whichever_rows_are_asked_for() -> None:
    days = some_days()
    scaler = fit_scaler(days, "local", 8)
    whole = hour_inputs(scaler, days, 7, COUNT)
    np.testing.assert_array_equal(hour_inputs(scaler, days, COUNT, COUNT), whole[-1:])
    np.testing.assert_array_equal(hour_inputs(scaler, days.until(25), 25, 25), whole[25 - 7 : 26 - 7])


def test_neighbours_end_with_the_day() -> None:
    days = some_days()
    x = hour_inputs(fit_scaler(days, "plain", 8), days, 20, 20)[0]
    absent = np.isnan(x)
    assert not absent[3:-3].any()
    assert absent[0].any()
    assert absent[-1].any()
    assert np.array_equal(x[:, 0], np.arange(24))
    assert any(np.allclose(x[:, column], days.exogenous_level[20, :, 1]) for column in range(x.shape[1]))


def test_hours_around_a_curve() -> None:
    curve = np.arange(24.0)[None]
    around = hours_around(curve)[0]
    np.testing.assert_array_equal(around[5], [5.0, 4.0, 6.0, 11.5, 23.0, 0.0])
    assert np.isnan(around[0, 1])
    assert np.isnan(around[23, 2])
