"""Energy of every group of a hierarchy over an interval, whoever moved meanwhile: exact to the watt-hour.

Registers are read where it matters only: at both ends of the interval and at the instants of moves, from the samples nearest on
either side, those under suspicion left out. One reading serves the group that a site leaves and the one that it joins, so the
groups and what hung from none add up to the sites.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoal.domain.fleet import Fleet
from shoal.domain.ids import HierarchyId
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE
from shoal.domain.telemetry import PRESENT_OF, REGISTERS, SUSPECT, mask_of
from shoal.settle.energy import registers_at
from shoal.store.history import History
from shoal.store.history_schema import NS_PER_MS
from shoal.twin.membership import SpanRegisters, Spans, attribute, check_spans, roll_up, sites_by_group

Memberships: TypeAlias = Callable[[HierarchyId, int, int], Spans]
"""Tells who hung from which group of a hierarchy over an interval, see `Registry.memberships`."""
REACHES_NS: Final = (15 * NS_PER_MINUTE, 6 * NS_PER_HOUR)
"""How far from an instant readings are looked for, the near ones first; after that in all of the interval."""
AROUND_NS: Final = 2 * NS_PER_HOUR
"""From so far all readings are taken where some contradict each other."""
MARGIN_NS: Final = 6 * NS_PER_HOUR
"""Readings this far outside the interval are looked for, as for settlement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupEnergy:
    """Energy of G groups, each with all below it, followed by one line of no group: L = G + 1.

    Attributes:
        energy_wh: L x 4, how far the registers `shoal.domain.telemetry.REGISTERS` went while sites hung there.
        sites: L counts of sites that hung there for some of the interval.
        sites_without_reading: Those of them of which history has no reading: their energy is unknown, and not in the sums.
        coverage_frac: L shares of the time for which sites hung there: between two readings of the site; NaN without sites.
        total_wh: 4, what the registers of all sites went over the whole interval.
        total_sites: How many sites there are.
        total_without_reading: How many of them have no reading.
        total_coverage_frac: As above.
    """

    energy_wh: NDArray[np.int64]
    sites: NDArray[np.int64]
    sites_without_reading: NDArray[np.int64]
    coverage_frac: NDArray[np.float64]
    total_wh: NDArray[np.int64]
    total_sites: int
    total_without_reading: int
    total_coverage_frac: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """R readings of all registers: rows, instants (0 for none) and values, R x 4."""

    site_row: NDArray[np.int64]
    ts_ns: NDArray[np.int64]
    register_wh: NDArray[np.int64]


def energy_of_groups(history: History, spans: Spans, fleet: Fleet) -> GroupEnergy:
    """Return the energy of every group of a hierarchy while its sites hung from it; reads history, and blocks.

    Args:
        history: The samples.
        spans: Who hung from which group, from `Registry.memberships`.
        fleet: The fleet with its G groups.

    Raises:
        UnavailableError: when the memberships are of another fleet than this one, or see `History.query`.
        CorruptStateError: see `History.query`.
    """
    parent_of, groups, sites = fleet.parent_number, len(fleet.groups), len(fleet.site_ids)
    check_spans(spans, sites=sites, groups=groups)
    found = _readings(history, spans, _declared(fleet))
    ends_ns = np.stack([spans.start_ns, spans.end_ns], axis=1)
    own_wh = np.zeros((groups + 1, len(REGISTERS)), dtype=np.int64)
    known = np.zeros(len(spans), dtype=np.bool_)
    for k in range(len(REGISTERS)):
        read = registers_at(
            site_row=found.site_row,
            ts_ns=found.ts_ns[:, k],
            register_wh=found.register_wh[:, k],
            line_row=spans.site_row,
            at_ns=ends_ns,
            site_count=sites,
        )
        ends = SpanRegisters(start_wh=read.register_wh[:, 0], end_wh=read.register_wh[:, 1], known=read.known)
        energy = attribute(spans, ends, groups=groups)
        own_wh[:groups, k], own_wh[groups, k] = energy.group_wh, energy.no_group_wh
        known |= read.known
    covered_ns, whole_ns = _covered_ns(spans, found, sites), spans.end_ns - spans.start_ns
    time_ms = np.zeros((groups + 1, 2), dtype=np.int64)
    # in milliseconds: a year of a million sites does not fit into int64 nanoseconds
    np.add.at(time_ms, spans.group, np.stack([covered_ns, whole_ns], axis=1) // NS_PER_MS)
    without = Spans(
        site_row=spans.site_row[~known],
        group=spans.group[~known],
        start_ns=spans.start_ns[~known],
        end_ns=spans.end_ns[~known],
    )
    rolled_ms = np.concatenate([roll_up(time_ms[:groups], parent_of), time_ms[groups:]])
    return GroupEnergy(
        energy_wh=np.concatenate([roll_up(own_wh[:groups], parent_of), own_wh[groups:]]),
        sites=sites_by_group(spans, parent_of),
        sites_without_reading=sites_by_group(without, parent_of),
        coverage_frac=_share(rolled_ms),
        total_wh=own_wh.sum(axis=0),
        total_sites=sites,
        total_without_reading=len(np.unique(without.site_row)),
        total_coverage_frac=float(_share(time_ms.sum(axis=0, keepdims=True))[0]),
    )


def _declared(fleet: Fleet) -> NDArray[np.bool_]:
    """Return which registers each of N sites should have by its type, N x 4."""
    of_type = np.array(
        [[bool(PRESENT_OF[kind] & mask_of(name)) for name in REGISTERS] for kind in sorted(PRESENT_OF)]
    )
    return np.asarray(of_type[fleet.device_type])


def _share(times: NDArray[np.int64]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):
        return np.asarray(times[:, 0] / times[:, 1])


def _covered_ns(spans: Spans, found: _Found, sites: int) -> NDArray[np.int64]:
    """Return how much of each span lies between the first and the last reading of its site."""
    times = np.where(found.register_wh >= 0, found.ts_ns, -1)
    first, last = np.full(sites, np.iinfo(np.int64).max), np.full(sites, -1, dtype=np.int64)
    np.minimum.at(first, found.site_row, np.where(times >= 0, times, np.iinfo(np.int64).max).min(axis=1))
    np.maximum.at(last, found.site_row, times.max(axis=1))
    begin = np.maximum(spans.start_ns, first[spans.site_row])
    end = np.minimum(spans.end_ns, last[spans.site_row])
    return np.asarray(np.maximum(end - begin, 0), dtype=np.int64)


def _readings(history: History, spans: Spans, declared: NDArray[np.bool_]) -> _Found:
    """Return the readings nearest to both ends of every span, at least where there are any."""
    site = np.concatenate([spans.site_row, spans.site_row])
    at_ns = np.concatenate([spans.start_ns, spans.end_ns])
    cuts = np.unique(np.stack([at_ns, site], axis=1), axis=0)  # by instant, then site
    none = np.zeros((0, len(REGISTERS)), dtype=np.int64)
    parts = [_Found(site_row=none[:, 0], ts_ns=none, register_wh=none)]
    held = history.status().tiers["telemetry"]
    if not len(cuts) or not held.files:
        return parts[0]
    span_ns = int(at_ns.min()) - MARGIN_NS, int(at_ns.max()) + MARGIN_NS + 1
    oldest_ns, newest_ns = _hour_ns(held.first), _hour_ns(held.last) + NS_PER_HOUR
    has = np.zeros(declared.shape, dtype=np.bool_)
    for reach_ns in (*REACHES_NS, span_ns[1] - span_ns[0]):
        sides, doubtful = _near(history, cuts, reach_ns, span_ns)
        parts.extend((*sides, *_around(history, cuts[doubtful], span_ns)))
        # Further away is worth a look where a register that the site has, or any, is missing on a side; not too far
        # for one that only its type has.
        for side in sides:
            np.logical_or.at(has, side.site_row, side.register_wh >= 0)
        mine = has[cuts[:, 1]]
        wanted = mine | ~mine.any(axis=1)[:, None]
        if reach_ns == REACHES_NS[0]:
            wanted |= declared[cuts[:, 1]]
        all_before = (cuts[:, 0] - reach_ns < oldest_ns)[:, None]
        all_after = (cuts[:, 0] + reach_ns >= newest_ns)[:, None]
        before, after = (side.register_wh < 0 for side in sides)
        missing = wanted & ((before & ~all_before) | (after & ~all_after))
        cuts = cuts[missing.any(axis=1)]
        if not len(cuts):
            break
    found = [
        np.column_stack([part.site_row, part.ts_ns, part.register_wh]) for part in parts if len(part.site_row)
    ]
    each = np.unique(np.concatenate(found), axis=0)  # each once: how often one was found says nothing of it
    return _Found(
        site_row=np.ascontiguousarray(each[:, 0]),
        ts_ns=each[:, 1 : 1 + len(REGISTERS)],
        register_wh=each[:, 1 + len(REGISTERS) :],
    )


def _around(history: History, cuts: NDArray[np.int64], span_ns: tuple[int, int]) -> Iterator[_Found]:
    """Give all readings of the sites round the instants at which theirs contradict each other, so that the most decide."""
    for at_ns in np.unique(cuts[:, 0]).tolist():
        low, high = max(at_ns - AROUND_NS, span_ns[0]), min(at_ns + AROUND_NS, span_ns[1])
        samples = history.registers(cuts[cuts[:, 0] == at_ns, 1], low, high)
        yield _Found(
            site_row=samples["site_no"],
            ts_ns=np.repeat(samples["ts_ns"][:, None], len(REGISTERS), axis=1),
            register_wh=np.stack([samples[name] for name in REGISTERS], axis=1),
        )


def _hour_ns(hour: str) -> int:
    return int(np.datetime64(hour, "ns").astype(np.int64))


def _near(
    history: History, cuts: NDArray[np.int64], reach_ns: int, span_ns: tuple[int, int]
) -> tuple[tuple[_Found, _Found], NDArray[np.bool_]]:
    """Return, for each instant and site, the last readings until then and the first from then on, and who is in doubt.

    A reading is -1 where there is none; it is in doubt where a register ran backwards within the reach.
    """
    shape = (len(cuts), len(REGISTERS))
    times = np.zeros((2, *shape), dtype=np.int64)
    values = np.full((2, *shape), -1, dtype=np.int64)
    doubtful = np.zeros(len(cuts), dtype=np.bool_)
    begin = 0
    while begin < len(cuts):
        # instants whose reaches overlap are asked for at once, so that no file is read twice
        step_ns = np.diff(cuts[begin:, 0], append=np.iinfo(np.int64).max)
        end = begin + int(np.flatnonzero(step_ns > 2 * reach_ns)[0]) + 1
        asked = cuts[begin:end]
        low = max(int(asked[0, 0]) - reach_ns, span_ns[0])
        high = min(int(asked[-1, 0]) + reach_ns + 1, span_ns[1])
        answer = history.query(
            _NEAR_SQL,
            {
                "sites": asked[:, 1].tolist(),
                "at": asked[:, 0].tolist(),
                "reach": reach_ns,
                "low": low,
                "high": high,
            },
            span_ns=(low, high),
        )
        number = answer["n"].to_numpy() + begin - 1
        for side, name in enumerate(("before", "after")):
            for k, register in enumerate(REGISTERS):
                there = answer[f"{register}_{name}"].fill_null(-1).to_numpy()
                values[side, number, k] = there
                doubtful[number] |= answer[f"{register}_{name}_most"].fill_null(-1).to_numpy() != there
                times[side, number, k] = answer[f"{register}_{name}_ns"].fill_null(0).to_numpy()
        begin = end
    site = np.ascontiguousarray(cuts[:, 1])
    return (
        _Found(site_row=site, ts_ns=times[0], register_wh=values[0]),
        _Found(site_row=site, ts_ns=times[1], register_wh=values[1]),
    ), doubtful | np.any((values[0] > values[1]) & (values[1] >= 0), axis=1)


def _near_sql() -> str:
    columns = []
    for name in REGISTERS:
        for side, pick, when in (("before", "max", "<="), ("after", "min", ">=")):
            only = f"FILTER (WHERE {name} IS NOT NULL AND ts_ns {when} at_ns)"
            # of several samples at one instant the last one counts
            rank = "(ts_ns, seq)" if pick == "max" else "(ts_ns, -seq)"
            columns += [
                f"arg_{pick}({name}, {rank}) {only} AS {name}_{side}",
                f"{pick}(ts_ns) {only} AS {name}_{side}_ns",
                f"{pick}({name}) {only} AS {name}_{side}_most",
            ]
    return (
        "WITH cuts AS (SELECT unnest($sites::INTEGER[]) AS site_no, unnest($at::BIGINT[]) AS at_ns, "
        "unnest(range(1, len($at::BIGINT[]) + 1)) AS n) "
        f"SELECT n, {', '.join(columns)} FROM cuts JOIN telemetry USING (site_no) "
        f"WHERE ts_ns >= $low AND ts_ns < $high AND flags & {int(SUSPECT)} = 0 "
        "AND ts_ns >= at_ns - $reach AND ts_ns <= at_ns + $reach GROUP BY n"
    )


_NEAR_SQL: Final = _near_sql()
