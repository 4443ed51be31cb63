"""A channel of frequenz-channels and a task for each device."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Any

from frequenz.channels import Broadcast  # type: ignore[import-not-found]

Update = tuple[int, int, int, int, int]


def load(stream: bytes) -> list[Update]:
    """Return the updates as objects of this language."""
    return list(struct.iter_unpack("<IiIqI", stream))


def run(
    updates: list[Update], devices: int, groups: int, begin: Callable[[], None], end: Callable[[], None]
) -> tuple[list[int], None]:
    """Send every update over its device's channel."""
    return asyncio.run(_run(updates, devices, groups, begin, end)), None


async def _run(
    updates: list[Update], devices: int, groups: int, begin: Callable[[], None], end: Callable[[], None]
) -> list[int]:
    sums_w = [0] * groups
    channels = [Broadcast(name=str(number)) for number in range(devices)]
    senders = [channel.new_sender() for channel in channels]
    # a full receiver drops its oldest message: there is room for all that come between two yields of the loop below
    receivers = [channel.new_receiver(limit=1_000) for channel in channels]
    tasks = [asyncio.create_task(_device(receiver, sums_w)) for receiver in receivers]
    await asyncio.sleep(0)
    begin()
    for number, update in enumerate(updates):
        await senders[update[0]].send(update)
        if number % 1_000 == 999:
            await asyncio.sleep(0)
    for channel in channels:
        await channel.aclose()
    await asyncio.gather(*tasks)
    end()
    return sums_w


async def _device(receiver: Any, sums_w: list[int]) -> None:
    groups = len(sums_w)
    power_w = soc = ts_ns = newest = 0
    async for update in receiver:
        if update[4] > newest:
            sums_w[update[0] % groups] += update[1] - power_w
            _, power_w, soc, ts_ns, newest = update
    del soc, ts_ns
