"""Two thousand devices lose the engine at once: all come back, spread over a time, and nothing is lost."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from shoal.domain.ids import SiteId
from shoal.domain.telemetry import TELEMETRY
from shoal.domain.wire import decode
from shoal.edge.link import Links, LinkSettings
from shoal.edge.outbox import Outbox
from shoal.fabric.admission import Admission
from shoal.fabric.subjects import site_of_journal_subject
from tests.integration.fabric.plant import Plant

DEVICES = 2_000
SPREAD_S = 4.0
WITHIN_S = 60.0
SAMPLES_BEFORE, SAMPLES_DURING, SAMPLES_AFTER = 2, 3, 1


class Fleet:
    """The devices with their outboxes, and when each connection was begun."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.names = [SiteId(f"storm-{number}") for number in range(DEVICES)]
        self.links = Links(
            *address,
            self.names,
            ["secret"] * DEVICES,
            tls=None,
            keep_alive_s=60,
            rng_seed=1,
            settings=LinkSettings(backoff_base_s=0.5, backoff_cap_s=8.0, spread_s=SPREAD_S),
        )
        self.outbox = Outbox(DEVICES)
        self.attempts: list[tuple[float, int]] = []

    async def poll_until(self, condition: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + WITHIN_S
        while not condition():
            assert time.monotonic() < deadline_s, self.links.statistics()
            self.links.poll(0.0)
            self.attempts.append((time.monotonic(), self.links.statistics().attempts))
            for row in self.links.went_up().tolist():
                for message in self.outbox.messages_since(row, 0):
                    self.links.publish(row, message)
            await asyncio.sleep(0.005)

    def sample(self, times: int) -> None:
        """Let every device take samples and send them if it can."""
        for _ in range(times):
            records = TELEMETRY.empty(DEVICES)
            records["ts_ns"] = time.time_ns()
            self.outbox.add(records)
            self.links.publish_many(np.arange(DEVICES), self.outbox.encode_latest())

    def most_attempts_in_a_second(self, since_s: float) -> int:
        times = np.array([at_s for at_s, _ in self.attempts if at_s >= since_s])
        counts = np.array([count for at_s, count in self.attempts if at_s >= since_s])
        until = np.searchsorted(times, times + 1.0, side="right") - 1
        return int((counts[until] - counts).max())


def test_fleet_that_loses_the_engine_comes_back_spread_and_whole(tmp_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    async def body() -> None:
        plant = Plant.make(tmp_path)
        async with plant.server:
            await plant.make_streams()
            supervising = asyncio.create_task(plant.server.supervise())
            fleet = Fleet(plant.server.mqtt_address)
            with fleet.links:
                async with plant.callout(lambda *_: True, admission=Admission(rate_per_s=1_000.0)):
                    fleet.links.connect_all(800.0)
                    await fleet.poll_until(lambda: bool(fleet.links.up.all()))
                    fleet.sample(SAMPLES_BEFORE)
                    pid = plant.server.statistics().pid
                    assert pid is not None
                    os.kill(pid, signal.SIGKILL)
                    killed_s = time.monotonic()
                    fleet.links.connect_all(1e6)  # what bounds the attempts now is each device's own patience
                    fleet.sample(SAMPLES_DURING)
                    await fleet.poll_until(lambda: not fleet.links.up.any())
                    await fleet.poll_until(lambda: bool(fleet.links.up.all()))
                    fleet.sample(SAMPLES_AFTER)
                    await fleet.poll_until(lambda: fleet.links.statistics().unsent_bytes == 0)
                    # a wait lasts half of the spread on average; a third more for chance and for delays
                    assert fleet.most_attempts_in_a_second(killed_s) < 2 * DEVICES / SPREAD_S * 4 / 3
                    await _everything_arrives(plant, fleet)
            supervising.cancel()
            await asyncio.wait([supervising])

    asyncio.run(body())


async def _everything_arrives(plant: Plant, fleet: Fleet) -> None:
    wanted = SAMPLES_BEFORE + SAMPLES_DURING + SAMPLES_AFTER
    missing = {name: set(range(1, wanted + 1)) for name in fleet.names}
    async with plant.reader() as reader, asyncio.timeout(WITHIN_S):
        while any(missing.values()):
            fleet.links.poll(0.0)
            batch = await reader.read(0.2)
            if batch is not None:
                for subject, payload in zip(batch.subjects, batch.payloads, strict=True):
                    seen = decode(payload)[0]["seq"].tolist()
                    missing[site_of_journal_subject(subject)] -= set(seen)
