"""A plant that settles, with meters that say what a test says; nothing of the simulated market is needed to start it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

import msgspec
import numpy as np

from shoal.bidding.cycle.collector import Collector
from shoal.bidding.cycle.ports import Bidder
from shoal.bidding.settling import Settling, SettlingOptions
from shoal.bidding.settling_ports import MeteredDay
from shoal.connect.exchange_http import HttpExchange
from shoal.market.awards import Delivered
from shoal.market.contract import Market
from shoal.market.settlement import settlement_intervals
from shoal.store.cycles import Cycles
from shoal.store.database import migrate, open_database
from shoal.store.facts import FactStore
from shoal.store.settlings import Settlings
from tests.integration.simulate.settling_names import POINT, RESOURCE

TOKEN: Final = "token-of-shoal"
SITES: Final = ("site-a", "site-b", "site-c")
OPTIONS: Final = SettlingOptions(meter_after_s=600.0, meter_again_s=600.0, ask_s=60.0)


class Meters:
    """Meters that say what they are told."""

    def __init__(self, delivered: tuple[Delivered, ...]) -> None:
        self.delivered = delivered
        self.weight_wh = (5_000, 0, 1_234)

    def __call__(self, resource_id: str, market: Market, day: date, /) -> MeteredDay | None:
        if self.delivered[0].start_ns != settlement_intervals(market.rules, day)[0].start_ns:
            return None
        return MeteredDay(
            delivered=self.delivered,
            site_ids=SITES,
            weight_wh=np.array(self.weight_wh, dtype=np.int64),
        )

    def mend(self, changes: Mapping[int, int]) -> None:
        """Read some intervals anew, by their number."""
        self.delivered = tuple(
            msgspec.structs.replace(one, delivered_wh=changes.get(number, one.delivered_wh))
            for number, one in enumerate(self.delivered)
        )


@dataclass(slots=True, kw_only=True)
class Plant:
    """The stores of a plant and what settles in it."""

    bidder: Bidder
    market: Market
    exchange: HttpExchange
    facts: FactStore
    cycles: Cycles
    settlings: Settlings
    collector: Collector
    settling: Settling

    def turn(self, now_ns: int) -> None:
        """Collect and settle once."""
        self.collector.collect(self.bidder, self.market, self.exchange, now_ns=now_ns)
        self.settling.settle(self.bidder, self.market, self.exchange, now_ns=now_ns)


def open_plant(
    url: str,
    database: str,
    market: Market,
    meters: Callable[[str, Market, date], MeteredDay | None],
    *,
    exchange: Callable[..., HttpExchange] = HttpExchange,
    cycles: Callable[..., Cycles] = Cycles,
    timeout_s: float = 0.5,
) -> Plant:
    """Open a plant on a database, against the market at a URL."""
    migrate(database)
    engine = open_database(database)
    facts, kept, settlings = FactStore(engine), cycles(engine), Settlings(engine)
    return Plant(
        bidder=Bidder(
            resource_id=RESOURCE, market_id=market.rules.market_id, settlement_point=POINT, strategy=""
        ),
        market=market,
        exchange=exchange(url=url, token=TOKEN, timeout_s=timeout_s),
        facts=facts,
        cycles=kept,
        settlings=settlings,
        collector=Collector(facts=facts, cycles=kept, first_days=3),
        settling=Settling(
            facts=facts,
            cycles=kept,
            settlings=settlings,
            metering=meters,
            owner_share_permille=lambda _resource: 800,
            options=OPTIONS,
        ),
    )
