"""Keeping history: merged, rolled up and let go, whatever dies and whatever comes late."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE
from shoal.domain.telemetry import ALL_PRESENT, Flag, mask_of
from shoal.store import history_keep, history_schema, history_table
from shoal.store import history_layout as layout
from shoal.store.history import History
from shoal.store.history_folder import Fill, Folder, LocalFolder, open_folder
from shoal.store.history_keep import Keeper, KeepOptions
from shoal.store.history_merge import merge, sorted_blocks
from shoal.store.history_register import FileRegister, UnitState
from shoal.store.history_rollup import roll_up
from shoal.store.history_schema import to_stored
from shoal.store.history_write import PartWriter, Samples
from tests.unit.store.history_cases import UNIT, expected, pairs, register, samples, write_minutes
from tests.unit.store.records import START_NS, make_records

FAR_NS = START_NS + 30 * 24 * NS_PER_HOUR
AT_ONCE = KeepOptions(grace_s=0, raw_days=0, rollup_5min_days=0)


def _write(folder: Folder, tmp_path: Path, *, minutes: int, at_minute: int | None = None) -> None:
    asyncio.run(write_minutes(folder, register(tmp_path), minutes=minutes, at_minute=at_minute))


@pytest.fixture(params=["local", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    if request.param == "local":
        return open_folder(tmp_path / "history")
    return open_folder(f"memory://{tmp_path.name}/kept")


def _ask(folder: Folder, sql: str) -> list[dict[str, object]]:
    history = History(folder)
    try:
        rows: list[dict[str, object]] = history.query(sql).to_pylist()
        return rows
    finally:
        history.close()


def _pairs(folder: Folder) -> list[tuple[int, int]]:
    history = History(folder)
    try:
        return pairs(history)
    finally:
        history.close()


def test_parts_of_a_settled_hour_become_one_sorted_file(folder: Folder, tmp_path: Path) -> None:
    for _ in range(9):
        _write(folder, tmp_path, minutes=10)
    keeper = Keeper(folder, KeepOptions(settle_s=600, grace_s=3_600))
    now_ns = START_NS + NS_PER_HOUR + 10 * NS_PER_MINUTE

    assert keeper.run(now_ns - 1).merged_hours == 0
    done = keeper.run(now_ns)
    assert (done.merged_hours, done.merged_rows, done.removed_files) == (1, 180, 0)
    assert "c-history-60.parquet" in folder.names("raw/hour=2021-02-10T06")
    assert len(folder.names("raw/hour=2021-02-10T06")) == 7
    assert _pairs(folder) == expected(90)

    assert Keeper(folder, AT_ONCE).run(now_ns).removed_files == 6
    assert folder.names("raw/hour=2021-02-10T06") == ["c-history-60.parquet"]
    assert _pairs(folder) == expected(90)
    assert Keeper(folder, AT_ONCE).run(now_ns).merged_hours == 0


def test_late_samples_are_merged_again_when_there_are_enough(folder: Folder, tmp_path: Path) -> None:
    _write(folder, tmp_path, minutes=30)
    _write(folder, tmp_path, minutes=20)
    Keeper(folder, AT_ONCE).run(FAR_NS)
    for minute in range(50, 60):
        _write(folder, tmp_path, minutes=1, at_minute=minute)
    assert Keeper(folder, AT_ONCE).run(FAR_NS).merged_hours == 1
    assert folder.names("raw/hour=2021-02-10T06") == ["c-history-60.parquet"]
    assert _pairs(folder) == expected(60)


def test_everything_is_merged_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_table, "_LATE_SHARE", 9.0)  # these samples take next to nothing
    folder = LocalFolder(tmp_path / "history")
    _write(folder, tmp_path, minutes=30)
    _write(folder, tmp_path, minutes=30)
    Keeper(folder, AT_ONCE).run(FAR_NS)
    _write(folder, tmp_path, minutes=1, at_minute=7)
    before = Keeper(folder, AT_ONCE).run(FAR_NS).merged_hours
    assert before == 0, "one late sample is not worth writing an hour again"
    assert Keeper(folder, AT_ONCE).run(FAR_NS, everything=True).merged_hours == 1


class _DiesError(Exception):
    pass


class _Dying(LocalFolder):
    def __init__(self, root: Path, steps: int) -> None:
        super().__init__(root)
        self._steps = steps

    def _step(self) -> None:
        self._steps -= 1
        if self._steps < 0:
            raise _DiesError

    def write(self, path: str, fill: Fill) -> None:
        self._step()
        super().write(path, fill)
        self._step()

    def rename(self, old: str, new: str) -> bool:
        self._step()
        return super().rename(old, new)

    def remove(self, path: str) -> bool:
        self._step()
        return super().remove(path)


def test_a_pass_that_dies_at_any_step_changes_no_answer(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path / "history")
    for _ in range(4):
        _write(folder, tmp_path, minutes=30)
    Keeper(folder, AT_ONCE).run(FAR_NS)
    _write(folder, tmp_path, minutes=60, at_minute=120)
    wanted = expected(180)
    for steps in range(200):
        keeper = Keeper(_Dying(tmp_path / "history", steps), AT_ONCE)
        try:
            keeper.run(FAR_NS)
        except _DiesError:
            assert _pairs(folder) == wanted, f"died at step {steps}"
            continue
        break
    assert steps > 5
    assert _pairs(folder) == wanted
    hours = _ask(folder, "SELECT sum(samples) AS n, count(*) AS rows FROM rollup_1h")
    assert hours == [{"n": 540, "rows": 9}]


def test_two_keepers_at_once_do_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second pass runs whole between any two steps of the first."""
    folder = LocalFolder(tmp_path / "history")
    for _ in range(8):
        _write(folder, tmp_path, minutes=30)
    rename = LocalFolder.rename
    busy = False

    def rename_amid_another_pass(self: LocalFolder, old: str, new: str) -> bool:
        nonlocal busy
        if not busy:
            busy = True
            Keeper(LocalFolder(tmp_path / "history"), AT_ONCE).run(FAR_NS)
            busy = False
        return rename(self, old, new)

    monkeypatch.setattr(LocalFolder, "rename", rename_amid_another_pass)
    Keeper(folder, AT_ONCE).run(FAR_NS)
    Keeper(folder, AT_ONCE).run(FAR_NS)
    assert _pairs(folder) == expected(240)
    assert _ask(folder, "SELECT sum(samples) AS n FROM rollup_5min") == [{"n": 720}]


def test_rollups_weigh_powers_by_time_and_keep_registers(folder: Folder, tmp_path: Path) -> None:
    """One site: 100 W for four minutes, 600 W for one, then a hole, then a suspect and a good sample."""
    minutes = [0, 4, 10, 11]
    records, site_no, arrival_ns = make_records(sites=1, first=0, minutes=len(minutes))
    records["ts_ns"] = START_NS + np.array(minutes) * NS_PER_MINUTE
    records["battery_w"] = [100, 600, 9_999, 50]
    records["soc_frac"] = [0.5, 0.4, 0.9, 0.6]
    records["charge_wh"] = [10, 12, 99, 20]
    records["flags"] = [0, Flag.BACKFILL, Flag.OVER_NAMEPLATE, 0]
    records["present"] = ALL_PRESENT & ~mask_of("ev_w")
    given = Samples(records=records, site_no=site_no.astype(np.int32), arrival_ns=arrival_ns)

    async def write() -> None:
        writer = PartWriter(folder, UNIT, register(tmp_path))
        await writer.recover()
        await writer.write(given, UnitState(position=1))

    asyncio.run(write())
    Keeper(folder, KeepOptions(hold_s=300)).run(START_NS + 2 * NS_PER_HOUR)
    five = _ask(folder, "SELECT * FROM rollup_5min ORDER BY start_ns")
    assert [row["start_ns"] for row in five] == [START_NS + k * 300 * 10**9 for k in range(4)]
    assert [row["battery_w"] for row in five] == [(4 * 100 + 600) / 5, 600.0, 50.0, 50.0]
    assert [row["coverage_frac"] for row in five] == pytest.approx([1.0, 0.8, 0.8, 0.2])
    assert [(row["samples"], row["suspect_samples"]) for row in five] == [(2, 0), (0, 0), (2, 1), (0, 0)]
    assert [row["ev_w"] for row in five] == [None] * 4
    assert [row["charge_first_wh"] for row in five] == [10, None, 20, None]
    assert [row["charge_last_wh"] for row in five] == [12, None, 20, None]
    assert five[0]["soc_min_frac"] == pytest.approx(0.4)
    assert five[0]["soc_max_frac"] == pytest.approx(0.5)
    assert five[2]["soc_last_frac"] == pytest.approx(0.6)
    (hour,) = _ask(folder, "SELECT * FROM rollup_1h")
    assert hour["battery_w"] == pytest.approx((4 * 100 + 5 * 600 + 5 * 50) / 14)
    assert (hour["samples"], hour["charge_first_wh"], hour["charge_last_wh"]) == (4, 10, 20)
    assert hour["coverage_frac"] == pytest.approx(14 / 60)


def test_rollups_are_made_again_when_late_samples_come(folder: Folder, tmp_path: Path) -> None:
    _write(folder, tmp_path, minutes=10)
    _write(folder, tmp_path, minutes=300, at_minute=60)
    keeper = Keeper(folder, AT_ONCE)
    assert keeper.run(FAR_NS).rolled_hours == 6
    sql = "SELECT start_ns, samples, day FROM rollup_1h WHERE site_no = 1 ORDER BY start_ns"
    assert [row["samples"] for row in _ask(folder, sql)] == [10, 60, 60, 60, 60, 60]
    assert keeper.run(FAR_NS).rolled_hours == 6
    assert folder.names("rollup_1h/day=2021-02-10") == ["d-history-310.parquet"]

    _write(folder, tmp_path, minutes=50, at_minute=10)
    done = keeper.run(FAR_NS)
    assert done.rolled_hours == 7
    assert [row["samples"] for row in _ask(folder, sql)] == [60] * 6
    assert keeper.run(FAR_NS).rolled_hours == 7, "nothing is left to do"
    assert folder.names("rollup_1h/day=2021-02-10") == ["d-history-360.parquet"]


def test_day_is_not_merged_from_hours_that_were_left_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour that could not be rolled up must not be taken for done because its day is."""
    folder = LocalFolder(tmp_path / "history")
    _write(folder, tmp_path, minutes=180)

    def one_hour_goes_away(folder: Folder, paths: list[str], **options: object) -> object:
        if "T07" in paths[0]:
            raise FileNotFoundError(paths[0])
        return sorted_blocks(folder, paths, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(history_keep, "sorted_blocks", one_hour_goes_away)
    done = Keeper(folder, AT_ONCE).run(FAR_NS)
    assert (done.rolled_hours, done.skipped, done.merged_days) == (2, 1, 0)
    monkeypatch.undo()
    done = Keeper(folder, AT_ONCE).run(FAR_NS)
    assert (done.rolled_hours, done.merged_days) == (1, 2)
    assert _ask(folder, "SELECT sum(samples) AS n FROM rollup_1h") == [{"n": 540}]


def test_tiers_are_kept_for_their_time_counted_from_the_newest_sample(folder: Folder, tmp_path: Path) -> None:
    _write(folder, tmp_path, minutes=60)
    _write(folder, tmp_path, minutes=60, at_minute=3 * 24 * 60)
    options = KeepOptions(raw_days=1, rollup_5min_days=2, rollup_1h_days=0, grace_s=0)
    keeper = Keeper(folder, options)
    assert keeper.run(FAR_NS, retain=False).expired == 0
    assert keeper.run(FAR_NS).expired == 2
    raw = _ask(folder, "SELECT DISTINCT hour FROM telemetry")
    assert raw == [{"hour": "2021-02-13T06"}]
    assert _ask(folder, "SELECT DISTINCT day FROM rollup_5min") == [{"day": "2021-02-13"}]
    assert len(_ask(folder, "SELECT DISTINCT day FROM rollup_1h")) == 2

    _write(folder, tmp_path, minutes=5, at_minute=3)
    assert keeper.run(FAR_NS).expired == 3
    (first, *_) = _ask(folder, "SELECT samples FROM rollup_1h WHERE site_no = 0 ORDER BY start_ns")
    assert first == {"samples": 60}, "what came too late must not replace the whole"


def test_folders_past_their_time_count_once_however_many_units_wrote_there(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path / "history")

    async def write(unit: str, first: int) -> None:
        writer = PartWriter(folder, unit, FileRegister(tmp_path / f"{unit}.bin"))
        state = await writer.recover()
        await writer.write(samples(first=first, minutes=60), UnitState(position=state.position + 60))

    for unit in ("one", "two"):
        asyncio.run(write(unit, 0))
        asyncio.run(write(unit, 3 * 24 * 60))
    options = KeepOptions(raw_days=1, rollup_5min_days=2, rollup_1h_days=0, grace_s=0)
    Keeper(folder, options).run(FAR_NS, retain=False)
    assert Keeper(folder, options).run(FAR_NS).expired == 2
    assert _ask(folder, "SELECT DISTINCT day FROM rollup_5min") == [{"day": "2021-02-13"}]


def test_hour_that_was_never_rolled_up_is_before_it_goes(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path / "history")
    _write(folder, tmp_path, minutes=60)
    _write(folder, tmp_path, minutes=1, at_minute=10 * 24 * 60)
    Keeper(folder, KeepOptions(raw_days=1, grace_s=0)).run(FAR_NS)
    assert _ask(folder, "SELECT count(*) AS n FROM telemetry") == [{"n": 3}]
    assert _ask(folder, "SELECT sum(samples) AS n FROM rollup_1h") == [{"n": 183}]


def test_hour_that_could_not_be_rolled_up_stays_for_the_next_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = LocalFolder(tmp_path / "history")
    _write(folder, tmp_path, minutes=60)
    _write(folder, tmp_path, minutes=60, at_minute=3 * 24 * 60)

    def first_hour_goes_away(folder: Folder, paths: list[str], **options: object) -> object:
        if "-10T" in paths[0]:
            raise FileNotFoundError(paths[0])
        return sorted_blocks(folder, paths, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(history_keep, "sorted_blocks", first_hour_goes_away)
    options = KeepOptions(raw_days=1, rollup_5min_days=0, grace_s=0)
    done = Keeper(folder, options).run(FAR_NS)
    assert (done.skipped, done.expired) == (1, 0)
    monkeypatch.undo()
    assert Keeper(folder, options).run(FAR_NS).expired == 1
    assert _ask(folder, "SELECT sum(samples) AS n FROM rollup_1h") == [{"n": 360}]


def test_pass_can_be_left_early(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path / "history")
    _write(folder, tmp_path, minutes=180)
    calls = iter([False, True, True, True, True])
    assert Keeper(folder, AT_ONCE).run(FAR_NS, stop=lambda: next(calls)).rolled_hours == 1


def test_blocks_hold_whole_sites_in_order_whatever_their_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_schema, "MIN_GROUP_ROWS", 7_000)
    folder = LocalFolder(tmp_path / "history")
    asyncio.run(_many(folder, tmp_path))
    paths = [f.path for f in layout.raw_files(folder.tree(layout.RAW))]
    assert len(paths) == 3
    blocks = list(sorted_blocks(folder, paths, block_rows=20_000))
    assert len(blocks) > 2
    table = pa.concat_tables(blocks)
    site = table["site_no"].to_numpy().astype(np.int64)
    key = site << 40 | (table["ts_ms"].to_numpy() - START_NS // 10**6)
    assert len(table) == 3_000 * 60 and (np.diff(key) > 0).all()
    ends = [(int(b["site_no"][0].as_py()), int(b["site_no"][-1].as_py())) for b in blocks]
    assert all(a[1] < b[0] for a, b in pairwise(ends))
    assert merge(folder, paths, "raw/hour=2021-02-10T06/.c") == 180_000


async def _many(folder: Folder, tmp_path: Path) -> None:
    writer = PartWriter(folder, UNIT, register(tmp_path))
    await writer.recover()
    for k in range(3):
        await writer.write(samples(first=20 * k, minutes=20, sites=3_000), UnitState(position=k + 1))


def test_roll_up_of_one_hour_needs_no_whole_columns() -> None:
    given = samples(first=0, minutes=3)
    order = np.lexsort((given.records["ts_ns"], given.site_no))
    given.records["present"] = mask_of("load_w")
    table = to_stored(given.records[order], given.site_no[order], given.arrival_ns[order])
    rolled = roll_up(table, hour_ns=START_NS, every_ns=NS_PER_HOUR, hold_ns=60 * 10**9)
    assert rolled["battery_w"].null_count == 3 and rolled["charge_first_wh"].null_count == 3
    assert rolled["load_w"].to_pylist() == [0.0] * 3
    assert rolled["coverage_frac"].to_pylist() == pytest.approx([0.05] * 3)
