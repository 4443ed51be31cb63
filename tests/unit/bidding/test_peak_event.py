"""Commitments to a peak-shaving programme: never more than surely answers, charged for before, even through an event."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.bidding.cycle import peak_event
from shoal.bidding.cycle.decision import Decision
from shoal.bidding.cycle.known import FixedPower, Known, Series
from shoal.bidding.cycle.peak_event_plan import held_evenly, shave
from shoal.domain.errors import InvalidInputError
from shoal.domain.facts import SeriesId
from shoal.domain.interval import NS_PER_HOUR
from shoal.market.bids import LoadTarget
from shoal.market.registry import market_module
from shoal.optimise.storage import Storage
from tests.unit.bidding.gate_known import assert_valid, column, known_at

PEAK: Final = market_module("peak")
DAY: Final = date(2025, 7, 15)
HOMES: Final = Storage(
    charge_limit_kw=4_000.0,
    discharge_limit_kw=8_000.0,
    charge_efficiency_frac=0.92,
    discharge_efficiency_frac=0.92,
    energy_capacity_kwh=20_000.0,
    initial_energy_kwh=3_000.0,
)


def known(
    targets: dict[int, float],
    *,
    day: date = DAY,
    former: dict[date, dict[int, float]] | None = None,
    answered: np.ndarray | None = None,
    **more: object,
) -> Known:
    rows: list[tuple[int, float]] = []
    for of_day, hours in {**(former or {}), day: targets}.items():
        intervals = PEAK.delivery_intervals("reduction", of_day)
        rows += [(intervals[hour].start_ns, mw) for hour, mw in hours.items()]
    rows.sort()
    facts: dict[SeriesId, Series] = {
        SeriesId("event/peak/feeder-7/reduction"): column(
            np.array([t for t, _ in rows], dtype=np.int64), NS_PER_HOUR, np.array([mw for _, mw in rows])
        )
    }
    gate = PEAK.gates("reduction", day)[0]
    if answered is not None:
        hours_ns = gate.closes_ns - NS_PER_HOUR * np.arange(len(answered) + 2, 2, -1, dtype=np.int64)
        facts[SeriesId("availability/big/share")] = column(hours_ns, NS_PER_HOUR, answered)
    more = {"storage": HOMES, **more}
    return known_at("peak", "feeder-7", day, gate, "peak-event", facts, **more)  # type: ignore[arg-type]


def committed_mw(decision: Decision) -> dict[int, float]:
    offer = decision.offers[0]
    assert isinstance(offer, LoadTarget)
    return {k: -one.load_mw for k, one in enumerate(offer.intervals) if one.load_mw}


def test_an_event_that_fits_is_committed_whole_and_charged_for() -> None:
    about = known({17: 3.0, 18: 4.0, 19: 3.0})
    decision = peak_event.fresh(about)
    assert_valid(about, decision)
    assert committed_mw(decision) == {17: 3.0, 18: 4.0, 19: 3.0}
    assert decision.plan is not None
    power, energy = np.array(decision.plan.power_kw), np.array(decision.plan.energy_kwh)
    assert (power[:17] >= 0.0).all() and power[:17].sum() > 0.0
    assert np.allclose(power[17:20], [-3_000.0, -4_000.0, -3_000.0])
    assert energy[20] >= -1e-6
    assert decision.expected_amount == 10 * 2_000 * 100_000_000


def test_what_cannot_be_held_is_cut_evenly_and_the_second_event_gets_what_can_be_charged_between() -> None:
    decision = peak_event.fresh(known({14: 6.0, 15: 6.0, 16: 6.0, 22: 5.0}))
    given_mw = committed_mw(decision)
    assert given_mw[14] == given_mw[15] == given_mw[16] < 6.0
    assert given_mw[22] == 5.0
    assert any("through the event" in said for said in decision.reasons)


def test_the_promise_is_what_surely_answered() -> None:
    answered = np.concatenate([np.full(190, 0.9), np.full(10, 0.5)])
    bold = committed_mw(peak_event.fresh(known({18: 20.0}, answered=np.ones(200))))
    wary = committed_mw(peak_event.fresh(known({18: 20.0}, answered=answered)))
    assert bold == {18: 8.0}
    # half of the power answered in one hour of twenty: no more than that is promised with 95 % confidence
    assert wary == {18: 4.0}
    relaxed = known({18: 20.0}, answered=answered, settings={"confidence_frac": 0.9})
    assert committed_mw(peak_event.fresh(relaxed)) == {18: 7.2}
    unseen = peak_event.fresh(known({18: 20.0}))
    assert committed_mw(unseen) == {18: 7.2} and "too little has been seen" in unseen.reasons[-1]


def test_without_an_announcement_former_events_are_held() -> None:
    former = {date(2025, 7, 1): {17: 3.0, 18: 2.0}, date(2025, 7, 8): {18: 1.0, 19: 2.0}}
    about = known({}, former=former)
    with pytest.raises(InvalidInputError, match="no target is announced"):
        peak_event.fresh(about)
    decision = peak_event.typical_event(about)
    assert_valid(about, decision)
    assert committed_mw(decision) == {17: 3.0, 18: 1.0, 19: 2.0}
    nothing = known({})
    with pytest.raises(InvalidInputError, match="ever known"):
        peak_event.typical_event(nothing)
    idle = peak_event.idle(nothing)
    standing = assert_valid(nothing, idle)
    assert committed_mw(idle) == {}
    with pytest.raises(InvalidInputError, match="left as it is"):
        peak_event.idle(known({}, standing=standing))


def test_the_cautious_rung_counts_on_nothing_that_has_to_be_charged() -> None:
    about = known({17: 3.0, 18: 3.0})
    decision = peak_event.cautious(about)
    assert_valid(about, decision)
    held_kwh = 3_000.0 * 0.9 * 0.97 * 0.92
    assert sum(committed_mw(decision).values()) * 1e3 <= held_kwh
    assert sum(committed_mw(decision).values()) * 1e3 >= held_kwh - 4.0


def test_a_revision_takes_back_what_is_not_called_any_more() -> None:
    first = known({17: 3.0, 18: 4.0})
    standing = assert_valid(first, peak_event.fresh(first))
    second = known({18: 2.0}, standing=standing)
    decision = peak_event.fresh(second)
    assert_valid(second, decision)
    offer = decision.offers[0]
    assert isinstance(offer, LoadTarget) and len(offer.intervals) == 24
    assert committed_mw(decision) == {18: 2.0}


def test_hours_fixed_by_hand_are_left_out_and_planned_around() -> None:
    hours = PEAK.delivery_intervals("reduction", DAY)
    fixed = (
        FixedPower(start_ns=hours[16].start_ns, end_ns=hours[16].end_ns, power_kw=-4_000.0, reason="desk"),
    )
    decision = peak_event.fresh(known({17: 8.0, 18: 8.0, 19: 8.0}, fixed=fixed))
    offer = decision.offers[0]
    assert isinstance(offer, LoadTarget)
    assert hours[16].start_ns not in {one.start_ns for one in offer.intervals} and len(offer.intervals) == 23
    free = peak_event.fresh(known({17: 8.0, 18: 8.0, 19: 8.0}))
    assert sum(committed_mw(decision).values()) < sum(committed_mw(free).values())


@pytest.mark.parametrize("day", [date(2025, 3, 9), date(2025, 11, 2)])
def test_days_of_another_length_are_committed_by_the_hour(day: date) -> None:
    about = known({18: 2.0}, day=day)
    decision = peak_event.fresh(about)
    assert_valid(about, decision)
    assert committed_mw(decision) == {18: 2.0}


@given(
    capacity_kwh=st.floats(1.0, 1e5),
    level_frac=st.floats(0.0, 1.0),
    charge_kw=st.floats(0.0, 2e4),
    discharge_kw=st.floats(0.0, 2e4),
    efficiency_frac=st.floats(0.6, 1.0),
    targets=st.lists(st.one_of(st.just(0.0), st.floats(0.0, 3e4)), min_size=1, max_size=25),
    fixed=st.dictionaries(st.integers(0, 24), st.floats(-2e4, 2e4), max_size=3),
)
def test_every_commitment_can_be_held(
    capacity_kwh: float,
    level_frac: float,
    charge_kw: float,
    discharge_kw: float,
    efficiency_frac: float,
    targets: list[float],
    fixed: dict[int, float],
) -> None:
    storage = Storage(
        charge_limit_kw=charge_kw,
        discharge_limit_kw=discharge_kw,
        charge_efficiency_frac=efficiency_frac,
        discharge_efficiency_frac=efficiency_frac,
        energy_capacity_kwh=capacity_kwh,
        initial_energy_kwh=capacity_kwh * level_frac,
    )
    fixed_kw = {row: kw for row, kw in fixed.items() if row < len(targets)}
    target_kw = np.array(targets)
    shaved = shave(storage, target_kw, fixed_kw=fixed_kw)
    slack = 1e-6 * max(capacity_kwh, charge_kw, discharge_kw, 1.0)
    assert (shaved.committed_kw <= np.minimum(target_kw, discharge_kw) + slack).all()
    assert (shaved.energy_kwh >= -slack).all() and (shaved.energy_kwh <= capacity_kwh + slack).all()
    assert (shaved.net_kw <= charge_kw + slack).all() and (shaved.net_kw >= -discharge_kw - slack).all()
    energy = storage.initial_energy_kwh
    for row, net in enumerate(shaved.net_kw.tolist()):
        energy += net * efficiency_frac if net > 0 else net / efficiency_frac
        assert energy == pytest.approx(shaved.energy_kwh[row + 1], abs=slack)
        if shaved.committed_kw[row] > slack and row not in fixed_kw:
            assert net == pytest.approx(-shaved.committed_kw[row], abs=slack)
    even = held_evenly(storage, target_kw)
    assert even.sum() <= storage.initial_energy_kwh * efficiency_frac + slack


def test_the_largest_share_is_found() -> None:
    storage = replace(HOMES, charge_limit_kw=0.0, initial_energy_kwh=10_000.0)
    shaved = shave(storage, np.array([0.0, 8_000.0, 4_000.0]), fixed_kw={})
    assert shaved.committed_kw.sum() == pytest.approx(9_200.0)
    assert shaved.committed_kw[1] == pytest.approx(2.0 * shaved.committed_kw[2])
