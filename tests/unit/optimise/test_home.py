"""A home's plan against an independent mixed-integer programme, and what it promises when wishes cannot be met."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.optimise.home import EvSession, Home, HomePlan, plan_home
from shoal.optimise.storage import DepthCost, Storage, plan_storage
from tests.unit.optimise.home_milp import least_cost

Floats = NDArray[np.float64]


def random_home(seed: int, *, hard: bool) -> tuple[Home, Floats, Floats, float]:
    """Return a home, its two prices and the length of an interval; `hard` has negative and upside-down prices."""
    r = np.random.default_rng(seed)
    steps, interval_h = int(r.integers(1, 16)), float(r.choice([1 / 12, 0.25, 0.5, 1.0]))
    battery = None
    if r.random() < 0.85:
        capacity = float(r.choice([0.0, 2.0, 5.0, 13.5]))
        levels = r.random(int(r.integers(0, 3))) * capacity * (r.random() < 0.3)
        battery = Storage(
            charge_limit_kw=float(r.choice([0, 3, 5])),
            discharge_limit_kw=float(r.choice([0, 3, 5, 7])),
            charge_efficiency_frac=float(r.choice([1, 0.95, 0.8])),
            discharge_efficiency_frac=float(r.choice([1, 0.95, 0.8])),
            energy_capacity_kwh=capacity,
            initial_energy_kwh=capacity * float(r.random()),
            throughput_cost_per_mwh=float(r.choice([0, 30])),
            terminal_value_per_mwh=float(r.choice([0, 100, 200, -50])),
            standing_loss_frac_per_h=float(r.choice([0, 0, 0.01])),
            depth_costs=tuple(DepthCost(below_kwh=float(level), cost_per_mwh_h=20.0) for level in levels),
        )
    load, solar = r.random(steps) * 3, np.clip(r.normal(1, 3, steps), 0, None) * (r.random() < 0.7)
    buying = r.normal(0.0, 0.3, steps) if hard else r.normal(0.2, 0.1, steps)
    selling = buying + (r.normal(0, 0.2, steps) if hard and r.random() < 0.5 else -r.random(steps) * 0.2)
    ev = None
    if r.random() < 0.6:
        start = int(r.integers(0, steps))
        end = int(r.integers(start + 1, steps + 1))
        most_kwh = 7.0 * (end - start) * interval_h
        ev = EvSession(limit_kw=7.0, start_step=start, end_step=end, energy_kwh=float(r.random()) * most_kwh)
    charged = r.random() < 0.5
    home = Home(
        load_kw=load,
        solar_potential_kw=solar,
        storage=battery,
        ev=ev,
        import_limit_kw=float(r.choice([2, 5, 9])) if r.random() < 0.5 else np.inf,
        export_limit_kw=float(r.choice([0, 1, 4])) if r.random() < 0.5 else np.inf,
        demand_charge_per_kw=float(r.choice([0.1, 1, 10])) if charged else 0.0,
        demand_so_far_kw=float(r.choice([0, 0, 2, 6])) if charged else 0.0,
    )
    return home, buying, selling, interval_h


def check_physics(home: Home, plan: HomePlan, interval_h: float) -> None:
    """Hold a plan against the home's limits, and its powers against each other."""
    small = 1e-9
    solar = -plan.solar_kw
    assert ((solar >= -small) & (solar <= home.solar_potential_kw + small)).all()
    np.testing.assert_allclose(
        plan.grid_kw, home.load_kw + plan.solar_kw + plan.ev_kw + plan.battery_kw, atol=small
    )
    battery = home.storage
    if battery is None:
        assert not plan.battery_kw.any()
    else:
        assert plan.battery_kw.max() <= battery.charge_limit_kw + small
        assert plan.battery_kw.min() >= -battery.discharge_limit_kw - small
        assert plan.energy_kwh.min() >= 0.0 and plan.energy_kwh.max() <= battery.energy_capacity_kwh
        kept = (1.0 - battery.standing_loss_frac_per_h) ** interval_h
        stored = np.where(
            plan.battery_kw > 0,
            plan.battery_kw * battery.charge_efficiency_frac,
            plan.battery_kw / battery.discharge_efficiency_frac,
        )
        np.testing.assert_allclose(
            plan.energy_kwh[1:], kept * plan.energy_kwh[:-1] + stored * interval_h, atol=1e-8
        )
    if home.ev is None:
        assert not plan.ev_kw.any()
    else:
        inside = np.zeros(home.load_kw.size, np.bool_)
        inside[home.ev.start_step : home.ev.end_step] = True
        assert not plan.ev_kw[~inside].any()
        assert plan.ev_kw.min() >= 0.0 and plan.ev_kw.max() <= home.ev.limit_kw + small


@pytest.mark.parametrize("hard", [False, True])
def test_plan_home_costs_what_an_independent_programme_finds(hard: bool) -> None:
    proven = 0
    for seed in range(150):
        home, buying, selling, interval_h = random_home(seed, hard=hard)
        plan = plan_home(home, import_per_kwh=buying, export_per_kwh=selling, interval_h=interval_h)
        check_physics(home, plan, interval_h)
        best = least_cost(home, buying, selling, interval_h)
        assert (best is None) == bool(plan.reasons), seed
        if best is None:
            continue
        assert plan.lower_bound <= best + 1e-6, seed
        assert plan.cost == pytest.approx(best, abs=1e-6), seed
        assert plan.grid_kw.max() <= home.import_limit_kw + 1e-9
        assert plan.grid_kw.min() >= -home.export_limit_kw - 1e-9
        if home.ev is not None:
            assert plan.ev_kw.sum() * interval_h == pytest.approx(home.ev.energy_kwh, abs=1e-6)
        proven += plan.exact
    assert proven >= 120


def test_plan_home_without_anything_else_is_the_plan_of_its_storage() -> None:
    r = np.random.default_rng(3)
    battery = Storage(
        charge_limit_kw=5.0,
        discharge_limit_kw=4.0,
        charge_efficiency_frac=0.95,
        discharge_efficiency_frac=0.93,
        energy_capacity_kwh=13.5,
        initial_energy_kwh=3.0,
        throughput_cost_per_mwh=20.0,
        terminal_value_per_mwh=90.0,
    )
    price = r.normal(100.0, 60.0, 96)
    home = Home(load_kw=np.zeros(96), solar_potential_kw=np.zeros(96), storage=battery)
    plan = plan_home(home, import_per_kwh=price / 1e3, export_per_kwh=price / 1e3, interval_h=0.25)
    assert -plan.cost == pytest.approx(plan_storage(battery, price, 0.25).value, abs=1e-9)


def test_plan_home_adds_the_price_of_the_fleet_to_both_directions() -> None:
    home, buying, selling, interval_h = random_home(11, hard=False)
    added = np.random.default_rng(0).normal(0.0, 0.1, buying.size)
    one = plan_home(
        home, import_per_kwh=buying, export_per_kwh=selling, interval_h=interval_h, price_per_kwh=added
    )
    other = plan_home(
        home, import_per_kwh=buying + added, export_per_kwh=selling + added, interval_h=interval_h
    )
    assert one.cost == other.cost
    np.testing.assert_array_equal(one.grid_kw, other.grid_kw)


def flat(**fields: object) -> Home:
    return Home(load_kw=np.ones(4), solar_potential_kw=np.zeros(4), **fields)  # type: ignore[arg-type]


def planned(home: Home, price: float = 0.2) -> HomePlan:
    return plan_home(
        home, import_per_kwh=np.full(4, price), export_per_kwh=np.full(4, price / 2), interval_h=1.0
    )


def test_plan_home_charges_a_car_as_far_as_its_charger_can() -> None:
    plan = planned(flat(ev=EvSession(limit_kw=2.0, start_step=1, end_step=3, energy_kwh=10.0)))
    assert plan.ev_kw.tolist() == [0.0, 2.0, 2.0, 0.0]
    assert plan.cost == pytest.approx(0.2 * 8.0)
    assert plan.lower_bound == pytest.approx(plan.cost)
    assert [reason[:25] for reason in plan.reasons] == ["the car gets 4 of 10 kWh:"]


def test_plan_home_gives_up_the_car_before_it_breaks_the_import_limit() -> None:
    home = flat(ev=EvSession(limit_kw=5.0, start_step=0, end_step=4, energy_kwh=10.0), import_limit_kw=2.0)
    plan = planned(home)
    assert plan.grid_kw.max() <= 2.0 + 1e-9
    assert plan.ev_kw.sum() == pytest.approx(4.0)
    assert len(plan.reasons) == 1 and "import limit leaves no more" in plan.reasons[0]


def test_plan_home_breaks_the_import_limit_only_by_what_cannot_be_controlled() -> None:
    plan = planned(flat(import_limit_kw=0.4))
    np.testing.assert_allclose(plan.grid_kw, 1.0)
    assert plan.cost == pytest.approx(0.8)
    assert "exceeded in 4 intervals, by up to 0.6 kW" in plan.reasons[0]


def test_plan_home_leaves_to_later_what_a_car_can_still_get_after_the_plan() -> None:
    plan = planned(flat(ev=EvSession(limit_kw=2.0, start_step=0, end_step=6, energy_kwh=7.0)))
    assert plan.ev_kw.sum() == pytest.approx(3.0)
    assert plan.reasons == ()


def test_plan_home_pays_a_demand_charge_only_above_what_was_reached() -> None:
    free = planned(flat(demand_charge_per_kw=100.0, demand_so_far_kw=1.0))
    assert free.cost == pytest.approx(0.8)
    paid = planned(flat(demand_charge_per_kw=100.0, demand_so_far_kw=0.25))
    assert paid.cost == pytest.approx(0.8 + 75.0)


def test_plan_home_refuses_what_is_no_home() -> None:
    with pytest.raises(InvalidInputError, match="solar_potential_kw"):
        Home(load_kw=np.ones(2), solar_potential_kw=-np.ones(2))
    with pytest.raises(InvalidInputError, match="import_limit_kw"):
        flat(import_limit_kw=float("nan"))
    with pytest.raises(InvalidInputError, match="import_per_kwh"):
        plan_home(flat(), import_per_kwh=np.ones(3), export_per_kwh=np.ones(4), interval_h=1.0)
