"""Room in which the kernels of a home's plan work: made once for a run of homes, so that no plan allocates."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shoal.domain.kernel import kernel
from shoal.optimise import _home_stage as stage

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

RELEASED_KWH, CAR_KWH, RELAXED, NET_KWH, CURTAILED_KWH, EXCESS = range(6)
"""Rows of a path: stored energy released; the car's; the relaxed cost; net import; curtailment; true less relaxed cost."""
PATH_ROWS = 6
LOW, HIGH, TRIAL, BEST = range(4)
"""Paths: of the two tangents at what a kWh in the car is worth; the next one; the plan."""
PATHS = 4
PLAIN_SLOPES = 12
"""Every piece of an interval cut at the battery's zero, what lies beyond the limits, and one to spare."""
EDGE_ROWS = 9
"""Where the pieces begin and end, and the slopes of four."""


class Room(NamedTuple):
    """Arrays of the general kernel (`lists` to `kinds`), of the plain one (`edges` to `used_kwh`), and paths of both."""

    lists: Floats
    worth: Floats
    reach: Floats
    level: Floats
    pieces: Floats
    counts: Whole
    kinds: Whole
    edges: Floats
    plain_worth: Floats
    plain_reach: Floats
    plain_counts: Whole
    slope_per_kwh: Floats
    length_kwh: Floats
    row: Whole
    used_kwh: Floats
    paths: Floats


@kernel
def room_for(steps: int, ramp_count: int) -> Room:
    """Return room for plans of so many intervals and levels of wear."""
    work = steps * (stage.MOST_SLOPES + ramp_count + 1) + ramp_count + 9
    # A list that grows at either end, from its middle.
    both_ways = 2 * (steps * PLAIN_SLOPES + 8)
    return Room(
        np.empty((4, work)),
        np.empty((steps, stage.MOST_SLOPES)),
        np.empty((steps, stage.MOST_SLOPES)),
        np.empty((steps, stage.MOST_SLOPES)),
        np.empty((steps, stage.PIECE_COLUMNS)),
        np.empty((steps, stage.COUNT_COLUMNS), np.int64),
        np.empty((steps, stage.MOST_PIECES), np.int64),
        np.empty((EDGE_ROWS, steps)),
        np.empty((steps, PLAIN_SLOPES)),
        np.empty((steps, PLAIN_SLOPES)),
        np.empty(steps, np.int64),
        np.empty(both_ways),
        np.empty(both_ways),
        np.empty(both_ways, np.int64),
        np.empty(steps + 1),
        np.empty((PATHS, PATH_ROWS, steps)),
    )
