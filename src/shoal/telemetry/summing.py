"""The sums of the shards that are owned here, and those of the whole fleet when it is this process that makes them.

Sums go out with the token of their shard's owner, so what a former owner says late does not count.
"""

from __future__ import annotations

import time
from functools import partial, reduce
from typing import Final

import msgspec
import structlog

from shoal.domain.errors import CorruptStateError, UnavailableError
from shoal.domain.interval import NS_PER_S
from shoal.domain.pace import encode_pace, pace_for_lag
from shoal.fabric.tenure import Tenure
from shoal.telemetry.actor import Look
from shoal.telemetry.contract import Outlets, TelemetryOptions, Watch
from shoal.telemetry.crew import Crew
from shoal.telemetry.merge import Merged, Merger, Said, ShardConditions, ShardSums
from shoal.telemetry.shard import SiteLook
from shoal.twin.aggregate import FleetSums, aggregates_of, sum_twins
from shoal.twin.columns import Twins
from shoal.twin.silence import FleetTrail, SilenceTable, estimate

PATIENCE_S: Final = 10.0
UNHEARD_BLOCK: Final = 16_384
WATCH_EVERY_S: Final = 5.0
"""Machine time between two looks at what is the matter with each site."""
MOST_LAG_S: Final = 30.0

_log = structlog.get_logger(__name__)


class Summing:
    """Makes the sums.

    Args:
        options: Settings.
        crew: The shards that are owned here.
        table: What is made of silent sites.
        outlets: Where messages go.
    """

    def __init__(
        self, *, options: TelemetryOptions, crew: Crew, table: SilenceTable, outlets: Outlets
    ) -> None:
        self._options = options
        self._crew = crew
        self._table = table
        self._next_table = table
        self._out = outlets
        self._trail = FleetTrail()
        self._ordered = False
        patience_s = 0.0 if options.conducted else max(PATIENCE_S, 4 * options.refresh_every_s)
        self.merger = Merger(shards=options.shards, patience_ns=int(patience_s * NS_PER_S))
        self._empty = Twins(UNHEARD_BLOCK).rows
        self._watched_s = float("-inf")
        self._watched_under: Tenure | None = None
        self._lag_s: dict[int, float] = {}
        self._paced_until_ns = 0
        self._condition_tokens: dict[int, int] = {}
        self._coverage_sum = 0.0
        self._coverage_ticks = 0
        self.watch: Watch | None = None
        self.refreshes = 0
        self.took_s = 0.0
        self.live_shards = 0

    @property
    def coverage_mean(self) -> float:
        """Mean share of the rated power that was fresh."""
        return self._coverage_sum / max(self._coverage_ticks, 1)

    async def refresh(self, t_ns: int) -> Merged | None:
        """Sum up the shards that are owned here, and send the sums, or the aggregates when it is this one's turn."""
        began_s = time.perf_counter()
        self._table = self._next_table  # the same one for the rates and for what is made of them
        rates = self._table.effective(self._trail, ordered=self._ordered)
        aggregate = self._crew.aggregate
        own: list[FleetSums] = []
        for number, actor in list(self._crew.actors.items()):
            if not (self._may_speak(actor.tenure) and (actor.ready.is_set() or self._options.conducted)):
                continue
            try:
                sums = await actor.sums(t_ns, rates, self._options.timeouts)
            except UnavailableError:
                continue
            own.append(sums)
            seen = actor.statistics()
            said = Said(
                shard=number,
                token=actor.tenure.token,
                t_ns=t_ns,
                applied=seen.applied if seen else 0,
                lag=actor.lag(),
                sums=sums,
            )
            if aggregate is not None:
                self.merger.put(said)
            else:
                message = msgspec.msgpack.encode(ShardSums.of(said))
                await self._out.publish(self._out.sums_subject(number), message)
        # while a new fleet makes its round, some shards have its groups and others do not yet
        alike = [sums for sums in own if sums.layout_version == self._crew.layout.version]
        if alike:
            reduce(FleetSums.plus, alike).push_to(self._trail, t_ns)
        if due := self._options.conducted or began_s - self._watched_s >= WATCH_EVERY_S:
            self._watched_s = began_s
            await self._look(t_ns)
        merged = None
        if aggregate is not None and self._may_speak(aggregate):
            merged = await self._send_aggregates(t_ns)
            if due and not self._options.conducted:
                await self._ask_for_patience(t_ns)
            if due and (watch := await self._watch_under(aggregate)) is not None:
                await watch.tick(t_ns, merged, dict(self._lag_s))
        self.refreshes += 1
        self.took_s = time.perf_counter() - began_s
        return merged

    async def _ask_for_patience(self, t_ns: int) -> None:
        """While shards are behind, ask the devices to report less often: what they hold back they keep."""
        pace = pace_for_lag(max(self._lag_s.values(), default=0.0), now_ns=t_ns)
        if pace is not None and t_ns >= self._paced_until_ns:
            # said again before it ends, as long as the plant is behind
            self._paced_until_ns = t_ns + (pace.until_ns - t_ns) // 2
            await self._out.publish(self._out.pace_subject, encode_pace(pace))
            _log.warning("devices asked to report less often", every_s=pace.every_s)

    def _may_speak(self, tenure: Tenure) -> bool:
        """Return whether nobody else may own the unit now; time that is conducted waits for this one's word."""
        return self._options.conducted or tenure.valid()

    async def _watch_under(self, aggregate: Tenure) -> Watch | None:
        """Return the watch, once it goes on from where that of the former owner ended."""
        if self.watch is not None and self._watched_under is not aggregate:
            try:
                await self.watch.take_over()
            except UnavailableError as error:
                _log.warning("watch not taken over", why=str(error))
                return None
            self._watched_under = aggregate
        return self.watch

    def use_table(self, table: SilenceTable) -> None:
        """Reckon with this table from the next refresh on."""
        self._next_table = table

    def note_orders(self, commanded: int, sites: int) -> None:
        """Note how many of the dispatched sites are under orders: batteries under orders stray otherwise."""
        self._ordered = 2 * commanded > sites

    def take_sums(self, payload: bytes) -> None:
        """Take the sums of a shard that is owned elsewhere."""
        try:
            self.merger.put(msgspec.msgpack.decode(payload, type=ShardSums).said())
        except (msgspec.MsgspecError, CorruptStateError) as error:
            _log.warning("sums refused", why=str(error))

    async def _send_aggregates(self, t_ns: int) -> Merged:
        layout = self._crew.layout
        merged = self.merger.merged(
            t_ns=t_ns,
            layout_version=layout.version,
            unheard=partial(self._unheard, t_ns),
        )
        sums = merged.sums
        self.live_shards = merged.live
        capacity_w = int(sums.column("capacity_w")[layout.roots].sum())
        self._coverage_sum += float(sums.column("scale_battery")[layout.roots].sum()) / max(capacity_w, 1)
        self._coverage_ticks += 1
        doubt = estimate(self._table, sums.silence(), layout.parent_number, layout.level_of)
        record = aggregates_of(sums, doubt, t_ns=t_ns)
        record = msgspec.structs.replace(
            record,
            applied=merged.applied,
            lag=merged.lag,
            shards=self._options.shards,
            live_shards=merged.live,
            silence=self._table.provenance,
        )
        await self._out.publish(self._out.aggregates_subject, msgspec.json.encode(record))
        return merged

    async def _look(self, t_ns: int) -> None:
        """Say what is the matter with the sites of the shards that are owned here and not behind."""
        for number, actor in list(self._crew.actors.items()):
            if not self._may_speak(actor.tenure):
                continue
            lag_s = actor.lag_s(t_ns)
            try:
                look: SiteLook = await actor.actor.ask(Look(t_ns, self._options.timeouts.fresh_ns[0]))
            except UnavailableError:
                continue
            if self._crew.aggregate is not None:
                self._see(number, lag_s, look)
                continue
            message = ShardConditions.of(look, shard=number, token=actor.tenure.token, lag_s=lag_s)
            await self._out.publish(self._out.conditions_subject(number), msgspec.msgpack.encode(message))

    def take_conditions(self, payload: bytes) -> None:
        """Take what is the matter with the sites of a shard that is owned elsewhere."""
        try:
            message = msgspec.msgpack.decode(payload, type=ShardConditions)
            look = message.look(self._crew.rows[message.shard])
        except (msgspec.MsgspecError, IndexError, CorruptStateError) as error:
            _log.warning("conditions refused", why=str(error))
            return
        if message.token >= self._condition_tokens.get(message.shard, 0):
            self._condition_tokens[message.shard] = message.token
            self._see(message.shard, message.lag_s, look)

    def _see(self, number: int, lag_s: float, look: SiteLook | None) -> None:
        self._lag_s[number] = lag_s
        # the sites of a shard that is catching up only seem silent; while a new fleet makes its round, some know others
        if self.watch is not None and look is not None and lag_s < MOST_LAG_S:
            self.watch.see(look.rows, look.conditions, look.lost)

    def _unheard(self, t_ns: int, number: int) -> FleetSums:
        """Return the sums of a shard as if none of its sites had ever been heard, a block of sites at a time."""
        rates = self._table.effective(self._trail, ordered=self._ordered)
        rows = self._crew.rows[number]
        total: FleetSums | None = None
        for start in range(0, max(len(rows), 1), UNHEARD_BLOCK):
            block = rows[start : start + UNHEARD_BLOCK]
            sums = sum_twins(
                self._empty[: len(block)],
                self._crew.layout.for_rows(block),
                rates,
                now_ns=t_ns,
                timeouts=self._options.timeouts,
            )
            total = sums if total is None else total.plus(sums)
        assert total is not None
        return total
