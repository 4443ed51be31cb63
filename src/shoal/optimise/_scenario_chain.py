"""Compiled kernels of one storage whose limits differ by interval: what can be reached, and the best path.

A path is stored energy at the T + 1 boundaries; an interval changes it by something within ``[least, most]`` (both may
be of one sign: a forced charge), a boundary holds it within ``[floor, ceiling]``. The value of stored energy is kept as
slopes and their widths: a step back in time inserts two segments and cuts what lies outside. Energies are kWh stored,
slopes currency per kWh stored.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shoal.domain.kernel import kernel

Floats = NDArray[np.float64]


# Bounds may contradict each other by this share of the widest range: what rounding leaves of a bound that just holds.
SLACK_FRAC = 1e-10


@kernel
def _slack(floor_kwh: Floats, ceiling_kwh: Floats) -> float:
    lowest, highest = floor_kwh[0], ceiling_kwh[0]
    for t in range(1, floor_kwh.shape[0]):
        lowest, highest = min(lowest, floor_kwh[t]), max(highest, ceiling_kwh[t])
    return float(SLACK_FRAC * max(highest - lowest, 0.0))


@kernel
def reachable(
    least_kwh: Floats,
    most_kwh: Floats,
    floor_kwh: Floats,
    ceiling_kwh: Floats,
    low_kwh: Floats,
    high_kwh: Floats,
) -> int:
    """Fill what can be held at each boundary by a path that can be completed; return the first empty one, or -1.

    Backward: from where can the rest be done; forward: where can one come to. Both sets are intervals, so their
    intersection is exact, and its upper ends are themselves a path, as are its lower ends.
    """
    steps, slack = least_kwh.shape[0], _slack(floor_kwh, ceiling_kwh)
    low_kwh[steps], high_kwh[steps] = floor_kwh[steps], ceiling_kwh[steps]
    for t in range(steps, -1, -1):
        if t < steps:
            low_kwh[t] = max(floor_kwh[t], low_kwh[t + 1] - most_kwh[t])
            high_kwh[t] = min(ceiling_kwh[t], high_kwh[t + 1] - least_kwh[t])
        if low_kwh[t] > high_kwh[t]:
            if low_kwh[t] > high_kwh[t] + slack:
                return t
            low_kwh[t] = high_kwh[t]
    for t in range(steps):
        low_kwh[t + 1] = max(low_kwh[t + 1], low_kwh[t] + least_kwh[t])
        high_kwh[t + 1] = min(high_kwh[t + 1], high_kwh[t] + most_kwh[t])
        if low_kwh[t + 1] > high_kwh[t + 1]:
            if low_kwh[t + 1] > high_kwh[t + 1] + slack:
                return t + 1
            low_kwh[t + 1] = high_kwh[t + 1]
    return -1


@kernel
def _insert(widths: Floats, slopes: Floats, head: int, tail: int, width: float, slope: float) -> int:
    """Put a segment into its place among falling slopes and return the new tail."""
    if width <= 0.0:
        return tail
    k = tail
    while k > head and slopes[k - 1] < slope:
        widths[k], slopes[k] = widths[k - 1], slopes[k - 1]
        k -= 1
    if k > head and slopes[k - 1] == slope:
        # The equal one takes the width; what was moved goes back.
        widths[k - 1] += width
        for i in range(k, tail):
            widths[i], slopes[i] = widths[i + 1], slopes[i + 1]
        return tail
    widths[k], slopes[k] = width, slope
    return tail + 1


@kernel
def chain_thresholds(
    charge_per_kwh: Floats,
    discharge_per_kwh: Floats,
    least_kwh: Floats,
    most_kwh: Floats,
    floor_kwh: Floats,
    ceiling_kwh: Floats,
    terminal_per_kwh: float,
    charge_to_kwh: Floats,
    discharge_to_kwh: Floats,
    low_kwh: Floats,
    high_kwh: Floats,
) -> bool:
    """Fill the levels to charge up to and to discharge down to, and from where the rest is possible.

    ``charge_per_kwh >= discharge_per_kwh`` throughout. Returns whether there is a path at all.
    """
    steps, slack = least_kwh.shape[0], _slack(floor_kwh, ceiling_kwh)
    widths, slopes = np.empty(2 * steps + 4), np.empty(2 * steps + 4)
    start, stop = floor_kwh[steps], ceiling_kwh[steps]
    if start > stop + slack:
        return False
    stop = max(start, stop)
    head, tail = 0, 1
    widths[0], slopes[0] = stop - start, terminal_per_kwh
    low_kwh[steps], high_kwh[steps] = start, stop
    for t in range(steps - 1, -1, -1):
        level, k = start, head
        while k < tail and slopes[k] > charge_per_kwh[t]:
            level += widths[k]
            k += 1
        charge_to_kwh[t] = level
        while k < tail and slopes[k] >= discharge_per_kwh[t]:
            level += widths[k]
            k += 1
        discharge_to_kwh[t] = level
        charge_width = max(most_kwh[t], 0.0) - max(least_kwh[t], 0.0)
        discharge_width = min(most_kwh[t], 0.0) - min(least_kwh[t], 0.0)
        tail = _insert(widths, slopes, head, tail, charge_width, charge_per_kwh[t])
        tail = _insert(widths, slopes, head, tail, discharge_width, discharge_per_kwh[t])
        start -= most_kwh[t]
        stop -= least_kwh[t]
        if max(start, floor_kwh[t]) > min(stop, ceiling_kwh[t]) + slack:
            return False
        cut = floor_kwh[t] - start
        while cut > 0.0 and head < tail:
            if widths[head] > cut:
                widths[head] -= cut
                break
            cut -= widths[head]
            head += 1
        cut = stop - ceiling_kwh[t]
        while cut > 0.0 and tail > head:
            if widths[tail - 1] > cut:
                widths[tail - 1] -= cut
                break
            cut -= widths[tail - 1]
            tail -= 1
        start, stop = max(start, floor_kwh[t]), min(stop, ceiling_kwh[t])
        start = min(start, stop)
        low_kwh[t], high_kwh[t] = start, stop
    return True


@kernel
def chain_follow(
    least_kwh: Floats,
    most_kwh: Floats,
    charge_to_kwh: Floats,
    discharge_to_kwh: Floats,
    low_kwh: Floats,
    high_kwh: Floats,
    mixed: NDArray[np.bool_],
    energy_kwh: Floats,
) -> None:
    """Fill the path from its first entry on; where `mixed`, a tie goes to the widest change either way."""
    for t in range(least_kwh.shape[0]):
        now, floor, ceiling = energy_kwh[t], charge_to_kwh[t], discharge_to_kwh[t]
        lowest, highest = now + least_kwh[t], now + most_kwh[t]
        if mixed[t] and floor <= lowest <= ceiling:
            then = lowest
        elif mixed[t] and floor <= highest <= ceiling:
            then = highest
        else:
            then = min(max(min(max(now, floor), ceiling), lowest), highest)
        energy_kwh[t + 1] = min(max(then, low_kwh[t + 1]), high_kwh[t + 1])


@kernel
def chain_value(
    charge_per_kwh: Floats, discharge_per_kwh: Floats, terminal_per_kwh: float, energy_kwh: Floats
) -> float:
    """Return what a path is worth when it never goes both ways in one interval."""
    steps = charge_per_kwh.shape[0]
    value = float(terminal_per_kwh * energy_kwh[steps])
    for t in range(steps):
        released = energy_kwh[t] - energy_kwh[t + 1]
        value += released * (charge_per_kwh[t] if released < 0.0 else discharge_per_kwh[t])
    return value


@kernel
def best_chain(
    charge_per_kwh: Floats,
    discharge_per_kwh: Floats,
    least_kwh: Floats,
    most_kwh: Floats,
    floor_kwh: Floats,
    ceiling_kwh: Floats,
    terminal_per_kwh: float,
    tolerance: float,
    node_limit: int,
    best_energy_kwh: Floats,
) -> tuple[float, float, int]:
    """Find the best path from its first entry on that never goes both ways; return (value, bound, nodes).

    Only where charging while discharging would pay (``charge_per_kwh < discharge_per_kwh``) is the problem not concave:
    there the relaxation takes the chord between the widest changes, and a branch holds one such interval to one
    direction, depth first. No path at all gives a value of minus infinity.
    """
    steps = charge_per_kwh.shape[0]
    upper, lower = charge_per_kwh.copy(), discharge_per_kwh.copy()
    least, most = least_kwh.copy(), most_kwh.copy()
    chord, lift = np.zeros(steps), np.zeros(steps)
    mixed = np.zeros(steps, np.bool_)
    for t in range(steps):
        if charge_per_kwh[t] < discharge_per_kwh[t]:
            up, down = max(most[t], 0.0), max(-least[t], 0.0)
            mixed[t] = up > 0.0 and down > 0.0
            # Of an interval that can only go one way, either slope alone is the whole truth.
            share = up / (up + down) if mixed[t] else (1.0 if up > 0.0 else 0.0)
            chord[t] = share * charge_per_kwh[t] + (1.0 - share) * discharge_per_kwh[t]
            lift[t] = (chord[t] - charge_per_kwh[t]) * up
            upper[t], lower[t] = chord[t], chord[t]
    charge_to, discharge_to = np.empty(steps), np.empty(steps)
    low, high, energy = np.empty(steps + 1), np.empty(steps + 1), np.empty(steps + 1)
    energy[0] = best_energy_kwh[0]
    slack = 2.0 * _slack(floor_kwh, ceiling_kwh)
    branched, both_tried = np.empty(steps, np.int64), np.empty(steps, np.bool_)
    depth, nodes, best, root_bound = 0, 0, -np.inf, -np.inf
    while True:
        possible = chain_thresholds(
            upper,
            lower,
            least,
            most,
            floor_kwh,
            ceiling_kwh,
            terminal_per_kwh,
            charge_to,
            discharge_to,
            low,
            high,
        )
        possible = possible and low[0] - slack <= energy[0] <= high[0] + slack
        nodes += 1
        value, bound, widest, at = -np.inf, -np.inf, 0.0, -1
        if possible:
            chain_follow(least, most, charge_to, discharge_to, low, high, mixed, energy)
            value = chain_value(charge_per_kwh, discharge_per_kwh, terminal_per_kwh, energy)
            bound = value
            for t in range(steps):
                if mixed[t]:
                    released = energy[t] - energy[t + 1]
                    truth = released * (charge_per_kwh[t] if released < 0.0 else discharge_per_kwh[t])
                    excess = chord[t] * released + lift[t] - truth
                    bound += max(excess, 0.0)
                    if excess > widest:
                        widest, at = excess, t
        if nodes == 1:
            root_bound = bound
        if value > best:
            best = value
            for t in range(steps + 1):
                best_energy_kwh[t] = energy[t]
        if at >= 0 and bound > best + tolerance:
            if nodes >= node_limit:
                return best, root_bound, nodes
            branched[depth], both_tried[depth] = at, False
            depth += 1
            charge = energy[at + 1] > energy[at]
        else:
            while depth > 0 and both_tried[depth - 1]:
                depth -= 1
                t = branched[depth]
                mixed[t] = True
                upper[t], lower[t] = chord[t], chord[t]
                least[t], most[t] = least_kwh[t], most_kwh[t]
            if depth == 0:
                return best, min(root_bound, best + tolerance), nodes
            if nodes >= node_limit:
                return best, root_bound, nodes
            both_tried[depth - 1] = True
            at = branched[depth - 1]
            charge = most[at] <= 0.0
        mixed[at] = False
        slope = charge_per_kwh[at] if charge else discharge_per_kwh[at]
        upper[at], lower[at] = slope, slope
        least[at] = 0.0 if charge else least_kwh[at]
        most[at] = most_kwh[at] if charge else 0.0


@kernel
def best_chains(
    charge_per_kwh: Floats,
    discharge_per_kwh: Floats,
    least_kwh: Floats,
    most_kwh: Floats,
    floor_kwh: Floats,
    ceiling_kwh: Floats,
    terminal_per_kwh: float,
    tolerance: float,
    node_limit: int,
    energy_kwh: Floats,
    values: Floats,
) -> None:
    """Fill the best path of every scenario, each from its first entry on, and what it is worth."""
    for s in range(energy_kwh.shape[0]):
        values[s] = best_chain(
            charge_per_kwh[s],
            discharge_per_kwh[s],
            least_kwh,
            most_kwh,
            floor_kwh,
            ceiling_kwh,
            terminal_per_kwh,
            tolerance,
            node_limit,
            energy_kwh[s],
        )[0]


@kernel
def injection_slopes(
    charge_per_kwh: Floats,
    discharge_per_kwh: Floats,
    least_kwh: Floats,
    most_kwh: Floats,
    floor_kwh: Floats,
    ceiling_kwh: Floats,
    terminal_per_kwh: float,
    energy_kwh: Floats,
    gain_per_kwh: Floats,
    loss_per_kwh: Floats,
) -> None:
    """Fill what a kWh given to (gain) or taken from (loss) the store during each interval is worth.

    The rest of an optimal path answers, before the interval as well as after it; the change of the interval itself
    stays. Both are of the value function of a concave problem.
    """
    steps = charge_per_kwh.shape[0]
    close = 10.0 * _slack(floor_kwh, ceiling_kwh)
    more, less = terminal_per_kwh, terminal_per_kwh
    for t in range(steps - 1, -1, -1):
        # What the future makes of more and of less at the boundary t + 1.
        if energy_kwh[t + 1] >= ceiling_kwh[t + 1] - close:
            more = -np.inf
        if energy_kwh[t + 1] <= floor_kwh[t + 1] + close:
            less = np.inf
        gain_per_kwh[t], loss_per_kwh[t] = more, less
        change = energy_kwh[t + 1] - energy_kwh[t]
        if change > least_kwh[t] + close:
            more = max(more, charge_per_kwh[t] if change > close else discharge_per_kwh[t])
        if change < most_kwh[t] - close:
            less = min(less, discharge_per_kwh[t] if change < -close else charge_per_kwh[t])
    more, less = -np.inf, np.inf
    for t in range(steps):
        # What the past saves when it may leave less at the boundary t, and spends when it must leave more.
        gain_per_kwh[t] = max(gain_per_kwh[t], more)
        loss_per_kwh[t] = min(loss_per_kwh[t], less)
        change = energy_kwh[t + 1] - energy_kwh[t]
        if change > least_kwh[t] + close:
            more = max(more, charge_per_kwh[t] if change > close else discharge_per_kwh[t])
        if change < most_kwh[t] - close:
            less = min(less, discharge_per_kwh[t] if change < -close else charge_per_kwh[t])
        if energy_kwh[t + 1] <= floor_kwh[t + 1] + close:
            more = -np.inf
        if energy_kwh[t + 1] >= ceiling_kwh[t + 1] - close:
            less = np.inf
