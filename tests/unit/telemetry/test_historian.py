"""The historian: owns units as it is told, waits for what was released, and goes on when a write fails."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from structlog.testing import capture_logs

from shoal.domain.clock import Tick
from shoal.domain.errors import CorruptStateError
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE
from shoal.fabric.batch import JournalBatch
from shoal.fabric.ownership import Event, Gained, Lost, Recalled
from shoal.fabric.tenure import Tenure
from shoal.runtime.room import DiskRoom
from shoal.simulate.fleet import plan_fleet
from shoal.store.history import History
from shoal.store.history_folder import Fill, LocalFolder
from shoal.store.history_keep import Keeper, KeepOptions
from shoal.store.history_register import FileRegister
from shoal.store.history_snapshots import FolderSnapshots
from shoal.store.history_write import PartWriter
from shoal.telemetry.historian import Historian, HistorianOptions
from shoal.telemetry.historian_unit import HistorianUnit, UnitOptions
from shoal.telemetry.intake import Intake
from tests.unit.telemetry.journals import START_NS, MemoryReader, SetClock, make_journal

FLEET = plan_fleet(9, 1)
SITES = len(FLEET.site_ids)
MINUTES = 150
UNITS = ("shard0", "shard1")
TRUTH = [(site, seq) for site in range(SITES) for seq in range(1, MINUTES + 1)]


class _Tenure(FileRegister):
    """A tenure that a test hands out."""

    def __init__(self, path: Path, unit: str) -> None:
        super().__init__(path / f"{unit}.bin")
        self.unit = unit
        self.ended = False

    async def release(self) -> None:
        self.ended = True


class _Membership:
    def __init__(self) -> None:
        self.queue: asyncio.Queue[Event | None] = asyncio.Queue()

    async def events(self) -> AsyncIterator[Event]:
        while (event := await self.queue.get()) is not None:
            yield event


class _FullDisk(LocalFolder):
    """A folder of which the disk is full now and then."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.refusals = 0

    def write(self, path: str, fill: Fill) -> None:
        if self.refusals and "/.p-" in path:
            self.refusals -= 1
            raise OSError(28, "No space left on device")
        super().write(path, fill)


def _rows_of(unit: str) -> Callable[[Fleet], NDArray[np.int64]]:
    number = UNITS.index(unit)
    return lambda fleet: np.arange(len(fleet.site_ids))[number :: len(UNITS)]


class _Rig:
    """A historian of two units over journals in memory."""

    def __init__(
        self, tmp_path: Path, *, conducted: bool, room: DiskRoom | None = None, **options: Any
    ) -> None:
        self.path = tmp_path
        self.room = room
        self._conducted = conducted
        self.clock = SetClock(0 if conducted else START_NS)
        self.folder = _FullDisk(tmp_path / "history")
        self.membership = _Membership()
        self.fleet = FLEET
        self.until: int | None = None
        self.on_making: Callable[[], object] = lambda: None
        self.journals = {unit: self._journal(unit) for unit in UNITS}
        self.readers: dict[str, MemoryReader] = {}
        self.unit_options = UnitOptions(**options)
        self.historian = Historian(
            options=HistorianOptions(units=len(UNITS), conducted=conducted, keep_every_s=0.05),
            clock=self.clock,
            membership=self.membership,
            make_unit=self._make_unit,
            make_reader=self._make_reader,
            keeper=Keeper(self.folder, KeepOptions()),
            room=room,
        )

    def _journal(self, unit: str) -> JournalBatch:
        return make_journal(FLEET.take(_rows_of(unit)(FLEET)), minutes=MINUTES, seed=5)

    def _make_unit(self, tenure: Tenure, gate: asyncio.Event, on_taken: Callable[[], None]) -> HistorianUnit:
        self.on_making()
        return HistorianUnit(
            unit=tenure.unit,
            token=tenure.token,
            options=self.unit_options,
            clock=self.clock,
            intake=Intake(fleet=self.fleet, rows_of=_rows_of(tenure.unit), clock=self.clock),
            writer=PartWriter(self.folder, tenure.unit, tenure),
            snapshots=FolderSnapshots(self.folder),
            gate=gate,
            on_taken=on_taken,
            room=self.room,
        )

    def _make_reader(self, unit: str, start_seq: int) -> MemoryReader:
        self.readers[unit] = MemoryReader(
            self.journals[unit], start_seq, seed=1, until=self.until, eager=not self._conducted
        )
        return self.readers[unit]

    def gain(self, unit: str) -> Tenure:
        tenure = cast("Tenure", _Tenure(self.path, unit))
        self.membership.queue.put_nowait(Gained(tenure))
        return tenure

    async def tick(self, minute: int, released: int, *, closing: bool = False) -> None:
        facts = {"samples_released": released, **({"closing": 1} if closing else {})}
        self.clock.queue.put_nowait(Tick(t_ns=START_NS + minute * NS_PER_MINUTE, facts=facts))
        await asyncio.wait_for(self.clock.done.get(), 20)

    def pairs(self) -> list[tuple[int, int]]:
        history = History(self.path / "history")
        table = history.query("SELECT site_no, seq FROM telemetry ORDER BY ALL")
        history.close()
        return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


@contextlib.asynccontextmanager
async def _running(rig: _Rig) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(rig.historian.own()), asyncio.ensure_future(rig.historian.follow())]
    try:
        yield
    finally:
        rig.historian.leave()
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended


async def _wait(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - the condition is another task's
            await asyncio.sleep(0.002)


def test_conducted_ticks_end_when_what_was_released_is_taken_and_hours_when_it_is_written(
    tmp_path: Path,
) -> None:
    async def body() -> None:
        rig = _Rig(tmp_path, conducted=True)
        async with _running(rig):
            for unit in UNITS:
                rig.gain(unit)
            for minute in range(0, MINUTES, 30):
                await rig.tick(minute, minute * SITES)
                seen = rig.historian.statistics()
                assert rig.historian.accounted() >= minute * SITES
                if (START_NS + minute * NS_PER_MINUTE) % NS_PER_HOUR == 0:
                    assert seen.buffered == 0
                    assert len(rig.pairs()) >= minute * SITES
            await rig.tick(MINUTES, len(TRUTH), closing=True)
            assert (rig.clock.accounts["rows"], rig.clock.accounts["stalls"]) == (len(TRUTH), 0)
            assert all(reader.asked > 0 for reader in rig.readers.values())
        assert rig.pairs() == TRUTH
        history = History(tmp_path / "history")
        rolled = history.query("SELECT sum(samples) AS n FROM rollup_1h").to_pylist()
        assert rolled == [{"n": 120 * SITES}]
        history.close()

    asyncio.run(body())


def test_conducted_run_goes_on_when_the_disk_was_full(tmp_path: Path) -> None:
    async def body() -> None:
        rig = _Rig(tmp_path, conducted=True)
        async with _running(rig):
            for unit in UNITS:
                rig.gain(unit)
            await rig.tick(0, 0)
            rig.folder.refusals = 1
            await rig.tick(60, 60 * SITES)
            assert rig.historian.statistics().failures == 1
            assert len(rig.pairs()) >= 60 * SITES
            await rig.tick(MINUTES, len(TRUTH), closing=True)
        assert rig.pairs() == TRUTH

    asyncio.run(body())


def test_free_clock_writes_what_has_waited_and_goes_on_when_the_disk_was_full(tmp_path: Path) -> None:
    async def body() -> None:
        rig = _Rig(tmp_path, conducted=False, write_every_s=15.0, write_rows=200)
        rig.folder.refusals = 2
        async with _running(rig):
            for unit in UNITS:
                rig.gain(unit)
            await _wait(lambda: rig.historian.statistics().failures >= 1)
            await _wait(lambda: rig.historian.statistics().units == len(UNITS))
            await _wait(lambda: all(reader.drained.is_set() for reader in rig.readers.values()))
            waiting = rig.historian.statistics()
            assert 0 < waiting.buffered < 2 * (200 + 40 * 20)
            assert waiting.rows + waiting.buffered == len(TRUTH)
            rig.clock.now = START_NS + 16 * 10**9
            assert rig.historian.statistics().waiting_s == pytest.approx(16.0)
            await _wait(lambda: rig.historian.statistics().buffered == 0)
        assert rig.pairs() == TRUTH

    asyncio.run(body())


def test_unit_that_is_recalled_is_written_and_released_and_a_lost_one_is_not(tmp_path: Path) -> None:
    async def body() -> None:
        rig = _Rig(tmp_path, conducted=False)
        async with _running(rig):
            first, second = (rig.gain(unit) for unit in UNITS)
            await _wait(lambda: len(rig.readers) == 2)
            await _wait(lambda: all(reader.drained.is_set() for reader in rig.readers.values()))
            rig.clock.now += 16 * 10**9
            await _wait(lambda: rig.historian.statistics().rows == len(TRUTH))
            before = len(rig.pairs())
            rig.membership.queue.put_nowait(Recalled(first))
            await _wait(lambda: first.ended)
            rig.membership.queue.put_nowait(Lost(second))
            await _wait(lambda: rig.historian.statistics().units == 0)
            assert not second.ended
            assert len(rig.pairs()) == before == len(TRUTH)

            rig.gain(UNITS[0])
            await _wait(lambda: rig.historian.statistics().units == 1)
            assert rig.readers[UNITS[0]].statistics().next_seq == len(rig.journals[UNITS[0]]) + 1

    asyncio.run(body())


def test_unit_is_released_although_its_last_write_fails(tmp_path: Path) -> None:
    async def body() -> None:
        rig = _Rig(tmp_path, conducted=False)
        async with _running(rig):
            tenure = rig.gain(UNITS[0])
            await _wait(lambda: UNITS[0] in rig.readers)
            await _wait(rig.readers[UNITS[0]].drained.is_set)
            assert not rig.pairs()
            rig.folder.refusals = 1
            rig.membership.queue.put_nowait(Recalled(tenure))
            await _wait(lambda: tenure.ended)
            assert (rig.folder.refusals, rig.pairs()) == (0, [])
            rig.gain(UNITS[0])
            await _wait(lambda: rig.historian.statistics().units == 1)
            await _wait(rig.readers[UNITS[0]].drained.is_set)
            rig.clock.now += 16 * 10**9
            await _wait(lambda: rig.historian.statistics().rows > 0)
            assert rig.pairs() == [pair for pair in TRUTH if pair[0] % len(UNITS) == 0]

    asyncio.run(body())


@pytest.mark.parametrize("when", ["running", "restored"])
def test_sites_added_while_a_unit_is_running_or_restored_are_written(tmp_path: Path, when: str) -> None:
    async def body() -> None:
        rig = _Rig(tmp_path, conducted=False)
        rig.fleet = FLEET.take(np.arange(SITES - 3))
        rig.until = 0
        if when == "restored":
            loop = asyncio.get_running_loop()
            rig.on_making = lambda: loop.call_soon(rig.historian.follow_fleet, FLEET)
        async with _running(rig):
            rig.gain(UNITS[0])
            await _wait(lambda: rig.historian.statistics().units == 1)
            if when == "running":
                rig.historian.follow_fleet(FLEET)
            reader = rig.readers[UNITS[0]]
            reader.drained.clear()
            reader.until = int(rig.journals[UNITS[0]].seq[-1])
            await _wait(reader.drained.is_set)
            rig.clock.now += 16 * 10**9
            await _wait(lambda: rig.historian.statistics().rows > 0)
            assert rig.pairs() == [pair for pair in TRUTH if pair[0] % len(UNITS) == 0]

    asyncio.run(body())


def test_failures_with_writes_between_them_do_not_add_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        rig = _Rig(tmp_path, conducted=False, write_rows=1)
        write, parts = rig.folder.write, itertools.count()

        def full_now_and_then(path: str, fill: Fill) -> None:
            if "/.p-" in path and next(parts) % 4 == 3:
                raise OSError(28, "No space left on device")
            write(path, fill)

        monkeypatch.setattr(rig.folder, "write", full_now_and_then)
        with capture_logs() as logs:
            async with _running(rig):
                rig.gain(UNITS[0])
                await _wait(lambda: rig.historian.statistics().failures == 2)
        waits_s = [entry["again_in_s"] for entry in logs if entry["event"] == "unit failed"]
        assert waits_s == [0.2] * 2

    asyncio.run(body())


def test_historian_ends_when_what_was_committed_is_gone(tmp_path: Path) -> None:
    async def body() -> None:
        rig = _Rig(tmp_path, conducted=False)
        tenure = cast("Any", rig.gain(UNITS[1]))
        tenure._state = b"nothing of ours"
        with pytest.raises(CorruptStateError):
            await asyncio.wait_for(rig.historian.own(), 20)

    asyncio.run(body())
