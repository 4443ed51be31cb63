"""Connections of devices whose secret was taken, on a real server: ended, kept out for the stated time, and no others touched."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from shoal.domain.errors import CorruptStateError
from shoal.fabric.admission import Admission
from shoal.fabric.revocation import KEPT_OUT_S, MOST_ASKED, Revocation
from tests.integration.fabric.plant import Device, Plant, wait_until

SECRET = "right"


@pytest.fixture(scope="module")
def fabric(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    made = Plant.make(tmp_path_factory.mktemp("fabric"))
    yield made
    asyncio.run(made.server.stop())


class Time:
    def __init__(self) -> None:
        self.now_s = 50.0

    def __call__(self) -> float:
        return self.now_s


class Told:
    """What is to be told next: devices, or a fault."""

    def __init__(self) -> None:
        self.next: list[dict[str, int | None] | Exception] = []
        self.asked = 0

    async def __call__(self) -> dict[str, int | None]:
        self.asked += 1
        said = self.next.pop(0) if self.next else {}
        if isinstance(said, Exception):
            raise said
        return said


@contextlib.asynccontextmanager
async def watching(fabric: Plant, admission: Admission, told: Told) -> AsyncIterator[Revocation]:
    await fabric.server.start()
    await fabric.make_streams()
    revocation = Revocation(fabric.keys, admission, told, every_s=0.05)
    task = asyncio.create_task(revocation.serve(fabric.server.url))
    try:
        await wait_until(lambda: told.asked > 0)
        yield revocation
    finally:
        task.cancel()
        await asyncio.wait([task])
        await fabric.server.stop()


async def signed_in(stack: contextlib.ExitStack, fabric: Plant, name: str, client_id: str = "") -> Device:
    signing = Device.signing_in(fabric, name, SECRET, client_id=client_id or name)
    device, accepted = await asyncio.to_thread(stack.enter_context, signing)
    assert accepted
    return device


async def is_let_in(fabric: Plant, name: str) -> bool:
    def tried() -> bool:
        with Device.signing_in(fabric, name, SECRET) as (_, accepted):
            return accepted

    return await asyncio.to_thread(tried)


def test_every_connection_of_a_device_ends_and_it_is_kept_out_for_the_stated_time(fabric: Plant) -> None:
    clock, told = Time(), Told()
    admission = Admission(monotonic_s=clock)

    async def body() -> None:
        async with (
            watching(fabric, admission, told) as revocation,
            fabric.callout(lambda site, secret: secret == SECRET, admission=admission),
        ):
            with contextlib.ExitStack() as stack:
                several = [await signed_in(stack, fabric, "home-0", f"home-0:{n}") for n in range(3)]
                await signed_in(stack, fabric, "home-1")
                # a database that is damaged, or away, is asked again; nobody's sign-in ends with it
                told.next = [CorruptStateError("registry.db", "malformed"), {"home-0": None}]
                for device in several:
                    await asyncio.to_thread(device.result, "disconnect")
                clock.now_s += KEPT_OUT_S - 0.1
                assert not await is_let_in(fabric, "home-0")
                clock.now_s += 0.2
                await wait_until(lambda: revocation.statistics().sought == 0)
                assert await is_let_in(fabric, "home-0"), (
                    "whether its secret is good is asked of the registry again"
                )
                seen = revocation.statistics()
                assert (seen.devices_total, seen.ended_total, seen.failures_total) == (1, 3, 1)

    asyncio.run(body())


def test_what_became_known_late_ends_old_connections_and_leaves_new_ones(fabric: Plant) -> None:
    admission, told = Admission(), Told()

    async def body() -> None:
        async with (
            watching(fabric, admission, told) as revocation,
            fabric.callout(lambda site, secret: secret == SECRET, admission=admission),
        ):
            with contextlib.ExitStack() as stack:
                before_ns = time.time_ns() - 1_000_000
                old, fresh = [await signed_in(stack, fabric, name) for name in ("home-0", "home-1")]
                many: dict[str, int | None] = {f"car-{number}": None for number in range(2 * MOST_ASKED)}
                told.next = [many, {"home-0": time.time_ns() + 1_000_000, "home-1": before_ns}]
                await asyncio.to_thread(old.result, "disconnect")
                await wait_until(lambda: revocation.statistics().sought == 0)
                assert revocation.statistics().ended_total == 1
                fresh.publish("home-1/telemetry", b"", qos=0)
                assert await is_let_in(fabric, "home-0")
                assert admission.statistics().cut_off == len(many), "it is no more believed: none is kept out"

    asyncio.run(body())


def test_secret_that_was_taken_while_it_was_looked_up_is_neither_let_in_nor_believed(fabric: Plant) -> None:
    clock, looked_up, go_on = Time(), threading.Event(), threading.Event()
    admission, good = Admission(monotonic_s=clock), [True]

    def verify(site: str, secret: str) -> bool:
        found = good[0]  # read before it is taken, told after
        looked_up.set()
        go_on.wait(2.0)
        return found

    async def body() -> None:
        await fabric.server.start()
        await fabric.make_streams()
        async with fabric.callout(verify, admission=admission):
            trying = asyncio.create_task(is_let_in(fabric, "home-0"))
            await asyncio.to_thread(looked_up.wait, 10.0)
            good[0] = False
            admission.cut_off("home-0", KEPT_OUT_S)
            go_on.set()
            assert not await trying
            clock.now_s += KEPT_OUT_S + 0.1
            assert not await is_let_in(fabric, "home-0")
        await fabric.server.stop()

    asyncio.run(body())
