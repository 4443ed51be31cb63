"""What must hold of every split within groups, whatever the numbers: no limit is passed, and no watt gets lost."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.optimise.allocation_nested import split_nested_w

PROFILE = settings(deadline=None, max_examples=300)
WATTS = st.sampled_from([0, 1, 2, 7, 1000, 5000, 10**6, 10**9])


@PROFILE
@given(data=st.data(), count=st.integers(0, 8), groups=st.integers(0, 5), target=st.integers(-(10**7), 10**7))
def test_no_limit_is_ever_passed(data: st.DataObject, count: int, groups: int, target: int) -> None:
    def draw(kind: st.SearchStrategy[int], size: int) -> list[int]:
        return data.draw(st.lists(kind, min_size=size, max_size=size))

    lower = -np.array(draw(WATTS, count), dtype=np.int64)
    upper = lower + np.array(draw(WATTS, count), dtype=np.int64)
    weight = np.array(
        data.draw(
            st.lists(st.sampled_from([0.0, 1.0, 13.5, 1e-9, 1e-30, 1e9]), min_size=count, max_size=count)
        )
    )
    preferred = np.array(
        data.draw(st.lists(st.floats(-1e7, 1e7, allow_subnormal=False), min_size=count, max_size=count))
    )
    parent = np.array([data.draw(st.integers(-1, row - 1)) for row in range(groups)], dtype=np.int64)
    leaf = np.array(draw(st.integers(-1, groups - 1), count), dtype=np.int64)
    base = np.array(draw(st.integers(-10_000, 10_000), count), dtype=np.int64)
    group_lower = -np.array(draw(WATTS, groups), dtype=np.int64)
    group_upper = group_lower + np.array(draw(WATTS, groups), dtype=np.int64)
    got = split_nested_w(
        target,
        lower_w=lower,
        upper_w=upper,
        weight=weight,
        preferred_w=preferred,
        leaf=leaf,
        parent=parent,
        group_lower_w=group_lower,
        group_upper_w=group_upper,
        base_w=base,
    )
    assert int(got.power_w.sum()) + got.unmet_w == target
    assert np.all((got.power_w >= lower) & (got.power_w <= upper))
    flow = np.zeros(groups, dtype=np.int64)
    for site in range(count):
        group = int(leaf[site])
        while group >= 0:
            flow[group] += base[site] + got.power_w[site]
            group = int(parent[group])
    np.testing.assert_array_equal(flow, got.group_w)
    over = np.zeros(groups, dtype=np.int64)
    over[got.overload_rows] = got.overload_w
    beyond = np.maximum(flow - group_upper, 0) + np.minimum(flow - group_lower, 0)
    # a group is never beyond its limits by more than its own sites and inner groups force it to be
    np.testing.assert_array_equal(beyond, over)
    limit = np.where(got.bound_above_mask, group_upper[got.bound_rows], group_lower[got.bound_rows])
    np.testing.assert_array_equal(flow[got.bound_rows], limit + over[got.bound_rows])
    assert np.all(got.shadow_price_per_w >= 0.0)
