"""The control role: once a minute it asks the twins, decides for each resource, and sends leased set-points.

A cycle keeps nothing that the next one could not find again: awards come from the ledger, measurements from the twins,
and the meters at an interval's start are saved there. A controller that dies is replaced by the next cycle.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec

from shoal.control.dispatch import AwardNow, Dispatcher, DispatchOptions
from shoal.domain.clock import Clock, Stage, Tick
from shoal.domain.desired import DesiredState
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S, Interval
from shoal.domain.live import ResourceState
from shoal.domain.twins import FleetView

LOOK_AGAIN_NS: Final = 300 * NS_PER_S


class Memory(Protocol):
    """Where awards are found and a controller's memory survives it."""

    def award_at(self, resource_id: str, t_ns: int) -> tuple[int, int, int] | None:
        """Return (start_ns, end_ns, energy_wh) of the awarded interval under way, or None."""
        ...

    def save_state(self, key: str, state: dict[str, Any]) -> None:
        """Keep a controller's state."""
        ...

    def load_state(self, key: str) -> dict[str, Any] | None:
        """Return the state kept, or None."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlStatistics:
    """Counters since the process started."""

    cycles: int
    commands: int
    unmet_cycles: int


class Control:
    """The controllers of every resource.

    Args:
        fleet: The fleet as registered.
        clock: The plant's clock.
        options: Settings of the cycle.
        step_s: Time between two cycles.
        view: Asks the twins for the latest record of every site.
        memory: Awards and saved states.
        send: Sends a desired state to a site.
        flush: Returns when everything sent has reached the fabric.
        publish_states: Tells everybody how the resources stand.
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
        send: Callable[[str, bytes], Awaitable[None]],
        flush: Callable[[], Awaitable[None]],
        publish_states: Callable[[list[ResourceState]], Awaitable[None]],
    ) -> None:
        self._fleet = fleet
        self._clock = clock
        self._step_s = step_s
        self._view = view
        self._memory = memory
        self._send = send
        self._flush = flush
        self._publish_states = publish_states
        self._cycles = self._commands = self._unmet = 0
        self._award: dict[str, AwardNow] = {}
        self._dispatchers = []
        for resource in fleet.resources:
            rows = fleet.battery_rows_in(resource.group_id)
            dispatcher = Dispatcher(
                resource_id=resource.resource_id, rows=rows, nameplate=fleet.nameplate[rows], options=options
            )
            saved = memory.load_state(resource.resource_id)
            if saved is not None:
                dispatcher.restore(saved)
            self._dispatchers.append(dispatcher)

    async def follow(self) -> None:
        """Run a cycle at every tick until the clock stops."""
        async for tick in self._clock.ticks(Stage.ACT, self._step_s):
            sent = await self.cycle(tick)
            self._clock.report({"desired_sent": sent})

    async def cycle(self, tick: Tick) -> int:
        """Read, decide, send; return the number of commands sent."""
        view = await self._view()
        step_ns = tick.facts.get("step_s", int(self._step_s)) * NS_PER_S
        states: list[ResourceState] = []
        sent = 0
        for dispatcher in self._dispatchers:
            award = self._award_now(dispatcher.resource_id, tick.t_ns)
            begins = dispatcher.begins_interval(award)
            decision = dispatcher.step(
                t_ns=tick.t_ns, step_ns=step_ns, latest=view.latest[dispatcher.rows], award=award
            )
            if begins:
                self._memory.save_state(dispatcher.resource_id, dispatcher.state())
            for row, desired in decision.commands:
                await self._send(self._fleet.site_ids[row], encode_desired(desired))
            sent += len(decision.commands)
            self._unmet += decision.state.shortfall_kw != 0
            states.append(decision.state)
        await self._flush()
        await self._publish_states(states)
        self._cycles += 1
        self._commands += sent
        return sent

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
            self._award[resource_id] = known
        return known

    def statistics(self) -> ControlStatistics:
        """Return the counters."""
        return ControlStatistics(cycles=self._cycles, commands=self._commands, unmet_cycles=self._unmet)


def encode_desired(desired: DesiredState) -> bytes:
    """Return the message that a device receives."""
    return msgspec.json.encode(desired)
