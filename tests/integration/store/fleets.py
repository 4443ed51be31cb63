"""A small fleet in two hierarchies, the same for the same arguments."""

from __future__ import annotations

import numpy as np

from shoal.domain.fleet import NAMEPLATE, Fleet, Group, Resource
from shoal.domain.ids import GroupId, HierarchyId, ResourceId, SiteId

GRID = HierarchyId("grid")
ZONE = HierarchyId("zone")


def _group(group_id: str, hierarchy_id: HierarchyId, parent_id: str | None, level: int) -> Group:
    return Group(
        group_id=GroupId(group_id),
        hierarchy_id=hierarchy_id,
        parent_id=None if parent_id is None else GroupId(parent_id),
        name=f"Group {group_id}",
        level=level,
    )


def make_fleet(sites: int = 12, *, seed: int = 1) -> Fleet:
    """Return a fleet whose last site belongs to no zone, and whose groups list a child before its parent."""
    random = np.random.default_rng(seed)
    nameplate = NAMEPLATE.empty(sites)
    nameplate["charge_limit_kw"] = random.uniform(3, 10, sites)
    nameplate["discharge_limit_kw"] = nameplate["charge_limit_kw"] * 1.1
    nameplate["energy_capacity_kwh"] = 13.5
    nameplate["solar_limit_kw"] = np.where(np.arange(sites) % 2 == 0, 6.0, 0.0)
    nameplate["ev_limit_kw"] = np.where(np.arange(sites) % 3 == 0, 11.0, 0.0)
    groups = (
        _group("feeder-1", GRID, "vpp", 1),
        _group("vpp", GRID, None, 0),
        _group("feeder-2", GRID, "vpp", 1),
        _group("texas", ZONE, None, 0),
        _group("coast", ZONE, "texas", 1),
        _group("west", ZONE, "texas", 1),
    )
    zones = random.integers(4, 6, sites).astype(np.int32)
    zones[-1] = -1
    return Fleet(
        site_ids=tuple(SiteId(f"site-{number:05d}") for number in range(sites)),
        nameplate=nameplate,
        latitude_deg=random.uniform(29, 33, sites),
        longitude_deg=random.uniform(-100, -95, sites),
        groups=groups,
        leaf_group={GRID: np.where(np.arange(sites) % 2 == 0, 0, 2).astype(np.int32), ZONE: zones},
        resources=(
            Resource(
                resource_id=ResourceId("vpp-north"),
                market_id="ercot-da",
                settlement_point="HB_NORTH",
                group_id=GroupId("vpp"),
                throughput_cost_per_mwh=20.0,
                owner_share_frac=0.8,
            ),
            Resource(
                resource_id=ResourceId("a-feeder"),
                market_id="ercot-da",
                settlement_point="HB_WEST",
                group_id=GroupId("feeder-2"),
                throughput_cost_per_mwh=25.5,
                owner_share_frac=0.7,
            ),
        ),
    )


def assert_same_fleet(one: Fleet, other: Fleet) -> None:
    """Fail unless two fleets say the same, to the last bit."""
    assert one.site_ids == other.site_ids
    assert one.nameplate.tobytes() == other.nameplate.tobytes()
    assert one.latitude_deg.tobytes() == other.latitude_deg.tobytes()
    assert one.longitude_deg.tobytes() == other.longitude_deg.tobytes()
    assert one.groups == other.groups
    assert one.resources == other.resources
    assert one.leaf_group.keys() == other.leaf_group.keys()
    for hierarchy, leaves in one.leaf_group.items():
        np.testing.assert_array_equal(leaves, other.leaf_group[hierarchy])
