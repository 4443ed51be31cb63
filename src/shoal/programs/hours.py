"""When an owner keeps the site to itself: hours of the week by the clock of a zone, e.g. weekdays from 17 to 20.

A promise: no program that asks for power or capacity uses the site in these hours, whatever its priority. Sites share few
patterns, so a fleet's hours are patterns and, for each site, the number of its own.

    hours = parse_hours("mon-fri 17:00-20:00; sun 00:00-24:00", zone="America/Chicago")
    hours.away_at(t_ns)                             # one owner, one instant
    SiteHours.of([hours, None]).available(spans)    # (2, K): free throughout each span, what may be promised
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, Interval, local_midnight_ns, to_datetime
from shoal.programs.program import ProgramBook

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MIN: Final = 24 * 60
MOST_WINDOWS: Final = 20
LONGEST: Final = 900
"""Characters of hours as they are written."""
_DAY_NS: Final = 24 * NS_PER_HOUR
_AHEAD_DAYS: Final = 8
_TERM: Final = re.compile(
    r"(?:(?P<days>[a-z]{3}(?:-[a-z]{3})?(?:,[a-z]{3}(?:-[a-z]{3})?)*)\s+)?"
    r"(?P<start>\d{1,2}(?::\d{2})?)-(?P<end>\d{1,2}(?::\d{2})?)"
)
_FIX: Final = "write it like 'mon-fri 17:00-20:00; sun 00:00-24:00'"

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Some hours of some days, `[start_min, end_min)` after local midnight; one that ends before it begins ends next day.

    Attributes:
        days: Its days, 0 for Monday, ascending.
        start_min: When it begins, by the clock, in minutes after midnight.
        end_min: When it ends, likewise, up to 24:00.
    """

    days: tuple[int, ...]
    start_min: int
    end_min: int

    def __post_init__(self) -> None:
        fits = (
            0 <= self.start_min < DAY_MIN and 0 < self.end_min <= DAY_MIN and self.start_min != self.end_min
        )
        if not fits or not self.days or not set(self.days) <= set(range(7)):
            raise InvalidInputError(field="hours", value=str(self), fix=_FIX)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerHours:
    """When one owner keeps the site: windows by the clock of a zone.

    Attributes:
        zone: A name of the IANA time zone database.
        windows: When.

    Raises:
        InvalidInputError: when the zone is unknown, or there is no window, or there are too many.
    """

    zone: str
    windows: tuple[Window, ...]

    def __post_init__(self) -> None:
        zone_of(self.zone)
        if not 0 < len(self.windows) <= MOST_WINDOWS:
            raise InvalidInputError(
                field="hours", value=len(self.windows), fix=f"give 1 to {MOST_WINDOWS} windows"
            )

    def spans(self, start_ns: int, end_ns: int) -> list[Interval]:
        """Return when the site is kept within `[start_ns, end_ns)`, ascending, without overlaps."""
        zone = zone_of(self.zone)
        first = to_datetime(start_ns, zone).date() - timedelta(days=1)
        last = to_datetime(end_ns, zone).date()
        found = []
        for number in range((last - first).days + 1):
            day = first + timedelta(days=number)
            for window in self.windows:
                if day.weekday() in window.days:
                    began_ns = _clock_ns(day, window.start_min, zone)
                    later = day if window.end_min > window.start_min else day + timedelta(days=1)
                    over_ns = _clock_ns(later, window.end_min, zone)
                    if began_ns < end_ns and over_ns > start_ns and over_ns > began_ns:
                        found.append((max(began_ns, start_ns), min(over_ns, end_ns)))
        return _joined(sorted(found))

    def away_at(self, t_ns: int) -> bool:
        """Whether the owner keeps the site at an instant."""
        return bool(self.spans(t_ns, t_ns + 1))

    def next_ns(self, t_ns: int) -> int:
        """Return the first instant after `t_ns` at which that changes, or one a week on."""
        until_ns = t_ns + _AHEAD_DAYS * _DAY_NS
        for span in self.spans(t_ns, until_ns):
            if span.start_ns > t_ns:
                return span.start_ns
            if span.end_ns < until_ns:
                return span.end_ns
        return until_ns

    def text(self) -> str:
        """Return the windows as `parse_hours` reads them."""
        return "; ".join(
            f"{_days_text(one.days)} {_clock_text(one.start_min)}-{_clock_text(one.end_min)}"
            for one in self.windows
        )


@lru_cache(maxsize=64)
def zone_of(name: str) -> ZoneInfo:
    """Return a time zone by its name.

    Raises:
        InvalidInputError: when there is none of that name.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise InvalidInputError(
            field="zone", value=name, fix="name a time zone such as America/Chicago"
        ) from error


def parse_hours(text: str, *, zone: str) -> OwnerHours:
    """Return hours from what a person wrote: ``mon-fri 17:00-20:00``, several with semicolons; no days mean every day.

    Raises:
        InvalidInputError: naming what cannot be read.
    """
    if len(text) > LONGEST:
        raise InvalidInputError(
            field="hours", value=f"{len(text)} characters", fix=f"at most {LONGEST} characters"
        )
    windows = []
    for part in text.lower().split(";"):
        found = _TERM.fullmatch(part.strip())
        if found is None:
            raise InvalidInputError(field="hours", value=part.strip(), fix=_FIX)
        days = _days(found["days"]) if found["days"] else tuple(range(7))
        windows.append(Window(days=days, start_min=_minutes(found["start"]), end_min=_minutes(found["end"])))
    return OwnerHours(zone=zone, windows=tuple(windows))


def said(hours: OwnerHours) -> str:
    """Return hours with their zone as one line, as they are kept."""
    return f"{hours.zone} {hours.text()}"


def read_said(line: str) -> OwnerHours:
    """Return the hours that a line holds.

    Raises:
        InvalidInputError: when it holds none.
    """
    zone, _, text = line.partition(" ")
    return parse_hours(text, zone=zone)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SiteHours:
    """The hours of N sites, at one instant of the registry.

    Attributes:
        patterns: Those that occur.
        pattern_index: Of each site, -1 for an owner who keeps no hours (N).
    """

    patterns: tuple[OwnerHours, ...]
    pattern_index: NDArray[np.int32]

    @staticmethod
    def none(sites: int) -> SiteHours:
        """Return the hours of owners who keep none."""
        return SiteHours(patterns=(), pattern_index=np.full(sites, -1, dtype=np.int32))

    @staticmethod
    def of(each: Sequence[OwnerHours | None]) -> SiteHours:
        """Return the hours of sites, one after another."""
        known = tuple(dict.fromkeys(one for one in each if one is not None))
        place = {one: number for number, one in enumerate(known)}
        index = np.array([-1 if one is None else place[one] for one in each], dtype=np.int32)
        return SiteHours(patterns=known, pattern_index=index)

    def __len__(self) -> int:
        return len(self.pattern_index)

    def away_at(self, t_ns: int) -> Mask:
        """Return which owners keep their sites at an instant (N)."""
        return self._of_sites([one.away_at(t_ns) for one in self.patterns])

    def away_in(self, span: Interval) -> Mask:
        """Return which owners keep their sites at some instant of a span (N)."""
        return self._of_sites([bool(one.spans(span.start_ns, span.end_ns)) for one in self.patterns])

    def available(self, spans: Sequence[Interval]) -> Mask:
        """Return which sites are free throughout each of K spans (N, K): what may be promised of them."""
        free = np.ones((len(self), len(spans)), dtype=np.bool_)
        for number, span in enumerate(spans):
            free[:, number] = ~self.away_in(span)
        return free

    def free_until_ns(self, t_ns: int) -> NDArray[np.int64]:
        """Return until when each site that is free at an instant stays so; `t_ns` for others, a week on for no end."""
        far_ns = t_ns + _AHEAD_DAYS * _DAY_NS
        until = [t_ns if one.away_at(t_ns) else one.next_ns(t_ns) for one in self.patterns]
        each = np.full(len(self), far_ns, dtype=np.int64)
        has = self.pattern_index >= 0
        each[has] = np.array([*until, far_ns], dtype=np.int64)[self.pattern_index[has]]
        return each

    def next_ns(self, t_ns: int) -> int | None:
        """Return the first instant after `t_ns` at which some owner's hours begin or end; None for never."""
        return min((one.next_ns(t_ns) for one in self.patterns), default=None)

    def _of_sites(self, of_patterns: Sequence[bool]) -> Mask:
        mask: Mask = np.array([*of_patterns, False], dtype=np.bool_)[self.pattern_index]
        return mask


class HoursAhead:
    """The hours of N sites as time goes on, the same as `SiteHours` says, at the cost of a few array operations.

    The spans of all patterns are worked out for a week ahead once a day, for fleets whose owners keep thousands of patterns.

    Args:
        hours: The hours.
    """

    def __init__(self, hours: SiteHours) -> None:
        self._hours = hours
        self._from_ns = self._until_ns = 0
        self._pattern = self._start_ns = self._end_ns = np.empty(0, dtype=np.int64)

    def away_at(self, t_ns: int) -> Mask:
        """Return which owners keep their sites at an instant (N)."""
        self._look(t_ns)
        return self.away_in(Interval(start_ns=t_ns, end_ns=t_ns + 1))

    def away_in(self, span: Interval) -> Mask:
        """Return which owners keep their sites at some instant of a span (N)."""
        if span.start_ns < self._from_ns or span.end_ns > self._until_ns:
            return self._hours.away_in(span)
        away = np.zeros(len(self._hours.patterns) + 1, dtype=np.bool_)
        away[self._pattern[(self._start_ns < span.end_ns) & (self._end_ns > span.start_ns)]] = True
        return away[self._hours.pattern_index]

    def free_until_ns(self, t_ns: int) -> NDArray[np.int64]:
        """Return until when each site that is free at an instant stays so; `t_ns` for others, a week on for no end."""
        self._look(t_ns)
        until = np.full(len(self._hours.patterns) + 1, t_ns + _AHEAD_DAYS * _DAY_NS, dtype=np.int64)
        later = self._start_ns > t_ns
        np.minimum.at(until, self._pattern[later], self._start_ns[later])
        until[self._pattern[(self._start_ns <= t_ns) & (self._end_ns > t_ns)]] = t_ns
        return until[self._hours.pattern_index]

    def _look(self, t_ns: int) -> None:
        if self._from_ns <= t_ns < self._from_ns + _DAY_NS:
            return
        self._from_ns, self._until_ns = t_ns, t_ns + (_AHEAD_DAYS + 1) * _DAY_NS
        found = [
            (place, span.start_ns, span.end_ns)
            for place, one in enumerate(self._hours.patterns)
            for span in one.spans(self._from_ns, self._until_ns)
        ]
        columns = np.array(found, dtype=np.int64).reshape(-1, 3)
        self._pattern, self._start_ns, self._end_ns = columns[:, 0], columns[:, 1], columns[:, 2]


def kept_programs(book: ProgramBook) -> np.uint64:
    """Return the bits of the programs that owners' hours keep out: those that ask for power or for capacity.

    What a site does for its own bill goes on, and so does a reserve against a storm: it is kept for the owner.
    """
    return np.uint64(
        sum(1 << place for place, one in enumerate(book.programs) if one.kind in ("power", "capacity"))
    )


def _clock_ns(day: date, minutes: int, zone: ZoneInfo) -> int:
    """Return when the clock of a zone shows so many minutes after midnight; an hour that is left out counts as the next.

    Found from midnight, so that on the days on which clocks change it is what the clock shows that counts.
    """
    if minutes == DAY_MIN:
        return local_midnight_ns(day + timedelta(days=1), zone)
    guess_ns = local_midnight_ns(day, zone) + minutes * NS_PER_MINUTE
    shown = to_datetime(guess_ns, zone)
    shown_min = shown.hour * 60 + shown.minute + DAY_MIN * (shown.date() - day).days
    return guess_ns + (minutes - shown_min) * NS_PER_MINUTE


def _joined(spans: Sequence[tuple[int, int]]) -> list[Interval]:
    found: list[tuple[int, int]] = []
    for start_ns, end_ns in spans:
        if found and start_ns <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end_ns))
        else:
            found.append((start_ns, end_ns))
    return [Interval(start_ns=start_ns, end_ns=end_ns) for start_ns, end_ns in found]


def _days(text: str) -> tuple[int, ...]:
    chosen: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first not in DAYS or (last or first) not in DAYS:
            raise InvalidInputError(field="hours", value=part, fix=f"name days: {', '.join(DAYS)}")
        start, end = DAYS.index(first), DAYS.index(last or first)
        chosen.update(number % 7 for number in range(start, end + 1 + 7 * (end < start)))
    return tuple(sorted(chosen))


def _days_text(days: Sequence[int]) -> str:
    if len(days) > 1 and days[-1] - days[0] == len(days) - 1:
        return f"{DAYS[days[0]]}-{DAYS[days[-1]]}"
    return ",".join(DAYS[day] for day in days)


def _minutes(text: str) -> int:
    hours, _, minutes = text.partition(":")
    found = int(hours) * 60 + int(minutes or 0)
    if int(minutes or 0) >= 60 or found > DAY_MIN:
        raise InvalidInputError(field="hours", value=text, fix="give a time from 00:00 to 24:00")
    return found


def _clock_text(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
