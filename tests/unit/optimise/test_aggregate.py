"""Many batteries as one storage."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.optimise.aggregate import fleet_storage
from shoal.optimise.storage import Storage, plan_storage


def fleet(
    *,
    energy: list[float],
    capacity: list[float],
    power: list[float],
    reserve: float = 0.2,
    availability_frac: float = 1.0,
    margin: float = 0.0,
) -> Storage:
    count = len(energy)
    return fleet_storage(
        energy_kwh=np.array(energy),
        energy_capacity_kwh=np.array(capacity),
        reserve_frac=np.full(count, reserve),
        charge_limit_kw=np.array(power),
        discharge_limit_kw=np.array(power),
        charge_efficiency_frac=np.full(count, 0.95),
        discharge_efficiency_frac=np.full(count, 0.9),
        availability_frac=availability_frac,
        energy_margin_frac=margin,
        throughput_cost_per_mwh=7.0,
    )


def test_equal_batteries_add_up() -> None:
    one = fleet(energy=[8.0] * 4, capacity=[10.0] * 4, power=[5.0] * 4)
    assert (one.charge_limit_kw, one.discharge_limit_kw) == (20.0, 20.0)
    assert one.energy_capacity_kwh == pytest.approx(32.0)
    assert one.initial_energy_kwh == pytest.approx(24.0)
    assert (one.charge_efficiency_frac, one.discharge_efficiency_frac) == pytest.approx((0.95, 0.9))
    assert one.throughput_cost_per_mwh == 7.0


def test_power_that_the_energy_behind_it_does_not_carry_is_not_promised() -> None:
    one = fleet(energy=[10.0, 1.0], capacity=[10.0, 1.0], power=[1.0, 5.0], reserve=0.0)
    assert one.discharge_limit_kw == pytest.approx(1.1), "the large battery gives 10/11 of the power: 1 kW"


def test_energy_below_the_reserve_counts_for_nothing() -> None:
    one = fleet(energy=[1.0, 10.0], capacity=[10.0, 10.0], power=[5.0, 5.0])
    assert one.initial_energy_kwh == pytest.approx(8.0)


def test_availability_scales_power_and_energy() -> None:
    whole = fleet(energy=[8.0] * 4, capacity=[10.0] * 4, power=[5.0] * 4)
    part = fleet(energy=[8.0] * 4, capacity=[10.0] * 4, power=[5.0] * 4, availability_frac=0.9)
    for name in ("charge_limit_kw", "discharge_limit_kw", "energy_capacity_kwh", "initial_energy_kwh"):
        assert getattr(part, name) == pytest.approx(0.9 * getattr(whole, name))


def test_margin_is_left_at_either_end() -> None:
    low, middle, high = (
        fleet(energy=[energy], capacity=[10.0], power=[5.0], margin=0.1) for energy in (2.0, 6.0, 10.0)
    )
    assert low.energy_capacity_kwh == pytest.approx(7.2)
    assert [s.initial_energy_kwh for s in (low, middle, high)] == pytest.approx([0.0, 3.6, 7.2])


@pytest.mark.parametrize(("capacity", "reserve"), [([0.0, 0.0], 0.2), ([10.0, 10.0], 1.0), ([], 0.2)])
def test_nothing_usable_is_a_storage_of_nothing(capacity: list[float], reserve: float) -> None:
    none = fleet(energy=capacity, capacity=capacity, power=[5.0] * len(capacity), reserve=reserve)
    assert (none.energy_capacity_kwh, none.discharge_limit_kw) == (0.0, 0.0)
    assert plan_storage(none, np.array([10.0, 90.0]), 1.0).value == 0.0


def test_equal_batteries_are_worth_their_sum() -> None:
    one = fleet(energy=[5.0], capacity=[10.0], power=[5.0])
    many = fleet(energy=[5.0] * 7, capacity=[10.0] * 7, power=[5.0] * 7)
    price = np.array([30.0, -60.0, 80.0, 10.0, 120.0, 40.0])
    assert plan_storage(many, price, 1.0).value == pytest.approx(7 * plan_storage(one, price, 1.0).value)
