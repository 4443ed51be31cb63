"""A solver in a process of its own: what hangs is cut off, what dies is replaced, and the ladder ends on a rung that holds."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from shoal.bidding.cycle.climb import climb
from shoal.bidding.cycle.decision import STANDING
from shoal.bidding.cycle.known import GateRef, Known, Series, Situation
from shoal.bidding.cycle.solver import RungFailedError, Solver
from shoal.domain.errors import DeadlineExceededError, UnavailableError
from shoal.domain.facts import SeriesId
from shoal.optimise.storage import Storage
from tests.integration.bidding.rungs_of_tests import MISBEHAVING

PREPARE = ("tests.integration.bidding.rungs_of_tests",)
READY_S = 60.0


def known() -> Known:
    gate = GateRef(
        market_id="nem",
        product_id="energy",
        kind="interval",
        delivery_date="2024-12-01",
        covers_start_ns=0,
        covers_end_ns=300_000_000_000,
        closes_ns=-20,
    )
    storage = Storage(
        charge_limit_kw=1.0,
        discharge_limit_kw=1.0,
        charge_efficiency_frac=0.9,
        discharge_efficiency_frac=0.9,
        energy_capacity_kwh=2.0,
        initial_energy_kwh=1.0,
    )
    situation = Situation(
        resource_id="big",
        settlement_point="VIC1",
        gate=gate,
        as_of_ns=-100,
        record_no=0,
        storage=storage,
        strategy="misbehaving",
        strategy_version="1",
    )
    rows = 100_000  # more than a pipe holds
    series = Series(
        start_ns=np.arange(rows, dtype=np.int64),
        end_ns=np.arange(1, rows + 1, dtype=np.int64),
        value=np.random.default_rng(7).normal(size=(rows, 1)),
        known_ns=np.zeros(rows, dtype=np.int64),
        revision=np.zeros(rows, dtype=np.int64),
    )
    return Known(situation=situation, facts={SeriesId("price/nem/VIC1/energy"): series})


@pytest.fixture(scope="module")
def solver() -> Iterator[Solver]:
    made = Solver(prepare=PREPARE, spares=1)
    made.start()
    assert made.wait_ready(READY_S)
    yield made
    made.close()


def test_solver_decides_from_the_very_same_bits(solver: Solver) -> None:
    asked = known()
    assert solver.decide(asked, "quick", budget_s=READY_S).reasons == (asked.digest(),)


def test_solver_cuts_off_what_hangs_and_goes_on(solver: Solver) -> None:
    before = solver.statistics()
    started_s = time.monotonic()
    with pytest.raises(DeadlineExceededError):
        solver.decide(known(), "hang", budget_s=0.3)
    assert time.monotonic() - started_s < 5.0
    assert solver.decide(known(), "quick", budget_s=READY_S).rung == "quick"
    assert solver.statistics().cut_off == before.cut_off + 1


def test_a_rung_that_hangs_ends_with_a_bidder_that_is_killed() -> None:
    """Nobody is left to cut it off: it must not go on for ever."""
    body = (
        "import multiprocessing, threading\n"
        "from shoal.bidding.cycle.solver import Solver\n"
        "from tests.integration.bidding.test_solver import PREPARE, known\n"
        "if __name__ == '__main__':\n"
        "    made = Solver(prepare=PREPARE, spares=0)\n"
        "    made.start()\n"
        "    assert made.wait_ready(60.0)\n"
        "    asked = threading.Thread(target=made.decide, args=(known(), 'hang'), kwargs={'budget_s': 600.0})\n"
        "    asked.start()\n"
        "    print(multiprocessing.active_children()[0].pid, flush=True)\n"
        "    asked.join()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", body], stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]
    ) as bidder:
        assert bidder.stdout is not None
        solving = int(bidder.stdout.readline())
        time.sleep(0.5)  # the question is on its way; it hangs whenever it arrives
        assert is_running(solving)
        bidder.kill()
    until_s = time.monotonic() + 20.0
    while is_running(solving):
        assert time.monotonic() < until_s, "the solver outlived its bidder"
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_solver_that_dies_or_stands_still_is_replaced(solver: Solver) -> None:
    before = solver.statistics()
    with pytest.raises(UnavailableError):
        solver.decide(known(), "die", budget_s=READY_S)
    assert solver.wait_ready(READY_S)
    with pytest.raises(DeadlineExceededError):
        solver.decide(known(), "stop", budget_s=READY_S / 20)
    assert solver.decide(known(), "quick", budget_s=READY_S).rung == "quick"
    seen = solver.statistics()
    assert (seen.died - before.died, seen.cut_off - before.cut_off) == (1, 1)


def test_solver_says_why_a_rung_failed(solver: Solver) -> None:
    with pytest.raises(RungFailedError, match="the prices make no sense"):
        solver.decide(known(), "fail", budget_s=READY_S)


def test_ladder_ends_on_the_rung_that_holds_with_the_reasons_of_those_above(solver: Solver) -> None:
    asked = known()
    climbed = climb(
        asked.situation, MISBEHAVING, lambda: asked, solver, (0.3, READY_S, READY_S, 3.0, READY_S)
    )
    assert climbed.decision.rung == "quick"
    assert [one.rung for one in climbed.tried] == ["hang", "die", "fail", "stop", "quick"]
    assert "overran its budget" in climbed.reason
    assert "make no sense" in climbed.reason


def test_ladder_without_time_leaves_what_stands(solver: Solver) -> None:
    asked = known()
    climbed = climb(asked.situation, MISBEHAVING, lambda: asked, solver, (0.0,) * 5)
    assert climbed.decision.rung == STANDING
    assert climbed.decision.offers == ()


def test_ladder_never_sends_what_the_market_would_refuse(solver: Solver) -> None:
    asked = known()
    climbed = climb(
        asked.situation,
        MISBEHAVING,
        lambda: asked,
        solver,
        (0.0, 0.0, 0.0, 0.0, READY_S),
        acceptable=lambda decision: f"{decision.rung}: quantity below the minimum",
    )
    assert climbed.decision.rung == STANDING
    assert "quantity below the minimum" in climbed.reason


def test_ladder_stands_when_nothing_can_be_gathered(solver: Solver) -> None:
    def away() -> Known:
        raise UnavailableError("facts", "the store is away")

    climbed = climb(known().situation, MISBEHAVING, away, solver, (1.0,) * 5)
    assert climbed.decision.rung == STANDING
    assert not climbed.known.facts
    assert "the store is away" in climbed.reason


def slow_cases() -> list[tuple[Known, str]]:
    bare = known().situation
    about = msgspec.structs.replace(bare, strategy="slow")
    return [(Known(situation=about, facts={}), rung) for rung in ("slow", "fail", "slow")]


@pytest.mark.parametrize("spares", [0, 1])
def test_every_process_decides_the_made_up_cases_while_another_is_there_to_decide(spares: int) -> None:
    made = Solver(prepare=PREPARE, spares=spares, warm=slow_cases)
    try:
        made.start()
        assert made.wait_ready(READY_S)
        took_s = []
        while made.statistics().warmed <= spares:
            started_s = time.monotonic()
            assert made.decide(known(), "quick", budget_s=READY_S).rung == "quick"
            took_s.append(time.monotonic() - started_s)
        # whoever asks is never behind the cases, which take half a second a process
        assert sorted(took_s)[len(took_s) // 2] < 0.3
        assert made.wait_warm(READY_S)
        before = made.statistics()
        # one that is cut off is replaced by one that is warmed, too
        with pytest.raises(DeadlineExceededError):
            made.decide(known(), "hang", budget_s=0.3)
        assert made.wait_warm(READY_S)
        assert made.statistics().warmed > before.warmed
        assert made.statistics().failed == 0  # a case that fails is none of the bidder's failures
    finally:
        made.close()


def test_cases_that_cannot_be_made_up_or_that_kill_cost_no_decision() -> None:
    def broken() -> list[tuple[Known, str]]:
        raise ValueError("no market")

    for warm in (broken, lambda: [(known(), "die")]):
        made = Solver(prepare=PREPARE, spares=1, warm=warm)
        try:
            made.start()
            assert made.decide(known(), "quick", budget_s=READY_S).rung == "quick"
            assert made.wait_warm(READY_S)  # it is given up after some tries
            assert made.decide(known(), "quick", budget_s=READY_S).rung == "quick"
            assert made.statistics().warmed == 0
        finally:
            made.close()


def test_closing_does_not_wait_for_cases_that_hang() -> None:
    others = set(multiprocessing.active_children())
    made = Solver(prepare=PREPARE, spares=1, warm=lambda: [(known(), "hang")])
    made.start()
    assert made.decide(known(), "quick", budget_s=READY_S).rung == "quick"
    started_s = time.monotonic()
    made.close()
    assert time.monotonic() - started_s < 10.0
    deadline_s = time.monotonic() + 10.0
    while set(multiprocessing.active_children()) - others:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
