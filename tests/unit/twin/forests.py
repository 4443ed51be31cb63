"""Fleets with overlapping trees for the tests of alarms."""

from __future__ import annotations

import numpy as np

from shoal.domain.fleet import NAMEPLATE, Fleet, Group
from shoal.domain.ids import GroupId, HierarchyId, SiteId

GRID = HierarchyId("grid")
WEATHER = HierarchyId("weather")


def make_forest_fleet(*, regions: int = 2, substations: int = 3, feeders: int = 4, sites: int = 10) -> Fleet:
    """Return `sites` a feeder in a grid of four levels, and weather zones in which the sites lie by turns of five."""
    groups = [_group("grid", GRID, None, 0)]
    leaves: list[int] = []
    for r in range(regions):
        groups.append(_group(f"r{r}", GRID, "grid", 1))
        for s in range(substations):
            groups.append(_group(f"r{r}s{s}", GRID, f"r{r}", 2))
            for f in range(feeders):
                leaves += [len(groups)] * sites
                groups.append(_group(f"r{r}s{s}f{f}", GRID, f"r{r}s{s}", 3))
    first_zone = len(groups) + 1
    groups += [_group("weather", WEATHER, None, 0)]
    groups += [_group(f"zone{z}", WEATHER, "weather", 1) for z in range(5)]
    total = len(leaves)
    return Fleet(
        site_ids=tuple(SiteId(f"site-{n}") for n in range(total)),
        nameplate=NAMEPLATE.empty(total),
        latitude_deg=np.zeros(total),
        longitude_deg=np.zeros(total),
        groups=tuple(groups),
        leaf_group={
            GRID: np.array(leaves, dtype=np.int32),
            WEATHER: (first_zone + np.arange(total) % 5).astype(np.int32),
        },
        resources=(),
    )


def _group(name: str, hierarchy: HierarchyId, parent: str | None, level: int) -> Group:
    parent_id = None if parent is None else GroupId(parent)
    return Group(
        group_id=GroupId(name), hierarchy_id=hierarchy, parent_id=parent_id, name=f"group {name}", level=level
    )
