"""A journal in memory: what devices sent, with repetitions and disorder, and a reader of it in batches of any size."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoal.domain.clock import Stage, Tick
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_S
from shoal.domain.telemetry import TELEMETRY
from shoal.domain.wire import encode
from shoal.fabric.batch import JournalBatch
from shoal.fabric.journal import JournalStatistics
from shoal.telemetry.intake import split

START_NS = 1_612_936_800_000_000_000


def every_row(fleet: Fleet) -> NDArray[np.int64]:
    """Return all rows of a fleet."""
    return np.arange(len(fleet.site_ids))


class SetClock:
    """A clock that shows what the test says; arrivals are in its own time. Ticks come from a queue."""

    def __init__(self, now_ns: int = START_NS) -> None:
        self.now = now_ns
        self.queue: asyncio.Queue[Tick | None] = asyncio.Queue()
        self.done: asyncio.Queue[Tick] = asyncio.Queue()
        self.accounts: dict[str, Any] = {}

    def now_ns(self) -> int:
        return self.now

    def at(self, machine_ns: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return machine_ns, machine_ns

    async def ticks(self, stage: Stage, every_s: float) -> AsyncIterator[Tick]:
        while (tick := await self.queue.get()) is not None:
            self.now = tick.t_ns
            yield tick
            self.done.put_nowait(tick)

    def report(self, facts: Mapping[str, int]) -> None:
        raise AssertionError("not called")

    def account(self, account: Mapping[str, Any]) -> None:
        self.accounts.update(account)


def sample_records(seqs: NDArray[np.int64], every_s: int = 60) -> NDArray[Any]:
    """Return records of one site: number k is taken k steps after the start."""
    records = TELEMETRY.empty(len(seqs))
    records["seq"] = seqs
    records["ts_ns"] = START_NS + (seqs - 1) * every_s * NS_PER_S
    records["battery_w"] = 100 + seqs % 7
    records["load_w"] = 400 + seqs % 50
    records["soc_frac"] = 0.5
    records["import_wh"] = 1_000 + seqs
    return records


def make_journal(fleet: Fleet, *, minutes: int, seed: int) -> JournalBatch:
    """Return a journal in which every site sends a sample a minute, some twice, some late and in one message."""
    rng = np.random.default_rng(seed)
    messages: list[tuple[int, bytes, bytes]] = []
    for site in fleet.site_ids:
        seq = 1
        while seq <= minutes:
            count = min(int(rng.choice([1, 1, 1, 4, 20])), minutes - seq + 1)
            records = sample_records(np.arange(seq, seq + count))
            payload = encode(records, oldest_seq=max(1, seq - 30))
            sent_ns = int(records["ts_ns"][-1]) + int(rng.integers(0, 5)) * NS_PER_S
            subject = b"tele.0." + site.encode()
            messages.append((sent_ns, subject, payload))
            if rng.random() < 0.2:
                messages.append((sent_ns + int(rng.integers(1, 200)) * NS_PER_S, subject, payload))
            seq += count
    messages.sort(key=lambda message: message[0])
    return JournalBatch.of(
        [(subject, payload) for _, subject, payload in messages],
        timestamp_ns=np.array([sent for sent, _, _ in messages], dtype=np.int64),
    )


class MemoryReader:
    """Reads a journal from a position on, in batches of random sizes, as a `JournalReader` does."""

    def __init__(
        self,
        journal: JournalBatch,
        start_seq: int,
        *,
        seed: int = 0,
        most: int = 40,
        until: int | None = None,
        eager: bool = True,
    ) -> None:
        self._journal = journal
        self._next = start_seq
        self._most = most
        self._rng = np.random.default_rng(seed)
        self.until = int(journal.seq[-1]) if until is None else until
        self.drained = asyncio.Event()
        self.asked = 0
        self._owed = 1 << 62 if eager else 0

    async def read(self, max_wait_s: float) -> JournalBatch | None:
        await asyncio.sleep(0)
        if self._next > self.until or self._owed <= 0:
            if self._next > self.until:
                self.drained.set()
            await asyncio.sleep(0.002)
            return None
        count = min(int(self._rng.integers(1, self._most)), self._owed)
        end = min(self._next + count - 1, self.until)
        self._owed -= end - self._next + 1
        head, _ = split(self._journal, end)
        assert head is not None
        _, batch = split(head, self._next - 1)
        self._next = end + 1
        return batch

    def ask(self, count: int) -> None:
        self.asked += count
        self._owed = max(self._owed, count)

    async def close(self) -> None:
        self._next = self.until + 1

    def statistics(self) -> JournalStatistics:
        return JournalStatistics(
            messages=0,
            bytes=0,
            next_seq=self._next,
            pending=max(0, int(self._journal.seq[-1]) + 1 - self._next),
            connected=True,
            reconnects=0,
            lost_deliveries=0,
            malformed=0,
            discarded=0,
            last_fault="",
        )
