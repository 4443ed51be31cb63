"""Groups within groups, brought into an order in which every subtree is a stretch of groups and a stretch of sites.

Groups are numbered so that a group comes before what is below it and nothing else is in between; number 0 stands above
all of them. What a group can give follows from below: the sum of what its sites and groups can, cut to its own limits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shoal.domain.kernel import kernel

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

# A fleet's sums of whole watts stay exact in float64 below this.
MOST_W = 1e15
# Sites that are worked on together.
BLOCK = 256
# Weights further below the largest than this are raised to it, so that all prices stay finite.
WEIGHT_RANGE = 1e-12


@kernel
def number_groups(parent: Whole, place: Whole, above: Whole, end: Whole) -> int:
    """Write each group's number, and by number its parent's and the end of its subtree; return the first bad row.

    `place` is as long as `parent`, the others one longer; -1 when all parents come before their children.
    """
    count = parent.shape[0]
    size = np.ones(count + 1, np.int64)
    for row in range(count):
        if not -1 <= parent[row] < row:
            return row
    for row in range(count - 1, -1, -1):
        size[parent[row] if parent[row] >= 0 else count] += size[row]
    free = np.zeros(count + 1, np.int64)
    free[count] = 1
    above[0], end[0] = -1, count + 1
    for row in range(count):
        over = parent[row] if parent[row] >= 0 else count
        place[row] = free[over]
        free[over] += size[row]
        free[row] = place[row] + 1
        above[place[row]] = place[over] if over < count else 0
        end[place[row]] = place[row] + size[row]
    return -1


@kernel
def order_sites(leaf: Whole, place: Whole, starts: Whole, order: NDArray[np.int32]) -> int:
    """Write where each group's sites start, and their rows; return 1 if they are in order, 0 if not, below 0 if bad.

    The result is ``-1 - row`` for a row whose group does not exist. `order` is written when it is needed.
    """
    groups = place.shape[0]
    last, sorted_so_far = 0, 1
    for i in range(leaf.shape[0]):
        if not -1 <= leaf[i] < groups:
            return -1 - i
        at = place[leaf[i]] if leaf[i] >= 0 else 0
        starts[at + 1] += 1
        sorted_so_far = sorted_so_far if at >= last else 0
        last = at
    for at in range(groups + 1):
        starts[at + 1] += starts[at]
    if sorted_so_far == 0:
        free = starts.copy()
        for i in range(leaf.shape[0]):
            at = place[leaf[i]] if leaf[i] >= 0 else 0
            order[free[at]] = i
            free[at] += 1
    return sorted_so_far


@kernel
def gather(in_order: int, order: NDArray[np.int32], given: Floats | Whole, packed: Floats | Whole) -> None:
    """Write a column in order of the groups."""
    for k in range(order.shape[0]):
        packed[k] = given[k if in_order == 1 else order[k]]


@kernel
def pack(
    in_order: int,
    order: NDArray[np.int32],
    given: tuple[Whole, Whole, Floats, Floats, Whole],
    packed: tuple[Whole, Whole, Floats, Floats, Whole],
    top_scale: float,
) -> None:
    """Write the sites in order of their groups, with weights as shares of the heaviest.

    A site of weight 0 gets both limits where it stays.
    """
    # one column after the other: a column fits the cache that all together would not
    gather(in_order, order, given[0], packed[0])
    gather(in_order, order, given[1], packed[1])
    gather(in_order, order, given[2], packed[2])
    gather(in_order, order, given[3], packed[3])
    gather(in_order, order, given[4], packed[4])
    lower, upper, weight, preferred, _ = packed
    for k in range(order.shape[0]):
        if weight[k] > 0.0:
            weight[k] = max(weight[k] / top_scale, WEIGHT_RANGE)
        else:
            preferred[k] = min(max(np.floor(preferred[k] + 0.5), float(lower[k])), float(upper[k]))
            lower[k] = upper[k] = int(preferred[k])


@kernel
def check(given: tuple[Whole, Whole, Floats, Floats, Whole]) -> tuple[int, float, float, float]:
    """Return the number of rows that cannot be used, the least and the largest weight, and the farthest preferred power."""
    lowers, uppers, weights, preferreds, bases = given
    bad, lightest, top_scale, farthest = 0, np.inf, 0.0, 0.0
    count = lowers.shape[0]
    for start in range(0, count, BLOCK):
        end = min(start + BLOCK, count)
        low, high, steep = lowers[start:end], uppers[start:end], weights[start:end]
        rest, base = preferreds[start:end], bases[start:end]
        for j in range(end - start):
            usable = (
                (low[j] <= high[j]) & (low[j] >= -MOST_W) & (high[j] <= MOST_W) & (abs(rest[j]) <= MOST_W)
            )
            usable &= (steep[j] >= 0.0) & (steep[j] < np.inf) & (base[j] >= -MOST_W) & (base[j] <= MOST_W)
            bad += 0 if usable else 1
        for j in range(end - start):
            lightest, top_scale = min(lightest, steep[j]), max(top_scale, steep[j])
            farthest = max(farthest, abs(rest[j]))
    return bad, lightest, top_scale, farthest


@kernel
def survey_groups(
    guess_w: float,
    starts: Whole,
    sites: tuple[Whole, Whole, Floats, Floats, Whole],
    base: Whole,
    least: Whole,
    most: Whole,
    size: Floats,
    power: Floats,
    slope: Floats,
) -> None:
    """Write sums over each group's own sites: base, limits, sizes, and at a price the powers and how they grow with it."""
    lower, upper, weight, preferred, bases = sites
    powers, slopes, sizes = np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK)
    for at in range(starts.shape[0] - 1):
        sum_low, sum_high, sum_base, sum_size, sum_power, sum_slope = 0, 0, 0, 0.0, 0.0, 0.0
        for start in range(starts[at], starts[at + 1], BLOCK):
            end = min(start + BLOCK, starts[at + 1])
            low, high, steep = lower[start:end], upper[start:end], weight[start:end]
            rest, around = preferred[start:end], bases[start:end]
            for j in range(end - start):
                sum_low += low[j]
                sum_high += high[j]
                sum_base += around[j]
                bottom, top = float(low[j]), float(high[j])
                wanted = rest[j] + guess_w * steep[j]
                powers[j] = min(max(wanted, bottom), top)
                slopes[j] = steep[j] if wanted == powers[j] else 0.0
                sizes[j] = max(-bottom, top)
            for j in range(end - start):
                sum_power += powers[j]
                sum_slope += slopes[j]
                sum_size += sizes[j]
        least[at], most[at], base[at], size[at] = sum_low, sum_high, sum_base, sum_size
        power[at], slope[at] = sum_power, sum_slope


@kernel
def reach_up(
    above: Whole,
    group_lower: Whole,
    group_upper: Whole,
    base: Whole,
    least: Whole,
    most: Whole,
    size: Floats,
    lowest: Whole,
    highest: Whole,
    overload: Whole,
) -> None:
    """Turn sums over each group's own sites into sums over all below it, and write what it can give.

    `least` and `most` are what is below it could give without its limits, `lowest` and `highest` what it can with them.
    Where its sites cannot bring a group within its limits it stands as near as they can: `overload` is by how much it
    is above (> 0) or below (< 0). All arrays are by number; the limits hold for `base` and power together.
    """
    for at in range(above.shape[0] - 1, -1, -1):
        low, high = group_lower[at] - base[at], group_upper[at] - base[at]
        lowest[at] = min(max(least[at], low), most[at])
        highest[at] = max(min(most[at], high), least[at])
        overload[at] = max(least[at] - high, 0) + min(most[at] - low, 0)
        over = above[at]
        if over >= 0:
            base[over] += base[at]
            least[over] += lowest[at]
            most[over] += highest[at]
            size[over] += size[at]


@kernel
def sum_up(values: Whole, above: Whole) -> None:
    """Add to each group's value those of all groups below it."""
    for at in range(above.shape[0] - 1, 0, -1):
        values[above[at]] += values[at]
