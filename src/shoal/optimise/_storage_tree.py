"""Compiled kernel of the storage plan for long durations: the segments as the leaves of a tree of sums.

A storage that takes days to fill has as many segments as intervals, and to copy them at each step costs their square.
All slopes are known beforehand, so each has a fixed leaf, in falling order, which holds the length of its segments.
A step then adds two lengths, cuts off at either end what leaves the energy limits, and reads two levels as sums of
leaves: all in the logarithm of the number of intervals.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shoal.domain.kernel import kernel
from shoal.optimise._storage_kernel import SLACK_FRAC

Floats = NDArray[np.float64]


@kernel
def _set(tree: Floats, width: int, leaf: int, length_kwh: float) -> None:
    node = width + leaf
    tree[node] = length_kwh
    node >>= 1
    while node:
        # A sum of its two halves, never a running difference: rounding does not pile up.
        tree[node] = tree[2 * node] + tree[2 * node + 1]
        node >>= 1


@kernel
def _sum_before(tree: Floats, width: int, leaf: int) -> float:
    """Return the lengths of the leaves before this one; `leaf` may be `width`."""
    if leaf >= width:
        return float(tree[1])
    total, node = 0.0, width + leaf
    while node > 1:
        if node & 1:
            total += tree[node - 1]
        node >>= 1
    return total


@kernel
def _cut(tree: Floats, width: int, amount_kwh: float, from_front: bool) -> None:
    """Take a length from the segments of the highest slopes, or from those of the lowest."""
    while amount_kwh > 0.0 and tree[1] > 0.0:
        node = 1
        while node < width:
            node *= 2
            if from_front:
                node += tree[node] <= 0.0
            else:
                node += tree[node + 1] > 0.0
        taken = min(amount_kwh, tree[node])
        left = tree[node] - taken
        amount_kwh -= taken
        _set(tree, width, node - width, left)


@kernel
def _falling_order(values: Floats) -> NDArray[np.int64]:
    """Return the rows in falling order of their values; a merge sort, for numpy's takes seconds to compile."""
    count = values.shape[0]
    order, merged = np.empty(count, np.int64), np.empty(count, np.int64)
    for k in range(count):
        order[k] = k
    width = 1
    while width < count:
        for start in range(0, count, 2 * width):
            middle, end = min(start + width, count), min(start + 2 * width, count)
            left, right = start, middle
            for k in range(start, end):
                if left < middle and (right >= end or values[order[left]] >= values[order[right]]):
                    merged[k] = order[left]
                    left += 1
                else:
                    merged[k] = order[right]
                    right += 1
        order, merged = merged, order
        width *= 2
    return order


@kernel
def tree_thresholds(
    upper_per_kwh: Floats,
    lower_per_kwh: Floats,
    charge_reach_kwh: Floats,
    discharge_reach_kwh: Floats,
    low_kwh: Floats,
    high_kwh: Floats,
    end_kwh: Floats,
    end_per_kwh: Floats,
    lists: Floats,
    charge_to_kwh: Floats,
    discharge_to_kwh: Floats,
    least_kwh: Floats,
    most_kwh: Floats,
) -> int:
    """Do what `thresholds` of the list kernel does, without ramps."""
    steps, pieces = upper_per_kwh.shape[0], end_kwh.shape[0]
    count = 2 * steps + pieces
    falling = np.empty(count)
    for t in range(steps):
        falling[t], falling[steps + t] = upper_per_kwh[t], lower_per_kwh[t]
    for k in range(pieces):
        falling[2 * steps + k] = end_per_kwh[k]
    order = _falling_order(falling)
    leaf_of, slope_of, leaves = np.empty(count, np.int64), np.empty(count), 0
    for k in range(count):
        # Equal slopes share a leaf, so that "above" and "at least" mean what they say.
        if k > 0 and falling[order[k]] != slope_of[leaves - 1]:
            leaves += 1
        elif k == 0:
            leaves = 1
        slope_of[leaves - 1] = falling[order[k]]
        leaf_of[order[k]] = leaves - 1
    width = 1
    while width < leaves:
        width *= 2
    tree = np.zeros(2 * width)
    slack = SLACK_FRAC * end_kwh[pieces - 1]
    least, most = float(low_kwh[steps]), float(min(high_kwh[steps], end_kwh[pieces - 1]))
    if least > most + slack:
        return -1
    most = max(least, most)
    least_kwh[steps], most_kwh[steps] = least, most
    start = 0.0
    for k in range(pieces):
        length = min(end_kwh[k], most) - max(start, least)
        if length > 0.0:
            tree[width + leaf_of[2 * steps + k]] += length
        start = end_kwh[k]
    for node in range(width - 1, 0, -1):
        tree[node] = tree[2 * node] + tree[2 * node + 1]
    for t in range(steps - 1, -1, -1):
        up_leaf, down_leaf = leaf_of[t], leaf_of[steps + t]
        charge_to_kwh[t] = min(least + _sum_before(tree, width, up_leaf), most)
        discharge_to_kwh[t] = min(least + _sum_before(tree, width, down_leaf + 1), most)
        up, down = charge_reach_kwh[t], discharge_reach_kwh[t]
        if up > 0.0:
            _set(tree, width, up_leaf, tree[width + up_leaf] + up)
        if down > 0.0:
            _set(tree, width, down_leaf, tree[width + down_leaf] + down)
        wide_least, wide_most = least - up, most + down
        least, most = max(low_kwh[t], wide_least), min(high_kwh[t], wide_most)
        if least > most:
            if least > most + slack:
                return -1
            most = least
        _cut(tree, width, least - wide_least, True)
        _cut(tree, width, wide_most - most, False)
        least_kwh[t], most_kwh[t] = least, most
    size, end = 0, least
    for leaf in range(leaves):
        if tree[width + leaf] > 0.0:
            end += tree[width + leaf]
            lists[0][size], lists[1][size] = end, slope_of[leaf]
            size += 1
    if size == 0:
        lists[0][0], lists[1][0], size = most, end_per_kwh[pieces - 1], 1
    lists[0][size - 1] = most
    return size
