"""Real day-ahead prices of 2021 and 2022 at ERCOT's hubs and load zones, in whole cents per MWh.

They ship with the package (see `data/SOURCES.md`); nothing is filled in: a time without a price is an error.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import as_file, files

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_HOUR, Interval, iso

_FILE = "ercot_dam_spp_2021_2022.parquet"


def settlement_points() -> tuple[str, ...]:
    """Return the names of the hubs (``HB_``) and load zones (``LZ_``) that have prices, sorted."""
    return tuple(sorted(_columns().keys() - {"start_ns"}))


def price_span() -> Interval:
    """Return the span that is covered by prices, without gaps."""
    start_ns = _columns()["start_ns"]
    return Interval(start_ns=int(start_ns[0]), end_ns=int(start_ns[-1]) + NS_PER_HOUR)


def real_prices(settlement_point: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the starts of all H hours (UTC ns, ascending) and their prices (cents per MWh), read-only.

    Raises:
        InvalidInputError: when the settlement point has no prices.
    """
    columns = _columns()
    if settlement_point == "start_ns" or settlement_point not in columns:
        raise InvalidInputError(
            field="settlement_point",
            value=settlement_point,
            fix=f"use one of {', '.join(settlement_points())}",
        )
    return columns["start_ns"], columns[settlement_point]


def prices_over(settlement_point: str, span: Interval) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return `real_prices` of the hours that start within `span`.

    Raises:
        InvalidInputError: when the settlement point has no prices, or the span reaches beyond them.
    """
    start_ns, price_cents = real_prices(settlement_point)
    covered = price_span()
    if span.start_ns < covered.start_ns or span.end_ns > covered.end_ns:
        raise InvalidInputError(
            field="span",
            value=f"{iso(span.start_ns)} to {iso(span.end_ns)}",
            fix=f"prices are known from {iso(covered.start_ns)} to {iso(covered.end_ns)}",
        )
    first, last = np.searchsorted(start_ns, [span.start_ns, span.end_ns])
    return start_ns[first:last], price_cents[first:last]


@cache
def _columns() -> dict[str, NDArray[np.int64]]:
    with as_file(files("shoal.simulate") / "data" / _FILE) as path:
        table = pq.read_table(path)
    columns = {name: table.column(name).to_numpy().astype(np.int64) for name in table.column_names}
    for values in columns.values():
        values.setflags(write=False)
    return columns
