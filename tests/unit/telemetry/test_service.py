"""The telemetry role on journals in memory: a tick is done when everything that was released is in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from shoal.domain.clock import Stage, Tick
from shoal.domain.desired import DurableUpTo
from shoal.domain.interval import NS_PER_MINUTE
from shoal.domain.live import Aggregates, Quarantined, QuarantineState
from shoal.domain.telemetry import TELEMETRY, encode
from shoal.fabric.journal import JournalBatch
from shoal.store.history import History
from shoal.telemetry.service import Telemetry, TelemetryOptions, TelemetryStatistics
from tests.integration.store.fleets import make_fleet

START_NS = 1_612_936_800_000_000_000
FLEET = make_fleet(4)
SHARD_ROWS = [np.array([0, 2]), np.array([1, 3])]
Minute = tuple[int, dict[str, int]]


class Reader:
    """A journal in memory that gives only what was asked for."""

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, bytes]] = []
        self.position = 0
        self.owed = 0
        self._more = asyncio.Event()

    def append(self, row: int, payload: bytes) -> None:
        self.messages.append((f"tele.0.{FLEET.site_ids[row]}".encode(), payload))
        self._more.set()

    def ask(self, count: int) -> None:
        self.owed = max(self.owed, count)
        self._more.set()

    async def read(self, max_wait_s: float) -> JournalBatch | None:
        """Give at most three messages at a time."""
        while self.position == len(self.messages) or not self.owed:
            self._more.clear()
            await self._more.wait()
        first = self.position
        part = self.messages[first : first + min(3, self.owed)]
        self.position += len(part)
        self.owed -= len(part)
        seq = np.arange(first + 1, self.position + 1)
        return JournalBatch(
            subjects=[subject for subject, _ in part],
            payloads=[payload for _, payload in part],
            seq=seq,
            timestamp_ns=START_NS + seq,
            pending=len(self.messages) - self.position,
        )


class Rig:
    """The role, two journals, and a script that says what homes do before each tick."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.readers = [Reader(), Reader()]
        self.published: list[tuple[str, bytes]] = []
        self.reports: list[dict[str, int]] = []
        self.accounts: dict[str, Any] = {}
        self.released = 0
        self.now_ns_ = START_NS
        self.acts: dict[int, Callable[[], None]] = {}
        self.done: list[tuple[int, TelemetryStatistics]] = []

    def sample(self, row: int, seq: int, **values: float) -> None:
        records = TELEMETRY.empty(1)
        records["seq"] = seq
        records["ts_ns"] = START_NS + seq * NS_PER_MINUTE
        records["battery_w"] = 100 * (row + 1)
        for name, value in values.items():
            records[name] = value
        self.readers[row % 2].append(row, encode(records, oldest_seq=1))
        self.released += 1

    def now_ns(self) -> int:
        return self.now_ns_

    def report(self, facts: Mapping[str, int]) -> None:
        self.reports.append(dict(facts))

    def account(self, account: Mapping[str, Any]) -> None:
        self.accounts.update(account)

    def run(self, minutes: int, *, closing: bool = False, conducted: bool = True) -> Telemetry:
        """Live through the minutes; every site says one sample in each, unless an act says otherwise."""
        service: Telemetry

        async def ticks(stage: Stage, every_s: float) -> AsyncIterator[Tick]:
            assert (stage, every_s) == (Stage.MEASURE, 60.0)
            for minute in range(1, minutes + 1):
                self.now_ns_ = START_NS + minute * NS_PER_MINUTE
                if minute in self.acts:
                    self.acts[minute]()
                else:
                    for row in range(4):
                        self.sample(row, minute)
                facts = {"samples_released": self.released} if conducted else {}
                if closing and minute == minutes:
                    facts["closing"] = 1
                yield Tick(t_ns=self.now_ns_, facts=facts)
                self.done.append((minute, service.statistics()))

        async def publish(subject: str, payload: bytes) -> None:
            self.published.append((subject, payload))

        async def live() -> None:
            async with asyncio.timeout(15):
                readers = [
                    asyncio.create_task(service.read_shard(shard, reader))  # type: ignore[arg-type]
                    for shard, reader in zip(service.shards, self.readers, strict=True)
                ]
                if not conducted:
                    service.release()
                    for reader in self.readers:
                        reader.ask(10**6)
                await asyncio.sleep(0)
                await service.follow()
                for task in readers:
                    task.cancel()
                    with suppress(asyncio.CancelledError):
                        await task

        self.ticks = ticks
        service = Telemetry(
            options=TelemetryOptions(
                data_dir=self.folder,
                shards=2,
                fresh_timeout_s=180.0,
                unknown_timeout_s=900.0,
                checkpoint_every_s=300.0,
                durable_ack_every_s=120.0,
                max_clock_ahead_s=300.0,
            ),
            fleet=FLEET,
            clock=self,
            shard_rows=SHARD_ROWS,
            publish=publish,
            durable_subject=lambda site: f"to.{site}.durable",
            live_subject="live",
            quarantine_subject="quarantine",
            evidence_subject=lambda reason: f"evidence.{reason}",
        )
        service.restore()
        asyncio.run(live())
        return service

    def heard(self, subject: str) -> list[bytes]:
        return [payload for at, payload in self.published if at == subject]


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_tick_is_done_when_every_released_sample_is_in(rig: Rig) -> None:
    rig.run(6)
    assert [(minute, figures.applied) for minute, figures in rig.done] == [(m, 4 * m) for m in range(1, 7)]
    assert rig.done[-1][1].stalls == 0


def test_aggregates_of_a_tick_are_those_of_its_samples(rig: Rig) -> None:
    rig.run(3)
    live = [msgspec.json.decode(payload, type=Aggregates) for payload in rig.heard("live")]
    root = next(n for n, group in enumerate(FLEET.groups) if group.group_id == "vpp")
    assert [one.t_ns for one in live] == [START_NS + m * NS_PER_MINUTE for m in range(1, 4)]
    assert [one.battery_kw[root] for one in live] == [1.0] * 3
    assert [one.fresh[root] for one in live] == [4] * 3


def test_sites_hear_what_is_durable_every_other_minute(rig: Rig) -> None:
    rig.run(5)
    told = [
        msgspec.json.decode(p, type=DurableUpTo).seq for p in rig.heard(f"to.{FLEET.site_ids[3]}.durable")
    ]
    assert told == [1, 2, 4]
    assert [report["durable_sent"] for report in rig.reports] == [4, 4, 4]


def test_bad_sample_is_set_aside_and_nobody_waits_for_it(rig: Rig) -> None:
    def act() -> None:
        rig.sample(0, 2)
        rig.sample(1, 2, soc_frac=np.nan)
        rig.sample(2, 2)
        rig.sample(3, 2)

    rig.acts = {2: act}
    rig.run(4)
    figures = rig.done[-1][1]
    assert (figures.applied, figures.quarantined, figures.stalls) == (15, 1, 0)
    (evidence,) = [msgspec.json.decode(p, type=Quarantined) for p in rig.heard("evidence.not_a_number")]
    assert evidence.site_id == FLEET.site_ids[1]
    last = msgspec.json.decode(rig.heard("quarantine")[-1], type=QuarantineState)
    assert (last.total, last.by_reason, last.recent) == (1, {"not_a_number": 1}, [evidence])
    told = [
        msgspec.json.decode(p, type=DurableUpTo).seq for p in rig.heard(f"to.{FLEET.site_ids[1]}.durable")
    ]
    assert told[-1] == 4, "the device may forget what was set aside for good"


def test_lost_message_stalls_visibly_until_it_is_said_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shoal.telemetry.service.STALL_S", 0.05)

    def act() -> None:
        for row in range(4):
            rig.sample(row, 2)
        lost = rig.readers[0].messages.pop()
        asyncio.get_running_loop().call_later(0.2, lambda: rig.readers[0].append(2, lost[1]))

    rig.acts = {2: act}
    rig.run(3)
    assert [figures.applied for _, figures in rig.done] == [4, 8, 12]
    assert rig.done[-1][1].stalls >= 1


def test_closing_takes_in_all_that_there_is_and_hands_in_an_account(rig: Rig) -> None:
    def act() -> None:
        for row in range(4):
            rig.sample(row, 3)
            rig.sample(row, 3)
        rig.released -= 4

    rig.acts = {3: act}
    rig.run(3, closing=True)
    assert (rig.accounts["applied"], rig.accounts["duplicates"], rig.accounts["buffered"]) == (12, 4, 0)
    assert rig.accounts["coverage_mean"] == 1.0
    history = History(rig.folder / "history")
    assert history.count_distinct() == (12, 12)
    history.close()


def test_history_is_written_at_every_checkpoint(rig: Rig) -> None:
    rig.run(7)
    assert [figures.history_rows for _, figures in rig.done] == [4, 4, 4, 4, 20, 20, 20]
    assert rig.done[-1][1].buffered == 8


def test_on_a_clock_that_waits_for_nobody_samples_are_taken_as_they_come(rig: Rig) -> None:
    service = rig.run(1, conducted=False)
    assert service.statistics().applied <= 4
    assert len(rig.heard("live")) == 1


def test_answer_speaks_for_one_shard(rig: Rig) -> None:
    service = rig.run(2)
    assert service.answer(0) != service.answer(1)
    assert service.sums(rig.now_ns()).sites.max() == 4
