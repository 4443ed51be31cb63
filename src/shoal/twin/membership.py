"""Who belonged where over an interval, and whose energy it was.

The interval is cut, site by site, at the effective dates of its memberships, into spans that follow one another
without gap or overlap. Energy is the difference of a cumulative register between the ends of a span, and a span ends
with the reading that the next one begins with; so the groups' energies and that of no group add up to the sites'
energy in whole watt-hours, however often a site moves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError, UnavailableError

NO_GROUP: Final = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Spans:
    """S spans by site and time: the site hung from the group over `[start_ns, end_ns)`.

    Attributes:
        site_row: S rows, ascending.
        group: S group numbers, `NO_GROUP` while the site hung from none.
        start_ns: S beginnings, ascending within a site; the first of each is the interval's.
        end_ns: S ends, each the beginning of the site's next span; the last of each is the interval's.
    """

    site_row: NDArray[np.int64]
    group: NDArray[np.int32]
    start_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.site_row)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanRegisters:
    """A cumulative register at both ends of S spans.

    Attributes:
        start_wh: S readings at the beginning.
        end_wh: S readings at the end; at a cut it is the next span's `start_wh`.
        known: S, whether the site had a reading at all; without one both are 0, which means unknown.
    """

    start_wh: NDArray[np.int64]
    end_wh: NDArray[np.int64]
    known: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """Energy by the group that a site hung from while it flowed.

    Attributes:
        group_wh: G energies: of a group's own sites, not of the groups below it; see `roll_up`.
        no_group_wh: Energy of the sites while they hung from no group.
    """

    group_wh: NDArray[np.int64]
    no_group_wh: int


def split(
    *,
    site_row: NDArray[np.int64],
    group: NDArray[np.int32],
    from_ns: NDArray[np.int64],
    until_ns: NDArray[np.int64],
    sites: int,
    start_ns: int,
    end_ns: int,
) -> Spans:
    """Return the spans of every site over `[start_ns, end_ns)`.

    Args:
        site_row: M rows, 0 to `sites` - 1, in any order.
        group: M group numbers.
        from_ns: M instants from which the site hangs from the group.
        until_ns: M instants until which it does; the largest int64 for ever.
        sites: How many sites there are, with a membership or without.
        start_ns: The beginning of the interval.
        end_ns: Its end.

    Raises:
        InvalidInputError: when the interval is empty, a row is out of range, or a site has two memberships at once.
    """
    if end_ns <= start_ns:
        raise InvalidInputError(
            field="end_ns", value=end_ns, fix="give an end after the beginning of the interval"
        )
    if len(site_row) and not 0 <= site_row.min() <= site_row.max() < sites:
        raise InvalidInputError(
            field="site_row", value=int(site_row.max()), fix=f"give rows from 0 to {sites - 1}"
        )
    inside = (from_ns < end_ns) & (until_ns > start_ns) & (from_ns < until_ns)
    order = np.flatnonzero(inside)
    order = order[np.lexsort((from_ns[order], site_row[order]))]
    row, member_of = site_row[order], group[order]
    begin, end = np.maximum(from_ns[order], start_ns), np.minimum(until_ns[order], end_ns)
    follows = np.zeros(len(row), dtype=np.bool_)
    follows[1:] = row[1:] == row[:-1]
    before = np.where(follows, np.roll(end, 1), start_ns)
    for at in np.flatnonzero(begin < before)[:1]:
        raise InvalidInputError(
            field=f"memberships of site row {row[at]}",
            value=int(from_ns[order][at]),
            fix="let one end before the next begins",
        )
    last_end = np.full(sites, start_ns, dtype=np.int64)
    last_end[row] = end  # of several the last is kept, and that is the latest
    gap, rest = np.flatnonzero(begin > before), np.flatnonzero(last_end < end_ns)
    site = np.concatenate([row, row[gap], rest])
    starts = np.concatenate([begin, before[gap], last_end[rest]])
    ends = np.concatenate([end, begin[gap], np.full(len(rest), end_ns)])
    groups = np.concatenate([member_of, np.full(len(gap) + len(rest), NO_GROUP)])
    order = np.lexsort((starts, site))
    return Spans(
        site_row=site[order].astype(np.int64),
        group=groups[order].astype(np.int32),
        start_ns=starts[order],
        end_ns=ends[order],
    )


def attribute(spans: Spans, registers: SpanRegisters, *, groups: int) -> Attribution:
    """Return the energy of each group's sites while they hung from it.

    Args:
        spans: From `split`.
        registers: The register at their ends.
        groups: G, how many groups there are.

    Raises:
        InvalidInputError: when a span does not begin with the reading that the site's span before ended with.
    """
    same_site = spans.site_row[1:] == spans.site_row[:-1]
    broken = same_site & (registers.start_wh[1:] != registers.end_wh[:-1])
    for at in np.flatnonzero(broken)[:1]:
        raise InvalidInputError(
            field=f"register of site row {spans.site_row[at]} at {spans.end_ns[at]}",
            value=(int(registers.end_wh[at]), int(registers.start_wh[at + 1])),
            fix="give one reading for the instant of a move",
        )
    sums = np.zeros(groups + 1, dtype=np.int64)
    np.add.at(sums, spans.group, registers.end_wh - registers.start_wh)  # NO_GROUP is the last one
    return Attribution(group_wh=sums[:-1], no_group_wh=int(sums[-1]))


def check_spans(spans: Spans, *, sites: int, groups: int) -> None:
    """Raise unless the spans are of a fleet of so many sites and groups.

    Raises:
        UnavailableError: when sites or groups were registered since.
    """
    if len(spans) and (spans.site_row[-1] >= sites or spans.group.max() >= groups):
        raise UnavailableError("the memberships", "sites or groups were registered since; ask again")


def roll_up(own_wh: NDArray[np.int64], parent_of: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Return the sums of each of G groups with all below it, G x K or G, from those of each group alone, exactly."""
    sums_wh = own_wh.copy()
    ancestor = np.asarray(parent_of)
    while len(below := np.flatnonzero(ancestor >= 0)):
        np.add.at(sums_wh, ancestor[below], own_wh[below])
        ancestor = np.where(ancestor >= 0, parent_of[ancestor], NO_GROUP)
    return sums_wh


def groups_below(parent_of: NDArray[np.integer[Any]], number: int) -> NDArray[np.bool_]:
    """Return which of G groups are a group or below it."""
    inside: NDArray[np.bool_] = np.arange(len(parent_of)) == number
    ancestor = np.asarray(parent_of)
    while np.any(ancestor >= 0):
        inside |= ancestor == number
        ancestor = np.where(ancestor >= 0, parent_of[ancestor], NO_GROUP)
    return inside


def sites_by_group(spans: Spans, parent_of: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Return how many sites hung at or below each of G groups for some of the interval, each site once a group.

    The last of G + 1 numbers is how many hung from no group for some of it.
    """
    groups = len(parent_of)
    pairs = [spans.site_row * (groups + 1) + np.where(spans.group < 0, groups, spans.group)]
    ancestor = np.where(spans.group < 0, NO_GROUP, spans.group)
    while np.any(ancestor >= 0):
        ancestor = np.where(ancestor >= 0, parent_of[ancestor], NO_GROUP)
        above = ancestor >= 0
        pairs.append(spans.site_row[above] * (groups + 1) + ancestor[above])
    counts = np.bincount(np.unique(np.concatenate(pairs)) % (groups + 1), minlength=groups + 1)
    return np.asarray(counts, dtype=np.int64)
