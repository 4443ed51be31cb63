"""Fleets for the benchmark: homes of six tariffs with batteries, roofs and cars; feeder limits and an evening's commitment."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.optimise.fleet_optimum import FleetTerms
from shoal.optimise.home_batch import HomeColumns
from shoal.optimise.storage_batch import StorageBatch

Floats = NDArray[np.float64]

STEPS: Final = 96
INTERVAL_H: Final = 0.25
SHAPES: Final = 64
EXCESS_PER_KWH: Final = 2.0
SHORT_PER_KWH: Final = 1.0


def homes(count: int, *, groups: int = 20, feeders: int = 1, seed: int = 0) -> HomeColumns:
    """Return so many homes for a day; a fleet of another seed has the same shapes and tariffs but other homes."""
    fixed, draw = np.random.default_rng(12), np.random.default_rng([34, seed])
    hour: Floats = np.arange(STEPS, dtype=np.float64) * INTERVAL_H
    tariff, roof, power = (
        draw.integers(0, 6, count),
        draw.choice([0, 4, 6, 8], count, p=[0.25, 0.25, 0.3, 0.2]),
        draw.choice([3.3, 5.0, 5.0, 11.5], count),
    )
    capacity = (
        power
        * draw.choice([2.0, 2.7, 2.7, 3.9], count)
        * (1.0 - draw.choice([0.0, 0.1, 0.2, 0.3, 0.5], count))
    )
    feeder = draw.integers(0, feeders, count)
    # Groups of a feeder hold homes that answer alike: by tariff, roof and how long the battery lasts.
    order = np.lexsort((capacity / power, roof, tariff, feeder))
    group = np.empty(count, np.int64)
    per_feeder = max(groups // feeders, 1)
    for one in range(feeders):
        mine = order[feeder[order] == one]
        group[mine] = one * per_feeder + (np.arange(mine.size) * per_feeder) // max(mine.size, 1)
    # Homes lie sorted, so that a run of them is a fair share of each group only if it takes every n-th: see `shard`.
    car = draw.random(count) < 0.25
    start = draw.integers(int(16 / INTERVAL_H), int(19 / INTERVAL_H), count)
    return HomeColumns(
        interval_h=INTERVAL_H,
        storage=StorageBatch(
            charge_limit_kw=power,
            discharge_limit_kw=power,
            charge_efficiency_frac=draw.uniform(0.93, 0.97, count),
            discharge_efficiency_frac=draw.uniform(0.93, 0.97, count),
            energy_capacity_kwh=capacity,
            initial_energy_kwh=capacity * draw.uniform(0.1, 0.8, count),
            throughput_cost_per_mwh=np.full(count, 20.0),
            terminal_value_per_mwh=draw.uniform(80.0, 180.0, count),
            standing_loss_frac_per_h=np.zeros(count),
        ),
        load_kw=_loads(fixed, hour),
        load_row=draw.integers(0, SHAPES, count),
        load_scale=draw.lognormal(0.0, 0.4, count),
        solar_kw=np.clip(np.sin((hour - 6.0) * np.pi / 13.0), 0.0, None)[np.newaxis] ** 1.4,
        solar_row=np.zeros(count, np.int64),
        solar_scale=roof.astype(np.float64),
        import_per_kwh=_tariffs(fixed, hour)[0],
        export_per_kwh=_tariffs(np.random.default_rng(12), hour)[1],
        tariff_row=tariff,
        group_of=group,
        feeder_of=np.repeat(np.arange(feeders), per_feeder),
        ev_limit_kw=np.where(car, 7.2, 0.0),
        ev_start_row=start,
        ev_end_row=np.full(count, STEPS),
        ev_energy_kwh=np.where(car, draw.uniform(4.0, 20.0, count), 0.0),
        import_limit_kw=np.full(count, 17.0),
        export_limit_kw=np.full(count, 10.0),
        most_price_per_kwh=4.0,
    )


def terms(count: int, *, feeders: int = 1) -> FleetTerms:
    """Return limits of 1.6 kW import and 2 kW export a home, and a commitment to export 0.9 kW a home in the evening."""
    hour: Floats = np.arange(STEPS, dtype=np.float64) * INTERVAL_H
    evening = (hour >= 17.5) & (hour < 20.5)
    wholesale = 0.03 * np.exp(-(((hour - 19) / 1.5) ** 2)) - 0.015 * np.exp(-(((hour - 13) / 3) ** 2))
    share = INTERVAL_H * count / feeders
    return FleetTerms(
        wholesale_per_kwh=wholesale,
        feeder_import_kwh=np.full((feeders, STEPS), 1.6 * share),
        feeder_export_kwh=np.full((feeders, STEPS), 2.0 * share),
        excess_per_kwh=EXCESS_PER_KWH,
        committed_kwh=np.where(evening, -0.9 * INTERVAL_H * count, 0.0),
        short_per_kwh=np.where(evening, SHORT_PER_KWH, 0.0),
    )


def _loads(draw: np.random.Generator, hour: Floats) -> Floats:
    loads = np.empty((SHAPES, STEPS))
    for row in loads:
        morning, evening = 7.5 + draw.normal(0, 0.6), 19.0 + draw.normal(0, 0.8)
        row[:] = (
            0.35
            + 0.3 * np.exp(-(((hour - morning) / 1.3) ** 2))
            + 1.1 * np.exp(-(((hour - evening) / 2) ** 2))
        )
        row += 0.25 * draw.random(STEPS)
        at = draw.integers(0, STEPS - 6)
        row[at : at + 6] += draw.uniform(0.0, 1.5)
    return loads


def _tariffs(draw: np.random.Generator, hour: Floats) -> tuple[Floats, Floats]:
    peak, night = (hour >= 16) & (hour < 21), (hour < 6) | (hour >= 23)

    def three(low: float, middle: float, high: float) -> Floats:
        return np.where(peak, high, np.where(night, low, middle))

    flat = np.ones(STEPS)
    wave = 0.18 + 0.10 * np.exp(-(((hour - 19.5) / 2) ** 2)) - 0.1 * np.exp(-(((hour - 13) / 2.5) ** 2))
    buying = [
        0.28 * flat,
        three(0.22, 0.32, 0.52),
        three(0.12, 0.25, 0.45),
        three(0.10, 0.28, 0.60),
        0.35 * flat,
        wave + 0.08,
    ]
    selling = [
        0.06 * flat,
        three(0.05, 0.05, 0.12),
        0.08 * flat,
        three(0.03, 0.02, 0.35),
        0.175 * flat,
        wave - 0.02,
    ]
    return np.array(buying), np.array(selling)
