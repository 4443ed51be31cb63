"""What settling needs from outside, and what the store of facts knows of a delivered day: meters and prices."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shoal.bidding.cycle.paper import published_prices
from shoal.bidding.cycle.ports import FactReader
from shoal.domain.facts import SeriesId
from shoal.market.awards import Delivered, MarketAward, Settlement
from shoal.market.contract import Market
from shoal.market.metering import MeterReading, MeterReceipt, MeterReport
from shoal.market.settlement import settlement_intervals


class SettlingExchange(Protocol):
    """The way to a market that settles."""

    def awards(self, resource_id: str, delivery_date: str) -> list[MarketAward]:
        """Return every version of an award."""
        ...

    def settlements(self, resource_id: str, delivery_date: str) -> list[Settlement]:
        """Return every version of a settlement, the newest last."""
        ...

    def meters(self, resource_id: str, delivery_date: str) -> list[MeterReading]:
        """Return the readings that the market holds."""
        ...

    def send_meters(self, report: MeterReport) -> MeterReceipt:
        """Send readings; `UnavailableError` when the outcome is unknown, `InvalidInputError` when they are refused."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeteredDay:
    """What a resource delivered in a day, and its N homes' part in it.

    Attributes:
        delivered: By settlement interval.
        site_ids: N homes.
        weight_wh: N energies charged and discharged that day.
    """

    delivered: tuple[Delivered, ...]
    site_ids: tuple[str, ...] = ()
    weight_wh: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))


class Metering(Protocol):
    """The meters of resources."""

    def __call__(self, resource_id: str, market: Market, day: date, /) -> MeteredDay | None:
        """Return what is measured of a day so far, None when nothing is; `UnavailableError` when that cannot be read."""
        ...


def meter_series(market_id: str, resource_id: str) -> SeriesId:
    """Return the series of what a resource delivered by settlement interval: Wh, and 1 where it is estimated."""
    return SeriesId(f"meter/{market_id}/{resource_id}/delivered")


def delivered_as_of(
    facts: FactReader, resource_id: str, market_id: str, market: Market, day: date, *, as_of_ns: int
) -> tuple[Delivered, ...]:
    """Return what a resource delivered as its own meters said at an instant, by settlement interval."""
    intervals = settlement_intervals(market.rules, day)
    series_id = meter_series(market_id, resource_id)
    found = facts.as_of([series_id], intervals[0].start_ns, intervals[-1].end_ns, as_of_ns)[series_id]
    rows = zip(found.start_ns.tolist(), found.end_ns.tolist(), found.value.tolist(), strict=True)
    return tuple(
        Delivered(start_ns=start_ns, end_ns=end_ns, delivered_wh=round(said[0]), estimated=bool(said[1]))
        for start_ns, end_ns, said in rows
    )


def day_prices(
    facts: FactReader, settlement_point: str, market: Market, day: date, *, as_of_ns: int
) -> dict[str, dict[int, float]]:
    """Return the prices of every product of a day that were known at an instant, the imbalance price too."""
    intervals = settlement_intervals(market.rules, day)
    products = [one.product_id for one in market.products(day)]
    names = dict.fromkeys([*products, market.rules.imbalance_price])
    return {
        name: published_prices(
            facts,
            market.rules.market_id,
            settlement_point,
            name,
            from_ns=intervals[0].start_ns,
            to_ns=intervals[-1].end_ns,
            as_of_ns=as_of_ns,
        )
        for name in names
        if name
    }
