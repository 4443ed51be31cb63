"""Many storages in one call: each row is the plan that the storage would get by itself."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from shoal.cli.benches._optimise_instances import day_prices, random_instance
from shoal.domain.errors import InvalidInputError
from shoal.optimise.storage import DepthCost, Storage, plan_storage
from shoal.optimise.storage_batch import BatchPlan, StorageBatch, plan_storage_batch


def some_storages(count: int) -> list[Storage]:
    rng = np.random.default_rng(3)
    return [dataclasses.replace(random_instance(rng, 1).storage, depth_costs=()) for _ in range(count)]


def test_batch_rows_are_the_plans_of_the_storages() -> None:
    rng = np.random.default_rng(5)
    storages = some_storages(120)
    prices = rng.normal(40.0, 80.0, (120, 30))
    got = plan_storage_batch(
        StorageBatch.of(storages), prices, 0.5, into=BatchPlan.empty(120, 30, with_energy=True)
    )
    assert got.exact.all()
    for row, storage in enumerate(storages):
        plan = plan_storage(storage, prices[row], 0.5)
        assert got.value[row] == pytest.approx(plan.value, rel=1e-12, abs=1e-14)
        np.testing.assert_allclose(got.power_kw[row], plan.charge_kw - plan.discharge_kw, rtol=0, atol=1e-12)
        np.testing.assert_allclose(got.energy_kwh[row], plan.energy_kwh, rtol=0, atol=1e-12)
        assert got.marginal_value_per_mwh[row] == pytest.approx(plan.marginal_value_per_mwh[0], abs=1e-9)


def test_batch_shares_prices_by_place_and_fills_the_room_it_is_given() -> None:
    rng = np.random.default_rng(6)
    storages = some_storages(10)
    prices = np.stack([day_prices(24, 1.0, rng), day_prices(24, 1.0, rng)])
    place = np.arange(10) % 2
    room = BatchPlan.empty(10, 24)
    got = plan_storage_batch(StorageBatch.of(storages), prices, 1.0, price_row=place, into=room)
    assert got is room
    assert got.energy_kwh.shape == (0, 25)
    for row, storage in enumerate(storages):
        assert got.value[row] == pytest.approx(
            plan_storage(storage, prices[place[row]], 1.0).value, rel=1e-12
        )
    same = plan_storage_batch(StorageBatch.of(storages), prices[0], 1.0)
    assert same.value[0] == got.value[0]


def test_batch_of_none_is_empty() -> None:
    assert plan_storage_batch(StorageBatch.of([]), np.ones(4), 1.0).value.shape == (0,)


def test_batch_refuses_what_does_not_fit() -> None:
    storages = some_storages(3)
    batch = StorageBatch.of(storages)
    with pytest.raises(InvalidInputError, match="price_row"):
        plan_storage_batch(batch, np.ones((2, 4)), 1.0)
    with pytest.raises(InvalidInputError, match="price_row"):
        plan_storage_batch(batch, np.ones((2, 4)), 1.0, price_row=np.array([0, 1, 2]))
    with pytest.raises(InvalidInputError, match="prices_per_mwh"):
        plan_storage_batch(batch, np.array([1.0, np.nan]), 1.0)
    with pytest.raises(InvalidInputError, match="into"):
        plan_storage_batch(batch, np.ones(4), 1.0, into=BatchPlan.empty(3, 5))
    deep = dataclasses.replace(storages[0], depth_costs=(DepthCost(below_kwh=0.1, cost_per_mwh_h=1.0),))
    with pytest.raises(InvalidInputError, match="depth_costs"):
        StorageBatch.of([deep])
    with pytest.raises(InvalidInputError, match="initial_energy_kwh"):
        dataclasses.replace(batch, initial_energy_kwh=batch.energy_capacity_kwh + 1.0)
