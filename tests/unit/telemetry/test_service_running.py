"""The telemetry role on a clock that waits for nobody, alone and beside another process."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any, cast

import msgspec
import numpy as np
import pytest

from shoal.domain.errors import UnavailableError
from shoal.domain.interval import NS_PER_MINUTE, NS_PER_S
from shoal.domain.live import QuarantineState
from shoal.domain.pace import decode_pace
from shoal.domain.twins import AskTwins, ShardAnswer
from shoal.fabric.ownership import Lost, Recalled
from shoal.telemetry.contract import AGGREGATE, shard_unit
from shoal.telemetry.merge import ShardConditions, ShardSums
from shoal.telemetry.setaside import MOST_EVIDENCE
from shoal.telemetry.shard import SiteLook
from shoal.telemetry.warmup import warm_up
from shoal.twin.conditions import Condition
from shoal.twin.layout import Layout
from shoal.twin.silence_default import built_in_table
from tests.integration.store.fleets import GRID
from tests.unit.telemetry.roles import (
    EVERYTHING,
    FLEET,
    ROOT,
    SHARD_OF,
    SHARDS,
    SITES,
    TOTAL_KW,
    Process,
    play,
    running_plant,
)
from tests.unit.telemetry.shards import (
    START_NS,
    until,
)


def test_on_a_clock_that_waits_for_nobody_samples_are_taken_as_they_come() -> None:
    async def scene() -> None:
        plant = running_plant()
        async with Process(plant, conducted=False) as process:
            await process.gain(*EVERYTHING)

            def is_taken(count: int) -> bool:
                return count in {one.applied for one in plant.aggregates()}

            for minute in (1, 2, 3):
                plant.minute(minute)
                plant.clock.now = START_NS + minute * NS_PER_MINUTE
                await until(partial(is_taken, minute * SITES))
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
        self.lost = np.zeros(SITES, dtype=np.uint32)
        self.ticks = self.takes = 0
        self.faults = 1

    async def take_over(self) -> None:
        if self.faults:
            self.faults -= 1
            raise UnavailableError("the database", "it is away")
        self.takes += 1

    def see(self, rows: Any, conditions: Any, lost: Any) -> None:
        self.conditions[rows] = conditions
        self.lost[rows] = lost

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
            rows = one.crew.rows[1]
            well = SiteLook(rows=rows, conditions=rows.astype(np.uint16) * 0, lost=rows.astype(np.uint32) * 0)
            forged = ShardConditions.of(well, shard=1, token=token - 1, lag_s=0.0)
            one.service.summing.take_conditions(msgspec.msgpack.encode(forged))
            one.service.summing.take_conditions(b"\xc1")
            other_fleet = ShardConditions.of(replace(well, rows=rows + 1), shard=1, token=token, lag_s=0.0)
            one.service.summing.take_conditions(msgspec.msgpack.encode(other_fleet))
            cut = msgspec.structs.replace(
                ShardConditions.of(well, shard=1, token=token, lag_s=0.0), conditions=b"x"
            )
            one.service.summing.take_conditions(msgspec.msgpack.encode(cut))
            assert watch.conditions.tolist() == silent, "a former owner is not believed"
            for row in (SHARD_OF.index(0), SHARD_OF.index(1)):
                plant.say(row, 3, oldest_seq=3)
            lost = [int(row in (SHARD_OF.index(0), SHARD_OF.index(1))) for row in range(SITES)]
            await until(lambda: watch.lost.tolist() == lost)
            await one.gain(AGGREGATE)
            await until(lambda: watch.takes == 2)

    play(scene)


def test_plant_that_is_behind_asks_its_devices_for_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal.telemetry.summing.WATCH_EVERY_S", 0.0)

    async def scene() -> None:
        plant = running_plant()
        async with Process(plant, conducted=False) as one, Process(plant, conducted=False) as other:
            await one.gain(shard_unit(0), AGGREGATE)
            await until(lambda: len(plant.aggregates()) > 2)
            assert plant.heard("all.pace") == []
            behind = ShardConditions(shard=1, token=1, lag_s=100.0, rows_crc=0, conditions=b"")
            await plant.publish("conditions.1", msgspec.msgpack.encode(behind))
            await until(lambda: bool(plant.heard("all.pace")))
            await until(lambda: one.service.statistics().refreshes > 20)
            assert len(plant.heard("all.pace")) == 1, "it is not said again before it is due"
            assert decode_pace(plant.heard("all.pace")[0]).every_s > 60.0
            assert other.service.statistics().live_shards == 0, "only who puts the sums together asks"

    play(scene)


def test_warming_up_takes_every_dialect_of_a_sample_and_leaves_nothing_behind() -> None:
    plant = running_plant()
    process = Process(plant, conducted=False)
    options, table = process.options, built_in_table()
    for fleet in (FLEET, FLEET.take(np.arange(0))):
        warm_up(fleet, Layout.of(fleet), options=options, clock=plant.clock, table=table)
    assert plant.published == []
