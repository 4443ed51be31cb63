"""The markets that a back-test knows, as data: calendar, bands and price limits of each.

Limits are those of the span that is tested; they widen only what a strategy reckons may happen.
"""

from __future__ import annotations

from datetime import time
from typing import Final
from zoneinfo import ZoneInfo

from shoal.bidding.strategy import BandMarket
from shoal.domain.errors import UnknownIdError
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE

NEM: Final = BandMarket(
    market_id="nem",
    zone=ZoneInfo("Australia/Brisbane"),  # the market's clock: ten hours ahead all year
    currency="AUD",
    interval_ns=5 * NS_PER_MINUTE,
    day_start=time(4),
    lodgement=time(12, 30),
    bands_count=10,
    floor_per_mwh=-1_000.0,
    cap_per_mwh=17_500.0,
    tick_per_mwh=0.01,
)
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


def band_market(market_id: str) -> BandMarket:
    """Return a market by its id.

    Raises:
        UnknownIdError: when there is none of that name.
    """
    if market_id not in MARKETS:
        raise UnknownIdError("market", market_id)
    return MARKETS[market_id]
