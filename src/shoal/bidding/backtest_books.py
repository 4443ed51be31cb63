"""What the making of a bid reads and writes beside facts, in memory: bids, awards, and that nobody said anything.

The functions of the cycle are given these instead of the tables of the database, so that a back-test runs the very code
that the plant runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from shoal.market.awards import AwardedQuantity, MarketAward, SubmissionState
from shoal.market.bids import MarketBid
from shoal.market.standing import in_force
from shoal.store.consents import ConsentKind, Consents, Said
from shoal.store.cycles import Cycles, MarketBidRecord


class PaperCycles(Cycles):
    """Bids and awards of one resource in one market; every bid that is drafted was taken by the market.

    Of a day only the whole that stands is kept: folded from the first revision on it is the same.
    """

    def __init__(self) -> None:
        self._whole: dict[str, MarketBidRecord] = {}
        self._awards: dict[str, MarketAward] = {}

    def standing(self, delivery_date: str) -> MarketBid | None:
        """Return the whole that stands for a day."""
        record = self._whole.get(delivery_date)
        return None if record is None else record.bid

    def bids(
        self,
        *,
        resource_id: str | None = None,
        market_id: str | None = None,
        delivery_date: str | None = None,
        gate_key: str | None = None,
        states: Sequence[str] = (),
    ) -> list[MarketBidRecord]:
        """Return the whole that stands for a day, as one bid."""
        record = None if delivery_date is None else self._whole.get(delivery_date)
        return [] if record is None else [record]

    def draft_bid(
        self,
        make: Callable[[int], MarketBid],
        *,
        resource_id: str,
        market_id: str,
        delivery_date: str,
        idempotency_key: str,
        gate_key: str,
        closes_ns: int,
        decision_id: str,
        author: str,
        created_ns: int,
        digest: Callable[[MarketBid], str],
        by: str,
    ) -> MarketBidRecord:
        """Keep a bid under the next revision of its day, as taken."""
        before = self.standing(delivery_date)
        state: SubmissionState = "accepted"
        bid = in_force(before, make(1 if before is None else before.revision + 1))
        record = MarketBidRecord(
            bid=bid,
            state=state,
            gate_key=gate_key,
            closes_ns=closes_ns,
            decision_id=decision_id,
            author=author,
            created_ns=created_ns,
            content_digest="",
            receipt=None,
        )
        self._whole[delivery_date] = record
        return record

    def add_award(self, bid: MarketBid, quantities: Sequence[AwardedQuantity], *, at_ns: int) -> None:
        """Add to what a day's bid was awarded."""
        before = self._awards.get(bid.delivery_date)
        self._awards[bid.delivery_date] = MarketAward(
            resource_id=bid.resource_id,
            market_id=bid.market_id,
            settlement_point=bid.settlement_point,
            delivery_date=bid.delivery_date,
            bid_id=bid.idempotency_key,
            version=1 if before is None else before.version + 1,
            published_ns=at_ns,
            quantities=(*(() if before is None else before.quantities), *quantities),
        )

    def award(self, delivery_date: str) -> MarketAward | None:
        """Return the newest version of a day's award."""
        return self._awards.get(delivery_date)

    def awards(self, resource_id: str, market_id: str, delivery_date: str) -> list[MarketAward]:
        """Return the newest version of a day's award."""
        award = self._awards.get(delivery_date)
        return [] if award is None else [award]

    def forget(self, delivery_date: str) -> None:
        """Forget a day that is settled; what stands for it and was awarded is not asked for again."""
        self._whole.pop(delivery_date, None)
        self._awards.pop(delivery_date, None)


class NobodySaid(Consents):
    """No modes, no approvals, no manual bids."""

    def __init__(self) -> None:
        pass

    def said(self, kind: ConsentKind, *, subject: str, as_of_ns: int) -> list[Said]:
        """Return nothing."""
        return []
