"""A storm from the journal to the page's subject: ten thousand sites fall silent at once, and it is one incident."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import numpy as np
from nats.aio.client import Client
from nats.aio.msg import Msg

from shoal.domain.alarms import AlarmKind, LiveAlarms, Severity
from shoal.domain.ids import GroupId
from shoal.domain.interval import NS_PER_MINUTE, NS_PER_S
from shoal.domain.telemetry import TELEMETRY
from shoal.domain.wire import encode
from shoal.fabric.connection import connect
from shoal.fabric.keys import Role
from shoal.fabric.subjects import LIVE_ALARMS, SUMS_ALL, conditions_subject
from shoal.store.alarms import AlarmLog
from shoal.store.database import migrate, open_database
from shoal.telemetry.alarms import AlarmDesk
from shoal.telemetry.merge import ShardConditions
from shoal.telemetry.watch import PlantWatch
from shoal.twin.losses import QUIET_S
from tests.integration.api.running import TIMEOUT_S, make_fabric
from tests.unit.telemetry.roles import SHARDS, Plant, Process
from tests.unit.telemetry.shards import START_NS, TIMEOUTS, new_shard
from tests.unit.twin.forests import make_forest_fleet

FLEET = make_forest_fleet(regions=2, substations=5, feeders=5, sites=400)
STORM = FLEET.rows_in(GroupId("r1"))
REST = FLEET.rows_in(GroupId("r0"))
FRESH_MINUTES = -(-TIMEOUTS.fresh_ns[0] // NS_PER_MINUTE)


class Scene:
    """The shards of one process and, on a real fabric, the desk of another."""

    def __init__(self, telemetry: Client, log: AlarmLog) -> None:
        self.telemetry = telemetry
        self.minute = 0
        self.said: list[LiveAlarms] = []
        self.plant = Plant(FLEET)
        self.summing = Process(self.plant, conducted=False).service.summing
        self.crew = self.plant.processes[0].crew
        self.shards = [new_shard(FLEET, rows, number=n) for n, rows in enumerate(self.crew.rows)]
        self.shard_of = np.zeros(len(FLEET.site_ids), dtype=np.int64)
        for number, rows in enumerate(self.crew.rows):
            self.shard_of[rows] = number
        self.desk = AlarmDesk(
            fleet=FLEET,
            log=log,
            publish=telemetry.publish,
            live_subject=LIVE_ALARMS,
            now_ns=lambda: START_NS + self.minute * NS_PER_MINUTE,
        )
        self.summing.watch = PlantWatch(self.desk)
        self.looks: Counter[str] = Counter()

    async def take_sums(self, message: Msg) -> None:
        self.summing.take_conditions(message.data)
        self.looks[message.subject] += 1

    async def take_alarms(self, message: Msg) -> None:
        self.said.append(msgspec.json.decode(message.data, type=LiveAlarms))

    def say(self, rows: np.ndarray, seq: int, *, oldest_seq: int = 1) -> None:
        """Let sites say their sample of a minute."""
        record = TELEMETRY.empty(1)
        record["seq"], record["ts_ns"] = seq, START_NS + seq * NS_PER_MINUTE
        payload = encode(record, oldest_seq=oldest_seq)
        first = [len(journal) + 1 for journal in self.plant.journals]
        for row in rows.tolist():
            journal = self.plant.journals[self.shard_of[row]]
            journal.append(f"tele.0.{FLEET.site_ids[row]}".encode(), payload, int(record["ts_ns"][0]))
        for shard, journal, start in zip(self.shards, self.plant.journals, first, strict=True):
            if len(journal) >= start:
                assert shard.take(journal.batch(start, len(journal))) == []

    async def look(self, minute: int) -> LiveAlarms:
        """Let the shards look and the desk decide, as at that minute; return what stands."""
        self.minute = minute
        now_ns = START_NS + minute * NS_PER_MINUTE
        for number, shard in enumerate(self.shards):
            look = shard.look(now_ns=now_ns, fresh_ns=TIMEOUTS.fresh_ns[0])
            said = ShardConditions.of(look, shard=number, token=1, lag_s=0.0)
            await self.telemetry.publish(conditions_subject(str(number)), msgspec.msgpack.encode(said))
        heard = self.looks.total() + SHARDS
        await until(lambda: self.looks.total() == heard)
        alarms = len(self.said) + 1
        await self.desk.tick(now_ns)
        await until(lambda: len(self.said) == alarms)
        return self.said[-1]


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not is_so():  # noqa: ASYNC110 - it comes over the network
            await asyncio.sleep(0.005)


@asynccontextmanager
async def staged(folder: Path, log: AlarmLog) -> AsyncIterator[Scene]:
    fabric, keys = make_fabric(folder)
    async with fabric, asyncio.timeout(3 * TIMEOUT_S):
        telemetry = await connect(fabric.url, seed=keys.seed(Role.TELEMETRY), name="telemetry")
        api = await connect(fabric.url, seed=keys.seed(Role.API), name="api")
        scene = Scene(telemetry, log)
        await telemetry.subscribe(SUMS_ALL, cb=scene.take_sums)
        await api.subscribe(LIVE_ALARMS, cb=scene.take_alarms)
        await telemetry.flush()
        await api.flush()
        keeping = asyncio.create_task(scene.desk.keep())
        try:
            yield scene
        finally:
            scene.desk.close()
            await keeping
            await telemetry.close()
            await api.close()


def test_ten_thousand_sites_that_fall_silent_at_once_are_one_incident_of_their_ancestor(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path / 'plant.db'}"
    migrate(url)
    log = AlarmLog(open_database(url))
    assert len(STORM) == 10_000

    async def play() -> None:
        async with staged(tmp_path, log) as scene:
            everybody = np.arange(len(FLEET.site_ids))
            scene.say(everybody, 1)
            assert (await scene.look(1)).active == []
            dark = 2 + FRESH_MINUTES
            scene.say(REST, dark)
            stands = [await scene.look(dark + minute) for minute in range(3)]
            assert [one.active_count for one in stands] == [0, 1, 1], "it must last before it counts"
            (storm,) = stands[-1].active
            assert (storm.kind, storm.scope, storm.subject) == (AlarmKind.COMMUNICATION_LOSS, "group", "r1")
            assert (storm.name, storm.hierarchy_id) == ("group r1", "grid")
            assert (storm.sites, storm.of_sites, storm.severity) == (10_000, 10_000, Severity.CRITICAL)

            back = dark + FRESH_MINUTES - 1
            lost = 5  # their stores were full meanwhile
            scene.say(STORM, back, oldest_seq=lost + 2)
            stands = [await scene.look(back + minute) for minute in (0, 0, 2)]
            lost_samples = {one.kind: one for one in stands[0].active}[AlarmKind.SAMPLES_LOST]
            assert (lost_samples.subject, lost_samples.value) == ("r1", lost * 10_000)
            assert AlarmKind.COMMUNICATION_LOSS not in {one.kind for one in stands[-1].active}
            quiet = back + int(QUIET_S * NS_PER_S) // NS_PER_MINUTE
            scene.say(everybody, quiet + 1)
            assert (await scene.look(quiet + 1)).active == []

    asyncio.run(play())
    assert log.active() == []
    for number, lasted in ((1, AlarmKind.COMMUNICATION_LOSS), (2, AlarmKind.SAMPLES_LOST)):
        found = log.alarm(number)
        assert found is not None
        assert found[0].kind is lasted
        assert [step.action for step in found[1]] == ["raised", "cleared"]
    assert log.alarm(3) is None, "one incident each, however many sites"
