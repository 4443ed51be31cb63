"""Programs, and what owners said of them: consent, leaving for a while, a reserve, a cycle budget; all with dates.

The newest word counts over the span that it names; what was on record before and after stays. Reads for the whole
fleet give columns by `site_no`, which is the row in every `Fleet`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, Table, and_, func, select, update

from shoal.domain.errors import InvalidInputError, UnknownIdError
from shoal.domain.ids import SiteId
from shoal.programs.ability import SiteTerms
from shoal.programs.enrolment import Enrolment, Participation, check_exclusive
from shoal.programs.hours import OwnerHours, read_said, said
from shoal.programs.program import Program, ProgramBook
from shoal.store import program_rows
from shoal.store.database import reading, writing
from shoal.store.effective import (
    ENROLMENTS,
    HOURS,
    OPT_OUTS,
    PROMISES,
    EffectiveTable,
    Value,
    any_value,
    put_between,
    valid_at,
)
from shoal.store.program_records import PROMISE_KINDS, Hours, OptOut, Promise, PromiseKind
from shoal.store.required import require_sites
from shoal.store.schema import ENROLMENT, OPT_OUT, OWNER_HOURS, OWNER_PROMISE

BATCH_ROWS: Final = 20_000
LOCK: Final = "registry"
NOT_AVAILABLE: Final = "not_available"
_PART_SITES: Final = 500
_MOST_WH: Final = 10**10


class ProgramStore:
    """Programs in a migrated database. Calls block; an asynchronous caller runs them in a thread.

    Args:
        engine: From `open_database`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    # -- the book

    def book(self) -> ProgramBook:
        """Return the programs on record, the highest priority first; the book of the package when there are none."""
        with reading(self._engine) as connection:
            return program_rows.read_book(connection)

    def save_book(self, book: ProgramBook) -> None:
        """Put a book in place of the one on record.

        Raises:
            InvalidInputError: when a program that is left out has enrolments on record.
        """
        with writing(self._engine, lock=LOCK) as connection:
            program_rows.save_book(connection, book)
            program_rows.count_change(connection)

    def version(self) -> int:
        """Return a number that grows with every change of programs, enrolments, opt-outs and promises."""
        with reading(self._engine) as connection:
            return program_rows.version(connection)

    def next_change_ns(self, after_ns: int) -> int | None:
        """Return the first instant after `after_ns` at which something on record begins or ends, None for never."""
        found: list[int] = []
        with reading(self._engine) as connection:
            for table in (ENROLMENT, OPT_OUT, OWNER_PROMISE, OWNER_HOURS):
                for column in (table.c.valid_from_ns, table.c.valid_until_ns):
                    first = connection.execute(select(func.min(column)).where(column > after_ns)).scalar_one()
                    found += [] if first is None else [int(first)]
        return min(found, default=None)

    # -- what owners say

    def enrol(
        self,
        program_id: str,
        site_ids: Sequence[SiteId],
        *,
        at_ns: int,
        until_ns: int | None = None,
        by: str = "",
        said_ns: int | None = None,
    ) -> int:
        """Let sites take part in a program over a span, by the consent of `by` to its present terms.

        A site that takes part already by consent to the same terms stays as it is.

        Args:
            program_id: Which program.
            site_ids: Which sites.
            at_ns: From when.
            until_ns: Until when, None for good.
            by: Who agreed; empty when that is not recorded.
            said_ns: When they did.

        Returns:
            How many sites changed.

        Raises:
            UnknownIdError: when there is no such program or site.
            InvalidInputError: when another program has a site for itself meanwhile, or the span is empty.
        """
        _check_span(at_ns, until_ns)
        with writing(self._engine, lock=LOCK) as connection:
            book = program_rows.book_for_writing(connection)
            program = _known(book, program_id)
            if program.exclusive:
                _check_exclusive(connection, book, program, site_ids, at_ns, until_ns)
            wanted = dict.fromkeys(site_ids, (by, said_ns, program.terms))
            return _put(connection, ENROLMENTS, program_id, wanted, at_ns, until_ns, same=_same_terms)

    def withdraw(
        self,
        program_id: str,
        site_ids: Sequence[SiteId],
        *,
        at_ns: int,
        by: str = "",
        said_ns: int | None = None,
    ) -> int:
        """End the enrolment of sites from an instant on, and whatever was planned after it.

        Returns:
            How many sites changed.

        Raises:
            UnknownIdError: when there is no such program or site.
        """
        with writing(self._engine, lock=LOCK) as connection:
            _known(program_rows.book_for_writing(connection), program_id)
            changed = _put(connection, ENROLMENTS, program_id, dict.fromkeys(site_ids), at_ns, None)
            ended = and_(
                ENROLMENT.c.program_id == program_id,
                ENROLMENT.c.valid_until_ns == at_ns,
                ENROLMENT.c.withdrawn_ns.is_(None),
            )
            for some in _few(site_ids):
                connection.execute(
                    update(ENROLMENT)
                    .where(ended, ENROLMENT.c.site_id.in_(some))
                    .values(withdrawn_by=by, withdrawn_ns=said_ns)
                )
            return changed

    def opt_out(
        self,
        program_id: str,
        site_ids: Sequence[SiteId],
        *,
        at_ns: int,
        until_ns: int | None = None,
        by: str,
        said_ns: int,
    ) -> int:
        """Let sites leave a program over a span and stay enrolled.

        Returns:
            How many sites changed.

        Raises:
            UnknownIdError: when there is no such program or site.
            InvalidInputError: when the program may not be left, or the span is empty.
        """
        _check_span(at_ns, until_ns)
        with writing(self._engine, lock=LOCK) as connection:
            program = _known(program_rows.book_for_writing(connection), program_id)
            if not program.may_opt_out:
                raise InvalidInputError(
                    field="program",
                    value=program_id,
                    fix="it cannot be left for a while; withdraw the enrolment",
                )
            wanted = dict.fromkeys(site_ids, (by, said_ns))
            return _put(connection, OPT_OUTS, program_id, wanted, at_ns, until_ns)

    def opt_in(self, program_id: str, site_ids: Sequence[SiteId], *, at_ns: int) -> int:
        """Let sites that have left a program come back at an instant.

        Returns:
            How many sites changed.

        Raises:
            UnknownIdError: when there is no such program or site.
        """
        with writing(self._engine, lock=LOCK) as connection:
            _known(program_rows.book_for_writing(connection), program_id)
            return _put(connection, OPT_OUTS, program_id, dict.fromkeys(site_ids), at_ns, None)

    def promise(
        self,
        kind: PromiseKind,
        site_ids: Sequence[SiteId],
        amount: float | None,
        *,
        at_ns: int,
        until_ns: int | None = None,
        by: str,
        said_ns: int,
    ) -> int:
        """Promise owners a reserve or a cycle budget over a span; an amount of None takes the promise back.

        Returns:
            How many sites changed.

        Raises:
            UnknownIdError: when there is no such site.
            InvalidInputError: when the amount is out of range, or the span is empty.
        """
        _check_span(at_ns, until_ns)
        most = 1.0 if kind == "reserve_frac" else float(_MOST_WH)
        if kind not in PROMISE_KINDS or (amount is not None and not 0.0 <= amount <= most):
            raise InvalidInputError(field=kind, value=amount, fix=f"give a number from 0 to {most:g}")
        wanted = dict.fromkeys(site_ids, None if amount is None else (float(amount), by, said_ns))
        with writing(self._engine, lock=LOCK) as connection:
            return _put(connection, PROMISES, kind, wanted, at_ns, until_ns, same=_same_amount)

    def keep_hours(
        self,
        site_ids: Sequence[SiteId],
        hours: OwnerHours | None,
        *,
        at_ns: int,
        until_ns: int | None = None,
        by: str,
        said_ns: int,
    ) -> int:
        """Promise owners hours in which no program uses their sites, over a span; None takes the promise back.

        Returns:
            How many sites changed.

        Raises:
            UnknownIdError: when there is no such site.
            InvalidInputError: when the span is empty.
        """
        _check_span(at_ns, until_ns)
        wanted = dict.fromkeys(site_ids, None if hours is None else (said(hours), by, said_ns))
        with writing(self._engine, lock=LOCK) as connection:
            return _put(connection, HOURS, NOT_AVAILABLE, wanted, at_ns, until_ns, same=_same_amount)

    # -- of one site

    def hours(self, site_id: SiteId, *, at_ns: int | None = None) -> list[Hours]:
        """Return the hours that a site's owner keeps, all of them or those at an instant, the earliest first.

        Raises:
            UnknownIdError: when there is no such site.
        """
        return [
            Hours(
                site_id=row.site_id,
                hours=read_said(row.said),
                start_ns=row.valid_from_ns,
                end_ns=row.valid_until_ns,
                said_by=row.said_by,
                said_ns=row.said_ns,
            )
            for row in self._rows(OWNER_HOURS, site_id, at_ns)
        ]

    def enrolments(self, site_id: SiteId, *, at_ns: int | None = None) -> list[Enrolment]:
        """Return the enrolments of a site, all of them or those at an instant, the earliest first.

        Raises:
            UnknownIdError: when there is no such site.
        """
        return [
            Enrolment(
                site_id=row.site_id,
                program=row.program_id,
                start_ns=row.valid_from_ns,
                end_ns=row.valid_until_ns,
                consented_by=row.consented_by,
                consented_ns=row.consented_ns,
                terms=row.terms,
                withdrawn_by=row.withdrawn_by,
                withdrawn_ns=row.withdrawn_ns,
            )
            for row in self._rows(ENROLMENT, site_id, at_ns)
        ]

    def opt_outs(self, site_id: SiteId, *, at_ns: int | None = None) -> list[OptOut]:
        """Return the opt-outs of a site, all of them or those at an instant, the earliest first.

        Raises:
            UnknownIdError: when there is no such site.
        """
        return [
            OptOut(
                site_id=row.site_id,
                program=row.program_id,
                start_ns=row.valid_from_ns,
                end_ns=row.valid_until_ns,
                said_by=row.said_by,
                said_ns=row.said_ns,
            )
            for row in self._rows(OPT_OUT, site_id, at_ns)
        ]

    def promises(self, site_id: SiteId, *, at_ns: int | None = None) -> list[Promise]:
        """Return the promises to a site's owner, all of them or those at an instant, the earliest first.

        Raises:
            UnknownIdError: when there is no such site.
        """
        return [
            Promise(
                site_id=row.site_id,
                kind=row.kind,
                amount=row.amount,
                start_ns=row.valid_from_ns,
                end_ns=row.valid_until_ns,
                said_by=row.said_by,
                said_ns=row.said_ns,
            )
            for row in self._rows(OWNER_PROMISE, site_id, at_ns)
        ]

    def _rows(self, table: Table, site_id: SiteId, at_ns: int | None) -> Sequence[Any]:
        query = select(table).where(table.c.site_id == site_id).order_by(table.c.valid_from_ns)
        if at_ns is not None:
            query = query.where(valid_at(table, at_ns))
        with reading(self._engine) as connection:
            require_sites(connection, [site_id])
            return connection.execute(query).all()

    # -- of the fleet

    def terms_at(self, t_ns: int) -> SiteTerms:
        """Return on what terms every site takes part at an instant, by `site_no`."""
        with reading(self._engine) as connection:
            return program_rows.read_terms(connection, t_ns)

    def enrolled_at(self, program_id: str, t_ns: int) -> NDArray[np.int64]:
        """Return the numbers of the sites that take part in a program at an instant, ascending."""
        with reading(self._engine) as connection:
            return program_rows.enrolled_rows(connection, program_id, t_ns)

    def participation(self, start_ns: int, end_ns: int) -> Participation:
        """Return every enrolment and opt-out that overlaps `[start_ns, end_ns)`.

        Raises:
            InvalidInputError: when the span is empty.
        """
        _check_span(start_ns, end_ns)
        with reading(self._engine) as connection:
            return program_rows.read_participation(connection, start_ns, end_ns)


def _put(
    connection: Connection,
    kind: EffectiveTable,
    scope: str,
    wanted: Mapping[SiteId, Value | None],
    start_ns: int,
    end_ns: int | None,
    *,
    same: Callable[[Value, Value], bool] = any_value,
) -> int:
    require_sites(connection, list(wanted))
    changed = put_between(connection, kind, scope, wanted, start_ns, end_ns, batch=BATCH_ROWS, same=same)
    if changed:
        program_rows.count_change(connection)
    return changed


def _same_terms(held: Value, wanted: Value) -> bool:
    return bool(held[2] == wanted[2])


def _same_amount(held: Value, wanted: Value) -> bool:
    return bool(held[0] == wanted[0])


def _known(book: ProgramBook, program_id: str) -> Program:
    if program_id not in book.ids:
        raise UnknownIdError("program", program_id)
    return book.program(program_id)


def _check_span(start_ns: int, end_ns: int | None) -> None:
    if end_ns is not None and end_ns <= start_ns:
        raise InvalidInputError(field="span", value=(start_ns, end_ns), fix="give an end after the beginning")


def _check_exclusive(
    connection: Connection,
    book: ProgramBook,
    program: Program,
    site_ids: Sequence[SiteId],
    at_ns: int,
    until_ns: int | None,
) -> None:
    """Raise when another exclusive program has one of the sites in the span."""
    others = [one.id for one in book.programs if one.exclusive and one.id != program.id]
    for some in _few(site_ids) if others else ():
        query = select(ENROLMENT).where(
            ENROLMENT.c.program_id.in_(others),
            ENROLMENT.c.site_id.in_(some),
            program_rows.overlapping(ENROLMENT, at_ns, until_ns),
        )
        for row in connection.execute(query.limit(1)):
            held = Enrolment(
                site_id=row.site_id,
                program=row.program_id,
                start_ns=row.valid_from_ns,
                end_ns=row.valid_until_ns,
            )
            wanted = Enrolment(site_id=row.site_id, program=program.id, start_ns=at_ns, end_ns=until_ns)
            check_exclusive(book, [held], wanted)


def _few(site_ids: Sequence[SiteId]) -> Iterator[Sequence[SiteId]]:
    for first in range(0, len(site_ids), _PART_SITES):
        yield site_ids[first : first + _PART_SITES]
