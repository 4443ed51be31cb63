"""Shadows decide beside the live strategy, send nothing, delay nothing, and are scored with it on one storage."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import pytest

from shoal.bidding.cycle.budget import BudgetRules
from shoal.bidding.cycle.climb import InPlace
from shoal.bidding.cycle.decision import STANDING, Decision, GateStrategy, RungOf, register
from shoal.bidding.cycle.five_minute import questions, thresholds
from shoal.bidding.cycle.known import GateRef, Known, Question, Situation, gate_ref
from shoal.bidding.cycle.ports import Bidder, Measured
from shoal.bidding.cycle.replay import replay_all
from shoal.bidding.cycle.shadow import Shadows
from shoal.bidding.cycle.shadow_score import score_shadows
from shoal.bidding.cycle.submission import Submission
from shoal.bidding.cycle.workflow import Order, Plant
from shoal.domain.errors import InvalidInputError
from shoal.market.bids import MarketBid
from shoal.market.registry import market_module
from shoal.store.consents import Consents
from shoal.store.database import migrate, open_database
from tests.integration.bidding.decided import (
    DAY,
    RESOURCE,
    STORAGE,
    WORLDS,
    Stored,
    decide_and_record,
    open_stored,
    order_for,
    stands_after,
)

MARKOV: Final = WORLDS[0]
NEM: Final = market_module("nem")
EVERY: Final = NEM.gates("energy", DAY)
GATES: Final = (EVERY[0], *EVERY[170:180])
"""The daily gate, and those of an evening in which prices move."""
EVER_NS: Final = 2**62
RELEASE: Final = threading.Event()


def _hang(known: Known) -> Decision:
    RELEASE.wait(60.0)
    return Decision(rung="hang")


def _no_questions(about: Situation) -> tuple[Question, ...]:
    raise ValueError("this strategy cannot even ask")


register(
    GateStrategy(
        name="watching",
        version="1",
        about="",
        questions=questions,
        rungs=(RungOf(name="simple", decide=thresholds, share=1.0),),
    )
)
register(
    GateStrategy(
        name="hanging",
        version="1",
        about="",
        questions=questions,
        rungs=(RungOf(name="hang", decide=_hang, share=1.0),),
    )
)
register(GateStrategy(name="broken", version="1", about="", questions=_no_questions, rungs=()))


def plant(stored: Stored, folder: Path, shadows: tuple[str, ...]) -> Plant:
    url = f"sqlite:///{folder / 'plant.db'}"
    migrate(url)

    def measure(resource_id: str, gate: GateRef, as_of_ns: int) -> Measured:
        return Measured(storage=STORAGE, silent_frac=0.0)

    def no_submission(market_id: str) -> Submission:
        raise AssertionError("a shadow must not send")

    bidder = Bidder(
        resource_id=RESOURCE, market_id="nem", settlement_point="VIC1", strategy="markov", shadows=shadows
    )
    return Plant(
        bidders={RESOURCE: bidder},
        market=market_module,
        cycles=stored.cycles,
        consents=Consents(open_database(url)),
        facts=stored.facts,
        measure=measure,
        solver=InPlace(),
        submission=no_submission,
        now_ns=lambda: GATES[-1].closes_ns,  # every gate is long closed when the shadows come to it
        left_s=lambda _ns: 0.0,
        budget=BudgetRules(),
        executor_id="test",
    )


def live_orders(stored: Stored, count: int) -> Iterator[Order]:
    """Let the live strategy decide for the daily gate and some intervals, and yield each order when it has."""
    standing: MarketBid | None = None
    for gate in GATES[: count + 1]:
        ref = gate_ref("nem", DAY.isoformat(), gate)
        about = MARKOV.situation(ref, stored.facts, standing)
        _, climbed = decide_and_record(stored, about)
        standing = stands_after(about, climbed.decision)
        yield order_for(ref)


def shadow_records(stored: Stored) -> list[tuple[Situation, Decision]]:
    names = stored.cycles.decision_ids(from_ns=0, to_ns=EVER_NS, shadow=True)
    records = [stored.cycles.decision(name) for name in names]
    return [
        (msgspec.json.decode(one.situation, type=Situation), msgspec.json.decode(one.decision, type=Decision))
        for one in records
    ]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stored]:
    """A live strategy and a shadow over eight intervals; after four of them the process starts anew."""
    folder = tmp_path_factory.mktemp("watched")
    stored = open_stored(folder)
    stored.facts.load(MARKOV.prices())
    work = plant(stored, folder, ("watching",))
    shadows = Shadows(work, solver=InPlace(), budget_s=120.0)
    for number, order in enumerate(live_orders(stored, 8)):
        if number == 5:
            shadows.close()
            shadows = Shadows(work, solver=InPlace(), budget_s=120.0)
        shadows.watch(order)
        assert shadows.wait_idle(120.0)
        assert shadows.statistics().failed == shadows.statistics().dropped == 0
    yield stored
    shadows.close()


def test_a_shadow_decides_at_every_gate_and_drafts_nothing(watched: Stored) -> None:
    found = shadow_records(watched)
    assert len(found) == 9
    assert {decision.rung for _, decision in found} == {"simple"}  # what the market would refuse is not taken
    assert watched.cycles.bids() == []
    live = watched.cycles.decision_ids(from_ns=0, to_ns=EVER_NS)
    for name, (about, _) in zip(live, found, strict=True):
        beside = msgspec.json.decode(watched.cycles.decision(name).situation, type=Situation)
        assert (about.as_of_ns, about.record_no, about.gate) == (
            beside.as_of_ns,
            beside.record_no,
            beside.gate,
        )
        assert about.strategy == "watching"


def test_a_shadow_lives_with_its_own_bids_and_its_own_stored_energy(watched: Stored) -> None:
    found = shadow_records(watched)
    standing: MarketBid | None = None
    for about, decision in found:
        assert (about.standing is None) == (standing is None)
        if standing is not None and about.standing is not None:
            assert about.standing.offers == standing.offers
        standing = stands_after(msgspec.structs.replace(about, standing=standing), decision)
    energies = [about.storage.initial_energy_kwh for about, _ in found]
    awards = [one for about, _ in found for one in about.commitments if one.power_w]
    assert awards and len(set(energies)) > 2  # it traded on paper, and remembers that it did


def test_shadow_decisions_replay_as_live_ones_do(watched: Stored) -> None:
    audit = replay_all(watched.cycles, watched.facts, from_ns=0, to_ns=EVER_NS)
    assert audit.same == audit.decisions == 18


def test_live_and_shadow_are_scored_on_one_storage(watched: Stored) -> None:
    from_ns, to_ns = GATES[1].covers.start_ns, GATES[8].covers.end_ns
    found = score_shadows(watched.cycles, watched.facts, NEM, RESOURCE, from_ns, to_ns, as_of_ns=EVER_NS)
    live, shadow = found.books
    assert (live.strategy, live.shadow, live.decisions) == ("markov", False, 9)
    assert (shadow.strategy, shadow.shadow, shadow.decisions) == ("watching", True, 9)
    assert found.intervals == 8 and found.product == "energy" and found.currency == "AUD"
    for book in found.books:
        # a watt-hour at most is lost in each interval to whole numbers
        best = found.revenue_perfect_foresight + found.stock_value_perfect_foresight
        assert book.revenue + book.stock_value <= best + 8 * 3.0
        assert book.stock_value == pytest.approx(sum(day.stock_value for day in book.days))
        assert book.revenue == pytest.approx(sum(day.revenue for day in book.days))
        assert book.cycles == pytest.approx(sum(day.cycles for day in book.days))
        stored = (
            book.bought_mwh * STORAGE.charge_efficiency_frac
            - book.sold_mwh / STORAGE.discharge_efficiency_frac
        )
        assert book.end_energy_kwh == pytest.approx(STORAGE.initial_energy_kwh + stored * 1e3)
        assert 0.0 <= book.end_energy_kwh <= STORAGE.energy_capacity_kwh
    assert live.revenue != shadow.revenue


def test_a_score_over_nothing_says_so(watched: Stored) -> None:
    with pytest.raises(InvalidInputError, match="was bid for"):
        score_shadows(watched.cycles, watched.facts, NEM, "nobody", 0, EVER_NS, as_of_ns=EVER_NS)
    with pytest.raises(InvalidInputError, match="no interval of the span"):
        span = (GATES[1].covers.start_ns, GATES[8].covers.end_ns)
        score_shadows(watched.cycles, watched.facts, NEM, RESOURCE, *span, as_of_ns=0)


def test_shadows_that_hang_or_fail_delay_nobody_and_are_counted(tmp_path: Path) -> None:
    stored = open_stored(tmp_path)
    stored.facts.load(MARKOV.prices())
    [daily] = live_orders(stored, 0)
    shadows = Shadows(
        plant(stored, tmp_path, ("broken", "hanging", "watching")),
        solver=InPlace(),
        budget_s=60.0,
        most_waiting=3,
    )
    try:
        RELEASE.clear()
        shadows.watch(daily)
        for _ in range(5):
            shadows.watch(daily)  # returns although one hangs
        seen = shadows.statistics()
        assert seen.dropped >= 14 and seen.waiting <= 3
    finally:
        RELEASE.set()
    assert shadows.wait_idle(60.0)
    seen = shadows.statistics()
    # what a broken shadow cannot ask for leaves it standing still, which is a decision, too
    assert seen.failed == 0 and seen.decided >= 3 and seen.waiting == 0
    shadows.close()
    shadows.watch(daily)
    assert shadows.statistics().dropped == seen.dropped + 3
    assert {one.rung for _, one in shadow_records(stored)} == {"hang", "simple", STANDING}


def test_a_shadow_whose_facts_are_away_stands_still(tmp_path: Path) -> None:
    stored = open_stored(tmp_path)
    [daily] = live_orders(stored, 0)  # nothing is known at all
    shadows = Shadows(plant(stored, tmp_path, ("watching",)), solver=InPlace(), budget_s=60.0)
    shadows.watch(daily)
    assert shadows.wait_idle(60.0)
    assert [one.rung for _, one in shadow_records(stored)] == [STANDING]
    shadows.close()
