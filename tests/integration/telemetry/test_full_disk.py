"""A disk that is really full: history waits, shards go on, the journal takes no more; then nothing is twice or lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from structlog.testing import capture_logs

from shoal.cli.roles.room import JournalRoom
from shoal.domain.errors import UnavailableError
from shoal.fabric.keys import Role
from shoal.fabric.snapshots import Snapshots
from shoal.fabric.streams import StreamLimits, ensure_streams
from shoal.fabric.subjects import LIVE_GROUP, SNAPSHOTS_STREAM, telemetry_stream
from shoal.flow.retry import Backoff
from shoal.runtime.room import DiskRoom
from tests.integration.fabric.plant import Plant, wait_until
from tests.integration.telemetry.test_crew import SHARDS, SITES, Rig
from tests.unit.telemetry.test_historian import TRUTH, UNITS, _Rig, _running, _wait

DISK_BYTES = 24 << 20
LEAST_BYTES = 4 << 20
AGAIN = Backoff(first_s=0.05, cap_s=0.2)
LIMITS = StreamLimits(shards=SHARDS)
TTL_S = 2.0
"""How long a member's key stands when it is not renewed."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a small disk of its own; it takes the right to mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", str(place)]
    if not sys.platform.startswith("linux") or os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("a small disk can be mounted by root on Linux only")
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def _fill(disk: Path, *, leave: int) -> Path:
    """Fill a disk up to so many bytes; return what fills it."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as sink, contextlib.suppress(OSError):
        while (room := shutil.disk_usage(disk).free - leave) > 0:
            sink.write(bytes(min(room, 1 << 20)))
    return ballast


@pytest.mark.parametrize("least_bytes", [LEAST_BYTES, 0], ids=["declared", "refused"])
@pytest.mark.parametrize("conducted", [False, True], ids=["free", "conducted"])
def test_history_waits_while_its_disk_is_full_and_writes_each_sample_once(
    disk: Path, least_bytes: int, conducted: bool
) -> None:
    async def body() -> None:
        room = DiskRoom("history", disk, least_bytes, again=AGAIN)
        rig = _Rig(disk, conducted=conducted, room=room, write_rows=200, write_every_s=15.0)
        async with _running(rig):
            tenures = [rig.gain(unit) for unit in UNITS]
            with capture_logs() as logs:
                ballast = _fill(disk, leave=least_bytes // 2)
                if conducted:
                    ticking = asyncio.ensure_future(rig.tick(60, len(TRUTH) * 60 // 150))
                await _wait(lambda: room.statistics().full == 1)
                await _wait(lambda: rig.historian.statistics().units == len(UNITS) or not least_bytes)
                await asyncio.sleep(0.6)
                seen = rig.historian.statistics()
                assert (seen.rows, rig.pairs()) == (0, [])
                if least_bytes:
                    assert seen.failures == 0
                    assert 0 < seen.buffered < 2 * (200 + 40 * 20)  # it reads no more than it can hold
                assert [entry["event"][:10] for entry in logs if entry["log_level"] == "error"] == [
                    "disk full:"
                ]
                assert [e for e in logs if e["log_level"] == "warning"] == []
                ballast.unlink()
                if conducted:
                    await ticking
                    await rig.tick(150, len(TRUTH), closing=True)
                else:
                    await _wait(lambda: rig.historian.statistics().units == len(UNITS))
                    await _wait(lambda: all(reader.drained.is_set() for reader in rig.readers.values()))
                    rig.clock.now += 16 * 10**9
                    await _wait(lambda: rig.historian.statistics().rows == len(TRUTH))
            assert "disk has room again" in [entry["event"] for entry in logs]
            assert not any(tenure.ended for tenure in tenures)
        assert rig.pairs() == TRUTH

    asyncio.run(body())


class _Full:
    """A crew on an engine whose disk the test fills."""

    def __init__(self, disk: Path, rig: Rig, room: DiskRoom, journal: JournalRoom) -> None:
        self.disk = disk
        self.rig = rig
        self.room = room
        self.journal = journal

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, disk: Path, free: Callable[[Path], int] | None = None) -> AsyncIterator[_Full]:
        async with Rig.running(disk) as rig, rig.plant.client(Role.FABRIC) as client:
            server = rig.plant.server
            room = DiskRoom("the journal", disk, LEAST_BYTES, free=free, again=AGAIN)
            supervising = asyncio.create_task(server.supervise())
            try:
                yield cls(disk, rig, room, JournalRoom(client, LIMITS, room, server))
            finally:
                supervising.cancel()

    async def look(self, until: Callable[[], bool]) -> None:
        """Look at the disk until something holds."""
        async with asyncio.timeout(30):
            while not until():
                with contextlib.suppress(UnavailableError):
                    await self.journal.look()
                await asyncio.sleep(0.05)

    async def stored(self) -> int:
        async with self.rig.plant.client(Role.FABRIC) as client:
            count = 0
            for shard in range(SHARDS):
                reply = await client.request(
                    f"$JS.API.STREAM.INFO.{telemetry_stream(shard)}", b"", timeout=5.0
                )
                count += int(msgspec.json.decode(reply.data)["state"]["messages"])
            return count


def test_shards_and_snapshots_go_on_while_the_journal_takes_no_more(tmp_path: Path) -> None:
    async def body() -> None:
        free = [2 * LEAST_BYTES]
        async with _Full.running(tmp_path, lambda _: free[0]) as full, full.rig.crew() as crew:
            rig = full.rig
            await rig.speak(3)
            await rig.taken(crew)
            await crew.checkpoint()
            free[0] = LEAST_BYTES // 2
            await full.look(lambda: full.journal.held)
            owners = dict(crew.actors)
            await rig.speak(2)
            await asyncio.sleep(1.5 * TTL_S)  # a member that could not renew would be out by now
            assert await full.stored() == crew.accounted() == 3 * SITES
            assert crew.actors == owners
            assert crew.failures == 0
            actor = crew.actors[0]
            kept = await actor._snapshots.save("shard0", actor.tenure.token, {"x": np.ones(9)})
            assert (await actor._snapshots.load(kept))["x"].sum() == 9
            # what the journal does not have is safe with nobody
            safe = [actor._shard.newly_durable() for actor in crew.actors.values() if actor._shard]
            assert np.concatenate([seq for _, seq in safe]).tolist() == [3] * SITES
            free[0] = 2 * LEAST_BYTES
            await full.look(lambda: not full.journal.held)
            rig.said = 3  # devices send again what is not acknowledged
            await rig.speak(2)
            await rig.taken(crew)
            assert await full.stored() == 5 * SITES
            assert rig.plant.server.statistics().restarts == 0

    asyncio.run(body())


def test_engine_that_met_a_full_disk_writes_again_once_there_is_room(disk: Path) -> None:
    async def body() -> None:
        async with _Full.running(disk) as full, full.rig.crew() as crew:
            rig = full.rig
            await rig.speak(3)
            await rig.taken(crew)
            await crew.checkpoint()
            ballast = _fill(disk, leave=0)
            for _ in range(400):
                rig.said = 3
                await rig.speak(60)
                if await rig.plant.server.write_fault():
                    break
            assert await rig.plant.server.write_fault()
            taken = crew.accounted()
            await full.look(lambda: full.room.full)
            ballast.unlink()
            await full.look(lambda: rig.plant.server.statistics().restarts == 1)
            await full.look(lambda: not full.room.full and not full.journal.held)
            assert await rig.plant.server.write_fault() == ""
            assert await full.stored() >= taken
            rig.said = 3
            await rig.speak(70)
            await wait_until(
                lambda: len(crew.actors) == SHARDS and crew.accounted() == 73 * SITES, timeout_s=30.0
            )

    asyncio.run(body())


def test_snapshot_that_has_no_room_leaves_no_parts_and_the_former_one_stands(tmp_path: Path) -> None:
    async def body() -> None:
        plant = Plant.make(tmp_path)
        async with plant.server, plant.client(Role.FABRIC) as fabric, plant.client(Role.TELEMETRY) as client:
            await ensure_streams(fabric, StreamLimits(snapshots_max_bytes=1 << 20))
            snapshots = Snapshots(client, group=LIVE_GROUP, chunk_bytes=64 << 10)
            former = await snapshots.save("shard0", 1, {"x": np.ones(40_000)})
            for _ in range(5):
                with pytest.raises(UnavailableError, match="maximum bytes"):
                    await snapshots.save("shard0", 1, {"x": np.zeros(120_000)})
            reply = await fabric.request(f"$JS.API.STREAM.INFO.{SNAPSHOTS_STREAM}", b"", timeout=5.0)
            assert msgspec.json.decode(reply.data)["state"]["messages"] == 5
            assert (await snapshots.load(former))["x"].sum() == 40_000
            await ensure_streams(fabric, StreamLimits(snapshots_max_bytes=4 << 20))
            newer = await snapshots.save("shard0", 1, {"x": np.zeros(120_000)})
            await snapshots.purge(newer)
            assert (await snapshots.load(newer))["x"].sum() == 0

    asyncio.run(body())
