"""Rows of programs and of what owners said, read in bulk: a hundred thousand sites come as columns, not as objects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any, Final

import numpy as np
import structlog
from numpy.typing import NDArray
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Table,
    case,
    cast,
    delete,
    func,
    or_,
    select,
    update,
)

from shoal.domain.errors import InvalidInputError
from shoal.programs.ability import SiteTerms
from shoal.programs.claims import UNLIMITED_WH
from shoal.programs.enrolment import FOREVER_NS, Participation, Spans
from shoal.programs.hours import OwnerHours, SiteHours, parse_hours, read_said
from shoal.programs.program import Program, ProgramBook, default_book
from shoal.programs.promises import OwnerPromises
from shoal.store.database import column_parts, insert_into
from shoal.store.effective import valid_at
from shoal.store.program_records import PromiseKind
from shoal.store.schema import (
    ENROLMENT,
    OPT_OUT,
    OWNER_HOURS,
    OWNER_PROMISE,
    PROGRAM,
    REGISTRY_VERSION,
    SITE,
)

VERSION_NAME: Final = "programs"
_PRIORITY_STEP: Final = 10
_ALWAYS: Final = parse_hours("00:00-24:00", zone="UTC")
_log = structlog.get_logger(__name__)
_TRUTHS: Final = ("exclusive", "beside_exclusive", "may_opt_out")
_TERMS: Final = tuple(item.name for item in fields(Program) if item.name not in ("id", "name"))
_PART_ROWS: Final = 5_000


def priority_of(book: ProgramBook, program_id: str) -> int:
    """Return a program's priority as the database has it: the higher one goes first."""
    return _PRIORITY_STEP * (len(book.programs) - book.position(program_id))


def terms_of(program: Program) -> dict[str, Any]:
    """Return a program's terms as columns."""
    return {name: int(value) if name in _TRUTHS else value for name, value in _named(program)}


def _named(program: Program) -> list[tuple[str, Any]]:
    return [(name, getattr(program, name)) for name in _TERMS]


def read_book(connection: Connection) -> ProgramBook:
    """Return the programs on record in order, or the package's own book when there are none."""
    query = select(PROGRAM).order_by(PROGRAM.c.priority.desc(), PROGRAM.c.program_id)
    rows = connection.execute(query).mappings().all()
    if not rows:
        return default_book()
    programs = []
    for row in rows:
        terms: dict[str, Any] = {name: bool(row[name]) if name in _TRUTHS else row[name] for name in _TERMS}
        programs.append(Program(id=row["program_id"], name=row["name"], **terms))
    return ProgramBook(programs=tuple(programs))


def book_for_writing(connection: Connection) -> ProgramBook:
    """Return the book, after putting the package's own on record when there is none."""
    if connection.execute(select(PROGRAM.c.program_id).limit(1)).first() is None:
        save_book(connection, default_book())
    return read_book(connection)


def save_book(connection: Connection, book: ProgramBook) -> None:
    """Insert, update and delete rows until they say what the book says.

    Raises:
        InvalidInputError: when a program that is left out has enrolments or opt-outs on record.
    """
    known = set(connection.execute(select(PROGRAM.c.program_id)).scalars())
    for gone in sorted(known - set(book.ids)):
        for table in (ENROLMENT, OPT_OUT):
            if connection.execute(select(table.c.site_id).where(table.c.program_id == gone).limit(1)).first():
                raise InvalidInputError(
                    field="program", value=gone, fix="keep it in the book: sites have taken part in it"
                )
        connection.execute(delete(PROGRAM).where(PROGRAM.c.program_id == gone))
    for program in book.programs:
        values = {
            "program_id": program.id,
            "name": program.name,
            "priority": priority_of(book, program.id),
            **terms_of(program),
        }
        if program.id in known:
            connection.execute(update(PROGRAM).where(PROGRAM.c.program_id == program.id).values(values))
        else:
            connection.execute(PROGRAM.insert().values(values))


def count_change(connection: Connection) -> None:
    """Make the version of programs grow."""
    insert = insert_into(connection, REGISTRY_VERSION).values(name=VERSION_NAME, version=1)
    grown = {"version": REGISTRY_VERSION.c.version + 1}
    connection.execute(insert.on_conflict_do_update(index_elements=["name"], set_=grown))


def version(connection: Connection) -> int:
    """Return the version of programs, 0 before the first change."""
    query = select(REGISTRY_VERSION.c.version).where(REGISTRY_VERSION.c.name == VERSION_NAME)
    return int(connection.execute(query).scalar_one_or_none() or 0)


def enrolled_rows(connection: Connection, program_id: str, t_ns: int) -> NDArray[np.int64]:
    """Return the numbers of the sites in a program at an instant, ascending."""
    rows = _site_numbers(connection, ENROLMENT, program_id, t_ns)
    rows.sort()
    return rows


def read_terms(connection: Connection, t_ns: int) -> SiteTerms:
    """Return on what terms every site takes part at an instant."""
    book = read_book(connection)
    sites = int(connection.execute(select(func.count()).select_from(SITE)).scalar_one())
    ever = connection.execute(select(ENROLMENT.c.program_id).distinct()).scalars().all()
    return SiteTerms(
        book=book,
        enrolled_bits=_read_bits(connection, ENROLMENT, book, t_ns, sites),
        opted_out_bits=_read_bits(connection, OPT_OUT, book, t_ns, sites),
        promises=_read_promises(connection, t_ns, sites),
        ever_enrolled_bits=sum(1 << book.position(name) for name in ever if name in book.ids),
        hours=read_hours(connection, t_ns, sites),
    )


def _read_bits(
    connection: Connection, table: Table, book: ProgramBook, t_ns: int, sites: int
) -> NDArray[np.uint64]:
    """Return for each site the bits of the programs that have a row valid at the instant."""
    # The database adds the bits up, so that one row a site crosses over, not one a program.
    bit = case(
        {program: 1 << place for place, program in enumerate(book.ids)}, value=table.c.program_id, else_=0
    )
    by_site = (
        select(table.c.site_id, cast(func.sum(bit), BigInteger).label("bits"))
        .where(valid_at(table, t_ns, by_index=False))
        .group_by(table.c.site_id)
        .subquery()
    )
    query = select(SITE.c.site_no, by_site.c.bits).join_from(
        by_site, SITE, by_site.c.site_id == SITE.c.site_id
    )
    bits = np.zeros(sites, dtype=np.uint64)
    for numbers, values in column_parts(connection, query, batch=_PART_ROWS):
        bits[np.array(numbers, dtype=np.int64)] = np.array(values, dtype=np.uint64)
    return bits


def _site_numbers(connection: Connection, table: Table, program_id: str, t_ns: int) -> NDArray[np.int64]:
    query = (
        select(SITE.c.site_no)
        .join_from(table, SITE, table.c.site_id == SITE.c.site_id)
        .where(table.c.program_id == program_id, valid_at(table, t_ns))
    )
    parts = [part[0] for part in column_parts(connection, query, batch=_PART_ROWS)]
    return np.fromiter((number for part in parts for number in part), dtype=np.int64)


def _read_promises(connection: Connection, t_ns: int, sites: int) -> OwnerPromises:
    reserve_frac = np.zeros(sites)
    budget_wh = np.full(sites, UNLIMITED_WH, dtype=np.int64)
    for rows, amounts in _amounts(connection, "reserve_frac", t_ns):
        reserve_frac[rows] = amounts
    for rows, amounts in _amounts(connection, "cycle_wh_per_day", t_ns):
        budget_wh[rows] = np.floor(amounts).astype(np.int64)
    return OwnerPromises(reserve_frac=reserve_frac, cycle_budget_wh=budget_wh)


def _amounts(
    connection: Connection, kind: PromiseKind, t_ns: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    table = OWNER_PROMISE
    query = (
        select(SITE.c.site_no, table.c.amount)
        .join_from(table, SITE, table.c.site_id == SITE.c.site_id)
        .where(table.c.kind == kind, valid_at(table, t_ns, by_index=False))
    )
    for numbers, amounts in column_parts(connection, query, batch=_PART_ROWS):
        yield np.array(numbers, dtype=np.int64), np.array(amounts, dtype=np.float64)


def read_hours(connection: Connection, t_ns: int, sites: int) -> SiteHours:
    """Return the hours that owners keep, as on record at an instant."""
    table = OWNER_HOURS
    query = (
        select(SITE.c.site_no, table.c.said)
        .join_from(table, SITE, table.c.site_id == SITE.c.site_id)
        .where(valid_at(table, t_ns, by_index=False))
    )
    patterns: dict[str, int] = {}
    index = np.full(sites, -1, dtype=np.int32)
    for numbers, lines in column_parts(connection, query, batch=_PART_ROWS):
        index[np.array(numbers, dtype=np.int64)] = [patterns.setdefault(one, len(patterns)) for one in lines]
    return SiteHours(patterns=tuple(map(kept_hours, patterns)), pattern_index=index)


def kept_hours(line: str) -> OwnerHours:
    """Return the hours that a line on record holds; of one that cannot be read, all of them: a promise is kept in doubt.

    One row, or a zone that this machine does not know, must not stop the terms of all others from being read.
    """
    try:
        return read_said(line)
    except InvalidInputError as error:
        _log.error("an owner's hours cannot be read: the site is left alone", hours=line[:80], why=str(error))
        return _ALWAYS


def read_participation(connection: Connection, start_ns: int, end_ns: int) -> Participation:
    """Return every enrolment and opt-out that overlaps `[start_ns, end_ns)`."""
    book = read_book(connection)
    sites = int(connection.execute(select(func.count()).select_from(SITE)).scalar_one())
    return Participation(
        book=book,
        sites=sites,
        enrolled=_read_spans(connection, ENROLMENT, book, start_ns, end_ns),
        opted_out=_read_spans(connection, OPT_OUT, book, start_ns, end_ns),
    )


def _read_spans(connection: Connection, table: Table, book: ProgramBook, start_ns: int, end_ns: int) -> Spans:
    found = [Spans.none()]
    for place, program in enumerate(book.ids):
        query = (
            select(SITE.c.site_no, table.c.valid_from_ns, func.coalesce(table.c.valid_until_ns, FOREVER_NS))
            .join_from(table, SITE, table.c.site_id == SITE.c.site_id)
            .where(table.c.program_id == program, overlapping(table, start_ns, end_ns))
        )
        for numbers, starts, ends in column_parts(connection, query, batch=_PART_ROWS):
            found.append(
                Spans(
                    rows=np.array(numbers, dtype=np.int64),
                    program_index=np.full(len(numbers), place, dtype=np.int16),
                    start_ns=np.array(starts, dtype=np.int64),
                    end_ns=np.array(ends, dtype=np.int64),
                )
            )
    return Spans(
        rows=np.concatenate([one.rows for one in found]),
        program_index=np.concatenate([one.program_index for one in found]),
        start_ns=np.concatenate([one.start_ns for one in found]),
        end_ns=np.concatenate([one.end_ns for one in found]),
    )


def overlapping(table: Table, start_ns: int, end_ns: int | None) -> ColumnElement[bool]:
    """Return the condition that a row is valid at some instant of `[start_ns, end_ns)`."""
    not_over = or_(table.c.valid_until_ns.is_(None), table.c.valid_until_ns > start_ns)
    return not_over if end_ns is None else not_over & (table.c.valid_from_ns < end_ns)
