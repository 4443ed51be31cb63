"""What stands when a bid is revised: the intervals that a revision lists are replaced, the others stay as they were."""

from __future__ import annotations

from typing import TypeAlias, TypeVar

import msgspec

from shoal.domain.errors import InvalidInputError
from shoal.market.bids import (
    BandInterval,
    BandOffer,
    Blocks,
    CurveInterval,
    LoadTarget,
    MarketBid,
    Offer,
    Orders,
    StorageCurves,
    TargetInterval,
)
from shoal.market.types import Order

OfferKey: TypeAlias = tuple[str, str, str]
_Timed = TypeVar("_Timed", Order, CurveInterval, BandInterval, TargetInterval)


def offer_key(offer: Offer) -> OfferKey:
    """Return what makes two offers the same one: product, shape and, for bands, the side."""
    match offer:
        case Orders():
            return offer.product, "orders", ""
        case StorageCurves():
            return offer.product, "storage_curves", ""
        case BandOffer():
            return offer.product, "bands", offer.side
        case Blocks():
            return offer.product, "blocks", ""
        case LoadTarget():
            return offer.product, "load_target", ""


def in_force(standing: MarketBid | None, bid: MarketBid) -> MarketBid:
    """Return the bid that stands after a revision was accepted, with the revision's key, number and reason.

    Raises:
        InvalidInputError: when the two are not of the same resource, market, point and day.
    """
    if standing is None:
        return bid
    for field in ("resource_id", "market_id", "settlement_point", "delivery_date"):
        held, value = getattr(standing, field), getattr(bid, field)
        if held != value:
            raise InvalidInputError(field=field, value=value, fix=f"revise the bid of {held!r}")
    offers = {offer_key(offer): offer for offer in standing.offers}
    for offer in bid.offers:
        key = offer_key(offer)
        offers[key] = _revised(offers[key], offer) if key in offers else offer
    return msgspec.structs.replace(bid, offers=tuple(offers.values()), interval_start_ns=None)


def _revised(old: Offer, new: Offer) -> Offer:
    """Return an offer with the intervals of a newer one of the same key."""
    match old, new:
        case Orders(), Orders():
            return msgspec.structs.replace(new, orders=_replaced(old.orders, new.orders))
        case StorageCurves(), StorageCurves():
            return msgspec.structs.replace(new, intervals=_replaced(old.intervals, new.intervals))
        case BandOffer(), BandOffer():
            return msgspec.structs.replace(new, intervals=_replaced(old.intervals, new.intervals))
        case LoadTarget(), LoadTarget():
            return msgspec.structs.replace(new, intervals=_replaced(old.intervals, new.intervals))
        case _:
            return new


def _replaced(old: tuple[_Timed, ...], new: tuple[_Timed, ...]) -> tuple[_Timed, ...]:
    """Return the newer entries, and the older ones of intervals that the newer do not list, by start."""
    listed = {each.start_ns for each in new}
    merged = tuple(each for each in old if each.start_ns not in listed) + new
    return tuple(sorted(merged, key=_start_ns))


def _start_ns(each: Order | CurveInterval | BandInterval | TargetInterval) -> int:
    return each.start_ns


def starts_of(offer: Offer) -> set[int]:
    """Return the starts of the intervals that an offer lists."""
    match offer:
        case Orders():
            return {order.start_ns for order in offer.orders}
        case Blocks():
            return {part.start_ns for block in offer.blocks for part in block.intervals}
        case _:
            return {each.start_ns for each in offer.intervals}


def same_bands(offer: BandOffer, standing: MarketBid | None) -> bool:
    """Whether the prices of a band offer are those that stand."""
    for held in () if standing is None else standing.offers:
        if isinstance(held, BandOffer) and offer_key(held) == offer_key(offer):
            return held.band_price_per_mwh == offer.band_price_per_mwh
    return False
