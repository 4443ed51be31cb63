"""Offers to an auction that clears energy and services together: a storage curve for each hour, and orders of services.

A curve says what is done at every price of its hour, nothing too, so a revision replaces all that stood. Orders can only be
replaced: those that are not wanted any more are left at the smallest quantity and a price that never comes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from math import inf, isfinite
from typing import Final, Literal

from shoal.bidding.cycle.known import Situation
from shoal.domain.interval import Interval
from shoal.market.awards import AwardedQuantity
from shoal.market.bids import CurveInterval, CurvePoint, Offer, Orders
from shoal.market.clearing import watts
from shoal.market.contract import Market, Product
from shoal.market.registry import market_module
from shoal.market.types import Order

KW_PER_MW: Final = 1e3
AT_ANY_PRICE: Final = inf


@dataclass(frozen=True, slots=True, kw_only=True)
class AuctionDay:
    """The day that is bid for."""

    market: Market
    energy: Product
    services: tuple[Product, ...]
    date: date
    intervals: tuple[Interval, ...]

    @property
    def floor_cap(self) -> tuple[float, float]:
        return self.market.price_limits(self.energy.product_id, self.date)


def auction_day(situation: Situation) -> AuctionDay:
    market, day = market_module(situation.gate.market_id), date.fromisoformat(situation.gate.delivery_date)
    energy = market.product(situation.gate.product_id)
    return AuctionDay(
        market=market,
        energy=energy,
        services=tuple(one for one in market.products(day) if one.kind == "capacity"),
        date=day,
        intervals=market.delivery_intervals(energy.product_id, day),
    )


def is_fixed(situation: Situation, interval: Interval) -> bool:
    """Return whether the power of an interval is decided elsewhere."""
    return any(one.start_ns < interval.end_ns and interval.start_ns < one.end_ns for one in situation.fixed)


def left_alone(situation: Situation, day: AuctionDay) -> list[AwardedQuantity]:
    """Return the services that stand where power is decided elsewhere, as if awarded: they are left as they are."""
    fixed = {one.start_ns for one in day.intervals if is_fixed(situation, one)}
    names = {one.product_id for one in day.services}
    return [
        AwardedQuantity(
            product=offer.product,
            start_ns=order.start_ns,
            end_ns=order.end_ns,
            power_w=watts(order.quantity_mw),
            price_per_mwh=order.limit_price_per_mwh,
        )
        for offer in (() if situation.standing is None else situation.standing.offers)
        if isinstance(offer, Orders) and offer.product in names
        for order in offer.orders
        if order.start_ns in fixed
    ]


def curve_of(day: AuctionDay, interval: Interval, output_mw: float, limit_per_mwh: float) -> CurveInterval:
    """Return the curve of an output (charging negative) that is taken at its limit or better, at any price without one."""
    floor, cap = day.floor_cap
    tick = day.energy.price_tick_per_mwh
    sells = output_mw > 0
    side: Literal["buy", "sell"] = "sell" if sells else "buy"
    points: list[tuple[float, float]] = [(output_mw, floor), (output_mw, cap)]
    if output_mw and isfinite(limit_per_mwh):
        limit = day.market.clip_price(day.energy.product_id, limit_per_mwh, day=day.date, side=side)
        other = round(limit - tick if sells else limit + tick, 6)
        if floor <= other <= cap:
            points = (
                [(0.0, floor), (0.0, other), (output_mw, limit), (output_mw, cap)]
                if sells
                else [(output_mw, floor), (output_mw, limit), (0.0, other), (0.0, cap)]
            )
    unique = tuple(dict.fromkeys(points))
    return CurveInterval(
        start_ns=interval.start_ns,
        end_ns=interval.end_ns,
        points=tuple(CurvePoint(output_mw=mw, price_per_mwh=price) for mw, price in unique),
    )


def services_beside(situation: Situation, day: AuctionDay, wanted: Mapping[str, list[float]]) -> list[Offer]:
    """Return the offers of services, and what is put in the place of orders that stand and are not wanted."""
    standing: dict[str, dict[int, Order]] = {}
    for offer in () if situation.standing is None else situation.standing.offers:
        if isinstance(offer, Orders):
            standing[offer.product] = {order.start_ns: order for order in offer.orders}
    found: list[Offer] = []
    for product in (day.energy, *day.services):
        floor, cap = day.market.price_limits(product.product_id, day.date)
        least = situation.settings.get("reserve_least_per_mw", 0.0)
        orders = []
        for row, interval in enumerate(day.intervals):
            if is_fixed(situation, interval):
                continue  # what a person decided stands, whatever it is
            kw = wanted[product.product_id][row] if product.product_id in wanted else 0.0
            mw = day.market.round_quantity_mw(product.product_id, kw / KW_PER_MW)
            side: Literal["buy", "sell"] = "sell" if product.kind == "capacity" else "buy"
            price = day.market.clip_price(product.product_id, least, day=day.date, side="sell")
            if mw == 0.0:
                if interval.start_ns not in standing.get(product.product_id, {}):
                    continue
                mw, price = product.quantity_minimum_mw, cap if product.kind == "capacity" else floor
            orders.append(
                Order(
                    start_ns=interval.start_ns,
                    end_ns=interval.end_ns,
                    side=side,
                    quantity_mw=mw,
                    limit_price_per_mwh=price,
                )
            )
        if orders:
            found.append(Orders(product=product.product_id, orders=tuple(orders)))
    return found
