"""Everything around a shard, in memory: a journal that grows, its readers, a clock, registers and snapshots."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.domain.clock import Stage, Tick
from shoal.domain.errors import CorruptStateError
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_MINUTE
from shoal.domain.live import Quarantined
from shoal.domain.telemetry import ALL_PRESENT, TELEMETRY
from shoal.domain.wire import encode
from shoal.fabric._registers import ConflictError, Entry, Registers
from shoal.fabric.batch import JournalBatch
from shoal.fabric.journal import JournalReader, JournalStatistics
from shoal.fabric.snapshots import Snapshots
from shoal.fabric.tenure import Register, Tenure, elapsed_s
from shoal.telemetry.actor import ShardActor
from shoal.telemetry.shard import Shard
from shoal.twin.aggregate import Timeouts
from shoal.twin.clockrule import ClockRule
from shoal.twin.layout import Layout
from shoal.twin.silence_default import built_in_table

START_NS = 1_612_936_800_000_000_000
RATES = built_in_table().effective()
TIMEOUTS = Timeouts.alike()
PATIENCE_S = 10.0


class StillClock:
    """A clock that shows what the test says; arrivals are in its own time. Ticks come from the test."""

    def __init__(self, now_ns: int = START_NS) -> None:
        self.now = now_ns
        self.due: asyncio.Queue[Tick | None] = asyncio.Queue()
        self.done: asyncio.Queue[Tick] = asyncio.Queue()
        self.reports: list[dict[str, int]] = []
        self.accounts: dict[str, Any] = {}
        self.doubt_ns = 0

    def now_ns(self) -> int:
        return self.now

    def at(self, machine_ns: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if not self.doubt_ns:
            return machine_ns, machine_ns
        return machine_ns, machine_ns + self.doubt_ns

    async def ticks(self, stage: Stage, every_s: float) -> AsyncIterator[Tick]:
        assert stage is Stage.MEASURE
        while (tick := await self.due.get()) is not None:
            self.now = tick.t_ns
            yield tick
            self.done.put_nowait(tick)

    def report(self, facts: Mapping[str, int]) -> None:
        self.reports.append(dict(facts))

    def account(self, account: Mapping[str, Any]) -> None:
        self.accounts.update(account)


class Journal:
    """A journal in memory: messages by position, beginning at 1; each arrives a second after the one before."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.messages: list[tuple[bytes, bytes]] = []
        self.arrivals_ns: list[int] = []
        self.grown = asyncio.Event()

    def __len__(self) -> int:
        return len(self.messages)

    def append(self, subject: bytes, payload: bytes, arrival_ns: int | None = None) -> None:
        self.messages.append((subject, payload))
        last_ns = self.arrivals_ns[-1] if self.arrivals_ns else START_NS
        self.arrivals_ns.append(last_ns + 1_000_000 if arrival_ns is None else arrival_ns)
        self.grown.set()

    def say(
        self,
        row: int,
        *numbers: int,
        oldest_seq: int = 1,
        version: int = 2,
        arrival_ns: int | None = None,
        **values: float,
    ) -> None:
        """Let a site send samples: number k is of minute k."""
        records = TELEMETRY.empty(len(numbers))
        records["seq"] = numbers
        records["ts_ns"] = START_NS + np.array(numbers) * NS_PER_MINUTE
        records["battery_w"] = 100 * (row + 1)
        records["charge_wh"] = np.array(numbers) * 10 + row
        records["present"] = ALL_PRESENT
        for name, value in values.items():
            records[name] = value
        subject = f"tele.0.{self.fleet.site_ids[row]}".encode()
        newest_ns = int(records["ts_ns"].max())
        self.append(
            subject,
            encode(records, oldest_seq=oldest_seq, version=version),
            newest_ns if arrival_ns is None else arrival_ns,
        )

    def batch(self, first: int, last: int) -> JournalBatch:
        """Return what lies at the positions, both inclusive."""
        part = self.messages[first - 1 : last]
        return JournalBatch.of(
            part,
            timestamp_ns=np.array(self.arrivals_ns[first - 1 : last], dtype=np.int64),
            first_seq=first,
            pending=len(self.messages) - first + 1 - len(part),
        )


class MemoryReader:
    """Reads a journal from a position on, at most three messages at a time."""

    def __init__(self, journal: Journal, start_seq: int, *, eager: bool = True) -> None:
        self.journal = journal
        self.next_seq = start_seq
        self.owed = 1 << 62 if eager else 0
        self.reads = 0
        self.closed = False
        self.faults: list[Exception] = []

    async def read(self, max_wait_s: float) -> JournalBatch | None:
        await asyncio.sleep(0)
        if self.faults:
            raise self.faults.pop()
        while self.next_seq > len(self.journal) or self.owed <= 0:
            self.journal.grown.clear()
            await self.journal.grown.wait()
        last = min(self.next_seq + min(3, self.owed) - 1, len(self.journal))
        batch = self.journal.batch(self.next_seq, last)
        self.owed -= len(batch)
        self.next_seq = last + 1
        self.reads += 1
        return batch

    def ask(self, count: int) -> None:
        self.owed = max(self.owed, count)
        self.journal.grown.set()

    async def close(self) -> None:
        self.closed = True

    def statistics(self) -> JournalStatistics:
        return JournalStatistics(
            messages=0,
            bytes=0,
            next_seq=self.next_seq,
            pending=len(self.journal) + 1 - self.next_seq,
            connected=True,
            reconnects=0,
            lost_deliveries=0,
            malformed=0,
            discarded=0,
            last_fault="",
        )


class MemoryRegisters:
    """Registers that are compared and set, as the engine does it."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self._seq = 0

    async def write(
        self, subject: str, data: bytes, *, over: int | None = None, ttl_s: int | None = None
    ) -> int:
        await asyncio.sleep(0)
        known = self.entries[subject].seq if subject in self.entries else 0
        if over is not None and over != known:
            raise ConflictError(known)
        self._seq += 1
        self.entries[subject] = Entry(seq=self._seq, data=data)
        return self._seq

    async def read(self, subject: str) -> Entry | None:
        await asyncio.sleep(0)
        return self.entries.get(subject)

    def register(self, unit: str) -> Register:
        return msgspec.msgpack.decode(self.entries[unit].data, type=Register)

    async def gain(self, unit: str, member: str = "me") -> Tenure:
        """Make somebody the owner of a unit, whoever owned it before."""
        entry = self.entries.get(unit)
        before = Register("", 0, b"") if entry is None else self.register(unit)
        register = Register(member, before.token + 1, before.state)
        seq = await self.write(unit, msgspec.msgpack.encode(register))
        return Tenure(
            cast(Registers, self),
            subject=unit,
            unit=unit,
            member=member,
            token=register.token,
            state=register.state,
            seq=seq,
            lease_until_s=lambda: elapsed_s() + 1.0,
            on_end=lambda *_: None,
        )


class MemorySnapshots:
    """Snapshots by reference; after `hold_next` the next one who saves is held up until `saving` is set."""

    def __init__(self) -> None:
        self.kept: dict[bytes, dict[str, NDArray[Any]]] = {}
        self.saving = asyncio.Event()
        self.begun = asyncio.Event()
        self.hold_next = False
        self.faults: list[Exception] = []

    async def save(self, unit: str, token: int, arrays: Mapping[str, NDArray[Any]]) -> bytes:
        reference = b"%s/%d/%d" % (unit.encode(), token, len(self.kept))
        kept = {name: array.copy() for name, array in arrays.items()}
        self.begun.set()
        if self.hold_next:
            self.hold_next = False
            await self.saving.wait()
        self.kept[reference] = kept
        return reference

    async def load(self, reference: bytes) -> dict[str, NDArray[Any]]:
        await asyncio.sleep(0)
        if self.faults:
            raise self.faults.pop()
        if reference not in self.kept:
            raise CorruptStateError("snapshot", "it is not there")
        return {name: array.copy() for name, array in self.kept[reference].items()}

    async def purge(self, reference: bytes) -> None:
        unit = reference.partition(b"/")[0]
        for other in [one for one in self.kept if one.startswith(unit) and one != reference]:
            del self.kept[other]


def new_shard(
    fleet: Fleet, rows: NDArray[np.int64], *, number: int = 0, clock: StillClock | None = None
) -> Shard:
    """Return an empty shard."""
    return Shard(
        number=number,
        fleet=fleet,
        rows=rows,
        layout=Layout.of(fleet),
        time=clock or StillClock(),
        clock_rule=ClockRule(),
    )


def new_actor(
    tenure: Tenure,
    *,
    make_shard: Callable[[], Shard],
    make_reader: Callable[[int], MemoryReader],
    snapshots: MemorySnapshots,
    gate: asyncio.Event | None = None,
    rejected: list[Quarantined] | None = None,
) -> ShardActor:
    """Return an actor whose gate stands open unless it is given one."""
    if gate is None:
        gate = asyncio.Event()
        gate.set()
    return ShardActor(
        tenure=tenure,
        make_shard=make_shard,
        make_reader=cast(Callable[[int], JournalReader], make_reader),
        snapshots=cast(Snapshots, snapshots),
        time=StillClock(),
        gate=gate,
        on_applied=lambda: None,
        on_rejected=(rejected if rejected is not None else []).extend,
    )


async def until(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - a condition has no event
            await asyncio.sleep(0.001)


def picture(shard: Shard) -> dict[str, Any]:
    """Return everything about a shard that must not depend on crashes, nor on how messages came together."""
    figures = msgspec.to_builtins(shard.statistics())
    del figures["pending"]
    sums = shard.sums(now_ns=START_NS + 100 * NS_PER_MINUTE, rates=RATES, timeouts=TIMEOUTS)
    return {
        **{name: array.tobytes() for name, array in shard.state().items()},
        **figures,
        "accounted": shard.accounted(),
        "groups": sums.groups.tobytes(),
        "squares": sums.squares.tobytes(),
    }
