"""Writes facts to a Parquet file, a row a value, in the columns that `shoal knowledge import` reads."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shoal.domain.errors import InvalidInputError
from shoal.domain.facts import Facts

_SCHEMA = pa.schema(
    [
        ("series_id", pa.dictionary(pa.int32(), pa.string())),
        ("source", pa.dictionary(pa.int32(), pa.string())),
        ("known_ns", pa.int64()),
        ("revision", pa.int64()),
        ("start_ns", pa.int64()),
        ("end_ns", pa.int64()),
        ("value", pa.float64()),
    ]
)


def write_facts(path: Path, facts: Sequence[Facts]) -> int:
    """Write facts of one value an interval, whole or not at all, and return how many values there are.

    Raises:
        InvalidInputError: when a series has more than one value an interval, or the file cannot be written.
    """
    for item in facts:
        if item.value.shape[1] != 1:
            raise InvalidInputError(
                field="value", value=str(item.series_id), fix="give series of one value an interval"
            )
    lengths = np.array([len(item.start_ns) for item in facts], dtype=np.int64)
    table = pa.table(
        {
            "series_id": np.repeat(np.array([str(item.series_id) for item in facts], dtype=object), lengths),
            "source": np.repeat(np.array([item.source for item in facts], dtype=object), lengths),
            "known_ns": np.repeat(np.array([item.known_ns for item in facts], dtype=np.int64), lengths),
            "revision": np.repeat(np.array([item.revision for item in facts], dtype=np.int64), lengths),
            "start_ns": np.concatenate([item.start_ns for item in facts] or [np.empty(0, np.int64)]),
            "end_ns": np.concatenate([item.end_ns for item in facts] or [np.empty(0, np.int64)]),
            "value": np.concatenate([item.value[:, 0] for item in facts] or [np.empty(0)]),
        }
    ).cast(_SCHEMA)
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        try:
            pq.write_table(table, temporary, compression="zstd")
            Path(temporary).replace(path)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InvalidInputError(
            field="file", value=str(path), fix=f"name one that can be written; {error.strerror}"
        ) from error
    return int(lengths.sum())
