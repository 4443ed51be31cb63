"""What comes back from a market: published prices with their corrections as facts, awards in every version and what corrects.

The collector asks from where it stopped, with some overlap: what is known already adds nothing. What comes is known from
the instant at which it came; only the past before the very first turn, in which nothing was decided, is known from when
it was published. A collector that starts again goes on from what is known. A market that is away is asked again at the
next turn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import groupby, pairwise
from typing import Final, TypeAlias

import msgspec
import numpy as np

from shoal.bidding.cycle.ports import Bidder, Exchange, FactKeeper
from shoal.domain.errors import UnavailableError
from shoal.domain.facts import Facts, SeriesId
from shoal.domain.interval import NS_PER_HOUR, iso
from shoal.market.awards import AwardedQuantity, MarketAward
from shoal.market.contract import Market, Product
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
REST_NS: Final = NS_PER_HOUR
"""What an auction has published is asked for again after so long: only corrections can come."""
EXPECT_NS: Final = 6 * NS_PER_HOUR
"""Results that an auction should have published are asked for at every turn for so long."""
W_PER_MW: Final = 1e6
_DAY_NS: Final = 24 * NS_PER_HOUR
_Place: TypeAlias = tuple[tuple[str, str, str], str]
"""What is asked for: a market, a point or resource, a product, and the day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectorStatistics:
    """Counters since the start."""

    prices: int
    awards: int
    unavailable: int
    corrections: int = 0


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
    _asked_ns: dict[_Place, int] = field(default_factory=dict)
    _known_to_ns: dict[_Place, int] = field(default_factory=dict)
    _award_version: dict[_Place, int] = field(default_factory=dict)
    _count: Counter[str] = field(default_factory=Counter)

    def collect(self, bidder: Bidder, market: Market, exchange: Exchange, *, now_ns: int) -> int:
        """Fetch what is new for a resource; return how many prices and awards were new to this turn."""
        new = 0
        today = market.delivery_date(now_ns)
        days = (today - timedelta(days=1), today, today + timedelta(days=1))
        for product in market.products(today):
            key = (bidder.market_id, bidder.settlement_point, product.product_id)
            try:
                if any(self._due(market, (product,), day, (key, ""), now_ns) for day in days):
                    new += self._prices(bidder, product.product_id, exchange, now_ns)
            except UnavailableError:
                self._count["unavailable"] += 1
        try:
            new += self._imbalance(bidder, market, exchange, now_ns)
        except UnavailableError:
            self._count["unavailable"] += 1
        for day in days:
            place = ((bidder.market_id, bidder.resource_id, ""), day.isoformat())
            try:
                if self._due(market, market.products(day), day, place, now_ns):
                    new += self._awards(bidder, day, exchange, now_ns)
            except UnavailableError:
                self._count["unavailable"] += 1
        return new

    def _imbalance(self, bidder: Bidder, market: Market, exchange: Exchange, now_ns: int) -> int:
        """Fetch the price of deviations where it is that of no product: bids do not wait for it, settlement does."""
        name = market.rules.imbalance_price
        place = ((bidder.market_id, bidder.settlement_point, name), "")
        if not name or name in {product.product_id for product in market.products()}:
            return 0
        if now_ns - self._asked_ns.get(place, now_ns - REST_NS) < REST_NS:
            return 0
        return self._prices(bidder, name, exchange, now_ns)

    def _due(
        self, market: Market, products: Sequence[Product], day: date, place: _Place, now_ns: int
    ) -> bool:
        """Return whether to ask again: at every turn, but where auctions alone publish, when something can be new."""
        if any(product.gates[0].kind != "auction" for product in products):
            return True
        outs_ns = [market.gates(product.product_id, day)[0].publishes_ns for product in products]
        out_ns = min((one for one in outs_ns if one is not None), default=None)
        if out_ns is None or now_ns < out_ns:
            return False
        asked_ns = self._asked_ns.get(place)
        if asked_ns is None or now_ns - asked_ns >= REST_NS:
            return True
        known_to_ns = self._known_to_ns.get(place, 0)
        missing = any(known_to_ns < market.bounds_ns(product.product_id, day)[-1] for product in products)
        return missing and now_ns < out_ns + EXPECT_NS

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
        place = (key, "")
        self._asked_ns[place] = now_ns
        known_to_ns = self._known_to_ns.get(place, 0)
        self._known_to_ns[place] = max([known_to_ns, *(one.end_ns for one in published)])
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
        place = ((bidder.market_id, bidder.resource_id, ""), day.isoformat())
        self._asked_ns[place] = now_ns
        if found:
            ends_ns = (one.end_ns for one in found[-1].quantities)
            self._known_to_ns[place] = max(ends_ns, default=0)
        seen_version = self._award_version.get(place, 0)
        fresh = [award for award in found if award.version > seen_version]
        new = sum(self.cycles.record_award(award, known_ns=now_ns) for award in fresh)
        self._corrections(bidder, found, now_ns, after_version=seen_version)
        if fresh:
            self._award_version[place] = fresh[-1].version
        self._count["awards"] += new
        return new

    def _corrections(
        self, bidder: Bidder, found: Sequence[MarketAward], now_ns: int, *, after_version: int
    ) -> None:
        """Record what newer versions of an award changed: as facts, which lead to a better bid, and on the bid that stands.

        What was recorded before, by whoever died meanwhile, adds nothing.
        """
        for before, award in pairwise(found):
            changed = corrected_quantities(before, award) if award.version > after_version else []
            for product in dict.fromkeys(one.product for one in changed):
                rows = [one for one in changed if one.product == product]
                self.facts.record(
                    Facts(
                        series_id=award_series(bidder.market_id, bidder.resource_id, product),
                        source=bidder.market_id,
                        known_ns=now_ns,
                        revision=award.version,
                        start_ns=np.array([one.start_ns for one in rows], dtype=np.int64),
                        end_ns=np.array([one.end_ns for one in rows], dtype=np.int64),
                        value=np.array([[float(one.power_w)] for one in rows]),
                    )
                )
            if changed:
                self._note(bidder, before, award, changed, now_ns)

    def _note(
        self,
        bidder: Bidder,
        before: MarketAward,
        award: MarketAward,
        changed: Sequence[AwardedQuantity],
        now_ns: int,
    ) -> None:
        """Write a correction among the steps of the bid that stands."""
        held = {(one.product, one.start_ns): one.power_w for one in before.quantities}
        one = changed[0]
        was_w = held[one.product, one.start_ns]
        said = (
            f"award version {award.version} corrects {len(changed)}, the first {one.product} at "
            f"{iso(one.start_ns)} from {was_w / W_PER_MW:g} to {one.power_w / W_PER_MW:g} MW"
        )
        standing = self.cycles.bids(
            resource_id=bidder.resource_id,
            market_id=bidder.market_id,
            delivery_date=award.delivery_date,
            states=("accepted",),
        )
        for record in standing[-1:]:
            self._count["corrections"] += self.cycles.note_bid(
                record.bid.idempotency_key, at_ns=now_ns, by=bidder.market_id, said=said
            )

    def statistics(self) -> CollectorStatistics:
        """Return the counters."""
        return CollectorStatistics(
            prices=self._count["prices"],
            awards=self._count["awards"],
            unavailable=self._count["unavailable"],
            corrections=self._count["corrections"],
        )


def award_series(market_id: str, resource_id: str, product_id: str) -> SeriesId:
    """Return the series of corrections of a resource's awards of a product, in watts; the version is the revision."""
    return SeriesId(f"award/{market_id}/{resource_id}/{product_id}")


def corrected_quantities(before: MarketAward, after: MarketAward) -> list[AwardedQuantity]:
    """Return what a later version gives otherwise for what an earlier one gave, by start; 0 W for what it took back.

    An interval that was not awarded before is no correction: awards grow as a day goes on.
    """
    now = {(one.product, one.start_ns): one for one in after.quantities}
    found = []
    for one in before.quantities:
        newer = now.get((one.product, one.start_ns))
        power_w = 0 if newer is None else newer.power_w
        if power_w != one.power_w:
            found.append(msgspec.structs.replace(newer or one, power_w=power_w))
    return sorted(found, key=lambda one: (one.start_ns, one.product))


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
