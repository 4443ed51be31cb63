"""What is said between a participant and a market: orders, bids, receipts, awards.

Quantities are MW (only here), never negative; the side gives the direction. Energy is whole
watt-hours, signed as everywhere inside: bought (charging) positive, sold (discharging) negative. Prices are currency per MWh.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Side: TypeAlias = Literal["buy", "sell"]


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A price-quantity order for one interval.

    A buy clears when the market price is at or below `limit_price_per_mwh`, a sell when it is at or above.
    """

    start_ns: int
    end_ns: int
    side: Side
    quantity_mw: float
    limit_price_per_mwh: float


class Bid(msgspec.Struct, frozen=True, kw_only=True):
    """All orders of one resource for one delivery day; a higher revision replaces a lower one.

    Attributes:
        idempotency_key: The same key is the same bid, however often it is sent.
    """

    idempotency_key: str
    resource_id: str
    market_id: str
    settlement_point: str
    delivery_date: str
    revision: int
    orders: tuple[Order, ...]


class BidReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """The market's answer to a bid: what it now holds under the key."""

    idempotency_key: str
    bid_id: str
    status: Literal["accepted", "rejected"]
    received_ns: int
    reason: str = ""
    detail: str = ""


class AwardedInterval(msgspec.Struct, frozen=True, kw_only=True):
    """What was awarded in one interval: `energy_wh` bought positive, sold negative, 0 when nothing cleared."""

    start_ns: int
    end_ns: int
    energy_wh: int
    price_per_mwh: float


class Award(msgspec.Struct, frozen=True, kw_only=True):
    """The result of the auction for one resource and day; every interval of the day is listed."""

    resource_id: str
    market_id: str
    settlement_point: str
    delivery_date: str
    bid_id: str
    version: int
    published_ns: int
    intervals: tuple[AwardedInterval, ...]


class ClearingPrice(msgspec.Struct, frozen=True, kw_only=True):
    """A published price of one settlement point and interval."""

    settlement_point: str
    start_ns: int
    end_ns: int
    price_per_mwh: float
    published_ns: int
