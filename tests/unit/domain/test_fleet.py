"""The fleet as columns: who belongs where, in every hierarchy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shoal.domain.errors import InvalidInputError
from shoal.domain.fleet import MOST_LEVELS, NAMEPLATE, Group, check_groups
from shoal.domain.ids import GroupId, HierarchyId, SiteId
from shoal.domain.partition import partition_of
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


def test_fleet_without_gateways_is_one_of_homes_with_their_own_connections() -> None:
    fleet = make_fleet(5)
    assert fleet.gateway_of.tolist() == [-1] * 5
    assert fleet.gateway_unit.tolist() == fleet.device_type.tolist() == [0] * 5
    assert fleet.partition.tolist() == [partition_of(site) for site in fleet.site_ids]


def test_partition_of_a_site_behind_a_gateway_is_the_gateways() -> None:
    fleet = replace(
        make_fleet(4),
        gateway_ids=("gw-a", "gw-b"),
        gateway_of=np.array([-1, 1, 0, 1], dtype=np.int32),
        gateway_unit=np.array([0, 1, 1, 2], dtype=np.int32),
    )
    own = partition_of(fleet.site_ids[0])
    assert fleet.partition.tolist() == [own, *(partition_of(g) for g in ("gw-b", "gw-a", "gw-b"))]


def test_fleet_refuses_columns_of_another_length() -> None:
    with pytest.raises(InvalidInputError, match="gateway_of"):
        replace(make_fleet(4), gateway_of=np.full(3, -1, dtype=np.int32))


def test_take_keeps_every_column_beside_its_site() -> None:
    fleet = replace(make_fleet(9), device_type=np.arange(9, dtype=np.uint8))
    some = fleet.take(np.array([7, 2]))
    assert some.site_ids == ("site-00007", "site-00002")
    assert some.device_type.tolist() == [7, 2]
    assert some.leaf_group[GRID].tolist() == fleet.leaf_group[GRID][[7, 2]].tolist()
    assert some.nameplate.tolist() == fleet.nameplate[[7, 2]].tolist()


def chain(levels: int) -> list[Group]:
    return [
        Group(
            group_id=GroupId(f"g{level}"),
            hierarchy_id=HierarchyId("deep"),
            parent_id=GroupId(f"g{level - 1}") if level else None,
            name="",
            level=level,
        )
        for level in range(levels)
    ]


def test_hierarchy_may_have_eight_levels_and_no_more() -> None:
    check_groups(chain(MOST_LEVELS))
    with pytest.raises(InvalidInputError, match=r"level of group g8.*at most 8 levels"):
        check_groups(chain(MOST_LEVELS + 1))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"parent_id": GroupId("nowhere")}, "parent_id of group g2"),
        ({"parent_id": None}, "level of group g2"),
        ({"level": 1}, "level of group g2"),
        ({"parent_id": GroupId("g2")}, "level of group g2"),
        ({"hierarchy_id": HierarchyId("other")}, "parent_id of group g2"),
        ({"group_id": GroupId("g0")}, "group_id: 'g0'"),
    ],
)
def test_groups_that_are_no_trees_are_refused(change: dict[str, object], told: str) -> None:
    groups = chain(3)
    groups[2] = replace(groups[2], **change)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match=told):
        check_groups(groups)
