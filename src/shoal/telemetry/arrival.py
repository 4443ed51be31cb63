"""When samples arrived, by the plant's clock: the same for everybody who reads the same journal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shoal.domain.clock import Clock
from shoal.telemetry.decode import Decoded


def arrivals(decoded: Decoded, clock: Clock) -> NDArray[np.int64]:
    """Return the arrival of each record.

    Where the clock knows it only to lie between two instants, a message is taken to have arrived as soon after its newest
    record as these allow.
    """
    earliest, latest = clock.at(decoded.arrival_ns)
    if earliest is latest or not len(earliest):
        return earliest
    message = decoded.message
    starts = np.flatnonzero(np.diff(message, prepend=message[0] - 1))
    newest = np.maximum.reduceat(decoded.records["ts_ns"], starts)
    counts = np.diff(starts, append=len(message))
    arrival: NDArray[np.int64] = np.clip(np.repeat(newest, counts), earliest, latest)
    return arrival
