"""The journal reader: every message once, in order, at once, whatever happens to the server or the wire."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import statistics
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client

from shoal.domain.errors import CorruptStateError, UnavailableError
from shoal.domain.ids import site_id
from shoal.fabric.connection import connect
from shoal.fabric.journal import JournalReader
from shoal.fabric.keys import Role
from shoal.fabric.streams import StreamLimits, ensure_streams
from shoal.fabric.subjects import TELEMETRY_STREAM, journal_filter, journal_subject, partition_of
from tests.integration.fabric.cluster import free_ports
from tests.integration.fabric.plant import Plant, read_some, wait_until

Mangle = Callable[[int, bytes], bytes]


@contextlib.asynccontextmanager
async def device(plant: Plant, site: str) -> AsyncIterator[Client]:
    async with plant.callout(lambda *_: True):
        client = await nats.connect(plant.server.url, user=site, password="any", allow_reconnect=False)
        try:
            yield client
        finally:
            await client.close()


async def publish(plant: Plant, payloads: list[bytes], site: str = "s1") -> int:
    """Publish as one site and wait until all is stored; return the position of the last."""
    async with plant.reader() as probe, device(plant, site) as client:
        wanted = await probe.last_seq() + len(payloads)
        for payload in payloads:
            await client.publish(f"dev.{site}.tele", payload)
        await client.flush()
        while (last := await probe.last_seq()) < wanted:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.005)
        assert last == wanted
        return last


def numbered(count: int, size: int = 72) -> list[bytes]:
    return [b"%0*d" % (size, number) for number in range(count)]


@contextlib.asynccontextmanager
async def proxy(plant: Plant, mangle: Mangle) -> AsyncIterator[str]:
    """Stand between reader and server; `mangle` gets each line of a message from the server with its number."""
    count = 0

    async def downstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        while line := await reader.readline():
            frame = line
            if line.startswith((b"MSG", b"HMSG")):
                frame += await reader.readexactly(int(line.split()[-1]) + 2)
            if line.startswith(b"MSG tele"):
                count += 1
                frame = mangle(count, frame)
            writer.write(frame)
            await writer.drain()

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while part := await reader.read(4096):
            writer.write(part)
            await writer.drain()

    handlers: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        address = (plant.server.options.local_host, plant.server.options.client_port)
        far_reader, far_writer = await asyncio.open_connection(*address)
        ways = [
            asyncio.create_task(downstream(far_reader, writer)),
            asyncio.create_task(upstream(reader, far_writer)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for end in (writer, far_writer):
            end.close()
            with contextlib.suppress(OSError):
                await end.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await asyncio.gather(*handlers)


def reader_at(plant: Plant, address: str, start_seq: int) -> JournalReader:
    return JournalReader(
        address,
        seed=plant.keys.seed(Role.JOURNAL),
        stream=TELEMETRY_STREAM,
        filters=journal_filter(),
        start_seq=start_seq,
        batch=100,
    )


def test_journal_is_read_exactly_once_over_restarts_of_reader_and_server(tmp_path: Path) -> None:
    plant, total = Plant.make(tmp_path), 50_000
    payloads = numbered(total)

    async def body() -> None:
        async with plant.server as server, asyncio.TaskGroup() as tasks:
            tasks.create_task(server.supervise())
            await plant.make_streams()
            assert await publish(plant, payloads) == total
            async with plant.reader(1, batch=1000) as first:
                messages = await read_some(first, 15_000)
            async with plant.reader(messages[-1][0] + 1, batch=500) as second:
                messages += await read_some(second, 10_000)
                pid = server.statistics().pid
                assert pid is not None and second.statistics().pending > 0
                os.kill(pid, signal.SIGKILL)
                messages += await read_some(second, total - len(messages))
                assert second.statistics().reconnects >= 1
                assert second.statistics().pending == 0
                assert await second.read(0.05) is None
                await publish(plant, [b"after"])
                messages += await read_some(second, 1)
                assert await second.last_seq() == total + 1
            await server.stop()
        assert [seq for seq, _, _ in messages] == list(range(1, total + 2))
        assert [payload for _, _, payload in messages] == [*payloads, b"after"]
        assert {subject for _, subject, _ in messages} == {journal_subject(site_id("s1")).encode()}

    asyncio.run(body())


def test_journal_delivers_large_messages_among_small_ones(plant: Plant) -> None:
    payloads = [b"a" * 10, b"b" * (2 << 20), b"", b"c" * (1 << 20), b"d" * ((2 << 20) - 1), b"e"] * 5

    async def body() -> None:
        last = await publish(plant, payloads)
        async with plant.reader(last - len(payloads) + 1) as reader:
            assert [payload for _, _, payload in await read_some(reader, len(payloads))] == payloads

    asyncio.run(body())


def test_journal_delivers_at_once_when_idle(plant: Plant) -> None:
    async def body() -> None:
        async with plant.reader() as probe:
            start = await probe.last_seq() + 1
        waits_s = []
        async with plant.reader(start) as reader, device(plant, "s1") as client:
            assert await reader.read(0.01) is None
            for _ in range(50):
                begin_s = time.perf_counter()
                await client.publish("dev.s1.tele", b"x" * 72)
                batch = await reader.read(5.0)
                waits_s.append(time.perf_counter() - begin_s)
                assert batch is not None and len(batch) == 1 and batch.pending == 0
                assert abs(batch.timestamp_ns[0] - time.time_ns()) < 5e9
        assert statistics.median(waits_s) < 0.02

    asyncio.run(body())


def test_journal_asks_again_before_its_demand_is_used_up(plant: Plant) -> None:
    async def body() -> None:
        last = await publish(plant, numbered(1000))
        async with plant.reader(last - 999, batch=7, depth=3) as reader:
            messages = await read_some(reader, 1000)
            assert reader.statistics().reconnects == 0
        assert [seq for seq, _, _ in messages] == list(range(last - 999, last + 1))

    asyncio.run(body())


def test_journal_asks_for_no_more_than_it_was_read(plant: Plant) -> None:
    """A reader that is not read leaves the rest in the journal."""

    async def body() -> None:
        last = await publish(plant, numbered(5000))
        async with plant.reader(last - 4999, batch=50, depth=2) as reader:
            assert await reader.read(1.0) is not None
            page = await plant.server.monitoring("jsz?consumers=true&accounts=true")
            streams = page["account_details"][0]["stream_detail"]
            consumer = next(stream for stream in streams if stream["name"] == TELEMETRY_STREAM)[
                "consumer_detail"
            ][-1]
            assert consumer["delivered"]["consumer_seq"] <= 200

    asyncio.run(body())


def test_journal_filters_partitions(plant: Plant) -> None:
    sites = [site_id(f"f{number}") for number in range(12)]
    mine = sorted({partition_of(site) for site in sites})[:3]

    async def body() -> None:
        async with plant.reader() as probe:
            start = await probe.last_seq() + 1
        for site in sites:
            await publish(plant, [site.encode()], site)
        async with plant.reader(start, filters=journal_filter(mine)) as reader:
            expected = [site.encode() for site in sites if partition_of(site) in mine]
            assert [payload for _, _, payload in await read_some(reader, len(expected))] == expected
            assert await reader.read(0.05) is None

    asyncio.run(body())


def test_journal_fetches_lost_deliveries_again(plant: Plant) -> None:
    def lose(number: int, frame: bytes) -> bytes:
        return b"" if number in (150, 700) else frame

    async def body() -> None:
        last = await publish(plant, numbered(1000))
        async with proxy(plant, lose) as address, reader_at(plant, address, last - 999) as reader:
            messages = await read_some(reader, 1000)
            assert reader.statistics().lost_deliveries == 2
        assert [seq for seq, _, _ in messages] == list(range(last - 999, last + 1))
        assert [payload for _, _, payload in messages] == numbered(1000)

    asyncio.run(body())


def test_journal_recovers_from_bytes_that_are_no_frames(plant: Plant) -> None:
    def spoil(number: int, frame: bytes) -> bytes:
        return b"\x00nonsense\r\n" + frame if number == 333 else frame

    async def body() -> None:
        last = await publish(plant, numbered(1000))
        async with proxy(plant, spoil) as address, reader_at(plant, address, last - 999) as reader:
            messages = await read_some(reader, 1000)
            assert reader.statistics().malformed == 1
        assert [payload for _, _, payload in messages] == numbered(1000)

    asyncio.run(body())


def test_journal_loses_nothing_when_a_read_is_cancelled(plant: Plant) -> None:
    async def body() -> None:
        last = await publish(plant, numbered(3000))
        seen: list[int] = []
        async with plant.reader(last - 2999, batch=20) as reader:
            for step in range(100_000):
                task = asyncio.ensure_future(reader.read(1.0))
                for _ in range(step % 4):
                    await asyncio.sleep(0)
                cancelled = task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    batch = await task
                    seen += batch.seq.tolist() if batch is not None else []
                if not cancelled or len(seen) >= 3000 or step > 40:
                    break
            seen += [seq for seq, _, _ in await read_some(reader, 3000 - len(seen))]
        assert seen == list(range(last - 2999, last + 1))

    asyncio.run(body())


def test_journal_counts_what_the_limits_discarded(tmp_path: Path) -> None:
    plant = Plant.make(tmp_path)

    async def body() -> None:
        async with plant.server, plant.client(Role.FABRIC) as client:
            await ensure_streams(client, StreamLimits(telemetry_max_bytes=100_000))
            last = await publish(plant, numbered(2000, 200))
            async with plant.reader(1) as reader:
                first = (await read_some(reader, 1))[0][0]
                assert first > 1
                assert reader.statistics().discarded == first - 1
                assert await reader.last_seq() == last

    asyncio.run(body())


def test_journal_refuses_a_position_beyond_the_end(plant: Plant) -> None:
    async def body() -> None:
        async with plant.reader() as probe:
            last = await probe.last_seq()
        async with plant.reader(last + 2) as reader:
            with pytest.raises(CorruptStateError, match=f"ends at {last}"):
                await reader.read(1.0)

    asyncio.run(body())


def test_journal_says_when_stream_or_right_is_missing(plant: Plant) -> None:
    def reader(role: Role, stream: str) -> JournalReader:
        return JournalReader(
            plant.server.url, seed=plant.keys.seed(role), stream=stream, filters=("tele.>",), start_seq=1
        )

    async def body() -> None:
        async with reader(Role.FABRIC, "NONE") as missing:
            with pytest.raises(UnavailableError, match="stream not found"):
                await missing.read(1.0)
            with pytest.raises(UnavailableError, match="stream not found"):
                await missing.last_seq()
        async with reader(Role.OBSERVER, TELEMETRY_STREAM) as forbidden:
            with pytest.raises(UnavailableError, match=r"(?i)permissions violation"):
                await forbidden.read(1.0)

    asyncio.run(body())


def test_journal_waits_for_a_server_that_is_away(tmp_path: Path) -> None:
    plant = Plant.make(tmp_path)

    async def body() -> None:
        async with plant.server:
            await plant.make_streams()
            await publish(plant, [b"one"])
            reader = plant.reader()
            assert len(await read_some(reader, 1)) == 1
            pid = plant.server.statistics().pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await wait_until(lambda: not plant.server.statistics().running)
            begin_s = time.perf_counter()
            assert await reader.read(0.3) is None
            assert time.perf_counter() - begin_s < 2.0
            assert reader.statistics().connected is False
            with pytest.raises(UnavailableError):
                await reader.last_seq()
            await reader.close()

    asyncio.run(body())


def test_reader_and_client_go_on_to_the_next_address(plant: Plant) -> None:
    addresses = f"nats://127.0.0.1:{free_ports(1)[0]}, {plant.server.url}"

    async def body() -> None:
        last = await publish(plant, numbered(3))
        reader = JournalReader(
            addresses,
            seed=plant.keys.seed(Role.JOURNAL),
            stream=TELEMETRY_STREAM,
            filters=journal_filter(),
            start_seq=last - 2,
        )
        async with reader:
            assert [payload for _, _, payload in await read_some(reader, 3)] == numbered(3)
            assert await reader.last_seq() == last
        client = await connect(addresses, seed=plant.keys.seed(Role.OBSERVER), name="observer")
        await client.close()

    asyncio.run(body())
