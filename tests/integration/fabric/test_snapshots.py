"""Snapshots in the engine: what was saved is loaded, whole or not at all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import numpy as np
import pytest
from nats.aio.client import Client

from shoal.domain.errors import CorruptStateError, UnavailableError
from shoal.domain.telemetry import TELEMETRY
from shoal.fabric.keys import Role
from shoal.fabric.snapshots import Reference, Snapshots
from shoal.fabric.streams import StreamLimits, ensure_streams
from shoal.fabric.subjects import LIVE_GROUP, SNAPSHOTS_STREAM
from tests.integration.fabric.plant import Plant

QUICK_S = 2.0
"""Measured at 0.1 s; a busy machine must not fail the test."""


def run(plant: Plant, body: Callable[[Client, Snapshots], Coroutine[Any, Any, None]]) -> None:
    async def connected() -> None:
        async with plant.client(Role.TELEMETRY) as client:
            await body(client, Snapshots(client, group=LIVE_GROUP, chunk_bytes=1000))

    asyncio.run(connected())


async def messages(plant: Plant) -> int:
    async with plant.client(Role.FABRIC) as client:
        info = await client.request(f"$JS.API.STREAM.INFO.{SNAPSHOTS_STREAM}", b"", timeout=5.0)
        return int(msgspec.json.decode(info.data)["state"]["messages"])


def arrays() -> dict[str, np.ndarray[Any, Any]]:
    rows = np.zeros(7, TELEMETRY.dtype)
    rows["seq"] = np.arange(7)
    nested = np.zeros(3, np.dtype([("a", "<i4", (2, 2)), ("b", [("c", "u1"), ("d", "<f8")])], align=True))
    nested["b"]["d"] = 0.5
    return {
        "rows": rows,
        "nested": nested,
        "table": np.random.default_rng(3).normal(size=(300, 5)),
        "turned": np.arange(12).reshape(3, 4).T,
        "scalar": np.array(7, np.uint16),
        "names": np.array([b"one", b"three"]),
        "none": np.zeros((0, 4), np.int8),
    }


@pytest.mark.parametrize("saved", [arrays(), {"only": np.zeros(0)}, {}])
def test_snapshot_loads_as_saved(plant: Plant, saved: dict[str, np.ndarray[Any, Any]]) -> None:
    async def body(_: Client, snapshots: Snapshots) -> None:
        loaded = await snapshots.load(await snapshots.save("telemetry.1", 4, saved))
        assert list(loaded) == list(saved)
        for name, array in saved.items():
            assert (loaded[name].dtype, loaded[name].shape) == (array.dtype, array.shape)
            assert np.array_equal(loaded[name], array)
            assert loaded[name].flags.writeable

    run(plant, body)


def test_snapshot_is_of_the_moment_of_the_call(plant: Plant) -> None:
    async def body(_: Client, snapshots: Snapshots) -> None:
        array = np.zeros(10_000)
        saving = asyncio.create_task(snapshots.save("telemetry.1", 1, {"x": array}))
        await asyncio.sleep(0)
        array[:] = 1.0
        assert not (await snapshots.load(await saving))["x"].any()

    run(plant, body)


def test_purge_keeps_the_committed_snapshot_and_other_units(plant: Plant) -> None:
    async def body(_: Client, snapshots: Snapshots) -> None:
        big = {"x": np.arange(1000)}
        other = await snapshots.save("telemetry.12", 1, big)
        first = await snapshots.save("telemetry.1", 1, big)
        second = await snapshots.save("telemetry.1", 2, big)
        before = await messages(plant)
        await snapshots.purge(second)
        assert before - await messages(plant) >= 9
        for kept in (other, second):
            assert np.array_equal((await snapshots.load(kept))["x"], big["x"])
        with pytest.raises(
            CorruptStateError, match=r"snapshot .* of telemetry.1 is corrupt: chunk 0 is missing"
        ):
            await snapshots.load(first)

    run(plant, body)


def test_wrong_snapshot_is_refused_with_its_reason(plant: Plant) -> None:
    async def body(client: Client, snapshots: Snapshots) -> None:
        reference = await snapshots.save("telemetry.1", 1, {"x": np.arange(1000)})
        where = msgspec.msgpack.decode(reference, type=Reference)

        async def refused(match: str, **changes: Any) -> None:
            wrong = msgspec.msgpack.encode(msgspec.structs.replace(where, **changes))
            with pytest.raises(CorruptStateError, match=match):
                await snapshots.load(wrong)

        await refused("add up to", crc32=where.crc32 ^ 1)
        await refused("more than the 100 bytes", bytes=100)
        await refused("bytes add up to", chunks=where.chunks - 1)
        await refused("chunk 9 is missing", chunks=where.chunks + 80)
        with pytest.raises(CorruptStateError, match="reference of a snapshot"):
            await snapshots.load(b"nonsense")
        subject = f"snap.live.telemetry.1.1.{where.number}.3"
        await client.request(subject, b"y" * 1000, timeout=5.0)
        await refused("add up to")

    run(plant, body)


def test_snapshots_never_push_each_other_out(plant: Plant) -> None:
    """A full stream refuses a new snapshot and keeps the old one."""

    async def body(_: Client, snapshots: Snapshots) -> None:
        reference = await snapshots.save("telemetry.1", 1, {"x": np.arange(1000)})
        async with plant.client(Role.FABRIC) as fabric:
            await ensure_streams(fabric, StreamLimits(snapshots_max_bytes=1 << 20))
            try:
                with pytest.raises(UnavailableError, match="maximum bytes exceeded"):
                    await snapshots.save("telemetry.1", 2, {"x": np.zeros(1 << 18)})
            finally:
                await ensure_streams(fabric)
        assert (await snapshots.load(reference))["x"][999] == 999

    run(plant, body)


def test_snapshot_of_a_quarter_million_sites_takes_no_time(plant: Plant) -> None:
    async def body() -> None:
        async with plant.client(Role.TELEMETRY) as client:
            snapshots = Snapshots(client, group=LIVE_GROUP)
            rows = np.random.default_rng(1).integers(0, 256, (250_000, 80), dtype=np.uint8)
            started_s = time.perf_counter()
            reference = await snapshots.save("telemetry.2", 1, {"rows": rows})
            assert len(reference) < 100
            loaded = await snapshots.load(reference)
            assert time.perf_counter() - started_s < QUICK_S
            assert np.array_equal(loaded["rows"], rows)
            await snapshots.purge(reference)

    asyncio.run(body())
