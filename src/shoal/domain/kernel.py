"""One way to compile a numeric kernel: ahead of nothing, cached on disk, single-threaded, IEEE-exact.

Parallelism is by processes, so kernels stay deterministic: the same arguments give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numba

P = ParamSpec("P")
R = TypeVar("R")


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` with numba; the compiled code is kept beside the source file."""
    compiled = numba.njit(cache=True, error_model="numpy", nogil=True)(function)
    return cast("Callable[P, R]", compiled)
