"""The control role: once a minute it asks the twins, decides who does what for whom, and sends it as one batch.

A cycle keeps nothing that the next one could not find again: awards come from the ledger, orders and kill switches from
their store, measurements from the twins, and the meters at an interval's start are saved. A controller that dies is
replaced by the next cycle; one that was replaced without knowing stands down as soon as it hears of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from shoal.control.arbiter import MARKET, Arbiter, EventNow, Running, Share, plain_ability
from shoal.control.asked_energy import award_of
from shoal.control.burden import Burden
from shoal.control.dispatch import AwardNow, Dispatcher, DispatchOptions, desired_of
from shoal.control.doing import ControlNow, control_now
from shoal.control.event_caps import EventCaps
from shoal.control.event_desk import EventDesk
from shoal.control.grid_limits import GridLimits
from shoal.control.grid_state import StateKeeper
from shoal.control.leases import RELEASE_RAMP_S, RELEASED, LeaseBook
from shoal.control.order_desk import OrderDesk
from shoal.control.owner_skips import OwnerSkips
from shoal.control.owners_word import OwnersWord
from shoal.control.results import EventMeters
from shoal.control.sender import Outgoing, Sender
from shoal.control.standing import PREFIX, StandingDesk
from shoal.control.statistics import ControlStatistics
from shoal.control.taking_part import TakingPart
from shoal.domain.clock import Clock, Stage, Tick
from shoal.domain.desired import DesiredState
from shoal.domain.errors import FencedOutError, UnavailableError
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S, Interval
from shoal.domain.live import ResourceState
from shoal.domain.twins import FleetView
from shoal.programs.arbitration import Arbitration
from shoal.programs.claims import Loss
from shoal.programs.program import default_book

LOOK_AGAIN_NS: Final = 300 * NS_PER_S
PATIENCE_NS: Final = 10 * NS_PER_S
"""Until a device has said that it took its document, before it is told again."""
ANSWER_NS: Final = 3 * NS_PER_S
"""Until a device that answers has said what it does with a set-point, before it is told again."""
STATE_OF_ORDERS: Final = "@orders"
BEAT: Final = "@control"
"""Under these names the controller keeps what is no resource's; ids begin with a letter or digit."""

_log = structlog.get_logger(__name__)


class Memory(Protocol):
    """Where awards are found and a controller's memory survives it."""

    def award_at(self, resource_id: str, t_ns: int) -> tuple[int, int, int] | None:
        """Return (start_ns, end_ns, energy_wh) of the awarded interval under way, or None."""
        ...

    def ahead(self, resource_id: str, t_ns: int) -> tuple[int, int, int, int]:
        """Return the most still to be taken and given in any interval, in W, and what in all of them, in Wh; all >= 0."""
        ...

    def save_state(self, key: str, state: dict[str, Any]) -> None:
        """Keep a controller's state.

        Raises:
            FencedOutError: when another controller has taken over.
        """
        ...

    def load_state(self, key: str) -> dict[str, Any] | None:
        """Return the state kept, or None."""
        ...


class Control:
    """The controllers of every resource and order.

    Args:
        fleet: The fleet as registered.
        clock: The plant's clock.
        options: Settings of the cycle.
        step_s: Time between two cycles.
        view: Asks the twins for the latest record of every site.
        memory: Awards and saved states.
        sender: Sends messages to sites.
        publish_states: Tells everybody how the resources stand.
        publish_now: Tells everybody what a cycle came to; None for nobody.
        desk: Orders and kill switches; None for a plant without any.
        arbiter: Who goes first; the default programs when None.
        leases: The set-points, shared with `desk`.
        taking_part: Who takes part in what, and the programs; everybody in everything when None.
        skips: Who sits out which event; nobody when None.
        events: Storms and called events, one of the desk's sources; None for a plant without any.
        standing: Services that stand for days, the desk's source of set-points; None for a plant without any.
        grid: Limits at connection points; None for a plant without any.
        burden: What each site gave of late; all carry alike when None.
        caps: Keeps events within what groups can carry, one of the desk's filters; None for nothing of the kind.
        also: Return who else has sites at an instant, such as those that follow a signal.
        beat: Whether to save a sign of life each cycle, by which a standby knows that this one lives.
    """

    def __init__(
        self,
        *,
        fleet: Fleet,
        clock: Clock,
        options: DispatchOptions,
        step_s: float,
        view: Callable[[], Awaitable[FleetView]],
        memory: Memory,
        sender: Sender,
        publish_states: Callable[[list[ResourceState]], Awaitable[None]],
        publish_now: Callable[[ControlNow], Awaitable[None]] | None = None,
        desk: OrderDesk | None = None,
        arbiter: Arbiter | None = None,
        leases: LeaseBook | None = None,
        taking_part: TakingPart | None = None,
        skips: OwnerSkips | None = None,
        events: EventDesk | None = None,
        standing: StandingDesk | None = None,
        grid: GridLimits | None = None,
        burden: Burden | None = None,
        caps: EventCaps | None = None,
        also: Sequence[Callable[[int], Sequence[EventNow]]] = (),
        beat: bool = False,
    ) -> None:
        self._fleet = fleet
        self._clock = clock
        self._options = options
        self._step_s = step_s
        self._view = view
        self._memory = memory
        self._sender = sender
        self._publish_states = publish_states
        self._publish_now = publish_now
        self._desk = desk
        self._taking_part = taking_part
        self._owners = OwnersWord(taking_part, skips)
        self._events = events
        self._standing = standing
        programs = default_book() if taking_part is None else taking_part.book
        ability = plain_ability(programs, fleet.nameplate) if taking_part is None else taking_part.ability
        if events is not None:
            ability = events.connected_only(ability)
        self._grid, self._burden, self._caps, self._also = grid, burden, caps, tuple(also)
        self._state = StateKeeper(memory)
        self.arbiter = arbiter or Arbiter(
            programs,
            fleet.nameplate,
            ability,
            grid=grid,
            device_type=fleet.device_type,
            fairness=None if burden is None else burden.fairness,
            free_until_ns=None if taking_part is None else taking_part.free_until_ns,
        )
        if desk is not None:
            desk.book.rank(programs.ids)
        self._leases = leases or LeaseBook(len(fleet.site_ids))
        self._beat = beat
        self._busy = asyncio.Lock()
        self._spoke_ns = np.zeros(len(fleet.site_ids), dtype=np.int64)
        self._cycles = self._commands = self._documents = self._unmet = self._losing = self._repeated = 0
        self._between = 0
        self._stood_down = ""
        self._award: dict[str, AwardNow] = {}
        self._ordered: dict[str, Dispatcher] = {}
        self._next_number = len(fleet.resources)
        self._seen: FleetView | None = None
        self._meters = EventMeters()
        self._done_wh: dict[str, tuple[int, int]] = {}
        self.losses: tuple[Loss, ...] = ()
        self.order_states: dict[str, ResourceState] = {}
        self._dispatchers = [
            self._dispatcher(
                str(resource.resource_id), fleet.battery_rows_in(resource.group_id), number, MARKET
            )
            for number, resource in enumerate(fleet.resources)
        ]
        for dispatcher in self._dispatchers:
            saved = memory.load_state(dispatcher.resource_id)
            if saved is not None:
                dispatcher.restore(saved)
        if desk is not None and (told := memory.load_state(STATE_OF_ORDERS)) is not None:
            desk.book.restore(told)

    def _dispatcher(self, name: str, rows: NDArray[np.int64], number: int, program: str) -> Dispatcher:
        return Dispatcher(
            resource_id=name,
            rows=rows,
            nameplate=self._fleet.nameplate[rows],
            options=self._options,
            leases=self._leases,
            number=number,
            program=program,
        )

    # -- the cycle

    async def follow(self) -> None:
        """Run a cycle at every tick until the clock stops; one that finds something away is left out, and the next one comes."""
        async for tick in self._clock.ticks(Stage.ACT, self._step_s):
            sent = 0
            try:
                sent = await self.cycle(tick)
            except UnavailableError as error:
                # whoever has not answered is told again; leases end by themselves
                _log.error("a cycle was left out", t_ns=tick.t_ns, why=str(error))
            between, self._between = self._between, 0
            self._clock.report({"desired_sent": sent + between})

    async def cycle(self, tick: Tick) -> int:
        """Read, decide, send; return the number of messages sent."""
        if self._stood_down:
            return 0
        view = await self._view()
        async with self._busy:
            try:
                return await self._act(tick, view)
            except FencedOutError as error:
                self.stand_down(str(error))
                return 0

    async def _act(self, tick: Tick, view: FleetView) -> int:
        t_ns = tick.t_ns
        step_ns = tick.facts.get("step_s", int(self._step_s)) * NS_PER_S
        self._seen = view
        self._spoke_ns = view.latest["ts_ns"].astype(np.int64)
        if self._beat:
            await self._give_sign(t_ns)
        await self._hear_owners(t_ns)
        if self._grid is not None:
            await asyncio.to_thread(self._grid.refresh, t_ns)
        self._note_room(t_ns, view)
        if self._desk is not None:
            await self._look(self._desk, t_ns, view)
            if self._standing is not None:
                await self._standing.look(t_ns, view.latest, halted=self._desk.book.halted)
        gone = self._take_up_orders(t_ns)
        halted = (
            np.zeros(len(self._spoke_ns), dtype=np.bool_) if self._desk is None else self._desk.book.halted
        )
        if self._events is not None:
            # what the battery of a site without a grid does reaches nobody, and is nobody's delivery
            halted = halted | self._events.islanded
        events = [] if self._desk is None else self._desk.events(t_ns)
        others = [event for source in self._also for event in source(t_ns)]
        shares, done = self.arbiter.share(
            t_ns=t_ns,
            step_ns=step_ns,
            latest=view.latest,
            running=self._running(t_ns),
            events=[*events, *others],
            halted=halted,
            fresh_ns=int(self._options.fresh_timeout_s * NS_PER_S),
            lease_ns=max(int(self._options.lease_s * NS_PER_S), 3 * step_ns),
        )
        commands, states = self._decide(shares, t_ns, step_ns, view, halted)
        commands += self._again(self._leases.strays(t_ns, view.latest), t_ns)
        self._note_losses(done)
        for result in self._meters.observe(t_ns, events, view.latest):
            self._tell(result.event_id, result.told, t_ns)
        documents = self._due_documents(t_ns)
        messages = [*_as_messages(gone + commands), *documents]
        await self._sender.send(messages)
        await self._publish_states(states)
        if self._publish_now is not None:
            await self._publish_now(self._came_to(t_ns, step_ns, view, shares))
        try:
            await self._keep_books(t_ns, view, done)
        except UnavailableError as error:
            _log.warning("what sites gave and how limits stand is not kept", why=str(error))
        self._cycles += 1
        self._commands += len(messages) - len(documents)
        return len(messages)

    async def _hear_owners(self, t_ns: int) -> None:
        if not await self._owners.hear(t_ns, self._desk):
            return
        assert self._taking_part is not None, "only its terms change"
        self.arbiter.use(self._taking_part.book)
        if self._desk is not None:
            self._desk.book.rank(self._taking_part.book.ids)

    def _came_to(self, t_ns: int, step_ns: int, view: FleetView, shares: Sequence[Share]) -> ControlNow:
        return control_now(
            self._fleet,
            t_ns=t_ns,
            holds_ns=max(int(self._options.lease_s * NS_PER_S), 3 * step_ns),
            latest=view.latest,
            fresh_s=self._options.fresh_timeout_s,
            shares=shares,
            resources=frozenset(str(one.resource_id) for one in self._fleet.resources),
            serving=self.arbiter.serving,
            leases=self._leases,
        )

    async def _give_sign(self, t_ns: int) -> None:
        """Save a sign of life; while nothing can be saved nobody can take over, and what was known goes on.

        Raises:
            FencedOutError: when another controller has taken over.
        """
        try:
            await asyncio.to_thread(self._memory.save_state, BEAT, {"t_ns": t_ns, "cycles": self._cycles})
        except UnavailableError as error:
            _log.warning("no sign of life can be saved", why=str(error))

    async def _keep_books(self, t_ns: int, view: FleetView, done: Arbitration) -> None:
        """Keep, once everybody was told, what each site gave and how the limits stand."""
        if self._burden is not None:
            leased = (self._leases.asked_w < 0) & (self._leases.owner >= 0) & (self._leases.end_ns > t_ns)
            self._burden.note(t_ns, view.latest, leased | (self.arbiter.told_w < 0))
        if self._taking_part is not None:
            self._taking_part.day.save(t_ns)
        if self._grid is not None:
            told = () if self._caps is None else self._caps.told
            await asyncio.to_thread(self._state.keep, t_ns, self._grid, self.arbiter, done.losses, told)

    def _note_room(self, t_ns: int, view: FleetView) -> None:
        """Tell those who keep events within limits how the plant stands."""
        if self._caps is None:
            return
        fresh_ns = int(self._options.fresh_timeout_s * NS_PER_S)
        known = (view.latest["ts_ns"] > 0) & (t_ns - view.latest["ts_ns"] <= fresh_ns)
        groups = [] if self.arbiter.room is None else self.arbiter.room.groups()
        every = (*self._dispatchers, *self._ordered.values())
        ranks = {one.claim_id: self.arbiter.rank(one.program or MARKET) for one in every}
        self._caps.note(view.latest, known, groups, ranks)

    def _running(self, t_ns: int) -> list[Running]:
        running = []
        for dispatcher in self._dispatchers:
            award = self._award_now(dispatcher.resource_id, t_ns)
            running.append(Running(dispatcher=dispatcher, award=award, rests=award.energy_wh == 0))
        if self._desk is not None:
            for now in self._desk.setpoints(t_ns):
                dispatcher = self._ordered[now.order.order_id]
                running.append(Running(dispatcher=dispatcher, award=award_of(now, t_ns)))
        return running

    def _decide(
        self, shares: Sequence[Share], t_ns: int, step_ns: int, view: FleetView, halted: NDArray[np.bool_]
    ) -> tuple[list[tuple[int, DesiredState]], list[ResourceState]]:
        commands: list[tuple[int, DesiredState]] = []
        states = []
        for share in shares:
            dispatcher = share.dispatcher
            steers = dispatcher.resource_id.startswith(PREFIX)
            if share.target.begins and not steers:
                self._memory.save_state(self._key(dispatcher), dispatcher.state())
            decision = dispatcher.command(
                share.target,
                share.power_w,
                t_ns=t_ns,
                step_ns=step_ns,
                latest=view.latest[dispatcher.rows],
                held=share.held,
                until_ns=share.until_ns,
            )
            commands += decision.commands
            self._unmet += decision.state.shortfall_kw != 0
            if steers:
                assert self._standing is not None, "only standing services steer"
                self._standing.told(dispatcher.resource_id, int(share.power_w.sum()), share.held)
            elif dispatcher.resource_id in self._ordered:
                before = self.order_states.get(dispatcher.resource_id)
                if share.target.begins and before is not None:
                    asked_wh, delivered_wh = self._done_wh.get(dispatcher.resource_id, (0, 0))
                    self._done_wh[dispatcher.resource_id] = (
                        asked_wh + before.award_wh,
                        delivered_wh + before.delivered_wh,
                    )
                self.order_states[dispatcher.resource_id] = decision.state
            else:
                states.append(decision.state)
        # what a site still has of a dispatch that it serves no more is taken back once the others have spoken
        for share in shares:
            stopped = share.held & halted[share.dispatcher.rows]
            commands += share.dispatcher.take_back(np.flatnonzero(stopped), t_ns, at_once=True)
            commands += share.dispatcher.take_back(np.flatnonzero(share.held & ~stopped), t_ns)
        return commands, states

    # -- orders

    async def _look(self, desk: OrderDesk, t_ns: int, view: FleetView) -> None:
        try:
            if self._events is not None:
                await self._events.look(t_ns, view.latest, halted=desk.book.halted)
            await desk.refresh(t_ns)
            await desk.judge_trials(t_ns, view.latest)
        except UnavailableError as error:
            # what was known still holds: above all the kill switches
            _log.warning("orders cannot be read", why=str(error))

    async def prompt(self) -> int:
        """Look for new orders between two cycles, and send what cannot wait; return the number of messages sent.

        Documents go out at once. Set-points are the next cycle's, but for those that a kill switch or an abort ends, and
        those that a device which answers has not answered.
        """
        desk = self._desk
        if desk is None or self._stood_down:
            return 0
        async with self._busy:
            t_ns = self._clock.now_ns()
            try:
                commands = []
                if self._events is not None and not self._events.looked:
                    # what a predecessor told of storms and events is not taken back before it was looked for
                    view = await self._view()
                    if self._grid is not None:
                        await asyncio.to_thread(self._grid.refresh, t_ns)
                    self._note_room(t_ns, view)
                    await self._events.look(t_ns, view.latest, halted=desk.book.halted)
                await self._hear_owners(t_ns)
                if await desk.refresh(t_ns):
                    commands += self._take_up_orders(t_ns)
                    for dispatcher in (*self._dispatchers, *self._ordered.values()):
                        stopped = np.flatnonzero(desk.book.halted[dispatcher.rows])
                        commands += dispatcher.take_back(stopped, t_ns, at_once=True)
                fresh = self._spoke_ns >= t_ns - int(self._options.fresh_timeout_s * NS_PER_S)
                unheard = self._leases.unheard(t_ns, patience_ns=ANSWER_NS, able=fresh & ~desk.book.halted)
                commands += self._again(unheard, t_ns)
                documents = self._due_documents(t_ns)
            except UnavailableError as error:
                _log.warning("orders cannot be read", why=str(error))
                return 0
            except FencedOutError as error:
                self.stand_down(str(error))
                return 0
            await self._sender.send([*_as_messages(commands), *documents])
            self._commands += len(commands)
            self._repeated += len(unheard)
            self._between += len(commands) + len(documents)
            return len(commands) + len(documents)

    def _again(self, rows: NDArray[np.int64], t_ns: int) -> list[tuple[int, DesiredState]]:
        """Return once more what some sites were told, or what takes back what they had."""
        if not len(rows):
            return []
        released = rows[self._leases.owner[rows] == RELEASED]
        self._leases.tell_again(released, t_ns)
        commands = desired_of(self._leases, released, t_ns, self._options, ramp_s=RELEASE_RAMP_S)
        for dispatcher in (*self._dispatchers, *self._ordered.values()):
            commands += dispatcher.repeat(rows, t_ns)
        return commands

    def _take_up_orders(self, t_ns: int) -> list[tuple[int, DesiredState]]:
        """Make a dispatch for each set-point that is under way, and return what takes back those that are not any more."""
        if self._desk is None:
            return []
        now = {one.order.order_id: one for one in self._desk.setpoints(t_ns)}
        commands: list[tuple[int, DesiredState]] = []
        for name in [name for name in self._ordered if name not in now]:
            former = self._ordered.pop(name)
            every = np.arange(len(former.rows), dtype=np.int64)
            commands += former.take_back(every, t_ns, at_once=self._desk.is_aborted(name))
            self._end_of_setpoint(name, former, t_ns)
        for name, one in now.items():
            held = self._ordered.get(name)
            if held is not None and np.array_equal(held.rows, one.rows):
                continue
            number = self._next_number if held is None else held.number
            self._next_number += held is None
            made = self._dispatcher(name, one.rows, number, one.order.program)
            if held is not None:
                made.succeed(held)
                left = np.flatnonzero(~np.isin(held.rows, one.rows))
                commands += held.take_back(left, t_ns)
            elif not one.steers and (saved := self._memory.load_state(f"@{name}")) is not None:
                made.restore(saved)
            self._ordered[name] = made
        return commands

    def _end_of_setpoint(self, name: str, former: Dispatcher, t_ns: int) -> None:
        state = self.order_states.pop(name, None)
        asked_wh, delivered_wh = self._done_wh.pop(name, (0, 0))
        if state is None or self._seen is None:
            return
        interval = Interval(start_ns=state.start_ns, end_ns=state.end_ns)
        # called off before its end, it owes no more than what was asked until then
        ran_frac = min(max((t_ns - interval.start_ns) / (interval.end_ns - interval.start_ns), 0.0), 1.0)
        last = former.aim(
            t_ns=t_ns,
            step_ns=NS_PER_S,
            latest=self._seen.latest[former.rows],
            award=AwardNow(interval=interval, energy_wh=state.award_wh),
        )
        asked_kwh = (asked_wh + round(state.award_wh * ran_frac)) / 1e3
        idle = int((former.responders.times > 0).sum())
        told = f"delivered {(delivered_wh + last.delivered_wh) / 1e3:.1f} of {asked_kwh:.1f} kWh asked, charging positive"
        self._tell(name, f"{told}; {idle} of {len(former.rows)} sites did not respond", t_ns)

    def _tell(self, order_id: str, told: str, t_ns: int) -> None:
        _log.info("order over", order=order_id, told=told)
        if self._desk is not None:
            self._desk.note_result(order_id, told, t_ns)

    def _due_documents(self, t_ns: int) -> list[Outgoing]:
        """Return the documents that are to be sent now; that they may be at the devices is saved before they leave."""
        if self._desk is None:
            return []
        book = self._desk.book
        # who answers at all need not be heard from by telemetry first
        spoke_ns = np.where(self._leases.speaks, np.maximum(self._spoke_ns, t_ns), self._spoke_ns)
        rows = book.due(t_ns, spoke_ns=spoke_ns, patience_ns=PATIENCE_NS)
        if not len(rows):
            return []
        made = book.documents(rows, t_ns, issuer=self._options.issuer, fence=self._options.fence)
        self._memory.save_state(STATE_OF_ORDERS, book.state())
        self._documents += len(rows)
        return [
            Outgoing(row, "orders", payload)
            for row, payload in zip(rows.tolist(), made.payloads, strict=True)
        ]

    def _key(self, dispatcher: Dispatcher) -> str:
        """Return under which name a dispatch is kept: no resource's id begins with ``@``."""
        name = dispatcher.resource_id
        return f"@{name}" if dispatcher.number >= len(self._dispatchers) else name

    # -- standing

    def stand_down(self, why: str) -> None:
        """Command no more: another controller does."""
        if not self._stood_down:
            self._stood_down = why
            _log.error("stood down: another controller commands", why=why, fence=self._options.fence)

    @property
    def stood_down(self) -> str:
        """Why this controller commands no more; empty while it does."""
        return self._stood_down

    def _award_now(self, resource_id: str, t_ns: int) -> AwardNow:
        known = self._award.get(resource_id)
        # an empty hour is asked for again now and then: its award may have been published meanwhile
        stale = known is not None and known.energy_wh == 0 and t_ns % LOOK_AGAIN_NS == 0
        if known is None or stale or not known.interval.contains(t_ns):
            found = self._memory.award_at(resource_id, t_ns)
            if found is None:
                hour_ns = t_ns // NS_PER_HOUR * NS_PER_HOUR
                found = (hour_ns, hour_ns + NS_PER_HOUR, 0)
            known = AwardNow(interval=Interval(start_ns=found[0], end_ns=found[1]), energy_wh=found[2])
            if known.energy_wh:
                most_in_w, most_out_w, in_wh, out_wh = self._memory.ahead(resource_id, t_ns)
                known = replace(
                    known,
                    most_charge_w=most_in_w,
                    most_discharge_w=most_out_w,
                    charge_wh=in_wh,
                    discharge_wh=out_wh,
                )
            self._award[resource_id] = known
        return known

    def _note_losses(self, done: Arbitration) -> None:
        self.losses = done.losses
        self._losing += len({loss.claim for loss in done.losses})

    def statistics(self) -> ControlStatistics:
        """Return the counters."""
        t_ns = self._clock.now_ns()
        every = (*self._dispatchers, *self._ordered.values())
        return ControlStatistics(
            cycles=self._cycles,
            commands=self._commands,
            documents=self._documents,
            repeated=self._repeated,
            unmet_cycles=self._unmet,
            losing_claims=self._losing,
            not_responding=sum(int((~one.responders.counted_on(t_ns)).sum()) for one in every),
            commanding=not self._stood_down,
        )


def _as_messages(commands: Sequence[tuple[int, DesiredState]]) -> list[Outgoing]:
    return [Outgoing(row, "desired", encode_desired(desired)) for row, desired in commands]


def encode_desired(desired: DesiredState) -> bytes:
    """Return the message that a device receives."""
    return msgspec.json.encode(desired)
