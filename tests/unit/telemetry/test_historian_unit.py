"""A unit of history: whatever it is killed at, history holds what a straight run would have written."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from structlog.testing import capture_logs

from shoal.domain.errors import CorruptStateError, FencedOutError, UnavailableError
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_HOUR
from shoal.fabric.batch import JournalBatch
from shoal.simulate.fleet import plan_fleet
from shoal.store.history import History
from shoal.store.history_folder import LocalFolder
from shoal.store.history_keep import Keeper, KeepOptions
from shoal.store.history_register import FileRegister
from shoal.store.history_snapshots import FolderSnapshots
from shoal.store.history_write import PartWriter, Samples
from shoal.telemetry.historian_unit import HistorianUnit, UnitOptions
from shoal.telemetry.intake import Intake, split
from shoal.telemetry.tail import snapshot_then_tail
from tests.unit.telemetry.journals import START_NS, MemoryReader, SetClock, every_row, make_journal

FLEET = plan_fleet(9, 1)
MINUTES = 150
SITES = len(FLEET.site_ids)
TRUTH = [(site, seq) for site in range(SITES) for seq in range(1, MINUTES + 1)]


def _intake(fleet: Fleet = FLEET, clock: SetClock | None = None) -> Intake:
    return Intake(fleet=fleet, rows_of=every_row, clock=clock or SetClock())


def _historian(
    tmp_path: Path, *, clock: SetClock | None = None, fleet: Fleet = FLEET, **options: Any
) -> HistorianUnit:
    folder = LocalFolder(tmp_path / "history")
    owned = FileRegister(tmp_path / "register.bin")
    gate = asyncio.Event()
    gate.set()
    return HistorianUnit(
        unit="history",
        token=owned.token,
        options=replace(UnitOptions(snapshot_every_s=0.0), **options),
        clock=clock or SetClock(),
        intake=_intake(fleet, clock),
        writer=PartWriter(folder, "history", owned),
        snapshots=FolderSnapshots(folder),
        gate=gate,
    )


class _Refusing(FolderSnapshots):
    """A store of windows that has no room now and then."""

    def __init__(self, folder: LocalFolder) -> None:
        super().__init__(folder)
        self.refusals = 0

    async def save(self, unit: str, token: int, arrays: Mapping[str, NDArray[Any]]) -> bytes:
        if self.refusals:
            self.refusals -= 1
            raise UnavailableError("the snapshots", "maximum bytes exceeded")
        return await super().save(unit, token, arrays)


def _rows(tmp_path: Path) -> list[tuple[int, int]]:
    history = History(tmp_path / "history")
    table = history.query("SELECT site_no, seq FROM telemetry ORDER BY ALL")
    history.close()
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def _table(tmp_path: Path) -> pa.Table:
    history = History(tmp_path / "history")
    try:
        return history.query("SELECT * FROM telemetry ORDER BY site_no, seq")
    finally:
        history.close()


@contextlib.asynccontextmanager
async def _running(*bodies: Awaitable[None]) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(body) for body in bodies]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended


async def _wait(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not condition():  # noqa: ASYNC110 - the condition is another task's
            await asyncio.sleep(0.002)


async def _run_to(historian: HistorianUnit, journal: JournalBatch, *, until: int, seed: int = 0) -> None:
    """Restore and take in the journal up to a position, without writing at the end."""
    reader = MemoryReader(journal, await historian.restore(), seed=seed, until=until)
    async with _running(historian.read(reader)):
        await _wait(reader.drained.is_set)


def test_history_is_written_although_its_window_cannot_be_saved(tmp_path: Path) -> None:
    """What was saved before stands: a restart goes through more of the journal, and nothing is written twice."""

    async def body() -> None:
        journal = make_journal(FLEET, minutes=MINUTES, seed=3)
        historian = _historian(tmp_path, write_rows=300)
        historian._snapshots = snapshots = _Refusing(LocalFolder(tmp_path / "history"))
        snapshots.refusals = 2
        with capture_logs() as logs:
            await _run_to(historian, journal, until=len(journal) // 2)
        seen = historian.statistics()
        assert (snapshots.refusals, seen.snapshots) == (0, seen.writes - 2)
        assert [e["event"] for e in logs if e["log_level"] == "warning"] == [
            "window not saved, the next write tries again"
        ]

        none_at_all = _historian(tmp_path / "none", write_rows=300)
        none_at_all._snapshots = snapshots = _Refusing(LocalFolder(tmp_path / "none" / "history"))
        snapshots.refusals = 1 << 30
        await _run_to(none_at_all, journal, until=len(journal) // 2)
        assert none_at_all.statistics().rows > 0
        for folder in (tmp_path, tmp_path / "none"):
            restarted = _historian(folder, write_rows=300)
            await _run_to(restarted, journal, until=len(journal))
            await restarted.close()
            assert _rows(folder) == TRUTH

    asyncio.run(body())


def test_straight_run_writes_every_sample_once(tmp_path: Path) -> None:
    async def body() -> None:
        journal = make_journal(FLEET, minutes=MINUTES, seed=1)
        historian = _historian(tmp_path, write_rows=300)
        await _run_to(historian, journal, until=len(journal))
        before = historian.statistics()
        assert before.writes >= 3 and 0 < before.buffered < 300 + 40 * 20
        await historian.close()
        after = historian.statistics()
        assert (after.buffered, after.position) == (0, len(journal))
        assert after.rows == len(TRUTH)

    asyncio.run(body())
    assert _rows(tmp_path) == TRUTH


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment_history_is_that_of_a_straight_run(tmp_path: Path, seed: int) -> None:
    """Eight owners die one after the other without a last word, some before they have caught up."""
    journal = make_journal(FLEET, minutes=MINUTES, seed=seed)
    rng = np.random.default_rng(seed)

    async def straight() -> None:
        historian = _historian(tmp_path / "straight")
        await _run_to(historian, journal, until=len(journal), seed=99)
        await historian.close()

    async def killed() -> None:
        until = 1
        for life in range(8):
            until = min(until + int(rng.integers(0, len(journal) // 4)), len(journal))
            every_s = float(rng.choice([0.0, 1e9]))
            historian = _historian(tmp_path, write_rows=int(rng.integers(20, 400)), snapshot_every_s=every_s)
            await _run_to(historian, journal, until=until, seed=life)
            if rng.random() < 0.5:
                await historian.write()
        historian = _historian(tmp_path)
        await _run_to(historian, journal, until=len(journal))
        await historian.close()

    asyncio.run(straight())
    asyncio.run(killed())
    assert _rows(tmp_path) == TRUTH
    assert _table(tmp_path).equals(_table(tmp_path / "straight"))


def test_replay_after_a_snapshot_is_silent_up_to_what_is_written(tmp_path: Path) -> None:
    async def body() -> None:
        journal = make_journal(FLEET, minutes=MINUTES, seed=2)
        first = _historian(tmp_path, snapshot_every_s=1e9)
        await _run_to(first, journal, until=50)
        await first.write()
        await _run_more(first, journal, 50, 120)
        await first.write()
        second = _historian(tmp_path, snapshot_every_s=1e9)
        assert await second.restore() == 51
        reader = MemoryReader(journal, 51, until=120)
        async with _running(second.read(reader)):
            await _wait(reader.drained.is_set)
        statistics = second.statistics()
        assert (statistics.replayed, statistics.buffered) == (70, 0)

    asyncio.run(body())


async def _run_more(historian: HistorianUnit, journal: JournalBatch, after: int, until: int) -> None:
    reader = MemoryReader(journal, after + 1, until=until)
    async with _running(historian.read(reader)):
        await _wait(reader.drained.is_set)


def test_cancelled_write_is_finished_before_the_last_one(tmp_path: Path) -> None:
    async def body() -> None:
        journal = make_journal(FLEET, minutes=MINUTES, seed=4)
        historian = _historian(tmp_path)
        await _run_to(historian, journal, until=len(journal) // 2)
        writing = asyncio.ensure_future(historian.write())
        await asyncio.sleep(0)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        await _run_more(historian, journal, len(journal) // 2, len(journal))
        await historian.close()

    asyncio.run(body())
    assert _rows(tmp_path) == TRUTH


def test_replaced_historian_writes_no_more(tmp_path: Path) -> None:
    async def body() -> None:
        journal = make_journal(FLEET, minutes=MINUTES, seed=5)
        stale = _historian(tmp_path)
        await _run_to(stale, journal, until=100)
        newer = _historian(tmp_path)
        await _run_to(newer, journal, until=len(journal))
        await newer.close()
        with pytest.raises(FencedOutError):
            await stale.write()
        with pytest.raises(UnavailableError):
            await stale.write()
        await stale.close()

    asyncio.run(body())
    assert _rows(tmp_path) == TRUTH


def test_window_of_other_sites_is_refused(tmp_path: Path) -> None:
    async def body() -> None:
        journal = make_journal(FLEET, minutes=10, seed=5)
        historian = _historian(tmp_path)
        await _run_to(historian, journal, until=len(journal))
        await historian.close()
        with pytest.raises(CorruptStateError, match="not this unit's"):
            await _historian(tmp_path, fleet=plan_fleet(3, 1)).restore()

    asyncio.run(body())


def test_window_that_is_gone_is_named(tmp_path: Path) -> None:
    async def body() -> None:
        journal = make_journal(FLEET, minutes=10, seed=5)
        historian = _historian(tmp_path)
        await _run_to(historian, journal, until=len(journal))
        await historian.close()
        for path in (tmp_path / "history" / "state").rglob("*.npz"):
            path.unlink()
        with pytest.raises(CorruptStateError, match="gone"):
            await _historian(tmp_path).restore()

    asyncio.run(body())


@pytest.mark.parametrize("seed", range(3))
def test_snapshot_then_tail_gives_every_sample_once(tmp_path: Path, seed: int) -> None:
    """The tail begins at any moment, with a window that is older than the snapshot, and goes to the end."""

    async def body() -> tuple[pa.Table, list[Samples]]:
        journal = make_journal(FLEET, minutes=MINUTES, seed=seed)
        historian = _historian(tmp_path, snapshot_every_s=1e9)
        await _run_to(historian, journal, until=40)
        await historian.write()
        await _run_more(historian, journal, 40, 170)
        await historian.write()
        await _run_more(historian, journal, 170, 200)

        history = History(tmp_path / "history")
        folder = LocalFolder(tmp_path / "history")
        snapshot, tail = await snapshot_then_tail(
            history, unit="history", intake=_intake(), snapshots=FolderSnapshots(folder)
        )
        assert (snapshot.marks["history"].position, tail.start_seq) == (170, 41)
        await historian.close()
        Keeper(folder, KeepOptions()).run(START_NS + 24 * NS_PER_HOUR)
        seen = history.query("SELECT * FROM telemetry", snapshot=snapshot)
        history.close()
        reader = MemoryReader(journal, tail.start_seq, seed=seed)
        after: list[Samples] = []
        async for batch in tail.follow(reader):
            after.append(batch.samples)
            if batch.position == len(journal):
                break
        return seen, after

    seen, after = asyncio.run(body())
    both = list(zip(seen["site_no"].to_pylist(), seen["seq"].to_pylist(), strict=True))
    for samples in after:
        both += zip(samples.site_no.tolist(), samples.records["seq"].tolist(), strict=True)
    assert 0 < len(seen) < len(TRUTH)
    assert sorted(both) == TRUTH


def test_tail_of_a_unit_that_never_wrote_says_so(tmp_path: Path) -> None:
    history = History(tmp_path / "history")
    with pytest.raises(UnavailableError, match="nothing yet"):
        asyncio.run(
            snapshot_then_tail(
                history,
                unit="history",
                intake=_intake(),
                snapshots=FolderSnapshots(LocalFolder(tmp_path / "history")),
            )
        )
    history.close()


def test_split_cuts_a_batch_at_a_position() -> None:
    journal = make_journal(FLEET, minutes=5, seed=0)
    head, rest = split(journal, 3)
    assert head is not None and rest is not None
    assert (head.seq.tolist(), int(rest.seq[0]), len(head) + len(rest)) == ([1, 2, 3], 4, len(journal))
    assert (rest.payload(0), head.subject(2)) == (journal.payload(3), journal.subject(2))
    assert split(journal, 0)[0] is None
    assert split(journal, len(journal))[1] is None
