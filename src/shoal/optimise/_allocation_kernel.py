"""The passes over a fleet's arrays that split a set-point: at a million devices, reading memory is what costs.

Powers are in W, and a price is what moves a device of weight 1 by so many W; kW will do as well. A sample of the fleet
tells where the price lies. One pass over all devices then checks them and adds up those whose power between the two ends
of that range is a straight line; only the few that have a kink in it are looked at again while the price is found. A
last pass writes the powers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shoal.domain.kernel import kernel

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]
Limits = Floats | Whole

# Newton needs 5 to 10 steps; halving the bracket, the fallback, meets the end of float64 before this.
STEP_LIMIT = 2200
# Sums that differ by less than this share of what was added up are equal.
CLOSE_FRAC = 1e-12
# A gap of less than this share of what was added up cannot be seen in the sum.
LEAST_FRAC = 1e-16
# Numbers further from 1 than this go the slow way, which scales weights.
HUGE = 1e100
TINY = 1e-100
# Rows that are worked on together: their columns fit the first-level cache.
BLOCK = 512
# Rows that are looked at together for the few among them that matter.
FEW = 64
# Beyond this a number of watts could not be told from the next.
HUGE_W = 4.5e15
# Standard deviations of the sample's sum that the range of prices allows for.
DOUBT = 4.5


@kernel
def guess_price(
    target_w: float, lower: Limits, upper: Limits, weight: Floats, preferred: Floats, whole: bool, size: int
) -> tuple[float, float]:
    """Return the lowest and the highest price that a sample of `size` devices makes likely; NaN when it tells none."""
    count = lower.shape[0]
    low, high = np.empty(size), np.empty(size)
    steep, rest = np.empty(size), np.empty(size)
    # the golden ratio spreads the rows evenly, whatever order or rhythm the fleet has
    stride = int(count * 0.6180339887498949) | 1 if size < count else 1
    row = 0
    low_price_w, high_price_w = np.inf, -np.inf
    for k in range(size):
        low[k], high[k] = float(lower[row]), float(upper[row])
        steep[k], rest[k] = weight[row], preferred[row]
        if whole and steep[k] == 0.0:
            rest[k] = np.floor(rest[k] + 0.5)
        if steep[k] > 0.0:
            low_price_w = min(low_price_w, (low[k] - rest[k]) / steep[k])
            high_price_w = max(high_price_w, (high[k] - rest[k]) / steep[k])
        row = (row + stride) % count
    if not (-HUGE < low_price_w <= high_price_w < HUGE):
        return np.nan, np.nan
    power = np.empty(size)
    price_w = fill(target_w * size / count, low, high, steep, rest, low_price_w, high_price_w, power, False)
    total, square, slope_weight = 0.0, 0.0, 0.0
    for k in range(size):
        total += power[k]
        square += power[k] * power[k]
        if low[k] < rest[k] + price_w * steep[k] < high[k]:
            slope_weight += steep[k]
    if slope_weight == 0.0:
        return np.nan, np.nan
    deviation = np.sqrt(max(square - total * total / size, 0.0))
    width = (DOUBT * deviation + CLOSE_FRAC * np.sqrt(square)) / slope_weight
    return price_w - width, price_w + width


@kernel
def survey(
    lower: Limits,
    upper: Limits,
    weight: Floats,
    preferred: Floats,
    whole: bool,
    low_price_w: float,
    high_price_w: float,
    kinked_rows: NDArray[np.int32],
) -> tuple[int, float, float, int]:
    """Return rows that cannot be used, and the sum of all devices without a kink as ``constant + slope * price``.

    The rows of the devices with a kink between the two prices are written to `kinked_rows` (one longer than the fleet);
    the last number returned is how many they are.
    """
    count = lower.shape[0]
    lines, slopes = np.empty(BLOCK), np.empty(BLOCK)
    kinks = np.empty(BLOCK, np.int64)
    farthest = HUGE_W if whole else HUGE
    bad, found = 0, 0
    line0, line1, line2, line3 = 0.0, 0.0, 0.0, 0.0
    slope0, slope1, slope2, slope3 = 0.0, 0.0, 0.0, 0.0
    for start in range(0, count, BLOCK):
        end = min(start + BLOCK, count)
        # slices let the compiler see that no index leaves its array, and work on several rows at once
        lows, highs = lower[start:end], upper[start:end]
        steeps, rests = weight[start:end], preferred[start:end]
        size = end - start
        for j in range(size):
            low, high = float(lows[j]), float(highs[j])
            steep, rest = steeps[j], rests[j]
            usable = (low <= high) & (low >= -HUGE) & (high <= HUGE) & (abs(rest) <= HUGE)
            usable &= (steep <= HUGE) & ((steep == 0.0) | (steep >= TINY))
            rest = np.floor(rest + 0.5) if whole & (steep == 0.0) else rest
            first, last = rest + low_price_w * steep, rest + high_price_w * steep
            usable &= (first >= -farthest) & (last <= farthest)
            bad += 0 if usable else 1
            begins, ends = min(max(first, low), high), min(max(last, low), high)
            straight = (first >= low) & (last <= high)
            flat = begins == ends
            slopes[j] = steep if straight else 0.0
            lines[j] = rest if straight else (begins if flat else 0.0)
            kinks[j] = 0 if (straight | flat) else 1
        j = 0
        while j + 4 <= size:  # four sums at once: a processor waits for one addition to end before the next
            line0 += lines[j]
            line1 += lines[j + 1]
            line2 += lines[j + 2]
            line3 += lines[j + 3]
            slope0 += slopes[j]
            slope1 += slopes[j + 1]
            slope2 += slopes[j + 2]
            slope3 += slopes[j + 3]
            j += 4
        while j < size:
            line0 += lines[j]
            slope0 += slopes[j]
            j += 1
        for j in range(size):
            kinked_rows[found] = start + j
            found += kinks[j]
    return bad, (line0 + line1) + (line2 + line3), (slope0 + slope1) + (slope2 + slope3), found


@kernel
def price_between(
    target_w: float,
    lower: Limits,
    upper: Limits,
    weight: Floats,
    preferred: Floats,
    low_price_w: float,
    high_price_w: float,
    kinked_rows: NDArray[np.int32],
    line: tuple[float, float],
) -> tuple[float, float, float]:
    """Return the price at which all powers add up to the target, and the sums at the two ends.

    The price is NaN when the target is not between these. `kinked_rows` has the rows that `survey` found, no more.
    """
    count = kinked_rows.shape[0]
    low, high = np.empty(count), np.empty(count)
    steep, rest = np.empty(count), np.empty(count)
    constant_w, slope_weight = line
    least, most = constant_w + slope_weight * low_price_w, constant_w + slope_weight * high_price_w
    for k in range(count):
        row = kinked_rows[k]
        low[k], high[k] = float(lower[row]), float(upper[row])
        steep[k], rest[k] = weight[row], preferred[row]
        least += min(max(rest[k] + low_price_w * steep[k], low[k]), high[k])
        most += min(max(rest[k] + high_price_w * steep[k], low[k]), high[k])
    if not least <= target_w <= most:
        return np.nan, least, most
    a, b, width = low_price_w, high_price_w, np.inf
    price_w = min(max(0.0, a), b)
    for step in range(STEP_LIMIT):
        total, free, size = constant_w + slope_weight * price_w, slope_weight, abs(target_w) + abs(constant_w)
        for k in range(count):
            wanted = rest[k] + price_w * steep[k]
            power = min(max(wanted, low[k]), high[k])
            total += power
            size += abs(power)
            free += steep[k] if (low[k] < wanted) & (wanted < high[k]) else 0.0
        gap_w = target_w - total
        if abs(gap_w) <= CLOSE_FRAC * size:
            break
        if gap_w > 0.0:
            a = price_w
        else:
            b = price_w
        following = price_w + gap_w / free if free > 0.0 else np.nan
        if step % 3 == 2:  # as in `fill`
            following = following if b - a <= 0.5 * width else np.nan
            width = b - a
        if not a < following < b:
            following = a + 0.5 * (b - a)
            if not a < following < b:
                break
        price_w = following
    return price_w, least, most


@kernel
def place(
    price_w: float, lower: Floats, upper: Floats, weight: Floats, preferred: Floats, power: Floats
) -> float:
    """Write the power of each device at a price; return their sum."""
    count = lower.shape[0]
    total0, total1, total2, total3 = 0.0, 0.0, 0.0, 0.0
    for start in range(0, count, BLOCK):
        end = min(start + BLOCK, count)
        for i in range(start, end):
            power[i] = min(max(preferred[i] + price_w * weight[i], lower[i]), upper[i])
        i = start
        while i + 4 <= end:
            total0 += power[i]
            total1 += power[i + 1]
            total2 += power[i + 2]
            total3 += power[i + 3]
            i += 4
        while i < end:
            total0 += power[i]
            i += 1
    return (total0 + total1) + (total2 + total3)


@kernel
def close(gap_w: float, target_w: float, lower: Floats, upper: Floats, weight: Floats, power: Floats) -> bool:
    """Give a gap that rounding left to the first devices with room; return whether they could take it."""
    size = abs(target_w)
    for i in range(power.shape[0]):
        if abs(gap_w) <= LEAST_FRAC * size:
            break
        size += abs(power[i])
        if weight[i] > 0.0:
            settled = min(max(power[i] + gap_w, lower[i]), upper[i])
            gap_w -= settled - power[i]
            power[i] = settled
    return abs(gap_w) <= CLOSE_FRAC * size


@kernel
def place_whole(
    price_w: float,
    step_price_w: float,
    lower: Whole,
    upper: Whole,
    weight: Floats,
    preferred: Floats,
    power: Whole,
    near_rows: NDArray[np.int32],
) -> tuple[int, int]:
    """Write the nearest whole power of each device at a price; return their sum and how many rows are in `near_rows`.

    In `near_rows` (as long as the fleet) come the rows that would move by 1 W if the price changed by `step_price_w`, and others
    that stand beside a whole watt.
    """
    count = lower.shape[0]
    total, found = 0, 0
    for start in range(0, count, FEW):
        end = min(start + FEW, count)
        anybody = 0
        for i in range(start, end):
            wanted = preferred[i] + price_w * weight[i] + 0.5
            nearest = np.floor(wanted)
            watts = min(max(int(nearest), lower[i]), upper[i])
            power[i] = watts
            total += watts
            anybody += 1 if abs(wanted - nearest - 0.5) >= 0.5 - step_price_w * weight[i] else 0
        if anybody > 0:
            for i in range(start, end):
                wanted = preferred[i] + price_w * weight[i] + 0.5
                nearest = np.floor(wanted)
                if abs(wanted - nearest - 0.5) >= 0.5 - step_price_w * weight[i]:
                    near_rows[found] = i
                    found += 1
    return total, found


@kernel
def place_surely(
    price_w: float, lower: Whole, upper: Whole, weight: Floats, preferred: Floats, power: Whole
) -> int:
    """Write the nearest whole power of each device at any price, however far off; return their sum."""
    total = 0
    for i in range(lower.shape[0]):
        steep = weight[i]
        wanted = preferred[i] + (price_w * steep if steep > 0.0 else 0.0) + 0.5
        power[i] = int(min(max(np.floor(wanted), float(lower[i])), float(upper[i])))
        total += power[i]
    return total


@kernel
def fill(
    target_w: float,
    lower: Floats,
    upper: Floats,
    weight: Floats,
    preferred: Floats,
    low_price_w: float,
    high_price_w: float,
    power: Floats,
    exactly: bool,
) -> float:
    """Fill `power` so that it adds up to a target within reach, and return the price; the slow and sure way."""
    low, high, price_w, gap_w = low_price_w, high_price_w, min(max(0.0, low_price_w), high_price_w), 0.0
    width = np.inf
    for step in range(STEP_LIMIT):
        total, free_weight, size = 0.0, 0.0, abs(target_w)
        for i in range(weight.shape[0]):
            wanted = preferred[i] + price_w * weight[i]
            power[i] = min(max(wanted, lower[i]), upper[i])
            total += power[i]
            size += abs(power[i])
            free_weight += weight[i] if (lower[i] < wanted) & (wanted < upper[i]) else 0.0
        gap_w = target_w - total
        if abs(gap_w) <= CLOSE_FRAC * size:
            break
        if gap_w > 0.0:
            low = price_w
        else:
            high = price_w
        following = price_w + gap_w / free_weight if free_weight > 0.0 else np.nan
        # Newton may step to and fro over a kink: three steps have to have halved the bracket.
        if step % 3 == 2:
            following = following if high - low <= 0.5 * width else np.nan
            width = high - low
        if not low < following < high:
            following = low + 0.5 * (high - low)
            if not low < following < high:
                break
        price_w = following
    if exactly:
        close(gap_w, target_w, lower, upper, weight, power)
    return price_w


@kernel
def reach(
    lower: Limits, upper: Limits, weight: Floats, preferred: Floats, whole: bool
) -> tuple[int, float, float, float]:
    """Return rows that cannot be used, the lowest and the highest sum of the powers, and the sum of all sizes."""
    bad, least, most, size = 0, 0.0, 0.0, 0.0
    for i in range(lower.shape[0]):
        low, high, rest = float(lower[i]), float(upper[i]), preferred[i]
        usable = (low <= high) & (abs(low) <= HUGE) & (abs(high) <= HUGE) & (abs(rest) <= HUGE)
        bad += 0 if usable & (weight[i] >= 0.0) & (weight[i] <= HUGE) else 1
        rest = np.floor(rest + 0.5) if whole else rest
        fixed = min(max(rest, low), high)
        free = weight[i] > 0.0
        least += low if free else fixed
        most += high if free else fixed
        size += max(abs(low), abs(high))
    return bad, least, most, size


@kernel
def hold_limits(
    energy: Floats,
    capacity: Floats,
    reserve: Floats,
    charge: Floats,
    discharge: Floats,
    charge_frac: Floats,
    discharge_frac: Floats,
    duration_h: float,
    lower: Floats,
    upper: Floats,
) -> int:
    """Write the lowest and the highest power that each battery can hold; return rows that cannot be used."""
    bad = 0
    for i in range(energy.shape[0]):
        usable = (abs(energy[i]) <= HUGE) & (capacity[i] >= 0.0) & (capacity[i] <= HUGE)
        usable &= (reserve[i] >= 0.0) & (reserve[i] <= HUGE)
        usable &= (charge[i] >= 0.0) & (charge[i] <= HUGE) & (discharge[i] >= 0.0) & (discharge[i] <= HUGE)
        usable &= (charge_frac[i] > 0.0) & (charge_frac[i] <= 1.0)
        usable &= (discharge_frac[i] > 0.0) & (discharge_frac[i] <= 1.0)
        bad += 0 if usable else 1
        releasable = max(energy[i] - reserve[i], 0.0) * discharge_frac[i] / duration_h
        storable = max(capacity[i] - energy[i], 0.0) / (charge_frac[i] * duration_h)
        lower[i] = -min(discharge[i], releasable)
        upper[i] = min(charge[i], storable)
    return bad
