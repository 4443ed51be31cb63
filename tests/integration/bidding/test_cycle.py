"""The cycle of five-minute gates against a simulated market over HTTP: a valid bid at every gate, none sent twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shoal.bidding.cycle.known import gate_ref
from shoal.bidding.cycle.workflow import Order, standing_bid
from shoal.domain.interval import NS_PER_S
from shoal.simulate.exchange import ExchangeFaults, create_exchange
from shoal.simulate.exchange_book import ExchangeBook
from shoal.simulate.exchange_tape import Corrections
from tests.integration.bidding.cycle_world import (
    DAY,
    NEM,
    PARTICIPANT,
    RESOURCE,
    TOKEN,
    Desk,
    open_desk,
    tape,
)
from tests.integration.simulate.clocks import HandClock
from tests.integration.simulate.test_market import serving

GATES = NEM.gates("energy", DAY)
DAILY_NS = GATES[0].closes_ns


@contextmanager
def world(
    folder: Path, *, faults: ExchangeFaults | None = None, corrections: Corrections | None = None
) -> Iterator[tuple[HandClock, Desk, ExchangeBook]]:
    clock = HandClock(DAILY_NS - 110 * NS_PER_S)
    app = create_exchange(
        NEM,
        clock,
        store=folder / "market" / "book.db",
        tokens={TOKEN: "shoal"},
        resources=[PARTICIPANT],
        tapes=[tape(days_before=12, days_after=2)],
        since_ns=DAILY_NS - 1,
        faults=faults,
        corrections=corrections,
    )
    with serving(app) as url:
        desk = open_desk(folder, url, clock.now_ns)
        try:
            yield clock, desk, app.state.book
        finally:
            desk.close()


def bid_through(clock: HandClock, desk: Desk, *, intervals: int) -> None:
    """Meet the daily gate, then that of so many intervals, three turns each."""
    for gate in (GATES[0], *GATES[1 : 1 + intervals]):
        for before_s in (110, 60, 10):
            clock.t_ns = gate.closes_ns - before_s * NS_PER_S
            desk.turn(clock.t_ns)
    clock.t_ns = GATES[intervals].closes_ns + NS_PER_S
    desk.turn(clock.t_ns)


def test_every_gate_finds_a_valid_bid(tmp_path: Path) -> None:
    with world(tmp_path) as (clock, desk, book):
        bid_through(clock, desk, intervals=12)
        account = book.summary(now_ns=clock.t_ns)
        assert (account.gates_passed, account.gates_missed) == (13, 0)
        assert account.bids_duplicate == account.bids_rejected == account.bids_late == 0
        assert account.bids_accepted >= 13
        seen = desk.keeper.statistics()
        # the gate of the day before, for which no day was bid, leaves nothing to do
        assert seen.rungs["fresh"] >= 13 and set(seen.rungs) <= {"fresh", "standing"}
        award = desk.cycles.awards(RESOURCE, "nem", DAY.isoformat())[-1]
        assert {one.product for one in award.quantities} == {"energy"}


@pytest.mark.parametrize("seed", [1, 2])
def test_a_hostile_market_gets_every_bid_once(tmp_path: Path, seed: int) -> None:
    faults = ExchangeFaults(
        refused_frac=0.15, unknown_frac=0.2, lost_frac=0.02, lost_s=0.4, busy_frac=0.1, seed=seed
    )
    corrections = Corrections(share_frac=0.2, after_s=600.0, seed=seed)
    with world(tmp_path, faults=faults, corrections=corrections) as (clock, desk, book):
        bid_through(clock, desk, intervals=12)
        account = book.summary(now_ns=clock.t_ns)
        assert account.gates_missed == 0
        assert account.bids_duplicate == account.bids_late == account.bids_conflicting == 0
        # what the market refused was refused out of the blue, never for what the bid was
        assert set(account.refusals) <= {"market_busy"}
        assert account.refusals["market_busy"] > 0
        for record in desk.cycles.bids(resource_id=RESOURCE):
            receipt = book.receipt(record.bid.idempotency_key, participant="shoal")
            assert (receipt is not None and receipt.state == "accepted") == (
                record.state in {"accepted", "superseded"}
            )


def test_what_the_plant_believes_to_stand_is_what_stands(tmp_path: Path) -> None:
    with world(tmp_path, faults=ExchangeFaults(unknown_frac=0.3, seed=5)) as (clock, desk, book):
        bid_through(clock, desk, intervals=6)
        order = Order(
            resource_id=RESOURCE,
            gate=gate_ref("nem", DAY.isoformat(), GATES[0]),
            trigger="schedule",
            why="",
            event_ns=0,
            number=99,
        )
        believed, truth = standing_bid(desk.plant, order), book.standing(RESOURCE, DAY.isoformat())
        assert believed is not None and truth is not None
        assert believed.offers == truth.offers
