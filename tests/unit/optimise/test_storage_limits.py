"""Plans under targets, wishes, losses, depth costs and budgets: against HiGHS, against physics, and when nothing fits."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.cli.benches._optimise_highs import best_value
from shoal.cli.benches._optimise_instances import Instance, day_prices, random_instance
from shoal.domain.errors import InvalidInputError
from shoal.optimise.storage import DepthCost, Storage, StoragePlan, TerminalValue, plan_storage, plan_value
from shoal.optimise.storage_limits import (
    LimitConflict,
    StorageInfeasible,
    StorageLimits,
    ThroughputBudget,
    day_budgets,
    plan_storage_within,
)

Floats = NDArray[np.float64]

BATTERY = Storage(
    charge_limit_kw=5.0,
    discharge_limit_kw=4.0,
    charge_efficiency_frac=0.95,
    discharge_efficiency_frac=0.9,
    energy_capacity_kwh=10.0,
    initial_energy_kwh=3.0,
    throughput_cost_per_mwh=4.0,
    terminal_value_per_mwh=30.0,
)


def solve(instance: Instance) -> StoragePlan | StorageInfeasible:
    return plan_storage_within(
        instance.storage,
        instance.price_per_mwh,
        instance.interval_h,
        instance.limits,
        terminal=instance.terminal,
    )


def planned(storage: Storage, price: Floats, limits: StorageLimits, interval_h: float = 1.0) -> StoragePlan:
    answer = plan_storage_within(storage, price, interval_h, limits)
    assert isinstance(answer, StoragePlan)
    return answer


def assert_kept(instance: Instance, plan: StoragePlan) -> None:
    """Every limit is kept, worked out here from the powers alone."""
    storage, limits, hours = instance.storage, instance.limits, instance.interval_h
    slack = 1e-8 * storage.energy_capacity_kwh
    kept = (1.0 - storage.standing_loss_frac_per_h) ** hours
    energy = storage.initial_energy_kwh
    for t in range(instance.steps):
        charge, discharge = float(plan.charge_kw[t]), float(plan.discharge_kw[t])
        assert charge == 0.0 or discharge == 0.0
        up = np.inf if limits.charge_limit_kw is None else limits.charge_limit_kw[t]
        down = np.inf if limits.discharge_limit_kw is None else limits.discharge_limit_kw[t]
        assert 0.0 <= charge <= min(up, storage.charge_limit_kw)
        assert 0.0 <= discharge <= min(down, storage.discharge_limit_kw)
        change = charge * storage.charge_efficiency_frac - discharge / storage.discharge_efficiency_frac
        energy = energy * kept + change * hours
        low = 0.0 if limits.energy_min_kwh is None else limits.energy_min_kwh[t]
        high = np.inf if limits.energy_max_kwh is None else limits.energy_max_kwh[t]
        assert low - slack <= energy <= min(high, storage.energy_capacity_kwh) + slack
        assert plan.energy_kwh[t + 1] == pytest.approx(energy, abs=slack)
    for budget in limits.budgets:
        spent = plan.discharge_kw[budget.first_row : budget.last_row + 1].sum() * hours
        assert spent <= budget.discharge_kwh + slack


@pytest.mark.parametrize("seed", range(12))
def test_plan_within_random_limits_equals_independent_solver(seed: int) -> None:
    rng = np.random.default_rng(7_000 + seed)
    for _ in range(40):
        instance = random_instance(rng, int(rng.choice([1, 2, 5, 9, 14])))
        answer, expected = solve(instance), best_value(instance)
        if isinstance(answer, StorageInfeasible):
            assert expected is None
            assert answer.conflicts
            continue
        assert expected is not None
        assert answer.exact
        assert answer.value == pytest.approx(expected, rel=1e-9, abs=1e-12)
        assert answer.value <= answer.value_bound == pytest.approx(expected, rel=1e-9, abs=1e-9)
        assert_kept(instance, answer)


@pytest.mark.parametrize("days", [2, 5])
def test_plan_with_a_cycle_limit_each_day_and_one_for_all_equals_independent_solver(days: int) -> None:
    rng = np.random.default_rng(days)
    steps = 24 * days
    whole = ThroughputBudget(first_row=0, last_row=steps - 1, discharge_kwh=5.0 * days)
    limits = StorageLimits(budgets=(*day_budgets(steps, 24, 6.0), whole))
    instance = Instance(
        storage=BATTERY, price_per_mwh=day_prices(steps, 1.0, rng), interval_h=1.0, limits=limits
    )
    plan = solve(instance)
    assert isinstance(plan, StoragePlan)
    assert plan.exact
    assert plan.value == pytest.approx(best_value(instance, exclusive=False), rel=1e-9)
    assert_kept(instance, plan)
    assert plan.budget_price_per_mwh.shape == (days + 1,)
    assert np.all(plan.budget_price_per_mwh >= 0.0)


def test_price_of_a_budget_is_the_slope_of_the_value() -> None:
    price = np.array([20.0, 100.0, 35.0, 140.0, 50.0, 80.0])

    def value(budget_kwh: float) -> StoragePlan:
        budget = ThroughputBudget(first_row=0, last_row=5, discharge_kwh=budget_kwh)
        return planned(BATTERY, price, StorageLimits(budgets=(budget,)))

    step_kwh = 1e-4
    for budget_kwh in (1.3, 3.1, 5.7):
        here = value(budget_kwh)
        slope = (value(budget_kwh + step_kwh).value - here.value) / step_kwh * 1000.0
        assert here.budget_price_per_mwh[0] == pytest.approx(slope, rel=1e-6)
        assert slope > 0.0
        assert here.discharge_kw.sum() == pytest.approx(budget_kwh)


def test_budget_that_does_not_bind_costs_nothing() -> None:
    price = np.array([20.0, 100.0, 35.0])
    free = plan_storage(BATTERY, price, 1.0)
    budget = ThroughputBudget(first_row=0, last_row=2, discharge_kwh=100.0)
    bound = planned(BATTERY, price, StorageLimits(budgets=(budget,)))
    assert bound.value == free.value
    assert bound.budget_price_per_mwh.tolist() == [0.0]


def test_targets_are_met_and_their_conflicts_named_with_what_is_reachable() -> None:
    low = np.array([0.0, 0.0, 9.0])
    plan = planned(BATTERY, np.array([50.0, 60.0, 70.0]), StorageLimits(energy_min_kwh=low))
    assert plan.energy_kwh[3] == pytest.approx(9.0)
    answer = plan_storage_within(
        BATTERY,
        np.array([50.0, 60.0, 70.0]),
        0.25,
        StorageLimits(energy_min_kwh=low, energy_max_kwh=low + 0.5),
    )
    assert isinstance(answer, StorageInfeasible)
    first, second, third = answer.conflicts
    assert (first.limit, first.row, first.asked_kwh) == ("energy_max", 0, 0.5)
    assert first.reachable_kwh == pytest.approx(3.0 - 4.0 * 0.25 / 0.9)
    assert (second.limit, second.row, second.asked_kwh) == ("energy_max", 1, 0.5)
    assert second.reachable_kwh == pytest.approx(3.0 - 2 * 4.0 * 0.25 / 0.9)
    assert (third.limit, third.row, third.asked_kwh) == ("energy_min", 2, 9.0)


def test_target_out_of_reach_is_named() -> None:
    low = np.array([0.0, 8.0, 0.0])
    answer = plan_storage_within(BATTERY, np.full(3, 50.0), 0.5, StorageLimits(energy_min_kwh=low))
    assert isinstance(answer, StorageInfeasible)
    (conflict,) = answer.conflicts
    assert (conflict.limit, conflict.row, conflict.asked_kwh) == ("energy_min", 1, 8.0)
    assert conflict.reachable_kwh == pytest.approx(3.0 + 5.0 * 0.95)


def test_budget_that_a_target_breaks_is_named_with_the_least_that_is_needed() -> None:
    budget = ThroughputBudget(first_row=0, last_row=1, discharge_kwh=0.5)
    limits = StorageLimits(energy_max_kwh=np.array([10.0, 1.2]), budgets=(budget,))
    answer = plan_storage_within(BATTERY, np.array([10.0, 20.0]), 1.0, limits)
    assert isinstance(answer, StorageInfeasible)
    (conflict,) = answer.conflicts
    assert (conflict.limit, conflict.row, conflict.asked_kwh) == ("throughput", 0, 0.5)
    assert conflict.reachable_kwh == pytest.approx(1.8 * 0.9)


def test_daily_budgets_that_a_target_breaks_are_named() -> None:
    limits = StorageLimits(energy_max_kwh=np.array([10.0, 10.0, 10.0, 1.2]), budgets=day_budgets(4, 2, 0.4))
    answer = plan_storage_within(BATTERY, np.array([10.0, 20.0, 30.0, 20.0]), 1.0, limits)
    assert isinstance(answer, StorageInfeasible)
    assert {conflict.limit for conflict in answer.conflicts} == {"throughput"}
    missing = sum(conflict.reachable_kwh - conflict.asked_kwh for conflict in answer.conflicts)
    assert missing == pytest.approx(1.8 * 0.9 - 0.8)


def test_wish_is_bought_off_where_it_costs_less_than_to_keep_it() -> None:
    price = np.array([50.0, 500.0, 50.0])
    wish, cost = np.array([0.0, 5.0, 0.0]), np.array([0.0, 30.0, 0.0])
    cheap = planned(BATTERY, price, StorageLimits(wish_kwh=wish, shortfall_cost_per_mwh=cost))
    assert cheap.discharge_kw[1] > 0.0
    dear = planned(BATTERY, price, StorageLimits(wish_kwh=wish, shortfall_cost_per_mwh=cost * 100))
    assert dear.energy_kwh[2] == pytest.approx(5.0)
    missing_mwh = (5.0 - cheap.energy_kwh[2]) / 1000.0
    assert missing_mwh > 0.0
    income = plan_value(BATTERY, price, cheap.charge_kw, cheap.discharge_kw, 1.0)
    assert cheap.value == pytest.approx(income - 30.0 * missing_mwh)
    assert cheap.value < plan_storage(BATTERY, price, 1.0).value


def test_depth_cost_keeps_the_storage_from_standing_empty() -> None:
    price = np.array([60.0, 61.0, 60.0, 60.0])
    storage = dataclasses.replace(BATTERY, terminal_value_per_mwh=40.0)
    careless = plan_storage(storage, price, 1.0)
    careful = dataclasses.replace(
        storage,
        depth_costs=(
            DepthCost(below_kwh=5.0, cost_per_mwh_h=3.0),
            DepthCost(below_kwh=1.0, cost_per_mwh_h=50.0),
        ),
    )
    plan = plan_storage(careful, price, 1.0)
    assert careless.energy_kwh.min() == 0.0
    assert plan.energy_kwh.min() == pytest.approx(1.0)
    assert plan.value == plan_value(careful, price, plan.charge_kw, plan.discharge_kw, 1.0)
    assert plan.value == pytest.approx(
        best_value(Instance(storage=careful, price_per_mwh=price, interval_h=1.0))
    )


def test_standing_loss_drains_what_is_kept() -> None:
    storage = dataclasses.replace(BATTERY, standing_loss_frac_per_h=0.1)
    still = dataclasses.replace(storage, charge_limit_kw=0.0, discharge_limit_kw=0.0)
    plan = plan_storage(still, np.full(4, 50.0), 0.5)
    assert plan.energy_kwh == pytest.approx(3.0 * 0.9 ** (0.5 * np.arange(5)))
    assert plan.value == pytest.approx(30.0 * plan.energy_kwh[-1] / 1000.0)
    assert plan.marginal_value_per_mwh == pytest.approx(30.0 * 0.9 ** (0.5 * (4 - np.arange(5))))


def test_horizon_that_outlasts_the_stored_energy_is_refused() -> None:
    storage = dataclasses.replace(BATTERY, standing_loss_frac_per_h=0.5)
    assert plan_storage(storage, np.full(20, 50.0), 1.0).exact
    with pytest.raises(InvalidInputError) as caught:
        plan_storage(storage, np.full(40, 50.0), 1.0)
    assert caught.value.field == "standing_loss_frac_per_h"


def test_marginal_values_under_limits_are_the_slopes_of_the_value() -> None:
    rng = np.random.default_rng(11)
    storage = dataclasses.replace(
        BATTERY,
        standing_loss_frac_per_h=0.02,
        depth_costs=(DepthCost(below_kwh=4.0, cost_per_mwh_h=2.0),),
    )
    step_kwh = 1e-5
    for _ in range(20):
        price = rng.normal(60.0, 40.0, 8).clip(0.0)
        limits = StorageLimits(energy_min_kwh=np.where(rng.random(8) < 0.3, rng.uniform(0.0, 3.0, 8), 0.0))
        base = plan_storage_within(storage, price, 1.0, limits)
        if isinstance(base, StorageInfeasible):
            continue

        def value_from(
            energy_kwh: float, price: Floats = price, limits: StorageLimits = limits
        ) -> float | None:
            start = dataclasses.replace(storage, initial_energy_kwh=energy_kwh)
            answer = plan_storage_within(start, price, 1.0, limits)
            return answer.value if isinstance(answer, StoragePlan) else None

        more, less = value_from(3.0 + step_kwh), value_from(3.0 - step_kwh)
        assert more is not None
        assert base.marginal_gain_per_mwh[0] == pytest.approx(
            (more - base.value) / step_kwh * 1000.0, rel=1e-5, abs=1e-5
        )
        if less is None:
            assert base.marginal_loss_per_mwh[0] == np.inf
        else:
            assert base.marginal_loss_per_mwh[0] == pytest.approx(
                (base.value - less) / step_kwh * 1000.0, rel=1e-5, abs=1e-5
            )


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        (StorageLimits(energy_min_kwh=np.ones(2)), "energy_min_kwh"),
        (StorageLimits(energy_max_kwh=np.array([1.0, -1.0, 1.0])), "energy_max_kwh[1]"),
        (StorageLimits(charge_limit_kw=np.array([1.0, np.nan, 1.0])), "charge_limit_kw[1]"),
        (StorageLimits(wish_kwh=np.ones(3)), "wish_kwh"),
        (StorageLimits(wish_kwh=np.full(3, 11.0), shortfall_cost_per_mwh=np.ones(3)), "wish_kwh[0]"),
        (
            StorageLimits(budgets=(ThroughputBudget(first_row=0, last_row=3, discharge_kwh=1.0),)),
            "budgets[0]",
        ),
        (
            StorageLimits(budgets=(ThroughputBudget(first_row=0, last_row=1, discharge_kwh=-1.0),)),
            "budgets[0].discharge_kwh",
        ),
    ],
)
def test_limits_that_are_malformed_are_refused(limits: StorageLimits, field: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        plan_storage_within(BATTERY, np.ones(3), 1.0, limits)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("ends", "slopes", "field"),
    [
        ([2.0, 1.0], [2.0, 1.0], "end_kwh[1]"),
        ([1.0, 2.0], [1.0, 2.0], "slope_per_mwh[1]"),
        ([], [], "end_kwh"),
    ],
)
def test_terminal_value_refuses_what_is_not_concave(
    ends: list[float], slopes: list[float], field: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        TerminalValue(end_kwh=np.array(ends), slope_per_mwh=np.array(slopes))
    assert caught.value.field == field


def test_terminal_value_must_end_at_the_capacity() -> None:
    short = TerminalValue(end_kwh=np.array([4.0]), slope_per_mwh=np.array([10.0]))
    with pytest.raises(InvalidInputError):
        plan_storage(BATTERY, np.ones(3), 1.0, terminal=short)


def test_conflict_is_a_value_that_compares() -> None:
    one = LimitConflict(limit="energy_min", row=1, asked_kwh=2.0, reachable_kwh=1.0)
    assert one == dataclasses.replace(one)
