"""The collector: what came while nobody looked is known from when it came, and a new start goes on from what is known."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from fastapi import FastAPI

from shoal.bidding.cycle.collector import OVERLAP_NS, Collector
from shoal.bidding.cycle.ports import Bidder
from shoal.connect.exchange_http import HttpExchange
from shoal.domain.interval import NS_PER_HOUR
from shoal.market.exchange import PublishedPrice
from shoal.market.series import price_series
from shoal.simulate.exchange import create_exchange
from shoal.store.cycles import Cycles
from shoal.store.database import migrate, open_database
from shoal.store.facts import FactStore
from tests.integration.bidding.cycle_world import DAY, NEM, PARTICIPANT, POINT, RESOURCE, TOKEN, tape
from tests.integration.simulate.clocks import HandClock
from tests.integration.simulate.test_market import serving

SERIES: Final = price_series("nem", POINT, "energy")
BIDDER: Final = Bidder(resource_id=RESOURCE, market_id="nem", settlement_point=POINT, strategy="markov")
START_NS: Final = int(NEM.bounds_ns("energy", DAY)[0])
EVER_NS: Final = 2**62


class Noted(HttpExchange):
    """Notes from when on prices are asked for."""

    def prices(
        self, settlement_point: str, product: str, *, from_ns: int, to_ns: int, since_ns: int = 0
    ) -> list[PublishedPrice]:
        if product == "energy":
            self.__dict__.setdefault("since", []).append(since_ns)
        return super().prices(settlement_point, product, from_ns=from_ns, to_ns=to_ns, since_ns=since_ns)


def market(folder: Path, clock: HandClock) -> FastAPI:
    return create_exchange(
        NEM,
        clock,
        store=folder / "book.db",
        tokens={TOKEN: "shoal"},
        resources=[PARTICIPANT],
        tapes=[tape(days_before=1, days_after=1)],
        since_ns=START_NS,
    )


def test_a_collector_that_starts_again_goes_on_from_what_is_known(tmp_path: Path) -> None:
    clock = HandClock(START_NS)
    url = f"sqlite:///{tmp_path / 'plant.db'}"
    migrate(url)
    engine = open_database(url)
    facts, cycles = FactStore(engine), Cycles(engine)
    with serving(market(tmp_path, clock)) as address:
        exchange = Noted(url=address, token=TOKEN)
        first = Collector(facts=facts, cycles=cycles)
        assert first.collect(BIDDER, NEM, exchange, now_ns=clock.t_ns) == 289
        kept = facts.as_of([SERIES], 0, EVER_NS, EVER_NS)[SERIES]
        np.testing.assert_array_equal(kept.known_ns, kept.start_ns)  # a past in which nothing was decided

        clock.t_ns += 6 * NS_PER_HOUR  # nobody looked for six hours
        again = Collector(facts=facts, cycles=cycles)
        assert (
            again.collect(BIDDER, NEM, exchange, now_ns=clock.t_ns)
            == 6 * 12 + OVERLAP_NS // NS_PER_HOUR * 12 + 1
        )
        assert exchange.__dict__["since"] == [0, START_NS - OVERLAP_NS]
        after = facts.as_of([SERIES], 0, EVER_NS, EVER_NS)[SERIES]
        missed = after.start_ns > START_NS
        assert missed.sum() == 72 and (after.known_ns[missed] == clock.t_ns).all()
        # what was known before it went away is known from the same instants as ever
        np.testing.assert_array_equal(after.known_ns[~missed], kept.known_ns)
        record = facts.last_record()
        again.collect(BIDDER, NEM, exchange, now_ns=clock.t_ns)
        assert facts.last_record() == record  # what is known already adds nothing
        exchange.close()
    engine.dispose()
