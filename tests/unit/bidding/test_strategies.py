"""The strategies themselves: schedules that know their day, offers that sell a spike and keep energy for it."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.bidding.backtest import make_series, perfect_foresight, run_backtest
from shoal.bidding.backtest_days import by_day, score
from shoal.bidding.strategy import BandOffer, Known
from shoal.bidding.strategy_markov import MarkovStrategy, as_bands
from shoal.bidding.strategy_outlook import OutlookStrategy, stand_ins
from shoal.bidding.strategy_outlook import as_bands as as_asked_bands
from shoal.bidding.strategy_registry import make_strategy
from shoal.bidding.strategy_schedules import lagged, shape, top_and_bottom
from tests.unit.bidding.market_prices import FIRST_NS, HALF_HOURS, SETTING, prices, series


def known_of(days: int, *, seed: int = 1) -> Known:
    given = series(days + 1, seed=seed)
    count = days * 48
    return Known(
        now_ns=int(given.start_ns[count]),
        slot_number=int(given.slot_number[count]),
        start_ns=given.start_ns[:count],
        slot_numbers=given.slot_number[:count],
        price_per_mwh=given.price_per_mwh[:count],
    )


def test_the_shape_is_the_mean_of_four_weeks() -> None:
    known = known_of(40)
    expected = np.roll(known.price_per_mwh[-28 * 48 :].reshape(28, 48).mean(axis=0), 8)
    np.testing.assert_allclose(shape(known, 48), expected, rtol=0, atol=1e-9)


def test_a_backcast_takes_the_day_that_it_names() -> None:
    known = known_of(10)
    day = known.price_per_mwh.reshape(10, 48)
    np.testing.assert_array_equal(np.roll(lagged(1)(known, 48), -8), day[-1])
    np.testing.assert_array_equal(np.roll(lagged(7)(known, 48), -8), day[-7])
    np.testing.assert_array_equal(np.roll(lagged(7)(known_of(2), 48), -8), known_of(2).price_per_mwh[48:])


def test_top_and_bottom_names_as_many_hours_as_the_storage_needs() -> None:
    level = top_and_bottom(SETTING)(known_of(30), 48)
    values, counts = np.unique(level, return_counts=True)
    assert len(values) == 3
    assert counts[0] == 2 * 3  # 2 MWh at 0.92 of a megawatt: three hours to fill
    assert counts[2] == 2 * 2


def test_offers_become_bands_that_move_the_same_at_every_level() -> None:
    release = np.array([-40.0, -20.0, 0.0, 0.0, 30.0, 30.0, 60.0])
    sells = np.array([False, False, True, True, True, True])
    buys = np.array([True, True, True, False, False, False])
    offer = as_bands(release, sells, buys, 0.8, 0.5, 0.5)
    assert offer == BandOffer(sell_kw=(0.0, 30.0, 0.0, 30.0), buy_kw=(50.0, 50.0, 0.0))


def test_what_is_asked_at_bands_becomes_their_quantities() -> None:
    release = np.array([-40.0, -20.0, -20.0, 0.0, 30.0, 60.0])
    price = np.array([10.0, 20.0, 70.0, 60.0, 80.0, 90.0])
    # something is sold from 80 on, and the purchase at 70 lies below that
    offer = as_asked_bands(release, price, 3, 0.8, 0.5, 0.5)
    assert offer == BandOffer(sell_kw=(0.0, 30.0, 30.0), buy_kw=(50.0, 0.0, 50.0))
    # nothing is bought where something is sold: the purchase at 70 goes with a sale at 60
    offer = as_asked_bands(np.array([-40.0, -20.0, -20.0, 30.0, 30.0, 30.0]), price, 3, 0.8, 0.5, 0.5)
    assert offer == BandOffer(sell_kw=(30.0, 0.0, 0.0), buy_kw=(50.0, 50.0, 0.0))


def test_a_band_stands_for_the_prices_that_meet_it_nearest_to_the_newest() -> None:
    price = np.array([-10.0, 40.0, 60.0, 120.0])
    given = [
        stand_ins(
            price, 2, newest, inset_frac=0.0, money_scale=50.0, floor_per_mwh=-1_000.0, cap_per_mwh=9_000.0
        )
        for newest in (20.0, 500.0)
    ]
    np.testing.assert_allclose(given, [[-10.0, 20.0, 60.0, 120.0], [-10.0, 40.0, 120.0, 500.0]])


@pytest.mark.parametrize("strategy", [MarkovStrategy, OutlookStrategy])
def test_bands_are_as_many_as_the_market_takes_and_meet_the_ticks(
    strategy: type[MarkovStrategy] | type[OutlookStrategy],
) -> None:
    bands = strategy(setting=SETTING).bands(known_of(30))
    assert len(bands.sell_per_mwh) == len(bands.buy_per_mwh) == 10
    for price in (*bands.sell_per_mwh, *bands.buy_per_mwh):
        assert round(price * 100) == round(price * 100, 6)


def test_quiet_prices_still_give_bands_that_ascend() -> None:
    quiet = known_of(30)
    quiet = Known(
        now_ns=quiet.now_ns,
        slot_number=quiet.slot_number,
        start_ns=quiet.start_ns,
        slot_numbers=quiet.slot_numbers,
        price_per_mwh=np.full(len(quiet.start_ns), 50.0),
    )
    bands = OutlookStrategy(setting=SETTING).bands(quiet)
    assert bands.buy_per_mwh == (50.0,)
    assert list(bands.sell_per_mwh) == sorted(set(bands.sell_per_mwh))


@pytest.mark.parametrize("name", ["markov", "outlook"])
def test_a_spike_out_of_the_blue_is_sold(name: str) -> None:
    """Nobody knows that it comes, and yet the offer stands: most of what is stored goes at the spike."""
    price = prices(20, seed=3)
    price[18 * 48 + 20 : 18 * 48 + 24] = 15_000.0
    start_ns = FIRST_NS + np.arange(len(price)) * HALF_HOURS.interval_ns
    given = make_series(HALF_HOURS, start_ns, price)
    outcome = run_backtest(make_strategy(name, SETTING), SETTING, given)
    at = 18 * 48 + 20
    assert outcome.energy_kwh[at] > 500.0
    assert outcome.energy_kwh[at + 4] < 0.4 * outcome.energy_kwh[at]


@pytest.mark.parametrize(("best_name", "behind_frac"), [("markov", 0.02), ("outlook", 0.04)])
def test_offers_that_answer_to_the_price_beat_every_schedule(best_name: str, behind_frac: float) -> None:
    """On days without spikes of made-up prices a schedule that knows their shape is hard to beat: by so little it may lead."""
    given = series(60, seed=5)
    perfect = perfect_foresight(SETTING, given)
    share = {}
    for name in (best_name, "shape", "backcast", "backcast_week", "top_bottom"):
        outcome = run_backtest(make_strategy(name, SETTING), SETTING, given)
        share[name] = score(SETTING.storage, by_day(given, outcome, perfect), outcome)
    best = share.pop(best_name)
    assert best.share_of_perfect_foresight is not None
    assert best.share_without_richest_days is not None
    for other in share.values():
        assert best.share_of_perfect_foresight > (other.share_of_perfect_foresight or 0.0)
        assert best.share_without_richest_days > (other.share_without_richest_days or 0.0) - behind_frac
