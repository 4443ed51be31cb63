"""The historian: owns units of history as its membership says, follows the journal at its own pace, and writes.

The live shards never hear of it: how far it is behind is a number, not a delay of theirs. On a conducted clock it reads while a
tick is under way, and at each boundary everything that was released is written before time moves on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec
import structlog

from shoal.domain.clock import Clock, Stage, Tick
from shoal.domain.errors import CorruptStateError, FencedOutError, ShoalError, UnavailableError
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S
from shoal.fabric.ownership import Event, Gained, Lost, Recalled
from shoal.fabric.tenure import Tenure
from shoal.flow.retry import Backoff
from shoal.runtime.room import DiskRoom
from shoal.store.history_keep import Keeper, KeepStatistics
from shoal.telemetry.historian_unit import HistorianUnit, Reader

TICK_S: Final = 60.0
LOOK_S: Final = 1.0
STALL_S: Final = 5.0
QUIET_S: Final = 0.25
PAUSE_S: Final = 0.05
CLOSING_BATCH: Final = 2_000
_KEEP_CONDUCTED_NS: Final = 24 * NS_PER_HOUR
_BACKOFF: Final = Backoff(first_s=0.2, cap_s=10.0)

_log = structlog.get_logger(__name__)


class Membership(Protocol):
    """What the historian sees of its membership, see `shoal.fabric.ownership.Ownership`."""

    def events(self) -> AsyncIterator[Event]:
        """Give what happens to this member's units."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HistorianOptions:
    """How the historian runs.

    Attributes:
        units: How many units the plant has; on a conducted clock one process owns them all.
        conducted: Whether time waits for this role.
        boundary_s: On a conducted clock everything released is written at each multiple of this, plant time.
        keep_every_s: How often history is put in shape, machine time.
    """

    units: int
    conducted: bool
    boundary_s: float = 3_600.0
    keep_every_s: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HistorianStatistics:
    """What the units owned here did, and how far they are behind.

    Attributes:
        units: Units owned here.
        rows: Samples written since their history began.
        pending: Messages of the journal that wait to be read.
        buffered: Samples in memory, not written yet.
        waiting_s: How long the oldest of them has waited, plant time.
        writes: Writes since the process began.
        snapshots: Snapshots of windows since then.
        replayed: Messages gone through in silence since then.
        failures: How often a unit failed and was restored.
        stalls: How often a conducted tick waited for samples that did not come.
    """

    units: int
    rows: int
    pending: int
    buffered: int
    waiting_s: float
    writes: int
    snapshots: int
    replayed: int
    failures: int
    stalls: int


class Historian:
    """The units of history that this process owns.

    Args:
        options: How it runs.
        clock: The plant's clock.
        membership: Tells what this process owns.
        make_unit: Makes the unit of a tenure, given the gate and whom to call after each batch.
        make_reader: Opens the journal of a unit from a position.
        keeper: Puts history in shape; None when another process does.
        room: The disk's, the same that the units have; None when it is never full.
    """

    def __init__(
        self,
        *,
        options: HistorianOptions,
        clock: Clock,
        membership: Membership,
        make_unit: Callable[[Tenure, asyncio.Event, Callable[[], None]], HistorianUnit],
        make_reader: Callable[[str, int], Reader],
        keeper: Keeper | None = None,
        room: DiskRoom | None = None,
    ) -> None:
        self._options = options
        self._clock = clock
        self._membership = membership
        self._make_unit = make_unit
        self._make_reader = make_reader
        self._keeper = keeper
        self._room = room
        self._units: dict[str, HistorianUnit] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._gate = asyncio.Event()
        if not options.conducted:
            self._gate.set()
        self._taken = asyncio.Event()
        self._owned_all = asyncio.Event()
        self._leaving = False
        self._fleet: Fleet | None = None
        self._failures = self._stalls = 0

    # -- what it owns

    async def own(self) -> None:
        """Take up and lay down units as the membership says, until it has ended.

        Raises:
            CorruptStateError: when what a unit committed is gone: nobody can go on from there.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                async for event in self._membership.events():
                    match event:
                        case Gained(tenure):
                            self._running[tenure.unit] = tasks.create_task(self._run(tenure))
                        case Recalled(tenure):
                            tasks.create_task(self._hand_over(tenure))
                        case Lost(tenure):
                            await self._lay_down(tenure)
                for unit in list(self._running):
                    self._running.pop(unit).cancel()
        except BaseExceptionGroup as group:
            faults, _ = group.split(CorruptStateError)
            if faults is not None:
                raise faults.exceptions[0] from group
            raise

    async def _run(self, tenure: Tenure) -> None:
        """Run a unit; one that fails is made again from what it has committed."""
        failures = 0
        while not tenure.ended:
            fleet = self._fleet
            unit = self._make_unit(tenure, self._gate, self._taken.set)
            try:
                reader = self._make_reader(tenure.unit, await unit.restore())
                try:
                    if self._fleet is not None and self._fleet is not fleet:
                        unit.follow_fleet(self._fleet)  # it has changed while the unit was restored
                    self._take_up(tenure, unit)
                    await unit.read(reader)
                finally:
                    await reader.close()
            except FencedOutError:
                _log.info("unit is another's", unit=tenure.unit)
                break
            except CorruptStateError:
                raise
            except (ShoalError, OSError) as error:
                self._failures += 1
                failures = 1 if unit.statistics().writes else failures + 1
                wait_s = _BACKOFF.ceiling_s(failures)
                say = _log.debug if self._room is not None and self._room.full else _log.warning
                say("unit failed", unit=tenure.unit, why=str(error), again_in_s=wait_s)
                self._forget(tenure)
                await asyncio.sleep(wait_s)
        self._forget(tenure)

    def _take_up(self, tenure: Tenure, unit: HistorianUnit) -> None:
        self._units[tenure.unit] = unit
        if len(self._units) == self._options.units:
            self._owned_all.set()

    def _forget(self, tenure: Tenure) -> None:
        if self._units.pop(tenure.unit, None) is not None:
            self._owned_all.clear()

    async def _hand_over(self, tenure: Tenure) -> None:
        """Write what was read and give the unit up."""
        unit = self._units.get(tenure.unit)
        await self._lay_down(tenure)
        if unit is not None:
            try:
                await unit.close()
            except (FencedOutError, UnavailableError, OSError) as error:
                # whoever owns the unit next reads again from what was committed
                _log.warning("not written before it was given up", unit=tenure.unit, why=str(error))
        with contextlib.suppress(FencedOutError, UnavailableError):
            await tenure.release()

    async def _lay_down(self, tenure: Tenure) -> None:
        self._forget(tenure)
        task = self._running.pop(tenure.unit, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def owns(self, unit: str) -> bool:
        """Return whether a unit is owned here and restored."""
        return unit in self._units

    async def owns_everything(self) -> None:
        """Return when every unit is owned here and restored."""
        await self._owned_all.wait()

    def follow_fleet(self, fleet: Fleet) -> None:
        """Go on with a fleet to which sites were added."""
        self._fleet = fleet
        for unit in self._units.values():
            unit.follow_fleet(fleet)

    # -- time

    async def follow(self) -> None:
        """Write when it is time, until the clock stops, or for ever."""
        if self._options.conducted:
            await self._follow_conductor()
        else:
            await self._follow_machine()

    async def _follow_machine(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_on())
            while True:
                await asyncio.sleep(LOOK_S)
                for unit in list(self._units.values()):
                    if unit.due(self._clock.now_ns()) and (self._room is None or self._room.enough()):
                        await self._write(unit)

    async def _follow_conductor(self) -> None:
        boundary_ns = int(self._options.boundary_s * NS_PER_S)
        last_ns = 0
        async for tick in self._clock.ticks(Stage.MEASURE, TICK_S):
            closing = bool(tick.facts.get("closing"))
            await self.owns_everything()
            await self._catch_up(tick, closing=closing)
            while closing or tick.t_ns // boundary_ns != last_ns // boundary_ns:
                if self._room is not None:
                    await self._room.wait()
                if all([await self._write(unit) for unit in list(self._units.values())]):
                    break
                # a unit that failed is made again and reads again what it had not written
                await self.owns_everything()
                await self._catch_up(tick, closing=closing)
            if closing or tick.t_ns % _KEEP_CONDUCTED_NS == 0:
                await self._keep(tick.t_ns)
            last_ns = tick.t_ns
            if closing:
                self._clock.account(msgspec.to_builtins(self.statistics()))

    async def _write(self, unit: HistorianUnit) -> bool:
        """Write what a unit has read; return whether it is written. A unit that fails is restored by `_run`."""
        try:
            await unit.write()
        except (ShoalError, OSError) as error:
            say = _log.debug if self._room is not None and self._room.full else _log.warning
            say("not written", why=str(error))
            await asyncio.sleep(PAUSE_S)
            return False
        return True

    async def _catch_up(self, tick: Tick, *, closing: bool) -> None:
        """Read until every sample that was released is accounted for; at the close, all that there is."""
        target = tick.facts.get("samples_released", 0)
        self._gate.set()
        quiet_s = QUIET_S if closing else 0.0
        while (lack := target - self.accounted()) > 0 or quiet_s:
            self._taken.clear()
            for unit in self._units.values():
                unit.ask(max(lack, CLOSING_BATCH if closing else 1))
            try:
                async with asyncio.timeout(quiet_s if lack <= 0 else STALL_S):
                    await self._taken.wait()
            except TimeoutError:
                if lack <= 0:
                    break
                self._stalls += 1
        self._gate.clear()

    def accounted(self) -> int:
        """Return how many distinct samples are accounted for in the units that are owned here."""
        return sum(unit.accounted() for unit in self._units.values())

    # -- shape

    async def _keep_on(self) -> None:
        while True:
            await asyncio.sleep(self._options.keep_every_s)
            try:
                await self._keep(self._clock.now_ns())
            except (ShoalError, OSError) as error:
                _log.warning("history not kept", why=str(error))

    async def _keep(self, now_ns: int) -> None:
        if self._keeper is not None:
            await asyncio.to_thread(self._keeper.run, now_ns, stop=lambda: self._leaving)

    def leave(self) -> None:
        """Begin no more work on the shape of history; units write what they have read when they are given up."""
        self._leaving = True

    def statistics(self) -> HistorianStatistics:
        """Return the counters."""
        each = [unit.statistics() for unit in self._units.values()]
        return HistorianStatistics(
            units=len(each),
            rows=sum(s.rows for s in each),
            pending=sum(s.pending for s in each),
            buffered=sum(s.buffered for s in each),
            waiting_s=max((s.waiting_s for s in each), default=0.0),
            writes=sum(s.writes for s in each),
            snapshots=sum(s.snapshots for s in each),
            replayed=sum(s.replayed for s in each),
            failures=self._failures,
            stalls=self._stalls,
        )

    def behind_s(self) -> dict[str, float]:
        """Return how far each unit that is owned here is behind the journal, in seconds."""
        return {name: unit.behind_s() for name, unit in self._units.items()}

    def keep_statistics(self) -> KeepStatistics:
        """Return what was done to keep history in shape."""
        return self._keeper.statistics() if self._keeper else KeepStatistics()
