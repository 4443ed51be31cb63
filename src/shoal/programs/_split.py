"""Whole watts shared out exactly: over many sites by water-filling, over a few reasons by largest remainder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shoal.domain.kernel import kernel

_NEARLY_ONE = 1.0 - 1e-9


def fill_w(target_w: int, room_w: NDArray[np.int64], weight: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return whole powers within `[0, room_w]` that add up to the target, or to all the room when that is less.

    Every site gets the same share of its weight until its room is full (water-filling); each power is within 1 W of
    the unrounded one.

    Args:
        target_w: Wanted sum, >= 0.
        room_w: Most of each site, >= 0.
        weight: Above 0.
    """
    power_w = np.zeros(len(room_w), dtype=np.int64)
    _fill(target_w, room_w, weight, power_w)
    return power_w


@kernel
def _fill(
    target_w: int, room_w: NDArray[np.int64], weight: NDArray[np.float64], power_w: NDArray[np.int64]
) -> None:
    total = 0
    for i in range(room_w.shape[0]):
        total += room_w[i]
    if total <= target_w:
        power_w[:] = room_w
        return
    # The share only rises, and with each step at least one more site is full: it ends.
    share = 0.0
    while True:
        filled_w, free = 0, 0.0
        for i in range(room_w.shape[0]):
            if weight[i] * share >= room_w[i]:
                filled_w += room_w[i]
            else:
                free += weight[i]
        if free <= 0.0 or (target_w - filled_w) / free <= share:
            break
        share = (target_w - filled_w) / free
    rest, left_w = 0.0, target_w
    for i in range(room_w.shape[0]):
        wanted = min(weight[i] * share, float(room_w[i]))
        whole = int(np.floor(wanted))
        rest += wanted - whole
        if rest >= _NEARLY_ONE and whole < room_w[i]:
            whole += 1
            rest -= 1.0
        power_w[i] = whole
        left_w -= whole
    # What floating point has left over is a few watts.
    while left_w != 0:
        for i in range(room_w.shape[0]):
            if left_w > 0 and power_w[i] < room_w[i]:
                power_w[i] += 1
                left_w -= 1
            elif left_w < 0 and power_w[i] > 0:
                power_w[i] -= 1
                left_w += 1


def share_out(total: int, weights: Sequence[int]) -> list[int]:
    """Return whole numbers in proportion to `weights` that add up to `total`, by largest remainder; earlier ones first.

    All 0 when the weights are.
    """
    whole = sum(weights)
    if whole == 0:
        return [0] * len(weights)
    shares = [total * part // whole for part in weights]
    remainders = [total * part % whole for part in weights]
    left = total - sum(shares)
    for number in sorted(range(len(weights)), key=lambda n: -remainders[n])[:left]:
        shares[number] += 1
    return shares
