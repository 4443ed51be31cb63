"""Bids as they leave the plant: one envelope for every market, holding offers of the shape that the market takes.

A shape is a tagged union, so that a stored bid says what it is. Quantities are MW and never negative where a side or a
product gives the direction; `output_mw` of a storage curve alone carries the market's sign (to the grid positive). Prices
are currency per MWh of energy, or per MW of capacity held for an hour. Instants are UTC ns, intervals labelled by start.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

from shoal.market.types import Order, Side

BAND_COUNT: Final = 10
"""Price bands of a `BandOffer`."""

BandSide: TypeAlias = Literal["gen", "load"]
RebidCategory: TypeAlias = Literal["physical", "forecast", "financial", "error"]
"""Plant; the operator's forecasts or dispatch; commercial; a mistake in the bid before."""


class Orders(msgspec.Struct, frozen=True, kw_only=True, tag_field="shape", tag="orders"):
    """Price-quantity orders of one product; several of a side and interval make a stepped curve."""

    product: str
    orders: tuple[Order, ...]


class CurvePoint(msgspec.Struct, frozen=True, kw_only=True):
    """A point of a storage curve: the output at a price, charging negative."""

    output_mw: float
    price_per_mwh: float


class CurveInterval(msgspec.Struct, frozen=True, kw_only=True):
    """The storage curve of one interval: output and price both ascend, linear between points."""

    start_ns: int
    end_ns: int
    points: tuple[CurvePoint, ...]


class StorageCurves(msgspec.Struct, frozen=True, kw_only=True, tag_field="shape", tag="storage_curves"):
    """One curve an interval from full charge (negative MW) to full discharge."""

    product: str
    intervals: tuple[CurveInterval, ...]


class Trapezium(msgspec.Struct, frozen=True, kw_only=True):
    """Where an ancillary service can be enabled, on the axis of energy dispatch.

    From `low_breakpoint_mw` to `high_breakpoint_mw` all of the offer; nothing outside `enablement_min_mw` to
    `enablement_max_mw`; linear between. Contingency services count net dispatch (to the grid positive, charging negative),
    regulation counts that of its own side, never negative.
    """

    enablement_min_mw: float
    low_breakpoint_mw: float
    high_breakpoint_mw: float
    enablement_max_mw: float


class BandInterval(msgspec.Struct, frozen=True, kw_only=True):
    """What is available in one interval.

    Attributes:
        start_ns: When it begins.
        end_ns: When it ends, exclusive.
        max_avail_mw: The most that may be dispatched, whatever the bands add up to.
        band_avail_mw: What each of the ten bands adds.
        trapezium: For an ancillary service; None for energy.
    """

    start_ns: int
    end_ns: int
    max_avail_mw: float
    band_avail_mw: tuple[float, ...]
    trapezium: Trapezium | None = None


class BandOffer(msgspec.Struct, frozen=True, kw_only=True, tag_field="shape", tag="bands"):
    """Ten prices for the day and what is available at each of them, interval by interval.

    For energy a ``gen`` band is taken when the price is at or above its own, a ``load`` band when it is at or below. The
    bands of a service are taken when its price is at or above, whichever the side that provides it.
    """

    product: str
    side: BandSide
    band_price_per_mwh: tuple[float, ...]
    intervals: tuple[BandInterval, ...]


class BlockInterval(msgspec.Struct, frozen=True, kw_only=True):
    """One interval of a block's profile."""

    start_ns: int
    end_ns: int
    quantity_mw: float


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """An order for several intervals, taken together or not at all.

    Attributes:
        block_id: Its name within the bid.
        side: The side of all of its intervals.
        limit_price_per_mwh: Against the volume-weighted mean price of its intervals.
        minimum_acceptance_frac: The least share that may be taken; 1 is all or nothing.
        intervals: The profile.
        parent_id: The block that must be taken for this one to be; empty for none.
        exclusive_group: Of the blocks of a group at most the whole of one may be taken; empty for none.
    """

    block_id: str
    side: Side
    limit_price_per_mwh: float
    intervals: tuple[BlockInterval, ...]
    minimum_acceptance_frac: float = 1.0
    parent_id: str = ""
    exclusive_group: str = ""


class Blocks(msgspec.Struct, frozen=True, kw_only=True, tag_field="shape", tag="blocks"):
    """Block orders of one product."""

    product: str
    blocks: tuple[Block, ...]


class TargetInterval(msgspec.Struct, frozen=True, kw_only=True):
    """The load that the participant says it will have; load-positive, so an export or a reduction is negative."""

    start_ns: int
    end_ns: int
    load_mw: float


class LoadTarget(msgspec.Struct, frozen=True, kw_only=True, tag_field="shape", tag="load_target"):
    """A schedule without a price: a notified position, or a reduction committed to a programme."""

    product: str
    intervals: tuple[TargetInterval, ...]


Offer: TypeAlias = Orders | StorageCurves | BandOffer | Blocks | LoadTarget
"""What a bid may hold; each market names the shapes that it takes for each product."""

SHAPES: Final = ("orders", "storage_curves", "bands", "blocks", "load_target")


class RebidReason(msgspec.Struct, frozen=True, kw_only=True):
    """Why a standing bid was changed, where the market asks.

    Attributes:
        category: What kind of change brought it about.
        reason: In a few words.
        event_ns: When what is named happened.
        aware_ns: When the participant became aware of it.
        decision_ns: When it decided to rebid.
    """

    category: RebidCategory
    reason: str
    event_ns: int
    aware_ns: int
    decision_ns: int


class MarketBid(msgspec.Struct, frozen=True, kw_only=True):
    """All that one resource bids in one market for a delivery day, or for one interval of it.

    A higher revision replaces, for each product and side, the intervals that it lists; what it does not list stands.

    Attributes:
        idempotency_key: The same key is the same bid, however often it is sent.
        resource_id: Whose bid it is: one battery or the virtual battery of many homes.
        market_id: The market.
        settlement_point: Where it is priced: a node, hub, zone or region.
        delivery_date: The market's own day, ``YYYY-MM-DD``.
        revision: From 1; a higher one replaces a lower one.
        offers: What is offered.
        interval_start_ns: The one interval that the bid is about; None when it is about the day.
        rebid: Why it changes what stood before; None for a first bid.
    """

    idempotency_key: str
    resource_id: str
    market_id: str
    settlement_point: str
    delivery_date: str
    revision: int
    offers: tuple[Offer, ...]
    interval_start_ns: int | None = None
    rebid: RebidReason | None = None
