"""A price series from a file of Parquet or CSV, whatever its columns are called.

The instants come from the column of starts or, where a file labels intervals by their ends, of ends; a column of wall time
is read in the market's zone. The prices come from the only column that can be meant, or from the one that ``--point``
names: a settlement point's own column, or its rows where a column names points.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError

_STARTS: Final = ("start_utc", "interval_start_utc", "ts_utc")
_ENDS: Final = ("end_utc", "interval_end_utc")
_WALL: Final = ("ts_local", "ts")
_PRICES: Final = ("price_per_mwh", "rrp_aud_mwh", "rrp", "system_sell_price_gbp_mwh", "price")
_POINTS: Final = ("point", "region", "settlement_point", "market")
_NAMED_BY: Final = {"day-ahead": ("dam", "da"), "real-time": ("rt",)}
"""How columns of several products of a point are told apart."""
_ONLY_POINT: Final = {"gb": "system"}
"""The point of a market that has one price for everybody."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PriceFile:
    """What a file holds of one point: N starts, N prices, the length of an interval, and the names of all columns."""

    point: str
    start_ns: NDArray[np.int64]
    price_per_mwh: NDArray[np.float64]
    interval_ns: int
    columns: tuple[str, ...]


def read_prices(
    path: Path,
    point: str | None,
    *,
    zone: ZoneInfo | None = None,
    product: str | None = None,
    market_id: str = "",
    column: str | None = None,
) -> PriceFile:
    """Return the prices of one point; intervals without a price are left out.

    Args:
        path: The file.
        point: The settlement point; None for the only one.
        zone: In which a column of wall time is read; None refuses one.
        product: Tells columns of one point apart by their names.
        market_id: Names the point of a market that has only one.
        column: Another column than that of prices.

    Raises:
        InvalidInputError: The file cannot be read, or it is not clear which column is meant.
    """
    table = _table(path)
    columns: list[str] = table.column_names
    time, is_end = _time_column(columns)
    where = next((name for name in _POINTS if name in columns), None)
    if where is not None:
        table, point = _rows_of(table, where, point)
    only = next((name for name in _PRICES if name in columns), None)
    if column is not None and column not in columns:
        raise InvalidInputError(field="--series", value=", ".join(columns), fix=f"name a column {column}")
    if column is not None:
        price = column
    elif where is not None or point is None or _is_label(path, point, columns):
        price = _price_column(columns, None, product)
    else:
        price = _price_column(_prices_of(table, time), point, product)
    if time in _WALL and zone is None:
        raise InvalidInputError(field="--series", value=time, fix=f"name the instants {_STARTS[-1]}, in UTC")
    table = table.sort_by(time)
    stamp = _wall_time(table[time], zone) if time in _WALL and zone is not None else _instants(table[time])
    value = table[price].cast("float64").to_numpy(zero_copy_only=False)
    if len(stamp) < 2:
        raise InvalidInputError(field="--series", value=str(path), fix="give at least two intervals")
    step = np.diff(stamp)
    interval_ns = int(step[step > 0].min())
    present = np.isfinite(value) & (np.diff(stamp, prepend=stamp[0] - 1) > 0)
    stamp, value = stamp[present], value[present]
    if time in _WALL and zone is not None:
        stamp, value = _repeated(stamp, value, interval_ns, zone)
    return PriceFile(
        point=point
        or _ONLY_POINT.get(market_id)
        or _point_in(path)
        or (price if price not in (only, column) else path.stem),
        start_ns=stamp - (interval_ns if is_end else 0),
        price_per_mwh=value,
        interval_ns=interval_ns,
        columns=tuple(columns),
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
    for names, is_end in ((_STARTS, False), (_ENDS, True), (_WALL, False)):
        for name in names:
            if name in columns:
                return name, is_end
    raise InvalidInputError(
        field="--series", value=", ".join(columns), fix=f"name the instants {' or '.join(_STARTS + _ENDS)}"
    )


def _prices_of(table: Any, time: str) -> list[str]:
    """Return the columns that can be prices."""
    import pyarrow as pa

    return [
        field.name for field in table.schema if field.name != time and pa.types.is_floating(field.type)
    ] or [name for name in table.column_names if name != time]


def _price_column(columns: list[str], point: str | None, product: str | None) -> str:
    if point is not None:
        like = [name for name in columns if name.lower() == point.lower()]
        like = like or [name for name in columns if name.lower().startswith(point.lower() + "_")]
        words = _NAMED_BY.get(product or "", ())
        of_product = [name for name in like if set(words) & set(name.lower().split("_"))]
        like = of_product if len(like) > 1 and len(of_product) == 1 else like
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


def _is_label(path: Path, point: str, columns: list[str]) -> bool:
    """Whether a point is only the name of a file's one series: the file is called after it, or it is the market's only one."""
    own = [name for name in _PRICES if name in columns]
    named = point.lower() in path.stem.lower().replace("-", "_").split("_") or point in _ONLY_POINT.values()
    return len(own) == 1 and named and point.lower() not in [name.lower() for name in columns]


def _point_in(path: Path) -> str:
    """Return the region of the Australian market that a file is called after; empty for none."""
    words = path.stem.upper().replace("-", "_").split("_")
    return next((word for word in words if word in ("NSW1", "QLD1", "SA1", "TAS1", "VIC1")), "")


# ── time ────────────────────────────────────────────────────────────────────────────────────────────────────


def _instants(column: Any) -> NDArray[np.int64]:
    import pyarrow as pa

    column = column.combine_chunks()
    if pa.types.is_string(column.type):
        column = column.cast(pa.timestamp("ns", "UTC"))
    stamps = column.cast(pa.timestamp("ns")).to_numpy(zero_copy_only=False)
    return np.asarray(stamps.astype("datetime64[ns]").astype(np.int64))


def _wall_time(column: Any, zone: ZoneInfo) -> NDArray[np.int64]:
    """Return the instants of wall time; of an hour that comes twice the first, of one that is left out that of the next."""
    from datetime import datetime

    from shoal.domain.interval import NS_PER_HOUR, NS_PER_S

    wall_ns = _instants(column)
    hour, row = np.unique(wall_ns // NS_PER_HOUR, return_inverse=True)
    offset_ns = np.empty(len(hour), np.int64)
    for at, one in enumerate(hour.tolist()):
        naive = datetime.fromtimestamp(one * 3_600, tz=ZoneInfo("UTC")).replace(tzinfo=zone)
        after = naive.replace(fold=1).utcoffset()
        before = naive.utcoffset()
        assert before is not None and after is not None
        # an hour that the clock leaves out falls upon the one before it, which comes first and counts
        offset_ns[at] = max(before, after).total_seconds() * NS_PER_S
    return wall_ns - offset_ns[row]


def _repeated(
    stamp: NDArray[np.int64], value: NDArray[np.float64], interval_ns: int, zone: ZoneInfo
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Give the second of two hours of the same wall time the price of the first: a day of 24 rows has but one for both."""
    from shoal.domain.interval import NS_PER_HOUR, to_datetime

    gap = np.flatnonzero(np.diff(stamp) == NS_PER_HOUR + interval_ns) + 1
    extra = [
        (int(stamp[at]) - NS_PER_HOUR, float(value[at - 1]))
        for at in gap.tolist()
        if to_datetime(int(stamp[at]) - NS_PER_HOUR, zone).fold
    ]
    if not extra or interval_ns != NS_PER_HOUR:
        return stamp, value
    stamps = np.append(stamp, np.array([t for t, _ in extra], np.int64))
    values = np.append(value, np.array([v for _, v in extra]))
    order = np.argsort(stamps, kind="stable")
    return stamps[order], values[order]
