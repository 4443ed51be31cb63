"""Back-tests through the functions of the cycle: what is known at a gate, what stands, and books that add up."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from shoal.bidding.backtest_gates import gates_of, run_gates
from shoal.bidding.backtest_prices import grid_prices
from shoal.bidding.cycle.climb import Climbed
from shoal.bidding.cycle.decision import Decision, GateStrategy, RungOf, register
from shoal.bidding.cycle.known import Known, Question, Situation
from shoal.domain.errors import InvalidInputError, UnknownIdError
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE
from shoal.market.bids import Orders
from shoal.market.registry import market_module
from shoal.market.series import price_series
from shoal.market.types import Order
from tests.unit.bidding.gate_worlds import ERCOT_FIRST_NS, half_hourly, hourly, setting, shaped

ERCOT = setting("ercot", "day-ahead", "HB_NORTH", "test-yesterday")
GB = setting("gb", "imbalance", "system", "test-last-price")


def greedy(known: Known) -> Decision:
    gate = known.situation.gate
    order = Order(
        start_ns=gate.covers_start_ns,
        end_ns=gate.covers_start_ns + NS_PER_HOUR,
        side="sell",
        quantity_mw=5.0,
        limit_price_per_mwh=-250.0,
    )
    return Decision(rung="greedy", offers=(Orders(product="day-ahead", orders=(order,)),))


register(
    GateStrategy(
        name="test-greedy",
        version="1",
        about="Sells what it has not.",
        questions=lambda _about: (),
        rungs=(RungOf(name="greedy", decide=greedy, share=1.0),),
    )
)


class Ear:
    """Keeps what every decision was made from."""

    def __init__(self) -> None:
        self.heard: list[tuple[Situation, Climbed]] = []

    def __call__(self, situation: Situation, climbed: Climbed) -> None:
        self.heard.append((situation, climbed))


def test_a_day_ahead_gate_sees_what_was_published_and_what_was_awarded() -> None:
    ear = Ear()
    run_gates(ERCOT, hourly("ercot", 5), heard=ear)
    assert [about.gate.delivery_date for about, _ in ear.heard] == [f"2022-03-{d:02d}" for d in range(1, 6)]
    for number, (about, climbed) in enumerate(ear.heard):
        assert about.as_of_ns == about.gate.closes_ns - 30 * 10**9
        (series,) = climbed.known.facts.values()
        assert len(series.start_ns) == 24 * number  # up to midnight before the day, and not an hour more
        assert (series.known_ns <= about.as_of_ns).all()
        assert about.storage.initial_energy_kwh <= about.storage.energy_capacity_kwh
    about, _ = ear.heard[3]
    assert {one.product for one in about.commitments} == {"day-ahead"}
    assert min(one.end_ns for one in about.commitments) > about.as_of_ns
    assert max(one.end_ns for one in about.commitments) == about.gate.covers_start_ns


def test_the_measured_storage_is_that_of_the_instant() -> None:
    """At 10:00 the energy is what the awards until then left, linear within the hour."""
    ear = Ear()
    prices = hourly("ercot", 6)
    outcome = run_gates(replace(ERCOT, lead_s=1_800.0), prices, heard=ear)
    seen = 0
    for about, _ in ear.heard[1:]:
        at = int(np.searchsorted(prices.start_ns, about.as_of_ns)) - 1
        share = (about.as_of_ns - int(prices.start_ns[at])) / NS_PER_HOUR
        between = (1 - share) * outcome.energy_kwh[at] + share * outcome.energy_kwh[at + 1]
        assert about.storage.initial_energy_kwh == pytest.approx(between, abs=0.01)
        seen += outcome.energy_kwh[at] != outcome.energy_kwh[at + 1]
    assert share == pytest.approx(0.5)


def test_energy_and_money_add_up_to_the_last_unit() -> None:
    prices = hourly("ercot", 8)
    outcome = run_gates(ERCOT, prices)
    storage = ERCOT.storage
    bought, sold = outcome.delivered_wh.clip(min=0), (-outcome.delivered_wh).clip(min=0)
    stored = np.cumsum(bought) * storage.charge_efficiency_frac
    stored -= np.cumsum(sold) / storage.discharge_efficiency_frac
    np.testing.assert_allclose(outcome.energy_kwh[1:], stored / 1e3, rtol=0, atol=1e-6)
    assert np.all((outcome.energy_kwh >= 0) & (outcome.energy_kwh <= storage.energy_capacity_kwh))
    assert sold.sum() > 40_000_000
    # a deviation without a price of its own is settled at the auction's: so what was delivered counts, whatever was awarded
    exact = -outcome.delivered_wh * prices.price_cents_per_mwh - 1_000 * sold
    np.testing.assert_array_equal(outcome.amount, exact)
    assert sum(outcome.kind_amount.values()) == int((outcome.amount + 1_000 * sold).sum())
    assert outcome.decisions_count == 8
    assert outcome.rungs == {"nothing": 1, "yesterday": 7}
    assert outcome.reasons == {"yesterday: InvalidInputError: history": 1}


def test_deviations_are_settled_at_their_own_price_where_it_is_known() -> None:
    """A bid beyond what is stored is cut short; what is missing is bought back at the real-time price."""

    prices = hourly("ercot", 1)
    quarters = {int(prices.start_ns[0]) + k * 15 * NS_PER_MINUTE: 200.0 for k in range(4)}
    outcome = run_gates(replace(ERCOT, strategy="test-greedy"), replace(prices, deviation_per_mwh=quarters))
    assert outcome.asked_wh[0] == -5_000_000
    assert outcome.delivered_wh[0] == 0
    sold = 5_000_000 * int(prices.price_cents_per_mwh[0])
    assert outcome.kind_amount == {"day-ahead award": sold, "real-time imbalance": -5_000_000 * 20_000}
    assert int(outcome.amount.sum()) == sold - 5_000_000 * 20_000


def test_a_day_of_23_hours_is_bid_for_and_settled_like_any_other() -> None:
    prices = hourly("ercot", 15)
    outcome = run_gates(ERCOT, prices)
    counts = np.unique(prices.day_number, return_counts=True)[1].tolist()
    assert counts[12] == 23  # 2022-03-13
    short = prices.day_number == date(2022, 3, 13).toordinal() - date(1970, 1, 1).toordinal()
    assert np.abs(outcome.delivered_wh[short]).sum() > 0
    assert outcome.decisions_count == 15


def test_a_notified_position_is_delivered_and_worth_the_price_of_imbalance() -> None:
    ear = Ear()
    prices = half_hourly(4)
    outcome = run_gates(GB, prices, heard=ear)
    sold = (-outcome.delivered_wh).clip(min=0)
    np.testing.assert_array_equal(
        outcome.amount, -outcome.delivered_wh * prices.price_cents_per_mwh - 1_000 * sold
    )
    assert set(outcome.kind_amount) == {"imbalance contract", "imbalance imbalance"}
    assert sold.sum() > 0
    for about, climbed in ear.heard[4:]:
        (series,) = climbed.known.facts.values()
        # the gate is an hour before; a price is out twenty minutes after its half-hour: three are missing
        assert int(series.end_ns[-1]) == about.gate.covers_start_ns - 3 * NS_PER_HOUR // 2
        notified = [one for one in about.commitments if one.start_ns < about.gate.covers_start_ns]
        assert len(notified) == 3


def test_history_before_the_first_interval_is_known_and_nothing_is_bid_for_it() -> None:
    ear = Ear()
    prices = hourly("ercot", 6)
    outcome = run_gates(ERCOT, prices, first_index=72, end_index=120, heard=ear)
    assert outcome.decisions_count == 2
    assert len(outcome.amount) == 48
    (series,) = ear.heard[0][1].known.facts.values()
    assert len(series.start_ns) == 72
    assert outcome.rungs == {"yesterday": 2}


def test_a_gap_in_the_prices_stops_nobody() -> None:
    whole = hourly("ercot", 9)
    keep = np.ones(len(whole.start_ns), np.bool_)
    keep[60:130] = False
    prices = grid_prices(
        market_module("ercot"),
        "day-ahead",
        whole.start_ns[keep],
        whole.price_per_mwh[keep],
        interval_ns=NS_PER_HOUR,
    )
    outcome = run_gates(ERCOT, prices)
    assert len(outcome.amount) == keep.sum()
    assert outcome.decisions_count == 7
    assert np.abs(outcome.delivered_wh[70:]).sum() > 0


def test_a_bid_that_the_market_would_refuse_is_not_sent() -> None:
    """The market of Great Britain takes no orders: the ladder goes down to what stands."""
    outcome = run_gates(replace(GB, strategy="test-greedy"), half_hourly(1))
    assert outcome.rungs == {"standing": 48}
    assert list(outcome.reasons) == ["greedy: the market would refuse it: offers[0].product"]
    assert not outcome.asked_wh.any()


def holding(known: Known) -> Decision:
    """Hold five megawatts for regulation in every hour, at ten or more."""
    gate = known.situation.gate
    hours = market_module("ercot").delivery_intervals("regup", date.fromisoformat(gate.delivery_date))
    orders = tuple(
        Order(
            start_ns=one.start_ns, end_ns=one.end_ns, side="sell", quantity_mw=5.0, limit_price_per_mwh=10.0
        )
        for one in hours
    )
    return Decision(rung="hold", offers=(Orders(product="regup", orders=orders),))


register(
    GateStrategy(
        name="test-holding",
        version="1",
        about="Regulation in every hour.",
        questions=lambda about: (
            Question(
                series_id=price_series("ercot", about.settlement_point, "regup"), from_ns=0, to_ns=2**62
            ),
        ),
        rungs=(RungOf(name="hold", decide=holding, share=1.0),),
    )
)


def test_services_are_cleared_and_paid_for_being_held_ready() -> None:
    energy = hourly("ercot", 2)
    price = np.where(np.arange(48) % 2 == 0, 12.5, 9.5)
    market = market_module("ercot")
    regup = grid_prices(market, "regup", energy.start_ns, price, interval_ns=NS_PER_HOUR)
    ear = Ear()
    outcome = run_gates(replace(ERCOT, strategy="test-holding", services={"regup": regup}), energy, heard=ear)
    assert outcome.kind_amount["regup capacity"] == 24 * 5_000_000 * 1_250
    np.testing.assert_array_equal(outcome.amount, outcome.service_amount)
    assert outcome.amount[0] == 5_000_000 * 1_250
    assert outcome.amount[1] == 0
    about, climbed = ear.heard[1]
    assert {one.product for one in about.commitments} == {"regup"}
    (series,) = climbed.known.facts.values()
    assert len(series.start_ns) == 24


def test_a_curve_in_real_time_answers_to_the_price_of_its_quarter() -> None:
    start_ns = ERCOT_FIRST_NS + np.arange(2 * 96) * 15 * NS_PER_MINUTE
    market = market_module("ercot")
    prices = grid_prices(market, "real-time", start_ns, shaped(192, 96), interval_ns=15 * NS_PER_MINUTE)
    ear = Ear()
    outcome = run_gates(setting("ercot", "real-time", "HB_NORTH", "test-curves"), prices, heard=ear)
    assert outcome.rungs == {"curve": 192}
    bought, sold = outcome.delivered_wh > 0, outcome.delivered_wh < 0
    assert bought.any() and sold.any()
    assert prices.price_per_mwh[bought].max() < 50.01
    assert prices.price_per_mwh[sold].min() > 80.0
    assert set(outcome.kind_amount) == {"real-time imbalance"}
    assert np.nanmax(outcome.sell_limit_per_mwh) == 80.01
    about, climbed = ear.heard[100]
    (series,) = climbed.known.facts.values()
    # the bid is due five minutes before its quarter: the price of the quarter that runs then is not out yet
    assert int(series.end_ns[-1]) == about.gate.covers_start_ns - 15 * NS_PER_MINUTE


def test_bands_are_given_on_the_day_before_and_quantities_with_each_interval() -> None:
    pytest.importorskip("shoal.bidding.cycle.five_minute")
    nem = market_module("nem")
    start_ns = 1_735_668_000_000_000_000 + np.arange(3 * 288) * 5 * NS_PER_MINUTE
    prices = grid_prices(nem, "energy", start_ns, shaped(len(start_ns), 288), interval_ns=5 * NS_PER_MINUTE)
    about = setting("nem", "energy", "VIC1", "markov")
    kinds = [one.kind for one in gates_of(nem, "energy", prices, 576, 864)]
    assert kinds == ["bands"] + ["interval"] * 288
    ear = Ear()
    outcome = run_gates(about, prices, first_index=576, end_index=576 + 40, heard=ear)
    assert (
        outcome.decisions_count == 40
    )  # the gate of the bands covers a day that is not whole: it is left out
    outcome = run_gates(about, prices, first_index=576, heard=ear)
    assert outcome.decisions_count == 289
    assert outcome.delivered_wh.any()
    about_last, climbed = ear.heard[-1]
    series = next(iter(climbed.known.facts.values()))
    assert (
        int(series.end_ns[-1]) == about_last.gate.covers_start_ns
    )  # the dispatch before it, and not its own


def test_a_strategy_that_nobody_knows_is_refused() -> None:
    with pytest.raises(UnknownIdError):
        run_gates(replace(ERCOT, strategy="oracle"), hourly("ercot", 1))
    with pytest.raises(InvalidInputError):
        grid_prices(market_module("ercot"), "day-ahead", np.zeros(0, np.int64), np.zeros(0), interval_ns=1)
