"""Compiled kernels of the storage plan: dynamic programming on slopes, with branch and bound on top.

The value of stored energy is concave and piecewise linear, so it is kept as a list of segments of falling
slope. One step back in time shifts the segments above the charge slope left by what a charge can reach, those
below the discharge slope right by what a discharge can reach, and fills both gaps. The optimal action is then
two numbers an interval: charge up to the first, discharge down to the second. Energies are kWh stored, slopes
currency per kWh stored, and a step releases ``x`` kWh (negative: charges).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shoal.domain.kernel import kernel

Floats = NDArray[np.float64]


@kernel
def _count_above(slopes: Floats, size: int, slope: float, or_equal: bool) -> int:
    """Return how many of the first `size` falling slopes are above `slope`."""
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        if slopes[middle] > slope or (or_equal and slopes[middle] == slope):
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def _append(ends: Floats, slopes: Floats, size: int, end: float, slope: float) -> int:
    """Add a segment and return the new size; an equal slope lengthens the last one (prices repeat)."""
    if size > 0 and slopes[size - 1] == slope:
        ends[size - 1] = end
        return size
    ends[size], slopes[size] = end, slope
    return size + 1


@kernel
def thresholds(
    upper_per_kwh: Floats,
    lower_per_kwh: Floats,
    charge_reach_kwh: Floats,
    discharge_reach_kwh: Floats,
    capacity_kwh: float,
    terminal_per_kwh: float,
    charge_to_kwh: Floats,
    discharge_to_kwh: Floats,
) -> None:
    """Fill the optimal levels; a release is worth `upper` where negative and `lower` where positive.

    ``upper_per_kwh >= lower_per_kwh`` throughout. Segments are kept as their right ends, from 0 to the
    capacity.
    """
    steps = upper_per_kwh.shape[0]
    ends, slopes = np.empty(2 * steps + 2), np.empty(2 * steps + 2)
    new_ends, new_slopes = np.empty(2 * steps + 2), np.empty(2 * steps + 2)
    ends[0], slopes[0], size = capacity_kwh, terminal_per_kwh, 1
    for t in range(steps - 1, -1, -1):
        charge_count = _count_above(slopes, size, upper_per_kwh[t], False)
        keep_count = _count_above(slopes, size, lower_per_kwh[t], True)
        charge_to = ends[charge_count - 1] if charge_count > 0 else 0.0
        discharge_to = ends[keep_count - 1] if keep_count > 0 else 0.0
        charge_to_kwh[t], discharge_to_kwh[t] = charge_to, discharge_to
        up, down, n = charge_reach_kwh[t], discharge_reach_kwh[t], 0
        for k in range(charge_count):
            if ends[k] > up:
                n = _append(new_ends, new_slopes, n, ends[k] - up, slopes[k])
        if up > 0.0 and charge_to > 0.0:
            n = _append(new_ends, new_slopes, n, charge_to, upper_per_kwh[t])
        for k in range(charge_count, keep_count):
            n = _append(new_ends, new_slopes, n, ends[k], slopes[k])
        start = discharge_to + down
        if down > 0.0 and discharge_to < capacity_kwh:
            n = _append(new_ends, new_slopes, n, min(start, capacity_kwh), lower_per_kwh[t])
        for k in range(keep_count, size):
            if start >= capacity_kwh:
                break
            start = ends[k] + down
            n = _append(new_ends, new_slopes, n, min(start, capacity_kwh), slopes[k])
        ends, new_ends, slopes, new_slopes, size = new_ends, ends, new_slopes, slopes, n


@kernel
def follow(
    charge_reach_kwh: Floats,
    discharge_reach_kwh: Floats,
    charge_to_kwh: Floats,
    discharge_to_kwh: Floats,
    mixed: NDArray[np.bool_],
    energy_kwh: Floats,
) -> None:
    """Fill the path from its first entry on; where `mixed`, a tie goes to a full charge or discharge."""
    for t in range(charge_to_kwh.shape[0]):
        now, floor, ceiling = energy_kwh[t], charge_to_kwh[t], discharge_to_kwh[t]
        highest, lowest = now + charge_reach_kwh[t], now - discharge_reach_kwh[t]
        if mixed[t] and floor <= lowest <= ceiling:
            energy_kwh[t + 1] = lowest
        elif mixed[t] and floor <= highest <= ceiling:
            energy_kwh[t + 1] = highest
        elif now < floor:
            energy_kwh[t + 1] = min(floor, highest)
        elif now > ceiling:
            energy_kwh[t + 1] = max(ceiling, lowest)
        else:
            energy_kwh[t + 1] = now


@kernel
def _assess(
    charge_per_kwh: Floats,
    discharge_per_kwh: Floats,
    charge_reach_kwh: Floats,
    chord_per_kwh: Floats,
    mixed: NDArray[np.bool_],
    terminal_per_kwh: float,
    energy_kwh: Floats,
) -> tuple[float, float, int]:
    """Return a path's true value, relaxed value, and the interval where they differ most (or -1)."""
    steps = charge_per_kwh.shape[0]
    value = float(terminal_per_kwh * energy_kwh[steps])
    bound, widest, at = float(value), 0.0, -1
    for t in range(steps):
        released = energy_kwh[t] - energy_kwh[t + 1]
        truth = released * (charge_per_kwh[t] if released < 0.0 else discharge_per_kwh[t])
        relaxed = truth
        if mixed[t]:
            full_charge = (chord_per_kwh[t] - charge_per_kwh[t]) * charge_reach_kwh[t]
            relaxed = max(truth, chord_per_kwh[t] * released + full_charge)
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
    capacity_kwh: float,
    initial_energy_kwh: float,
    terminal_per_kwh: float,
    tolerance: float,
    node_limit: int,
    best_energy_kwh: Floats,
) -> tuple[float, int, bool]:
    """Find the best path that never charges and discharges in one interval; return (bound, nodes, exact).

    Only an interval in which charging while discharging would pay (``charge_per_kwh < discharge_per_kwh``: a
    very negative price) makes the problem non-concave. The relaxation replaces its two rays by their chord; a
    branch holds one such interval to one direction, depth first. The path found is left in `best_energy_kwh`.
    """
    steps = charge_per_kwh.shape[0]
    upper, lower, chord = charge_per_kwh.copy(), discharge_per_kwh.copy(), np.zeros(steps)
    up_reach, down_reach = charge_reach_kwh.copy(), discharge_reach_kwh.copy()
    mixed = np.zeros(steps, np.bool_)
    for t in range(steps):
        if charge_per_kwh[t] < discharge_per_kwh[t]:
            up, down = charge_reach_kwh[t], discharge_reach_kwh[t]
            mixed[t] = up > 0.0 and down > 0.0
            # Of an interval that can only go one way, either slope alone is the whole truth.
            share = up / (up + down) if mixed[t] else (1.0 if up > 0.0 else 0.0)
            chord[t] = share * charge_per_kwh[t] + (1.0 - share) * discharge_per_kwh[t]
            upper[t], lower[t] = chord[t], chord[t]
    charge_to, discharge_to, energy_kwh = np.empty(steps), np.empty(steps), np.empty(steps + 1)
    energy_kwh[0] = initial_energy_kwh
    branched, both_tried = np.empty(steps, np.int64), np.empty(steps, np.bool_)
    depth, nodes, best, root_bound = 0, 0, -np.inf, np.inf
    while True:
        thresholds(
            upper, lower, up_reach, down_reach, capacity_kwh, terminal_per_kwh, charge_to, discharge_to
        )
        follow(up_reach, down_reach, charge_to, discharge_to, mixed, energy_kwh)
        value, bound, at = _assess(
            charge_per_kwh, discharge_per_kwh, charge_reach_kwh, chord, mixed, terminal_per_kwh, energy_kwh
        )
        nodes += 1
        if nodes == 1:
            root_bound = bound
        if value > best:
            best = value
            best_energy_kwh[:] = energy_kwh
        if at >= 0 and bound > best + tolerance:
            if nodes >= node_limit:
                return root_bound, nodes, False
            branched[depth], both_tried[depth] = at, False
            depth += 1
            charge = energy_kwh[at + 1] > energy_kwh[at]
        else:
            while depth > 0 and both_tried[depth - 1]:
                depth -= 1
                t = branched[depth]
                mixed[t] = True
                upper[t], lower[t] = chord[t], chord[t]
                up_reach[t], down_reach[t] = charge_reach_kwh[t], discharge_reach_kwh[t]
            if depth == 0:
                return min(root_bound, best + tolerance), nodes, True
            if nodes >= node_limit:
                return root_bound, nodes, False
            both_tried[depth - 1] = True
            at = branched[depth - 1]
            charge = up_reach[at] == 0.0
        mixed[at] = False
        slope = charge_per_kwh[at] if charge else discharge_per_kwh[at]
        upper[at], lower[at] = slope, slope
        up_reach[at] = charge_reach_kwh[at] if charge else 0.0
        down_reach[at] = 0.0 if charge else discharge_reach_kwh[at]


@kernel
def marginal_slopes(
    charge_per_kwh: Floats,
    discharge_per_kwh: Floats,
    charge_reach_kwh: Floats,
    discharge_reach_kwh: Floats,
    capacity_kwh: float,
    terminal_per_kwh: float,
    energy_kwh: Floats,
    gain_per_kwh: Floats,
    loss_per_kwh: Floats,
) -> None:
    """Fill the slopes of the value along an optimal path, for more energy (gain) and for less (loss).

    A further kWh at the start of an interval is either released in it or kept: the gain is the better of the
    two. A missing kWh is either not released or not kept: the loss is the lesser of the two.
    """
    steps = charge_per_kwh.shape[0]
    close = 1e-9 * capacity_kwh
    gain, loss = terminal_per_kwh, terminal_per_kwh
    for t in range(steps, -1, -1):
        if t < steps:
            x = energy_kwh[t] - energy_kwh[t + 1]
            if x < -close:
                gain = max(gain, charge_per_kwh[t])
            elif x < discharge_reach_kwh[t] - close:
                gain = max(gain, discharge_per_kwh[t])
            if x > close:
                loss = min(loss, discharge_per_kwh[t])
            elif x > close - charge_reach_kwh[t]:
                loss = min(loss, charge_per_kwh[t])
        if energy_kwh[t] >= capacity_kwh - close:
            gain = -np.inf
        if energy_kwh[t] <= close:
            loss = np.inf
        gain_per_kwh[t], loss_per_kwh[t] = gain, loss
