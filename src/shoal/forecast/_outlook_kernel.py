"""Compiled kernels of the outlook: what is usual day by day, how far prices are from it, and what follows.

Every loop runs forwards in time and reads nothing ahead of the interval it stands at, but for the outcomes that the
regression is told of.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shoal.domain.kernel import kernel

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@kernel
def smooth_slots(total: Floats, seen: Floats, width: int, mean: float, usual: Floats) -> None:
    """Fill what is usual at each slot: the weighted mean of the slots around it, near ones counting more."""
    slots = total.shape[0]
    for s in range(slots):
        top, bottom = 1e-6 * mean, 1e-6
        for off in range(-width, width + 1):
            share = 1.0 - abs(off) / (width + 1.0)
            at = (s + off) % slots
            top += share * total[at]
            bottom += share * seen[at]
        usual[s] = top / bottom


@kernel
def learn_usual(
    z: Floats, slot: Counts, chunk_count: int, keep_frac: float, width: int, usual: Floats
) -> None:
    """Fill what was usual before each chunk of `chunk_count` intervals, and after the last: (K + 1) x S.

    The last chunk ends with the last interval; the first may be shorter. An older chunk counts `keep_frac` times as much
    as the one after it. Before anything was seen, the mean of the first chunk stands for all.
    """
    slots, count = usual.shape[1], z.shape[0]
    chunks = usual.shape[0] - 1
    total, seen = np.zeros(slots), np.zeros(slots)
    begin = 0
    mean = 0.0
    for q in range(chunks):
        end = count - (chunks - 1 - q) * chunk_count
        if q == 0:
            mean = z[begin:end].mean()
        smooth_slots(total, seen, width, mean, usual[q])
        for s in range(slots):
            total[s] *= keep_frac
            seen[s] *= keep_frac
        for i in range(begin, end):
            total[slot[i]] += z[i]
            seen[slot[i]] += 1.0
        mean = total.sum() / seen.sum()
        begin = end
    smooth_slots(total, seen, width, mean, usual[chunks])


@kernel
def follow(z: Floats, slot: Counts, usual: Floats, gain: Floats, state: Floats) -> None:
    """Move the running means of how far prices are from the usual over some more intervals."""
    for i in range(z.shape[0]):
        far = z[i] - usual[slot[i]]
        for f in range(gain.shape[0]):
            state[f] += gain[f] * (far - state[f])


@kernel
def follow_days(
    z: Floats, slot: Counts, chunk_count: int, usual: Floats, gain: Floats, states: Floats
) -> None:
    """Fill the running means after every interval, N x F, each day against what was usual before it."""
    count, chunks = z.shape[0], usual.shape[0] - 1
    state = np.zeros(gain.shape[0])
    for i in range(count):
        q = chunks - 1 - (count - 1 - i) // chunk_count
        far = z[i] - usual[q, slot[i]]
        for f in range(gain.shape[0]):
            state[f] += gain[f] * (far - state[f])
        states[i] = state


@kernel
def block_means(usual: Floats, starts: Counts, lengths: Counts, means: Floats) -> None:
    """Fill the mean of the usual over each block ahead of each slot: S x J."""
    slots = usual.shape[0]
    for s in range(slots):
        for j in range(starts.shape[0]):
            sum_ = 0.0
            for k in range(lengths[j]):
                sum_ += usual[(s + 1 + starts[j] + k) % slots]
            means[s, j] = sum_ / lengths[j]


@kernel
def gather(
    z: Floats,
    slot: Counts,
    follows: NDArray[np.bool_],
    chunk_count: int,
    usual: Floats,
    starts: Counts,
    lengths: Counts,
    origins: Counts,
    targets: Floats,
) -> None:
    """Fill how far the price of each block ahead of each origin turned out to be from what was usual: K x J.

    Beyond a gap the usual is taken to have come; where a gap comes within the first block, the row is NaN.
    """
    count, chunks, blocks = z.shape[0], usual.shape[0] - 1, starts.shape[0]
    sums = np.zeros(count + 1)
    for i in range(count):
        sums[i + 1] = sums[i] + z[i]
    unbroken = np.zeros(count, np.int64)
    for i in range(count - 2, -1, -1):
        unbroken[i] = unbroken[i + 1] + 1 if follows[i + 1] else 0
    means = np.empty((usual.shape[1], blocks))
    last = -1
    for k in range(origins.shape[0]):
        o = origins[k]
        q = chunks - 1 - (count - 1 - o) // chunk_count
        if q != last:
            block_means(usual[q], starts, lengths, means)
            last = q
        for j in range(blocks):
            first = o + 1 + starts[j]
            if unbroken[o] >= starts[j] + lengths[j]:
                targets[k, j] = (sums[first + lengths[j]] - sums[first]) / lengths[j] - means[slot[o], j]
            else:
                targets[k, j] = 0.0 if j > 0 else np.nan


@kernel
def accumulate(
    features: Floats, targets: Floats, group: Counts, weight: Floats, gram: Floats, cross: Floats
) -> None:
    """Add weighted products of features with each other (G x F x F) and with targets (G x F x J)."""
    for k in range(features.shape[0]):
        if not np.isfinite(targets[k, 0]):
            continue
        g, w = group[k], weight[k]
        for a in range(features.shape[1]):
            x = w * features[k, a]
            for b in range(features.shape[1]):
                gram[g, a, b] += x * features[k, b]
            for j in range(targets.shape[1]):
                cross[g, a, j] += x * targets[k, j]


@kernel
def foresee(
    prices: Floats,
    slot_number: int,
    state: Floats,
    gain: Floats,
    usual: Floats,
    usual_ahead: Floats,
    coefficient: Floats,
    error_cosh: Floats,
    error_sinh: Floats,
    chance: Floats,
    scale: float,
    low: float,
    high: float,
    paths: Floats,
) -> None:
    """Fill the expected price of each block ahead, should the interval now come at each of some prices: L x J.

    `error_cosh` and `error_sinh`, J x B, are those of the typical errors: sinh(a + e) follows from them and sinh(a).
    No outcome leaves the market's range.
    """
    features = np.empty(state.shape[0])
    for i in range(prices.shape[0]):
        far = np.arcsinh(prices[i] / scale) - usual[slot_number]
        for f in range(state.shape[0]):
            features[f] = state[f] + gain[f] * (far - state[f])
        for j in range(coefficient.shape[0]):
            z = usual_ahead[slot_number, j]
            for f in range(features.shape[0]):
                z += coefficient[j, f] * features[f]
            up = np.exp(min(max(z, -9.0), 9.0))
            down = 1.0 / up
            sinh, cosh = 0.5 * (up - down), 0.5 * (up + down)
            mean = 0.0
            for b in range(chance.shape[0]):
                outcome = scale * (sinh * error_cosh[j, b] + cosh * error_sinh[j, b])
                mean += chance[b] * min(max(outcome, low), high)
            paths[i, j] = mean
