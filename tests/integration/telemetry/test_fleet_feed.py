"""The fleet over a real engine: whoever follows has the newest one, and never one that is mixed of two."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from nats.aio.client import Client

from shoal.domain.errors import CorruptStateError
from shoal.fabric import fleet_feed
from shoal.fabric.fleet_feed import FleetFeed, PublishedFleet
from shoal.fabric.keys import Role
from shoal.fabric.subjects import FLEET_GROUP, SNAPSHOTS_STREAM, register_subject, snapshots_of
from tests.integration.fabric.plant import Plant
from tests.integration.store.fleets import assert_same_fleet, make_fleet

Scene = Callable[[Plant, FleetFeed, FleetFeed], Awaitable[None]]
READERS = (Role.TELEMETRY, Role.HISTORY, Role.API, Role.CONTROL, Role.BIDDING)


def published(version: int, *, sites: int = 12, valid_from_ns: int = 0) -> PublishedFleet:
    return PublishedFleet(fleet=make_fleet(sites, seed=version), version=version, valid_from_ns=valid_from_ns)


def play(folder: Path, scene: Scene) -> None:
    async def act() -> None:
        plant = Plant.make(folder)
        async with asyncio.timeout(30), plant.server:
            await plant.make_streams()
            async with plant.client(Role.FABRIC) as keeper, plant.client(Role.TELEMETRY) as follower:
                await scene(plant, FleetFeed(keeper), FleetFeed(follower))

    asyncio.run(act())


def test_followers_have_none_before_the_first_and_the_newest_after(tmp_path: Path) -> None:
    async def scene(plant: Plant, keeper: FleetFeed, follower: FleetFeed) -> None:
        assert await follower.current() is None
        for version in (1, 2):
            await keeper.publish(published(version, valid_from_ns=7 * version))
        found = await follower.current()
        assert found is not None
        assert (found.version, found.valid_from_ns) == (2, 14)
        assert_same_fleet(found.fleet, published(2).fleet)
        for role in READERS:
            async with plant.client(role) as client:
                other = await FleetFeed(client).current()
                assert other is not None
                assert other.version == 2

    play(tmp_path, scene)


def test_change_is_told_once_and_so_is_a_membership_that_takes_effect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_feed, "LOOK_EVERY_S", 0.02)

    async def scene(plant: Plant, keeper: FleetFeed, follower: FleetFeed) -> None:
        await keeper.publish(published(1))
        before = await follower.current()
        assert before is not None
        changes = follower.changes(before)
        waiting = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0.2)
        assert not waiting.done(), "what is known is no change"
        await keeper.publish(published(2, sites=15))
        assert len((await waiting).fleet.site_ids) == 15
        await keeper.publish(published(2, sites=15, valid_from_ns=99))
        assert (await anext(changes)).valid_from_ns == 99
        for version in range(3, 8):
            await keeper.publish(published(version))
        seen: list[int] = []
        while not seen or seen[-1] != 7:
            seen.append((await anext(changes)).version)
        assert seen == sorted(set(seen)), "some may be skipped, none comes back"

    play(tmp_path, scene)


def test_fleet_that_changes_while_it_is_read_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shoal.fabric.snapshots._RETRY_S", 0.001)

    async def scene(plant: Plant, keeper: FleetFeed, follower: FleetFeed) -> None:
        seen: list[int] = []

        async def keep_publishing() -> None:
            # Until it was read often enough between two changes, however busy the machine is.
            for version in itertools.count(1):
                await keeper.publish(published(version, sites=version % 100 + 1))
                if version >= 40 and len(set(seen)) > 3:
                    return

        publishing = asyncio.create_task(keep_publishing())
        async with asyncio.timeout(60):
            while not publishing.done():
                found = await follower.current()
                if found is not None:
                    expected = published(found.version, sites=found.version % 100 + 1)
                    assert_same_fleet(found.fleet, expected.fleet)
                    seen.append(found.version)
        await publishing
        assert seen == sorted(seen)
        assert len(set(seen)) > 3

    play(tmp_path, scene)


def test_former_fleets_are_not_kept(tmp_path: Path) -> None:
    async def scene(plant: Plant, keeper: FleetFeed, follower: FleetFeed) -> None:
        for version in range(1, 6):
            await keeper.publish(published(version))
        async with plant.client(Role.FABRIC) as client:
            assert await _chunks(client) == 1

    play(tmp_path, scene)


async def _chunks(client: Client) -> int:
    request = msgspec.json.encode({"subjects_filter": snapshots_of(FLEET_GROUP, "fleet")})
    reply = await client.request(f"$JS.API.STREAM.INFO.{SNAPSHOTS_STREAM}", request, timeout=5.0)
    return len(msgspec.json.decode(reply.data)["state"].get("subjects") or {})


def test_fleet_whose_snapshot_or_register_is_damaged_is_refused_and_the_next_one_heals_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shoal.fabric.snapshots._RETRY_S", 0.001)

    async def scene(plant: Plant, keeper: FleetFeed, follower: FleetFeed) -> None:
        async with plant.client(Role.FABRIC) as client:
            await keeper.publish(published(1))
            await client.request(f"$JS.API.STREAM.PURGE.{SNAPSHOTS_STREAM}", b"", timeout=5.0)
            with pytest.raises(CorruptStateError, match="missing"):
                await follower.current()
            await client.request(register_subject(FLEET_GROUP, "fleet"), b"\xc1", timeout=5.0)
            with pytest.raises(CorruptStateError, match="register"):
                await follower.current()
            await keeper.publish(published(2))
            found = await follower.current()
            assert found is not None
            assert found.version == 2

    play(tmp_path, scene)
