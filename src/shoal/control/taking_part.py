"""Who takes part in what now, as the controller needs it: read from the store when it changes, kept while it cannot be read.

A program in which nobody has ever been enrolled asks for no enrolment: a plant that keeps no consents is not stopped by
that. As soon as one site is enrolled in it, only those that are take part.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from shoal.control.day_meters import DayMeters
from shoal.domain.errors import UnavailableError
from shoal.domain.interval import Interval
from shoal.programs.ability import SiteTerms, ability_of
from shoal.programs.claims import SiteAbility
from shoal.programs.hours import HoursAhead, SiteHours, kept_programs
from shoal.programs.program import ProgramBook
from shoal.programs.promises import OwnerPromises

_log = structlog.get_logger(__name__)


class TermsStore(Protocol):
    """Where programs and enrolments are kept; see `shoal.store.programs.ProgramStore`."""

    def version(self) -> int:
        """Return a number that grows with every change."""
        ...

    def next_change_ns(self, after_ns: int) -> int | None:
        """Return when something on record begins or ends next, None for never."""
        ...

    def terms_at(self, t_ns: int) -> SiteTerms:
        """Return on what terms every site takes part, by the registry's numbers."""
        ...


class TakingPart:
    """The programs and who is in them.

    Args:
        store: Where they are kept.
        nameplate: Of every site, by the registry's numbers.
        t_ns: The present instant.
        day: What each battery has discharged since its day began, for cycle budgets; by the day of UTC when None.

    Raises:
        UnavailableError: when the store cannot be reached; later the last word counts.
    """

    def __init__(
        self,
        store: TermsStore,
        nameplate: NDArray[Any],
        *,
        t_ns: int,
        day: DayMeters | None = None,
    ) -> None:
        self._store = store
        self._plate = nameplate
        self.day = day or DayMeters(len(nameplate))
        self._version = -1
        self._until_ns: int | None = 0
        self._read(t_ns)
        self._away = self._hours.away_at(t_ns)

    @property
    def book(self) -> ProgramBook:
        """The programs, the one that goes first on top."""
        return self._terms.book

    def refresh(self, t_ns: int) -> bool:
        """Read what has changed, and which hours have come; return whether anything had. Blocks."""
        read = self._refresh(t_ns)
        away = self._hours.away_at(t_ns)
        changed = not np.array_equal(away, self._away)
        self._away = away
        return read or changed

    def _refresh(self, t_ns: int) -> bool:
        try:
            over = self._until_ns is not None and t_ns >= self._until_ns
            if not over and self._store.version() == self._version:
                return False
            self._read(t_ns)
        except UnavailableError as error:
            _log.warning("enrolments cannot be read", why=str(error))
            return False
        return True

    def _read(self, t_ns: int) -> None:
        version = self._store.version()
        terms = self._store.terms_at(t_ns)
        sites = len(self._plate)
        hours = _of_sites(terms.hours, sites)
        self._keeps_hours, self._hours = bool(hours.patterns), HoursAhead(hours)
        self._until_ns = self._store.next_change_ns(t_ns)
        self._terms, self._version = terms, version
        bits = np.zeros(sites, dtype=np.uint64)
        known = min(sites, len(terms.enrolled_bits))
        bits[:known] = terms.enrolled_bits[:known]
        for place, program in enumerate(terms.book.programs):
            bit = np.uint64(1 << place)
            ever = bool(terms.ever_enrolled_bits >> place & 1) or bool((terms.enrolled_bits & bit).any())
            if not program.exclusive and not ever:
                bits |= bit
        self._bits = bits
        self._left = np.zeros(sites, dtype=np.uint64)
        self._left[:known] = terms.opted_out_bits[:known]

    def enrolled(self, program: str) -> NDArray[np.int64] | None:
        """Return who takes part in a program and has not left it for now, None for a program that is not in the book.

        Whose owner keeps the site at this hour is not among them, where the program asks for power or capacity.
        """
        if program not in self.book.ids:
            return None
        place = self.book.position(program)
        bit = np.uint64(1 << place)
        taking = (self._bits & bit) != 0
        if self.book.programs[place].may_opt_out:
            taking &= (self._left & bit) == 0
        if int(kept_programs(self.book)) >> place & 1:
            taking &= ~self._away
        return np.flatnonzero(taking)

    def free_until_ns(self, t_ns: int) -> NDArray[np.int64]:
        """Return until when each owner leaves the site to programs; a week on where no end is in sight."""
        return self._hours.free_until_ns(t_ns)

    def away_in(self, start_ns: int, end_ns: int) -> NDArray[np.bool_]:
        """Return which owners keep their sites at some instant of `[start_ns, end_ns)`."""
        return self._hours.away_in(Interval(start_ns=start_ns, end_ns=end_ns))

    def reserve_frac(self) -> NDArray[np.float64]:
        """Return the state of charge that each owner keeps: the nameplate's, or more where more was promised."""
        plate: NDArray[np.float64] = self._plate["reserve_frac"].astype(np.float64)
        promised = self._terms.promises.reserve_frac[: len(plate)]
        plate[: len(promised)] = np.maximum(plate[: len(promised)], promised)
        return plate

    def promised_frac(self) -> NDArray[np.float64]:
        """Return what owners were promised beyond the nameplate's reserve, as a state of charge; 0 for nothing."""
        plate: NDArray[np.float64] = self._plate["reserve_frac"].astype(np.float64)
        kept = self.reserve_frac()
        return np.where(kept > plate, kept, 0.0)

    def ability(self, t_ns: int, latest: NDArray[Any], known: NDArray[np.bool_]) -> SiteAbility:
        """Return what each site can do now and for whom, above what its owner keeps."""
        return ability_of(
            book=self.book,
            nameplate=self._plate,
            soc_frac=latest["soc_frac"],
            known=known,
            enrolled_bits=self._bits,
            opted_out_bits=self._left,
            promises=_promises_of(self._terms.promises, len(self._plate)),
            discharged_wh=self.day.discharged_wh(t_ns, latest),
            away=self._hours.away_at(t_ns) if self._keeps_hours else None,
        )


def _promises_of(promises: OwnerPromises, sites: int) -> OwnerPromises:
    """Return the promises of as many sites as the fleet has; whom the registry learned of since is not in it."""
    if len(promises.reserve_frac) == sites:
        return promises
    plain = OwnerPromises.none(sites)
    known = min(sites, len(promises.reserve_frac))
    plain.reserve_frac[:known] = promises.reserve_frac[:known]
    plain.cycle_budget_wh[:known] = promises.cycle_budget_wh[:known]
    return plain


def _of_sites(hours: SiteHours | None, sites: int) -> SiteHours:
    """Return the hours of as many sites as the fleet has."""
    index = np.full(sites, -1, dtype=np.int32)
    if hours is None:
        return SiteHours.none(sites)
    known = min(sites, len(hours))
    index[:known] = hours.pattern_index[:known]
    return SiteHours(patterns=hours.patterns, pattern_index=index)
