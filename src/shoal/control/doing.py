"""What a cycle of the controller came to, for whoever asks what the plant does now: its parts, and each group's commands.

Pure. Power that was not heard of in time is bounded by what its batteries can do; commands are counted where they stand now.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.control.arbiter import MARKET, EventNow, Share
from shoal.control.leases import LeaseBook
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_S
from shoal.domain.telemetry import mask_of
from shoal.twin.membership import roll_up

MOST_PARTS: Final = 50
DoingKind: TypeAlias = Literal["award", "setpoint", "event"]
DoingWhat: TypeAlias = Literal["power", "charge", "hold", "local"]
_BATTERY: Final = mask_of("battery_w")
_W_PER_KW: Final = 1_000.0


class Doing(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that sites do now.

    Attributes:
        kind: An award, an order of a power, or an event that devices run.
        name: The resource's or order's id.
        program: Under which program.
        what: What the sites are to do.
        sites: How many.
        silent_sites: How many of them were not heard in time.
        commanded_w: What is commanded of them, charging positive; None where devices choose.
        power_w: What they do: measured of those that were heard, the others at their mean by rating.
        low_w: With `high_w` what they do for certain.
        until_ns: Up to when.
    """

    kind: DoingKind
    name: str
    program: str
    what: DoingWhat
    sites: int
    silent_sites: int
    commanded_w: int | None
    power_w: int
    low_w: int
    high_w: int
    until_ns: int


class ControlNow(msgspec.Struct, frozen=True, kw_only=True):
    """What the last cycle came to.

    Attributes:
        t_ns: When.
        holds_until_ns: Up to when it may be taken for the present, if no other cycle follows.
        serving: Sites that serve something, each once.
        parts: What they do, the most power first; at most `MOST_PARTS`.
        part_count: How many there are.
        groups: Numbers of the groups in which somebody is commanded a power, K.
        sites: How many sites of each are, K.
        commanded_w: What is commanded of these sites, K.
        free_w: What the group's other batteries did when they were last heard, K.
    """

    t_ns: int
    holds_until_ns: int
    serving: int
    parts: list[Doing]
    part_count: int
    groups: list[int]
    sites: list[int]
    commanded_w: list[int]
    free_w: list[int]


def control_now(
    fleet: Fleet,
    *,
    t_ns: int,
    holds_ns: int,
    latest: NDArray[Any],
    fresh_s: float,
    shares: Sequence[Share],
    resources: frozenset[str],
    serving: Sequence[tuple[EventNow, NDArray[np.int64]]],
    leases: LeaseBook,
) -> ControlNow:
    """Return what a cycle came to.

    Args:
        fleet: The fleet of N sites.
        t_ns: The instant.
        holds_ns: For how long it may be taken for the present.
        latest: Latest records (N).
        fresh_s: Who was silent for longer is not known.
        shares: What came of the dispatches.
        resources: Names of those that are a resource's award.
        serving: The events under way with the sites that follow each.
        leases: What every site was told.
    """
    heard = (latest["ts_ns"] > 0) & (t_ns - latest["ts_ns"] <= fresh_s * NS_PER_S)
    heard &= (latest["present"] & _BATTERY) != 0
    busy = np.zeros(len(latest), dtype=np.bool_)
    parts: list[Doing] = []
    for share in shares:
        if not share.target.target_w and not share.power_w.any():
            continue
        mine = ~share.held & (share.target.able | (share.power_w != 0))
        name = share.dispatcher.resource_id
        rows = share.dispatcher.rows[mine]
        if not len(rows):
            continue
        busy[rows] = True
        parts.append(
            _doing(
                fleet,
                rows,
                latest,
                heard,
                kind="award" if name in resources else "setpoint",
                name=name,
                program=share.dispatcher.program or MARKET,
                what="power",
                commanded_w=int(share.power_w[mine].sum()),
                until_ns=share.target.award.interval.end_ns,
            )
        )
    told_w = np.zeros(len(latest), dtype=np.int64)
    told = (leases.owner >= 0) & (leases.end_ns > t_ns)
    told_w[told] = leases.asked_w[told]
    for event, rows in serving:
        if not len(rows):
            continue
        busy[rows] = True
        commanded_w = None
        if event.kind == "power":
            each_w = event.each_w[np.searchsorted(event.rows, rows)]
            told[rows], told_w[rows] = True, each_w
            commanded_w = int(each_w.sum())
        parts.append(
            _doing(
                fleet,
                rows,
                latest,
                heard,
                kind="event",
                name=event.event_id,
                program=event.program,
                what=event.kind,
                commanded_w=commanded_w,
                until_ns=event.end_ns,
            )
        )
    parts.sort(key=lambda one: (-abs(one.power_w), one.name))
    groups, sites, commanded, free = _by_group(fleet, told, told_w, latest)
    return ControlNow(
        t_ns=t_ns,
        holds_until_ns=t_ns + holds_ns,
        serving=int(np.count_nonzero(busy)),
        parts=parts[:MOST_PARTS],
        part_count=len(parts),
        groups=groups.tolist(),
        sites=sites.tolist(),
        commanded_w=commanded.tolist(),
        free_w=free.tolist(),
    )


def _doing(
    fleet: Fleet,
    rows: NDArray[np.int64],
    latest: NDArray[Any],
    heard: NDArray[np.bool_],
    *,
    kind: DoingKind,
    name: str,
    program: str,
    what: DoingWhat,
    commanded_w: int | None,
    until_ns: int,
) -> Doing:
    known, silent = rows[heard[rows]], rows[~heard[rows]]
    give_w = fleet.nameplate["discharge_limit_kw"] * _W_PER_KW
    take_w = fleet.nameplate["charge_limit_kw"] * _W_PER_KW
    measured_w = float(latest["battery_w"][known].sum())
    low_w, high_w = measured_w - float(give_w[silent].sum()), measured_w + float(take_w[silent].sum())
    rated_w = float(give_w[known].sum())
    guess_w = measured_w * (1.0 + float(give_w[silent].sum()) / rated_w) if rated_w > 0 else measured_w
    return Doing(
        kind=kind,
        name=name,
        program=program,
        what=what,
        sites=len(rows),
        silent_sites=len(silent),
        commanded_w=commanded_w,
        power_w=round(min(max(guess_w, low_w), high_w)),
        low_w=round(low_w),
        high_w=round(high_w),
        until_ns=until_ns,
    )


def _by_group(
    fleet: Fleet, told: NDArray[np.bool_], told_w: NDArray[np.int64], latest: NDArray[Any]
) -> tuple[NDArray[np.int64], ...]:
    """Return the groups with commands, and of each how many sites have one, its sum, and what the others did."""
    if not told.any():
        none = np.zeros(0, dtype=np.int64)
        return none, none, none, none
    free = ~told & (latest["ts_ns"] > 0) & ((latest["present"] & _BATTERY) != 0)
    values = np.stack(
        [told.astype(np.int64), told_w, np.where(free, latest["battery_w"].astype(np.int64), 0)], axis=1
    )
    own = np.zeros((len(fleet.groups), 3), dtype=np.int64)
    for leaves in fleet.leaf_group.values():
        inside = leaves >= 0
        np.add.at(own, leaves[inside], values[inside])
    sums = roll_up(own, fleet.parent_number)
    groups = np.flatnonzero(sums[:, 0] > 0)
    return groups, sums[groups, 0], sums[groups, 1], sums[groups, 2]
