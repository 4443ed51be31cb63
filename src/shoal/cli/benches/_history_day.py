"""A day of a fleet's history at a sample every ten seconds, written, merged and rolled up as the history role does it.

Powers walk at random and registers add them up, so the files have the entropy of measurements rather than of zeros.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.interval import NS_PER_HOUR, NS_PER_S
from shoal.domain.telemetry import ALL_PRESENT, TELEMETRY
from shoal.store.history import History
from shoal.store.history_folder import LocalFolder
from shoal.store.history_keep import Keeper, KeepOptions
from shoal.store.history_register import FileRegister, UnitState
from shoal.store.history_write import PartWriter, Samples

DAY: Final = "2021-02-10"
START_NS: Final = 1_612_915_200 * NS_PER_S
EVERY_S: Final = 10
HOURS: Final = 24
_SITE_SQL: Final = (
    "SELECT ts_ns, battery_w, solar_w, load_w, soc_frac FROM telemetry "
    f"WHERE hour BETWEEN '{DAY}T00' AND '{DAY}T23' AND site_no = ? ORDER BY ts_ns"
)
_FLEET_SQL: Final = (
    "SELECT start_ns, sum(battery_w) AS battery_w, sum(solar_w) AS solar_w, sum(load_w) AS load_w "
    f"FROM rollup_5min WHERE day = '{DAY}' GROUP BY start_ns ORDER BY start_ns"
)
_TIMES: Final = 9
_BETWEEN_ROUNDS_S: Final = 1.0
_NICENESS: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class DayWritten:
    """What writing took.

    Attributes:
        rows: Samples.
        written_per_s: Rows a second until they were durable, on one core, nothing else running.
        bytes_a_row: Size of the merged files.
    """

    rows: int
    written_per_s: float
    bytes_a_row: float


def write_day(root: Path, sites: int) -> DayWritten:
    """Write a day under `root`, merge its hours and roll them up. Blocks."""
    folder = LocalFolder(root / "history")
    rng = np.random.default_rng(7)
    energy_wh = np.zeros((4, sites))
    rows, took_s = 0, 0.0

    async def write() -> None:
        nonlocal rows, took_s, energy_wh
        writer = PartWriter(folder, "shard_0", FileRegister(root / "register.bin"))
        state = await writer.recover()
        for hour in range(HOURS):
            samples, energy_wh = _an_hour(hour, sites, energy_wh, rng)
            began_s = time.perf_counter()
            state = await writer.write(samples, UnitState(position=state.position + len(samples)))
            took_s += time.perf_counter() - began_s
            rows += len(samples)

    asyncio.run(write())
    Keeper(folder, KeepOptions(grace_s=0.0)).run(START_NS + 30 * NS_PER_HOUR, everything=True)
    with closing(History(root / "history")) as history:
        size_bytes = history.status().tiers["telemetry"].bytes
    return DayWritten(rows=rows, written_per_s=rows / took_s, bytes_a_row=size_bytes / rows)


def query_day(root: Path, sites: int) -> tuple[float, float]:
    """Return the median times of a site's day and of the fleet's day in means of five minutes, in ms. Blocks."""
    rng = np.random.default_rng(11)
    with closing(History(root / "history")) as history:
        site = _median_ms(lambda: _rows_of(history, _SITE_SQL, [int(rng.integers(sites))], HOURS * 360))
        fleet = _median_ms(lambda: _rows_of(history, _FLEET_SQL, [], HOURS * 12))
    return site, fleet


async def query_for(root: Path, sites: int, for_s: float) -> tuple[float, float]:
    """Ask again and again in a process of its own, with the priority of the interface's threads; return the medians."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, str(root), str(sites), str(for_s), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    site_ms, fleet_ms = json.loads(said)
    return site_ms, fleet_ms


def _main(root: str, sites: str, for_s: str) -> None:
    os.nice(_NICENESS)
    until_s = time.monotonic() + float(for_s)
    rounds = [query_day(Path(root), int(sites))]
    while time.monotonic() < until_s:
        time.sleep(_BETWEEN_ROUNDS_S)
        rounds.append(query_day(Path(root), int(sites)))
    json.dump([statistics.median(times) for times in zip(*rounds, strict=True)], sys.stdout)


def _rows_of(history: History, sql: str, values: list[int], expected: int) -> None:
    found = history.query(sql, values)
    if len(found) != expected:
        raise AssertionError(f"{len(found)} rows where {expected} were expected")


def _median_ms(ask: Callable[[], object]) -> float:
    took = []
    for _ in range(_TIMES):
        began_s = time.perf_counter()
        ask()
        took.append(1e3 * (time.perf_counter() - began_s))
    return sorted(took)[_TIMES // 2]


def _an_hour(
    hour: int, sites: int, energy_wh: NDArray[np.float64], rng: np.random.Generator
) -> tuple[Samples, NDArray[np.float64]]:
    """Return the samples of an hour in the order in which they would arrive, and the registers at its end."""
    steps = 3_600 // EVERY_S
    first = hour * steps
    sun = max(0.0, float(np.sin(np.pi * (hour - 6) / 12)))
    load_w = np.abs(600 + np.cumsum(rng.normal(0, 25, (steps, sites)), axis=0))
    solar_w = -np.abs(4_000 * sun + np.cumsum(rng.normal(0, 20 * (sun > 0), (steps, sites)), axis=0)) * (
        sun > 0
    )
    battery_w = np.clip(-(load_w + solar_w), -5_000, 5_000)
    grid_w = load_w + solar_w + battery_w
    flows_w = np.stack([battery_w.clip(0), (-battery_w).clip(0), grid_w.clip(0), (-grid_w).clip(0)])
    registers_wh = energy_wh[:, None, :] + np.cumsum(flows_w * (EVERY_S / 3_600), axis=1)
    records: NDArray[Any] = TELEMETRY.empty(steps * sites)
    at_ns = START_NS + hour * NS_PER_HOUR + np.arange(steps) * EVERY_S * NS_PER_S
    records["ts_ns"] = np.repeat(at_ns, sites)
    records["seq"] = np.repeat(np.arange(first, first + steps) + 1, sites)
    for name, values in (("battery_w", battery_w), ("solar_w", solar_w), ("load_w", load_w)):
        records[name] = np.rint(values).ravel()
    records["soc_frac"] = np.clip(
        0.5 + np.cumsum(battery_w, axis=0) * (EVERY_S / 3_600) / 13_500, 0, 1
    ).ravel()
    for row, name in enumerate(("charge_wh", "discharge_wh", "import_wh", "export_wh")):
        records[name] = registers_wh[row].ravel()
    records["present"] = ALL_PRESENT
    late_ns = rng.integers(20, 400, steps * sites) * 1_000_000
    samples = Samples(
        records=records,
        site_no=np.tile(np.arange(sites, dtype=np.int32), steps),
        arrival_ns=records["ts_ns"] + late_ns,
    )
    return samples, registers_wh[:, -1, :]


if __name__ == "__main__":
    _main(*sys.argv[1:])
