"""The day-ahead forecast: nothing of the future reaches it, it goes on from bytes, and it finds what can be found."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest

from shoal.domain.errors import CorruptStateError, InvalidInputError
from shoal.forecast.combine import CombineRecipe
from shoal.forecast.conformal import ConformalRecipe
from shoal.forecast.dayahead import (
    MIN_HISTORY_DAYS,
    DayAheadForecast,
    DayAheadRecipe,
    DayAheadState,
    forecast,
    replay,
    train,
    warm_up,
)
from shoal.forecast.dayahead_experts import KernelExpert, LearExpert, NaiveExpert, NetworkExpert, TreeExpert
from shoal.forecast.dayahead_features import Inputs, MarketDays, Scaling, fit_scaler
from shoal.forecast.dayahead_state import decode_state, encode_state
from shoal.forecast.network import NetworkRecipe
from shoal.forecast.sites_trees import TreeSettings

FIRST = date(2020, 1, 1)
NETWORK = NetworkRecipe(hidden_width=(16, 8), epoch_count=4)
TREES = TreeSettings(tree_count=12, leaf_count=6, least_rows=10)
SMALL = DayAheadRecipe(
    experts=(
        LearExpert(name="lear", window_days=56),
        NetworkExpert(name="asinh", network=NETWORK, train_every_days=5, seed=1),
        NetworkExpert(name="local", scaling="local", network=NETWORK, train_every_days=6, seed=2),
        NetworkExpert(name="plain", scaling="plain", network=NETWORK, train_every_days=6, seed=3),
        KernelExpert(name="like", window_days=56, fit_every_days=3),
        TreeExpert(name="trees", window_days=42, trees=TREES, grow_every_days=4),
        TreeExpert(
            name="trees-like",
            kernel=KernelExpert(name="below", window_days=42, scaling="local"),
            trees=TREES,
            grow_every_days=5,
            seed=2,
        ),
        NaiveExpert(name="naive", lag_days=7),
    ),
    combining=CombineRecipe(neighbour_scale=2.0, fitted_frac=0.5, correction_frac=0.02),
    conforming=ConformalRecipe(level=(0.05, 0.25, 0.5, 0.75, 0.95)),
)


def made_up(count: int, seed: int = 4) -> MarketDays:
    """Return days whose prices follow a forecast load, the weekday and yesterday."""
    rng = np.random.default_rng(seed)
    load = 50.0 + 10.0 * rng.normal(size=(count + 1, 1)) + 5.0 * np.sin(np.arange(24) / 24.0 * 2.0 * np.pi)
    wind = rng.gamma(2.0, 5.0, (count + 1, 24))
    price = np.empty((count + 1, 24))
    level = 0.0
    for row in range(count + 1):
        weekend = (FIRST + timedelta(days=row)).weekday() >= 5
        level = 0.8 * level + rng.normal()
        price[row] = 0.8 * load[row] - 0.5 * wind[row] + 2.0 * level - 6.0 * weekend
    price += rng.normal(0.0, 0.5, price.shape)
    return MarketDays(
        first_day=FIRST, price_per_mwh=price[:count], exogenous_level=np.stack([load, wind], axis=2)
    )


def same(one: DayAheadForecast, other: DayAheadForecast) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("quantile_per_mwh", "central_per_mwh", "expected_per_mwh", "expert_per_mwh", "weight")
    )


@pytest.fixture(scope="module")
def days() -> MarketDays:
    return made_up(84)


@pytest.fixture(scope="module")
def run(days: MarketDays) -> list[tuple[DayAheadForecast, DayAheadState]]:
    return list(replay(SMALL, days, 64))


def test_forecast_is_of_the_next_day_and_in_order(
    days: MarketDays, run: list[tuple[DayAheadForecast, DayAheadState]]
) -> None:
    assert [one.day for one, _ in run] == [FIRST + timedelta(days=row) for row in range(64, 85)]
    for one, _ in run:
        assert one.quantile_per_mwh.shape == (24, 5)
        assert one.expert_per_mwh.shape == (24, len(SMALL.experts))
        assert np.all(np.diff(one.quantile_per_mwh, axis=1) >= 0.0)
        assert np.all(np.isfinite(one.expected_per_mwh))


@pytest.mark.parametrize("cut", [66, 71, 80])
def test_changing_every_future_value_changes_no_past_forecast(
    days: MarketDays, run: list[tuple[DayAheadForecast, DayAheadState]], cut: int
) -> None:
    """`cut` days are known, and what was forecast for the next; all that comes later is another world."""
    price, exogenous = days.price_per_mwh.copy(), days.exogenous_level.copy()
    price[cut:] = 1e4 - 3.0 * price[cut:]
    exogenous[cut + 1 :] = -7.0 * exogenous[cut + 1 :]
    other = MarketDays(first_day=FIRST, price_per_mwh=price, exogenous_level=exogenous)
    again = [one for one, _ in replay(SMALL, other, 64)]
    before = cut - 64 + 1
    assert all(same(one, two) for (one, _), two in zip(run[:before], again[:before], strict=True))
    assert not same(run[before][0], again[before])


def test_training_does_not_read_the_inputs_of_the_day_to_forecast(days: MarketDays) -> None:
    exogenous = days.exogenous_level.copy()
    exogenous[-1] = 1e6
    other = MarketDays(first_day=FIRST, price_per_mwh=days.price_per_mwh, exogenous_level=exogenous)
    one, two = (train(SMALL, None, each) for each in (days, other))
    assert encode_state(SMALL, one) == encode_state(SMALL, two)


def test_a_state_goes_on_from_its_bytes_bit_for_bit(
    days: MarketDays, run: list[tuple[DayAheadForecast, DayAheadState]]
) -> None:
    _, state = run[10]
    restored = decode_state(SMALL, encode_state(SMALL, state))
    again = [one for one, _ in replay(SMALL, days, 75, restored)]
    assert all(same(one, two) for (one, _), two in zip(run[11:], again, strict=True))


def test_warm_up_is_the_same_as_having_run_all_along(
    days: MarketDays, run: list[tuple[DayAheadForecast, DayAheadState]]
) -> None:
    state = warm_up(SMALL, days, warm_up_days=20)
    answer, _ = forecast(SMALL, state, days)
    assert same(answer, run[-1][0])


def test_training_twice_for_a_day_changes_nothing(days: MarketDays) -> None:
    once = train(SMALL, None, days)
    assert encode_state(SMALL, train(SMALL, once, days)) == encode_state(SMALL, once)


def test_experts_find_what_the_inputs_tell() -> None:
    days = made_up(220)
    recipe = DayAheadRecipe(
        experts=(
            LearExpert(name="lear", window_days=180),
            KernelExpert(name="like", window_days=180),
            NetworkExpert(
                name="network", network=NetworkRecipe(hidden_width=(48, 24), epoch_count=60), seed=1
            ),
            TreeExpert(name="trees", trees=replace(TREES, tree_count=100)),
            TreeExpert(name="trees-like", kernel=KernelExpert(name="below", scaling="local"), trees=TREES),
            NaiveExpert(name="naive", lag_days=7),
        )
    )
    said = [one for one, _ in replay(recipe, days.until(219), 190)]
    observed = days.price_per_mwh[190:]
    miss = {
        expert.name: np.mean(
            [np.abs(one.expert_per_mwh[:, k] - y).mean() for one, y in zip(said, observed, strict=True)]
        )
        for k, expert in enumerate(recipe.experts)
    }
    combined = np.mean(
        [np.abs(one.central_per_mwh - y).mean() for one, y in zip(said, observed, strict=True)]
    )
    assert miss["lear"] < 0.35 * miss["naive"]
    assert miss["network"] < 0.6 * miss["naive"]
    assert miss["like"] < 0.7 * miss["naive"]
    assert miss["trees"] < 0.7 * miss["naive"]
    assert miss["trees-like"] < 0.7 * miss["naive"]
    assert combined < 0.5 * miss["naive"]


@pytest.mark.parametrize("scaling", ["asinh", "plain", "local"])
def test_scaled_prices_come_back(days: MarketDays, scaling: Scaling) -> None:
    known = days.until(60)
    scaler = fit_scaler(known, scaling, 10)
    scaled = scaler.outputs(days, 60, 60)[0]
    np.testing.assert_allclose(scaler.prices(known, scaled), days.price_per_mwh[60], rtol=1e-9)
    row = scaler.inputs(known, Inputs(), 60, 60)
    np.testing.assert_array_equal(row, scaler.inputs(days, Inputs(), 58, 62)[2:3])


def test_a_market_without_exogenous_forecasts_is_forecast_too() -> None:
    days = made_up(60)
    bare = MarketDays(
        first_day=FIRST, price_per_mwh=days.price_per_mwh, exogenous_level=np.empty((61, 24, 0))
    )
    (answer, _), *_ = replay(SMALL, bare, 60)
    assert np.all(np.isfinite(answer.quantile_per_mwh))


def test_what_cannot_be_used_is_refused(days: MarketDays) -> None:
    with pytest.raises(InvalidInputError, match=str(MIN_HISTORY_DAYS)):
        train(SMALL, None, days.until(MIN_HISTORY_DAYS - 1))
    state = train(SMALL, None, days)
    with pytest.raises(InvalidInputError, match="train it"):
        forecast(SMALL, state, days.until(80))
    with pytest.raises(InvalidInputError, match="another recipe"):
        train(DayAheadRecipe(experts=SMALL.experts[:2]), state, days)
    with pytest.raises(InvalidInputError, match="85 x 24"):
        MarketDays(
            first_day=FIRST, price_per_mwh=days.price_per_mwh, exogenous_level=days.exogenous_level[1:]
        )
    hole = days.price_per_mwh.copy()
    hole[3, 4] = np.nan
    with pytest.raises(InvalidInputError, match="not finite"):
        MarketDays(first_day=FIRST, price_per_mwh=hole, exogenous_level=days.exogenous_level)


def test_bytes_that_are_no_state_are_refused(days: MarketDays) -> None:
    data = encode_state(SMALL, train(SMALL, None, days))
    with pytest.raises(CorruptStateError):
        decode_state(SMALL, data[: len(data) // 2])
    with pytest.raises(CorruptStateError):
        decode_state(SMALL, b"\x01")
    with pytest.raises(InvalidInputError, match="warm up anew"):
        decode_state(DayAheadRecipe(experts=SMALL.experts[:2]), data)
