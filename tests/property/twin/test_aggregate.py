"""Sums up the hierarchies: the root is its leaves, sharding changes nothing, and bounds hold whatever is hidden."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shoal.domain.fleet import Fleet
from shoal.domain.ids import GroupId
from shoal.domain.interval import NS_PER_S
from shoal.domain.telemetry import TELEMETRY
from shoal.twin.aggregate import FRESH, STALE, UNKNOWN, GroupSums, quality, sum_groups, to_aggregates
from tests.integration.store.fleets import GRID, ZONE, make_fleet

NOW_NS = 1_612_936_800 * NS_PER_S
FRESH_NS = 180 * NS_PER_S
UNKNOWN_NS = 900 * NS_PER_S
NAMES = [f.name for f in fields(GroupSums)]


def telemetry(fleet: Fleet, seed: int) -> NDArray[Any]:
    """Return the latest records of a fleet of which some are fresh, some silent, some never heard of."""
    random = np.random.default_rng(seed)
    sites = len(fleet.site_ids)
    latest = TELEMETRY.empty(sites)
    age_s = random.choice([-5, 0, 30, 179, 180, 181, 600, 900, 901, 86_400], sites)
    latest["ts_ns"] = np.where(random.random(sites) < 0.15, 0, NOW_NS - age_s * NS_PER_S)
    charge, discharge = limits_w(fleet)
    heard = latest["ts_ns"] > 0
    latest["battery_w"] = np.where(heard, random.integers(-discharge, charge + 1), 0)
    for name, low, high in (("solar_w", -6_000, 0), ("load_w", 0, 4_000), ("ev_w", 0, 11_000)):
        latest[name] = np.where(heard, random.integers(low, high + 1, sites), 0)
    latest["soc_frac"] = np.where(heard, random.uniform(-0.001, 1.001, sites), 0)
    return latest


def limits_w(fleet: Fleet) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    charge = np.rint(fleet.nameplate["charge_limit_kw"] * 1e3).astype(np.int64)
    discharge = np.rint(fleet.nameplate["discharge_limit_kw"] * 1e3).astype(np.int64)
    return charge, discharge


def sums(fleet: Fleet, latest: NDArray[Any], rows: NDArray[np.int64] | None = None) -> GroupSums:
    at = np.arange(len(fleet.site_ids)) if rows is None else rows
    return sum_groups(latest[at], at, fleet, now_ns=NOW_NS, fresh_ns=FRESH_NS, unknown_ns=UNKNOWN_NS)


def same(one: GroupSums, other: GroupSums) -> bool:
    return all(getattr(one, name).tolist() == getattr(other, name).tolist() for name in NAMES)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_root_is_the_sum_of_its_leaves_in_both_hierarchies(sites: int, seed: int) -> None:
    fleet = make_fleet(sites, seed=seed)
    latest = telemetry(fleet, seed)
    whole = sums(fleet, latest)
    number = fleet.group_number
    for root, leaves in (("vpp", ("feeder-1", "feeder-2")), ("texas", ("coast", "west"))):
        for name in NAMES:
            values = getattr(whole, name)
            below = [int(values[number[GroupId(leaf)]]) for leaf in leaves]
            total = max(below) if name == "oldest_ns" else sum(below)
            assert values[number[GroupId(root)]] == total, (root, name)
    assert whole.sites[number[GroupId("vpp")]] == sites
    assert whole.sites[number[GroupId("texas")]] == sites - 1, "the last site has no zone"
    assert (whole.fresh + whole.stale + whole.unknown).tolist() == whole.sites.tolist()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_leaf_is_the_plain_sum_over_its_fresh_sites(sites: int, seed: int) -> None:
    fleet = make_fleet(sites, seed=seed)
    latest = telemetry(fleet, seed)
    whole = sums(fleet, latest)
    for hierarchy in (GRID, ZONE):
        for group in {int(leaf) for leaf in fleet.leaf_group[hierarchy] if leaf >= 0}:
            rows = [row for row in range(sites) if fleet.leaf_group[hierarchy][row] == group]
            ages_ns = [NOW_NS - int(latest["ts_ns"][row]) for row in rows]
            fresh = [r for r, age in zip(rows, ages_ns, strict=True) if age <= FRESH_NS]
            assert whole.fresh[group] == len(fresh)
            for name in ("battery_w", "solar_w", "load_w", "ev_w"):
                assert getattr(whole, name)[group] == sum(int(latest[name][row]) for row in fresh)
            assert whole.oldest_ns[group] == max(max(age, 0) for age in ages_ns)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_sums_do_not_depend_on_the_sharding(sites: int, seed: int, shards: int) -> None:
    fleet = make_fleet(sites, seed=seed)
    latest = telemetry(fleet, seed)
    owner = np.random.default_rng(seed).integers(0, shards, sites)
    parts = [sums(fleet, latest, np.flatnonzero(owner == shard)) for shard in range(shards)]
    left, right = parts[0], parts[-1]
    for part in parts[1:]:
        left = left.plus(part)
    for part in reversed(parts[:-1]):
        right = part.plus(right)
    assert same(left, right)
    assert same(left, sums(fleet, latest))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_bounds_hold_whatever_the_silent_sites_do(sites: int, seed: int) -> None:
    fleet = make_fleet(sites, seed=seed)
    latest = telemetry(fleet, seed)
    random = np.random.default_rng(seed + 1)
    charge, discharge = limits_w(fleet)
    whole = sums(fleet, latest)
    grade = quality(latest["ts_ns"], now_ns=NOW_NS, fresh_ns=FRESH_NS, unknown_ns=UNKNOWN_NS)
    for extreme in (None, -discharge, charge):
        hidden = random.integers(-discharge, charge + 1) if extreme is None else extreme
        truth = np.where(grade == FRESH, latest["battery_w"], hidden)
        for number, group in enumerate(fleet.groups):
            total = int(truth[fleet.rows_in(group.group_id)].sum())
            assert whole.low_w[number] <= total <= whole.high_w[number]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_headroom_stays_within_the_nameplate(sites: int, seed: int) -> None:
    fleet = make_fleet(sites, seed=seed)
    whole = sums(fleet, telemetry(fleet, seed))
    charge, discharge = limits_w(fleet)
    for number, group in enumerate(fleet.groups):
        rows = fleet.rows_in(group.group_id)
        assert 0 <= whole.charge_headroom_w[number] <= (charge[rows] + discharge[rows]).sum()
        assert 0 <= whole.discharge_headroom_w[number] <= (charge[rows] + discharge[rows]).sum()
        assert 0 <= whole.fresh_w[number] <= whole.capacity_w[number]


def test_quality_grades_by_age_and_nothing_is_unknown() -> None:
    ages_s = [-10, 0, 180, 181, 900, 901]
    ts_ns = np.array([NOW_NS - age * NS_PER_S for age in ages_s] + [0], dtype=np.int64)
    grade = quality(ts_ns, now_ns=NOW_NS, fresh_ns=FRESH_NS, unknown_ns=UNKNOWN_NS)
    assert grade.tolist() == [FRESH, FRESH, FRESH, STALE, STALE, UNKNOWN, UNKNOWN]


def test_aggregates_are_in_kilowatts_with_the_grid_as_the_sum_of_assets() -> None:
    fleet = make_fleet(1)
    latest = TELEMETRY.empty(1)
    for name, value in (("solar_w", -5_000), ("battery_w", 3_000), ("load_w", 1_000), ("soc_frac", 0.5)):
        latest[name] = value
    latest["ts_ns"] = NOW_NS - 30 * NS_PER_S
    live = to_aggregates(sums(fleet, latest), t_ns=NOW_NS)
    at = fleet.group_number[GroupId("vpp")]
    assert (live.solar_kw[at], live.battery_kw[at], live.load_kw[at], live.grid_kw[at]) == (
        -5.0,
        3.0,
        1.0,
        -1.0,
    )
    assert (live.energy_kwh[at], live.fresh_capacity_kwh[at]) == (6.75, 13.5)
    assert (live.oldest_age_s[at], live.low_kw[at], live.high_kw[at]) == (30.0, 3.0, 3.0)
    empty = fleet.group_number[GroupId("feeder-2")]
    assert (live.sites[empty], live.capacity_kw[empty], live.oldest_age_s[empty]) == (0, 0.0, -1e-9)
