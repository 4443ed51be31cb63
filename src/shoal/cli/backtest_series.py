"""A price series from a file of Parquet or CSV, whatever its columns are called.

The instants come from the column of starts or, where a file labels intervals by their ends, of ends. The prices come
from the only column that can be meant, or from the one that ``--point`` names: a settlement point's own column, or its
rows where a column names points.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError

_STARTS: Final = ("start_utc", "interval_start_utc", "ts_utc")
_ENDS: Final = ("end_utc", "interval_end_utc")
_PRICES: Final = ("price_per_mwh", "rrp_aud_mwh", "rrp", "system_sell_price_gbp_mwh")
_POINTS: Final = ("point", "region", "settlement_point")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PriceFile:
    """What a file holds of one point: N starts, N prices, and the length of an interval."""

    point: str
    start_ns: NDArray[np.int64]
    price_per_mwh: NDArray[np.float64]
    interval_ns: int


def read_prices(path: Path, point: str | None) -> PriceFile:
    """Return the prices of one point; intervals without a price are left out.

    Raises:
        InvalidInputError: The file cannot be read, or it is not clear which column is meant.
    """
    table = _table(path)
    columns: list[str] = table.column_names
    where = next((name for name in _POINTS if name in columns), None)
    if where is not None:
        table, point = _rows_of(table, where, point)
    time, is_end = _time_column(columns)
    price = _price_column(columns, None if where is not None else point)
    table = table.sort_by(time)
    stamp = _instants(table[time])
    value = table[price].cast("float64").to_numpy(zero_copy_only=False)
    if len(stamp) < 2:
        raise InvalidInputError(field="--series", value=str(path), fix="give at least two intervals")
    interval_ns = int(np.min(np.diff(stamp)))
    present = np.isfinite(value)
    return PriceFile(
        point=point or price,
        start_ns=stamp[present] - (interval_ns if is_end else 0),
        price_per_mwh=value[present],
        interval_ns=interval_ns,
    )


def _table(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    if not path.is_file():
        raise InvalidInputError(field="--series", value=str(path), fix="give a file that exists")
    try:
        return pyarrow.csv.read_csv(path) if path.suffix == ".csv" else pyarrow.parquet.read_table(path)
    except pa.ArrowInvalid as error:
        raise InvalidInputError(
            field="--series", value=str(path), fix=f"give Parquet or CSV: {error}"
        ) from error


def _rows_of(table: Any, where: str, point: str | None) -> tuple[Any, str]:
    import pyarrow.compute

    names = table[where].cast("string")
    known = sorted(name for name in names.unique().to_pylist() if name is not None)
    if point is None and len(known) == 1:
        point = known[0]
    if point is None or point not in known:
        raise InvalidInputError(field="--point", value=point, fix=f"choose one of {', '.join(known)}")
    return table.filter(pyarrow.compute.equal(names, point)), point


def _time_column(columns: list[str]) -> tuple[str, bool]:
    for names, is_end in ((_STARTS, False), (_ENDS, True)):
        for name in names:
            if name in columns:
                return name, is_end
    raise InvalidInputError(
        field="--series", value=", ".join(columns), fix=f"name the instants {' or '.join(_STARTS + _ENDS)}"
    )


def _price_column(columns: list[str], point: str | None) -> str:
    if point is not None:
        like = [name for name in columns if name.lower() == point.lower()]
        like = like or [name for name in columns if name.lower().startswith(point.lower() + "_")]
        if len(like) != 1:
            found = ", ".join(like or columns)
            raise InvalidInputError(field="--point", value=point, fix=f"name one of the columns: {found}")
        return like[0]
    known = [name for name in _PRICES if name in columns]
    if len(known) != 1:
        raise InvalidInputError(
            field="--series", value=", ".join(columns), fix="choose the column of prices with --point"
        )
    return known[0]


def _instants(column: Any) -> NDArray[np.int64]:
    import pyarrow as pa

    column = column.combine_chunks()
    if pa.types.is_string(column.type):
        column = column.cast(pa.timestamp("ns", "UTC"))
    stamps = column.cast(pa.timestamp("ns")).to_numpy(zero_copy_only=False)
    return np.asarray(stamps.astype("datetime64[ns]").astype(np.int64))
