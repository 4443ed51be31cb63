"""What the book of a simulated market answers to a bid, and what a bid lists."""

from __future__ import annotations

from collections.abc import Sequence

from shoal.domain.interval import Interval
from shoal.market.awards import MarketReceipt
from shoal.market.bids import BandOffer, Blocks, LoadTarget, MarketBid, Offer, Orders


def refused(bid: MarketBid, received_ns: int, reason: str, field: str, value: str, fix: str) -> MarketReceipt:
    """Return the receipt of a bid that is refused."""
    return MarketReceipt(
        idempotency_key=bid.idempotency_key,
        bid_id="",
        state="rejected",
        received_ns=received_ns,
        reason=reason,
        field=field,
        value=value,
        fix=fix,
    )


def busy_answer(bid: MarketBid, received_ns: int) -> MarketReceipt:
    """Return the receipt of a bid that is refused out of the blue."""
    return refused(
        bid,
        received_ns,
        "market_busy",
        "idempotency_key",
        bid.idempotency_key,
        "send it again under a new key",
    )


def lists(offer: Offer, covers: Interval) -> bool:
    """Whether an offer lists an interval."""
    if isinstance(offer, Orders):
        return any(
            order.start_ns < covers.end_ns and covers.start_ns < order.end_ns for order in offer.orders
        )
    if isinstance(offer, Blocks):
        parts = [part for block in offer.blocks for part in block.intervals]
        return any(part.start_ns < covers.end_ns and covers.start_ns < part.end_ns for part in parts)
    intervals: Sequence[BandOffer | LoadTarget] | Sequence[object] = offer.intervals
    return any(
        one.start_ns < covers.end_ns and covers.start_ns < one.end_ns  # type: ignore[attr-defined]
        for one in intervals
    )
