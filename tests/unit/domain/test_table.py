"""What follows from a table's declaration: records, judgement, schema and documentation agree with it."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.domain.errors import InvalidInputError
from shoal.domain.table import Column, Table

TABLE = Table(
    name="demo",
    version=3,
    columns=(
        Column(name="ts_ns", dtype="<i8", unit="ns", low=0, optional=False, description="when"),
        Column(name="power_kw", dtype="<f8", unit="kW", low=-5, high=5, description="how much"),
        Column(
            name="soc_frac", dtype="<f4", unit="1", default=0.5, low=0.0, high=1.0, description="how full"
        ),
        Column(name="note_w", dtype="<i4", unit="W", description="anything goes"),
    ),
)


def test_table_dtype_is_packed_in_the_order_of_the_columns() -> None:
    assert TABLE.dtype.names == TABLE.names == ("ts_ns", "power_kw", "soc_frac", "note_w")
    assert TABLE.dtype.itemsize == 8 + 8 + 4 + 4
    assert [TABLE.dtype[name].str for name in TABLE.names] == ["<i8", "<f8", "<f4", "<i4"]


def test_table_empty_records_hold_the_defaults() -> None:
    records = TABLE.empty(2)
    assert records.dtype == TABLE.dtype
    assert records.tolist() == [(0, 0.0, 0.5, 0), (0, 0.0, 0.5, 0)]
    assert len(TABLE.empty(0)) == 0


def test_table_column_is_found_by_name() -> None:
    assert TABLE.column("power_kw").unit == "kW"
    with pytest.raises(InvalidInputError, match="ts_ns, power_kw, soc_frac, note_w"):
        TABLE.column("energy_kwh")


def test_table_names_each_column_once() -> None:
    with pytest.raises(InvalidInputError, match="name each column once"):
        Table(name="twice", version=1, columns=(TABLE.columns[0], TABLE.columns[0]))


@pytest.mark.parametrize(
    ("name", "value", "at"),
    [
        ("ts_ns", -1, 0),
        ("power_kw", np.nan, 1),
        ("power_kw", np.inf, 1),
        ("power_kw", 5.000001, 1),
        ("power_kw", -5.000001, 1),
        ("soc_frac", np.nan, 2),
        ("soc_frac", -np.inf, 2),
        ("soc_frac", 1.5, 2),
        ("note_w", -(2**31), -1),
        ("power_kw", 5.0, -1),
        ("power_kw", -5.0, -1),
    ],
)
def test_violations_name_the_first_bad_column(name: str, value: float, at: int) -> None:
    records = TABLE.empty(1)
    records[name] = value
    assert TABLE.violations(records).tolist() == [at]


def test_violations_judge_each_record_alone() -> None:
    records = TABLE.empty(5)
    records["soc_frac"][1] = np.nan
    records["ts_ns"][3] = -1
    records["power_kw"][3] = np.nan
    records["power_kw"][4] = 6.0
    assert TABLE.violations(records).tolist() == [-1, 2, -1, 0, 1]


def test_violations_of_nothing_are_none() -> None:
    assert TABLE.violations(TABLE.empty(0)).tolist() == []


def test_json_schema_says_kinds_ranges_and_what_is_required() -> None:
    schema = TABLE.json_schema()
    assert schema["title"] == "demo"
    assert schema["required"] == ["ts_ns"]
    assert list(schema["properties"]) == list(TABLE.names)
    assert schema["properties"]["ts_ns"] == {"type": "integer", "description": "when [ns]", "minimum": 0}
    assert schema["properties"]["power_kw"] == {
        "type": "number",
        "description": "how much [kW]",
        "minimum": -5,
        "maximum": 5,
        "default": 0,
    }
    assert schema["properties"]["soc_frac"]["default"] == 0.5
    assert "minimum" not in schema["properties"]["note_w"]


def test_markdown_has_a_line_a_column() -> None:
    lines = TABLE.markdown().splitlines()
    assert lines[0] == "| column | type | unit | range | meaning |"
    assert lines[2:] == [
        "| `ts_ns` | int64 | ns | 0 to  | when |",
        "| `power_kw` | float64 | kW | -5 to 5 | how much |",
        "| `soc_frac` | float32 | 1 | 0 to 1 | how full |",
        "| `note_w` | int32 | W |  | anything goes |",
    ]
