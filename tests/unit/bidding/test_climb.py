"""Down the ladder within the time there is: gathering has a budget, and what overruns never eats into sending."""

from __future__ import annotations

import threading
import time

import pytest

from shoal.bidding.cycle.climb import InPlace, climb
from shoal.bidding.cycle.decision import STANDING, Decision, GateStrategy, RungOf, register
from shoal.bidding.cycle.known import GateRef, Known, Situation
from shoal.market.bids import LoadTarget, TargetInterval
from shoal.optimise.storage import Storage

STORAGE = Storage(
    charge_limit_kw=1,
    discharge_limit_kw=1,
    charge_efficiency_frac=0.9,
    discharge_efficiency_frac=0.9,
    energy_capacity_kwh=2,
    initial_energy_kwh=1,
)


def _whole(known: Known) -> Decision:
    """A rung that writes whole numbers where the record has decimal ones."""
    target = TargetInterval(start_ns=0, end_ns=1, load_mw=1)
    return Decision(rung="whole", offers=(LoadTarget(product="imbalance", intervals=(target,)),))


LADDER = register(
    GateStrategy(
        name="ladder-of-test-climb",
        version="1",
        about="",
        questions=lambda _about: (),
        rungs=(
            RungOf(name="whole", decide=_whole, share=0.5),
            RungOf(name="second", decide=_whole, share=1.0),
        ),
    )
)
ABOUT = Situation(
    resource_id="big",
    settlement_point="GB",
    gate=GateRef(
        market_id="gb",
        product_id="imbalance",
        kind="interval",
        delivery_date="2024-12-05",
        covers_start_ns=0,
        covers_end_ns=1,
        closes_ns=-1,
    ),
    as_of_ns=-2,
    record_no=0,
    storage=STORAGE,
    strategy=LADDER.name,
    strategy_version="1",
)
KNOWN = Known(situation=ABOUT, facts={})


class Slow:
    """Takes so long for each rung, and notes what budget it was given."""

    def __init__(self, took_s: dict[str, float]) -> None:
        self.took_s = took_s
        self.budgets_s: dict[str, float] = {}

    def decide(self, known: Known, rung: str, *, budget_s: float) -> Decision:
        self.budgets_s[rung] = budget_s
        time.sleep(self.took_s.get(rung, 0.0))
        return Decision(rung=rung)


def test_gathering_that_hangs_is_left_behind() -> None:
    release = threading.Event()

    def hang() -> Known:
        release.wait(30.0)
        return KNOWN

    started_s = time.monotonic()
    climbed = climb(ABOUT, LADDER, hang, Slow({}), (1.0, 1.0), gather_s=0.1)
    assert time.monotonic() - started_s < 10.0
    release.set()
    assert climbed.decision.rung == STANDING and climbed.known is not KNOWN
    assert climbed.tried[0].rung == "gather" and "overran its budget" in climbed.reason
    assert climbed.tried[0].took_s >= 0.1


def test_gathering_in_time_gives_what_is_known_and_its_errors() -> None:
    assert climb(ABOUT, LADDER, lambda: KNOWN, Slow({}), (1.0, 1.0), gather_s=60.0).known is KNOWN

    def away() -> Known:
        raise OSError("the disk is gone")

    assert "the disk is gone" in climb(ABOUT, LADDER, away, Slow({}), (1.0, 1.0), gather_s=60.0).reason


def test_what_a_rung_overran_is_missing_below_it() -> None:
    slow = Slow({"whole": 0.3})

    def refuse_first(decision: Decision) -> str:
        return "not this one" if decision.rung == "whole" else ""

    climbed = climb(ABOUT, LADDER, lambda: KNOWN, slow, (0.05, 60.0), gather_s=60.0, acceptable=refuse_first)
    assert climbed.decision.rung == "second"
    tight = climb(ABOUT, LADDER, lambda: KNOWN, slow, (0.05, 0.2), acceptable=refuse_first)
    assert tight.decision.rung == STANDING
    assert [one.outcome for one in tight.tried] == ["not this one", "no time was left for it", "ok"]


@pytest.mark.parametrize("gather_s", [None, 60.0])
def test_a_decision_is_the_same_bytes_wherever_it_was_made(gather_s: float | None) -> None:
    climbed = climb(ABOUT, LADDER, lambda: KNOWN, InPlace(), (60.0, 60.0), gather_s=gather_s)
    assert b'"load_mw":1.0' in climbed.decision.content()
