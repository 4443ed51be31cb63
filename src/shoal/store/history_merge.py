"""Many files of an hour as one sorted stream of blocks, so that an hour of any size is merged in little memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import pairwise
from typing import IO, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shoal.store.history_folder import Folder
from shoal.store.history_schema import SCHEMA, group_rows, sorted_table, write_options

BLOCK_ROWS: Final = 1_000_000


def sorted_blocks(
    folder: Folder,
    paths: Sequence[str],
    *,
    columns: Sequence[str] | None = None,
    block_rows: int = BLOCK_ROWS,
) -> Iterator[pa.Table]:
    """Yield the samples of some files of one hour, whole sites at a time, sorted by site and time.

    Args:
        folder: Where history lives.
        paths: Files that are each sorted by site; samples of the same instant keep this order.
        columns: Which columns, all when None.
        block_rows: About how many rows a block is to have; a row group more for each file is in memory.

    Raises:
        FileNotFoundError: when a file went away.
        pa.ArrowInvalid: when a file is damaged.
    """
    with ExitStack() as stack:
        files = [pq.ParquetFile(stack.enter_context(folder.open(path)), pre_buffer=False) for path in paths]
        spans = [
            (int(stats.min), int(stats.max), file.metadata.row_group(group).num_rows, number, group)
            for number, file in enumerate(files)
            for group in range(file.metadata.num_row_groups)
            if (stats := file.metadata.row_group(group).column(0).statistics) is not None
        ]
        bounds = _bounds(spans, block_rows)
        for low, high in pairwise(bounds):
            tables = []
            for number, file in enumerate(files):
                groups = [g for a, b, _, n, g in spans if n == number and a < high and b >= low]
                if not groups:
                    continue
                table = file.read_row_groups(
                    groups, columns=list(columns) if columns else None, use_threads=False
                )
                site_no = table["site_no"].to_numpy()
                at = np.searchsorted(site_no, [low, high])
                tables.append(table.slice(int(at[0]), int(at[1] - at[0])))
            if tables and (block := sorted_table(tables)):
                yield block


def _bounds(spans: Sequence[tuple[int, int, int, int, int]], block_rows: int) -> list[int]:
    """Return site numbers that cut the row groups into blocks; the last one lies beyond every site."""
    bounds: list[int] = []
    rows = 0
    for low, _, count, _, _ in sorted(spans):
        if not bounds or (rows >= block_rows and low > bounds[-1]):
            bounds.append(low)
            rows = 0
        rows += count
    return [*bounds, max((span[1] for span in spans), default=-1) + 1]


def rows_of(folder: Folder, paths: Sequence[str]) -> int:
    """Return how many rows some files hold."""
    total = 0
    for path in paths:
        with folder.open(path) as source:
            total += int(pq.ParquetFile(source, pre_buffer=False).metadata.num_rows)
    return total


def merge(folder: Folder, paths: Sequence[str], target: str) -> int:
    """Write the samples of some files of one hour into one sorted file; return how many there are.

    Raises:
        FileNotFoundError: when a file went away.
    """
    rows = rows_of(folder, paths)
    written = 0

    def fill(sink: IO[bytes]) -> None:
        nonlocal written
        with pq.ParquetWriter(sink, SCHEMA, **write_options(SCHEMA, rows)) as writer:
            for block in sorted_blocks(folder, paths):
                writer.write_table(block, row_group_size=group_rows(rows))
                written += len(block)

    folder.write(target, fill)
    return written
