"""Many batteries as one storage."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.domain.errors import InvalidInputError
from shoal.optimise.aggregate import virtual_storage
from shoal.optimise.storage import Storage, plan_storage


def three(availability_frac: float = 1.0) -> Storage:
    return virtual_storage(
        energy_kwh=np.array([6.0, 1.0, 30.5]),
        energy_capacity_kwh=np.array([10.0, 10.0, 30.0]),
        reserve_frac=np.array([0.2, 0.2, 0.1]),
        charge_limit_kw=np.array([5.0, 5.0, 10.0]),
        discharge_limit_kw=np.array([4.0, 4.0, 8.0]),
        charge_efficiency_frac=np.array([0.9, 0.9, 1.0]),
        discharge_efficiency_frac=np.array([0.95, 0.95, 0.9]),
        availability_frac=availability_frac,
        throughput_cost_per_mwh=7.0,
        terminal_value_per_mwh=40.0,
    )


def test_virtual_storage_sums_what_is_above_the_reserve() -> None:
    storage = three()
    assert storage.charge_limit_kw == pytest.approx(20.0)
    assert storage.discharge_limit_kw == pytest.approx(16.0)
    assert storage.energy_capacity_kwh == pytest.approx(8.0 + 8.0 + 27.0)
    assert storage.initial_energy_kwh == pytest.approx(4.0 + 0.0 + 27.0)
    assert storage.charge_efficiency_frac == pytest.approx(0.96)
    assert storage.discharge_efficiency_frac == pytest.approx(0.92)
    assert (storage.throughput_cost_per_mwh, storage.terminal_value_per_mwh) == (7.0, 40.0)


def test_virtual_storage_scales_power_and_energy_by_availability() -> None:
    whole, half = three(), three(0.5)
    for field in ("charge_limit_kw", "discharge_limit_kw", "energy_capacity_kwh", "initial_energy_kwh"):
        assert getattr(half, field) == pytest.approx(0.5 * getattr(whole, field))
    assert half.charge_efficiency_frac == whole.charge_efficiency_frac


def test_virtual_storage_of_no_batteries_can_be_planned() -> None:
    none = np.array([])
    storage = virtual_storage(
        none,
        none,
        none,
        none,
        none,
        none,
        none,
        availability_frac=1.0,
        throughput_cost_per_mwh=0.0,
        terminal_value_per_mwh=0.0,
    )
    assert plan_storage(storage, np.array([10.0, 90.0]), 1.0).value == 0.0


def test_virtual_storage_of_equal_batteries_is_worth_their_sum() -> None:
    one = Storage(
        charge_limit_kw=5.0,
        discharge_limit_kw=5.0,
        charge_efficiency_frac=0.95,
        discharge_efficiency_frac=0.95,
        energy_capacity_kwh=8.0,
        initial_energy_kwh=3.0,
        terminal_value_per_mwh=20.0,
    )
    many = virtual_storage(
        np.full(7, 5.0),
        np.full(7, 10.0),
        np.full(7, 0.2),
        np.full(7, 5.0),
        np.full(7, 5.0),
        np.full(7, 0.95),
        np.full(7, 0.95),
        availability_frac=1.0,
        throughput_cost_per_mwh=0.0,
        terminal_value_per_mwh=20.0,
    )
    price = np.array([30.0, -60.0, 80.0, 10.0, 120.0, 40.0])
    assert plan_storage(many, price, 1.0).value == pytest.approx(7 * plan_storage(one, price, 1.0).value)
    assert many.energy_capacity_kwh == pytest.approx(7 * one.energy_capacity_kwh)


@pytest.mark.parametrize("availability_frac", [-0.1, 1.1, float("nan")])
def test_virtual_storage_refuses_availability_out_of_range(availability_frac: float) -> None:
    with pytest.raises(InvalidInputError) as caught:
        three(availability_frac)
    assert caught.value.field == "availability_frac"
