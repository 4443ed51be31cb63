"""What reserve keeps back from trading."""

from __future__ import annotations

from datetime import date
from typing import Final

import numpy as np
import pytest

from shoal.bidding.cycle import five_minute, reserves, reserves_bands
from shoal.bidding.cycle.decision import Decision
from shoal.bidding.cycle.known import Known
from shoal.bidding.cycle.reserves_backing import awarded, backing_of, held_back, sustain_h
from shoal.bidding.cycle.reserves_scenarios import hour_scenarios
from shoal.bidding.cycle.reserves_services import bundles
from shoal.domain.errors import InvalidInputError
from shoal.domain.facts import SeriesId
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE
from shoal.market.awards import AwardedQuantity
from shoal.market.bids import BandOffer
from shoal.market.registry import market_module
from tests.unit.bidding.gate_known import BATTERY, assert_valid, daily, known_at

ERCOT: Final = market_module("ercot")
NEM: Final = market_module("nem")
DAY: Final = date(2026, 2, 1)
NEM_DAY: Final = date(2024, 12, 5)
FIVE_NS: Final = 5 * NS_PER_MINUTE
ENERGY: Final = SeriesId("price/nem/SA1/dispatch")


def quantity(product: str, start_ns: int, power_w: int, hours: float = 1.0) -> AwardedQuantity:
    return AwardedQuantity(
        product=product,
        start_ns=start_ns,
        end_ns=start_ns + int(hours * NS_PER_HOUR),
        power_w=power_w,
        price_per_mwh=5.0,
    )


def test_an_award_keeps_power_and_energy_at_both_ends_of_its_interval() -> None:
    bounds = ERCOT.bounds_ns("day-ahead", DAY)[:4].tolist()
    held = awarded(
        ERCOT,
        [
            quantity("nonspin", bounds[1], 10_000_000),
            quantity("regdn", bounds[1], 6_000_000),
            quantity("day-ahead", bounds[1], -5_000_000),
            quantity("regup", bounds[2], 0),
        ],
    )
    assert [one.product for one in held] == ["nonspin", "regdn"]
    kept = backing_of(held, BATTERY, bounds)
    assert kept.up_kw.tolist() == [0.0, 10_000.0, 0.0]
    assert kept.down_kw.tolist() == [0.0, 6_000.0, 0.0]
    # four hours of non-spinning reserve, half an hour of regulation
    assert np.allclose(kept.floor_kwh, [0.0, 40_000.0 / 0.92, 40_000.0 / 0.92, 0.0])
    assert np.allclose(kept.room_kwh, [0.0, 3_000.0 * 0.92, 3_000.0 * 0.92, 0.0])


def test_services_that_follow_one_another_share_power_but_not_energy() -> None:
    start_ns = int(NEM.bounds_ns("energy", NEM_DAY)[0])
    names = ("raise1sec", "raise6sec", "raise60sec", "raise5min", "raisereg")
    held = awarded(NEM, [quantity(one, start_ns, 12_000_000, 1 / 12) for one in names])
    kept = backing_of(held, BATTERY, (start_ns, start_ns + FIVE_NS))
    assert kept.up_kw.tolist() == [24_000.0]
    seconds = 6 + 60 + 240 + 300 + 300
    assert np.allclose(kept.floor_kwh, 12_000.0 * seconds / 3_600 / 0.92)
    found = {one.name: one.duration_h * 3_600 for one in bundles(NEM, NEM_DAY)}
    assert found == pytest.approx(
        {"contingency up": 606.0, "contingency down": 606.0, "raisereg": 300.0, "lowerreg": 300.0}
    )


@pytest.mark.parametrize(
    ("product", "day", "hours"),
    [
        ("ecrs", date(2025, 12, 4), 2.0),
        ("ecrs", date(2025, 12, 5), 1.0),
        ("regup", date(2025, 12, 4), 1.0),
        ("regup", date(2025, 12, 5), 0.5),
    ],
)
def test_how_long_an_award_lasts_goes_by_its_day(product: str, day: date, hours: float) -> None:
    assert sustain_h(ERCOT.product(product), day) == hours


def at_interval(slot: int, **more: object) -> Known:
    gate = NEM.gates("energy", NEM_DAY)[1 + slot]
    facts = {ENERGY: daily(gate.covers.start_ns, days=14, step_ns=FIVE_NS, seed=2)}
    return known_at("nem", "SA1", NEM_DAY, gate, "markov", facts, before_s=10, **more)  # type: ignore[arg-type]


def sold_mw(decision: Decision) -> float:
    return sum(
        sum(band.band_avail_mw)
        for offer in decision.offers
        if isinstance(offer, BandOffer) and offer.side == "gen"
        for band in offer.intervals[:1]
    )


def test_an_awarded_reserve_limits_what_the_other_strategy_promises() -> None:
    gates = NEM.gates("energy", NEM_DAY)
    facts = {ENERGY: daily(gates[0].closes_ns, days=14, step_ns=FIVE_NS, seed=2)}
    first = known_at("nem", "SA1", NEM_DAY, gates[0], "markov", facts)
    standing = assert_valid(first, five_minute.markov(first))
    start_ns = gates[1 + 140].covers.start_ns
    free = at_interval(140, standing=standing)
    bound = at_interval(
        140, standing=standing, commitments=(quantity("raise5min", start_ns, 70_000_000, 1 / 12),)
    )
    assert sold_mw(five_minute.thresholds(free)) == 100.0
    assert sold_mw(five_minute.thresholds(bound)) == 30.0
    assert sold_mw(five_minute.markov(bound)) <= 30.0
    assert held_back(free.situation, BATTERY) is BATTERY


def test_what_only_energy_pays_for_offers_no_services() -> None:
    gates = NEM.gates("energy", NEM_DAY)
    facts = {ENERGY: daily(gates[0].closes_ns, days=14, step_ns=FIVE_NS, seed=2)}
    first = known_at("nem", "SA1", NEM_DAY, gates[0], "reserves", facts)
    standing = assert_valid(first, reserves.co_optimised(first))
    # at the gate of the day every service is listed, so that it can be offered later
    assert {one.product for one in standing.offers if isinstance(one, BandOffer)} >= {"raise6sec", "lowerreg"}
    gate = gates[1 + 100]
    facts = {ENERGY: daily(gate.covers.start_ns, days=14, step_ns=FIVE_NS, seed=2)}
    known = known_at("nem", "SA1", NEM_DAY, gate, "reserves", facts, standing=standing)
    decision = reserves_bands.co_optimised(known)
    assert_valid(known, decision)
    assert not any(
        band.max_avail_mw
        for offer in decision.offers
        if isinstance(offer, BandOffer) and offer.product != "energy"
        for band in offer.intervals
    )


def test_a_strategy_of_services_declines_what_has_none() -> None:
    gate = ERCOT.gates("real-time", DAY)[10]
    known = known_at("ercot", "HB_NORTH", DAY, gate, "reserves", {})
    assert "day ahead" in reserves.declines(known.situation)


def test_scenarios_are_what_days_missed_their_forecast_by() -> None:
    rng = np.random.default_rng(1)
    days = 60
    cells = {(day * 24 + hour) * NS_PER_HOUR: (day, hour) for day in range(days) for hour in range(24)}
    dear = rng.random(days) < 0.3
    energy = {t: 40.0 + hour + (60.0 if dear[day] else 0.0) for t, (day, hour) in cells.items()}
    reserve = {t: 5.0 + (20.0 if dear[day] else 0.0) for t, (day, _) in cells.items()}
    target = [(days, hour) for hour in (*range(24), 1)]
    common = {"cells": cells, "target_cells": target, "price_limits": (-250.0, 5_000.0), "most_count": 12}
    found = hour_scenarios(energy, {"rrs": reserve, "ecrs": {}}, seed="a", **common)  # type: ignore[arg-type]
    again = hour_scenarios(energy, {"rrs": reserve, "ecrs": {}}, seed="a", **common)  # type: ignore[arg-type]
    other = hour_scenarios(energy, {"rrs": reserve, "ecrs": {}}, seed="b", **common)  # type: ignore[arg-type]
    assert found.products == ("rrs",) and found.energy_per_mwh.shape == (12, 25)
    assert np.array_equal(found.energy_per_mwh, again.energy_per_mwh)
    assert not np.array_equal(found.energy_per_mwh, other.energy_per_mwh)
    # the hour that the clock repeats is like the first of the two
    assert np.array_equal(found.energy_per_mwh[:, 1], found.energy_per_mwh[:, 24])
    together = np.corrcoef(found.energy_per_mwh.mean(axis=1), found.reserve_per_mw[:, :, 0].mean(axis=1))[
        0, 1
    ]
    assert together > 0.8
    few = {t: price for t, price in energy.items() if cells[t][0] >= days - 5}
    with pytest.raises(InvalidInputError, match="7 days"):
        hour_scenarios(few, {}, seed="a", **common)  # type: ignore[arg-type]
