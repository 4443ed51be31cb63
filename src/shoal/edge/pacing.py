"""When each of many sites may report, by the pace that the plant has asked for.

A site that is slowed down gets a place of its own within the interval, and returns to its own pace at a place of its
own after the end: the plant is relieved at once and not overrun afterwards. Nothing waits here; what is not said
stays in the outbox.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.interval import NS_PER_S
from shoal.domain.pace import Pace

_ALL: Final = slice(None)


class Pacing:
    """The pace of N sites.

    Attributes:
        heard: Words that were newer than what the site knew.
        ignored: Words that were not, or that were over when they came.
    """

    def __init__(self, sites: int, rng_seed: int) -> None:
        """Begin without a limit for anybody."""
        self._rng = np.random.default_rng(rng_seed)
        self._issued_ns = np.full(sites, -1, dtype=np.int64)
        self._every_ns = np.zeros(sites, dtype=np.int64)
        self._next_ns = np.zeros(sites, dtype=np.int64)
        self._until_ns = np.zeros(sites, dtype=np.int64)
        self.heard = 0
        self.ignored = 0

    def hear(self, rows: NDArray[np.int64], pace: Pace, now_ns: int) -> None:
        """Take a word that some sites have heard, unless a newer one is known."""
        newer = rows[pace.issued_ns > self._issued_ns[rows]]
        if pace.every_s > 0 and pace.until_ns <= now_ns:
            newer = newer[:0]
        self.ignored += len(rows) - len(newer)
        self.heard += len(newer)
        if not len(newer):
            return
        self._issued_ns[newer] = pace.issued_ns
        every_ns = int(pace.every_s * NS_PER_S)
        # who is slowed down already keeps its place, so that repeated words do not push its turn ahead of it
        again = self._slowed(newer, now_ns) & (self._every_ns[newer] == every_ns)
        fresh = newer[~again]
        self._every_ns[newer] = every_ns
        self._next_ns[fresh] = now_ns + (self._rng.random(len(fresh)) * every_ns).astype(np.int64)
        # each at a place of its own after the end, and at once when the plant takes its word back
        self._until_ns[newer] = pace.until_ns + (self._rng.random(len(newer)) * every_ns).astype(np.int64)

    def may_report(self, now_ns: int) -> NDArray[np.bool_]:
        """Return who may report now (N)."""
        may: NDArray[np.bool_] = ~self._slowed(_ALL, now_ns) | (self._next_ns <= now_ns)
        return may

    def reported(self, rows: NDArray[np.int64], now_ns: int) -> None:
        """Note who has reported: its next turn is an interval later."""
        # by whole intervals, so that each keeps its place among the others
        every_ns = np.maximum(self._every_ns[rows], 1)
        behind = np.maximum(now_ns - self._next_ns[rows], 0) // every_ns + 1
        slowed = self._slowed(rows, now_ns)
        self._next_ns[rows[slowed]] += (behind * every_ns)[slowed]

    def slowed(self, now_ns: int) -> int:
        """Return how many sites are slowed down now."""
        return int(np.count_nonzero(self._slowed(_ALL, now_ns)))

    def _slowed(self, rows: NDArray[np.int64] | slice, now_ns: int) -> NDArray[np.bool_]:
        slowed: NDArray[np.bool_] = (now_ns < self._until_ns[rows]) & (self._every_ns[rows] > 0)
        return slowed
