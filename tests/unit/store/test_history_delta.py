"""History as a Delta table: the same answers, each sample once, and of two writers the log refuses one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shoal.domain.errors import FencedOutError, InvalidInputError, UnavailableError
from shoal.domain.interval import NS_PER_HOUR
from shoal.store.history import History
from shoal.store.history_folder import LocalFolder
from shoal.store.history_keep import Keeper, KeepOptions
from shoal.store.history_merge import sorted_blocks
from shoal.store.history_register import FileRegister, UnitState
from tests.unit.store.history_cases import UNIT, expected, in_loop, pairs, register, samples
from tests.unit.store.records import START_NS

pytest.importorskip("deltalake")
from shoal.store import history_delta
from shoal.store.history_delta import DeltaSamples, DeltaWriter

FAR_NS = START_NS + 30 * 24 * NS_PER_HOUR


@pytest.fixture
def folder(tmp_path: Path) -> LocalFolder:
    return LocalFolder(tmp_path / "it's history")


def _history(folder: LocalFolder) -> History:
    return History(folder, raw=DeltaSamples(folder))


async def _write(folder: LocalFolder, owned: FileRegister, *, minutes: int) -> UnitState:
    writer = DeltaWriter(folder, UNIT, owned)
    state = await writer.recover()
    more = samples(first=state.position, minutes=minutes)
    return await writer.write(more, UnitState(position=state.position + minutes))


@in_loop
async def test_appends_are_read_as_the_same_table(folder: LocalFolder, tmp_path: Path) -> None:
    history = _history(folder)
    empty = history.query("SELECT * FROM telemetry")
    state = await _write(folder, register(tmp_path), minutes=70)
    state = await _write(folder, register(tmp_path), minutes=20)
    assert (state.position, state.rows) == (90, 270)
    assert pairs(history) == expected(90)
    assert history.query("SELECT * FROM telemetry").schema == empty.schema
    assert history.snapshot().marks[UNIT].position == 90
    hours = history.query("SELECT hour, count(*) AS n FROM telemetry GROUP BY 1 ORDER BY 1").to_pylist()
    assert hours == [{"hour": "2021-02-10T06", "n": 180}, {"hour": "2021-02-10T07", "n": 90}]
    start_ns = START_NS + NS_PER_HOUR
    one = history.query("SELECT count(*) AS n FROM telemetry", span_ns=(start_ns, start_ns + 1))
    assert one.to_pylist() == [{"n": 90}]
    history.close()


@in_loop
async def test_append_that_the_register_has_not_heard_of_counts_once(
    folder: LocalFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owned = register(tmp_path)

    async def dies(state: bytes) -> None:
        raise ConnectionError

    monkeypatch.setattr(owned, "commit", dies)
    with pytest.raises(ConnectionError):
        await _write(folder, owned, minutes=30)
    recovered = await DeltaWriter(folder, UNIT, register(tmp_path)).recover()
    assert recovered.position == 30
    await _write(folder, register(tmp_path), minutes=10)
    history = _history(folder)
    assert pairs(history) == expected(40)
    history.close()


@in_loop
async def test_of_two_writers_the_log_refuses_one(folder: LocalFolder, tmp_path: Path) -> None:
    """The former owner writes although it was replaced, at the worst moment: just before the new one."""
    former = DeltaWriter(folder, UNIT, register(tmp_path))
    await former.recover()
    newer = DeltaWriter(folder, UNIT, register(tmp_path))
    await newer.recover()
    with pytest.raises(FencedOutError):
        await former.write(samples(first=0, minutes=20), UnitState(position=20))
    with pytest.raises(UnavailableError, match="another wrote"):
        await newer.write(samples(first=0, minutes=25), UnitState(position=25))
    await _write(folder, register(tmp_path), minutes=5)
    with pytest.raises(UnavailableError, match="another wrote"):
        await former.write(samples(first=20, minutes=20), UnitState(position=40))
    history = _history(folder)
    assert pairs(history) == expected(25)
    history.close()


@in_loop
async def test_hours_are_merged_rolled_up_and_let_go(folder: LocalFolder, tmp_path: Path) -> None:
    for _ in range(4):
        await _write(folder, register(tmp_path), minutes=30)
    raw = DeltaSamples(folder)
    keeper = Keeper(folder, KeepOptions(grace_s=0, raw_days=0), raw)
    done = keeper.run(FAR_NS)
    assert (done.merged_hours, done.rolled_hours) == (2, 2)
    assert len(raw.files()) == 2
    assert keeper.run(FAR_NS).rolled_hours == 2, "merging changes no roll-up"
    history = _history(folder)
    assert pairs(history) == expected(120)
    assert history.query("SELECT sum(samples) AS n FROM rollup_1h").to_pylist() == [{"n": 360}]
    with folder.open(raw.files()[0].path) as source:
        site = pq.read_table(source)["site_no"].to_pylist()
    assert site == sorted(site)

    await _write(folder, register(tmp_path), minutes=3 * 24 * 60)
    Keeper(folder, KeepOptions(grace_s=0, raw_days=1), raw).run(FAR_NS)
    first = history.query("SELECT min(hour) AS hour FROM telemetry").to_pylist()
    assert first == [{"hour": "2021-02-12T08"}]
    assert history.query("SELECT sum(samples) AS n FROM rollup_1h").to_pylist() == [{"n": 360 + 3 * 4_320}]
    history.close()


@in_loop
async def test_append_after_the_listing_survives_the_merge(folder: LocalFolder, tmp_path: Path) -> None:
    raw = DeltaSamples(folder)
    for _ in range(2):
        await _write(folder, register(tmp_path), minutes=10)
    listed = raw.files()
    await _write(folder, register(tmp_path), minutes=10)
    assert raw.merge(listed) == 90
    history = _history(folder)
    assert pairs(history) == expected(30)
    history.close()
    assert [f.to_seq for f in raw.files()] == [30]


@in_loop
async def test_append_during_a_merge_survives_it(
    folder: LocalFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = DeltaSamples(folder)
    owned = register(tmp_path)
    for _ in range(2):
        await _write(folder, owned, minutes=10)

    def blocks(*args: object) -> Iterator[pa.Table]:
        yield from sorted_blocks(*args)  # type: ignore[arg-type]
        with ThreadPoolExecutor(1) as thread:
            thread.submit(lambda: asyncio.run(_write(folder, owned, minutes=10))).result()

    monkeypatch.setattr(history_delta, "sorted_blocks", blocks)
    with contextlib.suppress(UnavailableError):  # the log may refuse it; the next pass merges
        raw.merge(raw.files())
    history = _history(folder)
    assert pairs(history) == expected(30)
    history.close()


@in_loop
async def test_position_runs_forwards_only(folder: LocalFolder, tmp_path: Path) -> None:
    await _write(folder, register(tmp_path), minutes=10)
    writer = DeltaWriter(folder, UNIT, register(tmp_path))
    with pytest.raises(UnavailableError, match="recovered"):
        await writer.write(samples(first=0, minutes=1), UnitState(position=1))
    await writer.recover()
    with pytest.raises(InvalidInputError, match="position"):
        await writer.write(samples(first=0, minutes=1), UnitState(position=10))
    none = await writer.write(samples(first=0, minutes=0), UnitState(position=12))
    assert (none.rows, none.position) == (30, 12)
    assert (await DeltaWriter(folder, UNIT, register(tmp_path)).recover()).position == 12
