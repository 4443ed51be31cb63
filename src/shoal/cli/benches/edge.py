"""The site agent: how soon it decides, how much memory it takes, how long forecast and plan take.

No other agent is known that decides under leases and plans exactly in one small process, so there is no peer to run.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np

from shoal.cli.bench import Benchmark, Result
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE
from shoal.domain.orders import PriceSeries
from shoal.edge.planner import REPLAN_NS, PlantBattery, SitePlanner
from shoal.edge.planner_forecast import SiteForecast
from shoal.edge.planner_tariff import Tariff, TariffWindow

_CONFIG: Final = """
site = "bench-1"
zone = "Europe/Berlin"
state_dir = "{folder}"
driver = {{ kind = "arithmetic" }}
[battery]
capacity_kwh = 13.5
charge_limit_kw = 5.0
discharge_limit_kw = 5.0
[plant]
host = "127.0.0.1"
port = 9
tls = false
[page]
port = 0
"""
_START_NS: Final = 1_700_006_400_000_000_000
_LEARN_DAYS: Final = 21


def run(case: str | None, quick: bool) -> list[Result]:
    """Run one case, or all of them one after the other."""
    chosen = list(_CASES) if case is None else [case]
    return [result for name in chosen for result in _CASES[name](quick)]


def start(quick: bool) -> list[Result]:
    """Return the wall time from the start of a process to its first decision."""
    took_s = sorted(_child(0.0)["took_s"] for _ in range(3 if quick else 9))
    return [
        Result(
            case="start",
            size=f"1 site, page and store open, {len(took_s)} processes: {took_s[0]:.2f} to {took_s[-1]:.2f} s",
            value=took_s[len(took_s) // 2],
            unit="s",
            better="lower",
        )
    ]


def memory(quick: bool) -> list[Result]:
    """Return resident memory after an hour of simulated time with the plant out of reach."""
    hours = 0.25 if quick else 1.0
    outcome = _child(hours)
    return [
        Result(
            case="memory",
            size=f"1 site, {hours:g} h of simulated time: {outcome['steps']} decisions, {outcome['plans']} plans, "
            f"{outcome['waiting']} samples wait",
            value=outcome["resident_mb"],
            unit="MB",
            better="lower",
        )
    ]


def replan(quick: bool) -> list[Result]:
    """Return how long forecast and plan take, under a tariff of three prices and under a price of its own each hour."""
    count = 100 if quick else 2_000
    return [row for prices in (False, True) for row in _replan(count, by_hour=prices)]


def _replan(count: int, *, by_hour: bool) -> list[Result]:
    planner, now_ns = _learned_planner()
    random = np.random.default_rng(3)
    took_ms = []
    steps = 0
    for number in range(count):
        t_ns = now_ns + number * REPLAN_NS
        series = _prices(t_ns, random) if by_hour else None
        plan = planner.plan(
            t_ns, soc_frac=0.2 + 0.8 * float(random.random()), reserve_frac=0.2, prices=series
        )
        steps = len(plan.load_kw)
        took_ms.append(1e3 * plan.took_s)
    kind = "a price each hour" if by_hour else "a tariff of three prices"
    return [
        Result(
            case="replan",
            size=f"forecast and exact plan of {steps} intervals over 36 h, {kind}, {count} times, p{percent}",
            value=float(np.percentile(took_ms, percent)),
            unit="ms",
            better="lower",
        )
        for percent in (50, 99)
    ]


def _learned_planner() -> tuple[SitePlanner, int]:
    """Return a planner that has seen three weeks, and the present."""
    zone = ZoneInfo("Europe/Berlin")
    forecast = SiteForecast(zone)
    random = np.random.default_rng(1)
    minutes = _LEARN_DAYS * 24 * 60
    for minute in range(0, minutes, 5):
        hour = minute / 60 % 24
        forecast.observe(
            _START_NS + minute * NS_PER_MINUTE,
            load_w=300 + 900 * math.exp(-((hour - 19) ** 2) / 6) + 400 * float(random.random()),
            solar_w=-5_000 * max(math.sin((hour - 6) / 12 * math.pi), 0.0) * float(random.uniform(0.3, 1.0)),
        )
    planner = SitePlanner(
        battery=PlantBattery(
            charge_limit_kw=5.0,
            discharge_limit_kw=5.0,
            charge_efficiency_frac=0.95,
            discharge_efficiency_frac=0.95,
            capacity_kwh=13.5,
            wear_per_kwh=0.02,
        ),
        tariff=Tariff(
            windows=(
                TariffWindow(begin="00:00", end="06:00", import_per_kwh=0.18),
                TariffWindow(begin="17:00", end="21:00", import_per_kwh=0.45),
            )
        ),
        zone=zone,
        forecast=forecast,
    )
    return planner, _START_NS + minutes * NS_PER_MINUTE


def _prices(now_ns: int, random: np.random.Generator) -> PriceSeries:
    prices = random.uniform(0.05, 0.5, 36)
    return PriceSeries(
        start_ns=now_ns // NS_PER_HOUR * NS_PER_HOUR,
        step_s=3_600,
        import_per_kwh=tuple(prices.tolist()),
        export_per_kwh=tuple((0.6 * prices).tolist()),
    )


def _child(hours: float) -> dict[str, Any]:
    """Return what the agent in a fresh process tells, and how long it took to its first decision."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "edge.toml"
        config.write_text(_CONFIG.format(folder=folder), "utf-8")
        command = [sys.executable, "-m", "shoal.cli.benches._edge_child", str(config), str(hours)]
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        began_s = time.time()
        said = subprocess.run(
            command, check=True, capture_output=True, text=True, env={**os.environ, **threads}
        )
    outcome: dict[str, Any] = json.loads(said.stdout)
    return {**outcome, "took_s": outcome["decided_at_s"] - began_s}


_CASES: Final[dict[str, Callable[[bool], list[Result]]]] = {
    "start": start,
    "memory": memory,
    "replan": replan,
}

BENCHMARK: Final = Benchmark(
    name="edge",
    about="the agent of one site: time to its first decision, memory, and time of forecast and plan",
    cases=tuple(_CASES),
    run=run,
)
