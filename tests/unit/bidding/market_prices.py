"""A made-up market for tests of back-tests: days with a shape, noise that lasts, and now and then an evening of spikes."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.bidding.backtest import Series, make_series
from shoal.bidding.backtest_markets import NEM
from shoal.bidding.strategy import Setting
from shoal.domain.interval import NS_PER_MINUTE
from shoal.optimise.storage import Storage

HALF_HOURS: Final = replace(NEM, interval_ns=30 * NS_PER_MINUTE)
FIRST_NS: Final = 1_735_668_000_000_000_000  # 2025-01-01 04:00 at the market's clock


def battery(*, duration_h: float = 2.0, wear_per_mwh: float = 10.0) -> Storage:
    return Storage(
        charge_limit_kw=1_000.0,
        discharge_limit_kw=1_000.0,
        charge_efficiency_frac=0.85**0.5,
        discharge_efficiency_frac=0.85**0.5,
        energy_capacity_kwh=1_000.0 * duration_h,
        initial_energy_kwh=0.0,
        throughput_cost_per_mwh=wear_per_mwh,
    )


SETTING: Final = Setting(market=HALF_HOURS, storage=battery())


def prices(days: int, *, seed: int = 1, slots: int = 48) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    hour = np.arange(days * slots) / slots * 24.0 + 4.0
    shape = 70.0 - 90.0 * np.exp(-((((hour % 24.0) - 12.5) / 3.0) ** 2))
    shape += 90.0 * np.exp(-((((hour % 24.0) - 18.5) / 2.0) ** 2))
    noise = np.empty(len(hour))
    level = 0.0
    for i in range(len(hour)):
        level = 0.9 * level + rng.normal(0.0, 9.0)
        noise[i] = level
    day, evening = np.arange(len(hour)) // slots, np.abs((hour % 24.0) - 18.0) < 1.0
    spike = evening * (rng.random(days) < 0.1)[day] * rng.pareto(1.0, days)[day] * 300.0
    return np.asarray(np.round(np.clip(shape + noise + spike, -900.0, 17_000.0), 2))


def series(days: int, *, seed: int = 1) -> Series:
    price = prices(days, seed=seed)
    start_ns = FIRST_NS + np.arange(len(price)) * HALF_HOURS.interval_ns
    return make_series(HALF_HOURS, start_ns, price)
