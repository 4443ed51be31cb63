"""Small networks: slopes against finite differences, learning, and the same bits from the same seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.forecast.network import (
    Network,
    NetworkRecipe,
    _Training,
    predict_network,
    train_network,
    tune_network,
)

Numbers = NDArray[np.float32]
SMALL = NetworkRecipe(hidden_width=(24, 12), epoch_count=120, dropout_frac=0.0, step_size=3e-3)


def samples(count: int = 400) -> tuple[Numbers, Numbers, Numbers]:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(count, 6)).astype(np.float32)
    y = np.stack([np.abs(x[:, 0]), x[:, 1] * x[:, 2], x[:, 3]], axis=1).astype(np.float32)
    return x, y, np.ones(count, dtype=np.float32)


def miss(recipe: NetworkRecipe, network: Network, x: Numbers, y: Numbers) -> float:
    return float(np.mean(np.abs(predict_network(recipe, network, x) - y)))


@pytest.mark.parametrize("is_skipping", [False, True])
def test_network_learns_what_is_not_linear(is_skipping: bool) -> None:
    x, y, weight = samples()
    recipe = replace(SMALL, is_skipping=is_skipping)
    network = train_network(recipe, x, y, weight, seed=1)
    assert miss(recipe, network, x, y) < 0.35 * float(np.mean(np.abs(y - np.median(y, axis=0))))


def test_same_seed_gives_the_same_bits_and_another_does_not() -> None:
    x, y, weight = samples(100)
    recipe = NetworkRecipe(hidden_width=(16, 8), epoch_count=3)
    one, again, other = (train_network(recipe, x, y, weight, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.mean, again.mean)
    assert not np.array_equal(one.mean, other.mean)


def test_tuning_follows_the_newest_samples_and_leaves_the_given_network_alone() -> None:
    x, y, weight = samples()
    recipe = replace(SMALL, tune_count=200, tune_step_frac=0.5)
    network = train_network(recipe, x, y, weight, seed=1)
    kept = network.mean.copy()
    tuned = tune_network(recipe, network, x, y + np.float32(1.0), weight, seed=5)
    assert miss(recipe, tuned, x, y + np.float32(1.0)) < 0.5 * miss(recipe, network, x, y + np.float32(1.0))
    np.testing.assert_array_equal(network.mean, kept)
    assert tuned.step_count == network.step_count + 200


def test_samples_without_weight_teach_nothing() -> None:
    x, y, weight = samples()
    wrong = y.copy()
    wrong[::2] += 5.0
    weight[::2] = 1e-6
    network = train_network(SMALL, x, wrong, weight, seed=1)
    assert miss(SMALL, network, x[1::2], y[1::2]) < 0.5


@pytest.mark.parametrize("is_skipping", [False, True])
def test_slopes_are_those_of_finite_differences(is_skipping: bool) -> None:
    x, y, weight = samples(32)
    recipe = NetworkRecipe(
        hidden_width=(5, 4),
        epoch_count=1,
        dropout_frac=0.0,
        knee_level=1000.0,
        batch_rows=32,
        is_skipping=is_skipping,
    )
    network = train_network(recipe, x, y, weight, seed=1)
    training = _Training(recipe, network)
    training.step(x, y, weight, 0.0, 1.0, np.random.default_rng(0))
    slope = training._gradient

    def loss(moved: NDArray[np.float32]) -> float:
        """Return the loss far below the knee: squares, in the mean over samples."""
        out = predict_network(recipe, replace(network, mean=moved), x)
        return float(np.sum((out - y) ** 2) / (2.0 * 1000.0 * len(x)))

    for k in range(0, len(slope), 3):
        up, down = network.weight.copy(), network.weight.copy()
        up[k] += 0.01
        down[k] -= 0.01
        assert (loss(up) - loss(down)) / 0.02 == pytest.approx(float(slope[k]), abs=2e-5, rel=0.03)


def test_shapes_that_do_not_fit_are_refused() -> None:
    x, y, weight = samples(40)
    with pytest.raises(InvalidInputError):
        train_network(SMALL, x, y[:-1], weight, seed=1)
    network = train_network(replace(SMALL, epoch_count=1), x, y, weight, seed=1)
    with pytest.raises(InvalidInputError, match="6 inputs"):
        tune_network(SMALL, network, x[:, :5], y, weight, seed=1)
