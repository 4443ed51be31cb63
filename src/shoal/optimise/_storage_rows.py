"""Compiled rows of the storage plan: from a storage and its prices to a schedule, for one or for very many.

Standing loss is a change of units: stored energy is counted in what would be left of it at the start, so the kernels
below know only of limits that vary with time. `scale` is what is left, at each instant, of a kWh of the start.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shoal.domain.kernel import kernel
from shoal.optimise._storage_kernel import SLACK_FRAC, marginal_slopes
from shoal.optimise._storage_search import EXACT, INFEASIBLE, WORK_ROWS, branch_and_bound

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

KWH_PER_MWH = 1000.0
# A change of stored energy below this share of the capacity is rounding, not a command to a battery.
_SNAP_FRAC = 1e-12
# From this many segments on, the kernel for long durations is the faster one.
_LONG_SEGMENTS = 3000.0

UNFIT = 3
"""The status of a plan whose prices or limits are not finite, or whose limits are below zero."""

# The columns that describe a storage.
CHARGE_KW, DISCHARGE_KW, CHARGE_FRAC, DISCHARGE_FRAC, CAPACITY_KWH, INITIAL_KWH, WEAR_PER_MWH = range(7)
END_PER_MWH, LOSS_FRAC_PER_H = 7, 8
STORAGE_COLUMNS = 9
# The rows of a plan.
ENERGY, CHARGED, DISCHARGED, GAIN, LOSS, MIDDLE = range(6)
PLAN_ROWS = 6
# The rows of a prepared instance.
P_CHARGE, P_DISCHARGE, P_UP, P_DOWN, P_LOW, P_HIGH, P_SCALE = range(7)
PREPARED_ROWS = 7


@kernel
def prepare(
    storage: Floats,
    price_per_mwh: Floats,
    interval_h: float,
    charge_limit_kw: Floats,
    discharge_limit_kw: Floats,
    energy_min_kwh: Floats,
    energy_max_kwh: Floats,
    prepared: Floats,
) -> bool:
    """Fill what the search needs, and return whether all numbers are fit; an array of limits may be empty."""
    steps = price_per_mwh.shape[0]
    to_stored, to_grid, capacity = storage[CHARGE_FRAC], storage[DISCHARGE_FRAC], storage[CAPACITY_KWH]
    wear = storage[WEAR_PER_MWH] / KWH_PER_MWH
    # What one interval can move; never more than the capacity, which also keeps the relaxation tight.
    most_up = min(storage[CHARGE_KW] * interval_h * to_stored, capacity)
    most_down = min(storage[DISCHARGE_KW] * interval_h / to_grid, capacity)
    charge_per_kwh, discharge_per_kwh = prepared[P_CHARGE], prepared[P_DISCHARGE]
    up, down, scale = prepared[P_UP], prepared[P_DOWN], prepared[P_SCALE]
    low, high = prepared[P_LOW], prepared[P_HIGH]
    low[0], high[0], scale[0] = 0.0, capacity, 1.0
    buy = 1.0 / (KWH_PER_MWH * to_stored)
    for t in range(steps):
        charge_per_kwh[t] = price_per_mwh[t] * buy
        discharge_per_kwh[t] = (price_per_mwh[t] / KWH_PER_MWH - wear) * to_grid
        up[t], down[t] = most_up, most_down
        low[t + 1], high[t + 1], scale[t + 1] = 0.0, capacity, 1.0
    fit = True
    for limits in (charge_limit_kw, discharge_limit_kw, energy_min_kwh, energy_max_kwh):
        for t in range(limits.shape[0]):
            fit &= (limits[t] >= 0.0) & (limits[t] < np.inf)
    for t in range(steps):
        fit &= abs(price_per_mwh[t]) < np.inf
    if charge_limit_kw.shape[0] > 0:
        for t in range(steps):
            up[t] = min(charge_limit_kw[t] * interval_h * to_stored, most_up)
    if discharge_limit_kw.shape[0] > 0:
        for t in range(steps):
            down[t] = min(discharge_limit_kw[t] * interval_h / to_grid, most_down)
    if energy_min_kwh.shape[0] > 0:
        for t in range(steps):
            low[t + 1] = energy_min_kwh[t]
    if energy_max_kwh.shape[0] > 0:
        for t in range(steps):
            high[t + 1] = min(energy_max_kwh[t], capacity)
    if storage[LOSS_FRAC_PER_H] > 0.0:
        kept = (1.0 - storage[LOSS_FRAC_PER_H]) ** interval_h
        for t in range(steps):
            now = scale[t] * kept
            scale[t + 1] = now
            charge_per_kwh[t] *= now
            discharge_per_kwh[t] *= now
            up[t] /= now
            down[t] /= now
            low[t + 1] /= now
            high[t + 1] /= now
    return fit


@kernel
def schedule(
    storage: Floats,
    interval_h: float,
    charge_limit_kw: Floats,
    discharge_limit_kw: Floats,
    scale: Floats,
    energy_kwh: Floats,
    charge_kw: Floats,
    discharge_kw: Floats,
) -> None:
    """Turn a path into powers at the terminals, and its energies back into what is really stored."""
    snap = _SNAP_FRAC * storage[CAPACITY_KWH]
    up_kw, down_kw = 1.0 / (storage[CHARGE_FRAC] * interval_h), storage[DISCHARGE_FRAC] / interval_h
    lossy = storage[LOSS_FRAC_PER_H] > 0.0
    for t in range(charge_kw.shape[0]):
        change = energy_kwh[t + 1] - energy_kwh[t]
        if lossy:
            change *= scale[t + 1]
        charge_kw[t], discharge_kw[t] = 0.0, 0.0
        if change > snap:
            limit = charge_limit_kw[t] if charge_limit_kw.shape[0] > 0 else np.inf
            charge_kw[t] = min(change * up_kw, min(limit, storage[CHARGE_KW]))
        elif change < -snap:
            limit = discharge_limit_kw[t] if discharge_limit_kw.shape[0] > 0 else np.inf
            discharge_kw[t] = min(-change * down_kw, min(limit, storage[DISCHARGE_KW]))
    if lossy:
        for t in range(energy_kwh.shape[0]):
            energy_kwh[t] *= scale[t]


@kernel
def schedule_value(
    storage: Floats,
    price_per_mwh: Floats,
    interval_h: float,
    end_kwh: Floats,
    end_per_kwh: Floats,
    ramp_kwh: Floats,
    ramp_per_kwh: Floats,
    charge_kw: Floats,
    discharge_kw: Floats,
) -> float:
    """Return what a schedule is worth, in currency; worked out from the powers alone."""
    kept = (1.0 - storage[LOSS_FRAC_PER_H]) ** interval_h
    energy, income, missing = storage[INITIAL_KWH], 0.0, 0.0
    for t in range(price_per_mwh.shape[0]):
        income += (
            price_per_mwh[t] * (discharge_kw[t] - charge_kw[t]) - storage[WEAR_PER_MWH] * discharge_kw[t]
        )
        change = charge_kw[t] * storage[CHARGE_FRAC] - discharge_kw[t] / storage[DISCHARGE_FRAC]
        energy = energy * kept + change * interval_h
        for r in range(ramp_kwh.shape[0]):
            missing += ramp_per_kwh[r, t + 1] * max(ramp_kwh[r, t + 1] - energy, 0.0)
    start, final = 0.0, storage[END_PER_MWH] * energy / KWH_PER_MWH
    if end_kwh.shape[0] > 0:
        final = 0.0
        for k in range(end_kwh.shape[0]):
            final += max(min(energy, end_kwh[k]) - start, 0.0) * end_per_kwh[k]
            start = end_kwh[k]
    return float(income * interval_h / KWH_PER_MWH + final - missing)


@kernel
def is_long(prepared: Floats, steps: int) -> bool:
    """Whether the segments are so many that the kernel for long durations is the faster one."""
    if 2.0 * steps <= _LONG_SEGMENTS:
        return False
    up, down = 1e-300, 1e-300
    for t in range(steps):
        up += prepared[P_UP, t]
        down += prepared[P_DOWN, t]
    each = prepared[P_HIGH, 0] * steps
    return bool(min(each / up, 1.0 * steps) + min(each / down, 1.0 * steps) > _LONG_SEGMENTS)


@kernel
def _terminal(
    storage: Floats, curve_kwh: Floats, curve_per_kwh: Floats, scale: float
) -> tuple[Floats, Floats]:
    """Return the terminal value in the units of the search."""
    if curve_kwh.shape[0] == 0:
        ends, slopes = np.empty(1), np.empty(1)
        ends[0], slopes[0] = storage[CAPACITY_KWH] / scale, storage[END_PER_MWH] / KWH_PER_MWH * scale
        return ends, slopes
    return curve_kwh / scale, curve_per_kwh * scale


@kernel
def plan_row(
    storage: Floats,
    price_per_mwh: Floats,
    interval_h: float,
    charge_limit_kw: Floats,
    discharge_limit_kw: Floats,
    energy_min_kwh: Floats,
    energy_max_kwh: Floats,
    end_kwh: Floats,
    end_per_kwh: Floats,
    ramp_kwh: Floats,
    ramp_per_kwh: Floats,
    node_limit: int,
    plan: Floats,
) -> tuple[float, float, int, int]:
    """Fill the rows of a plan; return (value, bound, nodes, status of the search or UNFIT).

    An array of limits may be empty, and so may the terminal curve: then the storage's own value of a MWh holds.
    """
    steps = price_per_mwh.shape[0]
    prepared = np.empty((PREPARED_ROWS, steps + 1))
    if not prepare(
        storage, price_per_mwh, interval_h, charge_limit_kw, discharge_limit_kw, energy_min_kwh, energy_max_kwh,
        prepared
    ):  # fmt: skip
        return 0.0, 0.0, 0, UNFIT
    charge_per_kwh, discharge_per_kwh = prepared[P_CHARGE][:steps], prepared[P_DISCHARGE][:steps]
    up, down, scale = prepared[P_UP][:steps], prepared[P_DOWN][:steps], prepared[P_SCALE]
    low, high = prepared[P_LOW], prepared[P_HIGH]
    ends, slopes = _terminal(storage, end_kwh, end_per_kwh, scale[steps])
    ramps, costs = ramp_kwh, ramp_per_kwh
    if storage[LOSS_FRAC_PER_H] > 0.0 and ramp_kwh.shape[0] > 0:
        ramps, costs = ramp_kwh / scale, ramp_per_kwh * scale
    work = np.empty((WORK_ROWS, 2 * steps + ends.shape[0] + ramps.size + 8))
    bound, nodes, status = branch_and_bound(
        charge_per_kwh, discharge_per_kwh, up, down, low, high, ends, slopes, ramps, costs, storage[INITIAL_KWH],
        ramps.shape[0] == 0 and is_long(prepared, steps), node_limit, np.empty(steps, np.int8), work,
        np.empty(steps, np.bool_), plan[ENERGY]
    )  # fmt: skip
    if status == INFEASIBLE:
        return -np.inf, -np.inf, nodes, status
    marginal_slopes(
        charge_per_kwh, discharge_per_kwh, up, down, low, high, ends, slopes, ramps, costs, plan[ENERGY], plan[GAIN],
        plan[LOSS]
    )  # fmt: skip
    present_slopes(storage, scale, plan)
    charge_kw, discharge_kw = plan[CHARGED][:steps], plan[DISCHARGED][:steps]
    schedule(
        storage, interval_h, charge_limit_kw, discharge_limit_kw, scale, plan[ENERGY], charge_kw, discharge_kw
    )
    value = schedule_value(
        storage,
        price_per_mwh,
        interval_h,
        end_kwh,
        end_per_kwh,
        ramp_kwh,
        ramp_per_kwh,
        charge_kw,
        discharge_kw,
    )
    return value, max(bound, value), nodes, status


@kernel
def present_slopes(storage: Floats, scale: Floats, plan: Floats) -> None:
    """Turn the slopes of a plan into currency per MWh, and fill the middle: halfway, or the finite one of them."""
    for t in range(plan.shape[1]):
        gain, loss = plan[GAIN, t] * KWH_PER_MWH / scale[t], plan[LOSS, t] * KWH_PER_MWH / scale[t]
        plan[GAIN, t], plan[LOSS, t] = gain, loss
        plan[MIDDLE, t] = _middle(gain, loss, storage[END_PER_MWH])


@kernel
def _middle(gain: float, loss: float, otherwise: float) -> float:
    """Return what lies halfway, or the finite one, or (a storage of no capacity has neither) something else."""
    if gain == -np.inf:
        return loss if loss < np.inf else otherwise
    return gain if loss == np.inf else 0.5 * (gain + loss)


@kernel
def plan_rows(
    storages: Floats,
    prices_per_mwh: Floats,
    price_row: Whole,
    interval_h: float,
    node_limit: int,
    power_kw: Floats,
    energy_kwh: Floats,
    value: Floats,
    marginal_value_per_mwh: Floats,
    exact: NDArray[np.bool_],
) -> None:
    """Plan many storages, a row each: net power at the terminals, charging positive."""
    steps = prices_per_mwh.shape[1]
    prepared, plan = np.empty((PREPARED_ROWS, steps + 1)), np.empty((PLAN_ROWS, steps + 1))
    work = np.empty((WORK_ROWS, 2 * steps + 9))
    none, no_ramps = np.empty(0), np.empty((0, 0))
    hold, mixed = np.empty(steps, np.int8), np.empty(steps, np.bool_)
    charge_per_kwh, discharge_per_kwh = prepared[P_CHARGE][:steps], prepared[P_DISCHARGE][:steps]
    up, down, scale = prepared[P_UP][:steps], prepared[P_DOWN][:steps], prepared[P_SCALE]
    low, high = prepared[P_LOW], prepared[P_HIGH]
    energy, gain, loss = plan[ENERGY], plan[GAIN], plan[LOSS]
    for row in range(storages.shape[0]):
        storage, price = storages[row], prices_per_mwh[price_row[row]]
        prepare(storage, price, interval_h, none, none, none, none, prepared)
        ends, slopes = _terminal(storage, none, none, scale[steps])
        bound, _, status = branch_and_bound(
            charge_per_kwh, discharge_per_kwh, up, down, low, high, ends, slopes, no_ramps, no_ramps,
            storage[INITIAL_KWH], is_long(prepared, steps), node_limit, hold, work, mixed, energy
        )  # fmt: skip
        exact[row] = status == EXACT
        # With nothing to branch on, the segments at the start say what the marginal slopes would.
        if bound == -np.inf:
            _slopes_at(work, storage[INITIAL_KWH], storage[CAPACITY_KWH], gain, loss)
        else:
            marginal_slopes(
                charge_per_kwh, discharge_per_kwh, up, down, low, high, ends, slopes, no_ramps, no_ramps, energy,
                gain, loss
            )  # fmt: skip
        marginal_value_per_mwh[row] = (
            _middle(gain[0], loss[0], storage[END_PER_MWH] / KWH_PER_MWH) * KWH_PER_MWH
        )
        value[row] = _net_schedule(storage, price, interval_h, scale, energy, power_kw[row])
        if energy_kwh.shape[0] > 0:
            energy_kwh[row] = energy


@kernel
def _slopes_at(lists: Floats, initial_kwh: float, capacity_kwh: float, gain: Floats, loss: Floats) -> None:
    """Fill the first entries with the slopes of the segments above and below the energy at the start."""
    close = SLACK_FRAC * capacity_kwh
    gain[0], loss[0], k = -np.inf, np.inf, 0
    if initial_kwh < capacity_kwh - close:
        while lists[0][k] <= initial_kwh + close:
            k += 1
        gain[0] = lists[1][k]
    if initial_kwh > close:
        k = 0
        while lists[0][k] < initial_kwh - close:
            k += 1
        loss[0] = lists[1][k]


@kernel
def _net_schedule(
    storage: Floats,
    price_per_mwh: Floats,
    interval_h: float,
    scale: Floats,
    energy_kwh: Floats,
    power_kw: Floats,
) -> float:
    """Turn a path into net power, its energies into what is really stored, and return what it is worth."""
    snap = _SNAP_FRAC * storage[CAPACITY_KWH]
    up_kw, down_kw = 1.0 / (storage[CHARGE_FRAC] * interval_h), storage[DISCHARGE_FRAC] / interval_h
    wear, most_kw, least_kw = storage[WEAR_PER_MWH], storage[CHARGE_KW], -storage[DISCHARGE_KW]
    steps = power_kw.shape[0]
    income = 0.0
    for t in range(steps):
        change = (energy_kwh[t + 1] - energy_kwh[t]) * scale[t + 1]
        change = change if abs(change) > snap else 0.0
        power = min(max(change * (up_kw if change > 0.0 else down_kw), least_kw), most_kw)
        power_kw[t] = power
        income -= power * price_per_mwh[t] - wear * min(power, 0.0)
    for t in range(steps + 1):
        energy_kwh[t] *= scale[t]
    return float(income * interval_h + storage[END_PER_MWH] * energy_kwh[steps]) / KWH_PER_MWH
