"""Shadows in processes of their own beside a live bidder with processes of its own, against a market over HTTP."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

import tests.integration.bidding.rungs_of_tests  # noqa: F401 - registers its strategies here, too
from shoal.bidding.cycle.decision import STANDING
from shoal.bidding.cycle.ports import Bidder
from shoal.bidding.cycle.shadow import Shadows
from shoal.bidding.cycle.shadow_score import score_shadows
from shoal.bidding.cycle.solver import Solver
from shoal.bidding.cycle.warm import warm_ups
from shoal.bidding.cycle.workflow import Order
from shoal.domain.interval import NS_PER_S
from shoal.market.registry import market_module
from shoal.simulate.exchange import create_exchange
from shoal.simulate.exchange_book import ExchangeBook
from tests.integration.bidding.cycle_world import (
    DAY,
    NEM,
    PARTICIPANT,
    POINT,
    RESOURCE,
    TOKEN,
    Desk,
    open_desk,
    tape,
)
from tests.integration.simulate.clocks import HandClock
from tests.integration.simulate.test_market import serving

PREPARE = ("shoal.bidding.cycle.five_minute", "tests.integration.bidding.rungs_of_tests")
GATES = NEM.gates("energy", DAY)
INTERVALS = 4
READY_S = 120.0
SHADOW_S = 2.0
EVER_NS = 2**62


@dataclass(slots=True)
class Run:
    """A live strategy over some gates, with a shadow that decides and one that hangs."""

    desk: Desk
    book: ExchangeBook
    shadows: Shadows
    solver: Solver
    shadow_solver: Solver
    clock: HandClock
    turn_s: list[float]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("shadows")
    clock = HandClock(GATES[0].closes_ns - 110 * NS_PER_S)
    app = create_exchange(
        NEM,
        clock,
        store=folder / "market" / "book.db",
        tokens={TOKEN: "shoal"},
        resources=[PARTICIPANT],
        tapes=[tape(days_before=12, days_after=2)],
        since_ns=GATES[0].closes_ns - 1,
    )
    bidder = Bidder(
        resource_id=RESOURCE,
        market_id="nem",
        settlement_point=POINT,
        strategy="markov",
        shadows=("stuck", "beside"),
        lead_s=120.0,
    )
    made: list[Shadows] = []

    def watch(order: Order) -> None:
        made[0].watch(order)

    solver = Solver(
        prepare=PREPARE, warm=lambda: warm_ups([bidder], market_module, now_ns=clock.now_ns())[:2]
    )
    shadow_solver = Solver(prepare=PREPARE, spares=0)
    for one in (solver, shadow_solver):
        one.start()
        assert one.wait_ready(READY_S)
    assert solver.wait_warm(READY_S)
    with serving(app) as url:
        desk = open_desk(folder, url, clock.now_ns, solver=solver, bidders={RESOURCE: bidder}, shadow=watch)
        shadows = Shadows(
            desk.plant, solver=shadow_solver, budget_s=SHADOW_S, wait_ready=shadow_solver.wait_ready
        )
        made.append(shadows)
        turn_s = []
        try:
            for gate in (GATES[0], *GATES[1 : 1 + INTERVALS]):
                for before_s in (110, 60, 10):
                    clock.t_ns = gate.closes_ns - before_s * NS_PER_S
                    started_s = time.monotonic()
                    desk.turn(clock.t_ns)
                    turn_s.append(time.monotonic() - started_s)
            clock.t_ns = GATES[INTERVALS].closes_ns + NS_PER_S
            desk.turn(clock.t_ns)
            assert shadows.wait_idle(READY_S)
            clock.t_ns = GATES[INTERVALS].covers.end_ns
            desk.collector.collect(bidder, NEM, desk.exchange, now_ns=clock.t_ns)
            yield Run(desk, app.state.book, shadows, solver, shadow_solver, clock, turn_s)
        finally:
            shadows.close()
            desk.close()
            solver.close()
            shadow_solver.close()


def test_the_live_bid_is_neither_delayed_nor_changed(run: Run) -> None:
    account = run.book.summary(now_ns=run.clock.t_ns)
    assert account.gates_passed > INTERVALS and account.gates_missed == 0
    assert account.bids_duplicate == account.bids_rejected == account.bids_late == 0
    assert run.solver.statistics().died == 0
    assert {one.bid.resource_id for one in run.desk.cycles.bids()} == {RESOURCE}
    # each order makes one shadow hang for its whole budget: no turn of the live strategy waits for that
    assert sorted(run.turn_s)[len(run.turn_s) // 2] < SHADOW_S


def test_the_shadow_decides_although_another_one_hangs_at_every_gate(run: Run) -> None:
    seen = run.shadows.statistics()
    assert seen.failed == 0 and seen.waiting == 0 and seen.decided >= 2 * (INTERVALS + 1)
    assert run.shadow_solver.statistics().cut_off >= INTERVALS + 1
    cycles = run.desk.cycles
    rungs: dict[str, set[str]] = {}
    for name in cycles.decision_ids(from_ns=0, to_ns=EVER_NS, shadow=True):
        record = cycles.decision(name)
        # at the gate of the day before, for which nothing stands, there is nothing to do for anybody
        if cycles.decision(name.removesuffix(f"-{record.strategy}")).rung != STANDING:
            rungs.setdefault(record.strategy, set()).add(record.rung)
    assert rungs == {"beside": {"simple"}, "stuck": {STANDING}}


def test_shadows_leave_no_facts(run: Run) -> None:
    assert {one.source for one in run.desk.facts.quarantine()} == set()
    names = {str(one.series_id) for one in run.desk.facts.freshness(0)}
    assert names and all(name.startswith("price/nem/") for name in names)


def test_both_are_scored_over_the_same_intervals(run: Run) -> None:
    from_ns, to_ns = GATES[1].covers.start_ns, GATES[INTERVALS].covers.end_ns
    found = score_shadows(run.desk.cycles, run.desk.facts, NEM, RESOURCE, from_ns, to_ns, as_of_ns=EVER_NS)
    assert [(book.strategy, book.shadow) for book in found.books] == [
        ("markov", False),
        ("beside", True),
        ("stuck", True),
    ]
    assert found.intervals == INTERVALS
    idle = found.books[2]
    assert idle.revenue == idle.bought_mwh == idle.sold_mwh == 0.0
