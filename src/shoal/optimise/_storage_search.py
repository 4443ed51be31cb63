"""Compiled branch and bound of the storage plan: never charge and discharge in one interval.

Only an interval in which charging while discharging would pay (a very negative price) makes the problem non-concave.
The relaxation replaces its two rays by their chord; a branch holds one such interval to one direction, depth first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shoal.domain.kernel import kernel
from shoal.optimise._storage_kernel import SLACK_FRAC, follow, thresholds
from shoal.optimise._storage_tree import tree_thresholds

Floats = NDArray[np.float64]
Holds = NDArray[np.int8]

INFEASIBLE, EXACT, STOPPED = 0, 1, 2
# Branching stops at this share of the money that could move; rounding stays below it.
_GAP_FRAC = 1e-12
LIST_ROWS = 4
WORK_ROWS = 13
"""Rows of the room to work in: lists of the kernel, then one row for each array of `relax`, then a path."""
# Rows of `work` after the lists.
_UPPER, _LOWER, _UP, _DOWN, _CHARGE_TO, _DISCHARGE_TO, _LEAST, _MOST, _PATH = range(4, 13)


@kernel
def relax(
    charge_per_kwh: Floats,
    discharge_per_kwh: Floats,
    charge_reach_kwh: Floats,
    discharge_reach_kwh: Floats,
    low_kwh: Floats,
    high_kwh: Floats,
    end_kwh: Floats,
    end_per_kwh: Floats,
    ramp_kwh: Floats,
    ramp_per_kwh: Floats,
    initial_kwh: float,
    long: bool,
    hold: Holds,
    work: Floats,
    mixed: NDArray[np.bool_],
    energy_kwh: Floats,
) -> tuple[int, int]:
    """Find the best path of the concave relaxation; return the segments at its start (-1: no path) and its chords.

    `hold` is 1 where only charging is allowed, -1 where only discharging is, else 0. `long` takes the kernel for
    long durations. `mixed` marks the intervals in which the relaxation is a chord, whose slope is in `work`; the
    segments (ends and slopes) are left in the first rows of `work`.
    """
    steps = charge_per_kwh.shape[0]
    upper, lower = work[_UPPER][:steps], work[_LOWER][:steps]
    up, down = work[_UP][:steps], work[_DOWN][:steps]
    charge_to, discharge_to = work[_CHARGE_TO][:steps], work[_DISCHARGE_TO][:steps]
    least, most = work[_LEAST][: steps + 1], work[_MOST][: steps + 1]
    chords = 0
    for t in range(steps):
        up[t] = 0.0 if hold[t] < 0 else charge_reach_kwh[t]
        down[t] = 0.0 if hold[t] > 0 else discharge_reach_kwh[t]
        upper[t], lower[t], mixed[t] = charge_per_kwh[t], discharge_per_kwh[t], False
        if charge_per_kwh[t] < discharge_per_kwh[t]:
            mixed[t] = up[t] > 0.0 and down[t] > 0.0
            # Of an interval that can only go one way, either slope alone is the whole truth.
            share = up[t] / (up[t] + down[t]) if mixed[t] else (1.0 if up[t] > 0.0 else 0.0)
            chord = share * charge_per_kwh[t] + (1.0 - share) * discharge_per_kwh[t]
            upper[t], lower[t] = chord, chord
            chords += mixed[t]
    if long:
        size = tree_thresholds(
            upper, lower, up, down, low_kwh, high_kwh, end_kwh, end_per_kwh, work, charge_to, discharge_to, least, most
        )  # fmt: skip
    else:
        size = thresholds(
            upper, lower, up, down, low_kwh, high_kwh, end_kwh, end_per_kwh, ramp_kwh, ramp_per_kwh, work, charge_to,
            discharge_to, least, most
        )  # fmt: skip
    slack = SLACK_FRAC * end_kwh[end_kwh.shape[0] - 1]
    if size < 0 or initial_kwh < least[0] - slack or initial_kwh > most[0] + slack:
        return -1, chords
    energy_kwh[0] = initial_kwh
    follow(up, down, charge_to, discharge_to, least, most, mixed, energy_kwh)
    return size, chords


@kernel
def standing_value(
    end_kwh: Floats, end_per_kwh: Floats, ramp_kwh: Floats, ramp_per_kwh: Floats, energy_kwh: Floats
) -> float:
    """Return the terminal value of a path less what the ramps charge."""
    steps = energy_kwh.shape[0] - 1
    value, start, final = 0.0, 0.0, energy_kwh[steps]
    for k in range(end_kwh.shape[0]):
        if final <= start:
            break
        value += (min(final, end_kwh[k]) - start) * end_per_kwh[k]
        start = end_kwh[k]
    for r in range(ramp_kwh.shape[0]):
        for t in range(1, steps + 1):
            value -= ramp_per_kwh[r, t] * max(ramp_kwh[r, t] - energy_kwh[t], 0.0)
    return float(value)


@kernel
def at_stake(
    charge_per_kwh: Floats,
    discharge_per_kwh: Floats,
    charge_reach_kwh: Floats,
    discharge_reach_kwh: Floats,
    end_kwh: Floats,
    end_per_kwh: Floats,
) -> float:
    """Return the money that could move, in currency: what gaps are measured by."""
    total, start = 0.0, 0.0
    for t in range(charge_per_kwh.shape[0]):
        total += abs(charge_per_kwh[t]) * charge_reach_kwh[t]
        total += abs(discharge_per_kwh[t]) * discharge_reach_kwh[t]
    for k in range(end_kwh.shape[0]):
        total += abs(end_per_kwh[k]) * (end_kwh[k] - start)
        start = end_kwh[k]
    return total


@kernel
def _assess(
    charge_per_kwh: Floats,
    discharge_per_kwh: Floats,
    standing: float,
    work: Floats,
    mixed: NDArray[np.bool_],
    energy_kwh: Floats,
) -> tuple[float, float, int]:
    """Return a path's true value, relaxed value, and the interval where they differ most (or -1)."""
    chord, up = work[_UPPER], work[_UP]
    value, bound, widest, at = float(standing), float(standing), 0.0, -1
    for t in range(charge_per_kwh.shape[0]):
        released = energy_kwh[t] - energy_kwh[t + 1]
        truth = released * (charge_per_kwh[t] if released < 0.0 else discharge_per_kwh[t])
        relaxed = truth
        if mixed[t]:
            relaxed = max(truth, chord[t] * released + (chord[t] - charge_per_kwh[t]) * up[t])
            if relaxed - truth > widest:
                widest, at = relaxed - truth, t
        value += truth
        bound += relaxed
    return value, bound, at


@kernel
def branch_and_bound(
    charge_per_kwh: Floats,
    discharge_per_kwh: Floats,
    charge_reach_kwh: Floats,
    discharge_reach_kwh: Floats,
    low_kwh: Floats,
    high_kwh: Floats,
    end_kwh: Floats,
    end_per_kwh: Floats,
    ramp_kwh: Floats,
    ramp_per_kwh: Floats,
    initial_kwh: float,
    long: bool,
    node_limit: int,
    hold: Holds,
    work: Floats,
    mixed: NDArray[np.bool_],
    best_energy_kwh: Floats,
) -> tuple[float, int, int]:
    """Find the best path that never charges and discharges in one interval; return (bound, nodes, status).

    The path found is left in `best_energy_kwh`. The status is INFEASIBLE, EXACT, or STOPPED at the node limit. When
    nothing could be branched on, the bound is minus infinity: the value of the path is its own bound.
    """
    steps = charge_per_kwh.shape[0]
    path = work[_PATH][: steps + 1]
    hold[:] = 0
    branched, both_tried = np.empty(0, np.int64), np.empty(0, np.bool_)
    depth, nodes, best, root_bound, tolerance = 0, 0, -np.inf, np.inf, 0.0
    while True:
        size, chords = relax(
            charge_per_kwh, discharge_per_kwh, charge_reach_kwh, discharge_reach_kwh, low_kwh, high_kwh, end_kwh,
            end_per_kwh, ramp_kwh, ramp_per_kwh, initial_kwh, long, hold, work, mixed, path
        )  # fmt: skip
        nodes += 1
        if nodes == 1:
            if size < 0 or chords == 0:
                best_energy_kwh[:] = path
                return -np.inf, nodes, INFEASIBLE if size < 0 else EXACT
            tolerance = _GAP_FRAC * at_stake(
                charge_per_kwh, discharge_per_kwh, charge_reach_kwh, discharge_reach_kwh, end_kwh, end_per_kwh
            )
        value, bound, at = -np.inf, -np.inf, -1
        if size >= 0:
            standing = standing_value(end_kwh, end_per_kwh, ramp_kwh, ramp_per_kwh, path)
            value, bound, at = _assess(charge_per_kwh, discharge_per_kwh, standing, work, mixed, path)
        if nodes == 1:
            root_bound = bound
        if value > best:
            best = value
            best_energy_kwh[:] = path
        if at < 0 and depth == 0:
            return bound, nodes, EXACT
        if at >= 0 and bound > best + tolerance:
            if nodes >= node_limit:
                return root_bound, nodes, STOPPED
            if depth == 0 and branched.shape[0] == 0:
                branched, both_tried = np.empty(steps, np.int64), np.empty(steps, np.bool_)
            branched[depth], both_tried[depth] = at, False
            depth += 1
            hold[at] = 1 if path[at + 1] > path[at] else -1
        else:
            while depth > 0 and both_tried[depth - 1]:
                depth -= 1
                hold[branched[depth]] = 0
            if depth == 0:
                return min(root_bound, best + tolerance), nodes, EXACT
            if nodes >= node_limit:
                return root_bound, nodes, STOPPED
            both_tried[depth - 1] = True
            hold[branched[depth - 1]] = -hold[branched[depth - 1]]
