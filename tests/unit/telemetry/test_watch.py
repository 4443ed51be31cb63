"""The watch over the plant: missing shards are alarmed, and a new watch goes on where the former one ended."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from shoal.domain.alarms import AlarmKind
from shoal.domain.errors import UnavailableError
from shoal.domain.interval import NS_PER_S
from shoal.domain.live import HistoryLag
from shoal.store.alarms import AlarmLog
from shoal.store.database import migrate, open_database
from shoal.telemetry.alarms import AlarmDesk
from shoal.telemetry.merge import Merged
from shoal.telemetry.watch import PlantWatch
from shoal.twin.alarm_measures import Measure
from shoal.twin.conditions import Condition
from tests.unit.twin.forests import make_forest_fleet

FLEET = make_forest_fleet()


@pytest.fixture
def log(tmp_path: Path) -> AlarmLog:
    url = f"sqlite:///{tmp_path / 'plant.db'}"
    migrate(url)
    return AlarmLog(open_database(url))


def make_desk(log: AlarmLog) -> AlarmDesk:
    async def publish(subject: str, payload: bytes) -> None:
        pass

    return AlarmDesk(fleet=FLEET, log=log, publish=publish, live_subject="live", now_ns=lambda: 0)


def merged(*silent: int, shards: int = 3) -> Merged:
    columns = SimpleNamespace(column=lambda name: np.zeros(len(FLEET.groups)))
    return Merged(
        sums=cast(Any, columns), live=shards - len(silent), applied=0, lag=0, silent_shards=list(silent)
    )


async def watch_for(watch: PlantWatch, seconds: int, *silent: int, lag_s: dict[int, float]) -> None:
    for t_s in range(0, seconds + 1, 5):
        await watch.tick((1_000 + t_s) * NS_PER_S, merged(*silent), lag_s)


async def kept(desk: AlarmDesk) -> None:
    desk.close()
    await desk.keep()


def test_shard_without_owner_and_lag_are_alarmed_by_their_number(log: AlarmLog) -> None:
    async def body() -> None:
        desk = make_desk(log)
        await watch_for(PlantWatch(desk), 200, 1, lag_s={2: 90.0})
        await kept(desk)

    asyncio.run(body())
    assert {(one.kind, one.subject) for one in log.active()} == {
        (AlarmKind.SHARD_WITHOUT_OWNER, "shard-1"),
        (AlarmKind.JOURNAL_LAG, "shard-2"),
    }


def test_part_that_others_measure_is_alarmed(log: AlarmLog) -> None:
    async def drifted(_t_ns: int) -> list[Measure]:
        return [Measure(kind=AlarmKind.PARAMETER_DRIFT, subject="big/raise6sec", value=5_000.0)]

    async def body() -> None:
        desk = make_desk(log)
        await watch_for(PlantWatch(desk, drifted), 10, lag_s={})
        await kept(desk)

    asyncio.run(body())
    (alarm,) = log.active()
    assert (alarm.kind, alarm.subject, alarm.value) == (AlarmKind.PARAMETER_DRIFT, "big/raise6sec", 5_000.0)


def test_history_that_is_behind_or_no_longer_heard_of_is_alarmed(log: AlarmLog) -> None:
    async def body() -> None:
        desk = make_desk(log)
        watch = PlantWatch(desk)
        for t_s in range(0, 951, 5):
            behind_s = {"shard_0": 950.0, "shard_1": 20.0} | ({"shard_2": 20.0} if t_s < 10 else {})
            watch.hear_history(HistoryLag(t_ns=(1_000 + t_s) * NS_PER_S, every_s=5.0, behind_s=behind_s))
            await watch.tick((1_000 + t_s) * NS_PER_S, merged(), {})
        await kept(desk)

    asyncio.run(body())
    assert {(one.kind, one.subject) for one in log.active()} == {
        (AlarmKind.HISTORY_LAG, "shard_0"),
        (AlarmKind.HISTORY_LAG, "shard_2"),
    }


def test_history_on_a_fast_clock_is_not_late_between_two_words(log: AlarmLog) -> None:
    async def body() -> None:
        desk = make_desk(log)
        watch = PlantWatch(desk)
        for hour in range(5):
            t_ns = (1_000 + 3_600 * hour) * NS_PER_S
            watch.hear_history(HistoryLag(t_ns=t_ns, every_s=3_600.0, behind_s={"shard_0": 60.0}))
            for after_s in (1_200, 3_500):
                await watch.tick(t_ns + after_s * NS_PER_S, merged(), {})
        await kept(desk)

    asyncio.run(body())
    assert log.active() == []


def test_watch_that_is_taken_over_goes_on_with_the_alarms_that_stand(log: AlarmLog) -> None:
    async def body() -> None:
        idle = make_desk(log)
        await idle.restore()
        former = make_desk(log)
        await watch_for(PlantWatch(former), 200, 1, lag_s={})
        await kept(former)
        (standing,) = log.active()
        watch = PlantWatch(idle)
        await watch.take_over()
        await watch_for(watch, 300, 1, 2, lag_s={})
        await kept(idle)
        assert {one.subject: one.number for one in log.active()} == {
            "shard-1": standing.number,
            "shard-2": standing.number + 1,
        }

    asyncio.run(body())


def test_watch_is_not_taken_over_before_its_own_alarms_are_kept(log: AlarmLog) -> None:
    async def body() -> None:
        desk = make_desk(log)
        watch = PlantWatch(desk)
        await watch_for(watch, 200, 1, lag_s={})
        with pytest.raises(UnavailableError, match="not kept"):
            await watch.take_over()
        await kept(desk)
        await watch.take_over()

    asyncio.run(body())


def test_sites_that_the_desk_does_not_know_yet_are_left_out(log: AlarmLog) -> None:
    watch = PlantWatch(make_desk(log))
    rows = np.array([0, len(FLEET.site_ids)])
    watch.see(rows, np.full(2, Condition.SILENT, dtype=np.uint16), np.zeros(2, dtype=np.uint32))
