"""Ray actors that each hold a shard of the devices in numpy arrays, fed with batches that are split by shard."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import ray  # type: ignore[import-not-found]
from footprint import peak_bytes, resident_bytes  # type: ignore[import-not-found]
from numpy.typing import NDArray

RECORD = np.dtype([("device", "<u4"), ("power_w", "<i4"), ("soc", "<u4"), ("ts_ns", "<i8"), ("seq", "<u4")])
SHARDS = 2
BATCH = 20_000
AT_ONCE = 8
"""Batches that may be under way: a queue that grows without bounds would be no plant."""


class Shard:
    """Holds every SHARDS-th device."""

    def __init__(self, devices: int, groups: int) -> None:
        self.before_bytes = resident_bytes()
        self.newest = np.zeros(devices // SHARDS + 1, dtype=RECORD)
        self.sums_w = np.zeros(groups, dtype=np.int64)

    def take(self, batch: Any) -> None:
        """Take a batch: the newest update of each device in it counts, if it is newer than what is held."""
        order = np.lexsort((batch["seq"], batch["device"]))
        batch = batch[order]
        last = np.ones(len(batch), dtype=np.bool_)
        last[:-1] = batch["device"][1:] != batch["device"][:-1]
        batch = batch[last]
        row = batch["device"] // SHARDS
        newer = batch["seq"] > self.newest["seq"][row]
        batch, row = batch[newer], row[newer]
        change_w = batch["power_w"].astype(np.int64) - self.newest["power_w"][row]
        np.add.at(self.sums_w, batch["device"] % len(self.sums_w), change_w)
        self.newest[row] = batch

    def sums(self) -> tuple[Any, int]:
        """Return the sums, and the memory that it took."""
        return self.sums_w, peak_bytes() - self.before_bytes


def load(stream: bytes) -> NDArray[Any]:
    """Return the updates as one array."""
    return np.frombuffer(stream, dtype=RECORD)


def run(
    updates: NDArray[Any], devices: int, groups: int, begin: Callable[[], None], end: Callable[[], None]
) -> tuple[list[int], int]:
    """Start Ray and the shards, and feed them."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=SHARDS, include_dashboard=False, log_to_driver=False, logging_level="error")
    actor = ray.remote(Shard)
    shards = [actor.remote(devices, groups) for _ in range(SHARDS)]
    ray.get([shard.sums.remote() for shard in shards])
    begin()
    under_way: list[Any] = []
    for start in range(0, len(updates), BATCH):
        batch = updates[start : start + BATCH]
        number = batch["device"] % SHARDS
        under_way += [shard.take.remote(batch[number == at]) for at, shard in enumerate(shards)]
        if len(under_way) > AT_ONCE:
            _, under_way = ray.wait(under_way, num_returns=len(under_way) - AT_ONCE)
    answers = ray.get([shard.sums.remote() for shard in shards])
    end()
    ray.shutdown()
    return [int(sum_w) for sum_w in sum(answer[0] for answer in answers)], sum(
        answer[1] for answer in answers
    )
