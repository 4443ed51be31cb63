"""What can be wrong with an offer by itself, shape by shape. Each check gives the first thing wrong, or None.

A rejection names the field as a path into the bid, the value, and what to do instead. `reasons` gives the codes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Final

from shoal.domain.interval import iso
from shoal.market.bids import (
    BAND_COUNT,
    BandInterval,
    BandOffer,
    Block,
    Blocks,
    LoadTarget,
    Offer,
    Orders,
    StorageCurves,
    Trapezium,
)
from shoal.market.contract import Product, RejectedBid

_ENVELOPE: Final = (
    *("market_unknown", "idempotency_key", "delivery_date", "revision", "not_the_same"),
    *("product_unknown", "product_inactive", "shape", "duplicate_offer", "gate_closed", "interval_unknown"),
)
_QUANTITY: Final = ("quantity_minimum", "quantity_limit", "quantity_step")
_PRICE: Final = ("price_limit", "price_tick")
_OF_SHAPE: Final = {
    "orders": (*_QUANTITY, *_PRICE, "side", "points_count", "side_conflict"),
    "storage_curves": (*_QUANTITY, *_PRICE, "points_count", "monotonicity", "duplicate_interval"),
    "bands": (
        *(*_QUANTITY, *_PRICE, "side", "band_count", "monotonicity", "duplicate_interval"),
        *("trapezium", "band_prices_fixed"),
    ),
    "blocks": (
        *(*_QUANTITY, *_PRICE, "side", "duplicate_interval"),
        *("acceptance_frac", "block_id", "block_parent", "block_group"),
    ),
    "load_target": (*_QUANTITY, "duplicate_interval"),
}


def reasons(*shapes: str) -> tuple[str, ...]:
    """Return the codes with which a bid of these shapes can be rejected, each once."""
    return tuple(dict.fromkeys((*_ENVELOPE, *(code for shape in shapes for code in _OF_SHAPE[shape]))))


_TOLERANCE_STEPS: Final = 1e-6
_MOST_MW: Final = 100_000.0
"""More than any market moves: beyond it a number is a mistake, and watts would outgrow their integers."""


def rejected(reason: str, field: str, value: object, fix: str) -> RejectedBid:
    """Return a rejection whose message names the field, the value and the fix."""
    return RejectedBid(
        reason=reason,
        detail=f"{field}: {value!r} cannot be used; {fix}",
        field=field,
        value=str(value),
        fix=fix,
    )


def _is_multiple(value: float, step: float) -> bool:
    """Whether the value is a whole number of steps, but for the rounding of binary fractions."""
    steps = value / step
    return abs(steps - round(steps)) <= _TOLERANCE_STEPS * max(1.0, abs(steps) * 1e-6)


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferCheck:
    """What an offer is held against.

    Attributes:
        product: The product.
        day: The delivery day.
        ends: The end of each interval by its start.
        floor_per_mwh: The lowest price.
        cap_per_mwh: The highest price.
        currency: ISO 4217, for messages.
    """

    product: Product
    day: date
    ends: Mapping[int, int]
    floor_per_mwh: float
    cap_per_mwh: float
    currency: str

    def offer(self, offer: Offer, at: str) -> RejectedBid | None:
        """Return what is wrong with an offer; `at` is its path."""
        match offer:
            case Orders():
                return self._orders(offer, at)
            case StorageCurves():
                return self._curves(offer, at)
            case BandOffer():
                return self._bands(offer, at)
            case Blocks():
                return self._blocks(offer, at)
            case LoadTarget():
                return self._target(offer, at)

    # ── numbers ─────────────────────────────────────────────────────────────────────────────────────────────

    def quantity(self, quantity_mw: float, at: str) -> RejectedBid | None:
        """Return what is wrong with a quantity that must be at least the minimum."""
        least_mw = self.product.quantity_minimum_mw
        if not (math.isfinite(quantity_mw) and quantity_mw >= least_mw - 1e-12):
            return rejected(
                "quantity_minimum", at, quantity_mw, f"give at least {least_mw} MW, or leave it out"
            )
        return self._step(quantity_mw, at)

    def available(self, quantity_mw: float, at: str) -> RejectedBid | None:
        """Return what is wrong with a quantity that may be 0."""
        if quantity_mw == 0:
            return None
        if not (math.isfinite(quantity_mw) and quantity_mw >= 0):
            return rejected("quantity_minimum", at, quantity_mw, "give 0 MW or more")
        return self._step(quantity_mw, at)

    def _signed(self, quantity_mw: float, at: str) -> RejectedBid | None:
        if not math.isfinite(quantity_mw):
            return rejected("quantity_minimum", at, quantity_mw, "give a number of MW")
        return self._step(quantity_mw, at)

    def _step(self, quantity_mw: float, at: str) -> RejectedBid | None:
        if abs(quantity_mw) > _MOST_MW:
            return rejected("quantity_limit", at, quantity_mw, f"give at most {_MOST_MW:.0f} MW")
        step_mw = self.product.quantity_step_mw
        if _is_multiple(quantity_mw, step_mw):
            return None
        return rejected("quantity_step", at, quantity_mw, f"give a multiple of {step_mw} MW")

    def price(self, price_per_mwh: float, at: str) -> RejectedBid | None:
        """Return what is wrong with a price."""
        if not self.floor_per_mwh <= price_per_mwh <= self.cap_per_mwh:
            fix = f"stay within {self.floor_per_mwh} to {self.cap_per_mwh} {self.currency}/MWh"
            return rejected("price_limit", at, price_per_mwh, fix)
        tick_per_mwh = self.product.price_tick_per_mwh
        if not _is_multiple(price_per_mwh, tick_per_mwh):
            fix = f"give a multiple of {tick_per_mwh} {self.currency}/MWh"
            return rejected("price_tick", at, price_per_mwh, fix)
        return None

    def interval(self, start_ns: int, end_ns: int, at: str) -> RejectedBid | None:
        """Return what is wrong with an interval."""
        if self.ends.get(start_ns) == end_ns:
            return None
        fix = f"use one of the {len(self.ends)} intervals of {self.day}"
        return rejected("interval_unknown", f"{at}.start_ns", f"{start_ns}..{end_ns}", fix)

    def _once(self, start_ns: Sequence[int], at: str) -> RejectedBid | None:
        """Return what is wrong when an interval comes twice."""
        seen: set[int] = set()
        for position, start in enumerate(start_ns):
            if start in seen:
                field = f"{at}[{position}].start_ns"
                return rejected("duplicate_interval", field, iso(start), "list each interval once")
            seen.add(start)
        return None

    # ── shapes ──────────────────────────────────────────────────────────────────────────────────────────────

    def _orders(self, offer: Orders, at: str) -> RejectedBid | None:
        for position, order in enumerate(offer.orders):
            path = f"{at}.orders[{position}]"
            wrong = (
                self.interval(order.start_ns, order.end_ns, path)
                or self._side(order.side, f"{path}.side")
                or self.quantity(order.quantity_mw, f"{path}.quantity_mw")
                or self.price(order.limit_price_per_mwh, f"{path}.limit_price_per_mwh")
            )
            if wrong is not None:
                return wrong
        return self._orders_together(offer, at)

    def _side(self, side: str, at: str) -> RejectedBid | None:
        if self.product.kind == "capacity" and side != "sell":
            return rejected("side", at, side, "use 'sell': capacity is offered, not bought")
        if side not in ("buy", "sell"):
            return rejected("side", at, side, "use 'buy' or 'sell'")
        return None

    def _orders_together(self, offer: Orders, at: str) -> RejectedBid | None:
        most = self.product.points_count
        tick_per_mwh = self.product.price_tick_per_mwh
        limits: dict[tuple[int, str], list[int]] = {}
        for position, order in enumerate(offer.orders):
            held = limits.setdefault((order.start_ns, order.side), [])
            held.append(round(order.limit_price_per_mwh / tick_per_mwh))
            if len(held) > most:
                fix = f"give at most {most} {order.side} order(s) an interval"
                return rejected("points_count", f"{at}.orders[{position}]", iso(order.start_ns), fix)
        for (start_ns, side), buys in sorted(limits.items()):
            sells = limits.get((start_ns, "sell"), [])
            if side == "buy" and sells and max(buys) >= min(sells):
                fix = "keep every buy limit of an interval below its sell limits, or drop one side"
                return rejected("side_conflict", f"{at}.orders", iso(start_ns), fix)
        return None

    def _curves(self, offer: StorageCurves, at: str) -> RejectedBid | None:
        most = self.product.points_count
        for position, curve in enumerate(offer.intervals):
            path = f"{at}.intervals[{position}]"
            wrong = self.interval(curve.start_ns, curve.end_ns, path)
            if wrong is not None:
                return wrong
            if not 2 <= len(curve.points) <= most:
                return rejected(
                    "points_count", f"{path}.points", len(curve.points), f"give 2 to {most} points"
                )
            for number, point in enumerate(curve.points):
                wrong = self._signed(point.output_mw, f"{path}.points[{number}].output_mw") or self.price(
                    point.price_per_mwh, f"{path}.points[{number}].price_per_mwh"
                )
                if wrong is not None:
                    return wrong
            for number, (a, b) in enumerate(pairwise(curve.points), start=1):
                if b.output_mw < a.output_mw or b.price_per_mwh < a.price_per_mwh or a == b:
                    value = f"{b.output_mw} MW at {b.price_per_mwh}"
                    fix = "let output and price ascend from point to point"
                    return rejected("monotonicity", f"{path}.points[{number}]", value, fix)
        return self._once([curve.start_ns for curve in offer.intervals], f"{at}.intervals")

    def _bands(self, offer: BandOffer, at: str) -> RejectedBid | None:
        if offer.side not in ("gen", "load"):
            return rejected("side", f"{at}.side", offer.side, "use 'gen' or 'load'")
        path = f"{at}.band_price_per_mwh"
        if len(offer.band_price_per_mwh) != BAND_COUNT:
            return rejected("band_count", path, len(offer.band_price_per_mwh), f"give {BAND_COUNT} prices")
        for number, price_per_mwh in enumerate(offer.band_price_per_mwh):
            wrong = self.price(price_per_mwh, f"{path}[{number}]")
            if wrong is not None:
                return wrong
        for number, (low, high) in enumerate(pairwise(offer.band_price_per_mwh), start=1):
            if high <= low:
                return rejected("monotonicity", f"{path}[{number}]", high, f"give more than {low}")
        for position, band in enumerate(offer.intervals):
            wrong = self._band_interval(band, f"{at}.intervals[{position}]")
            if wrong is not None:
                return wrong
        return self._once([band.start_ns for band in offer.intervals], f"{at}.intervals")

    def _band_interval(self, band: BandInterval, at: str) -> RejectedBid | None:
        wrong = self.interval(band.start_ns, band.end_ns, at) or self.available(
            band.max_avail_mw, f"{at}.max_avail_mw"
        )
        if wrong is not None:
            return wrong
        if len(band.band_avail_mw) != BAND_COUNT:
            field = f"{at}.band_avail_mw"
            return rejected("band_count", field, len(band.band_avail_mw), f"give {BAND_COUNT} quantities")
        for number, quantity_mw in enumerate(band.band_avail_mw):
            wrong = self.available(quantity_mw, f"{at}.band_avail_mw[{number}]")
            if wrong is not None:
                return wrong
        return self._trapezium(band.trapezium, f"{at}.trapezium")

    def _trapezium(self, trapezium: Trapezium | None, at: str) -> RejectedBid | None:
        if self.product.kind == "energy":
            if trapezium is not None:
                return rejected("trapezium", at, "given", "leave it out for energy")
            return None
        if trapezium is None:
            return rejected("trapezium", at, None, "give the four corners for a service")
        corners = (
            trapezium.enablement_min_mw,
            trapezium.low_breakpoint_mw,
            trapezium.high_breakpoint_mw,
            trapezium.enablement_max_mw,
        )
        sound = all(math.isfinite(corner) and abs(corner) <= _MOST_MW for corner in corners)
        if not sound or list(corners) != sorted(corners):
            fix = "give enablement_min <= low_breakpoint <= high_breakpoint <= enablement_max"
            return rejected("trapezium", at, corners, fix)
        return None

    def _blocks(self, offer: Blocks, at: str) -> RejectedBid | None:
        for position, block in enumerate(offer.blocks):
            wrong = self._block(block, f"{at}.blocks[{position}]")
            if wrong is not None:
                return wrong
        return _blocks_together(offer.blocks, f"{at}.blocks")

    def _block(self, block: Block, at: str) -> RejectedBid | None:
        wrong = self._side(block.side, f"{at}.side") or self.price(
            block.limit_price_per_mwh, f"{at}.limit_price_per_mwh"
        )
        if wrong is not None:
            return wrong
        if not 0.01 <= block.minimum_acceptance_frac <= 1.0:
            field = f"{at}.minimum_acceptance_frac"
            return rejected("acceptance_frac", field, block.minimum_acceptance_frac, "stay within 0.01 to 1")
        if not block.intervals:
            return rejected("interval_unknown", f"{at}.intervals", 0, "give at least one interval")
        for number, part in enumerate(block.intervals):
            path = f"{at}.intervals[{number}]"
            wrong = self.interval(part.start_ns, part.end_ns, path) or self.quantity(
                part.quantity_mw, f"{path}.quantity_mw"
            )
            if wrong is not None:
                return wrong
        return self._once([part.start_ns for part in block.intervals], f"{at}.intervals")

    def _target(self, offer: LoadTarget, at: str) -> RejectedBid | None:
        for position, target in enumerate(offer.intervals):
            path = f"{at}.intervals[{position}]"
            wrong = self.interval(target.start_ns, target.end_ns, path) or self._signed(
                target.load_mw, f"{path}.load_mw"
            )
            if wrong is not None:
                return wrong
            if target.load_mw and abs(target.load_mw) < self.product.quantity_minimum_mw - 1e-12:
                fix = f"give 0 or at least {self.product.quantity_minimum_mw} MW"
                return rejected("quantity_minimum", f"{path}.load_mw", target.load_mw, fix)
        return self._once([target.start_ns for target in offer.intervals], f"{at}.intervals")


def _blocks_together(blocks: Iterable[Block], at: str) -> RejectedBid | None:
    """Return what is wrong among blocks: names, parents, groups."""
    seen: dict[str, Block] = {}
    for position, block in enumerate(blocks):
        path = f"{at}[{position}]"
        if not block.block_id or block.block_id in seen:
            return rejected("block_id", f"{path}.block_id", block.block_id, "give each block its own name")
        if block.parent_id and block.parent_id not in seen:
            return rejected(
                "block_parent", f"{path}.parent_id", block.parent_id, "list the parent block before"
            )
        if block.exclusive_group and block.parent_id:
            fix = "give a block of an exclusive group no parent"
            return rejected("block_group", f"{path}.exclusive_group", block.exclusive_group, fix)
        if block.parent_id and seen[block.parent_id].exclusive_group:
            fix = "link to a block outside exclusive groups"
            return rejected("block_parent", f"{path}.parent_id", block.parent_id, fix)
        seen[block.block_id] = block
    return None
