"""Lasso for many outputs at once: the linear expert of day-ahead prices (LEAR), fitted on Gram matrices.

The 24 hours of a day share their inputs, so one Gram matrix serves them all and coordinate descent never touches the
samples again. The penalty of each hour is chosen on a path by Akaike's criterion now and then; on the days between, the
last coefficients are the warm start and a few sweeps suffice.
Lago et al., Applied Energy 293 (2021) 116983; Friedman et al., Journal of Statistical Software 33 (2010).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.kernel import kernel

_FLAT: Final = 1e-9
"""An input that varies less than this is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PathRecipe:
    """How the path of penalties is walked.

    Attributes:
        penalty_count: Penalties tried for each output, from the largest useful one down, evenly in the logarithm.
        smallest_frac: The last penalty as a fraction of the first.
        patience_count: Worse penalties in a row after which the walk ends.
        tolerance: Coefficients that move less than this, in standard deviations of the output, stand still.
        sweep_count: Sweeps over all inputs at most, a penalty.
    """

    penalty_count: int = 25
    smallest_frac: float = 1e-3
    patience_count: int = 5
    tolerance: float = 3e-4
    sweep_count: int = 50


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lasso:
    """A fitted model of H outputs of P inputs.

    Attributes:
        coefficient_scale: H x P, for standardised inputs.
        penalty_scale: H penalties.
        x_level: P means of the inputs.
        x_width: P standard deviations of the inputs; infinite for a flat one.
        y_level: H means of the outputs.
    """

    coefficient_scale: NDArray[np.float64]
    penalty_scale: NDArray[np.float64]
    x_level: NDArray[np.float64]
    x_width: NDArray[np.float64]
    y_level: NDArray[np.float64]


def fit_lasso(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    *,
    recipe: PathRecipe,
    warm: Lasso | None = None,
) -> Lasso:
    """Return the model of N samples: by a new path, or with the penalties and from the coefficients of `warm`.

    Args:
        x: N x P inputs.
        y: N x H outputs.
        recipe: How to search.
        warm: An earlier fit of the same shape; None walks the path of every output.

    Raises:
        InvalidInputError: when shapes do not fit, there are fewer than 3 samples, or a number is not finite.
    """
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or len(x) < 3:
        raise InvalidInputError(field="y", value=(x.shape, y.shape), fix="give at least 3 samples of both")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InvalidInputError(field="x", value="not finite", fix="leave out samples with unknown numbers")
    if warm is not None and warm.coefficient_scale.shape != (y.shape[1], x.shape[1]):
        raise InvalidInputError(field="warm", value=warm.coefficient_scale.shape, fix="fit the same inputs")
    count = len(x)
    x_level, x_width, y_level = x.mean(axis=0), x.std(axis=0), y.mean(axis=0)
    x_width[x_width < _FLAT] = np.inf
    inputs = (x - x_level) / x_width
    outputs = y - y_level
    gram = np.ascontiguousarray(inputs.T @ inputs) / count
    slope = np.ascontiguousarray((inputs.T @ outputs).T) / count
    square = np.mean(outputs * outputs, axis=0)
    if warm is None:
        coefficient, penalty = np.zeros(slope.shape), np.zeros(len(slope))
        _walk(
            gram,
            slope,
            square,
            count,
            recipe.penalty_count,
            recipe.smallest_frac,
            recipe.patience_count,
            recipe.tolerance,
            recipe.sweep_count,
            coefficient,
            penalty,
        )
    else:
        coefficient, penalty = warm.coefficient_scale.copy(), warm.penalty_scale.copy()
        _resume(gram, slope, penalty, recipe.tolerance * np.sqrt(square), recipe.sweep_count, coefficient)
    return Lasso(
        coefficient_scale=coefficient,
        penalty_scale=penalty,
        x_level=x_level,
        x_width=x_width,
        y_level=y_level,
    )


def predict_lasso(model: Lasso, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return M x H outputs of M x P inputs."""
    return np.asarray(((x - model.x_level) / model.x_width) @ model.coefficient_scale.T + model.y_level)


@kernel
def _descend(
    gram: NDArray[np.float64],
    penalty: float,
    coefficient: NDArray[np.float64],
    rest: NDArray[np.float64],
    sweep_count: int,
    tolerance: float,
    active: NDArray[np.int64],
) -> None:
    """Minimise ``b'Gb/2 - q'b + penalty |b|`` in place; `rest` is kept at ``q - Gb``."""
    width = coefficient.shape[0]
    for _ in range(sweep_count):
        moved = 0.0
        kept = 0
        for j in range(width):
            own = gram[j, j]
            if own <= 0.0:
                continue
            pull = rest[j] + coefficient[j] * own
            new = 0.0
            if pull > penalty:
                new = (pull - penalty) / own
            elif pull < -penalty:
                new = (pull + penalty) / own
            step = new - coefficient[j]
            if step != 0.0:
                coefficient[j] = new
                for k in range(width):
                    rest[k] -= step * gram[j, k]
                moved = max(moved, abs(step))
            if new != 0.0:
                active[kept] = j
                kept += 1
        if moved < tolerance:
            return
        for _ in range(20):  # most of the work is among the few inputs in use
            moved = 0.0
            for a in range(kept):
                j = active[a]
                own = gram[j, j]
                pull = rest[j] + coefficient[j] * own
                new = 0.0
                if pull > penalty:
                    new = (pull - penalty) / own
                elif pull < -penalty:
                    new = (pull + penalty) / own
                step = new - coefficient[j]
                if step != 0.0:
                    coefficient[j] = new
                    for k in range(width):
                        rest[k] -= step * gram[j, k]
                    moved = max(moved, abs(step))
            if moved < tolerance:
                break


@kernel
def _walk(
    gram: NDArray[np.float64],
    slope: NDArray[np.float64],
    square: NDArray[np.float64],
    count: int,
    penalty_count: int,
    smallest_frac: float,
    patience_count: int,
    tolerance: float,
    sweep_count: int,
    coefficient: NDArray[np.float64],
    penalty: NDArray[np.float64],
) -> None:
    """Fill coefficient and penalty of each output with the best of its path."""
    outputs, width = slope.shape
    active = np.empty(width, np.int64)
    for h in range(outputs):
        rest = slope[h].copy()
        now = np.zeros(width)
        first = np.max(np.abs(rest))
        penalty[h] = first
        if square[h] <= 0.0:
            continue
        best = np.inf
        worse = 0
        for i in range(penalty_count):
            trial = first * smallest_frac ** ((i + 1.0) / penalty_count)
            _descend(gram, trial, now, rest, sweep_count, tolerance * np.sqrt(square[h]), active)
            used = 0
            error = square[h]
            for j in range(width):
                if now[j] != 0.0:
                    used += 1
                    error -= now[j] * (slope[h, j] + rest[j])
            if used >= count - 2:
                break
            price = 2.0 * used
            if count <= 2 * width:  # corrected for few samples: Hurvich and Tsai, Biometrika 76 (1989)
                price *= count / (count - used - 1.0)
            score = count * np.log(max(error, 1e-9 * square[h])) + price
            if score < best:
                best = score
                worse = 0
                penalty[h] = trial
                coefficient[h] = now
            else:
                worse += 1
                if worse >= patience_count:
                    break


@kernel
def _resume(
    gram: NDArray[np.float64],
    slope: NDArray[np.float64],
    penalty: NDArray[np.float64],
    tolerance: NDArray[np.float64],
    sweep_count: int,
    coefficient: NDArray[np.float64],
) -> None:
    """Bring every output's coefficients up to the new Gram matrix, in place."""
    outputs, width = slope.shape
    active = np.empty(width, np.int64)
    for h in range(outputs):
        rest = slope[h].copy()
        for j in range(width):
            step = coefficient[h, j]
            if step != 0.0:
                for k in range(width):
                    rest[k] -= step * gram[j, k]
        _descend(gram, penalty[h], coefficient[h], rest, sweep_count, tolerance[h], active)
