"""Facts from Parquet files: what each column says, what is left out, and what is wrong with a file."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, to_ns
from shoal.store.facts_files import FileLayout, read_facts

HOUR = NS_PER_HOUR
BEGIN = datetime(2024, 10, 27, tzinfo=UTC)
LAYOUT = FileLayout(
    series="price/x",
    source="file",
    start="ts",
    end=None,
    step_ns=HOUR,
    known=None,
    known_after_ns=-12 * HOUR,
    revision=None,
    values=("price",),
)


def write(tmp_path: Path, **columns: Any) -> Path:
    file = tmp_path / "facts.parquet"
    pq.write_table(pa.table(columns), file)
    return file


def test_starts_and_one_delay_say_everything(tmp_path: Path) -> None:
    hours = [BEGIN + timedelta(hours=n) for n in range(3)]
    file = write(tmp_path, ts=pa.array(hours, pa.timestamp("ms", "UTC")), price=pa.array([1.5, None, np.nan]))
    (batch,) = read_facts(file, LAYOUT)
    first = to_ns(BEGIN)
    assert (batch.series_id, batch.source) == ("price/x", "file")
    assert batch.start_ns.tolist() == [first, first + 2 * HOUR]
    assert batch.end_ns.tolist() == [first + HOUR, first + 3 * HOUR]
    assert batch.known_ns.tolist() == [first - 12 * HOUR, first - 10 * HOUR]
    assert batch.revision.tolist() == [0, 0]
    assert batch.value[0].tolist() == [1.5]
    assert np.isnan(batch.value[1]).all()


def test_ends_and_a_step_give_the_starts(tmp_path: Path) -> None:
    file = write(tmp_path, end=pa.array([10 * HOUR]), price=pa.array([1], pa.int32()))
    layout = replace(LAYOUT, start=None, end="end", step_ns=5 * NS_PER_MINUTE)
    (batch,) = read_facts(file, layout)
    assert batch.start_ns.tolist() == [10 * HOUR - 5 * NS_PER_MINUTE]
    assert batch.end_ns.tolist() == [10 * HOUR]


def test_columns_name_series_sources_revisions_and_instants(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        series_id=["a", "b", "a"],
        source=["x", "x", "y"],
        start=pa.array([0, 0, HOUR]),
        end=pa.array([HOUR, HOUR, 2 * HOUR]),
        known=pa.array([5, 6, 7]),
        revision=pa.array([0, 1, 2]),
        low=[1.0, 2.0, 3.0],
        high=[4.0, 5.0, 6.0],
    )
    layout = replace(
        LAYOUT, series=None, start="start", end="end", step_ns=None, known="known", revision="revision",
        values=("low", "high"),
    )  # fmt: skip
    batches = list(read_facts(file, layout))
    assert [(b.series_id, b.source, b.known_ns.tolist()) for b in batches] == [
        ("a", "x", [5]),
        ("b", "x", [6]),
        ("a", "y", [7]),
    ]
    assert batches[2].value.tolist() == [[3.0, 6.0]]
    assert batches[2].revision.tolist() == [2]


def test_times_without_a_zone_are_of_the_zone_that_is_named(tmp_path: Path) -> None:
    file = write(tmp_path, ts=pa.array([datetime(2024, 1, 1)], pa.timestamp("us")), price=[1.0])  # noqa: DTZ001
    (batch,) = read_facts(file, replace(LAYOUT, zone="Australia/Brisbane"))
    assert batch.start_ns.tolist() == [to_ns(datetime(2023, 12, 31, 14, tzinfo=UTC))]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"values": ("watts",)}, "ts, price"),
        ({"values": ()}, "columns of the values"),
        ({"known_after_ns": None}, "when the facts became known"),
        ({"step_ns": None}, "two of start, end and step"),
        ({"series": None}, "series_id"),
        ({"revision": "price"}, "revision"),
    ],
)
def test_what_is_missing_or_wrong_is_told(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    file = write(tmp_path, ts=pa.array([0]), price=[-1.0])
    with pytest.raises(InvalidInputError, match=told):
        list(read_facts(file, replace(LAYOUT, **changes)))


def test_empty_cells_where_a_time_is_needed_are_told(tmp_path: Path) -> None:
    file = write(tmp_path, ts=pa.array([0, None]), price=[1.0, 2.0])
    with pytest.raises(InvalidInputError, match="empty"):
        list(read_facts(file, LAYOUT))


def test_what_is_no_parquet_file_is_told(tmp_path: Path) -> None:
    file = tmp_path / "facts.parquet"
    file.write_text("ts,price\n")
    with pytest.raises(InvalidInputError, match="Parquet"):
        list(read_facts(file, LAYOUT))
    with pytest.raises(InvalidInputError, match="Parquet"):
        list(read_facts(tmp_path / "none.parquet", LAYOUT))
