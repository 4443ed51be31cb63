"""Who takes part in which program, from when until when and by whose consent; who has left for a while.

`Enrolment` is one such fact with its consent. `Participation` is all of them as columns, for a million sites at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import iso
from shoal.programs.claims import Whole
from shoal.programs.program import ProgramBook

FOREVER_NS: Final = np.iinfo(np.int64).max
"""Stands for an end that is not set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """A site in a program, `[start_ns, end_ns)`, with the consent that it rests on.

    Attributes:
        site_id: Which site.
        program: In which program.
        start_ns: From when.
        end_ns: Until when; None while no end is set.
        consented_by: Who agreed, as they were called; empty when it is not recorded.
        consented_ns: When; None when it is not recorded.
        terms: The version of the terms that was agreed to.
        withdrawn_by: Who withdrew the consent; empty when nobody did.
        withdrawn_ns: When that was said.
    """

    site_id: str
    program: str
    start_ns: int
    end_ns: int | None = None
    consented_by: str = ""
    consented_ns: int | None = None
    terms: str = ""
    withdrawn_by: str = ""
    withdrawn_ns: int | None = None

    def overlaps(self, other: Enrolment) -> bool:
        """Whether the two share an instant."""
        ends = (FOREVER_NS if one.end_ns is None else one.end_ns for one in (self, other))
        mine_ns, theirs_ns = ends
        return self.start_ns < theirs_ns and other.start_ns < mine_ns


def check_exclusive(book: ProgramBook, held: Iterable[Enrolment], wanted: Enrolment) -> None:
    """Refuse an enrolment in an exclusive program over a span in which another such program has the site.

    Raises:
        InvalidInputError: naming both programs, the span, and what to do.
    """
    if not book.program(wanted.program).exclusive:
        return
    for other in held:
        if other.site_id != wanted.site_id or other.program == wanted.program:
            continue
        if other.program in book.ids and book.program(other.program).exclusive and wanted.overlaps(other):
            until = "with no end" if other.end_ns is None else f"until {iso(other.end_ns)}"
            later = "" if other.end_ns is None else f", or begin at {iso(other.end_ns)}"
            raise InvalidInputError(
                field=f"enrolment of {wanted.site_id}",
                value=wanted.program,
                fix=f"{other.program} has the site for itself from {iso(other.start_ns)} {until}: "
                f"withdraw it there first{later}",
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spans:
    """Stretches of time of sites and programs, as columns of K.

    Attributes:
        rows: The site of each.
        program_index: The program's position in the book.
        start_ns: From when.
        end_ns: Until when, exclusive; `FOREVER_NS` for no end.
    """

    rows: Whole
    program_index: NDArray[np.int16] | NDArray[np.int32]
    start_ns: Whole
    end_ns: Whole

    @staticmethod
    def none() -> Spans:
        """Return no span."""
        nothing = np.empty(0, dtype=np.int64)
        return Spans(
            rows=nothing, program_index=np.empty(0, dtype=np.int16), start_ns=nothing, end_ns=nothing
        )

    def bits_at(self, t_ns: int, sites: int) -> NDArray[np.uint64]:
        """Return for each site the bits of the programs that have a span at the instant."""
        bits = np.zeros(sites, dtype=np.uint64)
        holds = (self.start_ns <= t_ns) & (t_ns < self.end_ns)
        for program in np.unique(self.program_index).tolist():
            bits[self.rows[holds & (self.program_index == program)]] |= np.uint64(1 << program)
        return bits

    def mask_at(self, t_ns: int, program_index: int, sites: int) -> NDArray[np.bool_]:
        """Return which sites have a span of one program at the instant."""
        mask = np.zeros(sites, dtype=np.bool_)
        holds = (self.program_index == program_index) & (self.start_ns <= t_ns) & (t_ns < self.end_ns)
        mask[self.rows[holds]] = True
        return mask


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Participation:
    """Enrolments and opt-outs of N sites over time.

    Attributes:
        book: The programs.
        sites: How many sites there are.
        enrolled: Who takes part, when.
        opted_out: Who has left, when.
    """

    book: ProgramBook
    sites: int
    enrolled: Spans
    opted_out: Spans

    def eligible(self, rows: Whole, program: str, t_ns: int) -> NDArray[np.bool_]:
        """Return which of the rows a program may use at an instant: enrolled, not left, not another's alone.

        Raises:
            InvalidInputError: when the book has no such program.
        """
        place = self.book.position(program)
        open_to = self.enrolled.mask_at(t_ns, place, self.sites)
        if self.book.programs[place].may_opt_out:
            open_to &= ~self.opted_out.mask_at(t_ns, place, self.sites)
        if not self.book.programs[place].beside_exclusive:
            for number, other in enumerate(self.book.programs):
                if other.exclusive and number != place:
                    open_to &= ~self.enrolled.mask_at(t_ns, number, self.sites)
        return open_to[rows]

    def enrolled_bits(self, t_ns: int) -> NDArray[np.uint64]:
        """Return the bits of the programs that each site is enrolled in at an instant."""
        return self.enrolled.bits_at(t_ns, self.sites)

    def opted_out_bits(self, t_ns: int) -> NDArray[np.uint64]:
        """Return the bits of the programs that each owner has left at an instant."""
        return self.opted_out.bits_at(t_ns, self.sites) & opt_out_mask(self.book)


def opt_out_mask(book: ProgramBook) -> np.uint64:
    """Return the bits of the programs that an owner may leave."""
    return np.uint64(sum(1 << number for number, one in enumerate(book.programs) if one.may_opt_out))


def exclusive_index(book: ProgramBook, enrolled_bits: NDArray[np.uint64]) -> NDArray[np.int16]:
    """Return the program that has each site for itself, the one of the highest priority; -1 for none."""
    index = np.full(len(enrolled_bits), -1, dtype=np.int16)
    for number in reversed(range(len(book.programs))):
        if book.programs[number].exclusive:
            index[(enrolled_bits & np.uint64(1 << number)) != 0] = number
    return index


def spans_of(book: ProgramBook, row_of: dict[str, int], held: Sequence[Enrolment]) -> Spans:
    """Return enrolments as columns; sites and programs that are not known are left out."""
    known = [one for one in held if one.site_id in row_of and one.program in book.ids]
    return Spans(
        rows=np.array([row_of[one.site_id] for one in known], dtype=np.int64),
        program_index=np.array([book.position(one.program) for one in known], dtype=np.int16),
        start_ns=np.array([one.start_ns for one in known], dtype=np.int64),
        end_ns=np.array([FOREVER_NS if one.end_ns is None else one.end_ns for one in known], dtype=np.int64),
    )
