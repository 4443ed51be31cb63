"""What the engine alone takes from the same load: the same processes and settings, and nobody who reads.

It is measured twice, with the journal (everything is stored) and without (nothing is), so that the share of each is known.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
from nats.aio.client import Client

from shoal.cli.benches._plant import allow_many_files, measured_plant
from shoal.domain.errors import UnavailableError
from shoal.fabric.connection import translated
from shoal.fabric.keys import Role
from shoal.fabric.subjects import telemetry_stream
from shoal.simulate.load import Load
from shoal.simulate.load_fleet import LoadPlan

_LOOK_EVERY_S: Final = 0.02
_WINDOW: Final = 40_000
_TIMEOUT_S: Final = 10.0
_DRAIN_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerLimit:
    """Samples a second that the engine takes, with its journal and without."""

    stored_per_s: float
    dropped_per_s: float


async def measure_broker(plan: LoadPlan, duration_s: float) -> BrokerLimit:
    """Load the engine alone as fast as it takes it."""
    allow_many_files()
    with tempfile.TemporaryDirectory(prefix="shoal-bench-") as directory:
        async with measured_plant(Path(directory), plan, roles=("fabric",)) as plant:
            client = await plant.client(Role.FABRIC)
            streams = [telemetry_stream(shard) for shard in range(plant.settings.telemetry.shards)]
            with await asyncio.to_thread(plant.open_load) as load:
                stored = await _stored(client, streams, load, duration_s)
                for stream in streams:
                    await _journal(client, "DELETE", stream)
                dropped = await asyncio.to_thread(_unstored, load, duration_s)
            await client.close()
    per_message = plan.samples_per_message
    return BrokerLimit(stored_per_s=stored * per_message, dropped_per_s=dropped * per_message)


async def _stored(client: Client, streams: Sequence[str], load: Load, duration_s: float) -> float:
    """Return how many messages a second the journal takes."""
    stored = 0

    async def follow(until: Callable[[], bool]) -> None:
        nonlocal stored
        while not until():
            answers = [await _journal(client, "INFO", stream) for stream in streams]
            stored = sum(int(answer["state"]["last_seq"]) for answer in answers)
            await asyncio.sleep(_LOOK_EVERY_S)

    began_s = time.monotonic()
    sending = asyncio.create_task(asyncio.to_thread(load.send_within, lambda: stored, _WINDOW, duration_s))
    async with asyncio.timeout(duration_s + _DRAIN_S):
        await follow(sending.done)
        await sending
        await follow(lambda: stored >= load.messages)
    return load.messages / (time.monotonic() - began_s)


def _unstored(load: Load, duration_s: float) -> float:
    """Return how many messages a second the server reads; its sockets hold the load back."""
    before = load.messages
    began_s = time.monotonic()
    load.send_within(lambda: load.messages, _WINDOW, duration_s)
    load.wait_read()
    return (load.messages - before) / (time.monotonic() - began_s)


async def _journal(client: Client, what: str, stream: str) -> dict[str, Any]:
    with translated(f"the journal ({what})"):
        reply = await client.request(f"$JS.API.STREAM.{what}.{stream}", b"", timeout=_TIMEOUT_S)
    answer: dict[str, Any] = msgspec.json.decode(reply.data)
    if "error" in answer:
        raise UnavailableError(f"the journal ({what})", answer["error"].get("description", "refused"))
    return answer
