"""Tables declared once: a column's name, type, unit, default, range and meaning.

From a declaration come the numpy record, the arrays, the Arrow schema's field list, the JSON schema, the
validation and the documentation, so that no two of them can disagree.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column.

    Attributes:
        name: Ends in its unit (``_kw``, ``_kwh``, ``_ns``, ``_frac`` ...).
        dtype: A numpy type string with byte order, e.g. ``<i8``.
        unit: The unit in words that a person reads; ``1`` for none.
        description: What it means and how its sign runs.
        default: The value for a device that does not have it.
        low: The smallest valid value, inclusive.
        high: The largest valid value, inclusive.
        optional: Whether a message may leave it out.
    """

    name: str
    dtype: str
    unit: str
    description: str
    default: float | int = 0
    low: float | None = None
    high: float | None = None
    optional: bool = True


@dataclass(frozen=True, kw_only=True)
class Table:
    """An ordered set of columns with a name and a version."""

    name: str
    version: int
    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names):
            raise InvalidInputError(field=f"table {self.name}", value=names, fix="name each column once")

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The packed record type, in the order of the columns."""
        return np.dtype([(column.name, column.dtype) for column in self.columns])

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The column names in order."""
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> Column:
        """Return a column by name.

        Raises:
            InvalidInputError: when the table has no such column.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise InvalidInputError(
            field=f"column of {self.name}", value=name, fix=f"one of {', '.join(self.names)}"
        )

    def empty(self, rows: int) -> NDArray[Any]:
        """Return `rows` records filled with the defaults."""
        records = np.zeros(rows, dtype=self.dtype)
        for column in self.columns:
            if column.default:
                records[column.name] = column.default
        return records

    def violations(self, records: NDArray[Any]) -> NDArray[np.int16]:
        """Return, for each record, the position of the first column out of range (or not a number), or -1.

        The whole batch is judged at once; a bad record never spoils its neighbours.
        """
        first = np.full(len(records), -1, dtype=np.int16)
        for position in range(len(self.columns) - 1, -1, -1):
            column = self.columns[position]
            values = records[column.name]
            bad = np.zeros(len(records), dtype=np.bool_)
            if values.dtype.kind == "f":
                bad |= ~np.isfinite(values)
            if column.low is not None:
                bad |= values < column.low
            if column.high is not None:
                bad |= values > column.high
            first[bad] = position
        return first

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON schema of one record."""
        properties: dict[str, Any] = {}
        for column in self.columns:
            kind = "number" if np.dtype(column.dtype).kind == "f" else "integer"
            rule: dict[str, Any] = {"type": kind, "description": f"{column.description} [{column.unit}]"}
            if column.low is not None:
                rule["minimum"] = column.low
            if column.high is not None:
                rule["maximum"] = column.high
            if column.optional:
                rule["default"] = column.default
            properties[column.name] = rule
        required = [column.name for column in self.columns if not column.optional]
        return {"title": self.name, "type": "object", "properties": properties, "required": required}

    def markdown(self) -> str:
        """Return the table's documentation as a Markdown table."""
        lines = ["| column | type | unit | range | meaning |", "|---|---|---|---|---|"]
        for column in self.columns:
            low = "" if column.low is None else f"{column.low:g}"
            high = "" if column.high is None else f"{column.high:g}"
            span = f"{low} to {high}" if low or high else ""
            kind = np.dtype(column.dtype).name
            lines.append(f"| `{column.name}` | {kind} | {column.unit} | {span} | {column.description} |")
        return "\n".join(lines)
