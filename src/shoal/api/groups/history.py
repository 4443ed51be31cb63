"""A group over time: its sites' means as far as history has rolled them up, the live sums after, and no point twice.

History keeps sites, not groups: a group's past is summed from its sites' means when somebody asks, within a bound, and so
is of the sites that hang there now. What has no means yet is filled from samples where few enough are to be read, and where
the interface itself has not kept the sums that were live.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.api.groups.answers import GroupHistory, GroupSource
from shoal.api.groups.trail import COLUMNS, LiveTrack
from shoal.api.site.history import USUAL_TIMES
from shoal.domain.errors import InvalidInputError
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, NS_PER_S
from shoal.domain.telemetry import POWERS, SUSPECT
from shoal.store.history import History

FIVE_NS: Final = 5 * NS_PER_MINUTE
LONGEST_NS: Final = 400 * 24 * NS_PER_HOUR
FIVE_MINUTES_SPAN_NS: Final = 14 * 24 * NS_PER_HOUR
MOST_MEANS: Final = 15_000_000
"""Means of sites that are summed for one answer: seconds of work for a fleet of ten thousand."""
MOST_SITE_HOURS: Final = 20_000
"""So many hours of samples, times sites, are read where there are no means yet."""
COVERED_FRAC: Final = 0.5
"""A site counts as measured in an interval when so much of it is covered."""
_SOURCES: Final[tuple[GroupSource, ...]] = ("1h", "5min", "samples", "live")
_SAMPLES: Final = _SOURCES.index("samples")
_LIVE: Final = _SOURCES.index("live")
_W_PER_KW: Final = 1_000.0
_NS_PER_MS: Final = 1_000_000
_STEPS_S: Final = (1, 10, 60, 300, 600, 900, 1_800, 3_600, 7_200, 21_600, 86_400)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupTrack:
    """A group's values in order of time.

    Attributes:
        first_ns: When each begins, N.
        last_ns: Up to when it counts, N; the same for an instant.
        values: Those of `COLUMNS`, NaN where there is none, 6 x N.
        source: Positions in `GroupSource`, N.
    """

    first_ns: NDArray[np.int64]
    last_ns: NDArray[np.int64]
    values: NDArray[np.float64]
    source: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSites:
    """The sites of a group: numbers in history, ratings in W, energy in Wh; S each."""

    rows: NDArray[np.int64]
    give_w: NDArray[np.float64]
    take_w: NDArray[np.float64]
    full_wh: NDArray[np.float64]


def sites_of(fleet: Fleet, rows: NDArray[np.int64]) -> GroupSites:
    """Return what the sums need to know of some sites."""
    plate = fleet.nameplate[rows]
    return GroupSites(
        rows=rows,
        give_w=plate["discharge_limit_kw"] * _W_PER_KW,
        take_w=plate["charge_limit_kw"] * _W_PER_KW,
        full_wh=plate["energy_capacity_kwh"] * _W_PER_KW,
    )


def tier_for(span_ns: int, sites: int) -> tuple[str, int, int]:
    """Return the table, the length of its means and the source that a span of so many sites is summed from.

    Raises:
        InvalidInputError: when the span is empty or longer than can be summed.
    """
    if not 0 < span_ns <= LONGEST_NS:
        raise InvalidInputError(
            field="to_ms", value=span_ns, fix="give an end after the beginning, at most 400 days"
        )
    if span_ns <= FIVE_MINUTES_SPAN_NS and sites * span_ns // FIVE_NS <= MOST_MEANS:
        return "rollup_5min", FIVE_NS, 1
    if sites * span_ns // NS_PER_HOUR <= MOST_MEANS:
        return "rollup_1h", NS_PER_HOUR, 0
    days = MOST_MEANS // (24 * max(sites, 1))
    raise InvalidInputError(
        field="from_ms", value=span_ns, fix=f"ask for at most {days} days of a group of {sites} sites"
    )


def read_past(history: History, sites: GroupSites, from_ns: int, to_ns: int, live_from_ns: int) -> GroupTrack:
    """Return a group's past within `[from_ns, to_ns)`; blocks.

    Args:
        history: The means and samples.
        sites: The group's sites.
        from_ns: Begin of the span.
        to_ns: Its end, exclusive.
        live_from_ns: From when on live sums are at hand, so that no samples are read.

    Raises:
        InvalidInputError: see `tier_for`.
        UnavailableError: when history cannot be read now.
        CorruptStateError: when one of its files is damaged.
    """
    table, length_ns, source = tier_for(to_ns - from_ns, len(sites.rows))
    # a mean that the span cuts in two is left out: it would say something of what was not asked for
    begin_ns = -(-from_ns // length_ns) * length_ns
    means = _ROLLED.format(table=table)
    rolled = _summed(history, sites, means, begin_ns, to_ns - length_ns + 1, length_ns, source)
    rolled_ns = int(rolled.last_ns[-1]) if len(rolled.last_ns) else from_ns
    until_ns = min(live_from_ns, to_ns)
    most_ns = MOST_SITE_HOURS * NS_PER_HOUR // max(len(sites.rows), 1)
    since_ns = max(rolled_ns, until_ns - most_ns)
    if since_ns >= until_ns:
        return rolled
    return _joined(rolled, _summed(history, sites, _SAMPLED, since_ns, until_ns, FIVE_NS, _SAMPLES))


_ROLLED: Final = (
    f"SELECT site_no, start_ns, {', '.join(POWERS)}, soc_last_frac AS soc_frac FROM {{table}} "
    "WHERE start_ns >= $from AND start_ns < $to AND samples > suspect_samples "
    f"AND coverage_frac >= {COVERED_FRAC}"
)
_SAMPLED: Final = (
    f"SELECT site_no, ts_ns // {FIVE_NS} * {FIVE_NS} AS start_ns, "
    + ", ".join(f"avg({name}) AS {name}" for name in POWERS)
    + ", arg_max(soc_frac, ts_ns) AS soc_frac FROM telemetry WHERE ts_ns >= $from AND ts_ns < $to "
    f"AND flags & {int(SUSPECT)} = 0 GROUP BY ALL"
)


def _summed(
    history: History,
    sites: GroupSites,
    means: str,
    from_ns: int,
    to_ns: int,
    length_ns: int,
    source: int,
) -> GroupTrack:
    table = history.query(
        "WITH s AS (SELECT unnest($sites::INTEGER[]) AS site_no, unnest($give::DOUBLE[]) AS give_w, "
        "unnest($take::DOUBLE[]) AS take_w, unnest($full::DOUBLE[]) AS full_wh), "
        f"m AS ({means}) "
        "SELECT start_ns, sum(battery_w)::DOUBLE AS battery_w, "
        "sum(give_w) FILTER (WHERE battery_w IS NOT NULL) AS give_w, "
        "sum(take_w) FILTER (WHERE battery_w IS NOT NULL) AS take_w, "
        "sum(coalesce(battery_w, 0) + coalesce(solar_w, 0) + load_w + coalesce(ev_w, 0)) AS grid_w, "
        "count(load_w) AS metered, "
        "sum(soc_frac * full_wh) AS stored_wh, sum(full_wh) FILTER (WHERE soc_frac IS NOT NULL) AS full_wh "
        "FROM m JOIN s USING (site_no) GROUP BY start_ns ORDER BY start_ns",
        {
            "sites": sites.rows.tolist(),
            "give": sites.give_w.tolist(),
            "take": sites.take_w.tolist(),
            "full": sites.full_wh.tolist(),
            "from": from_ns,
            "to": max(to_ns, from_ns),
        },
        span_ns=(from_ns, max(to_ns, from_ns + 1)),
    )
    start_ns = table["start_ns"].to_numpy().astype(np.int64)
    return GroupTrack(
        first_ns=np.maximum(start_ns, from_ns),
        # samples are read up to the first live sum, which may lie within five minutes; means are whole
        last_ns=np.minimum(start_ns + length_ns, to_ns) if source == _SAMPLES else start_ns + length_ns,
        values=_values(table, sites),
        source=np.full(len(start_ns), source, dtype=np.int64),
    )


def _values(table: Any, sites: GroupSites) -> NDArray[np.float64]:
    """Return `COLUMNS` of sums over those sites that were measured: what is missing is bounded by its ratings."""
    battery_w, give_w, take_w, grid_w, metered, stored_wh, full_wh = (
        np.asarray(table[name].cast("double").to_numpy(), dtype=np.float64)
        for name in ("battery_w", "give_w", "take_w", "grid_w", "metered", "stored_wh", "full_wh")
    )
    all_give_w, all_take_w = float(sites.give_w.sum()), float(sites.take_w.sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        low_w = battery_w - (all_give_w - give_w)
        high_w = battery_w + (all_take_w - take_w)
        guess_w = np.where(give_w > 0, battery_w * (all_give_w / give_w), battery_w)
        coverage = give_w / all_give_w if all_give_w > 0 else np.full(len(give_w), np.nan)
        # sites without a meter of the house say nothing of the connection: the others speak for them
        grid_kw = np.where(metered > 0, grid_w * (len(sites.rows) / metered), np.nan) / _W_PER_KW
        soc = stored_wh / full_wh
    battery_kw = np.clip(guess_w, low_w, high_w) / _W_PER_KW
    values = np.stack([battery_kw, low_w / _W_PER_KW, high_w / _W_PER_KW, grid_kw, soc, coverage])
    return np.where(np.isfinite(values), values, np.nan)


def with_live(past: GroupTrack, live: LiveTrack) -> tuple[GroupTrack, int]:
    """Return the past and what was live after it as one track, and how many of its points are the past's."""
    seam_ns = int(past.last_ns[-1]) if len(past.last_ns) else -1
    after = live.t_ns >= seam_ns
    t_ns = live.t_ns[after]
    after_that = GroupTrack(
        first_ns=t_ns,
        last_ns=t_ns,
        values=live.values[:, after],
        source=np.full(len(t_ns), _LIVE, dtype=np.int64),
    )
    return _joined(past, after_that), len(past.first_ns)


def _joined(one: GroupTrack, other: GroupTrack) -> GroupTrack:
    return GroupTrack(
        first_ns=np.concatenate((one.first_ns, other.first_ns)),
        last_ns=np.concatenate((one.last_ns, other.last_ns)),
        values=np.concatenate((one.values, other.values), axis=1),
        source=np.concatenate((one.source, other.source)),
    )


def group_history(
    group_id: str, track: GroupTrack, *, from_ns: int, to_ns: int, points: int, written: int, fresh_ns: int
) -> GroupHistory:
    """Return a track as an answer: means over at most so many steps, never over a gap or the seam.

    Args:
        group_id: Whose.
        track: The track, in order.
        from_ns: Begin of the span.
        to_ns: Its end, exclusive.
        points: How many points are wanted, about.
        written: How many of the track's are from history.
        fresh_ns: How long a sample counts in sums.
    """
    wanted_ns = (to_ns - from_ns) / points
    step_ns = next((s * NS_PER_S for s in _STEPS_S if s * NS_PER_S >= wanted_ns), math.ceil(wanted_ns))
    steps_ns = track.first_ns[written + 1 :] - track.last_ns[written:-1]
    usual_ns = int(np.percentile(steps_ns, 25, method="lower")) if len(steps_ns) else 0
    gap_after_ns = max(fresh_ns, USUAL_TIMES * usual_ns)
    count = len(track.first_ns)
    breaks = np.zeros(count, dtype=np.bool_)
    breaks[1:] = track.first_ns[1:] - track.last_ns[:-1] > gap_after_ns
    changes = breaks.copy()
    changes[1:] |= np.diff(track.source) != 0
    bucket = (track.first_ns - from_ns) // step_ns
    starts = np.flatnonzero(np.concatenate(([True], (np.diff(bucket) != 0) | changes[1:]))[:count])
    values = np.empty((len(COLUMNS), 0))
    if count:
        there = ~np.isnan(track.values)
        total = np.add.reduceat(np.where(there, track.values, 0.0), starts, axis=1)
        held = np.add.reduceat(there.astype(np.float64), starts, axis=1)
        values = np.divide(total, held, out=np.full_like(total, np.nan), where=held > 0)
    ends = np.append(starts[1:], count) - 1 if count else starts
    middle_ms = (track.first_ns[starts] + track.last_ns[ends]) // 2 // _NS_PER_MS
    # the newest point stands where it was measured, so that what comes next goes on from it
    t_ms = np.where(track.source[starts] == _LIVE, track.last_ns[ends] // _NS_PER_MS, middle_ms)
    battery, low, high, grid, soc, coverage = (_plain(row) for row in values)
    return GroupHistory(
        group_id=group_id,
        from_ms=from_ns // _NS_PER_MS,
        to_ms=to_ns // _NS_PER_MS,
        step_s=step_ns / NS_PER_S,
        gap_after_s=gap_after_ns / NS_PER_S,
        seam_ms=int(track.last_ns[written - 1]) // _NS_PER_MS if written else None,
        t_ms=t_ms.tolist(),
        battery_kw=battery,
        low_kw=low,
        high_kw=high,
        grid_kw=grid,
        soc_frac=soc,
        coverage_kw_frac=coverage,
        source=[_SOURCES[one] for one in track.source[starts].tolist()],
        gap=breaks[starts].tolist(),
    )


def _plain(row: NDArray[np.float64]) -> list[float | None]:
    return [None if math.isnan(value) else round(value, 4) for value in row.tolist()]
