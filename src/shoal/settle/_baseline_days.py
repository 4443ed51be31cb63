"""Which days a baseline rests on, site by site, and what the places of the day add up to over them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.settle.baseline_calendar import MeterData, is_business_day
from shoal.settle.baseline_rules import DayMatchRule

EVENT: Final = "event"
"""The reason of a day on which the site answered an event."""
USED: Final = "used"
OTHER_TYPE: Final = "other_day_type"
INCOMPLETE: Final = "too_little_data"
OLDER: Final = "not_needed"
HIGHEST: Final = "highest"
LOWEST: Final = "lowest"
FALLBACK: Final = "used_though_event"

_LEAST_KNOWN_FRAC: Final = 0.9
"""Of a day's intervals so many are known at least, besides all of those that are asked for."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Days:
    """D days before an event, the latest first, for N sites.

    Attributes:
        day_number: D ordinals.
        used: N x D, whether the baseline rests on the day.
        reason_number: N x D positions in `reasons`.
        reasons: The words.
        enough: N, whether as many days were found as the rule asks for at least.
        place_twice_wh: N x P sums over the used days of twice the energy of each place asked for.
        place_count: N x P, how many used days have the place.
    """

    day_number: NDArray[np.int64]
    used: NDArray[np.bool_]
    reason_number: NDArray[np.int64]
    reasons: tuple[str, ...]
    enough: NDArray[np.bool_]
    place_twice_wh: NDArray[np.int64]
    place_count: NDArray[np.int64]

    def of(self, row: int) -> dict[int, str]:
        """Return what became of each day for one site."""
        words = [self.reasons[number] for number in self.reason_number[row].tolist()]
        return dict(zip(self.day_number.tolist(), words, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Day:
    """One day: twice the energy by place asked for (N x P), which places it has (P), and whether a site has them all."""

    twice: NDArray[np.int64]
    has_place: NDArray[np.bool_]
    complete: NDArray[np.bool_]
    total_wh: NDArray[np.int64]


def candidate_days(
    rule: DayMatchRule,
    meter: MeterData,
    *,
    event_day_number: int,
    shift_days: NDArray[np.int64],
    slot_number: NDArray[np.int64],
    event_slots: int,
    holidays: frozenset[int],
    all_sites: Mapping[int, str],
    by_row: Mapping[int, Mapping[int, str]],
) -> Days:
    """Return the days that a rule looks at, which of them it uses, and the sums over those.

    Args:
        rule: The rule.
        meter: The data.
        event_day_number: Ordinal of the event's local day.
        shift_days: P days from the event's day to that of each place asked for.
        slot_number: P places of the day.
        event_slots: How many of the P, the first ones, are the event's.
        holidays: Ordinals.
        all_sites: Excluded days.
        by_row: Excluded days of single sites.
    """
    first_day = int(meter.calendar.day_number[0])
    business = is_business_day(event_day_number, holidays)
    numbers = list(
        range(event_day_number - 1, max(event_day_number - rule.look_back_days, first_day) - 1, -1)
    )
    sites = meter.sites
    reasons = [USED, OTHER_TYPE, INCOMPLETE, OLDER, HIGHEST, LOWEST, FALLBACK, EVENT]
    code = np.zeros((sites, len(numbers)), dtype=np.int64)
    read: list[_Day | None] = []
    for column, number in enumerate(numbers):
        if is_business_day(number, holidays) != business:
            code[:, column] = reasons.index(OTHER_TYPE)
            read.append(None)
            continue
        day = _read_day(meter, number, shift_days, slot_number)
        read.append(day)
        code[~day.complete, column] = reasons.index(INCOMPLETE)
        if number in all_sites:
            code[day.complete, column] = _number_of(reasons, all_sites[number])
    column_of = {number: column for column, number in enumerate(numbers)}
    for row, why in by_row.items():
        for number, word in why.items():
            column = column_of.get(number, -1)
            if column >= 0 and code[row, column] == 0:
                code[row, column] = _number_of(reasons, word)
    wanted_count = rule.business_days if business else rule.other_days
    least_count = rule.least_business_days if business else rule.least_other_days
    ordinary = code == 0
    code[ordinary & (np.cumsum(ordinary, axis=1) > wanted_count)] = reasons.index(OLDER)
    if rule.falls_back_on_events:
        _fall_back(code, read, least_count, event_slots, reasons)
    used = (code == 0) | (code == reasons.index(FALLBACK))
    enough = used.sum(axis=1) >= least_count
    if rule.drops_extremes and numbers:
        _drop_extremes(code, read, enough, reasons)
        used = code == 0
    place_twice_wh = np.zeros((sites, len(slot_number)), dtype=np.int64)
    place_count = np.zeros((sites, len(slot_number)), dtype=np.int64)
    for column, kept in enumerate(read):
        if kept is not None:
            on = used[:, column]
            place_twice_wh += np.where(on[:, None], kept.twice, 0)
            place_count += on[:, None] & kept.has_place[None, :]
    return Days(
        day_number=np.array(numbers, dtype=np.int64),
        used=used,
        reason_number=code,
        reasons=tuple(reasons),
        enough=enough,
        place_twice_wh=place_twice_wh,
        place_count=place_count,
    )


def _read_day(
    meter: MeterData, number: int, shift_days: NDArray[np.int64], slot_number: NDArray[np.int64]
) -> _Day:
    calendar = meter.calendar
    tables = {shift: calendar.day_table(number + shift) for shift in sorted({0, *shift_days.tolist()})}
    pairs = np.array(
        [tables[shift][slot] for shift, slot in zip(shift_days.tolist(), slot_number.tolist(), strict=True)],
        dtype=np.int64,
    ).reshape(-1, 2)
    has_place = pairs[:, 0] >= 0
    second = np.where(pairs[:, 1] >= 0, pairs[:, 1], pairs[:, 0])
    ones, others = np.maximum(pairs[:, 0], 0), np.maximum(second, 0)
    known = (meter.known[:, ones] & meter.known[:, others]) | ~has_place[None, :]
    twice = np.where(has_place[None, :], meter.energy_wh[:, ones] + meter.energy_wh[:, others], 0)
    own = tables[0][tables[0] >= 0]
    if not len(own) or not has_place.any():
        nothing = np.zeros(meter.sites, dtype=np.bool_)
        return _Day(twice=twice, has_place=has_place, complete=nothing, total_wh=nothing.astype(np.int64))
    day_known = meter.known[:, own]
    complete = known.all(axis=1) & (day_known.mean(axis=1) >= _LEAST_KNOWN_FRAC)
    total_wh = np.where(day_known, meter.energy_wh[:, own], 0).sum(axis=1)
    return _Day(twice=twice, has_place=has_place, complete=complete, total_wh=total_wh)


def _fall_back(
    code: NDArray[np.int64],
    read: list[_Day | None],
    least_count: int,
    event_slots: int,
    reasons: list[str],
) -> None:
    """Let days with an event count where there are too few others, those of most energy in the event's hours first."""
    short = np.flatnonzero((code == 0).sum(axis=1) < least_count)
    event = reasons.index(EVENT)
    for row in short.tolist():
        columns = np.flatnonzero(code[row] == event)
        energies = [
            -int(day.twice[row, :event_slots].sum())
            for day in (read[column] for column in columns.tolist())
            if day is not None
        ]
        missing = least_count - int((code[row] == 0).sum())
        for place in np.argsort(np.array(energies, dtype=np.int64), kind="stable")[:missing].tolist():
            code[row, columns[place]] = reasons.index(FALLBACK)


def _drop_extremes(
    code: NDArray[np.int64], read: list[_Day | None], enough: NDArray[np.bool_], reasons: list[str]
) -> None:
    """Leave out the day of most and the day of least energy, of equal ones the later."""
    rows = np.flatnonzero(enough)
    total_wh = np.stack(
        [np.zeros(len(code), dtype=np.int64) if day is None else day.total_wh for day in read], axis=1
    )[rows]
    never = np.iinfo(np.int64)
    highest = np.argmax(np.where(code[rows] == 0, total_wh, never.min), axis=1)
    code[rows, highest] = reasons.index(HIGHEST)
    lowest = np.argmin(np.where(code[rows] == 0, total_wh, never.max), axis=1)
    code[rows, lowest] = reasons.index(LOWEST)


def _number_of(reasons: list[str], word: str) -> int:
    if word not in reasons:
        reasons.append(word)
    return reasons.index(word)
