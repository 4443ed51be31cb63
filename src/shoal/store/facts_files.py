"""Facts from Parquet files: which column is what, and what holds for all rows of a file that does not say it.

A null says nothing about its interval and is left out; a NaN withdraws. Times are whole ns since 1970 or timestamps;
those without a zone are of the zone that is named.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.facts import SeriesId
from shoal.store.facts_records import FactBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLayout:
    """What the columns of a file are.

    Attributes:
        series: The series of all rows; None when the column ``series_id`` says it.
        source: Who said it, where no column ``source`` does.
        start: Column of the starts; None when they lie `step_ns` before the ends.
        end: Column of the ends; None when they lie `step_ns` after the starts.
        step_ns: Length of all intervals; None when the file has both columns.
        known: Column of the instants at which the facts became known; None to use `known_after_ns`.
        known_after_ns: How long after the start of its interval each fact became known; negative before it.
        revision: Column of the counts of corrections; None when all are 0.
        values: Columns of the values.
        zone: Of timestamps without a zone.
    """

    series: str | None
    source: str
    start: str | None
    end: str | None
    step_ns: int | None
    known: str | None
    known_after_ns: int | None
    revision: str | None
    values: tuple[str, ...]
    zone: str = "UTC"


def read_facts(file: Path, layout: FileLayout) -> Iterator[FactBatch]:
    """Yield the facts of a Parquet file, a batch for each series and source.

    Raises:
        InvalidInputError: when it is no such file, lacks a column, or a column holds something else.
    """
    try:
        table = pq.read_table(file)
    except (OSError, pa.ArrowInvalid) as error:
        raise InvalidInputError(field="file", value=str(file), fix=f"give a Parquet file; {error}") from error
    try:
        yield from _batches(_Rows(file, table), layout)
    except pa.ArrowInvalid as error:
        raise InvalidInputError(field="file", value=str(file), fix=f"mend it; {error}") from error


class _Rows:
    """The columns of a file by name."""

    def __init__(self, file: Path, table: pa.Table) -> None:
        self._file, self._table = file, table

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def has(self, name: str) -> bool:
        return name in self._table.column_names

    def column(self, name: str) -> Any:
        if not self.has(name):
            there = ", ".join(self._table.column_names)
            raise InvalidInputError(
                field=str(self._file), value=name, fix=f"name one of its columns: {there}"
            )
        return self._table.column(name).combine_chunks()

    def whole(self, name: str) -> NDArray[np.int64]:
        """Return whole numbers.

        Raises:
            InvalidInputError: when one is missing.
        """
        column = self.column(name)
        if column.null_count:
            raise InvalidInputError(
                field=str(self._file), value=name, fix="leave no cell of the column empty"
            )
        return np.array(column.cast(pa.int64()), dtype=np.int64)

    def instants(self, name: str, zone: str) -> NDArray[np.int64]:
        column = self.column(name)
        if pa.types.is_timestamp(column.type):
            if column.type.tz is None:
                column = pc.assume_timezone(column, zone)
            column = column.cast(pa.timestamp("ns", column.type.tz))
            self._table = self._table.set_column(self._table.column_names.index(name), name, column)
        return self.whole(name)

    def names(self, name: str) -> NDArray[np.object_]:
        return np.array(self.column(name).cast(pa.string()).to_pylist(), dtype=object)


def _batches(rows: _Rows, layout: FileLayout) -> Iterator[FactBatch]:
    start_ns, end_ns = _intervals(rows, layout)
    if layout.known is not None:
        known_ns = rows.instants(layout.known, layout.zone)
    elif layout.known_after_ns is not None:
        known_ns = start_ns + layout.known_after_ns
    else:
        raise InvalidInputError(
            field="known",
            value=None,
            fix="say when the facts became known: a column, or how long after the start",
        )
    revision = np.zeros(len(rows), np.int64) if layout.revision is None else rows.whole(layout.revision)
    if not layout.values:
        raise InvalidInputError(field="values", value="", fix="name the columns of the values")
    columns = [rows.column(name) for name in layout.values]
    value = np.column_stack(
        [np.array(c.cast(pa.float64()).fill_null(np.nan), dtype=np.float64) for c in columns]
    )
    said = np.all([np.array(column.is_valid(), dtype=np.bool_) for column in columns], axis=0)
    series = np.array([layout.series] * len(rows), dtype=object) if layout.series else rows.names("series_id")
    by_column = rows.has("source")
    source = rows.names("source") if by_column else np.array([layout.source] * len(rows), dtype=object)
    keys = np.array([f"{a}\0{b}" for a, b in zip(series, source, strict=True)], dtype=object)
    for key in dict.fromkeys(keys.tolist()):
        chosen = said & (keys == key)
        series_id, source_name = key.split("\0")
        yield FactBatch(
            series_id=SeriesId(series_id),
            source=source_name,
            known_ns=known_ns[chosen],
            revision=revision[chosen],
            start_ns=start_ns[chosen],
            end_ns=end_ns[chosen],
            value=value[chosen],
        )


def _intervals(rows: _Rows, layout: FileLayout) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    start_ns = None if layout.start is None else rows.instants(layout.start, layout.zone)
    end_ns = None if layout.end is None else rows.instants(layout.end, layout.zone)
    if start_ns is not None and end_ns is not None:
        return start_ns, end_ns
    if layout.step_ns is not None and start_ns is not None:
        return start_ns, start_ns + layout.step_ns
    if layout.step_ns is not None and end_ns is not None:
        return end_ns - layout.step_ns, end_ns
    raise InvalidInputError(field="start", value=layout.start, fix="give two of start, end and step")
