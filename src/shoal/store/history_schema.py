"""How a sample is kept in Parquet, and how SQL sees it again.

Columns are kept as small whole numbers, sorted by site and time, so that packed differences take about 7 bytes a row: times in
milliseconds with the rest beside them, the arrival as its lag behind the device's time, the state of charge in 1/10000.
What a device does not measure is NULL. The view `telemetry` offers the columns of the telemetry table.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shoal.domain.interval import NS_PER_HOUR
from shoal.domain.telemetry import OPTIONAL, TELEMETRY

NS_PER_MS: Final = 1_000_000
SOC_STEPS: Final = 10_000
"""Steps of the kept state of charge from empty to full."""
MIN_GROUP_ROWS: Final = 32_768
"""Rows in one row group: about ninety sites of an hour at a sample every 10 s; smaller ones cost more than they save."""
_MAX_GROUP_ROWS: Final = 262_144
_MAX_GROUPS: Final = 512


def _field(name: str, kind: pa.DataType, unit: str, description: str, *, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"unit": unit, "description": description})


def _measured(name: str) -> pa.Field:
    column = TELEMETRY.column(name)
    if name == "soc_frac":
        return _field("soc_e4", pa.int16(), "1/10000", column.description, nullable=True)
    kind = pa.from_numpy_dtype(np.dtype(column.dtype))
    return _field(name, kind, column.unit, column.description, nullable=True)


SCHEMA: Final = pa.schema(
    [
        _field("site_no", pa.int32(), "1", "number of the site in the registry"),
        _field("ts_ms", pa.int64(), "ms", "device time of the measurement, UTC since 1970"),
        _field("ts_sub_ns", pa.int32(), "ns", "what the device time has beyond whole milliseconds"),
        _field("seq", pa.int64(), "1", TELEMETRY.column("seq").description),
        *(_measured(name) for name in OPTIONAL),
        _field("flags", pa.uint16(), "1", "quality of the sample; 0 for none"),
        _field("lag_ms", pa.int64(), "ms", "how long after its device time the plant received it"),
    ],
    metadata={"table": TELEMETRY.name, "version": str(TELEMETRY.version)},
)

_SQL_TYPES: Final = {
    "<i8": "BIGINT",
    "<i4": "INTEGER",
    "<u4": "UINTEGER",
    "<u2": "USMALLINT",
    "<f4": "FLOAT",
}
_EXPRESSIONS: Final = {
    "ts_ns": f"ts_ms * {NS_PER_MS} + ts_sub_ns",
    "soc_frac": f"(soc_e4 / {SOC_STEPS}.0)::FLOAT",
    "arrival_ns": f"(ts_ms + lag_ms) * {NS_PER_MS}",
    # some kinds of table have no numbers without a sign
    "command_version": "command_version::UINTEGER",
    "flags": "flags::USMALLINT",
}
VIEW_COLUMNS: Final = {
    "site_no": "INTEGER",
    **{c.name: _SQL_TYPES[c.dtype] for c in TELEMETRY.columns if c.name != "present"},
    "arrival_ns": "BIGINT",
    "hour": "VARCHAR",
}
"""The columns of the SQL view ``telemetry`` and their types."""
VIEW_SELECT: Final = ", ".join(
    f"{_EXPRESSIONS[name]} AS {name}" if name in _EXPRESSIONS else name for name in VIEW_COLUMNS
)


def write_options(schema: pa.Schema, rows: int) -> dict[str, Any]:
    """Return how PyArrow is to write a table of `schema` with about `rows` rows."""
    packed = {field.name: "DELTA_BINARY_PACKED" for field in schema if pa.types.is_integer(field.type)}
    split = {field.name: "BYTE_STREAM_SPLIT" for field in schema if pa.types.is_floating(field.type)}
    return {
        "compression": "zstd",
        "compression_level": 1,
        "use_dictionary": False,
        "column_encoding": {**packed, **split},
    }


def group_rows(rows: int) -> int:
    """Return the rows of one row group in a file of `rows`: few enough groups that the footer stays small."""
    return min(max(MIN_GROUP_ROWS, rows // _MAX_GROUPS), _MAX_GROUP_ROWS)


def to_stored(
    records: NDArray[Any], site_no: NDArray[np.integer[Any]], arrival_ns: NDArray[np.int64]
) -> pa.Table:
    """Return N records as a table of `SCHEMA`, in the order given."""
    ts_ms = records["ts_ns"] // NS_PER_MS
    present = records["present"]
    everywhere = int(np.bitwise_and.reduce(present)) if len(records) else 0
    arrays: dict[str, pa.Array] = {
        "site_no": pa.array(site_no.astype(np.int32, copy=False)),
        "ts_ms": pa.array(ts_ms),
        "ts_sub_ns": pa.array((records["ts_ns"] - ts_ms * NS_PER_MS).astype(np.int32)),
        "seq": pa.array(np.ascontiguousarray(records["seq"])),
        "flags": pa.array(np.ascontiguousarray(records["flags"])),
        "lag_ms": pa.array(arrival_ns // NS_PER_MS - ts_ms),
    }
    for bit, name in enumerate(OPTIONAL):
        absent = None if everywhere & 1 << bit else (present & np.uint16(1 << bit)) == 0
        if name == "soc_frac":
            steps = np.rint(records[name] * SOC_STEPS).astype(np.int16)
            arrays["soc_e4"] = pa.array(steps, mask=absent)
        else:
            arrays[name] = pa.array(np.ascontiguousarray(records[name]), mask=absent)
    return pa.Table.from_arrays([arrays[name] for name in SCHEMA.names], schema=SCHEMA)


def hour_order(
    ts_ns: NDArray[np.int64], site_no: NDArray[np.integer[Any]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the order of N samples by hour, site and millisecond (else as given), and each sample's hour since 1970."""
    hour = ts_ns // NS_PER_HOUR
    within_ms = (ts_ns - hour * NS_PER_HOUR) // NS_PER_MS
    # 31 bits for the site and 22 for the millisecond in its hour leave 10 for hours: most batches need one sort.
    span = int(hour.max() - hour.min()) if len(hour) else 0
    by_site = (site_no.astype(np.int64) << 22) | within_ms
    if span < 1 << 10:
        return np.argsort(((hour - hour.min()) << 53) | by_site if span else by_site, kind="stable"), hour
    return np.lexsort((by_site, hour)), hour


def sorted_table(tables: list[pa.Table]) -> pa.Table:
    """Return tables of one hour as one, sorted by site and time; equal ones keep their order."""
    table = pa.concat_tables(tables)
    site_no = table["site_no"].to_numpy().astype(np.int64)
    ts_ms = table["ts_ms"].to_numpy()
    key = (site_no << 22) | (ts_ms - ts_ms.min()) if len(ts_ms) else site_no
    if len(tables) == 1 and bool((np.diff(key) >= 0).all()):
        return table
    return table.take(pa.array(np.argsort(key, kind="stable")))
