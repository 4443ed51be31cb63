"""A twin shard as an actor: it reads its journal into its mailbox, and answers what it is asked between two batches.

Its state is made from the snapshot that its tenure holds and the journal after that; so it is made again after a
failure, here or wherever its partitions are owned next. The mailbox is short: while it is full nothing is read, and
what is not read stays in the journal, where it can be seen as lag.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from shoal.domain.clock import Clock
from shoal.domain.errors import CorruptStateError, UnavailableError
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_S
from shoal.domain.live import Quarantined
from shoal.domain.twins import AskTwins, ShardAnswer
from shoal.fabric.batch import JournalBatch
from shoal.fabric.journal import JournalReader, JournalStatistics
from shoal.fabric.snapshots import Snapshots
from shoal.fabric.tenure import Tenure
from shoal.runtime.actor import Actor
from shoal.telemetry.shard import Shard, ShardStatistics, Snapshot
from shoal.twin.aggregate import FleetSums, Timeouts
from shoal.twin.layout import Layout
from shoal.twin.silence import SilenceRates

MAILBOX: Final = 4
"""How many batches of the journal may wait."""
QUESTIONS: Final = 12
"""How many questions may wait beside them."""
READ_WAIT_S: Final = 1.0
COALESCE_S: Final = 0.001
"""Pause between two reads, so that messages gather: a batch costs far more than the messages in it."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Took:
    """Messages of the journal, read since the actor's start number `start`."""

    start: int
    batch: JournalBatch


@dataclass(frozen=True, slots=True)
class Stuck:
    """Says that the journal cannot be read."""

    start: int
    error: Exception


@dataclass(frozen=True, slots=True)
class Sum:
    """Asks for the sums of every group at an instant."""

    now_ns: int
    rates: SilenceRates
    timeouts: Timeouts


@dataclass(frozen=True, slots=True)
class Answer:
    """Asks for latest records."""

    question: AskTwins
    t_ns: int


@dataclass(frozen=True, slots=True)
class Durable:
    """Asks which devices are to be told what is safe, and which are to send again."""


@dataclass(frozen=True, slots=True)
class Copy:
    """Asks for the state as it is now, and what to commit once it is kept."""


@dataclass(frozen=True, slots=True)
class Look:
    """Asks what is the matter with each site, see `SiteLook`."""

    now_ns: int
    fresh_ns: int


@dataclass(frozen=True, slots=True)
class Follow:
    """Says that the fleet has changed."""

    fleet: Fleet
    rows: NDArray[np.int64]
    layout: Layout


ShardMessage = Took | Stuck | Sum | Answer | Durable | Copy | Look | Follow


class ShardActor:
    """One owned shard. Run `run()` in a task group.

    Args:
        tenure: The ownership of its partitions.
        make_shard: Makes its empty state for the fleet of now.
        make_reader: Opens its journal from a position.
        snapshots: Where its snapshots are.
        time: The plant's clock.
        gate: While it is not set, what was read is held back.
        on_applied: Called after each batch.
        on_rejected: Called with what was set aside; must not block.
    """

    def __init__(
        self,
        *,
        tenure: Tenure,
        make_shard: Callable[[], Shard],
        make_reader: Callable[[int], JournalReader],
        snapshots: Snapshots,
        time: Clock,
        gate: asyncio.Event,
        on_applied: Callable[[], None],
        on_rejected: Callable[[list[Quarantined]], None],
    ) -> None:
        self.tenure = tenure
        self._make_shard = make_shard
        self._make_reader = make_reader
        self._snapshots = snapshots
        self._time = time
        self._gate = gate
        self._on_applied = on_applied
        self._on_rejected = on_rejected
        self._shard: Shard | None = None
        self._reader: JournalReader | None = None
        self._pump: asyncio.Task[None] | None = None
        self._asked = 0
        self._newest_ns = 0
        self._starts = 0
        self._committed_position = -1
        self._keeping = asyncio.Lock()
        self.ready = asyncio.Event()
        """Set while it has its state, and once it has ended."""
        self.actor: Actor[ShardMessage, Any] = Actor(
            tenure.unit, self, capacity=MAILBOX + QUESTIONS, reserved=QUESTIONS
        )

    # -- the behaviour

    async def start(self) -> None:
        """Make the state from the snapshot, and read on from there."""
        shard = self._make_shard()
        if self.tenure.state:
            try:
                snapshot = msgspec.msgpack.decode(self.tenure.state, type=Snapshot)
                shard.restore(snapshot, await self._snapshots.load(snapshot.reference))
            except (CorruptStateError, msgspec.MsgspecError) as error:
                # what the journal still holds is replayed; what it no longer holds only history remembers
                _log.error("snapshot lost, the journal is replayed", unit=self.tenure.unit, why=str(error))
                shard = self._make_shard()
            self._committed_position = shard.position
        self._shard = shard
        self._starts += 1
        self._reader = self._make_reader(shard.position + 1)
        if self._asked:
            self._reader.ask(self._asked)
        self._pump = asyncio.create_task(self._read(self._reader, self._starts))
        self.ready.set()

    def step(self, message: ShardMessage) -> Any:
        """Take one message."""
        shard = self._shard
        if shard is None:
            raise UnavailableError(self.tenure.unit, "it has not started")
        match message:
            case Took():
                return self._take(shard, message)
            case Stuck():
                if message.start == self._starts:
                    raise message.error
                return None
            case Sum():
                return shard.sums(now_ns=message.now_ns, rates=message.rates, timeouts=message.timeouts)
            case Answer():
                return shard.answer(message.question, t_ns=message.t_ns, token=self.tenure.token)
            case Durable():
                return shard.newly_durable(), shard.lasting_holes()
            case Copy():
                return shard.state(), shard.mark()
            case Look():
                return shard.look(now_ns=message.now_ns, fresh_ns=message.fresh_ns)
            case Follow():
                return shard.follow_fleet(message.fleet, message.rows, message.layout)

    async def stop(self) -> None:
        """Stop reading."""
        self.ready.clear()
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
            self._pump = None
        if self._reader is not None:
            await self._reader.close()
            self._reader = None

    def _take(self, shard: Shard, message: Took) -> None:
        if message.start != self._starts:
            return  # read before a failure: it comes again
        rejected = shard.take(message.batch)
        self._newest_ns = int(self._time.at(message.batch.timestamp_ns[-1:])[1][0])
        if rejected:
            self._on_rejected(rejected)
        self._on_applied()

    async def _read(self, reader: JournalReader, start: int) -> None:
        try:
            while True:
                batch = await reader.read(READ_WAIT_S)
                if batch is not None:
                    await self._gate.wait()
                    await self.actor.deliver(Took(start, batch))
                    await asyncio.sleep(COALESCE_S)
        except Exception as error:  # noqa: BLE001 - told to the supervisor: a shard must not stand still unseen
            await self.actor.deliver(Stuck(start, error))

    # -- for who runs it

    async def run(self) -> None:
        """Run until cancelled.

        Raises:
            ActorFailedError: when it failed too often.
        """
        try:
            await self.actor.run()
        finally:
            self.ready.set()

    def demand(self, count: int) -> None:
        """Let at least so many more messages come, when the reader is not eager."""
        self._asked = count
        if self._reader is not None:
            self._reader.ask(count)

    def accounted(self) -> int:
        """Return how many distinct samples are accounted for, 0 before it has started."""
        return self._shard.accounted() if self._shard is not None else 0

    def statistics(self) -> ShardStatistics | None:
        """Return the shard's counters, None before it has started."""
        return self._shard.statistics() if self._shard is not None else None

    def lag(self) -> int:
        """Return how many messages wait in the journal, as far as this reader knows."""
        return self._reader.statistics().pending if self._reader is not None else 0

    def lag_s(self, now_ns: int) -> float:
        """Return how old the newest message is that it has read, in seconds of the plant; 0 when nothing waits."""
        return max(now_ns - self._newest_ns, 0) / NS_PER_S if self.lag() and self._newest_ns else 0.0

    def nbytes(self) -> int:
        """Return the memory of its state in bytes."""
        return self._shard.nbytes if self._shard is not None else 0

    def reader_statistics(self) -> JournalStatistics | None:
        """Return the reader's counters, None while there is none."""
        return self._reader.statistics() if self._reader is not None else None

    async def sums(self, now_ns: int, rates: SilenceRates, timeouts: Timeouts) -> FleetSums:
        """Return the sums of every group over its sites."""
        sums: FleetSums = await self.actor.ask(Sum(now_ns, rates, timeouts))
        return sums

    async def answer(self, question: AskTwins, *, t_ns: int) -> ShardAnswer:
        """Return the latest records that are asked for."""
        answer: ShardAnswer = await self.actor.ask(Answer(question, t_ns))
        return answer

    async def checkpoint(self) -> bool:
        """Keep a snapshot and commit it; return whether there was anything new.

        Raises:
            FencedOutError: when the partitions have another owner; nothing was changed.
            UnavailableError: when the engine does not answer.
        """
        async with self._keeping:  # two at once could commit the older one, whose chunks the newer one purged
            arrays, mark = await self.actor.ask(Copy())
            if mark.position == self._committed_position:
                return False
            reference = await self._snapshots.save(self.tenure.unit, self.tenure.token, arrays)
            state = msgspec.structs.replace(mark, reference=reference)
            await self.tenure.commit(msgspec.msgpack.encode(state))
            self._committed_position = mark.position
            with contextlib.suppress(UnavailableError):
                await self._snapshots.purge(reference)
            return True
