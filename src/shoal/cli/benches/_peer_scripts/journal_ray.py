"""Follows the journal with Ray actors that each hold a shard of the sites in numpy arrays, fed with decoded batches."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import numpy as np
import ray  # type: ignore[import-not-found]
from journal import RECORDS, Job, Totals, decode_all, open_journal  # type: ignore[import-not-found]
from numpy.typing import NDArray

SHARDS = 2
UNDER_WAY = 8
"""Batches of one shard that may be under way: a queue that grows without bounds would be no plant."""


class Shard:
    """Holds every SHARDS-th site."""

    def __init__(self, sites: int) -> None:
        self.newest = np.zeros(sites // SHARDS + 1, dtype=RECORDS)
        self.samples = 0
        self.sum_w = 0

    def take(self, rows: NDArray[np.int64], records: NDArray[Any]) -> tuple[int, int]:
        """Take the newest sample of each site in a batch, if it is newer than what is held; return what is visible."""
        self.samples += len(records)
        order = np.lexsort((records["seq"], rows))
        rows, records = rows[order], records[order]
        last = np.ones(len(rows), dtype=np.bool_)
        last[:-1] = rows[1:] != rows[:-1]
        rows, records = rows[last] // SHARDS, records[last]
        newer = records["seq"] > self.newest["seq"][rows]
        rows, records = rows[newer], records[newer]
        self.sum_w += _sum_w(records) - _sum_w(self.newest[rows])
        self.newest[rows] = records
        return self.samples, self.sum_w


def follow(job: Job) -> None:
    """Start Ray and the shards, and feed them."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=SHARDS, include_dashboard=False, log_to_driver=False, logging_level="error")
    asyncio.run(_follow(job))
    ray.shutdown()


async def _follow(job: Job) -> None:
    actor = ray.remote(Shard)
    shards = [actor.remote(job.sites) for _ in range(SHARDS)]
    nothing = np.zeros(0, dtype=RECORDS)
    visible = [await shard.take.remote(np.zeros(0, dtype=np.int64), nothing) for shard in shards]
    room = [asyncio.Semaphore(UNDER_WAY) for _ in shards]
    totals = Totals()

    async def take(at: int, answer: Any) -> None:
        visible[at] = await answer
        room[at].release()
        totals.samples, totals.sum_w = (sum(parts) for parts in zip(*visible, strict=True))

    journal = await open_journal(job)
    shown = asyncio.create_task(totals.keep_shown())
    under_way: set[asyncio.Task[None]] = set()
    async for messages in journal.batches():
        rows, records = decode_all(job, messages)
        number = rows % SHARDS
        for at, shard in enumerate(shards):
            mine = number == at
            await room[at].acquire()
            task = asyncio.create_task(take(at, shard.take.remote(rows[mine], records[mine])))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
    await asyncio.gather(*under_way)
    shown.cancel()
    await journal.close()


def _sum_w(records: NDArray[Any]) -> int:
    return sum(int(records[name].sum(dtype=np.int64)) for name in ("battery_w", "solar_w", "load_w"))
