"""Sums up the hierarchies: the root is its leaves, sharding and moves change nothing, and a plain sum says the same."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_S
from shoal.domain.telemetry import SUSPECT, TELEMETRY, DeviceType
from shoal.twin.aggregate import COLUMNS, GRAINS, SQUARE_W2, FleetSums, Timeouts, sum_twins
from shoal.twin.columns import Twins
from shoal.twin.layout import Layout
from shoal.twin.row import BEHIND_NS, NEVER
from shoal.twin.silence import SilenceRates
from tests.property.twin.fleets import random_fleet
from tests.property.twin.streams import START_NS, make_stream

SIGNALS = ("battery", "solar", "load", "ev")
NOW_NS = START_NS + 7_200 * NS_PER_S
TIMEOUTS = Timeouts(
    fresh_ns=(60 * NS_PER_S, 180 * NS_PER_S, 180 * NS_PER_S, 600 * NS_PER_S),
    unknown_ns=(600 * NS_PER_S, 900 * NS_PER_S, 1_800 * NS_PER_S, 3_000 * NS_PER_S),
)
FRESH, SUSPECTED, STALE, UNKNOWN = range(4)


def make_rates(seed: int, bins: int = 6) -> SilenceRates:
    random = np.random.default_rng(seed)
    edges = np.unique(random.choice([1, 60, 180, 200, 601, 900, 3_600, 86_400], bins - 1)) * NS_PER_S
    shape = (4, len(edges) + 1)
    return SilenceRates(
        edges_ns=edges,
        gain=random.uniform(-1, 2, shape),
        drift=random.uniform(-0.5, 0.5, shape),
        share=random.uniform(-1, 2, shape),
        spread=random.uniform(0, 2, shape),
        common=random.uniform(0, 2, shape),
    )


def hear(twins: Twins, seed: int) -> None:
    """Let the twins hear two rounds of records: some whole, some in parts, some suspect, many long ago."""
    random = np.random.default_rng(seed)
    for seq in (1, 2):
        rows = np.flatnonzero(random.random(len(twins)) < 0.85)
        records = TELEMETRY.empty(len(rows))
        records["seq"] = seq
        ages_s = random.choice([0, 30, 60, 61, 179, 181, 600, 601, 900, 1_801, 5_000], len(rows)) + 10_000 * (
            seq == 1
        )
        records["ts_ns"] = NOW_NS - ages_s * NS_PER_S
        for name, low, high in (
            ("battery_w", -5_600, 5_600),
            ("solar_w", -4_500, 130),
            ("load_w", -120, 9_000),
        ):
            records[name] = random.integers(low, high, len(rows))
        records["ev_w"] = random.integers(0, 11_000, len(rows)) * (random.random(len(rows)) < 0.3)
        records["soc_frac"] = random.integers(-10, 10_011, len(rows)) / 10_000
        records["present"] = np.where(
            random.random(len(rows)) < 0.5, 1_023, random.integers(0, 1_024, len(rows))
        )
        for bit, name in enumerate(("battery_w", "solar_w", "load_w", "ev_w", "soc_frac")):
            records[name][(records["present"] >> bit & 1) == 0] = 0
        ones = np.ones(len(rows), dtype=np.int64)
        twins.apply(rows, records, ones, records["ts_ns"] + NS_PER_S)


def heard_fleet(sites: int, trees: int, seed: int) -> tuple[Fleet, Layout, Twins]:
    fleet = random_fleet(sites, trees, seed)
    layout = Layout.of(fleet)
    twins = Twins(sites, layout=layout)
    hear(twins, seed)
    return fleet, layout, twins


def sums_of(
    twins: Twins, layout: Layout, rates: SilenceRates, rows: NDArray[np.int64] | None = None
) -> FleetSums:
    at = np.arange(len(twins)) if rows is None else rows
    return sum_twins(twins.rows[at], layout.for_rows(at), rates, now_ns=NOW_NS, timeouts=TIMEOUTS)


def assert_same(one: FleetSums, other: FleetSums) -> None:
    assert one.layout_version == other.layout_version
    for name in ("groups", "oldest_ns", "whole", "squares"):
        assert getattr(one, name).tolist() == getattr(other, name).tolist(), name


def plain_site(record: Any, row: Any, plate: Any, rates: SilenceRates) -> Counter[str]:
    """Return what one site adds to every group above it."""
    added: Counter[str] = Counter(sites=1)
    is_heard = record["ts_ns"] > 0
    age_ns = NOW_NS - int(record["ts_ns"])
    rated_w = int(max(plate["charge_w"], plate["discharge_w"]))
    has_load = plate["device_type"] in (DeviceType.HOME, DeviceType.METER)
    scales = (rated_w, int(plate["solar_w"]), int(has_load), int(plate["ev_w"]))
    added["capacity_w"] += rated_w
    grades, is_fresh = [], dict.fromkeys(SIGNALS, False)
    for k, (signal, scale) in enumerate(zip(SIGNALS, scales, strict=True)):
        is_measured = bool(is_heard and int(record["present"]) >> k & 1)
        behind = int(row[f"{signal}_behind"])
        signal_ns = age_ns + behind * BEHIND_NS
        is_suspect = bool(int(row["flags"]) >> 8 & 1 << k)
        value_w = int(record[f"{signal}_w"])
        if is_measured:
            if behind == NEVER or signal_ns > TIMEOUTS.unknown_ns[k]:
                grades.append(UNKNOWN)
            elif signal_ns > TIMEOUTS.fresh_ns[k]:
                grades.append(STALE)
            else:
                grades.append(SUSPECTED if is_suspect else FRESH)
            is_fresh[signal] = grades[-1] == FRESH
        if is_fresh[signal]:
            added[f"power_w_{signal}"] += value_w
            added[f"scale_{signal}"] += scale
        elif scale:
            added["silent"] = 1
            usable = is_measured and not is_suspect
            at = (
                int(np.searchsorted(rates.edges_ns, signal_ns, side="right"))
                if usable
                else len(rates.edges_ns)
            )
            usable_w = value_w if usable else 0
            added[f"a_{signal}"] += round(
                GRAINS * (rates.gain[k, at] * usable_w + scale * rates.drift[k, at])
            )
            added[f"b_{signal}"] += round(GRAINS * (scale * rates.share[k, at]))
            added[f"v_{signal}"] += round((scale * rates.spread[k, at]) ** 2 / SQUARE_W2)
            added[f"c_{signal}"] += round(GRAINS * (scale * rates.common[k, at]))
            added[f"silent_scale_{signal}"] += scale
    if not is_heard:
        grades = [UNKNOWN]
    elif not grades:
        limits = (TIMEOUTS.fresh_ns[0], TIMEOUTS.unknown_ns[0])
        grades = [FRESH if age_ns <= limits[0] else STALE if age_ns <= limits[1] else UNKNOWN]
    added[("fresh", "suspect", "stale", "unknown")[max(grades)]] += 1
    if is_fresh["battery"] and int(record["present"]) & 16:
        capacity_wh = int(plate["capacity_wh"])
        stored_wh = (round(float(record["soc_frac"]) * 60_000)) * capacity_wh // 60_000
        added["energy_wh"] += stored_wh
        added["fresh_capacity_wh"] += capacity_wh
        battery_w = int(record["battery_w"])
        if capacity_wh - stored_wh > 1:
            added["charge_headroom_w"] += max(int(plate["charge_w"]) - battery_w, 0)
        if stored_wh - plate["reserve_wh"] > 1:
            added["discharge_headroom_w"] += max(battery_w + int(plate["discharge_w"]), 0)
    return added


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_sums_equal_the_plain_ones(sites: int, trees: int, seed: int) -> None:
    fleet, layout, twins = heard_fleet(sites, trees, seed)
    rates = make_rates(seed)
    sums = sums_of(twins, layout, rates)
    latest = twins.latest()
    each = [
        plain_site(latest[k], twins.rows[k], layout.plates[layout.plate_of[k]], rates) for k in range(sites)
    ]
    for number, group in enumerate(fleet.groups):
        rows = fleet.rows_in(group.group_id).tolist()
        for name in COLUMNS:
            assert sums.column(name)[number] == sum(each[row][name] for row in rows), (group, name)
        ages_ns = [NOW_NS - int(latest["ts_ns"][row]) for row in rows]
        assert sums.oldest_ns[number] == max(ages_ns, default=-1)
    assert sums.whole.tolist() == [sum(site[name] for site in each) for name in COLUMNS]


def test_random_twins_have_every_grade() -> None:
    """The property above is worth nothing if all sites are alike."""
    total = sum(
        sums_of(t, layout, make_rates(1)).whole for _, layout, t in (heard_fleet(60, 1, s) for s in range(9))
    )
    assert np.asarray(total)[:6].min() > 20


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_root_is_the_sum_of_its_leaves(sites: int, trees: int, seed: int) -> None:
    """Each group is the sum of its children and of the sites that hang from it directly; the roots of each tree and
    the sites outside it are the whole fleet."""
    fleet, layout, twins = heard_fleet(sites, trees, seed)
    rates = make_rates(seed)
    sums = sums_of(twins, layout, rates)
    for number in range(len(fleet.groups)):
        direct = np.flatnonzero(sum(leaves == number for leaves in fleet.leaf_group.values()))
        children = np.flatnonzero(fleet.parent_number == number)
        below = sums.groups[children].sum(axis=0) + sums_of(twins, layout, rates, direct).whole
        assert sums.groups[number].tolist() == below.tolist()
    for hierarchy, leaves in fleet.leaf_group.items():
        roots = [n for n, g in enumerate(fleet.groups) if g.parent_id is None and g.hierarchy_id == hierarchy]
        outside = sums_of(twins, layout, rates, np.flatnonzero(leaves < 0)).whole
        assert (sums.groups[roots].sum(axis=0) + outside).tolist() == sums.whole.tolist()
    counts = sum(sums.column(name) for name in ("fresh", "stale", "unknown", "suspect"))
    assert np.asarray(counts).tolist() == sums.column("sites").tolist()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_sums_do_not_depend_on_the_sharding(sites: int, seed: int, shards: int) -> None:
    _, layout, twins = heard_fleet(sites, 2, seed)
    rates = make_rates(seed)
    owner = np.random.default_rng(seed).integers(0, shards, sites)
    parts = [sums_of(twins, layout, rates, np.flatnonzero(owner == shard)) for shard in range(shards)]
    left, right = parts[0], parts[-1]
    for part in parts[1:]:
        left = left.plus(part)
    for part in reversed(parts[:-1]):
        right = part.plus(right)
    assert_same(left, right)
    assert_same(left, sums_of(twins, layout, rates))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_root_stays_the_sum_of_its_leaves_through_churn_moves_late_data_and_restarts(seed: int) -> None:
    """Shards restart, sites move between groups and shards, data is late: the sums are those of undisturbed twins."""
    random = np.random.default_rng(seed)
    sites = 6
    fleet = random_fleet(sites, 2, seed)
    layout, rates = Layout.of(fleet), make_rates(seed)
    calm = Twins(sites, layout=layout)
    shards = [np.arange(0, 3), np.arange(3, 6)]
    parts = [Twins(3, layout=layout.for_rows(rows)) for rows in shards]
    for batch in make_stream(seed, devices=sites, steps=12):
        calm.apply(*batch.copy())
        for rows, part in zip(shards, parts, strict=True):
            mine = batch.chosen(np.flatnonzero(np.isin(batch.rows, rows)))
            part.apply(*mine._replace(rows=np.searchsorted(rows, mine.rows)))
        if random.random() < 0.3:  # sites move between groups
            fleet = random_fleet(sites, 2, int(random.integers(2**32)))
            layout = Layout.of(fleet)
            calm.set_layout(layout)
        if random.random() < 0.3:  # the shards are cut anew, from snapshots
            whole = np.empty(sites, dtype=calm.rows.dtype)
            for rows, part in zip(shards, parts, strict=True):
                whole[rows] = part.state()
            cut = int(random.integers(0, sites + 1))
            order = random.permutation(sites)
            shards = [np.sort(order[:cut]), np.sort(order[cut:])]
            parts = [Twins(len(rows), layout=layout.for_rows(rows)) for rows in shards]
            for rows, part in zip(shards, parts, strict=True):
                part.restore(whole[rows])
        for rows, part in zip(shards, parts, strict=True):
            part.set_layout(layout.for_rows(rows))
        now_ns = int(calm.latest()["ts_ns"].max(initial=START_NS)) + int(random.integers(0, 300)) * NS_PER_S
        one, two = (
            sum_twins(part.rows, layout.for_rows(rows), rates, now_ns=now_ns, timeouts=TIMEOUTS)
            for rows, part in zip(shards, parts, strict=True)
        )
        assert_same(one.plus(two), sum_twins(calm.rows, layout, rates, now_ns=now_ns, timeouts=TIMEOUTS))


def test_suspect_signal_leaves_the_sums_and_the_others_stay() -> None:
    fleet = random_fleet(1, 0, 1)
    layout = Layout.of(fleet)
    twins = Twins(1, layout=layout)
    records = TELEMETRY.empty(1)
    records["seq"], records["ts_ns"] = 1, NOW_NS - NS_PER_S
    records["solar_w"], records["load_w"] = 3_000, 700
    one = np.ones(1, dtype=np.int64)
    twins.apply(one - 1, records, one, records["ts_ns"] + one)
    assert records["flags"][0] & SUSPECT
    sums = sums_of(twins, layout, make_rates(1))
    whole = dict(zip(COLUMNS, sums.whole.tolist(), strict=True))
    assert (whole["power_w_solar"], whole["power_w_load"]) == (0, 700)
    assert (whole["fresh"], whole["suspect"]) == (0, 1)


def test_sums_of_other_groups_are_not_added() -> None:
    _, layout, twins = heard_fleet(3, 1, 1)
    _, other, others = heard_fleet(3, 2, 2)
    rates = make_rates(1)
    with pytest.raises(InvalidInputError, match="layout_version"):
        sums_of(twins, layout, rates).plus(sums_of(others, other, rates))
    with pytest.raises(InvalidInputError, match="sites"):
        sum_twins(twins.rows[:2], layout, rates, now_ns=NOW_NS, timeouts=TIMEOUTS)
    with pytest.raises(InvalidInputError, match="timeouts"):
        Timeouts.alike(fresh_ns=5, unknown_ns=4)
