"""A fabric for one test: keys and a real server on free ports, and MQTT devices by an independent client."""

from __future__ import annotations

import asyncio
import contextlib
import queue
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from nats.aio.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from shoal.fabric.config import FabricOptions
from shoal.fabric.connection import EventCounter, connect
from shoal.fabric.identity import AuthCallout
from shoal.fabric.journal import JournalReader
from shoal.fabric.keys import Keys, Role
from shoal.fabric.server import NatsServer
from shoal.fabric.streams import ensure_streams
from shoal.fabric.subjects import TELEMETRY_STREAM, journal_filter

TIMEOUT_S = 15.0


@dataclass(frozen=True, kw_only=True)
class Plant:
    keys: Keys
    key_dir: Path
    server: NatsServer

    @classmethod
    def make(cls, directory: Path, **options: Any) -> Plant:
        ports = dict.fromkeys(("client_port", "mqtt_port", "websocket_port", "monitoring_port"), 0)
        settings = FabricOptions(store_dir=directory / "nats", **{**ports, **options})
        keys = Keys.create_or_load(directory / "keys")
        return cls(keys=keys, key_dir=directory / "keys", server=NatsServer(settings, keys))

    @contextlib.asynccontextmanager
    async def client(self, role: Role, counter: EventCounter | None = None) -> AsyncIterator[Client]:
        """Connect as a role."""
        client = await connect(self.server.url, seed=self.keys.seed(role), name=role, on_event=counter)
        try:
            yield client
        finally:
            await client.close()

    async def make_streams(self) -> None:
        async with self.client(Role.FABRIC) as client:
            await ensure_streams(client)

    @contextlib.asynccontextmanager
    async def callout(self, verify: Callable[[str, str], bool], **options: Any) -> AsyncIterator[AuthCallout]:
        """Answer sign-ins meanwhile."""
        callout = AuthCallout(self.keys, verify, **options)
        task = asyncio.create_task(callout.serve(self.server.url))
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await callout.ready.wait()
            yield callout
        finally:
            task.cancel()
            await asyncio.wait([task])

    def reader(self, start_seq: int = 1, **options: Any) -> JournalReader:
        return JournalReader(
            self.server.url,
            seed=self.keys.seed(Role.JOURNAL),
            stream=TELEMETRY_STREAM,
            filters=options.pop("filters", journal_filter()),
            start_seq=start_seq,
            **options,
        )


async def read_some(reader: JournalReader, count: int) -> list[tuple[int, bytes, bytes]]:
    """Read `count` messages as position, subject and payload."""
    messages: list[tuple[int, bytes, bytes]] = []
    async with asyncio.timeout(TIMEOUT_S):
        while len(messages) < count:
            batch = await reader.read(0.2)
            if batch is not None:
                messages += zip(batch.seq.tolist(), batch.subjects, batch.payloads, strict=True)
    return messages


async def wait_until(condition: Callable[[], bool], *, timeout_s: float = TIMEOUT_S) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - the condition belongs to another process
            await asyncio.sleep(0.005)


class Device:
    """An MQTT device that waits for what it asks for."""

    def __init__(self, client: mqtt.Client) -> None:
        self._client = client
        self._done: queue.Queue[tuple[str, Any]] = queue.Queue()
        self.received: queue.Queue[tuple[str, bytes]] = queue.Queue()
        client.on_connect = lambda *a: self._done.put(("connect", a[3]))
        client.on_subscribe = lambda *a: self._done.put(("subscribe", a[3][0]))
        client.on_disconnect = lambda *a: self._done.put(("disconnect", a[3]))
        client.on_message = lambda *a: self.received.put((a[2].topic, a[2].payload))

    @classmethod
    @contextlib.contextmanager
    def signing_in(
        cls, plant: Plant, user: str, secret: str, *, client_id: str | None = None
    ) -> Iterator[tuple[Device, bool]]:
        """Connect; give the device and whether it was accepted."""
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=user if client_id is None else client_id,
            protocol=mqtt.MQTTv311,
            reconnect_on_failure=False,
        )
        client.username_pw_set(user, secret)
        device = cls(client)
        client.connect(*plant.server.mqtt_address)
        client.loop_start()
        try:
            yield device, not device.result("connect").is_failure
        finally:
            client.disconnect()
            client.loop_stop()

    def result(self, what: str) -> Any:
        while True:
            kind, value = self._done.get(timeout=TIMEOUT_S)
            if kind == what:
                return value

    def publish(self, topic: str, payload: bytes, *, qos: int = 1) -> None:
        self._client.publish(topic, payload, qos=qos).wait_for_publish(TIMEOUT_S)

    def subscribe(self, topic: str, *, qos: int = 1) -> bool:
        """Subscribe; return whether it was granted."""
        self._client.subscribe(topic, qos=qos)
        return not self.result("subscribe").is_failure
