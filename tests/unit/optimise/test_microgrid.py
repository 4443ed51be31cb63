"""An islanded site: physics that balances, a plan as good as an exact one, rules that do what their names say."""

from __future__ import annotations

from dataclasses import replace

import highspy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.optimise import _microgrid_kernel as kernels
from shoal.optimise.microgrid import (
    Generator,
    Microgrid,
    MicrogridPlan,
    diesel,
    plan_microgrid,
    usual_rule,
    usual_rules,
)

SITE = Microgrid(
    generator=diesel(60.0, least_run_steps=4),
    charge_limit_kw=50.0,
    discharge_limit_kw=50.0,
    charge_efficiency_frac=0.95,
    discharge_efficiency_frac=0.95,
    energy_capacity_kwh=200.0,
    floor_kwh=40.0,
    empty_kwh=10.0,
)


def day(seed: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    hours = np.arange(96) / 4
    load = 20 + 12 * np.exp(-(((hours - 19) / 3) ** 2)) + rng.normal(0, 2, 96)
    sun = 60 * np.maximum(np.sin((hours - 6) / 12 * np.pi), 0) * rng.uniform(0.3, 1)
    return np.asarray(load - sun, dtype=np.float64)


def follow_plan(net_kw: NDArray[np.float64], energy_kwh: float, *, cells: int) -> tuple[float, float]:
    """Return fuel and energy left when a plan that knows the day is followed."""
    plan = plan_microgrid(SITE, net_kw, cells=cells)
    p, fuel_kwh, ran = SITE.numbers(), 0.0, 0
    for step, net in enumerate(net_kw.tolist()):
        power = plan.power_kw(step, energy_kwh=energy_kwh, net_kw=net, ran_steps=ran)
        if power > 0 and ran == 0:
            fuel_kwh += SITE.generator.start_fuel_kwh
        energy_kwh, power, dark, _ = kernels.carry(p, energy_kwh, net, power)
        assert dark == 0
        assert energy_kwh >= SITE.floor_kwh - 1e-6
        fuel_kwh += kernels.fuel(p, power)
        assert power == 0 or SITE.generator.least_kw <= power <= SITE.generator.rated_kw
        ran = ran + 1 if power > 0 else 0
    return fuel_kwh, energy_kwh


def exact_fuel_kwh(net_kw: NDArray[np.float64], start_kwh: float) -> float:
    """Return the least fuel, less what the energy left is worth, by a mixed-integer programme."""
    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    solver.silent()
    solver.setOptionValue("mip_rel_gap", 0.005)
    solver.setOptionValue("threads", 1)
    made, h, steps = SITE.generator, SITE.step_h, len(net_kw)
    value = SITE.discharge_efficiency_frac * made.fuel_kw(made.rated_kw) / made.rated_kw
    on = [solver.addBinary(obj=made.idle_fuel_kw * h) for _ in range(steps)]
    begun = [solver.addBinary(obj=made.start_fuel_kwh) for _ in range(steps)]
    power = [solver.addVariable(lb=0, ub=made.rated_kw, obj=made.fuel_per_kwh * h) for _ in range(steps)]
    into = [solver.addVariable(lb=0, ub=SITE.charge_limit_kw) for _ in range(steps)]
    out = [solver.addVariable(lb=0, ub=SITE.discharge_limit_kw) for _ in range(steps)]
    unused = [solver.addVariable(lb=0) for _ in range(steps)]
    energy = [
        solver.addVariable(
            lb=SITE.floor_kwh, ub=SITE.energy_capacity_kwh, obj=-value if step == steps - 1 else 0.0
        )
        for step in range(steps)
    ]
    for step in range(steps):
        before = energy[step - 1] if step else start_kwh
        solver.addConstr(power[step] + out[step] - into[step] - unused[step] == float(net_kw[step]))
        solver.addConstr(
            energy[step] - into[step] * (SITE.charge_efficiency_frac * h) + out[step] * (h / 0.95) - before
            == 0
            if step
            else energy[step] - into[step] * (0.95 * h) + out[step] * (h / 0.95) == start_kwh
        )
        solver.addConstr(power[step] >= made.least_kw * on[step])
        solver.addConstr(power[step] <= made.rated_kw * on[step])
        solver.addConstr(begun[step] >= on[step] - on[step - 1] if step else begun[step] >= on[step])
        for later in range(step + 1, min(step + made.least_run_steps, steps)):
            solver.addConstr(on[later] >= begun[step])
    solver.minimize()
    return float(solver.getObjectiveValue())


@pytest.mark.parametrize(("seed", "first"), [(1, 40), (5, 56)])
def test_a_plan_takes_as_little_fuel_as_an_exact_programme(seed: int, first: int) -> None:
    net_kw = day(seed)[first : first + 40]
    best_kwh = exact_fuel_kwh(net_kw, 90.0)
    fuel_kwh, left_kwh = follow_plan(net_kw, 90.0, cells=190)
    made = SITE.generator
    own_kwh = fuel_kwh - left_kwh * SITE.discharge_efficiency_frac * made.fuel_kw(60.0) / 60.0
    reach_kwh = fuel_kwh + 1.0
    assert own_kwh <= best_kwh + 0.02 * reach_kwh
    assert own_kwh >= best_kwh - 0.01 * abs(best_kwh) - 1.0


@settings(max_examples=200, deadline=None)
@given(
    energy=st.floats(10.0, 200.0),
    net=st.floats(-150.0, 150.0),
    power=st.sampled_from([0.0, 18.0, 40.0, 60.0]),
)
def test_an_interval_balances_and_keeps_every_limit(energy: float, net: float, power: float) -> None:
    left, real, dark, unused = kernels.carry(SITE.numbers(), energy, net, power)
    assert SITE.empty_kwh - 1e-9 <= left <= SITE.energy_capacity_kwh + 1e-9
    assert (real == 0) == (power == 0)
    assert real == 0 or SITE.generator.least_kw <= real <= SITE.generator.rated_kw
    assert min(dark, unused) == 0
    battery = net - real - dark + unused  # what the battery gave
    assert -SITE.charge_limit_kw - 1e-9 <= battery <= SITE.discharge_limit_kw + 1e-9
    stored = -battery * SITE.step_h * (SITE.charge_efficiency_frac if battery < 0 else 1 / 0.95)
    assert left == pytest.approx(energy + stored, abs=1e-6)
    if dark > 1e-9:
        assert real in (0, SITE.generator.rated_kw)


@pytest.mark.parametrize("weak", [{"start_fails_frac": 0.3}, {"stuck_frac": 0.01, "stuck_steps": 8}])
def test_a_generator_that_may_not_start_is_started_with_more_in_store(weak: dict[str, float]) -> None:
    net_kw = np.full(96, 30.0)
    made = replace(SITE.generator, **weak)  # type: ignore[arg-type]
    careless = plan_microgrid(SITE, net_kw, cells=95)
    careful = plan_microgrid(replace(SITE, generator=made), net_kw, cells=95)

    def begins_kwh(plan: MicrogridPlan) -> float:
        for energy_kwh in np.arange(200.0, 40.0, -1.0).tolist():
            if plan.power_kw(0, energy_kwh=energy_kwh, net_kw=30.0, ran_steps=0) > 0:
                return float(energy_kwh)
        return 0.0

    assert begins_kwh(careful) > begins_kwh(careless)


def test_rules_do_what_their_names_say() -> None:
    cycle = usual_rule(SITE, cycles=True, stop_frac=0.8)
    follow = usual_rule(SITE, cycles=False, stop_frac=0.8)
    for rule, power in ((cycle, 60.0), (follow, 30.0)):
        assert rule.power_kw(SITE, energy_kwh=100.0, net_kw=30.0, ran_steps=0) == 0.0
        assert rule.power_kw(SITE, energy_kwh=42.0, net_kw=30.0, ran_steps=0) == power
        assert rule.power_kw(SITE, energy_kwh=170.0, net_kw=30.0, ran_steps=2) == power, "it runs its time"
        assert rule.power_kw(SITE, energy_kwh=170.0, net_kw=30.0, ran_steps=9) == 0.0
    assert cycle.power_kw(SITE, energy_kwh=100.0, net_kw=-5.0, ran_steps=9) == 60.0
    assert follow.power_kw(SITE, energy_kwh=100.0, net_kw=-5.0, ran_steps=9) == 0.0
    assert len({rule.name for rule in usual_rules(SITE)}) == len(usual_rules(SITE))


def test_wrong_numbers_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="least_kw"):
        Generator(rated_kw=10.0, least_kw=11.0, idle_fuel_kw=1.0, fuel_per_kwh=2.0)
    with pytest.raises(InvalidInputError, match="net_kw"):
        plan_microgrid(SITE, np.array([np.nan]))
    plan = plan_microgrid(SITE, np.zeros(4))
    with pytest.raises(InvalidInputError, match="plan again"):
        plan.power_kw(4, energy_kwh=50.0, net_kw=1.0, ran_steps=0)
