"""History beside live ingest: rows a second until they are durable and can be read, bytes a row, and the time of queries."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shoal.cli.benches._history_day import DayWritten, query_for, write_day
from shoal.cli.benches._ingest import loaded_plant
from shoal.cli.benches._plant import WITH_HISTORY, MeasuredPlant
from shoal.cli.benches._watch import Latency, wait_until
from shoal.domain.errors import UnavailableError
from shoal.simulate.load_fleet import LoadPlan
from shoal.store.history import History

_WRITTEN_TIMEOUT_S: Final = 180.0
_WARM_UP_S: Final = 2.0
_LOOK_S: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryMeasured:
    """What was seen.

    Attributes:
        offered_per_s: Samples a second that were sent.
        rows: Samples in history in the end.
        rows_per_s: Samples a second that became durable, from the end of the first write to that of the last, under load.
        missing: Samples that were sent and are not there, or are there twice.
        day_sites: Sites of the day that is queried.
        day: What writing that day took.
        site_ms: Median time of the query for a site's day, while ingest runs.
        fleet_ms: Median time of the query for the fleet's day in means of five minutes, while ingest runs.
        alone: Latency of live ingest in a plant without history.
        written: The same while history is written.
        queried: The same while the day is queried, too.
    """

    offered_per_s: float
    rows: int
    rows_per_s: float
    missing: int
    day_sites: int
    day: DayWritten
    site_ms: float
    fleet_ms: float
    alone: Latency | None
    written: Latency | None
    queried: Latency | None


async def measure_history(
    *, sites: int, gateways: int, rate_per_s: float, duration_s: float, day_sites: int
) -> HistoryMeasured:
    """Load a plant, wait until history has everything, and query a day while the load goes on.

    Raises:
        UnavailableError: when history has not everything within three minutes.
    """
    plan = LoadPlan(sites=sites, gateways=gateways, samples_per_message=25)
    with tempfile.TemporaryDirectory(prefix="shoal-bench-") as directory:
        day_root = Path(directory)
        day = await asyncio.to_thread(write_day, day_root, day_sites)
        async with loaded_plant(plan) as run:
            await run.pace(rate_per_s, _WARM_UP_S)
            alone = await run.pace(rate_per_s, duration_s)
        async with loaded_plant(plan, roles=WITH_HISTORY) as run:
            await run.pace(rate_per_s, _WARM_UP_S)
            found = await asyncio.to_thread(_open, run.plant)
            await _wait_written(found, run.load.statistics().samples)
            writes: list[tuple[float, float]] = []
            following = asyncio.create_task(_follow(run.plant, writes))
            written = await run.pace(rate_per_s, duration_s)
            following.cancel()
            await _wait_written(found, run.load.statistics().samples)
            querying = asyncio.create_task(query_for(day_root, day_sites, duration_s / 2))
            queried = await run.pace(rate_per_s, duration_s / 2)
            site_ms, fleet_ms = await querying
            await _wait_written(found, run.load.statistics().samples)
            rows, different = await asyncio.to_thread(found.count_distinct)
            found.close()
            return HistoryMeasured(
                offered_per_s=rate_per_s,
                rows=rows,
                rows_per_s=_slope(writes),
                missing=abs(run.load.statistics().samples - rows) + rows - different,
                day_sites=day_sites,
                day=day,
                site_ms=site_ms,
                fleet_ms=fleet_ms,
                alone=alone,
                written=written,
                queried=queried,
            )


async def _follow(plant: MeasuredPlant, writes: list[tuple[float, float]]) -> None:
    """Note when history had written how many samples, for ever."""
    while True:
        with contextlib.suppress(UnavailableError):
            rows = (await plant.metrics("history"))["shoal_history_history_rows"]
            if rows and (not writes or rows > writes[-1][1]):
                writes.append((time.monotonic(), rows))
        await asyncio.sleep(_LOOK_S)


def _slope(writes: list[tuple[float, float]]) -> float:
    (from_s, first), (to_s, last) = writes[0], writes[-1]
    return (last - first) / (to_s - from_s) if to_s > from_s else 0.0


def _open(plant: MeasuredPlant) -> History:
    return History(plant.settings.data_dir / "history")


async def _wait_written(found: History, samples: int) -> None:
    async def written() -> bool:
        return await asyncio.to_thread(_rows, found) >= samples

    if not await wait_until(written, _WRITTEN_TIMEOUT_S, every_s=0.2):
        raise UnavailableError("history", f"it has {_rows(found)} of {samples} samples")


def _rows(found: History) -> int:
    return int(found.query("SELECT count(*) AS n FROM telemetry")["n"][0].as_py())
