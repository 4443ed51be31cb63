"""The storage plan against an independent solver, and its answers to odd input."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.optimise.storage import Storage, StoragePlan, plan_storage, plan_value
from tests.unit.optimise.highs import best_value

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


def random_storage(rng: np.random.Generator) -> Storage:
    capacity_kwh = float(rng.choice([0.3, 1.0, 2.0, 5.0, 20.0]))
    fullness = float(rng.choice([0.0, 1.0, 0.5, rng.random()]))
    return Storage(
        charge_limit_kw=float(rng.choice([0.0, 1.0, 2.5, rng.uniform(0.1, 5)], p=[0.05, 0.3, 0.3, 0.35])),
        discharge_limit_kw=float(rng.choice([0.0, 1.0, 2.5, rng.uniform(0.1, 5)], p=[0.05, 0.3, 0.3, 0.35])),
        charge_efficiency_frac=float(rng.choice([1.0, 0.95, rng.uniform(0.7, 1.0)])),
        discharge_efficiency_frac=float(rng.choice([1.0, 0.95, rng.uniform(0.7, 1.0)])),
        energy_capacity_kwh=capacity_kwh,
        initial_energy_kwh=fullness * capacity_kwh,
        throughput_cost_per_mwh=float(rng.choice([0.0, 5.0, rng.uniform(0, 40)])),
        terminal_value_per_mwh=float(rng.choice([0.0, 50.0, -20.0, rng.uniform(0, 100)])),
    )


def random_price(rng: np.random.Generator, steps: int) -> Floats:
    kind = rng.integers(4)
    if kind == 0:
        return rng.uniform(-150.0, 150.0, steps)
    if kind == 1:
        return rng.choice([-100.0, -100.0, 0.0, 40.0, 90.0], steps)  # ties
    if kind == 2:
        return rng.normal(60.0, 40.0, steps)
    return np.where(rng.random(steps) < 0.4, -rng.exponential(300.0, steps), rng.exponential(80.0, steps))


def assert_sound(
    storage: Storage, plan: StoragePlan, price: Floats, interval_h: float, up_kw: Floats, down_kw: Floats
) -> None:
    """The schedule obeys the physics, worked out here and not by the code under test."""
    energy = storage.initial_energy_kwh
    value = 0.0
    slack_kwh = 1e-9 * max(storage.energy_capacity_kwh, 1.0)
    assert plan.energy_kwh[0] == energy
    for t in range(price.size):
        charge, discharge = float(plan.charge_kw[t]), float(plan.discharge_kw[t])
        assert charge == 0.0 or discharge == 0.0
        assert 0.0 <= charge <= up_kw[t]
        assert 0.0 <= discharge <= down_kw[t]
        energy += (
            charge * storage.charge_efficiency_frac - discharge / storage.discharge_efficiency_frac
        ) * interval_h
        assert -slack_kwh <= energy <= storage.energy_capacity_kwh + slack_kwh
        assert plan.energy_kwh[t + 1] == pytest.approx(energy, abs=slack_kwh)
        assert 0.0 <= plan.energy_kwh[t + 1] <= storage.energy_capacity_kwh
        value += (discharge - charge) * interval_h * price[t] / 1000.0
        value -= discharge * interval_h * storage.throughput_cost_per_mwh / 1000.0
    value += energy * storage.terminal_value_per_mwh / 1000.0
    assert plan.value == pytest.approx(value, rel=1e-9, abs=1e-12)
    assert plan.value <= plan.value_bound


@pytest.mark.parametrize("seed", range(20))
def test_plan_equals_independent_solver(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(18):
        steps = int(rng.choice([1, 2, 5, 12, 16]))
        interval_h = float(rng.choice([1.0, 0.5, 5 / 60]))
        storage, price = random_storage(rng), random_price(rng, steps)
        plan = plan_storage(storage, price, interval_h)
        assert plan.exact
        assert plan.value == pytest.approx(best_value(storage, price, interval_h), rel=1e-9, abs=1e-11)
        up_kw, down_kw = (
            np.full(steps, limit) for limit in (storage.charge_limit_kw, storage.discharge_limit_kw)
        )
        assert_sound(storage, plan, price, interval_h, up_kw, down_kw)


@pytest.mark.parametrize("seed", range(6))
def test_plan_with_limits_of_each_interval_equals_independent_solver(seed: int) -> None:
    rng = np.random.default_rng(1000 + seed)
    for _ in range(10):
        storage, price = random_storage(rng), random_price(rng, 12)
        up_kw, down_kw = (
            np.minimum(rng.uniform(0.0, 3.0, 12) * (rng.random(12) < 0.8), limit)
            for limit in (storage.charge_limit_kw, storage.discharge_limit_kw)
        )
        plan = plan_storage(storage, price, 0.5, charge_limit_kw=up_kw, discharge_limit_kw=down_kw)
        oracle = best_value(storage, price, 0.5, charge_limit_kw=up_kw, discharge_limit_kw=down_kw)
        assert plan.value == pytest.approx(oracle, rel=1e-9, abs=1e-11)
        assert_sound(storage, plan, price, 0.5, up_kw, down_kw)


@pytest.mark.parametrize("steps", [96, 288])
def test_plan_of_a_long_horizon_equals_independent_solver(steps: int) -> None:
    rng = np.random.default_rng(steps)
    price = rng.normal(60.0, 40.0, steps).clip(0.0)
    plan = plan_storage(BATTERY, price, 24.0 / steps)
    assert plan.nodes == 1
    assert plan.value == pytest.approx(
        best_value(BATTERY, price, 24.0 / steps, exclusive=False), rel=1e-9, abs=1e-11
    )


def test_plan_does_not_burn_energy_at_a_negative_price() -> None:
    price = np.array([-500.0, -500.0, -500.0, 20.0])
    plan = plan_storage(BATTERY, price, 1.0)
    burning = best_value(BATTERY, price, 1.0, exclusive=False)
    assert not np.any((plan.charge_kw > 0) & (plan.discharge_kw > 0))
    assert plan.value < burning * 0.999
    assert plan.value == pytest.approx(best_value(BATTERY, price, 1.0), rel=1e-9)


def test_marginal_values_are_the_slopes_of_the_value() -> None:
    rng = np.random.default_rng(5)
    step_kwh = 1e-5
    for _ in range(20):
        price = rng.normal(60.0, 40.0, 12).clip(0.0)
        plan = plan_storage(BATTERY, price, 1.0)
        for t in range(12):

            def value_from(energy_kwh: float, t: int = t, price: Floats = price) -> float:
                start = dataclasses.replace(BATTERY, initial_energy_kwh=energy_kwh)
                return plan_storage(start, price[t:], 1.0).value

            now_kwh = float(plan.energy_kwh[t])
            here = value_from(now_kwh)
            if np.isfinite(plan.marginal_gain_per_mwh[t]):
                gain = (value_from(now_kwh + step_kwh) - here) / step_kwh * 1000.0
                assert plan.marginal_gain_per_mwh[t] == pytest.approx(gain, rel=1e-5, abs=1e-5)
            else:
                assert now_kwh == pytest.approx(BATTERY.energy_capacity_kwh)
            if np.isfinite(plan.marginal_loss_per_mwh[t]):
                loss = (here - value_from(now_kwh - step_kwh)) / step_kwh * 1000.0
                assert plan.marginal_loss_per_mwh[t] == pytest.approx(loss, rel=1e-5, abs=1e-5)
            else:
                assert now_kwh == pytest.approx(0.0)
        assert np.all(plan.marginal_gain_per_mwh <= plan.marginal_loss_per_mwh)
        assert np.all(np.isfinite(plan.marginal_value_per_mwh))


def test_plan_of_indifferent_prices_stands_still() -> None:
    storage = dataclasses.replace(
        BATTERY, charge_efficiency_frac=1.0, discharge_efficiency_frac=1.0, throughput_cost_per_mwh=0.0
    )
    plan = plan_storage(storage, np.full(8, 30.0), 1.0)
    assert not plan.charge_kw.any()
    assert not plan.discharge_kw.any()
    assert np.all(plan.energy_kwh == 3.0)


def test_plan_of_a_storage_of_nothing_is_worth_nothing() -> None:
    storage = dataclasses.replace(BATTERY, energy_capacity_kwh=0.0, initial_energy_kwh=0.0)
    plan = plan_storage(storage, np.array([10.0, -200.0, 90.0]), 1.0)
    assert plan.value == 0.0
    assert plan.exact
    assert np.all(plan.marginal_value_per_mwh == 30.0)


def test_plan_follows_an_outage() -> None:
    limit_kw = np.array([5.0, 0.0, 5.0])
    plan = plan_storage(
        BATTERY, np.array([10.0, 200.0, 100.0]), 1.0, charge_limit_kw=limit_kw, discharge_limit_kw=limit_kw
    )
    assert plan.discharge_kw[1] == 0.0
    assert plan.discharge_kw[2] == pytest.approx(4.0)  # its own limit is the lower


def test_plan_that_meets_its_node_limit_says_so_and_bounds_the_optimum() -> None:
    rng = np.random.default_rng(2)
    storage = dataclasses.replace(BATTERY, energy_capacity_kwh=2.0, initial_energy_kwh=1.0)
    price = -rng.uniform(100.0, 400.0, 20)
    hurried = plan_storage(storage, price, 0.3, node_limit=3)
    patient = plan_storage(storage, price, 0.3, node_limit=1_000_000)
    assert (hurried.exact, hurried.nodes, patient.exact) == (False, 3, True)
    assert hurried.value <= patient.value <= hurried.value_bound
    assert patient.value_bound == pytest.approx(patient.value, rel=1e-9)


def test_plan_value_is_the_value_of_the_plan() -> None:
    price = np.array([-80.0, 20.0, 150.0, 60.0])
    plan = plan_storage(BATTERY, price, 0.5)
    assert plan_value(BATTERY, price, plan.charge_kw, plan.discharge_kw, 0.5) == plan.value


def test_plan_value_counts_income_wear_and_terminal_value() -> None:
    value = plan_value(BATTERY, np.array([20.0, 100.0]), np.array([2.0, 0.0]), np.array([0.0, 1.8]), 1.0)
    assert value == pytest.approx((-2.0 * 20.0 + 1.8 * (100.0 - 4.0) + (3.0 + 1.9 - 2.0) * 30.0) / 1000.0)


@pytest.mark.parametrize(
    ("charge_kw", "discharge_kw", "field"),
    [
        ([9.0, 0.0], [0.0, 0.0], "charge_kw[0]"),
        ([0.0, 0.0], [0.0, 9.0], "discharge_kw[1]"),
        ([0.0, 1.0], [0.0, 1.0], "discharge_kw[1]"),
        ([5.0, 5.0], [0.0, 0.0], "energy_kwh[1]"),
        ([0.0, 0.0], [4.0, 0.0], "energy_kwh[0]"),
        ([0.0], [0.0, 0.0], "charge_kw"),
        ([-1.0, 0.0], [0.0, 0.0], "charge_kw[0]"),
    ],
)
def test_plan_value_refuses_a_schedule_that_cannot_be_followed(
    charge_kw: list[float], discharge_kw: list[float], field: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        plan_value(BATTERY, np.array([20.0, 100.0]), np.array(charge_kw), np.array(discharge_kw), 1.0)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("charge_limit_kw", -1.0),
        ("discharge_limit_kw", float("inf")),
        ("charge_efficiency_frac", 0.0),
        ("discharge_efficiency_frac", 1.01),
        ("energy_capacity_kwh", -0.1),
        ("initial_energy_kwh", 10.1),
        ("initial_energy_kwh", float("nan")),
        ("throughput_cost_per_mwh", -1.0),
        ("terminal_value_per_mwh", float("nan")),
    ],
)
def test_storage_refuses_a_field_out_of_range(field: str, value: float) -> None:
    with pytest.raises(InvalidInputError) as caught:
        dataclasses.replace(BATTERY, **{field: value})  # type: ignore[arg-type]
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("price", "interval_h", "field"),
    [
        (np.array([]), 1.0, "price_per_mwh"),
        (np.array([1.0, np.nan]), 1.0, "price_per_mwh[1]"),
        (np.array([1.0, np.inf]), 1.0, "price_per_mwh[1]"),
        (np.ones((2, 2)), 1.0, "price_per_mwh"),
        (np.ones(2), 0.0, "interval_h"),
        (np.ones(2), float("nan"), "interval_h"),
    ],
)
def test_plan_refuses_malformed_input(price: Floats, interval_h: float, field: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        plan_storage(BATTERY, price, interval_h)
    assert caught.value.field == field


def test_plan_refuses_limits_of_another_length() -> None:
    with pytest.raises(InvalidInputError) as caught:
        plan_storage(BATTERY, np.ones(3), 1.0, charge_limit_kw=np.ones(2))
    assert caught.value.field == "charge_limit_kw"
