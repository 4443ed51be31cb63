"""The exactly-once window: which samples of a device are in, told by their numbers.

Each device counts its samples. `base` is the number up to which every sample is in (or will never come); a 32-bit mask
above it marks those that came early. So late, repeated and disordered samples are each taken exactly once, and the
plant can tell a device what is durable. A sample too far above a hole is deferred: it is shown live, but not ticked
off, since it will come again; `missing` says from which number on a device is to be asked.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

NEW: Final = 0
"""Taken: it is written to history."""
DUPLICATE: Final = 1
"""It was taken before."""
DEFERRED: Final = 2
"""Too far ahead of a hole to be ticked off: it will be sent again. The live view shows it all the same."""
REFUSED: Final = 3
"""Not usable: its number is ticked off, its values are not taken."""
WINDOW: Final = 32
"""How far above `base` a sample may be to be taken."""
MAX_SEQ: Final = 2**32 - 2
"""The largest number that a sample may have."""
MOST_AHEAD: Final = 2**16 - 1
"""How far above `base` the newest sample may be to be shown live."""


def accounted(twins: NDArray[Any]) -> int:
    """Return how many distinct samples are accounted for: taken, set aside, or given up by their device."""
    return int(twins["base"].sum(dtype=np.int64)) + int(np.bitwise_count(twins["mask"]).sum(dtype=np.int64))


def missing(twins: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions of the twins with a hole, and for each the first number that is missing."""
    holes = np.flatnonzero((twins["mask"] != 0) | (twins["ahead"] != 0))
    return holes, twins["base"][holes].astype(np.int64) + 1
