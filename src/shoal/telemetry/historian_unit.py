"""One unit of history: the sites of one shard, followed in the journal and written, each sample once.

After a restart it takes its last snapshot, goes through the journal in silence up to where it had written, and writes from
there. It comes to the same samples as the live shard, because both are functions of the same journal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

import msgspec
import numpy as np
import structlog

from shoal.domain.clock import Clock
from shoal.domain.errors import UnavailableError
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_S
from shoal.fabric.batch import JournalBatch
from shoal.fabric.journal import JournalStatistics
from shoal.runtime.room import DiskRoom
from shoal.store.history_register import UnitState
from shoal.store.history_snapshots import SnapshotStore
from shoal.store.history_write import Samples, Writer
from shoal.telemetry.intake import Intake, split

GATHER_S: Final = 0.005
"""Pause between two reads, so that messages gather: a batch costs far more than the messages in it."""
READ_WAIT_S: Final = 1.0

_log = structlog.get_logger(__name__)


class Reader(Protocol):
    """What is needed of a `JournalReader`."""

    async def read(self, max_wait_s: float) -> JournalBatch | None:
        """Return the next messages, or None after `max_wait_s`."""
        ...

    def ask(self, count: int) -> None:
        """Let at least `count` more messages come."""
        ...

    def statistics(self) -> JournalStatistics:
        """Return what the reader did so far."""
        ...

    async def close(self) -> None:
        """Remove the consumer and close the connections."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitOptions:
    """When a unit writes.

    Attributes:
        write_rows: Samples in memory at which it writes at once.
        write_every_s: How long a sample waits at most, plant time.
        snapshot_every_s: How often the window is saved, plant time.
        gather_s: Pause between two reads, machine time.
    """

    write_rows: int = 1_000_000
    write_every_s: float = 15.0
    snapshot_every_s: float = 900.0
    gather_s: float = GATHER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitStatistics:
    """What a unit did, and how far it is behind.

    Attributes:
        position: Journal position up to which history is written.
        read_position: Position up to which the journal was read.
        pending: Messages of the journal that wait to be read.
        buffered: Samples in memory, not written yet.
        waiting_s: How long the oldest of them has waited, plant time.
        rows: Samples written since history began.
        writes: Writes since the process began.
        snapshots: Snapshots of the window since then.
        replayed: Messages gone through in silence since then.
    """

    position: int
    read_position: int
    pending: int
    buffered: int
    waiting_s: float
    rows: int
    writes: int
    snapshots: int
    replayed: int


@dataclass(slots=True)
class _Buffer:
    """Samples that wait to be written."""

    parts: list[Samples] = field(default_factory=list)
    rows: int = 0
    since_ns: int = 0

    @property
    def oldest_ns(self) -> int:
        """When the first of them came to the journal."""
        return int(self.parts[0].arrival_ns[0])

    def add(self, samples: Samples, now_ns: int) -> None:
        if len(samples):
            self.since_ns = self.since_ns if self.rows else now_ns
            self.parts.append(samples)
            self.rows += len(samples)

    def take(self) -> Samples:
        """Return all as one, and be empty."""
        parts, self.parts, self.rows = self.parts, [], 0
        return Samples(
            records=np.concatenate([p.records for p in parts]),
            site_no=np.concatenate([p.site_no for p in parts]),
            arrival_ns=np.concatenate([p.arrival_ns for p in parts]),
        )


class HistorianUnit:
    """Writes the history of some sites, of which it reads the journal.

    Args:
        unit: The unit's name.
        token: The token under which the unit is owned.
        options: When it writes.
        clock: The plant's clock.
        intake: Judges the samples.
        writer: Writes them.
        snapshots: Where the window is saved.
        gate: Open while messages may be taken in; a clock that waits for nobody leaves it open.
        on_taken: Called after each batch.
        room: The disk's; while it is full nothing is written, and nothing more is read than fits in memory.
    """

    def __init__(
        self,
        *,
        unit: str,
        token: int,
        options: UnitOptions,
        clock: Clock,
        intake: Intake,
        writer: Writer,
        snapshots: SnapshotStore,
        gate: asyncio.Event,
        on_taken: Callable[[], None] = lambda: None,
        room: DiskRoom | None = None,
    ) -> None:
        self._unit = unit
        self._token = token
        self._options = options
        self._clock = clock
        self._intake = intake
        self._writer = writer
        self._snapshots = snapshots
        self._gate = gate
        self._on_taken = on_taken
        self._room = room
        self._state = UnitState()
        self._buffer = _Buffer()
        self._read_to = 0
        self._snapshot_ns = 0
        self._written_ns = 0
        self._came_ns = self._under_way_ns = 0
        self._reader: Reader | None = None
        self._writing: asyncio.Task[None] | None = None
        self._failed = False
        self._missed = False
        self._under_way = self._writes = self._saved = self._replayed = 0

    async def restore(self) -> int:
        """Finish what a former owner left, load the window, and return the first journal position to read.

        Raises:
            CorruptStateError: when files or the snapshot are gone that were committed.
        """
        self._state = await self._writer.recover()
        if self._state.snapshot:
            self._intake.restore(await self._snapshots.load(self._state.snapshot))
        self._read_to = self._state.snapshot_position
        self._written_ns = self._clock.now_ns()
        _log.info("restored", unit=self._unit, position=self._state.position, replay_from=self._read_to + 1)
        return self._read_to + 1

    async def read(self, reader: Reader) -> None:
        """Take in what the unit's one reader brings, for ever.

        Raises:
            UnavailableError: when a write failed, here or by another caller: the unit is to be made again.
        """
        self._reader = reader
        while True:
            batch = await reader.read(READ_WAIT_S)
            if self._failed and (self._writing is None or self._writing.done()):
                raise self._broken()
            if batch is None:
                continue
            await self._gate.wait()
            self._take(batch)
            if self._buffer.rows >= self._options.write_rows:
                if self._room is not None:
                    await self._room.wait()
                await self.write()
            self._on_taken()
            await asyncio.sleep(self._options.gather_s)

    def _take(self, batch: JournalBatch) -> None:
        known, new = split(batch, self._state.position)
        if known is not None:
            self._intake.take(known)
            self._replayed += len(known)
        if new is not None:
            self._buffer.add(self._intake.take(new), self._clock.now_ns())
        self._read_to = max(self._read_to, int(batch.seq[-1]))
        self._came_ns = int(self._clock.at(batch.timestamp_ns[-1:])[1][0])

    async def write(self, *, snapshot: bool = False) -> None:
        """Write all that was read, so that history is complete up to there; a cancelled caller leaves no half write.

        Args:
            snapshot: Whether to save the window too, although it is not due.

        Raises:
            FencedOutError: when another owns the unit.
            UnavailableError: when a write failed before: only a restart knows what stands.
        """
        while self._writing is not None and not self._writing.done():
            await asyncio.shield(self._writing)
        if self._failed:
            raise self._broken()
        if self._read_to <= self._state.position:
            return
        self._writing = asyncio.create_task(self._write(snapshot=snapshot))
        await asyncio.shield(self._writing)

    async def _write(self, *, snapshot: bool) -> None:
        self._failed = True
        now_ns = self._clock.now_ns()
        self._under_way_ns = self._buffer.oldest_ns if self._buffer.rows else now_ns
        samples = self._buffer.take() if self._buffer.rows else Samples.none()
        self._under_way = len(samples)
        state = msgspec.structs.replace(self._state, position=self._read_to)
        due_ns = self._snapshot_ns + int(self._options.snapshot_every_s * NS_PER_S)
        saved = b""
        if snapshot or not self._state.snapshot or now_ns >= due_ns:
            # nothing is awaited between the two above and here: the window is that of the position
            saved = await self._saved_window()
        if saved:
            state = msgspec.structs.replace(state, snapshot=saved, snapshot_position=state.position)
        try:
            self._state = await self._writer.write(samples, state)
        except (OSError, UnavailableError) as error:
            if self._room is not None:
                self._room.refused(error)
            raise
        if self._room is not None:
            self._room.wrote()
        self._failed = False
        self._under_way = 0
        self._written_ns = now_ns
        self._writes += 1
        if saved:
            self._missed = False
            self._snapshot_ns = now_ns
            self._saved += 1
            try:
                await self._snapshots.purge(saved)
            except UnavailableError as error:
                _log.warning("old snapshots stay until the next one", why=str(error))

    async def _saved_window(self) -> bytes:
        """Return the reference of the saved window; none when there is no place for it.

        A write goes on without: the former window stands, from which a restart goes through more of the journal.
        """
        try:
            return await self._snapshots.save(self._unit, self._token, self._intake.state())
        except (UnavailableError, OSError) as error:
            if self._room is not None and self._room.refused(error):
                raise
            say = _log.debug if self._missed else _log.warning
            say("window not saved, the next write tries again", unit=self._unit, why=str(error))
            self._missed = True
            return b""

    def _broken(self) -> UnavailableError:
        return UnavailableError(f"history unit {self._unit}", "a write failed; it is to be restored")

    def due(self, t_ns: int) -> bool:
        """Return whether it is time to write, on a clock that waits for nobody."""
        return t_ns - self._written_ns >= int(self._options.write_every_s * NS_PER_S)

    def ask(self, count: int) -> None:
        """Let at least `count` more messages come."""
        if self._reader is not None:
            self._reader.ask(count)

    def accounted(self) -> int:
        """Return how many distinct samples are accounted for: taken, set aside, or given up by their device."""
        return self._intake.accounted()

    def follow_fleet(self, fleet: Fleet) -> None:
        """Go on with a fleet to which sites were added."""
        self._intake.follow_fleet(fleet)

    async def close(self) -> None:
        """Write what was read, and the window; nothing when a write failed, for then only a restart knows what stands.

        Nothing either while the disk is full: the next owner reads it again.
        """
        if self._writing is not None:
            await asyncio.gather(self._writing, return_exceptions=True)
        if not self._failed and (self._room is None or self._room.enough()):
            await self.write(snapshot=True)

    def behind_s(self) -> float:
        """Return how old the oldest sample is that has come to the journal and is not in history; 0 without one."""
        statistics = self.statistics()
        oldest_ns = now_ns = self._clock.now_ns()
        if self._under_way:
            oldest_ns = min(oldest_ns, self._under_way_ns)
        if self._buffer.rows:
            oldest_ns = min(oldest_ns, self._buffer.oldest_ns)
        if statistics.pending and self._came_ns:
            oldest_ns = min(oldest_ns, self._came_ns)
        return (now_ns - oldest_ns) / NS_PER_S

    def statistics(self) -> UnitStatistics:
        """Return the counters."""
        waiting_ns = self._clock.now_ns() - self._buffer.since_ns if self._buffer.rows else 0
        return UnitStatistics(
            position=self._state.position,
            read_position=self._read_to,
            pending=self._reader.statistics().pending if self._reader else 0,
            buffered=self._buffer.rows + self._under_way,
            waiting_s=waiting_ns / NS_PER_S,
            rows=self._state.rows,
            writes=self._writes,
            snapshots=self._saved,
            replayed=self._replayed,
        )
