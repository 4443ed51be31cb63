"""Energy and services: every offer is one that the market takes, and every MW is backed whatever clears and is called."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from random import Random
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from shoal.bidding.cycle import reserves
from shoal.bidding.cycle.decision import Decision
from shoal.bidding.cycle.known import FixedPower, Known, Series
from shoal.bidding.cycle.reserves_backing import Held, awarded, backing_of, less_reserve
from shoal.domain.facts import SeriesId
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE
from shoal.market.awards import MarketAward
from shoal.market.bids import MarketBid, Orders
from shoal.market.registry import market_module
from shoal.market.series import price_series
from shoal.market.standing import in_force
from shoal.optimise.storage import Storage
from tests.unit.bidding.gate_known import assert_valid, daily, known_at

ERCOT: Final = market_module("ercot")
NEM: Final = market_module("nem")
FIVE_NS: Final = 5 * NS_PER_MINUTE
DAYS: Final = (
    date(2023, 6, 10),
    date(2025, 3, 9),
    date(2025, 11, 2),
    date(2025, 12, 5),
    date(2026, 2, 1),
)
"""The first day of a service, both changes of the clock, the day on which durations change, and any other."""
SERVICES: Final = ("regup", "regdn", "rrs", "ecrs", "nonspin")
FEW: Final = settings(
    max_examples=4,
    deadline=None,
    # an example takes a second: it is not worth making smaller
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
FEWER_SCENARIOS: Final = {"scenarios_count": 8.0}


@st.composite
def storages(draw: st.DrawFn) -> Storage:
    power_kw = draw(st.sampled_from([250.0, 5_000.0, 100_000.0]))
    capacity_kwh = power_kw * draw(st.floats(0.3, 6.0))
    return Storage(
        charge_limit_kw=power_kw * draw(st.floats(0.2, 1.0)),
        discharge_limit_kw=power_kw * draw(st.floats(0.2, 1.0)),
        charge_efficiency_frac=draw(st.floats(0.7, 1.0)),
        discharge_efficiency_frac=draw(st.floats(0.7, 1.0)),
        energy_capacity_kwh=capacity_kwh,
        initial_energy_kwh=capacity_kwh * draw(st.sampled_from([0.0, 0.1, 0.5, 0.97, 1.0])),
        throughput_cost_per_mwh=draw(st.sampled_from([0.0, 10.0])),
    )


def ercot_facts(day: date, seed: int, level: float, reserve: float) -> dict[SeriesId, Series]:
    start_ns = int(ERCOT.bounds_ns("day-ahead", day)[0])
    facts = {
        price_series("ercot", "HB_NORTH", "day-ahead"): daily(
            start_ns, days=40, step_ns=NS_PER_HOUR, seed=seed, level=level, spikes=0.01
        )
    }
    for number, name in enumerate(SERVICES):
        facts[price_series("ercot", "HB_NORTH", name)] = daily(
            start_ns,
            days=40,
            step_ns=NS_PER_HOUR,
            seed=seed + 1 + number,
            level=reserve,
            swing=reserve / 2,
            noise=reserve / 5,
            spikes=0.01,
        )
    return facts


def ercot_known(day: date, storage: Storage, facts: dict[SeriesId, Series], **more: Any) -> Known:
    gate = ERCOT.gates("day-ahead", day)[0]
    return known_at(
        "ercot", "HB_NORTH", day, gate, "reserves", facts, storage=storage, settings=FEWER_SCENARIOS, **more
    )


def some_award(bid: MarketBid, day: date, random: Random) -> MarketAward:
    """Return what the bid is awarded at prices of any height: every combination may come."""
    prices = {}
    for product in ("day-ahead", *SERVICES):
        if any(product == one.product_id for one in ERCOT.products(day)):
            starts = ERCOT.bounds_ns(product, day)[:-1].tolist()
            low = -200.0 if product == "day-ahead" else 0.0
            prices[product] = {
                t: round(random.uniform(low, random.choice((5.0, 60.0, 4_999.0))), 2) for t in starts
            }
    return ERCOT.clear(bid, prices, bid_id="b", published_ns=0)


def assert_backed(storage: Storage, award: MarketAward, random: Random, calls: int = 200) -> None:
    """Assert that whatever is awarded can be called at any moment, in any order, each for its duration."""
    day = date.fromisoformat(award.delivery_date)
    held = awarded(ERCOT, award.quantities)
    energy_kwh, slack_kwh = storage.initial_energy_kwh, 1e-6 * storage.energy_capacity_kwh + 1e-3
    boundaries = [energy_kwh]
    rows = sorted(
        (one for one in award.quantities if one.product == "day-ahead"), key=lambda one: one.start_ns
    )
    assert len(rows) == len(ERCOT.delivery_intervals("day-ahead", day))
    for one in rows:
        kwh = one.power_w / 1e3
        energy_kwh += (
            kwh * storage.charge_efficiency_frac if kwh > 0 else kwh / storage.discharge_efficiency_frac
        )
        assert -slack_kwh <= energy_kwh <= storage.energy_capacity_kwh + slack_kwh
        boundaries.append(energy_kwh)
        now = [each for each in held if each.start_ns <= one.start_ns < each.end_ns]
        up_kw = sum(each.power_kw for each in now if each.is_up)
        down_kw = sum(each.power_kw for each in now if not each.is_up)
        assert kwh - up_kw >= -storage.discharge_limit_kw - 1e-3
        assert kwh + down_kw <= storage.charge_limit_kw + 1e-3
    for _ in range(calls):
        row = random.randrange(len(rows))
        now = [each for each in held if each.start_ns <= rows[row].start_ns < each.end_ns]
        random.shuffle(now)
        at = random.random()
        stored_kwh = boundaries[row] * (1.0 - at) + boundaries[row + 1] * at
        way = random.choice((True, False))
        for each in (one for one in now if one.is_up == way):
            if way:
                stored_kwh -= each.power_kw * each.duration_h / storage.discharge_efficiency_frac
            else:
                stored_kwh += each.power_kw * each.duration_h * storage.charge_efficiency_frac
            assert -slack_kwh <= stored_kwh <= storage.energy_capacity_kwh + slack_kwh


@FEW
@given(
    storage=storages(),
    day=st.sampled_from(DAYS),
    seed=st.integers(0, 1_000),
    level=st.sampled_from([-20.0, 30.0, 300.0]),
    reserve=st.sampled_from([0.5, 5.0, 80.0]),
)
def test_the_auction_takes_every_offer_and_every_award_is_backed(
    storage: Storage, day: date, seed: int, level: float, reserve: float
) -> None:
    known = ercot_known(day, storage, ercot_facts(day, seed, level, reserve))
    decision = reserves.co_optimised(known)
    bid = assert_valid(known, decision)
    random = Random(seed)
    for _ in range(5):
        assert_backed(storage, some_award(bid, day, random), random)
    assert decision.reasons and decision.plan is not None


def test_the_same_situation_gives_the_same_bits() -> None:
    day = date(2025, 11, 2)
    known = ercot_known(day, storages_example(), ercot_facts(day, 1, 30.0, 5.0))
    assert reserves.co_optimised(known).content() == reserves.co_optimised(known).content()


@FEW
@given(storage=storages(), seed=st.integers(0, 1_000), rung=st.sampled_from(["energy_only", "simple"]))
def test_a_lower_rung_takes_back_the_services_that_stand(storage: Storage, seed: int, rung: str) -> None:
    day = date(2026, 2, 1)
    facts = ercot_facts(day, seed, 30.0, 20.0)
    first = assert_valid(
        known := ercot_known(day, storage, facts), reserves.co_optimised(ercot_known(day, storage, facts))
    )
    known = ercot_known(day, replace(storage, initial_energy_kwh=0.0), facts, standing=first)
    lower = {"energy_only": reserves.energy_only, "simple": reserves.simple}[rung](known)
    second = assert_valid(known, lower)
    whole = in_force(first, second)
    prices = {
        name: dict.fromkeys(ERCOT.bounds_ns(name, day)[:-1].tolist(), 4_999.0)
        for name in ("day-ahead", *SERVICES)
    }
    award = ERCOT.clear(whole, prices, bid_id="b", published_ns=0)
    assert not any(one.power_w for one in award.quantities if one.product in SERVICES)


def test_what_is_fixed_by_hand_is_planned_around_and_never_leaves_the_plan_empty() -> None:
    day = date(2026, 2, 1)
    hours = ERCOT.delivery_intervals("day-ahead", day)
    fixed = tuple(
        FixedPower(start_ns=hours[k].start_ns, end_ns=hours[k].end_ns, power_kw=-100_000.0, reason="desk")
        for k in (3, 4, 5)
    )
    storage = storages_example()
    known = ercot_known(day, storage, ercot_facts(day, 3, 30.0, 40.0), fixed=fixed)
    decision = reserves.co_optimised(known)
    bid = assert_valid(known, decision)
    listed = {
        each.start_ns
        for offer in bid.offers
        for each in getattr(offer, "intervals", getattr(offer, "orders", ()))
    }
    assert listed.isdisjoint({one.start_ns for one in fixed})
    assert len(listed) == 21
    # two hours of energy cannot be sold for three: the wish that gives way says so
    assert any("fixed in hour" in said for said in decision.relaxed)


def storages_example() -> Storage:
    return Storage(
        charge_limit_kw=100_000.0,
        discharge_limit_kw=100_000.0,
        charge_efficiency_frac=0.92,
        discharge_efficiency_frac=0.92,
        energy_capacity_kwh=150_000.0,
        initial_energy_kwh=20_000.0,
    )


# ── bands and trapezia ──────────────────────────────────────────────────────────────────────────────────────


def nem_facts(until_ns: int, seed: int, day: date) -> dict[SeriesId, Series]:
    return {
        price_series("nem", "SA1", one.product_id): daily(
            until_ns,
            days=12,
            step_ns=FIVE_NS,
            seed=seed + number,
            level=60.0 if one.kind == "energy" else 4.0,
            swing=50.0 if one.kind == "energy" else 2.0,
            spikes=0.002,
        )
        for number, one in enumerate(NEM.products(day))
    }


def nem_bids(
    storage: Storage, seed: int, slot: int, day: date
) -> tuple[Known, MarketBid, MarketBid, Decision]:
    """Return the daily bid and that of one interval upon it."""
    gates = NEM.gates("energy", day)
    known = known_at(
        "nem", "SA1", day, gates[0], "reserves", nem_facts(gates[0].closes_ns, seed, day), storage=storage
    )
    daily_bid = assert_valid(known, reserves.co_optimised(known))
    gate = gates[1 + slot]
    facts = nem_facts(gate.covers.start_ns, seed, day)
    known = known_at("nem", "SA1", day, gate, "reserves", facts, storage=storage, standing=daily_bid)
    decision = reserves.co_optimised(known)
    return known, daily_bid, assert_valid(known, decision), decision


@FEW
@given(
    storage=storages(),
    seed=st.integers(0, 500),
    slot=st.sampled_from([0, 130, 286, 287]),
    day=st.sampled_from([date(2023, 9, 1), date(2024, 12, 5), date(2025, 7, 1)]),
)
def test_the_dispatch_takes_every_band_and_every_service_is_backed(
    storage: Storage, seed: int, slot: int, day: date
) -> None:
    known, daily_bid, bid, _ = nem_bids(storage, seed, slot, day)
    whole, random = in_force(daily_bid, bid), Random(seed)
    start_ns = known.situation.gate.covers_start_ns
    for _ in range(20):
        # three intervals are listed: any prices, one after the other, from the state that the ones before leave
        energy_kwh = storage.initial_energy_kwh
        for number in range(min(3, 288 - slot)):
            at_ns = start_ns + number * FIVE_NS
            prices = {
                one.product_id: {
                    at_ns: round(
                        random.choice((0.0, random.uniform(-900.0 if one.kind == "energy" else 0.0, 900.0))),
                        2,
                    )
                }
                for one in NEM.products(day)
            }
            award = NEM.clear(whole, prices, bid_id="b", published_ns=0)
            before_kwh = energy_kwh
            net_kw = sum(one.power_w for one in award.quantities if one.product == "energy") / 1e3
            gain = storage.charge_efficiency_frac if net_kw > 0 else 1.0 / storage.discharge_efficiency_frac
            energy_kwh += net_kw / 12.0 * gain
            slack_kwh = 1e-6 * storage.energy_capacity_kwh + 1e-3
            assert -slack_kwh <= energy_kwh <= storage.energy_capacity_kwh + slack_kwh
            held = awarded(NEM, award.quantities)
            kept = backing_of(held, storage, (at_ns, at_ns + FIVE_NS))
            assert kept.floor_kwh[0] <= min(before_kwh, energy_kwh) + slack_kwh
            assert kept.room_kwh[0] <= storage.energy_capacity_kwh - max(before_kwh, energy_kwh) + slack_kwh
            assert net_kw - kept.up_kw[0] >= -storage.discharge_limit_kw - 1e-2
            assert net_kw + kept.down_kw[0] <= storage.charge_limit_kw + 1e-2


@pytest.mark.parametrize("rung", ["energy_only", "simple"])
def test_a_lower_rung_takes_back_services_of_its_intervals(rung: str) -> None:
    day = date(2024, 12, 5)
    known, daily_bid, bid, decision = nem_bids(storages_example(), 5, 100, day)
    assert any(
        len(one.intervals) and one.product != "energy" for one in decision.offers if hasattr(one, "intervals")
    )
    standing = in_force(daily_bid, bid)
    again = known_at(
        "nem",
        "SA1",
        day,
        NEM.gates("energy", day)[1 + 101],
        "reserves",
        known.facts,
        storage=storages_example(),
        standing=standing,
    )
    lower = {"energy_only": reserves.energy_only, "simple": reserves.simple}[rung](again)
    whole = in_force(standing, assert_valid(again, lower))
    at_ns = again.situation.gate.covers_start_ns
    prices = {one.product_id: {at_ns: 800.0} for one in NEM.products(day)}
    award = NEM.clear(whole, prices, bid_id="b", published_ns=0)
    assert not any(one.power_w for one in award.quantities if one.product != "energy")


# ── what is awarded is kept ─────────────────────────────────────────────────────────────────────────────────


@given(
    storage=storages(),
    held=st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "c"]),
            st.booleans(),
            st.integers(0, 5),
            st.integers(1, 4),
            st.floats(0, 1e5),
        ),
        max_size=6,
    ),
)
def test_what_is_left_for_trading_never_touches_what_is_kept(
    storage: Storage, held: list[tuple[str, bool, int, int, float]]
) -> None:
    those = tuple(
        Held(
            product=f"{name}-{way}",
            is_up=way,
            start_ns=first * NS_PER_HOUR,
            end_ns=(first + hours) * NS_PER_HOUR,
            power_kw=kw,
            duration_h=1.0,
            shares_power=f"{name}-{way}",
        )
        for name, way, first, hours, kw in held
    )
    bounds = [hour * NS_PER_HOUR for hour in range(10)]
    kept = backing_of(those, storage, bounds)
    for row in range(9):
        left = less_reserve(
            storage,
            up_kw=float(kept.up_kw[row]),
            down_kw=float(kept.down_kw[row]),
            floor_kwh=float(kept.floor_kwh[row]),
            room_kwh=float(kept.room_kwh[row]),
        )
        most_kwh = max(storage.energy_capacity_kwh - kept.floor_kwh[row] - kept.room_kwh[row], 0.0)
        assert left.energy_capacity_kwh <= most_kwh + 1e-6
        assert left.initial_energy_kwh <= max(storage.initial_energy_kwh - kept.floor_kwh[row], 0.0) + 1e-6
        assert left.discharge_limit_kw <= max(storage.discharge_limit_kw - kept.up_kw[row], 0.0) + 1e-6
        inside = [one for one in those if one.start_ns < bounds[row + 1] and one.end_ns > bounds[row]]
        biggest: dict[str, float] = {}
        for one in inside:
            if one.is_up:
                biggest[one.product] = max(biggest.get(one.product, 0.0), one.power_kw)
        assert np.isclose(kept.up_kw[row], sum(biggest.values()))


def test_what_stands_where_a_person_decided_is_left_alone_and_backed() -> None:
    day = date(2026, 2, 1)
    facts = ercot_facts(day, 3, 30.0, 40.0)
    storage = replace(storages_example(), initial_energy_kwh=75_000.0)
    first = ercot_known(day, storage, facts)
    before = reserves.co_optimised(first)
    standing = assert_valid(first, before)
    assert before.plan is not None
    idle = {t for t, kw in zip(before.plan.start_ns, before.plan.power_kw, strict=True) if kw == 0.0}
    orders = [
        (offer.product, order)
        for offer in standing.offers
        if isinstance(offer, Orders) and offer.product in ("rrs", "regup")
        for order in offer.orders
        if order.quantity_mw > 1.0 and order.start_ns in idle
    ]
    assert orders
    hour = orders[len(orders) // 2][1]
    fixed = (FixedPower(start_ns=hour.start_ns, end_ns=hour.end_ns, power_kw=0.0, reason="desk"),)
    known = ercot_known(day, storage, facts, standing=standing, fixed=fixed)
    decision = reserves.co_optimised(known)
    bid = assert_valid(known, decision)
    listed = {
        each.start_ns
        for offer in bid.offers
        for each in getattr(offer, "intervals", getattr(offer, "orders", ()))
    }
    assert hour.start_ns not in listed
    whole = in_force(standing, bid)
    random = Random(1)
    for _ in range(3):
        assert_backed(storage, some_award(whole, day, random), random)
