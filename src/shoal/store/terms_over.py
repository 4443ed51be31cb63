"""On what terms sites take part throughout spans of time: read for some days at once, asked for any span within them.

A bid is for hours to come, in which an owner may already have said to leave, or to keep more. What nobody was ever
enrolled in asks for no enrolment, as in `shoal.control.taking_part`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, func, select

from shoal.domain.interval import NS_PER_HOUR, Interval
from shoal.programs.claims import UNLIMITED_WH
from shoal.programs.enrolment import FOREVER_NS, Participation, Spans
from shoal.programs.hours import OwnerHours, kept_programs
from shoal.programs.program import ProgramBook, default_book
from shoal.programs.promises import OwnerPromises
from shoal.store import program_rows
from shoal.store.database import column_parts, reading
from shoal.store.program_records import PROMISE_KINDS
from shoal.store.schema import ENROLMENT, OWNER_HOURS, OWNER_PROMISE, SITE

DAY_NS: Final = 24 * NS_PER_HOUR
DAYS_AHEAD: Final = 2
"""So many days beyond what is asked for are read too: the next gates ask for them."""
_RESERVE: Final = PROMISE_KINDS.index("reserve_frac")
_PART_ROWS: Final = 5_000

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TermsOver:
    """Enrolments, opt-outs and promises of N sites that touch some days, by the registry's numbers.

    Attributes:
        participation: Who takes part in what, when, and who has left.
        ever_enrolled: The programs in which some site has been, is or will be enrolled.
        promised: When what was promised; its `program_index` is the place in `PROMISE_KINDS`.
        amounts: What was promised, in the unit that its kind names.
        kept: When whose hours were on record; its `program_index` is the place in `patterns`.
        patterns: The hours that owners keep.
    """

    participation: Participation
    ever_enrolled: frozenset[str]
    promised: Spans
    amounts: NDArray[np.float64]
    kept: Spans = field(default_factory=Spans.none)
    patterns: tuple[OwnerHours, ...] = ()

    @property
    def book(self) -> ProgramBook:
        """The programs, the one that goes first on top."""
        return self.participation.book

    def enrolled(self, program: str, span: Interval, *, throughout: bool = True) -> Mask:
        """Return which sites are enrolled in a program throughout a span, or at some instant of it."""
        sites = self.participation.sites
        number = self.book.position(program)
        if self.asks_nobody(program):
            return np.ones(sites, dtype=np.bool_)
        covered_ns = _covered_ns(self.participation.enrolled, number, span, sites)
        return covered_ns >= (span.end_ns - span.start_ns if throughout else 1)

    def asks_nobody(self, program: str) -> bool:
        """Whether a program asks for no enrolment: nobody was ever enrolled in it, and it has no site for itself."""
        return not self.book.program(program).exclusive and program not in self.ever_enrolled

    def left(self, program: str, span: Interval, *, throughout: bool = False) -> Mask:
        """Return which owners have left a program at some instant of a span, or throughout.

        Who keeps the site at some hour of the span has left it then.
        """
        sites = self.participation.sites
        number = self.book.position(program)
        away = np.zeros(sites, dtype=np.bool_)
        if not throughout and int(kept_programs(self.book)) >> number & 1:
            away = self.away(span)
        if not self.book.programs[number].may_opt_out:
            return away
        covered_ns = _covered_ns(self.participation.opted_out, number, span, sites)
        return away | (covered_ns >= (span.end_ns - span.start_ns if throughout else 1))

    def away(self, span: Interval) -> Mask:
        """Return which owners keep their sites to themselves at some instant of a span."""
        found = np.zeros(self.participation.sites, dtype=np.bool_)
        order = np.argsort(self.kept.program_index, kind="stable")
        ends = np.searchsorted(self.kept.program_index[order], np.arange(len(self.patterns)), side="right")
        for pattern, mine in zip(self.patterns, np.split(order, ends), strict=False):
            start_ns, end_ns = self.kept.start_ns[mine], self.kept.end_ns[mine]
            for one in pattern.spans(span.start_ns, span.end_ns) if len(mine) else ():
                holds = (start_ns < one.end_ns) & (end_ns > one.start_ns)
                found[self.kept.rows[mine[holds]]] = True
        return found

    def available(self, spans: Sequence[Interval]) -> Mask:
        """Return which sites their owners leave free throughout each of K spans (N, K)."""
        free = np.ones((self.participation.sites, len(spans)), dtype=np.bool_)
        for number, span in enumerate(spans):
            free[:, number] = ~self.away(span)
        return free

    def another_has(self, program: str, span: Interval) -> Mask:
        """Return which sites another program has for itself at some instant of a span."""
        found = np.zeros(self.participation.sites, dtype=np.bool_)
        number = self.book.position(program)
        if self.book.programs[number].beside_exclusive:
            return found
        for place, other in enumerate(self.book.programs):
            if other.exclusive and place != number:
                found |= _covered_ns(self.participation.enrolled, place, span, len(found)) > 0
        return found

    def promises(self, span: Interval) -> OwnerPromises:
        """Return the most that owners were promised at any instant of a span: the highest reserve, the least cycles."""
        sites = self.participation.sites
        reserve_frac, budget_wh = np.zeros(sites), np.full(sites, UNLIMITED_WH, dtype=np.int64)
        touches = (self.promised.start_ns < span.end_ns) & (self.promised.end_ns > span.start_ns)
        is_reserve = self.promised.program_index == _RESERVE
        held = touches & is_reserve
        np.maximum.at(reserve_frac, self.promised.rows[held], self.amounts[held])
        held = touches & ~is_reserve
        np.minimum.at(budget_wh, self.promised.rows[held], np.floor(self.amounts[held]).astype(np.int64))
        return OwnerPromises(reserve_frac=reserve_frac, cycle_budget_wh=budget_wh)


def unknown_terms() -> TermsOver:
    """Return the terms of a plant that keeps none: everybody takes part in everything, and nothing was promised."""
    participation = Participation(book=default_book(), sites=0, enrolled=Spans.none(), opted_out=Spans.none())
    return TermsOver(
        participation=participation, ever_enrolled=frozenset(), promised=Spans.none(), amounts=np.empty(0)
    )


def _covered_ns(spans: Spans, number: int, span: Interval, sites: int) -> NDArray[np.int64]:
    """Return how much of a span each site's rows of one program cover; the database has no two at an instant."""
    mine = spans.program_index == number
    start_ns = np.maximum(spans.start_ns[mine], span.start_ns)
    end_ns = np.minimum(spans.end_ns[mine], span.end_ns)
    covered_ns = np.zeros(sites, dtype=np.int64)
    np.add.at(covered_ns, spans.rows[mine], np.maximum(end_ns - start_ns, 0))
    return covered_ns


class SpanTerms:
    """Terms read from a migrated database, again when they have changed. Calls block; threads may share it.

    Args:
        engine: From `open_database`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._version = -1
        self._window: Interval | None = None
        self._terms: TermsOver | None = None
        self._lock = threading.Lock()

    def over(self, span: Interval) -> TermsOver:
        """Return the terms on record that touch a span; what they say of instants outside of it may be incomplete.

        Raises:
            UnavailableError: when the database cannot be reached.
        """
        with self._lock, reading(self._engine) as connection:
            version = program_rows.version(connection)
            window = self._window
            there = window is not None and window.start_ns <= span.start_ns and span.end_ns <= window.end_ns
            if self._terms is None or version != self._version or not there:
                start_ns = span.start_ns // DAY_NS * DAY_NS
                end_ns = (-(-span.end_ns // DAY_NS) + DAYS_AHEAD) * DAY_NS
                self._terms = read_terms_over(connection, start_ns, end_ns)
                self._version, self._window = version, Interval(start_ns=start_ns, end_ns=end_ns)
            return self._terms


def read_terms_over(connection: Connection, start_ns: int, end_ns: int) -> TermsOver:
    """Return the terms that touch `[start_ns, end_ns)`."""
    participation = program_rows.read_participation(connection, start_ns, end_ns)
    ever = connection.execute(select(ENROLMENT.c.program_id).distinct()).scalars().all()
    table = OWNER_PROMISE
    rows, kinds, amounts, starts, ends = [], [], [], [], []
    for place, kind in enumerate(PROMISE_KINDS):
        query = (
            select(
                SITE.c.site_no,
                table.c.amount,
                table.c.valid_from_ns,
                func.coalesce(table.c.valid_until_ns, FOREVER_NS),
            )
            .join_from(table, SITE, table.c.site_id == SITE.c.site_id)
            .where(table.c.kind == kind, program_rows.overlapping(table, start_ns, end_ns))
        )
        for part in column_parts(connection, query, batch=_PART_ROWS):
            rows.append(np.array(part[0], dtype=np.int64))
            amounts.append(np.array(part[1], dtype=np.float64))
            starts.append(np.array(part[2], dtype=np.int64))
            ends.append(np.array(part[3], dtype=np.int64))
            kinds.append(np.full(len(part[0]), place, dtype=np.int16))
    none = np.empty(0, dtype=np.int64)
    kept, patterns = _read_kept(connection, start_ns, end_ns)
    return TermsOver(
        participation=participation,
        ever_enrolled=frozenset(str(name) for name in ever),
        promised=Spans(
            rows=np.concatenate([none, *rows]),
            program_index=np.concatenate([np.empty(0, dtype=np.int16), *kinds]),
            start_ns=np.concatenate([none, *starts]),
            end_ns=np.concatenate([none, *ends]),
        ),
        amounts=np.concatenate([np.empty(0), *amounts]),
        kept=kept,
        patterns=patterns,
    )


def _read_kept(connection: Connection, start_ns: int, end_ns: int) -> tuple[Spans, tuple[OwnerHours, ...]]:
    """Return whose hours are on record within `[start_ns, end_ns)`, and the patterns that they name."""
    table = OWNER_HOURS
    query = (
        select(
            SITE.c.site_no,
            table.c.said,
            table.c.valid_from_ns,
            func.coalesce(table.c.valid_until_ns, FOREVER_NS),
        )
        .join_from(table, SITE, table.c.site_id == SITE.c.site_id)
        .where(program_rows.overlapping(table, start_ns, end_ns))
    )
    patterns: dict[str, int] = {}
    found: list[tuple[int, int, int, int]] = []
    for numbers, lines, starts, ends in column_parts(connection, query, batch=_PART_ROWS):
        places = [patterns.setdefault(line, len(patterns)) for line in lines]
        found += zip(numbers, places, starts, ends, strict=True)
    columns = np.array(found, dtype=np.int64).reshape(-1, 4)
    spans = Spans(
        rows=columns[:, 0],
        program_index=columns[:, 1].astype(np.int32),
        start_ns=columns[:, 2],
        end_ns=columns[:, 3],
    )
    return spans, tuple(map(program_rows.kept_hours, patterns))
