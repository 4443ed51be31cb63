"""The decision of the site agent, for many sites at once: which power each battery takes now.

A set-point in force goes before an event, an event before prices, prices before what the site would do by itself. That
is limited by the connection point, by power, by the owner's reserve and by what fits in; the response to the frequency
is added to what then remains, so that it changes what the battery really does, and the sum is limited again, last and
always. The columns are only read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.domain.desired import DesiredState, DurableUpTo
from shoal.domain.errors import InvalidInputError, WireFormatError
from shoal.domain.interval import NS_PER_S
from shoal.domain.outcome import Accepted, Curtailed, Outcome, Rejected
from shoal.edge.agent_columns import ACTIVE, LEASED, NEVER_NS, PENDING, AgentColumns, Floats, Watts
from shoal.edge.agent_layers import (
    ENERGY_MARGIN_KWH,
    energy_bounds,
    follow_events,
    follow_leases,
    site_bounds,
)
from shoal.services.droop import droop_w

__all__ = [
    "ENERGY_MARGIN_KWH",
    "MAX_VERSION",
    "MODE_NAMES",
    "MOST_RAMP_S",
    "NEVER_NS",
    "AgentColumns",
    "Decision",
    "Mode",
    "Watts",
    "decide",
    "decode_desired",
    "decode_durable",
    "energy_bounds",
    "local_mode",
    "next_change_ns",
    "receive",
]

MAX_VERSION: Final = 2**32 - 1
"""Telemetry reports the followed version in 32 bits, so a larger one could not be verified."""
MOST_RAMP_S: Final = 86_400.0

_DESIRED: Final = msgspec.json.Decoder(DesiredState)
_DURABLE: Final = msgspec.json.Decoder(DurableUpTo)


class Mode(IntEnum):
    """What a site follows."""

    LOCAL = 0
    """Itself: its own plan, or else it uses its own solar power."""
    DIRECT = 1
    """A set-point of the plant, by a lease in force."""
    LEASE = 1
    SCHEDULE = 2
    """An event in force."""
    PRICE = 3
    """Its own plan against the plant's prices in force."""
    OFF = 4
    """Nothing: it is switched off, or its battery cannot be read."""


MODE_NAMES: Final = {
    Mode.LOCAL: "local",
    Mode.DIRECT: "direct",
    Mode.SCHEDULE: "schedule",
    Mode.PRICE: "price",
    Mode.OFF: "off",
}
"""As in `shoal.domain.orders.OrderReport`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What N sites do from now on.

    Attributes:
        battery_w: Battery power, charging positive, in watts.
        mode: `Mode` codes.
        following_version: Version of the lease that is followed; 0 for none.
        event_slot: The slot of the event in force that rules when no lease does; -1 for none.
    """

    battery_w: Watts
    mode: NDArray[np.uint8]
    following_version: NDArray[np.uint32]
    event_slot: NDArray[np.int8]


def decode_desired(payload: bytes) -> DesiredState:
    """Return the desired state of one message.

    Raises:
        WireFormatError: with reason ``desired_state``.
    """
    try:
        return _DESIRED.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireFormatError("desired_state", str(error)) from error


def decode_durable(payload: bytes) -> DurableUpTo:
    """Return up to which number every sample is safe, and whether to send again from there.

    Raises:
        WireFormatError: with reason ``durable_up_to``.
    """
    try:
        return _DURABLE.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireFormatError("durable_up_to", str(error)) from error


def receive(columns: AgentColumns, row: int, desired: DesiredState, now_ns: int) -> Outcome:
    """Take or refuse a desired state of the site in `row`.

    A refused one changes nothing, except that a well-formed one of a newer issuer fences out the older ones.

    Returns:
        `Accepted`; `Curtailed` with the set-point in watts that the nameplate allows; or `Rejected` with
        reason ``not_finite``, ``out_of_range``, ``fenced_out``, ``stale_version``, ``expired``, ``halted`` (the kill
        switch is on) or ``opted_out`` (the owner lets nobody command the site).
    """
    refusal = _malformed(desired)
    if refusal is not None:
        return refusal
    # `item`: a numpy scalar costs several times a plain number, for each site's each set-point
    fence = columns.latest_fence.item(row)
    if desired.fence < fence:
        return Rejected(reason="fenced_out", detail=f"fence {desired.fence} was replaced by {fence}")
    columns.latest_fence[row] = desired.fence
    latest = columns.latest_version.item(row)
    if desired.version <= latest:
        return Rejected(
            reason="stale_version", detail=f"version {desired.version}, {latest} was taken before"
        )
    if desired.end_ns <= now_ns:
        return Rejected(reason="expired", detail=f"ended {(now_ns - desired.end_ns) / 1e9:.3f} s ago")
    if columns.halted.item(row):
        return Rejected(reason="halted", detail="the kill switch is on; send a document that lifts it first")
    if columns.independent.item(row):
        return Rejected(reason="opted_out", detail="the owner lets nobody command this site now")
    granted_w = min(
        max(desired.battery_w, -columns.discharge_limit_w.item(row)), columns.charge_limit_w.item(row)
    )
    _keep(columns, row, desired, granted_w, now_ns)
    columns.latest_version[row] = desired.version
    if granted_w != desired.battery_w:
        return Curtailed(
            asked=_as_float(desired.battery_w), granted=float(granted_w), reason="over_nameplate"
        )
    return Accepted()


def decide(
    columns: AgentColumns,
    *,
    now_ns: int,
    load_w: Watts,
    solar_w: Watts,
    ev_w: Watts,
    stored_kwh: Floats,
    horizon_s: float,
    frequency_hz: Floats | None = None,
    plan_w: NDArray[Any] | None = None,
    plan_by_price: NDArray[np.bool_] | None = None,
    hold_s: float | None = None,
) -> Decision:
    """Return what N batteries do from `now_ns` on; the columns are only read.

    A lease or an event counts while start <= now < end, whatever else. Without one the site follows its plan, or
    charges from surplus solar power and discharges to cover its own consumption, never into the grid.

    Args:
        columns: The agents.
        now_ns: The present instant.
        load_w: Household load (N), without battery, solar and EV.
        solar_w: Solar power (N), generation negative.
        ev_w: EV charger power (N), charging positive.
        stored_kwh: Energy in each battery (N); one that is not a number neither charges nor discharges.
        horizon_s: How long the decision may be held without crossing the reserve or full.
        frequency_hz: What each site measures (N); not a number where it does not.
        plan_w: What each site's own planner asks for (N), charging positive; not a number where there is no plan.
        plan_by_price: Whether that plan is against the plant's prices (N), and so void when they have ended or the kill
            switch is on; where the plant's prices are in force when left out.
        hold_s: For how long the decision will be held, by which ramps advance; `horizon_s` when left out.

    Raises:
        InvalidInputError: when `horizon_s` or `hold_s` is not a positive number.
    """
    hold_s = horizon_s if hold_s is None else hold_s
    for field, value in (("horizon_s", horizon_s), ("hold_s", hold_s)):
        if not 0 < value < math.inf:
            raise InvalidInputError(field=field, value=value, fix="give a positive number of seconds")
    obeys = ~(columns.halted | columns.independent | columns.off)
    others_w = load_w + ev_w + solar_w
    own_w = _self_consumption(others_w, solar_w)
    mode = np.zeros(len(columns), dtype=np.uint8)
    asked_w = own_w
    if plan_w is not None:
        asked_w, mode = _planned(columns, own_w, np.asarray(plan_w), plan_by_price, now_ns, obeys)
    ruling = np.full(len(columns), -1, dtype=np.int8)
    if len(columns.events):
        asked_w = asked_w.copy()
        ruling = follow_events(
            columns,
            asked_w,
            now_ns=now_ns,
            hold_s=hold_s,
            horizon_s=horizon_s,
            obeys=obeys,
            own_w=own_w,
            surplus_w=np.clip(-others_w, 0, np.maximum(-solar_w, 0)),
            stored_kwh=stored_kwh,
        )
        mode = np.where(ruling >= 0, np.uint8(Mode.SCHEDULE), mode)
    asked_w, leased, version = follow_leases(columns, asked_w, now_ns=now_ns, hold_s=hold_s, obeys=obeys)
    bounds_w = site_bounds(columns, now_ns, others_w)
    charge_w, discharge_w = energy_bounds(columns, stored_kwh=stored_kwh, horizon_s=horizon_s)
    battery_w = _limited(asked_w, bounds_w, charge_w, discharge_w)
    added_w = None if frequency_hz is None else _droop(columns, now_ns, frequency_hz, obeys)
    if added_w is not None:
        battery_w = _limited(battery_w + added_w, bounds_w, charge_w, discharge_w)
    off = columns.off | np.isnan(stored_kwh)
    mode = np.where(leased, np.uint8(Mode.DIRECT), mode)
    return Decision(
        battery_w=np.where(off, 0, battery_w),
        mode=np.where(off, np.uint8(Mode.OFF), mode),
        following_version=np.where(off, 0, version).astype(np.uint32),
        event_slot=np.where(leased | off, np.int8(-1), ruling),
    )


def local_mode(*, load_w: Watts, solar_w: Watts, ev_w: Watts) -> Watts:
    """Return the battery power (N) that uses a site's own solar power, before limits, charging positive."""
    return _self_consumption(load_w + ev_w + solar_w, solar_w)


def next_change_ns(columns: AgentColumns, now_ns: int) -> int:
    """Return the earliest start or end after `now_ns` of anything that a site was sent, or `NEVER_NS`.

    A decision must not be held beyond it. Places of a device's own, and ramps, are followed from tick to tick.
    """
    earliest_ns = NEVER_NS
    spans: list[Any] = [columns.events, columns.envelopes, columns.droop]
    bounds = [columns.start_ns, columns.end_ns, columns.price_start_ns, columns.price_end_ns]
    bounds += [span[name] for span in spans for name in ("start_ns", "end_ns")]
    for bounds_ns in bounds:
        later_ns = np.where(bounds_ns > now_ns, bounds_ns, NEVER_NS).min(initial=NEVER_NS)
        earliest_ns = min(earliest_ns, int(later_ns))
    return earliest_ns


def _limited(
    asked_w: Watts, bounds_w: tuple[Watts, Watts] | None, charge_w: Watts, discharge_w: Watts
) -> Watts:
    """Return the powers that a battery really takes (N): energy and power go before the connection point's limits."""
    if bounds_w is not None:
        asked_w = np.minimum(np.maximum(asked_w, bounds_w[0]), bounds_w[1])
    return np.minimum(np.maximum(asked_w, -discharge_w), charge_w)


def _self_consumption(others_w: Watts, solar_w: Watts) -> Watts:
    # Surplus only comes from the roof: a meter that shows a negative load must not make the battery charge.
    local_w: Watts = np.minimum(-others_w, np.maximum(-solar_w, 0))
    return local_w


def _planned(
    columns: AgentColumns,
    own_w: Watts,
    plan_w: NDArray[Any],
    by_price: NDArray[np.bool_] | None,
    now_ns: int,
    obeys: NDArray[np.bool_],
) -> tuple[Watts, NDArray[np.uint8]]:
    """Return the powers asked for (N) and the modes, with each site's plan where it has one that counts."""
    priced = (columns.price_start_ns <= now_ns) & (now_ns < columns.price_end_ns)
    by_price = priced if by_price is None else by_price
    counts = np.isfinite(plan_w) & (~by_price | (priced & obeys)) & ~columns.off
    # Far beyond any battery, yet within what a whole number can hold.
    whole_w = np.rint(np.clip(np.where(counts, plan_w, 0.0), -1e9, 1e9)).astype(np.int64)
    mode = np.where(counts & by_price, np.uint8(Mode.PRICE), np.uint8(Mode.LOCAL))
    return np.where(counts, whole_w, own_w), mode


def _droop(
    columns: AgentColumns, now_ns: int, frequency_hz: Floats, obeys: NDArray[np.bool_]
) -> Watts | None:
    """Return what the armed response to the frequency adds (N); None when nobody responds."""
    droop, measured_hz = columns.droop, np.asarray(frequency_hz, dtype=np.float64)
    responds = (droop["start_ns"] <= now_ns) & (now_ns < droop["end_ns"]) & obeys
    # Most of the time all of them are within the deadband.
    rows = np.flatnonzero(responds & (np.abs(measured_hz - droop["reference_hz"]) > droop["deadband_hz"]))
    if not len(rows):
        return None
    armed = droop.take(rows)
    added_w = np.zeros(len(columns), dtype=np.int64)
    curve = ("reference_hz", "deadband_hz", "full_deviation_hz", "up_w", "down_w")
    added_w[rows] = droop_w(measured_hz[rows], **{name: armed[name] for name in curve})
    return added_w


def _malformed(desired: DesiredState) -> Rejected | None:
    # Python compares whole numbers of any size with infinity exactly, where math.isfinite would overflow.
    if desired.battery_w != desired.battery_w or abs(desired.battery_w) == math.inf:
        return Rejected(reason="not_finite", detail="battery_w must be a finite number of watts")
    if not 1 <= desired.version <= MAX_VERSION:
        return Rejected(reason="out_of_range", detail=f"version must be from 1 to {MAX_VERSION}")
    if not 0 <= desired.fence <= NEVER_NS:
        return Rejected(reason="out_of_range", detail="fence must be from 0 to 2**63 - 1")
    if not 0 <= desired.start_ns < desired.end_ns <= NEVER_NS:
        return Rejected(reason="out_of_range", detail="the lease must end after its start, within 64 bits")
    if not 0 <= desired.ramp_s <= MOST_RAMP_S:
        return Rejected(reason="out_of_range", detail=f"ramp_s must be from 0 to {MOST_RAMP_S:.0f}")
    return None


def _keep(columns: AgentColumns, row: int, desired: DesiredState, granted_w: int, now_ns: int) -> None:
    """Put an accepted lease into its slot; one that waited and has begun meanwhile moves up first."""
    begin_ns = max(desired.start_ns, now_ns)
    waits = columns.version.item(PENDING, row) > 0
    begun = waits and columns.start_ns.item(PENDING, row) <= now_ns
    from_frac, from_w = _lease_at(columns, PENDING if begun else ACTIVE, row, begin_ns)
    slot = ACTIVE if desired.start_ns <= now_ns else PENDING
    if waits and (begun or slot == ACTIVE):
        for name in LEASED:
            column = getattr(columns, name)
            if slot == PENDING:
                column[ACTIVE, row] = column[PENDING, row]
            column[PENDING, row] = 0
    columns.version[slot, row] = desired.version
    columns.battery_w[slot, row] = granted_w
    columns.start_ns[slot, row] = desired.start_ns
    columns.end_ns[slot, row] = desired.end_ns
    columns.begin_ns[slot, row] = begin_ns
    columns.ramp_s[slot, row] = desired.ramp_s
    columns.from_frac[slot, row] = from_frac
    columns.from_w[slot, row] = from_w


def _lease_at(columns: AgentColumns, slot: int, row: int, t_ns: int) -> tuple[float, float]:
    """Return what the lease in a slot makes of what is beneath at an instant: `share x beneath + watts`."""
    if columns.version.item(slot, row) == 0:
        return 1.0, 0.0
    begin_ns, end_ns = columns.begin_ns.item(slot, row), columns.end_ns.item(slot, row)
    ramp_s = columns.ramp_s.item(slot, row)
    if ramp_s <= 0.0:
        return (0.0, float(columns.battery_w.item(slot, row))) if t_ns < end_ns else (1.0, 0.0)
    done = _share(min(t_ns, end_ns) - begin_ns, ramp_s)
    back = _share(t_ns - end_ns, ramp_s) if t_ns >= end_ns else 0.0
    beneath = (1.0 - done) * columns.from_frac.item(slot, row)
    plus_w = (1.0 - done) * columns.from_w.item(slot, row) + done * columns.battery_w.item(slot, row)
    return beneath + back * (1.0 - beneath), (1.0 - back) * plus_w


def _share(elapsed_ns: int, ramp_s: float) -> float:
    return min(max(elapsed_ns / NS_PER_S / ramp_s, 0.0), 1.0) if ramp_s > 0.0 else 1.0


def _as_float(value: int) -> float:
    """Return a whole number of any size as a float, infinite when it is too large for one."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
