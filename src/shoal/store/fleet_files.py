"""Fleets in files that people edit: one row a site, CSV or Parquet, the same columns read as written.

A file says what it says and nothing else: a column that is not there, or a cell left empty, leaves a known site as it
is and gives a new one the default. Columns are checked as a whole; only when something is wrong is the row sought.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.fleet import MOST_UNITS, NAMEPLATE, Fleet
from shoal.domain.ids import SiteId
from shoal.domain.telemetry import DeviceType
from shoal.store.fleet_paths import PathReader, paths_of

PLACE: Final = {"latitude_deg": 90.0, "longitude_deg": 180.0}
DEVICE_TYPES: Final = {kind.name.lower(): int(kind) for kind in DeviceType}
COLUMNS: Final = (
    "site_id",
    *PLACE,
    *NAMEPLATE.names,
    "device_type",
    "gateway_id",
    "gateway_unit",
    "groups",
)
_ID: Final = "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
_ID_FIX: Final = "use 1 to 64 letters, digits, '-' or '_', beginning with a letter or digit"


def read_sites(path: Path, base: Fleet) -> Fleet:
    """Return the sites of a file as a fleet of their own.

    Args:
        path: A file whose name ends in .csv or .parquet.
        base: The fleet as registered: its groups are known by their ids, and what the file leaves out of a known site
            is taken from it.

    Raises:
        InvalidInputError: when the file cannot be read, or naming the first row and column that are wrong.
    """
    table = _read_table(path)
    for name in table.column_names:
        if name not in COLUMNS:
            raise InvalidInputError(field=f"column of {path}", value=name, fix=f"one of {', '.join(COLUMNS)}")
    if "gateway_unit" in table.column_names and "gateway_id" not in table.column_names:
        raise InvalidInputError(field="column gateway_unit", value="alone", fix="add gateway_id")
    ids = _site_ids(table, path)
    known = np.array([base.row_of.get(site, -1) for site in ids], dtype=np.int64)
    nameplate = NAMEPLATE.empty(len(ids))
    for column in NAMEPLATE.columns:
        nameplate[column.name] = _numbers(
            table,
            column.name,
            known,
            base.nameplate[column.name],
            default=column.default,
            low=column.low,
            high=column.high,
        )
    place = {
        name: _numbers(table, name, known, getattr(base, name), default=None, low=-most, high=most)
        for name, most in PLACE.items()
    }
    gateway_ids, gateway_of, gateway_unit = _gateways(table, ids, known, base)
    paths = PathReader(base.groups)
    leaf_group = {}
    if "groups" in table.column_names:
        coded = _texts(table, "groups").dictionary_encode()
        numbers = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        leaf_group = paths.read(coded.dictionary.to_pylist(), numbers)
    return Fleet(
        site_ids=ids,
        nameplate=nameplate,
        latitude_deg=place["latitude_deg"],
        longitude_deg=place["longitude_deg"],
        groups=tuple(paths.groups),
        leaf_group=leaf_group,
        resources=(),
        gateway_ids=gateway_ids,
        gateway_of=gateway_of,
        gateway_unit=gateway_unit,
        device_type=_device_types(table, known, base),
    )


def write_sites(path: Path, fleet: Fleet) -> None:
    """Write every site of a fleet to a file whose name ends in .csv or .parquet.

    Raises:
        InvalidInputError: when the name ends otherwise or the file cannot be written.
    """
    words = {number: word for word, number in DEVICE_TYPES.items()}
    gateways = (*fleet.gateway_ids, None)
    columns: dict[str, Any] = {"site_id": pa.array(fleet.site_ids, pa.string())}
    columns |= {name: getattr(fleet, name) for name in PLACE}
    columns |= {name: np.ascontiguousarray(fleet.nameplate[name]) for name in NAMEPLATE.names}
    columns["device_type"] = pa.array([words[number] for number in fleet.device_type.tolist()], pa.string())
    columns["gateway_id"] = pa.array([gateways[n] for n in fleet.gateway_of.tolist()], pa.string())
    columns["gateway_unit"] = pa.array(fleet.gateway_unit, mask=fleet.gateway_of < 0)
    columns["groups"] = pa.array(paths_of(fleet), pa.string())
    table = pa.table(columns)
    try:
        if path.suffix == ".csv":
            pa_csv.write_csv(table, path)
        elif path.suffix == ".parquet":
            pq.write_table(table, path, compression="zstd")
        else:
            raise _not_a_kind(path)
    except (OSError, pa.ArrowException) as error:
        raise InvalidInputError(
            field="file", value=str(path), fix=f"it cannot be written: {error}"
        ) from error


def _read_table(path: Path) -> pa.Table:
    try:
        if path.suffix == ".parquet":
            return pq.read_table(path)
        if path.suffix == ".csv":
            return _read_csv(path)
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise InvalidInputError(field="file", value=str(path), fix=f"it cannot be read: {error}") from error
    raise _not_a_kind(path)


def _not_a_kind(path: Path) -> InvalidInputError:
    return InvalidInputError(field="file", value=str(path), fix="name a file that ends in .csv or .parquet")


def _read_csv(path: Path) -> pa.Table:
    """Return the file with every cell as text, so that a wrong one can be shown as it stands there."""
    ragged: list[Any] = []

    def note(row: Any) -> str:
        ragged.append(row)
        return "skip"

    with path.open(encoding="utf-8-sig", newline="") as file:
        names = next(csv.reader(file), [])
    table = pa_csv.read_csv(
        path,
        # One thread, so that a row that is too short or too long is known by its number.
        read_options=pa_csv.ReadOptions(use_threads=False),
        parse_options=pa_csv.ParseOptions(invalid_row_handler=note),
        convert_options=pa_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
    )
    if ragged:
        row = ragged[0]
        raise InvalidInputError(
            field=f"line {row.number}",
            value=row.text[:60],
            fix=f"give {row.expected_columns} cells, not {row.actual_columns}",
        )
    return table


def _texts(table: pa.Table, name: str) -> pa.Array:
    """Return a column as text, an empty cell as null."""
    column = table.column(name).combine_chunks()
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    text = pc.utf8_trim_whitespace(column.cast(pa.string()))
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)


def _wrong(row: int, name: str, value: object, fix: str) -> InvalidInputError:
    """Rows are counted from 1, without the header."""
    return InvalidInputError(field=f"row {row + 1}, {name}", value=value, fix=fix)


def _site_ids(table: pa.Table, path: Path) -> tuple[SiteId, ...]:
    if "site_id" not in table.column_names:
        raise InvalidInputError(field=f"columns of {path}", value=table.column_names, fix="add site_id")
    texts = _texts(table, "site_id")
    good = pc.match_substring_regex(texts, _ID).fill_null(False).to_numpy(zero_copy_only=False)
    for row in np.flatnonzero(~good)[:1].tolist():
        raise _wrong(row, "site_id", texts[row].as_py() or "", _ID_FIX)
    ids: list[SiteId] = texts.to_pylist()
    if len(set(ids)) != len(ids):
        first: dict[SiteId, int] = {}
        for row, site in enumerate(ids):
            if first.setdefault(site, row) != row:
                raise _wrong(
                    row, "site_id", site, f"row {first[site] + 1} has it already; name each site once"
                )
    return tuple(ids)


def _numbers(
    table: pa.Table,
    name: str,
    known: NDArray[np.int64],
    stored: NDArray[np.float64],
    *,
    default: float | None,
    low: float | None,
    high: float | None,
) -> NDArray[np.float64]:
    """Return a column of numbers; `default` None means that a new site must say it."""
    values = np.full(len(known), np.nan if default is None else default, dtype=np.float64)
    values[known >= 0] = stored[known[known >= 0]]
    said = np.zeros(len(known), dtype=np.bool_)
    if name in table.column_names:
        column = table.column(name).combine_chunks()
        if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
            column = _parsed(_texts(table, name), name)
        said = column.is_valid().to_numpy(zero_copy_only=False)
        read = column.cast(pa.float64()).fill_null(0.0).to_numpy(zero_copy_only=False)
        values[said] = read[said]
    if default is None:
        for row in np.flatnonzero(~said & (known < 0))[:1].tolist():
            raise _wrong(row, name, "", "a new site needs it")
    wrong = ~np.isfinite(values)
    wrong |= False if low is None else values < low
    wrong |= False if high is None else values > high
    for row in np.flatnonzero(wrong)[:1].tolist():
        span = f"from {low:g}" if high is None else f"from {low:g} to {high:g}"
        raise _wrong(row, name, float(values[row]), f"give a number {span}")
    return values


def _parsed(texts: pa.Array, name: str) -> pa.Array:
    try:
        return texts.cast(pa.float64())
    except pa.ArrowInvalid:
        for row, text in enumerate(texts.to_pylist()):
            try:
                pa.scalar(text, pa.string()).cast(pa.float64())
            except pa.ArrowInvalid as error:
                raise _wrong(row, name, text, "give a number, with a point and without a unit") from error
        raise


def _device_types(table: pa.Table, known: NDArray[np.int64], base: Fleet) -> NDArray[np.uint8]:
    types = np.zeros(len(known), dtype=np.uint8)
    types[known >= 0] = base.device_type[known[known >= 0]]
    if "device_type" in table.column_names:
        for row, word in enumerate(_texts(table, "device_type").to_pylist()):
            if word is not None:
                number = DEVICE_TYPES.get(word.lower())
                if number is None:
                    raise _wrong(row, "device_type", word, f"one of {', '.join(DEVICE_TYPES)}")
                types[row] = number
    return types


def _gateways(
    table: pa.Table, ids: tuple[SiteId, ...], known: NDArray[np.int64], base: Fleet
) -> tuple[tuple[str, ...], NDArray[np.int32], NDArray[np.int32]]:
    """Return the gateways, known ones first, and each site's gateway and number behind it."""
    gateway_of = np.full(len(ids), -1, dtype=np.int32)
    gateway_unit = np.zeros(len(ids), dtype=np.int32)
    if "gateway_id" not in table.column_names:
        gateway_of[known >= 0] = base.gateway_of[known[known >= 0]]
        gateway_unit[known >= 0] = base.gateway_unit[known[known >= 0]]
        return base.gateway_ids, gateway_of, gateway_unit
    names = _texts(table, "gateway_id").to_pylist()
    units = (
        _texts(table, "gateway_unit").to_pylist()
        if "gateway_unit" in table.column_names
        else [None] * len(ids)
    )
    number_of = {name: number for number, name in enumerate(base.gateway_ids)}
    sites = set(ids) | base.row_of.keys()
    others = set(np.flatnonzero(base.gateway_of >= 0).tolist()) - set(known.tolist())
    taken = {(int(base.gateway_of[row]), int(base.gateway_unit[row])): base.site_ids[row] for row in others}
    for row, (name, unit) in enumerate(zip(names, units, strict=True)):
        if name is None:
            if unit is not None:
                raise _wrong(row, "gateway_unit", unit, "name its gateway_id, or leave both empty")
            continue
        if name in sites:
            raise _wrong(row, "gateway_id", name, "a site is called so; give the gateway another name")
        if name not in number_of:
            if not pc.match_substring_regex(pa.scalar(name), _ID).as_py():
                raise _wrong(row, "gateway_id", name, _ID_FIX)
            number_of[name] = len(number_of)
        if unit is None or not unit.isdecimal() or not 1 <= int(unit) <= MOST_UNITS:
            fix = f"number the sites of a gateway from 1 to {MOST_UNITS}"
            raise _wrong(row, "gateway_unit", unit or "", fix)
        place = (number_of[name], int(unit))
        if taken.setdefault(place, ids[row]) != ids[row]:
            raise _wrong(
                row, "gateway_unit", unit, f"site {taken[place]} has this number behind gateway {name}"
            )
        gateway_of[row], gateway_unit[row] = place
    return tuple(number_of), gateway_of, gateway_unit
