"""What must hold of every plan, order set and split: physics and order, whatever the numbers."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shoal.optimise.allocation import battery_limits, split_setpoint, split_setpoint_w
from shoal.optimise.envelope import TOLERANCE_FRAC, removable_orders
from shoal.optimise.storage import Storage, plan_storage

Floats = NDArray[np.float64]

# Compiling the kernels on a first run takes seconds, so no example has a deadline.
PROFILE = settings(deadline=None, max_examples=150)


def floats(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False, allow_subnormal=False)


@st.composite
def storages(draw: st.DrawFn) -> Storage:
    capacity_kwh = draw(st.sampled_from([0.0, 0.5, 1.0, 10.0]) | floats(0.0, 20.0))
    return Storage(
        charge_limit_kw=draw(st.sampled_from([0.0, 1.0, 5.0]) | floats(0.0, 10.0)),
        discharge_limit_kw=draw(st.sampled_from([0.0, 1.0, 5.0]) | floats(0.0, 10.0)),
        charge_efficiency_frac=draw(st.just(1.0) | floats(0.5, 1.0)),
        discharge_efficiency_frac=draw(st.just(1.0) | floats(0.5, 1.0)),
        energy_capacity_kwh=capacity_kwh,
        initial_energy_kwh=draw(floats(0.0, 1.0)) * capacity_kwh,
        throughput_cost_per_mwh=draw(st.just(0.0) | floats(0.0, 50.0)),
        terminal_value_per_mwh=draw(floats(-100.0, 200.0)),
    )


prices = st.lists(
    st.sampled_from([-100.0, -50.0, 0.0, 50.0, 100.0]) | floats(-500.0, 500.0), min_size=1, max_size=14
).map(lambda values: np.array(values, dtype=np.float64))


@PROFILE
@given(storage=storages(), price=prices, interval_h=st.sampled_from([1.0, 0.5, 1 / 12]))
def test_plan_conserves_energy_and_never_goes_both_ways(
    storage: Storage, price: Floats, interval_h: float
) -> None:
    plan = plan_storage(storage, price, interval_h)
    assert plan.exact
    assert not np.any((plan.charge_kw > 0) & (plan.discharge_kw > 0))
    assert np.all((plan.charge_kw >= 0) & (plan.charge_kw <= storage.charge_limit_kw))
    assert np.all((plan.discharge_kw >= 0) & (plan.discharge_kw <= storage.discharge_limit_kw))
    assert np.all((plan.energy_kwh >= 0) & (plan.energy_kwh <= storage.energy_capacity_kwh))
    stored_kwh = plan.charge_kw * storage.charge_efficiency_frac * interval_h
    released_kwh = plan.discharge_kw * interval_h / storage.discharge_efficiency_frac
    np.testing.assert_allclose(np.diff(plan.energy_kwh), stored_kwh - released_kwh, rtol=0, atol=1e-9)
    assert plan.value <= plan.value_bound


@PROFILE
@given(storage=storages(), price=prices, more_kwh=floats(0.0, 10.0), more_kw=floats(0.0, 5.0))
def test_plan_is_worth_no_less_with_more_capacity_or_power(
    storage: Storage, price: Floats, more_kwh: float, more_kw: float
) -> None:
    value = plan_storage(storage, price, 1.0).value
    slack = 1e-9 * (1.0 + abs(value))
    bigger = dataclasses.replace(storage, energy_capacity_kwh=storage.energy_capacity_kwh + more_kwh)
    assert plan_storage(bigger, price, 1.0).value >= value - slack
    stronger = dataclasses.replace(
        storage,
        charge_limit_kw=storage.charge_limit_kw + more_kw,
        discharge_limit_kw=storage.discharge_limit_kw + more_kw,
    )
    assert plan_storage(stronger, price, 1.0).value >= value - slack


@PROFILE
@given(storage=storages(), price=prices, seed=st.integers(0, 2**32 - 1))
def test_plan_is_worth_no_less_than_any_other_schedule(storage: Storage, price: Floats, seed: int) -> None:
    """Random feasible schedules, followed step by step, never beat it."""
    rng = np.random.default_rng(seed)
    plan = plan_storage(storage, price, 1.0)
    for _ in range(20):
        energy, value = storage.initial_energy_kwh, 0.0
        for now in price:
            room_kwh = storage.energy_capacity_kwh - energy
            if rng.random() < 0.5:
                drawn = min(storage.charge_limit_kw, room_kwh / storage.charge_efficiency_frac) * rng.choice(
                    [0.0, 1.0, rng.random()]
                )
                energy += drawn * storage.charge_efficiency_frac
                value -= drawn * now
            else:
                given_kwh = min(storage.discharge_limit_kw, energy * storage.discharge_efficiency_frac)
                given_kwh *= rng.choice([0.0, 1.0, rng.random()])
                energy -= given_kwh / storage.discharge_efficiency_frac
                value += given_kwh * (now - storage.throughput_cost_per_mwh)
        value += energy * storage.terminal_value_per_mwh
        assert value / 1000.0 <= plan.value + 1e-9 * (1.0 + abs(plan.value))


def every_subset_fits(
    change: Floats, removable: NDArray[np.bool_], capacity_kwh: float, initial_kwh: float, slack_kwh: float
) -> bool:
    rows = np.flatnonzero(removable)
    for lost in itertools.product([False, True], repeat=rows.size):
        kept = np.ones(change.size, dtype=np.bool_)
        kept[rows[list(lost)]] = False
        path = initial_kwh + np.cumsum(np.where(kept, change, 0.0))
        if np.any((path < -slack_kwh) | (path > capacity_kwh + slack_kwh)):
            return False
    return True


@PROFILE
@given(
    start=floats(0.0, 1.0),
    levels=st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]) | floats(0.0, 1.0), min_size=1, max_size=7),
    capacity_kwh=st.sampled_from([1.0, 8.0, 13.5]),
    data=st.data(),
)
def test_removable_orders_are_safe_in_every_combination_and_maximal(
    start: float, levels: list[float], capacity_kwh: float, data: st.DataObject
) -> None:
    initial_kwh = start * capacity_kwh
    change = np.diff(np.array([start, *levels])) * capacity_kwh
    score = np.array(data.draw(st.lists(floats(-5, 5), min_size=len(levels), max_size=len(levels))))
    removable = removable_orders(change, capacity_kwh, initial_kwh, score)
    # On either side of the stated tolerance by half of it, so that rounding here does not decide.
    tolerance_kwh = TOLERANCE_FRAC * capacity_kwh
    assert every_subset_fits(change, removable, capacity_kwh, initial_kwh, 1.5 * tolerance_kwh)
    for row in np.flatnonzero(~removable):
        wider = removable.copy()
        wider[row] = True
        assert not every_subset_fits(change, wider, capacity_kwh, initial_kwh, 0.5 * tolerance_kwh)


@st.composite
def fleets(draw: st.DrawFn) -> tuple[Floats, Floats, Floats, Floats]:
    count = draw(st.integers(0, 8))

    def column(values: st.SearchStrategy[float]) -> Floats:
        return np.array(draw(st.lists(values, min_size=count, max_size=count)), dtype=np.float64)

    lower = column(st.sampled_from([0.0, -5.0]) | floats(-20.0, 20.0))
    upper = lower + column(st.sampled_from([0.0, 5.0]) | floats(0.0, 20.0))
    return lower, upper, column(st.sampled_from([0.0, 1.0]) | floats(1e-6, 1e3)), column(floats(-30.0, 30.0))


@PROFILE
@given(fleet=fleets(), target=floats(-100.0, 100.0))
def test_split_meets_the_target_or_says_what_is_unmet(
    fleet: tuple[Floats, Floats, Floats, Floats], target: float
) -> None:
    lower, upper, weight, preferred = fleet
    got = split_setpoint(target, *fleet)
    assert np.all((got.power_kw >= lower) & (got.power_kw <= upper))
    fixed = weight == 0
    np.testing.assert_array_equal(got.power_kw[fixed], np.clip(preferred, lower, upper)[fixed])
    assert abs(got.power_kw.sum() + got.unmet_kw - target) <= 1e-9 * max(1.0, abs(target))
    if got.unmet_kw > 0:
        np.testing.assert_array_equal(got.power_kw[~fixed], upper[~fixed])
    elif got.unmet_kw < 0:
        np.testing.assert_array_equal(got.power_kw[~fixed], lower[~fixed])
    else:
        wanted = np.clip(preferred + got.shift_kw * weight, lower, upper)
        np.testing.assert_allclose(got.power_kw[~fixed], wanted[~fixed], rtol=0, atol=1e-8)


@PROFILE
@given(
    limits=st.lists(st.tuples(st.integers(-9000, 9000), st.integers(0, 9000)), max_size=8),
    data=st.data(),
    target=st.integers(-80_000, 80_000),
)
def test_whole_watts_and_the_unmet_rest_are_the_target(
    limits: list[tuple[int, int]], data: st.DataObject, target: int
) -> None:
    count = len(limits)
    lower = np.array([low for low, _ in limits], dtype=np.int64)
    upper = lower + np.array([width for _, width in limits], dtype=np.int64)
    weight = np.array(
        data.draw(st.lists(st.sampled_from([0.0, 1.0, 13.5]), min_size=count, max_size=count)),
        dtype=np.float64,
    )
    preferred = np.array(
        data.draw(st.lists(floats(-9000, 9000), min_size=count, max_size=count)), dtype=np.float64
    )
    got = split_setpoint_w(target, lower, upper, weight, preferred)
    assert int(got.power_w.sum()) + got.unmet_w == target
    assert np.all((got.power_w >= lower) & (got.power_w <= upper))
    free = weight > 0
    if got.unmet_w > 0:
        np.testing.assert_array_equal(got.power_w[free], upper[free])
    if got.unmet_w < 0:
        np.testing.assert_array_equal(got.power_w[free], lower[free])


@PROFILE
@given(
    energy_kwh=floats(-1.0, 20.0),
    capacity_kwh=floats(0.0, 20.0),
    reserve_kwh=floats(0.0, 20.0),
    limit_kw=floats(0.0, 12.0),
    efficiency_frac=floats(0.5, 1.0),
    duration_h=floats(0.01, 24.0),
)
def test_battery_held_at_its_limit_stays_between_reserve_and_capacity(
    energy_kwh: float,
    capacity_kwh: float,
    reserve_kwh: float,
    limit_kw: float,
    efficiency_frac: float,
    duration_h: float,
) -> None:
    limit, efficiency = np.array([limit_kw]), np.array([efficiency_frac])
    lower_kw, upper_kw = battery_limits(
        np.array([energy_kwh]),
        np.array([capacity_kwh]),
        np.array([reserve_kwh]),
        limit,
        limit,
        efficiency,
        efficiency,
        duration_h,
    )
    assert -limit_kw <= lower_kw[0] <= 0.0 <= upper_kw[0] <= limit_kw
    after_discharge_kwh = energy_kwh + lower_kw[0] / efficiency_frac * duration_h
    after_charge_kwh = energy_kwh + upper_kw[0] * efficiency_frac * duration_h
    assert after_discharge_kwh >= min(energy_kwh, reserve_kwh) - 1e-9
    assert after_charge_kwh <= max(energy_kwh, capacity_kwh) + 1e-9
