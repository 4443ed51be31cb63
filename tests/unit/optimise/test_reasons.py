"""Reasons of plans that can be worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shoal.domain.errors import InvalidInputError
from shoal.optimise.reasons import Binding, explain_plan
from shoal.optimise.relax import commit_power, keep_energy, plan_agreed
from shoal.optimise.storage import DepthCost, Storage, plan_storage

BATTERY = Storage(
    charge_limit_kw=5.0,
    discharge_limit_kw=5.0,
    charge_efficiency_frac=1.0,
    discharge_efficiency_frac=1.0,
    energy_capacity_kwh=10.0,
    initial_energy_kwh=0.0,
)


def test_reason_of_a_charge_names_the_price_at_which_it_would_stop() -> None:
    price = np.array([20.0, 100.0])
    charge, discharge = explain_plan(BATTERY, price, 1.0, plan_storage(BATTERY, price, 1.0))
    assert (charge.decision, charge.power_kw, charge.flip_per_mwh) == ("charge", 5.0, 100.0)
    assert charge.bindings == (Binding(kind="charge_limit"),)
    assert charge.stored_value_per_mwh == pytest.approx(50.0)  # one more is worth nothing, one less costs 100
    assert charge.sentence == (
        "Charges 5 kW at 20.00: because that pays below 100.00; at the charging limit; would flip at 100.00."
    )
    assert (discharge.decision, discharge.power_kw, discharge.flip_per_mwh) == ("discharge", -5.0, 20.0)
    assert discharge.bindings == (Binding(kind="discharge_limit"), Binding(kind="empty"))


def test_thresholds_are_at_the_terminals_with_losses_and_wear() -> None:
    battery = replace(
        BATTERY,
        charge_efficiency_frac=0.8,
        discharge_efficiency_frac=0.9,
        throughput_cost_per_mwh=10.0,
        terminal_value_per_mwh=50.0,
        initial_energy_kwh=5.0,
    )
    price = np.array([45.0])
    (reason,) = explain_plan(battery, price, 1.0, plan_storage(battery, price, 1.0))
    assert reason.decision == "idle"
    assert reason.charge_below_per_mwh == pytest.approx(50.0 * 0.8)
    assert reason.discharge_above_per_mwh == pytest.approx(50.0 / 0.9 + 10.0)
    assert reason.flip_per_mwh == pytest.approx(40.0)
    assert reason.sentence == (
        "Idles at 45.00: charging pays below 40.00, discharging above 65.56; would flip at 40.00."
    )


def test_empty_and_full_store_leave_one_decision_out() -> None:
    price = np.array([45.0])
    (empty,) = explain_plan(BATTERY, price, 1.0, plan_storage(BATTERY, price, 1.0))
    assert empty.discharge_above_per_mwh == np.inf
    assert empty.bindings == (Binding(kind="empty"),)
    assert "discharging is not possible" in empty.sentence
    full = replace(BATTERY, initial_energy_kwh=10.0, terminal_value_per_mwh=60.0)
    (reason,) = explain_plan(full, price, 1.0, plan_storage(full, price, 1.0))
    assert reason.charge_below_per_mwh == -np.inf
    assert reason.bindings == (Binding(kind="full"),)


def test_wishes_that_bind_are_named() -> None:
    battery = replace(BATTERY, initial_energy_kwh=10.0)
    wishes = [commit_power("customer", 0, [-3.0]), keep_energy("reserve", (1, 3), 4.0)]
    price = np.array([10.0, 100.0])
    agreed = plan_agreed(battery, price, 1.0, wishes)
    first, second = explain_plan(battery, price, 1.0, agreed.plan, limits=agreed.agreement.limits)
    assert first.bindings == (Binding(kind="power", name="customer"),)
    assert first.flip_per_mwh is None
    assert "at the power that 'customer' asks for; no price would flip it" in first.sentence
    assert second.bindings == (Binding(kind="energy_floor", name="reserve"),)
    assert second.power_kw == pytest.approx(-3.0)
    assert "down to what 'reserve' keeps" in second.sentence


def test_flip_of_a_solver_that_knows_more_is_found_by_solving_again() -> None:
    battery = replace(
        BATTERY,
        initial_energy_kwh=5.0,
        terminal_value_per_mwh=50.0,
        depth_costs=(DepthCost(below_kwh=10.0, cost_per_mwh_h=7.0),),
    )
    price = np.array([45.0])
    plan = plan_storage(battery, price, 1.0)
    (reason,) = explain_plan(battery, price, 1.0, plan, solve=lambda given: plan_storage(battery, given, 1.0))
    assert reason.decision == "charge"
    assert reason.charge_below_per_mwh == pytest.approx(57.0, abs=1e-6)
    with pytest.raises(InvalidInputError, match="depth_costs"):
        explain_plan(battery, price, 1.0, plan)


def test_rows_choose_the_intervals() -> None:
    price = np.array([20.0, 100.0, 30.0])
    plan = plan_storage(BATTERY, price, 1.0)
    (reason,) = explain_plan(BATTERY, price, 1.0, plan, rows=[1])
    assert (reason.row, reason.decision) == (1, "discharge")
    with pytest.raises(InvalidInputError, match="rows"):
        explain_plan(BATTERY, price, 1.0, plan, rows=[3])
