"""The shards that this process owns: taken up, run, handed over and laid down as its membership says.

A shard that fails too often is given up, so that another member may try; one that is recalled keeps its newest state
first, so that its next owner has nothing to replay.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog

from shoal.domain.clock import Clock
from shoal.domain.errors import FencedOutError, UnavailableError
from shoal.domain.fleet import Fleet
from shoal.fabric.journal import JournalReader
from shoal.fabric.ownership import Gained, Lost, Recalled
from shoal.fabric.snapshots import Snapshots
from shoal.fabric.tenure import Tenure
from shoal.runtime.actor import ActorFailedError
from shoal.telemetry.actor import Follow, ShardActor
from shoal.telemetry.contract import Membership, shard_number, shard_rows
from shoal.telemetry.setaside import SetAside
from shoal.telemetry.shard import Shard
from shoal.twin.clockrule import ClockRule
from shoal.twin.layout import Layout

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalTotals:
    """What the readers of the shards that are owned here did, see `JournalStatistics`; `readers` of them are connected."""

    readers: int
    messages: int
    bytes: int
    pending: int
    reconnects: int
    lost_deliveries: int
    malformed: int
    discarded: int


class Crew:
    """The shards that are owned here, and whether it is this process that puts the sums of all shards together.

    Args:
        shards: How many shards the whole plant has.
        fleet: The fleet as it is at the start.
        membership: Tells what this process owns.
        make_reader: Opens the journal of a shard from a position.
        snapshots: Where snapshots are kept.
        time: The plant's clock.
        clock_rule: How far devices' clocks are believed.
        set_aside: Takes what shards set aside.
    """

    def __init__(
        self,
        *,
        shards: int,
        fleet: Fleet,
        membership: Membership,
        make_reader: Callable[[int, int], JournalReader],
        snapshots: Snapshots,
        time: Clock,
        clock_rule: ClockRule,
        set_aside: SetAside,
    ) -> None:
        self._shards = shards
        self._membership = membership
        self._make_reader = make_reader
        self._snapshots = snapshots
        self._time = time
        self._clock_rule = clock_rule
        self._set_aside = set_aside
        self._running: dict[str, asyncio.Task[None]] = {}
        self._owned_all = asyncio.Event()
        self._given_up = 0
        self.actors: dict[int, ShardActor] = {}
        self.aggregate: Tenure | None = None
        self.arrived = asyncio.Event()
        self.gate = asyncio.Event()
        """While it is not set, shards hold back what they read."""
        self._take_fleet(fleet)

    def _take_fleet(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.layout = Layout.of(fleet)
        self.rows = [shard_rows(fleet, number, self._shards) for number in range(self._shards)]

    async def follow_fleet(self, fleet: Fleet) -> None:
        """Go on with a changed fleet: sites that were added, or moved to other groups, from this instant on."""
        self._take_fleet(fleet)
        for number, actor in list(self.actors.items()):
            # one that has ended meanwhile is made anew from the fleet of now
            with contextlib.suppress(UnavailableError):
                await actor.actor.deliver(Follow(fleet, self.rows[number], self.layout))

    @property
    def failures(self) -> int:
        """How often a shard failed."""
        return self._given_up + sum(actor.actor.statistics().failed for actor in self.actors.values())

    async def own(self) -> None:
        """Take up and lay down work as the membership says, until it has ended."""
        async with asyncio.TaskGroup() as tasks:
            async for event in self._membership.events():
                match event:
                    case Gained(tenure):
                        self._take_up(tenure, tasks)
                    case Recalled(tenure):
                        tasks.create_task(self._hand_over(tenure))
                    case Lost(tenure):
                        await self._lay_down(tenure)
            for unit in list(self._running):
                self._running.pop(unit).cancel()

    def _take_up(self, tenure: Tenure, tasks: asyncio.TaskGroup) -> None:
        number = shard_number(tenure.unit)
        if number is None:
            self.aggregate = tenure
            return
        actor = ShardActor(
            tenure=tenure,
            make_shard=partial(self._make_shard, number),
            make_reader=partial(self._make_reader, number),
            snapshots=self._snapshots,
            time=self._time,
            gate=self.gate,
            on_applied=self.arrived.set,
            on_rejected=self._set_aside.put,
        )
        self.actors[number] = actor
        self._running[tenure.unit] = tasks.create_task(self._run(actor))
        if len(self.actors) == self._shards:
            self._owned_all.set()

    async def _run(self, actor: ShardActor) -> None:
        try:
            await actor.run()
        except ActorFailedError as error:
            self._given_up += 1
            _log.error("shard given up", unit=actor.tenure.unit, why=str(error))
            self._forget(actor.tenure)
            with contextlib.suppress(FencedOutError, UnavailableError):
                await actor.tenure.release()

    async def _hand_over(self, tenure: Tenure) -> None:
        """Keep the newest state and give the unit up."""
        number = shard_number(tenure.unit)
        actor = None if number is None else self.actors.get(number)
        with contextlib.suppress(FencedOutError, UnavailableError):
            if actor is not None and actor.tenure is tenure:
                await actor.checkpoint()
        await self._lay_down(tenure)
        with contextlib.suppress(FencedOutError, UnavailableError):
            await tenure.release()

    async def _lay_down(self, tenure: Tenure) -> None:
        self._forget(tenure)
        task = self._running.pop(tenure.unit, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _forget(self, tenure: Tenure) -> None:
        if self.aggregate is tenure:
            self.aggregate = None
        number = shard_number(tenure.unit)
        if number is not None and number in self.actors and self.actors[number].tenure is tenure:
            del self.actors[number]
            self._owned_all.clear()

    def _make_shard(self, number: int) -> Shard:
        return Shard(
            number=number,
            fleet=self.fleet,
            rows=self.rows[number],
            layout=self.layout,
            time=self._time,
            clock_rule=self._clock_rule,
        )

    async def owns_everything(self) -> None:
        """Return when every shard is owned here and has its state."""
        while True:
            await self._owned_all.wait()
            starting = [actor for actor in self.actors.values() if not actor.ready.is_set()]
            if not starting:
                return
            await starting[0].ready.wait()

    async def checkpoint(self) -> None:
        """Keep a snapshot of every shard that has something new."""
        for number, actor in list(self.actors.items()):
            if self.actors.get(number) is not actor:
                continue  # handed over while another one's was kept
            try:
                await actor.checkpoint()
            except (FencedOutError, UnavailableError) as error:
                _log.warning("no snapshot", unit=actor.tenure.unit, why=str(error))

    def journal_statistics(self) -> JournalTotals:
        """Return what the readers did since their shards were taken up."""
        each = [seen for actor in self.actors.values() if (seen := actor.reader_statistics()) is not None]
        return JournalTotals(
            readers=sum(seen.connected for seen in each),
            messages=sum(seen.messages for seen in each),
            bytes=sum(seen.bytes for seen in each),
            pending=sum(seen.pending for seen in each),
            reconnects=sum(seen.reconnects for seen in each),
            lost_deliveries=sum(seen.lost_deliveries for seen in each),
            malformed=sum(seen.malformed for seen in each),
            discarded=sum(seen.discarded for seen in each),
        )

    def accounted(self) -> int:
        """Return how many distinct samples are accounted for in the shards that are owned here."""
        return sum(actor.accounted() for actor in self.actors.values())
