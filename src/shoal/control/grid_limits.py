"""The limits that hold at connection points now: of sites and of groups, static ones and envelopes that end by themselves.

Read from the store when it changes and kept while it cannot be read; envelopes go on ending meanwhile, and an envelope
that has ended, has not begun or is stale leaves the static limit, never none. What is asked of a site holds for the whole
of its lease, so the tightest limits of that stretch count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from shoal.control._grid_kernel import add_up
from shoal.control.desired_book import Entry
from shoal.control.site_envelopes import entries_of, pieces_of
from shoal.domain.errors import InvalidInputError, UnavailableError
from shoal.domain.fleet import Fleet
from shoal.domain.ids import GroupId, HierarchyId, SiteId
from shoal.domain.interval import NS_PER_MINUTE
from shoal.optimise.envelopes import Envelopes
from shoal.store.limit_records import ConnectionLimit, LimitKind, OperatingEnvelope
from shoal.store.limits import StandingLimits

NO_LIMIT_W: Final = 1 << 50
"""As good as none, and far from the end of int64."""
READ_AGAIN_NS: Final = 60 * NS_PER_MINUTE
"""Envelopes that are over are let go at least so often."""

Whole = NDArray[np.int64]
_log = structlog.get_logger(__name__)


class LimitSource(Protocol):
    """Where limits are kept; see `shoal.store.limits.LimitStore`."""

    def version(self) -> int: ...
    def standing(self, t_ns: int) -> StandingLimits: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LimitTree:
    """The groups of one hierarchy that have limits, parents first; the nearest of them above each site.

    Attributes:
        hierarchy_id: Which hierarchy.
        group_ids: Their names (G).
        parent: The limited group around each, -1 for none (G).
        leaf: The limited group that each site hangs from, -1 for none (N).
        rows: The sites that hang from any.
        first: Place of its first group among all limited groups.
    """

    hierarchy_id: str
    group_ids: tuple[str, ...]
    parent: NDArray[np.int64]
    leaf: NDArray[np.int64]
    rows: Whole
    first: int

    def sums(self, rows: Whole, values_w: Whole) -> Whole:
        """Return the sum of a value of some sites at or below each group (G)."""
        total_w = np.zeros(len(self.parent), dtype=np.int64)
        add_up(rows, self.leaf, values_w, self.parent, total_w)
        return total_w


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LimitsNow:
    """The limits of a stretch of time, load-positive at the connection.

    Attributes:
        trees: The groups that have limits.
        group_lower_w: Least that may flow at each of them, minus its export limit, tree after tree (G).
        group_upper_w: Most that may (G).
        group_static: Where the static limit holds for at least a part of the stretch (G).
        site_rows: The sites that have limits (S).
        site_lower_w: Of each (S).
        site_upper_w: Of each (S).
    """

    trees: tuple[LimitTree, ...]
    group_lower_w: Whole
    group_upper_w: Whole
    group_static: NDArray[np.bool_]
    site_rows: Whole
    site_lower_w: Whole
    site_upper_w: Whole

    @property
    def any(self) -> bool:
        """Whether there is any limit at all."""
        return bool(self.trees) or bool(len(self.site_rows))


class GridLimits:
    """The limits of one fleet.

    Args:
        fleet: The fleet.
        source: Where limits are kept.
        stale_after_ns: An envelope issued longer ago than this is not believed any more; None believes each to its end.
        margin_frac: So much of every limit stays free, for what changes between two cycles.
    """

    def __init__(
        self,
        fleet: Fleet,
        source: LimitSource,
        *,
        stale_after_ns: int | None = None,
        margin_frac: float = 0.0,
    ) -> None:
        self._fleet = fleet
        self._source = source
        self._stale_after_ns = stale_after_ns
        self._margin_frac = margin_frac
        self._version = -1
        self._read_ns = 0
        self.unknown: tuple[str, ...] = ()
        self._build(StandingLimits(version=-1, limits=(), envelopes=()))

    def refresh(self, t_ns: int) -> bool:
        """Read what has changed; return whether anything had. Blocks.

        Raises:
            UnavailableError: when nothing was ever read; later the last word counts.
        """
        try:
            if self._source.version() == self._version and 0 <= t_ns - self._read_ns < READ_AGAIN_NS:
                return False
            standing = self._source.standing(t_ns)
        except UnavailableError as error:
            if self._version < 0:
                raise
            _log.warning("limits cannot be read", why=str(error))
            return False
        self._build(standing)
        self._version, self._read_ns = standing.version, t_ns
        if self.unknown:
            _log.warning("limits of whom nobody knows", targets=self.unknown[:10], count=len(self.unknown))
        return True

    def _build(self, standing: StandingLimits) -> None:
        fleet = self._fleet
        groups = [one for one in standing.limits if one.kind == "group"]
        known = [one for one in groups if GroupId(one.target) in fleet.group_number]
        self._trees = limit_trees(fleet, [one.target for one in known])
        place = {name: tree.first + at for tree in self._trees for at, name in enumerate(tree.group_ids)}
        known.sort(key=lambda one: place[one.target])
        self._groups = _envelopes(known, standing.envelopes, "group", place)
        sites = [one for one in standing.limits if one.kind == "site"]
        there = sorted(
            (one for one in sites if SiteId(one.target) in fleet.row_of),
            key=lambda one: fleet.row_of[SiteId(one.target)],
        )
        self._site_rows = np.array([fleet.row_of[SiteId(one.target)] for one in there], dtype=np.int64)
        site_place = {one.target: at for at, one in enumerate(there)}
        self._sites = _envelopes(there, standing.envelopes, "site", site_place)
        row_of = {one.target: fleet.row_of[SiteId(one.target)] for one in there}
        self._pieces = pieces_of(standing.envelopes, row_of)
        named = {*place, *site_place}
        self.unknown = tuple(one.target for one in standing.limits if one.target not in named)

    @property
    def trees(self) -> tuple[LimitTree, ...]:
        """The groups that have limits."""
        return self._trees

    def entries(self, t_ns: int) -> list[Entry]:
        """Return what devices are told of their own envelopes at an instant."""
        return entries_of(self._pieces, t_ns, stale_after_ns=self._stale_after_ns)

    def now(self, t_ns: int, until_ns: int) -> LimitsNow:
        """Return the tightest limits of `[t_ns, until_ns)`, less what is kept free."""
        groups = self._groups.limits_at(t_ns, until_ns=until_ns, stale_after_ns=self._stale_after_ns)
        sites = self._sites.limits_at(t_ns, until_ns=until_ns, stale_after_ns=self._stale_after_ns)
        return LimitsNow(
            trees=self._trees,
            group_lower_w=self._within(groups.lower_w),
            group_upper_w=self._within(groups.upper_w),
            group_static=groups.static_mask,
            site_rows=self._site_rows,
            site_lower_w=self._within(sites.lower_w),
            site_upper_w=self._within(sites.upper_w),
        )

    def _within(self, limit_w: Whole) -> Whole:
        """Return limits less what stays free of them; towards 0, so that a limit is never widened."""
        free_w = np.ceil(np.abs(limit_w) * self._margin_frac).astype(np.int64)
        less_w: Whole = np.sign(limit_w) * np.maximum(np.abs(limit_w) - free_w, 0)
        return np.where(np.abs(limit_w) >= NO_LIMIT_W, limit_w, less_w)


def limit_trees(fleet: Fleet, group_ids: Sequence[str]) -> tuple[LimitTree, ...]:
    """Return some groups as trees, one a hierarchy: that with the most of them first, in which a split is exact."""
    by_hierarchy: dict[HierarchyId, list[int]] = {}
    for name in group_ids:
        number = fleet.group_number[GroupId(name)]
        by_hierarchy.setdefault(fleet.groups[number].hierarchy_id, []).append(number)
    trees, first = [], 0
    for hierarchy, numbers in sorted(by_hierarchy.items(), key=lambda pair: (-len(pair[1]), pair[0])):
        numbers.sort(key=lambda number: (fleet.groups[number].level, number))
        trees.append(_tree(fleet, hierarchy, numbers, first))
        first += len(numbers)
    return tuple(trees)


def _tree(fleet: Fleet, hierarchy: HierarchyId, numbers: Sequence[int], first: int) -> LimitTree:
    place = {number: at for at, number in enumerate(numbers)}
    # the nearest limited group at or above each group of the fleet
    nearest = np.full(len(fleet.groups), -1, dtype=np.int64)
    for number in sorted(range(len(fleet.groups)), key=lambda one: fleet.groups[one].level):
        above = int(fleet.parent_number[number])
        nearest[number] = place.get(number, nearest[above] if above >= 0 else -1)
    above_of = [int(fleet.parent_number[number]) for number in numbers]
    parent = [int(nearest[above]) if above >= 0 else -1 for above in above_of]
    leaves = fleet.leaf_group[hierarchy]
    leaf = np.where(leaves >= 0, nearest[np.maximum(leaves, 0)], -1)
    return LimitTree(
        hierarchy_id=str(hierarchy),
        group_ids=tuple(str(fleet.groups[number].group_id) for number in numbers),
        parent=np.array(parent, dtype=np.int64),
        leaf=leaf,
        rows=np.flatnonzero(leaf >= 0),
        first=first,
    )


def _envelopes(
    limits: Sequence[ConnectionLimit],
    envelopes: Sequence[OperatingEnvelope],
    kind: LimitKind,
    place: dict[str, int],
) -> Envelopes:
    mine = [one for one in envelopes if one.kind == kind and one.target in place]

    def column(values: Sequence[int]) -> Whole:
        return np.array(values, dtype=np.int64)

    return Envelopes(
        static_lower_w=column([-_or_none(one.export_limit_w) for one in limits]),
        static_upper_w=column([_or_none(one.import_limit_w) for one in limits]),
        row=column([place[one.target] for one in mine]),
        start_ns=column([one.start_ns for one in mine]),
        end_ns=column([one.end_ns for one in mine]),
        issued_ns=column([one.issued_ns for one in mine]),
        lower_w=column([-one.export_limit_w for one in mine]),
        upper_w=column([one.import_limit_w for one in mine]),
    )


def _or_none(limit_w: int | None) -> int:
    return NO_LIMIT_W if limit_w is None else limit_w


def check_targets(fleet: Fleet, kind: LimitKind, targets: Sequence[str]) -> None:
    """Refuse limits of somebody who does not exist, or of a group in which nobody can be.

    Raises:
        InvalidInputError: naming what is wrong.
    """
    for target in targets:
        known = SiteId(target) in fleet.row_of if kind == "site" else GroupId(target) in fleet.group_number
        if not known:
            raise InvalidInputError(field=kind, value=target, fix="name one that the registry has")
