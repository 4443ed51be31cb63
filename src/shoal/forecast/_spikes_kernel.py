"""Compiled kernels of the price model: the filter of how unusual prices are, and the outcomes of every state."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shoal.domain.kernel import kernel

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@kernel
def follow_factors(
    unusual: Floats, decay: Floats, gain: Floats, most_scale: float, factors: Floats, foreseen: Floats
) -> None:
    """Carry the factors over intervals and fill what they foresaw; a surprise beyond `most_scale` counts as that.

    Args:
        unusual: N numbers; NaN where the price says nothing.
        decay: F shares that a factor keeps over an interval.
        gain: F shares of a surprise that go into a factor.
        most_scale: The largest surprise that is believed.
        factors: F, from before the first interval; changed to after the last.
        foreseen: N, filled with what was expected before each interval.
    """
    for i in range(unusual.shape[0]):
        expected = 0.0
        for f in range(factors.shape[0]):
            factors[f] *= decay[f]
            expected += factors[f]
        foreseen[i] = expected
        missed = unusual[i] - expected
        if not np.isnan(missed):
            held = min(max(missed, -most_scale), most_scale)
            for f in range(factors.shape[0]):
                factors[f] += gain[f] * held


@kernel
def ordinary_prices(
    usual: Floats,
    spread: Floats,
    expected: Floats,
    surprise: Floats,
    money_scale: float,
    most_per_mwh: float,
    price: Floats,
) -> None:
    """Fill S x Z x O prices: what S slots usually bring, Z expected deviations, O x U surprises averaged over U."""
    parts = surprise.shape[1]
    for s in range(usual.shape[0]):
        for z in range(expected.shape[0]):
            for o in range(surprise.shape[0]):
                total = 0.0
                for u in range(parts):
                    x = usual[s] + spread[s] * (expected[z] + surprise[o, u])
                    total += min(money_scale * np.sinh(x), most_per_mwh)
                price[s, z, o] = total / parts


@kernel
def spike_stages(
    price: Floats, follows: NDArray[np.bool_], least_per_mwh: float, window_count: int, stage: Counts
) -> None:
    """Fill the stage after each interval: 0 no spike, 1 a young one, 2 one that has filled half of the window.

    Args:
        price: N prices.
        follows: Whether the interval follows the one before it without a gap.
        least_per_mwh: The lowest price of a spike.
        window_count: Intervals, the newest included, among which spikes are counted.
        stage: N, filled.
    """
    gap = 0
    for i in range(price.shape[0]):
        if not follows[i]:
            gap = i
        stage[i] = 0
        if price[i] >= least_per_mwh:
            seen = 0
            for k in range(max(gap, i - window_count + 1), i + 1):
                seen += price[k] >= least_per_mwh
            stage[i] = 2 if 2 * seen >= window_count else 1


@kernel
def count_spikes(
    price: Floats,
    body: Floats,
    follows: NDArray[np.bool_],
    stage: Counts,
    least_per_mwh: float,
    levels: Floats,
    heights: Floats,
    entries: Floats,
    exposed: Floats,
    went_on: Floats,
    inside: Floats,
    height_seen: Floats,
) -> None:
    """Count how spikes begin, go on, and how high they are.

    Args:
        price: N prices.
        body: N levels of ordinary prices, each known before its interval.
        follows: Whether the interval follows the one before it without a gap.
        stage: N stages, see `spike_stages`.
        least_per_mwh: The lowest price of a spike.
        levels: B - 1 levels where classes of ordinary prices meet.
        heights: H - 1 prices where classes of height meet.
        entries: B, filled with spikes that began.
        exposed: B, filled with intervals after which one could have begun.
        went_on: 3, filled with intervals by the stage before that were followed by another of the spike.
        inside: 3, filled with all intervals by stage.
        height_seen: 3 x H, filled with heights by the stage before.
    """
    for i in range(1, price.shape[0]):
        if not follows[i]:
            continue
        before, spike = stage[i - 1], price[i] >= least_per_mwh
        inside[before] += 1.0
        if before == 0:
            at = np.searchsorted(levels, body[i])
            exposed[at] += 1.0
            if spike:
                entries[at] += 1.0
        if spike:
            went_on[before] += 1.0
            height_seen[before, np.searchsorted(heights, price[i])] += 1.0
