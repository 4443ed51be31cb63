"""Writing history: decided by the register in one instant, whatever dies before or after."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shoal.domain.errors import CorruptStateError, FencedOutError, InvalidInputError
from shoal.domain.telemetry import ALL_PRESENT, mask_of
from shoal.store import history_layout as layout
from shoal.store.history import History
from shoal.store.history_folder import Fill, Folder, LocalFolder, open_folder
from shoal.store.history_register import FileRegister, UnitState
from shoal.store.history_schema import SCHEMA
from shoal.store.history_write import PartWriter, Samples, read_mark
from tests.unit.store.history_cases import UNIT, expected, in_loop, pairs, register, samples, write_minutes


@pytest.fixture(params=["local", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    if request.param == "local":
        return open_folder(tmp_path / "it's history")
    return open_folder(f"memory://{tmp_path.name}/history")


@in_loop
async def test_write_splits_by_hour_and_sorts_by_site_and_time(folder: Folder, tmp_path: Path) -> None:
    state = await write_minutes(folder, register(tmp_path), minutes=125)

    assert folder.tree(layout.RAW) == {
        f"hour=2021-02-10T{hour}": ["p-history-1-125.parquet"] for hour in ("06", "07", "08")
    }
    with folder.open("raw/hour=2021-02-10T07/p-history-1-125.parquet") as source:
        table = pq.read_table(source)
    assert table.schema.equals(SCHEMA, check_metadata=True)
    key = table["site_no"].to_numpy().astype(np.int64) * 10**12 + table["ts_ms"].to_numpy() % 10**12
    assert len(table) == 180 and (np.diff(key) > 0).all()
    assert (state.position, state.rows, state.files) == (125, 375, 3)
    assert read_mark(folder, UNIT).position == 125


@in_loop
async def test_writes_follow_each_other_and_nothing_moves_the_position_only(
    folder: Folder, tmp_path: Path
) -> None:
    owned = register(tmp_path)
    writer = PartWriter(folder, UNIT, owned)
    await writer.recover()
    await writer.write(samples(first=0, minutes=10), UnitState(position=10))
    none = await writer.write(samples(first=10, minutes=0), UnitState(position=17))
    assert (none.rows, none.files, read_mark(folder, UNIT).position) == (30, 0, 17)
    with pytest.raises(InvalidInputError, match="position"):
        await writer.write(samples(first=10, minutes=1), UnitState(position=17))
    with pytest.raises(InvalidInputError, match="position"):
        await writer.write(samples(first=10, minutes=0), UnitState(position=3))


def test_samples_of_different_lengths_are_refused() -> None:
    whole = samples(first=0, minutes=2)
    with pytest.raises(InvalidInputError, match="site_no"):
        Samples(records=whole.records, site_no=whole.site_no[:1], arrival_ns=whole.arrival_ns)


@in_loop
async def test_what_is_not_measured_is_null_and_the_rest_comes_back(folder: Folder, tmp_path: Path) -> None:
    given = samples(first=0, minutes=3)
    records = given.records
    records["present"] = ALL_PRESENT
    records["present"][given.site_no == 1] = mask_of("load_w", "import_wh", "export_wh")
    records["flags"] = 64
    records["ts_ns"] += 123_456
    writer = PartWriter(folder, UNIT, register(tmp_path))
    await writer.recover()
    await writer.write(given, UnitState(position=3))

    history = History(folder)
    rows = history.query("SELECT * FROM telemetry ORDER BY seq, site_no").to_pylist()
    assert [row["ts_ns"] for row in rows] == records["ts_ns"].tolist()
    assert {row["flags"] for row in rows} == {64}
    assert [row["arrival_ns"] - row["ts_ns"] for row in rows] == [249_876_544] * 9
    for row, record in zip(rows, records, strict=True):
        meter_only = row["site_no"] == 1
        assert row["battery_w"] == (None if meter_only else record["battery_w"])
        assert row["charge_wh"] == (None if meter_only else record["charge_wh"])
        assert row["soc_frac"] == (None if meter_only else pytest.approx(record["soc_frac"]))
        assert (row["load_w"], row["import_wh"]) == (record["load_w"], record["import_wh"])
    history.close()


class _DiesError(Exception):
    """Stands for the death of the process at one step."""


class _Dying(LocalFolder):
    """A folder that lets its process live for some steps only."""

    def __init__(self, root: Path, steps: int) -> None:
        super().__init__(root)
        self.steps = steps

    def _step(self) -> None:
        self.steps -= 1
        if self.steps < 0:
            raise _DiesError

    def write(self, path: str, fill: Fill) -> None:
        self._step()
        super().write(path, fill)

    def rename(self, old: str, new: str) -> bool:
        self._step()
        return super().rename(old, new)

    def remove(self, path: str) -> bool:
        self._step()
        return super().remove(path)


class _DyingRegister(FileRegister):
    def __init__(self, path: Path, folder: _Dying, *, after: bool) -> None:
        super().__init__(path)
        self._folder = folder
        self._after = after

    async def commit(self, state: bytes) -> None:
        if self._after:
            await super().commit(state)
        self._folder._step()
        if not self._after:
            await super().commit(state)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("steps", range(12))
@in_loop
async def test_a_writer_that_dies_at_any_step_loses_and_doubles_nothing(
    tmp_path: Path, steps: int, after: bool
) -> None:
    """It dies while it writes three hours (12 steps), and its successor dies too, one step later, and so on."""
    root = tmp_path / "history"
    await write_minutes(LocalFolder(root), register(tmp_path), minutes=30)
    deaths = 0
    for more in range(20):
        folder = _Dying(root, steps + more)
        owned = _DyingRegister(tmp_path / "register" / "unit.bin", folder, after=after)
        try:
            state = await write_minutes(folder, owned, minutes=100)
        except _DiesError:
            deaths += 1
            continue
        break
    assert deaths >= 1 or steps > 8

    history = History(root)
    assert pairs(history) == expected(state.position)
    assert (state.rows, read_mark(LocalFolder(root), UNIT).position) == (3 * state.position, state.position)
    hidden = [path for path in root.rglob(".*") if path.is_file()]
    assert hidden == []
    history.close()


@in_loop
async def test_a_writer_that_was_replaced_writes_nothing_that_is_ever_seen(
    folder: Folder, tmp_path: Path
) -> None:
    stale = PartWriter(folder, UNIT, register(tmp_path))
    await stale.recover()
    await write_minutes(folder, register(tmp_path), minutes=20)
    with pytest.raises(FencedOutError):
        await stale.write(samples(first=0, minutes=90), UnitState(position=90))

    history = History(folder)
    assert pairs(history) == expected(20)
    await write_minutes(folder, register(tmp_path), minutes=5)
    assert pairs(history) == expected(25)
    assert not any(name.startswith(".p-") for names in folder.tree(layout.RAW).values() for name in names)
    history.close()


@in_loop
async def test_a_writer_that_was_replaced_between_commit_and_names_does_no_harm(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next owner gives the files their names while the former one stands still, which then goes on."""
    owned = register(tmp_path)
    stale = PartWriter(folder, UNIT, owned)
    await stale.recover()
    commit = owned.commit

    async def commit_then_stand_still(state: bytes) -> None:
        await commit(state)
        await write_minutes(folder, register(tmp_path), minutes=10)

    monkeypatch.setattr(owned, "commit", commit_then_stand_still)
    await stale.write(samples(first=0, minutes=90), UnitState(position=90))
    history = History(folder)
    assert pairs(history) == expected(100)
    assert read_mark(folder, UNIT).position == 100
    history.close()


@in_loop
async def test_recover_names_files_that_were_committed_and_are_gone(folder: Folder, tmp_path: Path) -> None:
    writer = PartWriter(folder, UNIT, register(tmp_path))
    await writer.recover()
    await writer.write(samples(first=0, minutes=90), UnitState(position=90))
    folder.remove("raw/hour=2021-02-10T06/p-history-1-90.parquet")
    folder.remove("positions/history.json")
    with pytest.raises(CorruptStateError, match="2 files were committed"):
        await PartWriter(folder, UNIT, register(tmp_path)).recover()


def test_a_register_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "unit.bin"
    path.write_bytes(b"nothing of ours")
    with pytest.raises(CorruptStateError):
        FileRegister(path)
    with pytest.raises(CorruptStateError):
        UnitState.decode(b"nothing of ours")


def test_a_store_without_its_package_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"history\.url"):
        open_folder("nosuchkind://bucket/path")
    assert isinstance(open_folder(f"file://{tmp_path}"), LocalFolder)


def test_state_fits_a_register_whatever_was_written() -> None:
    assert len(UnitState(position=2**60, files=10**6, mark="1" * 20, snapshot=b"s" * 80).encode()) < 400


@in_loop
async def test_stored_types_are_what_duckdb_is_told(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path / "history")
    history = History(folder)
    empty = history.query("SELECT * FROM telemetry").schema
    await write_minutes(folder, register(tmp_path), minutes=1)
    assert history.query("SELECT * FROM telemetry").schema == empty
    assert pa.types.is_float32(empty.field("soc_frac").type)
    history.close()
