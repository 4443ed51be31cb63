"""Hindsight day by day, and where the money went: bounds that hold, and steps that sum to the last unit."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from shoal.bidding.backtest import perfect_foresight, run_backtest
from shoal.bidding.backtest_bounds import daily_foresight
from shoal.bidding.backtest_days import by_day
from shoal.bidding.backtest_gates import run_gates
from shoal.bidding.backtest_prices import GridPrices
from shoal.bidding.backtest_stages import attributed
from shoal.bidding.strategy_registry import STRATEGIES, make_strategy
from shoal.cli.backtest_runs import run_cycle
from shoal.domain.errors import InvalidInputError
from tests.unit.bidding.gate_worlds import hourly, setting
from tests.unit.bidding.market_prices import SETTING, series

ERCOT = setting("ercot", "day-ahead", "HB_NORTH", "test-yesterday")


def test_no_day_gains_more_than_its_own_hindsight() -> None:
    tested = run_cycle(ERCOT, hourly("ercot", 12), span=(0, 12 * 24 - 1))
    daily = tested.daily
    assert daily is not None
    assert (daily.best_gain - daily.gain >= -1e-6).all()
    assert daily.share is not None
    assert 0.3 < daily.share <= 1.0
    assert daily.from_empty.sum() <= tested.score.revenue_perfect_foresight + 0.1  # whole watt-hours
    stood_still = daily.gain[0]
    assert stood_still == 0.0  # nothing was known for the first day


def test_a_days_hindsight_values_what_is_left_as_the_plan_does() -> None:
    storage = ERCOT.storage  # 10 MW, 20 MWh, 0.9 in and 0.95 out, wear 10
    day = hourly("ercot", 1)
    flat = np.full(24, 50.0)
    found = daily_foresight(
        storage,
        days=(by_day_of(day),),
        first_index=np.array([0, 24]),
        price_per_mwh=flat,
        interval_h=1.0,
        earned=np.array([0.0]),
        energy_kwh=np.zeros(25),
        end_value_per_mwh={by_day_of(day): 100.0},
    )
    # 20 MWh in store cost 20 / 0.9 at 50 and count 100 each
    assert found.best_gain[0] == pytest.approx(20 * 100.0 - 20 / 0.9 * 50.0)
    assert found.gain[0] == 0.0
    assert found.from_empty[0] == 0.0


def by_day_of(prices: GridPrices) -> date:
    return date.fromordinal(int(prices.day_number[0]) + date(1970, 1, 1).toordinal())


def test_stages_of_the_cycle_sum_to_what_was_settled() -> None:
    tested = run_cycle(ERCOT, hourly("ercot", 9), span=(0, 9 * 24 - 1))
    whole = tested.attribution
    assert whole.stages == ("perfect", "forecast", "bid", "delivered")
    assert int(whole.stage_amount[0]) == int(tested.perfect.amount.sum())
    assert int(whole.stage_amount[-1]) == int(tested.outcome.amount.sum())
    assert int(whole.stage_amount[0] + whole.step_total.sum()) == int(whole.stage_amount[-1])
    np.testing.assert_array_equal(whole.amount[:, -1], tested.outcome.amount)
    np.testing.assert_array_equal(whole.amount[:, 0] + whole.step_amount.sum(axis=1), whole.amount[:, -1])
    assert whole.step_total[0] < 0


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_stages_of_bands_sum_to_what_was_earned(name: str) -> None:
    given = series(8)
    outcome = run_backtest(make_strategy(name, SETTING), SETTING, given)
    perfect = perfect_foresight(SETTING, given)
    whole = attributed(
        perfect_wh=perfect.delivered_wh,
        planned_wh=outcome.delivered_wh,
        asked_wh=outcome.asked_wh,
        delivered_wh=outcome.delivered_wh,
        amount=outcome.amount,
        price_cents_per_mwh=given.price_cents_per_mwh,
        wear_per_mwh=10.0,
    )
    days = by_day(given, outcome, perfect)
    by = whole.by(np.repeat(np.arange(8), np.diff(days.first_index)), 8)
    np.testing.assert_array_equal(by[:, 0], days.perfect_amount)
    np.testing.assert_array_equal(by[:, -1], days.amount)
    # settled anew from the energies it is the same as the books
    np.testing.assert_array_equal(whole.amount[:, 1], outcome.amount)


def test_what_was_asked_but_not_followed_is_the_step_of_execution() -> None:
    given = series(4)
    outcome = run_backtest(make_strategy("shape", SETTING), SETTING, given)
    assert np.abs(outcome.asked_wh).sum() >= np.abs(outcome.delivered_wh).sum()
    with pytest.raises(InvalidInputError):
        attributed(
            perfect_wh=outcome.asked_wh,
            planned_wh=outcome.asked_wh,
            asked_wh=outcome.asked_wh,
            delivered_wh=outcome.asked_wh,
            amount=outcome.amount[1:],
            price_cents_per_mwh=given.price_cents_per_mwh,
            wear_per_mwh=10.0,
        )


def test_a_plan_is_carried_out_as_the_bid_says_when_every_price_is_taken() -> None:
    outcome = run_gates(ERCOT, hourly("ercot", 6), first_index=48)
    assert outcome.planned.all()
    assert np.abs(outcome.planned_wh).sum() > 0
    # together the plans are one schedule that the storage can follow
    stored = np.cumsum(outcome.planned_wh.clip(min=0)) * ERCOT.storage.charge_efficiency_frac
    stored -= np.cumsum((-outcome.planned_wh).clip(min=0)) / ERCOT.storage.discharge_efficiency_frac
    assert stored.min() >= -1.0
    assert stored.max() <= ERCOT.storage.energy_capacity_kwh * 1e3 + 1.0
    assert set(outcome.end_value_per_mwh)
