"""Many troubled sites explained by few groups: a storm becomes the one incident behind it.

A group explains its troubled sites at the price of its sound ones, which are exceptions to what it says. Whichever group
of whichever tree leaves the fewest exceptions is taken first, then the best for the rest, and so on; what no group
explains stands alone, or together under the lowest group that holds nearly all of it. A group that is named already
pays less for exceptions, so that sites that come and go do not change the explanation.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.fleet import Fleet

NO_GROUP: Final = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class StormRule:
    """When a group is named for its sites.

    Attributes:
        least_sites: Fewest troubled sites that a group is named for.
        least_rest_frac: Fewest, as a share of the sites not explained yet.
        raise_frac: Least share of a group's sites that is troubled.
        keep_exception_frac: What a sound site counts against a group that is named already, 0 to 1.
        alone_sites: Most sites that stand alone; more are gathered.
        nearly_frac: Share of the gathered sites that their common group holds at least.
        most_groups: Most groups named at once.
    """

    least_sites: int = 5
    least_rest_frac: float = 0.05
    raise_frac: float = 0.6
    keep_exception_frac: float = 0.25
    alone_sites: int = 8
    nearly_frac: float = 0.95
    most_groups: int = 16

    @property
    def most_incidents(self) -> int:
        """The most incidents that any number of troubled sites gives."""
        return self.most_groups + max(self.alone_sites, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """Troubled sites with one explanation.

    Attributes:
        group: The group's number; `NO_GROUP` for a site alone or when no group holds them.
        alone: Whether it is one site, with no group behind it.
        gathered: Whether they only lie in the group, which does not explain them.
        rows: Their rows, ascending.
    """

    group: int
    alone: bool
    gathered: bool
    rows: NDArray[np.int64]


class Forest:
    """The groups of every tree, made ready for counting sites.

    Args:
        fleet: Groups and memberships.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._leaves = list(fleet.leaf_group.values())
        self._parent = fleet.parent_number
        self.level = np.array([group.level for group in fleet.groups], dtype=np.int64)
        self._tree = {hierarchy: number for number, hierarchy in enumerate(fleet.leaf_group)}
        self._tree_of = [self._tree.get(group.hierarchy_id, NO_GROUP) for group in fleet.groups]
        deepest = int(self.level.max(initial=0))
        self._levels = [np.flatnonzero(self.level == level) for level in range(deepest + 1)]
        self.site_count = len(fleet.site_ids)
        self.sites = self._rolled_up(self._leaves)

    def counts(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many of the sites in `rows` each group holds."""
        return self._rolled_up([leaves[rows] for leaves in self._leaves])

    def inside(self, group: int, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of the sites in `rows` are in the group."""
        below = np.zeros(len(self.level) + 1, dtype=np.bool_)  # the last one answers for -1, no group
        below[group] = True
        for numbers in self._levels[int(self.level[group]) + 1 :]:
            below[numbers] = below[self._parent[numbers]]
        tree = self._tree_of[group]
        if tree == NO_GROUP:
            return np.zeros(len(rows), dtype=np.bool_)
        return np.asarray(below[self._leaves[tree][rows]])

    def _rolled_up(self, leaves: list[NDArray[np.int32]]) -> NDArray[np.int64]:
        total = np.zeros(len(self.level), dtype=np.int64)
        for numbers in leaves:
            # shifted by one, so that sites without a group are counted apart
            total += np.bincount(numbers + 1, minlength=len(total) + 1)[1:]
        for level in self._levels[:0:-1]:
            total += np.bincount(self._parent[level], weights=total[level], minlength=len(total)).astype(
                np.int64
            )
        return total


def explain(
    forest: Forest,
    rows: NDArray[np.int64],
    *,
    rule: StormRule,
    named: AbstractSet[int] = frozenset(),
    gathered: bool = False,
) -> list[Incident]:
    """Return incidents that hold each of the troubled sites exactly once; at most `rule.most_incidents`.

    Args:
        forest: The groups.
        rows: The troubled sites, ascending.
        rule: When a group is named.
        named: Groups that are named at present.
        gathered: Whether an incident of gathered sites stands at present.
    """
    found: list[Incident] = []
    if not len(rows):
        return found
    troubled = forest.counts(rows)
    weight = np.ones(len(forest.sites))
    weight[list(named)] = rule.keep_exception_frac
    exceptions = weight * (forest.sites - troubled)
    is_named = np.zeros(len(forest.sites), dtype=np.bool_)
    is_named[list(named)] = True
    eligible = is_named | (troubled >= rule.raise_frac * forest.sites)
    rest, held = rows, troubled
    while len(rest) and len(found) < rule.most_groups:
        group = _best(
            forest, held, np.subtract(held, exceptions, dtype=np.float64), eligible, is_named, len(rest), rule
        )
        if group == NO_GROUP:
            break
        inside = forest.inside(group, rest)
        found.append(Incident(group=group, alone=False, gathered=False, rows=rest[inside]))
        rest = rest[~inside]
        held = forest.counts(rest)
    return found + _rest(forest, rest, held, rule, gathered=gathered)


def _best(
    forest: Forest,
    held: NDArray[np.int64],
    gain: NDArray[np.float64],
    eligible: NDArray[np.bool_],
    named: NDArray[np.bool_],
    rest_count: int,
    rule: StormRule,
) -> int:
    """Return the group that explains most of the rest with the fewest exceptions, the lowest of several alike."""
    least = np.maximum(rule.least_sites, rule.least_rest_frac * rest_count)
    # what is named already stays with half the sites, and needs no more than its exceptions
    least_gain = np.where(named, 0.0, least)
    least_held = np.where(named, rule.least_sites / 2, rule.least_sites)
    fit = np.flatnonzero(eligible & (held >= least_held) & (gain > 0) & (gain >= least_gain))
    if not len(fit):
        return NO_GROUP
    most = fit[gain[fit] == gain[fit].max()]
    order = np.lexsort((most, -forest.level[most], forest.sites[most], ~named[most]))
    return int(most[order[0]])


def _rest(
    forest: Forest,
    rows: NDArray[np.int64],
    held: NDArray[np.int64],
    rule: StormRule,
    *,
    gathered: bool,
) -> list[Incident]:
    """Return what no group explains: site by site, or gathered when there are too many."""
    most_alone = rule.alone_sites // 2 if gathered else rule.alone_sites
    if len(rows) <= most_alone:
        return [
            Incident(group=NO_GROUP, alone=True, gathered=False, rows=rows[n : n + 1])
            for n in range(len(rows))
        ]
    holds = np.flatnonzero(held >= rule.nearly_frac * len(rows))
    group = NO_GROUP
    if len(holds):
        order = np.lexsort((holds, -forest.level[holds], forest.sites[holds]))
        group = int(holds[order[0]])
    return [Incident(group=group, alone=False, gathered=True, rows=rows)]
