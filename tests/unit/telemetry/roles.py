"""The telemetry role in memory: a plant of journals and registers, and processes that own what the test gives them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import cast

import msgspec
import numpy as np

from shoal.domain.clock import Stage, Tick
from shoal.domain.desired import DurableUpTo
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_MINUTE
from shoal.domain.live import Aggregates
from shoal.fabric.journal import JournalReader
from shoal.fabric.ownership import Event, Gained
from shoal.fabric.snapshots import Snapshots
from shoal.fabric.tenure import Tenure
from shoal.telemetry.actor import Follow
from shoal.telemetry.contract import AGGREGATE, Outlets, TelemetryOptions, shard_unit
from shoal.telemetry.crew import Crew
from shoal.telemetry.service import Telemetry
from shoal.telemetry.setaside import SetAside
from shoal.telemetry.shard import Snapshot
from shoal.twin.aggregate import Timeouts
from shoal.twin.clockrule import ClockRule
from shoal.twin.layout import Layout
from shoal.twin.silence_default import built_in_table
from tests.integration.store.fleets import make_fleet
from tests.unit.telemetry.shards import (
    START_NS,
    Journal,
    MemoryReader,
    MemoryRegisters,
    MemorySnapshots,
    StillClock,
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
            member=f"process-{len(plant.processes)}",
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
        self.options = TelemetryOptions(
            shards=SHARDS,
            timeouts=Timeouts.alike(),
            refresh_every_s=0.01,
            checkpoint_every_s=300.0,
            durable_ack_every_s=120.0,
            clock_rule=ClockRule(),
            conducted=conducted,
        )
        self.service = Telemetry(
            options=self.options,
            clock=plant.clock,
            crew=self.crew,
            table=built_in_table(),
            outlets=Outlets(
                publish=plant.publish,
                durable_subject=lambda site: f"to.{site}.durable",
                aggregates_subject="live",
                sums_subject=lambda number: f"sums.{number}",
                pace_subject="all.pace",
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
