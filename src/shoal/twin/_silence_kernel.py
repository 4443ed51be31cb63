"""The estimate of every group in one compiled pass, parents first; `shoal.twin.silence` says what is reckoned and why.

A plant of a million sites has tens of thousands of groups and refreshes them every second. The plain form, which
learning uses, is `silent_part` with `SilenceTable.quantiles`; the tests hold the two against each other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shoal.domain.kernel import kernel

_SMALL = 1e-9


@kernel
def estimate_groups(
    fresh_w: NDArray[np.float64],
    fresh_scale: NDArray[np.float64],
    sums: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
    silent_scale: NDArray[np.float64],
    silent_sites: NDArray[np.int64],
    sites: NDArray[np.int64],
    parent_number: NDArray[np.int64],
    order: NDArray[np.int64],
    shrink_sites: NDArray[np.float64],
    correlation: NDArray[np.float64],
    at_size: NDArray[np.float64],
    shares: tuple[float, float],
    z: NDArray[np.float64],
    told_w: NDArray[np.float64],
) -> None:
    """Fill `told_w` (G x 4 x 5: expected, low, high, firm) from the sums A, B, V and C and the rest of them."""
    a, b, v, c = sums
    few, most = shares
    mean = np.zeros_like(fresh_w)
    sd = np.empty(4)
    floor = np.empty(5)
    ceiling = np.empty(5)
    for position in range(order.shape[0]):
        g = order[position]
        above = parent_number[g]
        total_w = 0.0
        for s in range(4):
            leaned_w, scale = fresh_w[g, s], fresh_scale[g, s]
            if above >= 0:
                lean = shrink_sites[s] * (scale + silent_scale[g, s]) / max(sites[g], 1)
                leaned_w += lean * mean[above, s]
                scale += lean
            mean[g, s] = leaned_w / max(scale, _SMALL)
            told_w[g, :, s] = fresh_w[g, s]
            total_w += fresh_w[g, s]
        told_w[g, :, 4] = total_w
        if silent_sites[g] == 0:
            continue
        floor[0], ceiling[0] = -silent_scale[g, 0], silent_scale[g, 0]
        floor[1], ceiling[1] = -silent_scale[g, 1], 0.0
        floor[2], ceiling[2] = 0.0, np.inf
        floor[3], ceiling[3] = 0.0, silent_scale[g, 3]
        floor[4], ceiling[4] = floor[0] + floor[1], np.inf

        # where this group lies among the sizes and shares that quantiles are known for
        size = np.log(float(silent_sites[g]))
        left = 0
        while left < at_size.shape[0] - 2 and size > at_size[left + 1]:
            left += 1
        right = min(left + 1, at_size.shape[0] - 1)
        beyond = 0.0
        if right > left:
            beyond = min(max((size - at_size[left]) / (at_size[right] - at_size[left]), 0.0), 1.0)
        most_frac = min(max((silent_sites[g] / max(sites[g], 1) - few) / (most - few), 0.0), 1.0)

        silent_total_w = 0.0
        variance_w2 = 0.0
        for s in range(4):
            sd[s] = np.sqrt(v[g, s] + c[g, s] * c[g, s])
        for q in range(5):
            if q < 4:
                silent_w = min(max(a[g, q] + b[g, q] * mean[g, q], floor[q]), ceiling[q])
                silent_total_w += silent_w
                error_w = sd[q]
                for s in range(4):
                    variance_w2 += sd[q] * correlation[q, s] * sd[s]
            else:
                silent_w = silent_total_w
                error_w = np.sqrt(max(variance_w2, 0.0))
            told_w[g, 0, q] += silent_w
            for side in range(3):
                at_left = (1.0 - most_frac) * z[side, q, 0, left] + most_frac * z[side, q, 1, left]
                at_right = (1.0 - most_frac) * z[side, q, 0, right] + most_frac * z[side, q, 1, right]
                factor = (1.0 - beyond) * at_left + beyond * at_right
                told_w[g, side + 1, q] += min(max(silent_w + factor * error_w, floor[q]), ceiling[q])
