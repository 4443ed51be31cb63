"""Services that stand for days, wired into the controller: in every cycle each asks for a power of its batteries.

What it asks for goes the way of every set-point: who goes first, what owners keep, leases, kill switches, signatures. What it
has learned and reached is kept, so a controller that dies is followed by one that goes on. A service that cannot be run, or does
not see enough, lets its batteries go and says so; the others are not touched by it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from shoal.control.order_desk import SetPointNow
from shoal.control.schedule import Enrolled, everybody
from shoal.control.standing_measure import Measured, Serving, Sight, serving_of
from shoal.control.standing_run import Now, Runner, Wish, runner_of
from shoal.control.standing_tally import Tally, tally_of
from shoal.domain.errors import CorruptStateError, InvalidInputError, ShoalError, UnavailableError
from shoal.domain.fleet import Fleet
from shoal.domain.ids import GroupId
from shoal.domain.interval import NS_PER_MINUTE, NS_PER_S
from shoal.store.order_records import Order, Scope, SetPointSpec
from shoal.store.standing import StandingService

PREFIX: Final = "service:"
"""Begins the names of dispatches; no order's name has a colon."""
LOOK_AGAIN_NS: Final = 5 * NS_PER_MINUTE
SAVE_NS: Final = NS_PER_MINUTE
LONGEST_STEP_S: Final = 900.0
"""What was before a longer gap is not reckoned into it."""
LEAST_RAMP_S: Final = 60.0
RAMP_LOOKS: Final = 10
"""A ramp is the change from one mean of so many looks to the next."""
BEYOND_FRAC: Final = 0.01
"""By so much of itself a limit may be passed before it counts as broken: meters are no better."""

_log = structlog.get_logger(__name__)


class ServiceStore(Protocol):
    """Where services are kept; see `shoal.store.standing.StandingServices`."""

    def version(self) -> int: ...
    def services(self, *, stopped: bool = False) -> list[StandingService]: ...


class Memory(Protocol):
    """What survives the controller; see `shoal.control.service.Memory`."""

    def save_state(self, key: str, state: dict[str, Any]) -> None: ...
    def load_state(self, key: str) -> dict[str, Any] | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingStatistics:
    """How the standing services are.

    Attributes:
        services: How many stand.
        serving: How many ask something of their batteries now.
        blind: How many do not see enough.
        broken: How many are beyond their limit now.
        asked_kw: What they ask for together, charging positive.
    """

    services: int
    serving: int
    blind: int
    broken: int
    asked_kw: float


@dataclass(slots=True, kw_only=True)
class _Running:
    """One service under the controller's eyes."""

    service: StandingService
    runner: Runner
    sight: Sight
    rows: NDArray[np.int64]
    tally: Tally
    held: NDArray[np.bool_]
    """Which of the rows serve somebody else, or nobody, by the last cycle."""
    wish: Wish
    looked_ns: int = 0
    told_ns: int = 0
    saved_ns: int = 0
    asked_kw: float | None = None
    broken: bool = False
    fault: str = ""
    shown: dict[str, Any] | None = None


class StandingDesk:
    """The standing services of a plant, one of the sources of set-points.

    Args:
        fleet: The fleet.
        store: Where services are kept.
        memory: What survives the controller.
        tenant: Whose plant it is: services of others are left alone.
        fresh_s: Who was silent for longer is not known.
        step_s: Time between two cycles.
        enrolled: Who takes part in a program.
        reserve_frac: Returns what owners keep, of every site; the nameplate's when None.
    """

    def __init__(
        self,
        fleet: Fleet,
        store: ServiceStore,
        memory: Memory,
        *,
        tenant: str,
        fresh_s: float,
        step_s: float,
        enrolled: Enrolled = everybody,
        reserve_frac: Callable[[], NDArray[np.float64]] | None = None,
    ) -> None:
        self._fleet = fleet
        self._store = store
        self._memory = memory
        self._tenant = tenant
        self._fresh_ns = int(fresh_s * NS_PER_S)
        self._step_s = step_s
        self._enrolled = enrolled
        plain = np.asarray(fleet.nameplate["reserve_frac"], dtype=np.float64)
        self._reserve_frac = reserve_frac or (lambda: plain)
        self._version = -1
        self._looked_ns = 0
        self._running: dict[str, _Running] = {}

    async def look(self, t_ns: int, latest: NDArray[Any], *, halted: NDArray[np.bool_]) -> None:
        """Take in what has changed, and let each service decide what it asks for; what it learned is kept.

        Raises:
            FencedOutError: when another controller has taken over.
        """
        try:
            version = await asyncio.to_thread(self._store.version)
            if version != self._version or not 0 <= t_ns - self._looked_ns < LOOK_AGAIN_NS:
                self._take_up(await asyncio.to_thread(self._store.services), t_ns)
                self._version, self._looked_ns = version, t_ns
        except UnavailableError as error:
            _log.warning("standing services cannot be read", why=str(error))
        for one in self._running.values():
            try:
                self._look_at(one, t_ns, latest, halted)
            except Exception as error:  # noqa: BLE001 - the supervisor of services: one must not stop the others
                self._note_fault(one, f"{type(error).__name__}: {error}")
            if t_ns - one.saved_ns >= SAVE_NS or t_ns < one.saved_ns:
                await asyncio.to_thread(self._save, one, t_ns)

    def setpoints(self, t_ns: int) -> list[SetPointNow]:
        """Return what services ask for, as of the last look."""
        found = []
        for one in self._running.values():
            service, power_kw = one.service, one.wish.power_kw
            if power_kw is None or not len(one.rows):
                continue
            power_w = round(power_kw * 1e3)
            order = Order(
                order_id=f"{PREFIX}{service.service_id}",
                program=service.program,
                scope=Scope(groups=(service.group,)),
                start_ns=service.start_ns,
                end_ns=service.end_ns,
                spec=SetPointSpec(power_w=power_w),
                by=service.by,
                at_ns=service.at_ns,
            )
            found.append(SetPointNow(order=order, rows=one.rows, power_w=power_w, since_ns=t_ns, steers=True))
        return found

    def told(self, name: str, power_w: int, held: NDArray[np.bool_]) -> None:
        """Take what came of a service's wish in this cycle.

        Args:
            name: Of its dispatch.
            power_w: What its batteries were asked for.
            held: Which of its rows serve somebody else, or nobody.
        """
        one = self._running.get(name.removeprefix(PREFIX))
        if one is not None and len(held) == len(one.rows):
            one.asked_kw, one.told_ns = power_w / 1e3, one.looked_ns
            one.held = held.copy()
            one.runner.told(power_w / 1e3)

    def statistics(self) -> StandingStatistics:
        """Return how they are."""
        wishes = [one.wish for one in self._running.values()]
        return StandingStatistics(
            services=len(wishes),
            serving=sum(wish.power_kw is not None for wish in wishes),
            blind=sum(wish.why == "blind" for wish in wishes),
            broken=sum(one.broken for one in self._running.values()),
            asked_kw=sum(wish.power_kw or 0.0 for wish in wishes),
        )

    # -- one service

    def _take_up(self, services: list[StandingService], t_ns: int) -> None:
        """Let just these services run; what a predecessor or an earlier revision learned goes on."""
        known, self._running = self._running, {}
        for service in services:
            if service.tenant not in ("", self._tenant) or service.end_ns <= t_ns:
                continue
            try:
                self._take_up_one(service, known.get(service.service_id), t_ns)
            except Exception:  # noqa: BLE001 - the supervisor of services: one must not stop the others
                _log.exception("standing service cannot be taken up", service=service.service_id)
        for name in [name for name in known if name not in self._running]:
            _log.info("standing service ends", service=name)

    def _take_up_one(self, service: StandingService, before: _Running | None, t_ns: int) -> None:
        rows = self._rows_of(service)
        if before is not None and before.service == service:
            if not np.array_equal(before.rows, rows):
                before.held = np.isin(rows, before.rows[before.held])
                before.rows = rows
            self._running[service.service_id] = before
            return
        sight = Sight(service, self._fleet, fresh_ns=self._fresh_ns)
        rated = self._fleet.nameplate["solar_limit_kw"][sight.rows]
        one = _Running(
            service=service,
            runner=runner_of(service, highest_kw=float(rated.sum())),
            sight=sight,
            rows=rows,
            tally=Tally(),
            held=np.zeros(len(rows), dtype=np.bool_),
            wish=Wish(power_kw=None, why="free"),
        )
        kept = self._kept(before, service, t_ns)
        if kept is not None:
            self._restore(one, kept)
        self._running[service.service_id] = one

    def _rows_of(self, service: StandingService) -> NDArray[np.int64]:
        group = GroupId(service.group)
        if group not in self._fleet.group_number:
            return np.empty(0, dtype=np.int64)
        rows = self._fleet.battery_rows_in(group)
        taking_part = self._enrolled(service.program)
        return rows if taking_part is None else np.intersect1d(rows, taking_part, assume_unique=True)

    def _kept(self, before: _Running | None, service: StandingService, t_ns: int) -> dict[str, Any] | None:
        if before is not None:
            return self._state(before, t_ns)
        try:
            return self._memory.load_state(key_of(service.service_id))
        except UnavailableError as error:
            _log.warning("what a service learned cannot be read", service=service.service_id, why=str(error))
            return None

    def _restore(self, one: _Running, kept: Mapping[str, Any]) -> None:
        one.tally = tally_of(kept.get("tally"))
        if kept.get("measures") != _measures(one.service):
            return  # what was learned is of something else
        try:
            one.runner.restore(kept["runner"])
            one.looked_ns = int(kept["t_ns"])
        except (CorruptStateError, KeyError, TypeError, ValueError) as error:
            _log.warning("what a service learned is lost", service=one.service.service_id, why=str(error))

    def _look_at(self, one: _Running, t_ns: int, latest: NDArray[Any], halted: NDArray[np.bool_]) -> None:
        service = one.service
        # what was before the first look nobody saw
        since_s = min(max(t_ns - one.looked_ns, NS_PER_S) / NS_PER_S, LONGEST_STEP_S)
        since_s = since_s if one.looked_ns else self._step_s
        free = one.rows[~one.held & ~halted[one.rows]]
        serving = serving_of(
            free,
            self._fleet.nameplate,
            latest,
            t_ns=t_ns,
            fresh_ns=self._fresh_ns,
            reserve_frac=self._reserve_frac(),
        )
        measured = one.sight.look(t_ns, latest, free)
        counts = service.counts_at(t_ns)
        self._tally(one, t_ns, since_s, measured, serving, counts=counts)
        one.looked_ns = t_ns
        try:
            one.wish = one.runner.step(
                Now(t_ns=t_ns, since_s=since_s, measured=measured, serving=serving, counts=counts)
            )
            if one.wish.power_kw is not None and not math.isfinite(one.wish.power_kw):
                raise InvalidInputError(
                    field="power", value=one.wish.power_kw, fix="look at what it measures"
                )
            one.fault = ""
        except ShoalError as error:  # one service that cannot be run must not stop the others
            self._note_fault(one, str(error))
        if one.wish.power_kw is None:
            one.asked_kw = None
            if t_ns - one.told_ns >= LOOK_AGAIN_NS:  # who is held is known by asking alone
                one.held = np.zeros(len(one.rows), dtype=np.bool_)
        one.shown = {
            "counts": counts,
            "measured": msgspec.to_builtins(measured),
            "serving": msgspec.to_builtins(serving),
            "wish": msgspec.to_builtins(one.wish),
            "broken": one.broken,
            "fault": one.fault,
        }

    def _note_fault(self, one: _Running, why: str) -> None:
        """Let a service's batteries go, and say why."""
        if why != one.fault:
            _log.error("standing service cannot be run", service=one.service.service_id, why=why)
        one.fault, one.wish, one.asked_kw = why, Wish(power_kw=None, why="fault", can_hold=False), None
        one.shown = None if one.shown is None else {**one.shown, "fault": why}

    def _tally(
        self,
        one: _Running,
        t_ns: int,
        since_s: float,
        measured: Measured,
        serving: Serving,
        *,
        counts: bool,
    ) -> None:
        service = one.service
        day = one.tally.today(t_ns, ZoneInfo(service.zone))
        if one.asked_kw is not None:
            one.tally.note_energy(day, serving.battery_kw, since_s)
        if not counts:
            one.broken = False
            return
        if measured.without_kw is None or measured.with_kw is None:
            one.broken = False
            day.blind_s += since_s
            return
        without_kw, with_kw = measured.without_kw, measured.with_kw
        if service.kind == "peak_shaving":
            day.counted_s += since_s
            one.tally.note_power(day, t_ns, since_s, without_kw=without_kw, with_kw=with_kw)
            limit_kw = service.target_kw * (1.0 + BEYOND_FRAC)
            one.broken = with_kw > limit_kw
            day.beyond_without_s += since_s * (without_kw > limit_kw)
            day.beyond_s += since_s * one.broken
            return
        said = one.tally.note_ramp(
            day,
            t_ns,
            since_s,
            without_kw=without_kw,
            with_kw=with_kw,
            over_s=max(LEAST_RAMP_S, RAMP_LOOKS * self._step_s),
            limit_kw_per_min=service.ramp_kw_per_min * (1.0 + BEYOND_FRAC),
        )
        one.broken = one.broken if said is None else said

    def _state(self, one: _Running, t_ns: int) -> dict[str, Any]:
        return {
            "t_ns": one.looked_ns or t_ns,
            "revision": one.service.revision,
            "measures": _measures(one.service),
            "runner": one.runner.state(),
            "tally": msgspec.to_builtins(one.tally),
            "now": one.shown,
        }

    def _save(self, one: _Running, t_ns: int) -> None:
        try:
            self._memory.save_state(key_of(one.service.service_id), self._state(one, t_ns))
        except UnavailableError as error:
            _log.warning("what a service learned is not kept", service=one.service.service_id, why=str(error))
            return
        one.saved_ns = t_ns


def key_of(service_id: str) -> str:
    """Return under which name the ledger keeps what a service learned and reached."""
    return f"@{PREFIX}{service_id}"


def _measures(service: StandingService) -> str:
    return f"{service.kind} {service.meter or service.measured_group or service.group}"
