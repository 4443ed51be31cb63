"""A plant that settles against a simulated market over HTTP: real stores, real rules, meters that say what a test says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from random import Random
from typing import Final

import msgspec

from shoal.domain.interval import NS_PER_HOUR
from shoal.market.registry import market_module
from shoal.market.settlement import settlement_intervals
from shoal.simulate.exchange import ExchangeFaults, create_exchange
from shoal.simulate.exchange_book import ExchangeBook
from shoal.simulate.exchange_settling import SettlingRules
from shoal.simulate.exchange_tape import Corrections
from tests.integration.bidding.settling_plant import TOKEN, Meters, Plant, open_plant
from tests.integration.simulate.clocks import HandClock
from tests.integration.simulate.settling_days import meters_of, participant, tapes_of
from tests.integration.simulate.settling_names import POINT
from tests.integration.simulate.test_market import serving
from tests.property.market.specimens import bid_of, in_time_ns

AGENT_TOKEN: Final = "token-of-the-meter-house"
SOON: Final = {"initial": 7_200.0, "preliminary": 7_200.0, "II": 7_200.0}


@dataclass(slots=True, kw_only=True)
class World:
    """A market in which a bid stands, its clock, and the plant."""

    clock: HandClock
    book: ExchangeBook
    url: str
    plant: Plant
    meters: Meters
    day: date
    start_ns: int
    end_ns: int

    def pass_day(self) -> None:
        """Let the day go by, looking now and then."""
        for now_ns in (*range(self.start_ns, self.end_ns, 6 * NS_PER_HOUR), self.end_ns):
            self.clock.t_ns = now_ns
            self.plant.turn(now_ns)

    def go_to(self, now_ns: int, *, turns: int = 1) -> None:
        """Move on, and take so many turns, a minute apart."""
        for number in range(turns):
            self.clock.t_ns = now_ns + number * 60 * 1_000_000_000
            self.plant.turn(self.clock.t_ns)


@contextmanager
def world(
    market_id: str,
    day: date,
    folder: Path,
    *,
    seed: int = 5,
    faults: ExchangeFaults | None = None,
    corrections: Corrections | None = None,
    metering_agent: str = "",
) -> Iterator[World]:
    """Yield a market over HTTP in which a bid stands for a day, and a plant that settles it."""
    market, random = market_module(market_id), Random(seed)
    intervals = settlement_intervals(market.rules, day)
    clock = HandClock(in_time_ns(market, day))
    tapes = tapes_of(market, day, random)
    app = create_exchange(
        market,
        clock,
        store=folder / "market" / "book.db",
        tokens={TOKEN: "shoal", AGENT_TOKEN: "meter-house"},
        resources=[participant(market, metering_agent=metering_agent)],
        tapes=tapes,
        since_ns=clock.t_ns,
        faults=faults,
        corrections=corrections,
        settling=SettlingRules(after_s=SOON),
    )
    bid = msgspec.structs.replace(bid_of(random, market, day=day, count=4), settlement_point=POINT)
    receipt = app.state.book.submit(bid, participant="shoal", received_ns=clock.t_ns)
    assert receipt.state == "accepted", receipt
    meters = Meters(meters_of(market, day, random))
    with serving(app) as url:
        plant = open_plant(url, f"sqlite:///{folder / 'plant.db'}", market, meters)
        try:
            yield World(
                clock=clock,
                book=app.state.book,
                url=url,
                plant=plant,
                meters=meters,
                day=day,
                start_ns=intervals[0].start_ns,
                end_ns=intervals[-1].end_ns,
            )
        finally:
            plant.exchange.close()
