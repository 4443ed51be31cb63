"""The fabric role: the NATS server, its streams, and the service that signs devices in."""

from __future__ import annotations

import asyncio
from pathlib import Path

from shoal.cli.roles.host import Host
from shoal.domain.errors import UnknownIdError
from shoal.domain.ids import SiteId
from shoal.fabric.config import FabricOptions, TlsFiles
from shoal.fabric.connection import StreamLimits, connect, ensure_streams
from shoal.fabric.identity import AuthCallout
from shoal.fabric.keys import Role
from shoal.fabric.server import NatsServer
from shoal.store.database import migrate, open_database
from shoal.store.registry import Registry


async def fabric(host: Host) -> None:
    """Run the server (none when the settings name an outside one) and sign devices in."""
    settings = host.settings
    keys = host.keys()
    await asyncio.to_thread(migrate, host.registry_url())
    registry = Registry(open_database(host.registry_url()))

    def verify(site: str, secret: str) -> bool:
        try:
            return registry.verify(SiteId(site), secret)
        except UnknownIdError:
            return False

    callout = AuthCallout(keys, verify)
    if settings.fabric.url:
        await _serve(host, callout, settings.fabric.url)
        return
    server = NatsServer(_options(host), keys)
    async with server, asyncio.TaskGroup() as tasks:
        host.ops.register("server", server.statistics)
        tasks.create_task(server.supervise())
        tasks.create_task(_serve(host, callout, server.url))


async def _serve(host: Host, callout: AuthCallout, url: str) -> None:
    fabric_settings = host.settings.fabric
    client = await connect(url, seed=host.keys().seed(Role.FABRIC), name="fabric", tls=host.tls())
    await ensure_streams(
        client,
        StreamLimits(
            telemetry_max_age_s=fabric_settings.journal_max_age_s,
            telemetry_max_bytes=fabric_settings.store_max_bytes // 2,
            quarantine_max_bytes=fabric_settings.store_max_bytes // 8,
        ),
    )
    await client.close()
    host.ops.register("sign_in", callout.statistics)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(callout.serve(url, tls=host.tls()))
        await callout.ready.wait()
        host.ready(url=url)


def _options(host: Host) -> FabricOptions:
    settings = host.settings.fabric
    tls = None
    if settings.tls_cert:
        # no authority for clients: they sign in by key or credential, not by certificate
        tls = TlsFiles(cert=Path(settings.tls_cert), key=Path(settings.tls_key))
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
    )
