"""The bulk connection with a real server: whole batches out, many messages a look in, and back by itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import nats
import pytest
from nats.aio.msg import Msg

from shoal.domain.errors import UnavailableError
from shoal.fabric.bulk_link import BulkLink
from shoal.fabric.keys import Role
from tests.integration.fabric.cluster import free_ports
from tests.integration.fabric.plant import Plant, wait_until

MANY = 3_000


class Heard:
    def __init__(self) -> None:
        self.messages: list[tuple[bytes, bytes]] = []
        self.fails = False

    def take(self, subjects: list[bytes], payloads: list[bytes]) -> None:
        if self.fails:
            raise ValueError("spoilt")
        self.messages += zip(subjects, payloads, strict=True)


@contextlib.asynccontextmanager
async def linked(plant: Plant) -> AsyncIterator[tuple[BulkLink, Heard]]:
    heard = Heard()
    link = BulkLink(
        plant.server.url,
        seed=plant.keys.seed(Role.CONTROL),
        name="bulk",
        subjects=("dev.*.report", "dev.*.*.report"),
        take=heard.take,
    )
    task = asyncio.create_task(link.follow())
    try:
        await link.wait_connected(10.0)
        yield link, heard
    finally:
        task.cancel()
        await asyncio.wait([task])


async def served(directory: Path) -> Plant:
    plant = Plant.make(directory, client_port=free_ports(1)[0])  # the same after a restart
    await plant.server.start()
    await plant.make_streams()
    return plant


def test_batches_go_out_whole_and_answers_come_in_order(tmp_path: Path) -> None:
    async def body() -> None:
        plant = await served(tmp_path)
        got: list[bytes] = []

        async def hear(message: Msg) -> None:
            got.append(message.data)

        try:
            async with (
                plant.callout(lambda site, secret: secret == "right"),
                linked(plant) as (link, heard),
            ):
                device = await nats.connect(plant.server.url, user="home-1", password="right")
                await device.subscribe("to.home-1.>", cb=hear)
                await device.flush()
                told = [(b"to.home-1.desired", b"%d" % n + b"x" * 700) for n in range(MANY)]
                for first in range(0, MANY, 500):
                    await link.publish_many(told[first : first + 500])
                await link.flush()
                await wait_until(lambda: len(got) == MANY)
                assert got == [payload for _, payload in told]
                for n in range(MANY):
                    await device.publish("dev.home-1.report", b"%d" % n)
                await device.flush()
                await wait_until(lambda: len(heard.messages) == MANY)
                assert heard.messages == [(b"dev.home-1.report", b"%d" % n) for n in range(MANY)]
                seen = link.statistics()
                assert (seen.published, seen.received, seen.reconnects) == (MANY, MANY, 0)
                assert seen.looks < MANY, "several a look"
                heard.fails = True
                await device.publish("dev.home-1.report", b"bad")
                await wait_until(lambda: link.statistics().faults == 1)
                heard.fails = False
                await device.publish("dev.home-1.report", b"good")
                await wait_until(lambda: heard.messages[-1][1] == b"good")
                await device.close()
        finally:
            await plant.server.stop()

    asyncio.run(body())


def test_link_comes_back_when_its_server_does(tmp_path: Path) -> None:
    async def body() -> None:
        plant = await served(tmp_path)
        try:
            async with linked(plant) as (link, _):
                await plant.server.stop()
                await wait_until(lambda: not link.statistics().connected)
                with pytest.raises(UnavailableError):
                    await link.flush(0.2)
                await plant.server.start()
                await link.wait_connected(10.0)
                await link.publish_many([(b"to.home-1.desired", b"{}")])
                await link.flush()
                assert link.statistics().reconnects >= 1
        finally:
            await plant.server.stop()

    asyncio.run(body())
