"""All targets, and what it takes to run their kernels as plain Python."""

from __future__ import annotations

import os
from typing import Any, Final

import numpy as np

from shoal.telemetry import _parse
from tests.fuzz import commands, messages, streams, twins
from tests.fuzz.target import Target

TARGETS: Final[tuple[Target, ...]] = (
    *streams.TARGETS,
    *messages.TARGETS,
    *twins.TARGETS,
    *commands.TARGETS,
)


def _with_attributes(function: Any) -> Any:
    """Let a kernel reach the fields of records as attributes, as it does when it is compiled."""

    def called(*arguments: Any) -> Any:
        return function(
            *(
                one.view(np.recarray) if isinstance(one, np.ndarray) and one.dtype.names else one
                for one in arguments
            )
        )

    return called


if os.environ.get("NUMBA_DISABLE_JIT") == "1":
    _parse.read = _with_attributes(_parse.read)
