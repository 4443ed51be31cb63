"""Learning how silent sites behave from a fleet's own history."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_MINUTE
from shoal.twin.silence import SilenceTable, estimate
from shoal.twin.silence_default import built_in_table
from shoal.twin.silence_history import SilenceHistory, grid_samples, pretend_silence, replay
from shoal.twin.silence_learned import check_table
from shoal.twin.silence_learning import learn_from, learn_silence

SITES = 120
LEAF = 1 + np.arange(SITES) // 20
PARENT = np.array([-1] + [0] * 6)
LEVEL = np.array([0] + [1] * 6)
SCALE = np.stack([np.full(SITES, 5_000.0), np.full(SITES, 4_000.0), np.ones(SITES), np.full(SITES, 7_000.0)])
STEP_NS = 5 * NS_PER_MINUTE
DAY = 288


def make_truth(days: int, seed: int) -> np.ndarray:
    """Return 4 x T x N: a daily swing, one error of all sites and one of each, which fade over an hour and a half."""
    draw = np.random.default_rng(seed)
    steps = days * DAY
    fade = np.exp(-1.0 / 18.0)
    own = np.zeros((4, steps, SITES))
    shared = np.zeros((4, steps, 1))
    for t in range(1, steps):
        own[:, t] = fade * own[:, t - 1] + np.sqrt(1 - fade**2) * draw.normal(size=(4, SITES))
        shared[:, t] = fade * shared[:, t - 1] + np.sqrt(1 - fade**2) * draw.normal(size=(4, 1))
    swing = 1.0 + 0.4 * np.sin(2 * np.pi * np.arange(steps) / DAY)[None, :, None]
    centre = np.array([0.0, -2_000.0, 1_500.0, 1_500.0])[:, None, None]
    size = np.array([600.0, 250.0, 250.0, 250.0])[:, None, None]
    return (centre * swing + size * own + 0.3 * size * shared).astype(np.float32)


def make_history(days: int, seed: int) -> SilenceHistory:
    truth = make_truth(days, seed)
    return SilenceHistory(
        step_ns=STEP_NS,
        value_w=truth,
        silent=pretend_silence(truth.shape[1], LEAF, step_ns=STEP_NS),
        ordered=np.zeros(truth.shape[1], dtype=np.bool_),
        scale=SCALE,
        leaf_group=LEAF,
        parent_number=PARENT,
        level=LEVEL,
    )


@pytest.fixture(scope="module")
def table() -> SilenceTable:
    return learn_from(make_history(10, seed=1), provenance="a test")


def test_learning_finds_how_fast_values_fade(table: SilenceTable) -> None:
    for minutes in (30, 60, 120):
        at = np.searchsorted(table.edges_ns, minutes * NS_PER_MINUTE, side="right")
        expected = np.exp(-table.age_ns[at] / (90 * NS_PER_MINUTE))
        assert table.weight[2, at] == pytest.approx(expected, abs=0.12)
        own = np.sqrt(1 - expected**2)
        assert table.spread[2, at] == pytest.approx(own, abs=0.15)


def test_learned_interval_keeps_its_word_on_later_data(table: SilenceTable) -> None:
    later = make_history(6, seed=2)
    inside, short = [], []
    for moment in replay(later, table, np.arange(6 * DAY) % 7 == 0):
        told = estimate(table, moment.sums, PARENT, LEVEL)
        fresh_w = np.column_stack([moment.sums.fresh_w, moment.sums.fresh_w.sum(axis=1)])
        truth_w = fresh_w + moment.silent_truth_w
        silent = moment.sums.silent_sites > 0
        inside.append(((truth_w >= told.low_w) & (truth_w <= told.high_w))[silent])
        short.append((truth_w > told.firm_w)[silent])
    assert 0.86 <= np.concatenate(inside).mean() <= 0.94
    assert 0.07 <= np.concatenate(short).mean() <= 0.13


def test_learning_is_deterministic() -> None:
    one, two = (learn_from(make_history(3, seed=4), provenance="a test") for _ in range(2))
    assert one.to_dict() == two.to_dict()


def make_samples(days: int) -> dict[str, np.ndarray]:
    truth = make_truth(days, seed=7)
    slot, site = (index.ravel() for index in np.indices(truth.shape[1:]))
    return {
        "site": site,
        "ts_ns": 1_000 * STEP_NS + slot * STEP_NS,
        "battery_w": truth[0].ravel(),
        "solar_w": truth[1].ravel(),
        "load_w": truth[2].ravel(),
        "ev_w": truth[3].ravel(),
    }


def test_samples_become_a_history_in_any_order() -> None:
    samples = make_samples(2)
    shuffled = np.random.default_rng(5).permutation(len(samples["site"]))
    silent = np.random.default_rng(6).random(len(shuffled)) < 0.1
    samples["silent"] = silent
    one, two = (
        grid_samples(
            columns, scale=SCALE, leaf_group=LEAF, parent_number=PARENT, level=LEVEL, step_ns=STEP_NS
        )
        for columns in (samples, {name: column[shuffled] for name, column in samples.items()})
    )
    np.testing.assert_array_equal(one.value_w, make_truth(2, seed=7))
    np.testing.assert_array_equal(one.value_w, two.value_w)
    np.testing.assert_array_equal(one.silent, two.silent)
    np.testing.assert_array_equal(one.silent.ravel(), silent)


def test_missing_samples_are_silent_and_orders_are_marked() -> None:
    samples = {name: column[5:] for name, column in make_samples(2).items()}
    samples["silent"] = np.zeros(len(samples["site"]), dtype=np.bool_)
    orders_ns = np.array([[1_010 * STEP_NS, 1_020 * STEP_NS]])
    history = grid_samples(
        samples,
        scale=SCALE,
        leaf_group=LEAF,
        parent_number=PARENT,
        level=LEVEL,
        step_ns=STEP_NS,
        orders_ns=orders_ns,
    )
    assert history.silent[0, :5].all()
    assert np.isnan(history.value_w[:, 0, :5]).all()
    assert np.nonzero(history.ordered)[0].tolist() == list(range(10, 20))


def test_replay_leaves_out_sites_whose_truth_never_came(table: SilenceTable) -> None:
    history = make_history(2, seed=8)
    history.value_w[:, :, 3] = np.nan
    moment = next(iter(replay(history, table, np.ones(2 * DAY, dtype=np.bool_))))
    assert np.isfinite(moment.silent_truth_w).all()
    scale = moment.sums.fresh_scale + moment.sums.silent_scale
    np.testing.assert_allclose(scale[0, 2], SITES - 1)


def test_learning_from_samples_alone_pretends_silence() -> None:
    table = learn_silence(
        make_samples(3),
        scale=SCALE,
        leaf_group=LEAF,
        parent_number=PARENT,
        level=LEVEL,
        provenance="three days",
    )
    assert table.provenance == "three days"
    assert np.isfinite(table.spread).all()
    assert (table.z_low < 0.0).all()


def test_learning_from_less_than_two_days_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="two days"):
        learn_silence(
            make_samples(1),
            scale=SCALE,
            leaf_group=LEAF,
            parent_number=PARENT,
            level=LEVEL,
            provenance="a day",
        )


def test_pretended_silence_hits_areas_and_single_sites_for_short_and_long() -> None:
    silent = pretend_silence(4 * DAY, LEAF, step_ns=STEP_NS)
    assert 0.1 < silent.mean() < 0.5
    per_area = np.stack([silent[:, leaf_group == LEAF].mean(axis=1) for leaf_group in range(1, 7)], axis=1)
    assert (per_area == 1.0).any()
    assert ((per_area > 0.0) & (per_area < 0.2)).any()


def test_what_is_seldom_seen_is_lent_and_the_rest_is_its_own() -> None:
    """Ten days without cars: theirs stay as they were, and quantiles of the rest are learned nevertheless."""
    lived = make_history(10, seed=4)
    scale = lived.scale.copy()
    scale[3, 3:] = 0.0
    without = replace(lived, scale=scale)
    built_in = built_in_table()
    alone, lent = (learn_from(without, provenance="x", fallback=given) for given in (None, built_in))
    for found in (alone, lent):
        assert len(found.size_sites) >= 2
        check_table(found)
    np.testing.assert_array_equal(lent.weight[:3], alone.weight[:3])
    np.testing.assert_array_equal(lent.weight[3:], built_in.weight[3:])
    np.testing.assert_array_equal(lent.z_high[[0, 1, 2, 4]], alone.z_high[[0, 1, 2, 4]])
    assert (lent.z_high[3] >= built_in.z_high[3].min() - 1e-9).all()
    assert (lent.z_high[3] <= built_in.z_high[3].max() + 1e-9).all()
    assert np.allclose(lent.correlation, lent.correlation.T)
