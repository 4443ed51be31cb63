"""What an agent makes of a document of orders.

A document is taken whole or refused whole, and takes the place of the one before: an event that it still names goes on
as changed, one that it no longer names ends now and fades. The kill switch is taken whatever else is in the document.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from hashlib import sha256
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from shoal.domain.errors import WireFormatError
from shoal.domain.interval import NS_PER_S
from shoal.domain.orders import DroopArming, Envelope, PriceSeries, ScheduledEvent, SiteOrders
from shoal.domain.outcome import Accepted, Curtailed, Outcome, Rejected
from shoal.edge.agent import MOST_RAMP_S
from shoal.edge.agent_columns import (
    DROOP,
    ENVELOPE,
    EVENT,
    EVENT_SLOTS,
    ID_BYTES,
    MOST_ENVELOPES,
    MOST_EVENTS,
    NEVER_NS,
    NO_LIMIT_W,
    AgentColumns,
    EventCode,
)

MOST_PRICES: Final = 4_096
MOST_PRICE_ROWS: Final = 24
_ORDERS: Final = msgspec.json.Decoder(SiteOrders)
_KINDS: Final = {
    "power": EventCode.POWER,
    "charge": EventCode.CHARGE,
    "hold": EventCode.HOLD,
    "local": EventCode.LOCAL,
}


class _Slot(NamedTuple):
    """What is written into an event slot."""

    event_id: bytes
    program: bytes
    record: Any


def decode_orders(payload: bytes) -> SiteOrders:
    """Return the document of one message.

    Raises:
        WireFormatError: with reason ``orders``.
    """
    try:
        return _ORDERS.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireFormatError("orders", str(error)) from error


def receive_orders(columns: AgentColumns, row: int, orders: SiteOrders, now_ns: int) -> Outcome:
    """Take or refuse a document of the site in `row`.

    A refused one changes nothing, except that one of a newer issuer fences out the older ones. The kill switch ends
    the site's leases as well, and nothing beside it but envelopes and the owner's reserve is taken.

    Returns:
        `Accepted`; `Curtailed` with reason ``over_nameplate`` when an event asks for a power that the battery has not; or
        `Rejected` with reason ``out_of_range``, ``fenced_out``, ``stale_version``, ``duplicate_event``,
        ``too_many_events``, ``too_many_envelopes`` or ``too_many_prices``.
    """
    if not 1 <= orders.version <= NEVER_NS or not 0 <= orders.fence <= NEVER_NS:
        return Rejected(reason="out_of_range", detail="version from 1, fence from 0, both within 64 bits")
    fence, latest = int(columns.latest_fence[row]), int(columns.orders_version[row])
    if orders.fence < fence:
        return Rejected(reason="fenced_out", detail=f"fence {orders.fence} was replaced by {fence}")
    if orders.version <= latest:
        columns.latest_fence[row] = orders.fence
        return Rejected(reason="stale_version", detail=f"version {orders.version}, {latest} was taken before")
    envelopes = [envelope for envelope in orders.envelopes if envelope.end_ns > now_ns]
    if orders.halted:
        envelopes = [envelope for envelope in envelopes if not _bad_envelope(envelope)][:MOST_ENVELOPES]
        orders = SiteOrders(
            version=orders.version,
            issued_ns=orders.issued_ns,
            issuer=orders.issuer,
            fence=orders.fence,
            halted=True,
            reserve_frac=orders.reserve_frac if 0.0 <= orders.reserve_frac <= 1.0 else 0.0,
        )
    events = [event for event in orders.events if event.end_ns > now_ns]
    columns.latest_fence[row] = orders.fence
    refusal = _malformed(orders, events, envelopes)
    if refusal is not None:
        return refusal
    columns.orders_version[row] = orders.version
    columns.halted[row] = orders.halted
    if orders.halted:
        columns.void_leases(row)
    _keep_left(columns, row, events, now_ns)
    asked_w, granted_w = _keep_events(columns, row, events, now_ns, fade=not orders.halted)
    _keep_envelopes(columns, row, envelopes)
    _keep_prices(columns, row, orders.prices)
    _keep_droop(columns, row, orders.droop)
    columns.ask_reserve(row, orders.reserve_frac)
    if asked_w != granted_w:
        return Curtailed(asked=asked_w, granted=granted_w, reason="over_nameplate")
    return Accepted()


def place_frac(site_id: str, event_id: str) -> float:
    """Return a device's own place within an event's spread, 0 to 1: drawn from the names, the same everywhere."""
    digest = sha256(f"{site_id}\x00{event_id}".encode()).digest()
    # 53 bits: what a float holds exactly, so never a whole 1.
    return (int.from_bytes(digest[:8], "big") >> 11) / float(1 << 53)


def _malformed(
    orders: SiteOrders, events: list[ScheduledEvent], envelopes: list[Envelope]
) -> Rejected | None:
    if not 0.0 <= orders.reserve_frac <= 1.0:
        return Rejected(reason="out_of_range", detail="a reserve is from 0 to 1")
    if len(events) > MOST_EVENTS:
        return Rejected(reason="too_many_events", detail=f"{len(events)}, at most {MOST_EVENTS}")
    if len(envelopes) > MOST_ENVELOPES:
        return Rejected(reason="too_many_envelopes", detail=f"{len(envelopes)}, at most {MOST_ENVELOPES}")
    if len({event.event_id for event in events}) < len(events):
        return Rejected(reason="duplicate_event", detail="name each event once")
    for event in events:
        wrong = _bad_event(event)
        if wrong:
            return Rejected(reason="out_of_range", detail=f"event {event.event_id[:ID_BYTES]!r}: {wrong}")
    for envelope in envelopes:
        if _bad_envelope(envelope):
            return Rejected(
                reason="out_of_range", detail="an envelope ends after its start, with limits from 0"
            )
    if orders.droop is not None and _bad_droop(orders.droop):
        return Rejected(reason="out_of_range", detail="the droop is no curve, or its time is none")
    return None if orders.prices is None else _bad_prices(orders.prices)


def _bad_event(event: ScheduledEvent) -> str:
    if not _nameable(event.event_id) or not _nameable(event.program or "-"):
        return f"names are of 1 to {ID_BYTES} bytes"
    if not _span(event):
        return "it must end after its start, within 64 bits"
    if not 0.0 <= event.soc_frac <= 1.0:
        return "soc_frac must be from 0 to 1"
    if not (0.0 <= event.ramp_s <= MOST_RAMP_S and 0.0 <= event.spread_s <= MOST_RAMP_S):
        return f"ramp_s and spread_s must be from 0 to {MOST_RAMP_S:.0f}"
    if event.kind == "charge" and event.battery_w < 0:
        return "a charge has no negative power"
    return ""


def _nameable(name: str) -> bool:
    return 0 < len(name.encode(errors="replace")) <= ID_BYTES and "\x00" not in name and name.isprintable()


def _span(spanning: ScheduledEvent | Envelope | DroopArming) -> bool:
    return 0 <= spanning.start_ns < spanning.end_ns <= NEVER_NS


def _bad_envelope(envelope: Envelope) -> bool:
    return not _span(envelope) or envelope.import_limit_w < 0 or envelope.export_limit_w < 0


def _bad_droop(droop: DroopArming) -> bool:
    curve = (droop.reference_hz, droop.deadband_hz, droop.full_deviation_hz)
    rising = 0.0 <= droop.deadband_hz < droop.full_deviation_hz and all(map(math.isfinite, curve))
    return not (rising and droop.reference_hz > 0.0 and _span(droop) and min(droop.up_w, droop.down_w) >= 0)


def _bad_prices(prices: PriceSeries) -> Rejected | None:
    count = len(prices.import_per_kwh)
    if count > MOST_PRICES:
        return Rejected(reason="too_many_prices", detail=f"{count}, at most {MOST_PRICES}")
    numbers = (*prices.import_per_kwh, *prices.export_per_kwh)
    sound = 0 < count == len(prices.export_per_kwh) and all(map(math.isfinite, numbers))
    sound = sound and len(prices.rows) == len(prices.weights) <= MOST_PRICE_ROWS
    if sound and prices.rows:
        fits = all(len(row) == count and all(map(math.isfinite, row)) for row in prices.rows)
        shared = all(share >= 0.0 for share in prices.weights) and abs(sum(prices.weights) - 1.0) < 1e-6
        sound = fits and shared and prices.added
    if not sound or not 0 < prices.step_s <= 86_400 or not 0 <= prices.start_ns <= NEVER_NS // 2:
        return Rejected(
            reason="out_of_range",
            detail="prices are as many finite numbers each way and row, shares add up to 1, a step up to a day",
        )
    return None


def _keep_left(columns: AgentColumns, row: int, events: list[ScheduledEvent], now_ns: int) -> None:
    """Remember for as long as the new document lets an event run that its owner has left it."""
    for left in columns.left[:, row]:
        for event in events:
            if left["until_ns"] > now_ns and left["event_id"] == event.event_id.encode():
                left["until_ns"] = event.end_ns


def _keep_events(
    columns: AgentColumns, row: int, events: list[ScheduledEvent], now_ns: int, *, fade: bool
) -> tuple[float, float]:
    """Write the events of a new document over those of the old; return the watts asked for and granted at most."""
    known: dict[bytes, tuple[int, Any]] = {}
    fading: dict[int, _Slot] = {}
    """By their old slots."""
    before_slots: list[int] = []
    """Of the events of the document, -1 of new ones."""
    for slot, record in enumerate(columns.events[:, row]):
        if record["kind"] and record["end_ns"] > now_ns:
            known[bytes(columns.event_id[slot, row])] = (slot, record.copy())
        elif record["kind"] and now_ns < record["stop_ns"] + int(record["ramp_s"] * NS_PER_S):
            fading[slot] = _slot(columns, slot, row, record.copy())
    left = {bytes(one["event_id"]) for one in columns.left[:, row] if one["until_ns"] > now_ns}
    asked_w = granted_w = 0.0
    fresh: list[_Slot] = []
    for event in events:
        named = event.event_id.encode()
        low_w, high_w = -int(columns.discharge_limit_w[row]), int(columns.charge_limit_w[row])
        most_w = min(max(event.battery_w, low_w), high_w)
        if event.kind == "power" and abs(event.battery_w - most_w) > abs(asked_w - granted_w):
            asked_w, granted_w = float(min(max(event.battery_w, -(10**12)), 10**12)), float(most_w)
        before = known.get(named)
        goes_on = before is not None and event.start_ns <= now_ns
        before_slots.append(known.pop(named)[0] if goes_on else -1)  # what goes on does not fade
        record = _record(columns.site_ids[row], event, most_w, before and before[1], now_ns)
        record["opted_out"] = named in left
        fresh.append(_Slot(named, event.program.encode(), record))
    for slot, record in known.values():  # what is no longer asked for ends now
        if record["begin_ns"] <= now_ns and record["ramp_s"] > 0 and not record["opted_out"]:
            record["stop_ns"], record["end_ns"] = min(int(record["stop_ns"]), now_ns), now_ns
            fading[slot] = _slot(columns, slot, row, record)
    kept = [slot for slot in sorted(fading) if fade and fading[slot].event_id not in left]
    order = _fading_in_place(before_slots, kept[: EVENT_SLOTS - len(fresh)])
    _write_events(columns, row, [fresh[place] if new else fading[place] for new, place in order])
    return asked_w, granted_w


def _fading_in_place(before_slots: list[int], fading: list[int]) -> list[tuple[bool, int]]:
    """Return the order in which events rule: what fades stays over what goes on and was beneath it, so that nobody steps.

    `before_slots` are the old slots of the new document's events, -1 for new ones; `fading` those of what fades, rising.
    Pairs say whether one is of the document, and its place there, or else its old slot.
    """
    order: list[tuple[bool, int]] = []
    waiting = list(fading)
    for place, slot in enumerate(before_slots):
        while waiting and waiting[0] < slot:
            order.append((False, waiting.pop(0)))
        order.append((True, place))
    return order + [(False, slot) for slot in waiting]


def _slot(columns: AgentColumns, slot: int, row: int, record: Any) -> _Slot:
    return _Slot(bytes(columns.event_id[slot, row]), bytes(columns.event_program[slot, row]), record)


def _write_events(columns: AgentColumns, row: int, slots: list[_Slot]) -> None:
    columns.grow("events", len(slots))
    columns.events[:, row] = np.zeros((), dtype=EVENT)
    for slot, (event_id, program, record) in enumerate(slots):
        columns.event_id[slot, row] = event_id
        columns.event_program[slot, row] = program
        columns.events[slot, row] = record


def _record(site_id: str, event: ScheduledEvent, battery_w: int, before: Any, now_ns: int) -> Any:
    """Return the record of an event; one that has begun before keeps its place unless its power has changed."""
    record = np.zeros((), dtype=EVENT)
    kind = _KINDS[event.kind]
    base_ns = max(event.start_ns, now_ns)
    goes_on = before is not None and before["begin_ns"] <= now_ns and event.start_ns <= now_ns
    if goes_on:
        base_ns = min(base_ns, int(before["begin_ns"]))
    spread_ns = min(round(event.spread_s * NS_PER_S), (event.end_ns - base_ns) // 2)
    place_ns = int(place_frac(site_id, event.event_id) * spread_ns)
    begin_ns, from_frac, from_w = base_ns + place_ns, 1.0, 0.0
    if before is not None and before["start_ns"] == event.start_ns <= now_ns:
        # A document that comes meanwhile does not put it off, but may call it earlier.
        begin_ns = min(begin_ns, int(before["begin_ns"]))
    if goes_on:
        begin_ns, from_frac, from_w = _going_on(before, kind, battery_w, now_ns)
    for name, value in (
        ("kind", kind),
        ("solar_only", event.solar_only),
        ("may_opt_out", event.may_opt_out),
        ("start_ns", event.start_ns),
        ("end_ns", event.end_ns),
        ("begin_ns", begin_ns),
        ("stop_ns", event.end_ns - spread_ns + place_ns),
        ("battery_w", battery_w),
        ("soc_frac", event.soc_frac),
        ("ramp_s", event.ramp_s),
        ("from_frac", from_frac),
        ("from_w", from_w),
    ):
        record[name] = value
    return record


def _going_on(before: Any, kind: EventCode, battery_w: int, now_ns: int) -> tuple[int, float, float]:
    """Return from when and from what the ramp of an event under way begins, when its document has changed."""
    same = before["kind"] == kind and (kind != EventCode.POWER or before["battery_w"] == battery_w)
    if same:
        return int(before["begin_ns"]), float(before["from_frac"]), float(before["from_w"])
    if before["kind"] != EventCode.POWER or before["opted_out"] or now_ns >= before["stop_ns"]:
        return now_ns, 1.0, 0.0
    ramp_s = float(before["ramp_s"])
    passed_s = (now_ns - int(before["begin_ns"])) / NS_PER_S
    done = min(passed_s / ramp_s, 1.0) if ramp_s > 0.0 else 1.0
    plus_w = (1.0 - done) * float(before["from_w"]) + done * float(before["battery_w"])
    return now_ns, (1.0 - done) * float(before["from_frac"]), plus_w


def _keep_envelopes(columns: AgentColumns, row: int, envelopes: Iterable[Envelope]) -> None:
    kept = [
        (
            envelope.start_ns,
            envelope.end_ns,
            min(envelope.import_limit_w, NO_LIMIT_W),
            min(envelope.export_limit_w, NO_LIMIT_W),
        )
        for envelope in envelopes
    ]
    columns.grow("envelopes", len(kept))
    columns.envelopes[:, row] = np.zeros((), dtype=ENVELOPE)
    columns.envelopes[: len(kept), row] = np.array(kept, dtype=ENVELOPE)


def _keep_prices(columns: AgentColumns, row: int, prices: PriceSeries | None) -> None:
    columns.price_start_ns[row] = prices.start_ns if prices else 0
    span_ns = prices.step_s * NS_PER_S * len(prices.import_per_kwh) if prices else 0
    columns.price_end_ns[row] = columns.price_start_ns[row] + span_ns


def _keep_droop(columns: AgentColumns, row: int, droop: DroopArming | None) -> None:
    columns.droop[row] = np.zeros((), dtype=DROOP)
    if droop is not None:
        values = [getattr(droop, name) for name in DROOP.fields or ()]
        columns.droop[row] = tuple(
            min(value, NO_LIMIT_W) if name.endswith("_w") else value
            for name, value in zip(DROOP.fields or (), values, strict=True)
        )
