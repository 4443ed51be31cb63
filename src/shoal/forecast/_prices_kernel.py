"""Compiled kernel ridge regression in double precision: the same bits whatever the number of threads of a linear algebra library.

Every sum is taken in one order; inner loops run along rows, so that they are fast without changing it. The matrix is
factored as ``U'U`` with U above the diagonal. Rasmussen and Williams, "Gaussian processes for machine learning", MIT Press
2006, equations 2.25 and 5.12.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shoal.domain.kernel import kernel

Floats = NDArray[np.float64]


@kernel
def likeness(x: Floats, z_by_input: Floats, linear_scale: float, length_scale: float) -> Floats:
    """Return N x M ``linear x'z + exp(-distance / length)`` of N x P rows and P x M columns."""
    rows, inputs = x.shape
    columns = z_by_input.shape[1]
    out = np.zeros((rows, columns))
    own = np.zeros(columns)
    for p in range(inputs):
        for j in range(columns):
            own[j] += z_by_input[p, j] * z_by_input[p, j]
    for i in range(rows):
        mine = 0.0
        for p in range(inputs):
            factor = x[i, p]
            mine += factor * factor
            for j in range(columns):
                out[i, j] += factor * z_by_input[p, j]
        for j in range(columns):
            square = mine + own[j] - 2.0 * out[i, j]
            distance = np.sqrt(square) if square > 0.0 else 0.0
            out[i, j] = linear_scale * out[i, j] + np.exp(-distance / length_scale)
    return out


@kernel
def factor_upper(matrix: Floats) -> None:
    """Put U above the diagonal of a symmetric positive matrix, in place."""
    count = matrix.shape[0]
    for i in range(count):
        for k in range(i):
            factor = matrix[k, i]
            for j in range(i, count):
                matrix[i, j] -= factor * matrix[k, j]
        root = np.sqrt(matrix[i, i])
        for j in range(i, count):
            matrix[i, j] /= root


@kernel
def solve_upper(upper: Floats, y: Floats) -> Floats:
    """Return N x H weights: the solution of ``U'U weight = y``."""
    count, width = y.shape
    out = y.copy()
    for i in range(count):
        for k in range(i):
            factor = upper[k, i]
            for h in range(width):
                out[i, h] -= factor * out[k, h]
        for h in range(width):
            out[i, h] /= upper[i, i]
    for i in range(count - 1, -1, -1):
        for k in range(i + 1, count):
            factor = upper[i, k]
            for h in range(width):
                out[i, h] -= factor * out[k, h]
        for h in range(width):
            out[i, h] /= upper[i, i]
    return out


@kernel
def newest_inverse(upper: Floats, row_count: int) -> Floats:
    """Return the newest entries of the diagonal of the inverse of ``U'U``."""
    count = upper.shape[0]
    first = count - row_count
    inverse = np.zeros((row_count, row_count))
    out = np.zeros(row_count)
    for i in range(row_count - 1, -1, -1):
        inverse[i, i] = 1.0
        for k in range(i + 1, row_count):
            factor = upper[first + i, first + k]
            for j in range(k, row_count):
                inverse[i, j] -= factor * inverse[k, j]
        for j in range(i, row_count):
            inverse[i, j] /= upper[first + i, first + i]
            out[i] += inverse[i, j] * inverse[i, j]
    return out


@kernel
def weighted_sums(likeness_by_row: Floats, weight: Floats) -> Floats:
    """Return M x H sums of N x H weights by the likeness of N rows to M."""
    count, columns = likeness_by_row.shape
    width = weight.shape[1]
    out = np.zeros((columns, width))
    for m in range(columns):
        for i in range(count):
            factor = likeness_by_row[i, m]
            for h in range(width):
                out[m, h] += factor * weight[i, h]
    return out
