"""The telemetry role: owns shards of twins, makes aggregates of them, answers questions, tells devices what is safe.

Which shards it owns, and whether it is the one that puts the sums of all shards together, its membership tells it; that
changes while it runs. On a conducted clock the shards read only while a tick is under way, and the tick is done when
every sample that was sent has arrived; on any other clock they never pause.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import fields
from typing import Any, Final

import msgspec
import structlog

from shoal.domain.clock import Clock, Stage, Tick
from shoal.domain.errors import UnavailableError
from shoal.domain.interval import NS_PER_S
from shoal.domain.twins import AskTwins
from shoal.fabric.subjects import downlink_name
from shoal.telemetry.answers import DurableAnswers
from shoal.telemetry.contract import (
    Outlets,
    TelemetryOptions,
    TelemetryStatistics,
)
from shoal.telemetry.crew import Crew
from shoal.telemetry.setaside import SetAside
from shoal.telemetry.shard import ShardStatistics
from shoal.telemetry.summing import Summing
from shoal.twin.silence import SilenceTable

TICK_S: Final = 60.0
STALL_S: Final = 5.0
QUIET_S: Final = 0.25
CLOSING_BATCH: Final = 2_000
MOST_TOLD: Final = 5_000
"""How many devices are told at once what is safe, on a clock that does not wait."""

_log = structlog.get_logger(__name__)


class Telemetry:
    """The twins that this process owns, and the aggregates when it is its turn to make them.

    Args:
        options: Settings.
        clock: The plant's clock.
        crew: The shards that are owned here.
        table: What is made of silent sites.
        outlets: Where messages go.
        set_aside: What the shards set aside.
    """

    def __init__(
        self,
        *,
        options: TelemetryOptions,
        clock: Clock,
        crew: Crew,
        table: SilenceTable,
        outlets: Outlets,
        set_aside: SetAside,
    ) -> None:
        self._options = options
        self._clock = clock
        self._set_aside = set_aside
        self.crew = crew
        self.summing = Summing(options=options, crew=crew, table=table, outlets=outlets)
        self._answers = DurableAnswers(
            publish=outlets.publish,
            subject=lambda row: outlets.durable_subject(downlink_name(crew.fleet, row)),
        )
        self._stalls = 0

    async def follow(self) -> None:
        """Act on the clock's ticks until it stops, or for ever."""
        if self._options.conducted:
            await self._follow_conductor()
        else:
            await self._follow_machine()

    async def _follow_conductor(self) -> None:
        checkpoint_ns = int(self._options.checkpoint_every_s * NS_PER_S)
        durable_ns = int(self._options.durable_ack_every_s * NS_PER_S)
        last_ns = 0
        async for tick in self._clock.ticks(Stage.MEASURE, TICK_S):
            closing = bool(tick.facts.get("closing"))
            await self.crew.owns_everything()
            await self._catch_up(tick, closing=closing)
            await self._refresh(tick.t_ns)
            if closing or last_ns == 0 or tick.t_ns // durable_ns != last_ns // durable_ns:
                await self._answers.collect(self.crew.actors.values())
                self._clock.report({"durable_sent": await self._answers.send(len(self._answers))})
            if closing or tick.t_ns // checkpoint_ns != last_ns // checkpoint_ns:
                await self.crew.checkpoint()
            last_ns = tick.t_ns
            if closing:
                self._clock.account(msgspec.to_builtins(self.statistics()))

    async def _follow_machine(self) -> None:
        self.crew.gate.set()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._every(self._options.durable_ack_every_s, self._collect_answers))
            tasks.create_task(self._every(self._options.checkpoint_every_s, self.crew.checkpoint))
            while True:
                began_s = time.monotonic()
                await self._refresh(self._clock.now_ns())
                await self._answers.send(MOST_TOLD)
                took_s = time.monotonic() - began_s
                # a fleet too large for the wanted pace takes half of the time at most
                await asyncio.sleep(max(self._options.refresh_every_s - took_s, took_s, 0.0))

    async def _refresh(self, t_ns: int) -> None:
        await self.summing.refresh(t_ns)
        await self._set_aside.send(t_ns, anyway=self._options.conducted)

    async def _collect_answers(self) -> None:
        await self._answers.collect(self.crew.actors.values())

    async def _every(self, plant_s: float, act: Callable[[], Awaitable[None]]) -> None:
        async for _ in self._clock.ticks(Stage.MEASURE, plant_s):
            await act()

    async def _catch_up(self, tick: Tick, *, closing: bool) -> None:
        """Apply until every sample that was released is accounted for; at the close, all that there is."""
        target = tick.facts.get("samples_released", 0)
        quiet_s = QUIET_S if closing else 0.0
        # what is read of a later step is held back: it is for the tick that tells of that step
        self.crew.gate.set()
        while (lack := target - self.crew.accounted()) > 0 or quiet_s:
            self.crew.arrived.clear()
            for actor in self.crew.actors.values():
                actor.demand(max(lack, CLOSING_BATCH if closing else 1))
            try:
                async with asyncio.timeout(quiet_s if lack <= 0 else STALL_S):
                    await self.crew.arrived.wait()
            except TimeoutError:
                if lack <= 0:
                    break
                self._stalls += 1
        self.crew.gate.clear()

    async def answer(self, number: int, payload: bytes) -> bytes | None:
        """Return the answer of a shard to a question about its sites; None when it is not owned here."""
        actor = self.crew.actors.get(number)
        if actor is None or not (self._options.conducted or actor.tenure.valid()):
            return None  # whoever owns it answers
        try:
            question = msgspec.msgpack.decode(payload, type=AskTwins) if payload else AskTwins()
            return msgspec.msgpack.encode(await actor.answer(question, t_ns=self._clock.now_ns()))
        except (UnavailableError, msgspec.MsgspecError) as error:
            _log.info("question not answered", shard=number, why=str(error))
            return None

    def shard_statistics(self) -> dict[int, ShardStatistics]:
        """Return the counters of each shard that is owned here."""
        return {
            number: seen
            for number, actor in sorted(self.crew.actors.items())
            if (seen := actor.statistics()) is not None
        }

    def statistics(self) -> TelemetryStatistics:
        """Return the counters over the shards that are owned here."""
        each = list(self.shard_statistics().values())
        names = {f.name for f in fields(ShardStatistics)} - {"sites", "position", "flagged", "pending"}
        totals: dict[str, Any] = {name: sum(getattr(one, name) for one in each) for name in names}
        flagged: Counter[str] = Counter()
        for one in each:
            flagged.update(one.flagged)
        sites = sum(one.sites for one in each)
        return TelemetryStatistics(
            **totals,
            flagged=dict(flagged),
            pending=sum(actor.lag() for actor in self.crew.actors.values()),
            shards=len(each),
            sites=sites,
            stalls=self._stalls,
            refreshes=self.summing.refreshes,
            refresh_ms=round(self.summing.took_s * 1e3, 3),
            coverage_mean=self.summing.coverage_mean,
            live_shards=self.summing.live_shards,
            stale_owners=self.summing.merger.stale_owners,
            bytes_per_twin=sum(actor.nbytes() for actor in self.crew.actors.values()) / max(sites, 1),
            actor_failures=self.crew.failures,
            evidence_skipped=self._set_aside.skipped,
        )
