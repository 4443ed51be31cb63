"""History: every sample of telemetry in hourly Parquet files, asked in SQL by DuckDB inside the process.

One writer a shard; readers take no locks and see only files that are complete. The SQL door is for reading: one
SELECT, no files but history's own, no settings, one thread and a bounded memory.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shoal.domain.errors import CorruptStateError, InvalidInputError, UnavailableError
from shoal.domain.interval import NS_PER_HOUR
from shoal.store.history_files import (
    SCHEMA,
    hour_of,
    parts,
    parts_of_hours,
    sync_folder,
    to_arrow,
    write_durably,
)

_REGISTER_NAMES: Final = ("charge_wh", "discharge_wh", "import_wh", "export_wh")
REGISTERS: Final = np.dtype([(name, "<i8") for name in ("site_no", "ts_ns", *_REGISTER_NAMES)])
_SQL_TYPES: Final = {"int64": "BIGINT", "int32": "INTEGER", "uint32": "UINTEGER", "float": "FLOAT"}


class HistoryWriter:
    """Writes the history of one shard; there is one writer a shard.

    Args:
        root: The folder of history.
        shard: The shard's number.
    """

    def __init__(self, root: Path, shard: int) -> None:
        self._root = root
        self._shard = shard

    def write(
        self,
        records: NDArray[Any],
        site_no: NDArray[np.integer[Any]],
        arrival_ns: NDArray[np.int64],
        *,
        from_seq: int,
        to_seq: int,
    ) -> list[Path]:
        """Write records into the files of their hours (device time) and return them once they are durable.

        Args:
            records: N records of `TELEMETRY`.
            site_no: N numbers of sites.
            arrival_ns: N times of arrival, or one for all.
            from_seq: First journal position that the records came from.
            to_seq: Last journal position that they came from, inclusive. The shard's next write begins after it.

        Raises:
            InvalidInputError: when the positions run backwards or the lengths differ.
        """
        if not 0 <= from_seq <= to_seq:
            raise InvalidInputError(field="from_seq", value=from_seq, fix=f"give 0 to {to_seq} (to_seq)")
        if len(site_no) != len(records):
            raise InvalidInputError(field="site_no", value=len(site_no), fix=f"give {len(records)} numbers")
        arrivals = np.broadcast_to(np.asarray(arrival_ns, dtype=np.int64), (len(records),))
        hours = records["ts_ns"] // NS_PER_HOUR
        order = np.lexsort((records["seq"], site_no, hours))
        cuts = np.flatnonzero(np.diff(hours[order])) + 1
        name = f"shard-{self._shard}-{from_seq}-{to_seq}.parquet"
        written = []
        for rows in np.split(order, cuts) if len(order) else []:
            folder = self._root / f"hour={hour_of(int(records['ts_ns'][rows[0]]))}"
            write_durably(to_arrow(records[rows], site_no[rows], arrivals[rows]), folder, name)
            written.append(folder / name)
        return written

    def is_empty(self) -> bool:
        """Return whether this shard has written nothing yet."""
        return not any(part.shard == self._shard for part in parts(self._root))

    def forget_after(self, seq: int) -> int:
        """Delete this shard's files made from journal positions above `seq`, before these are replayed.

        Also clears what a killed writer left half-written.

        Returns:
            How many files were deleted.

        Raises:
            CorruptStateError: when a file holds positions on both sides of `seq`: replaying would lose or double
                samples. Nothing is deleted then.
        """
        mine = [part for part in parts(self._root) if part.shard == self._shard and part.to_seq > seq]
        for part in mine:
            if part.from_seq <= seq:
                raise CorruptStateError(str(part.path), f"its positions lie on both sides of {seq}")
        leftovers = list(self._root.glob(f"hour=*/.shard-{self._shard}-*.tmp"))
        paths = [part.path for part in mine] + leftovers
        for path in paths:
            path.unlink()
        for folder in {path.parent for path in paths}:
            sync_folder(folder)
        return len(mine)


class History:
    """History under a folder, for any number of readers, also while it is written.

    Args:
        root: The folder of the `HistoryWriter`; it need not exist yet.
        memory_limit: What a query may use, as DuckDB writes it; a query that needs more is refused.
        threads: How many threads a query may use.
    """

    def __init__(self, root: Path, *, memory_limit: str = "1GB", threads: int = 1) -> None:
        self._root = root.resolve()
        self._lock = threading.Lock()
        self._empty: bool | None = None
        config: dict[str, Any] = {"threads": threads, "memory_limit": memory_limit, "temp_directory": ""}
        self._database = duckdb.connect(":memory:", config=config)
        self._database.execute(f"SET allowed_directories = [{_quoted(str(self._root))}]")
        self._database.execute("SET enable_external_access = false")
        self._database.execute("SET lock_configuration = true")

    def close(self) -> None:
        """Free what DuckDB holds."""
        self._database.close()

    def query(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> pa.Table:
        """Return the answer to one SELECT on the table ``telemetry``.

        Its columns are those of the telemetry table, ``site_no``, ``arrival_ns`` and ``hour`` (device time,
        ``YYYY-MM-DDTHH``), by which files are left out unread.

        Args:
            sql: One statement, SELECT or WITH ... SELECT.
            parameters: Values for ``?`` in order, or for ``$name`` by name.

        Raises:
            InvalidInputError: when it is anything but one SELECT, or wrong, or reaches outside history.
            UnavailableError: when it needs more memory than allowed, or a file went away while it was read.
            CorruptStateError: when a file is damaged.
        """
        with _translated(self._root):
            connection = self._connection()
            statements = connection.extract_statements(sql)
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise InvalidInputError(field="sql", value=sql, fix="write one SELECT statement")
            given = dict(parameters) if isinstance(parameters, Mapping) else list(parameters)
            return connection.sql(statements[0], params=given or None).to_arrow_table()

    def registers(self, site_nos: NDArray[np.integer[Any]], from_ns: int, to_ns: int) -> NDArray[np.void]:
        """Return the energy registers of some sites, measured in `[from_ns, to_ns)`.

        Only the files of the hours in question are opened.

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
        files = [str(path) for path in parts_of_hours(self._root, from_ns, to_ns)]
        if not files or len(site_nos) == 0:
            return np.empty(0, dtype=REGISTERS)
        sql = (
            f"SELECT {', '.join(REGISTERS.names or ())} FROM read_parquet($files) "
            "WHERE ts_ns >= $from AND ts_ns < $to AND site_no IN (SELECT unnest($sites::INTEGER[])) "
            "ORDER BY site_no, ts_ns, seq"
        )
        given = {"files": files, "from": from_ns, "to": to_ns, "sites": site_nos.tolist()}
        with _translated(self._root):
            columns = self._database.cursor().execute(sql, given).fetchnumpy()
        records = np.empty(len(columns["ts_ns"]), dtype=REGISTERS)
        for name in REGISTERS.names or ():
            records[name] = columns[name]
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

    def _connection(self) -> duckdb.DuckDBPyConnection:
        """Return a connection of the caller's own, on which ``telemetry`` is what is there now."""
        empty = next(self._root.glob("hour=*/*.parquet"), None) is None
        with self._lock:
            if empty != self._empty:
                self._database.execute(f"CREATE OR REPLACE VIEW telemetry AS {self._source(empty)}")
                self._empty = empty
        return self._database.cursor()

    def _source(self, empty: bool) -> str:
        if empty:
            columns = [f"NULL::{_SQL_TYPES[str(field.type)]} AS {field.name}" for field in SCHEMA]
            return f"SELECT {', '.join([*columns, 'NULL::VARCHAR AS hour'])} WHERE false"
        files = _quoted(str(self._root / "hour=*" / "*.parquet"))
        return f"SELECT * FROM read_parquet({files}, hive_partitioning=true, hive_types={{'hour': VARCHAR}})"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@contextmanager
def _translated(root: Path) -> Iterator[None]:
    try:
        yield
    except (duckdb.IOException, duckdb.OutOfMemoryException, duckdb.InterruptException) as error:
        raise UnavailableError(f"history {root}", str(error)) from error
    except duckdb.Error as error:
        text = str(error)
        if "magic bytes" in text or "Parquet file" in text:
            raise CorruptStateError(str(root), text) from error
        raise InvalidInputError(field="sql", value=text, fix="mend the statement") from error
