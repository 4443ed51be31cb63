"""The prices of a tree of groups: one for all sites, and one of its own for each group that its limit holds back.

At a price every site stands where it wants, and a group passes on what is below it, cut to what it can give. The sum at
the top grows with the price, so the price is found by Newton steps within a bracket. A group that was cut is then a
problem of its own: the same, with its limit as the target.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shoal.domain.kernel import kernel

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

_STEP_LIMIT = 400
# Sites of a group that are worked on together.
BLOCK = 256
# Sums of powers in W that differ by less than this, and less than this share of what was added up, are equal.
_CLOSE_W = 1e-6
_CLOSE_FRAC = 1e-14


@kernel
def hand_up(at: int, above: Whole, lowest: Whole, highest: Whole, total: Floats, slope: Floats) -> None:
    """Add what a group passes on to the sums of the group around it."""
    least, most = float(lowest[at]), float(highest[at])
    total[above[at]] += min(max(total[at], least), most)
    slope[above[at]] += slope[at] if least < total[at] < most else 0.0


@kernel
def total_at(
    price_w: float,
    top_row: int,
    above: Whole,
    end: Whole,
    starts: Whole,
    sites: tuple[Whole, Whole, Floats, Floats, Whole],
    lowest: Whole,
    highest: Whole,
    total: Floats,
    slope: Floats,
    work: Floats,
) -> None:
    """Write for every group of the subtree of `top_row` the sum of what is below it at a price, and how it grows with it.

    `work` is room for two blocks.
    """
    lower, upper, weight, preferred, _ = sites
    power, free = work[0], work[1]
    for at in range(top_row, end[top_row]):  # upwards through memory, which is read ahead
        power0, power1, power2, power3 = 0.0, 0.0, 0.0, 0.0
        free0, free1, free2, free3 = 0.0, 0.0, 0.0, 0.0
        for begin in range(starts[at], starts[at + 1], BLOCK):
            ending = min(begin + BLOCK, starts[at + 1])
            low, high = lower[begin:ending], upper[begin:ending]
            steep, rest = weight[begin:ending], preferred[begin:ending]
            count = ending - begin
            for j in range(count):
                wanted = rest[j] + price_w * steep[j]
                power[j] = min(max(wanted, float(low[j])), float(high[j]))
                free[j] = steep[j] if wanted == power[j] else 0.0
            j = 0
            # four sums at once: a processor waits for one addition to end before the next
            while j + 4 <= count:
                power0 += power[j]
                power1 += power[j + 1]
                power2 += power[j + 2]
                power3 += power[j + 3]
                free0 += free[j]
                free1 += free[j + 1]
                free2 += free[j + 2]
                free3 += free[j + 3]
                j += 4
            while j < count:
                power0 += power[j]
                free0 += free[j]
                j += 1
        total[at] = (power0 + power1) + (power2 + power3)
        slope[at] = (free0 + free1) + (free2 + free3)
    for at in range(end[top_row] - 1, top_row, -1):
        hand_up(at, above, lowest, highest, total, slope)


@kernel
def solve_prices(
    target_w: float,
    guess_w: float,
    far_w: float,
    leap_w: float,
    total: Floats,
    slope: Floats,
    above: Whole,
    end: Whole,
    starts: Whole,
    sites: tuple[Whole, Whole, Floats, Floats, Whole],
    least: Whole,
    most: Whole,
    lowest: Whole,
    highest: Whole,
    size: Floats,
    price_w: Floats,
    bound_mask: NDArray[np.int8],
) -> int:
    """Write the price of every group, and which are held by their lower (-1) or upper (1) limit.

    `target_w` is within reach of the top, `far_w` a price at which every site is at a limit, `leap_w` a small change of
    price. `total` and `slope` come with what `survey_groups` found at the price `guess_w`. Returns the passes over a subtree
    that it took.
    """
    groups = above.shape[0]
    aims, work = np.empty(groups), np.empty((2, BLOCK))
    for at in range(groups - 1, 0, -1):
        hand_up(at, above, lowest, highest, total, slope)
    fresh = True
    waiting = np.empty(groups, np.int64)
    waiting[0], aims[0], price_w[0] = 0, target_w, guess_w
    left, passes = 1, 0
    while left > 0:
        left -= 1
        top_row = waiting[left]
        aim, at_price = aims[top_row], price_w[top_row]
        a, b, seen_a, seen_b = -far_w, far_w, False, False
        if bound_mask[top_row] > 0:
            b, seen_b = price_w[above[top_row]], True
        elif bound_mask[top_row] < 0:
            a, seen_a = price_w[above[top_row]], True
        if aim >= float(most[top_row]):
            at_price, a, b = far_w, far_w, far_w
        elif aim <= float(least[top_row]):
            at_price, a, b = -far_w, -far_w, -far_w
        near = _CLOSE_W + _CLOSE_FRAC * size[top_row]
        width, step_w = b - a, leap_w
        for step in range(_STEP_LIMIT):
            if not fresh or at_price != guess_w:
                total_at(at_price, top_row, above, end, starts, sites, lowest, highest, total, slope, work)
                passes += 1
            fresh = False
            gap = aim - total[top_row]
            if abs(gap) <= near or a == b:
                break
            if gap > 0.0:
                a, seen_a = at_price, True
            else:
                b, seen_b = at_price, True
            if slope[top_row] > 0.0:
                following = at_price + gap / slope[top_row]
            else:  # nobody moves here: leap further each time
                step_w *= 4.0
                following = at_price + step_w * (1.0 if gap > 0.0 else -1.0)
            if step % 3 == 2 and seen_a and seen_b:
                following = following if b - a <= 0.5 * width else np.nan
                width = b - a
            if not a < following < b:
                following = a + 0.5 * (b - a)
                if not a < following < b:
                    break
            at_price = following
        # all below has this price, but for groups that are held: these come next, from the top down
        at = top_row
        price_w[top_row] = at_price
        at += 1
        while at < end[top_row]:
            slack = _CLOSE_W + _CLOSE_FRAC * size[at]
            if total[at] > float(highest[at]) + slack or total[at] < float(lowest[at]) - slack:
                over = total[at] > float(highest[at])
                bound_mask[at] = 1 if over else -1
                aims[at] = float(highest[at]) if over else float(lowest[at])
                step_price = (aims[at] - total[at]) / slope[at] if slope[at] > 0.0 else 0.0
                price_w[at] = min(max(at_price + step_price, -far_w), far_w)
                waiting[left] = at
                left += 1
                at = end[at]
            else:
                bound_mask[at] = 0
                price_w[at] = at_price
                at += 1
    return passes
