"""A set-point each to many connected devices, signed, over the real server, taken by real agents and answered.

The controller is the plant's own, with its stores, its arbitration and its split; what is timed is from the moment at
which a cycle's decision is made to each device's answer at the controller.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import secrets
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
from nats.aio.client import Client
from numpy.typing import NDArray

from shoal.cli.benches._commands_devices import DevicesPlan, DevicesSeen, nameplate_of
from shoal.cli.benches._ingest import LEAST_WINDOW, WINDOW_S, Run, loaded_plant
from shoal.cli.benches._plant import MeasuredPlant
from shoal.cli.role import GC_THRESHOLD
from shoal.cli.roles.control import ISSUER, LedgerMemory, commands_link, go_first, reports_to
from shoal.cli.roles.host import sqlite_url
from shoal.control.desired_book import DesiredBook
from shoal.control.dispatch import DispatchOptions
from shoal.control.issuing import TENANT, issuer_of
from shoal.control.leases import LeaseBook
from shoal.control.order_desk import OrderDesk
from shoal.control.sender import FabricSender, Outgoing
from shoal.control.service import Control
from shoal.domain.clock import Tick
from shoal.domain.errors import UnavailableError
from shoal.domain.fleet import Fleet
from shoal.domain.ids import SiteId
from shoal.domain.interval import NS_PER_HOUR
from shoal.domain.live import ResourceState
from shoal.domain.telemetry import TELEMETRY
from shoal.domain.twins import FleetView
from shoal.fabric.bulk_link import BulkLink
from shoal.fabric.command_keys import CommandKeys
from shoal.fabric.keys import Keys, Role
from shoal.runtime.clock import SystemClock
from shoal.simulate.load_fleet import LoadPlan, Transport
from shoal.store.credentials import seal
from shoal.store.database import migrate, open_database
from shoal.store.ledger import Ledger
from shoal.store.order_records import Order, Scope, SetPointSpec
from shoal.store.orders import Orders
from shoal.store.registry import Registry

LEASE_S: Final = 900.0
LOAD_FRAC: Final = 0.7
ORDER: Final = "bench"
_EACH_W: Final = (-1_000, 1_500, -2_000, 500)
_AS_OPERATED: Final = {"telemetry.refresh_every_s": 1.0}
"""Aggregates as often as in a plant by default; the benchmark of ingestion makes them more often, to see a sample soon."""
_LOOK_S: Final = 1.0
"""As often as the control role looks between its cycles."""
_ANSWER_TIMEOUT_S: Final = 30.0
_UP_TIMEOUT_S: Final = 200.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """From decision to answer over all devices and rounds, and what did not come as it should.

    Attributes:
        p50_s: Half of the answers came within.
        p99_s: 99 of 100 did.
        longest_s: All did.
        decide_s: The median cycle until its decision: stores, arbitration, split.
        missed: Answers that did not come.
        duplicated: Set-points that a device took twice.
        wrong: Devices that in the end do not follow what was decided last.
        refused: Refusals.
    """

    p50_s: float
    p99_s: float
    longest_s: float
    decide_s: float
    missed: int
    duplicated: int
    wrong: int
    refused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """Without and beside telemetry."""

    devices: int
    idle: Latencies
    loaded: Latencies
    telemetry_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lossy:
    """With messages lost in both directions.

    Attributes:
        devices: How many.
        taken_s: Until every device had taken its set-point, by its own books.
        answered_s: Until the controller knew of all of them.
        repeated: Set-points that were told again.
        lost: Messages that the network lost.
        duplicated: Set-points that a device took twice.
        wrong: Devices that in the end do not follow what was decided.
    """

    devices: int
    taken_s: float
    answered_s: float
    repeated: int
    lost: int
    duplicated: int
    wrong: int


class _Stopwatch(FabricSender):
    """The plant's sender, which notes when a cycle's decision was made."""

    decided_s = 0.0

    async def send(self, messages: Sequence[Outgoing]) -> None:
        self.decided_s = time.perf_counter()
        await super().send(messages)


class _Controller:
    """The plant's control of the devices, driven by hand."""

    def __init__(self, plant: MeasuredPlant, link: BulkLink, client: Client, fleet: Fleet) -> None:
        url = sqlite_url(plant.settings, "registry.db")
        migrate(url)
        engine = open_database(url)
        ledger = Ledger(engine)
        self.orders = Orders(engine)
        sites = len(fleet.site_ids)
        fence = ledger.next_fence(ISSUER)
        keys = CommandKeys.create_or_load(plant.settings.data_dir / "keys")
        clock = SystemClock()
        self._clock = clock
        self._fleet = fleet
        self.leases = LeaseBook(sites)
        self.desk = OrderDesk(fleet, self.orders, book=DesiredBook(sites), leases=self.leases)
        self.sender = _Stopwatch(
            fleet,
            publish=client.publish,
            flush=link.flush,
            issuer=issuer_of(keys, name=ISSUER, now_ns=clock.now_ns()),
            publish_many=link.publish_many,
        )
        self.answered_s = np.full(sites, np.inf)
        self._latest = TELEMETRY.empty(sites)
        self._latest["ts_ns"] = clock.now_ns()
        self._latest["soc_frac"] = 0.6
        self.decide_s: list[float] = []
        self._decided = 0
        self._take = reports_to(fleet, self.desk, clock.now_ns)

        async def view() -> FleetView:
            return FleetView(t_ns=clock.now_ns(), latest=self._latest)

        async def publish_states(_: list[ResourceState]) -> None:
            return None

        self.service = Control(
            fleet=fleet,
            clock=clock,
            options=DispatchOptions(lease_s=LEASE_S, fresh_timeout_s=86_400.0, issuer=ISSUER, fence=fence),
            step_s=60.0,
            view=view,
            memory=LedgerMemory(ledger, resources=(), issuer=ISSUER, fence=fence, now_ns=clock.now_ns),
            sender=self.sender,
            publish_states=publish_states,
            desk=self.desk,
            leases=self.leases,
        )

    def hear(self, subjects: list[bytes], payloads: list[bytes]) -> None:
        """Take what devices answer, as the control role does, and note when it was taken."""
        self._take(subjects, payloads)
        news = np.isinf(self.answered_s) & (self.leases.taken == self.leases.version)
        self.answered_s[news] = time.perf_counter()

    async def decide(self) -> None:
        """Ask for another power of all devices, and let a cycle decide and send it."""
        now_ns = self._clock.now_ns()
        each_w = _EACH_W[self._decided % len(_EACH_W)]
        self._decided += 1
        power_w = each_w * len(self._fleet.site_ids)
        held = [order for order in self.orders.orders(after_ns=now_ns) if order.order_id == ORDER]
        order = Order(
            order_id=ORDER,
            program="emergency",
            scope=Scope(fleet=True),
            start_ns=held[0].start_ns if held else now_ns,
            end_ns=held[0].end_ns if held else now_ns + 4 * NS_PER_HOUR,
            spec=SetPointSpec(power_w=power_w),
            by="bench",
            at_ns=now_ns,
            revision=held[0].revision + 1 if held else 1,
        )
        await asyncio.to_thread(self.orders.put, order)
        self.answered_s[:] = np.inf
        began_s = time.perf_counter()
        await self.service.cycle(Tick(t_ns=self._clock.now_ns()))
        self.decide_s.append(self.sender.decided_s - began_s)

    async def wait_answered(self, timeout_s: float) -> bool:
        """Wait until every device has answered; return whether all have."""
        until_s = time.perf_counter() + timeout_s
        while not np.isfinite(self.answered_s).all() and time.perf_counter() < until_s:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return bool(np.isfinite(self.answered_s).all())


class _Process:
    """The process of the devices."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def seen(self, *, timeout_s: float = _ANSWER_TIMEOUT_S, ask: bool = True) -> DevicesSeen:
        """Return what the devices say of themselves.

        Raises:
            UnavailableError: when they do not answer.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            if ask:
                self._process.stdin.write(b"\n")
                await self._process.stdin.drain()
            async with asyncio.timeout(timeout_s):
                line = await self._process.stdout.readline()
        except (OSError, TimeoutError) as error:
            raise UnavailableError("the devices", type(error).__name__) from error
        if not line:
            raise UnavailableError("the devices", "their process has ended")
        return msgspec.json.decode(line, type=DevicesSeen)

    async def end(self) -> None:
        """Let the process end."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


@contextlib.asynccontextmanager
async def _commanded(
    run: Run, devices: int, *, loss_frac: float = 0.0
) -> AsyncIterator[tuple[_Controller, _Process]]:
    """Sign devices in, and give the controller of them and their process."""
    plant = run.plant
    names = plant.plan.site_ids[:devices]
    await asyncio.to_thread(_issue_credentials, plant, names)
    keys = CommandKeys.create_or_load(plant.settings.data_dir / "keys")
    fabric = plant.settings.fabric
    plan = DevicesPlan(
        host=fabric.host,
        port=fabric.mqtt_port,
        sites=[str(name) for name in names],
        secrets=[plant.secret_of(str(name)) for name in names],
        root_public=keys.root_public,
        tenant=TENANT,
        loss_frac=loss_frac,
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "shoal.cli.benches._commands_devices",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 26,
    )
    told = _Process(process)
    client = await plant.client(Role.CONTROL)
    try:
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(plan) + b"\n")
        await process.stdin.drain()
        up = (await told.seen(timeout_s=_UP_TIMEOUT_S, ask=False)).up
        if up != devices:
            raise UnavailableError("the fabric", f"{up} of {devices} devices are signed in")
        heard: list[_Controller] = []
        async with commands_link(
            plant.fabric_url,
            seed=Keys.create_or_load(plant.settings.data_dir / "keys").seed(Role.CONTROL),
            name="bench-commands",
            take=lambda subjects, payloads: heard[0].hear(subjects, payloads) if heard else None,
        ) as link:
            heard.append(_Controller(plant, link, client, _fleet_of(names)))
            yield heard[0], told
    finally:
        await client.close()
        await told.end()


def _issue_credentials(plant: MeasuredPlant, names: Sequence[SiteId]) -> None:
    registry = Registry(open_database(sqlite_url(plant.settings, "registry.db")))
    sealed = [
        seal(plant.secret_of(str(name)), created_ns=0, random_bytes=secrets.token_bytes) for name in names
    ]
    registry.set_credential(list(names), sealed)


def _fleet_of(names: Sequence[SiteId]) -> Fleet:
    """Return the devices as a fleet of their own: each with its own connection, in no group."""
    none = np.zeros(len(names))
    return Fleet(
        site_ids=tuple(names),
        nameplate=nameplate_of(len(names)),
        latitude_deg=none,
        longitude_deg=none,
        groups=(),
        leaf_group={},
        resources=(),
    )


async def _rounds(controller: _Controller, devices: _Process, rounds: int, pause_s: float) -> Latencies:
    """Send everybody a set-point so many times, and time the answers."""
    before = await devices.seen()
    controller.decide_s.clear()
    took: list[NDArray[np.float64]] = []
    missed = 0
    for _ in range(rounds):
        await controller.decide()
        await controller.wait_answered(_ANSWER_TIMEOUT_S)
        answered = np.isfinite(controller.answered_s)
        missed += int((~answered).sum())
        took.append(controller.answered_s[answered] - controller.sender.decided_s)
        await asyncio.sleep(pause_s)
    after = await devices.seen()
    every = np.concatenate(took)
    return Latencies(
        p50_s=float(np.percentile(every, 50)),
        p99_s=float(np.percentile(every, 99)),
        longest_s=float(every.max()),
        decide_s=float(np.median(controller.decide_s)),
        missed=missed,
        duplicated=after.twice,
        wrong=_wrong(controller, after),
        refused=sum(after.refused.values()) - sum(before.refused.values()),
    )


def _wrong(controller: _Controller, seen: DevicesSeen) -> int:
    """Return how many devices do not have what was decided last."""
    right = (controller.leases.version == np.array(seen.version)) & (
        controller.leases.asked_w == np.array(seen.battery_w)
    )
    return int((~right).sum())


async def measure_acknowledged(
    *, devices: int, sites: int, gateways: int, rounds: int, find_s: float, pause_s: float
) -> Acknowledged:
    """Time the answers of idle devices, and again beside telemetry at a part of what the plant takes.

    Raises:
        UnavailableError: when not all devices can be signed in, or the plant does not keep up with telemetry.
    """
    plan = LoadPlan(
        sites=sites, gateways=gateways, samples_per_message=25, transport=Transport.NATS, probes=0
    )
    async with loaded_plant(plan, values=_AS_OPERATED) as run:
        rate = await run.sustain(find_s, LEAST_WINDOW)
        window = int(rate / plan.samples_per_message * WINDOW_S)
        if window > LEAST_WINDOW:
            rate = await run.sustain(find_s, window)
        go_first()
        gc.set_threshold(GC_THRESHOLD)  # as in every role's process
        run.look_no_more()
        async with _commanded(run, devices) as (controller, process):
            await _rounds(controller, process, 1, 0.0)  # what is done for the first time takes longer
            idle = await _rounds(controller, process, rounds, pause_s)
            load_s = rounds * (pause_s + 1.5) + 2.0
            load = asyncio.create_task(asyncio.to_thread(_send, run, LOAD_FRAC * rate, load_s))
            await asyncio.sleep(1.0)
            loaded = await _rounds(controller, process, rounds, pause_s)
            run.load.stop()
            await load
        return Acknowledged(devices=devices, idle=idle, loaded=loaded, telemetry_per_s=LOAD_FRAC * rate)


def _send(run: Run, rate_per_s: float, duration_s: float) -> None:
    """Load the plant, from a thread that comes after the controller's."""
    go_first(0)
    run.load.send(rate_per_s, duration_s)


async def measure_loss(*, devices: int, loss_frac: float) -> Lossy:
    """Send everybody a set-point over a network that loses messages both ways, and look until all have it.

    Raises:
        UnavailableError: when not all devices can be signed in.
    """
    plan = LoadPlan(sites=devices, gateways=8, samples_per_message=25, transport=Transport.NATS, probes=0)
    async with (
        loaded_plant(plan, values=_AS_OPERATED) as run,
        _commanded(run, devices, loss_frac=loss_frac) as (controller, process),
    ):
        await controller.decide()
        began_s = controller.sender.decided_s
        taken_s = answered_s = np.inf
        while time.perf_counter() - began_s < LEASE_S and not np.isfinite(answered_s):
            await asyncio.sleep(_LOOK_S)
            await controller.service.prompt()
            seen = await process.seen()
            now_s = time.perf_counter() - began_s
            if not np.isfinite(taken_s) and bool(np.all(np.array(seen.version) > 0)):
                taken_s = now_s
            if np.all(controller.leases.taken == controller.leases.version):
                answered_s = now_s
        seen = await process.seen()
        return Lossy(
            devices=devices,
            taken_s=float(taken_s),
            answered_s=float(answered_s),
            repeated=controller.service.statistics().repeated,
            lost=seen.lost_down + seen.lost_up,
            duplicated=seen.twice,
            wrong=_wrong(controller, seen),
        )
