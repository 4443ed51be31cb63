"""Storms and called events, wired into the plant: alerts and calls from their stores in, entries of documents out.

Each cycle takes what stands in the stores, steps `shoal.control.storm` and `shoal.control.emergency`, and keeps what they
remember before any document leaves. A controller that died is replaced by the next cycle of the next one. What cannot be
read leaves everything as it was: a storm does not end because a database is away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from shoal.control.arbiter import AbilityNow
from shoal.control.desired_book import Entry
from shoal.control.emergency import (
    Called,
    CameBack,
    Cancelled,
    EventState,
    EventStep,
    Message,
    OptedOut,
    step_event,
)
from shoal.control.emergency_plan import EventCall, SitesNow
from shoal.control.event_calls import STATE, call_of, policy_of
from shoal.control.islanding import IslandState, step_islands, without_islanded
from shoal.control.schedule import Enrolled, everybody
from shoal.control.sites_now import own_load_w, sites_now, storm_sites
from shoal.control.storm import PROGRAM as STORM
from shoal.control.storm import StormPolicy, StormState, Touched
from shoal.control.storm_watch import AlertStore, StormWatch
from shoal.domain.errors import UnavailableError
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, NS_PER_S
from shoal.domain.orders import OrderReport
from shoal.programs.claims import SiteAbility
from shoal.programs.program import ProgramBook, default_book
from shoal.store.order_records import AuditEntry, CallSpec, Order, OrderState
from shoal.store.orders import EVERY_STATE

LOOK_AGAIN_NS: Final = 5 * NS_PER_MINUTE
KEPT_NS: Final = 4 * NS_PER_HOUR
"""So long after its window an event is still looked at: sites are on their way back to their own use."""
LEFT: Final = "leave"
CAME_BACK: Final = "return"
GRID_LOST: Final = "grid_lost"
GRID_BACK: Final = "grid_back"

_log = structlog.get_logger(__name__)


class CallStore(Protocol):
    """Where calls are kept; see `shoal.store.orders.Orders`."""

    def newest(self) -> int: ...
    def orders(self, *, after_ns: int, states: Sequence[OrderState] = ...) -> list[Order]: ...
    def note(self, entries: Sequence[AuditEntry]) -> None: ...


class Memory(Protocol):
    """What survives the controller; see `shoal.control.service.Memory`."""

    def save_state(self, key: str, state: dict[str, Any]) -> None: ...
    def load_state(self, key: str) -> dict[str, Any] | None: ...


class Owners(Protocol):
    """What owners keep, and who takes part; see `shoal.control.taking_part.TakingPart`."""

    def enrolled(self, program: str) -> NDArray[np.int64] | None: ...
    def reserve_frac(self) -> NDArray[np.float64]: ...
    @property
    def book(self) -> ProgramBook: ...
    def ability(self, t_ns: int, latest: NDArray[Any], known: NDArray[np.bool_]) -> SiteAbility: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EventDeskStatistics:
    """How storms and events stand.

    Attributes:
        alerts: Weather alerts that move somebody.
        storm_sites: Sites that a storm has.
        events: Called events that are not over.
        asked_kw: What these ask of sites now, or will.
        missing_kw: What of their targets nobody can give.
        left_sites: Sites whose owners have left one of them.
        islanded_sites: Sites without a grid.
    """

    alerts: int
    storm_sites: int
    events: int
    asked_kw: float
    missing_kw: float
    left_sites: int
    islanded_sites: int


@dataclass(slots=True, kw_only=True)
class _Event:
    """One called event under the controller's eyes."""

    state: EventState = field(default_factory=EventState)
    left: dict[int, str] = field(default_factory=dict)
    """Rows whose devices said that the owner has left, and what it left: the event, or a stretch of it."""
    step: EventStep | None = None

    def hear(self, name: str, row: int, opted_out: Sequence[str], t_ns: int) -> None:
        """Take what a device says its owner has left; whoever leaves a stretch of an event leaves the event.

        A device forgets what was left when that is over: this is no return.
        """
        said = [one for one in opted_out if one == name or one.startswith(f"{name}-")]
        if said:
            self.left[row] = said[0]
        elif row in self.left and self.step is not None:
            stretch = self.left[row]
            if any(entry.key == stretch and entry.end_ns > t_ns for entry in self.step.entries):
                del self.left[row]


class EventDesk:
    """Storms and called events of a plant.

    Args:
        fleet: The fleet.
        calls: Where calls are kept.
        memory: What survives the controller.
        fresh_s: Who was silent for longer is not known.
        alerts: Where weather alerts are kept; None where they cannot be read.
        owners: What owners keep and who takes part; everybody, above the nameplate's reserve, when None.
        storm_policy: How the plant gets ready for weather.
        sit_out: Return who sits an event out by the owner's word to the plant, by row, and since when; nobody when None.
    """

    def __init__(
        self,
        fleet: Fleet,
        calls: CallStore,
        memory: Memory,
        *,
        fresh_s: float,
        alerts: AlertStore | None = None,
        owners: Owners | None = None,
        storm_policy: StormPolicy | None = None,
        sit_out: Callable[[str], Mapping[int, int]] | None = None,
    ) -> None:
        sites = len(fleet.site_ids)
        self._fleet = fleet
        self._calls = calls
        self._memory = memory
        self._fresh_ns = int(fresh_s * NS_PER_S)
        self._alerts = alerts
        self._owners = owners
        self._sit_out = sit_out
        self._enrolled: Enrolled = everybody if owners is None else owners.enrolled
        self._storm = StormWatch(fleet, storm_policy or StormPolicy())
        self._orders: list[tuple[Order, EventCall]] = []
        self._newest = -1
        self.looked = False
        self._looked_ns = 0
        self._reports: list[tuple[int, OrderReport]] = []
        self._mode = [""] * sites
        self._islands = IslandState.of(sites)
        self._events: dict[str, _Event] = {}
        self._entries: tuple[Entry, ...] = ()
        self._kept: dict[str, Any] = {}
        self._restored: dict[str, Any] = {}
        self._lines: list[AuditEntry] = []
        saved = memory.load_state(STATE)
        if saved is not None:
            self._kept = saved
            self._storm.state = StormState.restored(saved["storm"])
            self._restored = dict(saved["events"])
            self._islands = IslandState.restored(sites, saved.get("islands", {}))

    # -- what the plant asks

    def entries(self, t_ns: int) -> Iterator[Entry]:
        """Yield what stands in documents for storms and events, as of the last look."""
        return (entry for entry in self._entries if entry.end_ns > t_ns)

    def connected_only(self, ability: AbilityNow) -> AbilityNow:
        """Return what sites can do for the grid: those without one nothing."""

        def now(t_ns: int, latest: NDArray[Any], known: NDArray[np.bool_]) -> SiteAbility:
            return without_islanded(ability(t_ns, latest, known), self._islands.islanded)

        return now

    @property
    def islanded(self) -> NDArray[np.bool_]:
        """Which sites have no grid (N): what their batteries do reaches nobody."""
        return self._islands.islanded

    def heard(self, row: int, report: OrderReport) -> None:
        """Take what a device says; it counts at the next look."""
        self._reports.append((row, report))

    async def look(self, t_ns: int, latest: NDArray[Any], *, halted: NDArray[np.bool_]) -> None:
        """Take in what has changed and decide; what is remembered is kept before this returns.

        Raises:
            FencedOutError: when another controller has taken over.
            UnavailableError: at the first look when alerts or calls cannot be read, and when nothing can be kept.
        """
        try:
            await asyncio.to_thread(self._read, t_ns)
        except UnavailableError as error:
            if not self.looked:
                raise  # what a predecessor said is not taken back for want of knowing
            _log.warning("alerts or calls cannot be read", why=str(error))
        self._take_up()
        reports, self._reports = self._reports, []
        self._hear(t_ns, reports, latest)
        storms = self._step_storm(t_ns, latest)
        events = self._step_events(t_ns, latest, halted)
        self._entries = (*storms, *events)
        await asyncio.to_thread(self._keep)
        self.looked = True

    def _read(self, t_ns: int) -> None:
        newest = self._calls.newest()
        if newest != self._newest or t_ns - self._looked_ns >= LOOK_AGAIN_NS:
            found = self._calls.orders(after_ns=t_ns - KEPT_NS, states=EVERY_STATE)
            calls = [
                (order, call_of(order, self._fleet)) for order in found if isinstance(order.spec, CallSpec)
            ]
            # who goes first is served first: no site gets ready for two events at a time
            self._orders = sorted(
                calls, key=lambda one: (self._rank(one[0].program), one[0].start_ns, one[0].order_id)
            )
            self._newest, self._looked_ns = newest, t_ns
            named = {order.order_id for order, _ in self._orders}
            self._restored = {name: kept for name, kept in self._restored.items() if name in named}
            self._events = {name: event for name, event in self._events.items() if name in named}
        if self._alerts is not None:
            self._storm.look(self._alerts, t_ns)

    def _hear(self, t_ns: int, reports: Sequence[tuple[int, OrderReport]], latest: NDArray[Any]) -> None:
        self._islands, islands = step_islands(
            self._islands, [one for one in reports if one[1].kind == "orders"], latest
        )
        if islands.lost or islands.back:
            _log.warning("grid lost or back", lost=len(islands.lost), back=len(islands.back))
        for rows, action in ((islands.lost, GRID_LOST), (islands.back, GRID_BACK)):
            for row in rows:
                self._note(t_ns, str(self._fleet.site_ids[row]), action, "device", "")
        for row, report in reports:
            if report.mode:
                self._mode[row] = report.mode
            for name, event in self._events.items():
                event.hear(name, row, report.opted_out, t_ns)

    def _take_up(self) -> None:
        """Take up events that are new, or that a predecessor had; one that was called off before anybody knew is nothing."""
        for order, call in self._orders:
            name = order.order_id
            kept = self._restored.pop(name, None)
            if name in self._events or (kept is None and order.state != "standing"):
                continue
            event = self._events[name] = _Event()
            if kept is not None:
                event.state = EventState.restored(call, kept)
                event.left = {int(row): str(said) for row, said in kept["said_left"].items()}

    def _step_storm(self, t_ns: int, latest: NDArray[Any]) -> tuple[Entry, ...]:
        sites = storm_sites(
            self._fleet.site_ids,
            self._fleet.nameplate,
            latest,
            t_ns=t_ns,
            fresh_ns=self._fresh_ns,
            reserve_frac=self._reserve_frac(),
            mode=self._mode,
        )
        step = self._storm.step(t_ns, sites, taking_part=self._mask(STORM))
        if step.changes:
            taken = sum(isinstance(change, Touched) for change in step.changes)
            told = f"{taken} sites taken, {len(step.changes) - taken} given back"
            _log.info("storm", told=told)
            self._note(t_ns, STORM, "result", "weather alerts", told)
        return step.entries

    # -- events

    def _step_events(self, t_ns: int, latest: NDArray[Any], halted: NDArray[np.bool_]) -> tuple[Entry, ...]:
        free = ~self._storm.held & ~halted & ~self._islands.islanded
        sites = sites_now(
            self._fleet.nameplate,
            latest,
            t_ns=t_ns,
            fresh_ns=self._fresh_ns,
            reserve_frac=self._reserve_frac(),
            available=free,
            cycle_left_wh=self._cycle_left_wh(t_ns, latest),
        )
        plain_w = own_load_w(latest)
        entries: list[Entry] = []
        for order, call in self._orders:
            spec = order.spec
            assert isinstance(spec, CallSpec)
            event = self._events.get(order.order_id)
            if event is None:
                continue
            mine = replace(sites, available=sites.available & self._mask(order.program))
            if not spec.feeds_in:
                mine = replace(mine, most_export_w=np.minimum(mine.most_export_w, plain_w))
            self._step_event(event, order, call, t_ns, mine)
            assert event.step is not None
            entries += event.step.entries
            for entry in event.step.entries:
                sites.available[entry.rows] = False
        return tuple(entries)

    def _step_event(self, event: _Event, order: Order, call: EventCall, t_ns: int, sites: SitesNow) -> None:
        before = event.state
        messages: list[Message] = []
        if order.state != "standing":
            if before.phase != "cancelled":
                messages.append(Cancelled())
        elif before.call != call or before.phase == "cancelled":
            messages.append(Called(call=call))
        messages += self._owners_moved(event, order, t_ns)
        event.state, event.step = step_event(
            before,
            messages,
            t_ns=t_ns,
            sites=sites,
            policy=policy_of(order.program),
        )
        for message in messages:
            if isinstance(message, OptedOut | CameBack):
                left = isinstance(message, OptedOut)
                at_ns = message.t_ns if isinstance(message, OptedOut) else t_ns
                site = str(self._fleet.site_ids[message.row])
                self._note(at_ns, order.order_id, LEFT if left else CAME_BACK, "owner", site)
        if event.step.phase != before.phase:
            expected = event.step.expected
            told = {} if expected is None else msgspec.to_builtins(expected)
            _log.info("event moves on", event_id=order.order_id, phase=event.step.phase, **told)

    def _owners_moved(self, event: _Event, order: Order, t_ns: int) -> list[Message]:
        """Return who has left and who came back since: by the word of a device, or of the owner to the plant."""
        asked = np.zeros(len(self._mode), dtype=np.bool_)
        asked[: len(event.state.asked_w)] = event.state.asked_w > 0
        withdrawn = ~self._mask(order.program)
        said = {} if self._sit_out is None else self._sit_out(order.order_id)
        gone = {int(row) for row in np.flatnonzero(asked & withdrawn)} | event.left.keys() | said.keys()
        known = event.state.left_ns
        messages: list[Message] = [
            OptedOut(row=row, t_ns=min(said.get(row, t_ns), t_ns)) for row in sorted(gone) if row not in known
        ]
        back = [row for row in known if row not in event.left and row not in said and not withdrawn[row]]
        return [*messages, *(CameBack(row=row) for row in back)]

    # -- what they share

    def _mask(self, program: str) -> NDArray[np.bool_]:
        rows = self._enrolled(program)
        if rows is None:
            return np.ones(len(self._mode), dtype=np.bool_)
        mask = np.zeros(len(self._mode), dtype=np.bool_)
        mask[rows] = True
        return mask

    def _rank(self, program: str) -> int:
        """Return the place of a program, 0 goes first; one that the book does not have goes last."""
        ids = default_book().ids if self._owners is None else self._owners.book.ids
        return ids.index(program) if program in ids else len(ids)

    def _reserve_frac(self) -> NDArray[np.float64]:
        if self._owners is None:
            return np.asarray(self._fleet.nameplate["reserve_frac"], dtype=np.float64)
        return self._owners.reserve_frac()

    def _cycle_left_wh(self, t_ns: int, latest: NDArray[Any]) -> NDArray[np.int64] | None:
        if self._owners is None:
            return None
        return self._owners.ability(t_ns, latest, latest["ts_ns"] > 0).cycle_left_wh

    def _note(self, t_ns: int, subject: str, action: str, reason: str, detail: str) -> None:
        self._lines.append(
            AuditEntry(at_ns=t_ns, by="control", action=action, subject=subject, reason=reason, detail=detail)
        )

    def _keep(self) -> None:
        """Keep what is remembered when it has changed; who left goes on record first, for it is paid by."""
        if self._lines:
            self._calls.note(self._lines)
            self._lines = []
        events = dict(self._restored)
        for name, event in self._events.items():
            events[name] = {
                **event.state.kept(),
                "said_left": {str(row): said for row, said in event.left.items()},
                "phase": event.state.phase,
                "expected": None if event.step is None else msgspec.to_builtins(event.step.expected),
            }
        kept = {"storm": self._storm.state.kept(), "events": events, "islands": self._islands.kept()}
        if kept != self._kept:
            self._memory.save_state(STATE, kept)
            self._kept = kept

    def statistics(self) -> EventDeskStatistics:
        """Return how storms and events stand."""
        steps = [event.step for event in self._events.values() if event.step is not None]
        expected = [step.expected for step in steps if step.expected is not None]
        return EventDeskStatistics(
            alerts=self._storm.alerts,
            storm_sites=int(self._storm.held.sum()),
            events=sum(step.phase not in ("over", "cancelled", "idle") for step in steps),
            asked_kw=sum(one.asked_w for one in expected) / 1e3,
            missing_kw=sum(one.missing_w for one in expected) / 1e3,
            left_sites=sum(len(event.state.left_ns) for event in self._events.values()),
            islanded_sites=int(self._islands.islanded.sum()),
        )
