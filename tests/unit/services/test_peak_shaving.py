"""Peak shaving: against the optimum with foresight, with forecasts that miss, and when the target cannot be held."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.optimise.storage import Storage, StoragePlan
from shoal.optimise.storage_limits import StorageLimits, plan_storage_within
from shoal.services.peak_shaving import (
    ShavingBattery,
    ShavingStep,
    needed_kwh,
    shave_step,
    stored_after_kwh,
    tightest_kw,
)

STEP_H = 0.25
BATTERY = ShavingBattery(charge_limit_kw=200.0, discharge_limit_kw=300.0, energy_capacity_kwh=800.0)


def day_kw(seed: int, days: int = 1) -> NDArray[np.float64]:
    random = np.random.default_rng(seed)
    t_h = np.arange(96 * days) * STEP_H
    evening = 400.0 * np.exp(-((((t_h % 24) - 19.0) / 2.0) ** 2))
    morning = 200.0 * np.exp(-((((t_h % 24) - 8.0) / 1.5) ** 2))
    noise = np.convolve(random.standard_normal(len(t_h)), np.ones(8) / 8, "same")
    power_kw: NDArray[np.float64] = 500.0 + evening + morning + 80.0 * noise
    return power_kw


def run(
    load_kw: NDArray[np.float64],
    forecast_kw: NDArray[np.float64],
    *,
    target_kw: float,
    stored_kwh: float,
    likely_kw: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.float64], list[ShavingStep]]:
    """Return the feeder's power and the steps of a run that sees the present and a forecast."""
    feeder, steps, held_kw = np.zeros(len(load_kw)), [], -np.inf
    for t, now_kw in enumerate(load_kw.tolist()):
        step = shave_step(
            load_kw=now_kw,
            forecast_kw=forecast_kw[t + 1 :],
            stored_kwh=stored_kwh,
            target_kw=target_kw,
            step_h=STEP_H,
            battery=BATTERY,
            likely_kw=None if likely_kw is None else likely_kw[t + 1 :],
            held_before_kw=held_kw,
        )
        stored_kwh = stored_after_kwh(stored_kwh, step.battery_kw, step_h=STEP_H, battery=BATTERY)
        feeder[t] = now_kw + step.battery_kw
        held_kw = max(held_kw, feeder[t]) if feeder[t] > target_kw else held_kw
        steps.append(step)
    return feeder, steps


def holds_by_foresight(load_kw: NDArray[np.float64], level_kw: float, stored_kwh: float) -> bool:
    """Whether the exact storage optimum can cover every excess over a level, charging below it alone."""
    excess_kw = np.maximum(load_kw - level_kw, 0.0)
    storage = Storage(
        charge_limit_kw=BATTERY.charge_limit_kw,
        discharge_limit_kw=BATTERY.discharge_limit_kw,
        charge_efficiency_frac=BATTERY.charge_efficiency_frac,
        discharge_efficiency_frac=BATTERY.discharge_efficiency_frac,
        energy_capacity_kwh=BATTERY.energy_capacity_kwh,
        initial_energy_kwh=stored_kwh,
    )
    limits = StorageLimits(charge_limit_kw=np.maximum(level_kw - load_kw, 0.0), discharge_limit_kw=excess_kw)
    # one unit of income for every unit that covers an excess, nothing to pay for charging
    plan = plan_storage_within(storage, np.where(excess_kw > 0.0, 1_000.0, 0.0), STEP_H, limits)
    assert isinstance(plan, StoragePlan)
    return bool(plan.discharge_kw.sum() >= excess_kw.sum() - 1e-6)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), stored_kwh=st.floats(0, 800))
def test_tightest_level_is_the_optimum_with_foresight(seed: int, stored_kwh: float) -> None:
    load_kw = day_kw(seed)
    level_kw = tightest_kw(load_kw, stored_kwh=stored_kwh, step_h=STEP_H, battery=BATTERY)
    assert holds_by_foresight(load_kw, level_kw + 1e-3, stored_kwh)
    assert not holds_by_foresight(load_kw, level_kw - 0.05, stored_kwh)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), stored_kwh=st.floats(0, 800))
def test_right_forecast_reaches_the_optimum(seed: int, stored_kwh: float) -> None:
    load_kw = day_kw(seed)
    best_kw = tightest_kw(load_kw, stored_kwh=stored_kwh, step_h=STEP_H, battery=BATTERY)
    feeder, steps = run(load_kw, load_kw, target_kw=0.0, stored_kwh=stored_kwh)
    assert feeder.max() == pytest.approx(best_kw, abs=1e-3)
    assert not any(step.can_hold for step in steps)
    assert steps[0].held_kw == pytest.approx(best_kw, abs=1e-3)


def test_target_that_can_be_held_is_held_with_no_more_than_it_takes() -> None:
    load_kw = day_kw(1)
    feeder, steps = run(load_kw, load_kw, target_kw=800.0, stored_kwh=400.0)
    assert feeder.max() <= 800.0 + 1e-9
    assert all(step.can_hold for step in steps)
    first = steps[0]
    need = needed_kwh(load_kw, level_kw=800.0, step_h=STEP_H, battery=BATTERY)
    assert first.spare_kwh == pytest.approx(400.0 - need[0])


def test_forecast_that_errs_costs_a_few_percent_and_least_with_both_its_middle_and_a_high_quantile() -> None:
    excess = {"low": 0.0, "middle": 0.0, "high": 0.0, "both": 0.0}
    for seed in range(12):
        load_kw = day_kw(seed)
        best_kw = tightest_kw(load_kw, stored_kwh=400.0, step_h=STEP_H, battery=BATTERY)
        noisy = load_kw * (1.0 + 0.02 * np.random.default_rng(99 + seed).standard_normal(96))
        for name, above in (("low", 0.97), ("middle", 1.0), ("high", 1.05), ("both", 1.05)):
            likely = noisy if name == "both" else None
            feeder, _ = run(load_kw, above * noisy, target_kw=0.0, stored_kwh=400.0, likely_kw=likely)
            excess[name] += (feeder.max() / best_kw - 1.0) / 12
    assert 0.0 <= excess["both"] < 0.02
    assert excess["both"] < excess["middle"] < excess["high"] < excess["low"] < 0.15


def test_target_out_of_reach_is_told_at_once_and_cut_evenly() -> None:
    load_kw = day_kw(2)
    feeder, steps = run(load_kw, load_kw, target_kw=450.0, stored_kwh=100.0)
    assert not steps[0].can_hold
    assert steps[0].held_kw > 450.0
    greedy, stored = load_kw.copy(), 100.0
    for t, now_kw in enumerate(load_kw.tolist()):  # holding the target until the battery is empty
        power = -min(max(now_kw - 450.0, 0.0), 300.0, stored * 0.95 / STEP_H)
        stored = stored_after_kwh(stored, power, step_h=STEP_H, battery=BATTERY)
        greedy[t] += power
    assert feeder.max() < greedy.max() - 10.0


def test_energy_kept_for_what_no_forecast_shows_is_charged_and_not_spare() -> None:
    step = shave_step(
        load_kw=300.0,
        forecast_kw=np.full(8, 300.0),
        stored_kwh=50.0,
        target_kw=500.0,
        step_h=STEP_H,
        battery=BATTERY,
        keep_kwh=200.0,
    )
    assert step.battery_kw == pytest.approx(150.0 / 0.95 / STEP_H if 150.0 / 0.95 / STEP_H < 200.0 else 200.0)
    assert step.spare_kwh == 0.0


def test_charging_never_makes_a_peak_of_its_own() -> None:
    for seed in range(5):
        load_kw = day_kw(seed)
        feeder, steps = run(load_kw, np.full(96, 900.0), target_kw=700.0, stored_kwh=0.0)
        charging = np.array([step.battery_kw > 0 for step in steps])
        held = np.array([step.held_kw for step in steps])
        assert (feeder[charging] <= held[charging] + 1e-9).all()


@pytest.mark.parametrize("bad", [np.array([np.nan]), np.zeros(0), np.zeros((2, 2))])
def test_what_is_no_load_is_refused(bad: NDArray[np.float64]) -> None:
    with pytest.raises(InvalidInputError):
        tightest_kw(bad, stored_kwh=0.0, step_h=STEP_H, battery=BATTERY)
    with pytest.raises(InvalidInputError):
        tightest_kw(np.ones(3), stored_kwh=-1.0, step_h=STEP_H, battery=BATTERY)
