"""The fleet plan: sizes, groups that overlap, and device secrets."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.domain.errors import InvalidInputError
from shoal.domain.fleet import NAMEPLATE
from shoal.domain.ids import GroupId, checked_id
from shoal.simulate.fleet import BESS, GRID, VPP, WEATHER, plan_fleet, site_secret
from shoal.simulate.prices import settlement_points


@pytest.mark.parametrize("homes", [1, 3, 50, 51, 500, 2_000])
def test_fleet_is_whole_at_every_size(homes: int) -> None:
    fleet = plan_fleet(homes, seed=1)
    assert len(fleet.site_ids) == homes + 1 == len(set(fleet.site_ids))
    assert (NAMEPLATE.violations(fleet.nameplate) == -1).all()
    assert len(fleet.group_number) == len(fleet.groups)
    for group in fleet.groups:
        checked_id("group_id", group.group_id)
        if group.parent_id is not None:
            parent = fleet.groups[fleet.group_number[group.parent_id]]
            assert parent.level == group.level - 1
            assert parent.hierarchy_id == group.hierarchy_id
    for hierarchy in (GRID, WEATHER):
        assert all(fleet.groups[leaf].hierarchy_id == hierarchy for leaf in fleet.leaf_group[hierarchy])
    assert fleet.rows_in(GroupId(VPP)).tolist() == list(range(homes))
    assert fleet.rows_in(GroupId(BESS)).tolist() == [homes]
    assert len(fleet.rows_in(GroupId("texas"))) == homes + 1


def test_fleet_feeders_and_substations_have_their_sizes() -> None:
    fleet = plan_fleet(1_000, seed=1)
    feeders = [group for group in fleet.groups if group.level == 3]
    sizes = [len(fleet.rows_in(group.group_id)) for group in feeders]
    assert len(feeders) == 20
    assert set(sizes) == {50}
    substations = [group for group in fleet.groups if group.level == 2]
    below = [sum(feeder.parent_id == group.group_id for feeder in feeders) for group in substations]
    assert sum(below) == 20
    assert 1 <= min(below) <= max(below) <= 5


def test_fleet_hierarchies_cut_across_each_other() -> None:
    fleet = plan_fleet(500, seed=1)
    zones: dict[int, set[int]] = {}
    regions: dict[int, set[int]] = {}
    for grid, zone in zip(fleet.leaf_group[GRID][:-1], fleet.leaf_group[WEATHER][:-1], strict=True):
        region = fleet.parent_number[fleet.parent_number[grid]]
        zones.setdefault(int(zone), set()).add(int(region))
        regions.setdefault(int(region), set()).add(int(zone))
    assert max(len(found) for found in zones.values()) > 1, "a zone in several regions"
    assert max(len(found) for found in regions.values()) > 1, "a region in several zones"


def test_fleet_has_a_realistic_mix() -> None:
    nameplate = plan_fleet(2_000, seed=1).nameplate[:-1]
    assert (nameplate["solar_limit_kw"] > 0).mean() == pytest.approx(0.85, abs=0.03)
    assert (nameplate["ev_limit_kw"] > 0).mean() == pytest.approx(0.2, abs=0.03)
    assert nameplate["reserve_frac"].min() == pytest.approx(0.1)
    assert nameplate["reserve_frac"].max() == pytest.approx(0.3)
    roofs_kw = nameplate["solar_limit_kw"][nameplate["solar_limit_kw"] > 0]
    assert 4.0 <= roofs_kw.min() < 5.0 < 9.0 < roofs_kw.max() <= 10.0
    assert len(np.unique(nameplate["energy_capacity_kwh"])) == 5


def test_fleet_lies_in_texas_and_is_the_same_for_the_same_seed() -> None:
    fleet, again, other = plan_fleet(300, seed=1), plan_fleet(300, seed=1), plan_fleet(300, seed=2)
    assert ((fleet.latitude_deg > 25.8) & (fleet.latitude_deg < 36.5)).all()
    assert ((fleet.longitude_deg > -106.6) & (fleet.longitude_deg < -93.5)).all()
    assert np.array_equal(fleet.nameplate, again.nameplate)
    assert np.array_equal(fleet.latitude_deg, again.latitude_deg)
    assert not np.array_equal(fleet.nameplate, other.nameplate)


def test_fleet_resources_bid_where_there_are_prices() -> None:
    resources = plan_fleet(10, seed=1).resources
    assert {resource.resource_id: resource.settlement_point for resource in resources} == {
        VPP: "LZ_NORTH",
        BESS: "HB_NORTH",
    }
    assert {resource.settlement_point for resource in resources} <= set(settlement_points())


@pytest.mark.parametrize("homes", [0, 100_000])
def test_fleet_refuses_a_size_out_of_range(homes: int) -> None:
    with pytest.raises(InvalidInputError):
        plan_fleet(homes, seed=1)


def test_site_secret_is_stable_and_its_own_for_each_site_and_master() -> None:
    master = bytes(range(32))
    secret = site_secret(master, "home-00001")
    assert secret == "x7ZTncWjIpwLZvU04BxGcO7HVy3oiKN-HKz5lljpDK4"
    assert secret != site_secret(master, "home-00002")
    assert secret != site_secret(master[::-1], "home-00001")
    with pytest.raises(InvalidInputError):
        site_secret(b"short", "home-00001")
