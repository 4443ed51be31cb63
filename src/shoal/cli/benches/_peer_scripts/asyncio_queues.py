"""A bounded queue and a task for each device, on the standard library's event loop."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable

Update = tuple[int, int, int, int, int]


def load(stream: bytes) -> list[Update]:
    """Return the updates as objects of this language."""
    return list(struct.iter_unpack("<IiIqI", stream))


def run(
    updates: list[Update], devices: int, groups: int, begin: Callable[[], None], end: Callable[[], None]
) -> tuple[list[int], None]:
    """Feed every update to its device."""
    return asyncio.run(_run(updates, devices, groups, begin, end)), None


async def _run(
    updates: list[Update], devices: int, groups: int, begin: Callable[[], None], end: Callable[[], None]
) -> list[int]:
    sums_w = [0] * groups
    queues: list[asyncio.Queue[Update | None]] = [asyncio.Queue(maxsize=16) for _ in range(devices)]
    tasks = [asyncio.create_task(_device(queue, sums_w)) for queue in queues]
    await asyncio.sleep(0)
    begin()
    for update in updates:
        await queues[update[0]].put(update)
    for queue in queues:
        await queue.put(None)
    await asyncio.gather(*tasks)
    end()
    return sums_w


async def _device(queue: asyncio.Queue[Update | None], sums_w: list[int]) -> None:
    groups = len(sums_w)
    power_w = soc = ts_ns = newest = 0
    while (update := await queue.get()) is not None:
        if update[4] > newest:
            sums_w[update[0] % groups] += update[1] - power_w
            _, power_w, soc, ts_ns, newest = update
    del soc, ts_ns
