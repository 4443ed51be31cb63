"""The alarm desk over a log that fails and comes back, and through a restart."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from shoal.domain.alarms import AcknowledgeAlarm, AcknowledgeAnswer, AlarmEvent, AlarmKind, LiveAlarms
from shoal.domain.errors import UnavailableError
from shoal.domain.ids import GroupId
from shoal.domain.interval import NS_PER_S
from shoal.fabric.subjects import LIVE_ALARMS
from shoal.flow.retry import Backoff
from shoal.store.alarms import AlarmLog
from shoal.store.database import migrate, open_database
from shoal.telemetry import alarms as desks
from shoal.telemetry.alarms import AlarmDesk
from shoal.twin.alarm_measures import Measure
from shoal.twin.conditions import Condition
from tests.unit.twin.forests import make_forest_fleet

FLEET = make_forest_fleet()
TIMEOUT_S = 10.0


class Slow(AlarmLog):
    """A log that keeps a step only once it may, and says when it was asked to."""

    def __init__(self, url: str) -> None:
        super().__init__(open_database(url))
        self.asked = threading.Event()
        self.may = threading.Event()

    def record(self, events: Sequence[AlarmEvent]) -> None:
        self.asked.set()
        assert self.may.wait(TIMEOUT_S)
        super().record(events)


class Failing(AlarmLog):
    """A log whose database is away for some calls."""

    failures = 0

    def record(self, events: Sequence[AlarmEvent]) -> None:
        if self.failures:
            self.failures -= 1
            raise UnavailableError("the database", "it is away")
        super().record(events)


@pytest.fixture
def log(tmp_path: Path) -> Failing:
    url = f"sqlite:///{tmp_path / 'plant.db'}"
    migrate(url)
    return Failing(open_database(url))


class Plant:
    """A desk with a clock, and what it published."""

    def __init__(self, log: AlarmLog) -> None:
        self.t_s = 0
        self.said: list[LiveAlarms] = []
        self.desk = AlarmDesk(
            fleet=FLEET,
            log=log,
            publish=self.publish,
            live_subject=LIVE_ALARMS,
            now_ns=lambda: self.t_s * NS_PER_S,
        )

    async def publish(self, subject: str, payload: bytes) -> None:
        assert subject == LIVE_ALARMS
        self.said.append(msgspec.json.decode(payload, type=LiveAlarms))

    def silence(self, group: str, *, on: bool = True) -> None:
        rows = FLEET.rows_in(GroupId(group))
        self.desk.see(rows, np.full(len(rows), Condition.SILENT if on else 0, dtype=np.uint16))

    async def wait(self, *, ticks: int = 4, measures: Sequence[Measure] = ()) -> None:
        for _ in range(ticks):
            self.t_s += 60
            await self.desk.tick(self.t_s * NS_PER_S, measures)

    async def note(self, number: int, **facts: Any) -> AcknowledgeAnswer:
        asked = AcknowledgeAlarm(number=number, **{"by": "ada", **facts})
        return msgspec.json.decode(await self.desk.answer(msgspec.json.encode(asked)), type=AcknowledgeAnswer)


async def kept(plant: Plant) -> None:
    """Let the desk write everything and end."""
    plant.desk.close()
    await plant.desk.keep()


def test_desk_publishes_what_stands_and_keeps_every_step(log: Failing) -> None:
    async def scenario() -> None:
        plant = Plant(log)
        await plant.wait()
        assert plant.said[-1].active == []
        plant.silence("r0s1")
        await plant.wait()
        assert [(one.subject, one.sites) for one in plant.said[-1].active] == [("r0s1", 40)]
        assert (await plant.note(1, note="crew sent")).alarm is not None
        assert plant.said[-1].active[0].acknowledged_by == "ada"
        plant.silence("r0s1", on=False)
        await plant.wait()
        assert plant.said[-1].active_count == 0
        await kept(plant)
        statistics = plant.desk.statistics()
        assert statistics.events_total == {"raised": 1, "acknowledged": 1, "cleared": 1}

    asyncio.run(scenario())
    found = log.alarm(1)
    assert found is not None
    assert [(step.action, step.by) for step in found[1]] == [
        ("raised", ""),
        ("acknowledged", "ada"),
        ("cleared", ""),
    ]


def test_desk_says_no_word_of_sites_before_it_saw_them(log: Failing) -> None:
    async def scenario() -> None:
        first = Plant(log)
        first.silence("r0")
        await first.wait()
        await kept(first)
        second = Plant(log)
        await second.desk.restore()
        await second.wait()
        assert [one.subject for one in second.said[-1].active] == ["r0"], "nobody has looked yet"
        second.silence("r0")
        await second.wait()
        assert [(one.number, one.count) for one in second.said[-1].active] == [(1, 1)]

    asyncio.run(scenario())


def test_database_that_is_away_holds_up_nothing(log: Failing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desks, "SAVE_BACKOFF", Backoff(first_s=0.001, cap_s=0.001))
    log.failures = 3

    async def scenario() -> None:
        plant = Plant(log)
        keeping = asyncio.create_task(plant.desk.keep())
        plant.silence("r0s1")
        await plant.wait()
        assert plant.said[-1].active_count == 1
        answer = await plant.note(1)
        assert answer.reason in {"unavailable", ""}
        plant.desk.close()
        await keeping

    asyncio.run(scenario())
    found = log.alarm(1)
    assert found is not None
    assert [step.action for step in found[1]] == ["raised", "acknowledged"]


def test_desk_watches_the_parts_of_the_plant(log: Failing) -> None:
    async def scenario() -> None:
        plant = Plant(log)
        lag = Measure(kind=AlarmKind.HISTORY_LAG, subject="history", value=5_000.0, name="the history")
        await plant.wait(ticks=2, measures=[lag])
        (alarm,) = plant.said[-1].active
        assert (alarm.scope, alarm.subject, alarm.value) == ("part", "history", 5_000.0)

    asyncio.run(scenario())


def test_tick_that_is_late_comes_after_a_note_that_was_taken_before_it(log: Failing) -> None:
    async def scenario() -> None:
        plant = Plant(log)
        plant.silence("r0s1")
        await plant.wait()
        plant.silence("r0s1", on=False)
        await plant.wait(ticks=2)
        plant.t_s += 65
        await plant.note(1)
        plant.t_s -= 65
        await plant.wait(ticks=1)
        assert plant.said[-1].active_count == 0
        await kept(plant)

    asyncio.run(scenario())
    assert log.active() == []


def test_sites_that_are_added_take_no_alarm_away_that_is_on_its_way_to_the_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'plant.db'}"
    migrate(url)
    log = Slow(url)

    async def scenario() -> None:
        plant = Plant(log)
        keeping = asyncio.create_task(plant.desk.keep())
        plant.silence("r0s1")
        await plant.wait()
        assert await asyncio.to_thread(log.asked.wait, TIMEOUT_S)
        assert plant.desk.statistics().unsaved == 1
        following = asyncio.create_task(plant.desk.follow_fleet(make_forest_fleet(regions=3)))
        await plant.wait()
        assert [(one.number, one.subject) for one in plant.said[-1].active] == [(1, "r0s1")]
        assert not following.done()
        log.may.set()
        async with asyncio.timeout(TIMEOUT_S):
            await following
        assert plant.desk.statistics().unsaved == 0
        new = make_forest_fleet(regions=3).rows_in(GroupId("r2s0"))
        plant.desk.see(new, np.full(len(new), Condition.SILENT, dtype=np.uint16))
        await plant.wait()
        assert {one.subject: one.number for one in plant.said[-1].active} == {"r0s1": 1, "r2s0": 2}
        plant.desk.close()
        await keeping

    asyncio.run(scenario())


def test_book_is_not_made_anew_while_a_note_is_on_its_way_to_the_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'plant.db'}"
    migrate(url)
    log = Slow(url)
    log.may.set()

    async def scenario() -> None:
        former = Plant(log)
        former.silence("r0s1")
        await former.wait()
        await kept(former)
        plant = Plant(log)
        plant.t_s = former.t_s + 60
        await plant.desk.restore()
        log.may.clear()
        log.asked.clear()
        noting = asyncio.create_task(plant.note(1))
        assert await asyncio.to_thread(log.asked.wait, TIMEOUT_S)
        with pytest.raises(UnavailableError, match="not kept"):
            await plant.desk.restore()
        log.may.set()
        assert (await noting).alarm is not None
        await plant.desk.restore()
        await plant.wait(ticks=1)
        assert plant.said[-1].active[0].acknowledged_by == "ada"

    asyncio.run(scenario())


def test_notes_that_make_no_sense_are_refused(log: Failing) -> None:
    async def scenario() -> None:
        plant = Plant(log)
        assert (await plant.note(7)).reason == "not_active"
        assert (await plant.note(7, by="")).reason == "malformed"
        assert (await plant.note(7, note="x" * 501)).reason == "malformed"
        answer = msgspec.json.decode(await plant.desk.answer(b"{"), type=AcknowledgeAnswer)
        assert answer.reason == "malformed"
        assert plant.desk.statistics().refused_total == 4

    asyncio.run(scenario())
