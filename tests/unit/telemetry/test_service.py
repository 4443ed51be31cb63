"""The telemetry role on journals in memory: on a conducted clock, on the machine's own, and beside another process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, cast

import msgspec
import numpy as np
import pytest

from shoal.domain.clock import Stage, Tick
from shoal.domain.desired import DurableUpTo
from shoal.domain.errors import UnavailableError
from shoal.domain.fleet import Fleet
from shoal.domain.ids import SiteId
from shoal.domain.interval import NS_PER_MINUTE, NS_PER_S
from shoal.domain.live import Aggregates, Quarantined, QuarantineState
from shoal.domain.telemetry import TELEMETRY
from shoal.domain.twins import AskTwins, ShardAnswer
from shoal.domain.wire import encode
from shoal.fabric.journal import JournalReader
from shoal.fabric.ownership import Event, Gained, Lost, Recalled
from shoal.fabric.snapshots import Snapshots
from shoal.fabric.tenure import Tenure
from shoal.telemetry.actor import Follow
from shoal.telemetry.contract import AGGREGATE, Outlets, TelemetryOptions, shard_unit
from shoal.telemetry.crew import Crew
from shoal.telemetry.merge import ShardConditions, ShardSums
from shoal.telemetry.service import Telemetry
from shoal.telemetry.setaside import MOST_EVIDENCE, SetAside
from shoal.telemetry.shard import Snapshot
from shoal.twin.aggregate import Timeouts
from shoal.twin.clockrule import ClockRule
from shoal.twin.conditions import Condition
from shoal.twin.layout import Layout
from shoal.twin.silence_default import built_in_table
from tests.integration.store.fleets import GRID, make_fleet
from tests.unit.telemetry.shards import (
    START_NS,
    Journal,
    MemoryReader,
    MemoryRegisters,
    MemorySnapshots,
    StillClock,
    until,
)

FLEET = make_fleet(8)
SITES = len(FLEET.site_ids)
SHARDS = 2
SHARD_OF = (FLEET.partition.astype(int) * SHARDS // 64).tolist()
ROOT = next(n for n, group in enumerate(FLEET.groups) if group.group_id == "vpp")
POISON = Follow(FLEET, np.array([99]), Layout.of(FLEET))
"""A fleet that has no such row: whoever takes it fails."""
TOTAL_KW = sum(0.1 * (row + 1) for row in range(SITES))


class Plant:
    """What processes of the role have in common: journals, registers, snapshots and the subjects."""

    def __init__(self, fleet: Fleet = FLEET) -> None:
        self.fleet = fleet
        self.journals = [Journal(fleet) for _ in range(SHARDS)]
        self.registers = MemoryRegisters()
        self.snapshots = MemorySnapshots()
        self.clock: StillClock = StillClock()
        self.published: list[tuple[str, bytes]] = []
        self.processes: list[Process] = []
        self.released = 0

    def say(self, row: int, *seq: int, **values: float) -> None:
        self.journals[SHARD_OF[row]].say(row, *seq, **values)
        self.released += len(seq)

    def minute(self, number: int) -> None:
        """Every site says its sample of this minute."""
        for row in range(SITES):
            self.say(row, number)

    async def publish(self, subject: str, payload: bytes) -> None:
        self.published.append((subject, payload))
        for process in self.processes:
            if subject.startswith("sums."):
                process.service.summing.take_sums(payload)
            if subject.startswith("conditions."):
                process.service.summing.take_conditions(payload)

    def heard(self, subject: str) -> list[bytes]:
        return [payload for at, payload in self.published if at == subject]

    def aggregates(self) -> list[Aggregates]:
        return [msgspec.json.decode(payload, type=Aggregates) for payload in self.heard("live")]

    def told(self, name: str) -> list[int]:
        return [msgspec.json.decode(p, type=DurableUpTo).seq for p in self.heard(f"to.{name}.durable")]

    def committed(self, number: int) -> Snapshot | None:
        state = self.registers.register(shard_unit(number)).state
        return msgspec.msgpack.decode(state, type=Snapshot) if state else None


class Process:
    """One process of the role; it owns what the test gives it."""

    def __init__(self, plant: Plant, *, conducted: bool) -> None:
        self.plant = plant
        self.happened: asyncio.Queue[Event | None] = asyncio.Queue()
        self.tenures: dict[str, Tenure] = {}
        set_aside = SetAside(
            publish=plant.publish,
            state_subject="quarantine",
            evidence_subject=lambda reason: f"evidence.{reason}",
        )
        self.crew = Crew(
            shards=SHARDS,
            fleet=plant.fleet,
            membership=self,
            make_reader=cast(
                Callable[[int, int], JournalReader],
                lambda number, start: MemoryReader(plant.journals[number], start, eager=not conducted),
            ),
            snapshots=cast(Snapshots, plant.snapshots),
            time=plant.clock,
            clock_rule=ClockRule(),
            set_aside=set_aside,
        )
        self.service = Telemetry(
            options=TelemetryOptions(
                shards=SHARDS,
                timeouts=Timeouts.alike(),
                refresh_every_s=0.01,
                checkpoint_every_s=300.0,
                durable_ack_every_s=120.0,
                clock_rule=ClockRule(),
                conducted=conducted,
            ),
            clock=plant.clock,
            crew=self.crew,
            table=built_in_table(),
            outlets=Outlets(
                publish=plant.publish,
                durable_subject=lambda site: f"to.{site}.durable",
                aggregates_subject="live",
                sums_subject=lambda number: f"sums.{number}",
                conditions_subject=lambda number: f"conditions.{number}",
                quarantine_subject="quarantine",
                evidence_subject=lambda reason: f"evidence.{reason}",
            ),
            set_aside=set_aside,
        )
        plant.processes.append(self)

    async def events(self) -> AsyncIterator[Event]:
        while (event := await self.happened.get()) is not None:
            yield event

    async def gain(self, *units: str) -> None:
        for unit in units:
            self.tenures[unit] = await self.plant.registers.gain(unit)
            self.happened.put_nowait(Gained(self.tenures[unit]))

    async def __aenter__(self) -> Process:
        self.tasks = [asyncio.create_task(self.crew.own()), asyncio.create_task(self.service.follow())]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self.tasks:
            task.cancel()
        for task in self.tasks:
            with suppress(asyncio.CancelledError):
                await task


EVERYTHING = (shard_unit(0), shard_unit(1), AGGREGATE)


class Conducted:
    """A plant whose time is conducted, with one process that owns everything."""

    def __init__(self) -> None:
        self.plant = Plant()
        self.process = Process(self.plant, conducted=True)

    async def __aenter__(self) -> Conducted:
        await self.process.gain(*EVERYTHING)
        await self.process.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.process.__aexit__()

    async def tick(self, minute: int, *, say: bool = True, closing: bool = False) -> int:
        """Let a minute pass; return how many samples are taken at its end."""
        if say:
            self.plant.minute(minute)
        facts = {"samples_released": self.plant.released} | ({"closing": 1} if closing else {})
        self.plant.clock.due.put_nowait(Tick(t_ns=START_NS + minute * NS_PER_MINUTE, facts=facts))
        done = asyncio.create_task(self.plant.clock.done.get())
        await asyncio.wait([done, *self.process.tasks], return_when=asyncio.FIRST_COMPLETED, timeout=15)
        assert done.done(), [task for task in self.process.tasks if task.done() and task.result()]
        return self.process.service.statistics().applied


def play(scene: Callable[[], Awaitable[None]]) -> None:
    async def act() -> None:
        async with asyncio.timeout(30):
            await scene()

    asyncio.run(act())


# -- on a conducted clock


def test_tick_is_done_when_every_released_sample_is_in() -> None:
    async def scene() -> None:
        async with Conducted() as rig:
            assert [await rig.tick(minute) for minute in range(1, 7)] == [SITES * m for m in range(1, 7)]
            assert rig.process.service.statistics().stalls == 0

    play(scene)


def test_what_comes_after_a_tick_waits_for_the_next_one() -> None:
    async def scene() -> None:
        async with Conducted() as rig:
            assert await rig.tick(1) == SITES
            rig.plant.minute(2)
            for actor in rig.process.crew.actors.values():
                actor.demand(100)
            for _ in range(30):
                await asyncio.sleep(0.001)
            assert rig.process.service.statistics().applied == SITES
            assert await rig.tick(2, say=False) == 2 * SITES

    play(scene)


def test_aggregates_of_a_tick_are_those_of_its_samples() -> None:
    async def scene() -> None:
        async with Conducted() as rig:
            for minute in range(1, 4):
                await rig.tick(minute)
            live = rig.plant.aggregates()
            assert [one.t_ns for one in live] == [START_NS + m * NS_PER_MINUTE for m in range(1, 4)]
            assert [round(one.battery_kw[ROOT], 6) for one in live] == [round(TOTAL_KW, 6)] * 3
            assert [(one.fresh[ROOT], one.sites[ROOT]) for one in live] == [(SITES, SITES)] * 3
            assert [(one.applied, one.lag) for one in live] == [(SITES * m, 0) for m in range(1, 4)]
            assert {(one.shards, one.live_shards) for one in live} == {(2, 2)}
            assert rig.process.service.statistics().coverage_mean == 1.0

    play(scene)


def test_sites_hear_what_is_durable_every_other_minute() -> None:
    async def scene() -> None:
        async with Conducted() as rig:
            for minute in range(1, 6):
                await rig.tick(minute)
            assert rig.plant.told(FLEET.site_ids[3]) == [1, 2, 4]
            assert [report["durable_sent"] for report in rig.plant.clock.reports] == [SITES] * 3

    play(scene)


def test_device_with_a_lasting_hole_is_asked_to_send_again() -> None:
    async def scene() -> None:
        async with Conducted() as rig:
            await rig.tick(1)
            for minute in (2, 3, 4, 5, 6):
                for row in range(SITES):
                    if (row, minute) != (3, 2):
                        rig.plant.say(row, minute)
                await rig.tick(minute, say=False)
            answers = [
                msgspec.json.decode(p, type=DurableUpTo)
                for p in rig.plant.heard(f"to.{FLEET.site_ids[3]}.durable")
            ]
            assert [(one.seq, one.resend) for one in answers] == [(1, False), (1, True)]
            rig.plant.say(3, 2)
            await rig.tick(7)
            await rig.tick(8)
            assert rig.plant.told(FLEET.site_ids[3])[-1] == 8

    play(scene)


def test_site_behind_a_gateway_hears_through_it() -> None:
    behind = np.full(SITES, -1, dtype=np.int32)
    unit = np.zeros(SITES, dtype=np.int32)
    behind[3], unit[3] = 0, 7
    gate = next(n for n in range(99) if _shard_of(f"gate-{n}") == SHARD_OF[3])
    fleet = replace(FLEET, gateway_ids=(f"gate-{gate}",), gateway_of=behind, gateway_unit=unit)

    async def scene() -> None:
        rig = Conducted()
        rig.plant = Plant(fleet)
        rig.process = Process(rig.plant, conducted=True)
        async with rig:
            for row in range(SITES):
                if row != 3:
                    rig.plant.say(row, 1)
            await rig.tick(1, say=False)
            journal = rig.plant.journals[SHARD_OF[3]]
            records = TELEMETRY.empty(1)
            records["seq"], records["ts_ns"] = 1, START_NS + 2 * NS_PER_MINUTE
            journal.append(f"tele.0.gate-{gate}".encode(), _behind(records, 7), START_NS + 2 * NS_PER_MINUTE)
            rig.plant.released += 1
            await rig.tick(2, say=False)
            assert rig.plant.told(f"gate-{gate}.7") == [1]
            assert rig.plant.told(FLEET.site_ids[3]) == []

    play(scene)


def _shard_of(name: str) -> int:
    fleet = replace(FLEET.take(np.array([0])), site_ids=(SiteId(name),))
    return int(fleet.partition[0]) * SHARDS // 64


def _behind(records: Any, unit: int) -> bytes:
    return encode(records, oldest_seq=1, units=np.array([unit]))


def test_bad_sample_is_set_aside_and_nobody_waits_for_it() -> None:
    async def scene() -> None:
        async with Conducted() as rig:
            await rig.tick(1)
            for row in range(SITES):
                if row == 1:
                    rig.plant.say(1, 2, soc_frac=np.nan, version=1)
                else:
                    rig.plant.say(row, 2)
            await rig.tick(2, say=False)
            await rig.tick(3)
            await rig.tick(4)
            figures = rig.process.service.statistics()
            assert (figures.applied, figures.quarantined, figures.stalls) == (4 * SITES - 1, 1, 0)
            (evidence,) = [
                msgspec.json.decode(p, type=Quarantined) for p in rig.plant.heard("evidence.not_a_number")
            ]
            assert evidence.site_id == FLEET.site_ids[1]
            last = msgspec.json.decode(rig.plant.heard("quarantine")[-1], type=QuarantineState)
            assert (last.total, last.by_reason, last.recent) == (1, {"not_a_number": 1}, [evidence])
            assert rig.plant.told(FLEET.site_ids[1])[-1] == 4, "it may forget what was set aside for good"

    play(scene)


def test_lost_message_stalls_visibly_until_it_is_said_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal.telemetry.service.STALL_S", 0.05)

    async def scene() -> None:
        async with Conducted() as rig:
            await rig.tick(1)
            rig.plant.minute(2)
            journal = rig.plant.journals[SHARD_OF[2]]
            at = next(n for n in reversed(range(len(journal))) if journal.messages[n][0].endswith(b"2"))
            lost, arrival_ns = journal.messages.pop(at), journal.arrivals_ns.pop(at)
            asyncio.get_running_loop().call_later(0.2, lambda: journal.append(*lost, arrival_ns))
            assert await rig.tick(2, say=False) == 2 * SITES
            assert rig.process.service.statistics().stalls >= 1

    play(scene)


def test_closing_takes_in_all_that_there_is_and_hands_in_an_account() -> None:
    async def scene() -> None:
        async with Conducted() as rig:
            await rig.tick(1)
            await rig.tick(2)
            rig.plant.minute(3)
            rig.plant.minute(3)
            rig.plant.released -= SITES
            await rig.tick(3, say=False, closing=True)
            account = rig.plant.clock.accounts
            assert (account["applied"], account["duplicates"]) == (3 * SITES, SITES)
            assert (account["pending"], account["coverage_mean"], account["shards"]) == (0, 1.0, 2)
            for number in range(SHARDS):
                kept = rig.plant.committed(number)
                assert kept is not None
                assert kept.position == len(rig.plant.journals[number]), "nothing is left to replay"

    play(scene)


def test_snapshots_are_kept_at_every_checkpoint() -> None:
    async def scene() -> None:
        async with Conducted() as rig:
            kept = []
            for minute in range(1, 9):
                await rig.tick(minute)
                marks = [rig.plant.committed(number) for number in range(SHARDS)]
                kept.append(sum(mark.counters["applied"] for mark in marks if mark is not None))
            # five-minute marks of the clock: the start is one, and so is its fifth minute
            assert kept == [SITES, *[SITES] * 3, *[5 * SITES] * 4]

    play(scene)


def test_shard_that_fails_within_a_tick_begins_again_and_the_tick_is_whole() -> None:
    async def scene() -> None:
        async with Conducted() as rig:
            await rig.tick(1)
            with suppress(UnavailableError):
                await rig.process.crew.actors[0].actor.ask(POISON)
            assert await rig.tick(2) == 2 * SITES
            assert rig.process.service.statistics().actor_failures == 1
            assert rig.plant.aggregates()[-1].fresh[ROOT] == SITES

    play(scene)


def test_shard_that_is_given_up_while_the_tick_waits_for_it_is_waited_for_anew() -> None:
    async def scene() -> None:
        async with Conducted() as rig:
            await rig.tick(1)
            rig.plant.snapshots.faults = [UnavailableError("the snapshots", "no answer") for _ in range(5)]
            actor = rig.process.crew.actors[0]
            await rig.process.crew.checkpoint()
            cast(Any, actor.actor)._sleep = lambda _: asyncio.sleep(0)
            with suppress(UnavailableError):
                await actor.actor.ask(POISON)
            ticking = asyncio.create_task(rig.tick(2))
            await until(lambda: 0 not in rig.process.crew.actors)
            assert not ticking.done()
            await rig.process.gain(shard_unit(0))
            assert await ticking == 2 * SITES
            assert rig.process.tenures[shard_unit(0)].token == 2

    play(scene)


# -- on the machine's clock


class RunningClock(StillClock):
    """A clock that goes on while the test looks, a hundredth of a second at a time."""

    async def ticks(self, stage: Stage, every_s: float) -> AsyncIterator[Tick]:
        while True:
            await asyncio.sleep(0.01)
            yield Tick(t_ns=self.now)


def running_plant(fleet: Fleet = FLEET) -> Plant:
    plant = Plant(fleet)
    plant.clock = RunningClock(START_NS + NS_PER_MINUTE)
    return plant


def test_on_a_clock_that_waits_for_nobody_samples_are_taken_as_they_come() -> None:
    async def scene() -> None:
        plant = running_plant()
        async with Process(plant, conducted=False) as process:
            await process.gain(*EVERYTHING)
            for minute in (1, 2, 3):
                plant.minute(minute)
                plant.clock.now = START_NS + minute * NS_PER_MINUTE
                taken = minute * SITES
                await until(lambda taken=taken: taken in {one.applied for one in plant.aggregates()})
            assert round(plant.aggregates()[-1].battery_kw[ROOT], 6) == round(TOTAL_KW, 6)
            await until(lambda: plant.told(FLEET.site_ids[0])[-1:] == [3])
            await until(lambda: all(plant.committed(number) is not None for number in range(SHARDS)))

    play(scene)


def test_shards_of_two_processes_make_one_aggregate() -> None:
    async def scene() -> None:
        plant = running_plant()
        plant.minute(1)
        async with Process(plant, conducted=False) as one, Process(plant, conducted=False) as other:
            await one.gain(shard_unit(0), AGGREGATE)
            await until(lambda: bool(plant.aggregates()) and plant.aggregates()[-1].live_shards == 1)
            half = plant.aggregates()[-1]
            assert (half.sites[ROOT], half.unknown[ROOT]) == (SITES, SHARD_OF.count(1))
            await other.gain(shard_unit(1))
            await until(lambda: plant.aggregates()[-1].applied == SITES)
            whole = plant.aggregates()[-1]
            assert (whole.live_shards, whole.fresh[ROOT]) == (2, SITES)
            assert round(whole.battery_kw[ROOT], 6) == round(TOTAL_KW, 6)
            assert whole.high_kw[ROOT] - whole.low_kw[ROOT] < half.high_kw[ROOT] - half.low_kw[ROOT]
            assert {s.partition(".")[2] for s, _ in plant.published if s.startswith("sums.")} == {"1"}

    play(scene)


def test_former_owners_sums_are_refused() -> None:
    async def scene() -> None:
        plant = running_plant()
        plant.minute(1)
        async with Process(plant, conducted=False) as one, Process(plant, conducted=False) as other:
            await one.gain(shard_unit(0), AGGREGATE)
            await other.gain(shard_unit(1))
            await until(lambda: bool(plant.heard("sums.1")))
            old = msgspec.msgpack.decode(plant.heard("sums.1")[-1], type=ShardSums)
            await other.gain(shard_unit(1))  # it lost the shard and owns it again
            await until(lambda: msgspec.msgpack.decode(plant.heard("sums.1")[-1], type=ShardSums).token == 2)
            doubled = msgspec.structs.replace(
                old,
                t_ns=plant.clock.now + NS_PER_S,
                groups=(np.frombuffer(old.groups, dtype=np.int64) * 2).tobytes(),
            )
            await plant.publish("sums.1", msgspec.msgpack.encode(doubled))
            await plant.publish("sums.1", b"\xc1 rubbish")
            seen = len(plant.aggregates())
            await until(lambda: len(plant.aggregates()) > seen + 2)
            assert round(plant.aggregates()[-1].battery_kw[ROOT], 6) == round(TOTAL_KW, 6)
            assert one.service.statistics().stale_owners == 1

    play(scene)


def test_owner_whose_lease_is_in_doubt_does_not_speak() -> None:
    async def scene() -> None:
        plant = running_plant()
        plant.minute(1)
        async with Process(plant, conducted=False) as process:
            await process.gain(*EVERYTHING)
            await until(lambda: bool(plant.aggregates()) and plant.aggregates()[-1].applied == SITES)
            assert await process.service.answer(0, b"") is not None
            for tenure in process.tenures.values():
                cast(Any, tenure)._lease_until_s = lambda: 0.0
            await asyncio.sleep(0)
            refreshes = process.service.statistics().refreshes
            await until(lambda: process.service.statistics().refreshes > refreshes + 1)
            said = len(plant.aggregates())
            await until(lambda: process.service.statistics().refreshes > refreshes + 4)
            assert len(plant.aggregates()) == said
            assert await process.service.answer(0, b"") is None

    play(scene)


def test_unit_that_is_recalled_is_kept_first_and_then_given_up() -> None:
    async def scene() -> None:
        plant = running_plant()
        plant.minute(1)
        async with Process(plant, conducted=False) as process:
            await process.gain(*EVERYTHING)
            await until(lambda: process.service.statistics().applied == SITES)
            for unit in EVERYTHING:
                process.happened.put_nowait(Recalled(process.tenures[unit]))
            await until(lambda: all(plant.registers.register(unit).member == "" for unit in EVERYTHING))
            assert process.service.statistics().shards == 0
            assert process.crew.aggregate is None
            for number in range(SHARDS):
                kept = plant.committed(number)
                assert kept is not None
                assert kept.position == len(plant.journals[number])

    play(scene)


def test_unit_that_is_lost_is_laid_down_at_once() -> None:
    async def scene() -> None:
        plant = running_plant()
        async with Process(plant, conducted=False) as process:
            await process.gain(*EVERYTHING)
            await until(lambda: process.service.statistics().shards == 2)
            process.happened.put_nowait(Lost(process.tenures[shard_unit(1)]))
            await until(lambda: process.service.statistics().shards == 1)
            assert await process.service.answer(1, b"") is None
            await process.gain(shard_unit(1))
            await until(lambda: process.service.statistics().shards == 2)

    play(scene)


def test_question_is_answered_for_shards_that_are_owned_and_a_bad_one_harms_nobody() -> None:
    async def scene() -> None:
        plant = running_plant()
        plant.minute(1)
        async with Process(plant, conducted=False) as process:
            await process.gain(shard_unit(1))
            await until(lambda: process.service.statistics().applied == SHARD_OF.count(1))
            rows = np.flatnonzero(np.array(SHARD_OF) == 1)
            asked = msgspec.msgpack.encode(AskTwins(rows=rows[:1].tobytes()))
            for payload, expected in ((b"", rows), (asked, rows[:1])):
                reply = await process.service.answer(1, payload)
                assert reply is not None
                answer = msgspec.msgpack.decode(reply, type=ShardAnswer)
                assert np.frombuffer(answer.rows, dtype=np.int64).tolist() == expected.tolist()
                assert answer.sites == len(rows)
            assert await process.service.answer(0, b"") is None
            for bad in (b"\xc1", msgspec.msgpack.encode({"rows": b"half"})):
                assert await process.service.answer(1, bad) is None
            huge = msgspec.msgpack.encode({"first": 2**64 - 1})
            reply = await process.service.answer(1, huge)
            assert reply is not None
            assert process.service.statistics().actor_failures == 0

    play(scene)


def test_fleet_that_changes_is_followed_without_a_wrong_sum() -> None:
    """All sites move to one feeder, which makes other cells: no aggregate may ever mix the two."""
    leaves = np.full(SITES, FLEET.leaf_group[GRID][0], dtype=np.int32)
    moved = replace(FLEET, leaf_group={**FLEET.leaf_group, GRID: leaves})
    feeder = int(FLEET.leaf_group[GRID][0])

    async def scene() -> None:
        plant = running_plant()
        plant.minute(1)
        async with Process(plant, conducted=False) as one, Process(plant, conducted=False) as other:
            await one.gain(shard_unit(0), AGGREGATE)
            await other.gain(shard_unit(1))
            await until(lambda: bool(plant.aggregates()) and plant.aggregates()[-1].applied == SITES)
            assert plant.aggregates()[-1].sites[feeder] < SITES
            await one.crew.follow_fleet(moved)
            seen = len(plant.aggregates())
            await until(lambda: len(plant.aggregates()) > seen + 1)
            assert plant.aggregates()[-1].live_shards == 1, "the other speaks of groups as they were"
            await other.crew.follow_fleet(moved)
            await until(lambda: plant.aggregates()[-1].live_shards == 2)
            last = plant.aggregates()[-1]
            assert (last.sites[feeder], last.fresh[feeder], last.applied) == (SITES, SITES, SITES)
            assert {one.sites[ROOT] for one in plant.aggregates()} == {SITES}

    play(scene)


def test_fleet_that_changes_between_two_shards_of_one_process_stops_nothing() -> None:
    leaves = np.full(SITES, FLEET.leaf_group[GRID][0], dtype=np.int32)
    moved = replace(FLEET, leaf_group={**FLEET.leaf_group, GRID: leaves})

    async def scene() -> None:
        plant = running_plant()
        plant.minute(1)
        async with Process(plant, conducted=False) as process:
            await process.gain(*EVERYTHING)
            await until(lambda: process.service.statistics().applied == SITES)
            crew = process.crew
            whole = crew.actors.copy()
            del crew.actors[1]
            await crew.follow_fleet(moved)  # reaches one of the two
            crew.actors.update(whole)
            seen = len(plant.aggregates())
            await until(lambda: len(plant.aggregates()) > seen + 1)
            assert plant.aggregates()[-1].live_shards == 1
            assert not any(task.done() for task in process.tasks)
            await crew.follow_fleet(moved)
            await until(lambda: plant.aggregates()[-1].live_shards == 2)

    play(scene)


def test_flood_of_rubbish_is_counted_and_bounded() -> None:
    async def scene() -> None:
        plant = running_plant()
        for _ in range(5 * MOST_EVIDENCE):
            plant.journals[0].append(b"tele.0.nobody", b"x")
        async with Process(plant, conducted=False) as process:
            await process.gain(*EVERYTHING)
            await until(lambda: process.service.statistics().quarantined == 5 * MOST_EVIDENCE)
            await until(lambda: bool(plant.heard("quarantine")))
            refreshes = process.service.statistics().refreshes
            await until(lambda: process.service.statistics().refreshes > refreshes + 1)
            last = msgspec.json.decode(plant.heard("quarantine")[-1], type=QuarantineState)
            assert last.total == 5 * MOST_EVIDENCE
            skipped = process.service.statistics().evidence_skipped
            assert len(plant.heard("evidence.unknown_site")) + skipped == 5 * MOST_EVIDENCE

    play(scene)


class Seeing:
    """A watch that remembers what it saw."""

    def __init__(self) -> None:
        self.conditions = np.zeros(SITES, dtype=np.uint16)
        self.ticks = self.takes = 0
        self.faults = 1

    async def take_over(self) -> None:
        if self.faults:
            self.faults -= 1
            raise UnavailableError("the database", "it is away")
        self.takes += 1

    def see(self, rows: Any, conditions: Any) -> None:
        self.conditions[rows] = conditions

    async def tick(self, t_ns: int, merged: Any, lag_s: dict[int, float]) -> None:
        assert self.takes, "it decides only once it knows what stands"
        self.ticks += 1


def test_watch_hears_of_the_sites_of_every_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal.telemetry.summing.WATCH_EVERY_S", 0.0)

    async def scene() -> None:
        plant = running_plant()
        for row in range(SITES - 2):
            plant.say(row, 1)
        async with Process(plant, conducted=False) as one, Process(plant, conducted=False) as other:
            watch = one.service.summing.watch = Seeing()
            await one.gain(shard_unit(0), AGGREGATE)
            await other.gain(shard_unit(1))
            silent = [0] * (SITES - 2) + [int(Condition.SILENT)] * 2
            await until(lambda: watch.conditions.tolist() == silent)
            await until(lambda: watch.ticks > 3)
            assert watch.takes == 1
            number = SHARD_OF[SITES - 1]
            token = (one if number == 0 else other).tenures[shard_unit(number)].token
            forged = ShardConditions(shard=1, token=token - 1, lag_s=0.0, rows=b"", conditions=b"")
            one.service.summing.take_conditions(msgspec.msgpack.encode(forged))
            one.service.summing.take_conditions(b"\xc1")
            assert watch.conditions.tolist() == silent, "a former owner is not believed"
            await one.gain(AGGREGATE)
            await until(lambda: watch.takes == 2)

    play(scene)
