"""Where the price of an order or band comes from, in words: what the strategy that made it does, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Final

from shoal.bidding.desk_views import Told
from shoal.market.bids import BandOffer, Offer, Orders
from shoal.market.contract import Market
from shoal.store.cycles import MarketBidRecord

_BY_PROGRAMME: Final = frozenset({"fresh", "older_prices", "co_optimised", "energy_only"})
"""Rungs whose bands hold what a programme of prices wants at each level."""


def why_price(
    market: Market, record: MarketBidRecord, told: Told | None
) -> Callable[[Offer, float, str], str]:
    """Return what says of an offer, a price and a side why it is so; empty where nobody knows."""
    if record.author:
        return lambda _offer, _price, _side: f"set by {record.author}"
    if told is None:
        return lambda _offer, _price, _side: ""
    day = date.fromisoformat(record.bid.delivery_date)

    def why(offer: Offer, price_per_mwh: float, side: str) -> str:
        floor, cap = market.price_limits(offer.product, day)
        if side == "hold":
            if price_per_mwh == floor:
                return "taken whatever it pays"
            return "the price never comes: what stood is taken back" if price_per_mwh == cap else ""
        if isinstance(offer, Orders):
            return _of_order(price_per_mwh, side, floor, cap)
        if isinstance(offer, BandOffer):
            return _of_band(told.record.rung)
        return ""

    return why


def _of_order(price_per_mwh: float, side: str, floor: float, cap: float) -> str:
    if price_per_mwh == (cap if side == "buy" else floor):
        return "at any price: other orders build on it, or a limit of its own would refuse what is wanted"
    if side == "buy" and price_per_mwh == floor:
        return "the price never comes: what stood is taken back"
    if side == "buy":
        return "what a stored MWh is worth at the end of the day, less what charging loses"
    return "what a stored MWh is worth at the end of the day, with what discharging loses and wears"


def _of_band(rung: str) -> str:
    if rung in _BY_PROGRAMME:
        return "here the best move changes, by what stored energy is worth at each level of price"
    return "by what prices usually are" if rung == "simple" else ""
