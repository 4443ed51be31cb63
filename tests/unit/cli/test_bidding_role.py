"""How the bidding role is put together: whose market is known, by which strategy, and how much time a bid has."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shoal.bidding.cycle.budget import carve
from shoal.bidding.measure import bidders_of, strategy_for
from shoal.cli.roles.bidding import choices, left_s, runner_options, work_s
from shoal.domain.errors import InvalidInputError
from shoal.domain.ids import ResourceId
from shoal.domain.interval import NS_PER_S
from shoal.market.registry import market_module
from shoal.runtime.clock import ConductedClock, ScaledClock
from shoal.runtime.settings import load_settings
from tests.integration.store.fleets import make_fleet

SETTINGS = load_settings(
    env={}, flags={"bidding.decide_budget_s": 90.0, "bidding.submit_budget_s": 30.0, "data_dir": "x"}
)


def test_every_resource_bids_in_its_market_and_strangers_are_named() -> None:
    fleet = make_fleet(4)
    first, second = fleet.resources
    fleet = replace(fleet, resources=(replace(first, market_id="nem"), replace(second, market_id="nowhere")))
    bidders, strangers = bidders_of(fleet, market_module, lead_s=240.0, daily_lead_s=3_600.0)
    assert strangers == (second.resource_id,)
    (bidder,) = bidders.values()
    assert (bidder.resource_id, bidder.market_id, bidder.strategy) == (first.resource_id, "nem", "markov")
    assert (bidder.lead_s, bidder.daily_lead_s) == (240.0, 3_600.0)


@pytest.mark.parametrize(
    ("market_id", "name"),
    [
        ("ercot-da", "day-ahead"),
        ("sdac", "day-ahead"),
        ("nem", "markov"),
        ("gb", "imbalance"),
        ("peak", "peak-event"),
    ],
)
def test_strategy_follows_from_how_the_market_takes_bids(market_id: str, name: str) -> None:
    assert strategy_for(market_module(market_id)) == name


def test_settings_choose_strategies_shadows_and_how_early_something_stands() -> None:
    chosen = load_settings(
        env={},
        flags={
            "bidding.strategies": "big=reserves;*=day-ahead",
            "bidding.shadows": "big=day-ahead;big=reserves",
            "bidding.early_lead_s": 7_200.0,
            "data_dir": "x",
        },
    )
    fleet = make_fleet(4)
    first, second = (replace(one, market_id="ercot-da") for one in fleet.resources)
    fleet = replace(fleet, resources=(replace(first, resource_id=ResourceId("big")), second))
    bidders, _ = bidders_of(
        fleet, market_module, lead_s=240.0, daily_lead_s=3_600.0, choices=choices(chosen, conducted=False)
    )
    big, other = bidders["big"], bidders[second.resource_id]
    assert (big.strategy, big.shadows, big.early_lead_s) == ("reserves", ("day-ahead", "reserves"), 7_200.0)
    assert (other.strategy, other.shadows) == ("day-ahead", ())
    assert choices(chosen, conducted=True).early_lead_s == 0.0
    assert choices(SETTINGS, conducted=False).early_lead_s > 0.0


def test_a_strategy_that_nobody_knows_is_named_with_those_there_are() -> None:
    wrong = load_settings(env={}, flags={"bidding.shadows": "big=guess", "data_dir": "x"})
    with pytest.raises(InvalidInputError, match="day-ahead") as raised:
        choices(wrong, conducted=False)
    assert raised.value.field == "bidding.shadows" and raised.value.value == "guess"


def test_conducted_time_gives_every_bid_its_whole_budget_and_none_after_the_gate() -> None:
    clock = ConductedClock(host="127.0.0.1", port=1, token="t", name="bidding")
    left = left_s(clock, SETTINGS)
    assert left(clock.now_ns() + 1) == work_s(SETTINGS) == 120.0
    assert left(clock.now_ns()) == 0.0


def test_scaled_time_is_shorter_on_the_wall() -> None:
    clock = ScaledClock(origin_ns=0, speed=60.0)
    left = left_s(clock, SETTINGS)(clock.now_ns() + 600 * NS_PER_S)
    assert left == pytest.approx(10.0, abs=0.5)


def test_budgets_are_those_of_the_settings() -> None:
    rules = runner_options(SETTINGS, conducted=True).budget
    budget = carve(work_s(SETTINGS), (1.0,), rules=rules)
    assert budget.submit_s == pytest.approx(30.0)
    assert budget.gather_s + sum(budget.rung_s) == pytest.approx(90.0)
    far = carve(86_400.0, (1.0,), rules=rules)
    assert far.total_s == pytest.approx(120.0), "however far the gate is"
    assert runner_options(SETTINGS, conducted=True).workers == 1
