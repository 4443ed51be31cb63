"""Two back-tests of one battery: an auction through the cycle's own gates, and a five-minute market in bands.

Whatever a strategy is shown had come out by then; what it decides is validated, cleared, delivered and settled to the cent.
"""

from __future__ import annotations

import sys

import numpy as np

import shoal.bidding.cycle.day_ahead  # noqa: F401 - its strategy is found by name
from shoal.bidding.backtest import make_series, perfect_foresight, run_backtest
from shoal.bidding.backtest_gates import run_gates
from shoal.bidding.backtest_ledger import GateSetting
from shoal.bidding.backtest_markets import band_market
from shoal.bidding.backtest_prices import grid_prices
from shoal.bidding.strategy import Setting
from shoal.bidding.strategy_registry import make_strategy
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE
from shoal.market.registry import market_module
from shoal.optimise.storage import Storage

BATTERY = Storage(
    charge_limit_kw=10_000.0,
    discharge_limit_kw=10_000.0,
    charge_efficiency_frac=0.92,
    discharge_efficiency_frac=0.92,
    energy_capacity_kwh=20_000.0,
    initial_energy_kwh=0.0,
    throughput_cost_per_mwh=10.0,
)
DAYS = 21
WARM_DAYS = 14
NEM_NS = 1_733_277_600_000_000_000  # 2024-12-04, 12:00 in the market's own time
SDAC_NS = 1_709_247_600_000_000_000  # 2024-03-01, midnight in Brussels


def prices(hour: np.ndarray, spikes: float) -> np.ndarray:
    """Return prices of local hours: cheap at noon, dear in the evening, a spike now and then."""
    rng = np.random.default_rng(3)
    price = 75.0 - 60.0 * np.exp(-(((hour - 12.5) / 3.0) ** 2)) + 90.0 * np.exp(-(((hour - 18.5) / 1.5) ** 2))
    price += rng.normal(scale=10.0, size=len(price))
    price[rng.random(len(price)) < spikes] = 600.0
    return np.round(price, 2)


def auction() -> None:
    """Bid for a week of the day-ahead auction, at each gate with what was known then."""
    start_ns = SDAC_NS + np.arange(DAYS * 24, dtype=np.int64) * NS_PER_HOUR
    price = prices(np.arange(DAYS * 24) % 24.0, spikes=0.0)
    market = market_module("sdac")
    given = grid_prices(market, "day-ahead", start_ns, price, interval_ns=NS_PER_HOUR)
    setting = GateSetting(
        market=market,
        product_id="day-ahead",
        settlement_point="DE-LU",
        storage=BATTERY,
        strategy="day-ahead",
    )
    made = run_gates(setting, given, first_index=WARM_DAYS * 24)
    print_line(
        f"{'auction':10s} {made.amount.sum() / 1e8:10.2f} EUR, {made.decisions_count} gates, rungs {made.rungs}"
    )


def dispatch() -> None:
    """Run strategies of bands over a week of five-minute prices, and the best that hindsight could do."""
    setting = Setting(market=band_market("nem"), storage=BATTERY)
    start_ns = NEM_NS + np.arange(DAYS * 288, dtype=np.int64) * 5 * NS_PER_MINUTE
    price = prices((start_ns / NS_PER_HOUR + 10.0) % 24.0, spikes=0.003)
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
    auction()
    dispatch()
