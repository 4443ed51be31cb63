"""The fabric role: the NATS server, its streams, and the service that signs devices in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import structlog
from nats.aio.client import Client

from shoal.cli.roles.host import Host
from shoal.cli.roles.room import JournalRoom, tell_room
from shoal.domain.errors import UnavailableError
from shoal.domain.fleet import Fleet
from shoal.domain.ids import SiteId
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S
from shoal.fabric.admission import Admission
from shoal.fabric.config import FabricOptions, TlsFiles
from shoal.fabric.connection import addresses, connect
from shoal.fabric.fleet_feed import FleetFeed, PublishedFleet
from shoal.fabric.guard import Guard, GuardLimits
from shoal.fabric.identity import AuthCallout
from shoal.fabric.keys import Role
from shoal.fabric.revocation import KEPT_OUT_S, Revocation
from shoal.fabric.server import NatsServer
from shoal.fabric.streams import StreamLimits, ensure_streams
from shoal.runtime.clock import SystemClock
from shoal.runtime.room import DiskRoom
from shoal.store.database import migrate, open_database
from shoal.store.devices import Devices
from shoal.store.registry import Registry
from shoal.store.secret_changes import SecretChanges

_CLUSTER_TIMEOUT_S: Final = 60.0
_AGAIN_S: Final = 0.5
_FLEET_EVERY_S: Final = 0.5
_GUARD_AGAIN_S: Final = 30.0

_log = structlog.get_logger(__name__)


async def fabric(host: Host) -> None:
    """Run the server (none when the settings name an outside one) and sign devices in."""
    settings = host.settings
    keys = host.keys()
    await asyncio.to_thread(migrate, host.registry_url())
    registry = Registry(open_database(host.registry_url()))

    def verify(site: str, secret: str) -> bool:
        return verify_many([(site, secret)])[0]

    def verify_many(pairs: Sequence[tuple[str, str]]) -> list[bool]:
        known = registry.credentials([SiteId(site) for site, _ in pairs])
        found = [(known.get(SiteId(site)), secret) for site, secret in pairs]
        return [credential is not None and credential.matches(secret) for credential, secret in found]

    admission = Admission(rate_per_s=settings.fabric.sign_ins_per_s)
    callout = AuthCallout(keys, verify, verify_many=verify_many, admission=admission)
    host.ops.register("admission", admission.statistics)
    if settings.fabric.url:
        await _serve(host, callout, admission, registry, settings.fabric.url, None)
        return
    server = NatsServer(_options(host), keys)
    async with server, asyncio.TaskGroup() as tasks:
        host.ops.register("server", server.statistics)
        tasks.create_task(server.supervise())
        tasks.create_task(_serve(host, callout, admission, registry, server.url, server))


async def _serve(
    host: Host,
    callout: AuthCallout,
    admission: Admission,
    registry: Registry,
    url: str,
    server: NatsServer | None,
) -> None:
    fabric_settings = host.settings.fabric
    limits = StreamLimits(
        telemetry_max_age_s=fabric_settings.journal_max_age_s,
        telemetry_max_bytes=fabric_settings.store_max_bytes // 2,
        quarantine_max_bytes=fabric_settings.store_max_bytes // 8,
        snapshots_max_bytes=fabric_settings.store_max_bytes // 8,
        owners_max_bytes=fabric_settings.store_max_bytes // 64,
        replicas=fabric_settings.replicas,
        shards=host.settings.telemetry.shards,
    )
    # of an outside engine the disk cannot be seen from here
    disk = None if server is None else server.options.store_dir
    room = DiskRoom("the journal", disk, fabric_settings.min_free_bytes)
    host.ops.register("room", room.statistics)
    client = await connect(url, seed=host.keys().seed(Role.FABRIC), name="fabric", tls=host.tls())
    try:
        await _ensure_streams(client, limits)
        host.ops.register("sign_in", callout.statistics)
        gateways = _Gateways()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(callout.serve(url, tls=host.tls()))
            tasks.create_task(_publish_fleet(host, FleetFeed(client), registry, gateways))
            tasks.create_task(_guard(host, admission, gateways, url))
            tasks.create_task(_revoke(host, admission, url))
            await callout.ready.wait()
            host.ready(url=url)
            if server is not None:
                tasks.create_task(JournalRoom(client, limits, room, server).watch())
                tasks.create_task(tell_room(host, room))
    finally:
        await client.close()


class _Gateways:
    """For how many sites each gateway speaks, as the registry has it now."""

    def __init__(self) -> None:
        self._sites: dict[str, int] = {}

    def take(self, fleet: Fleet) -> None:
        behind = np.bincount(fleet.gateway_of[fleet.gateway_of >= 0], minlength=len(fleet.gateway_ids))
        self._sites = dict(zip(fleet.gateway_ids, behind.tolist(), strict=True))

    def sites_of(self, device: str) -> int:
        return self._sites.get(device, 1)


async def _guard(host: Host, admission: Admission, gateways: _Gateways, url: str) -> None:
    """Cut off devices that talk too much; a plant whose servers do not let it goes on without."""
    fabric_settings = host.settings.fabric
    # where time runs faster than the machine's, honest devices say a day's worth in seconds
    if not fabric_settings.device_messages_per_s or not isinstance(host.clock, SystemClock):
        return
    guard = Guard(
        host.keys(),
        admission,
        GuardLimits(
            messages_per_s=fabric_settings.device_messages_per_s,
            bytes_per_s=fabric_settings.device_bytes_per_s,
            cut_off_s=fabric_settings.cut_off_s,
        ),
        sites_of=gateways.sites_of,
    )
    host.ops.register("guard", guard.statistics)
    while True:
        try:
            await guard.serve(url, tls=host.tls())
        except UnavailableError as error:
            _log.warning("devices are not watched", why=str(error))
            await asyncio.sleep(_GUARD_AGAIN_S)


async def _revoke(host: Host, admission: Admission, url: str) -> None:
    """End connections of devices whose secret changed; a plant whose servers do not let it goes on without."""
    changes = SecretChanges(
        Devices(open_database(host.registry_url())),
        began_ns=time.time_ns(),
        look_back_ns=NS_PER_HOUR,
        believed_ns=round(KEPT_OUT_S * NS_PER_S),
    )

    async def changed() -> dict[str, int | None]:
        return await asyncio.to_thread(changes.read)

    revocation = Revocation(host.keys(), admission, changed)
    host.ops.register("revocation", revocation.statistics)
    while True:
        try:
            await revocation.serve(url, tls=host.tls())
        except UnavailableError as error:
            _log.warning("connections of revoked devices are not ended", why=str(error))
        except Exception:  # noqa: BLE001 - the supervisor: with this task would end the server that every device is on
            _log.exception("connections of revoked devices are not ended")
        await asyncio.sleep(_GUARD_AGAIN_S)


async def _publish_fleet(host: Host, feed: FleetFeed, registry: Registry, gateways: _Gateways) -> None:
    """Publish the fleet whenever it changes: when something is registered, and when a membership takes effect."""
    known: int | None = None
    change_ns: int | None = None
    while True:
        try:
            version = await asyncio.to_thread(registry.version)
            now_ns = host.clock.now_ns() or time.time_ns()
            if version != known or (change_ns is not None and now_ns >= change_ns):
                fleet = await asyncio.to_thread(registry.fleet_at, now_ns)
                gateways.take(fleet)
                if fleet.site_ids:
                    await feed.publish(PublishedFleet(fleet=fleet, version=version, valid_from_ns=now_ns))
                    _log.info("fleet published", sites=len(fleet.site_ids), version=version)
                known, change_ns = version, await asyncio.to_thread(registry.next_change_ns, now_ns)
        except UnavailableError as error:
            _log.warning("fleet not published", why=str(error))
        await asyncio.sleep(_FLEET_EVERY_S)


async def _ensure_streams(client: Client, limits: StreamLimits) -> None:
    """Make the streams, giving the servers of a cluster the time to find each other.

    Raises:
        UnavailableError: when they have not within a minute.
    """
    deadline_s = time.monotonic() + _CLUSTER_TIMEOUT_S
    while True:
        try:
            await ensure_streams(client, limits)
        except UnavailableError as error:
            if limits.replicas == 1 or time.monotonic() > deadline_s:
                raise
            _log.info("waiting", until="the cluster can hold the streams", why=error.why)
            await asyncio.sleep(_AGAIN_S)
        else:
            return


def _options(host: Host) -> FabricOptions:
    settings = host.settings.fabric
    tls = None
    if settings.tls_cert:
        # no authority for clients: they sign in by key or credential, not by certificate
        tls = TlsFiles(cert=Path(settings.tls_cert), key=Path(settings.tls_key))
    cluster_tls = None
    if tls is not None and settings.tls_ca:
        # here the authority counts: engines of a cluster know each other by their certificates
        cluster_tls = replace(tls, ca=Path(settings.tls_ca))
    return FabricOptions(
        store_dir=host.settings.data_dir / "fabric",
        host=settings.host,
        client_port=settings.client_port,
        mqtt_port=settings.mqtt_port,
        websocket_port=settings.websocket_port,
        monitoring_port=settings.monitor_port,
        max_file_bytes=settings.store_max_bytes,
        client_tls=tls,
        mqtt_tls=tls,
        websocket_tls=tls,
        sync_interval_s=0.0 if settings.sync_always else 10.0,
        processors=settings.processors,
        server_name=settings.server_name,
        cluster_name=settings.cluster_name,
        cluster_port=settings.cluster_port,
        routes=tuple(addresses(settings.cluster_routes)),
        cluster_tls=cluster_tls,
    )
