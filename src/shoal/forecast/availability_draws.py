"""Draws of how many devices answer: a chain of shares with common and own causes, counted device by device.

Kernels with a generator of their own (SplitMix64: Steele, Lea and Flood, OOPSLA 2014), so that a seed gives the same bits
whatever else draws numbers.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoal.domain.kernel import kernel

Floats: TypeAlias = NDArray[np.float64]

_TABLE_DEVICES = 30.0


@kernel
def _uniform(state: NDArray[np.uint64]) -> float:
    """Return a number in (0, 1) and move the state on."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return (float(z >> np.uint64(11)) + 0.5) / 9007199254740992.0


@kernel
def _normal(state: NDArray[np.uint64]) -> float:
    """Return a standard normal number (Box and Muller)."""
    radius = math.sqrt(-2.0 * math.log(_uniform(state)))
    return radius * math.cos(2.0 * math.pi * _uniform(state))


@kernel
def _binomial(state: NDArray[np.uint64], count: int, share: float) -> int:
    """Return how many of `count` succeed: by inversion where few do or fail, else by the normal limit."""
    if count <= 0 or share <= 0.0:
        return 0
    if share >= 1.0:
        return count
    rare = min(share, 1.0 - share)
    if count * rare < _TABLE_DEVICES:
        odds = rare / (1.0 - rare)
        chance = math.exp(count * math.log1p(-rare))
        left = _uniform(state)
        found = 0
        while left > chance and found < count:
            left -= chance
            found += 1
            chance *= odds * (count - found + 1) / found
    else:
        spread = math.sqrt(count * rare * (1.0 - rare))
        found = math.floor(count * rare + spread * _normal(state) + 0.5)
        found = min(max(found, 0), count)
    return found if share <= 0.5 else count - found


@kernel
def _share_of(z: float) -> float:
    """Return the standard normal distribution function."""
    return 0.5 * math.erfc(-z / math.sqrt(2.0))


@kernel
def shares_of(z: Floats) -> Floats:
    """Return the standard normal distribution function of each number."""
    flat = z.ravel()
    out = np.empty(flat.size)
    for at in range(flat.size):
        out[at] = _share_of(flat[at])
    return out.reshape(z.shape)


@kernel
def draw_answers(
    centre_level: Floats,
    spread: Floats,
    common_frac: Floats,
    outage_frac: Floats,
    common_outage_frac: Floats,
    depth_frac: Floats,
    installed_count: Floats,
    device_kw: Floats,
    is_counted: NDArray[np.bool_],
    seed: int,
    answer_kw: Floats,
) -> None:
    """Fill what each group would answer in each of K draws, and in the last column all groups together.

    Args:
        centre_level: S x G probits of the shares of S stages.
        spread: S x G standard deviations around them.
        common_frac: S shares of the variance that all groups have in common.
        outage_frac: S x G probabilities that a group is cut off.
        common_outage_frac: S probabilities that all groups are cut off at once.
        depth_frac: S shares that answer all the same when cut off.
        installed_count: G devices.
        device_kw: G powers a device.
        is_counted: S: whether the stage lets whole devices through, or scales their power.
        seed: Of the draws.
        answer_kw: K x (G + 1).
    """
    stages, groups = centre_level.shape
    state = np.array([seed], dtype=np.uint64)
    together = np.empty(stages)
    cut = np.empty(stages, dtype=np.bool_)
    for k in range(answer_kw.shape[0]):
        for stage in range(stages):
            together[stage] = math.sqrt(common_frac[stage]) * _normal(state)
            cut[stage] = _uniform(state) < common_outage_frac[stage]
        total = 0.0
        for group in range(groups):
            left = int(installed_count[group])
            power_kw = device_kw[group]
            for stage in range(stages):
                own = math.sqrt(1.0 - common_frac[stage]) * _normal(state)
                share = _share_of(centre_level[stage, group] + spread[stage, group] * (together[stage] + own))
                if _uniform(state) < outage_frac[stage, group] or cut[stage]:
                    share *= depth_frac[stage]
                if is_counted[stage]:
                    left = _binomial(state, left, share)
                else:
                    power_kw *= share
            answer_kw[k, group] = left * power_kw
            total += left * power_kw
        answer_kw[k, groups] = total
