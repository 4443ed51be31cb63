"""Sites inside an area: equal to plain even-odd arithmetic in fractions, on edges and corners too."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.domain.alert import Area, Ring
from shoal.domain.errors import InvalidInputError
from shoal.twin.zones import ZoneIndex

# A coarse lattice, so that places fall on edges and corners all the time.
LATTICE = st.tuples(st.integers(-6, 6), st.integers(-6, 6)).map(lambda p: (p[0] * 0.5, p[1] * 0.5))
RINGS = st.lists(LATTICE, min_size=3, max_size=9).map(lambda places: (*places, places[0]))


def lattice_index() -> tuple[ZoneIndex, list[tuple[float, float]]]:
    """Return an index of every half-degree place and of places between them, with these places."""
    places = [(x * 0.25, y * 0.25) for x in range(-14, 15) for y in range(-14, 15)]
    x, y = np.array(places).T
    return ZoneIndex(latitude_deg=y, longitude_deg=x), places


INDEX, PLACES = lattice_index()


def on_one_line(ring: Ring) -> bool:
    (x0, y0) = ring[0]
    far = max(ring, key=lambda p: abs(p[0] - x0) + abs(p[1] - y0))
    return all((far[0] - x0) * (y - y0) == (far[1] - y0) * (x - x0) for x, y in ring)


def plain_inside(rings: tuple[Ring, ...], x: float, y: float) -> bool:
    """Count the crossings strictly east of the place; all numbers here are exact in floating point."""
    odd = False
    for ring in rings:
        for (ax, ay), (bx, by) in itertools.pairwise(ring):
            if (ay <= y) != (by <= y):
                if ay > by:
                    ax, ay, bx, by = bx, by, ax, ay
                odd ^= (x - ax) * (by - ay) < (bx - ax) * (y - ay)
    return odd


@settings(max_examples=200, deadline=None)
@given(st.lists(RINGS.filter(lambda ring: not on_one_line(ring)), min_size=1, max_size=3))
def test_inside_is_even_odd_over_all_rings(rings: list[Ring]) -> None:
    area = Area(polygons=(tuple(rings),))
    expected = [row for row, (x, y) in enumerate(PLACES) if plain_inside(tuple(rings), x, y)]
    assert INDEX.inside(area).tolist() == expected


@settings(max_examples=60, deadline=None)
@given(st.lists(RINGS.filter(lambda ring: not on_one_line(ring)), min_size=2, max_size=4))
def test_several_polygons_are_their_union(rings: list[Ring]) -> None:
    whole = INDEX.inside(Area(polygons=tuple((ring,) for ring in rings)))
    each = [INDEX.inside(Area(polygons=((ring,),))) for ring in rings]
    assert whole.tolist() == np.unique(np.concatenate(each)).tolist()


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_areas_that_share_edges_share_no_site_and_leave_none_out(seed: int) -> None:
    """A square cut into four at an inner point: whatever lies on the cuts belongs to exactly one."""
    random = np.random.default_rng(seed)
    centre = (random.integers(-5, 6) * 0.5, random.integers(-5, 6) * 0.5)
    corners = [(-3.0, -3.0), (3.0, -3.0), (3.0, 3.0), (-3.0, 3.0)]
    parts = [(corners[k], corners[(k + 1) % 4], centre, corners[k]) for k in range(4)]
    found = np.concatenate([INDEX.inside(Area(polygons=((part,),))) for part in parts])
    whole = INDEX.inside(Area(polygons=(((*corners, corners[0]),),)))
    assert sorted(found.tolist()) == whole.tolist()


def test_rule_for_edges_takes_west_and_south_and_leaves_east_and_north() -> None:
    square: Ring = ((0.0, 0.0), (2.0, 0.0), (2.0, 2.0), (0.0, 2.0), (0.0, 0.0))
    index = ZoneIndex(
        latitude_deg=np.array([1.0, 1.0, 0.0, 2.0, 0.0, 2.0, 1.0]),
        longitude_deg=np.array([0.0, 2.0, 1.0, 1.0, 0.0, 2.0, 1.9999999]),
    )
    assert index.inside(Area(polygons=((square,),))).tolist() == [0, 2, 4, 6]


def test_hole_is_outside() -> None:
    outer: Ring = ((0, 0), (9, 0), (9, 9), (0, 9), (0, 0))
    hole: Ring = ((3, 3), (6, 3), (6, 6), (3, 6), (3, 3))
    index = ZoneIndex(latitude_deg=np.array([1.0, 4.0, 8.0]), longitude_deg=np.array([1.0, 4.0, 8.0]))
    assert index.inside(Area(polygons=((outer, hole),))).tolist() == [0, 2]


@pytest.mark.parametrize(
    "ring",
    [
        ((178.0, -1.0), (-178.0, -1.0), (-178.0, 1.0), (178.0, 1.0), (178.0, -1.0)),
        ((178.0, -1.0), (182.0, -1.0), (182.0, 1.0), (178.0, 1.0), (178.0, -1.0)),
        ((-182.0, -1.0), (-178.0, -1.0), (-178.0, 1.0), (-182.0, 1.0), (-182.0, -1.0)),
    ],
)
def test_area_across_the_antimeridian_is_found_on_both_sides(ring: Ring) -> None:
    index = ZoneIndex(
        latitude_deg=np.zeros(6), longitude_deg=np.array([179.0, -179.0, 180.0, -180.0, 0.0, 177.9])
    )
    assert index.inside(Area(polygons=((ring,),))).tolist() == [0, 1, 2, 3]
    hole: Ring = ((-179.5, -0.5), (-178.5, -0.5), (-178.5, 0.5), (-179.5, 0.5), (-179.5, -0.5))
    assert index.inside(Area(polygons=((ring, hole),))).tolist() == [0, 2, 3]


def test_area_of_the_whole_world_has_everybody() -> None:
    world: Ring = ((-180, -90), (180, -90), (180, 90), (-180, 90), (-180, -90))
    random = np.random.default_rng(1)
    index = ZoneIndex(latitude_deg=random.uniform(-89, 89, 500), longitude_deg=random.uniform(-180, 180, 500))
    assert len(index.inside(Area(polygons=((world,),)))) == 500


def test_many_sites_and_a_long_coast_agree_with_plain_arithmetic() -> None:
    random = np.random.default_rng(3)
    latitude, longitude = random.uniform(-4, 4, 3_000).round(3), random.uniform(-4, 4, 3_000).round(3)
    angle = np.sort(random.uniform(0, 2 * np.pi, 700))
    radius = 3 + 0.4 * random.uniform(-1, 1, 700)
    places = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).round(3).tolist()
    ring: Ring = tuple((x, y) for x, y in [*places, places[0]])
    grid = [(round(x * 1_000), round(y * 1_000)) for x, y in ring]
    expected = [
        row
        for row, (x, y) in enumerate(zip(longitude, latitude, strict=True))
        if plain_inside((tuple((float(a), float(b)) for a, b in grid),), round(x * 1_000), round(y * 1_000))
    ]
    found = ZoneIndex(latitude_deg=latitude, longitude_deg=longitude).inside(Area(polygons=((ring,),)))
    assert found.tolist() == expected
    assert 1_000 < len(expected) < 2_500


def test_index_of_nobody_finds_nobody() -> None:
    index = ZoneIndex(latitude_deg=np.empty(0), longitude_deg=np.empty(0))
    assert index.inside(Area(polygons=((((0, 0), (1, 0), (1, 1), (0, 0)),),))).tolist() == []


@pytest.mark.parametrize(
    ("ring", "told"),
    [
        (((0, 0), (1, 1), (0, 0)), "3 places"),
        (((0, 0), (1, 0), (1, 1), (0, 1)), "close it"),
        (((0, 0), (1, 1), (2, 2), (0, 0)), "without area"),
        (((0, 0), (1, float("nan")), (1, 1), (0, 0)), r"ring\[0\]\[1\]"),
        (((0, 0), (1, 91), (1, 1), (0, 0)), r"ring\[0\]\[1\]"),
        (((0, 60), (120, 60), (-120, 60), (0, 60)), "round a pole"),
        ((), "0 places"),
    ],
)
def test_area_that_is_none_is_refused(ring: Ring, told: str) -> None:
    with pytest.raises(InvalidInputError, match=told):
        INDEX.inside(Area(polygons=((ring,),)))


def test_place_off_the_map_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="place of row 1"):
        ZoneIndex(latitude_deg=np.array([0.0, np.nan]), longitude_deg=np.array([0.0, 0.0]))
