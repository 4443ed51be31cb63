"""Emergency load reduction from notice to return, as one step function of state, fleet and messages.

Notice comes hours ahead: sites fill up from surplus sun, hold, discharge through the event, and return to their own use
without charging from the grid. What is wanted is said anew by every step as entries of documents, so a controller that was
away needs its state only for who left and for the meters at the interval's beginning. Whoever leaves, falls silent or keeps
more is replaced by the others in the next step, and what was missed in an interval is made good within it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoal.control.desired_book import Entry
from shoal.control.emergency_plan import EventCall, Expected, Response, SitesNow, Whole, expect, split_target
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S, Interval
from shoal.domain.orders import EventKind, ScheduledEvent
from shoal.programs.claims import PowerClaim

Phase: TypeAlias = Literal["idle", "charge", "hold", "deliver", "return", "over", "cancelled"]

_LAST_FRAC: Final = 0.1
"""What is missing is not made good in the last tenth of an interval: nobody is asked for a burst."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPolicy:
    """How events of a program are run.

    Attributes:
        charge_soc_frac: Up to which state of charge sites fill up from surplus sun.
        hold_s: Before the event nothing is charged any more, so that meters show the plain site.
        ramp_s: Over how long each site goes up and down.
        spread_s: Within how long sites begin and end, each at a place of its own.
        prepare_s: Likewise for what is not urgent: getting ready, and returning to their own use.
        return_s: For how long afterwards sites use their own sun alone.
        interval_s: Length of the program's metering interval.
        catch_up_frac: What was missed is made good with at most this much of the target on top.
        may_opt_out: Whether owners may leave.
    """

    charge_soc_frac: float = 1.0
    hold_s: float = 900.0
    ramp_s: float = 60.0
    spread_s: float = 120.0
    prepare_s: float = 600.0
    return_s: float = 7_200.0
    interval_s: float = 900.0
    catch_up_frac: float = 0.5
    may_opt_out: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """An event is called, or changed when one of the same name is known."""

    call: EventCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """The event is called off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptedOut:
    """An owner has left the event."""

    row: int
    t_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CameBack:
    """An owner takes part again."""

    row: int


Message: TypeAlias = Called | Cancelled | OptedOut | CameBack


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EventState:
    """All that a controller of one event remembers.

    Attributes:
        call: The event; None before it is called.
        phase: Where it is.
        left_ns: When owners left, by row.
        left_wh: What their meters showed then: what they do later is their own.
        asked_w: N discharging powers that stand in the sites' documents.
        interval_ns: When the metering interval under way began; -1 for none.
        start_wh: N net meters at its beginning.
    """

    call: EventCall | None = None
    phase: Phase = "idle"
    left_ns: dict[int, int] = field(default_factory=dict)
    left_wh: dict[int, int] = field(default_factory=dict)
    asked_w: Whole = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    interval_ns: int = -1
    start_wh: Whole = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def kept(self) -> dict[str, Any]:
        """Return what a successor needs beside the call, for a store."""
        return {
            "left_ns": {str(row): t_ns for row, t_ns in self.left_ns.items()},
            "left_wh": {str(row): energy_wh for row, energy_wh in self.left_wh.items()},
            "asked_w": self.asked_w.tolist(),
            "interval_ns": self.interval_ns,
            "start_wh": self.start_wh.tolist(),
        }

    @classmethod
    def restored(cls, call: EventCall, kept: dict[str, Any]) -> EventState:
        """Return the state of a successor."""
        return cls(
            call=call,
            left_ns={int(row): int(t_ns) for row, t_ns in kept["left_ns"].items()},
            left_wh={int(row): int(energy_wh) for row, energy_wh in kept["left_wh"].items()},
            asked_w=np.array(kept["asked_w"], dtype=np.int64),
            interval_ns=int(kept["interval_ns"]),
            start_wh=np.array(kept["start_wh"], dtype=np.int64),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EventStep:
    """What a step decided.

    Attributes:
        entries: All that is to stand in documents for this event; whatever else stood there for it is dropped.
        expected: What may be expected of what is left of the event; None when there is nothing to expect.
        phase: Where the event is.
        delivered_wh: What was delivered in the metering interval under way, at the batteries; 0 outside of the event.
        charged: When the plant itself moves sites before the event: no baseline may rest on it.
    """

    entries: tuple[Entry, ...]
    expected: Expected | None
    phase: Phase
    delivered_wh: int = 0
    charged: Interval | None = None


def step_event(
    state: EventState,
    messages: Sequence[Message],
    *,
    t_ns: int,
    sites: SitesNow,
    policy: EventPolicy,
    response: Response | None = None,
) -> tuple[EventState, EventStep]:
    """Return the state after some messages at an instant, and what is wanted of the sites from then on.

    Calling it again with the same state and no messages gives the same answer.
    """
    for message in messages:
        state = _take(state, message, t_ns, sites)
    call = state.call
    if call is None or state.phase == "cancelled":
        return state, EventStep(entries=(), expected=None, phase=state.phase)
    phase = _phase_at(call, policy, t_ns)
    state = replace(
        state, phase=phase, asked_w=_sized(state.asked_w, sites), start_wh=_sized(state.start_wh, sites)
    )
    if phase == "over":
        return state, EventStep(entries=(), expected=None, phase=phase)
    # Afterwards what was asked stays in documents until the last device has ended it.
    asked_w = state.asked_w
    expected: Expected | None = None
    delivered_wh = 0
    if phase != "return":
        state, asked_w, expected, delivered_wh = _decide(
            state, call, t_ns, sites, policy, response or Response()
        )
        # A site that fell silent may well go on by itself: it is not counted on, and not called off either.
        silent = ~sites.known & sites.available
        silent[[row for row in state.left_ns if row < len(silent)]] = False
        asked_w = np.where(silent, state.asked_w, asked_w)
    return replace(state, asked_w=asked_w), EventStep(
        entries=_entries(call, state, asked_w, sites, policy),
        expected=expected,
        phase=phase,
        delivered_wh=delivered_wh,
        charged=charged_span(call, policy),
    )


def charged_span(call: EventCall, policy: EventPolicy) -> Interval | None:
    """Return when sites are moved ahead of an event; None when it is called too late for that."""
    start_ns = _begin_ns(call, policy)
    return Interval(start_ns=call.called_ns, end_ns=start_ns) if start_ns > call.called_ns else None


def event_claim(state: EventState) -> PowerClaim | None:
    """Return what an event claims of its sites at this moment, for arbitration; None when it asks nobody.

    The powers are those that stand in the documents, so what arbitration gives to others never breaks into them.
    """
    if state.call is None or state.phase not in ("deliver", "hold", "charge"):
        return None
    rows = state.call.rows
    rows = rows[rows < len(state.asked_w)]
    rows = rows[state.asked_w[rows] > 0]
    if not len(rows):
        return None
    return PowerClaim(
        claim_id=state.call.event_id, program=state.call.program, rows=rows, each_w=-state.asked_w[rows]
    )


def _take(state: EventState, message: Message, t_ns: int, sites: SitesNow) -> EventState:
    if isinstance(message, Called):
        return replace(
            state, call=message.call, phase="charge" if state.phase == "cancelled" else state.phase
        )
    if isinstance(message, Cancelled):
        return replace(state, phase="cancelled", interval_ns=-1, asked_w=np.zeros_like(state.asked_w))
    left_ns, left_wh = dict(state.left_ns), dict(state.left_wh)
    if isinstance(message, CameBack):
        left_ns.pop(message.row, None)
        left_wh.pop(message.row, None)
    elif message.row not in left_ns and message.row < len(sites.known):
        left_ns[message.row] = min(message.t_ns, t_ns)
        left_wh[message.row] = int(sites.metered_wh[message.row])
    return replace(state, left_ns=left_ns, left_wh=left_wh)


def _begin_ns(call: EventCall, policy: EventPolicy) -> int:
    """Return when sites begin to discharge: so early that all of them are there when the event begins."""
    lead_ns = int((policy.ramp_s + policy.spread_s) * NS_PER_S)
    return max(call.window.start_ns - lead_ns, call.called_ns)


def _phase_at(call: EventCall, policy: EventPolicy, t_ns: int) -> Phase:
    begin_ns = _begin_ns(call, policy)
    if t_ns >= call.window.end_ns + int((policy.return_s + policy.prepare_s) * NS_PER_S):
        return "over"
    if t_ns >= call.window.end_ns:
        return "return"
    if t_ns >= begin_ns:
        return "deliver"
    return "hold" if t_ns >= begin_ns - int(policy.hold_s * NS_PER_S) else "charge"


def _decide(
    state: EventState,
    call: EventCall,
    t_ns: int,
    sites: SitesNow,
    policy: EventPolicy,
    response: Response,
) -> tuple[EventState, Whole, Expected, int]:
    """Split every group's target over those who take part, what was missed in the interval added."""
    window = call.window
    span_ns = window.end_ns - max(t_ns, window.start_ns)
    state, at_ns = _metered(state, call, t_ns, sites, policy)
    asked_w = np.zeros(len(sites.known), dtype=np.int64)
    delivered_wh = 0
    metered_wh = sites.metered_wh.copy()
    for row, at_leaving_wh in state.left_wh.items():
        if row < len(metered_wh):
            before = state.left_ns[row] > at_ns
            metered_wh[row] = at_leaving_wh if before else state.start_wh[row]
    for group in call.groups:
        named = np.array(group.rows, dtype=np.int64)
        given_wh = 0
        if at_ns >= 0:
            given_wh = int((state.start_wh[named] - metered_wh[named]).sum())
            delivered_wh += given_wh
        target_w = _needed_w(group.target_w, given_wh, t_ns, at_ns, policy)
        taking_part = named[[row not in state.left_ns for row in group.rows]]
        powers_w, _ = split_target(
            target_w, taking_part, sites, span_ns=span_ns, kept_w=state.asked_w[taking_part]
        )
        asked_w[taking_part] = powers_w
    left = [row for row in state.left_ns if row < len(asked_w)]
    told = expect(call, asked_w, sites, left=left, span_ns=span_ns, response=response)
    return state, asked_w, told, delivered_wh


def _metered(
    state: EventState, call: EventCall, t_ns: int, sites: SitesNow, policy: EventPolicy
) -> tuple[EventState, int]:
    """Return the state with the meters of the interval under way, and when that began; -1 before the event."""
    if t_ns < call.window.start_ns:
        return state, -1
    step_ns = int(policy.interval_s * NS_PER_S)
    at_ns = call.window.start_ns + (t_ns - call.window.start_ns) // step_ns * step_ns
    if at_ns != state.interval_ns:
        state = replace(state, interval_ns=at_ns, start_wh=sites.metered_wh.copy())
    return state, at_ns


def _needed_w(target_w: int, given_wh: int, t_ns: int, at_ns: int, policy: EventPolicy) -> int:
    """Return the power that brings an interval to its energy, within limits; the target itself near its end."""
    if at_ns < 0:
        return target_w
    step_ns = int(policy.interval_s * NS_PER_S)
    left_ns = at_ns + step_ns - t_ns
    if left_ns < _LAST_FRAC * step_ns or t_ns == at_ns:
        return target_w
    missing_wh = target_w * step_ns / NS_PER_HOUR - given_wh
    needed_w = round(missing_wh * NS_PER_HOUR / left_ns)
    return max(min(needed_w, round(target_w * (1.0 + policy.catch_up_frac))), 0)


def _entries(
    call: EventCall, state: EventState, asked_w: Whole, sites: SitesNow, policy: EventPolicy
) -> tuple[Entry, ...]:
    """Return the four stretches of an event as entries of documents; a stretch that would be empty is left out.

    They lie one upon the other, see `shoal.control.desired_book.place_of`: delivery over charging over holding over own use.
    So wherever a site is in its ramp, what is beneath is what the event wants next, and nobody falls back to what it would do
    by itself in between. Devices that end at places of their own do so before an event's end, so delivery, holding beneath it
    and own use afterwards are named longer by as much.
    """
    everybody = call.rows
    everybody = everybody[sites.available[everybody]]
    staying = everybody[[row not in state.left_ns for row in everybody.tolist()]]
    asked = staying[asked_w[staying] > 0]
    begin_ns = _begin_ns(call, policy)
    hold_ns = max(begin_ns - int(policy.hold_s * NS_PER_S), call.called_ns)
    end_ns = call.window.end_ns + int(policy.spread_s * NS_PER_S)
    return_ns = call.window.end_ns + int((policy.return_s + policy.prepare_s) * NS_PER_S)
    held_ns = max(call.window.start_ns + int(policy.prepare_s * NS_PER_S), begin_ns)
    stretches = (
        ("power", begin_ns, end_ns, asked, -asked_w[asked]),
        ("charge", call.called_ns, hold_ns, staying, sites.charge_w[staying]),
        # Nothing goes in or out: a plain hold would let a home charge from the grid just before it is to relieve it.
        ("hold", call.called_ns, held_ns, staying, np.zeros(len(staying), dtype=np.int64)),
        ("return", call.window.start_ns, return_ns, staying, None),
    )
    found = []
    for stretch, start_ns, until_ns, rows, battery_w in stretches:
        if until_ns <= start_ns or not len(rows):
            continue
        event = _scheduled(call, policy, stretch, start_ns, until_ns)
        found.append(Entry(key=event.event_id, item=event, end_ns=until_ns, rows=rows, battery_w=battery_w))
    return tuple(found)


def _scheduled(
    call: EventCall, policy: EventPolicy, stretch: str, start_ns: int, end_ns: int
) -> ScheduledEvent:
    delivers = stretch == "power"
    kind: EventKind = "power" if delivers else "local" if stretch == "return" else "charge"
    return ScheduledEvent(
        # Delivery has the name of the event itself, so that who leaves it leaves what is meant.
        event_id=call.event_id if delivers else f"{call.event_id}-{stretch}",
        program=call.program,
        kind=kind,
        start_ns=start_ns,
        end_ns=end_ns,
        soc_frac=policy.charge_soc_frac if kind == "charge" else 0.0,
        solar_only=kind == "charge",
        ramp_s=policy.ramp_s,
        spread_s=policy.spread_s if delivers else policy.prepare_s,
        may_opt_out=policy.may_opt_out,
    )


def _sized(column: Whole, sites: SitesNow) -> Whole:
    """Return a column of as many sites as there are now, those that are new at 0."""
    count = len(sites.known)
    if len(column) == count:
        return column
    fitted: NDArray[np.int64] = np.zeros(count, dtype=np.int64)
    fitted[: min(len(column), count)] = column[:count]
    return fitted
