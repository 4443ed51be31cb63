"""Compiled kernels: the same answer as the Python they were written in, to the last bit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoal.domain.kernel import kernel


@kernel
def _mean(values: NDArray[np.float64]) -> float:
    total = 0.0
    for value in values:
        total += value
    return float(total / values.shape[0])


def test_kernel_equals_the_function_it_compiles() -> None:
    plain: Any = _mean
    values = np.random.default_rng(1).normal(size=1_000)
    assert _mean(values) == plain.py_func(values)


def test_kernel_divides_by_zero_as_numpy_does() -> None:
    assert np.isnan(_mean(np.empty(0)))
