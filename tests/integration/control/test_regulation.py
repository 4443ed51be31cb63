"""The regulation service on a real server: homes armed ahead, one broadcast a tick, readings back, drop-outs, a lost signal."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import nats
import numpy as np
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from shoal.control.regulation import (
    MarketSignal,
    RegulationOptions,
    RegulationService,
)
from shoal.domain.fleet import NAMEPLATE
from shoal.domain.interval import NS_PER_MINUTE, NS_PER_S
from shoal.edge import agent
from shoal.edge.agent_columns import AgentColumns
from shoal.fabric.server import find_binary
from shoal.fabric.subjects import arming_subject, broadcast_subject, reading_subject, signal_subject
from shoal.runtime.clock import SystemClock
from shoal.services.regulation import FollowRules, RegulationSignal
from shoal.services.regulation_device import (
    RegulatedSite,
    RegulationArming,
    RegulationReading,
    lease_of,
)
from shoal.services.regulation_shares import RegulationAbility

SITES = 12
RESOURCE = "vpp-1"
TICK_NS = NS_PER_S // 5
OPTIONS = RegulationOptions(
    offer_w=20_000,
    hold_ns=5 * TICK_NS,
    rules=FollowRules(tick_ns=TICK_NS, silent_ns=6 * TICK_NS, lag_s=0.0, compensation_frac=0.0),
)
TIMEOUT_S = 20.0


@pytest.fixture
def server_url(tmp_path: Path) -> Iterator[str]:
    command = [str(find_binary()), "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", str(tmp_path)]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while not (found := list(tmp_path.glob("*.ports"))) or not found[0].stat().st_size:
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield json.loads(found[0].read_text())["nats"][0]
    finally:
        child.terminate()
        child.wait(TIMEOUT_S)


class Homes:
    """Devices with the real agent: a broadcast becomes a short lease, limits and reserve come last."""

    def __init__(self, client: Client) -> None:
        nameplate = NAMEPLATE.empty(SITES)
        for name, value in (
            ("charge_limit_kw", 5.0),
            ("discharge_limit_kw", 5.0),
            ("energy_capacity_kwh", 10.0),
        ):
            nameplate[name] = value
        self.agents = AgentColumns(nameplate)
        self.stored_kwh = np.full(SITES, 6.0)
        self.sites = [RegulatedSite() for _ in range(SITES)]
        self.dead: set[int] = set()
        self._client = client

    async def listen(self) -> None:
        for row in range(SITES):
            await self._client.subscribe(arming_subject(f"home-{row}"), cb=self._taker(row))
        await self._client.subscribe(broadcast_subject(RESOURCE), cb=self._broadcast)
        await self._client.flush()

    def _taker(self, row: int):  # type: ignore[no-untyped-def]
        async def take(message: Msg) -> None:
            arming = msgspec.json.decode(message.data, type=RegulationArming)
            self.sites[row].take_arming(arming, now_ns=time.time_ns())

        return take

    async def _broadcast(self, message: Msg) -> None:
        signal = msgspec.json.decode(message.data, type=RegulationSignal)
        now_ns = time.time_ns()
        for row, site in enumerate(self.sites):
            arming = site.in_force(now_ns)
            if row in self.dead or arming is None:
                continue
            value_frac = site.take_signal(signal, now_ns=now_ns)
            if value_frac is not None:
                desired = lease_of(
                    arming,
                    value_frac,
                    start_ns=now_ns,
                    end_ns=signal.end_ns,
                    version=int(self.agents.latest_version[row]) + 1,
                    issuer="regulation",
                    fence=1,
                )
                agent.receive(self.agents, row, desired, now_ns)
        power_w = self.power_w()
        for row in set(range(SITES)) - self.dead:
            arming = self.sites[row].in_force(now_ns)
            reading = RegulationReading(
                start_ns=now_ns - TICK_NS,
                end_ns=now_ns,
                mean_w=float(power_w[row]),
                stored_kwh=float(self.stored_kwh[row]),
                version=arming.version if arming else 0,
            )
            await self._client.publish(reading_subject(f"home-{row}"), msgspec.json.encode(reading))

    def power_w(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        none = np.zeros(SITES, dtype=np.int64)
        return agent.decide(
            self.agents,
            now_ns=time.time_ns(),
            load_w=none,
            solar_w=none,
            ev_w=none,
            stored_kwh=self.stored_kwh,
            horizon_s=2.0,
        ).battery_w


@contextlib.asynccontextmanager
async def running(url: str) -> AsyncIterator[tuple[RegulationService, Homes, Client]]:
    plant, field = await nats.connect(url), await nats.connect(url)
    homes = Homes(field)
    await homes.listen()
    ability = RegulationAbility(
        charge_limit_w=np.full(SITES, 5_000),
        discharge_limit_w=np.full(SITES, 5_000),
        stored_kwh=homes.stored_kwh.copy(),
        floor_kwh=np.full(SITES, 2.0),
        ceiling_kwh=np.full(SITES, 10.0),
        charge_efficiency_frac=np.ones(SITES),
        discharge_efficiency_frac=np.ones(SITES),
    )
    service = RegulationService(
        client=plant,
        clock=SystemClock(),
        resource_id=RESOURCE,
        site_ids=[f"home-{row}" for row in range(SITES)],
        ability=ability,
        options=OPTIONS,
    )
    task = asyncio.create_task(service.run())
    try:
        yield service, homes, field
    finally:
        task.cancel()
        await asyncio.wait([task])
        await plant.close()
        await field.close()


async def drive(client: Client, value_frac: float, done) -> None:  # type: ignore[no-untyped-def]
    """Send the signal every tick until something holds."""
    async with asyncio.timeout(TIMEOUT_S):
        while not done():
            signal = MarketSignal(t_ns=time.time_ns(), value_frac=value_frac)
            await client.publish(signal_subject(RESOURCE), msgspec.json.encode(signal))
            await asyncio.sleep(TICK_NS / NS_PER_S)


def test_signal_is_followed_through_drop_outs_and_its_own_end(server_url: str) -> None:
    async def body() -> None:
        async with running(server_url) as (service, homes, client):
            async with asyncio.timeout(TIMEOUT_S):
                while not all(site.armings for site in homes.sites):  # noqa: ASYNC110 - told over the wire
                    await asyncio.sleep(0.01)

            def follows(target_w: float) -> bool:
                return abs(int(homes.power_w().sum()) - target_w) < 0.02 * OPTIONS.offer_w

            await drive(client, 0.5, lambda: follows(-10_000))
            await drive(client, -0.8, lambda: follows(16_000))
            homes.dead = {0, 1, 2}
            # their leases end by themselves and the others take their part over
            await drive(
                client,
                0.6,
                lambda: follows(-12_000) and not homes.power_w()[:3].any() and heard(service) == SITES - 3,
            )
            homes.dead = set()
            await drive(client, 0.6, lambda: follows(-12_000) and heard(service) == SITES)
            # no signal: every home is back at its base before its lease ends
            async with asyncio.timeout(TIMEOUT_S):
                while not follows(0.0):  # noqa: ASYNC110 - the clock's work
                    await asyncio.sleep(0.02)
            statistics = service.statistics()
            assert statistics.silences >= 1  # a machine that stalls may have been silent before
            assert statistics.readings > 0
            # a service that is started anew counts on: devices take its broadcasts for newer
            assert homes.sites[3].seq > (time.time_ns() - NS_PER_MINUTE) // 1_000_000

    asyncio.run(body())


def heard(service: RegulationService) -> int:
    state = service.statistics().state
    return state.listening_sites if state else 0


def test_messages_that_cannot_be_used_are_counted_and_change_nothing(server_url: str) -> None:
    async def body() -> None:
        async with running(server_url) as (service, homes, client):
            async with asyncio.timeout(TIMEOUT_S):
                while not all(site.armings for site in homes.sites):  # noqa: ASYNC110 - told over the wire
                    await asyncio.sleep(0.01)
            old = MarketSignal(t_ns=time.time_ns() - NS_PER_MINUTE, value_frac=1.0)
            for subject, payload in (
                (signal_subject(RESOURCE), b"{"),
                (signal_subject(RESOURCE), msgspec.json.encode(old)),
                (
                    signal_subject(RESOURCE),
                    b'{"t_ns":' + str(time.time_ns()).encode() + b',"value_frac":null}',
                ),
                (reading_subject("stranger"), b"{}"),
                (reading_subject("home-1"), b"\xff"),
            ):
                await client.publish(subject, payload)
            async with asyncio.timeout(TIMEOUT_S):
                while service.statistics().refused < 5:  # noqa: ASYNC110 - told over the wire
                    await asyncio.sleep(0.01)
            assert service.statistics().broadcasts == 0

    asyncio.run(body())
