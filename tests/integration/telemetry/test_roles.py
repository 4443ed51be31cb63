"""The telemetry role as real processes: its shards wherever they are, whoever dies, stands still, leaves or joins."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from shoal.cli.roles.twins import ask_twins
from shoal.domain.fleet import Fleet
from shoal.domain.ids import GroupId, SiteId
from shoal.domain.live import Aggregates
from shoal.fabric.keys import Role
from shoal.fabric.subjects import downlink_name, sums_subject
from shoal.telemetry.contract import AGGREGATE, shard_unit
from shoal.telemetry.merge import ShardSums
from tests.integration.fabric.plant import wait_until
from tests.integration.telemetry.processes import (
    GRID,
    PATIENCE_S,
    ROOT,
    SHARDS,
    Devices,
    Observer,
    RolePlant,
    RoleProcess,
    battery_w,
    device_names,
    make_fleet,
    wait_for,
)

RECOVER_WITHIN_S = 5.0
KILLS = 3
UNITS = {shard_unit(number) for number in range(SHARDS)} | {AGGREGATE}

Scene = Callable[[Observer, Devices], Awaitable[None]]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RolePlant, Devices]]:
    """One plant for all scenes, with three processes to begin with."""
    fleet = make_fleet(
        device_names("home", list(range(SHARDS))), device_names("gate", [*range(SHARDS), *range(SHARDS)])
    )
    with RolePlant.running(tmp_path_factory.mktemp("roles"), fleet) as plant:
        yield plant, Devices(plant)


def play(stage: tuple[RolePlant, Devices], scene: Scene, *, speak: bool = True) -> None:
    plant, devices = stage

    async def act() -> None:
        if len(plant.processes) == 1:
            await plant.started(*[plant.start("telemetry") for _ in range(3)])
        async with asyncio.timeout(2 * PATIENCE_S), Observer.of(plant) as observer:
            if speak:
                async with devices.speaking():
                    await scene(observer, devices)
            else:
                await scene(observer, devices)
            assert_right(observer.aggregates, plant.fleet)

    asyncio.run(act())


def total_kw(fleet: Fleet) -> float:
    return sum(battery_w(row) for row in range(len(fleet.site_ids))) / 1e3


def assert_right(aggregates: list[Aggregates], fleet: Fleet) -> None:
    """Assert of every aggregate that it counts each site once, and says so when it has not heard of all."""
    assert aggregates
    for one in aggregates:
        assert one.shards == SHARDS
        assert one.battery_kw[ROOT] <= total_kw(fleet) + 1e-9, "something is counted twice"
        assert one.sites[ROOT] == one.fresh[ROOT] + one.unknown[ROOT] + one.stale[ROOT]
        if one.live_shards == SHARDS and one.fresh[ROOT] == len(fleet.site_ids):
            assert one.battery_kw[ROOT] == pytest.approx(total_kw(fleet))


async def shards_of(process: RoleProcess) -> int:
    return int(await asyncio.to_thread(process.metric, "twins_shards"))


async def wait_spread(observer: Observer) -> None:
    """Wait until all units are owned by the processes that run, evenly."""

    async def is_spread() -> bool:
        units = Counter(register.member for register in (await observer.registers()).values())
        processes = len(observer.plant.telemetry())
        return len(units) == processes and max(units.values()) - min(units.values()) <= 1

    await wait_for(is_spread)


async def wait_survivors(plant: RolePlant) -> None:
    """Wait until one process may be killed and another is there."""
    await wait_until(lambda: len(plant.telemetry()) >= 2, timeout_s=PATIENCE_S)


def test_shards_are_spread_over_the_processes_and_asked_wherever_they_are(
    stage: tuple[RolePlant, Devices],
) -> None:
    async def scene(observer: Observer, devices: Devices) -> None:
        plant = observer.plant
        await wait_spread(observer)
        await observer.wait_current(devices)
        registers = await observer.registers()
        assert set(registers) == UNITS
        assert len({register.member for register in registers.values()}) == 3
        view = await ask_twins(observer.client, shards=SHARDS, sites=len(plant.fleet.site_ids))
        assert view.latest["battery_w"].tolist() == [battery_w(row) for row in range(len(devices.seq))]
        tokens = {answer.shard: answer.token for answer in await observer.answers()}
        assert tokens == {number: registers[shard_unit(number)].token for number in range(SHARDS)}
        last = observer.aggregates[-1]
        assert (last.live_shards, last.fresh[ROOT]) == (SHARDS, len(devices.seq))
        assert last.battery_kw[ROOT] == pytest.approx(total_kw(plant.fleet))

    play(stage, scene)


def test_killed_owner_is_replaced_within_seconds_and_nothing_is_lost_or_doubled(
    stage: tuple[RolePlant, Devices], record_property: Callable[[str, object], None]
) -> None:
    rng = random.Random(3)

    async def scene(observer: Observer, devices: Devices) -> None:
        plant = observer.plant
        took_s = []
        for kill in range(KILLS):
            await wait_survivors(plant)
            await observer.wait_current(devices)
            await asyncio.sleep(rng.uniform(0.0, 1.2))  # between two snapshots, or in the middle of one
            victim = rng.choice([one for one in plant.telemetry() if await shards_of(one)])
            before = await observer.registers()
            victim.kill()
            if kill < KILLS - 1:
                plant.start("telemetry")
            took_s.append(await observer.wait_current(devices))
            after = await observer.registers()
            assert all(after[unit].token >= before[unit].token for unit in UNITS)
            assert any(after[unit].token > before[unit].token for unit in UNITS)
        record_property("took_s", took_s)
        assert max(took_s) < RECOVER_WITHIN_S, took_s
        await plant.started(*[one for one in plant.processes if one.is_running()])

    play(stage, scene)

    async def afterwards(observer: Observer, devices: Devices) -> None:
        await observer.wait_all_in(devices)
        assert observer.aggregates[-1].applied == devices.sent, "nothing is counted twice"

    play(stage, afterwards, speak=False)


def test_owner_that_stood_still_changes_nothing_when_it_wakes_up(stage: tuple[RolePlant, Devices]) -> None:
    async def scene(observer: Observer, devices: Devices) -> None:
        plant = observer.plant
        await wait_spread(observer)
        await observer.wait_current(devices)
        before = await observer.registers()
        sleeper = max(plant.telemetry(), key=lambda one: one.metric("twins_shards"))
        had = await shards_of(sleeper)
        sleeper.pause()
        try:
            assert await observer.wait_current(devices) < RECOVER_WITHIN_S
        finally:
            sleeper.resume()
        after = await observer.registers()
        changed = [unit for unit in UNITS if after[unit].token > before[unit].token]
        assert len(changed) >= had
        await wait_until(lambda: sleeper.log.read_text().count("unit lost") >= had, timeout_s=PATIENCE_S)
        await observer.wait_current(devices)
        await wait_spread(observer)

    play(stage, scene)


def test_sums_of_a_former_owner_are_refused(stage: tuple[RolePlant, Devices]) -> None:
    async def scene(observer: Observer, devices: Devices) -> None:
        plant = observer.plant
        await observer.wait_current(devices)
        async with plant.client(Role.TELEMETRY) as client:
            heard = await client.subscribe("sums.*")
            newest = msgspec.msgpack.decode((await heard.next_msg(timeout=5)).data, type=ShardSums)
            refused = sum(int(one.metric("twins_stale_owners")) for one in plant.telemetry())
            doubled = msgspec.structs.replace(
                newest,
                token=newest.token - 1,
                t_ns=newest.t_ns + 10**12,
                groups=(np.frombuffer(newest.groups, dtype=np.int64) * 2).tobytes(),
            )
            await client.publish(sums_subject(str(newest.shard)), msgspec.msgpack.encode(doubled))
            await client.flush()
        await wait_until(
            lambda: sum(int(one.metric("twins_stale_owners")) for one in plant.telemetry()) > refused,
            timeout_s=PATIENCE_S,
        )
        await observer.wait_current(devices)

    play(stage, scene)


async def _answers_whole(observer: Observer) -> bool:
    return {one.shard for one in await observer.answers()} == set(range(SHARDS))


def test_owner_that_leaves_hands_over_and_nothing_is_replayed(stage: tuple[RolePlant, Devices]) -> None:
    async def scene(observer: Observer, devices: Devices) -> None:
        plant = observer.plant
        await observer.wait_all_in(devices)
        await wait_spread(observer)
        leaver = plant.telemetry()[0]
        before = await observer.registers()
        leaver.process.terminate()
        assert await asyncio.to_thread(leaver.process.wait, 20) == 0, leaver.log.read_text()
        await wait_for(lambda: _answers_whole(observer))
        after = await observer.registers()
        moved = [n for n in range(SHARDS) if after[shard_unit(n)].token > before[shard_unit(n)].token]
        assert moved
        last, kept = await observer.last_positions(), await observer.snapshots()
        assert {number: kept[number].position for number in moved} == {n: last[n] for n in moved}
        assert (await observer.latest())["seq"].tolist() == devices.seqs
        await plant.started(plant.start("telemetry"))

    play(stage, scene, speak=False)


def test_fleet_that_changes_is_followed_by_running_processes(stage: tuple[RolePlant, Devices]) -> None:
    plant, _ = stage
    before = plant.fleet
    newcomer = SiteId(device_names("new", [2])[0])
    count = len(before.site_ids)

    async def scene(observer: Observer, devices: Devices) -> None:
        await observer.wait_current(devices)
        pids = {one.process.pid for one in plant.telemetry()}
        grown = before.take(np.array([*range(count), 0]))
        plant.fleet = replace(grown, site_ids=(*before.site_ids, newcomer))
        await asyncio.to_thread(plant.registry.load_fleet, plant.fleet, valid_from_ns=0)
        plant.secrets[newcomer] = plant.registry.issue_credential(newcomer, at_ns=0)
        await asyncio.to_thread(
            plant.registry.move_site, before.site_ids[1], GRID, GroupId("feeder-3"), time.time_ns()
        )

        def is_known(one: Aggregates) -> bool:
            # to whoever does not know it yet it is an unknown site; all speak of the new groups once they do
            return one.sites[ROOT] > count and one.live_shards == SHARDS

        await wait_until(lambda: is_known(observer.aggregates[-1]), timeout_s=PATIENCE_S)
        await devices.connect()
        feeders = [number for number, group in enumerate(before.groups) if group.level == 1]
        expected = [0, *[int(np.sum(plant.fleet.leaf_group[GRID] == feeder)) for feeder in feeders]]
        expected[int(before.leaf_group[GRID][1])] -= 1
        expected[-1] += 1

        def followed(one: Aggregates) -> bool:
            return one.live_shards == SHARDS and [0, *[one.fresh[f] for f in feeders]] == expected

        await wait_until(lambda: followed(observer.aggregates[-1]), timeout_s=PATIENCE_S)
        assert all(one.sites[ROOT] in (count, count + 1) for one in observer.aggregates)
        await observer.wait_current(devices)
        assert {one.process.pid for one in plant.telemetry()} == pids, "nobody was started again"

    play(stage, scene)


def test_in_the_end_every_sample_is_accounted_for_once(stage: tuple[RolePlant, Devices]) -> None:
    plant, _ = stage

    async def scene(observer: Observer, devices: Devices) -> None:
        async with devices.connected():
            await observer.wait_all_in(devices)
            names = [str(downlink_name(plant.fleet, row)) for row in range(len(devices.seq))]
            await wait_until(
                lambda: [devices.durable.get(name) for name in names] == devices.seqs, timeout_s=PATIENCE_S
            )
        for one in plant.telemetry():
            one.process.terminate()
        for one in plant.processes[1:]:
            await asyncio.to_thread(one.process.wait, 20)
        kept, last = await observer.snapshots(), await observer.last_positions()
        assert {number: mark.position for number, mark in kept.items()} == last
        total = {name: sum(mark.counters[name] for mark in kept.values()) for name in kept[0].counters}
        assert total["applied"] == devices.sent
        assert total["duplicates"] == devices.repeated
        assert (total["lost"], total["deferred"]) == (0, 0)
        assert total["quarantined"] == devices.rubbish
        assert all(register.member == "" for register in (await observer.registers()).values())

    play(stage, scene, speak=False)
