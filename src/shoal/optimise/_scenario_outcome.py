"""From a first stage of the scenario programme to what can be carried out, and what it is worth by exact dispatch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shoal.optimise._scenario_build import Frame
from shoal.optimise._scenario_chain import best_chains, reachable
from shoal.optimise._scenario_programme import Programme
from shoal.optimise.scenario_inputs import tail_mean

Floats = NDArray[np.float64]
# Reserve below this share of the power is rounding, not an offer.
_SNAP = 1e-6
_NODES = 200
_SHARES = (
    1.0,
    1.0 - 1e-9,
    1.0 - 1e-7,
    1.0 - 1e-5,
    1.0 - 1e-4,
    0.999,
    0.99,
    0.95,
    0.9,
    0.8,
    0.65,
    0.5,
    0.25,
    0.0,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """What a first stage is worth, per unit of power and money, by exact dispatch.

    Attributes:
        value: What is maximised.
        reserve_mw: Reserve, shape (P, T).
        sold_mw: Energy sold ahead, shape (T, K).
        energy_mwh: Stored energy, shape (S, T + 1).
        profit_amount: What each scenario earns, shape (S,).
    """

    value: float
    reserve_mw: Floats
    sold_mw: Floats
    energy_mwh: Floats
    profit_amount: Floats


def evaluate(frame: Frame, programme: Programme, x: Floats) -> Outcome | None:
    """Return what a first stage is worth once it is put back into its bounds; None when it cannot be carried out."""
    p = programme
    reserve, sold = (part.copy() for part in frame.split(x))
    np.clip(reserve, 0.0, frame.limit_mw[:, None], out=reserve)
    reserve[reserve < _SNAP] = 0.0
    # Rounding, or what only burning energy could hold, is given up evenly: none of it is always possible.
    for share in _SHARES:
        held = reserve * share
        ranges = held_ranges(frame, p, held)
        if ranges is not None:
            return _dispatched(frame, p, held, sold, x, ranges)
    return None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ranges:
    """What reserve leaves to dispatch: changes of energy by interval, energy by boundary, per unit of power.

    Attributes:
        least_mwh: The least change, calls of reserve included, shape (T,).
        most_mwh: The most.
        floor_mwh: The least energy at each boundary, shape (T + 1,).
        ceiling_mwh: The most.
        shift_mwh: What calls of reserve are expected to change, shape (T,).
    """

    least_mwh: Floats
    most_mwh: Floats
    floor_mwh: Floats
    ceiling_mwh: Floats
    shift_mwh: Floats


def held_ranges(frame: Frame, programme: Programme, reserve: Floats) -> Ranges | None:
    """Return what reserve (P, T) leaves; None when there is no dispatch that can hold it."""
    steps = programme.steps
    most_charge, most_discharge, capacity = programme.constants[2:5]
    up, down = reserve[frame.up], reserve[~frame.up]
    need, room = frame.energy_per_mw[frame.up] @ up, frame.energy_per_mw[~frame.up] @ down
    floor, ceiling = np.zeros(steps + 1), np.full(steps + 1, capacity)
    np.maximum(floor[:-1], need, out=floor[:-1])
    np.maximum(floor[1:], need, out=floor[1:])
    np.minimum(ceiling[:-1], capacity - room, out=ceiling[:-1])
    np.minimum(ceiling[1:], capacity - room, out=ceiling[1:])
    shift = frame.shift_per_mw @ reserve
    least = _change(frame, up.sum(axis=0) - most_discharge) + shift
    most = _change(frame, most_charge - down.sum(axis=0)) + shift
    start = programme.start[0]
    if floor[0] > start or ceiling[0] < start:
        return None
    held_floor, held_ceiling = floor.copy(), ceiling.copy()
    held_floor[0], held_ceiling[0] = start, start
    scratch = np.empty((2, steps + 1))
    if np.any(least > most) or reachable(least, most, held_floor, held_ceiling, scratch[0], scratch[1]) >= 0:
        return None
    return Ranges(least_mwh=least, most_mwh=most, floor_mwh=floor, ceiling_mwh=ceiling, shift_mwh=shift)


def objective_of(profit: Floats, programme: Programme) -> float:
    """Return what is maximised of the scenarios' profits."""
    p = programme
    mean = float(p.probability @ profit)
    if not p.risky:
        return mean
    return (1.0 - p.risk_frac) * mean + p.risk_frac * tail_mean(profit, p.probability, p.tail_frac)


def _dispatched(
    frame: Frame, p: Programme, reserve: Floats, sold: Floats, x: Floats, ranges: Ranges
) -> Outcome:
    s, rt = frame.storage, frame.real_time_per_mwh
    if sold.size:
        most_charge, most_discharge = p.constants[2:4]
        sold = np.maximum.accumulate(sold, axis=1)
        up, down = reserve[frame.up].sum(axis=0), reserve[~frame.up].sum(axis=0)
        sold = np.clip(sold, (down - most_charge)[:, None], (most_discharge - up)[:, None])
    # Without the expected calls the path moves only by what is traded; they come back as a shift of the bounds.
    moved = np.concatenate([[0.0], np.cumsum(ranges.shift_mwh)])
    floor, ceiling = ranges.floor_mwh - moved, ranges.ceiling_mwh - moved
    energy, profit = np.empty((p.scenarios, p.steps + 1)), np.empty(p.scenarios)
    energy[:, 0] = p.start[0]
    best_chains(
        rt / s.charge_efficiency_frac,
        (rt - frame.wear_per_mwh) * s.discharge_efficiency_frac,
        ranges.least_mwh - ranges.shift_mwh,
        ranges.most_mwh - ranges.shift_mwh,
        floor,
        ceiling,
        float(p.terminal[0]),
        1e-9,
        _NODES,
        energy,
        profit,
    )
    kept = x.copy()
    kept_reserve, kept_sold = frame.split(kept)
    kept_reserve[:], kept_sold[:] = reserve, sold
    profit += p.by_first @ kept + p.terminal[0] * moved[-1]
    return Outcome(
        value=objective_of(profit, p),
        reserve_mw=reserve,
        sold_mw=sold,
        energy_mwh=energy + moved,
        profit_amount=profit,
    )


def _change(frame: Frame, net: Floats) -> Floats:
    """Return the change of stored energy of a net load per unit of power."""
    s = frame.storage
    scale = np.where(net > 0.0, s.charge_efficiency_frac, 1.0 / s.discharge_efficiency_frac)
    change: Floats = net * scale * frame.interval_h
    return change
