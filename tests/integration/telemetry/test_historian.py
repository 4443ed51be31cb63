"""The historian against a real engine: killed again and again it writes each sample once; a tail goes on from history."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import nats
import numpy as np
import pytest

from shoal.domain.interval import iso
from shoal.domain.wire import encode
from shoal.fabric.keys import Role
from shoal.fabric.ownership import Gained, Ownership
from shoal.fabric.snapshots import Snapshots
from shoal.fabric.subjects import HISTORY_GROUP
from shoal.fabric.tenure import Tenure
from shoal.runtime.clock import SystemClock
from shoal.simulate.fleet import plan_fleet
from shoal.store.history import History
from shoal.store.history_folder import LocalFolder
from shoal.store.history_keep import Keeper, KeepOptions
from shoal.store.history_register import UnitState
from shoal.store.history_write import PartWriter
from shoal.telemetry.historian_unit import HistorianUnit, UnitOptions
from shoal.telemetry.intake import Intake
from shoal.telemetry.tail import snapshot_then_tail
from tests.integration.fabric.plant import Plant, wait_until
from tests.unit.telemetry.journals import START_NS, every_row, sample_records

KILLS = 20
HOMES = 5
FLEET = plan_fleet(HOMES, 1)
SITES = len(FLEET.site_ids)


@contextlib.asynccontextmanager
async def _plant(tmp_path: Path) -> AsyncIterator[Plant]:
    plant = Plant.make(tmp_path / "fabric")
    await plant.server.start()
    try:
        await plant.make_streams()
        yield plant
    finally:
        await plant.server.stop()


async def _send(plant: Plant, *, first: int, count: int, pause_s: float = 0.0) -> None:
    """Let every site send samples, 1 to 5 in a message, every third message twice."""
    rng = np.random.default_rng(first)
    async with plant.callout(lambda *_: True), contextlib.AsyncExitStack() as stack:
        clients = []
        for site in FLEET.site_ids:
            client = await nats.connect(plant.server.url, user=site, password="any", allow_reconnect=False)
            stack.push_async_callback(client.close)
            clients.append(client)
        next_seq = [first] * SITES
        while any(seq < first + count for seq in next_seq):
            for row, client in enumerate(clients):
                n = min(int(rng.integers(1, 6)), first + count - next_seq[row])
                if n <= 0:
                    continue
                records = sample_records(np.arange(next_seq[row], next_seq[row] + n))
                payload = encode(records, oldest_seq=max(1, next_seq[row] - 20))
                for _ in range(1 + (rng.random() < 0.3)):
                    await client.publish(f"dev.{FLEET.site_ids[row]}.tele", payload)
                next_seq[row] += n
            await asyncio.sleep(pause_s)
        for client in clients:
            await client.flush()


def _pairs(data_dir: Path) -> list[tuple[int, int]]:
    history = History(data_dir / "history")
    table = history.query("SELECT site_no, seq FROM telemetry ORDER BY ALL")
    history.close()
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def _truth(count: int) -> list[tuple[int, int]]:
    return [(site, seq) for site in range(SITES) for seq in range(1, count + 1)]


class _Process:
    """A historian that can be killed."""

    def __init__(self, plant: Plant, data_dir: Path, clock_source: str) -> None:
        arguments = [plant.server.url, str(plant.key_dir), str(data_dir), str(HOMES), clock_source]
        self.child = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.telemetry.historian_process", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    async def wait_ready(self) -> None:
        assert self.child.stdout is not None
        while (line := await asyncio.to_thread(self.child.stdout.readline)) != b"ready\n":
            if not line:
                _, errors = self.child.communicate()
                raise AssertionError(errors.decode())

    def kill(self) -> None:
        self.child.kill()
        self.child.communicate()

    async def stop(self) -> None:
        self.child.terminate()
        _, errors = await asyncio.to_thread(self.child.communicate)
        assert self.child.returncode == 0, errors.decode()


@pytest.mark.slow
def test_killed_twenty_times_at_random_moments_nothing_is_lost_and_nothing_twice(tmp_path: Path) -> None:
    """Killed while it starts, replays, writes, merges and rolls up; after each kill readers see no sample twice."""
    rng = np.random.default_rng(7)
    count = 4_000
    source = (
        f"scaled://{iso(START_NS + 10 * 86_400 * 10**9)}?speed=6000&since={datetime.now(UTC).isoformat()}"
    )

    async def body() -> None:
        async with _plant(tmp_path) as plant:
            sending = asyncio.ensure_future(_send(plant, first=1, count=count, pause_s=0.05))
            try:
                for _ in range(KILLS):
                    process = _Process(plant, tmp_path, source)
                    await process.wait_ready()
                    await asyncio.sleep(float(rng.uniform(0.0, 0.5)))
                    process.kill()
                    seen = await asyncio.to_thread(_pairs, tmp_path)
                    assert len(seen) == len(set(seen))
                await sending
            finally:
                sending.cancel()
            process = _Process(plant, tmp_path, source)
            await process.wait_ready()
            async with plant.reader() as probe:
                last = await probe.last_seq()
            history = History(tmp_path / "history")
            await wait_until(lambda: history.status().positions.get("history", 0) >= last)
            await process.stop()
            history.close()

    asyncio.run(body())
    assert _pairs(tmp_path) == _truth(count)
    Keeper(LocalFolder(tmp_path / "history"), KeepOptions(raw_days=0, rollup_5min_days=0)).run(2**62)
    history = History(tmp_path / "history")
    rolled = history.query("SELECT sum(samples) AS n FROM rollup_1h").to_pylist()[0]["n"]
    raw = history.query("SELECT count(*) AS n FROM telemetry").to_pylist()[0]["n"]
    assert rolled == raw == SITES * count
    history.close()


async def _gain(ownership: Ownership) -> Tenure:
    async for event in ownership.events():
        if isinstance(event, Gained):
            return event.tenure
    raise AssertionError("no unit was gained")


def test_history_is_handed_over_in_the_engine_and_a_tail_goes_on_from_it(tmp_path: Path) -> None:
    """Two owners one after the other by the engine's registers and snapshots, then a reader that sees it all."""

    async def own(plant: Plant, member: str, until: int) -> UnitState:
        async with plant.client(Role.HISTORY) as client, asyncio.TaskGroup() as tasks:
            ownership = Ownership(client, group=HISTORY_GROUP, member=member, units=["history"])
            running = tasks.create_task(ownership.run())
            async with asyncio.timeout(15):
                tenure = await _gain(ownership)
            historian = _historian(tenure, Snapshots(client, group=HISTORY_GROUP))
            async with plant.reader(await historian.restore()) as reader:
                reading = tasks.create_task(historian.read(reader))
                await wait_until(lambda: historian.statistics().read_position >= until)
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
            await historian.close()
            await tenure.release()
            running.cancel()
            return UnitState.decode(tenure.state)

    def _historian(tenure: Tenure, snapshots: Snapshots) -> HistorianUnit:
        folder = LocalFolder(tmp_path / "history")
        gate = asyncio.Event()
        gate.set()
        return HistorianUnit(
            unit="history",
            token=tenure.token,
            options=UnitOptions(),
            clock=SystemClock(),
            intake=Intake(fleet=FLEET, rows_of=every_row, clock=SystemClock()),
            writer=PartWriter(folder, "history", tenure),
            snapshots=snapshots,
            gate=gate,
        )

    async def body() -> None:
        async with _plant(tmp_path) as plant:
            await _send(plant, first=1, count=30)
            async with plant.reader() as probe:
                first = await own(plant, "a", await probe.last_seq())
                await _send(plant, first=31, count=30)
                second = await own(plant, "b", await probe.last_seq())
            assert (first.rows, second.rows) == (30 * SITES, 60 * SITES)
            assert _pairs(tmp_path) == _truth(60)

            history = History(tmp_path / "history")
            async with plant.client(Role.HISTORY) as client:
                snapshot, tail = await snapshot_then_tail(
                    history,
                    unit="history",
                    intake=Intake(fleet=FLEET, rows_of=every_row, clock=SystemClock()),
                    snapshots=Snapshots(client, group=HISTORY_GROUP),
                )
            await _send(plant, first=61, count=40)
            seen = history.query("SELECT site_no, seq FROM telemetry", snapshot=snapshot)
            pairs = list(zip(*(column.to_pylist() for column in seen.columns), strict=True))
            history.close()
            async with plant.reader() as probe, plant.reader(tail.start_seq) as reader:
                last = await probe.last_seq()
                async with asyncio.timeout(15):
                    async for batch in tail.follow(reader):
                        pairs += zip(
                            batch.samples.site_no.tolist(), batch.samples.records["seq"].tolist(), strict=True
                        )
                        if batch.position >= last:
                            break
            assert sorted(pairs) == _truth(100)

    asyncio.run(body())
