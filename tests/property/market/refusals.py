"""For each market of the contract, bids that it must refuse: one at least for every code that it declares."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from msgspec.structs import replace

from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE
from shoal.market.bids import (
    BandOffer,
    Blocks,
    LoadTarget,
    MarketBid,
    Offer,
    Orders,
    RebidReason,
    StorageCurves,
    Trapezium,
)
from shoal.market.contract import Market, Product
from shoal.market.nem import ENERGY
from tests.property.market.specimens import DAY, bid_of, in_time_ns, offers_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A bid that is refused, and the code."""

    reason: str
    bid: MarketBid
    received_ns: int
    standing: MarketBid | None = None


def refusals_of(market: Market) -> Iterator[Refusal]:
    """Yield bids that a market refuses."""
    received_ns = in_time_ns(market)
    good = bid_of(Random(7), market, count=2, products=1)

    def case(
        reason: str, bid: MarketBid, at_ns: int = received_ns, standing: MarketBid | None = None
    ) -> Refusal:
        return Refusal(reason=reason, bid=bid, received_ns=at_ns, standing=standing)

    yield case("market_unknown", replace(good, market_id="elsewhere"))
    yield case("idempotency_key", replace(good, idempotency_key=""))
    yield case("delivery_date", replace(good, delivery_date="15.12.2025"))
    yield case("delivery_date", replace(good, delivery_date="9999-12-31"))
    yield case("revision", replace(good, revision=0))
    yield case("revision", replace(good, revision=1), standing=good)
    yield case("not_the_same", replace(good, revision=2, resource_id="south"), standing=good)
    unknown: Any = replace(good.offers[0], product="fax")
    yield case("product_unknown", replace(good, offers=(unknown,)))
    yield case("product_inactive", replace(good, delivery_date="2014-01-01"))
    yield case("duplicate_offer", replace(good, offers=(good.offers[0], good.offers[0])))
    yield case("interval_unknown", replace(good, interval_start_ns=17))
    last_ns = max(gate.closes_ns for gate in market.gates(good.offers[0].product, DAY))
    yield case("gate_closed", good, last_ns)
    for product in market.products(DAY):
        offers = {type(offer): offer for offer in offers_of(Random(7), market, product, DAY, 2)}
        wrong: Offer = LoadTarget(product=product.product_id, intervals=())
        if "load_target" in product.shapes:
            wrong = Orders(product=product.product_id, orders=())
        yield case("shape", replace(good, offers=(wrong,)))
        for offer in offers.values():
            for reason, bad in _bad_offers(offer, product):
                yield case(reason, replace(good, offers=(bad,)))
    if market.rules.rebid.reason_required:
        yield from _rebids(market, good)
    yield from _own(market, good, received_ns)


def _bad_offers(offer: Offer, product: Product) -> Iterator[tuple[str, Offer]]:
    match offer:
        case Orders():
            yield from _bad_orders(offer, product)
        case StorageCurves():
            yield from _bad_curves(offer)
        case BandOffer():
            yield from _bad_bands(offer, product)
        case Blocks():
            yield from _bad_blocks(offer)
        case LoadTarget():
            yield from _bad_targets(offer)


def _bad_orders(offer: Orders, product: Product) -> Iterator[tuple[str, Offer]]:
    first = offer.orders[0]

    def one(**changes: Any) -> Orders:
        return replace(offer, orders=(replace(first, **changes),))

    yield "interval_unknown", one(end_ns=first.start_ns)
    yield "interval_unknown", one(start_ns=first.start_ns + 1)
    yield "side", one(side="hold")
    yield "quantity_minimum", one(quantity_mw=0.0)
    yield "quantity_minimum", one(quantity_mw=float("nan"))
    yield "quantity_limit", one(quantity_mw=1e300)
    yield "quantity_step", one(quantity_mw=1.2345678)
    yield "price_limit", one(limit_price_per_mwh=1e6)
    yield "price_limit", one(limit_price_per_mwh=float("nan"))
    yield "price_tick", one(limit_price_per_mwh=1.23456)
    yield "points_count", replace(offer, orders=(first,) * (product.points_count + 1))
    if product.kind == "capacity":
        yield "side", one(side="buy")
    else:
        buy = replace(first, side="buy", limit_price_per_mwh=10.0)
        yield "side_conflict", replace(offer, orders=(buy, replace(buy, side="sell")))


def _bad_curves(offer: StorageCurves) -> Iterator[tuple[str, Offer]]:
    curve = offer.intervals[0]
    low, high = curve.points[0], curve.points[-1]

    def points(*changed: Any) -> StorageCurves:
        return replace(offer, intervals=(replace(curve, points=changed),))

    yield "interval_unknown", replace(offer, intervals=(replace(curve, end_ns=curve.end_ns + 1),))
    yield "points_count", points(low)
    yield "points_count", points(*(low,) * 11)
    yield "quantity_minimum", points(replace(low, output_mw=float("inf")), high)
    yield "quantity_step", points(replace(low, output_mw=0.123), high)
    yield "price_limit", points(low, replace(high, price_per_mwh=1e6))
    yield "price_tick", points(low, replace(high, price_per_mwh=0.001))
    yield "monotonicity", points(high, low)
    yield "monotonicity", points(low, low)
    yield "duplicate_interval", replace(offer, intervals=(curve, curve))


def _bad_bands(offer: BandOffer, product: Product) -> Iterator[tuple[str, Offer]]:
    band, prices = offer.intervals[0], offer.band_price_per_mwh

    def one(**changes: Any) -> BandOffer:
        return replace(offer, intervals=(replace(band, **changes),))

    yield "side", replace(offer, side="both")
    yield "band_count", replace(offer, band_price_per_mwh=prices[:9])
    yield "band_count", one(band_avail_mw=(1.0,))
    yield "price_limit", replace(offer, band_price_per_mwh=(*prices[:9], 1e6))
    yield "price_tick", replace(offer, band_price_per_mwh=(*prices[:9], prices[9] + 0.001))
    yield "monotonicity", replace(offer, band_price_per_mwh=(*prices[:9], prices[8]))
    yield "interval_unknown", one(start_ns=band.start_ns - 1)
    yield "quantity_minimum", one(max_avail_mw=-1.0)
    yield "quantity_minimum", one(band_avail_mw=(float("nan"), *band.band_avail_mw[1:]))
    yield "quantity_limit", one(max_avail_mw=100_001.0)
    yield "quantity_step", one(band_avail_mw=(0.5, *band.band_avail_mw[1:]))
    yield "duplicate_interval", replace(offer, intervals=(band, band))
    if product.kind == "capacity":
        assert band.trapezium is not None
        yield "trapezium", one(trapezium=None)
        yield "trapezium", one(trapezium=replace(band.trapezium, enablement_max_mw=-99.0))
    else:
        corners = Trapezium(
            enablement_min_mw=0.0, low_breakpoint_mw=0.0, high_breakpoint_mw=1.0, enablement_max_mw=1.0
        )
        yield "trapezium", one(trapezium=corners)


def _bad_blocks(offer: Blocks) -> Iterator[tuple[str, Offer]]:
    first, child, grouped = offer.blocks[0], offer.blocks[1], offer.blocks[3]
    part = first.intervals[0]

    def one(**changes: Any) -> Blocks:
        return replace(offer, blocks=(replace(first, **changes),))

    yield "side", one(side="hold")
    yield "price_limit", one(limit_price_per_mwh=-1e6)
    yield "price_tick", one(limit_price_per_mwh=0.005)
    yield "acceptance_frac", one(minimum_acceptance_frac=0.0)
    yield "interval_unknown", one(intervals=())
    yield "interval_unknown", one(intervals=(replace(part, start_ns=1),))
    yield "quantity_minimum", one(intervals=(replace(part, quantity_mw=0.0),))
    yield "quantity_step", one(intervals=(replace(part, quantity_mw=0.15),))
    yield "duplicate_interval", one(intervals=(part, part))
    yield "block_id", replace(offer, blocks=(first, first))
    yield "block_parent", replace(offer, blocks=(child,))
    yield "block_parent", replace(offer, blocks=(grouped, replace(child, parent_id=grouped.block_id)))
    yield "block_group", replace(offer, blocks=(first, replace(child, exclusive_group="g")))


def _bad_targets(offer: LoadTarget) -> Iterator[tuple[str, Offer]]:
    target = offer.intervals[0]

    def one(**changes: Any) -> LoadTarget:
        return replace(offer, intervals=(replace(target, **changes),))

    yield "interval_unknown", one(end_ns=target.end_ns - 1)
    yield "quantity_minimum", one(load_mw=float("nan"))
    yield "quantity_limit", one(load_mw=-1e6)
    yield "quantity_step", one(load_mw=-0.0015)
    yield "duplicate_interval", replace(offer, intervals=(target, target))


def _rebids(market: Market, good: MarketBid) -> Iterator[Refusal]:
    """Yield revisions after the daily gate that lack a sound reason, and one that changes prices."""
    gates = market.gates(ENERGY, DAY)
    at_ns = gates[0].closes_ns + NS_PER_MINUTE
    reason = RebidReason(
        category="physical",
        reason="less available",
        event_ns=at_ns - 9,
        aware_ns=at_ns - 5,
        decision_ns=at_ns - 2,
    )

    def case(code: str, why: Any, offers: tuple[Offer, ...] = good.offers) -> Refusal:
        bid = replace(good, revision=2, offers=offers, rebid=why)
        return Refusal(reason=code, bid=bid, received_ns=at_ns, standing=good)

    yield case("rebid_reason", None)
    yield case("rebid_reason", replace(reason, category="whim"))
    yield case("rebid_reason", replace(reason, reason="  "))
    yield case("rebid_reason", replace(reason, decision_ns=at_ns + NS_PER_HOUR))
    first = good.offers[0]
    assert isinstance(first, BandOffer)
    dearer = tuple(price + 0.01 for price in first.band_price_per_mwh)
    yield case("band_prices_fixed", reason, (replace(first, band_price_per_mwh=dearer),))
    yield Refusal(reason="band_prices_fixed", bid=good, received_ns=at_ns)


def _own(market: Market, good: MarketBid, received_ns: int) -> Iterator[Refusal]:
    """Yield what only one market refuses."""
    if market.rules.market_id == "peak":
        first = good.offers[0]
        assert isinstance(first, LoadTarget)
        more = replace(first, intervals=(replace(first.intervals[0], load_mw=1.0),))
        yield Refusal(reason="reduction", bid=replace(good, offers=(more,)), received_ns=received_ns)
    if market.rules.market_id == "nem":
        load, gen = good.offers
        assert isinstance(load, BandOffer) and isinstance(gen, BandOffer)
        full = tuple(replace(band, max_avail_mw=10.0, band_avail_mw=(1.0,) * 10) for band in load.intervals)
        load, gen = replace(load, intervals=full), replace(gen, intervals=full)
        dear = replace(load, band_price_per_mwh=gen.band_price_per_mwh)
        yield Refusal(reason="convexity", bid=replace(good, offers=(dear, gen)), received_ns=received_ns)
        # The other side stands already: the revision of one side alone is refused too.
        standing = replace(good, offers=(load, gen))
        alone = replace(good, revision=2, offers=(dear,))
        yield Refusal(reason="convexity", bid=alone, received_ns=received_ns, standing=standing)
        service = offers_of(Random(7), market, market.product("raise6sec"), DAY, 1)[0]
        sided: Any = replace(service, side="load")
        yield Refusal(reason="service_side", bid=replace(good, offers=(sided,)), received_ns=received_ns)
