"""Metered energy of many sites with the calendar in which baselines think: local days and times of day.

An interval belongs to the local day and to the place in it that the clock on the wall shows. So on the day when clocks
go forward some places are missing, and on the day when they go back some are there twice: what a place of the day holds
is then the mean of both, and a place that is missing is left out, never taken for zero.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_S, Interval, to_datetime

_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_DAY_S: Final = 86_400
_HOUR_S: Final = 3_600
_OFFSET_BLOCK_S: Final = 1_800
"""Clocks change at whole or half hours of UTC."""
_SATURDAY: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeterCalendar:
    """T consecutive intervals and their places in local days.

    Attributes:
        start_ns: When the first begins.
        step_s: Length of each.
        day_number: T local days, as `datetime.date.toordinal` counts them.
        slot_number: T places in the day by the clock on the wall, 0 for the one that begins at midnight.
    """

    start_ns: int
    step_s: int
    day_number: NDArray[np.int64]
    slot_number: NDArray[np.int64]

    @classmethod
    def of(cls, *, start_ns: int, step_s: int, count: int, zone: ZoneInfo) -> MeterCalendar:
        """Return the calendar of `count` intervals in a zone.

        Raises:
            InvalidInputError: when the intervals do not divide the hour, or do not begin on a multiple of their length.
        """
        if step_s <= 0 or _HOUR_S % step_s:
            raise InvalidInputError(
                field="step_s", value=step_s, fix="give a length that divides the hour, such as 300 or 900"
            )
        if start_ns % (step_s * NS_PER_S):
            raise InvalidInputError(
                field="start_ns", value=start_ns, fix=f"begin on a multiple of {step_s} s of UTC"
            )
        start_s = start_ns // NS_PER_S + step_s * np.arange(count, dtype=np.int64)
        block = start_s // _OFFSET_BLOCK_S
        blocks, of_block = np.unique(block, return_inverse=True)
        offset_s = np.array(
            [_offset_s(int(one) * _OFFSET_BLOCK_S, zone) for one in blocks.tolist()], dtype=np.int64
        )
        local_s = start_s + offset_s[of_block]
        return cls(
            start_ns=start_ns,
            step_s=step_s,
            day_number=local_s // _DAY_S + _EPOCH_DAY,
            slot_number=local_s % _DAY_S // step_s,
        )

    @property
    def step_ns(self) -> int:
        """Length of an interval."""
        return self.step_s * NS_PER_S

    @property
    def count(self) -> int:
        """T, how many intervals there are."""
        return len(self.day_number)

    @property
    def slots(self) -> int:
        """How many places an ordinary day has."""
        return _DAY_S // self.step_s

    def positions_in(self, span: Interval) -> NDArray[np.int64]:
        """Return the positions of the intervals of a span.

        Raises:
            InvalidInputError: when the span does not begin and end where intervals do, or leaves the data.
        """
        first, rest_ns = divmod(span.start_ns - self.start_ns, self.step_ns)
        end, end_rest_ns = divmod(span.end_ns - self.start_ns, self.step_ns)
        if rest_ns or end_rest_ns:
            raise InvalidInputError(
                field="span",
                value=(span.start_ns, span.end_ns),
                fix=f"begin and end where the meter's intervals of {self.step_s} s do",
            )
        if first < 0 or end > self.count:
            raise InvalidInputError(
                field="span", value=(span.start_ns, span.end_ns), fix="stay within the metered data"
            )
        return np.arange(first, end, dtype=np.int64)

    def day_table(self, day_number: int) -> NDArray[np.int64]:
        """Return `slots` x 2 positions of a local day's intervals by place: -1 for none, two where clocks went back."""
        first = int(np.searchsorted(self.day_number, day_number, side="left"))
        end = int(np.searchsorted(self.day_number, day_number, side="right"))
        table = np.full((self.slots, 2), -1, dtype=np.int64)
        for position in range(first, end):
            slot = self.slot_number[position]
            table[slot, 0 if table[slot, 0] < 0 else 1] = position
        return table


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeterData:
    """Energy of N sites in T intervals.

    Attributes:
        energy_wh: N x T whole watt-hours at the meter, import positive, export negative.
        known: N x T, whether it was metered; where not, the energy says nothing.
        calendar: Of the intervals.

    Raises:
        InvalidInputError: when shapes differ, or energies are not whole.
    """

    energy_wh: NDArray[np.int64]
    known: NDArray[np.bool_]
    calendar: MeterCalendar

    def __post_init__(self) -> None:
        shape = self.energy_wh.shape
        if len(shape) != 2 or shape != self.known.shape or shape[1] != self.calendar.count:
            raise InvalidInputError(
                field="energy_wh",
                value=(shape, self.known.shape),
                fix=f"give sites x {self.calendar.count} energies and as many marks of which are known",
            )
        if self.energy_wh.dtype != np.int64:
            raise InvalidInputError(
                field="energy_wh", value=str(self.energy_wh.dtype), fix="give whole watt-hours, int64"
            )

    @property
    def sites(self) -> int:
        """N, how many sites there are."""
        return len(self.energy_wh)

    def together(self) -> MeterData:
        """Return all sites as one: an interval is known where every one of them is."""
        return MeterData(
            energy_wh=self.energy_wh.sum(axis=0, keepdims=True),
            known=np.logical_and.reduce(self.known, axis=0, keepdims=True),
            calendar=self.calendar,
        )


def nerc_holidays(years: Iterable[int]) -> frozenset[int]:
    """Return the days, as ordinals, that North American markets count as non-business days beside week-ends.

    New Year's Day, Memorial Day, Independence Day, Labor Day, Thanksgiving and Christmas; the fixed ones are kept on the
    Monday when they fall on a Sunday (NERC, "Additional Off-peak Days").
    """
    days: set[int] = set()
    for year in years:
        fixed = (date(year, 1, 1), date(year, 7, 4), date(year, 12, 25))
        days |= {(day + timedelta(days=1 if day.weekday() == 6 else 0)).toordinal() for day in fixed}
        last_of_may = date(year, 5, 31)
        first_of_september, first_of_november = date(year, 9, 1), date(year, 11, 1)
        days.add((last_of_may - timedelta(days=last_of_may.weekday())).toordinal())
        days.add((first_of_september + timedelta(days=-first_of_september.weekday() % 7)).toordinal())
        days.add((first_of_november + timedelta(days=(3 - first_of_november.weekday()) % 7 + 21)).toordinal())
    return frozenset(days)


def is_business_day(day_number: int, holidays: frozenset[int]) -> bool:
    """Whether a day, as an ordinal, is Monday to Friday and no holiday."""
    return date.fromordinal(day_number).weekday() < _SATURDAY and day_number not in holidays


def _offset_s(instant_s: int, zone: ZoneInfo) -> int:
    offset = to_datetime(instant_s * NS_PER_S, zone).utcoffset()
    return 0 if offset is None else int(offset.total_seconds())
