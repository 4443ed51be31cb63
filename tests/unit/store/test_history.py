"""History: what was written is read back exactly once, whatever is killed when, and SQL can only read."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shoal.domain.errors import CorruptStateError, InvalidInputError, UnavailableError
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE
from shoal.domain.telemetry import TELEMETRY
from shoal.store.history import REGISTERS, History, HistoryWriter
from shoal.store.history_files import SCHEMA
from tests.unit.store.records import START_NS, make_records


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "it's history"


@pytest.fixture
def history(root: Path) -> Iterator[History]:
    history = History(root)
    yield history
    history.close()


def _write(root: Path, *, first: int, minutes: int, shard: int = 0, sites: int = 3) -> list[Path]:
    """Write minutes of telemetry, one journal position a minute."""
    records, site_no, arrival_ns = make_records(sites=sites, first=first, minutes=minutes)
    return HistoryWriter(root, shard).write(
        records, site_no, arrival_ns, from_seq=first + 1, to_seq=first + minutes
    )


# -- writing


def test_schema_carries_the_units_of_the_telemetry_table(root: Path) -> None:
    (path,) = _write(root, first=0, minutes=1)
    schema = pq.read_schema(path)

    assert schema.equals(SCHEMA, check_metadata=True)
    assert schema.names == ["site_no", *TELEMETRY.names, "arrival_ns"]
    for column in TELEMETRY.columns:
        field = schema.field(column.name)
        assert field.type == pa.from_numpy_dtype(np.dtype(column.dtype))
        assert field.metadata[b"unit"].decode() == column.unit


def test_write_splits_by_hour_of_device_time(root: Path) -> None:
    paths = _write(root, first=50, minutes=75)

    assert [str(path.relative_to(root)) for path in paths] == [
        f"hour=2021-02-10T{hour}/shard-0-51-125.parquet" for hour in ("06", "07", "08")
    ]
    assert [pq.read_metadata(path).num_rows for path in paths] == [30, 180, 15]


def test_what_is_written_is_read_back_to_the_last_bit(root: Path, history: History) -> None:
    records, site_no, arrival_ns = make_records(sites=3, first=0, minutes=90)
    shuffled = np.random.default_rng(3).permutation(len(records))
    HistoryWriter(root, 0).write(
        records[shuffled], site_no[shuffled], arrival_ns[shuffled], from_seq=1, to_seq=90
    )

    table = history.query("SELECT * FROM telemetry ORDER BY site_no, seq")
    order = np.lexsort((records["seq"], site_no))
    for name in TELEMETRY.names:
        np.testing.assert_array_equal(table[name].to_numpy(), records[name][order], strict=True)
    np.testing.assert_array_equal(table["site_no"].to_numpy(), site_no[order])
    np.testing.assert_array_equal(table["arrival_ns"].to_numpy(), arrival_ns[order])


def test_write_of_nothing_writes_nothing(root: Path) -> None:
    records, site_no, arrival_ns = make_records(sites=3, first=0, minutes=1)
    assert HistoryWriter(root, 0).write(records[:0], site_no[:0], arrival_ns[:0], from_seq=1, to_seq=1) == []
    assert not root.exists()


def test_write_refuses_what_does_not_fit(root: Path) -> None:
    records, site_no, arrival_ns = make_records(sites=3, first=0, minutes=1)
    writer = HistoryWriter(root, 0)
    with pytest.raises(InvalidInputError, match="from_seq"):
        writer.write(records, site_no, arrival_ns, from_seq=2, to_seq=1)
    with pytest.raises(InvalidInputError, match="site_no"):
        writer.write(records, site_no[:1], arrival_ns, from_seq=1, to_seq=1)


def test_write_of_the_same_positions_again_replaces(root: Path, history: History) -> None:
    for _ in range(2):
        _write(root, first=0, minutes=10)
    assert history.count_distinct() == (30, 30)


# -- restart


def test_forget_after_drops_what_will_be_replayed_and_nothing_else(root: Path, history: History) -> None:
    _write(root, first=0, minutes=70)
    _write(root, first=70, minutes=60)
    _write(root, first=130, minutes=5)
    _write(root, first=0, minutes=200, shard=1, sites=1)

    assert HistoryWriter(root, 0).forget_after(70) == 3
    assert history.count_distinct() == (3 * 70 + 200, 2 * 70 + 200)
    _write(root, first=70, minutes=65)

    rows = history.query("SELECT site_no, seq FROM telemetry WHERE site_no > 0")
    assert (
        rows.num_rows == len(set(zip(*(column.to_pylist() for column in rows.columns), strict=True))) == 270
    )
    assert HistoryWriter(root, 0).forget_after(1000) == 0


def test_forget_after_refuses_to_cut_a_file_in_two(root: Path, history: History) -> None:
    _write(root, first=0, minutes=10)
    _write(root, first=10, minutes=10)

    with pytest.raises(CorruptStateError, match="both sides of 15"):
        HistoryWriter(root, 0).forget_after(15)
    with pytest.raises(CorruptStateError, match="both sides of 5"):
        HistoryWriter(root, 0).forget_after(5)
    assert history.count_distinct() == (60, 60)


_KILLED = """
import os, pathlib, signal, sys
from tests.unit.store.test_history import _write
root, moment, times = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
module, name = (pathlib.Path, "replace") if moment == "replace" else (os, "fsync")
real = getattr(module, name)
def strike(*arguments):
    global times
    times -= 1
    if times < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments)
_write(root, first=0, minutes=30)
setattr(module, name, strike)
_write(root, first=30, minutes=120)
"""


@pytest.mark.parametrize(
    ("moment", "times", "visible_hours"),
    [("replace", 0, 0), ("replace", 1, 1), ("fsync", 0, 0), ("fsync", 6, 2)],
)
def test_killed_writer_leaves_only_complete_files(
    root: Path, history: History, moment: str, times: int, visible_hours: int
) -> None:
    """A process dies while it writes 30, 60 and 30 minutes into three hours; then the shard starts again."""
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, str(root), moment, str(times)], check=False, capture_output=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()

    leftovers = list(root.glob("hour=*/.*"))
    expected = 3 * (30 + (0, 30, 90)[visible_hours])
    assert history.count_distinct() == (expected, expected)
    assert len(leftovers) == 1

    HistoryWriter(root, 0).forget_after(30)
    assert history.count_distinct() == (90, 90)
    _write(root, first=30, minutes=120)
    assert history.count_distinct() == (450, 450)
    assert list(root.glob("hour=*/.*")) == []


# -- reading


def test_empty_history_is_an_empty_table_with_the_same_columns(root: Path, history: History) -> None:
    empty = history.query("SELECT * FROM telemetry")
    assert empty.num_rows == 0
    assert history.count_distinct() == (0, 0)
    assert len(history.registers(np.array([0]), START_NS, START_NS + NS_PER_HOUR)) == 0

    _write(root, first=0, minutes=1)
    full = history.query("SELECT * FROM telemetry")
    assert (full.num_rows, full.schema) == (3, empty.schema)

    HistoryWriter(root, 0).forget_after(0)
    assert history.query("SELECT * FROM telemetry").equals(empty)


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
        "COPY (SELECT 1) TO '{root}/hour=2021-02-10T06/evil.parquet'",
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
    (path,) = _write(root, first=0, minutes=1)
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
