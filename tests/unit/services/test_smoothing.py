"""Smoothing: the ramp limit is never broken while the battery suffices, and broken ramps are counted when it does not."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.services.smoothing import (
    Smoothed,
    SmoothingBattery,
    SmoothingRules,
    moving_average,
    needed_kwh,
    place_kwh,
    smooth,
    smooth_step,
    suffices,
)

DATA = (
    Path(os.environ.get("SHOAL_DATA", "../shared/data")) / "pvdaq_system50_15min_with_nsrdb_2011_2013.parquet"
)
RULES = SmoothingRules(ramp_kw_per_min=1.0, highest_kw=100.0)


def battery(hours: float, *, power_kw: float = 100.0) -> SmoothingBattery:
    return SmoothingBattery(
        charge_limit_kw=power_kw, discharge_limit_kw=power_kw, energy_capacity_kwh=100.0 * hours
    )


def check_physics(
    done: Smoothed, generation_kw: NDArray[np.float64], one: SmoothingBattery, step_s: float
) -> None:
    assert done.output_kw == pytest.approx(generation_kw - done.battery_kw - done.curtailed_kw, abs=1e-9)
    assert done.stored_kwh.min() >= 0.0
    assert done.stored_kwh.max() <= one.energy_capacity_kwh
    assert done.battery_kw.max() <= one.charge_limit_kw + 1e-9
    assert done.battery_kw.min() >= -one.discharge_limit_kw - 1e-9
    assert done.curtailed_kw.min() >= 0.0
    steps = np.diff(done.stored_kwh)
    gained = np.where(
        done.battery_kw > 0,
        done.battery_kw * one.charge_efficiency_frac,
        done.battery_kw / one.discharge_efficiency_frac,
    )
    assert steps == pytest.approx(gained[1:] * step_s / 3600.0, abs=1e-9)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6), step_s=st.sampled_from([10.0, 60.0, 300.0]), curtails=st.booleans())
def test_battery_that_suffices_keeps_the_limit_against_any_weather(
    seed: int, step_s: float, curtails: bool
) -> None:
    random = np.random.default_rng(seed)
    held = np.repeat(random.choice([0.0, 30.0, 100.0], 40), random.integers(1, 60))
    generation_kw = np.clip(held + random.uniform(-20, 20, len(held)), 0.0, 100.0)
    rules = SmoothingRules(ramp_kw_per_min=2.0, highest_kw=100.0, may_curtail=curtails)
    enough = battery(0.45)
    assert suffices(enough, rules)
    done = smooth(generation_kw, step_s=step_s, battery=enough, rules=rules)
    check_physics(done, generation_kw, enough, step_s)
    assert done.violations_frac == 0.0
    ramps_kw = np.abs(np.diff(done.output_kw))
    assert ramps_kw.max(initial=0.0) <= 2.0 * step_s / 60.0 + 1e-6
    assert done.output_kw.min() >= -1e-9


def test_worst_fall_takes_just_what_was_worked_out() -> None:
    fall_kwh, rise_kwh = needed_kwh(100.0, battery(1.0), RULES)
    assert fall_kwh == pytest.approx(100.0**2 / 120.0 / 0.95)
    assert rise_kwh == 0.0
    one = battery(fall_kwh / 100.0)
    generation_kw = np.concatenate((np.full(2, 100.0), np.zeros(130)))
    done = smooth(generation_kw, step_s=60.0, battery=one, rules=RULES, stored_kwh=fall_kwh)
    assert done.violations_frac == 0.0
    assert done.stored_kwh.min() < 0.02 * fall_kwh
    less = smooth(generation_kw, step_s=60.0, battery=one, rules=RULES, stored_kwh=0.8 * fall_kwh)
    assert less.violations_frac > 0.0


def test_battery_that_does_not_suffice_is_counted_honestly() -> None:
    small = battery(0.1)
    assert not suffices(small, RULES)
    generation_kw = np.tile(np.concatenate((np.full(60, 100.0), np.zeros(60))), 4)
    done = smooth(generation_kw, step_s=60.0, battery=small, rules=RULES)
    check_physics(done, generation_kw, small, 60.0)
    broken = np.abs(np.diff(done.output_kw, prepend=done.output_kw[0])) > 1.0 + 1e-6
    assert (done.beyond_kw > 0).tolist() == broken.tolist()
    assert 0.0 < done.violations_frac < 1.0


def test_curtailing_breaks_no_limit_upward() -> None:
    generation_kw = np.concatenate((np.zeros(10), np.full(200, 100.0)))
    rules = SmoothingRules(ramp_kw_per_min=1.0, highest_kw=100.0, may_curtail=True)
    done = smooth(generation_kw, step_s=60.0, battery=battery(0.05), rules=rules)
    assert done.violations_frac == 0.0
    assert done.curtailed_kw.sum() > 0.0


def test_steady_generation_lets_the_battery_come_back_to_its_place() -> None:
    one = battery(3.0)
    done = smooth(np.full(1_000, 50.0), step_s=60.0, battery=one, rules=RULES, stored_kwh=299.0)
    assert done.stored_kwh[-1] == pytest.approx(place_kwh(50.0, one, RULES), abs=1.0)
    assert done.violations_frac == 0.0


def test_silent_meter_repeats_the_last_value() -> None:
    generation_kw = np.array([50.0, np.nan, np.nan, 50.0])
    done = smooth(generation_kw, step_s=60.0, battery=battery(3.0), rules=RULES)
    assert np.isfinite(done.output_kw).all()


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(InvalidInputError):
        smooth_step(
            generation_kw=np.nan,
            output_before_kw=0.0,
            stored_kwh=0.0,
            step_s=60.0,
            battery=battery(1.0),
            rules=RULES,
        )
    with pytest.raises(InvalidInputError):
        SmoothingRules(ramp_kw_per_min=0.0, highest_kw=1.0)
    with pytest.raises(InvalidInputError):
        SmoothingBattery(charge_limit_kw=-1.0, discharge_limit_kw=1.0, energy_capacity_kwh=1.0)


@pytest.mark.skipif(not DATA.is_file(), reason=f"{DATA.name} is not in the data folder")
def test_real_solar_power_is_smoothed_with_less_energy_than_by_a_moving_average() -> None:
    power_kw = pq.read_table(DATA, columns=["ac_power"])["ac_power"].to_numpy().astype(np.float64) / 1e3
    power_kw = np.maximum(power_kw[np.isfinite(power_kw)][: 96 * 45], 0.0)
    highest_kw = float(power_kw.max())
    rules = SmoothingRules(ramp_kw_per_min=0.01 * highest_kw, highest_kw=highest_kw)
    one = SmoothingBattery(
        charge_limit_kw=highest_kw, discharge_limit_kw=highest_kw, energy_capacity_kwh=highest_kw
    )
    assert suffices(one, rules)
    raw_frac = float((np.abs(np.diff(power_kw)) > 15 * rules.ramp_kw_per_min).mean())
    assert raw_frac > 0.03
    done = smooth(power_kw, step_s=900.0, battery=one, rules=rules)
    check_physics(done, power_kw, one, 900.0)
    assert done.violations_frac == 0.0
    # the shortest mean that comes near still breaks ramps, and moves more energy
    for window_steps in (4, 8):
        rule = moving_average(
            power_kw,
            step_s=900.0,
            battery=one,
            rules=rules,
            window_steps=window_steps,
            stored_kwh=float(done.stored_kwh[0]),
        )
        assert rule.violations_frac > 0.0
    assert done.throughput_kwh(900.0) < rule.throughput_kwh(900.0)
