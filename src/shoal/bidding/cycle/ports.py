"""What the cycle needs from outside, so that it runs alike against a market over HTTP, in a back-test and in a test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from shoal.bidding.cycle.known import DayBudget, GateRef, Offered, Slice
from shoal.domain.facts import Facts, SeriesId
from shoal.market.awards import MarketAward, MarketReceipt
from shoal.market.bids import MarketBid
from shoal.market.exchange import PublishedPrice
from shoal.optimise.storage import Storage
from shoal.store.facts_records import FactBatch


class Exchange(Protocol):
    """The way to a market."""

    def submit(self, bid: MarketBid, *, timeout_s: float) -> MarketReceipt:
        """Send a bid; `UnavailableError` when the outcome is unknown."""
        ...

    def receipt(self, idempotency_key: str, *, timeout_s: float) -> MarketReceipt | None:
        """Read back what became of a bid, None when it never arrived."""
        ...

    def awards(self, resource_id: str, delivery_date: str) -> list[MarketAward]:
        """Return every version of an award."""
        ...

    def prices(
        self, settlement_point: str, product: str, *, from_ns: int, to_ns: int, since_ns: int = 0
    ) -> list[PublishedPrice]:
        """Return prices of intervals in a span that came out at or after an instant, corrections too."""
        ...


class FactReader(Protocol):
    """The store of facts."""

    def as_of(
        self,
        series_ids: Iterable[SeriesId],
        from_ns: int,
        to_ns: int,
        as_of_ns: int,
        *,
        up_to_record: int | None = None,
    ) -> Mapping[SeriesId, Slice]:
        """Return what was known at an instant, of what had been recorded by then."""
        ...

    def last_record(self) -> int:
        """Return the number of the last record."""
        ...


class FactKeeper(FactReader, Protocol):
    """The store of facts for who adds to it, too."""

    def record(self, facts: Facts) -> object:
        """Keep a publication."""
        ...

    def load(self, batch: FactBatch) -> object:
        """Keep facts of many instants at once."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """A resource for a plan that gives no more in a day than it may.

    Attributes:
        storage: What of it may be offered, as one storage.
        budgets: What it may give in each day.
        offered: What is not offered and why; None when all of it is.
    """

    storage: Storage
    budgets: tuple[DayBudget, ...]
    offered: Offered | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A resource as it stands.

    Attributes:
        storage: What of it may be offered, as one storage.
        silent_frac: The share of the capacity that does not report.
        offered: What is not offered and why; None when all of it is.
        counted: What a plan that counts cycles may have instead; None where no owner limits them.
    """

    storage: Storage
    silent_frac: float
    offered: Offered | None = None
    counted: Counted | None = None

    def for_plan(self, *, counts_cycles: bool) -> Measured:
        """Return the resource as a plan that counts cycles, or one that does not, may have it."""
        if not counts_cycles or self.counted is None:
            return self
        return replace(self, storage=self.counted.storage, offered=self.counted.offered)


class Measuring(Protocol):
    """The twins."""

    def __call__(self, resource_id: str, gate: GateRef, as_of_ns: int, /) -> Measured:
        """Return the resource as measured."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Bidder:
    """How one resource bids in one market.

    Attributes:
        resource_id: The resource.
        market_id: The market.
        settlement_point: Where it is priced.
        strategy: The strategy that bids.
        shadows: Strategies that decide beside it and send nothing.
        settings: What the strategies are set to.
        lead_s: How long before the gate of an interval its bid is made.
        daily_lead_s: The same for gates of whole days, where a bid that is late by a second is late for all of it.
        early_lead_s: How long before the gate of a whole day a first bid is made on whatever is known, so that something valid
            stands long before the better one is due; not where a person approves bids. No earlier than the lead when 0.
        wait_silent_frac: While more of the capacity than this is silent, the first bid for a gate of a whole day waits, up to
            the last quarter of its lead; 1 never waits.
    """

    resource_id: str
    market_id: str
    settlement_point: str
    strategy: str
    shadows: tuple[str, ...] = ()
    settings: Mapping[str, float] | None = None
    lead_s: float = 240.0
    daily_lead_s: float = 4 * 3_600.0
    early_lead_s: float = 0.0
    wait_silent_frac: float = 1.0
