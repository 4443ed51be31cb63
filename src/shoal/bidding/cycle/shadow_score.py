"""What the live strategy and its shadows would each have earned: one storage, one set of prices, one way of keeping books.

Every book starts from the energy that was measured at the first decision. Offers clear at the prices that came out, are
cut to what the storage can follow, and earn what was delivered; so the live book is what its decisions were worth, not
what was settled. What is stored at the end counts at the span's median price, or whoever sells out last would win.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
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
WH_PER_MWH: Final = 1e6
KWH_PER_MWH: Final = 1e3
_W_PER_KW: Final = 1e3


class DayOfBook(msgspec.Struct, frozen=True, kw_only=True):
    """One delivery day of one book; money in units of currency, net of wear, see `BookScore`."""

    day: str
    revenue: float
    stock_value: float
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
        stock_value: What is stored at the end more than at the start, at the span's median price.
        share_of_perfect_foresight: Revenue and stock, of those of the best schedule in hindsight; None when there was
            nothing to earn.
        cycles: Energy released by the storage, in fillings.
        bought_mwh: At the terminals.
        sold_mwh: At the terminals.
        cut_mwh: Awarded, but more than the storage could follow.
        end_energy_kwh: What is stored at the end.
        days: Day by day.
    """

    strategy: str
    shadow: bool
    decisions: int
    rungs: dict[str, int]
    revenue: float
    stock_value: float
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
    stock_value_perfect_foresight: float
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
    awards = {
        name: _awards(book, market, product, price, grid, as_of_ns=as_of_ns) for name, book in books.items()
    }
    storage = replace(storage, terminal_value_per_mwh=_stored_per_mwh(storage, grid))
    best = _days(market, storage, follow(storage, _perfect(storage, grid)))
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
        intervals=len(grid),
        revenue_perfect_foresight=sum(one.revenue for one in best.values()) / AMOUNTS_PER_UNIT,
        stock_value_perfect_foresight=sum(one.stock for one in best.values()) / AMOUNTS_PER_UNIT,
        books=tuple(
            sorted(scores, key=lambda one: (one.shadow, -one.revenue - one.stock_value, one.strategy))
        ),
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
    book: _Book,
    market: Market,
    product: str,
    price: Mapping[int, float],
    grid: list[AwardedQuantity],
    *,
    as_of_ns: int,
) -> list[AwardedQuantity]:
    """Return what a book is awarded in each interval of a grid, nothing where it did not bid."""
    found = {
        one.start_ns: one
        for day in sorted(book.standing)
        for one in awarded(market, book.standing[day], product, price, published_ns=as_of_ns)
    }
    return [found.get(one.start_ns, one) for one in grid]


def _stored_per_mwh(storage: Storage, grid: list[AwardedQuantity]) -> float:
    """Return what a MWh in store is taken to be worth: what it brings at the median price, less its wear."""
    usual = float(np.median([one.price_per_mwh for one in grid])) - storage.throughput_cost_per_mwh
    return max(usual * storage.discharge_efficiency_frac, 0.0)


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


@dataclass(slots=True, kw_only=True)
class _Day:
    """Sums of a delivery day; amounts in `AMOUNTS_PER_UNIT` to the unit of currency."""

    revenue: int = 0
    stock: int = 0
    sold_wh: int = 0

    @property
    def worth(self) -> int:
        """Revenue and stock."""
        return self.revenue + self.stock


def _days(market: Market, storage: Storage, followed: Followed) -> dict[str, _Day]:
    """Return sums by delivery day."""
    found: dict[str, _Day] = {}
    stored_per_kwh = storage.terminal_value_per_mwh / KWH_PER_MWH * AMOUNTS_PER_UNIT
    stock = np.rint(np.diff(followed.energy_kwh) * stored_per_kwh).astype(np.int64)
    rows = (followed.start_ns, followed.amounts(storage), stock, np.maximum(-followed.delivered_wh, 0))
    for start_ns, amount, stored, sold_wh in zip(*(row.tolist() for row in rows), strict=True):
        day = found.setdefault(market.delivery_date(start_ns).isoformat(), _Day())
        day.revenue += amount
        day.stock += stored
        day.sold_wh += sold_wh
    return found


def _scored(
    book: _Book, market: Market, storage: Storage, followed: Followed, best: Mapping[str, _Day]
) -> BookScore:
    days = _days(market, storage, followed)
    worth, most = (sum(day.worth for day in some.values()) for some in (days, best))
    sold_wh = sum(day.sold_wh for day in days.values())
    return BookScore(
        strategy=", ".join(book.strategies),
        shadow=book.shadow,
        decisions=sum(book.rungs.values()),
        rungs=dict(sorted(book.rungs.items())),
        revenue=sum(day.revenue for day in days.values()) / AMOUNTS_PER_UNIT,
        stock_value=sum(day.stock for day in days.values()) / AMOUNTS_PER_UNIT,
        share_of_perfect_foresight=_share(worth, most),
        cycles=_fillings(storage, sold_wh),
        bought_mwh=int(np.maximum(followed.delivered_wh, 0).sum()) / WH_PER_MWH,
        sold_mwh=sold_wh / WH_PER_MWH,
        cut_mwh=int(np.abs(followed.asked_wh - followed.delivered_wh).sum()) / WH_PER_MWH,
        end_energy_kwh=float(followed.energy_kwh[-1]),
        days=tuple(
            DayOfBook(
                day=name,
                revenue=day.revenue / AMOUNTS_PER_UNIT,
                stock_value=day.stock / AMOUNTS_PER_UNIT,
                share_of_perfect_foresight=_share(day.worth, best[name].worth),
                cycles=_fillings(storage, day.sold_wh),
            )
            for name, day in sorted(days.items())
        ),
    )


def _fillings(storage: Storage, sold_wh: int) -> float:
    if storage.energy_capacity_kwh <= 0:
        return 0.0
    return sold_wh / WH_PER_KWH / storage.discharge_efficiency_frac / storage.energy_capacity_kwh


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole > 0 else None
