"""Small dense networks in single precision: absolute loss, Adam, dropout, averaged weights; the same seed, the same bits.

All weights live in one vector, so that a step of Adam, its moments and the running average of the weights are one pass of
one kernel; matrix products go to the BLAS of numpy. Forecasts come from the averaged weights (Polyak and Juditsky, SIAM
J. Control 30 (1992) 838-855), which are steadier than the last ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.kernel import kernel

_FIRST_DECAY: Final = 0.9
_SECOND_DECAY: Final = 0.999
_LEAST: Final = 1e-8
_LEAK_FRAC: Final = 0.01
_LAST_STEP_FRAC: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRecipe:
    """The shape of a network and how it is trained.

    Attributes:
        hidden_width: Widths of the hidden layers.
        is_skipping: Whether inputs also reach the outputs directly, by a linear layer beside the hidden ones.
        epoch_count: Passes over the samples when trained anew.
        batch_rows: Samples a step.
        step_size: Adam's step at the start; it falls along a cosine to 2 % of that.
        weight_decay_frac: Share of the step by which weights shrink (decoupled).
        dropout_frac: Share of hidden units that a step leaves out.
        input_dropout_frac: Share of inputs that a step leaves out.
        knee_level: Errors below it, in the unit of the outputs, count by their square: a smooth absolute loss.
        average_frac: Share of the newest weights in the running average, a step.
        tune_step_frac: Step of fine-tuning as a fraction of `step_size`.
        tune_count: Steps of fine-tuning, a call.
        tune_average_frac: Share of the newest weights in the running average, a step of fine-tuning.
    """

    hidden_width: tuple[int, ...] = (192, 96)
    is_skipping: bool = False
    epoch_count: int = 50
    batch_rows: int = 64
    step_size: float = 1e-3
    weight_decay_frac: float = 0.02
    dropout_frac: float = 0.15
    input_dropout_frac: float = 0.0
    knee_level: float = 0.05
    average_frac: float = 0.01
    tune_step_frac: float = 0.15
    tune_count: int = 2
    tune_average_frac: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Network:
    """A trained network.

    Attributes:
        layer_width: Widths of all layers, inputs first, outputs last.
        weight: The weights of the last step.
        mean: Their running average.
        first_scale: Adam's first moments.
        second_scale: Adam's second moments.
        step_count: Steps taken.
    """

    layer_width: tuple[int, ...]
    weight: NDArray[np.float32]
    mean: NDArray[np.float32]
    first_scale: NDArray[np.float32]
    second_scale: NDArray[np.float32]
    step_count: int


def train_network(
    recipe: NetworkRecipe,
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    weight: NDArray[np.float32],
    *,
    seed: int,
) -> Network:
    """Return a network trained from random weights.

    Args:
        recipe: Shape and training.
        x: N x P inputs, near unit variance.
        y: N x H outputs, near unit variance.
        weight: N weights of the samples.
        seed: Of the initial weights, the batches and the dropout.

    Raises:
        InvalidInputError: when shapes do not fit, there is no sample, or a number is not finite.
    """
    _check(x, y, weight)
    rng = np.random.default_rng(seed)
    state = _initial(recipe, x.shape[1], y.shape[1], rng)
    batches = max(1, len(x) // recipe.batch_rows)
    total = recipe.epoch_count * batches
    for epoch in range(recipe.epoch_count):
        order = rng.permutation(len(x))
        for batch in range(batches):
            rows = order[batch * recipe.batch_rows : (batch + 1) * recipe.batch_rows]
            progress = (epoch * batches + batch) / total
            size_frac = _LAST_STEP_FRAC + (1.0 - _LAST_STEP_FRAC) * 0.5 * (1.0 + np.cos(np.pi * progress))
            state.step(x[rows], y[rows], weight[rows], recipe.step_size * size_frac, recipe.average_frac, rng)
    return state.finished()


def tune_network(
    recipe: NetworkRecipe,
    network: Network,
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    weight: NDArray[np.float32],
    *,
    seed: int,
) -> Network:
    """Return the network after a few more steps on batches drawn in proportion to the weights of the samples.

    Raises:
        InvalidInputError: when shapes do not fit the network, there is no sample, or a number is not finite.
    """
    _check(x, y, weight)
    if (x.shape[1], y.shape[1]) != (network.layer_width[0], network.layer_width[-1]):
        raise InvalidInputError(field="x", value=x.shape, fix=f"give {network.layer_width[0]} inputs")
    rng = np.random.default_rng(seed)
    state = _Training(recipe, network)
    chance = weight.astype(np.float64) / float(weight.sum(dtype=np.float64))
    ones = np.ones(recipe.batch_rows, dtype=np.float32)
    for _ in range(recipe.tune_count):
        rows = rng.choice(len(x), recipe.batch_rows, p=chance)
        state.step(
            x[rows], y[rows], ones, recipe.step_size * recipe.tune_step_frac, recipe.tune_average_frac, rng
        )
    return state.finished()


def predict_network(recipe: NetworkRecipe, network: Network, x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return M x H outputs of M x P inputs, from the averaged weights."""
    layers, skip = _views(network.mean, network.layer_width, recipe.is_skipping)
    out = x
    for number, (matrix, bias) in enumerate(layers):
        out = out @ matrix + bias
        if number < len(layers) - 1:
            out = np.maximum(out, np.float32(_LEAK_FRAC) * out)
    if skip is not None:
        out = out + x @ skip
    return out.astype(np.float64)


def _check(x: NDArray[np.float32], y: NDArray[np.float32], weight: NDArray[np.float32]) -> None:
    if x.ndim != 2 or y.ndim != 2 or len(x) == 0 or not len(x) == len(y) == len(weight):
        raise InvalidInputError(
            field="y",
            value=(x.shape, y.shape, weight.shape),
            fix="give as many outputs and weights as inputs",
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all() and np.isfinite(weight).all()):
        raise InvalidInputError(field="x", value="not finite", fix="leave out samples with unknown numbers")


_Layers = list[tuple[NDArray[np.float32], NDArray[np.float32]]]


def _views(
    weight: NDArray[np.float32], widths: tuple[int, ...], is_skipping: bool
) -> tuple[_Layers, NDArray[np.float32] | None]:
    """Return (matrix, bias) of each layer and the direct matrix, as views of the one vector."""
    layers: _Layers = []
    at = 0
    for above, below in pairwise(widths):
        matrix = weight[at : at + above * below].reshape(above, below)
        at += above * below
        layers.append((matrix, weight[at : at + below]))
        at += below
    if not is_skipping:
        return layers, None
    return layers, weight[at : at + widths[0] * widths[-1]].reshape(widths[0], widths[-1])


def _initial(recipe: NetworkRecipe, inputs: int, outputs: int, rng: np.random.Generator) -> _Training:
    widths = (inputs, *recipe.hidden_width, outputs)
    length = sum((above + 1) * below for above, below in pairwise(widths))
    length += inputs * outputs if recipe.is_skipping else 0
    weight = np.zeros(length, dtype=np.float32)
    layers, _ = _views(weight, widths, recipe.is_skipping)
    for number, (matrix, _bias) in enumerate(layers):
        last = 0.5 if number == len(layers) - 1 else 1.0
        matrix[...] = rng.normal(0.0, last * np.sqrt(2.0 / matrix.shape[0]), matrix.shape)
    return _Training(
        recipe,
        Network(
            layer_width=widths,
            weight=weight,
            mean=weight,
            first_scale=np.zeros_like(weight),
            second_scale=np.zeros_like(weight),
            step_count=0,
        ),
    )


class _Training:
    """A network while it is trained: its own copies, changed in place by `step`."""

    def __init__(self, recipe: NetworkRecipe, network: Network) -> None:
        self._recipe = recipe
        self._widths = network.layer_width
        self._weight = network.weight.copy()
        self._average = network.mean.copy()
        self._first = network.first_scale.copy()
        self._second = network.second_scale.copy()
        self._steps = network.step_count
        self._gradient = np.zeros_like(self._weight)
        self._layers, self._skip = _views(self._weight, self._widths, recipe.is_skipping)
        self._slopes, self._skip_slope = _views(self._gradient, self._widths, recipe.is_skipping)

    def finished(self) -> Network:
        """Return what was trained so far."""
        return Network(
            layer_width=self._widths,
            weight=self._weight,
            mean=self._average,
            first_scale=self._first,
            second_scale=self._second,
            step_count=self._steps,
        )

    def step(
        self,
        x: NDArray[np.float32],
        y: NDArray[np.float32],
        weight: NDArray[np.float32],
        size: float,
        average_frac: float,
        rng: np.random.Generator,
    ) -> None:
        """Take one step of Adam on a batch."""
        recipe = self._recipe
        if recipe.input_dropout_frac > 0.0:
            kept = rng.random(x.shape, dtype=np.float32) >= recipe.input_dropout_frac
            x = x * (kept / np.float32(1.0 - recipe.input_dropout_frac)).astype(np.float32)
        activations, draws = [x], []
        for matrix, bias in self._layers[:-1]:
            hidden = activations[-1] @ matrix
            draw = rng.random(hidden.shape, dtype=np.float32)
            _activate(hidden, bias, draw, np.float32(recipe.dropout_frac))
            activations.append(hidden)
            draws.append(draw)
        matrix, bias = self._layers[-1]
        delta = activations[-1] @ matrix
        if self._skip is not None:
            delta += x @ self._skip
        share = (weight / weight.sum()).astype(np.float32)
        _slope_of_loss(delta, bias, y, share, np.float32(recipe.knee_level))
        if self._skip_slope is not None:
            np.matmul(x.T, delta, out=self._skip_slope)
        for number in range(len(self._layers) - 1, -1, -1):
            matrix_slope, bias_slope = self._slopes[number]
            np.matmul(activations[number].T, delta, out=matrix_slope)
            np.sum(delta, axis=0, out=bias_slope)
            if number > 0:
                delta = np.asarray(delta @ self._layers[number][0].T, dtype=np.float32)
                _deactivate(delta, activations[number], draws[number - 1], np.float32(recipe.dropout_frac))
        self._steps += 1
        _adam(
            self._weight,
            self._gradient,
            self._first,
            self._second,
            self._average,
            np.float32(size / (1.0 - _FIRST_DECAY**self._steps)),
            np.float32(1.0 / (1.0 - _SECOND_DECAY**self._steps)),
            np.float32(size * recipe.weight_decay_frac),
            np.float32(max(average_frac, 1.0 / self._steps)),
        )


@kernel
def _activate(
    hidden: NDArray[np.float32], bias: NDArray[np.float32], draw: NDArray[np.float32], dropout: np.float32
) -> None:
    """Add the bias, leak what is negative, and drop units; in place."""
    rows, width = hidden.shape
    kept = np.float32(1.0) / (np.float32(1.0) - dropout)
    leak = np.float32(_LEAK_FRAC)
    for i in range(rows):
        for j in range(width):
            value = hidden[i, j] + bias[j]
            value = max(value, leak * value)
            hidden[i, j] = value * kept if draw[i, j] >= dropout else np.float32(0.0)


@kernel
def _deactivate(
    delta: NDArray[np.float32], hidden: NDArray[np.float32], draw: NDArray[np.float32], dropout: np.float32
) -> None:
    """Carry slopes back through `_activate`; in place."""
    rows, width = hidden.shape
    kept = np.float32(1.0) / (np.float32(1.0) - dropout)
    leaking = kept * np.float32(_LEAK_FRAC)
    for i in range(rows):
        for j in range(width):
            gain = kept if hidden[i, j] > np.float32(0.0) else leaking
            delta[i, j] *= gain if draw[i, j] >= dropout else np.float32(0.0)


@kernel
def _slope_of_loss(
    out: NDArray[np.float32],
    bias: NDArray[np.float32],
    y: NDArray[np.float32],
    share: NDArray[np.float32],
    knee: np.float32,
) -> None:
    """Turn outputs into the slope of the loss, in place."""
    rows, width = out.shape
    one = np.float32(1.0)
    for i in range(rows):
        for j in range(width):
            error = (out[i, j] + bias[j] - y[i, j]) / knee
            out[i, j] = max(-one, min(one, error)) * share[i]


@kernel
def _adam(
    weight: NDArray[np.float32],
    gradient: NDArray[np.float32],
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    average: NDArray[np.float32],
    size: np.float32,
    second_correction: np.float32,
    decay: np.float32,
    average_frac: np.float32,
) -> None:
    one = np.float32(1.0)
    first_new = one - np.float32(_FIRST_DECAY)
    second_new = one - np.float32(_SECOND_DECAY)
    least = np.float32(_LEAST)
    for k in range(weight.shape[0]):
        slope = gradient[k]
        first[k] += first_new * (slope - first[k])
        second[k] += second_new * (slope * slope - second[k])
        weight[k] -= size * first[k] / (np.sqrt(second[k] * second_correction) + least) + decay * weight[k]
        average[k] += average_frac * (weight[k] - average[k])
