"""Who takes part in what now, as the controller needs it: read from the store when it changes, kept while it cannot be read.

A program in which nobody has ever been enrolled asks for no enrolment: a plant that keeps no consents is not stopped by
that. As soon as one site is enrolled in it, only those that are take part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from shoal.domain.errors import UnavailableError
from shoal.domain.interval import NS_PER_HOUR
from shoal.programs.ability import SiteTerms, ability_of
from shoal.programs.claims import SiteAbility
from shoal.programs.program import ProgramBook

DAY_NS: Final = 24 * NS_PER_HOUR
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
        day_starts_ns: Returns when the day of an instant began, for cycle budgets; the day of UTC when None.

    Raises:
        UnavailableError: when the store cannot be reached; later the last word counts.
    """

    def __init__(
        self,
        store: TermsStore,
        nameplate: NDArray[Any],
        *,
        t_ns: int,
        day_starts_ns: Callable[[int], int] | None = None,
    ) -> None:
        self._store = store
        self._plate = nameplate
        self._day_starts_ns = day_starts_ns or (lambda at_ns: at_ns // DAY_NS * DAY_NS)
        self._day_ns = -1
        self._day_wh = np.zeros(len(nameplate), dtype=np.int64)
        self._version = -1
        self._until_ns: int | None = 0
        self._read(t_ns)

    @property
    def book(self) -> ProgramBook:
        """The programs, the one that goes first on top."""
        return self._terms.book

    def refresh(self, t_ns: int) -> bool:
        """Read what has changed; return whether anything had. Blocks."""
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
        self._until_ns = self._store.next_change_ns(t_ns)
        self._terms, self._version = terms, version
        sites = len(self._plate)
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
        """Return who takes part in a program and has not left it for now; None for a program that is not in the book."""
        if program not in self.book.ids:
            return None
        place = self.book.position(program)
        bit = np.uint64(1 << place)
        taking = (self._bits & bit) != 0
        if self.book.programs[place].may_opt_out:
            taking &= (self._left & bit) == 0
        return np.flatnonzero(taking)

    def reserve_frac(self) -> NDArray[np.float64]:
        """Return the state of charge that each owner keeps: the nameplate's, or more where more was promised."""
        plate: NDArray[np.float64] = self._plate["reserve_frac"].astype(np.float64)
        promised = self._terms.promises.reserve_frac[: len(plate)]
        plate[: len(promised)] = np.maximum(plate[: len(promised)], promised)
        return plate

    def ability(self, t_ns: int, latest: NDArray[Any], known: NDArray[np.bool_]) -> SiteAbility:
        """Return what each site can do now and for whom, above what its owner keeps."""
        start_ns = self._day_starts_ns(t_ns)
        if start_ns != self._day_ns:
            self._day_ns = start_ns
            self._day_wh = latest["discharge_wh"].astype(np.int64)
        # who had not been heard from when the day began counts from its first word on
        unseen = self._day_wh == 0
        self._day_wh[unseen] = latest["discharge_wh"][unseen]
        promises = (
            self._terms.promises if len(self._terms.promises.reserve_frac) == len(self._plate) else None
        )
        return ability_of(
            book=self.book,
            nameplate=self._plate,
            soc_frac=latest["soc_frac"],
            known=known,
            enrolled_bits=self._bits,
            opted_out_bits=self._left,
            promises=promises,
            discharged_wh=np.maximum(latest["discharge_wh"] - self._day_wh, 0).astype(np.int64),
        )
