"""What the live strategy and its shadows would each have earned: one storage, one set of prices, one way of keeping books.

Every book starts from the energy that was measured at the first decision. Offers clear at the prices that came out, are
cut to what the storage can follow, and earn what was delivered; so the live book is what its decisions were worth, not
what was settled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np

from shoal.bidding.cycle.decision import Decision
from shoal.bidding.cycle.known import Situation
from shoal.bidding.cycle.paper import (
    AMOUNTS_PER_UNIT,
    WH_PER_KWH,
    Followed,
    awarded,
    follow,
    published_prices,
)
from shoal.bidding.cycle.ports import FactReader
from shoal.bidding.cycle.projection import projected
from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_HOUR, iso
from shoal.market.awards import AwardedQuantity
from shoal.market.bids import MarketBid
from shoal.market.contract import Market
from shoal.market.standing import in_force
from shoal.optimise.storage import Storage, plan_storage
from shoal.store.cycles import Cycles, DecisionRecord

BEFORE_NS: Final = 48 * NS_PER_HOUR
"""Gates of what is delivered in a span close at most so long before it."""
NODE_LIMIT: Final = 1_000
_W_PER_KW: Final = 1e3


class DayOfBook(msgspec.Struct, frozen=True, kw_only=True):
    """One delivery day of one book; money in units of currency, net of wear."""

    day: str
    revenue: float
    share_of_perfect_foresight: float | None
    cycles: float


class BookScore(msgspec.Struct, frozen=True, kw_only=True):
    """What one strategy came to.

    Attributes:
        strategy: Its name; several when the live one was changed.
        shadow: Whether it only watched.
        decisions: How many of it there are.
        rungs: How often each rung held.
        revenue: Income less cost and wear.
        share_of_perfect_foresight: Of the best schedule in hindsight; None when there was nothing to earn.
        cycles: Energy released by the storage, in fillings.
        bought_mwh: At the terminals.
        sold_mwh: At the terminals.
        cut_mwh: Awarded, but more than the storage could follow.
        end_energy_kwh: What is stored at the end; it is not part of the revenue.
        days: Day by day.
    """

    strategy: str
    shadow: bool
    decisions: int
    rungs: dict[str, int]
    revenue: float
    share_of_perfect_foresight: float | None
    cycles: float
    bought_mwh: float
    sold_mwh: float
    cut_mwh: float
    end_energy_kwh: float
    days: tuple[DayOfBook, ...]


class ShadowScores(msgspec.Struct, frozen=True, kw_only=True):
    """The live strategy and its shadows over a span, the live one first, then by revenue."""

    resource_id: str
    market_id: str
    product: str
    currency: str
    from_ns: int
    to_ns: int
    intervals: int
    revenue_perfect_foresight: float
    books: tuple[BookScore, ...]


@dataclass(slots=True, kw_only=True)
class _Book:
    shadow: bool
    strategies: dict[str, None] = field(default_factory=dict)
    rungs: dict[str, int] = field(default_factory=dict)
    standing: dict[str, MarketBid] = field(default_factory=dict)

    def enter(self, record: DecisionRecord, about: Situation) -> None:
        """Let a decision revise what stands."""
        decision = msgspec.json.decode(record.decision, type=Decision)
        self.strategies[record.strategy] = None
        self.rungs[record.rung] = self.rungs.get(record.rung, 0) + 1
        if not decision.offers:
            return
        before = self.standing.get(about.gate.delivery_date)
        bid = MarketBid(
            idempotency_key=record.decision_id,
            resource_id=record.resource_id,
            market_id=record.market_id,
            settlement_point=about.settlement_point,
            delivery_date=about.gate.delivery_date,
            revision=1 if before is None else before.revision + 1,
            offers=decision.offers,
        )
        self.standing[about.gate.delivery_date] = in_force(before, bid)


def score_shadows(
    cycles: Cycles,
    facts: FactReader,
    market: Market,
    resource_id: str,
    from_ns: int,
    to_ns: int,
    *,
    as_of_ns: int,
    product: str | None = None,
) -> ShadowScores:
    """Return what the live strategy and every shadow earn over what is delivered in ``[from_ns, to_ns)``.

    Args:
        cycles: Where decisions are kept.
        facts: Where prices are kept.
        market: The market.
        resource_id: Whose decisions.
        from_ns: Where the span begins.
        to_ns: Where it ends.
        as_of_ns: Prices as they were known at this instant, corrections so far included.
        product: Of which product; None takes the one that was bid for.

    Raises:
        InvalidInputError: nothing was decided in the span, no price of it is known, or several products were bid for.
    """
    books, storage = _books(cycles, market.rules.market_id, resource_id, from_ns, to_ns)
    if storage is None:
        fix = f"choose a span in which {resource_id} was bid for in {market.rules.market_id}"
        raise InvalidInputError(field="span", value=f"{iso(from_ns)} to {iso(to_ns)}", fix=fix)
    product = product or _product(market, books.values())
    point = next(bid for book in books.values() for bid in book.standing.values()).settlement_point
    price = published_prices(
        facts,
        market.rules.market_id,
        point,
        product,
        from_ns=from_ns,
        to_ns=to_ns,
        as_of_ns=as_of_ns,
    )
    grid = _priced(market, product, price)
    if not grid:
        raise InvalidInputError(
            field="prices", value=f"{product} at {point}", fix="no interval of the span has a price yet"
        )
    awards = {name: _awards(book, market, product, price, as_of_ns=as_of_ns) for name, book in books.items()}
    perfect = follow(storage, _perfect(storage, grid))
    best = _by_day(market, storage, perfect)
    scores = [
        _scored(book, market, storage, follow(storage, awards[name]), best) for name, book in books.items()
    ]
    return ShadowScores(
        resource_id=resource_id,
        market_id=market.rules.market_id,
        product=product,
        currency=market.rules.currency,
        from_ns=from_ns,
        to_ns=to_ns,
        intervals=len(perfect.start_ns),
        revenue_perfect_foresight=sum(best.values()) / AMOUNTS_PER_UNIT,
        books=tuple(sorted(scores, key=lambda one: (one.shadow, -one.revenue, one.strategy))),
    )


def _books(
    cycles: Cycles, market_id: str, resource_id: str, from_ns: int, to_ns: int
) -> tuple[dict[str, _Book], Storage | None]:
    """Return what stands in each book at the end, and the storage as it was when the span began."""
    books: dict[str, _Book] = {}
    first: Situation | None = None
    for name in cycles.decision_ids(resource_id, from_ns=from_ns - BEFORE_NS, to_ns=to_ns, shadow=None):
        record = cycles.decision(name)
        about = msgspec.json.decode(record.situation, type=Situation)
        gate = about.gate
        if record.market_id != market_id or gate.covers_end_ns <= from_ns or gate.covers_start_ns >= to_ns:
            continue
        key = f"shadow {record.strategy}" if record.shadow else ""
        books.setdefault(key, _Book(shadow=record.shadow)).enter(record, about)
        if first is None or about.as_of_ns <= from_ns:
            first = about  # the last one before the span knows best how it begins
    return books, None if first is None else projected(first)


def _product(market: Market, books: Iterable[_Book]) -> str:
    """Return the one product of energy that was bid for."""
    offered = {offer.product for book in books for bid in book.standing.values() for offer in bid.offers}
    energy = sorted(one for one in offered if market.product(one).kind == "energy")
    if len(energy) != 1:
        raise InvalidInputError(
            field="product",
            value=", ".join(energy) or "none",
            fix="choose one product of energy" if energy else "no energy was offered in the span",
        )
    return energy[0]


def _priced(market: Market, product: str, price: Mapping[int, float]) -> list[AwardedQuantity]:
    """Return every interval that has a price, with nothing awarded, by start."""
    days = sorted({market.delivery_date(start_ns) for start_ns in price})
    return [
        AwardedQuantity(
            product=product,
            start_ns=one.start_ns,
            end_ns=one.end_ns,
            power_w=0,
            price_per_mwh=price[one.start_ns],
        )
        for day in days
        for one in market.delivery_intervals(product, day)
        if one.start_ns in price
    ]


def _awards(
    book: _Book, market: Market, product: str, price: Mapping[int, float], *, as_of_ns: int
) -> list[AwardedQuantity]:
    """Return what a book is awarded in the intervals that have a price, by start."""
    return [
        one
        for day in sorted(book.standing)
        for one in awarded(market, book.standing[day], product, price, published_ns=as_of_ns)
    ]


def _perfect(storage: Storage, grid: list[AwardedQuantity]) -> list[AwardedQuantity]:
    """Return the best schedule in hindsight, as awards.

    Raises:
        InvalidInputError: the intervals are not of one length.
    """
    lengths = {one.end_ns - one.start_ns for one in grid}
    if len(lengths) > 1:
        raise InvalidInputError(
            field="span", value=sorted(lengths), fix="choose one in which intervals are of one length"
        )
    price = np.array([one.price_per_mwh for one in grid])
    plan = plan_storage(storage, price, lengths.pop() / NS_PER_HOUR, node_limit=NODE_LIMIT)
    power_w = np.rint((plan.charge_kw - plan.discharge_kw) * _W_PER_KW).astype(np.int64).tolist()
    return [msgspec.structs.replace(one, power_w=watts) for one, watts in zip(grid, power_w, strict=True)]


def _by_day(market: Market, storage: Storage, followed: Followed) -> dict[str, int]:
    """Return amounts by delivery day."""
    found: dict[str, int] = {}
    amounts = followed.amounts(storage).tolist()
    for start_ns, amount in zip(followed.start_ns.tolist(), amounts, strict=True):
        day = market.delivery_date(start_ns).isoformat()
        found[day] = found.get(day, 0) + amount
    return found


def _scored(
    book: _Book, market: Market, storage: Storage, followed: Followed, best: Mapping[str, int]
) -> BookScore:
    sold_wh = np.maximum(-followed.delivered_wh, 0)
    earned = _by_day(market, storage, followed)
    released: dict[str, float] = {}
    for start_ns, wh in zip(followed.start_ns.tolist(), sold_wh.tolist(), strict=True):
        day = market.delivery_date(start_ns).isoformat()
        released[day] = released.get(day, 0.0) + _fillings(storage, wh)
    total = sum(earned.values())
    return BookScore(
        strategy=", ".join(book.strategies),
        shadow=book.shadow,
        decisions=sum(book.rungs.values()),
        rungs=dict(sorted(book.rungs.items())),
        revenue=total / AMOUNTS_PER_UNIT,
        share_of_perfect_foresight=_share(total, sum(best.values())),
        cycles=_fillings(storage, int(sold_wh.sum())),
        bought_mwh=int(np.maximum(followed.delivered_wh, 0).sum()) / 1e6,
        sold_mwh=int(sold_wh.sum()) / 1e6,
        cut_mwh=int(np.abs(followed.asked_wh - followed.delivered_wh).sum()) / 1e6,
        end_energy_kwh=float(followed.energy_kwh[-1]),
        days=tuple(
            DayOfBook(
                day=day,
                revenue=earned.get(day, 0) / AMOUNTS_PER_UNIT,
                share_of_perfect_foresight=_share(earned.get(day, 0), best[day]),
                cycles=released.get(day, 0.0),
            )
            for day in sorted(best)
        ),
    )


def _fillings(storage: Storage, sold_wh: int) -> float:
    if storage.energy_capacity_kwh <= 0:
        return 0.0
    return sold_wh / WH_PER_KWH / storage.discharge_efficiency_frac / storage.energy_capacity_kwh


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole > 0 else None
