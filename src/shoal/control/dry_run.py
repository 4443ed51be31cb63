"""What would happen: who would hear of an order, what they could do, how sure that is, and who would lose by it.

It is worked out from the present moment alone and sends nothing. Fresh sites do what their batteries can, less what past
delivery says they fall short by; silent ones are told as soon as they speak and may do anything their own interval allows,
which is the one that every aggregate carries for them (docs/uncertainty.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.control.arbiter import AbilityNow, Arbiter, EventNow, plain_ability
from shoal.control.grid_limits import GridLimits
from shoal.control.grid_room import GridRoom, other_flows, site_rooms
from shoal.control.schedule import split_by_rating_w
from shoal.domain.fleet import Fleet
from shoal.domain.ids import GroupId
from shoal.domain.interval import NS_PER_S, Interval
from shoal.domain.live import Aggregates
from shoal.programs.arbitration import arbitrate
from shoal.programs.claims import Claim, PowerClaim, SiteAbility
from shoal.programs.explain import loss_sentence
from shoal.programs.program import ProgramBook
from shoal.store.order_records import EventSpec, Order, Scope, SetPointSpec

PREVIEW: Final = "dry-run"
Z_90: Final = 1.645
"""A normal sum lies within so many standard deviations nine times out of ten."""


class Losing(msgspec.Struct, frozen=True, kw_only=True):
    """Who would not get what it asked for: the claim, why, and in words."""

    claim: str
    reason: str
    power_w: int
    sites: int
    told: str


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """A limit at which sites would stand."""

    limit: str
    sites: int
    power_w: int


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """What would happen.

    Attributes:
        sites: Who is meant.
        fresh_sites: Heard from lately.
        silent_sites: Not; told as soon as they speak.
        halted_sites: Under a kill switch; they do nothing.
        asked_kw: What is asked of all together, charging positive.
        expected_kw: What the batteries would do together.
        low_kw: They would do between this and `high_kw` nine times out of ten.
        high_kw: See there.
        sustained_kw: What the fresh ones can hold to the end.
        energy_kwh: What they could deliver until the end.
        losses: Who would lose.
        binding: Which limits bind.
    """

    sites: int
    fresh_sites: int
    silent_sites: int
    halted_sites: int
    asked_kw: float
    expected_kw: float
    low_kw: float
    high_kw: float
    sustained_kw: float
    energy_kwh: float
    losses: list[Losing]
    binding: list[Binding]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Worked:
    """What a preview was made of: columns are of the rows that are meant.

    Attributes:
        preview: The preview.
        asked_w: What each is asked, charging positive; 0 under a kill switch.
        at_once_w: What it would do at once; 0 of silent ones.
        granted_w: What it may hold to the end beside what goes first, before the groups above it are looked at.
        held_w: What it can hold to the end.
        fresh: Heard from lately, and not under a kill switch.
        silent: Not heard from lately, and not under a kill switch.
        ability: What every site of the fleet can do now, within its own connection.
        interval: From when to when it was reckoned with.
    """

    preview: Preview
    asked_w: NDArray[np.int64]
    at_once_w: NDArray[np.int64]
    granted_w: NDArray[np.int64]
    held_w: NDArray[np.int64]
    fresh: NDArray[np.bool_]
    silent: NDArray[np.bool_]
    ability: SiteAbility
    interval: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Experience:
    """How sites did what they were asked lately: the mean share of it, and the deviation of one site's share."""

    share_frac: float = 1.0
    deviation_frac: float = 0.1


def preview(order: Order, **now: Any) -> Preview:
    """Return what an order would do if it began now; see `work_out` for what it takes."""
    return work_out(order, **now).preview


def work_out(
    order: Order,
    *,
    t_ns: int,
    fleet: Fleet,
    rows: NDArray[np.int64],
    each_w: NDArray[np.int64],
    latest: NDArray[Any],
    halted: NDArray[np.bool_],
    book: ProgramBook,
    running: Sequence[EventNow] = (),
    claims: Sequence[Claim] = (),
    ability: AbilityNow | None = None,
    fresh_timeout_s: float,
    silent_kw: tuple[float, float, float] | None = None,
    experience: Experience | None = None,
    grid: GridLimits | None = None,
    shared: bool = False,
    busy: NDArray[np.bool_] | None = None,
) -> Worked:
    """Return what an order would do if it began now, site by site.

    Args:
        order: What would be asked.
        t_ns: Now.
        fleet: The fleet.
        rows: Who would be meant, ascending.
        each_w: What each of them would be asked, charging positive.
        latest: Latest records of the fleet.
        halted: Which sites nobody commands (N of the fleet).
        book: The programs.
        running: Events under way.
        claims: What else is claimed now, such as awards.
        ability: What each site can do; every site in every program when None.
        fresh_timeout_s: Who was silent for longer is not counted on.
        silent_kw: Battery power of the silent sites of the scope: expected, low, high; see `silent_of`. When None, between
            all that they could discharge and all that they could charge.
        experience: How sites did lately; a tenth of deviation when None.
        grid: Limits at connections, of which the tightest until the order's end count; none when None.
        shared: Whether the controller shares the sum of `each_w` out among whom it hears from, as it does with set-points;
            else each site does its own.
        busy: Which sites something has that goes first (N); none when None.
    """
    known = (latest["ts_ns"] > 0) & (t_ns - latest["ts_ns"] <= int(fresh_timeout_s * NS_PER_S))
    fresh = known[rows] & ~halted[rows]
    silent = ~known[rows] & ~halted[rows]
    seen = experience or Experience()
    ability_now = (ability or plain_ability(book, fleet.nameplate))(t_ns, latest, known)
    interval = Interval(
        start_ns=t_ns, end_ns=max(order.end_ns - max(order.start_ns - t_ns, 0), t_ns + NS_PER_S)
    )
    room = None
    if grid is not None:
        ability_now, room = _within_limits(
            grid, ability_now, interval, fleet, latest, known, fresh, rows, running
        )
    taken = halted[rows] if busy is None else halted[rows] | busy[rows]
    asked_w = np.where(taken, 0, each_w)
    mine = PowerClaim(
        claim_id=f"order:{order.order_id}", program=_program(order, book), rows=rows, each_w=asked_w
    )
    arbiter = Arbiter(book, fleet.nameplate)
    others = [claim for event in running if event.start_ns <= t_ns for claim in arbiter.claims_of(event)]
    wanted = [claim for claim in (*claims, *others) if claim.claim_id != mine.claim_id]
    if shared:
        mine = replace(mine, rows=rows[fresh & ~taken], each_w=None, power_w=int(each_w.sum()))
    done = arbitrate(book.ordered([*wanted, mine]), ability_now, interval=interval)
    held_w = granted_w = done.grant(mine.claim_id).power_w[rows]
    if shared:
        minute = replace(mine, sustain_s=60.0)
        at_once = arbitrate(book.ordered([*wanted, minute]), ability_now, interval=interval)
        asked_w = at_once.grant(mine.claim_id).power_w[rows]

    # what it can do at once, for a minute; holding it to the end may be another matter
    possible_w = np.where(
        asked_w > 0,
        np.minimum(asked_w, ability_now.charge_w[rows] * (ability_now.charge_wh[rows] > 0)),
        -np.minimum(-asked_w, ability_now.discharge_w[rows] * (ability_now.discharge_wh[rows] > 0)),
    )
    at_once_w = np.where(fresh & (held_w != 0), possible_w, 0)
    limited: list[tuple[str, int]] = []
    if room is not None:
        at_once_w, limited = _carried(room, rows, at_once_w)
        held_w, _ = _carried(room, rows, held_w)
    expected_kw = float(at_once_w.sum()) * seen.share_frac / 1e3
    deviation_kw = math.sqrt(float(np.square(at_once_w.astype(np.float64)).sum())) * seen.deviation_frac / 1e3
    low_kw, high_kw = expected_kw - Z_90 * deviation_kw, expected_kw + Z_90 * deviation_kw
    if silent.any():
        plate = fleet.nameplate[rows[silent]]
        quiet = silent_kw or (
            0.0,
            -float(plate["discharge_limit_kw"].sum()),
            float(plate["charge_limit_kw"].sum()),
        )
        expected_kw, low_kw, high_kw = expected_kw + quiet[0], low_kw + quiet[1], high_kw + quiet[2]
    said = Preview(
        sites=len(rows),
        fresh_sites=int(fresh.sum()),
        silent_sites=int(silent.sum()),
        halted_sites=int(halted[rows].sum()),
        asked_kw=float(each_w.sum()) / 1e3,
        expected_kw=expected_kw,
        low_kw=low_kw,
        high_kw=high_kw,
        sustained_kw=float(held_w.sum()) / 1e3,
        energy_kwh=float(held_w.sum()) / 1e3 * interval.duration_h,
        losses=[
            Losing(
                claim=loss.claim,
                reason=loss.reason,
                power_w=loss.power_w,
                sites=loss.sites,
                told=loss_sentence(loss),
            )
            for loss in done.losses
        ]
        + [
            Losing(
                claim=mine.claim_id,
                reason="limit",
                power_w=power_w,
                sites=0,
                told=f"{power_w / 1e3:,.1f} kW: {group} can carry no more",
            )
            for group, power_w in limited
        ],
        binding=_binding(asked_w, held_w, rows, fleet, fresh)
        + [
            Binding(limit=f"what {group} can carry", sites=len(_inside(group, rows, fleet)), power_w=power_w)
            for group, power_w in limited
        ],
    )
    return Worked(
        preview=said,
        asked_w=asked_w,
        at_once_w=at_once_w,
        granted_w=granted_w,
        held_w=held_w,
        fresh=fresh,
        silent=silent,
        ability=ability_now,
        interval=interval,
    )


def _within_limits(
    grid: GridLimits,
    ability: SiteAbility,
    interval: Interval,
    fleet: Fleet,
    latest: NDArray[Any],
    known: NDArray[np.bool_],
    fresh: NDArray[np.bool_],
    rows: NDArray[np.int64],
    running: Sequence[EventNow],
) -> tuple[SiteAbility, GridRoom | None]:
    """Return what sites can do within their own connections, and the room of the groups above them."""
    limits = grid.now(interval.start_ns, interval.end_ns)
    if not limits.any:
        return ability, None
    flows = other_flows(fleet.nameplate, fleet.device_type, latest, known)
    charge_w, discharge_w = site_rooms(limits, flows, ability.charge_w, ability.discharge_w)
    ability = replace(ability, charge_w=charge_w, discharge_w=discharge_w)
    if not limits.trees:
        return ability, None
    controlled = np.zeros(len(known), dtype=np.bool_)
    controlled[rows[fresh]] = True
    told_w = np.zeros(len(known), dtype=np.int64)
    for event in running:
        if event.start_ns <= interval.start_ns:
            told_w[event.rows] = event.each_w
    room = GridRoom(limits, flows, plate=fleet.nameplate, latest=latest, controlled=controlled, told_w=told_w)
    return ability, room


def _carried(
    room: GridRoom, rows: NDArray[np.int64], power_w: NDArray[np.int64]
) -> tuple[NDArray[np.int64], list[tuple[str, int]]]:
    """Return what the groups can carry of some powers, and which of them keep back how much."""
    total_w = int(power_w.sum())
    if room.fits(rows, power_w) or not total_w:
        return power_w, []
    carried_w = room.split(
        PREVIEW,
        total_w,
        rows=rows,
        lower_w=np.minimum(power_w, 0),
        upper_w=np.maximum(power_w, 0),
        weight=np.abs(power_w) + 1.0,
        preferred_w=power_w.astype(np.float64),
    )
    return carried_w, room.held_w(PREVIEW)


def _inside(group: str, rows: NDArray[np.int64], fleet: Fleet) -> NDArray[np.int64]:
    return np.intersect1d(rows, fleet.rows_in(GroupId(group)), assume_unique=True)


def silent_of(
    aggregates: Aggregates, fleet: Fleet, scope: Scope, latest_fresh_kw: float | None = None
) -> tuple[float, float, float] | None:
    """Return the battery power of a scope's silent sites from what the plant says of its group: expected, low, high.

    Only one group, or the fleet where it has one root, has such figures; None for other scopes.

    Args:
        aggregates: The newest.
        fleet: The fleet, whose groups they are of.
        scope: One group, or the fleet.
        latest_fresh_kw: Battery power of its fresh sites; as the aggregates have it when None.
    """
    roots = [place for place, group in enumerate(fleet.groups) if group.parent_id is None]
    if scope.fleet and len(roots) == 1:
        place = roots[0]
    elif len(scope.groups) == 1 and not scope.sites and not scope.fleet:
        found = [number for number, group in enumerate(fleet.groups) if group.group_id == scope.groups[0]]
        if not found:
            return None
        place = found[0]
    else:
        return None
    fresh_kw = aggregates.battery_kw[place] if latest_fresh_kw is None else latest_fresh_kw
    return (
        aggregates.expected_kw[place] - fresh_kw,
        aggregates.low_kw[place] - fresh_kw,
        aggregates.high_kw[place] - fresh_kw,
    )


def each_of(order: Order, rows: NDArray[np.int64], fleet: Fleet) -> NDArray[np.int64]:
    """Return what an order asks of each row, charging positive; 0 for what leaves the power to the site."""
    spec = order.spec
    if isinstance(spec, SetPointSpec):
        return split_by_rating_w(spec.power_w, rows, fleet)
    if isinstance(spec, EventSpec):
        if spec.group_w is not None:
            return split_by_rating_w(spec.group_w, rows, fleet)
        if spec.kind in ("power", "charge"):
            return np.full(len(rows), spec.battery_w, dtype=np.int64)
    return np.zeros(len(rows), dtype=np.int64)


def _program(order: Order, book: ProgramBook) -> str:
    """Return the program under which its power is claimed: its own where that may claim power."""
    if order.program in book.ids and book.program(order.program).kind in ("power", "local"):
        return order.program
    powers = [program.id for program in book.programs if program.kind == "power"]
    return powers[0] if powers else book.ids[0]


def _binding(
    asked_w: NDArray[np.int64],
    held_w: NDArray[np.int64],
    rows: NDArray[np.int64],
    fleet: Fleet,
    fresh: NDArray[np.bool_],
) -> list[Binding]:
    """Return the limits at which sites would stand."""
    plate = fleet.nameplate[rows]
    rated_w = np.where(asked_w > 0, plate["charge_limit_kw"], plate["discharge_limit_kw"]) * 1e3
    over_rated = np.abs(asked_w) > rated_w
    less_w = np.abs(asked_w) - np.abs(held_w)
    short = fresh & ~over_rated & (less_w > 0)
    found = []
    for name, mask in (
        ("rated power", over_rated & fresh),
        ("energy or what the owner keeps", short),
        ("silent", ~fresh & (asked_w != 0)),
    ):
        if mask.any():
            found.append(Binding(limit=name, sites=int(mask.sum()), power_w=int(less_w[mask].sum())))
    return found
