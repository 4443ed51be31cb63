"""What the owner of a site says to its agent; no document of the plant undoes it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from shoal.domain.outcome import Accepted, Outcome, Rejected
from shoal.edge.agent_columns import MOST_LEFT, AgentColumns, EventCode


class EventView(NamedTuple):
    """An event of a site, for people and reports; `running` says whether it is in force now."""

    event_id: str
    program: str
    kind: EventCode
    start_ns: int
    end_ns: int
    may_opt_out: bool
    opted_out: bool
    running: bool


def opt_out(columns: AgentColumns, row: int, event_id: str, now_ns: int) -> Outcome:
    """Let the owner leave an event, at once and until the owner comes back or it ends.

    Returns:
        `Accepted`, or `Rejected` with reason ``unknown_event`` or ``not_optional``.
    """
    slot = _slot_of(columns, row, event_id, now_ns)
    if slot < 0:
        return Rejected(reason="unknown_event", detail=f"{event_id!r} is neither under way nor ahead")
    record = columns.events[slot, row]
    if not record["may_opt_out"]:
        return Rejected(reason="not_optional", detail=f"{event_id!r} does not let owners leave")
    # Also what has been called by that name before and still fades.
    columns.events["opted_out"][columns.event_id[:, row] == event_id.encode(), row] = True
    _remember_left(columns, row, event_id.encode(), int(record["end_ns"]), now_ns)
    return Accepted()


def opt_in(columns: AgentColumns, row: int, event_id: str, now_ns: int) -> Outcome:
    """Let the owner come back to an event; returns as `opt_out`, and never ``not_optional``."""
    slot = _slot_of(columns, row, event_id, now_ns)
    if slot < 0:
        return Rejected(reason="unknown_event", detail=f"{event_id!r} is neither under way nor ahead")
    record = columns.events[slot, row]
    if record["opted_out"]:
        record["opted_out"] = False
        record["begin_ns"] = max(int(record["begin_ns"]), now_ns)
        record["from_frac"], record["from_w"] = 1.0, 0.0
        for left in columns.left[:, row]:
            if left["event_id"] == event_id.encode():
                left["until_ns"] = 0
    return Accepted()


def set_reserve(columns: AgentColumns, row: int, reserve_frac: float) -> Outcome:
    """Let the owner set the reserve, at any time; the one of the nameplate stays the least.

    Returns:
        `Accepted`, or `Rejected` with reason ``out_of_range``.
    """
    if not 0.0 <= reserve_frac <= 1.0:
        return Rejected(reason="out_of_range", detail="a reserve is from 0 to 1")
    columns.raise_reserve(row, reserve_frac)
    return Accepted()


def set_off(columns: AgentColumns, row: int, off: bool) -> None:
    """Let the owner or installer switch the battery off, or on again."""
    columns.off[row] = off


def set_independent(columns: AgentColumns, row: int, independent: bool) -> None:
    """Let the owner command the site alone: leases end now, no event, price or droop counts; or give it back."""
    columns.independent[row] = independent
    if independent:
        columns.void_leases(row)


def events_of(columns: AgentColumns, row: int, now_ns: int) -> list[EventView]:
    """Return the events of a site that are under way or ahead, in the order in which they rule."""
    views: list[EventView] = []
    if not len(columns.events):
        return views
    for slot, record in enumerate(columns.events[:, row]):
        if record["kind"] and record["end_ns"] > now_ns:
            running = bool(record["begin_ns"] <= now_ns < record["stop_ns"] and not record["opted_out"])
            views.append(
                EventView(
                    columns.event_id[slot, row].decode(),
                    columns.event_program[slot, row].decode(),
                    EventCode(int(record["kind"])),
                    int(record["start_ns"]),
                    int(record["end_ns"]),
                    bool(record["may_opt_out"]),
                    bool(record["opted_out"]),
                    running,
                )
            )
    return views


def _slot_of(columns: AgentColumns, row: int, event_id: str, now_ns: int) -> int:
    """Return the slot of an event that has not ended, -1 without one."""
    named = event_id.encode(errors="replace")
    for slot in np.flatnonzero(columns.events["end_ns"][:, row] > now_ns).tolist():
        if columns.event_id[slot, row] == named and columns.events["kind"][slot, row]:
            return int(slot)
    return -1


def _remember_left(columns: AgentColumns, row: int, event_id: bytes, until_ns: int, now_ns: int) -> None:
    """Keep that the owner has left an event, in place of what is over or else of what ends first."""
    mine = columns.left[:, row]
    free = np.flatnonzero((mine["until_ns"] <= now_ns) | (mine["event_id"] == event_id))
    if not len(free) and len(mine) < MOST_LEFT:
        free = np.array([len(mine)])
        columns.grow("left", len(mine) + 1)
    slot = int(free[0]) if len(free) else int(mine["until_ns"].argmin())
    columns.left[slot, row] = (event_id, until_ns)
