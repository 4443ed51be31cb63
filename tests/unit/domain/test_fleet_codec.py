"""A fleet that travels arrives as it was, and one that was damaged on the way is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.domain.errors import CorruptStateError
from shoal.domain.fleet import Fleet
from shoal.domain.fleet_codec import fleet_arrays, fleet_of
from shoal.twin.layout import Layout
from tests.integration.store.fleets import assert_same_fleet, make_fleet
from tests.property.twin.fleets import random_fleet


def assert_arrives(fleet: Fleet) -> None:
    arrays = fleet_arrays(fleet)
    assert not any(array.dtype.hasobject for array in arrays.values())
    again = fleet_of({name: array.copy() for name, array in arrays.items()})
    assert_same_fleet(again, fleet)
    assert again.gateway_ids == fleet.gateway_ids
    for name in ("gateway_of", "gateway_unit", "device_type", "partition"):
        column = getattr(again, name)
        assert column.dtype == getattr(fleet, name).dtype
        assert column.tolist() == getattr(fleet, name).tolist()
    assert Layout.of(again).version == Layout.of(fleet).version


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 40), st.integers(0, 3), st.integers(0, 2**32 - 1))
def test_fleet_arrives_as_it_was(sites: int, trees: int, seed: int) -> None:
    assert_arrives(random_fleet(sites, trees, seed))


def test_resources_and_gateways_arrive_too() -> None:
    plain = make_fleet(9)
    assert_arrives(plain)
    assert_arrives(
        Fleet(
            **{
                **_fields(plain),
                "gateway_ids": ("gate-1", "gate-2"),
                "gateway_of": np.array([-1, 0, 0, 1, 1, -1, -1, 0, 1], dtype=np.int32),
                "gateway_unit": np.array([0, 1, 2, 1, 2, 0, 0, 3, 3], dtype=np.int32),
                "device_type": np.arange(9, dtype=np.uint8) % 4,
            }
        )
    )


def test_nameplates_that_repeat_are_sent_once() -> None:
    arrays = fleet_arrays(random_fleet(5_000, 1, 1))
    assert len(arrays["plates"]) <= 16
    assert sum(array.nbytes for array in arrays.values()) < 5_000 * 60


def _fields(fleet: Fleet) -> dict[str, Any]:
    names = ("site_ids", "nameplate", "latitude_deg", "longitude_deg", "groups", "leaf_group", "resources")
    return {name: getattr(fleet, name) for name in names}


@pytest.mark.parametrize("name", list(fleet_arrays(make_fleet(3))))
def test_fleet_with_something_missing_or_cut_is_refused(name: str) -> None:
    arrays = fleet_arrays(make_fleet(3))
    if not name.startswith("leaf:"):
        rest = {other: array for other, array in arrays.items() if other != name}
        with pytest.raises(CorruptStateError):
            fleet_of(rest)
    if name != "gateway_ids":
        with pytest.raises(CorruptStateError):
            fleet_of({**arrays, name: arrays[name][: len(arrays[name]) // 2]})
