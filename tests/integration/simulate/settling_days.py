"""A day in any market of the contract, ready to be settled: a bid that stands, prices, meters, and days of clock change."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from random import Random
from typing import Final

import msgspec
import numpy as np

from shoal.domain.interval import NS_PER_HOUR
from shoal.market.awards import Delivered
from shoal.market.bids import MarketBid
from shoal.market.contract import Market
from shoal.market.settlement import settlement_intervals
from shoal.simulate.exchange_book import ExchangeBook, Participant
from shoal.simulate.exchange_settling import SettlingRules
from shoal.simulate.exchange_tape import Corrections, Publisher, Tape
from tests.integration.simulate.settling_names import POINT, RESOURCE
from tests.property.market.specimens import bid_of, in_time_ns

DAY_NS: Final = 24 * NS_PER_HOUR
CLOCK_DAYS: Final = {
    "nem": (
        date(2025, 4, 6),
        date(2025, 10, 5),
    ),  # New South Wales changes its clocks; the market's time does not
    "ercot": (date(2025, 3, 9), date(2025, 11, 2)),
    "ercot-da": (date(2025, 3, 9), date(2025, 11, 2)),
    "sdac": (date(2025, 3, 30), date(2025, 10, 26)),
    "gb": (date(2025, 3, 30), date(2025, 10, 26)),
    "peak": (date(2025, 3, 9), date(2025, 11, 2)),
}


def participant(market: Market, *, metering_agent: str = "") -> Participant:
    """Return the resource that bids."""
    return Participant(
        resource_id=RESOURCE,
        settlement_point=POINT,
        participant="shoal",
        product=market.rules.products[0].product_id,
        metering_agent=metering_agent,
    )


def tapes_of(market: Market, day: date, random: Random) -> list[Tape]:
    """Return prices of every product of a day, out when the interval begins, and of the imbalance when it is over."""
    grids = {one.product_id: market.delivery_intervals(one.product_id, day) for one in market.products(day)}
    if market.rules.imbalance_price and market.rules.imbalance_price not in grids:
        grids[market.rules.imbalance_price] = settlement_intervals(market.rules, day)
    found = []
    for product, grid in grids.items():
        start_ns, end_ns = (
            np.array([getattr(one, name) for one in grid], dtype=np.int64) for name in ("start_ns", "end_ns")
        )
        found.append(
            Tape(
                product=product,
                settlement_point=POINT,
                start_ns=start_ns,
                end_ns=end_ns,
                price_per_mwh=np.array([round(random.uniform(-100, 300), 2) for _ in grid]),
                published_ns=end_ns if product == market.rules.imbalance_price else start_ns,
            )
        )
    return found


def meters_of(market: Market, day: date, random: Random) -> tuple[Delivered, ...]:
    """Return readings of a whole day."""
    return tuple(
        Delivered(start_ns=at.start_ns, end_ns=at.end_ns, delivered_wh=random.randint(-40_000, 40_000))
        for at in settlement_intervals(market.rules, day)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlingDay:
    """One day of one market, with its book."""

    market: Market
    day: date
    bid: MarketBid
    book: ExchangeBook
    publisher: Publisher
    tapes: list[Tape]
    meters: tuple[Delivered, ...]
    end_ns: int


def open_day(
    market: Market,
    day: date,
    folder: Path,
    *,
    seed: int = 7,
    corrections: Corrections | None = None,
    settling: SettlingRules | None = None,
    metering_agent: str = "",
) -> SettlingDay:
    """Return a day with a bid that stands, in a book of its own."""
    random = Random(seed)
    tapes = tapes_of(market, day, random)
    publisher = Publisher(tapes, corrections or Corrections())
    book = ExchangeBook(
        market,
        path=folder / "book.db",
        resources=[participant(market, metering_agent=metering_agent)],
        publisher=publisher,
        since_ns=in_time_ns(market, day),
        settling=settling,
    )
    bid = msgspec.structs.replace(bid_of(random, market, day=day, count=4), settlement_point=POINT)
    receipt = book.submit(bid, participant="shoal", received_ns=in_time_ns(market, day))
    assert receipt.state == "accepted", receipt
    return SettlingDay(
        market=market,
        day=day,
        bid=bid,
        book=book,
        publisher=publisher,
        tapes=tapes,
        meters=meters_of(market, day, random),
        end_ns=settlement_intervals(market.rules, day)[-1].end_ns,
    )
