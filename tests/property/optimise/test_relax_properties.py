"""Wishes always come to a plan, each granted as far as the more important ones allow; HiGHS finds nothing better."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shoal.optimise.relax import Wish, agree, plan_agreed
from shoal.optimise.relax_limits import Limits, can_be_held, physical_limits, plan_within
from shoal.optimise.storage import Storage, plan_storage
from tests.unit.optimise.milp import best_value_within, best_within

Floats = NDArray[np.float64]
# Compiling the kernels on a first run takes seconds, so no example has a deadline.
# A failure is told as it was found: to shrink it would solve thousands of programmes.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
PROFILE = settings(deadline=None, max_examples=60, phases=PHASES)
KINDS = (
    "energy_floor",
    "energy_ceiling",
    "power_exactly",
    "power_floor",
    "power_ceiling",
    "discharge_budget",
)


def floats(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False, allow_subnormal=False).map(lambda value: round(value, 3))


@st.composite
def storages(draw: st.DrawFn) -> Storage:
    capacity_kwh = draw(st.sampled_from([1.0, 10.0]) | floats(0.5, 20.0))
    return Storage(
        charge_limit_kw=draw(st.sampled_from([1.0, 5.0]) | floats(0.5, 10.0)),
        discharge_limit_kw=draw(st.sampled_from([1.0, 5.0]) | floats(0.5, 10.0)),
        charge_efficiency_frac=draw(st.just(1.0) | floats(0.6, 1.0)),
        discharge_efficiency_frac=draw(st.just(1.0) | floats(0.6, 1.0)),
        energy_capacity_kwh=capacity_kwh,
        initial_energy_kwh=draw(st.sampled_from([0.0, 0.5, 1.0])) * capacity_kwh,
        throughput_cost_per_mwh=draw(st.just(0.0) | floats(0.0, 30.0)),
        terminal_value_per_mwh=draw(floats(0.0, 100.0)),
    )


@st.composite
def wishes_of(draw: st.DrawFn, storage: Storage, steps: int) -> list[Wish]:
    found = []
    for place in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(KINDS))
        values: tuple[float, ...]
        if kind == "discharge_budget":
            values, start = (draw(floats(0.0, storage.energy_capacity_kwh)),), 0
        else:
            rows = steps + kind.startswith("energy")
            start = draw(st.integers(0, rows - 1))
            length = draw(st.integers(1, min(3, rows - start)))
            scale = storage.energy_capacity_kwh if kind.startswith("energy") else 6.0
            lowest = -0.1 if kind.startswith("energy") else -1.0
            values = tuple(draw(floats(lowest * scale, 1.1 * scale)) for _ in range(length))
        found.append(Wish(name=f"wish {place}", kind=kind, values=values, start_row=start))  # type: ignore[arg-type]
    return found


def elementary(limits: Limits, kind: str, row: int, value: float) -> Limits:
    """Return the limits with one bound more."""

    def put(array: Floats, at: int, with_value: float, pick: str) -> Floats:
        changed = array.copy()
        changed[at] = max(array[at], with_value) if pick == "max" else min(array[at], with_value)
        return changed

    if kind == "discharge_budget":
        return replace(limits, budget_kwh=min(limits.budget_kwh, value))
    if kind == "energy_floor":
        return replace(limits, floor_kwh=put(limits.floor_kwh, row, value, "max"))
    if kind == "energy_ceiling":
        return replace(limits, ceiling_kwh=put(limits.ceiling_kwh, row, value, "min"))
    if kind != "power_ceiling":
        limits = replace(limits, least_kw=put(limits.least_kw, row, value, "max"))
    if kind != "power_floor":
        limits = replace(limits, most_kw=put(limits.most_kw, row, value, "min"))
    return limits


def furthest(storage: Storage, limits: Limits, kind: str, row: int, asked: float) -> float:
    """Return, by HiGHS, the nearest to what is asked that a plan within the limits can have."""
    steps = limits.steps
    if kind.startswith("energy") and row == 0:
        held = storage.initial_energy_kwh
        return min(asked, held) if kind == "energy_floor" else max(asked, held)
    ends = []
    for sign in (1.0, -1.0):
        cost = np.zeros(3 * steps)
        if kind == "discharge_budget":
            cost[steps : 2 * steps] = 1.0
        elif kind.startswith("energy"):
            cost[2 * steps + row - 1] = sign
        else:
            cost[row], cost[steps + row] = sign, -sign
        found = best_within(storage, 1.0, limits, cost)
        assert found is not None
        ends.append(sign * float(cost @ found))
    low, high = ends[0], ends[1]
    if kind == "discharge_budget":
        return max(asked, low)
    if kind.endswith("floor"):
        return min(asked, high)
    if kind.endswith("ceiling"):
        return max(asked, low)
    return min(max(asked, low), high)


@PROFILE
@given(data=st.data(), storage=storages(), steps=st.integers(1, 6))
def test_wishes_are_granted_as_far_as_the_more_important_allow(
    data: st.DataObject, storage: Storage, steps: int
) -> None:
    wishes = data.draw(wishes_of(storage, steps))
    agreement = agree(storage, 1.0, wishes, physical=physical_limits(storage, steps))
    given_way = {(one.name, one.row): one for one in agreement.relaxations}
    limits = physical_limits(storage, steps)
    close = 1e-6 * (1.0 + storage.energy_capacity_kwh)
    for wish in wishes:
        for offset, asked in enumerate(wish.values):
            row = wish.start_row + offset
            best = furthest(storage, limits, wish.kind, row, asked)
            told = given_way.get((wish.name, row))
            granted = asked if told is None else told.granted
            assert abs(granted - best) <= close, (wish, row, asked, granted, best)
            # What was granted holds from here on; a hair of slack, for HiGHS to find its inside.
            slack = 1e-7 * (1.0 + storage.energy_capacity_kwh)
            floor_like = granted - slack
            if wish.kind == "power_exactly":
                limits = elementary(limits, "power_floor", row, floor_like)
                limits = elementary(limits, "power_ceiling", row, granted + slack)
            elif wish.kind.endswith("floor"):
                limits = elementary(limits, wish.kind, row, floor_like)
            else:
                limits = elementary(limits, wish.kind, row, granted + slack)


@PROFILE
@given(data=st.data(), storage=storages(), steps=st.integers(1, 24))
def test_plan_with_any_wishes_exists_and_keeps_to_what_was_agreed(
    data: st.DataObject, storage: Storage, steps: int
) -> None:
    wishes = data.draw(wishes_of(storage, steps))
    seed = data.draw(st.integers(0, 10_000))
    price = np.random.default_rng(seed).normal(40.0, 40.0, steps)
    agreed = plan_agreed(storage, price, 1.0, wishes)
    plan, limits = agreed.plan, agreed.agreement.limits
    assert can_be_held(storage, 1.0, limits)
    close = 1e-7 * (1.0 + storage.energy_capacity_kwh)
    net_kw = plan.charge_kw - plan.discharge_kw
    assert np.all(net_kw >= limits.least_kw - close)
    assert np.all(net_kw <= limits.most_kw + close)
    assert np.all(plan.energy_kwh >= limits.floor_kwh - close)
    assert np.all(plan.energy_kwh <= limits.ceiling_kwh + close)
    assert plan.discharge_kw.sum() <= limits.budget_kwh + 10 * close
    assert not np.any((plan.charge_kw > 0) & (plan.discharge_kw > 0))
    stored_kwh = plan.charge_kw * storage.charge_efficiency_frac
    released_kwh = plan.discharge_kw / storage.discharge_efficiency_frac
    np.testing.assert_allclose(np.diff(plan.energy_kwh), stored_kwh - released_kwh, rtol=0, atol=close)
    for one in agreed.agreement.relaxations:
        assert one.asked != one.granted
        assert one.name in one.sentence


@PROFILE
@given(data=st.data(), storage=storages(), steps=st.integers(1, 8))
def test_plan_within_limits_is_the_best_there_is(data: st.DataObject, storage: Storage, steps: int) -> None:
    wishes = data.draw(wishes_of(storage, steps))
    price = np.array([data.draw(floats(-60.0, 200.0)) for _ in range(steps)])
    limits = agree(storage, 1.0, wishes, physical=physical_limits(storage, steps)).limits
    plan = plan_within(storage, price, 1.0, limits)
    # HiGHS gets a hair of room, so that a bound that just holds is not taken for a contradiction.
    hair = 1e-9 * (1.0 + storage.energy_capacity_kwh)
    loose = replace(
        limits,
        floor_kwh=limits.floor_kwh - hair,
        ceiling_kwh=limits.ceiling_kwh + hair,
        least_kw=limits.least_kw - hair,
        most_kw=limits.most_kw + hair,
        budget_kwh=limits.budget_kwh + hair,
    )
    best = best_value_within(storage, price, 1.0, loose)
    assert best is not None
    slack = 1e-6 * (1.0 + storage.energy_capacity_kwh) * 0.3
    assert plan.value_bound >= best - slack
    assert plan.value <= best + slack
    if not np.isfinite(limits.budget_kwh):
        assert plan.value >= best - slack


@PROFILE
@given(storage=storages(), steps=st.integers(1, 40), seed=st.integers(0, 10_000))
def test_plan_without_wishes_is_that_of_the_storage_solver(storage: Storage, steps: int, seed: int) -> None:
    price = np.random.default_rng(seed).normal(20.0, 60.0, steps)
    limited = plan_within(storage, price, 0.5, physical_limits(storage, steps))
    plain = plan_storage(storage, price, 0.5)
    assert abs(limited.value - plain.value) <= 1e-9 * (1.0 + abs(plain.value))
