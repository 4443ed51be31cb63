"""Events that devices run by themselves, kept within what the groups above them can carry.

Documents tell each site its power hours ahead, by static limits and envelopes of the whole stretch; from a quarter of an
hour before it begins, what flows besides is reckoned with. Events are served in the order of their programs, and room that
a dispatch which goes first lacks is left to it. What was told stays as long as it serves nearly as well, so that a load
which comes and goes does not tell a thousand homes anew each minute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.control.desired_book import Entry
from shoal.control.grid_limits import GridLimits
from shoal.control.grid_room import Flows, GridRoom, GroupNow, other_flows
from shoal.control.leases import LeaseBook
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_MINUTE
from shoal.domain.orders import ScheduledEvent

NEAR_NS: Final = 15 * NS_PER_MINUTE
NEARLY_FRAC: Final = 0.05
NEARLY_W: Final = 500

Whole = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Seen:
    """What the last cycle saw."""

    latest: NDArray[Any]
    flows: Flows
    groups: tuple[GroupNow, ...]
    rank_of_claim: Mapping[str, int]


class EventCaps:
    """What of events the groups can carry.

    Args:
        fleet: The fleet.
        grid: Limits at connections.
        leases: The set-points that sites have.
        rank: Returns the place of a program, 0 goes first.
        market: The program of awards.
    """

    def __init__(
        self,
        fleet: Fleet,
        grid: GridLimits,
        leases: LeaseBook,
        *,
        rank: Callable[[str], int],
        market: str = "market",
    ) -> None:
        self._fleet = fleet
        self._grid = grid
        self._leases = leases
        self._rank = rank
        self._market = market
        self._seen: _Seen | None = None
        self._caps: dict[str, tuple[Whole, Whole]] = {}
        self.told: tuple[str, ...] = ()
        """Which events get less than they ask, and why, in words."""

    def note(
        self,
        latest: NDArray[Any],
        known: NDArray[np.bool_],
        groups: Sequence[GroupNow],
        rank_of_claim: Mapping[str, int],
    ) -> None:
        """Take in how the plant stands.

        Args:
            latest: Latest records (N).
            known: Whose records are fresh (N).
            groups: How the limited groups stood in the last cycle.
            rank_of_claim: The places of the dispatches' programs, by their claims.
        """
        if self._grid.trees:
            flows = other_flows(self._fleet.nameplate, self._fleet.device_type, latest, known)
            self._seen = _Seen(
                latest=latest, flows=flows, groups=tuple(groups), rank_of_claim=dict(rank_of_claim)
            )

    def within(self, t_ns: int, wanted: dict[str, Entry]) -> dict[str, Entry]:
        """Return what stands in documents with no more power than the groups can carry."""
        if not self._grid.trees or self._seen is None:
            self._caps, self.told = {}, ()
            return wanted
        asking = [
            (self._rank(entry.item.program), entry.item.start_ns, key, entry, entry.item)
            for key, entry in wanted.items()
            if isinstance(entry.item, ScheduledEvent) and len(entry.rows) and entry.end_ns > t_ns
        ]
        found, told = dict(wanted), []
        served: list[tuple[ScheduledEvent, Whole, Whole]] = []
        caps: dict[str, tuple[Whole, Whole]] = {}
        for rank, _, key, entry, event in sorted(asking, key=lambda one: one[:3]):
            own_w = _own_w(entry, event)
            if not own_w.any():
                continue
            room = self._room(t_ns, rank, entry, event, served, self._seen)
            carried_w = self._carried(key, entry.rows, own_w, room)
            if not np.array_equal(carried_w, own_w):
                caps[key] = (entry.rows, carried_w)
                found[key] = replace(entry, battery_w=carried_w)
                kept_kw = float(np.abs(own_w - carried_w).sum()) / 1e3
                by = ", ".join(name for name, _ in room.held_w(key)) or "limits of groups"
                told.append(f"event:{key}: {kept_kw:,.1f} kW are kept back: {by} can carry no more")
            served.append((event, entry.rows, carried_w))
        self._caps, self.told = caps, tuple(told)
        return found

    def _room(
        self,
        t_ns: int,
        rank: int,
        entry: Entry,
        event: ScheduledEvent,
        served: Sequence[tuple[ScheduledEvent, Whole, Whole]],
        seen: _Seen,
    ) -> GridRoom:
        """Return what the groups can carry of an event, with those served before it."""
        sites = len(self._fleet.site_ids)
        start_ns = max(event.start_ns, t_ns)
        limits = self._grid.now(start_ns, event.end_ns)
        controlled = np.zeros(sites, dtype=np.bool_)
        if rank < self._rank(self._market):
            controlled |= (self._leases.owner >= 0) & (self._leases.end_ns > t_ns) & seen.flows.known
        told_w = np.zeros(sites, dtype=np.int64)
        for other, rows, power_w in served:
            if other.start_ns < event.end_ns and event.start_ns < other.end_ns:
                told_w[rows] = power_w
                controlled[rows] = False
        # a silent site may not run it, and it may: what it may do is counted as of any silent one
        controlled[entry.rows] = seen.flows.known[entry.rows]
        told_w[entry.rows] = 0
        latest, flows = seen.latest, seen.flows
        near = start_ns - t_ns <= NEAR_NS
        if not near:
            # what will flow then is not known now: only what is asked is counted, until it begins
            nothing = np.zeros(sites, dtype=np.int64)
            latest = np.zeros(sites, dtype=seen.latest.dtype)
            flows = Flows(low_w=nothing, high_w=nothing, known=np.ones(sites, dtype=np.bool_))
            controlled[entry.rows] = True
        room = GridRoom(
            limits,
            flows,
            plate=self._fleet.nameplate,
            latest=latest,
            controlled=controlled,
            told_w=told_w,
        )
        if near:
            for group in seen.groups:
                for bound in group.bound:
                    if seen.rank_of_claim.get(bound.claim, rank) < rank:
                        room.leave(group.group_id, bound.held_w)
        return room

    def _carried(self, key: str, rows: Whole, own_w: Whole, room: GridRoom) -> Whole:
        """Return what the groups can carry of an event's powers, each no more than it is."""
        carried_w = np.zeros(len(rows), dtype=np.int64)
        for part_w in (np.maximum(own_w, 0), np.minimum(own_w, 0)):
            total_w = int(part_w.sum())
            if not total_w:
                continue
            got_w = part_w
            if not room.fits(rows, part_w):
                got_w = room.split(
                    key,
                    total_w,
                    rows=rows,
                    lower_w=np.minimum(part_w, 0),
                    upper_w=np.maximum(part_w, 0),
                    weight=np.abs(part_w) + 1.0,
                    preferred_w=part_w.astype(np.float64),
                )
                got_w = self._as_told(key, rows, part_w, got_w, room)
            room.take(rows, got_w)
            carried_w += got_w
        return carried_w

    def _as_told(self, key: str, rows: Whole, part_w: Whole, got_w: Whole, room: GridRoom) -> Whole:
        """Return what was told before where it does nearly as well."""
        held = self._caps.get(key)
        if held is None or not np.array_equal(held[0], rows):
            return got_w
        sign = 1 if part_w.sum() > 0 else -1
        before_w = np.where(np.sign(held[1]) == sign, held[1], 0)
        within = bool(np.all(np.abs(before_w) <= np.abs(part_w)))
        more_w = abs(int(got_w.sum())) - abs(int(before_w.sum()))
        nearly = more_w <= max(NEARLY_W, NEARLY_FRAC * abs(int(part_w.sum())))
        return before_w if within and nearly and room.fits(rows, before_w) else got_w


def _own_w(entry: Entry, event: ScheduledEvent) -> Whole:
    if event.kind not in ("power", "charge"):
        return np.zeros(len(entry.rows), dtype=np.int64)
    if entry.battery_w is not None:
        return entry.battery_w
    return np.full(len(entry.rows), event.battery_w, dtype=np.int64)
