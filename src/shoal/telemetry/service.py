"""The telemetry role: reads the journal, keeps the twins, publishes aggregates, answers questions, writes history.

Each shard has a task that reads its partitions and applies what comes, one batch at a time. On a conducted clock the
tasks apply only while a tick is under way, and the tick is done when every sample that was sent has arrived; on a
system clock they never pause.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.domain.clock import Clock, Stage, Tick
from shoal.domain.desired import DurableUpTo
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_S
from shoal.domain.live import Quarantined, QuarantineState
from shoal.fabric.journal import JournalReader
from shoal.store.history import HistoryWriter
from shoal.telemetry.decode import Decoder
from shoal.telemetry.shard import Shard, ShardStatistics
from shoal.twin.aggregate import GroupSums, to_aggregates

RECENT_QUARANTINED: Final = 50
TICK_S: Final = 60.0
COALESCE_S: Final = 0.001
STALL_S: Final = 5.0
QUIET_S: Final = 0.25
CLOSING_BATCH: Final = 2_000


Publish = Callable[[str, bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetryOptions:
    """Settings of the role; ages in seconds of the plant's clock."""

    data_dir: Path
    shards: int
    fresh_timeout_s: float
    unknown_timeout_s: float
    checkpoint_every_s: float
    durable_ack_every_s: float
    max_clock_ahead_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetryStatistics:
    """Counters over all shards, restarts included."""

    applied: int
    duplicates: int
    deferred: int
    lost: int
    quarantined: int
    buffered: int
    history_rows: int
    stalls: int
    coverage_mean: float


class Telemetry:
    """The twins of a fleet behind one journal.

    Args:
        options: Settings.
        fleet: The fleet as registered.
        clock: The plant's clock.
        shard_rows: Fleet rows of each shard.
        publish: Sends a message on a subject.
        durable_subject: Subject on which a site hears what is durable.
        live_subject: Subject of the aggregates.
        quarantine_subject: Subject of the state of what was set aside.
        evidence_subject: Subject under which each message set aside for a reason is kept.
    """

    def __init__(
        self,
        *,
        options: TelemetryOptions,
        fleet: Fleet,
        clock: Clock,
        shard_rows: Sequence[NDArray[np.int64]],
        publish: Publish,
        durable_subject: Callable[[str], str],
        live_subject: str,
        quarantine_subject: str,
        evidence_subject: Callable[[str], str],
    ) -> None:
        self._options = options
        self._fleet = fleet
        self._clock = clock
        self._publish = publish
        self._durable_subject = durable_subject
        self._live_subject = live_subject
        self._quarantine_subject = quarantine_subject
        self._evidence_subject = evidence_subject
        self._decoder = Decoder(
            row_of={site.encode(): row for site, row in fleet.row_of.items()},
            max_ahead_ns=int(options.max_clock_ahead_s * NS_PER_S),
        )
        self.shards = [
            Shard(
                number=number,
                rows=rows,
                fleet=fleet,
                history=HistoryWriter(options.data_dir / "history", number),
                snapshot_path=options.data_dir / "twins" / f"shard-{number}.npz",
            )
            for number, rows in enumerate(shard_rows)
        ]
        self._readers: list[JournalReader] = []
        self._open = asyncio.Event()
        self._arrived = asyncio.Event()
        self._reasons: Counter[str] = Counter()
        self._recent: deque[Quarantined] = deque(maxlen=RECENT_QUARANTINED)
        self._stalls = 0
        self._coverage_sum = 0.0
        self._coverage_ticks = 0

    def restore(self) -> None:
        """Load every shard's snapshot."""
        for shard in self.shards:
            shard.restore()

    def release(self) -> None:
        """Let the shards apply whenever something comes (a clock that waits for nobody)."""
        self._open.set()

    async def read_shard(self, shard: Shard, reader: JournalReader) -> None:
        """Apply what the reader brings, for ever."""
        self._readers.append(reader)
        while True:
            batch = await reader.read(1.0)
            if batch is None:
                continue
            await self._open.wait()
            decoded = self._decoder.decode(
                batch.subjects, batch.payloads, batch.timestamp_ns, now_ns=self._clock.now_ns()
            )
            shard.take(decoded, last_seq=int(batch.seq[-1]))
            for rejected in decoded.rejected:
                self._reasons[rejected.reason] += 1
                self._recent.append(rejected)
                await self._publish(self._evidence_subject(rejected.reason), msgspec.json.encode(rejected))
            self._arrived.set()
            # let the next ones gather: a batch costs far more than the messages in it
            await asyncio.sleep(COALESCE_S)

    async def follow(self) -> None:
        """Act on the clock's ticks until it stops."""
        checkpoint_ns = int(self._options.checkpoint_every_s * NS_PER_S)
        durable_ns = int(self._options.durable_ack_every_s * NS_PER_S)
        last_ns = 0
        async for tick in self._clock.ticks(Stage.MEASURE, TICK_S):
            closing = bool(tick.facts.get("closing"))
            conducted = "samples_released" in tick.facts
            if conducted:
                await self._catch_up(tick, closing=closing)
            await self._publish_live(tick.t_ns)
            if closing or last_ns == 0 or tick.t_ns // durable_ns != last_ns // durable_ns:
                sent = await self._tell_durable()
                self._clock.report({"durable_sent": sent})
            if closing or tick.t_ns // checkpoint_ns != last_ns // checkpoint_ns:
                for shard in self.shards:
                    shard.checkpoint()
            last_ns = tick.t_ns
            if closing:
                self._clock.account(msgspec.to_builtins(self.statistics()))

    async def _catch_up(self, tick: Tick, *, closing: bool) -> None:
        """Apply until every sample that was released is accounted for; at the close, all that there is."""
        target = tick.facts["samples_released"]
        self._open.set()
        quiet_s = QUIET_S if closing else 0.0
        while (lack := target - sum(shard.accepted() for shard in self.shards)) > 0 or quiet_s:
            self._arrived.clear()
            for reader in self._readers:
                reader.ask(max(lack, CLOSING_BATCH if closing else 1))
            try:
                async with asyncio.timeout(quiet_s if lack <= 0 else STALL_S):
                    await self._arrived.wait()
            except TimeoutError:
                if lack <= 0:
                    break
                self._stalls += 1
        self._open.clear()

    async def _publish_live(self, t_ns: int) -> None:
        sums = self.sums(t_ns)
        roots = [n for n, group in enumerate(self._fleet.groups) if group.parent_id is None]
        self._coverage_sum += float(sums.fresh_w[roots].sum() / max(int(sums.capacity_w[roots].sum()), 1))
        self._coverage_ticks += 1
        await self._publish(self._live_subject, msgspec.json.encode(to_aggregates(sums, t_ns=t_ns)))
        if self._reasons:
            state = QuarantineState(
                t_ns=t_ns,
                total=self._reasons.total(),
                by_reason=dict(sorted(self._reasons.items())),
                recent=list(self._recent),
            )
            await self._publish(self._quarantine_subject, msgspec.json.encode(state))

    def sums(self, t_ns: int) -> GroupSums:
        """Return the sums of every group over all shards."""
        total: GroupSums | None = None
        for shard in self.shards:
            sums = shard.sums(
                now_ns=t_ns,
                fresh_ns=int(self._options.fresh_timeout_s * NS_PER_S),
                unknown_ns=int(self._options.unknown_timeout_s * NS_PER_S),
            )
            total = sums if total is None else total.plus(sums)
        if total is None:
            raise RuntimeError("a telemetry role without shards")
        return total

    async def _tell_durable(self) -> int:
        sent = 0
        for shard in self.shards:
            for row, seq in shard.newly_durable():
                subject = self._durable_subject(self._fleet.site_ids[row])
                await self._publish(subject, msgspec.json.encode(DurableUpTo(seq=seq)))
                sent += 1
        return sent

    def answer(self, shard_number: int) -> bytes:
        """Return the answer of one shard to a question about its sites."""
        return self.shards[shard_number].answer(t_ns=self._clock.now_ns())

    def statistics(self) -> TelemetryStatistics:
        """Return the counters over all shards."""
        each: list[ShardStatistics] = [shard.statistics() for shard in self.shards]
        return TelemetryStatistics(
            applied=sum(s.applied for s in each),
            duplicates=sum(s.duplicates for s in each),
            deferred=sum(s.deferred for s in each),
            lost=sum(s.lost for s in each),
            quarantined=sum(s.quarantined for s in each),
            buffered=sum(s.buffered for s in each),
            history_rows=sum(s.history_rows for s in each),
            stalls=self._stalls,
            coverage_mean=self._coverage_sum / max(self._coverage_ticks, 1),
        )
