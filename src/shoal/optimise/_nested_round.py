"""Whole watts from the unrounded powers of a tree of groups: everybody within 1 W, every sum exact, no limit passed.

Rounding down and rounding up give each group a range of whole sums, cut to its limits from below. From the top each
group then hands the sum that it got down to its sites and groups.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shoal.domain.kernel import kernel

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

# Parts of a watt below this come from adding up.
_NOTHING_W = 1e-4
# Sites that are worked on together.
BLOCK = 256


@kernel
def place_down(
    price: Floats,
    starts: Whole,
    sites: tuple[Whole, Whole, Floats, Floats, Whole],
    power: Floats,
    own_low: Whole,
    own_high: Whole,
    own_wish: Floats,
) -> None:
    """Write the unrounded powers and, of each group's own sites, the sums rounded down, rounded up and not at all."""
    lower, upper, weight, preferred, _ = sites
    for at in range(starts.shape[0] - 1):
        down, up, whole = 0, 0, 0.0
        for start in range(starts[at], starts[at + 1], BLOCK):
            end = min(start + BLOCK, starts[at + 1])
            low, high, steep = lower[start:end], upper[start:end], weight[start:end]
            rest, placed = preferred[start:end], power[start:end]
            for j in range(end - start):
                value = min(max(rest[j] + price[at] * steep[j], float(low[j])), float(high[j]))
                placed[j] = value
                below = int(np.floor(value))
                down += below
                up += below + (1 if value > float(below) else 0)
            for j in range(end - start):
                whole += placed[j]
        own_low[at], own_high[at], own_wish[at] = down, up, whole


@kernel
def share_out(
    target_w: int,
    end: Whole,
    above: Whole,
    own_low: Whole,
    own_high: Whole,
    own_wish: Floats,
    lowest: Whole,
    highest: Whole,
    own_share: Whole,
) -> bool:
    """Write the whole sum of each group's own sites, near its wish; return False when the ranges do not allow any."""
    groups = above.shape[0]
    low, high, wish, share = own_low.copy(), own_high.copy(), own_wish.copy(), np.empty(groups, np.int64)
    for at in range(groups - 1, 0, -1):
        low[at], high[at] = max(low[at], lowest[at]), min(high[at], highest[at])
        if low[at] > high[at]:
            return False
        low[above[at]] += low[at]
        high[above[at]] += high[at]
        wish[above[at]] += wish[at]
    if not low[0] <= target_w <= high[0]:
        return False
    share[0] = target_w
    for at in range(groups):
        own = min(max(int(np.floor(own_wish[at] + _NOTHING_W)), own_low[at]), own_high[at])
        left = share[at] - own
        below = at + 1
        while below < end[at]:
            share[below] = min(max(int(np.floor(wish[below] + _NOTHING_W)), low[below]), high[below])
            left -= share[below]
            below = end[below]
        # one watt first for those who wish for a part of it, then whatever there is room for
        for sweep in range(2):
            most = 1 if sweep == 0 else abs(left)
            if sweep == 1 or left * (own_wish[at] - own) > _NOTHING_W:
                step = min(max(left, -most, own_low[at] - own), most, own_high[at] - own)
                own += step
                left -= step
            below = at + 1
            while left != 0 and below < end[at]:
                if sweep == 1 or left * (wish[below] - share[below]) > _NOTHING_W:
                    step = min(max(left, -most, low[below] - share[below]), most, high[below] - share[below])
                    share[below] += step
                    left -= step
                below = end[below]
        own_share[at] = own
    return True


@kernel
def round_sites(
    own_share: Whole,
    starts: Whole,
    lower: Whole,
    upper: Whole,
    power: Floats,
    in_order: int,
    order: NDArray[np.int32],
    whole: Whole,
) -> int:
    """Write the whole watts of each site, in the order in which they were given; return watts that found no place.

    Within a group the sites are rounded so that the sum of the first ones is always the nearest to what it was.
    """
    lost = 0
    watts = np.empty(BLOCK, np.int64)
    for at in range(starts.shape[0] - 1):
        first, last = starts[at], starts[at + 1]
        down, over = 0, 0.0
        for k in range(first, last):
            below = np.floor(power[k])
            down += int(below)
            over += power[k] - below
        # the parts of a watt are added up as we go, and whoever completes a watt gets it; where the count begins
        # decides how many watts there will be
        wanted = own_share[at] - down
        begin = 0.5
        if np.floor(over + begin) < wanted:
            begin = min(wanted - over + _NOTHING_W, 1.0 - _NOTHING_W)
        elif np.floor(over + begin) > wanted:
            begin = max(wanted + 1.0 - over - _NOTHING_W, 0.0)
        missing, counted, given = own_share[at], begin, 0.0
        for start in range(first, last, BLOCK):
            end = min(start + BLOCK, last)
            placed = power[start:end]
            for j in range(end - start):
                below = np.floor(placed[j])
                counted += placed[j] - below
                complete = np.floor(counted)
                watts[j] = int(below + (complete - given))
                given = complete
            for j in range(end - start):
                missing -= watts[j]
                whole[start + j if in_order == 1 else order[start + j]] = watts[j]
        # the count was a hair off, or the prices were not found to the watt: those between two watts come first
        for sweep in range(2):
            k = first
            while missing != 0 and k < last:
                row = k if in_order == 1 else order[k]
                low = lower[k] if sweep == 1 else int(np.floor(power[k]))
                high = upper[k] if sweep == 1 else int(np.ceil(power[k]))
                step = min(max(missing, low - whole[row]), high - whole[row])
                whole[row] += step
                missing -= step
                k += 1
        lost += abs(missing)
    return lost
