"""Reading history: what was written is read back exactly once, and SQL can only read."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from shoal.domain.errors import CorruptStateError, InvalidInputError, UnavailableError
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE
from shoal.domain.telemetry import TELEMETRY, Flag
from shoal.store import history as history_module
from shoal.store.history import REGISTERS, History
from shoal.store.history_folder import LocalFolder
from shoal.store.history_keep import Keeper, KeepOptions
from shoal.store.history_register import FileRegister, UnitState
from shoal.store.history_write import PartWriter, Samples
from tests.unit.store.history_cases import UNIT, expected, pairs, samples, write_minutes
from tests.unit.store.records import START_NS, make_records


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "it's history"


@pytest.fixture
def history(root: Path) -> Iterator[History]:
    history = History(root)
    yield history
    history.close()


def _register(root: Path) -> FileRegister:
    return FileRegister(root.parent / "unit.bin")


def _write(root: Path, *, first: int, minutes: int, sites: int = 3) -> list[Path]:
    """Write minutes of telemetry, one journal position a minute; return the files of the history."""
    asyncio.run(
        write_minutes(LocalFolder(root), _register(root), minutes=minutes, sites=sites, at_minute=first)
    )
    return sorted(root.glob("raw/*/*.parquet"))


def _write_samples(root: Path, given: Samples) -> None:
    async def write() -> None:
        writer = PartWriter(LocalFolder(root), UNIT, _register(root))
        state = await writer.recover()
        await writer.write(given, UnitState(position=state.position + 1))

    asyncio.run(write())


def test_what_is_written_is_read_back(root: Path, history: History) -> None:
    records, site_no, arrival_ns = make_records(sites=3, first=0, minutes=90)
    shuffled = np.random.default_rng(3).permutation(len(records))
    given = Samples(
        records=records[shuffled],
        site_no=site_no[shuffled].astype(np.int32),
        arrival_ns=arrival_ns[shuffled],
    )
    _write_samples(root, given)

    table = history.query("SELECT * FROM telemetry ORDER BY site_no, seq")
    order = np.lexsort((records["seq"], site_no))
    for name in set(TELEMETRY.names) - {"present"}:
        np.testing.assert_array_equal(table[name].to_numpy(), records[name][order], strict=True)
    np.testing.assert_array_equal(table["site_no"].to_numpy(), site_no[order])
    np.testing.assert_array_equal(table["arrival_ns"].to_numpy(), arrival_ns[order])


# -- reading


def test_empty_history_is_an_empty_table_with_the_same_columns(root: Path, history: History) -> None:
    empty = history.query("SELECT * FROM telemetry")
    assert empty.num_rows == 0
    assert history.count_distinct() == (0, 0)
    assert len(history.registers(np.array([0]), START_NS, START_NS + NS_PER_HOUR)) == 0

    _write(root, first=0, minutes=1)
    full = history.query("SELECT * FROM telemetry")
    assert (full.num_rows, full.schema) == (3, empty.schema)

    for tier in ("rollup_5min", "rollup_1h"):
        empty = history.query(f"SELECT * FROM {tier}")
        assert empty.num_rows == 0
    Keeper(LocalFolder(root), KeepOptions()).run(START_NS + 24 * NS_PER_HOUR)
    full = history.query("SELECT * FROM rollup_1h")
    assert (full.num_rows, full.schema) == (3, empty.schema)


def test_query_takes_parameters_by_position_and_by_name(root: Path, history: History) -> None:
    _write(root, first=0, minutes=90)
    by_position = history.query(
        "WITH t AS (SELECT * FROM telemetry WHERE site_no = ?) SELECT hour, count(*) n FROM t GROUP BY 1 ORDER BY 1",
        [2],
    )
    assert by_position.to_pylist() == [{"hour": "2021-02-10T06", "n": 60}, {"hour": "2021-02-10T07", "n": 30}]
    by_name = history.query(
        "SELECT count(*) AS n FROM telemetry WHERE hour >= $hour", {"hour": "2021-02-10T07"}
    )
    assert by_name.to_pylist() == [{"n": 90}]


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "SELECT 1; SELECT 2",
        "DROP VIEW telemetry",
        "CREATE TABLE t AS SELECT 1",
        "CREATE OR REPLACE VIEW telemetry AS SELECT 1",
        "COPY (SELECT 1) TO '{root}/raw/hour=2021-02-10T06/evil.parquet'",
        "COPY (SELECT 1) TO '{root}/../evil.csv'",
        "ATTACH '{root}/evil.db'",
        "INSTALL httpfs",
        "SET threads = 8",
        "PRAGMA database_list",
        "SELECT * FROM read_csv('{outside}')",
        "SELECT * FROM read_text('{outside}')",
        "SELECT * FROM '{outside}'",
        "SELECT * FROM glob('{outside}')",
        "SELECT nothing FROM telemetry",
        "SELEC 1",
    ],
)
def test_query_refuses_all_but_one_select_on_history(
    root: Path, history: History, tmp_path: Path, sql: str
) -> None:
    _write(root, first=0, minutes=1)
    outside = tmp_path / "secret.csv"
    outside.write_text("secret\n1\n")
    before = sorted(tmp_path.rglob("*"))

    with pytest.raises(InvalidInputError):
        history.query(sql.format(root=str(root).replace("'", "''"), outside=outside))

    assert sorted(tmp_path.rglob("*")) == before
    assert history.count_distinct() == (3, 3)


def test_query_that_needs_too_much_memory_is_refused(root: Path) -> None:
    history = History(root, memory_limit="20MB")
    with pytest.raises(UnavailableError):
        history.query("SELECT a.i FROM range(3000) a(i), range(3000) b(i) ORDER BY hash(a.i * b.i)")
    history.close()


def test_damaged_file_is_corrupt_state(root: Path, history: History) -> None:
    (path, *_) = _write(root, first=0, minutes=1)
    path.write_bytes(b"x" * 500)
    with pytest.raises(CorruptStateError):
        history.count_distinct()


def test_registers_come_by_site_and_time(root: Path, history: History) -> None:
    _write(root, first=40, minutes=50, sites=5)
    _write(root, first=0, minutes=40, sites=5)
    from_ns, to_ns = START_NS + 30 * NS_PER_MINUTE, START_NS + 70 * NS_PER_MINUTE

    found = history.registers(np.array([4, 1, 99]), from_ns, to_ns)

    records, site_no, _ = make_records(sites=5, first=30, minutes=40)
    wanted = np.empty(80, dtype=REGISTERS)
    rows = np.concatenate([np.flatnonzero(site_no == site) for site in (1, 4)])
    for name in REGISTERS.names or ():
        wanted[name] = site_no[rows] if name == "site_no" else records[name][rows]
    np.testing.assert_array_equal(found, wanted)
    assert len(history.registers(np.array([], dtype=np.int64), from_ns, to_ns)) == 0


def test_registers_open_only_the_hours_in_question(root: Path, history: History) -> None:
    """Files of other hours are damaged on purpose: whoever opened them would fail."""
    for path in _write(root, first=0, minutes=240):
        if "T07" not in str(path):
            path.write_bytes(b"x" * 500)
    start_ns = START_NS + NS_PER_HOUR

    assert len(history.registers(np.arange(3), start_ns, start_ns + NS_PER_HOUR)) == 180
    with pytest.raises(CorruptStateError):
        history.registers(np.arange(3), start_ns, start_ns + NS_PER_HOUR + 1)


def test_readers_see_whole_files_while_a_writer_writes(root: Path, history: History) -> None:
    done = threading.Event()
    counts: list[tuple[int, int]] = []
    errors: list[Exception] = []

    def read() -> None:
        try:
            while not done.is_set():
                counts.append(history.count_distinct())
        except Exception as error:  # noqa: BLE001 -- carried to the test's own thread
            errors.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for first in range(0, 50, 5):
        _write(root, first=first, minutes=5)
    done.set()
    for reader in readers:
        reader.join(timeout=30)

    assert errors == []
    assert all(rows == different and rows % 15 == 0 for rows, different in counts)
    assert history.count_distinct() == (150, 150)


def test_registers_under_suspicion_are_left_out(root: Path, history: History) -> None:
    given = samples(first=0, minutes=4)
    given.records["flags"][given.records["seq"] == 2] = Flag.REGISTER_BACKWARDS
    given.records["flags"][given.records["seq"] == 3] = Flag.BACKFILL | Flag.ESTIMATED
    _write_samples(root, given)
    found = history.registers(np.array([1]), START_NS, START_NS + NS_PER_HOUR)
    assert (found["ts_ns"] - START_NS).tolist() == [0, 2 * NS_PER_MINUTE, 3 * NS_PER_MINUTE]


def test_query_takes_only_the_hours_of_its_span(root: Path, history: History) -> None:
    for path in _write(root, first=0, minutes=240):
        if "T07" not in str(path):
            path.write_bytes(b"x" * 500)
    start_ns = START_NS + NS_PER_HOUR
    count = "SELECT count(*) AS n FROM telemetry"
    assert history.query(count, span_ns=(start_ns, start_ns + 1)).to_pylist() == [{"n": 180}]
    assert history.query(count, span_ns=(start_ns, start_ns)).to_pylist() == [{"n": 0}]
    with pytest.raises(CorruptStateError):
        history.query(count)


def test_query_that_takes_too_long_is_ended(root: Path) -> None:
    history = History(root, timeout_s=0.2)
    began_s = time.monotonic()
    with pytest.raises(UnavailableError, match=r"more than 0\.2 s"):
        history.query("SELECT sum(a.i * b.i) FROM range(1000000) a(i), range(1000000) b(i)")
    assert time.monotonic() - began_s < 5.0
    assert history.query("SELECT 1 AS one").to_pylist() == [{"one": 1}]
    history.close()


def test_sites_can_be_asked_by_name(root: Path) -> None:
    _write(root, first=0, minutes=2)
    history = History(root, site_ids=["a", "b", "c"])
    answer = history.query(
        "SELECT site_id, count(*) AS n FROM telemetry JOIN sites USING (site_no) GROUP BY 1 ORDER BY 1"
    )
    assert answer.to_pylist() == [{"site_id": name, "n": 2} for name in "abc"]
    history.close()


def test_stream_gives_the_answer_in_pieces(root: Path, history: History) -> None:
    _write(root, first=0, minutes=30)
    with history.stream("SELECT * FROM telemetry") as reader:
        assert sum(len(batch) for batch in reader) == 90


def test_snapshot_stays_as_it_was_while_history_goes_on(root: Path, history: History) -> None:
    _write(root, first=0, minutes=60)
    _write(root, first=60, minutes=30)
    snapshot = history.snapshot()
    assert snapshot.marks[UNIT].position == 90

    _write(root, first=90, minutes=100)
    Keeper(LocalFolder(root), KeepOptions()).run(START_NS + 24 * NS_PER_HOUR)
    seen = history.query("SELECT site_no, seq FROM telemetry ORDER BY ALL", snapshot=snapshot)
    assert [tuple(row.values()) for row in seen.to_pylist()] == expected(90)
    assert pairs(history) == expected(190)

    Keeper(LocalFolder(root), KeepOptions(grace_s=0)).run(START_NS + 24 * NS_PER_HOUR)
    with pytest.raises(UnavailableError):
        history.query("SELECT * FROM telemetry", snapshot=snapshot)


def test_status_counts_what_there_is(root: Path, history: History) -> None:
    assert history.status().tiers["telemetry"].files == 0
    _write(root, first=0, minutes=60)
    _write(root, first=60, minutes=30)
    _write(root, first=30, minutes=5)
    status = history.status()
    assert (status.positions, status.parts) == ({UNIT: 95}, 2)
    raw = status.tiers["telemetry"]
    assert (raw.files, raw.first, raw.last) == (3, "2021-02-10T06", "2021-02-10T07")
    assert raw.bytes == sum(path.stat().st_size for path in root.glob("raw/*/*.parquet"))


def test_what_is_remembered_of_files_is_bounded(
    root: Path, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_module, "MOST_KNOWN_FILES", 2)
    for first in range(0, 300, 60):
        _write(root, first=first, minutes=60)
        assert pairs(history) == expected(first + 60)
    assert len(history._known) <= 5
