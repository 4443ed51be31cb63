"""Offers as `/api/market` shows them: one shape for orders, curves, bands and loads, and what differs between two bids.

Power is load-positive here too, so the output of a storage curve changes its sign; its points are in the order of price.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from shoal.api.live.state import to_ms
from shoal.api.market.answers import (
    BidChange,
    OfferBlock,
    OfferInterval,
    OfferPoint,
    OfferStep,
    OfferTrapezium,
    OfferView,
    PriceWhy,
)
from shoal.bidding.desk_plans import PlanRow
from shoal.market.bids import (
    BandInterval,
    BandOffer,
    Block,
    Blocks,
    CurveInterval,
    LoadTarget,
    MarketBid,
    Offer,
    Orders,
    StorageCurves,
    TargetInterval,
)
from shoal.market.contract import Market
from shoal.market.types import Order

WhySide: TypeAlias = Callable[[Offer, float, str], str]
"""Says in words why an offer asks this price on this side."""
_Span: TypeAlias = tuple[str, int, int]
_NOTHING: Final[Mapping[int, PlanRow]] = {}


def nobody_knows(_offer: Offer, _price_per_mwh: float, _side: str) -> str:
    """Say nothing of a price."""
    return ""


def offer_views(
    market: Market,
    offers: tuple[Offer, ...],
    *,
    why: WhySide = nobody_knows,
    rows: Mapping[int, PlanRow] = _NOTHING,
) -> list[OfferView]:
    """Return offers with the reasons of their prices.

    Args:
        market: Their market.
        offers: What is offered.
        why: Why a price is as it is.
        rows: What was planned of energy, by the start of the interval.
    """
    return [_view(market, offer, why, rows) for offer in offers]


def why_of(row: PlanRow) -> PriceWhy | None:
    """Return why an interval is as it is, None where no price was expected of it."""
    if row.price_per_mwh is None:
        return None
    flip = row.flip
    return PriceWhy(
        start_ms=to_ms(row.start_ns),
        end_ms=to_ms(row.end_ns),
        action=row.action,
        expected_price_per_mwh=row.price_per_mwh,
        marginal_value_per_mwh=row.worth_per_mwh,
        charge_below_per_mwh=row.charge_below_per_mwh,
        discharge_above_per_mwh=row.discharge_above_per_mwh,
        flips_at_per_mwh=None if flip is None else flip[0],
        would=None if flip is None else flip[1],
        binding=list(row.binding),
    )


def changes_of(
    market: Market, before: MarketBid | None, after: MarketBid | None
) -> tuple[list[BidChange], int]:
    """Return where what stands after differs from what stood before, by time, and how many intervals do not."""
    old = _spans(market, () if before is None else before.offers)
    new = _spans(market, () if after is None else after.offers)
    found, same = [], 0
    for span in sorted({*old, *new}, key=lambda one: (one[1], one[0])):
        was, now = old.get(span), new.get(span)
        if was == now:
            same += 1
            continue
        product, start_ns, end_ns = span
        found.append(
            BidChange(
                product=product,
                name=market.product(product).name,
                start_ms=to_ms(start_ns),
                end_ms=to_ms(end_ns),
                kind="added" if was is None else "removed" if now is None else "changed",
                before=[] if was is None else was.steps,
                after=[] if now is None else now.steps,
                before_points=[] if was is None else was.points,
                after_points=[] if now is None else now.points,
                before_power_mw=None if was is None else was.power_mw,
                after_power_mw=None if now is None else now.power_mw,
            )
        )
    return found, same


def _spans(market: Market, offers: tuple[Offer, ...]) -> dict[_Span, OfferInterval]:
    """Return what is offered by product and interval, both sides together, without reasons."""
    found: dict[_Span, OfferInterval] = {}
    for offer in offers:
        view = _view(market, offer, nobody_knows, _NOTHING)
        spans = list(view.intervals)
        spans += [
            _steps_of(start, end, [OfferStep(side=block.side, quantity_mw=mw, price_per_mwh=price, why="")])
            for block in view.blocks
            for start, end, mw, price in zip(
                block.start_ms,
                block.end_ms,
                block.quantity_mw,
                [block.limit_price_per_mwh] * len(block.start_ms),
                strict=True,
            )
        ]
        for one in spans:
            span = view.product, one.start_ms * _NS_PER_MS, one.end_ms * _NS_PER_MS
            held = found.get(span)
            found[span] = one if held is None else _together(held, one)
    return found


_NS_PER_MS: Final = 1_000_000


def _together(one: OfferInterval, other: OfferInterval) -> OfferInterval:
    return OfferInterval(
        start_ms=one.start_ms,
        end_ms=one.end_ms,
        steps=[*one.steps, *other.steps],
        points=[*one.points, *other.points],
        power_mw=one.power_mw if other.power_mw is None else other.power_mw,
        max_avail_mw=None,
        trapezium=one.trapezium or other.trapezium,
        why=None,
    )


def _view(market: Market, offer: Offer, why: WhySide, rows: Mapping[int, PlanRow]) -> OfferView:
    product = market.product(offer.product)
    energy = rows if product.kind == "energy" else _NOTHING
    shape, side, prices = "orders", "", list[float]()
    intervals: list[OfferInterval] = []
    blocks: list[OfferBlock] = []
    match offer:
        case Orders():
            intervals = _orders(offer, product.kind == "energy", why, energy)
        case StorageCurves():
            shape = "storage_curves"
            intervals = [_curve(one, energy) for one in offer.intervals]
        case BandOffer():
            shape, side, prices = "bands", offer.side, list(offer.band_price_per_mwh)
            intervals = [_bands(offer, one, product.kind == "energy", why, energy) for one in offer.intervals]
        case LoadTarget():
            shape = "load_target"
            intervals = [_target(one, energy) for one in offer.intervals]
        case Blocks():
            shape, blocks = "blocks", [_block(one) for one in offer.blocks]
    return OfferView(
        product=offer.product,
        name=product.name,
        kind=product.kind,
        shape=shape,  # type: ignore[arg-type]
        side=side,  # type: ignore[arg-type]
        band_prices_per_mwh=prices,
        intervals=intervals,
        blocks=blocks,
    )


def _why_at(rows: Mapping[int, PlanRow], start_ns: int) -> PriceWhy | None:
    row = rows.get(start_ns)
    return None if row is None else why_of(row)


def _steps_of(start_ms: int, end_ms: int, steps: list[OfferStep]) -> OfferInterval:
    return OfferInterval(
        start_ms=start_ms,
        end_ms=end_ms,
        steps=steps,
        points=[],
        power_mw=None,
        max_avail_mw=None,
        trapezium=None,
        why=None,
    )


def _orders(offer: Orders, energy: bool, why: WhySide, rows: Mapping[int, PlanRow]) -> list[OfferInterval]:
    by_span: dict[tuple[int, int], list[Order]] = {}
    for order in offer.orders:
        by_span.setdefault((order.start_ns, order.end_ns), []).append(order)
    return [
        OfferInterval(
            start_ms=to_ms(start_ns),
            end_ms=to_ms(end_ns),
            steps=[
                OfferStep(
                    side=one.side if energy else "hold",
                    quantity_mw=one.quantity_mw,
                    price_per_mwh=one.limit_price_per_mwh,
                    why=why(offer, one.limit_price_per_mwh, one.side),
                )
                for one in sorted(some, key=lambda one: (one.side, one.limit_price_per_mwh))
            ],
            points=[],
            power_mw=None,
            max_avail_mw=None,
            trapezium=None,
            why=_why_at(rows, start_ns),
        )
        for (start_ns, end_ns), some in sorted(by_span.items())
    ]


def _curve(one: CurveInterval, rows: Mapping[int, PlanRow]) -> OfferInterval:
    return OfferInterval(
        start_ms=to_ms(one.start_ns),
        end_ms=to_ms(one.end_ns),
        steps=[],
        points=[
            OfferPoint(power_mw=0.0 - point.output_mw, price_per_mwh=point.price_per_mwh)
            for point in one.points
        ],
        power_mw=None,
        max_avail_mw=None,
        trapezium=None,
        why=_why_at(rows, one.start_ns),
    )


def _bands(
    offer: BandOffer, one: BandInterval, energy: bool, why: WhySide, rows: Mapping[int, PlanRow]
) -> OfferInterval:
    side = "hold" if not energy else "sell" if offer.side == "gen" else "buy"
    held = one.trapezium
    return OfferInterval(
        start_ms=to_ms(one.start_ns),
        end_ms=to_ms(one.end_ns),
        steps=[
            OfferStep(
                side=side,  # type: ignore[arg-type]
                quantity_mw=mw,
                price_per_mwh=price,
                why=why(offer, price, side),
            )
            for price, mw in zip(offer.band_price_per_mwh, one.band_avail_mw, strict=True)
            if mw > 0.0
        ],
        points=[],
        power_mw=None,
        max_avail_mw=one.max_avail_mw,
        trapezium=None
        if held is None
        else OfferTrapezium(
            enablement_min_mw=held.enablement_min_mw,
            low_breakpoint_mw=held.low_breakpoint_mw,
            high_breakpoint_mw=held.high_breakpoint_mw,
            enablement_max_mw=held.enablement_max_mw,
        ),
        why=_why_at(rows, one.start_ns),
    )


def _target(one: TargetInterval, rows: Mapping[int, PlanRow]) -> OfferInterval:
    return OfferInterval(
        start_ms=to_ms(one.start_ns),
        end_ms=to_ms(one.end_ns),
        steps=[],
        points=[],
        power_mw=one.load_mw,
        max_avail_mw=None,
        trapezium=None,
        why=_why_at(rows, one.start_ns),
    )


def _block(block: Block) -> OfferBlock:
    return OfferBlock(
        block_id=block.block_id,
        side=block.side,
        limit_price_per_mwh=block.limit_price_per_mwh,
        minimum_acceptance_frac=block.minimum_acceptance_frac,
        parent_id=block.parent_id,
        exclusive_group=block.exclusive_group,
        start_ms=[to_ms(one.start_ns) for one in block.intervals],
        end_ms=[to_ms(one.end_ns) for one in block.intervals],
        quantity_mw=[one.quantity_mw for one in block.intervals],
    )
