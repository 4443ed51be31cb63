"""What services add to energy on real prices, same battery, same days, every bid validated, cleared and followed."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from shoal.bidding.cycle import reserves
from shoal.bidding.cycle.known import Series
from shoal.domain.facts import SeriesId
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE
from shoal.market.awards import MarketAward
from shoal.market.bids import MarketBid
from shoal.market.nem import SERVICES as FCAS
from shoal.market.registry import market_module
from shoal.market.series import price_series
from shoal.market.standing import in_force
from shoal.optimise.storage import Storage
from tests.unit.bidding.gate_known import BATTERY, assert_valid, column, known_at

DATA: Final = Path(__file__).resolve().parents[4] / "shared" / "data"
ERCOT_FILE: Final = DATA / "ercot_as_dam_rt_hourly_2024_2026.parquet"
NEM_FILE: Final = DATA / "nem_nsw1_sa1_5min_fcas_samples_2018_2026.parquet"
ERCOT: Final = market_module("ercot")
NEM: Final = market_module("nem")
COLUMNS: Final = {
    "day-ahead": "hb_north_dam_spp",
    "regup": "as_regup_usd_mw",
    "regdn": "as_regdn_usd_mw",
    "rrs": "as_rrs_usd_mw",
    "ecrs": "as_ecrs_usd_mw",
    "nonspin": "as_nspin_usd_mw",
}
FIVE_NS: Final = 5 * NS_PER_MINUTE
DAY_NS: Final = 24 * NS_PER_HOUR
NEM_FROM_UTC_NS: Final = 6 * NS_PER_HOUR
"""The trading day begins at 18:00 UTC."""


def followed(storage: Storage, award: MarketAward, energy: str, energy_kwh: float) -> tuple[float, float]:
    """Return what an award earns, wear paid, and the stored energy after it."""
    earned = 0.0
    for one in award.quantities:
        hours = (one.end_ns - one.start_ns) / NS_PER_HOUR
        if one.product != energy:
            earned += one.power_w / 1e6 * hours * one.price_per_mwh
            continue
        kwh = one.power_w / 1e3 * hours
        wear = max(-kwh, 0.0) * storage.throughput_cost_per_mwh
        earned -= (kwh * one.price_per_mwh + wear) / 1e3
        energy_kwh += (
            kwh * storage.charge_efficiency_frac if kwh > 0 else kwh / storage.discharge_efficiency_frac
        )
    assert -1e-3 <= energy_kwh <= storage.energy_capacity_kwh + 1e-3
    return earned, min(max(energy_kwh, 0.0), storage.energy_capacity_kwh)


@pytest.mark.skipif(not ERCOT_FILE.exists(), reason=f"needs {ERCOT_FILE.name} in the shared data")
def test_services_add_to_energy_in_the_day_ahead_auction() -> None:
    table = pq.read_table(ERCOT_FILE, columns=["ts_utc", *COLUMNS.values()])
    start_ns = table["ts_utc"].cast("int64").to_numpy() * 1_000_000
    price = {
        name: table[of].to_numpy(zero_copy_only=False).astype(np.float64) for name, of in COLUMNS.items()
    }
    earned = {"co_optimised": 0.0, "energy_only": 0.0}
    for rung in earned:
        energy_kwh = BATTERY.initial_energy_kwh
        for day in (date(2025, 8, 18) + timedelta(days=n) for n in range(3)):
            bounds = ERCOT.bounds_ns("day-ahead", day)
            past = (start_ns < bounds[0]) & (start_ns >= bounds[0] - 70 * DAY_NS)
            facts: dict[SeriesId, Series] = {
                price_series("ercot", "HB_NORTH", name): column(
                    start_ns[past], NS_PER_HOUR, price[name][past]
                )
                for name in COLUMNS
            }
            storage = replace(BATTERY, initial_energy_kwh=energy_kwh)
            gate = ERCOT.gates("day-ahead", day)[0]
            known = known_at("ercot", "HB_NORTH", day, gate, "reserves", facts, storage=storage)
            bid = assert_valid(known, reserves.RESERVES.rung(rung).decide(known))
            award = ERCOT.clear(bid, paid(start_ns, price, bounds), bid_id="b", published_ns=0)
            amount, energy_kwh = followed(storage, award, "day-ahead", energy_kwh)
            earned[rung] += amount
    assert earned["co_optimised"] > 1.1 * earned["energy_only"] > 0.0


def paid(
    start_ns: NDArray[np.int64], price: dict[str, NDArray[np.float64]], bounds: NDArray[np.int64]
) -> dict[str, dict[int, float]]:
    """Return the prices of a day."""
    rows = np.flatnonzero((start_ns >= bounds[0]) & (start_ns < bounds[-1]))
    assert len(rows) == len(bounds) - 1
    return {
        name: dict(zip(start_ns[rows].tolist(), np.round(value[rows], 2).tolist(), strict=True))
        for name, value in price.items()
    }


def nem_days() -> tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]]:
    """Return the whole trading days of a region's samples, put one after the other: they are days of many months."""
    table = pq.read_table(NEM_FILE)
    table = table.filter(pc.equal(table["region"].cast("string"), "SA1")).sort_by("interval_end_utc")
    start_ns = table["interval_end_utc"].cast("int64").to_numpy() * 1_000_000 - FIVE_NS
    day_no = (start_ns + NEM_FROM_UTC_NS) // DAY_NS
    days, counts = np.unique(day_no, return_counts=True)
    whole = days[counts == 288]
    kept = np.isin(day_no, whole)
    place = np.searchsorted(whole, day_no[kept]) - len(whole) + 1 + int(whole[-1])
    moved_ns = start_ns[kept] + (place - day_no[kept]) * DAY_NS
    names = {"energy": "rrp", **{one: one for one in FCAS}}
    return moved_ns, {
        name: table[of].to_numpy(zero_copy_only=False).astype(np.float64)[kept] for name, of in names.items()
    }


@pytest.mark.skipif(not NEM_FILE.exists(), reason=f"needs {NEM_FILE.name} in the shared data")
def test_services_add_to_energy_in_dispatch() -> None:
    start_ns, price = nem_days()
    day = NEM.delivery_date(int(start_ns[-15 * 288]))
    gates = NEM.gates("energy", day)
    earned = {"co_optimised": 0.0, "energy_only": 0.0}
    for rung in earned:
        energy_kwh, standing = BATTERY.initial_energy_kwh, None
        for gate in (gates[0], *gates[1 + 180 : 1 + 216]):
            seen_ns = gate.closes_ns if gate is gates[0] else gate.covers.start_ns
            past = start_ns + FIVE_NS <= seen_ns
            facts: dict[SeriesId, Series] = {
                price_series("nem", "SA1", name): column(start_ns[past], FIVE_NS, value[past])
                for name, value in price.items()
            }
            storage = replace(BATTERY, initial_energy_kwh=energy_kwh)
            known = known_at(
                "nem", "SA1", day, gate, "reserves", facts, storage=storage, before_s=10, standing=standing
            )
            bid = assert_valid(known, reserves.RESERVES.rung(rung).decide(known))
            standing = bid if standing is None else in_force(standing, bid)
            if gate is not gates[0]:
                award = NEM.clear(
                    standing, at(start_ns, price, gate.covers.start_ns), bid_id="b", published_ns=0
                )
                amount, energy_kwh = followed(storage, award, "energy", energy_kwh)
                earned[rung] += amount
        earned[rung] += worth_of(energy_kwh)
    assert earned["co_optimised"] > earned["energy_only"] + 100.0


def at(
    start_ns: NDArray[np.int64], price: dict[str, NDArray[np.float64]], t_ns: int
) -> dict[str, dict[int, float]]:
    row = int(np.searchsorted(start_ns, t_ns))
    return {
        name: {t_ns: round(float(value[row]), 2)} for name, value in price.items() if np.isfinite(value[row])
    }


def worth_of(energy_kwh: float) -> float:
    """Return what is left in store at 60 a MWh: the rungs end with different stores."""
    return energy_kwh / 1e3 * 60.0


def test_a_bid_of_nothing_is_followed_by_nothing() -> None:
    nothing = MarketBid(
        idempotency_key="k",
        resource_id="big",
        market_id="ercot",
        settlement_point="HB_NORTH",
        delivery_date="2025-08-18",
        revision=1,
        offers=(),
    )
    award = ERCOT.clear(nothing, {}, bid_id="b", published_ns=0)
    assert followed(BATTERY, award, "day-ahead", 5.0) == (0.0, 5.0)
