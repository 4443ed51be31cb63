"""Three servers on loopback that are one engine, and a device that counts what was acknowledged to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from shoal.domain.errors import UnavailableError
from shoal.fabric.config import FabricOptions, TlsFiles
from shoal.fabric.connection import connect
from shoal.fabric.identity import AuthCallout
from shoal.fabric.keys import Keys, Role
from shoal.fabric.server import NatsServer
from shoal.fabric.streams import StreamLimits, ensure_streams

NODES = 3
TIMEOUT_S = 60.0
_AWAY = (nats.errors.Error, OSError, TimeoutError, UnavailableError)


def free_ports(count: int) -> list[int]:
    """Return ports that nobody has, outside the range of outgoing connections."""
    found: set[int] = set()
    while len(found) < count:
        port = random.randrange(15_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.add(port)
    return list(found)


@dataclass(frozen=True, kw_only=True)
class Cluster:
    keys: Keys
    key_dir: Path
    nodes: dict[str, NatsServer]

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, directory: Path, *, tls: TlsFiles | None = None) -> AsyncIterator[Cluster]:
        """Start the servers and the service that signs devices in, and make the streams with three copies."""
        keys = Keys.create_or_load(directory / "keys")
        ports = [free_ports(5) for _ in range(NODES)]
        nodes = {}
        for number, (client, mqtt, websocket, monitoring, cluster) in enumerate(ports):
            options = FabricOptions(
                store_dir=directory / f"n{number}",
                client_port=client,
                mqtt_port=mqtt,
                websocket_port=websocket,
                monitoring_port=monitoring,
                server_name=f"n{number}",
                cluster_name="test",
                cluster_port=cluster,
                routes=tuple(f"nats://127.0.0.1:{each[4]}" for each in ports),
                cluster_tls=tls,
            )
            nodes[f"n{number}"] = NatsServer(options, keys)
        made = cls(keys=keys, key_dir=directory / "keys", nodes=nodes)
        try:
            await asyncio.gather(*(node.start() for node in nodes.values()))
            await made._make_streams()
            callout = AuthCallout(keys, lambda *_: True)
            serving = asyncio.create_task(callout.serve(made.url))
            await callout.ready.wait()
            yield made
            serving.cancel()
            await asyncio.wait([serving])
        finally:
            await asyncio.gather(*(node.stop() for node in nodes.values()))

    @property
    def url(self) -> str:
        return ",".join(node.url for node in self.nodes.values())

    @contextlib.asynccontextmanager
    async def client(self, role: Role) -> AsyncIterator[Client]:
        client = await connect(self.url, seed=self.keys.seed(role), name=role, timeout_s=TIMEOUT_S)
        try:
            yield client
        finally:
            await client.close()

    async def info(self, client: Client, stream: str) -> dict[str, Any]:
        """Return what the leader of a stream says of it, as soon as there is one."""
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                with contextlib.suppress(*_AWAY):
                    reply = await client.request(f"$JS.API.STREAM.INFO.{stream}", b"", timeout=1.0)
                    info: dict[str, Any] = msgspec.json.decode(reply.data)
                    if info.get("cluster", {}).get("leader"):
                        return info
                await asyncio.sleep(0.05)

    async def wait_whole(self, client: Client, stream: str) -> dict[str, Any]:
        """Wait until every copy of a stream is up to date."""
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                info = await self.info(client, stream)
                replicas = info["cluster"].get("replicas", [])
                if len(replicas) == NODES - 1 and all(replica["current"] for replica in replicas):
                    return info
                await asyncio.sleep(0.05)

    def kill(self, name: str) -> None:
        pid = self.nodes[name].statistics().pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    async def restart(self, name: str) -> None:
        await self.nodes[name].stop()
        await self.nodes[name].start()

    async def _make_streams(self) -> None:
        async with self.client(Role.FABRIC) as client, asyncio.timeout(TIMEOUT_S):
            while True:
                with contextlib.suppress(UnavailableError):
                    await ensure_streams(client, StreamLimits(telemetry_max_bytes=1 << 30, replicas=NODES))
                    return
                await asyncio.sleep(0.1)


@dataclass(kw_only=True)
class Counter:
    """A device that sends numbers without a pause and keeps those that were acknowledged to it."""

    client: Client
    site: str
    sent: int = 0
    acknowledged: dict[int, int] = field(default_factory=dict)
    last_s: float = field(default_factory=time.monotonic)
    longest_gap_s: float = 0.0
    refused: int = 0

    @classmethod
    @contextlib.asynccontextmanager
    async def counting(cls, cluster: Cluster, site: str, *, every_s: float) -> AsyncIterator[Counter]:
        async def ignore(_: Exception) -> None:
            pass

        client = await nats.connect(
            cluster.url.split(","),
            user=site,
            password="any",
            error_cb=ignore,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0,
        )
        counter = cls(client=client, site=site)
        await client.subscribe(f"to.{site}.*", cb=counter.answered)
        task = asyncio.create_task(counter.count(every_s))
        try:
            yield counter
        finally:
            task.cancel()
            await asyncio.wait([task])
            await client.close()

    async def count(self, every_s: float) -> None:
        while True:
            self.sent += 1
            with contextlib.suppress(*_AWAY):
                await self.client.publish(
                    f"dev.{self.site}.tele", b"%d" % self.sent, reply=f"to.{self.site}.{self.sent}"
                )
            await asyncio.sleep(every_s)

    async def answered(self, message: Msg) -> None:
        answer = msgspec.json.decode(message.data) if message.data else {}
        if "seq" not in answer or "error" in answer:
            self.refused += 1
            return
        now_s = time.monotonic()
        self.longest_gap_s = max(self.longest_gap_s, now_s - self.last_s)
        self.last_s = now_s
        self.acknowledged[int(message.subject.rpartition(".")[2])] = int(answer["seq"])

    async def wait_more(self, count: int) -> None:
        """Wait until so many more are acknowledged."""
        wanted = len(self.acknowledged) + count
        async with asyncio.timeout(TIMEOUT_S):
            while len(self.acknowledged) < wanted:  # noqa: ASYNC110 - the engine decides
                await asyncio.sleep(0.01)
