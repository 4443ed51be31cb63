"""Small bids on real days, for the tests of each market's own rules."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

from shoal.domain.interval import Interval, to_ns
from shoal.market.bids import BandInterval, BandOffer, BandSide, MarketBid, Offer, Trapezium

DAY = date(2025, 12, 15)
LADDER = (-1000.0, -50.0, 0.0, 20.0, 50.0, 90.0, 150.0, 300.0, 5000.0, 20300.0)

SERVICE_LADDER = (0.0, 1.0, 2.0, 3.0, 5.0, 10.0, 50.0, 300.0, 5000.0, 20300.0)


def utc_ns(*at: int) -> int:
    """Return the instant of a UTC date and time."""
    year, month, day, hour, minute, second = (*at, 0, 0, 0)[:6]
    return to_ns(datetime(year, month, day, hour, minute, second, tzinfo=UTC))


def a_bid(market_id: str, *offers: Offer, day: date = DAY, **changes: Any) -> MarketBid:
    """Return a bid of one resource."""
    facts: dict[str, Any] = {
        "idempotency_key": "k1",
        "resource_id": "north",
        "market_id": market_id,
        "settlement_point": "VIC1",
        "delivery_date": day.isoformat(),
        "revision": 1,
        "offers": offers,
    }
    return MarketBid(**(facts | changes))


def bands(
    product: str,
    intervals: Sequence[Interval],
    *,
    side: BandSide = "gen",
    mw: dict[int, float],
    prices: tuple[float, ...] | None = None,
    most_mw: float = 1000.0,
    trapezium: Trapezium | None = None,
) -> BandOffer:
    """Return ten bands with MW in a few of them, alike in every interval."""
    avail = tuple(mw.get(number, 0.0) for number in range(10))
    ladder = LADDER if product == "energy" else SERVICE_LADDER
    return BandOffer(
        product=product,
        side=side,
        band_price_per_mwh=prices or ladder,
        intervals=tuple(
            BandInterval(
                start_ns=interval.start_ns,
                end_ns=interval.end_ns,
                max_avail_mw=most_mw,
                band_avail_mw=avail,
                trapezium=trapezium,
            )
            for interval in intervals
        ),
    )
