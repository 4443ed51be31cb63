"""Half-hourly positions: what they rest on, rung by rung, and that every one can be delivered."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Final

import numpy as np
import pytest

from shoal.bidding.cycle import balancing
from shoal.bidding.cycle.balancing_chain import SLOTS, fit_prices, middle_shape, usual_shape
from shoal.bidding.cycle.decision import Decision
from shoal.bidding.cycle.known import FixedPower, Known, Series
from shoal.domain.errors import InvalidInputError
from shoal.domain.facts import SeriesId
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S
from shoal.market.bids import LoadTarget, MarketBid
from shoal.market.registry import market_module
from shoal.market.standing import in_force
from tests.unit.bidding.gate_known import BATTERY, assert_valid, bid_of, column, daily, known_at

GB: Final = market_module("gb")
DAY: Final = date(2025, 6, 11)
HALF_NS: Final = NS_PER_HOUR // 2
PRICE: Final = SeriesId("price/gb/system/imbalance")
VOLUME: Final = SeriesId("imbalance/gb/system/volume")


def at_gate(
    slot: int, *, day: date = DAY, late_h: float = 1.5, seed: int = 4, days: int = 30, **more: object
) -> Known:
    gate = GB.gates("imbalance", day)[slot]
    until_ns = gate.covers.start_ns - int(late_h * NS_PER_HOUR)
    facts = {PRICE: daily(until_ns, days=days, step_ns=HALF_NS, seed=seed)}
    return known_at("gb", "system", day, gate, "imbalance", facts, **more)  # type: ignore[arg-type]


def power_mw(decision: Decision) -> float:
    offer = decision.offers[0]
    assert isinstance(offer, LoadTarget)
    return offer.intervals[0].load_mw


def test_positions_follow_the_price_of_the_hour() -> None:
    # the swing has its trough at 03:00 and its peak at 15:00 UTC
    trough, peak = balancing.fresh(at_gate(8)), balancing.fresh(at_gate(32))
    assert power_mw(trough) == pytest.approx(100.0)
    assert power_mw(peak) == pytest.approx(-100.0)
    assert "expects" in peak.reasons[1] and "pays below" in peak.reasons[2]
    assert peak.plan is not None and len(peak.plan.value_per_mwh) == len(peak.plan.power_kw) + 1
    for known, decision in ((at_gate(8), trough), (at_gate(32), peak)):
        assert_valid(known, decision)


def test_a_departure_that_lasts_moves_the_position() -> None:
    gate = GB.gates("imbalance", DAY)[20]
    until_ns = gate.covers.start_ns - 3 * HALF_NS
    start_ns = until_ns - np.arange(60 * SLOTS, 0, -1, dtype=np.int64) * HALF_NS
    rng = np.random.default_rng(2)
    # long spells of dear and of cheap half-hours, without any shape of the day
    spell = np.repeat(rng.choice([-40.0, 40.0], size=180), 16)[: len(start_ns)]
    found = []
    for now in (-40.0, 40.0):
        price = 60.0 + spell + rng.normal(scale=2.0, size=len(spell))
        price[-4:] = 60.0 + now
        facts: dict[SeriesId, Series] = {PRICE: column(start_ns, HALF_NS, price)}
        known = known_at("gb", "system", DAY, gate, "imbalance", facts)
        found.append(power_mw(balancing.fresh(known)))
    assert found[0] > 0.0 > found[1]


@pytest.mark.parametrize(
    ("late_h", "holds"), [(2.0, "fresh"), (30.0, "older_prices"), (24.0 * 9, "older_prices")]
)
def test_older_prices_are_for_the_second_rung(late_h: float, holds: str) -> None:
    known = at_gate(20, late_h=late_h)
    if holds == "fresh":
        assert balancing.fresh(known).rung == "fresh"
        return
    with pytest.raises(InvalidInputError, match="newest price"):
        balancing.fresh(known)
    assert_valid(known, decision := balancing.on_older_prices(known))
    assert decision.rung == holds


def test_a_few_prices_are_enough_for_the_third_rung_and_none_for_the_last() -> None:
    known = at_gate(20, days=3)
    with pytest.raises(InvalidInputError, match="7 days"):
        balancing.fresh(known)
    assert_valid(known, balancing.typical_shape(known))
    nothing = at_gate(20, days=0)
    with pytest.raises(InvalidInputError, match="price history"):
        balancing.typical_shape(nothing)
    idle = balancing.idle(nothing)
    assert power_mw(idle) == 0.0
    standing = assert_valid(nothing, idle)
    with pytest.raises(InvalidInputError, match="left as it is"):
        balancing.idle(at_gate(20, days=0, standing=standing))


@pytest.mark.parametrize("day", [date(2025, 3, 30), date(2025, 10, 26), date(2025, 6, 11)])
def test_a_day_of_positions_can_be_delivered_on_any_length_of_day(day: date) -> None:
    standing: MarketBid | None = None
    energy_kwh = 40_000.0
    storage = replace(BATTERY, initial_energy_kwh=energy_kwh)
    gates = GB.gates("imbalance", day)
    first_ns = gates[0].covers.start_ns
    series = daily(first_ns + 25 * NS_PER_HOUR, days=31, step_ns=HALF_NS, seed=9, spikes=0.01)
    for gate in gates:
        there = series.end_ns <= gate.closes_ns - 20 * 60 * 1_000_000_000
        facts = {PRICE: column(series.start_ns[there], HALF_NS, series.value[there, 0])}
        at_ns = gate.closes_ns - 60 * NS_PER_S
        measured = replace(storage, initial_energy_kwh=after(standing, at_ns, energy_kwh))
        known = known_at("gb", "system", day, gate, "imbalance", facts, storage=measured, standing=standing)
        decision = balancing.fresh(known)
        bid = assert_valid(known, decision)
        standing = bid if standing is None else in_force(standing, bid)
    assert standing is not None
    offer = standing.offers[0]
    assert isinstance(offer, LoadTarget) and len(offer.intervals) == len(gates)
    path = [after(standing, one.covers.end_ns, energy_kwh) for one in gates]
    assert min(path) >= -1e-6 and max(path) <= BATTERY.energy_capacity_kwh + 1e-6
    assert len({one.load_mw for one in offer.intervals}) > 2


def after(standing: MarketBid | None, at_ns: int, energy_kwh: float) -> float:
    """Return the stored energy at an instant when what stands is carried out."""
    if standing is None:
        return energy_kwh
    offer = standing.offers[0]
    assert isinstance(offer, LoadTarget)
    for one in offer.intervals:
        hours = max(min(one.end_ns, at_ns) - one.start_ns, 0) / NS_PER_HOUR
        kwh = one.load_mw * 1e3 * hours
        energy_kwh += kwh * 0.92 if kwh > 0 else kwh / 0.92
    return energy_kwh


def test_a_half_hour_fixed_by_hand_is_left_out() -> None:
    gate = GB.gates("imbalance", DAY)[32]
    fixed = FixedPower(
        start_ns=gate.covers.start_ns, end_ns=gate.covers.end_ns, power_kw=-3_000.0, reason="desk"
    )
    known = at_gate(32, fixed=(fixed,))
    decision = balancing.fresh(known)
    offer = bid_of(known, decision).offers[0]
    assert isinstance(offer, LoadTarget)
    assert [one.start_ns for one in offer.intervals] == [gate.covers.end_ns, gate.covers.end_ns + HALF_NS]
    assert decision.plan is not None and decision.plan.power_kw[0] == -3_000.0


def test_the_chain_counts_chances_and_its_states_ascend() -> None:
    rng = np.random.default_rng(1)
    count = 40 * SLOTS
    walk = np.zeros(count)
    for k in range(1, count):
        walk[k] = 0.9 * walk[k - 1] + rng.normal()
    slot = np.arange(count, dtype=np.int64) % SLOTS
    chain = fit_prices(60.0 + 10.0 * walk, np.full(count, np.nan), slot, lag_steps=3)
    assert np.allclose(chain.transition.sum(axis=1), 1.0)
    assert (np.diff(chain.mean_per_mwh) > 0.0).all()
    assert (chain.low_per_mwh < chain.high_per_mwh).all()
    assert chain.chances(0)[chain.state_number] == 1.0
    assert chain.chances(200).max() < 0.5


def test_the_volume_of_the_system_helps_where_the_price_follows_it() -> None:
    rng = np.random.default_rng(3)
    count = 40 * SLOTS
    volume = rng.normal(scale=100.0, size=count)
    price = 60.0 + rng.normal(scale=1.0, size=count)
    price[3:] += 0.3 * volume[:-3]
    slot = np.arange(count, dtype=np.int64) % SLOTS
    spread = [
        float(np.ptp(fit_prices(price, given, slot, lag_steps=3).mean_per_mwh))
        for given in (volume, np.full(count, np.nan))
    ]
    assert spread[0] > 4.0 * spread[1]


def test_shapes_bear_gaps_and_spikes() -> None:
    price = np.full(10 * SLOTS, 50.0)
    price[5] = 5_000.0
    price[SLOTS : 2 * SLOTS] = np.nan
    slot = np.arange(len(price), dtype=np.int64) % SLOTS
    assert np.allclose(middle_shape(price, slot), 50.0)
    assert usual_shape(price, slot, np.zeros(len(price))).max() > 100.0
    with pytest.raises(InvalidInputError):
        middle_shape(np.full(3, np.nan), np.zeros(3, dtype=np.int64))
