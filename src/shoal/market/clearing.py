"""Clearing of a bid whose bidder moves no price: which of its quantities a given price takes, in whole watts.

Prices are counted in whole ticks before they are compared, so that a tie is a tie; limits are inclusive. What is sold comes
back negative, what is bought positive.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_HOUR, iso
from shoal.market.bids import BandInterval, BandOffer, Block, CurvePoint
from shoal.market.types import Order

W_PER_MW: Final = 1_000_000


def checked_price(price_per_mwh: float, product: str, start_ns: int) -> float:
    """Return a price that is a number.

    Raises:
        InvalidInputError: when it is not finite.
    """
    if not math.isfinite(price_per_mwh):
        raise InvalidInputError(
            field=f"prices[{product}][{iso(start_ns)}]", value=price_per_mwh, fix="give a finite price"
        )
    return price_per_mwh


def ticks(price_per_mwh: float, tick_per_mwh: float) -> int:
    """Return a price in whole ticks."""
    return round(price_per_mwh / tick_per_mwh)


def watts(quantity_mw: float) -> int:
    """Return MW as whole watts."""
    return round(quantity_mw * W_PER_MW)


def cleared_orders_w(orders: Iterable[Order], price_per_mwh: float, tick_per_mwh: float) -> int:
    """Return the power of one interval's orders at a price."""
    price = ticks(price_per_mwh, tick_per_mwh)
    total_w = 0
    for order in orders:
        limit = ticks(order.limit_price_per_mwh, tick_per_mwh)
        if order.side == "buy" and price <= limit:
            total_w += watts(order.quantity_mw)
        elif order.side == "sell" and price >= limit:
            total_w -= watts(order.quantity_mw)
    return total_w


def cleared_curve_w(points: Sequence[CurvePoint], price_per_mwh: float, tick_per_mwh: float) -> int:
    """Return the power of a storage curve at a price: linear between points, held beyond its ends.

    Where the curve is flat at the price, the greatest output is taken.
    """
    price = ticks(price_per_mwh, tick_per_mwh)
    at = [ticks(point.price_per_mwh, tick_per_mwh) for point in points]
    reached = sum(1 for each in at if each <= price)
    if reached == 0:
        return -watts(points[0].output_mw)
    low_w = watts(points[reached - 1].output_mw)
    if reached == len(points):
        return -low_w
    high_w = watts(points[reached].output_mw)
    low, high = at[reached - 1], at[reached]
    return -(low_w + (high_w - low_w) * (price - low) // (high - low))


def cleared_bands_w(offer: BandOffer, band: BandInterval, price_per_mwh: float, tick_per_mwh: float) -> int:
    """Return the power of a band offer in one interval, never negative: `max_avail_mw` holds it down."""
    price = ticks(price_per_mwh, tick_per_mwh)
    buys = offer.side == "load" and band.trapezium is None
    taken_w = 0
    for band_price, quantity_mw in zip(offer.band_price_per_mwh, band.band_avail_mw, strict=True):
        if quantity_mw:
            limit = ticks(band_price, tick_per_mwh)
            if (price <= limit) if buys else (price >= limit):
                taken_w += watts(quantity_mw)
    return min(taken_w, watts(band.max_avail_mw))


def cleared_blocks_w(
    blocks: Sequence[Block], price_per_mwh: Mapping[int, float], tick_per_mwh: float
) -> dict[int, int]:
    """Return the power of blocks by the start of the interval, from prices by the start of the interval.

    A block is taken whole when it loses nothing; together with children that gain, a parent may lose as much as they
    gain. Of an exclusive group the one that gains most is taken, of equals the first.

    Raises:
        InvalidInputError: when the price of an interval of a block is missing.
    """
    surplus = {block.block_id: _surplus(block, price_per_mwh, tick_per_mwh) for block in blocks}
    children: dict[str, list[Block]] = {}
    for block in blocks:
        children.setdefault(block.parent_id, []).append(block)
    worth: dict[str, int] = {}
    for block in reversed(blocks):  # a parent is listed before its children
        worth[block.block_id] = surplus[block.block_id] + sum(
            max(0, worth[child.block_id]) for child in children.get(block.block_id, ())
        )
    best: dict[str, str] = {}
    for block in blocks:
        group = block.exclusive_group
        if group and (group not in best or worth[block.block_id] > worth[best[group]]):
            best[group] = block.block_id
    taken: set[str] = set()
    power_w: dict[int, int] = {}
    for block in blocks:
        chosen = not block.exclusive_group or best[block.exclusive_group] == block.block_id
        linked = not block.parent_id or block.parent_id in taken
        if worth[block.block_id] >= 0 and chosen and linked:
            taken.add(block.block_id)
            sign = 1 if block.side == "buy" else -1
            for part in block.intervals:
                power_w[part.start_ns] = power_w.get(part.start_ns, 0) + sign * watts(part.quantity_mw)
    return power_w


def _surplus(block: Block, price_per_mwh: Mapping[int, float], tick_per_mwh: float) -> int:
    """Return what a block gains at the prices, in watt-hours times ticks."""
    limit = ticks(block.limit_price_per_mwh, tick_per_mwh)
    gain = 0
    for part in block.intervals:
        if part.start_ns not in price_per_mwh:
            raise InvalidInputError(
                field=f"prices[{iso(part.start_ns)}]",
                value=None,
                fix="give a price for every interval of a block",
            )
        better = ticks(price_per_mwh[part.start_ns], tick_per_mwh) - limit
        gain += watts(part.quantity_mw) * (part.end_ns - part.start_ns) * better
    gain //= NS_PER_HOUR
    return gain if block.side == "sell" else -gain
