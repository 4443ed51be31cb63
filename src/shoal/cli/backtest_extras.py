"""What else a file says beside prices: facts that strategies ask for, with the instants at which they were known."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from shoal.bidding.backtest_prices import GridPrices, grid_prices
from shoal.bidding.backtest_tape import Tape, published_ns
from shoal.cli.backtest_series import PriceFile, read_prices
from shoal.domain.facts import SeriesId
from shoal.domain.interval import NS_PER_HOUR
from shoal.market.contract import Market
from shoal.store.facts_records import FactBatch

_LOAD_COLUMNS: Final = {"NP": "exog1", "BE": "exog2", "FR": "exog2", "DE": "exog2"}
"""Which column of the benchmark of Lago et al. (2021) is a forecast of load, by market."""
_VOLUME_COLUMN: Final = "net_imbalance_volume_mwh"
_SERVICE_COLUMNS: Final = {
    name: f"as_{column}_usd_mw"
    for name, column in (
        ("regup", "regup"),
        ("regdn", "regdn"),
        ("rrs", "rrs"),
        ("ecrs", "ecrs"),
        ("nonspin", "nspin"),
    )
}
"""Where a column is not called as the product is."""
_BEFORE_THE_GATE_NS: Final = 2 * NS_PER_HOUR
"""Operators publish forecasts of load two hours before the day-ahead gate at the latest (Regulation (EU) 543/2013, article 6)."""


def further_facts(path: Path, market: Market, product_id: str, file: PriceFile) -> Tape:
    """Return a tape with what a file says beside prices; the prices themselves are not on it."""
    tape, market_id = Tape(), market.rules.market_id
    zone = ZoneInfo(market.rules.zone)
    point = None if market_id == "gb" else file.point
    column = _LOAD_COLUMNS.get(file.point, "")
    if market_id == "gb" and _VOLUME_COLUMN in file.columns:
        found = read_prices(path, point, zone=zone, market_id=market_id, column=_VOLUME_COLUMN)
        known_ns = published_ns(market, product_id, found.start_ns, found.start_ns + found.interval_ns)
        tape.load(_batch(SeriesId(f"imbalance/gb/{file.point}/volume"), found, known_ns))
    elif market_id == "sdac" and column in file.columns:
        found = read_prices(path, point, zone=zone, market_id=market_id, column=column)
        tape.load(
            _batch(
                SeriesId(f"load/sdac/{file.point}/forecast"), found, _before_gates(market, product_id, found)
            )
        )
    return tape


def service_prices(path: Path, market: Market, file: PriceFile) -> dict[str, GridPrices]:
    """Return the prices of ancillary services that a file holds, by product."""
    found = {}
    zone = ZoneInfo(market.rules.zone)
    for product in market.rules.products:
        column = _SERVICE_COLUMNS.get(product.product_id, product.product_id)
        if product.kind != "capacity" or column not in file.columns:
            continue
        point = file.point if "region" in file.columns else None
        prices = read_prices(path, point, zone=zone, market_id=market.rules.market_id, column=column)
        found[product.product_id] = grid_prices(
            market,
            product.product_id,
            prices.start_ns,
            prices.price_per_mwh,
            interval_ns=file.interval_ns,
        )
    return found


def _batch(series_id: SeriesId, found: PriceFile, known_ns: NDArray[np.int64]) -> FactBatch:
    return FactBatch(
        series_id=series_id,
        source="file",
        known_ns=known_ns,
        revision=np.zeros(len(found.start_ns), np.int64),
        start_ns=found.start_ns,
        end_ns=found.start_ns + found.interval_ns,
        value=found.price_per_mwh.reshape(-1, 1),
    )


def _before_gates(market: Market, product_id: str, found: PriceFile) -> NDArray[np.int64]:
    """Return some time before the gate of the day of each interval."""
    known = np.empty(len(found.start_ns), np.int64)
    days = [market.delivery_date(int(t)) for t in found.start_ns.tolist()]
    gates: dict[date, int] = {}
    for at, day in enumerate(days):
        if day not in gates:
            gates[day] = market.gates(product_id, day)[0].closes_ns - _BEFORE_THE_GATE_NS
        known[at] = gates[day]
    return known
