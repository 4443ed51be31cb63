"""The rows behind the fact store: series with their contracts, sources, blocks and what is set aside.

All of these work on an open connection and decide nothing. Numbers are given out by counting, which is safe because
whoever writes holds the lock `LOCK`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from sqlalchemy import Connection, Select, bindparam, delete, func, select, update

from shoal.domain.contracts import Quarantined, SeriesContract
from shoal.domain.errors import CorruptStateError
from shoal.domain.facts import SeriesId
from shoal.domain.interval import NS_PER_HOUR
from shoal.store.database import bulk_insert, insert_into
from shoal.store.facts_columns import Columns
from shoal.store.facts_pack import pack
from shoal.store.facts_records import FactBatch
from shoal.store.schema import FACT_BLOCK, FACT_QUARANTINE, FACT_SERIES, FACT_SOURCE

LOCK: Final = "facts"
"""Held by every writer until it commits, so that records are numbered in the order in which they can be seen."""

_PART_STEPS: Final = 288
_MOST_PARAMETERS: Final = 500
_BATCH: Final = 1_000
_CONTRACT: Final = msgspec.json.Decoder(SeriesContract)
_STATE: Final = (
    *("width", "span_ns", "facts", "latest_start_ns", "latest_end_ns", "latest_known_ns", "last_record"),
)
"""What recording changes of a series."""
_SERIES_COLUMNS: Final = tuple(column.name for column in FACT_SERIES.columns)
_BLOCK_COLUMNS: Final = tuple(column.name for column in FACT_BLOCK.columns)
_QUARANTINE_COLUMNS: Final = tuple(column.name for column in FACT_QUARANTINE.columns)


# A statement that is built once costs a third of one that is built for each fact.
_ALL_SERIES: Final = select(*(FACT_SERIES.c[name] for name in _SERIES_COLUMNS)).order_by(
    FACT_SERIES.c.series_id
)
_SERIES: Final = _ALL_SERIES.where(FACT_SERIES.c.series_id.in_(bindparam("series_ids", expanding=True)))
_PLACES: Final = select(
    *(FACT_SERIES.c[name] for name in ("series_id", "series_no", "width", "span_ns"))
).where(FACT_SERIES.c.facts > 0, FACT_SERIES.c.series_id.in_(bindparam("series_ids", expanding=True)))
_SAVE_STATE: Final = (
    update(FACT_SERIES)
    .where(FACT_SERIES.c.series_no == bindparam("number"))
    .values({name: bindparam(name) for name in _STATE})
)
_LAST_RECORD: Final = select(func.max(FACT_SERIES.c.last_record))
_SOURCE: Final = select(FACT_SOURCE.c.source_no).where(FACT_SOURCE.c.name == bindparam("name"))
_PAYLOADS: Final = (
    select(FACT_BLOCK.c.series_no, FACT_BLOCK.c.payload)
    .where(
        FACT_BLOCK.c.series_no.in_(bindparam("numbers", expanding=True)),
        FACT_BLOCK.c.part_no.between(bindparam("first_part"), bindparam("last_part")),
        FACT_BLOCK.c.first_start_ns < bindparam("to_ns"),
        FACT_BLOCK.c.last_start_ns >= bindparam("from_ns"),
    )
    .order_by(FACT_BLOCK.c.series_no, FACT_BLOCK.c.part_no)
)
_PAYLOADS_THEN: Final = _PAYLOADS.where(FACT_BLOCK.c.first_known_ns <= bindparam("as_of_ns"))
_BLOCKS: Final = select(*(FACT_BLOCK.c[name] for name in ("part_no", "block_no", "facts", "payload"))).where(
    FACT_BLOCK.c.series_no == bindparam("number"),
    FACT_BLOCK.c.part_no.in_(bindparam("part_nos", expanding=True)),
)


@dataclass(slots=True, kw_only=True)
class SeriesRow:
    """A series as its row has it."""

    series_no: int
    series_id: SeriesId
    contract: SeriesContract | None
    width: int | None
    span_ns: int | None
    facts: int
    latest_start_ns: int | None
    latest_end_ns: int | None
    latest_known_ns: int | None
    last_record: int


class Place(NamedTuple):
    """Where the facts of a series are to be found, for one that has some."""

    series_no: int
    width: int
    span_ns: int


class StoredBlock(NamedTuple):
    """A block as its row has it."""

    block_no: int
    facts: int
    payload: bytes


def span_for(step_ns: int) -> int:
    """Return how much time a part covers: whole hours that hold 288 steps or a few more."""
    return -(-_PART_STEPS * step_ns // NS_PER_HOUR) * NS_PER_HOUR


# -- series and sources


def read_series(connection: Connection, series_ids: Iterable[str] | None = None) -> dict[SeriesId, SeriesRow]:
    """Return the series of some names, or all; a name that is not known is left out."""
    if series_ids is None:
        found = _rows(connection, _ALL_SERIES, {})
    else:
        portions = _portions(list(dict.fromkeys(series_ids)))
        found = [row for some in portions for row in _rows(connection, _SERIES, {"series_ids": some})]
    rows = [_series(dict(zip(_SERIES_COLUMNS, row, strict=True))) for row in found]
    return {row.series_id: row for row in rows}


def _series(row: dict[str, Any]) -> SeriesRow:
    contract = row.pop("contract")
    try:
        return SeriesRow(**row, contract=None if contract is None else _CONTRACT.decode(contract))
    except msgspec.DecodeError as error:
        raise CorruptStateError(f"contract of {row['series_id']}", str(error)) from error


def add_series(connection: Connection, series_id: SeriesId) -> SeriesRow:
    """Add a series of which nothing is known yet."""
    highest = connection.execute(select(func.max(FACT_SERIES.c.series_no))).scalar_one()
    row = SeriesRow(
        series_no=0 if highest is None else highest + 1,
        series_id=series_id,
        contract=None,
        width=None,
        span_ns=None,
        facts=0,
        latest_start_ns=None,
        latest_end_ns=None,
        latest_known_ns=None,
        last_record=0,
    )
    connection.execute(FACT_SERIES.insert().values(_series_values(row)))
    return row


def save_series(connection: Connection, rows: Sequence[SeriesRow]) -> None:
    """Write back how far some series reach."""
    if rows:
        values = [{"number": row.series_no, **{name: getattr(row, name) for name in _STATE}} for row in rows]
        connection.execute(_SAVE_STATE, values)


def save_contract(connection: Connection, row: SeriesRow) -> None:
    """Write back a series with its contract."""
    values = _series_values(row)
    connection.execute(update(FACT_SERIES).where(FACT_SERIES.c.series_no == row.series_no).values(values))


def _series_values(row: SeriesRow) -> dict[str, Any]:
    contract = None if row.contract is None else msgspec.json.encode(row.contract).decode()
    return {name: getattr(row, name) for name in _SERIES_COLUMNS} | {"contract": contract}


def last_record(connection: Connection) -> int:
    """Return the number of the last record that was kept, 0 before the first."""
    return connection.execute(_LAST_RECORD).scalar_one() or 0


def source_number(connection: Connection, name: str) -> int:
    """Return the number of a source, which is given one when it has none."""
    found = connection.execute(_SOURCE, {"name": name}).scalar()
    if found is not None:
        return int(found)
    highest = connection.execute(select(func.max(FACT_SOURCE.c.source_no))).scalar_one()
    number = 0 if highest is None else int(highest) + 1
    connection.execute(FACT_SOURCE.insert().values(source_no=number, name=name))
    return number


def source_names(connection: Connection) -> dict[int, str]:
    """Return the name of each source by its number."""
    rows = connection.execute(select(FACT_SOURCE.c.source_no, FACT_SOURCE.c.name)).all()
    return {row.source_no: row.name for row in rows}


# -- blocks


def places(connection: Connection, series_ids: Sequence[str]) -> dict[SeriesId, Place]:
    """Return where the facts of some series are; a series without any is left out."""
    found = [
        row for some in _portions(series_ids) for row in _rows(connection, _PLACES, {"series_ids": some})
    ]
    return {series_id: Place(*place) for series_id, *place in found}


def payloads(
    connection: Connection, places: Iterable[Place], *, from_ns: int, to_ns: int, as_of_ns: int | None = None
) -> dict[int, list[bytes]]:
    """Return by series number the blocks that may hold what was known of `[from_ns, to_ns)`, the earliest part first."""
    found: dict[int, list[bytes]] = {}
    by_span: dict[int, list[int]] = {}
    for place in places:
        by_span.setdefault(place.span_ns, []).append(place.series_no)
    statement = _PAYLOADS if as_of_ns is None else _PAYLOADS_THEN
    asked = {"from_ns": from_ns, "to_ns": to_ns} | ({} if as_of_ns is None else {"as_of_ns": as_of_ns})
    for span_ns, numbers in by_span.items():
        parts = {"first_part": from_ns // span_ns, "last_part": (to_ns - 1) // span_ns}
        for some in _portions(numbers):
            for number, payload in _rows(connection, statement, {"numbers": some, **asked, **parts}):
                found.setdefault(number, []).append(payload)
    return found


def stored_blocks(
    connection: Connection, series_no: int, part_nos: Sequence[int]
) -> dict[int, list[StoredBlock]]:
    """Return the blocks of some parts of a series, by part."""
    found: dict[int, list[StoredBlock]] = {}
    for some in _portions(part_nos):
        for part_no, *block in _rows(connection, _BLOCKS, {"number": series_no, "part_nos": some}):
            found.setdefault(part_no, []).append(StoredBlock(*block))
    return found


def scattered_parts(connection: Connection) -> list[tuple[int, int]]:
    """Return the parts of more than one block, as series number and part number."""
    query = (
        select(FACT_BLOCK.c.series_no, FACT_BLOCK.c.part_no)
        .group_by(FACT_BLOCK.c.series_no, FACT_BLOCK.c.part_no)
        .having(func.count() > 1)
        .order_by(FACT_BLOCK.c.series_no, FACT_BLOCK.c.part_no)
    )
    return [(row.series_no, row.part_no) for row in connection.execute(query)]


def remove_blocks(connection: Connection, series_no: int, part_no: int, block_nos: Sequence[int]) -> None:
    """Remove some blocks of a part."""
    for some in _portions(block_nos):
        connection.execute(
            delete(FACT_BLOCK).where(
                FACT_BLOCK.c.series_no == series_no,
                FACT_BLOCK.c.part_no == part_no,
                FACT_BLOCK.c.block_no.in_(some),
            )
        )


def add_blocks(connection: Connection, series_no: int, blocks: Mapping[tuple[int, int], Columns]) -> None:
    """Add blocks of a series by the number of their part and their own; their facts are in order."""
    rows = [
        (
            series_no,
            part_no,
            block_no,
            len(columns),
            int(columns.start_ns[0]),
            int(columns.start_ns[-1]),
            int(columns.known_ns.min()),
            int(columns.record_no.min()),
            pack(columns),
        )
        for (part_no, block_no), columns in blocks.items()
    ]
    bulk_insert(connection, FACT_BLOCK, _BLOCK_COLUMNS, rows, batch=_BATCH)


# -- what is set aside


def set_aside(
    connection: Connection, series_no: int, source_no: int, batch: FactBatch, found: Sequence[Quarantined]
) -> None:
    """Keep what was set aside of a batch; the same word of the same source is kept once."""
    rows = [_quarantine_row(series_no, source_no, batch, item) for item in found]
    statement = insert_into(connection, FACT_QUARANTINE).on_conflict_do_nothing()
    for begin in range(0, len(rows), _BATCH):
        connection.execute(statement, rows[begin : begin + _BATCH])


def _quarantine_row(series_no: int, source_no: int, batch: FactBatch, item: Quarantined) -> dict[str, Any]:
    value = np.array(item.value, dtype="<f8").tobytes()
    end_ns = int(batch.end_ns[item.index])
    said = b"\0".join([batch.source.encode(), str(end_ns).encode(), item.reason.encode(), value])
    row = (
        series_no,
        item.start_ns,
        int(batch.revision[item.index]),
        hashlib.blake2b(said, digest_size=8).hexdigest(),
        end_ns,
        int(batch.known_ns[item.index]),
        source_no,
        item.reason,
        item.detail,
        value,
    )
    return dict(zip(_QUARANTINE_COLUMNS, row, strict=True))


def _rows(
    connection: Connection, statement: Select[Any], values: Mapping[str, Any]
) -> Sequence[tuple[Any, ...]]:
    """Return the driver's own rows, which need no converting."""
    result = connection.execute(statement, values)
    cursor = result.cursor
    assert cursor is not None
    found: Sequence[tuple[Any, ...]] = cursor.fetchall()
    result.close()
    return found


def _portions(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for begin in range(0, len(items), _MOST_PARAMETERS):
        yield items[begin : begin + _MOST_PARAMETERS]
