"""The routes of the market that only read: products and gates, prices, rules, bids with their stories, and plans."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Annotated, Final, TypeAlias

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from shoal.api.contract import answer, answers
from shoal.api.live import state
from shoal.api.market.act_answers import MarketDayRules, MarketPlan
from shoal.api.market.answers import BidDetail, BidDiff, MarketBids, MarketPrices, MarketProducts
from shoal.api.market.offers import changes_of
from shoal.api.market.plans import plan_view, rules_view
from shoal.api.market.prices import market_prices
from shoal.api.market.views import (
    Desk,
    bid_detail,
    bid_rows,
    bids_of_day,
    product_rows,
    resource_view,
)
from shoal.api.plant import Plant
from shoal.api.records.books import known_resources
from shoal.bidding.desk_plans import PlanTold, plan_of
from shoal.bidding.desk_views import Told, mode_of, standing_of, told_of
from shoal.domain.errors import InvalidInputError, UnknownIdError
from shoal.domain.fleet import Resource
from shoal.domain.interval import NS_PER_HOUR
from shoal.market.bids import MarketBid
from shoal.market.contract import Market
from shoal.market.registry import market_module
from shoal.market.standing import in_force
from shoal.store.consents import Consents
from shoal.store.cycles import MarketBidRecord
from shoal.store.facts import FactStore

PAST_NS: Final = 48 * NS_PER_HOUR
AHEAD_NS: Final = 48 * NS_PER_HOUR
MOST_SPAN_NS: Final = 32 * 24 * NS_PER_HOUR
PLANS_BACK: Final = 12
"""So many decisions are looked through for the newest with a plan."""
PLAN_SPAN_NS: Final = 3 * 24 * NS_PER_HOUR
_FAR_MS: Final = 2**62 // state.MS_PER_NS

OneResource: TypeAlias = Annotated[str, Query(max_length=64, description="The resource.")]
OfResource: TypeAlias = Annotated[
    str | None, Query(max_length=64, description="Only of this resource; of all when absent.")
]
OfDay: TypeAlias = Annotated[
    str | None,
    Query(
        pattern=r"^\d{4}-\d{2}-\d{2}$",
        description="The delivery day, YYYY-MM-DD; the next that can be bid for when absent.",
    ),
]
BidKey: TypeAlias = Annotated[str, Path(max_length=200, description="The idempotency key of a bid.")]
Instant: TypeAlias = Annotated[
    int | None, Query(ge=0, le=_FAR_MS, description="Milliseconds since 1970, UTC; two days around now.")
]


def desk_of(plant: Plant) -> Desk:
    """Return what the desk of a plant reads."""
    return Desk(cycles=plant.ledger, consents=Consents(plant.database), facts=FactStore(plant.database))


def market_routes(plant: Plant) -> APIRouter:
    """Return the routes; they read the database in threads."""
    router = APIRouter(prefix="/api/market", tags=["market"])
    desk = desk_of(plant)

    @router.get("/products", responses=answers(MarketProducts, 404, 422))
    def read_products(resource: OfResource = None) -> Response:
        """Return every product at the gate that closed last and at the next one: open, closed or published, and its bid."""
        now_ns = plant.now_ns()
        chosen = [
            (one, market_module(one.market_id))
            for one in known_resources(plant.fleet.resources)
            if resource in (None, one.resource_id)
        ]
        if resource is not None and not chosen:
            raise UnknownIdError("resource", resource)
        return answer(
            MarketProducts(
                as_of_ms=state.to_ms(now_ns),
                resources=[
                    resource_view(one, market, mode_of(desk.consents, one.resource_id))
                    for one, market in chosen
                ],
                products=[row for one, market in chosen for row in product_rows(desk, one, market, now_ns)],
            )
        )

    @router.get("/prices", responses=answers(MarketPrices, 404, 422))
    def read_prices(
        point: Annotated[str, Query(max_length=64, description="Where the price is made.")],
        from_ms: Instant = None,
        to_ms: Instant = None,
        market: Annotated[str | None, Query(max_length=64, description="Which market's.")] = None,
        product: Annotated[
            str | None, Query(max_length=64, description="Of what; the first product's.")
        ] = None,
    ) -> Response:
        """Return prices, and the newest forecast of each interval before it began; at most 32 days."""
        module, now_ns = _market_at(plant, point, market), plant.now_ns()
        product_id = module.rules.products[0].product_id if product is None else product
        first_ns = now_ns - PAST_NS if from_ms is None else from_ms * state.MS_PER_NS
        last_ns = now_ns + AHEAD_NS if to_ms is None else to_ms * state.MS_PER_NS
        if first_ns > last_ns or last_ns - first_ns > MOST_SPAN_NS:
            fix = "end after the beginning, and ask for at most 32 days"
            raise InvalidInputError(field="to_ms", value=to_ms, fix=fix)
        module.product(product_id)
        return answer(
            market_prices(
                desk.facts, module, point, product_id, from_ns=first_ns, to_ns=last_ns, now_ns=now_ns
            )
        )

    @router.get("/rules", responses=answers(MarketDayRules, 404, 422))
    def read_rules(resource: OneResource, day: OfDay = None) -> Response:
        """Return what the market takes for a delivery day: products, prices, quantities, gates, and what stands."""
        one, market = resource_of(plant, resource)
        now_ns = plant.now_ns()
        date_ = day_of(market, day, now_ns)
        records = desk.cycles.bids(
            resource_id=resource, market_id=market.rules.market_id, delivery_date=date_.isoformat()
        )
        told = _newest(desk, resource, now_ns, lambda _told: True)
        return answer(rules_view(one, market, date_, standing=standing_of(records), told=told, now_ns=now_ns))

    @router.get("/bids", responses=answers(MarketBids, 404, 422))
    def read_bids(
        resource: OneResource,
        day: OfDay = None,
        offset: Annotated[int, Query(ge=0, le=100_000)] = 0,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
    ) -> Response:
        """Return the revisions of a resource's bids for a day, the newest first: by whom, how they stand, what was said."""
        _, market = resource_of(plant, resource)
        now_ns = plant.now_ns()
        date_ = day_of(market, day, now_ns).isoformat()
        records = desk.cycles.bids(
            resource_id=resource, market_id=market.rules.market_id, delivery_date=date_
        )
        shown = records[::-1][offset : offset + limit]
        return answer(
            MarketBids(
                as_of_ms=state.to_ms(now_ns),
                resource_id=resource,
                market_id=market.rules.market_id,
                day=date_,
                zone=market.rules.zone,
                currency=market.rules.currency,
                total=len(records),
                offset=offset,
                limit=limit,
                bids=bid_rows(desk, records, shown, now_ns),
            )
        )

    @router.get("/bids/{key}", responses=answers(BidDetail, 404, 422))
    def read_bid(key: BidKey) -> Response:
        """Return a bid's whole story: what it offers and why, what was tried and decided, who said what, what came of it."""
        record = known_bid(desk, key)
        return answer(bid_detail(desk, record, market_module(record.bid.market_id), plant.now_ns()))

    @router.get("/bids/{key}/diff", responses=answers(BidDiff, 404, 422))
    def read_diff(
        key: BidKey,
        against: Annotated[
            str | None, Query(max_length=200, description="Another bid of the day; else what stood before.")
        ] = None,
    ) -> Response:
        """Return what stands with a bid and did not stand with another one, interval by interval."""
        record = known_bid(desk, key)
        records = bids_of_day(desk, record)
        other = _other(records, record, against)
        before = None if other is None else _whole(records, other)
        changes, same = changes_of(market_module(record.bid.market_id), before, _whole(records, record))
        return answer(
            BidDiff(
                key=key,
                revision=record.bid.revision,
                against="" if other is None else other.bid.idempotency_key,
                against_revision=None if other is None else other.bid.revision,
                same_intervals=same,
                changes=changes,
            )
        )

    @router.get("/plan", responses=answers(MarketPlan, 404, 422))
    def read_plan(resource: OneResource, day: OfDay = None) -> Response:
        """Return the plan of the newest decision, what binds in it, and at which price each interval would flip."""
        _, market = resource_of(plant, resource)
        now_ns = plant.now_ns()
        wanted = None if day is None else day_of(market, day, now_ns).isoformat()
        told, plan = _newest_plan(desk, resource, now_ns, wanted)
        return answer(plan_view(told, plan, market_module(told.record.market_id), now_ns))

    return router


def resource_of(plant: Plant, resource_id: str) -> tuple[Resource, Market]:
    """Return a resource that bids, and its market.

    Raises:
        UnknownIdError: when there is no such resource, or its market is not known.
    """
    for resource in known_resources(plant.fleet.resources):
        if resource.resource_id == resource_id:
            return resource, market_module(resource.market_id)
    raise UnknownIdError("resource", resource_id)


def known_bid(desk: Desk, key: str) -> MarketBidRecord:
    """Return a bid.

    Raises:
        UnknownIdError: when there is none under the key.
    """
    record = desk.cycles.bid(key)
    if record is None:
        raise UnknownIdError("bid", key)
    return record


def day_of(market: Market, day: str | None, now_ns: int) -> date:
    """Return the delivery day that is meant: the next that can be bid for when none is named.

    Raises:
        InvalidInputError: when it is no day, or the market has no products on it.
    """
    if day is None:
        product = market.rules.products[0].product_id
        return market.delivery_date(market.next_gate(product, now_ns).covers.start_ns)
    try:
        found = date.fromisoformat(day)
    except ValueError as error:
        raise InvalidInputError(field="day", value=day, fix="give a day of the calendar") from error
    if abs((found - market.delivery_date(now_ns)).days) > _MOST_DAYS or not market.products(found):
        raise InvalidInputError(field="day", value=day, fix="give a day on which this market is held")
    return found


_MOST_DAYS: Final = 366 * 20


def _market_at(plant: Plant, point: str, market_id: str | None) -> Market:
    """Return the market whose prices are made at a point.

    Raises:
        UnknownIdError: when no resource bids there.
    """
    for one in known_resources(plant.fleet.resources):
        if one.settlement_point == point and market_id in (None, one.market_id):
            return market_module(one.market_id)
    raise UnknownIdError("settlement point of a resource", point)


def _other(
    records: list[MarketBidRecord], record: MarketBidRecord, against: str | None
) -> MarketBidRecord | None:
    """Return the bid that one is compared with: as named, else the last one before it of which something stood."""
    if against is not None:
        for one in records:
            if one.bid.idempotency_key == against:
                return one
        raise UnknownIdError("bid of the same resource and day", against)
    before = [one for one in records if one.bid.revision < record.bid.revision]
    return next((one for one in reversed(before) if standing_of([one]) is not None), None)


def _whole(records: list[MarketBidRecord], record: MarketBidRecord) -> MarketBid | None:
    """Return all that stands with a bid, whether or not it went itself."""
    below = [one for one in records if one.bid.revision < record.bid.revision]
    held = standing_of(below)
    return record.bid if held is None else in_force(held, record.bid)


def _newest_plan(desk: Desk, resource_id: str, now_ns: int, day: str | None) -> tuple[Told, PlanTold]:
    """Return the newest decision that planned something, and what.

    Raises:
        InvalidInputError: when none is kept.
    """
    found: list[PlanTold] = []

    def has_plan(told: Told) -> bool:
        if day is not None and told.about.gate.delivery_date != day:
            return False
        plan = plan_of(told)
        if plan is not None:
            found.append(plan)
        return plan is not None

    told = _newest(desk, resource_id, now_ns, has_plan)
    if told is None:
        fix = "nothing is planned for it yet: ask again after its next decision"
        raise InvalidInputError(field="resource" if day is None else "day", value=day or resource_id, fix=fix)
    return told, found[-1]


def _newest(desk: Desk, resource_id: str, now_ns: int, fits: Callable[[Told], bool]) -> Told | None:
    """Return the decision for the latest gate that fits, the newest of a gate first; None without any."""
    names = desk.cycles.decision_ids(resource_id, from_ns=now_ns - PLAN_SPAN_NS, to_ns=now_ns + PLAN_SPAN_NS)
    for name in names[: -PLANS_BACK - 1 : -1]:
        told = told_of(desk.cycles, name)
        if told is not None and fits(told):
            return told
    return None
