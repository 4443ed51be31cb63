"""A plant to be measured: the real processes under the real supervisor, in a directory of its own, with a fleet to load.

Nothing in it knows that it is measured. Processor time and memory are those of whole processes, and of the engine
that the fabric role starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]
from nats.aio.client import Client
from prometheus_client.parser import text_string_to_metric_families

from shoal.cli.load import open_load, register_load
from shoal.cli.plant import free_ports, start_process, start_role
from shoal.cli.role import PLANT_ROLES
from shoal.domain.errors import UnavailableError
from shoal.domain.fleet import Fleet
from shoal.fabric.connection import connect
from shoal.fabric.keys import Keys, Role
from shoal.runtime.settings import Settings
from shoal.runtime.supervisor import Supervisor
from shoal.simulate.fleet import site_secret
from shoal.simulate.load import Load
from shoal.simulate.load_fleet import LoadPlan, Transport

LIVE: Final = ("fabric", "telemetry")
"""The roles between a device and an aggregate."""
WITH_HISTORY: Final = (*LIVE, "history")
"""The same, and the role that writes history beside them."""
START_TIMEOUT_S: Final = 180.0
SETTINGS_FILE: Final = "settings.json"
LISTENERS: Final = ("client_port", "mqtt_port", "websocket_port", "monitor_port")
_OPS_TIMEOUT_S: Final = 5.0
_FEW_PROCESSORS: Final = 2
REFRESH_S: Final = 0.02
"""Between two aggregates: what is visible is seen soon, at some cost of processor time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a process has used: processor time since it began, and memory now."""

    cpu_s: float
    rss_bytes: int


class MeasuredPlant:
    """A running plant; make one with `measured_plant`.

    Attributes:
        plan: Who loads it.
        fleet: What is registered.
        settings: Its settings, every port chosen.
        supervisor: Runs its processes.
    """

    def __init__(
        self, *, plan: LoadPlan, fleet: Fleet, settings: Settings, supervisor: Supervisor, master: bytes
    ) -> None:
        self.plan = plan
        self.fleet = fleet
        self.settings = settings
        self.supervisor = supervisor
        self._master = master

    @property
    def fabric_url(self) -> str:
        """Where the fabric takes clients."""
        return f"nats://{self.settings.fabric.host}:{self.settings.fabric.client_port}"

    def secret_of(self, device: str) -> str:
        """Return the secret of a device."""
        return site_secret(self._master, device)

    def open_load(self) -> Load:
        """Return the load generator, connected. Blocks."""
        return open_load(self.settings, self.plan, self._master)

    async def client(self, role: Role = Role.OBSERVER) -> Client:
        """Return a connection to the fabric as a role."""
        keys = Keys.create_or_load(self.settings.data_dir / "keys")
        return await connect(self.fabric_url, seed=keys.seed(role), name=f"bench-{role}")

    async def metrics(self, process: str) -> dict[str, float]:
        """Return the metrics of a process by name, those without labels.

        Raises:
            UnavailableError: when it does not answer.
        """
        port = self.supervisor.facts(process).get("ops_port")
        if port is None:
            raise UnavailableError(process, "it is not ready")
        try:
            async with asyncio.timeout(_OPS_TIMEOUT_S):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                try:
                    writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
                    answer = await reader.read()
                finally:
                    writer.close()
        except (OSError, TimeoutError) as error:
            raise UnavailableError(f"{process}'s operations endpoint", type(error).__name__) from error
        text = answer.partition(b"\r\n\r\n")[2].decode()
        return {
            sample.name: sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if not sample.labels
        }

    async def usage(self) -> dict[str, Usage]:
        """Return what each process has used, by role; the engine is ``engine``."""
        found: dict[str, Usage] = {}
        for state in self.supervisor.states():
            if state.pid is not None:
                found[state.role] = usage_of(state.pid)
        found["engine"] = usage_of(await self.engine_pid())
        return found

    async def engine_pid(self) -> int:
        """Return the process id of the NATS server."""
        return int((await self.metrics("fabric"))["shoal_fabric_server_pid"])


@contextlib.asynccontextmanager
async def measured_plant(
    directory: Path,
    plan: LoadPlan,
    *,
    roles: Sequence[str] = LIVE,
    values: Mapping[str, object] | None = None,
) -> AsyncIterator[MeasuredPlant]:
    """Run a plant with the fleet of a plan registered; stop it at the end.

    Args:
        directory: Where it keeps its data; empty.
        plan: Who loads it.
        roles: Which roles run, those of them that there are.
        values: Settings by dotted key.

    Raises:
        UnavailableError: when a process does not come up.
    """
    ports = dict(zip((f"fabric.{name}" for name in LISTENERS), free_ports(len(LISTENERS)), strict=True))
    settings = Settings().with_values(
        {
            "data_dir": directory.absolute(),
            **ports,
            "telemetry.refresh_every_s": REFRESH_S,
            "fabric.processors": _engine_processors(plan),
            "fabric.device_messages_per_s": 0,  # the generator's devices are to talk as much as they can
            **(values or {}),
        },
        "the benchmark",
    )
    master = secrets.token_bytes(32)
    fleet = await asyncio.to_thread(register_load, settings, plan, master)
    settings_file = directory / "run" / SETTINGS_FILE
    settings.save(settings_file)
    async with Supervisor(run_dir=directory / "run") as supervisor:
        for role in roles:
            if role in PLANT_ROLES:
                start_role(supervisor, role, data_dir=directory, settings_file=settings_file)
        await supervisor.wait_ready(timeout_s=START_TIMEOUT_S)
        yield MeasuredPlant(plan=plan, fleet=fleet, settings=settings, supervisor=supervisor, master=master)


def _engine_processors(plan: LoadPlan) -> int:
    """Return how many processors an operator would give the engine: beside gateways on two, one (docs/operate.md)."""
    return 1 if plan.transport == Transport.NATS and (os.cpu_count() or 1) <= _FEW_PROCESSORS else 0


def start_again(plant: MeasuredPlant, role: str, name: str) -> None:
    """Start a second process of a role, under a name of its own."""
    data_dir = plant.settings.data_dir
    settings_file = data_dir / "run" / SETTINGS_FILE
    start_process(plant.supervisor, role, name, data_dir=data_dir, settings_file=settings_file)


def usage_of(pid: int) -> Usage:
    """Return what a process has used; nothing when it is gone."""
    try:
        process = psutil.Process(pid)
        times = process.cpu_times()
        return Usage(cpu_s=times.user + times.system, rss_bytes=process.memory_info().rss)
    except psutil.Error:
        return Usage(cpu_s=0.0, rss_bytes=0)


def allow_many_files() -> int:
    """Let this process and its children open as many files as the system lets them; return how many."""
    import resource  # not on every platform

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
