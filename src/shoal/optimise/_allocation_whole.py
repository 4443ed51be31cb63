"""Whole watts that add up to a target at least cost, from a price that is nearly right.

A device's next watt costs what is half way between two whole watts, less what it prefers, by its weight. So at a price
every device stands at the whole watt nearest to what it wants, and the few watts that are then missing or too many are
those whose cost is next to the price.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shoal.optimise._allocation_kernel import place_surely, place_whole

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]


def settle(
    target_w: int,
    lower: Whole,
    upper: Whole,
    weight: Floats,
    preferred: Floats,
    *,
    price_w: float,
    step_price_w: float,
) -> Whole:
    """Return the powers of least cost that add up to a target within reach, in W.

    Args:
        target: Wanted sum, between the lowest and the highest that there is.
        lower: Lowest power of each device.
        upper: Highest power of each device.
        weight: Readiness of each to leave its preferred power.
        preferred: Preferred power of each.
        price: Near the right one; NaN when it is not known.
        step_price: A change of price that brings a few more watts than rounding leaves over; 0 when not known.
    """
    power = np.empty(lower.size, dtype=np.int64)
    near = np.empty(lower.size, dtype=np.int32)
    if np.isfinite(price_w):
        total, found = place_whole(price_w, step_price_w, lower, upper, weight, preferred, power, near)
        missing = target_w - total
        if missing == 0 or (
            step_price_w > 0.0
            and _step(missing, near[:found], price_w, step_price_w, lower, upper, weight, preferred, power)
        ):
            return power
        if _step(missing, np.arange(lower.size), price_w, np.inf, lower, upper, weight, preferred, power):
            return power
    return _by_price(target_w, lower, upper, weight, preferred, price_w if np.isfinite(price_w) else 0.0)


def _step(
    missing: int,
    rows: NDArray[np.integer],
    price_w: float,
    reach: float,
    lower: Whole,
    upper: Whole,
    weight: Floats,
    preferred: Floats,
    power: Whole,
) -> bool:
    """Move `missing` devices among `rows` by a watt each, the cheapest first; return False when that is not optimal.

    It is when all steps lie within `reach` of the price, where no other row has one, and nobody's second step
    would have been cheaper.
    """
    sign, count = (1, missing) if missing > 0 else (-1, -missing)
    rows = rows[(power[rows] < upper[rows] if sign > 0 else power[rows] > lower[rows]) & (weight[rows] > 0.0)]
    if rows.size < count:
        return False
    steep = weight[rows]
    cost = sign * (power[rows] - preferred[rows]) / steep + 0.5 / steep
    edge = float(np.partition(cost, count - 1)[count - 1])
    if edge > sign * price_w + reach:
        return False
    chosen = cost < edge
    ties = np.flatnonzero(cost == edge)
    open_count = count - int(chosen.sum())
    chosen[ties[:open_count] if sign > 0 else ties[ties.size - open_count :]] = True
    if (cost[chosen] + 1.0 / steep[chosen] < edge).any():
        return False
    power[rows[chosen]] += sign
    return True


def _by_price(
    target_w: int, lower: Whole, upper: Whole, weight: Floats, preferred: Floats, price_w: float
) -> Whole:
    """Halve a bracket of prices until it ends; whoever moves between its two ends fills what is left, by row."""

    def placed(at_price_w: float) -> tuple[Whole, int]:
        power = np.empty(lower.size, dtype=np.int64)
        return power, place_surely(at_price_w, lower, upper, weight, preferred, power)

    low, high, width = price_w, price_w, max(1.0, abs(price_w)) * 1e-9
    while placed(low)[1] > target_w:
        low, width = low - width, 2.0 * width
    while placed(high)[1] < target_w:
        high, width = high + width, 2.0 * width
    while low < (middle := low + 0.5 * (high - low)) < high:
        power, total = placed(middle)
        if total == target_w:
            return power
        low, high = (middle, high) if total < target_w else (low, middle)
    power, total = placed(low)
    room = placed(high)[0] - power
    before = np.cumsum(room) - room
    power += np.clip(target_w - total - before, 0, room)
    return power
