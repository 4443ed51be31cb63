"""A battery in a five-minute market over two weeks: a strategy that bids what stored energy is worth, against simpler ones."""

from __future__ import annotations

import sys

import numpy as np

from shoal.bidding.backtest import make_series, perfect_foresight, run_backtest
from shoal.bidding.backtest_markets import band_market
from shoal.bidding.strategy import Setting
from shoal.bidding.strategy_registry import make_strategy
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE
from shoal.optimise.storage import Storage

DAYS = 21
WARM_DAYS = 14
FIRST_NS = 1_733_277_600_000_000_000  # 2024-12-04, 12:00 in the market's own time


def prices() -> tuple[np.ndarray, np.ndarray]:
    """Return five-minute prices: cheap at noon, dear in the evening, a spike now and then."""
    start_ns = FIRST_NS + np.arange(DAYS * 288, dtype=np.int64) * 5 * NS_PER_MINUTE
    hour = (start_ns / NS_PER_HOUR + 10.0) % 24.0
    rng = np.random.default_rng(3)
    price = 75.0 - 60.0 * np.exp(-(((hour - 12.5) / 3.0) ** 2)) + 90.0 * np.exp(-(((hour - 18.5) / 1.5) ** 2))
    price += rng.normal(scale=10.0, size=len(price))
    price[rng.random(len(price)) < 0.003] = 600.0
    return start_ns, np.round(price, 2)


def main() -> None:
    """Run three strategies and the best that hindsight could do."""
    battery = Storage(
        charge_limit_kw=1_000.0,
        discharge_limit_kw=1_000.0,
        charge_efficiency_frac=0.92,
        discharge_efficiency_frac=0.92,
        energy_capacity_kwh=2_000.0,
        initial_energy_kwh=0.0,
        throughput_cost_per_mwh=10.0,
    )
    setting = Setting(market=band_market("nem"), storage=battery)
    start_ns, price = prices()
    series = make_series(setting.market, start_ns, price)
    first = WARM_DAYS * 288
    best = perfect_foresight(setting, series, first_index=first).revenue
    for name in ("markov", "shape", "backcast"):
        made = run_backtest(make_strategy(name, setting), setting, series, first_index=first)
        share = made.revenue / best
        print_line(
            f"{name:10s} {made.revenue:10.2f} AUD, {share:6.1%} of perfect foresight, {made.decisions_count} decisions"
        )
    print_line(f"{'hindsight':10s} {best:10.2f} AUD")


def print_line(text: str) -> None:
    """Write a line."""
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    main()
