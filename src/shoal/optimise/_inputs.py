"""Checks of the arrays that enter a solver: shape, finiteness and range, each failure naming its field."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shoal.domain.errors import InvalidInputError


def number(
    field: str,
    value: float,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
) -> float:
    """Return `value` if it is finite and within ``[low, high]`` and greater than `above`.

    Raises:
        InvalidInputError: It is not.
    """
    if not np.isfinite(value):
        raise InvalidInputError(field=field, value=value, fix="give a finite number")
    if low is not None and value < low:
        raise InvalidInputError(field=field, value=value, fix=f"give at least {low}")
    if above is not None and value <= above:
        raise InvalidInputError(field=field, value=value, fix=f"give more than {above}")
    if high is not None and value > high:
        raise InvalidInputError(field=field, value=value, fix=f"give at most {high}")
    return float(value)


def column(
    field: str,
    values: ArrayLike,
    *,
    length: int | None = None,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
) -> NDArray[np.float64]:
    """Return `values` as a contiguous float64 array of one dimension, finite and within its range.

    Raises:
        InvalidInputError: The shape is wrong, or an entry is NaN, infinite or out of range.
    """
    array = np.ascontiguousarray(values, dtype=np.float64)
    _check_shape(field, array.shape, length)
    bad = ~np.isfinite(array)
    if low is not None:
        bad |= array < low
    if high is not None:
        bad |= array > high
    if above is not None:
        bad |= array <= above
    if bad.any():
        row = int(np.argmax(bad))
        number(f"{field}[{row}]", float(array[row]), low=low, high=high, above=above)
    return array


def whole_column(field: str, values: ArrayLike, *, length: int | None = None) -> NDArray[np.int64]:
    """Return `values` as a contiguous int64 array of one dimension.

    Raises:
        InvalidInputError: The shape is wrong or the entries are not whole numbers by type.
    """
    array = np.ascontiguousarray(values)
    _check_shape(field, array.shape, length)
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise InvalidInputError(field=field, value=str(array.dtype), fix="give an integer array")
    return array.astype(np.int64)


def _check_shape(field: str, shape: tuple[int, ...], length: int | None) -> None:
    if len(shape) != 1 or (length is not None and shape[0] != length):
        wanted = "one dimension" if length is None else f"one dimension of {length} entries"
        raise InvalidInputError(field=field, value=f"shape {shape}", fix=f"give {wanted}")
