"""Releases against opportunity cost: against the exact storage plan, monotone, and within what the storage can do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shoal.domain.errors import InvalidInputError
from shoal.optimise.opportunity import releases
from shoal.optimise.storage import Storage, plan_storage

STORAGE = Storage(
    charge_limit_kw=1_000.0,
    discharge_limit_kw=1_000.0,
    charge_efficiency_frac=0.9,
    discharge_efficiency_frac=0.9,
    energy_capacity_kwh=2_000.0,
    initial_energy_kwh=0.0,
    throughput_cost_per_mwh=10.0,
    terminal_value_per_mwh=60.0,
)


@pytest.mark.parametrize("seed", range(8))
def test_a_release_is_the_first_move_of_the_best_plan(seed: int) -> None:
    """With one price and one path the answer is that of the exact solver, to the grid of energies."""
    rng = np.random.default_rng(seed)
    path = rng.uniform(-20.0, 200.0, 24)
    energy_kwh = float(rng.uniform(0.0, 2_000.0))
    for price in (5.0, 60.0, 90.0, 140.0):
        got = releases(
            STORAGE,
            1.0,
            price_per_mwh=np.array([price]),
            buys_count=0,
            expected_per_mwh=path[None, :],
            block_count=np.ones(24, np.int64),
            energy_kwh=energy_kwh,
            cells=800,
        )
        plan = plan_storage(
            replace(STORAGE, initial_energy_kwh=energy_kwh), np.concatenate([[price], path]), 1.0
        )
        assert got[0] == pytest.approx(max(float(plan.discharge_kw[0]) / 0.9, 0.0), abs=8.0)


def test_moves_grow_with_the_price_on_both_sides() -> None:
    path = np.tile(np.linspace(40.0, 120.0, 12), (6, 1))
    release = releases(
        STORAGE,
        1.0,
        price_per_mwh=np.array([10.0, 50.0, 70.0, 90.0, 130.0, 400.0]),
        buys_count=3,
        expected_per_mwh=path,
        block_count=np.ones(12, np.int64),
        energy_kwh=1_000.0,
    )
    assert np.all(np.diff(release) >= 0.0)
    assert release[0] == pytest.approx(-900.0)
    assert release[-1] == pytest.approx(1_000.0)


def test_a_price_that_tells_of_dearer_hours_holds_energy_back() -> None:
    low, high = np.full(12, 30.0), np.full(12, 900.0)
    told, blind = (
        releases(
            STORAGE,
            1.0,
            price_per_mwh=np.array([300.0]),
            buys_count=0,
            expected_per_mwh=path[None, :],
            block_count=np.ones(12, np.int64),
            energy_kwh=2_000.0,
        )[0]
        for path in (high, low)
    )
    assert (told, blind) == (0.0, pytest.approx(1_000.0 / 0.9))


def test_a_path_for_each_price_is_wanted() -> None:
    with pytest.raises(InvalidInputError, match="a path for each price"):
        releases(
            STORAGE,
            1.0,
            price_per_mwh=np.array([1.0, 2.0]),
            buys_count=1,
            expected_per_mwh=np.zeros((1, 3)),
            block_count=np.ones(3, np.int64),
            energy_kwh=0.0,
        )
