"""The telemetry role on a conducted clock: a tick is done when everything that was released is in."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import Any, cast

import msgspec
import numpy as np
import pytest

from shoal.domain.desired import DurableUpTo
from shoal.domain.errors import UnavailableError
from shoal.domain.ids import SiteId
from shoal.domain.interval import NS_PER_MINUTE
from shoal.domain.live import Quarantined, QuarantineState
from shoal.domain.telemetry import TELEMETRY
from shoal.domain.wire import encode
from shoal.telemetry.contract import shard_unit
from tests.unit.telemetry.roles import (
    FLEET,
    POISON,
    ROOT,
    SHARD_OF,
    SHARDS,
    SITES,
    TOTAL_KW,
    Conducted,
    Plant,
    Process,
    play,
)
from tests.unit.telemetry.shards import (
    START_NS,
    until,
)


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
