"""Ownership over real processes and a real engine: one owner at a time, no commit lost, whatever dies."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from shoal.domain.errors import FencedOutError, InvalidInputError, UnavailableError
from shoal.fabric._registers import Registers
from shoal.fabric.keys import Role
from shoal.fabric.ownership import Event, Gained, Lost, Ownership, Recalled
from shoal.fabric.subjects import HISTORY_GROUP, LIVE_GROUP, OWNERS_STREAM
from shoal.fabric.tenure import MOST_STATE_BYTES, Tenure
from tests.integration.fabric.owners import Owners, assert_never_valid_beside_another, check_story, pause
from tests.integration.fabric.plant import TIMEOUT_S, Plant, wait_until

UNITS = [f"telemetry.{number}" for number in range(9)] + ["aggregate"]
TAKE_OVER_S = 3.5
"""2 s of the engine's patience and a quarter of a second to notice, with room for a busy machine."""
EVENTS = 20
MOST_PROCESSES = 5


class Taker:
    """A member in this process that notes what it is told."""

    def __init__(self, ownership: Ownership) -> None:
        self.ownership = ownership
        self.events: list[Event] = []
        self.heeds = True

    @classmethod
    @asynccontextmanager
    async def joining(
        cls, plant: Plant, *units: str, role: Role = Role.TELEMETRY, group: str = LIVE_GROUP, **more: float
    ) -> AsyncIterator[Taker]:
        async with plant.client(role) as client:
            ownership = Ownership(client, group=group, member="taker", units=units, **more)  # type: ignore[arg-type]
            taker = cls(ownership)
            tasks = [asyncio.create_task(ownership.run()), asyncio.create_task(taker.take())]
            try:
                yield taker
            finally:
                ownership.leave()
                async with asyncio.timeout(TIMEOUT_S):
                    await asyncio.gather(*tasks)

    async def take(self) -> None:
        async for event in self.ownership.events():
            self.events.append(event)
            if isinstance(event, Recalled) and self.heeds:
                await event.tenure.release(event.tenure.state + b"+")

    async def owns(self, unit: str) -> Tenure:
        await wait_until(lambda: unit in self.ownership.tenures)
        return self.ownership.tenures[unit]


def test_first_member_owns_everything_at_once_and_the_next_starts_from_its_commits(plant: Plant) -> None:
    async def body() -> None:
        async with Taker.joining(plant, "a.1", "a.2") as first:
            tenure = await first.owns("a.1")
            other = await first.owns("a.2")
            assert (tenure.token, tenure.state, tenure.valid()) == (1, b"", True)
            await tenure.commit(b"one")
            await tenure.commit(b"two")
            await other.release(b"free")
            assert not other.valid()
            with pytest.raises(FencedOutError):
                await other.commit(b"after release")
        assert [type(event) for event in first.events if event.tenure is tenure] == [Gained, Recalled]
        async with Taker.joining(plant, "a.1", "a.2") as second:
            again = await second.owns("a.1")
            assert (again.token, again.state) == (2, b"two+")
            assert (await second.owns("a.2")).state.startswith(b"free")
            with pytest.raises(FencedOutError):
                await tenure.commit(b"late")
            with pytest.raises(InvalidInputError):
                await again.commit(b"x" * (MOST_STATE_BYTES + 1))

    asyncio.run(body())


def test_member_that_joins_gets_its_share_by_handing_over(plant: Plant) -> None:
    units = [f"b.{number}" for number in range(5)]

    async def body() -> None:
        async with Taker.joining(plant, *units, settle_s=0.2) as first:
            await wait_until(lambda: len(first.ownership.tenures) == 5)
            await (await first.owns("b.4")).commit(b"state")
            async with Taker.joining(plant, *units, "b.only", settle_s=0.2) as second:
                await wait_until(
                    lambda: (len(first.ownership.tenures), len(second.ownership.tenures)) == (3, 3)
                )
                assert (await second.owns("b.4")).state == b"state+"
                assert not any(isinstance(event, Lost) for event in first.events)
                statistics = second.ownership.statistics()
                assert (statistics.members, statistics.units, statistics.owned) == (2, 6, 3)
            await wait_until(lambda: len(first.ownership.tenures) == 5)

    asyncio.run(body())


def test_recall_that_is_not_heeded_ends_the_tenure(plant: Plant) -> None:
    async def body() -> None:
        async with Taker.joining(plant, "c.1", "c.2", settle_s=0.1, release_within_s=0.3) as deaf:
            deaf.heeds = False
            await wait_until(lambda: len(deaf.ownership.tenures) == 2)
            before = await deaf.owns("c.2")
            await before.commit(b"kept")
            async with Taker.joining(plant, "c.1", "c.2", settle_s=0.1) as other:
                tenure = await other.owns("c.2")
                assert (tenure.state, tenure.token) == (b"kept", 2)
                assert any(isinstance(event, Lost) for event in deaf.events)
                with pytest.raises(FencedOutError) as caught:
                    await before.commit(b"late")
                assert (caught.value.held, caught.value.newest) == (1, 2)

    asyncio.run(body())


def test_groups_and_roles_are_apart(plant: Plant) -> None:
    async def body() -> None:
        async with (
            Taker.joining(plant, "d") as live,
            Taker.joining(plant, "d", role=Role.HISTORY, group=HISTORY_GROUP) as history,
        ):
            assert (await live.owns("d")).token == (await history.owns("d")).token == 1
            async with plant.client(Role.HISTORY) as client:
                with pytest.raises(UnavailableError):  # no answer: it may not publish there
                    await Registers(client, stream=OWNERS_STREAM, timeout_s=0.3).write("own.live.d", b"x")

    asyncio.run(body())


@pytest.mark.parametrize(
    ("member", "unit"), [("a.b", "u"), ("a", "u.*"), ("a", ""), ("a", "u..v"), ("", "u")]
)
def test_names_that_are_no_subjects_are_refused(plant: Plant, member: str, unit: str) -> None:
    async def body() -> None:
        async with plant.client(Role.TELEMETRY) as client:
            with pytest.raises(InvalidInputError):
                Ownership(client, group=LIVE_GROUP, member=member, units=[unit])

    asyncio.run(body())


def test_engine_that_is_killed_costs_no_tenure(tmp_path: Path) -> None:
    plant = Plant.make(tmp_path)

    async def body() -> None:
        async with plant.server as server:
            await plant.make_streams()
            supervising = asyncio.create_task(server.supervise())
            async with Taker.joining(plant, "e.1", "e.2") as one, Taker.joining(plant, "e.1", "e.2") as two:
                await wait_until(lambda: one.ownership.tenures.keys() ^ two.ownership.tenures.keys() != set())
                await wait_until(lambda: len(one.ownership.tenures) == len(two.ownership.tenures) == 1)
                (mine,), (yours,) = one.ownership.tenures.values(), two.ownership.tenures.values()
                for restarts in (1, 2):
                    os.kill(server.statistics().pid or 0, signal.SIGKILL)
                    while server.statistics().restarts < restarts:  # noqa: ASYNC110 - nobody tells
                        await asyncio.sleep(0.01)
                    await wait_until(lambda: mine.valid() and yours.valid())
                    await asyncio.gather(mine.commit(b"m"), yours.commit(b"y"))
                await pause(2.5)  # whoever took the other for dead would have taken its unit by now
                assert mine.valid()
                assert yours.valid()
                assert not any(isinstance(event, Lost) for event in one.events + two.events)
            supervising.cancel()
            await asyncio.wait([supervising])

    asyncio.run(body())


def test_owner_that_is_killed_is_replaced_soon(plant: Plant, tmp_path: Path) -> None:
    async def body() -> None:
        with Owners.at(plant.server.url, plant.key_dir, tmp_path / "log", UNITS) as owners:
            owners.start(), owners.start()
            await owners.wait_owned(balanced=True)
            victim = owners.alive()[0]
            killed_s = time.monotonic()
            owners.kill(victim)
            await owners.wait_owned()
            gains = [line["at_s"] for line in owners.lines() if line["what"] == "gained"]
            assert max(gains) - killed_s < TAKE_OVER_S
            check_story(owners.lines(), UNITS)

    asyncio.run(body())


def test_owner_that_stood_still_notices_at_once_and_commits_nothing(plant: Plant, tmp_path: Path) -> None:
    async def body() -> None:
        units = [f"asleep.{number}" for number in range(10)]
        with Owners.at(plant.server.url, plant.key_dir, tmp_path / "log", units) as owners:
            sleeper = owners.start()
            await owners.wait_owned()
            owners.stop(sleeper)
            owners.start()
            await owners.wait_owned()
            woken_s = time.monotonic()
            owners.resume(sleeper)
            await owners.wait_owned(balanced=True)
            lines = owners.lines()
            refused = [line for line in lines if line["what"] in ("refused", "lost")]
            assert {line["unit"] for line in refused} == set(units)
            assert max(line["at_s"] for line in refused) - woken_s < 1.0
            check_story(lines, units)
            assert_never_valid_beside_another(lines, units)

    asyncio.run(body())


def test_twenty_random_events_lose_nothing(plant: Plant, tmp_path: Path) -> None:
    """Kill, stand still, leave and join at random moments."""
    units = [f"chaos.{number}" for number in range(8)]
    dice = random.Random(7)

    async def body() -> None:
        with Owners.at(plant.server.url, plant.key_dir, tmp_path / "log", units) as owners:
            for _ in range(3):
                owners.start()
            await owners.wait_owned(balanced=True)
            for _ in range(EVENTS):
                happen(owners, dice)
                await pause(dice.uniform(0.1, 0.9))
            for process in owners.processes:
                if process.pid in owners.stopped:
                    owners.resume(process)
            since_s = time.monotonic()
            await owners.wait_owned(balanced=True)
            await wait_until(lambda: committed_since(owners, since_s) == set(units))
            lines = owners.lines()
            assert check_story(lines, units) > 2 * len(units)
            assert_never_valid_beside_another(lines, units)

    asyncio.run(body())


def happen(owners: Owners, dice: random.Random) -> None:
    at_work = set(owners.owners_now().values())
    alive = [process for process in owners.alive() if process.pid in at_work]
    may_join = len(owners.alive()) < MOST_PROCESSES
    what = dice.choice(["kill", "stop", "leave", *(["join"] if may_join else [])])
    if what == "join" or not alive:
        if may_join:
            owners.start()
    elif what == "kill":
        owners.kill(dice.choice(alive))
    elif what == "stop":
        asleep = [process for process in owners.processes if process.pid in owners.stopped]
        if len(asleep) > 1:
            owners.resume(asleep[0])
        owners.stop(dice.choice(alive))
    else:
        dice.choice(alive).terminate()


def committed_since(owners: Owners, since_s: float) -> set[str]:
    return {
        line["unit"] for line in owners.lines() if line["what"] == "committed" and line["began_s"] > since_s
    }
