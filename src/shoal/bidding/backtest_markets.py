"""Markets as ones of bands: `nem` from its module's rules, others as data for strategies that were made for bands.

Limits of those others widen only what a strategy reckons may happen.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, time
from typing import Final
from zoneinfo import ZoneInfo

from shoal.bidding.strategy import BandMarket
from shoal.domain.errors import UnknownIdError
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE
from shoal.market.bids import BAND_COUNT
from shoal.market.contract import Market
from shoal.market.nem import ENERGY
from shoal.market.registry import market_module


def view_of(
    market: Market, product_id: str, *, interval_ns: int, first: date, last: date, widest: bool = False
) -> BandMarket:
    """Return a product of any market as one of bands, over a span of delivery days.

    Floor and cap change from day to day. For offers the narrowest of the span are right: they are taken on every day, and an
    offer at the lower of two caps is dispatched at any price that is higher.

    Args:
        market: The market.
        product_id: Which product.
        interval_ns: The length of its intervals.
        first: The first delivery day.
        last: The last delivery day.
        widest: Give the lowest floor and the highest cap instead, for schedules that are carried out whatever the price.
    """
    rules, product = market.rules, market.product(product_id)
    days = [first, *(one.effective_from for one in product.limits if first < one.effective_from <= last)]
    floors, caps = zip(*(market.price_limits(product_id, day) for day in days), strict=True)
    return BandMarket(
        market_id=rules.market_id,
        zone=ZoneInfo(rules.zone),
        currency=rules.currency,
        interval_ns=interval_ns,
        day_start=rules.day_start,
        lodgement=next((one.at for one in product.gates if one.at is not None), time(12)),
        bands_count=BAND_COUNT,
        floor_per_mwh=min(floors) if widest else max(floors),
        cap_per_mwh=max(caps) if widest else min(caps),
        tick_per_mwh=product.price_tick_per_mwh,
    )


_FIVE_MINUTES_NS: Final = 5 * NS_PER_MINUTE
_RECENT: Final = (date(2024, 7, 1), date(2026, 6, 30))
"""The days on which the limits of `NEM` hold, all of them."""
NEM: Final = view_of(
    market_module("nem"), ENERGY, interval_ns=_FIVE_MINUTES_NS, first=_RECENT[0], last=_RECENT[1]
)
"""The rules of `shoal.market.nem`, as bands of recent days."""
ERCOT_REAL_TIME: Final = BandMarket(
    market_id="ercot-rt",
    zone=ZoneInfo("America/Chicago"),
    currency="USD",
    interval_ns=15 * NS_PER_MINUTE,
    day_start=time(0),
    lodgement=time(14, 30),
    bands_count=10,
    floor_per_mwh=-251.0,
    cap_per_mwh=5_001.0,
    tick_per_mwh=0.01,
)
GB: Final = BandMarket(
    market_id="gb",
    zone=ZoneInfo("Europe/London"),
    currency="GBP",
    interval_ns=NS_PER_HOUR // 2,
    day_start=time(0),
    lodgement=time(11),
    bands_count=10,
    floor_per_mwh=-1_000.0,
    cap_per_mwh=6_000.0,
    tick_per_mwh=0.01,
)
MARKETS: Final = {market.market_id: market for market in (NEM, ERCOT_REAL_TIME, GB)}


def band_market(market_id: str, *, first: date | None = None, last: date | None = None) -> BandMarket:
    """Return a market by its id, where its limits are dated with those of a span of trading days.

    Args:
        market_id: Which.
        first: The first trading day; None for the usual span.
        last: The last trading day; None for the first alone.

    Raises:
        UnknownIdError: when there is none of that name.
        InvalidInputError: when its limits are not known so early.
    """
    if market_id not in MARKETS:
        raise UnknownIdError("market", market_id)
    if market_id != NEM.market_id or first is None:
        return MARKETS[market_id]
    module = market_module(market_id)
    return view_of(module, ENERGY, interval_ns=_FIVE_MINUTES_NS, first=first, last=last or first)


def day_limits(market_id: str) -> Callable[[date], tuple[float, float]] | None:
    """Return what gives floor and cap of a trading day, None where they are those of the `BandMarket` on all days."""
    if market_id != NEM.market_id:
        return None
    module = market_module(market_id)
    return lambda day: module.price_limits(ENERGY, day)
