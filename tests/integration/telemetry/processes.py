"""A plant of real processes: the fabric role and several of the telemetry role, and devices that never stop talking.

Nothing restarts a process but the test. Everything that devices send is counted here, so that a test can say what must
have become of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import nats
import numpy as np
from nats.aio.client import Client
from nats.aio.msg import Msg
from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families

from shoal.cli.plant import EXTRA_ENV, ONE_THREAD
from shoal.domain.desired import DurableUpTo
from shoal.domain.fleet import NAMEPLATE, Fleet, Group
from shoal.domain.ids import GroupId, HierarchyId, SiteId
from shoal.domain.live import Aggregates
from shoal.domain.partition import PARTITIONS, partition_of
from shoal.domain.telemetry import TELEMETRY
from shoal.domain.twins import AskTwins, ShardAnswer, merge_answers
from shoal.domain.wire import encode
from shoal.fabric._registers import Registers
from shoal.fabric.connection import connect
from shoal.fabric.keys import Keys, Role
from shoal.fabric.subjects import (
    LIVE_AGGREGATES,
    LIVE_GROUP,
    OWNERS_STREAM,
    ask_twin_subject,
    register_subject,
    telemetry_stream,
)
from shoal.fabric.tenure import Register
from shoal.runtime.child import READY_FILE_VARIABLE
from shoal.runtime.settings import Settings, load_settings
from shoal.store.database import migrate, open_database
from shoal.store.registry import Registry
from shoal.telemetry.contract import AGGREGATE, shard_number
from shoal.telemetry.shard import Snapshot
from tests.integration.fabric.cluster import free_ports
from tests.integration.fabric.plant import wait_until

PATIENCE_S = 120.0
SHARDS = 6
BEHIND = 5
"""Sites behind each gateway."""
GRID = HierarchyId("grid")
SPEAK_EVERY_S = 0.1
ROOT = 0
"""Position of the group above all."""


def shard_of(device: str) -> int:
    """Return the shard in which a device is."""
    return partition_of(device) * SHARDS // PARTITIONS


def device_names(prefix: str, shards: list[int]) -> list[str]:
    """Return names that lie in these shards, one after the other."""
    names: list[str] = []
    for shard in shards:
        numbers = iter(range(10_000))
        names.append(
            next(name for n in numbers if shard_of(name := f"{prefix}-{n}") == shard and name not in names)
        )
    return names


def make_fleet(direct: list[str], gateways: list[str]) -> Fleet:
    """Return sites with a connection of their own, then those behind gateways, in two feeders in turn."""
    sites = [*direct, *(f"{gateway}-site-{n}" for gateway in gateways for n in range(BEHIND))]
    count = len(sites)
    plate = NAMEPLATE.empty(count)
    plate["charge_limit_kw"] = plate["discharge_limit_kw"] = 5.0
    plate["energy_capacity_kwh"] = 13.5
    behind = np.arange(count) - len(direct)
    groups = [Group(group_id=GroupId("vpp"), hierarchy_id=GRID, parent_id=None, name="all", level=0)] + [
        Group(group_id=GroupId(name), hierarchy_id=GRID, parent_id=GroupId("vpp"), name=name, level=1)
        for name in ("feeder-1", "feeder-2", "feeder-3")
    ]
    return Fleet(
        site_ids=tuple(SiteId(site) for site in sites),
        nameplate=plate,
        latitude_deg=np.full(count, 30.0),
        longitude_deg=np.full(count, -97.0),
        groups=tuple(groups),
        leaf_group={GRID: (1 + np.arange(count) % 2).astype(np.int32)},
        resources=(),
        gateway_ids=tuple(gateways),
        gateway_of=np.where(behind >= 0, behind // BEHIND, -1).astype(np.int32),
        gateway_unit=np.where(behind >= 0, behind % BEHIND + 1, 0).astype(np.int32),
    )


@dataclass(kw_only=True)
class RoleProcess:
    """One process of a role."""

    name: str
    process: subprocess.Popen[bytes]
    ready_file: Path
    log: Path

    @property
    def facts(self) -> dict[str, Any]:
        """What it said when it was ready; empty before."""
        with contextlib.suppress(FileNotFoundError):
            found: dict[str, Any] = msgspec.json.decode(self.ready_file.read_bytes())
            return found
        return {}

    def is_running(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def metric(self, name: str) -> float:
        """Return a figure of its telemetry."""
        url = f"http://127.0.0.1:{self.facts['ops_port']}/metrics"
        with urllib.request.urlopen(url, timeout=5) as answer:
            text = answer.read().decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == f"shoal_telemetry_{name}":
                    return float(sample.value)
        raise KeyError(name)


@dataclass(kw_only=True)
class RolePlant:
    """The processes of a plant, and who talks to it."""

    directory: Path
    settings: Settings
    fleet: Fleet
    registry: Registry
    secrets: dict[str, str]
    processes: list[RoleProcess] = field(default_factory=list)

    @classmethod
    @contextlib.contextmanager
    def running(cls, directory: Path, fleet: Fleet, **values: object) -> Iterator[RolePlant]:
        """Register a fleet and start its fabric; processes of the telemetry role are up to the test."""
        ports = dict(
            zip(("client_port", "mqtt_port", "websocket_port", "monitor_port"), free_ports(4), strict=True)
        )
        settings = load_settings(
            env={},
            flags={
                "data_dir": str(directory),
                **{f"fabric.{name}": port for name, port in ports.items()},
                "fabric.device_messages_per_s": 0.0,
                "telemetry.shards": SHARDS,
                "telemetry.refresh_every_s": 0.1,
                "telemetry.checkpoint_every_s": 1.0,
                "telemetry.durable_ack_every_s": 1.0,
                **values,
            },
        )
        Keys.create_or_load(directory / "keys")
        url = f"sqlite:///{directory / 'registry.db'}"
        migrate(url)
        registry = Registry(open_database(url))
        registry.load_fleet(fleet, valid_from_ns=0)
        plant = cls(
            directory=directory,
            settings=settings,
            fleet=fleet,
            registry=registry,
            secrets={str(k): v for k, v in registry.issue_credentials(devices_of(fleet), at_ns=0).items()},
        )
        settings.save(directory / "settings.json")
        try:
            plant.start("fabric")
            yield plant
        finally:
            plant.end()

    def start(self, role: str) -> RoleProcess:
        name = f"{role}-{len(self.processes)}"
        ready_file, log = self.directory / f"{name}.ready", self.directory / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "shoal.cli.role", role),
                    *("--settings", str(self.directory / "settings.json")),
                ],
                env={
                    **os.environ,
                    **ONE_THREAD,
                    **EXTRA_ENV.get(role, {}),
                    READY_FILE_VARIABLE: str(ready_file),
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.processes.append(RoleProcess(name=name, process=process, ready_file=ready_file, log=log))
        return self.processes[-1]

    async def started(self, *processes: RoleProcess) -> None:
        """Wait until these are ready."""
        async with asyncio.timeout(PATIENCE_S):
            for one in processes:
                while not one.facts:
                    assert one.is_running(), one.log.read_text()
                    await asyncio.sleep(0.02)

    def telemetry(self) -> list[RoleProcess]:
        """Those of the telemetry role that run and are ready."""
        return [
            one for one in self.processes if one.name.startswith("tele") and one.is_running() and one.facts
        ]

    def end(self) -> None:
        """End every process; the fabric last."""
        fabric, *others = self.processes
        for group in (others, [fabric]):
            for one in group:
                if one.is_running():
                    one.resume()
                    one.process.terminate()
            for one in group:
                try:
                    one.process.wait(timeout=20)
                except subprocess.TimeoutExpired:
                    one.kill()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.settings.fabric.client_port}"

    @contextlib.asynccontextmanager
    async def client(self, role: Role) -> AsyncIterator[Client]:
        seed = Keys.create_or_load(self.directory / "keys").seed(role)
        client = await connect(self.url, seed=seed, name=f"test-{role}", timeout_s=PATIENCE_S)
        try:
            yield client
        finally:
            await client.close()


def devices_of(fleet: Fleet) -> list[SiteId]:
    """Return everything that has a connection."""
    direct = [
        site for site, gateway in zip(fleet.site_ids, fleet.gateway_of.tolist(), strict=True) if gateway < 0
    ]
    return [*direct, *(SiteId(name) for name in fleet.gateway_ids)]


async def wait_for(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition holds that has to be asked for."""
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():  # noqa: ASYNC110 - it belongs to other processes
            await asyncio.sleep(0.05)


def battery_w(row: int) -> int:
    """Return what the battery of a site does all the time, in watts."""
    return 100 + row


class Devices:
    """The devices of a fleet: each has a connection, and says a sample of each of its sites ten times a second.

    Now and then one repeats itself, or says rubbish. Which numbers were sent, and what was answered, is remembered.
    """

    def __init__(self, plant: RolePlant) -> None:
        self.plant = plant
        self.seq = np.zeros(len(plant.fleet.site_ids), dtype=np.int64)
        self.repeated = 0
        self.rubbish = 0
        self.durable: dict[str, int] = {}
        self._clients: dict[str, Client] = {}
        self._turn = 0

    @property
    def sent(self) -> int:
        """Distinct samples."""
        return int(self.seq.sum())

    @property
    def seqs(self) -> list[int]:
        return list(self.seq.tolist())

    @contextlib.asynccontextmanager
    async def speaking(self) -> AsyncIterator[None]:
        """Let them all speak meanwhile."""
        async with self.connected():
            task = asyncio.create_task(self._speak())
            try:
                yield
            finally:
                task.cancel()
                await asyncio.wait([task])
                for client in self._clients.values():
                    await client.flush()

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        await self.connect()
        try:
            yield
        finally:
            for client in self._clients.values():
                await client.close()
            self._clients.clear()

    async def connect(self) -> None:
        for device in devices_of(self.plant.fleet):
            if device not in self._clients:
                client = await nats.connect(
                    self.plant.url, user=device, password=self.plant.secrets[device], name=device
                )
                await client.subscribe(f"to.{device}.>", cb=self._told)
                self._clients[device] = client
        self.seq = np.concatenate(
            [self.seq, np.zeros(len(self.plant.fleet.site_ids) - len(self.seq), dtype=np.int64)]
        )

    async def _told(self, message: Msg) -> None:
        name, _, kind = message.subject.removeprefix("to.").rpartition(".")
        if kind == "durable":
            self.durable[name] = msgspec.json.decode(message.data, type=DurableUpTo).seq

    async def _speak(self) -> None:
        while True:
            began_s = time.monotonic()
            for device in list(self._clients):
                await self.say(device)
            await asyncio.sleep(max(0.0, SPEAK_EVERY_S - (time.monotonic() - began_s)))

    async def say(self, device: str) -> None:
        """Let a device say one sample of each of its sites; neither the count nor the message goes without the other."""
        fleet = self.plant.fleet
        rows = self._rows(device)
        records = TELEMETRY.empty(len(rows))
        records["seq"] = self.seq[rows] + 1
        records["ts_ns"] = time.time_ns() // 1_000_000 * 1_000_000
        records["battery_w"] = [battery_w(row) for row in rows.tolist()]
        payload = encode(records, oldest_seq=1, units=fleet.gateway_unit[rows])
        client, subject = self._clients[device], f"dev.{device}.tele"
        self._turn += 1
        self.seq[rows] += 1
        await client.publish(subject, payload)
        if self._turn % 7 == 0:
            self.repeated += len(rows)
            await client.publish(subject, payload)
        if self._turn % 50 == 0:
            self.rubbish += 1
            await client.publish(subject, b"SH\x02 rubbish")

    def _rows(self, device: str) -> NDArray[np.int64]:
        fleet = self.plant.fleet
        if device in fleet.row_of:
            return np.array([fleet.row_of[SiteId(device)]])
        return np.flatnonzero(fleet.gateway_of == fleet.gateway_ids.index(device))


class Observer:
    """What can be seen of the plant from outside: aggregates, registers, answers."""

    def __init__(self, plant: RolePlant, client: Client) -> None:
        self.plant = plant
        self.client = client
        self.aggregates: list[Aggregates] = []
        self._registers = Registers(client, stream=OWNERS_STREAM, timeout_s=5.0)
        self.kept: dict[str, tuple[int, int]] = {}
        """Of each unit the largest token and position that were ever seen."""

    @classmethod
    @contextlib.asynccontextmanager
    async def of(cls, plant: RolePlant) -> AsyncIterator[Observer]:
        async with plant.client(Role.API) as client:
            observer = cls(plant, client)
            await observer._registers.open()
            await client.subscribe(LIVE_AGGREGATES, cb=observer._heard)
            looking = asyncio.create_task(observer._look())
            try:
                yield observer
            finally:
                done = looking.done()
                looking.cancel()
                await asyncio.wait([looking])
                if done:
                    looking.result()

    async def _heard(self, message: Msg) -> None:
        self.aggregates.append(msgspec.json.decode(message.data, type=Aggregates))

    async def registers(self) -> dict[str, Register]:
        """Return the register of each unit."""
        prefix = register_subject(LIVE_GROUP, "")
        found = await self._registers.read_all([f"{prefix}>"])
        return {
            subject.removeprefix(prefix): msgspec.msgpack.decode(entry.data, type=Register)
            for subject, entry in found.items()
        }

    async def snapshots(self) -> dict[int, Snapshot]:
        """Return what each shard committed last."""
        return {
            number: msgspec.msgpack.decode(register.state, type=Snapshot)
            for unit, register in (await self.registers()).items()
            if (number := shard_number(unit)) is not None and register.state
        }

    async def _look(self) -> None:
        """Assert all the time that no register goes back, whoever writes it."""
        while True:
            for unit, register in (await self.registers()).items():
                position = 0
                if register.state and unit != AGGREGATE:
                    position = msgspec.msgpack.decode(register.state, type=Snapshot).position
                token_before, position_before = self.kept.get(unit, (0, 0))
                assert register.token >= token_before, f"{unit}: a token came back"
                assert position >= position_before, f"{unit}: a former owner's commit was taken"
                self.kept[unit] = (register.token, position)
            await asyncio.sleep(0.1)

    async def answers(self) -> list[ShardAnswer]:
        """Ask every shard once; those without an owner do not answer."""
        asked = msgspec.msgpack.encode(AskTwins())
        replies = await asyncio.gather(
            *(self.client.request(ask_twin_subject(n), asked, timeout=0.3) for n in range(SHARDS)),
            return_exceptions=True,
        )
        return [
            msgspec.msgpack.decode(reply.data, type=ShardAnswer)
            for reply in replies
            if isinstance(reply, Msg)
        ]

    async def latest(self) -> NDArray[Any]:
        """Return the latest record of every site, empty where nobody answers."""
        return merge_answers(await self.answers(), len(self.plant.fleet.site_ids)).latest

    async def wait_current(self, devices: Devices) -> float:
        """Wait until what was sent until now, and something of every site sent later, is everywhere; return for how long."""
        began_s, sent, now_ns = time.monotonic(), devices.sent, time.time_ns()
        seen = len(self.aggregates)

        async def is_heard() -> bool:
            return int((await self.latest())["ts_ns"].min()) >= now_ns

        def is_summed() -> bool:
            return any(one.applied >= sent and one.live_shards == SHARDS for one in self.aggregates[seen:])

        await wait_for(is_heard)
        await wait_until(is_summed, timeout_s=PATIENCE_S)
        return time.monotonic() - began_s

    async def wait_all_in(self, devices: Devices) -> None:
        """Wait until everything that was sent is taken, and seen in the aggregates and the answers."""

        async def is_answered() -> bool:
            return bool((await self.latest())["seq"].tolist() == devices.seqs)

        await wait_until(
            lambda: bool(self.aggregates) and self.aggregates[-1].applied >= devices.sent,
            timeout_s=PATIENCE_S,
        )
        await wait_for(is_answered)

    async def last_positions(self) -> dict[int, int]:
        """Return the position of the newest message of each shard's journal."""
        found = {}
        async with self.plant.client(Role.FABRIC) as client:
            for number in range(SHARDS):
                reply = await client.request(f"$JS.API.STREAM.INFO.{telemetry_stream(number)}", timeout=5.0)
                found[number] = int(msgspec.json.decode(reply.data)["state"]["last_seq"])
        return found
