"""Boosted trees: they find the distribution they are shown, and the same bits again."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.forecast.protocol import LEVELS
from shoal.forecast.sites_trees import Trees, TreeSettings, ask_trees, grow_trees

LEVEL = np.array(LEVELS)
SETTINGS = TreeSettings(tree_count=120, leaf_count=10, learning_frac=0.1, least_rows=60)


def sample(rows: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return features and outcomes: a step in the first, a slope in the second, spread by the third; the fourth is noise."""
    draw = np.random.default_rng(seed)
    x = draw.uniform(0.0, 1.0, (rows, 4)).astype(np.float32)
    noise = draw.normal(0.0, 1.0, rows) * (0.1 + 0.9 * (x[:, 2] > 0.5))
    return x, np.asarray(3.0 * (x[:, 0] > 0.4) + 2.0 * x[:, 1] + noise)


@pytest.fixture(scope="module")
def trees() -> Trees:
    x, y = sample(12_000, 1)
    return grow_trees(x, y, level=LEVEL, settings=SETTINGS, seed=5)


def test_trees_find_the_median_the_mean_and_the_spread(trees: Trees) -> None:
    x, y = sample(6_000, 2)
    told = ask_trees(trees, x)
    truth = 3.0 * (x[:, 0] > 0.4) + 2.0 * x[:, 1]
    middle = len(LEVEL) // 2
    assert np.mean(np.abs(told[:, middle] - truth)) < 0.12
    assert np.mean(np.abs(told[:, -1] - truth)) < 0.12
    wide = x[:, 2] > 0.5
    width = told[:, -2] - told[:, 0]
    # the 90 % interval of a normal is 3.29 standard deviations wide
    assert width[wide].mean() == pytest.approx(3.29 * 1.0, rel=0.12)
    assert width[~wide].mean() == pytest.approx(3.29 * 0.1, rel=0.6)
    below = (y[:, None] < told[:, :-1]).mean(axis=0)
    np.testing.assert_allclose(below, LEVEL, atol=0.025)


def test_trees_beat_a_constant_by_far_on_every_level(trees: Trees) -> None:
    x, y = sample(4_000, 3)
    told = ask_trees(trees, x)[:, :-1]
    flat = np.quantile(y, LEVEL)
    loss = [
        np.maximum(LEVEL * (y[:, None] - q), (LEVEL - 1) * (y[:, None] - q)).mean(axis=0)
        for q in (told, flat)
    ]
    assert np.all(loss[0] < 0.55 * loss[1])


def test_same_seed_same_bits_and_other_seed_other_bits(trees: Trees) -> None:
    x, y = sample(12_000, 1)
    again = grow_trees(x, y, level=LEVEL, settings=SETTINGS, seed=5)
    other = grow_trees(x, y, level=LEVEL, settings=SETTINGS, seed=6)
    assert all(again.arrays()[name].tobytes() == array.tobytes() for name, array in trees.arrays().items())
    assert ask_trees(other, x).tobytes() != ask_trees(trees, x).tobytes()


def test_row_is_forecast_alike_alone_and_among_others(trees: Trees) -> None:
    x, _ = sample(500, 4)
    whole = ask_trees(trees, x)
    np.testing.assert_array_equal(ask_trees(trees, x[7:8]), whole[7:8])


def test_absent_feature_is_a_value_of_its_own() -> None:
    x, _ = sample(8_000, 5)
    gone = np.random.default_rng(0).random(len(x)) < 0.3
    x[gone, 1] = np.nan
    y = np.where(gone, 10.0, x[:, 0].astype(np.float64))
    trees = grow_trees(x, y, level=LEVEL, settings=SETTINGS, seed=1)
    told = ask_trees(trees, x)[:, -1]
    assert np.abs(told[gone] - 10.0).max() < 0.5
    assert np.abs(told[~gone] - y[~gone]).mean() < 0.1


def test_constant_outcome_and_few_rows_make_no_splits() -> None:
    x, _ = sample(50, 6)
    trees = grow_trees(x, np.full(50, 2.0), level=LEVEL, settings=SETTINGS, seed=1)
    assert np.all(trees.feature_index == -1)
    np.testing.assert_allclose(ask_trees(trees, x), 2.0)


def test_few_values_are_split_between_and_not_lost() -> None:
    """A feature of two values (a weekend flag) keeps both apart."""
    draw = np.random.default_rng(9)
    flag = draw.integers(0, 2, 3_000)
    x = np.stack((flag, draw.random(3_000)), axis=1).astype(np.float32)
    settings = TreeSettings(tree_count=80, leaf_count=4, least_rows=50, feature_frac=1.0, learning_frac=0.2)
    trees = grow_trees(x, 5.0 * flag.astype(np.float64), level=LEVEL, settings=settings, seed=1)
    told = ask_trees(trees, np.array([[0.0, 0.5], [1.0, 0.5]], dtype=np.float32))
    np.testing.assert_allclose(told[:, -1], [0.0, 5.0], atol=0.05)
