"""The pass over many sites that adds up what flows at or below each limited group."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shoal.domain.kernel import kernel

Whole = NDArray[np.int64]


@kernel
def add_up(rows: Whole, leaf: Whole, values: Whole, parent: Whole, total: Whole) -> None:
    """Add the values of some rows to their groups' totals, and those to the groups around, which come before them."""
    for place in range(rows.shape[0]):
        group = leaf[rows[place]]
        if group >= 0:
            total[group] += values[place]
    for group in range(parent.shape[0] - 1, -1, -1):
        if parent[group] >= 0:
            total[parent[group]] += total[group]
