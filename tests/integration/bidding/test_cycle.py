"""The cycle of five-minute gates against a simulated market over HTTP: a valid bid at every gate, none sent twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shoal.bidding.cycle.consent import ModeSet
from shoal.bidding.cycle.known import canonical, gate_ref
from shoal.bidding.cycle.workflow import (
    Order,
    decide_now,
    decision_record,
    draft,
    send_if_allowed,
    situation_of,
    standing_bid,
)
from shoal.domain.errors import UnavailableError
from shoal.domain.interval import NS_PER_S
from shoal.market.awards import MarketReceipt
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


def order_for(number: int) -> Order:
    """Return the first order for one of the day's gates."""
    return Order(
        resource_id=RESOURCE,
        gate=gate_ref("nem", DAY.isoformat(), GATES[number]),
        trigger="schedule",
        why="",
        event_ns=0,
        number=0,
    )


def drafted(desk: Desk, number: int) -> str:
    """Decide for a gate on what is believed to stand, write the bid and return its key; nothing is sent."""
    order = order_for(number)
    about = situation_of(desk.plant, order, shadow="")
    climbed = decide_now(desk.plant, order, about)
    desk.cycles.record_decision(decision_record(order, about, climbed, shadow=False))
    return draft(desk.plant, order, about, climbed.decision, author="").bid.idempotency_key


def test_a_bid_that_builds_upon_one_that_never_arrived_is_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bid of the day is lost on the way; until that is known the next one waits, and then it is withdrawn."""

    def away(key: str, *, timeout_s: float) -> MarketReceipt | None:
        raise UnavailableError("market", "it does not answer")

    with world(tmp_path) as (clock, desk, book):
        desk.collector.collect(desk.plant.bidders[RESOURCE], NEM, desk.exchange, now_ns=clock.t_ns)
        daily = drafted(desk, 0)
        assert desk.cycles.begin_sending(daily, at_ns=clock.t_ns, by="dead")
        upon = drafted(desk, 1)
        clock.t_ns = DAILY_NS + NS_PER_S
        with monkeypatch.context() as cut:
            cut.setattr(desk.exchange, "receipt", away)
            assert send_if_allowed(desk.plant, upon) == "waiting"
        assert send_if_allowed(desk.plant, upon) == "withdrawn"
        record = desk.cycles.bid(daily)
        assert record is not None and record.state == "withdrawn"
        assert desk.cycles.steps(upon)[-1].said.startswith("the market would refuse it")
        assert book.summary(now_ns=clock.t_ns).bids_received == 0


def test_a_bid_that_builds_upon_one_that_was_read_back_goes(tmp_path: Path) -> None:
    with world(tmp_path) as (clock, desk, book):
        desk.collector.collect(desk.plant.bidders[RESOURCE], NEM, desk.exchange, now_ns=clock.t_ns)
        daily = drafted(desk, 0)
        record = desk.cycles.bid(daily)
        assert record is not None and desk.cycles.begin_sending(daily, at_ns=clock.t_ns, by="dead")
        desk.exchange.submit(record.bid, timeout_s=5.0)
        upon = drafted(desk, 1)
        assert send_if_allowed(desk.plant, upon) == "accepted"
        account = book.summary(now_ns=clock.t_ns)
        assert (account.bids_received, account.bids_accepted) == (2, 2)


def test_something_valid_stands_hours_before_a_day_is_due_and_its_better_follows(tmp_path: Path) -> None:
    hour_ns = 3_600 * NS_PER_S
    with world(tmp_path) as (clock, desk, book):
        for hours in (12, 11, 10):
            clock.t_ns = DAILY_NS - hours * hour_ns
            desk.turn(clock.t_ns)
            assert book.standing(RESOURCE, DAY.isoformat()) is not None
            assert len(desk.cycles.bids(resource_id=RESOURCE, delivery_date=DAY.isoformat())) == 1
        clock.t_ns = DAILY_NS - 3 * hour_ns
        desk.turn(clock.t_ns)
        newest = desk.cycles.decisions(RESOURCE, from_ns=DAILY_NS, to_ns=DAILY_NS + 1)[-1]
        assert newest.as_of_ns == clock.t_ns


def test_where_people_let_bids_go_they_are_asked_only_when_it_is_due(tmp_path: Path) -> None:
    hour_ns = 3_600 * NS_PER_S
    with world(tmp_path) as (clock, desk, _book):
        clock.t_ns = DAILY_NS - 12 * hour_ns
        said = ModeSet(
            resource_id=RESOURCE, mode="advisory", four_eyes=False, by="trader", at_ns=clock.t_ns - 1
        )
        desk.consents.say("mode", subject=RESOURCE, by="trader", at_ns=said.at_ns, content=canonical(said))
        desk.turn(clock.t_ns)
        assert not desk.cycles.bids(resource_id=RESOURCE, delivery_date=DAY.isoformat())
        clock.t_ns = DAILY_NS - 3 * hour_ns
        desk.turn(clock.t_ns)
        [waits] = desk.cycles.bids(resource_id=RESOURCE, delivery_date=DAY.isoformat())
        assert waits.state == "draft"
