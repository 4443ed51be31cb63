"""What of a resource may be offered for a span of hours: what programs, owners, storms, events and kill switches leave.

What control will not let the market have is not offered. Where the future is not certain, the cautious side is taken: a
site must be free throughout; the highest reserve counts; and a site with a cycle budget counts for the share of itself
that its budget outlasts, whatever schedule it is given.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, TypeAlias

import numpy as np
import structlog
from numpy.typing import NDArray

from shoal.bidding.cycle.known import Withheld
from shoal.bidding.cycle_budgets import DayLeft, counted_share, strict_share
from shoal.domain.errors import UnavailableError
from shoal.domain.interval import Interval
from shoal.programs.claims import UNLIMITED_WH
from shoal.programs.program import ProgramBook
from shoal.store.terms_over import DAY_NS, TermsOver, unknown_terms

MARKET: Final = "market"
HoldReason: TypeAlias = Literal["stopped", "islanded", "storm", "event", "regulation"]
AFTER_NS: Final = 2 * DAY_NS
"""So far beyond the span plans look at most."""
_SAID: Final = {
    "stopped": "a kill switch holds",
    "islanded": "they have no grid now",
    "not_enrolled": "not enrolled throughout these hours",
    "hours": "their owners keep them to themselves at some time in these hours",
    "opted_out": "their owners leave at some time in these hours",
    "exclusive": "another program has them for itself",
    "storm": "held for a storm",
    "event": "promised to an event that goes first",
    "regulation": "they follow a regulation signal",
    "reserve": "their owners keep more than the nameplate says",
    "cycle_budget": "no more than their cycle budgets outlast, however they are cycled",
    "counted_cycles": "they may not give as often as the others",
}
_WHOLE: Final = (
    "stopped",
    "islanded",
    "not_enrolled",
    "hours",
    "opted_out",
    "exclusive",
    "storm",
    "event",
    "regulation",
)
"""Why a whole site is not offered; it counts for the first that holds."""

Mask: TypeAlias = NDArray[np.bool_]
Floats: TypeAlias = NDArray[np.float64]
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Hold:
    """Sites that somebody else has for some time.

    Attributes:
        reason: Why.
        name: Of the order, alert or switch.
        program: Whose; it holds only if it goes before the market, and only who takes part in it. Empty holds everybody.
        rows: The sites.
        start_ns: From when.
        end_ns: Until when, exclusive.
    """

    reason: HoldReason
    name: str
    program: str
    rows: NDArray[np.int64]
    start_ns: int
    end_ns: int


class Terms(Protocol):
    """On what terms sites take part; see `shoal.store.terms_over.SpanTerms`."""

    def over(self, span: Interval) -> TermsOver:
        """Return the terms that touch a span."""
        ...


Holds: TypeAlias = Callable[[int], Sequence[Hold]]
"""Returns what is held now or will be, as known at an instant."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Left:
    """What is left of M sites for the market.

    Attributes:
        sites: Which of them may be offered at all.
        reserve_frac: What stays in each of them.
        share_frac: As what share of itself each of them counts, power and energy alike, for a plan that counts no cycles.
        counted_frac: The same for a plan that keeps the budgets of days.
        days: What is left of cycle budgets, the days of the span and those before and after it; empty where nobody has one.
        is_drawn: Whose stored energy somebody else may draw before.
        withheld: What is not offered and why; empty when everything is.
        counted_withheld: The same of a plan that keeps the budgets of days.
    """

    sites: Mask
    reserve_frac: Floats
    share_frac: Floats
    counted_frac: Floats
    days: tuple[DayLeft, ...]
    is_drawn: Mask
    withheld: tuple[Withheld, ...]
    counted_withheld: tuple[Withheld, ...]


class Offering:
    """Tells what of some sites may be offered; threads may share it.

    Args:
        terms: Who takes part in what, and what owners were promised; everybody in everything when None.
        holds: Who is held by somebody else.
    """

    def __init__(self, terms: Terms | None, holds: Holds) -> None:
        self._terms = terms
        self._holds = holds
        self._known: TermsOver | None = None
        self._day_ns = -1
        self._day_wh: NDArray[np.int64] | None = None
        self._latest_wh: NDArray[np.int64] | None = None
        self._lock = threading.Lock()

    def note(self, t_ns: int, latest: NDArray[Any]) -> None:
        """Take the newest records of the fleet: what meters count since a day (of UTC) began spends its cycle budget."""
        meter_wh = latest["discharge_wh"].astype(np.int64)
        with self._lock:
            if self._day_wh is None or len(self._day_wh) != len(meter_wh) or t_ns // DAY_NS != self._day_ns:
                self._day_ns, self._day_wh = t_ns // DAY_NS, meter_wh.copy()
            # who had not been heard from when the day began counts from its first word on
            unseen = self._day_wh == 0
            self._day_wh[unseen] = meter_wh[unseen]
            self._latest_wh = meter_wh

    def left(self, rows: NDArray[np.int64], plate: NDArray[Any], covers: Interval, as_of_ns: int) -> Left:
        """Return what of some sites may be offered for a span, as known at an instant.

        Args:
            rows: The sites' numbers.
            plate: Their nameplates.
            covers: What the gate covers.
            as_of_ns: The instant.

        Raises:
            UnavailableError: when nothing was ever read; later the last word counts.
        """
        terms = self._read(Interval(start_ns=min(as_of_ns, covers.start_ns), end_ns=covers.end_ns))
        market = MARKET if MARKET in terms.book.ids else terms.book.ids[-1]
        before = Interval(start_ns=as_of_ns, end_ns=covers.start_ns) if as_of_ns < covers.start_ns else None
        why: dict[str, Mask] = {name: np.zeros(len(rows), dtype=np.bool_) for name in _SAID}
        why["not_enrolled"] = ~_of(terms.enrolled(market, covers), rows, terms.asks_nobody(market))
        why["hours"] = _of(terms.away(covers), rows, beyond=False)
        why["opted_out"] = _of(terms.left(market, covers), rows, beyond=False)
        why["exclusive"] = _of(terms.another_has(market, covers), rows, beyond=False)
        is_drawn = np.zeros(len(rows), dtype=np.bool_)
        for hold in self._holds(as_of_ns):
            if not _goes_first(terms.book, hold.program, market):
                continue
            held = Interval(start_ns=hold.start_ns, end_ns=hold.end_ns)
            if held.overlaps(covers):
                why[hold.reason] |= _held_rows(terms, hold, covers, rows)
            elif before is not None and hold.reason == "event" and held.overlaps(before):
                is_drawn |= _held_rows(terms, hold, before, rows)
        return self._counted(terms, rows, plate, covers, as_of_ns, why, is_drawn)

    def _read(self, span: Interval) -> TermsOver:
        if self._terms is None:
            return unknown_terms()
        try:
            self._known = self._terms.over(span)
        except UnavailableError as error:
            if self._known is None:
                raise
            _log.warning("enrolments cannot be read", why=str(error))
        return self._known

    def _counted(
        self,
        terms: TermsOver,
        rows: NDArray[np.int64],
        plate: NDArray[Any],
        covers: Interval,
        as_of_ns: int,
        why: dict[str, Mask],
        is_drawn: Mask,
    ) -> Left:
        promised = terms.promises(covers)
        own_frac = plate["reserve_frac"].astype(np.float64)
        reserve_frac = np.maximum(own_frac, _of(promised.reserve_frac, rows, beyond=0.0))
        usable_kwh = plate["energy_capacity_kwh"] * (1.0 - own_frac)
        kept_kwh = plate["energy_capacity_kwh"] * (reserve_frac - own_frac)
        days = self._days_left(terms, rows, covers, as_of_ns)
        window_kwh = usable_kwh - kept_kwh
        share_frac = strict_share(days, plate, window_kwh)
        counted_frac = counted_share(days, plate, window_kwh)
        # a share that is as large outlasts anything, so there is nothing to count
        days = days if bool((counted_frac > share_frac).any()) else ()
        out = np.zeros(len(rows), dtype=np.bool_)
        withheld = []
        for reason in _WHOLE:
            now = why[reason] & ~out
            out |= now
            withheld.append(_withheld(reason, now, plate["discharge_limit_kw"], usable_kwh))
        raised = ~out & (kept_kwh > 0.0)
        withheld.append(_withheld("reserve", raised, np.zeros(len(rows)), kept_kwh))
        of_budgets = [
            _withheld(
                reason,
                ~out & (frac < 1.0),
                (1.0 - frac) * plate["discharge_limit_kw"],
                (1.0 - frac) * window_kwh,
            )
            for reason, frac in (("cycle_budget", share_frac), ("counted_cycles", counted_frac))
        ]
        drawn = int(np.count_nonzero(is_drawn & ~out))
        said = f"{drawn:,} of {len(rows):,} sites count as standing at their reserve: an event may draw them before"
        of_events = Withheld(reason="drawn", sites=drawn, power_kw=0.0, energy_kwh=0.0, said=said)
        strict, counted = (
            tuple(one for one in (*withheld, of_budget, of_events) if one.sites) for of_budget in of_budgets
        )
        return Left(
            sites=~out,
            reserve_frac=reserve_frac,
            share_frac=share_frac,
            counted_frac=counted_frac,
            days=days,
            is_drawn=is_drawn,
            withheld=strict,
            counted_withheld=counted,
        )

    def _days_left(
        self, terms: TermsOver, rows: NDArray[np.int64], covers: Interval, as_of_ns: int
    ) -> tuple[DayLeft, ...]:
        """Return what is left of cycle budgets, day by day of UTC, and in the days after, for which a plan looks ahead."""
        found = []
        limited = False
        first_ns = min(as_of_ns, covers.start_ns) // DAY_NS * DAY_NS
        for day_ns in range(first_ns, covers.end_ns + AFTER_NS, DAY_NS):
            # what was sold before the span is discharged on the same budget
            start_ns, end_ns = max(day_ns, as_of_ns), min(day_ns + DAY_NS, covers.end_ns)
            if day_ns + DAY_NS <= max(covers.start_ns, as_of_ns):
                continue
            promised = terms.promises(Interval(start_ns=start_ns, end_ns=day_ns + DAY_NS))
            budget_wh = _of(promised.cycle_budget_wh, rows, beyond=UNLIMITED_WH)
            left_wh = np.where(
                budget_wh < UNLIMITED_WH,
                np.maximum(budget_wh - self._spent_wh(rows, day_ns), 0),
                UNLIMITED_WH,
            )
            limited |= bool((left_wh < UNLIMITED_WH).any())
            found.append(
                DayLeft(
                    day=Interval(start_ns=day_ns, end_ns=day_ns + DAY_NS),
                    left_wh=left_wh,
                    at_once_ns=max(end_ns - start_ns, 0),
                )
            )
        return tuple(found) if limited else ()

    def _spent_wh(self, rows: NDArray[np.int64], day_ns: int) -> NDArray[np.int64]:
        """Return what the meters counted in a day so far, as far as it was seen."""
        with self._lock:
            if self._day_wh is None or self._latest_wh is None or self._day_ns != day_ns // DAY_NS:
                return np.zeros(len(rows), dtype=np.int64)
            spent_wh = np.maximum(self._latest_wh - self._day_wh, 0)
        return _of(spent_wh, rows, beyond=0)


def _goes_first(book: ProgramBook, program: str, market: str) -> bool:
    if not program:
        return True
    return program in book.ids and book.position(program) < book.position(market)


def _held_rows(terms: TermsOver, hold: Hold, span: Interval, rows: NDArray[np.int64]) -> Mask:
    """Return which of the rows a hold may have at some time in a span."""
    named = np.isin(rows, hold.rows)
    if not hold.program:
        return named
    start_ns, end_ns = max(hold.start_ns, span.start_ns), min(hold.end_ns, span.end_ns)
    both = Interval(start_ns=start_ns, end_ns=end_ns)
    there = terms.enrolled(hold.program, both, throughout=False)
    there &= ~terms.left(hold.program, both, throughout=True)
    named &= _of(there, rows, beyond=terms.asks_nobody(hold.program))
    return named


def _of(column: NDArray[Any], rows: NDArray[np.int64], beyond: object) -> NDArray[Any]:
    """Return a column of the registry for some rows; sites that it does not know yet have another value."""
    found = np.full(len(rows), beyond, dtype=column.dtype)
    known = rows < len(column)
    found[known] = column[rows[known]]
    return found


def _withheld(reason: str, sites: Mask, power_kw: Floats, energy_kwh: Floats) -> Withheld:
    count = int(np.count_nonzero(sites))
    lost_kw, lost_kwh = float(power_kw[sites].sum()), float(energy_kwh[sites].sum())
    power = f"{lost_kw:,.0f} kW and " if lost_kw else ""
    return Withheld(
        reason=reason,
        sites=count,
        power_kw=lost_kw,
        energy_kwh=lost_kwh,
        said=f"{power}{lost_kwh:,.0f} kWh of {count:,} of {len(sites):,} sites are not offered: {_SAID[reason]}",
    )
