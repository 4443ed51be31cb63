"""The scenario programme on cases that can be worked out by hand, and offers rolled through scenarios held out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.cli.benches._optimise_scenario import PRODUCTS, sample_scenarios
from shoal.domain.errors import InvalidInputError
from shoal.optimise.scenario import plan_scenarios
from shoal.optimise.scenario_inputs import PriceScenarios, ReserveProduct, Risk, tail_mean
from shoal.optimise.scenario_policy import roll_offers
from shoal.optimise.storage import Storage, plan_storage

Floats = NDArray[np.float64]

BATTERY = Storage(
    charge_limit_kw=1_000.0,
    discharge_limit_kw=1_000.0,
    charge_efficiency_frac=1.0,
    discharge_efficiency_frac=1.0,
    energy_capacity_kwh=2_000.0,
    initial_energy_kwh=1_000.0,
)


def test_one_scenario_without_reserve_is_the_storage_plan() -> None:
    price = np.array([20.0, 100.0, 30.0, 80.0, 10.0, 60.0])
    battery = replace(BATTERY, charge_efficiency_frac=0.9, throughput_cost_per_mwh=5.0)
    plan = plan_scenarios(battery, PriceScenarios(real_time_per_mwh=price[None]), 1.0, gap_frac=1e-6)
    assert plan.value == pytest.approx(plan_storage(battery, price, 1.0).value, rel=1e-9)
    assert plan.gap_frac <= 1e-6
    assert plan.reserve_kw.shape == (6, 0)
    assert plan.day_ahead_kw.shape == (6, 0)


def test_reserve_up_is_limited_by_the_energy_behind_it() -> None:
    # One MWh stored backs half a MW for two hours; prices of energy are level, so nothing else pays.
    product = ReserveProduct(name="up", direction="up", duration_h=2.0)
    scenarios = PriceScenarios(
        real_time_per_mwh=np.full((3, 1), 50.0), reserve_per_mw=np.full((3, 1, 1), 10.0)
    )
    battery = replace(BATTERY, terminal_value_per_mwh=50.0)
    plan = plan_scenarios(battery, scenarios, 1.0, products=(product,), gap_frac=1e-6)
    assert plan.reserve_kw[0, 0] == pytest.approx(500.0, rel=1e-3)
    assert plan.value == pytest.approx(50.0 + 5.0, rel=1e-5)


def test_charging_battery_can_hold_more_up_than_its_power() -> None:
    # While it charges with 1 MW, 2 MW up is to stop and to discharge.
    product = ReserveProduct(name="up", direction="up", duration_h=0.0)
    scenarios = PriceScenarios(real_time_per_mwh=np.array([[1.0]]), reserve_per_mw=np.full((1, 1, 1), 10.0))
    plan = plan_scenarios(BATTERY, scenarios, 1.0, products=(product,), gap_frac=1e-6)
    assert plan.reserve_kw[0, 0] == pytest.approx(2_000.0, rel=1e-3)
    assert plan.charge_kw[0, 0] == pytest.approx(1_000.0, rel=1e-3)


def test_cost_of_reserve_is_the_energy_trade_that_it_displaces() -> None:
    # Discharging now earns 100 against 40 kept: a MW held up displaces one discharged, worth 60.
    product = ReserveProduct(name="up", direction="up", duration_h=0.0, limit_kw=500.0)
    battery = replace(
        BATTERY, terminal_value_per_mwh=40.0, energy_capacity_kwh=4_000.0, initial_energy_kwh=3_000.0
    )
    for paid, held_kw in ((50.0, 0.0), (59.0, 0.0), (61.0, 500.0), (70.0, 500.0)):
        scenarios = PriceScenarios(
            real_time_per_mwh=np.array([[100.0]]), reserve_per_mw=np.full((1, 1, 1), paid)
        )
        plan = plan_scenarios(battery, scenarios, 1.0, products=(product,), gap_frac=1e-7)
        assert plan.reserve_kw[0, 0] == pytest.approx(held_kw, abs=2.0)
        assert plan.reserve_cost_per_mw[0, 0] == pytest.approx(60.0, rel=5e-3)


def test_expected_calls_move_the_energy_and_are_paid() -> None:
    product = ReserveProduct(name="up", direction="up", duration_h=0.5, call_frac=0.5, limit_kw=400.0)
    scenarios = PriceScenarios(
        real_time_per_mwh=np.array([[50.0, 50.0]]), reserve_per_mw=np.full((1, 2, 1), 20.0)
    )
    battery = replace(BATTERY, terminal_value_per_mwh=50.0)
    plan = plan_scenarios(battery, scenarios, 1.0, products=(product,), gap_frac=1e-7)
    np.testing.assert_allclose(plan.reserve_kw[:, 0], 400.0, rtol=1e-3)
    # 0.8 MW-hours held at 20; what is called is sold at what it is worth kept.
    assert plan.value == pytest.approx(50.0 + 16.0, rel=1e-5)
    moved_kwh = np.diff(plan.energy_kwh[0]) - plan.charge_kw[0] + plan.discharge_kw[0]
    np.testing.assert_allclose(moved_kwh, -200.0, rtol=1e-3)


def test_curve_sells_where_the_day_ahead_pays_more_and_buys_where_it_pays_less() -> None:
    ahead = np.array([[20.0], [40.0], [60.0], [80.0]])
    scenarios = PriceScenarios(real_time_per_mwh=np.full((4, 1), 50.0), day_ahead_per_mwh=ahead)
    plan = plan_scenarios(
        replace(BATTERY, terminal_value_per_mwh=50.0),
        scenarios,
        1.0,
        day_ahead_grid_per_mwh=np.array([[30.0, 50.0, 70.0]]),
        gap_frac=1e-6,
    )
    np.testing.assert_allclose(plan.day_ahead_kw[0], [1_000.0, 1_000.0, -1_000.0, -1_000.0], rtol=1e-3)
    assert plan.mean_amount == pytest.approx(50.0 + (30.0 + 10.0 + 10.0 + 30.0) / 4.0, rel=1e-5)


def test_risk_averse_offers_give_up_mean_for_the_tail() -> None:
    scenarios = sample_scenarios(40, 12, PRODUCTS[:2], seed=3)
    neutral, averse = (
        plan_scenarios(BATTERY, scenarios, 1.0, products=PRODUCTS[:2], risk=Risk(level=0.9, weight=weight))
        for weight in (0.0, 0.8)
    )
    assert averse.tail_amount > neutral.tail_amount + 1.0
    assert averse.mean_amount < neutral.mean_amount


def test_tail_mean_takes_the_share_of_the_outcome_on_the_edge() -> None:
    amounts, probability = np.array([30.0, 10.0, 20.0, 40.0]), np.full(4, 0.25)
    assert tail_mean(amounts, probability, 0.25) == 10.0
    assert tail_mean(amounts, probability, 0.375) == pytest.approx((10.0 * 0.25 + 20.0 * 0.125) / 0.375)
    assert tail_mean(amounts, probability, 1.0) == 25.0


def test_plan_is_the_same_bit_for_bit() -> None:
    scenarios = sample_scenarios(15, 8, PRODUCTS[:3], seed=4)
    first, second = (
        plan_scenarios(BATTERY, scenarios, 1.0, products=PRODUCTS[:3], risk=Risk(weight=0.3))
        for _ in range(2)
    )
    assert first.value == second.value
    np.testing.assert_array_equal(first.reserve_kw, second.reserve_kw)
    np.testing.assert_array_equal(first.energy_kwh, second.energy_kwh)


def test_quarter_hours_with_reserve_are_solved_to_the_gap() -> None:
    scenarios = sample_scenarios(20, 96, PRODUCTS[:2], seed=5)
    plan = plan_scenarios(BATTERY, scenarios, 0.25, products=PRODUCTS[:2], risk=Risk(weight=0.3))
    assert plan.gap_frac <= 1e-4


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"real_time_per_mwh": np.zeros(3)}, "real_time_per_mwh"),
        ({"real_time_per_mwh": np.full((2, 3), np.nan)}, "real_time_per_mwh"),
        ({"day_ahead_per_mwh": np.zeros((2, 4))}, "day_ahead_per_mwh"),
        ({"reserve_per_mw": np.zeros((2, 3))}, "reserve_per_mw"),
        ({"weights": np.array([0.5, 0.6])}, "sum of weights"),
    ],
)
def test_scenarios_that_make_no_sense_are_refused(change: dict[str, Floats], field: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        PriceScenarios(**({"real_time_per_mwh": np.zeros((2, 3))} | change))
    assert refused.value.field == field


def test_plan_refuses_prices_of_other_products_and_grids_that_fall() -> None:
    scenarios = sample_scenarios(3, 2, PRODUCTS[:2], seed=1)
    with pytest.raises(InvalidInputError, match="reserve_per_mw"):
        plan_scenarios(BATTERY, scenarios, 1.0, products=PRODUCTS[:1])
    with pytest.raises(InvalidInputError, match="day_ahead_grid_per_mwh"):
        plan_scenarios(
            BATTERY,
            scenarios,
            1.0,
            products=PRODUCTS[:2],
            day_ahead_grid_per_mwh=np.array([[2.0, 1.0], [1.0, 2.0]]),
        )
    with pytest.raises(InvalidInputError, match="charge_limit_kw"):
        plan_scenarios(replace(BATTERY, charge_limit_kw=0.0), scenarios, 1.0, products=PRODUCTS[:2])


def held_out() -> tuple[PriceScenarios, PriceScenarios]:
    return sample_scenarios(60, 24, PRODUCTS[:3], seed=11), sample_scenarios(60, 24, PRODUCTS[:3], seed=12)


def test_offers_held_out_earn_less_than_with_foresight_but_most_of_it() -> None:
    learnt, unseen = held_out()
    plan = plan_scenarios(BATTERY, learnt, 1.0, products=PRODUCTS[:3])
    rolled = roll_offers(BATTERY, plan, learnt, unseen, 1.0, products=PRODUCTS[:3])
    assert rolled.mean_amount < rolled.foresight_amount
    assert rolled.mean_amount > 0.6 * rolled.foresight_amount
    assert rolled.tail_amount < rolled.mean_amount
    assert 0.0 < rolled.standard_error_amount < rolled.mean_amount
    assert rolled.energy_kwh.min() >= -1e-6
    assert rolled.energy_kwh.max() <= BATTERY.energy_capacity_kwh + 1e-6


def test_policy_does_not_know_later_prices() -> None:
    learnt, unseen = held_out()
    plan = plan_scenarios(BATTERY, learnt, 1.0, products=PRODUCTS[:3])
    changed = unseen.real_time_per_mwh.copy()
    changed[:, 10:] = 500.0 - changed[:, 10:]
    other = replace(unseen, real_time_per_mwh=changed)
    first, second = (
        roll_offers(BATTERY, plan, learnt, given, 1.0, products=PRODUCTS[:3]) for given in (unseen, other)
    )
    np.testing.assert_allclose(first.energy_kwh[:, :11], second.energy_kwh[:, :11], rtol=0, atol=1e-6)
    assert np.abs(first.energy_kwh[:, 11:] - second.energy_kwh[:, 11:]).max() > 1.0


def test_policy_that_has_learnt_the_only_future_is_as_good_as_foresight() -> None:
    price = np.array([[30.0, 10.0, 60.0, 20.0, 90.0, 40.0]])
    scenarios = PriceScenarios(real_time_per_mwh=price)
    plan = plan_scenarios(BATTERY, scenarios, 1.0)
    rolled = roll_offers(BATTERY, plan, scenarios, scenarios, 1.0, kinds_count=1, levels_count=101)
    assert rolled.mean_amount == pytest.approx(plan_storage(BATTERY, price[0], 1.0).value, rel=1e-9)


def test_roll_refuses_scenarios_of_another_length() -> None:
    learnt, _ = held_out()
    plan = plan_scenarios(BATTERY, learnt, 1.0, products=PRODUCTS[:3])
    with pytest.raises(InvalidInputError, match="held_out"):
        roll_offers(
            BATTERY, plan, learnt, sample_scenarios(5, 12, PRODUCTS[:3], seed=1), 1.0, products=PRODUCTS[:3]
        )
