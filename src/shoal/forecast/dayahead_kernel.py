"""Kernel ridge regression of whole days: a forecast is a weighted mean of the days that looked most like it.

The mean of a Gaussian process whose kernel adds a linear part to one that decays with distance; older days count as
noisier. The inverse is taken now and then; days that become known in between are added exactly through the Schur
complement. Rasmussen and Williams, "Gaussian processes for machine learning", MIT Press 2006, equations 2.23 and A.12.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelRecipe:
    """The kernel ``linear x'z / P + exp(-distance / length)`` and its noise.

    Attributes:
        linear_scale: Weight of the linear part.
        length_scale: Distance over which likeness falls to 1/e; inputs of unit variance lie about sqrt(2) apart.
        noise_frac: Variance of the noise of the newest day, in that of the outputs.
        half_life_days: Age at which a day counts half.
    """

    linear_scale: float = 1.0
    length_scale: float = 2.0
    noise_frac: float = 0.1
    half_life_days: float = 500.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KernelModel:
    """The inverse of the kernel of N days, with their inputs and outputs.

    Attributes:
        x: N x P inputs.
        y: N x H outputs.
        inverse_scale: N x N inverse of kernel plus noise.
        weight: N x H weights of the days.
    """

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    inverse_scale: NDArray[np.float32]
    weight: NDArray[np.float32]


def fit_kernel(
    recipe: KernelRecipe, x: NDArray[np.float32], y: NDArray[np.float32], age_days: NDArray[np.float32]
) -> KernelModel:
    """Return the model of N days.

    Raises:
        InvalidInputError: when shapes do not fit, there is no day, or a number is not finite.
    """
    if x.ndim != 2 or y.ndim != 2 or len(x) == 0 or not len(x) == len(y) == len(age_days):
        raise InvalidInputError(field="y", value=(x.shape, y.shape), fix="give as many outputs as inputs")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InvalidInputError(field="x", value="not finite", fix="leave out days with unknown numbers")
    matrix = _kernel(recipe, x, x)
    matrix[np.diag_indices(len(x))] += _noise(recipe, age_days)
    inverse = np.linalg.inv(matrix)
    return KernelModel(x=x, y=y, inverse_scale=inverse, weight=np.asarray(inverse @ y, dtype=np.float32))


def left_out_errors(model: KernelModel) -> NDArray[np.float32]:
    """Return N x H errors, observed less what the model of all other days says of a day (equation 5.12)."""
    return np.asarray(model.weight / np.diag(model.inverse_scale)[:, None])


def predict_kernel(
    recipe: KernelRecipe,
    model: KernelModel,
    x_added_rows: NDArray[np.float32],
    y_added_rows: NDArray[np.float32],
    x: NDArray[np.float32],
) -> NDArray[np.float64]:
    """Return the H outputs of one row of inputs, from the model and the M days that were added since.

    Args:
        recipe: The one that the model was fitted with.
        model: The model.
        x_added_rows: M x P inputs of days that came after; M may be 0.
        y_added_rows: M x H outputs.
        x: 1 x P inputs of the day to forecast.
    """
    like = _kernel(recipe, model.x, x)[:, 0]
    out = like @ model.weight
    if len(x_added_rows):
        between = _kernel(recipe, x_added_rows, model.x)
        own = _kernel(recipe, x_added_rows, x_added_rows)
        own[np.diag_indices(len(x_added_rows))] += _noise(
            recipe, np.zeros(len(x_added_rows), dtype=np.float32)
        )
        reduced = between @ model.inverse_scale
        weight = np.linalg.solve(own - reduced @ between.T, y_added_rows - between @ model.weight)
        out = out + (_kernel(recipe, x_added_rows, x)[:, 0] - reduced @ like) @ weight
    return np.asarray(out, dtype=np.float64)


def _noise(recipe: KernelRecipe, age_days: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(recipe.noise_frac * 2.0 ** (age_days / recipe.half_life_days), dtype=np.float32)


def _kernel(recipe: KernelRecipe, x: NDArray[np.float32], z: NDArray[np.float32]) -> NDArray[np.float32]:
    product = x @ z.T
    square = np.sum(x * x, axis=1)[:, None] + np.sum(z * z, axis=1)[None, :] - 2.0 * product
    distance = np.sqrt(np.maximum(square, np.float32(0.0)))
    return np.asarray(
        np.float32(recipe.linear_scale) * product + np.exp(distance * np.float32(-1.0 / recipe.length_scale)),
        dtype=np.float32,
    )
