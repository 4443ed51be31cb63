"""What silent sites may be doing: rates, sums and estimates."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import numpy as np
import pytest

from shoal.domain.interval import NS_PER_MINUTE
from shoal.twin.silence import (
    ORDERED,
    FleetTrail,
    SilenceSums,
    SilenceTable,
    estimate,
    peer_means,
    sum_silence,
)
from shoal.twin.silence_default import built_in_table

PARENT = np.array([-1, 0, 0])
LEVEL = np.array([0, 1, 1])
SITES = 40
LEAF = np.repeat([1, 2], SITES // 2)
SCALE = np.stack([np.full(SITES, 5_000.0), np.full(SITES, 4_000.0), np.ones(SITES), np.full(SITES, 7_000.0)])


def make_trail(*, minutes: int = 120, rise_w: float = 0.0) -> FleetTrail:
    """Return a trail whose load per site is 1,000 W now and `rise_w` less an hour before."""
    trail = FleetTrail()
    for minute in range(minutes + 1):
        mean = np.array([0.1, -0.2, 1_000.0 - rise_w * (minutes - minute) / 60.0, 0.1])
        second = mean**2 + np.array([0.2, 0.1, 400.0, 0.2]) ** 2
        trail.push(
            (minute + 1) * NS_PER_MINUTE,
            fresh_w=mean,
            fresh_scale=np.ones(4),
            square=second,
            scale_square=np.ones(4),
        )
    return trail


def make_values() -> np.ndarray:
    draw = np.random.default_rng(3)
    return np.stack(
        [
            draw.uniform(-2_000, 2_000, SITES),
            draw.uniform(-3_000, 0, SITES),
            draw.uniform(200, 2_000, SITES),
            draw.uniform(0, 3_000, SITES),
        ]
    )


def sums_of(
    table: SilenceTable,
    fresh: np.ndarray,
    age_ns: int,
    trail: FleetTrail | None = None,
    values: np.ndarray | None = None,
) -> SilenceSums:
    return sum_silence(
        table.effective(trail),
        value_w=make_values() if values is None else values,
        age_ns=np.full((4, SITES), age_ns),
        fresh=fresh,
        scale=SCALE,
        leaf_group=LEAF,
        parent_number=PARENT,
        level=LEVEL,
    )


def test_estimate_without_silent_sites_is_the_fresh_sum_without_doubt() -> None:
    table = built_in_table()
    told = estimate(table, sums_of(table, np.ones(SITES, dtype=bool), 0, make_trail()), PARENT, LEVEL)
    truth = make_values().sum(axis=1)
    for side_w in (told.expected_w, told.low_w, told.high_w, told.firm_w):
        np.testing.assert_allclose(side_w[0], [*truth, truth.sum()])


def test_estimate_of_a_young_value_is_close_to_it_and_of_an_old_one_to_the_peers() -> None:
    table = built_in_table()
    fresh = np.arange(SITES) % 2 == 0
    values = make_values()
    values[2, ~fresh] = 3_000.0
    trail = make_trail(minutes=1_500)
    young = estimate(table, sums_of(table, fresh, NS_PER_MINUTE, trail, values), PARENT, LEVEL)
    old = estimate(table, sums_of(table, fresh, 1_800 * NS_PER_MINUTE, trail, values), PARENT, LEVEL)
    held_w = values[2].sum()
    peers_w = 2.0 * values[2, fresh].sum()
    assert abs(young.expected_w[0, 2] - held_w) < 0.1 * held_w
    assert abs(old.expected_w[0, 2] - peers_w) < 0.3 * abs(held_w - peers_w)


def test_interval_widens_with_age_and_holds_expected_and_firm() -> None:
    table, trail = built_in_table(), make_trail(minutes=1_500)
    fresh = np.arange(SITES) % 2 == 0
    widths = []
    for minutes in (2, 10, 45):
        told = estimate(table, sums_of(table, fresh, minutes * NS_PER_MINUTE, trail), PARENT, LEVEL)
        assert (told.low_w <= told.firm_w).all()
        assert (told.firm_w <= told.high_w).all()
        widths.append((told.high_w - told.low_w)[0, [0, 2, 4]])
    assert (np.diff(widths, axis=0) > 0.0).all()


def test_site_that_never_reported_counts_as_its_peers() -> None:
    table = replace(built_in_table(), bias=np.zeros_like(built_in_table().bias))
    fresh = LEAF == 1
    never = sums_of(table, fresh, -1, make_trail())
    told = estimate(table, never, PARENT, LEVEL)
    np.testing.assert_allclose(told.expected_w[2, 2], make_values()[2, fresh].sum())


def test_silent_site_follows_the_movement_of_the_fleet() -> None:
    built_in = built_in_table()
    table = replace(
        built_in,
        weight=np.ones_like(built_in.weight),
        stay=np.zeros_like(built_in.stay),
        bias=np.zeros_like(built_in.bias),
    )
    fresh = np.arange(SITES) > 0
    values = make_values()
    told = estimate(
        table, sums_of(table, fresh, 60 * NS_PER_MINUTE, make_trail(rise_w=300.0), values), PARENT, LEVEL
    )
    assert told.expected_w[0, 2] - values[2].sum() == pytest.approx(300.0, rel=0.05)


def test_estimate_respects_nameplates() -> None:
    table = replace(built_in_table(), z_low=np.full((5, 2, 7), -1e6), z_high=np.full((5, 2, 7), 1e6))
    told = estimate(
        table, sums_of(table, np.zeros(SITES, dtype=bool), 90 * NS_PER_MINUTE, make_trail()), PARENT, LEVEL
    )
    battery_w, solar_w, _, ev_w = SCALE.sum(axis=1)
    np.testing.assert_allclose(told.low_w[0, :4], [-battery_w, -solar_w, 0.0, 0.0])
    np.testing.assert_allclose(told.high_w[0, [0, 1, 3]], [battery_w, 0.0, ev_w])


def test_sites_without_a_device_add_nothing_to_its_sums() -> None:
    table = built_in_table()
    sums = sum_silence(
        table.effective(),
        value_w=make_values(),
        age_ns=np.full((4, SITES), 60 * NS_PER_MINUTE),
        fresh=np.zeros(SITES, dtype=bool),
        scale=np.zeros_like(SCALE),
        leaf_group=LEAF,
        parent_number=PARENT,
        level=LEVEL,
    )
    for name in ("fresh_w", "fresh_scale", "a", "b", "v", "c", "silent_scale"):
        assert not getattr(sums, name).any()
    assert sums.silent_sites.tolist() == [SITES, SITES // 2, SITES // 2]


def test_peers_of_a_group_without_fresh_sites_are_its_parents() -> None:
    table = built_in_table()
    sums = sums_of(table, LEAF == 1, 10 * NS_PER_MINUTE)
    mean = peer_means(table, sums, PARENT, LEVEL)
    np.testing.assert_allclose(mean[2], mean[0])


def test_orders_take_their_own_row_for_batteries_only() -> None:
    table = built_in_table()
    usual, ordered = (table.effective(make_trail(), ordered=flag) for flag in (False, True))
    assert not np.array_equal(usual.spread[0], ordered.spread[0])
    np.testing.assert_array_equal(usual.spread[1:], ordered.spread[1:])
    sd = max(0.2, table.floor[0] * table.dispersion[0])
    np.testing.assert_allclose(ordered.spread[0], table.spread[ORDERED] * sd)


def test_trail_knows_what_was_and_where_it_has_holes() -> None:
    trail = FleetTrail()
    assert len(trail) == 0

    def push(minute: int) -> None:
        value = float(minute)
        trail.push(
            minute * NS_PER_MINUTE,
            fresh_w=np.full(4, value),
            fresh_scale=np.ones(4),
            square=np.full(4, value**2 + 9.0),
            scale_square=np.ones(4),
        )

    for minute in (*range(100, 130), *range(300, 361)):
        push(minute)
    push(200)  # comes too late: left out
    mean, dispersion = trail.latest()
    assert mean[0] == 360.0
    assert dispersion[0] == pytest.approx(3.0)
    past, _ = trail.before(np.array([0, 10, 60, 150, 240]) * NS_PER_MINUTE)
    assert past[0, :3].tolist() == [360.0, 350.0, 300.0]
    assert np.isnan(past[0, 3])
    assert past[0, 4] == 120.0


def test_trail_keeps_one_entry_a_minute_and_the_newest() -> None:
    trail = FleetTrail(length=10)
    one = np.ones(4)
    for second in range(1, 301):
        trail.push(
            second * NS_PER_MINUTE // 60,
            fresh_w=one * second,
            fresh_scale=one,
            square=one * second**2,
            scale_square=one,
        )
    assert len(trail) <= 7
    assert trail.latest()[0][0] == 300.0
    assert trail.before(np.array([120 * NS_PER_MINUTE // 60]))[0][0, 0] == pytest.approx(180.0, abs=60.0)


def test_trail_without_fresh_sites_stays_as_it_is() -> None:
    trail = FleetTrail()
    none = np.zeros(4)
    trail.push(1, fresh_w=none, fresh_scale=none, square=none, scale_square=none)
    assert len(trail) == 0


def test_table_survives_json() -> None:
    table = built_in_table()
    again = SilenceTable.from_dict(json.loads(json.dumps(table.to_dict())))
    for field in fields(SilenceTable):
        before, after = getattr(table, field.name), getattr(again, field.name)
        if isinstance(before, str):
            assert before == after
        else:
            assert before.dtype == after.dtype
            np.testing.assert_array_equal(before, after)


def test_built_in_table_is_in_order() -> None:
    table = built_in_table()
    bins = len(table.age_ns)
    assert (np.diff(table.edges_ns) > 0).all()
    assert len(table.edges_ns) == bins - 1
    for name in ("weight", "stay", "bias", "spread", "common", "shift"):
        column = getattr(table, name)
        assert column.shape == (5, bins)
        assert np.isfinite(column).all()
    assert ((table.weight >= 0.0) & (table.weight <= 1.0)).all()
    assert not table.weight[:, -1].any()
    assert (np.diff(table.size_sites) > 0).all()
    assert (table.z_low <= table.z_firm).all()
    assert (table.z_firm <= table.z_high).all()
    assert np.linalg.eigvalsh(table.correlation).min() > 0.0
