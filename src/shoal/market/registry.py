"""Every market that Shoal knows, by its id. A new market is a module of data and a line here."""

from __future__ import annotations

from typing import Final

from shoal.domain.errors import UnknownIdError
from shoal.market.ercot import ERCOT_DAY_AHEAD
from shoal.market.rules import DayAheadMarket

MARKETS: Final[tuple[DayAheadMarket, ...]] = (ERCOT_DAY_AHEAD,)


def market(market_id: str) -> DayAheadMarket:
    """Return a market by its id.

    Raises:
        UnknownIdError: when there is none of that name.
    """
    for known in MARKETS:
        if known.market_id == market_id:
            return known
    raise UnknownIdError("market", market_id)
