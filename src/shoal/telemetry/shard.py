"""A twin shard: the one owner of some partitions; its private state is columns, its inbox is the journal.

The state is a function of the journal: a snapshot holds the columns and the journal position up to which they are
complete, and the Parquet files of the history never run ahead of the snapshot. A shard that dies loses nothing: the next
one loads the snapshot, deletes history parts beyond it, and replays.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile
from zlib import error as ZlibError

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import CorruptStateError
from shoal.domain.fleet import Fleet
from shoal.domain.twins import ShardAnswer
from shoal.store.history import HistoryWriter
from shoal.telemetry.decode import Decoded
from shoal.twin.aggregate import GroupSums, sum_groups
from shoal.twin.columns import DEFERRED, DUPLICATE, NEW, TwinColumns

_COUNTERS: Final = ("applied", "duplicates", "deferred", "lost", "quarantined")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardStatistics:
    """What a shard has done since its state began, restarts included."""

    sites: int
    position: int
    applied: int
    duplicates: int
    deferred: int
    lost: int
    quarantined: int
    buffered: int
    history_rows: int


class Shard:
    """The twins of the sites in `rows`.

    Args:
        number: The shard's number.
        rows: Fleet rows that it owns.
        fleet: Nameplates and groups.
        history: Where its records go.
        snapshot_path: Where its state is kept.
    """

    def __init__(
        self,
        *,
        number: int,
        rows: NDArray[np.int64],
        fleet: Fleet,
        history: HistoryWriter,
        snapshot_path: Path,
    ) -> None:
        self.number = number
        self.rows = rows
        self.fleet = fleet
        self.position = 0
        self._columns = TwinColumns(len(rows))
        self._local = np.full(len(fleet.site_ids), -1, dtype=np.int64)
        self._local[rows] = np.arange(len(rows))
        self._history = history
        self._snapshot_path = snapshot_path
        self._buffer: list[tuple[NDArray[np.int64], NDArray[Any], NDArray[np.int64]]] = []
        self._written_to = 0
        self._history_rows = 0
        self._acknowledged = np.zeros(len(rows), dtype=np.int64)
        self._count = dict.fromkeys(_COUNTERS, 0)

    def restore(self) -> None:
        """Load the snapshot, if there is one, and bring the history back to it.

        Raises:
            CorruptStateError: when the snapshot cannot be read or belongs to another fleet.
        """
        if self._snapshot_path.exists():
            try:
                with self._snapshot_path.open("rb") as file, np.load(file) as saved:
                    self._take_over({name: saved[name] for name in saved.files})
            except (OSError, ValueError, TypeError, KeyError, EOFError, BadZipFile, ZlibError) as error:
                raise CorruptStateError(str(self._snapshot_path), str(error)) from error
        elif self._history.is_empty():
            self._save()  # from now on a missing snapshot is a lost one
        else:
            raise CorruptStateError(
                str(self._snapshot_path),
                "it is missing although the shard has a history; restore it, or move twins/ and history/ away together",
            )
        self._history.forget_after(self.position)

    def _take_over(self, state: dict[str, NDArray[Any]]) -> None:
        """Take a snapshot's state; sites that were registered since begin anew."""
        known = self._local[state["rows"][state["rows"] < len(self._local)]]
        if len(known) != len(state["rows"]) or (known < 0).any():
            raise CorruptStateError(
                str(self._snapshot_path),
                "it holds sites that this shard does not own; was telemetry.shards changed? Set it back, or move "
                "twins/ and history/ away together",
            )
        self._columns.restore(state, known)
        self.position = self._written_to = int(state["position"])
        self._history_rows = int(state["history_rows"])
        self._count = {name: int(state[name]) for name in _COUNTERS}

    def take(self, decoded: Decoded, *, last_seq: int) -> None:
        """Apply what was decoded from the journal up to and including `last_seq`."""
        local = self._local[decoded.rows]
        applied = self._columns.apply(local, decoded.records, decoded.oldest_seq, decoded.usable)
        taken = applied.verdict == NEW
        if taken.any():
            self._buffer.append((decoded.rows[taken], decoded.records[taken], decoded.arrival_ns[taken]))
        self._count["applied"] += int(np.count_nonzero(taken))
        self._count["duplicates"] += int(np.count_nonzero(applied.verdict == DUPLICATE))
        self._count["deferred"] += int(np.count_nonzero(applied.verdict == DEFERRED))
        self._count["lost"] += applied.lost
        self._count["quarantined"] += len(decoded.rejected)
        self.position = max(self.position, last_seq)

    def accepted(self) -> int:
        """Return how many distinct samples are accounted for."""
        return self._columns.accepted()

    def checkpoint(self) -> None:
        """Write the buffered records to the history, then the snapshot that vouches for them."""
        if self.position == self._written_to:
            return
        if self._buffer:
            rows = np.concatenate([part[0] for part in self._buffer])
            records = np.concatenate([part[1] for part in self._buffer])
            arrival_ns = np.concatenate([part[2] for part in self._buffer])
            self._history.write(
                records, rows, arrival_ns, from_seq=self._written_to + 1, to_seq=self.position
            )
            self._history_rows += len(rows)
        self._save()
        self._buffer = []
        self._written_to = self.position

    def _save(self) -> None:
        self._snapshot_path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._snapshot_path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            state: dict[str, Any] = {
                "rows": self.rows,
                "position": np.int64(self.position),
                "history_rows": np.int64(self._history_rows),
                **{name: np.int64(value) for name, value in self._count.items()},
                **self._columns.state(),
            }
            np.savez(file, **state)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._snapshot_path)

    def newly_durable(self) -> list[tuple[int, int]]:
        """Return (fleet row, sequence number) for each site whose complete samples grew since last asked.

        What has been read from the journal is on its disk, so a device may forget it.
        """
        base = self._columns.base_seq
        grown = np.flatnonzero(base > self._acknowledged)
        self._acknowledged[grown] = base[grown]
        return [(int(self.rows[local]), int(base[local])) for local in grown]

    def sums(self, *, now_ns: int, fresh_ns: int, unknown_ns: int) -> GroupSums:
        """Return the sums of every group over this shard's sites."""
        return sum_groups(
            self._columns.latest,
            self.rows,
            self.fleet,
            now_ns=now_ns,
            fresh_ns=fresh_ns,
            unknown_ns=unknown_ns,
        )

    def answer(self, *, t_ns: int) -> bytes:
        """Return the answer to a question about every site of the shard."""
        answer = ShardAnswer(
            t_ns=t_ns, shard=self.number, rows=self.rows.tobytes(), latest=self._columns.latest.tobytes()
        )
        return msgspec.msgpack.encode(answer)

    def statistics(self) -> ShardStatistics:
        """Return the counters."""
        return ShardStatistics(
            sites=len(self.rows),
            position=self.position,
            buffered=sum(len(part[0]) for part in self._buffer),
            history_rows=self._history_rows,
            **self._count,
        )
