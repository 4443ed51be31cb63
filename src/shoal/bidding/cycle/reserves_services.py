"""Frequency services of one unit as bands in trapezia: no more than the store backs, wherever dispatch of energy leads.

What is offered is counted from the bands of energy beside it: from the emptiest and the fullest state that their dispatch may
lead to, all services called at once and each for its duration. Sharing the power with energy is left to the trapezia.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from math import inf
from typing import Final

from shoal.bidding.cycle.five_minute import PRODUCT
from shoal.bidding.cycle.known import Situation
from shoal.bidding.cycle.projection import stored_kwh
from shoal.bidding.cycle.reserves_backing import CONTINGENCY, power_group, sustain_h
from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_HOUR
from shoal.market.bids import BAND_COUNT, BandInterval, BandOffer, BandSide, Offer, Trapezium
from shoal.market.contract import Market, Product
from shoal.market.registry import market_module
from shoal.optimise.storage import Storage

KW_PER_MW: Final = 1e3
SERVICE_BANDS_PER_MW: Final = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 500.0, 1_000.0)
"""Prices of a service's bands, the same every day: they can only be changed the day before."""
_EPSILON_MW: Final = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is wanted of a bundle: so many MW, each service at this price or more."""

    mw: float
    least_per_mw: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """Services that are held together: those that answer one event one after the other, or one service alone.

    Attributes:
        name: Of the bundle.
        is_up: Whether a call is more to the grid.
        services: The services in it.
        duration_h: How long all of them together must be sustained.
    """

    name: str
    is_up: bool
    services: tuple[Product, ...]
    duration_h: float


def bundles(market: Market, day: date) -> tuple[Bundle, ...]:
    """Return the services of a day in bundles."""
    of_name: dict[str, list[Product]] = {}
    for one in market.products(day):
        if one.kind == "capacity":
            of_name.setdefault(power_group(one), []).append(one)
    return tuple(
        Bundle(
            name=name,
            is_up=services[0].direction == "up",
            services=tuple(services),
            duration_h=sum(sustain_h(one, day) for one in services),
        )
        for name, services in of_name.items()
    )


def bundle_limit_kw(situation: Situation, bundle: Bundle) -> float:
    """Return the most of a bundle that devices back: that of the service in it which they back most of."""
    limits_kw = situation.less.service_limit_kw
    return max(limits_kw.get(one.product_id, inf) for one in bundle.services)


def services(
    situation: Situation,
    storage: Storage,
    energy: tuple[Offer, ...],
    every: tuple[Bundle, ...],
    wanted: Mapping[str, Wanted],
) -> list[Offer]:
    """Return the offers of services beside bands of energy: no more than the emptiest and fullest case back.

    At the gate of a day they are listed with nothing available, so that quantities can be given later; a service that does
    not stand then cannot be offered.

    Args:
        situation: The gate, and what stands.
        storage: The resource at the start of what the gate covers.
        energy: The offers of energy.
        every: The bundles of the day.
        wanted: What is wanted of each bundle; nothing of those that are left out.
    """
    market, day = market_module(situation.gate.market_id), date.fromisoformat(situation.gate.delivery_date)
    daily = situation.gate.kind != "interval"
    stands = {
        (offer.product, offer.side)
        for offer in (() if situation.standing is None else situation.standing.offers)
        if isinstance(offer, BandOffer)
    }
    cases = _cases(storage, energy)
    if daily:
        cases = cases[:1]
    found: list[Offer] = []
    held = _held(situation, storage, every, wanted, cases)
    for bundle in every:
        for product in bundle.services:
            side: BandSide = "load" if _is_regulation(product) and not bundle.is_up else "gen"
            if not daily and (product.product_id, side) not in stands:
                continue
            prices = _prices(market, product, day)
            limit_mw = situation.less.service_limit_kw.get(product.product_id, inf) / KW_PER_MW
            intervals = tuple(
                _service_interval(
                    product,
                    bundle,
                    storage,
                    case,
                    0.0 if daily else _within(market, product, held[bundle.name][row], limit_mw),
                    band_at(prices, wanted[bundle.name].least_per_mw if bundle.name in wanted else 0.0),
                )
                for row, case in enumerate(cases)
            )
            if intervals:
                found.append(
                    BandOffer(
                        product=product.product_id,
                        side=side,
                        band_price_per_mwh=prices,
                        intervals=intervals,
                    )
                )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One interval of a bid: its bounds, and the least and the most that may be stored at either end of it."""

    start_ns: int
    end_ns: int
    lowest_kwh: float
    highest_kwh: float


def _cases(storage: Storage, energy: tuple[Offer, ...]) -> list[Case]:
    """Return what dispatch of the bands may lead to, interval by interval."""
    moved: dict[tuple[int, int], dict[str, float]] = {}
    for offer in energy:
        if isinstance(offer, BandOffer) and offer.product == PRODUCT:
            for band in offer.intervals:
                of_side = moved.setdefault((band.start_ns, band.end_ns), {})
                of_side[offer.side] = min(sum(band.band_avail_mw), band.max_avail_mw)
    lowest = highest = storage.initial_energy_kwh
    cases = []
    for (start_ns, end_ns), of_side in sorted(moved.items()):
        hours = (end_ns - start_ns) / NS_PER_HOUR
        low = lowest + stored_kwh(storage, -of_side.get("gen", 0.0) * KW_PER_MW * hours)
        high = highest + stored_kwh(storage, of_side.get("load", 0.0) * KW_PER_MW * hours)
        low, high = max(low, 0.0), min(high, storage.energy_capacity_kwh)
        cases.append(Case(start_ns=start_ns, end_ns=end_ns, lowest_kwh=low, highest_kwh=high))
        lowest, highest = low, high
    return cases


def _held(
    situation: Situation,
    storage: Storage,
    every: tuple[Bundle, ...],
    wanted: Mapping[str, Wanted],
    cases: list[Case],
) -> dict[str, list[float]]:
    """Return how many whole MW of each bundle every interval backs, in the proportion in which they are wanted."""
    market = market_module(situation.gate.market_id)
    fixed = [(one.start_ns, one.end_ns) for one in situation.fixed]
    found: dict[str, list[float]] = {one.name: [] for one in every}
    for case in cases:
        by_hand = any(start_ns < case.end_ns and case.start_ns < end_ns for start_ns, end_ns in fixed)
        for is_up in (True, False):
            those = [one for one in every if one.is_up == is_up]
            most_mw = (storage.discharge_limit_kw if is_up else storage.charge_limit_kw) / KW_PER_MW
            asked = [min(wanted[one.name].mw, most_mw) if one.name in wanted else 0.0 for one in those]
            if is_up:
                there_mwh = case.lowest_kwh * storage.discharge_efficiency_frac / KW_PER_MW
            else:
                room_kwh = storage.energy_capacity_kwh - case.highest_kwh
                there_mwh = room_kwh / storage.charge_efficiency_frac / KW_PER_MW
            need_mwh = sum(mw * one.duration_h for mw, one in zip(asked, those, strict=True))
            share = 0.0 if by_hand else min(1.0, there_mwh / need_mwh) if need_mwh > 0 else 1.0
            for mw, one in zip(asked, those, strict=True):
                whole = min(
                    market.round_quantity_mw(product.product_id, max(mw * share - _EPSILON_MW, 0.0))
                    for product in one.services
                )
                found[one.name].append(whole)
    return found


def _within(market: Market, product: Product, mw: float, limit_mw: float) -> float:
    return mw if mw <= limit_mw else market.round_quantity_mw(product.product_id, limit_mw)


def _service_interval(
    product: Product,
    bundle: Bundle,
    storage: Storage,
    case: Case,
    mw: float,
    band: int,
) -> BandInterval:
    """Return a service in one interval, all of it in one band."""
    out_mw, in_mw = storage.discharge_limit_kw / KW_PER_MW, storage.charge_limit_kw / KW_PER_MW
    if _is_regulation(product):
        most_mw = out_mw if bundle.is_up else in_mw
        corners = (0.0, 0.0, max(most_mw - mw, 0.0), most_mw)
    elif bundle.is_up:
        corners = (-in_mw, -in_mw, max(out_mw - mw, -in_mw), out_mw)
    else:
        corners = (-in_mw, min(-in_mw + mw, out_mw), out_mw, out_mw)
    return BandInterval(
        start_ns=case.start_ns,
        end_ns=case.end_ns,
        max_avail_mw=mw,
        band_avail_mw=tuple(mw if number == band else 0.0 for number in range(BAND_COUNT)),
        trapezium=Trapezium(
            enablement_min_mw=corners[0],
            low_breakpoint_mw=corners[1],
            high_breakpoint_mw=corners[2],
            enablement_max_mw=corners[3],
        ),
    )


def band_at(prices: tuple[float, ...], least_per_mw: float) -> int:
    """Return the number of the lowest band at or above a price, the last one when all are below."""
    return next((number for number, price in enumerate(prices) if price >= least_per_mw), BAND_COUNT - 1)


def _prices(market: Market, product: Product, day: date) -> tuple[float, ...]:
    """Return the ten prices of a service's bands, within its floor and cap."""
    floor, cap = market.price_limits(product.product_id, day)
    prices = tuple(floor + one for one in SERVICE_BANDS_PER_MW)
    if prices[-1] > cap or any(b <= a for a, b in pairwise(prices)):
        raise InvalidInputError(field="service bands", value=cap, fix="give bands below the cap")
    return prices


def _is_regulation(product: Product) -> bool:
    return not any(product.product_id.endswith(end) for end in CONTINGENCY)
