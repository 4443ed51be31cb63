"""What the groups above the sites can still carry in one cycle, while claims are served in the order of their priority.

At a group's connection flows what its sites do anyway (load, solar power, charging cars, batteries that nobody commands)
and what is asked of them. What is not known is taken from the safe side: a silent site may draw as much as it is rated
for, and it may feed in as much; power that a battery is to give counts as relief for others only as far as its meter shows
it. That makes room smaller and never asks anybody to move: what is uncertain takes room down to nothing, not below.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.control.grid_limits import NO_LIMIT_W, LimitsNow, LimitTree
from shoal.domain.telemetry import OPTIONAL, DeviceType
from shoal.optimise.allocation_nested import split_nested_w

Whole = NDArray[np.int64]
Mask = NDArray[np.bool_]

USUAL_FRAC: Final = 0.95
"""A silent site is taken to draw what so many of the others draw less than, or what it last did if that is more."""
_SOLAR, _LOAD, _EV = (1 << OPTIONAL.index(name) for name in ("solar_w", "load_w", "ev_w"))
_HAVE_LOAD: Final = (DeviceType.HOME, DeviceType.METER)


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """A claim whose split a group's limit changed.

    Attributes:
        claim: Whose.
        direction: Which way its power goes.
        held_w: How much of it the limit keeps back; 0 where others could do it instead.
        shadow_price_per_w: By how much the cost of the split would fall for a W more room, in the split's own measure.
    """

    claim: str
    direction: Literal["charge", "discharge"]
    held_w: int
    shadow_price_per_w: float


class GroupNow(msgspec.Struct, frozen=True, kw_only=True):
    """A limited group in a cycle; powers load-positive.

    Attributes:
        group_id: Which.
        import_limit_w: Most that its sites may draw together, less the margin; None for no limit.
        export_limit_w: Most that they may feed in, likewise.
        source: Whether it is the static limit, or an envelope for the whole of the stretch that counts.
        flow_w: What flows with what is asked now, as far as it is known.
        low_w: What it may be at the least, silent sites included.
        high_w: What it may be at the most.
        sites: Sites at or below it.
        silent_sites: Of these, those of which nothing is known now.
        bound: Claims that it holds back.
    """

    group_id: str
    import_limit_w: int | None
    export_limit_w: int | None
    source: Literal["limit", "envelope"]
    flow_w: int
    low_w: int
    high_w: int
    sites: int
    silent_sites: int
    bound: list[Bound]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Flows:
    """What may flow at the connections of N sites without the batteries that are being commanded.

    Attributes:
        low_w: At the least (N).
        high_w: At the most (N).
        known: Whose records are fresh (N).
    """

    low_w: Whole
    high_w: Whole
    known: Mask


def other_flows(
    plate: NDArray[Any], device_type: NDArray[np.uint8], latest: NDArray[Any], known: Mask
) -> Flows:
    """Return what flows at each site besides its battery: as measured where it is, else between its bounds.

    Args:
        plate: Nameplates (N).
        device_type: What stands at each site (N).
        latest: Latest records (N).
        known: Whose records are fresh (N).
    """
    measured = latest["present"]
    load_w, solar_w, ev_w = (latest[name].astype(np.int64) for name in ("load_w", "solar_w", "ev_w"))
    solar_limit_w, ev_limit_w = (_up(plate[name]) for name in ("solar_limit_kw", "ev_limit_kw"))
    no_solar = ~known | (measured & _SOLAR == 0)
    no_ev = ~known | (measured & _EV == 0)
    no_load = (~known | (measured & _LOAD == 0)) & np.isin(device_type, _HAVE_LOAD)
    low_w, high_w = load_w.copy(), load_w
    if no_load.any():
        sure = load_w[known & (measured & _LOAD != 0)]
        usual_w = int(np.quantile(sure, USUAL_FRAC)) if len(sure) else 0
        high_w = np.where(no_load, np.maximum(load_w, usual_w), load_w)
        low_w[no_load] = 0
    low_w += np.where(no_solar, -solar_limit_w, solar_w) + np.where(no_ev, 0, ev_w)
    high_w = high_w + np.where(no_solar, 0, solar_w) + np.where(no_ev, ev_limit_w, ev_w)
    return Flows(low_w=low_w, high_w=high_w, known=known)


def site_rooms(limits: LimitsNow, flows: Flows, charge_w: Whole, discharge_w: Whole) -> tuple[Whole, Whole]:
    """Return the most that each battery may charge and discharge within its own connection's limits (N, N)."""
    rows = limits.site_rows
    charge_w, discharge_w = charge_w.copy(), discharge_w.copy()
    charge_room_w = np.maximum(limits.site_upper_w - flows.high_w[rows], 0)
    discharge_room_w = np.maximum(flows.low_w[rows] - limits.site_lower_w, 0)
    charge_w[rows] = np.minimum(charge_w[rows], charge_room_w)
    discharge_w[rows] = np.minimum(discharge_w[rows], discharge_room_w)
    return charge_w, discharge_w


class GridRoom:
    """The room of every limited group, which claims take one after another.

    Args:
        limits: What holds.
        flows: What flows besides batteries.
        plate: Nameplates (N).
        latest: Latest records (N).
        controlled: Whose battery is commanded in this cycle, and does nothing until a claim takes it (N).
        told_w: What events that devices run ask of each battery; 0 for nothing (N).
    """

    def __init__(
        self,
        limits: LimitsNow,
        flows: Flows,
        *,
        plate: NDArray[Any],
        latest: NDArray[Any],
        controlled: Mask,
        told_w: Whole,
    ) -> None:
        self._limits = limits
        self._battery_w = np.where(flows.known, latest["battery_w"], 0).astype(np.int64)
        free_w = np.where(controlled, 0, self._battery_w)
        low_w = flows.low_w + np.where(controlled, 0, np.minimum(free_w, np.where(told_w, told_w, free_w)))
        high_w = flows.high_w + np.where(controlled, 0, np.maximum(free_w, np.where(told_w, told_w, free_w)))
        silent = ~flows.known
        if silent.any():
            low_w, high_w = self._silent(low_w, high_w, silent, plate)
        sure_w = np.where(silent, 0, np.where(told_w != 0, flows.high_w + told_w, high_w))
        self._low_w, self._high_w, self._flow_w, self._sites, self._silent_sites = (
            self._sums(values)
            for values in (
                low_w,
                high_w,
                sure_w,
                np.ones(len(low_w), dtype=np.int64),
                silent.astype(np.int64),
            )
        )
        self._bound: dict[int, list[Bound]] = {}

    def _silent(self, low_w: Whole, high_w: Whole, silent: Mask, plate: NDArray[Any]) -> tuple[Whole, Whole]:
        low_w = low_w - np.where(silent, _up(plate["discharge_limit_kw"]), 0)
        high_w = high_w + np.where(silent, _up(plate["charge_limit_kw"]), 0)
        # its own connection lets no more through, whoever it listens to
        rows = self._limits.site_rows
        mine = silent[rows]
        for values, bound_w, narrower in (
            (low_w, self._limits.site_lower_w, np.maximum),
            (high_w, self._limits.site_upper_w, np.minimum),
        ):
            values[rows[mine]] = narrower(values[rows[mine]], bound_w[mine])
        return low_w, high_w

    def _sums(self, values_w: Whole) -> Whole:
        parts = [tree.sums(tree.rows, values_w[tree.rows]) for tree in self._limits.trees]
        return np.concatenate([np.empty(0, dtype=np.int64), *parts])

    def _rooms(self, tree: LimitTree) -> tuple[Whole, Whole]:
        """Return what may still be discharged (<= 0) and charged (>= 0) below each group of a tree."""
        at = slice(tree.first, tree.first + len(tree.parent))
        lower_w = np.minimum(self._limits.group_lower_w[at] - self._low_w[at], 0)
        upper_w = np.maximum(self._limits.group_upper_w[at] - self._high_w[at], 0)
        return lower_w, upper_w

    def fits(self, rows: Whole, power_w: Whole) -> bool:
        """Whether the groups can carry these powers of some sites, all in one direction."""
        return all(self._fits(tree, rows, power_w) for tree in self._limits.trees)

    def _fits(self, tree: LimitTree, rows: Whole, power_w: Whole) -> bool:
        lower_w, upper_w = self._rooms(tree)
        sums_w = tree.sums(rows, power_w)
        return bool(np.all((sums_w <= upper_w) & (sums_w >= lower_w)))

    def split(
        self,
        claim: str,
        target_w: int,
        *,
        rows: Whole,
        lower_w: Whole,
        upper_w: Whole,
        weight: NDArray[np.float64],
        preferred_w: NDArray[np.float64],
    ) -> Whole:
        """Return whole watts of M sites within all limits that add up to the target as far as they can.

        Exact within the tree with the most limits. Of other trees each takes back what is too much for it.

        Args:
            claim: Whose, for the explanation.
            target_w: Wanted sum, in one direction.
            rows: The sites (M).
            lower_w: Least of each, <= 0 (M).
            upper_w: Most of each, >= 0 (M).
            weight: Readiness to leave the preferred power (M).
            preferred_w: Power of each if there were no limit (M).
        """
        power_w = np.zeros(len(rows), dtype=np.int64)
        wanted_w = target_w
        for number, tree in enumerate(self._limits.trees):
            if number and self._fits(tree, rows, power_w):
                continue
            group_lower_w, group_upper_w = self._rooms(tree)
            got = split_nested_w(
                wanted_w,
                lower_w=lower_w,
                upper_w=upper_w,
                weight=weight,
                preferred_w=preferred_w,
                leaf=tree.leaf[rows],
                parent=tree.parent,
                group_lower_w=group_lower_w,
                group_upper_w=group_upper_w,
                base_w=np.zeros(len(rows), dtype=np.int64),
            )
            power_w = got.power_w
            held = dict(zip(got.held_rows.tolist(), got.held_w.tolist(), strict=True))
            price = dict(zip(got.bound_rows.tolist(), got.shadow_price_per_w.tolist(), strict=True))
            for group in sorted({*held, *price}):
                shadow = price.get(group, 0.0)
                self._bound.setdefault(tree.first + group, []).append(
                    Bound(
                        claim=claim,
                        direction="charge" if target_w > 0 else "discharge",
                        held_w=held.get(group, 0),
                        shadow_price_per_w=shadow if np.isfinite(shadow) else 0.0,
                    )
                )
            # further trees only take away, so that this one's limits go on holding
            wanted_w = int(power_w.sum())
            lower_w, upper_w = np.minimum(power_w, 0), np.maximum(power_w, 0)
            preferred_w = power_w.astype(np.float64)
        return power_w

    def take(self, rows: Whole, power_w: Whole) -> None:
        """Book what a claim has some sites do, each in one direction."""
        measured_w = self._battery_w[rows]
        # what relieves the others counts as far as it is there already
        low_w = np.where(power_w > 0, np.minimum(power_w, np.maximum(measured_w, 0)), power_w)
        high_w = np.where(power_w < 0, np.maximum(power_w, np.minimum(measured_w, 0)), power_w)
        for tree in self._limits.trees:
            at = slice(tree.first, tree.first + len(tree.parent))
            self._low_w[at] += tree.sums(rows, low_w)
            self._high_w[at] += tree.sums(rows, high_w)
            self._flow_w[at] += tree.sums(rows, power_w)

    def leave(self, group_id: str, held_w: int) -> None:
        """Leave room below a group to somebody who goes first and lacks so much, load-positive."""
        names = self._names()
        if group_id in names:
            at = names.index(group_id)
            self._high_w[at] += max(held_w, 0)
            self._low_w[at] += min(held_w, 0)

    def held_w(self, claim: str) -> list[tuple[str, int]]:
        """Return which groups keep back power of a claim, and how much, the most first."""
        names = self._names()
        found = [
            (names[group], abs(one.held_w))
            for group, bound in self._bound.items()
            for one in bound
            if one.claim == claim and one.held_w
        ]
        return sorted(found, key=lambda pair: (-pair[1], pair[0]))

    def _names(self) -> list[str]:
        return [name for tree in self._limits.trees for name in tree.group_ids]

    def groups(self) -> list[GroupNow]:
        """Return how every limited group stands with what was taken."""
        limits = self._limits
        return [
            GroupNow(
                group_id=name,
                import_limit_w=_limit(int(limits.group_upper_w[at])),
                export_limit_w=_limit(-int(limits.group_lower_w[at])),
                source="limit" if limits.group_static[at] else "envelope",
                flow_w=int(self._flow_w[at]),
                low_w=int(self._low_w[at]),
                high_w=int(self._high_w[at]),
                sites=int(self._sites[at]),
                silent_sites=int(self._silent_sites[at]),
                bound=self._bound.get(at, []),
            )
            for at, name in enumerate(self._names())
        ]


def group_sentence(group: GroupNow) -> str:
    """Return in words what a group's limit does, and what is not known of it; empty when there is nothing to say."""
    said = []
    if group.silent_sites:
        said.append(
            f"{group.silent_sites} of {group.sites} sites are silent: between {_kw(group.low_w)} and "
            f"{_kw(group.high_w)} may flow, and room is kept for both"
        )
    for name, limit_w, over_w in (
        ("import", group.import_limit_w, group.flow_w),
        ("export", group.export_limit_w, -group.flow_w),
    ):
        if limit_w is not None and over_w > limit_w:
            said.append(f"{_kw(over_w - limit_w)} beyond its {name} limit by what its sites do themselves")
    for one in group.bound:
        kept = f"keeps back {_kw(abs(one.held_w))}" if one.held_w else "moves power to other sites"
        said.append(f"its {'import' if one.direction == 'charge' else 'export'} limit {kept} of {one.claim}")
    return f"{group.group_id}: {'; '.join(said)}" if said else ""


def _limit(limit_w: int) -> int | None:
    return None if limit_w >= NO_LIMIT_W else limit_w


def _kw(power_w: int) -> str:
    return f"{power_w / 1e3:,.1f} kW"


def _up(rated_kw: NDArray[Any]) -> Whole:
    """Return a rating in whole watts, rounded up: what may flow at the most."""
    return np.ceil(np.asarray(rated_kw, dtype=np.float64) * 1e3 - 1e-6).astype(np.int64)


def tightest(groups: Sequence[GroupNow], most: int) -> list[GroupNow]:
    """Return the groups that matter most: those that hold something back first, then those with the least room."""

    def room(group: GroupNow) -> float:
        limits = (group.import_limit_w, group.high_w), (group.export_limit_w, -group.low_w)
        return min((limit - flow for limit, flow in limits if limit is not None), default=float("inf"))

    return sorted(groups, key=lambda one: (not one.bound, room(one)))[:most]
