"""What prices of the next days may be: from day one to two years, the same bits whatever was asked before."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.forecast import prices
from shoal.forecast.dayahead_features import MarketDays
from shoal.forecast.price import QUANTILE_LEVELS
from shoal.forecast.prices import PriceOutlook, naive_days, price_outlook
from shoal.forecast.prices_days import PriceDays
from shoal.forecast.score import coverage

FIRST = date(2023, 3, 1)
PROGRAM = """
import hashlib
from tests.unit.forecast.test_prices import bits, known, made_up
from shoal.forecast.prices import price_outlook
print(hashlib.sha256(bits(price_outlook(known(made_up(130))))).hexdigest())
"""


def made_up(count: int, *, seed: int = 3, noise: float = 5.0) -> NDArray[np.float64]:
    """Return prices with an evening peak, a level that drifts and cheaper weekends."""
    rng = np.random.default_rng(seed)
    hour = np.arange(24)
    shape = 15.0 * np.exp(-(((hour - 19) / 2.5) ** 2)) - 8.0 * np.exp(-(((hour - 13) / 3.0) ** 2))
    level = 40.0 + np.cumsum(rng.normal(0.0, 1.0, count))
    weekend = np.where((np.arange(count) + FIRST.weekday()) % 7 >= 5, -6.0, 0.0)
    return np.asarray((level + weekend)[:, None] + shape + rng.normal(0.0, noise, (count, 24)))


def known(
    price: NDArray[np.float64], *, target_days: int = 2, tail: NDArray[np.float64] | None = None
) -> PriceDays:
    tail = np.empty((0, 24)) if tail is None else tail
    return PriceDays(
        days=MarketDays(
            first_day=FIRST, price_per_mwh=price, exogenous_level=np.empty((len(price) + 1, 24, 0))
        ),
        tail_per_mwh=tail,
        ahead_level=np.empty((len(tail) + target_days, 24, 0)),
    )


def bits(outlook: PriceOutlook) -> bytes:
    return outlook.central_per_mwh.tobytes() + outlook.quantile_per_mwh.tobytes()


@pytest.mark.parametrize(
    ("count", "way"),
    [
        (1, "few-days"),
        (6, "few-days"),
        (7, "similar-hours"),
        (55, "similar-hours"),
        (56, "like-days"),
        (200, "like-days"),
    ],
)
def test_there_is_a_forecast_from_the_first_day_on(count: int, way: str) -> None:
    told = price_outlook(known(made_up(count)))
    assert told.way == way
    assert told.first_day == FIRST + timedelta(days=count)
    assert told.central_per_mwh.shape == told.naive_per_mwh.shape == (2, 24)
    assert told.quantile_per_mwh.shape == (2, 24, len(QUANTILE_LEVELS))
    assert (np.diff(told.quantile_per_mwh, axis=2) >= 0.0).all()
    assert np.isfinite(told.quantile_per_mwh).all()
    assert int(told.central_per_mwh[0].argmax()) in (17, 18, 19, 20, 21) or count < 7
    assert told.model == prices.MODEL


def test_the_day_after_is_less_certain() -> None:
    told = price_outlook(known(made_up(150)))
    width = told.quantile_per_mwh[:, :, -1] - told.quantile_per_mwh[:, :, 0]
    assert width[1].mean() > 1.2 * width[0].mean()


def test_recipe_is_better_than_a_week_before_and_its_quantiles_cover() -> None:
    price = made_up(200)
    told = [price_outlook(known(price[:count], target_days=1)) for count in range(170, 200)]
    central = np.concatenate([one.central_per_mwh for one in told])
    naive = np.concatenate([one.naive_per_mwh for one in told])
    observed = price[170:]
    assert np.abs(central - observed).mean() < 0.85 * np.abs(naive - observed).mean()
    quantile = np.concatenate([one.quantile_per_mwh for one in told]).reshape(-1, len(QUANTILE_LEVELS))
    assert 0.82 < coverage(observed.ravel(), quantile[:, 0], quantile[:, -1]) < 0.96


def test_naive_is_a_week_before_as_far_as_there_is_one() -> None:
    price = made_up(9)
    np.testing.assert_array_equal(naive_days(price, 8), np.vstack([price[2:9], price[2:3]]))
    np.testing.assert_array_equal(naive_days(price[:3], 2), price[[2, 2]])


def test_bits_do_not_depend_on_threads_of_a_library() -> None:
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
    threads = "2" if os.environ.get(names[0]) == "1" else "1"
    environment = os.environ | dict.fromkeys(names, threads) | {"PYTHONPATH": os.pathsep.join(sys.path)}
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, check=True, timeout=120
    )
    here = hashlib.sha256(bits(price_outlook(known(made_up(130))))).hexdigest()
    assert told.stdout.decode().strip() == here


def test_a_corrected_price_changes_what_follows_from_it() -> None:
    price = made_up(130)
    first = price_outlook(known(price))
    corrected = price.copy()
    corrected[125, 10] += 1.0
    assert bits(price_outlook(known(corrected))) != bits(first)
    assert bits(price_outlook(known(price))) == bits(first)


def test_history_beyond_two_years_is_not_read() -> None:
    price = made_up(800)
    other = price.copy()
    other[: 800 - prices.HISTORY_DAYS] += 1000.0
    assert bits(price_outlook(known(price))) == bits(price_outlook(known(other)))


def test_days_that_are_not_out_are_forecast_on_the_way() -> None:
    price = made_up(150)
    full = price_outlook(known(price, target_days=1))
    tail = np.full((1, 24), np.nan)
    blind = price_outlook(known(price[:149], target_days=1, tail=tail))
    assert blind.first_day == full.first_day
    tail[0, :18] = price[149, :18]
    partly = price_outlook(known(price[:149], target_days=1, tail=tail))
    off = [np.abs(one.central_per_mwh - full.central_per_mwh).mean() for one in (blind, partly)]
    assert 0.0 < off[1] < off[0] < 8.0
    narrow, wide = (one.quantile_per_mwh[0, :, -1] - one.quantile_per_mwh[0, :, 0] for one in (full, blind))
    assert wide.mean() > narrow.mean()


def test_too_little_is_refused_with_words() -> None:
    with pytest.raises(InvalidInputError, match="no whole day"):
        price_outlook(known(made_up(1)[:0]))
    with pytest.raises(InvalidInputError, match="4 days unknown"):
        price_outlook(known(made_up(60), tail=np.full((4, 24), np.nan)))


def test_load_forecast_is_learned_from() -> None:
    rng = np.random.default_rng(8)
    load = rng.normal(50.0, 10.0, (142, 24))
    price = 2.0 * load[:140] + rng.normal(0.0, 1.0, (140, 24))
    exogenous = load[:, :, None]
    days = MarketDays(first_day=FIRST, price_per_mwh=price, exogenous_level=exogenous[:141])
    with_load = PriceDays(days=days, tail_per_mwh=np.empty((0, 24)), ahead_level=exogenous[140:142])
    told = price_outlook(with_load).central_per_mwh
    alone = price_outlook(known(price)).central_per_mwh
    truth = 2.0 * load[140:142]
    assert np.abs(told - truth).mean() < 0.8 * np.abs(alone - truth).mean()


def test_another_recipe_has_another_name() -> None:
    other = replace(prices.RECIPE, length_scale=1.0)
    assert prices.model_of(other) != prices.MODEL
    told = price_outlook(known(made_up(80)), recipe=other)
    assert told.model == prices.model_of(other)
