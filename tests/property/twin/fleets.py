"""Random fleets: any number of trees of any shape, and sites that hang from any group of them."""

from __future__ import annotations

import numpy as np

from shoal.domain.fleet import NAMEPLATE, Fleet, Group
from shoal.domain.ids import GroupId, HierarchyId, SiteId


def random_fleet(sites: int, trees: int, seed: int) -> Fleet:
    """Return a fleet whose sites hang from leaves, inner groups, or none; a child may be listed before its parent."""
    random = np.random.default_rng(seed)
    groups: list[Group] = []
    leaf_group: dict[HierarchyId, np.ndarray[tuple[int], np.dtype[np.int32]]] = {}
    for tree in range(trees):
        mine: list[Group] = []
        for number in range(int(random.integers(1, 12))):
            above = [group for group in mine if group.level < 7]
            parent = above[int(random.integers(len(above)))] if above and random.random() < 0.9 else None
            mine.append(
                Group(
                    group_id=GroupId(f"t{tree}-{number}"),
                    hierarchy_id=HierarchyId(f"tree-{tree}"),
                    parent_id=None if parent is None else parent.group_id,
                    name="",
                    level=0 if parent is None else parent.level + 1,
                )
            )
        leaf_group[HierarchyId(f"tree-{tree}")] = np.where(
            random.random(sites) < 0.2, -1, len(groups) + random.integers(0, len(mine), sites)
        ).astype(np.int32)
        groups += mine
    order = random.permutation(len(groups))
    place = np.append(np.argsort(order), -1).astype(np.int32)
    nameplate = NAMEPLATE.empty(sites)
    nameplate["charge_limit_kw"] = random.choice([3.3, 5.0], sites)
    nameplate["discharge_limit_kw"] = random.choice([3.3, 5.0], sites)
    nameplate["energy_capacity_kwh"] = random.choice([6.4, 13.5], sites)
    nameplate["solar_limit_kw"] = random.choice([0.0, 4.1234], sites)
    return Fleet(
        site_ids=tuple(SiteId(f"s-{number}") for number in range(sites)),
        nameplate=nameplate,
        latitude_deg=random.uniform(-90, 90, sites),
        longitude_deg=random.uniform(-180, 180, sites),
        groups=tuple(groups[number] for number in order),
        leaf_group={name: place[leaves] for name, leaves in leaf_group.items()},
        resources=(),
        device_type=random.integers(0, 4, sites).astype(np.uint8),
    )
