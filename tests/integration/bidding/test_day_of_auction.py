"""A fleet bids into a day-ahead auction: measured from twins, once for each gate, better when more of it reports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.bidding.awarded import Ahead, Awarded
from shoal.bidding.cycle.keeper import LAST_CALL_SHARE
from shoal.bidding.cycle.known import gate_ref
from shoal.bidding.measure import TwinMeasuring, bidders_of
from shoal.bidding.runs import RunBook
from shoal.cli.roles.market import real_tape
from shoal.domain.errors import UnavailableError
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, NS_PER_S
from shoal.domain.live import WorkflowRun
from shoal.domain.telemetry import TELEMETRY
from shoal.domain.twins import FleetView
from shoal.market.bids import Orders
from shoal.market.exchange import PublishedPrice
from shoal.market.registry import market_module
from shoal.market.standing import in_force
from shoal.simulate.exchange import ExchangeFaults, create_exchange
from shoal.simulate.exchange_book import ExchangeBook, Participant
from shoal.simulate.exchange_tape import Corrections
from shoal.store.ledger import Ledger
from tests.integration.bidding.cycle_world import TOKEN, Desk, open_desk
from tests.integration.simulate.clocks import HandClock
from tests.integration.simulate.test_market import serving
from tests.integration.store.fleets import make_fleet

MARKET = market_module("ercot-da")
DAY = date(2021, 7, 2)
FLEET = make_fleet(300)
RESOURCES = [str(resource.resource_id) for resource in FLEET.resources]
GATE = MARKET.gates("day-ahead", DAY)[0]
LEAD_S = 3_600.0
LEAD_NS = int(LEAD_S) * NS_PER_S
LAST_CALL_NS = GATE.closes_ns - LEAD_NS // LAST_CALL_SHARE
STEP_NS = 5 * NS_PER_MINUTE


@dataclass
class Twins:
    """What the fleet reports: every site at a state of charge, but for those that are silent."""

    clock: HandClock
    silent: int = 0
    away: bool = False
    soc_frac: NDArray[np.float64] = field(default_factory=lambda: np.linspace(0.3, 0.9, 300))

    def view(self) -> FleetView:
        if self.away:
            raise UnavailableError("twin shard 0", "it does not answer")
        latest: NDArray[Any] = TELEMETRY.empty(len(FLEET.site_ids))
        latest["ts_ns"] = self.clock.now_ns()
        latest["ts_ns"][: self.silent] -= NS_PER_HOUR
        latest["soc_frac"] = self.soc_frac
        return FleetView(t_ns=self.clock.now_ns(), latest=latest)


@dataclass
class World:
    """A market, the plant before it, and what people see."""

    clock: HandClock
    twins: Twins
    book: ExchangeBook
    desk: Desk
    ledger: Ledger
    runs: list[WorkflowRun]
    run_book: RunBook

    def live(self, from_ns: int, to_ns: int) -> None:
        """Turn every five minutes of ``[from_ns, to_ns)``, twice each."""
        for t_ns in range(from_ns, to_ns, STEP_NS):
            self.clock.t_ns = t_ns
            for _ in range(2):
                self.desk.turn(t_ns)
            self.run_book.refresh()

    def created(self, resource_id: str) -> list[int]:
        return [one.created_ns for one in self.desk.cycles.bids(resource_id=resource_id)]


@contextmanager
def world(
    folder: Path,
    *,
    faults: ExchangeFaults | None = None,
    corrections: Corrections | None = None,
    begin_ns: int = GATE.closes_ns - LEAD_NS - STEP_NS,
) -> Iterator[World]:
    clock = HandClock(begin_ns)
    app = create_exchange(
        MARKET,
        clock,
        store=folder / "market" / "book.db",
        tokens={TOKEN: "shoal"},
        resources=[
            Participant(
                resource_id=resource.resource_id,
                settlement_point=resource.settlement_point,
                participant="shoal",
                product="day-ahead",
            )
            for resource in FLEET.resources
        ],
        tapes=[
            real_tape(MARKET, point)
            for point in sorted({resource.settlement_point for resource in FLEET.resources})
        ],
        since_ns=GATE.closes_ns - 1,
        faults=faults,
        corrections=corrections,
    )
    twins = Twins(clock)
    bidders, strangers = bidders_of(FLEET, market_module, lead_s=240.0, daily_lead_s=LEAD_S)
    assert not strangers
    runs: list[WorkflowRun] = []
    with serving(app) as url:
        desk = open_desk(
            folder,
            url,
            clock.now_ns,
            bidders=bidders,
            measure=TwinMeasuring(
                fleet=FLEET, view=twins.view, availability_frac=0.95, fresh_timeout_s=180.0
            ),
            shadow=lambda order: run_book.note(order.name),
        )
        ledger = Ledger(desk.cycles.engine)
        run_book = RunBook(ledger, record=ledger.record_run, publish=runs.append)
        made = World(clock, twins, app.state.book, desk, ledger, runs, run_book)
        try:
            yield made
        finally:
            desk.close()


def test_each_gate_has_one_bid_and_its_award_is_followed(tmp_path: Path) -> None:
    with world(tmp_path) as plant:
        plant.live(GATE.closes_ns - LEAD_NS - STEP_NS, GATE.closes_ns + STEP_NS)
        for name in RESOURCES:
            assert plant.created(name) == [GATE.closes_ns - LEAD_NS]
        account = plant.book.summary(now_ns=plant.clock.t_ns)
        assert (account.gates_valid, account.gates_missed, account.bids_accepted) == (2, 0, 2)
        out_ns = GATE.publishes_ns
        assert out_ns is not None
        awarded = Awarded(cycles=plant.desk.cycles, market=market_module)
        bids = [awarded.ahead(resource, GATE.closes_ns) for resource in FLEET.resources]
        plant.live(out_ns - STEP_NS, out_ns + STEP_NS)
        for resource, bid in zip(FLEET.resources, bids, strict=True):
            ahead = awarded.ahead(resource, out_ns + STEP_NS)
            assert ahead != Ahead(), "what is awarded is still to be delivered"
            for name in ("most_charge_w", "most_discharge_w", "charge_wh", "discharge_wh"):
                assert getattr(ahead, name) <= getattr(bid, name), (
                    "no more than what was bid, of which it comes"
                )
            assert awarded.ahead(resource, GATE.covers.end_ns) == Ahead()
            (award,) = awarded.days(resource, GATE.covers.start_ns, GATE.covers.end_ns)
            assert len(award.intervals) == 24
            (own,) = plant.book.awards(resource.resource_id, DAY.isoformat(), now_ns=plant.clock.t_ns)
            assert [one.energy_wh for one in award.intervals] == [one.power_w for one in own.quantities]
            traded = next(one for one in award.intervals if one.energy_wh)
            under_way = awarded.at(resource, traded.start_ns + NS_PER_MINUTE)
            assert under_way == traded
            assert awarded.at(resource, GATE.covers.end_ns) is None
            assert awarded.days(resource, 0, 2**62, as_of_ns=out_ns - 1) == []


def test_bid_waits_for_silent_sites_until_the_last_call(tmp_path: Path) -> None:
    with world(tmp_path) as plant:
        plant.twins.silent = 150
        plant.live(GATE.closes_ns - LEAD_NS - STEP_NS, LAST_CALL_NS)
        assert plant.desk.cycles.bids() == []
        plant.live(LAST_CALL_NS, LAST_CALL_NS + 1)
        assert [plant.created(name) for name in RESOURCES] == [[LAST_CALL_NS]] * 2


def test_more_that_reports_makes_a_better_bid_and_takes_back_what_is_not_wanted(tmp_path: Path) -> None:
    name = RESOURCES[0]
    with world(tmp_path) as plant:
        plant.twins.silent = 150
        plant.live(LAST_CALL_NS, LAST_CALL_NS + STEP_NS)
        plant.twins.silent = 0
        plant.live(LAST_CALL_NS + STEP_NS, GATE.closes_ns)
        records = plant.desk.cycles.bids(resource_id=name)
        assert [one.state for one in records] == ["superseded", "accepted"]
        assert plant.book.summary(now_ns=GATE.closes_ns).bids_duplicate == 0
        first, second = (one.bid for one in records)
        whole = in_force(first, second)
        (standing,), (listed,) = whole.offers, second.offers
        assert isinstance(standing, Orders) and isinstance(listed, Orders)
        assert standing.orders == tuple(sorted(listed.orders, key=lambda order: order.start_ns)), (
            "nothing of the first bid stands unless the second one says so"
        )
        plan = plant.desk.cycles.decision(records[1].decision_id)
        assert plan.trigger == "coverage"


def test_restart_goes_on_from_the_newest_order_and_bids_no_more(tmp_path: Path) -> None:
    with world(tmp_path) as plant:
        plant.twins.silent = 60
        plant.live(LAST_CALL_NS, LAST_CALL_NS + STEP_NS)
        plant.twins.silent = 0
        plant.live(LAST_CALL_NS + STEP_NS, LAST_CALL_NS + 2 * STEP_NS)
        before = [one.bid for one in plant.desk.cycles.bids()]
        decided = plant.desk.cycles.decision_ids(from_ns=0, to_ns=2**62)
        assert len(decided) == 4, "two for each resource"
        plant.desk.forget()
        plant.live(LAST_CALL_NS + 2 * STEP_NS, GATE.closes_ns + STEP_NS)
        assert [one.bid for one in plant.desk.cycles.bids()] == before
        assert plant.desk.cycles.decision_ids(from_ns=0, to_ns=2**62) == decided
        assert plant.desk.keeper.statistics().orders_given == 2, "the newest of each, whose result is there"
        account = plant.book.summary(now_ns=plant.clock.t_ns)
        assert (account.gates_missed, account.bids_duplicate) == (0, 0)


def test_bid_stands_although_the_twins_do_not_answer(tmp_path: Path) -> None:
    with world(tmp_path) as plant:
        plant.twins.away = True
        plant.live(LAST_CALL_NS, GATE.closes_ns)
        (record,) = plant.desk.cycles.bids(resource_id=RESOURCES[0])
        assert record.state == "accepted"
        (offer,) = record.bid.offers
        assert isinstance(offer, Orders)
        assert offer.orders[0].side == "buy", (
            "everybody is taken to stand at the reserve: nothing to sell yet"
        )


def test_market_that_was_away_for_most_of_the_lead_gets_its_bid(tmp_path: Path) -> None:
    back_ns = GATE.closes_ns - 2 * STEP_NS
    with world(tmp_path, faults=ExchangeFaults(outages=((0, back_ns),))) as plant:
        plant.live(GATE.closes_ns - 4 * STEP_NS, GATE.closes_ns)
        states = {one.bid.resource_id: one.state for one in plant.desk.cycles.bids()}
        assert set(states.values()) <= {"accepted", "withdrawn", "superseded"}
        account = plant.book.summary(now_ns=GATE.closes_ns)
        assert (account.gates_missed, account.bids_duplicate) == (0, 0)


def test_plant_that_comes_too_late_leaves_the_gate_to_the_next_day(tmp_path: Path) -> None:
    with world(tmp_path, begin_ns=GATE.closes_ns) as plant:
        plant.live(GATE.closes_ns, GATE.closes_ns + 6 * STEP_NS)
        assert plant.desk.cycles.bids() == []


def test_every_day_has_its_bid_and_prices_are_asked_for_when_they_are_out(tmp_path: Path) -> None:
    with world(tmp_path) as plant:
        asked: list[tuple[int, str]] = []
        way = plant.desk.exchange.prices

        def noted(point: str, product: str, **span: int) -> list[PublishedPrice]:
            asked.append((plant.clock.t_ns, point))
            return way(point, product, **span)

        plant.desk.exchange.prices = noted  # type: ignore[method-assign, assignment]
        for day in (DAY, DAY + timedelta(days=1)):
            gate = MARKET.gates("day-ahead", day)[0]
            plant.live(gate.closes_ns - LEAD_NS - STEP_NS, gate.closes_ns - LEAD_NS + STEP_NS)
            out_ns = gate.publishes_ns or 0
            plant.live(out_ns - STEP_NS, out_ns + 2 * STEP_NS)
        assert sorted({one.bid.delivery_date for one in plant.desk.cycles.bids()}) == [
            DAY.isoformat(),
            (DAY + timedelta(days=1)).isoformat(),
        ]
        out_ns = GATE.publishes_ns or 0
        assert sum(t_ns == out_ns for t_ns, _ in asked) == 2, "one for each point, once they are out"
        assert sum(t_ns == out_ns + STEP_NS for t_ns, _ in asked) == 0, "and then they are there"


def test_corrected_prices_award_anew_in_a_higher_version(tmp_path: Path) -> None:
    later_s = 2 * 3_600.0
    with world(tmp_path, corrections=Corrections(share_frac=0.5, after_s=later_s, seed=4)) as plant:
        plant.live(GATE.closes_ns - LEAD_NS, GATE.closes_ns - LEAD_NS + 1)
        out_ns = GATE.publishes_ns or 0
        plant.live(out_ns, out_ns + STEP_NS)
        plant.live(out_ns + int(later_s + 3_600) * NS_PER_S, out_ns + int(later_s + 3_900) * NS_PER_S)
        versions = plant.desk.cycles.awards(RESOURCES[0], "ercot-da", DAY.isoformat())
        assert [one.version for one in versions] == [1, 2]
        resource = FLEET.resources[0]
        awarded = Awarded(cycles=plant.desk.cycles, market=market_module)
        (newest,) = awarded.days(resource, GATE.covers.start_ns, GATE.covers.end_ns)
        assert newest.version == 2


def test_runs_tell_of_rungs_steps_and_missed_gates(tmp_path: Path) -> None:
    with world(tmp_path, faults=ExchangeFaults(outages=((0, GATE.closes_ns),))) as plant:
        plant.live(GATE.closes_ns - 2 * STEP_NS, GATE.closes_ns + 2 * STEP_NS)
        newest = {run.resource_id: run for run in plant.runs}
        assert {run.status for run in newest.values()} == {"missed"}
        run = newest[RESOURCES[0]]
        assert (run.kind, run.delivery_date, run.gate_ns) == ("bid", DAY.isoformat(), GATE.closes_ns)
        assert run.finished_ns is not None and run.finished_ns >= GATE.closes_ns
        assert run.steps[0].name == "fresh"
        assert "withdrawn" in [step.name for step in run.steps]
        assert plant.ledger.run(run.workflow_id) == run
        shown = len(plant.runs)
        plant.run_book.refresh()
        assert len(plant.runs) == shown, "what is finished is not told again"


@pytest.mark.parametrize("missing", ["fresh", "single"])
def test_measuring_takes_silent_energy_out(missing: str) -> None:
    clock = HandClock(GATE.closes_ns - LEAD_NS)
    twins = Twins(clock, silent=0)
    measure = TwinMeasuring(fleet=FLEET, view=twins.view, availability_frac=0.95, fresh_timeout_s=180.0)
    gate = gate_ref("ercot-da", DAY.isoformat(), GATE)
    whole = measure(RESOURCES[0], gate, clock.t_ns)
    assert whole.silent_frac == 0.0
    twins.silent = 300 if missing == "fresh" else 1
    assert measure(RESOURCES[0], gate, clock.t_ns) == whole, "one view serves for a while"
    clock.t_ns += NS_PER_MINUTE
    less = measure(RESOURCES[0], gate, clock.t_ns)
    assert less.silent_frac == pytest.approx(1.0 if missing == "fresh" else 1 / 300)
    # who is silent stands at his reserve: room is there as ever, but for what cannot always be split
    capacity_kwh = whole.storage.energy_capacity_kwh
    assert less.storage.energy_capacity_kwh == pytest.approx(capacity_kwh, rel=0.02)
    assert less.storage.initial_energy_kwh < whole.storage.initial_energy_kwh
    if missing == "fresh":
        assert less.storage.initial_energy_kwh == 0.0
