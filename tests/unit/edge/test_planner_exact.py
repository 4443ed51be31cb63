"""The exact plan in plain Python: against HiGHS on the same problem, and its policy against its own plan."""

from __future__ import annotations

import math

import highspy
import numpy as np
import pytest

from shoal.domain.errors import InvalidInputError
from shoal.edge.planner_exact import (
    HomeBattery,
    HomePlanLight,
    HomeSteps,
    levels_power_kw,
    plan_home_light,
)

BATTERY = HomeBattery(
    charge_limit_kw=5.0,
    discharge_limit_kw=5.0,
    charge_efficiency_frac=0.95,
    discharge_efficiency_frac=0.93,
    usable_kwh=10.0,
    initial_kwh=2.0,
    wear_per_kwh=0.02,
    terminal_per_kwh=0.1,
)


def some_home(seed: int, count: int = 40) -> tuple[HomeBattery, HomeSteps, float, float]:
    random = np.random.default_rng(seed)
    usable = float(random.uniform(0.0, 15.0))
    battery = HomeBattery(
        charge_limit_kw=float(random.uniform(0.0, 6.0)),
        discharge_limit_kw=float(random.uniform(0.0, 6.0)),
        charge_efficiency_frac=float(random.uniform(0.8, 1.0)),
        discharge_efficiency_frac=float(random.uniform(0.8, 1.0)),
        usable_kwh=usable,
        initial_kwh=usable * float(random.random()),
        wear_per_kwh=float(random.choice([0.0, 0.03])),
        terminal_per_kwh=float(random.uniform(0.0, 0.2)),
    )
    buy = random.uniform(0.05, 0.5, count)
    sell = buy * random.uniform(-0.3 if seed % 3 == 0 else 0.0, 1.0, count)
    steps = HomeSteps(
        duration_h=random.choice([0.25, 1.0 / 12.0, 1.0], count).tolist(),
        load_kw=random.uniform(0.0, 4.0, count).tolist(),
        solar_kw=np.maximum(random.uniform(-4.0, 6.0, count), 0.0).tolist(),
        import_per_kwh=buy.tolist(),
        export_per_kwh=sell.tolist(),
    )
    limited = seed % 2 == 0
    return battery, steps, 4.5 if limited else math.inf, 2.0 if limited else math.inf


def cheapest(battery: HomeBattery, steps: HomeSteps, import_kw: float, export_kw: float) -> float:
    """Solve the same problem as a linear programme; exact where buying never costs less than selling earns."""
    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    solver.setOptionValue("output_flag", False)
    energy = battery.initial_kwh + 0.0 * solver.addVariable(lb=0.0, ub=0.0)
    cost = 0.0 * solver.addVariable(lb=0.0, ub=0.0)
    for t, hours in enumerate(steps.duration_h):
        charge = solver.addVariable(lb=0.0, ub=battery.charge_limit_kw * hours)
        give = solver.addVariable(lb=0.0, ub=battery.discharge_limit_kw * hours)
        bought = solver.addVariable(lb=0.0, ub=min(import_kw * hours, 1e6))
        sold = solver.addVariable(lb=0.0, ub=min(export_kw * hours, 1e6))
        sun = solver.addVariable(lb=0.0, ub=steps.solar_kw[t] * hours)
        solver.addConstr(steps.load_kw[t] * hours + charge - give - sun == bought - sold)
        after = solver.addVariable(lb=0.0, ub=battery.usable_kwh)
        solver.addConstr(
            after
            == energy
            + battery.charge_efficiency_frac * charge
            - (1.0 / battery.discharge_efficiency_frac) * give
        )
        energy = after
        cost = cost + steps.import_per_kwh[t] * bought - steps.export_per_kwh[t] * sold
        cost = cost + battery.wear_per_kwh * give
    solver.minimize(cost - battery.terminal_per_kwh * energy)
    assert solver.getModelStatus() == highspy.HighsModelStatus.kOptimal
    return float(solver.getObjectiveValue())


def check_follows(
    battery: HomeBattery, steps: HomeSteps, plan: HomePlanLight, import_kw: float, export_kw: float
) -> None:
    """The plan is one that the home can follow, and costs what it says."""
    energy, cost = battery.initial_kwh, 0.0
    for t, hours in enumerate(steps.duration_h):
        power = plan.battery_kw[t]
        assert -battery.discharge_limit_kw - 1e-9 <= power <= battery.charge_limit_kw + 1e-9
        energy += hours * (
            power * battery.charge_efficiency_frac if power > 0 else power / battery.discharge_efficiency_frac
        )
        assert -1e-7 <= energy <= battery.usable_kwh + 1e-7
        assert energy == pytest.approx(plan.energy_kwh[t + 1], abs=1e-7)
        assert -steps.solar_kw[t] - 1e-9 <= plan.solar_kw[t] <= 1e-9
        grid = steps.load_kw[t] + power + plan.solar_kw[t]
        assert grid == pytest.approx(plan.grid_kw[t], abs=1e-9)
        assert -export_kw - 1e-7 <= grid <= import_kw + 1e-7
        price = steps.import_per_kwh[t] if grid > 0 else steps.export_per_kwh[t]
        cost += hours * (price * grid + battery.wear_per_kwh * max(-power, 0.0))
    assert cost - battery.terminal_per_kwh * energy == pytest.approx(plan.cost, abs=1e-6)


@pytest.mark.parametrize("seed", range(24))
def test_plan_costs_what_highs_finds(seed: int) -> None:
    battery, steps, import_kw, export_kw = some_home(seed)
    plan = plan_home_light(battery, steps, import_limit_kw=import_kw, export_limit_kw=export_kw)
    check_follows(battery, steps, plan, import_kw, export_kw)
    assert plan.cost == pytest.approx(cheapest(battery, steps, import_kw, export_kw), abs=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_plan_can_be_followed_where_buying_is_paid_for_or_costs_less_than_selling_earns(seed: int) -> None:
    battery, steps, import_kw, export_kw = some_home(seed)
    random = np.random.default_rng(seed)
    odd = HomeSteps(
        duration_h=steps.duration_h,
        load_kw=steps.load_kw,
        solar_kw=steps.solar_kw,
        import_per_kwh=random.uniform(-0.3, 0.3, 40).tolist(),
        export_per_kwh=random.uniform(-0.3, 0.3, 40).tolist(),
    )
    plan = plan_home_light(battery, odd, import_limit_kw=import_kw, export_limit_kw=export_kw)
    check_follows(battery, odd, plan, import_kw, export_kw)
    idle = HomeBattery(
        charge_limit_kw=0.0,
        discharge_limit_kw=0.0,
        charge_efficiency_frac=1.0,
        discharge_efficiency_frac=1.0,
        usable_kwh=battery.usable_kwh,
        initial_kwh=battery.initial_kwh,
        terminal_per_kwh=battery.terminal_per_kwh,
    )
    nothing = plan_home_light(idle, odd, import_limit_kw=import_kw, export_limit_kw=export_kw)
    assert plan.cost <= nothing.cost + 1e-9


def test_levels_do_what_the_plan_does_when_the_forecast_was_right() -> None:
    for seed in range(40):
        battery, steps, _, _ = some_home(2 * seed + 1)
        if battery.usable_kwh < 0.1:
            continue
        plan = plan_home_light(battery, steps)
        power_kw = levels_power_kw(
            battery,
            plan.levels,
            net_kw=steps.load_kw[0] - steps.solar_kw[0],
            usable_kwh=battery.initial_kwh,
            horizon_h=steps.duration_h[0],
        )
        sun = max(steps.export_per_kwh[0], 0.0)
        if sun and power_kw * plan.battery_kw[0] >= 0:
            assert power_kw == pytest.approx(plan.battery_kw[0], abs=1e-6), seed


def test_cheap_night_is_bought_and_dear_evening_is_covered() -> None:
    hours = 24
    steps = HomeSteps(
        duration_h=[1.0] * hours,
        load_kw=[1.0] * hours,
        solar_kw=[0.0] * hours,
        import_per_kwh=[0.1] * 6 + [0.3] * 12 + [0.5] * 6,
        export_per_kwh=[0.05] * hours,
    )
    plan = plan_home_light(BATTERY, steps)
    assert sum(plan.battery_kw[:6]) > 8.0
    assert plan.grid_kw[18:] == pytest.approx([0.0] * 6, abs=1e-6)
    assert plan.levels.cover_kwh == pytest.approx(10.0), "nothing is spent while it is cheap"
    assert not any(power > 0 for power in plan.battery_kw[6:])


def test_limit_of_the_connection_is_kept_by_the_battery() -> None:
    steps = HomeSteps(
        duration_h=[1.0] * 4,
        load_kw=[0.0, 0.0, 6.0, 0.0],
        solar_kw=[0.0, 0.0, 0.0, 8.0],
        import_per_kwh=[0.3] * 4,
        export_per_kwh=[0.1] * 4,
    )
    plan = plan_home_light(BATTERY, steps, import_limit_kw=3.0, export_limit_kw=2.0)
    assert plan.grid_kw[2] == pytest.approx(3.0)
    assert plan.grid_kw[3] >= -2.0 - 1e-9


def test_wrong_numbers_are_refused() -> None:
    with pytest.raises(InvalidInputError):
        plan_home_light(
            BATTERY,
            HomeSteps(duration_h=[], load_kw=[], solar_kw=[], import_per_kwh=[], export_per_kwh=[]),
        )
    with pytest.raises(InvalidInputError):
        plan_home_light(
            BATTERY,
            HomeSteps(
                duration_h=[1.0],
                load_kw=[math.nan],
                solar_kw=[0.0],
                import_per_kwh=[0.1],
                export_per_kwh=[0.0],
            ),
        )
