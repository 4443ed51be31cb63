"""What must hold of storage plans under limits: eased conflicts fit, room never hurts, a joined horizon loses nothing."""

from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.cli.benches._optimise_instances import Instance, random_instance
from shoal.optimise.storage import StoragePlan
from shoal.optimise.storage_limits import (
    StorageInfeasible,
    StorageLimits,
    ThroughputBudget,
    plan_storage_within,
)

# Compiling the kernels on a first run takes seconds, so no example has a deadline.
PROFILE = settings(deadline=None, max_examples=150)

instances = st.builds(
    lambda seed, steps: random_instance(np.random.default_rng(seed), steps),
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 3, 8, 20]),
)


def solve(instance: Instance, limits: StorageLimits) -> StoragePlan | StorageInfeasible:
    return plan_storage_within(
        instance.storage, instance.price_per_mwh, instance.interval_h, limits, terminal=instance.terminal
    )


def eased(limits: StorageLimits, found: StorageInfeasible) -> StorageLimits:
    low = None if limits.energy_min_kwh is None else limits.energy_min_kwh.copy()
    high = None if limits.energy_max_kwh is None else limits.energy_max_kwh.copy()
    budgets = list(limits.budgets)
    for conflict in found.conflicts:
        if conflict.limit == "energy_min":
            assert low is not None
            assert conflict.reachable_kwh < conflict.asked_kwh
            low[conflict.row] = conflict.reachable_kwh
        elif conflict.limit == "energy_max":
            assert high is not None
            assert conflict.reachable_kwh > conflict.asked_kwh
            high[conflict.row] = conflict.reachable_kwh
        else:
            assert conflict.reachable_kwh > conflict.asked_kwh
            budgets[conflict.row] = dataclasses.replace(
                budgets[conflict.row], discharge_kwh=conflict.reachable_kwh
            )
    return dataclasses.replace(limits, energy_min_kwh=low, energy_max_kwh=high, budgets=tuple(budgets))


@PROFILE
@given(instance=instances, tight=st.floats(1.0, 3.0))
def test_limits_eased_to_what_is_reachable_can_be_kept(instance: Instance, tight: float) -> None:
    low = instance.limits.energy_min_kwh
    limits = dataclasses.replace(
        instance.limits,
        energy_min_kwh=None
        if low is None
        else np.minimum(tight * low, 1.2 * instance.storage.energy_capacity_kwh),
    )
    answer = solve(instance, limits)
    if isinstance(answer, StorageInfeasible) and answer.conflicts[0].limit != "throughput":
        limits = eased(limits, answer)
        answer = solve(instance, limits)
        assert isinstance(answer, StoragePlan) or answer.conflicts[0].limit == "throughput"
    if isinstance(answer, StorageInfeasible):
        assert isinstance(solve(instance, eased(limits, answer)), StoragePlan)


@PROFILE
@given(instance=instances, more_kwh=st.floats(0.0, 5.0))
def test_plan_is_worth_no_less_with_looser_limits(instance: Instance, more_kwh: float) -> None:
    limits, plan = instance.limits, solve(instance, instance.limits)
    if isinstance(plan, StorageInfeasible):
        return
    looser = dataclasses.replace(
        limits,
        energy_min_kwh=None
        if limits.energy_min_kwh is None
        else np.maximum(limits.energy_min_kwh - more_kwh, 0.0),
        energy_max_kwh=None if limits.energy_max_kwh is None else limits.energy_max_kwh + more_kwh,
        budgets=tuple(
            dataclasses.replace(budget, discharge_kwh=budget.discharge_kwh + more_kwh)
            for budget in limits.budgets
        ),
    )
    wider = solve(instance, looser)
    assert isinstance(wider, StoragePlan)
    assert wider.value >= plan.value - 1e-9 * (1e-3 + abs(plan.value))


@PROFILE
@given(instance=instances)
def test_what_a_plan_uses_as_its_budget_changes_nothing(instance: Instance) -> None:
    limits = dataclasses.replace(instance.limits, budgets=())
    plan = solve(instance, limits)
    if isinstance(plan, StorageInfeasible):
        return
    spent_kwh = float(plan.discharge_kw.sum()) * instance.interval_h
    budget = ThroughputBudget(first_row=0, last_row=instance.steps - 1, discharge_kwh=spent_kwh)
    again = solve(instance, dataclasses.replace(limits, budgets=(budget,)))
    assert isinstance(again, StoragePlan)
    assert abs(again.value - plan.value) <= 1e-9 * (1e-3 + abs(plan.value))
