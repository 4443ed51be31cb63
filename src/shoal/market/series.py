"""The names under which prices of a market's products are known, the same whether a feed or a market's gateway brings them."""

from __future__ import annotations

from typing import Final

from shoal.domain.facts import SeriesId

_ERCOT_SERVICES: Final = frozenset({"regup", "regdn", "rrs", "ecrs", "nonspin"})


def price_series(market_id: str, settlement_point: str, product_id: str) -> SeriesId:
    """Return the series of prices of a product.

    A dispatch market names what the dispatch gave: ``price/nem/VIC1/dispatch``, ``price/nem/VIC1/dispatch-raise6sec``. Services
    of ERCOT have one price for the whole system.

    >>> price_series("sdac", "DE-LU", "day-ahead")
    'price/sdac/DE-LU/day-ahead'
    """
    if market_id == "nem":
        product = "dispatch" if product_id == "energy" else f"dispatch-{product_id}"
        return SeriesId(f"price/nem/{settlement_point}/{product}")
    if market_id == "ercot" and product_id in _ERCOT_SERVICES:
        return SeriesId(f"price/ercot/system/day-ahead-{product_id}")
    return SeriesId(f"price/{market_id}/{settlement_point}/{product_id}")
