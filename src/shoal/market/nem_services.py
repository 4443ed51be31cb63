"""Frequency services of the NEM at given prices: how much of each is enabled, within trapezia and joint capacity.

Energy is taken first by its price, then regulation, then contingency services; each is held to the joint capacity constraints
of AEMO's "FCAS model in NEMDE":

    energy + upper_slope x service + raise regulation <= enablement_max
    energy - lower_slope x service - lower regulation >= enablement_min

where upper_slope is (enablement_max - high_breakpoint) / max_avail and lower_slope (low_breakpoint - enablement_min) / max_avail.
Regulation counts the energy of its own side and no other regulation; contingency counts net energy to the grid and both.
The trade of energy against services is left to who makes the bid: here no energy is given up for a service.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from shoal.market.bids import BandInterval, BandOffer, MarketBid
from shoal.market.clearing import checked_price, cleared_bands_w, watts
from shoal.market.contract import Prices

_REGULATION: Final = ("raisereg", "lowerreg")
_ENERGY: Final = "energy"


def enabled_w(bid: MarketBid, prices: Prices, tick_per_mwh: float) -> dict[str, dict[int, int]]:
    """Return the enablement of each service by the start of the interval, where it has a price; never negative."""
    offers = [offer for offer in bid.offers if isinstance(offer, BandOffer)]
    energy_w = {
        offer.side: _taken(offer, prices.get(_ENERGY, {}), tick_per_mwh)
        for offer in offers
        if offer.product == _ENERGY
    }
    gen_w, load_w = energy_w.get("gen", {}), energy_w.get("load", {})
    found: dict[str, dict[int, int]] = {}
    for offer in offers:
        if offer.product in _REGULATION:
            side_w = gen_w if offer.side == "gen" else load_w
            held = found.setdefault(offer.product, {})
            for start_ns, part_w in _enabled(offer, prices, tick_per_mwh, side_w, {}, {}).items():
                held[start_ns] = held.get(start_ns, 0) + part_w
    net_w = {
        start_ns: gen_w.get(start_ns, 0) - load_w.get(start_ns, 0)
        for start_ns in gen_w.keys() | load_w.keys()
    }
    raise_w, lower_w = found.get("raisereg", {}), found.get("lowerreg", {})
    for offer in offers:
        if offer.product not in (_ENERGY, *_REGULATION):
            found[offer.product] = _enabled(offer, prices, tick_per_mwh, net_w, raise_w, lower_w)
    return found


def _taken(offer: BandOffer, price_per_mwh: Mapping[int, float], tick_per_mwh: float) -> dict[int, int]:
    """Return what the price takes of an offer by the start of the interval."""
    return {
        band.start_ns: cleared_bands_w(
            offer,
            band,
            checked_price(price_per_mwh[band.start_ns], offer.product, band.start_ns),
            tick_per_mwh,
        )
        for band in offer.intervals
        if band.start_ns in price_per_mwh
    }


def _enabled(
    offer: BandOffer,
    prices: Prices,
    tick_per_mwh: float,
    energy_w: Mapping[int, int],
    raise_w: Mapping[int, int],
    lower_w: Mapping[int, int],
) -> dict[int, int]:
    """Return what is enabled of one offer, given energy and regulation."""
    taken = _taken(offer, prices.get(offer.product, {}), tick_per_mwh)
    return {
        band.start_ns: min(
            taken[band.start_ns],
            room_w(
                band,
                energy_w.get(band.start_ns, 0),
                raise_w.get(band.start_ns, 0),
                lower_w.get(band.start_ns, 0),
            ),
        )
        for band in offer.intervals
        if band.start_ns in taken
    }


def room_w(band: BandInterval, energy_w: int, raise_w: int, lower_w: int) -> int:
    """Return the most of a service that its trapezium allows beside energy and regulation, in whole watts.

    Args:
        band: The offer in the interval.
        energy_w: Dispatch on the axis of the trapezium.
        raise_w: Raise regulation that is enabled.
        lower_w: Lower regulation that is enabled.
    """
    trapezium = band.trapezium
    if trapezium is None:
        return 0
    most_w = watts(band.max_avail_mw)
    above_w = watts(trapezium.enablement_max_mw) - energy_w - raise_w
    below_w = energy_w - lower_w - watts(trapezium.enablement_min_mw)
    if above_w < 0 or below_w < 0:
        return 0
    upper_w = watts(trapezium.enablement_max_mw) - watts(trapezium.high_breakpoint_mw)
    lower_side_w = watts(trapezium.low_breakpoint_mw) - watts(trapezium.enablement_min_mw)
    room = most_w
    if upper_w > 0:
        room = min(room, most_w * above_w // upper_w)
    if lower_side_w > 0:
        room = min(room, most_w * below_w // lower_side_w)
    return room
