"""What comes back from a market: published prices with their corrections as facts, awards in every version.

The collector asks from where it stopped, with some overlap: what is known already adds nothing. What comes is known from
the instant at which it came; only the past before the very first turn, in which nothing was decided, is known from when
it was published. A collector that starts again goes on from what is known. A market that is away is asked again at the
next turn.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import groupby
from typing import Final

import numpy as np

from shoal.bidding.cycle.ports import Bidder, Exchange, FactKeeper
from shoal.domain.errors import UnavailableError
from shoal.domain.interval import NS_PER_HOUR
from shoal.market.contract import Market
from shoal.market.exchange import PublishedPrice
from shoal.market.series import price_series
from shoal.store.cycles import Cycles
from shoal.store.facts_records import FactBatch

FIRST_DAYS: Final = 120
"""How far back prices are fetched at the first turn."""
AHEAD_DAYS: Final = 3
OVERLAP_NS: Final = NS_PER_HOUR
SLEEP_NS: Final = NS_PER_HOUR
"""A product of which nothing was ever published here is asked for again after so long."""
_DAY_NS: Final = 24 * NS_PER_HOUR


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectorStatistics:
    """Counters since the start."""

    prices: int
    awards: int
    unavailable: int


@dataclass(slots=True, kw_only=True)
class Collector:
    """Fetches what markets publish.

    Attributes:
        facts: Where prices go.
        cycles: Where awards go.
        first_days: How far back prices are fetched at the first turn.
    """

    facts: FactKeeper
    cycles: Cycles
    first_days: int = FIRST_DAYS
    _since_ns: dict[tuple[str, str, str], int] = field(default_factory=dict)
    _asleep_to_ns: dict[tuple[str, str, str], int] = field(default_factory=dict)
    _count: Counter[str] = field(default_factory=Counter)

    def collect(self, bidder: Bidder, market: Market, exchange: Exchange, *, now_ns: int) -> int:
        """Fetch what is new for a resource; return how many prices and awards were new to this turn."""
        new = 0
        for product in market.products(market.delivery_date(now_ns)):
            try:
                new += self._prices(bidder, product.product_id, exchange, now_ns)
            except UnavailableError:
                self._count["unavailable"] += 1
        today = market.delivery_date(now_ns)
        for day in (today - timedelta(days=1), today, today + timedelta(days=1)):
            try:
                new += self._awards(bidder, day, exchange, now_ns)
            except UnavailableError:
                self._count["unavailable"] += 1
        return new

    def _prices(self, bidder: Bidder, product_id: str, exchange: Exchange, now_ns: int) -> int:
        key = (bidder.market_id, bidder.settlement_point, product_id)
        if now_ns < self._asleep_to_ns.get(key, now_ns):
            return 0
        from_ns = now_ns - self.first_days * _DAY_NS
        since_ns = self._since_ns.get(key)
        if since_ns is None:
            since_ns = self._known_since_ns(bidder, product_id, from_ns=from_ns, now_ns=now_ns)
        published = exchange.prices(
            bidder.settlement_point,
            product_id,
            from_ns=from_ns,
            to_ns=now_ns + AHEAD_DAYS * _DAY_NS,
            since_ns=0 if since_ns is None else since_ns,
        )
        if not published and since_ns is None:
            self._asleep_to_ns[key] = now_ns + SLEEP_NS
            return 0
        for batch in facts_of(bidder.market_id, published, known_ns=None if since_ns is None else now_ns):
            self.facts.load(batch)
        newest_ns = max((one.published_ns for one in published), default=now_ns)
        self._since_ns[key] = max(since_ns or 0, newest_ns - OVERLAP_NS)
        self._count["prices"] += len(published)
        return len(published)

    def _known_since_ns(self, bidder: Bidder, product_id: str, *, from_ns: int, now_ns: int) -> int | None:
        """Return from when on to ask after a new start; None when nothing is known, and the past is to be fetched."""
        series_id = price_series(bidder.market_id, bidder.settlement_point, product_id)
        found = self.facts.as_of([series_id], from_ns, now_ns + AHEAD_DAYS * _DAY_NS, now_ns)[series_id]
        return int(found.known_ns.max()) - OVERLAP_NS if len(found.known_ns) else None

    def _awards(self, bidder: Bidder, day: date, exchange: Exchange, now_ns: int) -> int:
        found = exchange.awards(bidder.resource_id, day.isoformat())
        new = sum(self.cycles.record_award(award, known_ns=now_ns) for award in found)
        self._count["awards"] += new
        return new

    def statistics(self) -> CollectorStatistics:
        """Return the counters."""
        return CollectorStatistics(
            prices=self._count["prices"], awards=self._count["awards"], unavailable=self._count["unavailable"]
        )


def facts_of(market_id: str, published: list[PublishedPrice], *, known_ns: int | None) -> list[FactBatch]:
    """Return published prices as facts, one batch for each series, in the order in which they came out.

    Args:
        market_id: The market.
        published: Prices.
        known_ns: When the plant got them; None takes the instants of publication, for a past in which nothing was decided.
    """

    def place(one: PublishedPrice) -> tuple[str, str]:
        return one.product, one.settlement_point

    found: list[FactBatch] = []
    for (product, point), group in groupby(sorted(published, key=place), key=place):
        rows = sorted(group, key=lambda one: (one.published_ns, one.revision, one.start_ns))
        known = [one.published_ns if known_ns is None else known_ns for one in rows]
        found.append(
            FactBatch(
                series_id=price_series(market_id, point, product),
                source=market_id,
                known_ns=np.array(known, dtype=np.int64),
                revision=np.array([one.revision for one in rows], dtype=np.int64),
                start_ns=np.array([one.start_ns for one in rows], dtype=np.int64),
                end_ns=np.array([one.end_ns for one in rows], dtype=np.int64),
                value=np.array([[one.price_per_mwh] for one in rows]),
            )
        )
    return found
