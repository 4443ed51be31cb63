"""What every role's process needs of its machine: settings, clock, logs, the operations endpoint, a clean end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog
from sqlalchemy import Engine

from shoal.domain.clock import Clock
from shoal.domain.errors import UnavailableError
from shoal.domain.fleet import Fleet
from shoal.domain.ids import HierarchyId
from shoal.fabric.connection import connect
from shoal.fabric.fleet_feed import FleetFeed, PublishedFleet
from shoal.fabric.keys import Keys
from shoal.runtime.child import announce_ready, watch_parent
from shoal.runtime.clock import ConductedClock, open_clock
from shoal.runtime.log import configure_logging
from shoal.runtime.ops import OpsServer
from shoal.runtime.settings import Settings
from shoal.store.database import migrate, open_database
from shoal.store.group_energy import Memberships
from shoal.store.registry import Registry
from shoal.twin.membership import Spans

from nats.aio.client import Client  # isort: skip

WAIT_FOR_SITES_S = 1.0
WAIT_FOR_FLEET_S = 0.2
FLEET_SETTLES_S = 20.0

_log = structlog.get_logger(__name__)


@dataclass(kw_only=True)
class Host:
    """A role's process.

    Attributes:
        role: Its name.
        settings: The plant's settings.
        clock: The plant's clock.
        ops: Its operations endpoint.
        not_ready: Why the role is not ready yet; empty when it is.
        end: Ends the role; the supervisor starts it again.
    """

    role: str
    settings: Settings
    clock: Clock
    ops: OpsServer
    not_ready: str = "starting"
    end: Callable[[], object] = lambda: None
    _facts: dict[str, object] = field(default_factory=dict)

    def ready(self, **facts: object) -> None:
        """Say that the role does its work, with facts such as its ports."""
        self.not_ready = ""
        announce_ready({**self._facts, **facts})
        _log.info("ready", **facts)

    def keys(self) -> Keys:
        """Return the plant's keys."""
        return Keys.create_or_load(self.settings.data_dir / "keys")

    def tls(self) -> ssl.SSLContext | None:
        """Return how to check the fabric's certificate, or None without TLS."""
        return trust(self.settings)

    def fabric_url(self) -> str:
        """Return where the fabric takes clients."""
        return fabric_url(self.settings)

    async def connect(self) -> Client:
        """Connect to the fabric as this role."""
        return await connect(
            self.fabric_url(),
            seed=self.keys().seed(self.role),
            name=self.role,
            tls=self.tls(),
            timeout_s=30.0,
        )

    def registry_url(self) -> str:
        """Return the registry's database."""
        return self.settings.registry.database_url or sqlite_url(self.settings, "registry.db")

    def ledger_url(self) -> str:
        """Return the ledger's database."""
        return self.settings.bidding.database_url or sqlite_url(self.settings, "registry.db")

    def has_registry(self) -> bool:
        """Return whether this machine reaches the registry: by its URL, or as a file in the data directory."""
        return bool(self.settings.registry.database_url) or (self.settings.data_dir / "registry.db").exists()

    def registry(self) -> Engine | None:
        """Return the registry's database, migrated; None where it is on another machine and its URL is not set. Blocks."""
        if not self.has_registry():
            return None
        migrate(self.registry_url())
        return open_database(self.registry_url())

    def memberships(self) -> Memberships:
        """Return what tells, from the registry, who hung from which group of a hierarchy over an interval."""

        def read(hierarchy_id: HierarchyId, start_ns: int, end_ns: int) -> Spans:
            if not self.has_registry():
                raise UnavailableError("the registry", "it is on another machine; set registry.database_url")
            return registry.memberships(hierarchy_id, start_ns, end_ns)

        registry = Registry(open_database(self.registry_url()))
        return read

    async def published_fleet(self, feed: FleetFeed) -> PublishedFleet:
        """Return the fleet as the engine has it, waiting until it has one."""
        told = False
        while True:
            try:
                published = await feed.current()
            except UnavailableError as error:
                # an engine that has just been started makes its streams yet
                _log.info("waiting", until="the engine has the fleet", why=str(error))
            else:
                if published is not None and published.fleet.site_ids:
                    return published
            if not told:
                told, self.not_ready = True, "no site is registered yet"
                _log.info("waiting", until="a site is registered, e.g. by `shoal sim homes`")
            await asyncio.sleep(WAIT_FOR_FLEET_S)

    async def end_on_change(self, feed: FleetFeed, published: PublishedFleet) -> None:
        """End the role some time after the fleet has changed, to be started again with the new one.

        For roles that hold the fleet in many places and lose nothing by a new start. In a conducted run the fleet stays.
        """
        if isinstance(self.clock, ConductedClock):
            return
        async for changed in feed.changes(published):
            _log.info("fleet changed", sites=len(changed.fleet.site_ids), version=changed.version)
            # a registration seldom comes alone
            await asyncio.sleep(FLEET_SETTLES_S)
            self.end()

    async def fleet(self) -> Fleet:
        """Return the fleet as registered now, waiting until there is one."""
        told = False
        while True:
            fleet = await asyncio.to_thread(self._registered)
            if fleet is not None and fleet.site_ids:
                return fleet
            if not told:
                told, self.not_ready = True, "no site is registered yet"
                _log.info("waiting", until="a site is registered, e.g. by `shoal sim homes`")
            await asyncio.sleep(WAIT_FOR_SITES_S)

    def _registered(self) -> Fleet | None:
        migrate(self.registry_url())
        now_ns = self.clock.now_ns() or time.time_ns()
        return Registry(open_database(self.registry_url())).fleet_at(now_ns)


def fabric_url(settings: Settings) -> str:
    """Return where the fabric takes clients."""
    fabric = settings.fabric
    scheme = "tls" if fabric.tls_cert else "nats"
    return fabric.url or f"{scheme}://{fabric.host}:{fabric.client_port}"


def trust(settings: Settings) -> ssl.SSLContext | None:
    """Return how to check the fabric's certificate, or None without TLS."""
    ca = settings.fabric.tls_ca or settings.fabric.tls_cert
    return ssl.create_default_context(cafile=ca) if ca else None


def sqlite_url(settings: Settings, name: str) -> str:
    """Return the URL of a database file in the data directory."""
    return f"sqlite:///{settings.data_dir.absolute() / name}"


async def run_role(
    role: str, settings: Settings, body: Callable[[Host], Awaitable[None]], *, port: int = 0
) -> None:
    """Run a role until its clock stops or it is asked to end."""
    clock = open_clock(settings.clock.source, token=settings.clock.token, name=role)
    configure_logging(settings.log, role=role, now_ns=clock.now_ns)
    watch_parent()
    host = Host(
        role=role, settings=settings, clock=clock, ops=OpsServer(role=role, ready=lambda: host.not_ready)
    )
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(_with_ops(host, body, port))
    host.end = task.cancel
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
    _log.info("ended")


async def _with_ops(host: Host, body: Callable[[Host], Awaitable[None]], port: int) -> None:
    address = await host.ops.start("127.0.0.1", port)
    host._facts["ops_port"] = address[1]
    try:
        await body(host)
    finally:
        await host.ops.stop()
