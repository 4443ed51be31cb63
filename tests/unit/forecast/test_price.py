"""The price forecast on made-up prices: shape, clock changes, look-ahead, refusals; then on a real market."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_HOUR, local_day, local_midnight_ns, to_datetime
from shoal.forecast.price import QUANTILE_LEVELS, PriceForecast, forecast_prices
from shoal.forecast.score import coverage, mae, pinball

CHICAGO = ZoneInfo("America/Chicago")
REAL_PRICES = Path(__file__).parents[4] / "shared/data/ercot_dam_spp_hub_lz_2021_2022.parquet"

Hours = NDArray[np.int64]
Prices = NDArray[np.float64]


def hours_of(first: date, last: date) -> Hours:
    """Return the starts of all hours of the local days from first to last, both included."""
    begin = local_midnight_ns(first, CHICAGO)
    end = local_day(last, CHICAGO).end_ns
    return np.arange(begin, end, NS_PER_HOUR, dtype=np.int64)


def daily_shape(start_ns: Hours, *, noise: float = 5.0, level: float = 30.0) -> Prices:
    """Return prices with a peak at 18:00 local and seeded noise."""
    hour = np.array([to_datetime(t_ns, CHICAGO).hour for t_ns in start_ns.tolist()])
    shape = level + 20.0 * np.exp(-(((hour - 18) / 3.0) ** 2))
    return np.asarray(shape + np.random.default_rng(7).normal(0.0, noise, len(start_ns)))


def forecast(start_ns: Hours, prices: Prices, target_start_ns: Hours) -> PriceForecast:
    return forecast_prices(
        start_ns=start_ns,
        price_per_mwh=prices,
        target_start_ns=target_start_ns,
        zone=CHICAGO,
        issued_ns=int(start_ns[-1]) - 13 * NS_PER_HOUR,
    )


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2021, 3, 14), 23), (date(2021, 6, 15), 24), (date(2021, 11, 7), 25)]
)
def test_forecast_covers_the_hours_of_a_clock_change(day: date, hours: int) -> None:
    history = hours_of(day - timedelta(days=40), day - timedelta(days=1))
    made = forecast(history, daily_shape(history), hours_of(day, day))
    assert made.quantile_per_mwh.shape == (hours, len(QUANTILE_LEVELS))
    assert made.expected_per_mwh.shape == (hours,)
    peak = to_datetime(int(made.start_ns[np.argmax(made.expected_per_mwh)]), CHICAGO)
    assert peak.hour in (17, 18, 19)
    assert made.model == "similar-hours/1"


@pytest.mark.parametrize("changed", [date(2021, 3, 14), date(2021, 11, 7)])
def test_forecast_reads_a_history_with_a_clock_change(changed: date) -> None:
    history = hours_of(changed - timedelta(days=6), changed)
    target = changed + timedelta(days=1)
    made = forecast(history, daily_shape(history, noise=0.0), hours_of(target, target))
    peak = to_datetime(int(made.start_ns[np.argmax(made.expected_per_mwh)]), CHICAGO)
    assert peak.hour == 18
    assert np.isfinite(made.quantile_per_mwh).all()


def test_forecast_of_a_repeating_day_is_that_day() -> None:
    history = hours_of(date(2021, 6, 1), date(2021, 6, 20))
    target = hours_of(date(2021, 6, 21), date(2021, 6, 21))
    made = forecast(history, daily_shape(history, noise=0.0), target)
    truth = daily_shape(target, noise=0.0)
    np.testing.assert_allclose(made.expected_per_mwh, truth, rtol=1e-9)
    np.testing.assert_allclose(made.quantile_per_mwh, np.repeat(truth[:, None], 19, axis=1), rtol=1e-9)


def test_quantiles_never_cross_and_hold_the_expectation() -> None:
    history = hours_of(date(2021, 4, 1), date(2021, 6, 20))
    made = forecast(history, daily_shape(history, noise=15.0), hours_of(date(2021, 6, 21), date(2021, 6, 23)))
    assert (np.diff(made.quantile_per_mwh, axis=1) >= 0).all()
    assert (made.quantile_per_mwh[:, 0] < made.expected_per_mwh).all()
    assert (made.expected_per_mwh < made.quantile_per_mwh[:, -1]).all()


def test_forecast_is_at_home_with_negative_prices() -> None:
    history = hours_of(date(2021, 4, 1), date(2021, 6, 20))
    prices = daily_shape(history, level=-40.0)
    target = hours_of(date(2021, 6, 21), date(2021, 6, 21))
    made = forecast(history, prices, target)
    assert mae(daily_shape(target, noise=0.0, level=-40.0), made.expected_per_mwh) < 5.0


def test_forecast_follows_a_higher_last_evening() -> None:
    history = hours_of(date(2021, 4, 1), date(2021, 6, 20))
    target = hours_of(date(2021, 6, 21), date(2021, 6, 21))
    prices = daily_shape(history, noise=1.0)
    raised = prices.copy()
    raised[-6:] *= 2.0
    assert (
        forecast(history, raised, target).expected_per_mwh
        > forecast(history, prices, target).expected_per_mwh
    ).all()


def test_forecast_is_the_same_bits_each_time() -> None:
    history = hours_of(date(2021, 4, 1), date(2021, 6, 20))
    target = hours_of(date(2021, 6, 21), date(2021, 6, 22))
    prices = daily_shape(history)
    before = prices.copy()
    first, second = forecast(history, prices, target), forecast(history, prices, target)
    assert first.quantile_per_mwh.tobytes() == second.quantile_per_mwh.tobytes()
    assert first.expected_per_mwh.tobytes() == second.expected_per_mwh.tobytes()
    assert prices.tobytes() == before.tobytes()


def test_forecast_of_the_rest_of_a_day_does_not_use_that_day() -> None:
    history = hours_of(date(2021, 5, 1), date(2021, 6, 20))
    whole, prices = history, daily_shape(history)
    part = whole[:-6]
    made = forecast(part, prices[:-6], whole[-6:])
    other = prices[:-6].copy()
    other[-18:] += 1_000.0
    assert forecast(part, other, whole[-6:]).quantile_per_mwh.tobytes() == made.quantile_per_mwh.tobytes()


def test_forecast_bridges_missing_hours_and_days() -> None:
    history = hours_of(date(2021, 4, 1), date(2021, 6, 20))
    prices = daily_shape(history, noise=0.0)
    kept = np.ones(len(history), dtype=np.bool_)
    kept[500:560] = False
    kept[-30:-27] = False
    target = hours_of(date(2021, 6, 21), date(2021, 6, 21))
    made = forecast(history[kept], prices[kept], target)
    np.testing.assert_allclose(made.expected_per_mwh, daily_shape(target, noise=0.0), rtol=1e-6)


def test_seven_days_are_enough_and_six_are_not() -> None:
    target = hours_of(date(2021, 6, 21), date(2021, 6, 21))
    seven = hours_of(date(2021, 6, 14), date(2021, 6, 20))
    assert np.isfinite(forecast(seven, daily_shape(seven), target).quantile_per_mwh).all()
    with pytest.raises(InvalidInputError, match="history"):
        forecast(seven[24:], daily_shape(seven[24:]), target)


def test_a_longer_horizon_needs_a_longer_history() -> None:
    history = hours_of(date(2021, 6, 14), date(2021, 6, 21))
    near, far = date(2021, 6, 23), date(2021, 6, 24)
    assert np.isfinite(forecast(history, daily_shape(history), hours_of(near, near)).expected_per_mwh).all()
    with pytest.raises(InvalidInputError, match="at least 9"):
        forecast(history, daily_shape(history), hours_of(far, far))


def test_old_days_before_a_long_gap_are_no_history() -> None:
    old, new = hours_of(date(2021, 3, 1), date(2021, 4, 10)), hours_of(date(2021, 6, 18), date(2021, 6, 20))
    history = np.concatenate((old, new))
    with pytest.raises(InvalidInputError, match="history"):
        forecast(history, daily_shape(history), hours_of(date(2021, 6, 21), date(2021, 6, 21)))


@pytest.mark.parametrize("problem", ["unordered", "nan", "empty", "overlap", "no target", "far", "levels"])
def test_forecast_rejects_what_it_cannot_use(problem: str) -> None:
    history = hours_of(date(2021, 6, 1), date(2021, 6, 20))
    prices = daily_shape(history)
    target = hours_of(date(2021, 6, 21), date(2021, 6, 21))
    levels = QUANTILE_LEVELS
    if problem == "unordered":
        history = history[::-1].copy()
    elif problem == "nan":
        prices[3] = np.nan
    elif problem == "empty":
        history, prices = history[:0], prices[:0]
    elif problem == "overlap":
        target = history[-1:]
    elif problem == "no target":
        target = target[:0]
    elif problem == "far":
        target = hours_of(date(2021, 7, 5), date(2021, 7, 5))
    else:
        levels = (0.5, 0.5)
    with pytest.raises(InvalidInputError):
        forecast_prices(
            start_ns=history,
            price_per_mwh=prices,
            target_start_ns=target,
            zone=CHICAGO,
            issued_ns=0,
            quantile_level=levels,
        )


@pytest.mark.skipif(not REAL_PRICES.exists(), reason=f"real ERCOT prices are absent: no {REAL_PRICES.name}")
def test_forecast_beats_naive_and_covers_on_real_prices() -> None:
    table = pq.read_table(REAL_PRICES, columns=["ts_utc", "HB_NORTH"])
    start_ns = table["ts_utc"].cast(pa.timestamp("ns", "UTC")).cast(pa.int64()).to_numpy()
    price = table["HB_NORTH"].to_numpy().astype(np.float64)
    observed, quantiles, yesterday, last_week = [], [], [], []
    first = date(2022, 1, 1)
    for number in range(0, 365, 4):  # every fourth day keeps the test short and walks through all weekdays
        day = local_day(first + timedelta(days=number), CHICAGO)
        begin, end = np.searchsorted(start_ns, [day.start_ns, day.end_ns]).tolist()
        past = slice(begin - 110 * 24, begin)
        made = forecast(start_ns[past], price[past], start_ns[begin:end])
        observed.append(price[begin:end])
        quantiles.append(made.quantile_per_mwh)
        yesterday.append(price[begin - 24 : end - 24])
        last_week.append(price[begin - 168 : end - 168])
    truth, quantile = np.concatenate(observed), np.concatenate(quantiles)
    median = QUANTILE_LEVELS.index(0.5)
    error = mae(truth, quantile[:, median])
    assert error < 0.95 * mae(truth, np.concatenate(yesterday))
    assert error < 0.80 * mae(truth, np.concatenate(last_week))
    assert 0.84 <= coverage(truth, quantile[:, 0], quantile[:, -1]) <= 0.95
    assert pinball(truth, quantile, np.array(QUANTILE_LEVELS)).mean() < error / 2
