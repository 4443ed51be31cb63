"""Many MQTT devices held on one machine: what each costs, and how soon all are back after the engine was killed.

The devices are the edge agent's own sessions, with its back-off and its jitter.
"""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from shoal.cli.benches._ingest import cores_between
from shoal.cli.benches._plant import MeasuredPlant, Usage, allow_many_files, measured_plant
from shoal.domain.errors import UnavailableError
from shoal.domain.ids import SiteId
from shoal.domain.telemetry import TELEMETRY
from shoal.domain.wire import encode_messages
from shoal.edge.link import Links, LinkSettings
from shoal.simulate.load_fleet import PRESENT, LoadPlan, Transport

_SIGN_IN_RATE_PER_S: Final = 1_500.0
_KEEP_ALIVE_S: Final = 120
_UP_TIMEOUT_S: Final = 180.0
_POLL_S: Final = 0.02
_SETTLE_S: Final = 2.0
_SHARES: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Connections:
    """What was seen.

    Attributes:
        devices: How many were held.
        sign_in_s: Until all were signed in at first.
        bytes_each: Memory of the engine a device.
        core_each: Processor time a second of the engine a device, while each sends a sample a minute.
        reconnect_s: From the death of the engine until all were signed in again.
    """

    devices: int
    sign_in_s: float
    bytes_each: float
    core_each: float
    reconnect_s: float


async def measure_connections(devices: int, hold_s: float) -> Connections:
    """Hold so many devices, kill the engine, and wait for them all.

    Raises:
        UnavailableError: when not all of them come up within three minutes.
    """
    allow_many_files()
    plan = LoadPlan(sites=devices, gateways=0, transport=Transport.MQTT, probes=0)
    with tempfile.TemporaryDirectory(prefix="shoal-bench-") as directory:
        async with measured_plant(Path(directory), plan) as plant:
            fabric = plant.settings.fabric
            links = Links(
                fabric.host,
                fabric.mqtt_port,
                [SiteId(device) for device in plan.devices],
                [plant.secret_of(device) for device in plan.devices],
                tls=None,
                keep_alive_s=_KEEP_ALIVE_S,
                rng_seed=1,
                settings=LinkSettings(backoff_base_s=1.0, backoff_cap_s=8.0),
            )
            held = _Held(links)
            try:
                return await _measure(plant, held, hold_s)
            finally:
                await asyncio.to_thread(held.end)


async def _measure(plant: MeasuredPlant, held: _Held, hold_s: float) -> Connections:
    devices = len(plant.plan.devices)
    empty = (await plant.usage())["engine"]
    began_s = time.monotonic()
    held.begin()
    await held.wait_up()
    sign_in_s = time.monotonic() - began_s
    await asyncio.sleep(_SETTLE_S)
    before, began_s = await plant.usage(), time.monotonic()
    await asyncio.to_thread(held.report, hold_s)
    after, took_s = await plant.usage(), time.monotonic() - began_s
    killed_s = time.monotonic()
    os.kill(await plant.engine_pid(), signal.SIGKILL)
    await held.wait_lost()
    await held.wait_up()
    reconnect_s = time.monotonic() - killed_s
    return Connections(
        devices=devices,
        sign_in_s=sign_in_s,
        bytes_each=_memory_each(empty, after["engine"], devices),
        core_each=cores_between(before, after, took_s)["engine"] / devices,
        reconnect_s=reconnect_s,
    )


def _memory_each(empty: Usage, full: Usage, devices: int) -> float:
    return max(full.rss_bytes - empty.rss_bytes, 0) / devices


class _Held:
    """Sessions that a thread of their own attends to."""

    def __init__(self, links: Links) -> None:
        self._links = links
        self._end = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._attend, name="devices")

    def begin(self) -> None:
        """Let them sign in."""
        self._links.connect_all(_SIGN_IN_RATE_PER_S)
        self._thread.start()

    def report(self, duration_s: float) -> None:
        """Let each device send one sample within a minute's pace, for a while. Blocks."""
        sites = len(self._links.up)
        records = TELEMETRY.empty(sites).reshape(sites, 1)
        records["seq"], records["present"] = 1, PRESENT
        records["ts_ns"] = time.time_ns()
        payloads = [
            message.tobytes()
            for message in encode_messages(records, oldest_seq=records["seq"], present=PRESENT)
        ]
        share = np.array_split(np.arange(int(sites * min(duration_s / 60.0, 1.0))), _SHARES)
        for rows in share:
            with self._lock:
                self._links.publish_many(rows, [payloads[row] for row in rows.tolist()])
            time.sleep(duration_s / _SHARES)

    async def wait_up(self) -> None:
        """Wait until every device is signed in.

        Raises:
            UnavailableError: when not all of them are in time.
        """
        await self._wait(lambda: bool(self._links.up.all()))

    async def wait_lost(self) -> None:
        """Wait until at least one device has noticed that the engine is gone."""
        await self._wait(lambda: not self._links.up.all())

    def end(self) -> None:
        """Close every session."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()
        self._links.close()

    async def _wait(self, condition: Callable[[], bool]) -> None:
        until_s = time.monotonic() + _UP_TIMEOUT_S
        while not condition():
            if time.monotonic() > until_s:
                up = int(np.count_nonzero(self._links.up))
                raise UnavailableError("the fabric", f"{up} of {len(self._links.up)} devices are signed in")
            await asyncio.sleep(_POLL_S)

    def _attend(self) -> None:
        while not self._end.is_set():
            with self._lock:
                self._links.poll(_POLL_S)
