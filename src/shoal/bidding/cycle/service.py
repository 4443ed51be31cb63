"""One bidder process: the resources whose slots it holds, their gates, what their markets publish, and whoever else died.

Three loops beside each other, none of which waits for another: the beat (it lives, and takes over whoever does not),
the collector (prices and awards), and the keeper (gates). Each turn of each is level-triggered, so an error costs a
turn and no more. Where time is conducted there are no loops: each step is one turn of each, to its end.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import structlog

from shoal.bidding.cycle.collector import Collector, CollectorStatistics
from shoal.bidding.cycle.keeper import MOST_AGAIN, Keeper, KeeperStatistics
from shoal.bidding.cycle.ports import Bidder, Exchange
from shoal.bidding.cycle.takeover import Watch, take_free
from shoal.bidding.cycle.workflow import Plant
from shoal.domain.clock import Clock
from shoal.domain.errors import FencedOutError, ShoalError, UnavailableError
from shoal.store.slots import Slots

_log = structlog.get_logger(__name__)

BEAT_S: Final = 0.5
DEAD_AFTER_S: Final = 2.0
STEP_TURNS: Final = 2 * MOST_AGAIN + 2
"""So often is gone on within one step of conducted time, at most: orders that failed are given again."""
STOP_S: Final = 5.0
"""At an orderly end orders that run may take so long; what is not done then goes on elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AutobidderStatistics:
    """Counters since the start."""

    slots_held: int
    taken_over: int
    resumed: int
    fenced_out: int
    turns_failed: int
    keeper: KeeperStatistics
    collector: CollectorStatistics


class Autobidder:
    """The bidding of every resource whose slot this process holds.

    Args:
        plant: What workflows work with; its bidders are every resource that may be bid for.
        keeper_for: Returns a keeper of the resources that are held, a mapping that changes.
        exchanges: The way to each market.
        collector: Fetches what markets publish.
        slots: Who bids for what.
        resume: Goes on with the workflows that a dead holder left for a resource; returns how many.
        clock: The plant's clock.
        holder: The name of this process, another one at every start.
        turn_s: Seconds of wall time between turns of collector and keeper.
        beat_s: Seconds between beats.
        dead_after_s: How long a count must stand still.
    """

    def __init__(
        self,
        *,
        plant: Plant,
        keeper_for: Callable[[Mapping[str, Bidder]], Keeper],
        exchanges: Mapping[str, Exchange],
        collector: Collector,
        slots: Slots,
        resume: Callable[[str, str], int],
        clock: Clock,
        holder: str,
        turn_s: float = 1.0,
        beat_s: float = BEAT_S,
        dead_after_s: float = DEAD_AFTER_S,
    ) -> None:
        self._bidders = dict(plant.bidders)
        self._held: dict[str, Bidder] = {}
        self._plant = plant
        self._keeper = keeper_for(self._held)
        self._exchanges = exchanges
        self._collector = collector
        self._slots = slots
        self._resume = resume
        self._clock = clock
        self._holder = holder
        self._watch = Watch(holder=holder, dead_after_s=dead_after_s)
        self._turn_s = turn_s
        self._beat_s = beat_s
        self._count: Counter[str] = Counter()
        self._said: dict[str, set[str]] = {}

    async def run(self) -> None:
        """Bid until cancelled; gives its slots back at an orderly end."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._every(self._beat_s, self._beat))
                group.create_task(self._every(self._turn_s, self._collect))
                group.create_task(self._every(self._turn_s, self._keep))
        finally:
            await self.leave()

    async def leave(self) -> None:
        """Let what runs end, for a while, and give the slots back."""
        await asyncio.to_thread(self._keeper.wait_idle, STOP_S)
        self._keeper.close()
        try:
            await asyncio.to_thread(self._slots.release, sorted(self._held), holder=self._holder)
        except UnavailableError:
            self._count["turns_failed"] += 1  # whoever comes next waits until they look dead

    async def step(self, *, patience_s: float) -> None:
        """Do everything that is due at the present instant, and return when none of it runs any more.

        For conducted time, in which this process is the only one that bids: whoever held a slot is dead.

        Args:
            patience_s: How long the orders of one turn are waited for, in seconds of wall time.
        """
        if len(self._held) < len(self._bidders):
            await self._attempt(self._take_all)
        await self._attempt(self._collect)
        for _ in range(STEP_TURNS):
            given = self._keeper.statistics().orders_given
            await self._attempt(self._keep)
            await asyncio.to_thread(self._keeper.wait_idle, patience_s)
            if self._keeper.statistics().orders_given == given:
                return

    async def _take_all(self) -> None:
        """Take every slot, whoever held it, and go on with what they left."""
        held = await asyncio.to_thread(self._slots.held)
        for resource_id, bidder in self._bidders.items():
            if resource_id in self._held:
                continue
            before = held.get(resource_id)
            if not self._slots.take(resource_id, holder=self._holder, instead_of=before):
                continue
            self._held[resource_id] = bidder
            if before is not None:
                self._count["taken_over"] += 1
                self._count["resumed"] += await asyncio.to_thread(self._resume, before.holder, resource_id)

    def held(self) -> tuple[str, ...]:
        """Return the resources whose slots this process holds."""
        return tuple(self._held)

    @property
    def held_bidders(self) -> Mapping[str, Bidder]:
        """The bidders of the slots that this process holds; it changes as slots are won and lost."""
        return MappingProxyType(self._held)

    async def _every(self, every_s: float, turn: Callable[[], Awaitable[None]]) -> None:
        while True:
            started_s = time.monotonic()
            await self._attempt(turn)
            await asyncio.sleep(max(every_s - (time.monotonic() - started_s), 0.0))

    async def _attempt(self, turn: Callable[[], Awaitable[None]]) -> None:
        try:
            await turn()
        except ShoalError as error:
            self._failed(turn, error)
        except Exception as error:  # noqa: BLE001 - this is the supervisor of the turns: the next one begins afresh
            self._failed(turn, error)
        else:
            if self._said.pop(turn.__name__, None):
                _log.info("turn_goes_on", turn=turn.__name__)

    def _failed(self, turn: Callable[[], Awaitable[None]], error: Exception) -> None:
        """Count a turn that failed, and say why; what was said already is said again only after a turn that did not."""
        self._count["turns_failed"] += 1
        why = f"{type(error).__name__}: {error}"
        said = self._said.setdefault(turn.__name__, set())
        if why not in said:
            said.add(why)
            _log.warning("turn_failed", turn=turn.__name__, error=why)

    async def _beat(self) -> None:
        if self._held:
            try:
                await asyncio.to_thread(self._slots.beat, sorted(self._held), holder=self._holder)
            except FencedOutError:
                # somebody took this process for dead: what it held is theirs now, the rest is free for whoever looks
                await asyncio.to_thread(self._slots.release, sorted(self._held), holder=self._holder)
                self._held.clear()
                self._count["fenced_out"] += 1
        won = await asyncio.to_thread(
            take_free, self._slots, self._watch, sorted(self._bidders), now_s=time.monotonic()
        )
        for resource_id, before in won.items():
            self._held[resource_id] = self._bidders[resource_id]
            if before:
                self._count["taken_over"] += 1
                self._count["resumed"] += await asyncio.to_thread(self._resume, before, resource_id)

    async def _collect(self) -> None:
        for bidder in list(self._held.values()):
            await asyncio.to_thread(
                self._collector.collect,
                bidder,
                self._plant.market(bidder.market_id),
                self._exchanges[bidder.market_id],
                now_ns=self._clock.now_ns(),
            )

    async def _keep(self) -> None:
        await asyncio.to_thread(self._keeper.cycle, self._clock.now_ns())

    def statistics(self) -> AutobidderStatistics:
        """Return the counters."""
        return AutobidderStatistics(
            slots_held=len(self._held),
            taken_over=self._count["taken_over"],
            resumed=self._count["resumed"],
            fenced_out=self._count["fenced_out"],
            turns_failed=self._count["turns_failed"],
            keeper=self._keeper.statistics(),
            collector=self._collector.statistics(),
        )
