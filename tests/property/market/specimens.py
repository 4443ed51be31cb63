"""Valid bids for every market of the contract, made from random numbers, for the tests of them all."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from random import Random

from shoal.domain.interval import Interval
from shoal.market.bids import (
    BandInterval,
    BandOffer,
    Block,
    BlockInterval,
    Blocks,
    CurveInterval,
    CurvePoint,
    LoadTarget,
    MarketBid,
    Offer,
    Orders,
    StorageCurves,
    TargetInterval,
    Trapezium,
)
from shoal.market.contract import Market, Product
from shoal.market.nem import ENERGY, REGULATION
from shoal.market.types import Order

DAY = date(2025, 12, 15)


def prices_of(random: Random, market: Market, product: Product, day: date, count: int) -> list[float]:
    """Return so many different prices that the market takes, ascending."""
    floor, cap = market.price_limits(product.product_id, day)
    low, high = max(floor, -100.0), min(cap, 300.0)
    ticks = random.sample(
        range(round(low / product.price_tick_per_mwh), round(high / product.price_tick_per_mwh)), count
    )
    return [round(tick * product.price_tick_per_mwh, 9) for tick in sorted(ticks)]


def quantity_of(random: Random, product: Product, *, most_steps: int = 40) -> float:
    """Return a quantity that the product takes."""
    least = round(product.quantity_minimum_mw / product.quantity_step_mw)
    return round(random.randint(least, least + most_steps) * product.quantity_step_mw, 9)


def orders_of(
    random: Random, market: Market, product: Product, day: date, intervals: list[Interval]
) -> Orders:
    """Return stepped curves: buys below sells, or sells alone of a service."""
    orders = []
    for interval in intervals:
        for number, price in enumerate(prices_of(random, market, product, day, 4)):
            if random.random() < 0.3:
                continue
            orders.append(
                Order(
                    start_ns=interval.start_ns,
                    end_ns=interval.end_ns,
                    side="buy" if number < 2 and product.kind == "energy" else "sell",
                    quantity_mw=quantity_of(random, product),
                    limit_price_per_mwh=price,
                )
            )
    return Orders(product=product.product_id, orders=tuple(orders))


def curves_of(
    random: Random, market: Market, product: Product, day: date, intervals: list[Interval]
) -> StorageCurves:
    """Return storage curves from charge to discharge."""
    curves = []
    for interval in intervals:
        count = random.randint(2, product.points_count)
        steps = sorted(random.sample(range(-50, 51), count))
        curves.append(
            CurveInterval(
                start_ns=interval.start_ns,
                end_ns=interval.end_ns,
                points=tuple(
                    CurvePoint(output_mw=round(step * product.quantity_step_mw, 9), price_per_mwh=price)
                    for step, price in zip(steps, prices_of(random, market, product, day, count), strict=True)
                ),
            )
        )
    return StorageCurves(product=product.product_id, intervals=tuple(curves))


def bands_of(
    random: Random, product: Product, side: str, prices: list[float], intervals: list[Interval]
) -> BandOffer:
    """Return ten bands for every interval; a service has a trapezium on the axis that it counts."""
    bands = []
    for interval in intervals:
        avail = tuple(float(random.choice((0, 0, random.randint(1, 20)))) for _ in range(10))
        trapezium = None
        if product.kind == "capacity":
            low = 0 if product.product_id in REGULATION else -40
            corners = sorted(float(random.randint(low, 40)) for _ in range(4))
            trapezium = Trapezium(
                enablement_min_mw=corners[0],
                low_breakpoint_mw=corners[1],
                high_breakpoint_mw=corners[2],
                enablement_max_mw=corners[3],
            )
        bands.append(
            BandInterval(
                start_ns=interval.start_ns,
                end_ns=interval.end_ns,
                max_avail_mw=float(random.randint(0, 60)),
                band_avail_mw=avail,
                trapezium=trapezium,
            )
        )
    return BandOffer(
        product=product.product_id,
        side="load" if side == "load" else "gen",
        band_price_per_mwh=tuple(prices),
        intervals=tuple(bands),
    )


def blocks_of(
    random: Random, market: Market, product: Product, day: date, intervals: list[Interval]
) -> Blocks:
    """Return a parent with two children, and an exclusive group of three."""
    blocks = []
    for number, (parent, group) in enumerate(
        (("", ""), ("block-0", ""), ("block-0", ""), ("", "g"), ("", "g"), ("", "g"))
    ):
        profile = random.sample(intervals, random.randint(1, len(intervals)))
        blocks.append(
            Block(
                block_id=f"block-{number}",
                side="sell",
                limit_price_per_mwh=prices_of(random, market, product, day, 1)[0],
                intervals=tuple(
                    BlockInterval(
                        start_ns=part.start_ns,
                        end_ns=part.end_ns,
                        quantity_mw=quantity_of(random, product),
                    )
                    for part in profile
                ),
                minimum_acceptance_frac=random.choice((0.01, 0.5, 1.0)),
                parent_id=parent,
                exclusive_group=group,
            )
        )
    return Blocks(product=product.product_id, blocks=tuple(blocks))


def target_of(random: Random, product: Product, intervals: list[Interval]) -> LoadTarget:
    """Return a schedule; a reduction is never positive."""
    targets = []
    for interval in intervals:
        size = quantity_of(random, product, most_steps=500)
        sign = -1 if product.direction == "up" else random.choice((-1, 0, 1))
        targets.append(
            TargetInterval(start_ns=interval.start_ns, end_ns=interval.end_ns, load_mw=sign * size)
        )
    return LoadTarget(product=product.product_id, intervals=tuple(targets))


def offers_of(random: Random, market: Market, product: Product, day: date, count: int) -> list[Offer]:
    """Return offers of every shape that a product takes, for its first intervals of the day."""
    intervals = list(market.delivery_intervals(product.product_id, day)[:count])
    found: list[Offer] = []
    for shape in product.shapes:
        if shape == "orders":
            found.append(orders_of(random, market, product, day, intervals))
        elif shape == "storage_curves":
            found.append(curves_of(random, market, product, day, intervals))
        elif shape == "blocks":
            found.append(blocks_of(random, market, product, day, intervals))
        elif shape == "load_target":
            found.append(target_of(random, product, intervals))
        elif product.product_id == ENERGY:
            prices = prices_of(random, market, product, day, 20)
            found.append(bands_of(random, product, "load", prices[:10], intervals))
            found.append(bands_of(random, product, "gen", prices[10:], intervals))
        else:
            for side in ("gen", "load") if product.product_id in REGULATION else ("gen",):
                prices = prices_of(random, market, product, day, 10)
                found.append(bands_of(random, product, side, prices, intervals))
    return found


def bid_of(
    random: Random, market: Market, *, day: date = DAY, count: int = 3, products: int = 3
) -> MarketBid:
    """Return a valid bid for some products of the day; the first is always among them."""
    traded = market.products(day)
    chosen = [traded[0], *random.sample(traded[1:], min(products - 1, len(traded) - 1))]
    return MarketBid(
        idempotency_key=f"{market.rules.market_id}-{day}-1",
        resource_id="north",
        market_id=market.rules.market_id,
        settlement_point="POINT",
        delivery_date=day.isoformat(),
        revision=1,
        offers=tuple(offer for product in chosen for offer in offers_of(random, market, product, day, count)),
    )


def in_time_ns(market: Market, day: date = DAY) -> int:
    """Return an instant at which every gate of the day is open."""
    return (
        min(
            gate.closes_ns
            for product in market.products(day)
            for gate in market.gates(product.product_id, day)
        )
        - 1
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The least and the most that offers of a product can be awarded in an interval, in watts."""

    least_w: int
    most_w: int


def bounds_of(product: Product, offers: list[Offer], start_ns: int) -> Bounds:
    """Return what the offers of a product allow in an interval."""
    bought = sold = 0
    for offer in offers:
        match offer:
            case Orders():
                here = [order for order in offer.orders if order.start_ns == start_ns]
                bought += sum(round(order.quantity_mw * 1e6) for order in here if order.side == "buy")
                sold += sum(round(order.quantity_mw * 1e6) for order in here if order.side == "sell")
            case StorageCurves():
                for curve in offer.intervals:
                    if curve.start_ns == start_ns:
                        sold += max(0, round(curve.points[-1].output_mw * 1e6))
                        bought += max(0, round(-curve.points[0].output_mw * 1e6))
            case BandOffer():
                for band in offer.intervals:
                    if band.start_ns == start_ns:
                        most = round(min(band.max_avail_mw, sum(band.band_avail_mw)) * 1e6)
                        if offer.side == "load" and product.kind == "energy":
                            bought += most
                        else:
                            sold += most
            case Blocks():
                sold += sum(
                    round(part.quantity_mw * 1e6)
                    for block in offer.blocks
                    for part in block.intervals
                    if part.start_ns == start_ns
                )
            case LoadTarget():
                here_w = [round(t.load_mw * 1e6) for t in offer.intervals if t.start_ns == start_ns]
                bought += sum(max(0, w) for w in here_w)
                sold += sum(max(0, -w) for w in here_w)
    if product.kind == "capacity":
        return Bounds(least_w=0, most_w=sold)
    return Bounds(least_w=-sold, most_w=bought)


def days_between(first: date, last: date) -> list[date]:
    """Return every day of a span."""
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]
