"""Instances of the storage problem for `shoal bench optimise` and its tests: a day, a week, wasteful prices, and random ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.optimise.storage import DepthCost, Storage, TerminalValue
from shoal.optimise.storage_limits import StorageLimits, ThroughputBudget, day_budgets

Floats = NDArray[np.float64]

HOURS_OF_DAY: Final = 24.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A storage, its prices, and what else its plan must keep."""

    storage: Storage
    price_per_mwh: Floats
    interval_h: float
    limits: StorageLimits = field(default_factory=StorageLimits)
    terminal: TerminalValue | None = None

    @property
    def steps(self) -> int:
        """How many intervals there are."""
        return int(self.price_per_mwh.size)


def day_prices(steps: int, interval_h: float, rng: np.random.Generator) -> Floats:
    """Return prices above zero with a morning and an evening peak, a solar valley, noise that lasts, and spikes."""
    hour = np.arange(steps) * interval_h % HOURS_OF_DAY
    shape: Floats = 45.0 + 20.0 * np.sin((hour - 9.0) * np.pi / 12.0)
    shape += 25.0 * np.exp(-(((hour - 19.0) / 2.0) ** 2)) - 20.0 * np.exp(-(((hour - 13.0) / 3.0) ** 2))
    noise, level = rng.normal(0.0, 6.0, steps), 0.0
    for t in range(steps):
        level = 0.9 * level + noise[t]
        shape[t] += level
    shape += np.where(rng.random(steps) < 0.01, rng.exponential(300.0, steps), 0.0)
    floored: Floats = np.maximum(shape, 1.0)
    return floored


def day(steps: int, seed: int) -> Instance:
    """Return a day of a home battery that ends as it began: what every peer can express."""
    rng = np.random.default_rng(seed)
    power_kw, duration_h = float(rng.uniform(3.0, 8.0)), float(rng.choice([1.0, 2.0, 4.0]))
    capacity_kwh = power_kw * duration_h
    initial_kwh = 0.5 * capacity_kwh
    low, high = np.zeros(steps), np.full(steps, capacity_kwh)
    low[-1], high[-1] = initial_kwh, initial_kwh
    return Instance(
        storage=Storage(
            charge_limit_kw=power_kw,
            discharge_limit_kw=power_kw,
            charge_efficiency_frac=0.95,
            discharge_efficiency_frac=0.94,
            energy_capacity_kwh=capacity_kwh,
            initial_energy_kwh=initial_kwh,
        ),
        price_per_mwh=day_prices(steps, HOURS_OF_DAY / steps, rng),
        interval_h=HOURS_OF_DAY / steps,
        limits=StorageLimits(energy_min_kwh=low, energy_max_kwh=high),
    )


def long_duration(steps: int, duration_h: float, seed: int) -> Instance:
    """Return a storage that takes days to empty, at five-minute prices."""
    rng = np.random.default_rng(seed)
    return Instance(
        storage=Storage(
            charge_limit_kw=1000.0,
            discharge_limit_kw=1000.0,
            charge_efficiency_frac=0.8,
            discharge_efficiency_frac=0.75,
            energy_capacity_kwh=1000.0 * duration_h,
            initial_energy_kwh=500.0 * duration_h,
            throughput_cost_per_mwh=1.0,
            terminal_value_per_mwh=40.0,
        ),
        price_per_mwh=day_prices(steps, 1.0 / 12.0, rng),
        interval_h=1.0 / 12.0,
    )


def wasteful(steps: int, duration_h: float, seed: int) -> Instance:
    """Return a day with prices so negative that a linear programme would charge and discharge at once.

    The shorter the storage's duration, the more intervals must be branched on.
    """
    rng = np.random.default_rng(seed)
    price = day_prices(steps, HOURS_OF_DAY / steps, rng)
    negative = rng.random(steps) < 0.15
    price[negative] -= rng.exponential(250.0, int(negative.sum()))
    return Instance(
        storage=Storage(
            charge_limit_kw=1000.0,
            discharge_limit_kw=900.0,
            charge_efficiency_frac=0.93,
            discharge_efficiency_frac=0.92,
            energy_capacity_kwh=1000.0 * duration_h,
            initial_energy_kwh=350.0 * duration_h,
            throughput_cost_per_mwh=5.0,
            terminal_value_per_mwh=30.0,
        ),
        price_per_mwh=price,
        interval_h=HOURS_OF_DAY / steps,
    )


def _storage(rng: np.random.Generator, *, lossy: bool, deep: bool) -> Storage:
    capacity_kwh = float(rng.choice([0.3, 1.0, 2.0, 5.0, 20.0]))
    fullness = float(rng.choice([0.0, 1.0, 0.5, rng.random()]))
    levels = rng.choice([0.2, 0.5, rng.random()], 2) * capacity_kwh
    return Storage(
        charge_limit_kw=float(rng.choice([0.0, 1.0, 2.5, rng.uniform(0.1, 5)], p=[0.05, 0.3, 0.3, 0.35])),
        discharge_limit_kw=float(rng.choice([0.0, 1.0, 2.5, rng.uniform(0.1, 5)], p=[0.05, 0.3, 0.3, 0.35])),
        charge_efficiency_frac=float(rng.choice([1.0, 0.95, rng.uniform(0.7, 1.0)])),
        discharge_efficiency_frac=float(rng.choice([1.0, 0.95, rng.uniform(0.7, 1.0)])),
        energy_capacity_kwh=capacity_kwh,
        initial_energy_kwh=fullness * capacity_kwh,
        throughput_cost_per_mwh=float(rng.choice([0.0, 5.0, rng.uniform(0, 40)])),
        terminal_value_per_mwh=float(rng.choice([0.0, 50.0, -20.0, rng.uniform(0, 100)])),
        standing_loss_frac_per_h=float(rng.uniform(0.0, 0.2)) if lossy else 0.0,
        depth_costs=tuple(
            DepthCost(below_kwh=float(level), cost_per_mwh_h=float(rng.exponential(20.0))) for level in levels
        )
        if deep
        else (),
    )


def _price(rng: np.random.Generator, steps: int) -> Floats:
    kind = rng.integers(5)
    if kind == 0:
        return rng.uniform(-150.0, 150.0, steps)
    if kind == 1:
        return rng.choice([-100.0, -100.0, 0.0, 40.0, 90.0], steps)  # ties
    if kind in (2, 3):
        return rng.normal(60.0, 40.0, steps)
    return np.where(rng.random(steps) < 0.4, -rng.exponential(300.0, steps), rng.exponential(80.0, steps))


def random_instance(rng: np.random.Generator, steps: int) -> Instance:
    """Return an instance with any of the limits there are; some of them cannot be kept."""
    storage = _storage(rng, lossy=rng.random() < 0.3, deep=rng.random() < 0.3)
    capacity_kwh, interval_h = storage.energy_capacity_kwh, float(rng.choice([1.0, 0.5, 5 / 60]))
    low = high = wish = cost = up = down = None
    if rng.random() < 0.4:
        up, down = (rng.uniform(0.0, 3.0, steps) * (rng.random(steps) < 0.8) for _ in range(2))
    if rng.random() < 0.5:
        low = np.where(rng.random(steps) < 0.2, rng.random(steps), 0.0) * 0.6 * capacity_kwh
    if rng.random() < 0.5:
        high = np.where(rng.random(steps) < 0.2, 0.4 + 0.6 * rng.random(steps), 1.0) * capacity_kwh
    if rng.random() < 0.3:
        wish = np.where(rng.random(steps) < 0.3, rng.random(steps), 0.0) * capacity_kwh
        cost = rng.exponential(60.0, steps)
    return Instance(
        storage=storage,
        price_per_mwh=_price(rng, steps),
        interval_h=interval_h,
        limits=StorageLimits(
            charge_limit_kw=up,
            discharge_limit_kw=down,
            energy_min_kwh=low,
            energy_max_kwh=high,
            wish_kwh=wish,
            shortfall_cost_per_mwh=cost,
            budgets=_budgets(rng, steps, capacity_kwh),
        ),
        terminal=_terminal(rng, capacity_kwh) if rng.random() < 0.3 else None,
    )


def _budgets(rng: np.random.Generator, steps: int, capacity_kwh: float) -> tuple[ThroughputBudget, ...]:
    kind, most_kwh = rng.integers(5), float(rng.uniform(0.0, 1.5)) * capacity_kwh
    whole = ThroughputBudget(first_row=0, last_row=steps - 1, discharge_kwh=most_kwh)
    if kind == 0:
        return (whole,)
    if kind == 1:
        return (*day_budgets(steps, max(steps // 3, 1), 0.4 * most_kwh), whole)
    return ()


def _terminal(rng: np.random.Generator, capacity_kwh: float) -> TerminalValue:
    pieces = int(rng.integers(1, 5))
    ends = np.sort(rng.random(pieces)) * capacity_kwh
    ends[-1] = capacity_kwh
    return TerminalValue(end_kwh=ends, slope_per_mwh=np.sort(rng.normal(50.0, 40.0, pieces))[::-1].copy())
