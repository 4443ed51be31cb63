"""The files of history: ``hour=YYYY-MM-DDTHH/shard-<n>-<from_seq>-<to_seq>.parquet``.

A file carries the journal positions that it was made from (both inclusive), so that after a restart a shard drops
exactly what it is about to replay. A file is written under a hidden name, synced, and renamed: it is either
complete or not there. Arrow's schema comes from the telemetry table.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from shoal.domain.interval import NS_PER_HOUR, to_datetime
from shoal.domain.telemetry import TELEMETRY

_PART: Final = re.compile(r"^shard-(\d+)-(\d+)-(\d+)\.parquet$")


def _field(name: str, dtype: str, unit: str, description: str) -> pa.Field:
    return pa.field(
        name,
        pa.from_numpy_dtype(np.dtype(dtype)),
        nullable=False,
        metadata={"unit": unit, "description": description},
    )


SCHEMA: Final = pa.schema(
    [
        _field("site_no", "<i4", "1", "number of the site in the registry"),
        *(_field(column.name, column.dtype, column.unit, column.description) for column in TELEMETRY.columns),
        _field("arrival_ns", "<i8", "ns", "when the plant received it, UTC since 1970"),
    ],
    metadata={"table": TELEMETRY.name, "version": str(TELEMETRY.version)},
)
# Sorted by site, these grow in small steps; packed differences take a third of the space.
_COUNTERS: Final = [field.name for field in SCHEMA if field.type == pa.int64()] + ["site_no"]
_VALUES: Final = [field.name for field in SCHEMA if field.name not in _COUNTERS]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file: made by a shard from the journal positions `from_seq` to `to_seq`, both inclusive."""

    path: Path
    shard: int
    from_seq: int
    to_seq: int


def hour_of(t_ns: int) -> str:
    """Return the name of the UTC hour that the instant lies in, e.g. ``2021-02-10T06``."""
    return to_datetime(t_ns).strftime("%Y-%m-%dT%H")


def parts_of_hours(root: Path, from_ns: int, to_ns: int) -> Iterator[Path]:
    """Yield the files of the hours that overlap `[from_ns, to_ns)`, by hour and name."""
    for start_ns in range(from_ns - from_ns % NS_PER_HOUR, to_ns, NS_PER_HOUR):
        yield from sorted((root / f"hour={hour_of(start_ns)}").glob("*.parquet"))


def parts(root: Path) -> Iterator[Part]:
    """Yield every file, by hour and name."""
    for path in sorted(root.glob("hour=*/*.parquet")):
        if found := _PART.match(path.name):
            shard, from_seq, to_seq = (int(text) for text in found.groups())
            yield Part(path=path, shard=shard, from_seq=from_seq, to_seq=to_seq)


def to_arrow(records: NDArray[Any], site_no: NDArray[Any], arrival_ns: NDArray[np.int64]) -> pa.Table:
    """Return N records as an Arrow table of `SCHEMA`."""
    columns = {name: records[name] for name in TELEMETRY.names}
    columns["site_no"] = site_no.astype(np.int32)
    columns["arrival_ns"] = arrival_ns
    arrays = [pa.array(np.ascontiguousarray(columns[field.name])) for field in SCHEMA]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def write_durably(table: pa.Table, folder: Path, name: str) -> None:
    """Write a file that is complete and durable once its name can be seen."""
    if not folder.exists():
        folder.mkdir(parents=True, exist_ok=True)
        sync_folder(folder.parent)
    hidden = folder / f".{name}.tmp"
    with hidden.open("wb") as sink:
        pq.write_table(
            table,
            sink,
            compression="zstd",
            use_dictionary=_VALUES,
            column_encoding=dict.fromkeys(_COUNTERS, "DELTA_BINARY_PACKED"),
        )
        sink.flush()
        os.fsync(sink.fileno())
    hidden.replace(folder / name)
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
