"""History beside live ingest: rows a second until they are durable and can be read, bytes a row, and the time of queries."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from shoal.cli.benches._ingest import loaded_plant
from shoal.cli.benches._plant import MeasuredPlant
from shoal.cli.benches._watch import Latency, wait_until
from shoal.cli.role import PLANT_ROLES
from shoal.domain.errors import UnavailableError
from shoal.simulate.load_fleet import LoadPlan
from shoal.store.history import History

_WRITTEN_TIMEOUT_S: Final = 180.0
_QUERIES: Final = 5
_WARM_UP_S: Final = 2.0
_SITE_SQL: Final = "SELECT ts_ns, battery_w, solar_w, load_w FROM telemetry WHERE site_no = ? ORDER BY ts_ns"
_FLEET_SQL: Final = (
    "SELECT ts_ns // 300000000000 AS five_minutes, avg(battery_w), avg(solar_w), avg(load_w) "
    "FROM telemetry GROUP BY five_minutes ORDER BY five_minutes"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryMeasured:
    """What was seen.

    Attributes:
        rows: Samples in history in the end.
        rows_per_s: Samples a second from the first one's sending until the last one could be read.
        bytes_a_row: Size of the files.
        site_ms: Median time of the query for one site.
        fleet_ms: Median time of the query for the whole fleet.
        missing: Samples that were sent and are not there, or are there twice.
        latency: Of live ingest meanwhile.
        latency_queried: The same while queries run.
    """

    rows: int
    rows_per_s: float
    bytes_a_row: float
    site_ms: float
    fleet_ms: float
    missing: int
    latency: Latency | None
    latency_queried: Latency | None


async def measure_history(
    *, sites: int, gateways: int, rate_per_s: float, duration_s: float
) -> HistoryMeasured:
    """Load a plant, wait until history has everything, and query it while the load goes on.

    Raises:
        UnavailableError: when there is no history, or it has not everything within three minutes.
    """
    if "history" not in PLANT_ROLES:
        raise UnavailableError("the role history", "this plant has none")
    plan = LoadPlan(sites=sites, gateways=gateways, samples_per_message=25)
    async with loaded_plant(plan) as run:
        await run.pace(rate_per_s, _WARM_UP_S)
        found = await asyncio.to_thread(_open, run.plant)
        began_s, before = time.monotonic(), run.load.statistics().samples
        latency = await run.pace(rate_per_s, duration_s)
        await _wait_written(found, run.load.statistics().samples)
        rows_per_s = (run.load.statistics().samples - before) / (time.monotonic() - began_s)
        querying = asyncio.create_task(asyncio.to_thread(_query, found))
        latency_queried = await run.pace(rate_per_s, duration_s / 2)
        site_ms, fleet_ms = await querying
        await _wait_written(found, run.load.statistics().samples)
        rows, different = await asyncio.to_thread(found.count_distinct)
        status = await asyncio.to_thread(found.status)
        found.close()
        return HistoryMeasured(
            rows=rows,
            rows_per_s=rows_per_s,
            bytes_a_row=status.tiers["telemetry"].bytes / max(rows, 1),
            site_ms=site_ms,
            fleet_ms=fleet_ms,
            missing=abs(run.load.statistics().samples - rows) + rows - different,
            latency=latency,
            latency_queried=latency_queried,
        )


def _open(plant: MeasuredPlant) -> History:
    return History(plant.settings.data_dir / "history")


async def _wait_written(found: History, samples: int) -> None:
    async def written() -> bool:
        return await asyncio.to_thread(_rows, found) >= samples

    if not await wait_until(written, _WRITTEN_TIMEOUT_S, every_s=0.2):
        raise UnavailableError("history", f"it has {_rows(found)} of {samples} samples")


def _rows(found: History) -> int:
    return int(found.query("SELECT count(*) AS n FROM telemetry")["n"][0].as_py())


def _query(found: History) -> tuple[float, float]:
    """Return the median times of the two queries, in ms."""
    site = _timed(lambda: found.query(_SITE_SQL, [7]))
    return site, _timed(lambda: found.query(_FLEET_SQL))


def _timed(ask: Callable[[], object]) -> float:
    took = []
    for _ in range(_QUERIES):
        began_s = time.perf_counter()
        ask()
        took.append(1e3 * (time.perf_counter() - began_s))
    return sorted(took)[_QUERIES // 2]
