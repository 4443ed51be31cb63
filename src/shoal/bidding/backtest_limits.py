"""From which price on a bid sells, and up to which it buys, in one interval: for looking at."""

from __future__ import annotations

from math import nan

from shoal.market.bids import BandOffer, MarketBid, Orders, StorageCurves


def limits_of(bid: MarketBid, product_id: str, start_ns: int) -> tuple[float, float]:
    """Return the lowest price at which a bid sells and the highest at which it buys; NaN where it does not.

    Blocks and targets have no price of an interval.
    """
    sells: list[float] = []
    buys: list[float] = []
    for offer in bid.offers:
        if offer.product != product_id:
            continue
        match offer:
            case Orders():
                for order in offer.orders:
                    if order.start_ns == start_ns:
                        (buys if order.side == "buy" else sells).append(order.limit_price_per_mwh)
            case BandOffer():
                for band in offer.intervals:
                    if band.start_ns == start_ns:
                        given = zip(offer.band_price_per_mwh, band.band_avail_mw, strict=True)
                        (buys if offer.side == "load" else sells).extend(
                            price for price, mw in given if mw > 0
                        )
            case StorageCurves():
                for curve in offer.intervals:
                    if curve.start_ns == start_ns:
                        sells += [point.price_per_mwh for point in curve.points if point.output_mw > 0]
                        buys += [point.price_per_mwh for point in curve.points if point.output_mw < 0]
            case _:
                pass
    return min(sells, default=nan), max(buys, default=nan)
