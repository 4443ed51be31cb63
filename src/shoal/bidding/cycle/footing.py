"""What a draft stands on when it goes: the other bids of its day, those of unknown outcome read back first.

A bid is made on what was believed to stand. When a bid below it turns out not to stand after all, because it came late or
never arrived, the market would refuse what was built upon it; so a draft is validated once more when it is sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from shoal.bidding.cycle.submission import Submission
from shoal.market.bids import MarketBid
from shoal.market.contract import Market, RejectedBid
from shoal.market.standing import in_force
from shoal.store.cycles import Cycles, MarketBidRecord

NOT_AT_THE_MARKET: Final = frozenset({"draft", "withdrawn", "rejected"})
_OPEN: Final = frozenset({"submitted", "unknown"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Footing:
    """How a draft would fare.

    Attributes:
        refusal: Why the market would refuse it, whatever becomes of the bids below; empty when it would not.
        waits_for: The bid whose unknown outcome decides whether it would be refused; empty when none does.
    """

    refusal: str = ""
    waits_for: str = ""


def footing_of(
    draft: MarketBidRecord, *, cycles: Cycles, submission: Submission, market: Market, now_ns: int
) -> Footing:
    """Return how a draft would fare at the market now.

    Args:
        draft: What is to go.
        cycles: Where the day's other bids are kept.
        submission: Reads back what became of those of which it is not known.
        market: Its rules.
        now_ns: When it would arrive.
    """
    bid = draft.bid
    surely: MarketBid | None = None
    perhaps: MarketBid | None = None
    open_key = ""
    for other in cycles.bids(
        resource_id=bid.resource_id, market_id=bid.market_id, delivery_date=bid.delivery_date
    ):
        key = other.bid.idempotency_key
        if key == bid.idempotency_key:
            continue
        found = submission.resolve(key) if other.state in _OPEN else other
        if found.state in NOT_AT_THE_MARKET:
            continue
        perhaps = in_force(perhaps, found.bid)
        if found.state in _OPEN:
            open_key = key
        else:
            surely = in_force(surely, found.bid)
    with_all = market.validate(bid, received_ns=now_ns, standing=perhaps)
    if not open_key:
        return Footing(refusal=_said(with_all))
    without = market.validate(bid, received_ns=now_ns, standing=surely)
    if isinstance(with_all, RejectedBid) and isinstance(without, RejectedBid):
        return Footing(refusal=_said(with_all))
    if isinstance(with_all, RejectedBid) or isinstance(without, RejectedBid):
        return Footing(waits_for=open_key)
    return Footing()


def _said(verdict: object) -> str:
    return f"the market would refuse it: {verdict.detail}" if isinstance(verdict, RejectedBid) else ""
