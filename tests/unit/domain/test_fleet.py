"""The fleet as columns: who belongs where, in every hierarchy."""

from __future__ import annotations

import pytest

from shoal.domain.fleet import NAMEPLATE
from shoal.domain.ids import GroupId, SiteId
from tests.integration.store.fleets import GRID, ZONE, make_fleet


def test_fleet_finds_rows_groups_and_parents() -> None:
    fleet = make_fleet(6)
    assert fleet.row_of[SiteId("site-00004")] == 4
    assert fleet.group_number[GroupId("coast")] == 4
    assert fleet.parent_number.tolist() == [1, -1, 1, -1, 3, 3]


def test_rows_in_a_root_are_those_of_its_leaves_together() -> None:
    fleet = make_fleet(9)
    leaves = fleet.rows_in(GroupId("feeder-1")).tolist() + fleet.rows_in(GroupId("feeder-2")).tolist()
    assert sorted(leaves) == fleet.rows_in(GroupId("vpp")).tolist() == list(range(9))


def test_rows_in_leave_out_a_site_without_a_group() -> None:
    fleet = make_fleet(9)
    assert fleet.leaf_group[ZONE][-1] == -1
    assert fleet.rows_in(GroupId("texas")).tolist() == list(range(8))
    assert fleet.leaf_group[GRID][-1] >= 0


def test_rows_in_an_unknown_group_fail() -> None:
    with pytest.raises(KeyError):
        make_fleet(3).rows_in(GroupId("nowhere"))


def test_nameplate_defaults_are_within_its_own_ranges() -> None:
    assert NAMEPLATE.violations(NAMEPLATE.empty(2)).tolist() == [-1, -1]
    assert NAMEPLATE.empty(1)["reserve_frac"][0] == 0.2
