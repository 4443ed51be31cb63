"""The kernel for long durations gives what the list kernel gives, and HiGHS; terminal curves join horizons."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from shoal.cli.benches._optimise_highs import best_value
from shoal.cli.benches._optimise_instances import day_prices, long_duration, random_instance
from shoal.optimise import _storage_rows as rows
from shoal.optimise._storage_search import WORK_ROWS, _assess, relax, standing_value
from shoal.optimise.storage import KWH_PER_MWH, Storage, plan_storage
from shoal.optimise.storage_limits import plan_storage_within
from shoal.optimise.storage_terminal import terminal_value

NO_RAMPS = np.empty((0, 0))


def test_tree_gives_what_the_list_gives() -> None:
    rng = np.random.default_rng(17)
    solved = 0
    for _ in range(300):
        steps = int(rng.choice([1, 2, 7, 24, 60]))
        instance = random_instance(rng, steps)
        storage, limits = instance.storage, instance.limits
        prepared = np.empty((rows.PREPARED_ROWS, steps + 1))
        columns = [
            np.empty(0) if limit is None else limit
            for limit in (limits.charge_limit_kw, limits.discharge_limit_kw, limits.energy_min_kwh, limits.energy_max_kwh)
        ]  # fmt: skip
        price = np.round(instance.price_per_mwh, -1) if rng.random() < 0.5 else instance.price_per_mwh
        rows.prepare(
            storage.column(),
            price,
            instance.interval_h,
            columns[0],
            columns[1],
            columns[2],
            columns[3],
            prepared,
        )
        charge, discharge, up, down, low, high, scale = prepared
        ends = np.array([0.4, 1.0]) * storage.energy_capacity_kwh / scale[-1]
        slopes = np.array([0.07, 0.02]) * scale[-1]
        hold = rng.choice(np.array([-1, 0, 0, 1], np.int8), steps)
        found = []
        for long in (False, True):
            work, path = np.empty((WORK_ROWS, 2 * steps + 10)), np.zeros(steps + 1)
            mixed = np.empty(steps, np.bool_)
            size, chords = relax(
                charge[:-1], discharge[:-1], up[:-1], down[:-1], low, high, ends, slopes, NO_RAMPS, NO_RAMPS,
                storage.initial_energy_kwh, long, hold, work, mixed, path,
            )  # fmt: skip
            # Where prices repeat, paths may differ; what they are worth may not.
            standing = standing_value(ends, slopes, NO_RAMPS, NO_RAMPS, path)
            bound = _assess(charge[:-1], discharge[:-1], standing, work, mixed, path)[1] if size >= 0 else 0.0
            found.append((size >= 0, chords, bound, work))
        (fits, chords, bound, work), (tree_fits, tree_chords, tree_bound, tree_work) = found
        assert (fits, chords) == (tree_fits, tree_chords)
        if fits:
            solved += 1
            assert tree_bound == pytest.approx(bound, rel=1e-9, abs=1e-12)
            for row in range(6, 12):  # reaches, levels and the ranges that can be reached
                np.testing.assert_allclose(tree_work[row, :steps], work[row, :steps], rtol=0, atol=1e-9)
    assert solved > 100


def test_plan_of_a_long_duration_equals_independent_solver() -> None:
    instance = long_duration(576, 100.0, 1)
    plan = plan_storage_within(instance.storage, instance.price_per_mwh, instance.interval_h, instance.limits)
    assert getattr(plan, "value", None) == pytest.approx(best_value(instance, exclusive=False), rel=1e-9)


def test_plan_of_a_very_long_horizon_takes_the_tree_and_keeps_its_bound() -> None:
    instance = long_duration(3_000, 200.0, 2)
    prepared = np.empty((rows.PREPARED_ROWS, 3_001))
    none = np.empty(0)
    rows.prepare(
        instance.storage.column(),
        instance.price_per_mwh,
        instance.interval_h,
        none,
        none,
        none,
        none,
        prepared,
    )
    assert rows.is_long(prepared, 3_000)
    plan = plan_storage(instance.storage, instance.price_per_mwh, instance.interval_h)
    half = terminal_value(instance.storage, instance.price_per_mwh[1_500:], instance.interval_h)
    first = plan_storage(instance.storage, instance.price_per_mwh[:1_500], instance.interval_h, terminal=half)
    middle_kwh = float(first.energy_kwh[-1])
    rest = plan_storage(
        dataclasses.replace(instance.storage, initial_energy_kwh=middle_kwh),
        instance.price_per_mwh[1_500:],
        instance.interval_h,
    )
    worth = curve_at(half.end_kwh, half.slope_per_mwh, middle_kwh)
    assert first.value - worth + rest.value == pytest.approx(plan.value, rel=1e-9)


def curve_at(end_kwh: np.ndarray, slope_per_mwh: np.ndarray, energy_kwh: float) -> float:
    pieces = np.diff(np.minimum(end_kwh, energy_kwh), prepend=0.0)
    return float(pieces @ slope_per_mwh) / KWH_PER_MWH


def test_terminal_value_joins_two_horizons_without_loss() -> None:
    rng = np.random.default_rng(23)
    for number in range(30):
        storage = dataclasses.replace(
            random_instance(rng, 1).storage, standing_loss_frac_per_h=0.05 * (number % 2)
        )
        price = day_prices(40, 1.0, rng)
        whole = plan_storage(storage, price, 1.0)
        later = terminal_value(storage, price[15:], 1.0)
        assert np.all(np.diff(later.slope_per_mwh) < 0.0)
        today = plan_storage(storage, price[:15], 1.0, terminal=later)
        # The curve is zero at zero: what an empty storage would earn later is not part of it.
        empty = plan_storage(dataclasses.replace(storage, initial_energy_kwh=0.0), price[15:], 1.0)
        assert today.value + empty.value == pytest.approx(whole.value, rel=1e-9, abs=1e-12)


def test_terminal_value_of_a_day_falls_with_what_is_stored() -> None:
    battery = Storage(
        charge_limit_kw=5.0,
        discharge_limit_kw=5.0,
        charge_efficiency_frac=0.9,
        discharge_efficiency_frac=0.9,
        energy_capacity_kwh=10.0,
        initial_energy_kwh=0.0,
    )
    later = terminal_value(battery, np.array([90.0, 30.0]), 1.0)
    assert later.end_kwh == pytest.approx([5.0 / 0.9, 10.0])
    assert later.slope_per_mwh == pytest.approx([81.0, 27.0])
