"""A shard as an actor: what is full is not read, what fails begins again, what is fenced out changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import msgspec
import numpy as np
import pytest

from shoal.domain.errors import CorruptStateError, FencedOutError, UnavailableError
from shoal.domain.live import Quarantined
from shoal.domain.twins import AskTwins
from shoal.fabric.batch import JournalBatch
from shoal.fabric.tenure import Tenure
from shoal.runtime.actor import ActorFailedError
from shoal.telemetry.actor import MAILBOX, QUESTIONS, Copy, Durable, Follow, ShardActor, Took
from shoal.telemetry.shard import Shard, Snapshot
from shoal.twin.clockrule import ClockRule
from shoal.twin.layout import Layout
from tests.integration.store.fleets import make_fleet
from tests.unit.telemetry.shards import (
    START_NS,
    Journal,
    MemoryReader,
    MemoryRegisters,
    MemorySnapshots,
    new_actor,
    new_shard,
    picture,
    until,
)

FLEET = make_fleet(4)
ROWS = np.arange(4)
UNIT = "shard.0"


class Rig:
    """One shard's journal, register, snapshots and readers; actors of it are made and run by the test."""

    def __init__(self) -> None:
        self.journal = Journal(FLEET)
        self.registers = MemoryRegisters()
        self.snapshots = MemorySnapshots()
        self.readers: list[MemoryReader] = []
        self.make_shard: Callable[[], Shard] = lambda: new_shard(FLEET, ROWS)
        self.rejected: list[Quarantined] = []
        self.gate = asyncio.Event()
        self.gate.set()

    def speak(self, first: int, last: int) -> None:
        for minute in range(first, last + 1):
            for row in range(4):
                self.journal.say(row, minute)
                if minute % 3 == row % 3:
                    self.journal.say(row, minute)

    def open_reader(self, start_seq: int) -> MemoryReader:
        self.readers.append(MemoryReader(self.journal, start_seq))
        return self.readers[-1]

    def actor(self, tenure: Tenure) -> ShardActor:
        return new_actor(
            tenure,
            make_shard=lambda: self.make_shard(),
            make_reader=self.open_reader,
            snapshots=self.snapshots,
            gate=self.gate,
            rejected=self.rejected,
        )

    def uninterrupted(self) -> dict[str, Any]:
        shard = new_shard(FLEET, ROWS)
        shard.take(self.journal.batch(1, len(self.journal)))
        return picture(shard)

    async def done(self, actor: ShardActor) -> dict[str, Any]:
        """Wait until the actor has read everything; return the picture of its shard."""
        await until(
            lambda: (
                position(actor) == len(self.journal) == self.readers[-1].next_seq - 1
                and not actor.actor.statistics().queued
            )
        )
        assert actor._shard is not None
        return picture(actor._shard)

    def committed(self) -> Snapshot:
        return msgspec.msgpack.decode(self.registers.register(UNIT).state, type=Snapshot)


def position(actor: ShardActor) -> int:
    seen = actor.statistics()
    return -1 if seen is None else seen.position


class running:
    """Runs an actor meanwhile."""

    def __init__(self, actor: ShardActor) -> None:
        self.actor = actor

    async def __aenter__(self) -> ShardActor:
        self.task = asyncio.create_task(self.actor.run())
        return self.actor

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


def play(scene: Callable[[Rig], Awaitable[None]]) -> None:
    async def act() -> None:
        async with asyncio.timeout(20):
            await scene(Rig())

    asyncio.run(act())


def test_journal_is_read_into_the_twins_and_answered_for() -> None:
    async def scene(rig: Rig) -> None:
        rig.speak(1, 10)
        rig.journal.append(b"tele.0.nobody", b"x")
        async with running(rig.actor(await rig.registers.gain(UNIT))) as actor:
            assert await rig.done(actor) == rig.uninterrupted()
            answer = await actor.answer(AskTwins(), t_ns=START_NS)
            assert (answer.token, answer.sites) == (1, 4)
            assert [one.reason for one in rig.rejected] == ["unknown_site"]
            assert (actor.accounted(), actor.lag(), actor.lag_s(START_NS)) == (40, 0, 0.0)
            rig.speak(11, 12)
            assert await rig.done(actor) == rig.uninterrupted()
        assert rig.readers[0].closed

    play(scene)


def test_full_mailbox_stops_the_reading_and_leaves_room_for_questions() -> None:
    async def scene(rig: Rig) -> None:
        rig.speak(1, 30)
        actor = rig.actor(await rig.registers.gain(UNIT))
        await actor.start()  # it reads, but takes nothing yet
        await until(lambda: rig.readers[0].reads == MAILBOX + 1)
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert rig.readers[0].reads == MAILBOX + 1, "one batch more than there is room for is in hand"
        assert actor.lag() == len(rig.journal) - 3 * (MAILBOX + 1)
        assert actor.lag_s(START_NS) == 0.0, "nothing was taken yet"
        assert [actor.actor.tell(Durable()) for _ in range(QUESTIONS + 1)] == [True] * QUESTIONS + [False]
        await actor.stop()

    play(scene)


def test_closed_gate_holds_back_what_was_read() -> None:
    async def scene(rig: Rig) -> None:
        rig.gate.clear()
        rig.speak(1, 3)
        async with running(rig.actor(await rig.registers.gain(UNIT))) as actor:
            await until(lambda: bool(rig.readers) and rig.readers[0].reads == 1)
            await actor.actor.ask(Durable())
            assert actor.accounted() == 0
            rig.gate.set()
            assert await rig.done(actor) == rig.uninterrupted()

    play(scene)


def test_failure_begins_again_from_the_snapshot_without_gap_or_repetition() -> None:
    async def scene(rig: Rig) -> None:
        rig.speak(1, 10)
        tenure = await rig.registers.gain(UNIT)
        async with running(rig.actor(tenure)) as actor:
            await rig.done(actor)
            assert await actor.checkpoint()
            kept = position(actor)
            rig.speak(11, 20)
            await rig.done(actor)
            with pytest.raises(UnavailableError, match="failed"):
                await actor.actor.ask(Follow(FLEET, np.array([99]), Layout.of(FLEET)))
            rig.speak(21, 25)
            await until(lambda: len(rig.readers) == 2)
            assert await rig.done(actor) == rig.uninterrupted()
            assert rig.readers[1].reads and rig.readers[0].closed
            assert actor.actor.statistics().failed == 1
            assert rig.committed().position == kept

    play(scene)


def test_what_was_read_before_a_failure_is_not_taken_after_it() -> None:
    async def scene(rig: Rig) -> None:
        rig.speak(1, 4)
        async with running(rig.actor(await rig.registers.gain(UNIT))) as actor:
            await rig.done(actor)
            with pytest.raises(UnavailableError):
                await actor.actor.ask(Follow(FLEET, np.array([99]), Layout.of(FLEET)))
            await actor.actor.deliver(Took(1, rig.journal.batch(1, len(rig.journal))))
            await until(lambda: len(rig.readers) == 2)
            assert await rig.done(actor) == rig.uninterrupted()

    play(scene)


def test_poison_is_met_again_and_the_shard_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(Shard):
        def take(self, batch: JournalBatch) -> list[Quarantined]:
            raise ValueError("poison")

    async def scene(rig: Rig) -> None:
        rig.make_shard = lambda: Failing(**_arguments())
        rig.speak(1, 1)
        actor = rig.actor(await rig.registers.gain(UNIT))
        monkeypatch.setattr(actor.actor, "_sleep", lambda _: asyncio.sleep(0))
        with pytest.raises(ActorFailedError, match="poison"):
            await actor.run()
        assert actor.ready.is_set(), "nobody waits for it for ever"
        assert all(reader.closed for reader in rig.readers)
        with pytest.raises(UnavailableError, match="ended"):
            await actor.checkpoint()

    play(scene)


def _arguments() -> dict[str, Any]:
    like = new_shard(FLEET, ROWS)
    return {
        "number": 0,
        "fleet": FLEET,
        "rows": ROWS,
        "layout": Layout.of(FLEET),
        "time": like._time,
        "clock_rule": ClockRule(),
    }


@pytest.mark.parametrize("fault", [UnavailableError("stream", "gone"), RuntimeError("a bug")])
def test_journal_that_cannot_be_read_for_a_while_costs_nothing(fault: Exception) -> None:
    async def scene(rig: Rig) -> None:
        rig.speak(1, 5)
        async with running(rig.actor(await rig.registers.gain(UNIT))) as actor:
            await rig.done(actor)
            rig.readers[0].faults.append(fault)
            rig.speak(6, 9)
            await until(lambda: len(rig.readers) == 2)
            assert await rig.done(actor) == rig.uninterrupted()
            assert str(fault) in actor.actor.statistics().last_failure

    play(scene)


def test_journal_that_can_never_be_read_ends_the_actor(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(rig: Rig) -> None:
        def open_reader(start_seq: int) -> MemoryReader:
            reader = MemoryReader(rig.journal, start_seq)
            reader.faults.append(CorruptStateError("stream", "it was replaced"))
            return reader

        actor = new_actor(
            await rig.registers.gain(UNIT),
            make_shard=lambda: new_shard(FLEET, ROWS),
            make_reader=open_reader,
            snapshots=rig.snapshots,
        )
        monkeypatch.setattr(actor.actor, "_sleep", lambda _: asyncio.sleep(0))
        with pytest.raises(ActorFailedError, match="replaced"):
            await actor.run()

    play(scene)


def test_checkpoint_commits_what_was_copied_and_not_what_came_meanwhile() -> None:
    async def scene(rig: Rig) -> None:
        rig.speak(1, 10)
        async with running(rig.actor(await rig.registers.gain(UNIT))) as actor:
            before = await rig.done(actor)
            rig.snapshots.begun.clear()
            rig.snapshots.hold_next = True
            keeping = asyncio.create_task(actor.checkpoint())
            await rig.snapshots.begun.wait()
            copied = len(rig.journal)
            rig.speak(11, 20)
            assert await rig.done(actor) != before
            rig.snapshots.saving.set()
            assert await keeping
            mark = rig.committed()
            assert (mark.position, mark.counters["applied"]) == (copied, 40)
            again = new_shard(FLEET, ROWS)
            again.restore(mark, await rig.snapshots.load(mark.reference))
            assert picture(again) == before
            assert await actor.checkpoint(), "what came meanwhile is new"
            assert not await actor.checkpoint(), "nothing is"
            assert list(rig.snapshots.kept) == [rig.committed().reference]

    play(scene)


def test_two_checkpoints_at_once_leave_the_newer_one() -> None:
    async def scene(rig: Rig) -> None:
        rig.speak(1, 5)
        async with running(rig.actor(await rig.registers.gain(UNIT))) as actor:
            await rig.done(actor)
            rig.snapshots.begun.clear()
            rig.snapshots.hold_next = True
            first = asyncio.create_task(actor.checkpoint())
            await rig.snapshots.begun.wait()
            rig.speak(6, 9)
            expected = await rig.done(actor)
            second = asyncio.create_task(actor.checkpoint())
            await asyncio.sleep(0.01)
            rig.snapshots.saving.set()
            assert [await first, await second] == [True, True]
            mark = rig.committed()
            again = new_shard(FLEET, ROWS)
            again.restore(mark, await rig.snapshots.load(mark.reference))
            assert picture(again) == expected

    play(scene)


def test_former_owners_checkpoint_changes_nothing() -> None:
    async def scene(rig: Rig) -> None:
        rig.speak(1, 5)
        async with running(rig.actor(await rig.registers.gain(UNIT, "first"))) as former:
            await rig.done(former)
            assert await former.checkpoint()
            rig.speak(6, 8)
            await rig.done(former)
            async with running(rig.actor(await rig.registers.gain(UNIT, "second"))) as owner:
                assert await rig.done(owner) == rig.uninterrupted()
                assert await owner.checkpoint()
                before = rig.registers.register(UNIT)
                rig.speak(9, 9)
                await rig.done(former)
                with pytest.raises(FencedOutError):
                    await former.checkpoint()
                assert former.tenure.ended
                assert rig.registers.register(UNIT) == before
                assert rig.committed().reference in rig.snapshots.kept
                await rig.done(owner)
                assert await owner.checkpoint()
                assert rig.registers.register(UNIT).token == 2

    play(scene)


def test_next_owner_starts_from_the_commit_and_reads_only_what_follows() -> None:
    async def scene(rig: Rig) -> None:
        rig.speak(1, 10)
        async with running(rig.actor(await rig.registers.gain(UNIT))) as former:
            await rig.done(former)
            await former.checkpoint()
            kept = position(former)
            rig.speak(11, 15)
            await rig.done(former)
        async with running(rig.actor(await rig.registers.gain(UNIT))) as owner:
            assert await rig.done(owner) == rig.uninterrupted()
            first, second = rig.readers
            assert second.reads < first.reads
            assert await owner.checkpoint()
            assert rig.committed().position > kept

    play(scene)


@pytest.mark.parametrize("state", ["lost", "undecodable"])
def test_without_a_readable_snapshot_the_journal_is_replayed(state: str) -> None:
    async def scene(rig: Rig) -> None:
        rig.speak(1, 10)
        tenure = await rig.registers.gain(UNIT)
        if state == "lost":
            mark = Snapshot(position=7, reference=b"nowhere", counters={})
            await tenure.commit(msgspec.msgpack.encode(mark))
        else:
            await tenure.commit(b"\xc1 of another make")
        async with running(rig.actor(tenure)) as actor:
            assert await rig.done(actor) == rig.uninterrupted()
            assert await actor.checkpoint()

    play(scene)


def test_snapshots_that_are_away_are_waited_for() -> None:
    async def scene(rig: Rig) -> None:
        rig.speak(1, 10)
        tenure = await rig.registers.gain(UNIT)
        async with running(rig.actor(tenure)) as actor:
            await rig.done(actor)
            await actor.checkpoint()
        rig.snapshots.faults.append(UnavailableError("the snapshots", "no answer"))
        async with running(rig.actor(tenure)) as actor:
            copying = await actor.actor.ask(Copy())
            assert copying[1].position == len(rig.journal)
            assert actor.actor.statistics().failed == 1
            assert await rig.done(actor) == rig.uninterrupted()

    play(scene)
