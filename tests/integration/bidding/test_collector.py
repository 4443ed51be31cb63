"""The collector: what came while nobody looked is known from when it came, and a new start goes on from what is known."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from fastapi import FastAPI

from shoal.bidding.cycle.collector import OVERLAP_NS, Collector, award_series, corrected_quantities
from shoal.bidding.cycle.ports import Bidder
from shoal.connect.exchange_http import HttpExchange
from shoal.domain.interval import NS_PER_HOUR
from shoal.market.awards import AwardedQuantity, MarketAward
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


def award(version: int, power_w: dict[int, int]) -> MarketAward:
    return MarketAward(
        resource_id=RESOURCE,
        market_id="nem",
        settlement_point=POINT,
        delivery_date=DAY.isoformat(),
        bid_id="b",
        version=version,
        published_ns=version,
        quantities=tuple(
            AwardedQuantity(
                product="energy", start_ns=start_ns, end_ns=start_ns + 1, power_w=watts, price_per_mwh=1.0
            )
            for start_ns, watts in power_w.items()
        ),
    )


def test_a_correction_is_what_was_given_otherwise_before() -> None:
    before, after = award(1, {0: 5, 1: -7, 2: 9}), award(2, {0: 5, 1: -6, 3: 4})
    changed = [(one.start_ns, one.power_w) for one in corrected_quantities(before, after)]
    assert changed == [(1, -6), (2, 0)]  # what is new is none, what was taken back is
    assert corrected_quantities(after, after) == []


class Corrected(HttpExchange):
    """Answers with awards of its own."""

    def awards(self, resource_id: str, delivery_date: str) -> list[MarketAward]:
        held: list[MarketAward] = self.__dict__.get("held", [])
        return held if delivery_date == DAY.isoformat() else []


def test_a_corrected_award_is_a_fact_whoever_recorded_the_award(tmp_path: Path) -> None:
    clock = HandClock(START_NS + NS_PER_HOUR)
    url = f"sqlite:///{tmp_path / 'plant.db'}"
    migrate(url)
    engine = open_database(url)
    facts, cycles = FactStore(engine), Cycles(engine)
    series_id = award_series("nem", RESOURCE, "energy")
    with serving(market(tmp_path, clock)) as address:
        exchange = Corrected(url=address, token=TOKEN)
        first = Collector(facts=facts, cycles=cycles)
        exchange.__dict__["held"] = [award(1, {START_NS: 5}), award(2, {START_NS: 5, START_NS + 2: 6})]
        first.collect(BIDDER, NEM, exchange, now_ns=clock.t_ns)
        assert facts.last_record_of([series_id]) == 0  # an award that grows is no correction
        exchange.__dict__["held"] += [award(3, {START_NS: 4, START_NS + 2: 6})]
        # whoever recorded the award died before the fact
        cycles.record_award(exchange.__dict__["held"][-1], known_ns=clock.t_ns)
        again = Collector(facts=facts, cycles=cycles)
        again.collect(BIDDER, NEM, exchange, now_ns=clock.t_ns + 1)
        found = facts.as_of([series_id], 0, EVER_NS, EVER_NS)[series_id]
        assert found.start_ns.tolist() == [START_NS] and found.value.tolist() == [[4.0]]
        record = facts.last_record_of([series_id])
        assert record > 0
        Collector(facts=facts, cycles=cycles).collect(BIDDER, NEM, exchange, now_ns=clock.t_ns + 2)
        assert facts.last_record_of([series_id]) == record
        exchange.close()
    engine.dispose()
