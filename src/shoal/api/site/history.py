"""One site's history, thinned to points that can be drawn, with its silences: no line over what nobody measured.

Samples of a short span, roll-ups of a long one with the samples that are not rolled up yet, and at the end the twin's newest
sample, so that what is live goes on where history ends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.api.site.answers import SiteHistory, SiteSilence, SiteTier
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, NS_PER_S
from shoal.domain.telemetry import POWERS, SUSPECT
from shoal.store.history import History

SAMPLES_SPAN_NS: Final = 48 * NS_PER_HOUR
"""Longer spans are answered from roll-ups."""
FIVE_MINUTES_SPAN_NS: Final = 14 * 24 * NS_PER_HOUR
USUAL_TIMES: Final = 3
"""So many times the usual distance between samples is no silence yet."""
_ROLLUP: Final[dict[SiteTier, tuple[str, int]]] = {
    "5min": ("rollup_5min", 5 * NS_PER_MINUTE),
    "1h": ("rollup_1h", NS_PER_HOUR),
}
_NS_PER_MS: Final = 1_000_000
_W_PER_KW: Final = 1_000.0
_STEPS_S: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 21_600, 86_400)
_NAMES: Final = (*POWERS, "soc_frac")


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """Samples of one site in order, or means of intervals.

    Attributes:
        first_ns: When each begins, N.
        last_ns: Up to when it counts, N; the same for a sample.
        values: Powers in W and the state of charge; NaN where not measured, 5 x N.
        following: Version of the desired state that is followed, N; -1 where unknown.
        suspect: How many samples were left out.
        samples: How many samples there were in all.
    """

    first_ns: NDArray[np.int64]
    last_ns: NDArray[np.int64]
    values: NDArray[np.float64]
    following: NDArray[np.int64]
    suspect: int
    samples: int


def tier_of(span_ns: int) -> SiteTier:
    """Return what a span of so long is answered from."""
    if span_ns <= SAMPLES_SPAN_NS:
        return "samples"
    return "5min" if span_ns <= FIVE_MINUTES_SPAN_NS else "1h"


def step_ns_of(span_ns: int, points: int, tier: SiteTier) -> int:
    """Return the length of the means with which a span has at most so many points."""
    least_ns = _ROLLUP[tier][1] if tier in _ROLLUP else NS_PER_S
    wanted_ns = max(span_ns / points, least_ns)
    return next((s * NS_PER_S for s in _STEPS_S if s * NS_PER_S >= wanted_ns), math.ceil(wanted_ns))


def read_track(history: History, site_no: int, from_ns: int, to_ns: int, tier: SiteTier) -> Track:
    """Return a site's track within `[from_ns, to_ns)`; blocks.

    Raises:
        UnavailableError: when history cannot be read now.
        CorruptStateError: when one of its files is damaged.
    """
    if tier == "samples":
        return _samples(history, site_no, from_ns, to_ns)
    name, length_ns = _ROLLUP[tier]
    rolled = _rollup(history, name, length_ns, site_no, from_ns, to_ns)
    tail_ns = int(rolled.last_ns[-1]) if len(rolled.last_ns) else from_ns
    # what is not rolled up yet: at most a few hours, unless roll-ups have stopped
    tail = _samples(history, site_no, max(tail_ns, to_ns - SAMPLES_SPAN_NS), to_ns)
    return joined(rolled, tail)


def joined(one: Track, other: Track) -> Track:
    """Return two tracks as one, the later one behind."""
    return Track(
        first_ns=np.concatenate((one.first_ns, other.first_ns)),
        last_ns=np.concatenate((one.last_ns, other.last_ns)),
        values=np.concatenate((one.values, other.values), axis=1),
        following=np.concatenate((one.following, other.following)),
        suspect=one.suspect + other.suspect,
        samples=one.samples + other.samples,
    )


def track_of(records: NDArray[Any]) -> Track:
    """Return the track of records of the telemetry table, such as a twin's newest."""
    names = {name: bit for bit, name in enumerate(_NAMES)}
    present = records["present"].astype(np.int64)
    values = np.stack(
        [
            np.where(present >> bit & 1, records[name].astype(np.float64), np.nan)
            for name, bit in names.items()
        ]
    )
    trusted = (records["flags"] & int(SUSPECT)) == 0
    follows = np.where(present >> len(_NAMES) & 1, records["command_version"].astype(np.int64), -1)
    return Track(
        first_ns=records["ts_ns"][trusted].astype(np.int64),
        last_ns=records["ts_ns"][trusted].astype(np.int64),
        values=values[:, trusted],
        following=follows[trusted],
        suspect=int(np.count_nonzero(~trusted)),
        samples=len(records),
    )


def _samples(history: History, site_no: int, from_ns: int, to_ns: int) -> Track:
    columns = ", ".join(_NAMES)
    table = history.query(
        f"SELECT ts_ns, flags, command_version, {columns} FROM telemetry "
        "WHERE site_no = $site AND ts_ns >= $from AND ts_ns < $to ORDER BY ts_ns, seq",
        {"site": site_no, "from": from_ns, "to": to_ns},
        span_ns=(from_ns, max(to_ns, from_ns + 1)),
    )
    at_ns = table["ts_ns"].to_numpy().astype(np.int64)
    trusted = (table["flags"].to_numpy().astype(np.int64) & int(SUSPECT)) == 0
    follows = _floats(table["command_version"])[trusted]
    return Track(
        first_ns=at_ns[trusted],
        last_ns=at_ns[trusted],
        values=np.stack([_floats(table[name]) for name in _NAMES])[:, trusted],
        following=np.where(np.isnan(follows), -1, follows).astype(np.int64),
        suspect=int(np.count_nonzero(~trusted)),
        samples=len(at_ns),
    )


def _rollup(history: History, name: str, length_ns: int, site_no: int, from_ns: int, to_ns: int) -> Track:
    columns = (*POWERS, "soc_last_frac")
    table = history.query(
        f"SELECT start_ns, samples, suspect_samples, {', '.join(columns)} FROM {name} "
        "WHERE site_no = $site AND start_ns >= $from AND start_ns < $to ORDER BY start_ns",
        {"site": site_no, "from": from_ns, "to": to_ns},
        span_ns=(from_ns, to_ns),
    )
    samples = table["samples"].to_numpy().astype(np.int64)
    suspect = table["suspect_samples"].to_numpy().astype(np.int64)
    good = samples > suspect
    start_ns = table["start_ns"].to_numpy().astype(np.int64)[good]
    return Track(
        first_ns=start_ns,
        last_ns=start_ns + length_ns,
        values=np.stack([_floats(table[column]) for column in columns])[:, good],
        following=np.full(len(start_ns), -1, dtype=np.int64),
        suspect=int(suspect.sum()),
        samples=int(samples.sum()),
    )


def _floats(column: Any) -> NDArray[np.float64]:
    """Return a column of numbers, NaN where it has none."""
    return np.asarray(column.cast("double").to_numpy(), dtype=np.float64)


def gap_after_ns_of(track: Track, written: int, fresh_ns: int) -> int:
    """Return for how long a site may be silent before that is a gap: until the sums call it stale, or thrice as usual."""
    steps_ns = track.first_ns[1:written] - track.last_ns[: max(written - 1, 0)]
    # a quarter of the way up: silences are among the steps, and few samples have few steps
    usual_ns = int(np.percentile(steps_ns, 25, method="lower")) if len(steps_ns) else 0
    return max(fresh_ns, USUAL_TIMES * usual_ns)


def site_history(
    site_id: str,
    track: Track,
    *,
    from_ns: int,
    to_ns: int,
    now_ns: int,
    tier: SiteTier,
    step_ns: int,
    fresh_ns: int,
    written: int,
    heard_ns: int | None = None,
) -> SiteHistory:
    """Return a track as an answer: means over at most `step_ns`, never over a silence.

    Args:
        site_id: Whose.
        track: The track, in order.
        from_ns: Begin of the span.
        to_ns: Its end, exclusive.
        now_ns: What lies ahead of it is no silence.
        tier: Where the track is from.
        step_ns: See `step_ns_of`.
        fresh_ns: How long a sample counts in sums.
        written: How many of its entries are from history; between them and the twin's newest sample no line is drawn
            when history is behind, but that is no silence.
        heard_ns: Device time of the twin's newest sample, which may lie behind the span; None when nobody can say.
    """
    gap_after_ns = gap_after_ns_of(track, written, fresh_ns)
    breaks = np.zeros(len(track.first_ns), dtype=np.bool_)
    breaks[1:] = track.first_ns[1:] - track.last_ns[:-1] > gap_after_ns
    silent = breaks.copy()
    silent[written : written + 1] = False
    bucket = (track.first_ns - from_ns) // step_ns
    starts = np.flatnonzero(np.concatenate(([True], (np.diff(bucket) != 0) | breaks[1:]))[: len(bucket)])
    means = _means(track.values, starts)
    ends = np.append(starts[1:], len(bucket)) - 1
    at_ms = (track.first_ns[starts] + track.last_ns[ends]) // 2 // _NS_PER_MS if len(starts) else starts
    newest = np.maximum.reduceat(track.following, starts) if len(starts) else track.following
    powers_kw = means[: len(POWERS)] / _W_PER_KW
    battery, solar, load, ev = (_plain(row) for row in powers_kw)
    until_ns = min(to_ns, max(now_ns, from_ns))
    return SiteHistory(
        site_id=site_id,
        from_ms=from_ns // _NS_PER_MS,
        to_ms=to_ns // _NS_PER_MS,
        tier=tier,
        step_s=step_ns / NS_PER_S,
        gap_after_s=gap_after_ns / NS_PER_S,
        seam_ms=int(track.last_ns[written - 1]) // _NS_PER_MS if written else None,
        t_ms=[int(at) for at in at_ms],
        battery_kw=battery,
        solar_kw=solar,
        load_kw=load,
        ev_kw=ev,
        grid_kw=_plain(np.where(np.isnan(means[2]), np.nan, np.nansum(powers_kw, axis=0))),
        soc_frac=_plain(means[-1]),
        following=[None if version < 0 else int(version) for version in newest],
        gap=[bool(value) for value in breaks[starts]],
        silences=_silences(track, silent, from_ns, until_ns, gap_after_ns, heard_ns),
        samples=track.samples,
        suspect_samples=track.suspect,
    )


def _means(values: NDArray[np.float64], starts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the means of the runs that begin at `starts`, NaN where nothing was measured."""
    if not len(starts):
        return np.empty((len(values), 0))
    there = ~np.isnan(values)
    total = np.add.reduceat(np.where(there, values, 0.0), starts, axis=1)
    count = np.add.reduceat(there.astype(np.float64), starts, axis=1)
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


def _silences(
    track: Track,
    breaks: NDArray[np.bool_],
    from_ns: int,
    until_ns: int,
    gap_after_ns: int,
    heard_ns: int | None,
) -> list[SiteSilence]:
    found = []
    if len(track.first_ns):
        spans = [(from_ns, int(track.first_ns[0]))]
        spans += [(int(track.last_ns[i - 1]), int(track.first_ns[i])) for i in np.flatnonzero(breaks)]
        if heard_ns is None or heard_ns <= int(track.last_ns[-1]):
            spans.append((int(track.last_ns[-1]), until_ns))
    else:
        spans = [(from_ns, until_ns)]
    for begin_ns, end_ns in spans:
        if end_ns - begin_ns > (gap_after_ns if len(track.first_ns) else 0):
            found.append(SiteSilence(from_ms=begin_ns // _NS_PER_MS, to_ms=end_ns // _NS_PER_MS))
    return found


def _plain(row: NDArray[np.float64]) -> list[float | None]:
    return [None if math.isnan(value) else round(value, 6) for value in row.tolist()]
