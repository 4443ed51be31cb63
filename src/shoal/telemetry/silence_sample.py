"""What the plant learns the table of silent sites from: whole leaf groups of the fleet, drawn anew each day, out of history.

Time and memory are bounded by the number of sites drawn and the days looked back, not by the fleet: history is read six
hours at a time, of these sites only, and reduced to one value a site and five minutes where it is read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, NS_PER_S
from shoal.domain.telemetry import SUSPECT
from shoal.store.history import History
from shoal.twin.layout import Layout
from shoal.twin.silence import SIGNALS
from shoal.twin.silence_default import built_in_table
from shoal.twin.silence_history import SilenceHistory, pretend_silence
from shoal.twin.silence_learned import LearnedSilence, check_table
from shoal.twin.silence_learning import learn_from
from shoal.twin.silence_trial import part, try_table

STEP_NS: Final = 5 * NS_PER_MINUTE
DAY_NS: Final = 24 * NS_PER_HOUR
LEAST_DAYS: Final = 2
LEAST_KNOWN_FRAC: Final = 0.1
"""Of the sites and steps looked at, how many must have a sample."""
LEAST_LATE: Final = 3_000
"""Samples that must have come late for the plant's own silences to be learned from; with fewer, silence is pretended."""
_TRIED_PART: Final = 3
"""The last third of the history tries what the rest has taught."""
_LEAVES: Final = 8
_CHUNK_NS: Final = 6 * NS_PER_HOUR
_QUERY_S: Final = 900.0


class TooLittleHistoryError(InvalidInputError):
    """There is not enough history yet to learn from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SilenceSample:
    """Some sites of a fleet, and the groups above them, numbered anew.

    Attributes:
        rows: Their rows in the fleet, N, rising.
        scale: 4 x N, as the estimate takes it.
        leaf_group: Group of each site, N.
        parent_number: Number of each group's parent, G; -1 for a root.
        level: Level of each group, G.
    """

    rows: NDArray[np.int64]
    scale: NDArray[np.float64]
    leaf_group: NDArray[np.int64]
    parent_number: NDArray[np.int64]
    level: NDArray[np.int64]


def choose_sites(fleet: Fleet, layout: Layout, *, sites: int, seed: int) -> SilenceSample:
    """Return at most so many sites; the same fleet and seed give the same ones.

    Whole leaf groups of the finest hierarchy are drawn, so that what neighbours share is seen; of a group larger than an
    eighth of the sample, so many of its sites.

    Args:
        fleet: The fleet.
        layout: Its layout.
        sites: How many at most.
        seed: Of the draw.
    """
    draw = np.random.default_rng(seed)
    leaf_of = layout.leaf_of[:, layout.cell_of]
    finest = max(range(len(leaf_of)), key=lambda number: len(np.unique(leaf_of[number])), default=None)
    count = len(fleet.site_ids)
    # a site that hangs from no group counts as of one more
    leaf = np.full(count, layout.groups) if finest is None else leaf_of[finest].astype(np.int64)
    leaf = np.where(leaf < 0, layout.groups, leaf)
    rows = np.arange(count, dtype=np.int64) if count <= sites else _draw(leaf, sites, draw)
    parents, levels = np.append(layout.parent_number, -1), np.append(layout.level_of, 0)
    kept = set(leaf[rows].tolist())
    for group in list(kept):
        above = int(parents[group])
        while above >= 0 and above not in kept:
            kept.add(above)
            above = int(parents[above])
    groups = np.array(sorted(kept), dtype=np.int64)
    parent = parents[groups]
    return SilenceSample(
        rows=rows,
        scale=layout.scales[layout.plate_of[rows], :4].T.astype(np.float64),
        leaf_group=np.searchsorted(groups, leaf[rows]),
        parent_number=np.where(parent < 0, -1, np.searchsorted(groups, parent)),
        level=levels[groups],
    )


def _draw(leaf: NDArray[np.int64], sites: int, draw: np.random.Generator) -> NDArray[np.int64]:
    """Return the rows of `sites` sites, leaf group by leaf group."""
    by_leaf = np.argsort(leaf, kind="stable")
    starts = np.flatnonzero(np.diff(leaf[by_leaf], prepend=-1))
    ends = np.append(starts[1:], len(leaf))
    most = max(sites // _LEAVES, 1)
    taken: list[NDArray[np.int64]] = []
    left = sites
    for number in draw.permutation(len(starts)):
        members = by_leaf[starts[number] : ends[number]]
        wanted = min(most, left, len(members))
        taken.append(members if wanted == len(members) else draw.choice(members, wanted, replace=False))
        left -= wanted
        if not left:
            break
    return np.sort(np.concatenate(taken)).astype(np.int64)


def read_silence(
    history: History,
    sample: SilenceSample,
    *,
    from_ns: int,
    to_ns: int,
    fresh_ns: int,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[SilenceHistory, int, bool]:
    """Return what history says of the sites, the instant that it begins at, and whether its own silences are in it.

    A sample that came later than `fresh_ns` was not known at its time. When too few did, silence is pretended.

    Args:
        history: History.
        sample: The sites.
        from_ns: Begin of the span, a multiple of `STEP_NS`.
        to_ns: Its end, another one.
        fresh_ns: How old a fresh value may be.
        stop: Asked between two reads whether to give up.

    Raises:
        TooLittleHistoryError: when the samples span less than two days or too few sites and steps have one, or on `stop`.
        UnavailableError: when history cannot be read.
        CorruptStateError: when a file of history is damaged.
    """
    steps, count = (to_ns - from_ns) // STEP_NS, len(sample.rows)
    value_w = np.full((4, steps, count), np.nan, dtype=np.float32)
    known = np.zeros((steps, count), dtype=np.bool_)
    late = np.zeros((steps, count), dtype=np.bool_)
    following = np.zeros((steps, count), dtype=np.bool_)
    latest = ", ".join(f"arg_max({name}, ts_ns) AS {name}" for name in SIGNALS)
    wanted = ", ".join(map(str, sample.rows.tolist()))
    sql = (
        f"SELECT site_no, ts_ns // {STEP_NS} AS step, {latest}, arg_max(arrival_ns - ts_ns, ts_ns) AS lag_ns, "
        "coalesce(arg_max(command_version, ts_ns), 0) AS following FROM telemetry "
        f"WHERE ts_ns >= $from AND ts_ns < $to AND flags & {int(SUSPECT)} = 0 AND site_no IN ({wanted}) GROUP BY ALL"
    )
    for begin_ns in range(from_ns, to_ns, _CHUNK_NS):
        if stop():
            raise TooLittleHistoryError(field="history", value="the plant stops", fix="learn again later")
        span_ns = begin_ns, min(begin_ns + _CHUNK_NS, to_ns)
        found = history.query(
            sql, {"from": span_ns[0], "to": span_ns[1]}, span_ns=span_ns, timeout_s=_QUERY_S
        )
        at = (
            found["step"].to_numpy() - from_ns // STEP_NS,
            np.searchsorted(sample.rows, found["site_no"].to_numpy()),
        )
        known[at] = True
        late[at] = found["lag_ns"].to_numpy() > fresh_ns
        following[at] = found["following"].to_numpy() > 0
        for number, name in enumerate(SIGNALS):
            value_w[(number, *at)] = found[name].to_numpy()  # what was not measured is NaN
    heard = np.flatnonzero(known.any(axis=1))
    span = slice(int(heard[0]), int(heard[-1]) + 1) if len(heard) else slice(0, 0)
    known, late, following, value_w = known[span], late[span], following[span], value_w[:, span]
    hours = len(known) * STEP_NS / NS_PER_HOUR
    if hours < 24 * LEAST_DAYS - 1:
        raise TooLittleHistoryError(
            field="history", value=f"{hours:.1f} h of samples", fix=f"wait until there are {LEAST_DAYS} days"
        )
    if known.mean() < LEAST_KNOWN_FRAC:
        raise TooLittleHistoryError(
            field="history",
            value=f"samples for {known.mean():.1%} of sites and times",
            fix=f"wait until there are {LEAST_KNOWN_FRAC:.0%}",
        )
    recorded = bool(late.sum() >= LEAST_LATE)
    hidden = late if recorded else pretend_silence(len(known), sample.leaf_group, step_ns=STEP_NS)
    batteries = known & (sample.scale[0] > 0.0)
    ordered = 2 * np.count_nonzero(following & batteries, axis=1) > np.count_nonzero(batteries, axis=1)
    found_history = SilenceHistory(
        step_ns=STEP_NS,
        value_w=value_w,
        silent=~known | hidden,
        ordered=ordered,
        scale=sample.scale,
        leaf_group=sample.leaf_group,
        parent_number=sample.parent_number,
        level=sample.level,
    )
    return found_history, from_ns + span.start * STEP_NS, recorded


def learn_own(
    history: History,
    fleet: Fleet,
    layout: Layout,
    *,
    now_ns: int,
    days: float,
    sites: int,
    fresh_s: float,
    stop: Callable[[], bool] = lambda: False,
) -> LearnedSilence:
    """Return the table that the plant's own last days teach; on the same day the same history gives the same table.

    What the history says too little of (a signal that few sites have, orders that were seldom given) stays as in the
    built-in table.

    Args:
        history: History.
        fleet: The fleet.
        layout: Its layout.
        now_ns: The instant.
        days: How many days to look back.
        sites: From how many sites at most.
        fresh_s: How old a fresh value may be.
        stop: Asked now and then whether to give up.

    Raises:
        TooLittleHistoryError: see `read_silence`.
        UnavailableError: see `read_silence`.
        CorruptStateError: see `read_silence`; or when what was learned is no usable table.
    """
    to_ns = now_ns // STEP_NS * STEP_NS
    from_ns = (now_ns - int(days * DAY_NS)) // STEP_NS * STEP_NS
    sample = choose_sites(fleet, layout, sites=sites, seed=now_ns // DAY_NS)
    lived, begin_ns, recorded = read_silence(
        history, sample, from_ns=from_ns, to_ns=to_ns, fresh_ns=int(fresh_s * NS_PER_S), stop=stop
    )
    end_ns = begin_ns + len(lived.silent) * STEP_NS
    sample_count = int(np.isfinite(lived.value_w).any(axis=0).sum())
    built_in = built_in_table()
    rest = len(lived.silent) - len(lived.silent) // _TRIED_PART
    later = part(lived, slice(rest, None))
    tried = learn_from(part(lived, slice(rest)), provenance="", fallback=built_in)
    trials = try_table(tried, later), try_table(built_in, later)
    if stop():
        raise TooLittleHistoryError(field="history", value="the plant stops", fix="learn again later")
    table = learn_from(lived, provenance="", fallback=built_in)
    silences = "its own silences" if recorded else "silence pretended"
    about = (
        f"own history from {_utc(begin_ns)} to {_utc(end_ns)}, {len(sample.rows)} of {len(fleet.site_ids)} sites, "
        f"{silences}, learned {_utc(now_ns)}"
    )
    table = replace(table, provenance=about)
    check_table(table)
    return LearnedSilence(
        table=table,
        learned_ns=now_ns,
        from_ns=begin_ns,
        to_ns=end_ns,
        sites=len(sample.rows),
        fleet_sites=len(fleet.site_ids),
        sample_count=sample_count,
        is_recorded=recorded,
        trial=trials[0],
        built_in_trial=trials[1],
    )


def _utc(t_ns: int) -> str:
    return datetime.fromtimestamp(t_ns // NS_PER_S, UTC).strftime("%Y-%m-%dT%H:%MZ")
