"""The interface as it runs: a real fabric, the hub, the HTTP server on a free port, and real callers."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from nats.aio.client import Client
from websockets.asyncio.client import ClientConnection, connect

from shoal.api.app import create_app
from shoal.api.plant import Plant
from shoal.api.serve import bind, serve
from shoal.domain.fleet import Fleet
from shoal.fabric.config import FabricOptions
from shoal.fabric.connection import connect as connect_fabric
from shoal.fabric.fleet_feed import FleetFeed, PublishedFleet
from shoal.fabric.keys import Keys, Role
from shoal.fabric.server import NatsServer
from shoal.fabric.streams import StreamLimits, ensure_streams
from tests.unit.api.doors import make_page, make_plant

TIMEOUT_S = 15.0


def make_fabric(folder: Path) -> tuple[NatsServer, Keys]:
    """Return a server on free ports, not started yet, and the plant's keys."""
    keys = Keys.create_or_load(folder / "keys")
    options = FabricOptions(
        store_dir=folder / "fabric", client_port=0, mqtt_port=0, websocket_port=0, monitoring_port=0
    )
    return NatsServer(options, keys), keys


async def publish_fleet(fabric: NatsServer, keys: Keys, fleet: Fleet, *, shards: int = 1) -> None:
    """Make the streams and let the engine have the fleet, as the fabric's role does."""
    client = await connect_fabric(fabric.url, seed=keys.seed(Role.FABRIC), name="fabric")
    try:
        await ensure_streams(client, StreamLimits(shards=shards))
        await FleetFeed(client).publish(PublishedFleet(fleet=fleet, version=1, valid_from_ns=0))
    finally:
        await client.close()


@dataclass(frozen=True, kw_only=True)
class Running:
    """A plant's interface at a port, and the fabric connection of the service whose news it shows."""

    plant: Plant
    port: int
    fabric: NatsServer
    telemetry: Client

    @contextlib.asynccontextmanager
    async def socket(self, query: str = "", **options: Any) -> AsyncIterator[ClientConnection]:
        """Open a live socket."""
        url = f"ws://127.0.0.1:{self.port}/api/live{query}"
        async with connect(url, max_size=None, **options) as socket:
            yield socket

    async def get(self, path: str) -> httpx.Response:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}") as caller:
            return await caller.get(path)


@contextlib.asynccontextmanager
async def running(folder: Path, *, token: str = "", **hub_options: Any) -> AsyncIterator[Running]:
    """Start everything, and stop it in the end."""
    fabric, keys = make_fabric(folder)
    plant = make_plant(folder, **hub_options)
    app = create_app(plant, token=token, page=make_page(folder / "page"))
    listening = bind("127.0.0.1", 0)
    async with fabric, asyncio.timeout(3 * TIMEOUT_S):
        clients = {
            role: await connect_fabric(fabric.url, seed=keys.seed(role), name=role)
            for role in (Role.API, Role.TELEMETRY)
        }
        await plant.hub.subscribe(clients[Role.API])
        work = [asyncio.create_task(plant.hub.run()), asyncio.create_task(serve(app, listening))]
        try:
            yield Running(
                plant=plant,
                port=listening.getsockname()[1],
                fabric=fabric,
                telemetry=clients[Role.TELEMETRY],
            )
        finally:
            for task in work:
                task.cancel()
            await asyncio.wait(work)
            for client in clients.values():
                await client.close()


async def receive(socket: ClientConnection) -> dict[str, Any]:
    """Return the next message."""
    async with asyncio.timeout(TIMEOUT_S):
        message: dict[str, Any] = json.loads(await socket.recv())
    return message


class Follower:
    """A client as the page is one: it holds the state, and a gap is a failure."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self.seq = -1
        self.state: dict[str, Any] = {}
        self.watched: dict[str, Any] = {}
        self.feeds: dict[str, Any] = {}
        self.slow: list[bool] = []
        self.epoch = ""
        self.messages = 0

    async def step(self) -> dict[str, Any]:
        """Take one message and return it."""
        message = await receive(self._socket)
        self.messages += 1
        if message["kind"] == "snapshot":
            assert self.seq == -1, "a second snapshot"
            self.state, self.feeds = message["state"], message["feeds"]
            self.epoch = message["epoch"]
        elif message["kind"] == "groups":
            self.watched = {group["group_id"]: group for group in message["groups"]}
            return message  # outside of the sequence
        elif message["kind"] == "slow":
            self.slow.append(message["slow"])
            return message
        else:
            assert message["from"] == self.seq, "a gap"
            self.state.update(message["set"])
            self.feeds.update(message.get("feeds", {}))
            for name, column in message["append"].get("fleet_series", {}).items():
                self.state["fleet_series"][name] += column
        self.seq = message["seq"]
        return message

    async def follow(self, *topics: str) -> None:
        """Say what to send from now on."""
        await self._socket.send(json.dumps({"topics": topics}))

    async def watch(self, *group_ids: str) -> None:
        """Say which groups to send the figures of."""
        await self._socket.send(json.dumps({"watch": group_ids}))

    async def until(self, reached: Callable[[dict[str, Any]], bool]) -> None:
        """Take messages until the state is as wanted."""
        async with asyncio.timeout(TIMEOUT_S):
            while not (self.state and reached(self.state)):
                await self.step()

    async def until_now(self, now_ms: int) -> None:
        """Take messages until the state is as of an instant."""
        await self.until(lambda state: bool(state["now_ms"] == now_ms))


async def wait_until(reached: Callable[[], bool]) -> None:
    """Wait for a condition of this process."""
    async with asyncio.timeout(TIMEOUT_S):
        while not reached():  # noqa: ASYNC110 - nothing tells us
            await asyncio.sleep(0.01)
