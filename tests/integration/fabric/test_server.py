"""The server as a child: it comes back, it goes when told, it goes with its parent."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shoal.domain.errors import SettingsError, UnavailableError
from shoal.fabric.connection import EventCounter
from shoal.fabric.keys import Role
from shoal.fabric.server import NatsServer, find_binary
from shoal.fabric.streams import StreamLimits, ensure_streams
from shoal.fabric.subjects import TELEMETRY_STREAM, stream_subjects, telemetry_stream
from tests.integration.fabric.plant import TIMEOUT_S, Device, Plant, wait_until

PARENT = """
import asyncio, sys
from pathlib import Path
from tests.integration.fabric.plant import Plant

async def main() -> None:
    plant = Plant.make(Path(sys.argv[1]))
    await plant.server.start()
    sys.stdout.write(f"{plant.server.statistics().pid}\\n")
    sys.stdout.flush()
    await asyncio.sleep(60)

asyncio.run(main())
"""


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def test_server_is_found_without_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert find_binary().is_file()


def test_supervise_restarts_a_killed_server_where_it_was(tmp_path: Path) -> None:
    plant = Plant.make(tmp_path)

    async def body() -> None:
        async with plant.server as server, asyncio.TaskGroup() as tasks:
            tasks.create_task(server.supervise())
            await plant.make_streams()
            before, ports = server.statistics(), server.options
            assert before.pid is not None
            counter = EventCounter()
            async with (
                plant.client(Role.FABRIC, counter) as client,
                plant.callout(lambda site, secret: secret == "s", cache_s=0.0) as callout,
            ):
                os.kill(before.pid, signal.SIGKILL)
                await wait_until(lambda: server.statistics().restarts == 1)
                await wait_until(lambda: counter.statistics().get("reconnected", 0) == 1)
                assert (
                    await client.jetstream().stream_info(TELEMETRY_STREAM)
                ).config.name == TELEMETRY_STREAM

                def sign_in() -> bool:
                    with Device.signing_in(plant, "d1", "s") as (_, accepted):
                        return accepted

                await wait_until(lambda: callout.ready.is_set())
                async with asyncio.timeout(TIMEOUT_S):
                    while not await asyncio.to_thread(sign_in):
                        continue
            after = server.statistics()
            assert (after.running, after.restarts, after.last_exit_code) == (True, 1, -signal.SIGKILL)
            assert after.pid != before.pid
            assert server.options == ports
            await server.stop()
            assert server.statistics().running is False

    asyncio.run(body())


def test_second_server_on_the_same_store_is_refused(tmp_path: Path) -> None:
    plant, rival = Plant.make(tmp_path), Plant.make(tmp_path)

    async def body() -> None:
        async with plant.server as server:
            with pytest.raises(UnavailableError, match=f"process {server.statistics().pid}"):
                await rival.server.start()

    asyncio.run(body())


@pytest.mark.parametrize("content", ["999999999", "nonsense", "{pid}", ""])
def test_stale_pid_file_is_ignored(tmp_path: Path, content: str) -> None:
    content = content.format(pid=os.getpid())
    plant = Plant.make(tmp_path)
    path = plant.server.options.pid_file
    path.parent.mkdir(parents=True)
    path.write_text(content)

    async def body() -> None:
        async with plant.server as server:
            assert server.statistics().running

    asyncio.run(body())
    assert not path.exists()


def test_server_dies_with_its_parent(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_alive(pid)
    finally:
        parent.kill()
        parent.communicate()
    asyncio.run(wait_until(lambda: not is_alive(pid)))


def test_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    plant = Plant.make(tmp_path)

    async def body() -> None:
        async with plant.server as server:
            taken = server.options.client_port
            rival = Plant.make(tmp_path / "rival", client_port=taken)
            with pytest.raises(UnavailableError, match="address already in use"):
                await rival.server.start()
            assert rival.server.statistics().running is False

    asyncio.run(body())


def test_streams_follow_their_limits(tmp_path: Path) -> None:
    plant = Plant.make(tmp_path)

    async def body() -> None:
        async with plant.server, plant.client(Role.FABRIC) as client:
            for size in (1 << 20, 1 << 20, 2 << 20):
                await ensure_streams(client, StreamLimits(telemetry_max_bytes=size, telemetry_max_age_s=60.0))
                config = (await client.jetstream().stream_info(TELEMETRY_STREAM)).config
                assert (config.max_bytes, config.max_age, config.subjects) == (size, 60.0, ["tele.>"])
            assert (await client.jetstream().stream_info("QUARANTINE")).config.subjects == ["quarantine.>"]
            owners = (await client.jetstream().stream_info("OWNERS")).config
            assert (owners.max_msgs_per_subject, owners.discard) == (1, "new")
            assert (await client.jetstream().stream_info("SNAPSHOTS")).config.discard == "new"
            with pytest.raises(UnavailableError, match=r"QUARANTINE|TELE"):
                await ensure_streams(client, StreamLimits(replicas=3))

    asyncio.run(body())


def test_division_of_telemetry_stays_and_an_unfinished_one_is_finished(tmp_path: Path) -> None:
    plant = Plant.make(tmp_path)

    async def body() -> None:
        async with plant.server, plant.client(Role.FABRIC) as client:
            await ensure_streams(client, StreamLimits(shards=4))
            for shards in (1, 3, 5):
                with pytest.raises(SettingsError, match="set it to 4"):
                    await ensure_streams(client, StreamLimits(shards=shards))
            # two of four, as a first start leaves them that was cut short
            for shard in (2, 3):
                await client.jetstream().delete_stream(telemetry_stream(shard))
            with pytest.raises(SettingsError, match="set it to 4"):
                await ensure_streams(client, StreamLimits(shards=2))
            await ensure_streams(client, StreamLimits(shards=4))
            for shard in range(4):
                config = (await client.jetstream().stream_info(telemetry_stream(shard))).config
                assert config.subjects == list(stream_subjects(shard, 4))

    asyncio.run(body())


def test_server_uses_as_many_processors_as_it_is_given(tmp_path: Path) -> None:
    plant = Plant.make(tmp_path, processors=1)

    async def body() -> None:
        async with plant.server as server:
            assert (await server.monitoring("varz"))["gomaxprocs"] == 1

    asyncio.run(body())


def test_monitoring_answers_on_loopback(tmp_path: Path) -> None:
    plant = Plant.make(tmp_path)

    async def body() -> None:
        server: NatsServer = plant.server
        async with server:
            assert (await server.monitoring("varz"))["server_name"] == "shoal"
        with pytest.raises(UnavailableError):
            await server.monitoring("varz")

    asyncio.run(body())
