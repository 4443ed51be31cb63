"""The table of silent sites from history to the aggregates: learned by one role, taken up by the other while both run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from nats.aio.client import Client

from shoal.domain.errors import UnavailableError
from shoal.fabric import silence_feed
from shoal.fabric._registers import Registers
from shoal.fabric.keys import Role
from shoal.fabric.silence_feed import SilenceFeed
from shoal.fabric.subjects import OWNERS_STREAM, SILENCE_GROUP, register_subject
from shoal.twin.silence_default import built_in_table
from shoal.twin.silence_learned import LearnedSilence
from shoal.twin.silence_trial import TrialScore
from tests.integration.fabric.plant import Plant
from tests.integration.telemetry.processes import Observer, RolePlant, wait_for
from tests.unit.telemetry.shards import until
from tests.unit.telemetry.silences import STEP_NS, fleet_of, lived, restless, write_days

SUBJECT = register_subject(SILENCE_GROUP, "table")
Scene = Callable[[Client, Client], Awaitable[None]]


def table(about: str) -> LearnedSilence:
    return LearnedSilence(
        table=replace(built_in_table(), provenance=about),
        learned_ns=1,
        from_ns=0,
        to_ns=1,
        sites=1,
        fleet_sites=1,
        sample_count=1,
        is_recorded=True,
        trial=TrialScore(0.9, 4.0),
        built_in_trial=TrialScore(0.92, 5.0),
    )


def play(folder: Path, scene: Scene) -> None:
    async def act() -> None:
        plant = Plant.make(folder)
        async with asyncio.timeout(30), plant.server:
            await plant.make_streams()
            async with plant.client(Role.HISTORY) as keeper, plant.client(Role.TELEMETRY) as follower:
                await scene(keeper, follower)

    asyncio.run(act())


def test_of_two_who_learn_at_once_one_counts_and_followers_have_it(tmp_path: Path) -> None:
    async def scene(keeper: Client, follower: Client) -> None:
        one, other, reader = SilenceFeed(keeper), SilenceFeed(keeper), SilenceFeed(follower)
        assert await reader.current() == (0, None)
        seen = (await one.current()).seq
        version = await one.publish(table("one"), over=seen)
        with pytest.raises(UnavailableError, match="somebody else"):
            await other.publish(table("other"), over=seen)
        kept = await reader.current()
        assert kept.learned is not None
        assert (kept.seq, kept.learned.table.provenance) == (version, "one")
        with pytest.raises((UnavailableError, TimeoutError)):  # who sums up has no right to write it
            async with asyncio.timeout(1.0):
                await reader.publish(table("forged"), over=version)
        assert (await one.current()).seq == version

    play(tmp_path, scene)


def test_table_that_cannot_be_used_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence_feed, "LOOK_EVERY_S", 0.02)

    async def scene(keeper: Client, follower: Client) -> None:
        registers = Registers(keeper, stream=OWNERS_STREAM, timeout_s=5.0)
        reader = SilenceFeed(follower)
        changes = reader.changes(0)
        coming = asyncio.ensure_future(anext(changes))
        version = await registers.write(SUBJECT, b"\xc1 rubbish", over=0)
        await until(lambda: reader.statistics().refused_total > 0)
        await asyncio.sleep(0.1)
        assert not coming.done()
        assert reader.statistics().refused_total == 1, "once, not at every look"
        assert await reader.current() == (version, None)
        await SilenceFeed(keeper).publish(table("good"), over=version)
        assert (await coming).table.provenance == "good"

    play(tmp_path, scene)


def test_running_plant_learns_from_its_history_and_reckons_with_it(tmp_path: Path) -> None:
    homes = restless(lived(sites=120))
    days = 2.5
    start_ns = (time.time_ns() // STEP_NS - int(days * 288)) * STEP_NS
    write_days(tmp_path / "history", homes, days=days, start_ns=start_ns)

    async def scene() -> None:
        with RolePlant.running(tmp_path, fleet_of(homes), **{"telemetry.shards": 2}) as plant:
            telemetry = plant.start("telemetry")
            await plant.started(telemetry)
            async with Observer.of(plant) as observer:

                def in_use() -> str:
                    return observer.aggregates[-1].silence if observer.aggregates else ""

                async def is_built_in() -> bool:
                    return in_use() == built_in_table().provenance

                await wait_for(is_built_in)
                history = plant.start("history")
                await plant.started(history)

                async def is_own() -> bool:
                    assert telemetry.is_running() and history.is_running(), history.log.read_text()
                    return in_use().startswith("own history from ")

                await wait_for(is_own)
                assert telemetry.metric("silence_taken_total") == 1
                assert telemetry.metric("silence_sites") == 120

                async with plant.client(Role.HISTORY) as client:
                    registers = Registers(client, stream=OWNERS_STREAM, timeout_s=5.0)
                    await registers.write(SUBJECT, b"\xc1 rubbish")

                async def is_refused() -> bool:
                    return telemetry.metric("silence_refused_total") == 1

                await wait_for(is_refused)
                assert await is_own(), "the one in use stays"

            # a process that starts later has the table from the first moment, once there is a good one again
            async with plant.client(Role.HISTORY) as client:
                feed = SilenceFeed(client)
                await feed.publish(table("newer"), over=(await feed.current()).seq)
            telemetry.kill()
            async with Observer.of(plant) as observer:
                later = plant.start("telemetry")
                await plant.started(later)

                async def speaks() -> bool:
                    return bool(observer.aggregates)

                await wait_for(speaks)
                assert observer.aggregates[0].silence == "newer"

    asyncio.run(scene())
