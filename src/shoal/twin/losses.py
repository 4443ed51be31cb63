"""Which sites lost samples of late, and how many: only those are kept, so that all others pay nothing for it.

A site is told of until it has lost nothing more for `QUIET_S`; what it loses after that is counted anew. Time is that of
arrival in the journal, so this is a function of the journal, as the twins are.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.interval import NS_PER_S

QUIET_S: Final = 900.0
"""A site that has lost nothing for so long is well again."""
LEAST_NAMED: Final = 16_384
"""Of so many sites at once it is known what they lost, or of an eighth of all if that is more; of others, the latest."""
MOST_WAITING: Final = 4_096
LOSS: Final = np.dtype([("row", "<i4"), ("lost", "<u4"), ("at_ns", "<i8")])

_QUIET_NS: Final = int(QUIET_S * NS_PER_S)
_MOST_LOST: Final = 2**32 - 1


class Losses:
    """The losses of some sites, named by their fleet rows.

    Args:
        sites: How many sites there are.
    """

    def __init__(self, sites: int) -> None:
        self.follow(sites)
        self._held: NDArray[Any] = np.empty(0, dtype=LOSS)
        self._waiting: list[NDArray[Any]] = []
        self._waiting_count = 0

    def follow(self, sites: int) -> None:
        """Go on with so many sites; their fleet rows stay the same."""
        self._most_named = max(LEAST_NAMED, sites // 8)

    @property
    def nbytes(self) -> int:
        """Memory in bytes; 0 while nothing is lost."""
        return (len(self._held) + self._waiting_count) * LOSS.itemsize

    def note(self, rows: NDArray[Any], lost: NDArray[np.int64], at_ns: NDArray[np.int64]) -> None:
        """Take how many samples were given up of each of these sites, and when; a site may be there several times."""
        if not len(rows):
            return
        new = np.empty(len(rows), dtype=LOSS)
        new["row"], new["at_ns"] = rows, at_ns
        new["lost"] = np.minimum(lost, _MOST_LOST)
        self._waiting.append(new)
        self._waiting_count += len(new)
        if (
            self._waiting_count > MOST_WAITING
        ):  # else they wait until somebody asks: many batches cost one sort
            self._settle()

    def at(self, now_ns: int) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
        """Return the rows of the sites that are not quiet yet, ascending, and how many samples each has lost."""
        self._settle()
        held = self._held[self._held["at_ns"] > now_ns - _QUIET_NS]
        return held["row"].astype(np.int64), held["lost"].copy()

    def state(self) -> NDArray[Any]:
        """Return a copy of all there is, of dtype `LOSS`."""
        self._settle()
        return self._held.copy()

    def restore(self, state: NDArray[Any]) -> None:
        """Take a copy back; one of another version is forgotten, since it only speaks of the last minutes."""
        self._held = state.copy() if state.dtype == LOSS else np.empty(0, dtype=LOSS)
        self._waiting, self._waiting_count = [], 0

    def _settle(self) -> None:
        """Put what waits beside what is held: one entry a site, of its latest losses without a long pause."""
        if not self._waiting:
            return
        every = np.concatenate([self._held, *self._waiting])
        self._waiting, self._waiting_count = [], 0
        every = every[np.lexsort((every["at_ns"], every["row"]))]
        row, at_ns = every["row"], every["at_ns"]
        is_first = np.ones(len(every), dtype=np.bool_)
        is_first[1:] = (row[1:] != row[:-1]) | (at_ns[1:] - at_ns[:-1] >= _QUIET_NS)
        first = np.flatnonzero(is_first)
        held = every[np.append(first[1:], len(every)) - 1]
        held["lost"] = np.minimum(np.add.reduceat(every["lost"].astype(np.int64), first), _MOST_LOST)
        is_latest = np.append(held["row"][1:] != held["row"][:-1], True)
        held = held[is_latest & (held["at_ns"] > at_ns.max() - _QUIET_NS)]
        if len(held) > self._most_named:
            latest = np.argsort(held["at_ns"], kind="stable")[-self._most_named :]
            held = held[np.sort(latest)]
        self._held = held
