"""Bids that a trader makes on the page: read from what was posted, judged by the market, and told with what they change."""

from __future__ import annotations

import re
from datetime import date
from typing import Any, Final, Literal

import msgspec
from pydantic import ConfigDict, Field

from shoal.api.bodies import Body
from shoal.api.live.state import MS_PER_NS, to_ms
from shoal.api.market.act_answers import ManualAnswer, ManualPower, ManualProblem
from shoal.api.market.offers import changes_of, offer_views
from shoal.api.market.views import Desk, bid_row
from shoal.bidding.cycle.consent import ManualBid
from shoal.bidding.cycle.manual import FixedSpan, ManualFile, closes_ns, fixed_power, market_bid
from shoal.bidding.desk_views import standing_of
from shoal.domain.errors import InvalidInputError, UnknownIdError
from shoal.domain.fleet import Resource
from shoal.market.contract import Market
from shoal.market.standing import in_force, starts_of

MOST_OFFERS: Final = 64
MOST_INTERVALS: Final = 1_000
MOST_STEPS: Final = 100
_FAR_MS: Final = 2**62 // MS_PER_NS
_Ms = Field(ge=0, le=_FAR_MS)


class _Strict(Body):
    """A part of a posted bid: what is not known is refused."""

    model_config = ConfigDict(extra="forbid")


class OrderBody(_Strict):
    """An order of one interval."""

    side: Literal["buy", "sell"]
    quantity_mw: float
    price_per_mwh: float


class PointBody(_Strict):
    """A point of a curve, charging positive."""

    power_mw: float
    price_per_mwh: float


class TrapeziumBody(_Strict):
    """Where a service can be enabled."""

    enablement_min_mw: float
    low_breakpoint_mw: float
    high_breakpoint_mw: float
    enablement_max_mw: float


class IntervalBody(_Strict):
    """What is offered in one interval; of orders none at all takes back what stands in it."""

    start_ms: int = _Ms
    end_ms: int = _Ms
    orders: list[OrderBody] = Field(default=[], max_length=MOST_STEPS)
    points: list[PointBody] = Field(default=[], max_length=MOST_STEPS)
    band_mw: list[float] = Field(default=[], max_length=MOST_STEPS)
    max_avail_mw: float | None = None
    trapezium: TrapeziumBody | None = None
    power_mw: float | None = None


class BlockBody(_Strict):
    """An order for several intervals, taken together or not at all."""

    block_id: str = Field(max_length=64)
    side: Literal["buy", "sell"]
    limit_price_per_mwh: float
    minimum_acceptance_frac: float = 1.0
    parent_id: str = Field(default="", max_length=64)
    exclusive_group: str = Field(default="", max_length=64)
    start_ms: list[int] = Field(max_length=MOST_INTERVALS)
    end_ms: list[int] = Field(max_length=MOST_INTERVALS)
    quantity_mw: list[float] = Field(max_length=MOST_INTERVALS)


class OfferBody(_Strict):
    """One offer, in the shape that the market takes."""

    product: str = Field(max_length=64)
    shape: Literal["orders", "storage_curves", "bands", "load_target", "blocks"]
    side: Literal["gen", "load"] | None = None
    band_prices_per_mwh: list[float] = Field(default=[], max_length=MOST_STEPS)
    intervals: list[IntervalBody] = Field(default=[], max_length=MOST_INTERVALS)
    blocks: list[BlockBody] = Field(default=[], max_length=MOST_STEPS)


class PowerBody(_Strict):
    """What a bid is expected to come to in a span, charging positive."""

    start_ms: int = _Ms
    end_ms: int = _Ms
    power_kw: float


class ManualBody(_Strict):
    """A bid made by hand: it replaces what stands in the intervals that it lists."""

    resource_id: str = Field(max_length=64)
    delivery_date: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")
    reason: str = Field(max_length=500)
    category: Literal["physical", "forecast", "financial", "error"] = "financial"
    offers: list[OfferBody] = Field(max_length=MOST_OFFERS)
    power: list[PowerBody] | None = Field(default=None, max_length=MOST_INTERVALS)


def file_of(body: ManualBody, resource: Resource, market: Market) -> ManualFile:
    """Return what was posted as the plant's own record of a bid made by hand.

    Raises:
        InvalidInputError: it is not what a bid looks like; the field is a path in what was posted.
        UnknownIdError: the market has no such product.
    """
    content = {
        "market_id": resource.market_id,
        "delivery_date": body.delivery_date,
        "settlement_point": resource.settlement_point,
        "category": body.category,
        "offers": [
            _offer(offer, market, body.delivery_date, f"offers[{at}]") for at, offer in enumerate(body.offers)
        ],
    }
    try:
        file = msgspec.convert(content, type=ManualFile)
    except msgspec.ValidationError as error:
        raise InvalidInputError(field="offers", value="not a bid", fix=str(error)) from error
    return msgspec.structs.replace(file, fixed=_power(body, file, market))


def _power(body: ManualBody, file: ManualFile, market: Market) -> tuple[FixedSpan, ...]:
    """Return what a bid comes to: as it says itself, else as its offers add up to; nothing where it takes back."""
    if body.power is not None:
        return tuple(
            FixedSpan(start_ns=one.start_ms * MS_PER_NS, end_ns=one.end_ms * MS_PER_NS, power_kw=one.power_kw)
            for one in body.power
        )
    emptied = {
        one.start_ms * MS_PER_NS
        for offer in body.offers
        if offer.shape == "orders" and market.product(offer.product).kind == "energy"
        for one in offer.intervals
        if not one.orders
    }
    try:
        spans = fixed_power(file.offers, market)
    except InvalidInputError as error:
        fix = "say in `power` what power you expect it to come to, charging positive"
        raise InvalidInputError(field="power", value=str(error.value), fix=fix) from error
    return tuple(
        msgspec.structs.replace(one, power_kw=0.0) if one.start_ns in emptied else one for one in spans
    )


def _offer(offer: OfferBody, market: Market, day: str, at: str) -> dict[str, Any]:
    market.product(offer.product)  # raises of one that there is not
    if offer.shape == "blocks":
        blocks = [_block(one, f"{at}.blocks[{number}]") for number, one in enumerate(offer.blocks)]
        return {"shape": "blocks", "product": offer.product, "blocks": blocks}
    for number, one in enumerate(offer.intervals):
        if one.end_ms <= one.start_ms:
            raise InvalidInputError(
                field=f"{at}.intervals[{number}].end_ms", value=one.end_ms, fix="end it after its start"
            )
    if offer.shape == "orders":
        orders = [
            order
            for number, one in enumerate(offer.intervals)
            for order in _orders(one, offer.product, market, day, f"{at}.intervals[{number}]")
        ]
        return {"shape": "orders", "product": offer.product, "orders": orders}
    if offer.shape == "bands":
        if offer.side is None:
            raise InvalidInputError(field=f"{at}.side", value=None, fix="say gen or load")
        return {
            "shape": "bands",
            "product": offer.product,
            "side": offer.side,
            "band_price_per_mwh": offer.band_prices_per_mwh,
            "intervals": [_bands(one) for one in offer.intervals],
        }
    if offer.shape == "storage_curves":
        return {
            "shape": "storage_curves",
            "product": offer.product,
            "intervals": [_curve(one) for one in offer.intervals],
        }
    return {
        "shape": "load_target",
        "product": offer.product,
        "intervals": [
            _target(one, f"{at}.intervals[{number}]") for number, one in enumerate(offer.intervals)
        ],
    }


def _span(one: IntervalBody) -> dict[str, Any]:
    return {"start_ns": one.start_ms * MS_PER_NS, "end_ns": one.end_ms * MS_PER_NS}


def _orders(one: IntervalBody, product_id: str, market: Market, day: str, at: str) -> list[dict[str, Any]]:
    """Return the orders of an interval; without any the least that can be bought at a price that never comes."""
    if one.orders:
        return [
            _span(one)
            | {
                "side": order.side,
                "quantity_mw": order.quantity_mw,
                "limit_price_per_mwh": order.price_per_mwh,
            }
            for order in one.orders
        ]
    product = market.product(product_id)
    if product.kind != "energy":
        raise InvalidInputError(field=f"{at}.orders", value="none", fix="give an order of the service")
    floor, _ = market.price_limits(product_id, _date(day))
    nothing = {"side": "buy", "quantity_mw": product.quantity_minimum_mw, "limit_price_per_mwh": floor}
    return [_span(one) | nothing]


def _bands(one: IntervalBody) -> dict[str, Any]:
    content = _span(one) | {
        "band_avail_mw": one.band_mw,
        "max_avail_mw": sum(one.band_mw) if one.max_avail_mw is None else one.max_avail_mw,
    }
    return content if one.trapezium is None else content | {"trapezium": one.trapezium.model_dump()}


def _curve(one: IntervalBody) -> dict[str, Any]:
    points = sorted((point.price_per_mwh, 0.0 - point.power_mw) for point in one.points)
    return _span(one) | {"points": [{"output_mw": mw, "price_per_mwh": price} for price, mw in points]}


def _target(one: IntervalBody, at: str) -> dict[str, Any]:
    if one.power_mw is None:
        raise InvalidInputError(field=f"{at}.power_mw", value=None, fix="give the load, charging positive")
    return _span(one) | {"load_mw": one.power_mw}


def _block(block: BlockBody, at: str) -> dict[str, Any]:
    if not len(block.start_ms) == len(block.end_ms) == len(block.quantity_mw):
        fix = "give a start, an end and a quantity of each interval"
        raise InvalidInputError(field=f"{at}.quantity_mw", value=len(block.quantity_mw), fix=fix)
    return block.model_dump(exclude={"start_ms", "end_ms", "quantity_mw"}) | {
        "intervals": [
            {"start_ns": start * MS_PER_NS, "end_ns": end * MS_PER_NS, "quantity_mw": mw}
            for start, end, mw in zip(block.start_ms, block.end_ms, block.quantity_mw, strict=True)
        ]
    }


def _date(day: str) -> date:
    try:
        return date.fromisoformat(day)
    except ValueError as error:
        fix = "give a day of the calendar"
        raise InvalidInputError(field="delivery_date", value=day, fix=fix) from error


def problem_of(error: InvalidInputError | UnknownIdError, body: ManualBody) -> ManualProblem:
    """Return what is wrong in the words of what was posted: the field is a path in it."""
    if isinstance(error, UnknownIdError):
        return ManualProblem(field=error.kind, value=error.value, fix=f"there is no such {error.kind}")
    field = _ORDER.sub(lambda found: _order_path(found, body), error.field)
    for own, posted in _POSTED_AS.items():
        field = re.sub(rf"\b{own}\b", posted, field)
    return ManualProblem(field=field, value=str(error.value), fix=error.fix)


_ORDER: Final = re.compile(r"offers\[(\d+)\]\.orders\[(\d+)\]")
_POSTED_AS: Final = {
    "limit_price_per_mwh": "price_per_mwh",
    "band_avail_mw": "band_mw",
    "band_price_per_mwh": "band_prices_per_mwh",
    "load_mw": "power_mw",
    "output_mw": "power_mw",
    "fixed": "power",
}


def _order_path(found: re.Match[str], body: ManualBody) -> str:
    """Return where an order was posted that is named by its number among all of its offer."""
    offer, number = int(found[1]), int(found[2])
    for at, one in enumerate(body.offers[offer].intervals if offer < len(body.offers) else ()):
        held = max(len(one.orders), 1)
        if number < held:
            return f"offers[{offer}].intervals[{at}].orders[{number}]"
        number -= held
    return found[0]


# ── as told ─────────────────────────────────────────────────────────────────────────────────────────────────


def manual_answer(
    desk: Desk, manual: ManualBid, resource: Resource, market: Market, now_ns: int
) -> ManualAnswer:
    """Return a bid made by hand, what it changes, and how the bid stands that became of it."""
    first_ns = min(start_ns for offer in manual.offers for start_ns in starts_of(offer))
    day = market.delivery_date(first_ns).isoformat()
    records = desk.cycles.bids(resource_id=manual.resource_id, market_id=manual.market_id, delivery_date=day)
    record = next((one for one in records if one.bid.idempotency_key == manual.manual_id), None)
    before = standing_of(records, up_to_revision=None if record is None else record.bid.revision - 1)
    bid = (
        record.bid
        if record is not None
        else market_bid(
            manual,
            market,
            settlement_point=resource.settlement_point if before is None else before.settlement_point,
            delivery_date=day,
            revision=1 if before is None else before.revision + 1,
        )
    )
    gate_ns = closes_ns(market, manual.offers)
    return ManualAnswer(
        as_of_ms=to_ms(now_ns),
        manual_id=manual.manual_id,
        state="withdrawn" if manual.withdrawn else "draft" if manual.drafted else "submitted",
        resource_id=manual.resource_id,
        market_id=manual.market_id,
        delivery_date=day,
        gate_ms=to_ms(gate_ns),
        open=now_ns < gate_ns,
        by=manual.by,
        at_ms=to_ms(manual.at_ns),
        reason=manual.reason,
        problems=[],
        offers=offer_views(market, manual.offers),
        power=[
            ManualPower(start_ms=to_ms(one.start_ns), end_ms=to_ms(one.end_ns), power_kw=one.power_kw)
            for one in manual.fixed
        ],
        changes=changes_of(market, before, bid if before is None else in_force(before, bid))[0],
        bid=None if record is None else bid_row(desk, record, now_ns),
    )


def refused_answer(
    body: ManualBody, resource: Resource, problems: list[ManualProblem], *, by: str, now_ns: int
) -> ManualAnswer:
    """Return that nothing was kept, and why."""
    return ManualAnswer(
        as_of_ms=to_ms(now_ns),
        manual_id=None,
        state="invalid",
        resource_id=body.resource_id,
        market_id=resource.market_id,
        delivery_date=body.delivery_date,
        gate_ms=None,
        open=True,
        by=by,
        at_ms=to_ms(now_ns),
        reason=body.reason,
        problems=problems,
        offers=[],
        power=[],
        changes=[],
        bid=None,
    )
