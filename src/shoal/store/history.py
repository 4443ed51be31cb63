"""History: every sample of telemetry in hourly Parquet files and their roll-ups, asked in SQL by DuckDB inside the process.

Readers take no locks: the names of the files say which count (see `history_layout`). The SQL door is for reading: one SELECT, no
files but history's own, no settings, one thread, a bounded memory and a bounded time.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shoal.domain.errors import CorruptStateError, InvalidInputError, UnavailableError
from shoal.domain.telemetry import SUSPECT
from shoal.store import history_layout as layout
from shoal.store.history_folder import Folder, open_folder
from shoal.store.history_layout import TIERS, RawFile
from shoal.store.history_rollup import REGISTER_NAMES, ROLLUP_COLUMNS, ROLLUP_SELECT
from shoal.store.history_schema import VIEW_COLUMNS, VIEW_SELECT
from shoal.store.history_table import ParquetTable, RawTable
from shoal.store.history_write import Mark, read_marks

REGISTERS: Final = np.dtype([(name, "<i8") for name in ("site_no", "ts_ns", *REGISTER_NAMES)])
TIMEOUT_S: Final = 30.0
MOST_KNOWN_FILES: Final = 4_096
"""Files of which the inner lists are remembered; some 50 kB each."""
_TRIES: Final = 3
_GONE: Final = re.compile(r"no such file|no files found|cannot open file|not found", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """History up to one journal position a unit, for a while: until its files have been merged and removed.

    Attributes:
        marks: How far each unit is; what comes after `Mark.position` is not in the snapshot.
        files: The files of samples.
    """

    marks: Mapping[str, Mark]
    files: tuple[RawFile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TierStatus:
    """What one tier holds."""

    files: int
    bytes: int
    first: str
    last: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryStatus:
    """What there is: up to which position each unit has written, and the tiers.

    Attributes:
        positions: Journal position by unit.
        tiers: `telemetry` and the roll-ups.
        parts: Files of samples that wait to be merged.
    """

    positions: Mapping[str, int]
    tiers: Mapping[str, TierStatus]
    parts: int


class History:
    """History under a folder, for any number of readers, also while it is written.

    Args:
        place: A path or URL, or the folder itself; it need not exist yet.
        memory_limit: What a query may use, as DuckDB writes it; a query that needs more is refused.
        threads: How many threads a query may use.
        timeout_s: How long a query may take, machine time.
        site_ids: Names of the sites by number, offered as the table ``sites``.
        raw: How the samples are kept; Parquet files with telling names when None.
    """

    def __init__(
        self,
        place: Path | str | Folder,
        *,
        memory_limit: str = "1GB",
        threads: int = 1,
        timeout_s: float = TIMEOUT_S,
        site_ids: Sequence[str] = (),
        raw: RawTable | None = None,
    ) -> None:
        self._folder = open_folder(place) if isinstance(place, (Path, str)) else place
        self._raw = raw or ParquetTable(self._folder)
        self._timeout_s = timeout_s
        self._config: dict[str, Any] = {
            "threads": threads,
            "memory_limit": memory_limit,
            "temp_directory": "",
        }
        self._sites = pa.table(
            {
                "site_no": pa.array(range(len(site_ids)), pa.int32()),
                "site_id": pa.array(site_ids, pa.string()),
            }
        )
        self._lock = threading.Lock()
        self._known: set[str] = set()
        self._database = self._connect()

    def _connect(self) -> duckdb.DuckDBPyConnection:
        """Return a database that can read history and nothing else."""
        database = duckdb.connect(":memory:", config=self._config)
        database.register("given_sites", self._sites)
        database.execute("CREATE TABLE sites AS SELECT * FROM given_sites")
        database.unregister("given_sites")
        self._folder.register(database)
        # a file never changes under its name, and reading what it holds takes longer than reading a site in it
        database.execute("LOAD parquet")
        database.execute("SET GLOBAL parquet_metadata_cache = true")
        database.execute(f"SET allowed_directories = [{_quoted(self._folder.address)}]")
        database.execute("SET enable_external_access = false")
        database.execute("SET lock_configuration = true")
        return database

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        """Return a connection of the caller's own; what is remembered of files is dropped now and then."""
        with self._lock:
            if len(self._known) > MOST_KNOWN_FILES:
                self._known.clear()
                self._database = self._connect()
            return self._database.cursor()

    def close(self) -> None:
        """Free what DuckDB holds."""
        self._database.close()

    def query(
        self,
        sql: str,
        parameters: Sequence[Any] | Mapping[str, Any] = (),
        *,
        span_ns: tuple[int, int] | None = None,
        snapshot: Snapshot | None = None,
        timeout_s: float | None = None,
    ) -> pa.Table:
        """Return the answer to one SELECT on ``telemetry``, ``rollup_5min``, ``rollup_1h`` and ``sites``.

        The columns of ``telemetry`` are those of the telemetry table, ``site_no``, ``arrival_ns`` and ``hour`` (device time,
        ``YYYY-MM-DDTHH``); those of the roll-ups are in `ROLLUP_COLUMNS`. By ``hour`` and ``day`` files are left out unread.

        Args:
            sql: One statement, SELECT or WITH ... SELECT.
            parameters: Values for ``?`` in order, or for ``$name`` by name.
            span_ns: Leave out the hours (and days) that do not overlap `[begin, end)`.
            snapshot: See these samples only.
            timeout_s: How long it may take, instead of the history's own limit.

        Raises:
            InvalidInputError: when it is anything but one SELECT, or wrong, or reaches outside history.
            UnavailableError: when it needs more memory or time than allowed, or the snapshot is too old.
            CorruptStateError: when a file is damaged.
        """
        with self._answering(sql, parameters, span_ns, snapshot, timeout_s) as relation:
            return relation.to_arrow_table()

    @contextmanager
    def stream(
        self,
        sql: str,
        parameters: Sequence[Any] | Mapping[str, Any] = (),
        *,
        span_ns: tuple[int, int] | None = None,
        timeout_s: float | None = None,
    ) -> Iterator[pa.RecordBatchReader]:
        """Offer the answer to one SELECT piece by piece, so that it may be larger than memory. See `query`."""
        with self._answering(sql, parameters, span_ns, None, timeout_s) as relation:
            yield relation.to_arrow_reader()

    def registers(self, site_nos: NDArray[np.integer[Any]], from_ns: int, to_ns: int) -> NDArray[np.void]:
        """Return the energy registers of some sites, measured in `[from_ns, to_ns)`, without those under suspicion.

        Only the files of the hours in question are opened. A register that a sample does not have is -1.

        Args:
            site_nos: Numbers of the sites, in any order.
            from_ns: Begin of the span, device time.
            to_ns: Its end, exclusive.

        Returns:
            Records of `REGISTERS` (Wh), sorted by site, then time.

        Raises:
            UnavailableError: see `query`.
            CorruptStateError: see `query`.
        """
        columns = ", ".join(f"coalesce({name}, -1) AS {name}" for name in REGISTER_NAMES)
        sql = (
            f"SELECT site_no, ts_ns, {columns} FROM telemetry "
            f"WHERE ts_ns >= $from AND ts_ns < $to AND flags & {int(SUSPECT)} = 0 "
            "AND site_no IN (SELECT unnest($sites::INTEGER[])) ORDER BY site_no, ts_ns, seq"
        )
        given = {"from": from_ns, "to": to_ns, "sites": site_nos.tolist()}
        answer = self.query(sql, given, span_ns=(from_ns, to_ns))
        records = np.empty(len(answer), dtype=REGISTERS)
        for name in REGISTERS.names or ():
            records[name] = answer[name].to_numpy()
        return records

    def count_distinct(self) -> tuple[int, int]:
        """Return how many rows there are, and how many different samples (site and sequence number).

        Raises:
            UnavailableError: see `query`.
            CorruptStateError: see `query`.
        """
        answer = self.query(
            "SELECT count(*) AS n, count(DISTINCT (site_no, seq)) AS different FROM telemetry"
        )
        row = answer.to_pylist()[0]
        return int(row["n"]), int(row["different"])

    def snapshot(self) -> Snapshot:
        """Return history as it is now, with the journal positions up to which it is complete.

        Raises:
            UnavailableError: when it changes faster than it can be listed.
        """
        marks, files = self._raw.marked()
        return Snapshot(marks=marks, files=tuple(files))

    def status(self) -> HistoryStatus:
        """Return what there is."""
        files = self._raw.files()
        tiers = {"telemetry": self._tier([f.path for f in files], [f.hour for f in files])}
        for tier in TIERS:
            rolled = layout.visible_rollups(layout.rollup_files(tier, self._folder.tree(tier)))
            tiers[tier] = self._tier([f.path for f in rolled], [f.hour or f.day for f in rolled])
        held = Counter((f.hour, f.unit) for f in files)
        return HistoryStatus(
            positions={unit: mark.position for unit, mark in read_marks(self._folder).items()},
            tiers=tiers,
            parts=sum(not f.merged and held[f.hour, f.unit] > 1 for f in files),
        )

    def _tier(self, paths: Sequence[str], times: Sequence[str]) -> TierStatus:
        return TierStatus(
            files=len(paths),
            bytes=sum(self._folder.size(path) for path in paths),
            first=min(times, default=""),
            last=max(times, default=""),
        )

    @contextmanager
    def _answering(
        self,
        sql: str,
        parameters: Sequence[Any] | Mapping[str, Any],
        span_ns: tuple[int, int] | None,
        snapshot: Snapshot | None,
        timeout_s: float | None,
    ) -> Iterator[duckdb.DuckDBPyRelation]:
        """Offer the answer, with views on the files that count now, and put an end to it after its time."""
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        given = dict(parameters) if isinstance(parameters, Mapping) else list(parameters)
        with self._translated(limit_s), self._cursor() as connection:
            statements = connection.extract_statements(sql)
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise InvalidInputError(field="sql", value=sql, fix="write one SELECT statement")
            timer = threading.Timer(limit_s, connection.interrupt)
            timer.start()
            try:
                for left in reversed(range(1 if snapshot else _TRIES)):
                    try:
                        self._make_views(connection, sql, span_ns, snapshot)
                        relation = connection.sql(statements[0], params=given or None)
                        break
                    except duckdb.IOException as error:
                        if not left or not _GONE.search(str(error)):
                            raise
                yield relation
            finally:
                timer.cancel()

    def _make_views(
        self,
        connection: duckdb.DuckDBPyConnection,
        sql: str,
        span_ns: tuple[int, int] | None,
        snapshot: Snapshot | None,
    ) -> None:
        """Define the tables that the statement may name, on a connection of its own."""
        asked = sql.lower()
        if "telemetry" in asked:
            hours = _within(span_ns, "hour", len("2021-02-10T06"))
            files: Sequence[RawFile] = snapshot.files if snapshot else self._raw.files(folders=hours)
            paths = [f.path for f in files if hours(f"hour={f.hour}")]
            view = self._view(VIEW_SELECT, paths, VIEW_COLUMNS, "hour")
            connection.execute(f"CREATE OR REPLACE TEMP VIEW telemetry AS {view}")
        for tier in TIERS:
            if tier in asked:
                days = _within(span_ns, "day", len("2021-02-10"))
                tree = self._folder.tree(tier, folders=days)
                rolled = layout.visible_rollups(layout.rollup_files(tier, tree))
                view = self._view(ROLLUP_SELECT, [f.path for f in rolled], ROLLUP_COLUMNS, "day")
                connection.execute(f"CREATE OR REPLACE TEMP VIEW {tier} AS {view}")

    def _view(self, select: str, paths: Sequence[str], columns: Mapping[str, str], key: str) -> str:
        if not paths:
            empty = ", ".join(f"NULL::{kind} AS {name}" for name, kind in columns.items())
            return f"SELECT {empty} WHERE false"
        with self._lock:
            self._known.update(paths)
        listed = ", ".join(_quoted(self._folder.url(path)) for path in paths)
        return (
            f"SELECT {select} FROM read_parquet([{listed}], "
            f"hive_partitioning=true, hive_types={{'{key}': VARCHAR}})"
        )

    @contextmanager
    def _translated(self, limit_s: float) -> Iterator[None]:
        where = f"history {self._folder.address}"
        try:
            yield
        except duckdb.InterruptException as error:
            why = f"the query took more than {limit_s:g} s; ask for less, or for a roll-up"
            raise UnavailableError(where, why) from error
        except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
            raise UnavailableError(where, str(error)) from error
        except duckdb.Error as error:
            text = str(error)
            if "magic bytes" in text or "Parquet file" in text or "TProtocolException" in text:
                raise CorruptStateError(self._folder.address, text) from error
            raise InvalidInputError(field="sql", value=text, fix="mend the statement") from error


def _within(span_ns: tuple[int, int] | None, key: str, characters: int) -> Callable[[str], bool]:
    """Return which folders, named by the first characters of their hour, overlap a span; all without one."""
    if span_ns is None or span_ns[0] >= span_ns[1]:
        return lambda name: span_ns is None
    first, last = (f"{key}={layout.hour_name(t)[:characters]}" for t in (span_ns[0], span_ns[1] - 1))
    return lambda name: first <= name <= last


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
