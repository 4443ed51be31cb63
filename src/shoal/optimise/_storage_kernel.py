"""Compiled kernel of the storage plan: dynamic programming on slopes, kept as a list of segments.

The value of stored energy is concave and piecewise linear, so it is kept as segments of falling slope. One step
back in time shifts the segments above the charge slope left by what a charge can reach, those below the discharge
slope right by what a discharge can reach, fills both gaps, and cuts what leaves the energy limits. The optimal
action is then two levels an interval: charge up to the first, discharge down to the second. Energies are kWh
stored, slopes currency per kWh stored, and a step releases ``x`` kWh (negative: charges).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shoal.domain.kernel import kernel

Floats = NDArray[np.float64]

# Limits that miss each other by less than this share of the widest range do so by rounding.
SLACK_FRAC = 1e-9
# Above this many segments a bisection is faster than a count.
_COUNTED = 48


@kernel
def _count_above(slopes: Floats, first: int, size: int, slope: float, or_equal: bool) -> int:
    """Return where the falling slopes from `first` to `size` stop being above `slope`."""
    low, high = first, size
    while low < high:
        middle = (low + high) // 2
        if slopes[middle] > slope or (or_equal and slopes[middle] == slope):
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def _trim(ends: Floats, size: int, least_kwh: float, most_kwh: float) -> tuple[int, int]:
    """Return the first and the number of the segments within the range; the last one ends at its end."""
    first = 0
    while first < size - 1 and ends[first] <= least_kwh:
        first += 1
    while size - 1 > first and ends[size - 2] >= most_kwh:
        size -= 1
    ends[size - 1] = most_kwh
    return first, size


@kernel
def _raise_below(
    ends: Floats,
    slopes: Floats,
    first: int,
    size: int,
    least_kwh: float,
    level_kwh: float,
    cost_per_kwh: float,
) -> int:
    """Raise the slopes below a level and return the new number of segments: what is missing there costs."""
    if level_kwh <= least_kwh or cost_per_kwh == 0.0:
        return size
    for k in range(first, size):
        if ends[k] > level_kwh:
            start = ends[k - 1] if k > first else least_kwh
            if start < level_kwh:
                for j in range(size, k, -1):
                    ends[j], slopes[j] = ends[j - 1], slopes[j - 1]
                ends[k] = level_kwh
                slopes[k] += cost_per_kwh
                size += 1
            return size
        slopes[k] += cost_per_kwh
    return size


@kernel
def thresholds(
    upper_per_kwh: Floats,
    lower_per_kwh: Floats,
    charge_reach_kwh: Floats,
    discharge_reach_kwh: Floats,
    low_kwh: Floats,
    high_kwh: Floats,
    end_kwh: Floats,
    end_per_kwh: Floats,
    ramp_kwh: Floats,
    ramp_per_kwh: Floats,
    lists: Floats,
    charge_to_kwh: Floats,
    discharge_to_kwh: Floats,
    least_kwh: Floats,
    most_kwh: Floats,
) -> int:
    """Fill the optimal levels; a release is worth `upper` where negative and `lower` where positive.

    ``upper_per_kwh >= lower_per_kwh`` throughout. `low_kwh` and `high_kwh` bound the energy at the T + 1 instants;
    `least_kwh` and `most_kwh` become the part of that range from which all later bounds can be kept. `end_kwh` and
    `end_per_kwh` are the right ends and slopes of the terminal value, from 0 on. Row r of `ramp_kwh` charges
    `ramp_per_kwh` for every kWh below it. `lists` (at least four rows) is room to work in; the segments at the
    start are left in its first two rows.

    Returns:
        How many segments there are at the start; -1 when the bounds cannot be kept.
    """
    steps = upper_per_kwh.shape[0]
    ramps = ramp_kwh.shape[0]
    ends, slopes, new_ends, new_slopes = lists[0], lists[1], lists[2], lists[3]
    size = end_kwh.shape[0]
    for k in range(size):
        ends[k], slopes[k] = end_kwh[k], end_per_kwh[k]
    slack = SLACK_FRAC * end_kwh[size - 1]
    least, most = float(low_kwh[steps]), float(min(high_kwh[steps], end_kwh[size - 1]))
    if least > most + slack:
        return -1
    most = max(least, most)
    least_kwh[steps], most_kwh[steps] = least, most
    first, size = _trim(ends, size, least, most)
    for r in range(ramps):
        size = _raise_below(ends, slopes, first, size, least, ramp_kwh[r, steps], ramp_per_kwh[r, steps])
    for t in range(steps - 1, -1, -1):
        upper, lower = upper_per_kwh[t], lower_per_kwh[t]
        if size - first > _COUNTED:
            charged = _count_above(slopes, first, size, upper, False)
            kept = _count_above(slopes, charged, size, lower, True)
        else:
            charged, kept = first, first
            for k in range(first, size):
                charged += slopes[k] > upper
                kept += slopes[k] >= lower
        charge_to = ends[charged - 1] if charged > first else least
        discharge_to = ends[kept - 1] if kept > first else least
        charge_to_kwh[t], discharge_to_kwh[t] = charge_to, discharge_to
        up, down = charge_reach_kwh[t], discharge_reach_kwh[t]
        n = charged - first
        for k in range(n):
            new_ends[k] = ends[first + k] - up
            new_slopes[k] = slopes[first + k]
        if up > 0.0:
            new_ends[n], new_slopes[n] = charge_to, upper
            n += 1
        for k in range(kept - charged):
            new_ends[n + k] = ends[charged + k]
            new_slopes[n + k] = slopes[charged + k]
        n += kept - charged
        if down > 0.0:
            new_ends[n], new_slopes[n] = discharge_to + down, lower
            n += 1
        for k in range(size - kept):
            new_ends[n + k] = ends[kept + k] + down
            new_slopes[n + k] = slopes[kept + k]
        n += size - kept
        least, most = max(low_kwh[t], least - up), min(high_kwh[t], most + down)
        if least > most:
            if least > most + slack:
                return -1
            most = least
        least_kwh[t], most_kwh[t] = least, most
        first, size = _trim(new_ends, n, least, most)
        if t > 0:
            for r in range(ramps):
                size = _raise_below(
                    new_ends, new_slopes, first, size, least, ramp_kwh[r, t], ramp_per_kwh[r, t]
                )
        ends, new_ends, slopes, new_slopes = new_ends, ends, new_slopes, slopes
    size -= first
    # The two pairs of rows may be the same memory: a copy to the left is safe in rising order.
    for k in range(size):
        lists[0][k], lists[1][k] = ends[first + k], slopes[first + k]
    return size


@kernel
def follow(
    charge_reach_kwh: Floats,
    discharge_reach_kwh: Floats,
    charge_to_kwh: Floats,
    discharge_to_kwh: Floats,
    least_kwh: Floats,
    most_kwh: Floats,
    mixed: NDArray[np.bool_],
    energy_kwh: Floats,
) -> None:
    """Fill the path from its first entry on; where `mixed`, a tie goes to a full charge or discharge."""
    for t in range(charge_to_kwh.shape[0]):
        now, floor, ceiling = energy_kwh[t], charge_to_kwh[t], discharge_to_kwh[t]
        highest, lowest = now + charge_reach_kwh[t], now - discharge_reach_kwh[t]
        if mixed[t] and floor <= lowest <= ceiling:
            target = lowest
        elif mixed[t] and floor <= highest <= ceiling:
            target = highest
        elif now < floor:
            target = min(floor, highest)
        elif now > ceiling:
            target = max(ceiling, lowest)
        else:
            target = now
        energy_kwh[t + 1] = min(max(target, least_kwh[t + 1]), most_kwh[t + 1])


@kernel
def marginal_slopes(
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
    energy_kwh: Floats,
    gain_per_kwh: Floats,
    loss_per_kwh: Floats,
) -> None:
    """Fill the slopes of the value along an optimal path, for more energy (gain) and for less (loss).

    A further kWh at the start of an interval is either released in it or kept: the gain is the better of the
    two. A missing kWh is either not released or not kept: the loss is the lesser of the two.
    """
    steps = charge_per_kwh.shape[0]
    last = end_kwh.shape[0] - 1
    close = SLACK_FRAC * end_kwh[last]
    k = 0
    while k < last and end_kwh[k] <= energy_kwh[steps] + close:
        k += 1
    gain = end_per_kwh[k]
    k = 0
    while k < last and end_kwh[k] < energy_kwh[steps] - close:
        k += 1
    loss = end_per_kwh[k]
    for t in range(steps, -1, -1):
        now = energy_kwh[t]
        if t < steps:
            x = now - energy_kwh[t + 1]
            if x < -close:
                gain = max(gain, charge_per_kwh[t])
            elif x < discharge_reach_kwh[t] - close:
                gain = max(gain, discharge_per_kwh[t])
            if x > close:
                loss = min(loss, discharge_per_kwh[t])
            elif x > close - charge_reach_kwh[t]:
                loss = min(loss, charge_per_kwh[t])
        if t > 0:
            for r in range(ramp_kwh.shape[0]):
                if now < ramp_kwh[r, t] - close:
                    gain += ramp_per_kwh[r, t]
                if now <= ramp_kwh[r, t] + close:
                    loss += ramp_per_kwh[r, t]
        if now >= high_kwh[t] - close:
            gain = -np.inf
        if now <= low_kwh[t] + close:
            loss = np.inf
        gain_per_kwh[t], loss_per_kwh[t] = gain, loss
