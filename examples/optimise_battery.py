"""The best schedule of a home battery against tomorrow's prices, and why: hour by hour, with the price that would flip it."""

from __future__ import annotations

import sys

import numpy as np

from shoal.optimise.reasons import explain_plan
from shoal.optimise.storage import Storage, plan_storage

PRICE_PER_MWH = np.array(
    [42, 38, 35, 34, 36, 45, 68, 92, 85, 60, 41, 25, 12, 8, 15, 38, 74, 128, 165, 142, 110, 84, 63, 50],
    dtype=float,
)
BATTERY = Storage(
    charge_limit_kw=5.0,
    discharge_limit_kw=5.0,
    charge_efficiency_frac=0.95,
    discharge_efficiency_frac=0.95,
    energy_capacity_kwh=13.5,
    initial_energy_kwh=2.0,
    throughput_cost_per_mwh=15.0,
)


def main() -> None:
    """Plan a day and say what was decided."""
    plan = plan_storage(BATTERY, PRICE_PER_MWH, interval_h=1.0)
    print_line(f"worth {plan.value:.3f} in currency; the true optimum: {plan.exact}")
    for hour, reason in enumerate(explain_plan(BATTERY, PRICE_PER_MWH, 1.0, plan)):
        print_line(f"{hour:02d}:00  {PRICE_PER_MWH[hour]:6.1f}  {reason.sentence}")


def print_line(text: str) -> None:
    """Write a line."""
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    main()
