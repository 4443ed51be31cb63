"""Cycle budgets: what all may give in a day keeps everybody's own, however it is split, and is far more than the strict share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shoal.bidding.cycle_budgets import DayLeft, counted_share, day_budgets, strict_share
from shoal.domain.fleet import NAMEPLATE
from shoal.domain.interval import NS_PER_HOUR, Interval
from shoal.optimise.allocation import battery_limits, split_setpoint
from shoal.optimise.fleet_battery import FleetBattery, fleet_battery
from shoal.optimise.splittable import splittable_kw
from shoal.programs.claims import UNLIMITED_WH

Floats = NDArray[np.float64]
DAY_NS = 24 * NS_PER_HOUR


def homes(rng: np.random.Generator, count: int) -> NDArray[Any]:
    plate = NAMEPLATE.empty(count)
    plate["energy_capacity_kwh"] = rng.choice([6.4, 9.6, 13.5, 16.0, 27.0], count)
    plate["charge_limit_kw"] = plate["discharge_limit_kw"] = rng.choice([3.3, 3.8, 5.0, 7.6, 11.5], count)
    plate["reserve_frac"] = rng.choice([0.1, 0.2, 0.3], count)
    plate["charge_efficiency_frac"] = plate["discharge_efficiency_frac"] = 0.95
    return plate


def window_of(plate: NDArray[Any]) -> Floats:
    window: Floats = plate["energy_capacity_kwh"] * (1.0 - plate["reserve_frac"])
    return window


def as_one(plate: NDArray[Any], share: Floats, filled: Floats) -> FleetBattery:
    capacity = plate["energy_capacity_kwh"] * share
    return fleet_battery(
        energy_kwh=(plate["reserve_frac"] + (1.0 - plate["reserve_frac"]) * filled) * capacity,
        energy_capacity_kwh=capacity,
        reserve_frac=plate["reserve_frac"],
        charge_limit_kw=plate["charge_limit_kw"] * share,
        discharge_limit_kw=plate["discharge_limit_kw"] * share,
        charge_efficiency_frac=plate["charge_efficiency_frac"],
        discharge_efficiency_frac=plate["discharge_efficiency_frac"],
    )


def left(wh: NDArray[np.int64], hours: int = 24) -> list[DayLeft]:
    return [
        DayLeft(day=Interval(start_ns=0, end_ns=DAY_NS), left_wh=wh, at_once_ns=hours * NS_PER_HOUR),
    ]


def test_one_cycle_a_day_counts_for_all_of_a_fleet_that_is_alike() -> None:
    plate = homes(np.random.default_rng(0), 6)
    for name, value in (("energy_capacity_kwh", 13.5), ("charge_limit_kw", 5.0), ("discharge_limit_kw", 5.0)):
        plate[name] = value
    plate["reserve_frac"] = 0.2
    window = window_of(plate)
    days = left(np.full(6, round(10.8 * 0.95 * 1e3)))
    assert strict_share(days, plate, window).max() < 0.25
    assert counted_share(days, plate, window).tolist() == pytest.approx([1.0] * 6, rel=0.11)
    one = as_one(plate, np.ones(6), np.full(6, 0.5))
    (budget,) = day_budgets(days, one, plate["discharge_efficiency_frac"])
    assert budget.discharge_kwh == pytest.approx(6 * 10.8 * 0.95, rel=1e-3)


def test_spent_budget_is_out_and_holds_nobody_up() -> None:
    plate = homes(np.random.default_rng(0), 4)
    days = left(np.array([0, 9_000, UNLIMITED_WH, UNLIMITED_WH]))
    share = counted_share(days, plate, window_of(plate))
    assert share[0] == 0.0 and (share[1:] > 0.0).all() and share[2] == share[3] == 1.0
    one = as_one(plate, share, np.full(4, 0.5))
    (budget,) = day_budgets(days, one, plate["discharge_efficiency_frac"])
    assert budget.discharge_kwh > 0.0


def test_without_budgets_nothing_is_counted() -> None:
    plate = homes(np.random.default_rng(0), 3)
    days = left(np.full(3, UNLIMITED_WH))
    assert counted_share(days, plate, window_of(plate)).tolist() == [1.0] * 3
    assert strict_share(days, plate, window_of(plate)).tolist() == [1.0] * 3
    assert day_budgets(days, as_one(plate, np.ones(3), np.ones(3)), plate["discharge_efficiency_frac"]) == ()


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 25))
def test_whatever_is_given_within_the_day_keeps_every_budget(seed: int, count: int) -> None:
    """Awards at full power until the day's budget is gone: nobody gave more than the own budget, and all was delivered."""
    rng = np.random.default_rng(seed)
    plate = homes(rng, count)
    window = window_of(plate)
    cycles = rng.choice([0.0, 0.7, 1.0, 1.5, 3.0], count)
    left_wh = np.where(cycles > 2.0, UNLIMITED_WH, np.floor(cycles * window * 950.0)).astype(np.int64)
    share = counted_share(left(left_wh), plate, window)
    filled = rng.uniform(0.0, 1.0, count)
    one = as_one(plate, share, filled)
    budgets = day_budgets(left(left_wh), one, plate["discharge_efficiency_frac"])
    may_kwh = budgets[0].discharge_kwh if budgets else np.inf
    capacity = plate["energy_capacity_kwh"] * share
    reserve = plate["reserve_frac"] * capacity
    energy = reserve + (capacity - reserve) * filled
    limit, frac = plate["discharge_limit_kw"] * share, plate["discharge_efficiency_frac"].astype(np.float64)
    given_kwh, level, gave_kwh = np.zeros(count), one.storage.initial_energy_kwh, 0.0
    for step in range(96):
        out_kw = min(one.storage.discharge_limit_kw, level * 0.95 / 0.25, (may_kwh - gave_kwh) / 0.25)
        in_kw = min(one.storage.charge_limit_kw, (one.storage.energy_capacity_kwh - level) / 0.95 / 0.25)
        target = -out_kw if step // 8 % 2 else in_kw
        lower, upper = battery_limits(energy, capacity, reserve, limit, limit, frac, frac, 0.25)
        preferred = splittable_kw(
            target,
            most_charge_kw=one.storage.charge_limit_kw,
            most_discharge_kw=one.storage.discharge_limit_kw,
            energy_kwh=energy,
            energy_capacity_kwh=capacity,
            reserve_kwh=reserve,
            charge_limit_kw=limit,
            discharge_limit_kw=limit,
            charge_efficiency_frac=frac,
            discharge_efficiency_frac=frac,
        )
        split = split_setpoint(target, lower, upper, np.maximum(capacity, 1e-6), preferred)
        assert abs(split.unmet_kw) <= 1e-6
        kw = split.power_kw
        energy = energy + np.where(kw > 0.0, kw * frac, kw / frac) * 0.25
        given_kwh += np.maximum(-kw, 0.0) * 0.25
        gave_kwh += max(-target, 0.0) * 0.25
        level += (target * 0.95 if target > 0.0 else target / 0.95) * 0.25
    assert (given_kwh * 1e3 <= left_wh + 1.0).all()
