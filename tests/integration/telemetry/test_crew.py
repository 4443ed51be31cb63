"""A crew on a real engine: shards from its journal, snapshots and registers in it, and what a former owner cannot do."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import nats
import numpy as np
import pytest
from nats.aio.client import Client

from shoal.domain.errors import FencedOutError
from shoal.domain.fleet import Fleet
from shoal.domain.telemetry import ALL_PRESENT, TELEMETRY
from shoal.domain.twins import AskTwins
from shoal.domain.wire import encode
from shoal.fabric._registers import Registers
from shoal.fabric.journal import JournalReader
from shoal.fabric.keys import Role
from shoal.fabric.ownership import Ownership
from shoal.fabric.snapshots import Snapshots
from shoal.fabric.streams import StreamLimits, ensure_streams
from shoal.fabric.subjects import LIVE_GROUP, OWNERS_STREAM, register_subject, telemetry_stream
from shoal.fabric.tenure import Register
from shoal.runtime.clock import SystemClock
from shoal.telemetry.actor import ShardActor
from shoal.telemetry.contract import shard_rows, shard_unit
from shoal.telemetry.crew import Crew
from shoal.telemetry.setaside import SetAside
from shoal.telemetry.shard import Snapshot
from shoal.twin.clockrule import ClockRule
from tests.integration.fabric.plant import TIMEOUT_S, Plant, wait_until
from tests.integration.store.fleets import make_fleet
from tests.unit.telemetry.shards import new_shard, picture

SHARDS = 2
FLEET = make_fleet(6)
SITES = len(FLEET.site_ids)
UNITS = [shard_unit(number) for number in range(SHARDS)]


class Rig:
    """An engine, its devices, and crews on it."""

    def __init__(self, plant: Plant, devices: list[Client]) -> None:
        self.plant = plant
        self._devices = devices
        self.said = 0

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, folder: Path) -> AsyncIterator[Rig]:
        plant = Plant.make(folder)
        async with plant.server, contextlib.AsyncExitStack() as stack:
            async with plant.client(Role.FABRIC) as client:
                await ensure_streams(client, StreamLimits(shards=SHARDS))
            await stack.enter_async_context(plant.callout(lambda *_: True))
            devices = [await nats.connect(plant.server.url, user=s, password="any") for s in FLEET.site_ids]
            for device in devices:
                stack.push_async_callback(device.close)
            yield cls(plant, devices)

    async def speak(self, count: int) -> None:
        """Let every site say so many samples."""
        for _ in range(count):
            self.said += 1
            records = TELEMETRY.empty(1)
            records["seq"], records["ts_ns"] = self.said, time.time_ns() // 1_000_000 * 1_000_000
            records["battery_w"], records["present"] = self.said, ALL_PRESENT
            for site, device in zip(FLEET.site_ids, self._devices, strict=True):
                await device.publish(f"dev.{site}.tele", encode(records, oldest_seq=1))
        for device in self._devices:
            await device.flush()

    @contextlib.asynccontextmanager
    async def crew(self, *, fleet: Fleet = FLEET) -> AsyncIterator[Crew]:
        """Run a crew that is willing to own everything; it leaves in good order at the end."""
        async with self.plant.client(Role.TELEMETRY) as client, self.plant.client(Role.TELEMETRY) as own:
            ownership = Ownership(own, group=LIVE_GROUP, member="test", units=UNITS, settle_s=0.1)
            crew = Crew(
                shards=SHARDS,
                fleet=fleet,
                membership=ownership,
                make_reader=self.open_reader,
                snapshots=Snapshots(client, group=LIVE_GROUP),
                time=SystemClock(),
                clock_rule=ClockRule(),
                set_aside=SetAside(
                    publish=client.publish,
                    state_subject="live.quarantine",
                    evidence_subject=str,
                    member="test",
                ),
            )
            crew.gate.set()
            tasks = [asyncio.create_task(ownership.run()), asyncio.create_task(crew.own())]
            try:
                yield crew
            finally:
                ownership.leave()
                async with asyncio.timeout(TIMEOUT_S):
                    await asyncio.gather(*tasks)

    def open_reader(self, number: int, start_seq: int) -> JournalReader:
        return JournalReader(
            self.plant.server.url,
            seed=self.plant.keys.seed(Role.JOURNAL),
            stream=telemetry_stream(number),
            start_seq=start_seq,
        )

    async def taken(self, crew: Crew) -> None:
        """Wait until this crew owns everything and has taken what was said."""
        await wait_until(
            lambda: len(crew.actors) == SHARDS and crew.accounted() == self.said * SITES, timeout_s=30.0
        )

    async def register(self, unit: str) -> Register:
        async with self.plant.client(Role.API) as client:
            registers = Registers(client, stream=OWNERS_STREAM)
            await registers.open()
            subject = register_subject(LIVE_GROUP, unit)
            entry = (await registers.read_all([subject]))[subject]
            return msgspec.msgpack.decode(entry.data, type=Register)

    async def take_away(self, unit: str) -> Register:
        """Make somebody else the owner of a unit, as a member does that takes its owner for dead."""
        async with self.plant.client(Role.TELEMETRY) as client:
            registers = Registers(client, stream=OWNERS_STREAM)
            subject = register_subject(LIVE_GROUP, unit)
            entry = await registers.read(subject)
            assert entry is not None
            before = msgspec.msgpack.decode(entry.data, type=Register)
            taken = Register("somebody-else", before.token + 1, before.state)
            await registers.write(subject, msgspec.msgpack.encode(taken), over=entry.seq)
            return taken


def play(folder: Path, scene: Callable[[Rig], Awaitable[None]]) -> None:
    async def act() -> None:
        async with asyncio.timeout(60), Rig.running(folder) as rig:
            await scene(rig)

    asyncio.run(act())


def pictures(crew: Crew) -> list[object]:
    found: list[object] = []
    for number in range(SHARDS):
        shard = crew.actors[number]._shard
        assert shard is not None
        found.append(picture(shard))
    return found


def read_by(actor: ShardActor) -> int:
    seen = actor.reader_statistics()
    assert seen is not None
    return seen.messages


def test_crew_that_leaves_hands_over_what_it_has_and_the_next_reads_only_what_follows(tmp_path: Path) -> None:
    async def scene(rig: Rig) -> None:
        await rig.speak(20)
        async with rig.crew() as first:
            await rig.taken(first)
            expected = pictures(first)
            assert sum(read_by(actor) for actor in first.actors.values()) == 20 * SITES
        assert [(await rig.register(unit)).member for unit in UNITS] == ["", ""]
        async with rig.crew() as second:
            await rig.taken(second)
            assert pictures(second) == expected
            assert [read_by(actor) for actor in second.actors.values()] == [0, 0]
            await rig.speak(3)
            await rig.taken(second)
            assert sum(read_by(actor) for actor in second.actors.values()) == 3 * SITES
            assert {actor.tenure.token for actor in second.actors.values()} == {2}

    play(tmp_path, scene)


def test_owner_that_was_fenced_out_commits_nothing_and_takes_no_snapshot_away(tmp_path: Path) -> None:
    async def scene(rig: Rig) -> None:
        await rig.speak(10)
        async with rig.crew() as crew:
            await rig.taken(crew)
            await crew.checkpoint()
            actor = crew.actors[0]
            await rig.speak(5)
            await rig.taken(crew)
            taken = await rig.take_away(UNITS[0])
            with pytest.raises(FencedOutError):
                await actor.checkpoint()
            after = await rig.register(UNITS[0])
            assert after.state == taken.state, "its commit was refused"
            mark = msgspec.msgpack.decode(after.state, type=Snapshot)
            rows = shard_rows(FLEET, 0, SHARDS)
            async with rig.plant.client(Role.TELEMETRY) as client:
                shard = new_shard(FLEET, rows)
                shard.restore(mark, await Snapshots(client, group=LIVE_GROUP).load(mark.reference))
            assert shard.accounted() == 10 * len(rows)
            await wait_until(lambda: crew.actors.get(0) is not actor)
            # the other is not alive, so the unit comes back, and the journal makes up for what was not committed
            await rig.taken(crew)
            assert crew.actors[0].tenure.token == taken.token + 1

    play(tmp_path, scene)


def test_snapshot_that_is_lost_is_made_up_for_by_the_journal(tmp_path: Path) -> None:
    async def scene(rig: Rig) -> None:
        await rig.speak(10)
        async with rig.crew() as first:
            await rig.taken(first)
            expected = pictures(first)
        async with rig.plant.client(Role.FABRIC) as client:
            await client.request("$JS.API.STREAM.PURGE.SNAPSHOTS", b"", timeout=5.0)
        async with rig.crew() as second:
            await rig.taken(second)
            assert pictures(second) == expected
            answer = await second.actors[1].answer(AskTwins(), t_ns=1)
            latest = np.frombuffer(answer.latest, dtype=TELEMETRY.dtype)
            assert set(latest["seq"].tolist()) == {10}

    play(tmp_path, scene)
