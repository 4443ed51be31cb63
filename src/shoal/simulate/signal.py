"""A market's regulation signal, made up or recorded: one number from -1 to 1 every few seconds.

The made-up one wanders around 0 with about the quickness of PJM's fast signal; the same seed gives the same one.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shoal.domain.errors import InvalidInputError

KEPT_FRAC: Final = 0.985
"""Of its value from one signal to the next."""
STEP_FRAC: Final = 0.08


def synthetic_signal(seed: int) -> Iterator[float]:
    """Yield values without an end."""
    rng = np.random.default_rng(seed)
    value_frac = 0.0
    while True:
        value_frac = float(np.clip(KEPT_FRAC * value_frac + rng.normal(0.0, STEP_FRAC), -1.0, 1.0))
        yield value_frac


def recorded_signal(file: Path, column: str) -> Iterator[float]:
    """Yield the values of a column of a Parquet file, again from the beginning when it ends.

    Raises:
        InvalidInputError: when it cannot be read, has no such column, or the column is not one of numbers from -1 to 1.
    """
    try:
        table = pq.read_table(file)
        values = table.column(column).to_numpy().astype(np.float64)
    except (OSError, pa.ArrowException) as error:
        raise InvalidInputError(field="--file", value=str(file), fix=str(error)) from error
    except (KeyError, ValueError) as error:
        known = ", ".join(table.column_names)
        raise InvalidInputError(
            field="--column", value=column, fix=f"name one with numbers of: {known}"
        ) from error
    if not len(values) or not bool((np.abs(values) <= 1.0).all()):
        raise InvalidInputError(field="--column", value=column, fix="give numbers from -1 to 1, at least one")
    return cycle(values.tolist())
