"""Twins as columns: the row of a site holds its latest record and which of its samples have been taken.

Each device counts its samples. `base` is the number up to which every sample is in (or will never come); a 64-bit
window above it marks those that came early. So late, repeated and disordered samples are each taken exactly once,
and the plant can tell a device what is durable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.kernel import kernel
from shoal.domain.telemetry import TELEMETRY

NEW: Final = 0
DUPLICATE: Final = 1
DEFERRED: Final = 2
REFUSED: Final = 3
WINDOW: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What became of a batch.

    Attributes:
        verdict: For each record `NEW`, `DUPLICATE`, `DEFERRED` (too far ahead of a hole: it is sent again) or
            `REFUSED` (not usable: its number is ticked off, its values are not taken).
        lost: Samples that devices no longer hold and that never came.
    """

    verdict: NDArray[np.int8]
    lost: int

    @property
    def new(self) -> int:
        """How many were taken."""
        return int(np.count_nonzero(self.verdict == NEW))

    @property
    def duplicates(self) -> int:
        """How many had been taken before."""
        return int(np.count_nonzero(self.verdict == DUPLICATE))


class TwinColumns:
    """The twins of `sites` sites.

    Attributes:
        latest: The newest record of each site by device time; `ts_ns` is 0 when none came yet.
        base_seq: Number up to which each site's samples are complete.
        early_mask: Bit k says that sample `base_seq + 1 + k` is in.
    """

    def __init__(self, sites: int) -> None:
        self.latest: NDArray[Any] = TELEMETRY.empty(sites)
        self.base_seq = np.zeros(sites, dtype=np.int64)
        self.early_mask = np.zeros(sites, dtype=np.uint64)

    def __len__(self) -> int:
        return len(self.base_seq)

    @property
    def nbytes(self) -> int:
        """Memory of the columns in bytes."""
        return int(self.latest.nbytes + self.base_seq.nbytes + self.early_mask.nbytes)

    def apply(
        self,
        rows: NDArray[np.int64],
        records: NDArray[Any],
        oldest_seq: NDArray[np.int64],
        usable: NDArray[np.bool_] | None = None,
    ) -> Applied:
        """Take a batch of records, each for the row beside it.

        Args:
            rows: Row of each record, all within range.
            records: Records of `TELEMETRY`, already validated.
            oldest_seq: For each record, the oldest sample that its device still holds: 0 to the record's own number.
            usable: Which records may be taken, all when None. Of the others only the number counts, so that a sample
                that was set aside leaves no hole that its device would try to fill for ever.
        """
        verdict = np.empty(len(records), dtype=np.int8)
        may_take = np.ones(len(records), dtype=np.bool_) if usable is None else usable
        lost = _apply(
            rows, records, oldest_seq, may_take, self.latest, self.base_seq, self.early_mask, verdict
        )
        return Applied(verdict=verdict, lost=int(lost))

    def accepted(self) -> int:
        """Return how many distinct samples are accounted for (taken, or given up by their device)."""
        return int(self.base_seq.sum()) + int(np.bitwise_count(self.early_mask).sum())

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the columns for a snapshot."""
        return {"latest": self.latest, "base_seq": self.base_seq, "early_mask": self.early_mask}

    def restore(self, state: Mapping[str, NDArray[Any]], rows: NDArray[np.int64]) -> None:
        """Take the columns of a snapshot, position by position into `rows`; other rows stay as they are."""
        for name, column in self.state().items():
            column[rows] = state[name]


@kernel
def _apply(
    rows: NDArray[np.int64],
    records: NDArray[Any],
    oldest_seq: NDArray[np.int64],
    usable: NDArray[np.bool_],
    latest: NDArray[Any],
    base_seq: NDArray[np.int64],
    early_mask: NDArray[np.uint64],
    verdict: NDArray[np.int8],
) -> int:
    one = np.uint64(1)
    lost = 0
    for i in range(rows.shape[0]):
        r = rows[i]
        base = base_seq[r]
        mask = early_mask[r]
        first_contact = base == 0 and mask == np.uint64(0)
        # what an unusable record says of its device's store is not believed either
        floor = oldest_seq[i] - 1 if usable[i] else 0
        if floor > base:  # the device has let go of these: what is missing below will never come
            if first_contact or floor - base > 64:
                if not first_contact:
                    held = 0
                    while mask != np.uint64(0):
                        held += int(mask & one)
                        mask >>= one
                    lost += floor - base - held
                mask = np.uint64(0)
                base = floor
            else:
                while base < floor:
                    if mask & one == np.uint64(0):
                        lost += 1
                    mask >>= one
                    base += 1
        while mask & one != np.uint64(0):
            mask >>= one
            base += 1
        ahead = records[i].seq - base
        if ahead <= 0:
            verdict[i] = 1 if usable[i] else 3
        elif ahead > 64:
            verdict[i] = 2 if usable[i] else 3
        else:
            bit = one << np.uint64(ahead - 1)
            if mask & bit != np.uint64(0):
                verdict[i] = 1 if usable[i] else 3
            else:
                verdict[i] = 0 if usable[i] else 3
                mask |= bit
                while mask & one != np.uint64(0):
                    mask >>= one
                    base += 1
                if usable[i] and records[i].ts_ns >= latest[r].ts_ns:
                    latest[r] = records[i]
        base_seq[r] = base
        early_mask[r] = mask
    return lost
