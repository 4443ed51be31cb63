"""Bringing a bid to the market once: written before it is sent, and read back whenever its outcome is not known.

The state in the store says how far it is. ``submitted`` and ``unknown`` both mean that the market may have it, so
whoever finds a bid there, after a time-out or in a new process, reads back first. Only what the market does not have
is sent again, and the revision, drawn in the store, makes even a copy that arrives late a thing that the market
refuses.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import msgspec

from shoal.bidding.cycle.ports import Exchange
from shoal.domain.errors import InvalidInputError, UnavailableError, UnknownIdError
from shoal.flow.retry import Backoff, Retry
from shoal.market.awards import MarketReceipt, SubmissionState
from shoal.store.cycles import Cycles, MarketBidRecord

_BACKOFF: Final = Backoff(first_s=0.05, cap_s=1.0)
_MAY_BE_THERE: Final = frozenset({"submitted", "unknown"})
_GONE: Final = ("submitted", "unknown", "accepted", "superseded")
LEAST_EXCHANGE_S: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """Sends bids.

    Attributes:
        cycles: Where bids are kept.
        exchange: The way to the market.
        now_ns: The plant's clock.
        left_s: Wall seconds until an instant of the plant's clock.
        by: The executor's name.
        exchange_s: How long one exchange with the market may take.
    """

    cycles: Cycles
    exchange: Exchange
    now_ns: Callable[[], int]
    left_s: Callable[[int], float]
    by: str
    exchange_s: float
    _turns: dict[tuple[str, str, str], threading.Lock] = field(default_factory=dict, init=False, repr=False)

    def bring(self, idempotency_key: str, *, budget_s: float) -> MarketBidRecord:
        """Send a bid unless the market has it, and return how it stands then; ``unknown`` when that could not be learned.

        A bid whose gate closes before it could be sent is withdrawn.

        Raises:
            UnknownIdError: when there is no such bid.
        """
        self._record(idempotency_key)
        retry = Retry(backoff=_BACKOFF, budget_s=max(budget_s, 0.0))
        try:
            return retry.call_blocking(lambda: self._once(idempotency_key))
        except UnavailableError:
            return self.resolve(idempotency_key)

    def resolve(self, idempotency_key: str) -> MarketBidRecord:
        """Read back a bid whose outcome is not known, once; nothing is sent.

        Raises:
            UnknownIdError: when there is no such bid.
        """
        record = self._record(idempotency_key)
        if record.state not in _MAY_BE_THERE:
            return record
        try:
            receipt = self.exchange.receipt(idempotency_key, timeout_s=self.exchange_s)
        except UnavailableError as error:
            return self._unknown(record, str(error))
        if receipt is not None:
            return self._settled(record, receipt, "read back")
        if self.now_ns() >= record.closes_ns:
            self._move(record, "unknown", "")
            self._move(record, "draft", "read back: it never arrived")
            return self._move(record, "withdrawn", "the gate closed before it arrived")
        return self._unknown(record, "read back: it has not arrived")

    def _once(self, key: str) -> MarketBidRecord:
        """One round: read back if it may be there, send if it is not."""
        record = self._record(key)
        if record.state in _MAY_BE_THERE:
            receipt = self.exchange.receipt(key, timeout_s=self._timeout_s(record))
            if receipt is not None:
                return self._settled(record, receipt, "read back")
            if record.state == "submitted":
                self._unknown(record, "read back: it has not arrived")
            record = self._move(record, "draft", "read back: it never arrived")
        if record.state != "draft":
            return record
        with self._turn(record):
            return self._send(record)

    @contextmanager
    def _turn(self, record: MarketBidRecord) -> Iterator[None]:
        """Hold the turn of a day: were two of its bids under way at once, the lower revision could arrive last.

        Raises:
            UnavailableError: when another bid of the day takes too long.
        """
        bid = record.bid
        turn = self._turns.setdefault((bid.resource_id, bid.market_id, bid.delivery_date), threading.Lock())
        if not turn.acquire(timeout=self._timeout_s(record)):
            raise UnavailableError("market", "another bid of the day is under way")
        try:
            yield
        finally:
            turn.release()

    def _send(self, record: MarketBidRecord) -> MarketBidRecord:
        key = record.bid.idempotency_key
        if self.now_ns() >= record.closes_ns:
            return self._move(record, "withdrawn", "the gate closed before it was sent")
        record = self.raised(record)
        newer = self._newest_gone(record)
        if newer > record.bid.revision:
            # the market takes no lower revision after a higher one: to send it would be to send a duplicate
            return self._move(record, "withdrawn", f"revision {newer} of the day has gone already")
        if not self.cycles.begin_sending(key, at_ns=self.now_ns(), by=self.by):
            return self._record(key)  # somebody else is sending it
        try:
            receipt = self.exchange.submit(record.bid, timeout_s=self._timeout_s(record))
        except UnavailableError as error:
            found = self._unknown(record, str(error))
            if found.state not in _MAY_BE_THERE:
                return found  # somebody else has read it back meanwhile
            raise
        except InvalidInputError as error:
            return self._move(record, "rejected", str(error))
        return self._settled(record, receipt, "")

    def raised(self, draft: MarketBidRecord) -> MarketBidRecord:
        """Return a draft made by hand under a revision above all that has gone; one of the machine is decided anew instead."""
        newer = self._newest_gone(draft)
        if not draft.author or draft.state != "draft" or newer <= draft.bid.revision:
            return draft
        return self.cycles.change_draft(
            draft.bid.idempotency_key,
            lambda bid, revision: msgspec.structs.replace(bid, revision=revision),
            digest=lambda _bid: draft.content_digest,  # people approve what is offered, whatever its revision
            at_ns=self.now_ns(),
            by=self.by,
            said=f"goes over revision {newer}, which has gone before it",
        )

    def _newest_gone(self, record: MarketBidRecord) -> int:
        bid = record.bid
        return self.cycles.highest_revision(bid.resource_id, bid.market_id, bid.delivery_date, states=_GONE)

    def _timeout_s(self, record: MarketBidRecord) -> float:
        return max(min(self.exchange_s, self.left_s(record.closes_ns)), LEAST_EXCHANGE_S)

    def _record(self, key: str) -> MarketBidRecord:
        record = self.cycles.bid(key)
        if record is None:
            raise UnknownIdError("bid", key)
        return record

    def _settled(self, record: MarketBidRecord, receipt: MarketReceipt, said: str) -> MarketBidRecord:
        stands = receipt.state in {"accepted", "superseded"}
        refused = f"{receipt.reason}: {receipt.field} {receipt.value}; {receipt.fix}"
        return self.cycles.move_bid(
            record.bid.idempotency_key,
            "accepted" if stands else "rejected",
            at_ns=self.now_ns(),
            by=self.by,
            said=f"{said} {receipt.bid_id if stands else refused}".strip(),
            receipt=receipt,
        )

    def _unknown(self, record: MarketBidRecord, said: str) -> MarketBidRecord:
        now = self._record(record.bid.idempotency_key)
        return self._move(record, "unknown", said) if now.state in _MAY_BE_THERE else now

    def _move(self, record: MarketBidRecord, state: SubmissionState, said: str) -> MarketBidRecord:
        return self.cycles.move_bid(
            record.bid.idempotency_key, state, at_ns=self.now_ns(), by=self.by, said=said
        )
