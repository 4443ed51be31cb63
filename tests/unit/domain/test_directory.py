"""The directory: every name finds its row, no other name does, and gateways speak only for their own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.domain.directory import Directory, find, find_all
from shoal.domain.errors import InvalidInputError
from tests.integration.store.fleets import make_fleet

NAMES = st.text(st.sampled_from("abAB01-_"), min_size=1, max_size=5)


def with_gateways() -> Directory:
    return Directory(
        ["a", "b", "c", "d", "box"],
        gateway_ids=["g1", "g2", "box"],
        gateway_of=np.array([0, 0, 1, 2, -1]),
        gateway_unit=np.array([2, 1, 9, 1, 0]),
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(NAMES, unique=True, max_size=40), st.lists(NAMES, max_size=20))
def test_every_name_finds_its_row_and_no_other_does(names: list[str], asked: list[str]) -> None:
    directory = Directory(names)
    row_of = {name: row for row, name in enumerate(names)}
    assert len(directory) == len(names)
    for name in [*names, *asked, ""]:
        assert directory.row(name.encode()) == row_of.get(name, -1)
        assert directory.gateway(name.encode()) == -1
        assert not directory.speaks_through(name.encode())


@settings(max_examples=50, deadline=None)
@given(st.lists(NAMES, unique=True, max_size=40), st.lists(NAMES, max_size=200))
def test_many_at_once_are_found_as_each_alone(names: list[str], asked: list[str]) -> None:
    directory = Directory(names, gateway_ids=["the-gateway"])
    asked = [*asked, "the-gateway", ""]
    buffer = np.frombuffer("".join(asked).encode(), dtype=np.uint8)
    size = np.array([len(name) for name in asked])
    at = np.cumsum(size) - size
    found = np.full(len(asked), 77)
    find_all(directory.arrays, buffer, at, size, found)
    alone = [
        int(find(directory.arrays, buffer, a, s)) for a, s in zip(at.tolist(), size.tolist(), strict=True)
    ]
    assert found.tolist() == alone
    assert alone[-2] == len(names)


def test_empty_directory_knows_nobody() -> None:
    directory = Directory([])
    found = np.zeros(1, dtype=np.int64)
    find_all(directory.arrays, np.frombuffer(b"a", dtype=np.uint8), np.array([0]), np.array([1]), found)
    assert (directory.row(b"a"), found.tolist()) == (-1, [-1])


def test_gateway_speaks_for_its_own_sites_by_unit() -> None:
    directory = with_gateways()
    first, second = directory.gateway(b"g1"), directory.gateway(b"g2")
    assert [directory.unit_row(first, unit) for unit in (-1, 0, 1, 2, 3, 70_000)] == [-1, -1, 1, 0, -1, -1]
    assert [directory.unit_row(second, unit) for unit in (1, 8, 9, 10)] == [-1, -1, 2, -1]
    assert directory.is_behind(first, 0)
    assert not directory.is_behind(first, 2)
    assert not directory.is_behind(first, -1)


def test_site_behind_a_gateway_has_a_row_but_no_connection() -> None:
    directory = with_gateways()
    assert (directory.row(b"a"), directory.speaks_through(b"a")) == (0, True)
    assert (directory.row(b"g1"), directory.speaks_through(b"g1")) == (-1, False)


def test_gateway_may_be_a_site_itself() -> None:
    directory = with_gateways()
    box = directory.gateway(b"box")
    assert (directory.row(b"box"), directory.unit_row(box, 0), directory.unit_row(box, 1)) == (4, 4, 3)
    assert directory.is_behind(box, 4)


def test_units_with_holes_are_found() -> None:
    units = np.array([3, 4, 900, 901, 65_535])
    directory = Directory(
        list("abcde"), gateway_ids=["g"], gateway_of=np.zeros(5, dtype=int), gateway_unit=units
    )
    found = {unit: directory.unit_row(0, unit) for unit in (1, 2, 3, 4, 5, 899, 900, 901, 902, 65_535)}
    assert {unit for unit, row in found.items() if row >= 0} == set(units.tolist())
    assert [found[unit] for unit in units.tolist()] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("sites", "gateways", "of", "unit"),
    [
        (["a", "a"], [], [-1, -1], [0, 0]),
        (["a", ""], [], [-1, -1], [0, 0]),
        (["a", "ä"], [], [-1, -1], [0, 0]),
        (["a", "b"], ["g", "g"], [-1, -1], [0, 0]),
        (["a", "b"], ["a"], [0, -1], [1, 0]),
        (["a", "b"], ["g"], [0, 0], [1, 1]),
        (["a", "b"], ["g"], [0, 0], [0, 1]),
        (["a", "b"], ["g"], [0, 0], [65_536, 1]),
        (["a", "b"], ["g"], [0, 1], [1, 1]),
    ],
)
def test_what_would_be_ambiguous_is_refused(
    sites: list[str], gateways: list[str], of: list[int], unit: list[int]
) -> None:
    with pytest.raises(InvalidInputError):
        Directory(sites, gateway_ids=gateways, gateway_of=np.array(of), gateway_unit=np.array(unit))


def test_part_of_a_fleet_has_rows_of_its_own() -> None:
    fleet = make_fleet(6)
    directory = Directory.of_fleet(fleet, np.array([4, 1]))
    found = [directory.row(site.encode()) for site in fleet.site_ids]
    assert found == [-1, 1, -1, -1, 0, -1]
    assert len(Directory.of_fleet(fleet)) == 6


def test_memory_is_about_twenty_bytes_a_site() -> None:
    directory = Directory([f"home-{number:06d}" for number in range(50_000)])
    assert directory.nbytes / 50_000 < 20.5
    assert directory.row(b"home-049999") == 49_999
