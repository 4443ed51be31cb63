"""Whatever is asked of the one battery, the many can do it step by step; and plain sums cannot be split."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shoal.optimise.allocation import battery_limits, split_setpoint
from shoal.optimise.fleet_battery import FleetBattery, GroupLimits, fleet_battery

Floats = NDArray[np.float64]
PROFILE = settings(deadline=None, max_examples=60)


class Fleet:
    """Batteries of all kinds, and what is left in them."""

    def __init__(self, rng: np.random.Generator, count: int, *, groups: bool = False) -> None:
        self.capacity = rng.choice([0.0, 5.0, 6.5, 10.0, 13.5, 27.0], count)
        self.reserve = np.full(count, 0.2)
        self.charge = rng.choice([0.0, 3.3, 5.0, 11.5], count, p=[0.05, 0.35, 0.3, 0.3])
        self.discharge = rng.choice([1.0, 3.3, 5.0, 11.5], count)
        level = rng.choice([0.1, 0.2, 1.0, -1.0], count, p=[0.1, 0.1, 0.1, 0.7])
        self.energy = np.where(level < 0.0, rng.uniform(0.0, 1.0, count), level) * self.capacity
        self.charge_frac = np.full(count, 0.95)
        self.discharge_frac = np.full(count, 0.9)
        feeders = max(1, count // 5)
        self.groups = (
            GroupLimits(
                leaf=rng.integers(-1, feeders + 1, count),
                parent=np.r_[-1, np.zeros(feeders, dtype=np.int64)],
                charge_limit_kw=np.r_[3.0 * count, rng.uniform(5.0, 40.0, feeders)],
                discharge_limit_kw=np.r_[2.5 * count, rng.uniform(5.0, 40.0, feeders)],
            )
            if groups
            else None
        )

    def as_one(self) -> FleetBattery:
        return fleet_battery(
            energy_kwh=self.energy,
            energy_capacity_kwh=self.capacity,
            reserve_frac=self.reserve,
            charge_limit_kw=self.charge,
            discharge_limit_kw=self.discharge,
            charge_efficiency_frac=self.charge_frac,
            discharge_efficiency_frac=self.discharge_frac,
            groups=self.groups,
        )

    def step(self, power_kw: Floats, interval_h: float) -> None:
        stored = np.where(power_kw > 0, power_kw * self.charge_frac, power_kw / self.discharge_frac)
        self.energy = self.energy + stored * interval_h

    def limits(self, interval_h: float) -> tuple[Floats, Floats]:
        return battery_limits(
            self.energy,
            self.capacity,
            self.reserve * self.capacity,
            self.charge,
            self.discharge,
            self.charge_frac,
            self.discharge_frac,
            interval_h,
        )


def follow(fleet: Fleet, rng: np.random.Generator, steps: int) -> float:
    """Ask at random what the one battery may be asked, split it, and return the most that was ever missing, in kW."""
    one = fleet.as_one()
    storage, begin = one.storage, fleet.energy.copy()
    energy_kwh, worst_kw = storage.initial_energy_kwh, 0.0
    for _ in range(steps):
        interval_h = float(rng.choice([1 / 60, 0.25, 1.0]))
        low = -min(storage.discharge_limit_kw, energy_kwh * storage.discharge_efficiency_frac / interval_h)
        room_kwh = storage.energy_capacity_kwh - energy_kwh
        high = min(storage.charge_limit_kw, room_kwh / storage.charge_efficiency_frac / interval_h)
        target = float(rng.choice([low, high, 0.0, rng.uniform(min(low, high), max(low, high))]))
        lower, upper = fleet.limits(interval_h)
        preferred = one.preferred_kw(fleet.energy - begin, target, interval_h)
        got = split_setpoint(target, lower, upper, np.maximum(fleet.capacity, 1e-3), preferred)
        worst_kw = max(worst_kw, abs(got.unmet_kw), float(np.abs(got.power_kw - preferred).max(initial=0.0)))
        if fleet.groups is not None:
            assert_groups_hold(fleet.groups, got.power_kw)
        fleet.step(got.power_kw, interval_h)
        frac = storage.charge_efficiency_frac if target > 0 else 1.0 / storage.discharge_efficiency_frac
        energy_kwh = min(max(energy_kwh + target * interval_h * frac, 0.0), storage.energy_capacity_kwh)
    assert np.all(fleet.energy <= fleet.capacity + 1e-6)
    assert np.all(fleet.energy >= np.minimum(begin, fleet.reserve * fleet.capacity) - 1e-6)
    return worst_kw


def assert_groups_hold(groups: GroupLimits, power: Floats) -> None:
    hung = groups.leaf >= 0
    total = np.bincount(groups.leaf[hung], weights=power[hung], minlength=groups.parent.size)
    for row in range(groups.parent.size - 1, 0, -1):
        total[groups.parent[row]] += total[row]
    assert np.all(total <= groups.charge_limit_kw + 1e-6)
    assert np.all(total >= -groups.discharge_limit_kw - 1e-6)


@PROFILE
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 30), groups=st.booleans())
def test_any_schedule_of_the_one_battery_can_be_split(seed: int, count: int, groups: bool) -> None:
    rng = np.random.default_rng(seed)
    assert follow(Fleet(rng, count, groups=groups), rng, 100) <= 1e-6


def test_thousands_of_steps_in_a_row_can_be_split() -> None:
    rng = np.random.default_rng(4)
    assert follow(Fleet(rng, 200, groups=True), rng, 4000) <= 1e-5


@PROFILE
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 12))
def test_what_is_promised_in_one_direction_is_all_that_there_is(seed: int, count: int) -> None:
    """At the power of the one battery, no way to discharge releases more than its energy."""
    rng = np.random.default_rng(seed)
    fleet = Fleet(rng, count)
    fleet.charge = fleet.discharge.copy()
    fleet.charge_frac = fleet.discharge_frac = np.ones(count)
    storage = fleet.as_one().storage
    if storage.initial_energy_kwh == 0.0:
        return
    duration_h = storage.initial_energy_kwh / storage.discharge_limit_kw
    stored = np.maximum(fleet.energy - 0.2 * fleet.capacity, 0.0)
    useful = fleet.discharge * (fleet.capacity > 0.0)
    released = float(np.minimum(useful * duration_h, stored).sum())
    assert storage.initial_energy_kwh == pytest.approx(released, rel=1e-9)


def test_sums_of_ratings_could_not_be_split() -> None:
    rng = np.random.default_rng(0)
    fleet = Fleet(rng, 2)
    fleet.capacity, fleet.energy = np.full(2, 10.0), np.array([10.0, 2.0])
    fleet.charge = fleet.discharge = np.full(2, 5.0)
    one = fleet.as_one()
    assert one.storage.discharge_limit_kw == pytest.approx(5.0)
    assert one.overstated_kw == pytest.approx(5.0), "the empty one gives nothing"
    lower, upper = fleet.limits(0.25)
    assert split_setpoint(-10.0, lower, upper, np.ones(2), np.zeros(2)).unmet_kw == pytest.approx(-5.0)
    assert any("reserve" in reason for reason in one.reasons)
