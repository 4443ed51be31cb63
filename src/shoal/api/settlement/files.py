"""Settlements as files: CSV and Parquet with instants in UTC, energies in whole Wh and money as exact decimals."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Literal, TypeAlias

import pyarrow as pa
from pyarrow import csv, parquet
from starlette.responses import Response

from shoal.bidding.settled_days import DayBook, DayInterval
from shoal.settle.statement import AMOUNT_PER_CURRENCY

FileForm: TypeAlias = Literal["csv", "parquet"]
MEDIA_TYPES: Final[dict[FileForm, str]] = {
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}
_MONEY: Final = pa.decimal128(38, 8)
_INSTANT: Final = pa.timestamp("ms", tz="UTC")
_DIGITS: Final = 8
_NS_PER_MS: Final = 1_000_000
_WHOSE: Final = (
    ("resource_id", pa.string()),
    ("market_id", pa.string()),
    ("delivery_date", pa.string()),
    ("settled_by", pa.string()),
    ("run", pa.string()),
    ("version", pa.int64()),
    ("currency", pa.string()),
)


def as_file(table: pa.Table, name: str, form: FileForm) -> Response:
    """Return a table as a file to keep."""
    sink = io.BytesIO()
    if form == "csv":
        csv.write_csv(table, sink)
    else:
        parquet.write_table(table, sink, compression="zstd")
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    headers = {"Content-Disposition": f'attachment; filename="{safe}.{form}"', "Cache-Control": "no-store"}
    return Response(sink.getvalue(), media_type=MEDIA_TYPES[form], headers=headers)


def days_table(days: Iterable[tuple[DayBook, Sequence[DayInterval]]]) -> pa.Table:
    """Return a row a day: what was awarded and delivered either way, and what it came to."""
    columns = (
        *_WHOSE,
        *((name, pa.int64()) for name in ("bought_wh", "sold_wh", "charged_wh", "discharged_wh")),
        ("net_amount", _MONEY),
        ("disputed_lines", pa.int64()),
        ("estimated_intervals", pa.int64()),
    )
    rows = []
    for book, intervals in days:
        award_wh = [one.award_wh for one in intervals if one.award_wh is not None]
        read_wh = [one.delivered_wh for one in intervals if one.delivered_wh is not None]
        newest = book.newest
        checked = None if newest is None else newest.checked
        rows.append(
            (
                *_whose(book),
                *_both_ways(award_wh),
                *_both_ways(read_wh),
                None if newest is None else _decimal(newest.settlement.amount),
                None if checked is None else len(checked.disputes),
                sum(one.estimated for one in intervals),
            )
        )
    return _table(columns, rows)


def lines_table(book: DayBook) -> pa.Table:
    """Return the lines of the newest version, none before the first; their amounts add up to the day's."""
    columns = (
        *_WHOSE,
        ("product", pa.string()),
        ("kind", pa.string()),
        ("start", _INSTANT),
        ("end", _INSTANT),
        ("energy_wh", pa.int64()),
        ("price_cents_per_mwh", pa.int64()),
        ("amount", _MONEY),
        ("estimated", pa.bool_()),
    )
    lines = () if book.newest is None else book.newest.settlement.lines
    whose = _whose(book)
    return _table(
        columns,
        [
            (
                *whose,
                one.product,
                one.kind,
                one.start_ns // _NS_PER_MS,
                one.end_ns // _NS_PER_MS,
                one.energy_wh,
                one.price_cents_per_mwh,
                _decimal(one.amount),
                one.estimated,
            )
            for one in lines
        ],
    )


def intervals_table(book: DayBook, intervals: Sequence[DayInterval]) -> pa.Table:
    """Return a row a settlement interval."""
    columns = (
        *_WHOSE,
        ("start", _INSTANT),
        ("end", _INSTANT),
        *((name, pa.int64()) for name in ("award_wh", "delivered_wh", "price_cents_per_mwh")),
        ("amount", _MONEY),
        ("estimated", pa.bool_()),
    )
    whose = _whose(book)
    return _table(
        columns,
        [
            (
                *whose,
                one.at.start_ns // _NS_PER_MS,
                one.at.end_ns // _NS_PER_MS,
                one.award_wh,
                one.delivered_wh,
                one.price_cents_per_mwh,
                None if one.amount is None else _decimal(one.amount),
                one.estimated,
            )
            for one in intervals
        ],
    )


def shares_table(book: DayBook, owners: Mapping[str, int], operator_amount: int) -> pa.Table:
    """Return a row a home, and one without a home for the operator; together they are the day's amount."""
    columns = (*_WHOSE, ("site_id", pa.string()), ("amount", _MONEY))
    whose = _whose(book)
    every: list[tuple[str | None, int]] = [*owners.items(), (None, operator_amount)]
    return _table(columns, [(*whose, site, _decimal(amount)) for site, amount in every])


def _table(columns: Sequence[tuple[str, pa.DataType]], rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    values: list[Sequence[Any]] = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    return pa.table({name: pa.array(held, kind) for (name, kind), held in zip(columns, values, strict=True)})


def _whose(book: DayBook) -> tuple[Any, ...]:
    settlement = None if book.newest is None else book.newest.settlement
    return (
        book.resource_id,
        book.market.rules.market_id,
        book.day.isoformat(),
        book.settled_by,
        None if settlement is None else settlement.run,
        None if settlement is None else settlement.version,
        book.market.rules.currency,
    )


def _both_ways(energy_wh: Sequence[int]) -> tuple[int | None, int | None]:
    if not energy_wh:
        return None, None
    return sum(wh for wh in energy_wh if wh > 0), -sum(wh for wh in energy_wh if wh < 0)


def _decimal(amount: int) -> Decimal:
    """Return an amount of 1e-8 currency units as a decimal of currency, exactly."""
    assert 10**_DIGITS == AMOUNT_PER_CURRENCY
    return Decimal(amount).scaleb(-_DIGITS)
