"""History first, then the journal: a reader that sees every sample once, from the oldest file to the latest message.

A snapshot of history ends at a journal position; the historian's window at or before that position is saved beside it. A reader
takes the window, goes through the journal in silence up to the position, and from there on gives what the historian will write:
the same samples, because both are the same function of the same journal.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from shoal.domain.errors import CorruptStateError, UnavailableError
from shoal.fabric.batch import JournalBatch
from shoal.store.history import History, Snapshot
from shoal.store.history_snapshots import SnapshotStore
from shoal.store.history_write import Mark, Samples
from shoal.telemetry.historian_unit import Reader
from shoal.telemetry.intake import Intake, split

_TRIES: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class TailBatch:
    """Samples that follow what was seen before.

    Attributes:
        position: Journal position up to which everything has been given now.
        samples: The new ones; may be none.
    """

    position: int
    samples: Samples


class Tail:
    """Goes on where a snapshot of history ends, for one unit.

    Args:
        mark: Where the snapshot ends.
        intake: Holds the window that the mark refers to.
    """

    def __init__(self, mark: Mark, intake: Intake) -> None:
        self._mark = mark
        self._intake = intake

    @property
    def start_seq(self) -> int:
        """The first journal position to read."""
        return self._mark.snapshot_position + 1

    def take(self, batch: JournalBatch) -> TailBatch:
        """Return the samples of a batch that come after the snapshot; batches are given in order from `start_seq` on."""
        known, new = split(batch, self._mark.position)
        if known is not None:
            self._intake.take(known)
        samples = self._intake.take(new) if new is not None else Samples.none()
        return TailBatch(position=max(int(batch.seq[-1]), self._mark.position), samples=samples)

    async def follow(self, reader: Reader, *, max_wait_s: float = 1.0) -> AsyncIterator[TailBatch]:
        """Yield what the journal brings after the snapshot, for ever.

        Args:
            reader: Reads the unit's partitions from `start_seq` on.
            max_wait_s: How long to wait for messages before looking again whether to go on.
        """
        while True:
            batch = await reader.read(max_wait_s)
            if batch is not None:
                yield self.take(batch)


async def snapshot_then_tail(
    history: History, *, unit: str, intake: Intake, snapshots: SnapshotStore
) -> tuple[Snapshot, Tail]:
    """Return history as it is now, to be asked with `History.query(..., snapshot=...)`, and what goes on from there.

    Args:
        history: The history.
        unit: The unit to follow; of several each has a tail of its own, and one snapshot serves them all.
        intake: A fresh one, for the unit's sites.
        snapshots: Where the historian saves its window.

    Raises:
        UnavailableError: when the unit has not written yet, or the window is replaced faster than it is read.
        CorruptStateError: when the window is gone although it is the newest.
    """
    before: Mark | None = None
    for _ in range(_TRIES):
        snapshot = await asyncio.to_thread(history.snapshot)
        mark = snapshot.marks.get(unit)
        if mark is None:
            raise UnavailableError(f"history unit {unit}", "it has written nothing yet")
        try:
            if mark.snapshot:
                intake.restore(await snapshots.load(mark.snapshot))
        except CorruptStateError:
            if before == mark:
                raise
            before = mark
            continue
        return snapshot, Tail(mark, intake)
    raise UnavailableError(f"history unit {unit}", "its window is replaced faster than it is read; ask again")
