"""Compiled kernels of the real-time policy: what stored energy will be worth, by interval and by kind of price.

A Markov chain over kinds of price (how far real time is from what the day ahead said) gives the value of stored energy
after each interval, on levels of energy. The policy charges up to where a stored kWh is worth no more than it costs now,
and discharges down to where it is worth no less than it brings: it knows the price of its interval, and no later one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shoal.domain.kernel import kernel

Floats = NDArray[np.float64]


@kernel
def _act(
    before: float,
    charge_slope: float,
    discharge_slope: float,
    least: float,
    most: float,
    low: float,
    high: float,
    levels: Floats,
    worth: Floats,
) -> tuple[float, float]:
    """Return the best energy after an interval and its value, from `before` (expected calls included)."""
    cells = levels.shape[0] - 1
    width = levels[1] - levels[0]
    # Slopes fall, so both levels are found by halving.
    bottom, top = 0, cells
    while bottom < top:
        middle = (bottom + top) // 2
        if worth[middle + 1] - worth[middle] > charge_slope * width:
            bottom = middle + 1
        else:
            top = middle
    charge_to = levels[bottom]
    bottom, top = 0, cells
    while bottom < top:
        middle = (bottom + top) // 2
        if worth[middle + 1] - worth[middle] >= discharge_slope * width:
            bottom = middle + 1
        else:
            top = middle
    discharge_to = levels[bottom]
    lowest, highest = max(least, low - before), min(most, high - before)
    best, after = -np.inf, before
    for way in range(2):
        if way == 0 and highest >= 0.0:
            change = min(max(charge_to - before, max(lowest, 0.0)), highest)
            earned = -charge_slope * change
        elif way == 1 and lowest <= 0.0:
            change = max(min(discharge_to - before, min(highest, 0.0)), lowest)
            earned = -discharge_slope * change
        else:
            continue
        place = min(max((before + change - levels[0]) / width, 0.0), float(cells))
        cell = min(int(place), cells - 1)
        total = earned + worth[cell] + (place - cell) * (worth[cell + 1] - worth[cell])
        if total > best:
            best, after = total, before + change
    return min(max(after, low), high), best


@kernel
def roll_policy(
    spread: Floats,
    kind_index: NDArray[np.int64],
    weight: Floats,
    chance: Floats,
    base: Floats,
    real_time: Floats,
    edges: Floats,
    slopes: Floats,
    least: Floats,
    most: Floats,
    shift: Floats,
    low: Floats,
    high: Floats,
    levels: Floats,
    energy: Floats,
) -> None:
    """Fill the path of energy that the policy takes through one scenario, from its first entry on.

    `spread` (S, T), `kind_index` (S, T) and `weight` (S,) are the scenarios learnt from, `chance` (T, M, M) of the kind of the
    next interval, `base` (T,) what the day ahead says, `real_time` (T,) the prices that come, `edges` (T, M - 1) where
    kinds meet, `slopes` the charge factor, the discharge factor, the wear and the terminal value.
    """
    scenarios, steps = spread.shape
    kinds, size = chance.shape[1], levels.shape[0]
    worth, value = np.empty((steps, kinds, size)), np.empty((kinds, size))
    total = np.empty(kinds)
    for m in range(kinds):
        for g in range(size):
            worth[steps - 1, m, g] = slopes[3] * levels[g]
    for t in range(steps - 1, 0, -1):
        value[:] = 0.0
        total[:] = 0.0
        for s in range(scenarios):
            m = kind_index[s, t]
            price = base[t] + spread[s, t]
            total[m] += weight[s]
            for g in range(size):
                start = min(max(levels[g], low[t]), high[t]) + shift[t]
                best = _act(
                    start,
                    price * slopes[0],
                    (price - slopes[2]) * slopes[1],
                    least[t],
                    most[t],
                    low[t + 1],
                    high[t + 1],
                    levels,
                    worth[t, m],
                )[1]
                value[m, g] += weight[s] * best
        for m in range(kinds):
            for g in range(size):
                expected = 0.0
                for n in range(kinds):
                    if total[n] > 0.0:
                        expected += chance[t, m, n] * value[n, g] / total[n]
                worth[t - 1, m, g] = expected
    for t in range(steps):
        price, m = real_time[t], 0
        while m < kinds - 1 and price - base[t] >= edges[t, m]:
            m += 1
        energy[t + 1] = _act(
            energy[t] + shift[t],
            price * slopes[0],
            (price - slopes[2]) * slopes[1],
            least[t],
            most[t],
            low[t + 1],
            high[t + 1],
            levels,
            worth[t, m],
        )[0]
