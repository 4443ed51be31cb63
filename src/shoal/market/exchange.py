"""What a market publishes beside receipts and awards: prices, with their corrections."""

from __future__ import annotations

import msgspec


class PublishedPrice(msgspec.Struct, frozen=True, kw_only=True):
    """A published price of one product, settlement point and interval.

    Attributes:
        product: The product, or the market's key of the imbalance price.
        settlement_point: Where.
        start_ns: When the interval begins.
        end_ns: When it ends, exclusive.
        price_per_mwh: The price; per MW and hour for capacity.
        published_ns: When it came out.
        revision: 0 at first, one more for each correction.
    """

    product: str
    settlement_point: str
    start_ns: int
    end_ns: int
    price_per_mwh: float
    published_ns: int
    revision: int = 0
