"""Every market that Shoal knows, by its id. A new market is a module of data and a line here."""

from __future__ import annotations

from typing import Final

from shoal.domain.errors import UnknownIdError
from shoal.market.contract import Market
from shoal.market.ercot import ERCOT, ERCOT_AUCTION, ERCOT_DAY_AHEAD
from shoal.market.gb import GB
from shoal.market.nem import NEM
from shoal.market.peak import PEAK
from shoal.market.rules import DayAheadMarket
from shoal.market.sdac import SDAC

MARKETS: Final[tuple[DayAheadMarket, ...]] = (ERCOT_DAY_AHEAD,)
"""Day-ahead auctions with the deviation charge by which the plant settles its own days."""

MODULES: Final[tuple[Market, ...]] = (NEM, ERCOT, ERCOT_AUCTION, SDAC, GB, PEAK)
"""The markets of the contract, `shoal.market.contract`."""


def market(market_id: str) -> DayAheadMarket:
    """Return a day-ahead auction by its id.

    Raises:
        UnknownIdError: when there is none of that name.
    """
    for known in MARKETS:
        if known.market_id == market_id:
            return known
    raise UnknownIdError("market", market_id)


def market_module(market_id: str) -> Market:
    """Return a market of the contract by its id.

    Raises:
        UnknownIdError: when there is none of that name.
    """
    for known in MODULES:
        if known.rules.market_id == market_id:
            return known
    raise UnknownIdError("market", market_id)
