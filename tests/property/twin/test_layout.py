"""Cells: one a site, and every group of every tree is the sum of its sites, to the last unit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.domain.errors import InvalidInputError
from shoal.domain.fleet import Fleet
from shoal.twin.layout import PLATE, Layout
from tests.property.twin.fleets import random_fleet

FLEETS = st.builds(
    random_fleet, sites=st.integers(0, 40), trees=st.integers(0, 4), seed=st.integers(0, 2**32 - 1)
)


def plain_sums(fleet: Fleet, values: np.ndarray[tuple[int, int], np.dtype[np.int64]]) -> list[list[int]]:
    """Return the sums of every group by walking up from every site."""
    sums = [[0] * values.shape[1] for _ in fleet.groups]
    for leaves in fleet.leaf_group.values():
        for row, leaf in enumerate(leaves.tolist()):
            group = leaf
            while group >= 0:
                for column in range(values.shape[1]):
                    sums[group][column] += int(values[row, column])
                group = int(fleet.parent_number[group])
    return sums


@settings(max_examples=80, deadline=None)
@given(FLEETS, st.integers(0, 2**32 - 1))
def test_rolled_up_cells_are_the_sums_over_sites(fleet: Fleet, seed: int) -> None:
    layout = Layout.of(fleet)
    values = np.random.default_rng(seed).integers(-(2**40), 2**40, (len(fleet.site_ids), 3))
    by_cell = np.zeros((layout.cells, 3), dtype=np.int64)
    np.add.at(by_cell, layout.cell_of, values)
    assert layout.roll_up(by_cell).tolist() == plain_sums(fleet, values)
    assert layout.roll_up(by_cell[:, 0]).tolist() == [row[0] for row in plain_sums(fleet, values)]
    halves = (by_cell * 0.5).astype(np.float64)
    assert layout.roll_up(halves).tolist() == (layout.roll_up(by_cell) * 0.5).tolist()
    assert layout.sites_by_group().tolist() == [len(fleet.rows_in(g.group_id)) for g in fleet.groups]


@settings(max_examples=80, deadline=None)
@given(FLEETS, st.integers(0, 2**32 - 1))
def test_largest_of_a_group_is_that_of_its_sites(fleet: Fleet, seed: int) -> None:
    layout = Layout.of(fleet)
    values = np.random.default_rng(seed).integers(0, 1_000, len(fleet.site_ids))
    by_cell = np.full(layout.cells, -1, dtype=np.int64)
    np.maximum.at(by_cell, layout.cell_of, values)
    expected = [int(values[fleet.rows_in(g.group_id)].max(initial=-1)) for g in fleet.groups]
    assert layout.roll_up_max(by_cell).tolist() == expected


@settings(max_examples=80, deadline=None)
@given(FLEETS)
def test_cells_are_the_distinct_combinations_of_leaves(fleet: Fleet) -> None:
    layout = Layout.of(fleet)
    combinations = list(
        zip(*(fleet.leaf_group[name].tolist() for name in layout.hierarchies), strict=True)
    ) or [()] * len(fleet.site_ids)
    assert layout.cells == len(set(combinations))
    assert layout.leaf_of.shape == (len(layout.hierarchies), layout.cells)
    for row, combination in enumerate(combinations):
        assert tuple(layout.leaf_of[:, layout.cell_of[row]].tolist()) == combination


@settings(max_examples=80, deadline=None)
@given(FLEETS)
def test_plates_are_the_distinct_nameplates_in_whole_units(fleet: Fleet) -> None:
    layout = Layout.of(fleet)
    assert len({plate.tobytes() for plate in layout.plates}) == len(layout.plates)
    plates = layout.plates[layout.plate_of]
    assert plates.dtype == PLATE
    assert plates["charge_w"].tolist() == [round(v * 1e3) for v in fleet.nameplate["charge_limit_kw"]]
    assert plates["solar_w"].tolist() == [round(v * 1e3) for v in fleet.nameplate["solar_limit_kw"]]
    assert plates["reserve_wh"].tolist() == [round(v * 200) for v in fleet.nameplate["energy_capacity_kwh"]]
    assert plates["device_type"].tolist() == fleet.device_type.tolist()


@settings(max_examples=40, deadline=None)
@given(FLEETS, st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_sums_of_shards_add_up_to_the_fleets(fleet: Fleet, shards: int, seed: int) -> None:
    layout = Layout.of(fleet)
    random = np.random.default_rng(seed)
    sites = len(fleet.site_ids)
    owner, values = random.integers(0, shards, sites), random.integers(-1000, 1000, sites)
    total = np.zeros(layout.cells, dtype=np.int64)
    for shard in range(shards):
        rows = np.flatnonzero(owner == shard)
        part = layout.for_rows(rows)
        assert part.version == layout.version
        np.add.at(total, part.cell_of, values[rows])
    assert layout.roll_up(total).tolist() == [row[0] for row in plain_sums(fleet, values[:, None])]


def test_version_tells_layouts_apart_that_must_not_be_added() -> None:
    fleet = random_fleet(30, 2, 5)
    layout = Layout.of(fleet)
    assert Layout.of(random_fleet(30, 2, 5)).version == layout.version
    other = {name: np.full_like(leaves, -1) for name, leaves in fleet.leaf_group.items()}
    assert Layout.of(replace(fleet, leaf_group=other)).version != layout.version
    fewer = Layout.of(fleet.take(np.arange(3)))
    assert fewer.version != layout.version, "the cells of a part alone are other cells"


def test_many_trees_that_cut_across_each_other_are_numbered_all_the_same() -> None:
    fleet = random_fleet(2_000, 12, 11)
    layout = Layout.of(fleet)
    assert len({tuple(leaves) for leaves in layout.leaf_of.T.tolist()}) == layout.cells
    for number, name in enumerate(layout.hierarchies):
        assert layout.leaf_of[number, layout.cell_of].tolist() == fleet.leaf_group[name].tolist()


def test_leaf_of_another_hierarchy_is_refused() -> None:
    fleet = random_fleet(6, 2, 3)
    names = sorted(fleet.leaf_group)
    swapped = {names[0]: fleet.leaf_group[names[1]], names[1]: fleet.leaf_group[names[0]]}
    with pytest.raises(InvalidInputError, match="leaf_group"):
        Layout.of(replace(fleet, leaf_group=swapped))
