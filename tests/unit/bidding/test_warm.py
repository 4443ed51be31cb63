"""Made-up cases for solvers: they are decided by the rungs that real ones are, in every market and for every kind of gate."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

import shoal.bidding.cycle.day_ahead
import shoal.bidding.cycle.five_minute  # noqa: F401 - registers its strategy
from shoal.bidding.cycle.decision import decide, strategy
from shoal.bidding.cycle.ports import Bidder
from shoal.bidding.cycle.warm import next_gates, warm_ups
from shoal.domain.interval import to_ns
from shoal.market.registry import market_module

NOW_NS = to_ns(datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC))


def bidder(market_id: str, point: str, name: str, **more: tuple[str, ...]) -> Bidder:
    return Bidder(resource_id="big", market_id=market_id, settlement_point=point, strategy=name, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("market_id", "point", "name"),
    [("nem", "VIC1", "markov"), ("sdac", "DE-LU", "day-ahead"), ("ercot", "HB_NORTH", "day-ahead")],
)
def test_every_rung_decides_a_made_up_case(market_id: str, point: str, name: str) -> None:
    cases = warm_ups([bidder(market_id, point, name)], market_module, now_ns=NOW_NS)
    rungs = {rung.name for rung in strategy(name).rungs if not rung.light}
    assert {rung for _, rung in cases} == rungs
    decided, said = set(), []
    for known, rung in cases:
        assert known.situation.gate.closes_ns > NOW_NS
        try:
            decided.add(decide(known, rung).rung)
        except Exception as error:  # noqa: BLE001 - what a gate of another kind cannot be bid for
            said.append(f"{rung}: {error}")
    assert decided == rungs, said


def test_shadows_are_warmed_once_with_the_live_strategy() -> None:
    both = bidder("nem", "VIC1", "markov", shadows=("day-ahead", "nowhere"))
    cases = warm_ups([both, both], market_module, now_ns=NOW_NS)
    assert {known.situation.strategy for known, _ in cases} == {"markov", "day-ahead"}
    names = [(known.situation.strategy, known.situation.gate.key, rung) for known, rung in cases]
    assert len(set(names)) == len(names)


def test_each_kind_of_gate_is_met_once() -> None:
    kinds = [gate.kind for gate in next_gates(market_module("nem"), "nem", NOW_NS)]
    assert len(set(kinds)) == len(kinds) and kinds[-1] == "interval"
