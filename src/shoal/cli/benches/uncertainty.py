"""Silent sites: how often the truth lies in the interval that is given for it, and how wide that interval is.

A fleet re-sampled from measured homes loses up to 30 % of its sites, whole areas and feeders at once. The table is
learned on the earlier half of every record and scored on the later one, beside dropping silent sites after a
timeout, holding their values with errors that are taken to be independent, and the table of day one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shoal.cli.bench import Benchmark, Result
from shoal.domain.interval import NS_PER_MINUTE
from shoal.simulate.replay import LEVELS, STEPS_PER_DAY, ReplayedFleet, library, replay_fleet
from shoal.twin.silence import (
    QUANTITIES,
    FleetTrail,
    SilenceEstimate,
    SilenceRates,
    SilenceTable,
    add_up,
    estimate,
)
from shoal.twin.silence_default import built_in_table
from shoal.twin.silence_history import SilenceHistory, Treatment, replay
from shoal.twin.silence_learning import learn_from

_NOMINAL: Final = 0.9
_DATA: Final = Path("../shared/data")
_LEVEL_NAMES: Final = ("root", "region", "area", "feeder")
_LEARNED: Final = "learned"
_DROP_AFTER_NS: Final = 15 * NS_PER_MINUTE
_SMALL_W: Final = 1e-3


class _Size(NamedTuple):
    sites: int
    weeks: int
    scored_weeks: int
    every_steps: int


_USUAL: Final = _Size(sites=2_000, weeks=7, scored_weeks=5, every_steps=6)
_QUICK: Final = _Size(sites=400, weeks=2, scored_weeks=1, every_steps=24)


class _Replayed(NamedTuple):
    """What a treatment said of M instants, M x G x 5, and the truth; the counts are M x G."""

    instants: NDArray[np.int64]
    truth_w: NDArray[np.float64]
    said: SilenceEstimate
    silent_sites: NDArray[np.int64]


class _Scored(NamedTuple):
    """What every treatment said, the truth, and where there was something to be unsure of: M x G x 5."""

    truth_w: NDArray[np.float64]
    said: dict[str, SilenceEstimate]
    is_open: NDArray[np.bool_]
    instants: NDArray[np.int64]
    fleet: ReplayedFleet
    sites: NDArray[np.float64]
    about: str

    def row(
        self,
        case: str,
        value: float,
        unit: str,
        better: Literal["higher", "lower"],
        peer: str | None,
        other: float,
    ) -> Result:
        """Return a result beside one treatment's, or beside none."""
        peer_value = None if peer is None else other
        return Result(
            case=case,
            size=self.about,
            value=value,
            unit=unit,
            better=better,
            peer=peer,
            peer_value=peer_value,
        )

    def mean(self, values: NDArray[np.float64], where: NDArray[np.bool_] | None = None) -> float:
        """Return the mean over the open cells, of those in `where` (broadcast to M x G x 5)."""
        taken = self.is_open if where is None else self.is_open & where
        return float(values[taken].mean()) if taken.any() else float("nan")


class _Dropped:
    """Hold a silent site's value up to a timeout, then leave it out: neither drift nor doubt."""

    def effective(self, trail: FleetTrail | None = None, *, ordered: bool = False) -> SilenceRates:
        """Return rates that keep values up to the timeout."""
        nothing = np.zeros((4, 2))
        return SilenceRates(
            edges_ns=np.array([_DROP_AFTER_NS + 1]),
            gain=np.broadcast_to(np.array([1.0, 0.0]), (4, 2)),
            drift=nothing,
            share=nothing,
            spread=nothing,
            common=nothing,
        )


def run(case: str | None, quick: bool) -> list[Result]:
    """Score every treatment once and return the rows of one case, or of all."""
    scored = _score(_QUICK if quick else _USUAL)
    names = list(_CASES) if case is None else [case]
    return [row for name in names for row in _CASES[name](scored)]


@cache
def _score(size: _Size) -> _Scored:
    source = library(_DATA if _DATA.is_dir() else None)
    earlier = replay_fleet(source, half="first", sites=size.sites, weeks=size.weeks, seed=1).history
    table = learn_from(earlier, provenance="the earlier half")
    del earlier  # half a gigabyte
    fleet = replay_fleet(source, half="second", sites=size.sites, weeks=size.scored_weeks, seed=2)
    wanted = np.arange(len(fleet.level_frac)) % size.every_steps == 0
    tables = {_LEARNED: table, "built-in": built_in_table(), "independent": _without_sharing(table)}
    played = {
        name: _replayed(fleet.history, treatment, treatment, wanted) for name, treatment in tables.items()
    }
    played["dropped"] = _replayed(fleet.history, _Dropped(), _certain(table), wanted)
    one = played[_LEARNED]
    told = one.said
    is_open = (told.high_w - told.low_w > _SMALL_W) | (np.abs(one.truth_w - told.expected_w) > _SMALL_W)
    leaves = np.bincount(fleet.history.leaf_group, minlength=len(fleet.history.parent_number)).astype(
        np.float64
    )[:, None]
    return _Scored(
        truth_w=one.truth_w,
        said={name: each.said for name, each in played.items()},
        is_open=is_open & (one.silent_sites > 0)[:, :, None],
        instants=one.instants,
        fleet=fleet,
        sites=add_up(leaves, fleet.history.parent_number, fleet.history.level),
        about=f"{size.sites} homes after {source.about}; {size.weeks} earlier weeks to learn, "
        f"{size.scored_weeks} later ones to score, 1 to 30 % of the sites silent",
    )


def _without_sharing(table: SilenceTable) -> SilenceTable:
    """Return the table as it were if the errors of silent sites were independent and normal."""
    return replace(
        _certain(table),
        spread=table.spread,
        z_low=np.full((5, 2, 1), -1.645),
        z_high=np.full((5, 2, 1), 1.645),
        z_firm=np.full((5, 2, 1), 1.282),
    )


def _certain(table: SilenceTable) -> SilenceTable:
    """Return the table without any band."""
    nothing, none = np.zeros_like(table.spread), np.zeros((5, 2, 1))
    return replace(
        table,
        spread=nothing,
        common=nothing,
        shift=nothing,
        correlation=np.eye(4),
        size_sites=np.array([1]),
        z_low=none,
        z_high=none,
        z_firm=none,
    )


def _replayed(
    history: SilenceHistory, treatment: Treatment, table: SilenceTable, wanted: NDArray[np.bool_]
) -> _Replayed:
    """Return what the estimate of a table says of the sums that a treatment makes."""
    instants, truth, counts = [], [], []
    said: list[SilenceEstimate] = []
    for moment in replay(history, treatment, wanted):
        fresh_w = moment.sums.fresh_w
        total_w = np.concatenate([fresh_w, fresh_w.sum(axis=1, keepdims=True)], axis=1)
        instants.append(moment.step_number)
        truth.append(total_w + moment.silent_truth_w)
        counts.append(moment.sums.silent_sites)
        said.append(estimate(table, moment.sums, history.parent_number, history.level))
    together = {f.name: np.stack([getattr(each, f.name) for each in said]) for f in fields(SilenceEstimate)}
    return _Replayed(np.array(instants), np.stack(truth), SilenceEstimate(**together), np.stack(counts))


def _inside(scored: _Scored, name: str) -> NDArray[np.float64]:
    told = scored.said[name]
    low_w, high_w = told.low_w - _SMALL_W, told.high_w + _SMALL_W
    return ((scored.truth_w >= low_w) & (scored.truth_w <= high_w)).astype(np.float64)


def _width_w(scored: _Scored, name: str) -> NDArray[np.float64]:
    """Return the width of the intervals, W per home of the group."""
    told = scored.said[name]
    width_w: NDArray[np.float64] = (told.high_w - told.low_w) / scored.sites
    return width_w


def _pinball_w(scored: _Scored, name: str) -> NDArray[np.float64]:
    """Return the mean pinball loss of both ends, W per home of the group."""
    told = scored.said[name]
    off_low, off_high = scored.truth_w - told.low_w, scored.truth_w - told.high_w
    loss = np.maximum(0.05 * off_low, -0.95 * off_low) + np.maximum(0.95 * off_high, -0.05 * off_high)
    per_home: NDArray[np.float64] = loss / 2.0 / scored.sites
    return per_home


def _coverage(scored: _Scored) -> list[Result]:
    own = scored.mean(_inside(scored, _LEARNED))
    return [
        scored.row("coverage_90", own, "share", "higher", peer, scored.mean(_inside(scored, peer)))
        for peer in _PEERS
    ]


def _cells(scored: _Scored) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Give the parts of the score by size of group, by drop-out and by quantity, with their names."""
    level = scored.fleet.history.level
    for number, name in enumerate(_LEVEL_NAMES):
        sites = int(scored.sites[level == number][0, 0])
        yield f"{name}_{sites}", (level == number)[None, :, None]
    for frac in LEVELS:
        yield f"silent_{frac * 100:.0f}pct", (scored.fleet.level_frac[scored.instants] == frac)[:, None, None]
    for number, name in enumerate(QUANTITIES):
        yield name, (np.arange(len(QUANTITIES)) == number)[None, None, :]


def _conditions(scored: _Scored) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Give the parts of the score that intervals are not calibrated for, with their names."""
    history = scored.fleet.history
    ordered = history.ordered[scored.instants]
    yield "dispatch", ordered[:, None, None]
    yield "no_dispatch", ~ordered[:, None, None]
    stormy = scored.fleet.stormy[scored.instants]
    yield "half_the_areas_stormy", (stormy.mean(axis=1) >= 0.5)[:, None, None]
    hour = scored.instants % STEPS_PER_DAY * 24 // STEPS_PER_DAY
    for first in (0, 6, 12, 18):
        yield f"hours_{first:02d}_{first + 6:02d}", ((hour >= first) & (hour < first + 6))[:, None, None]


def _coverage_by_cell(scored: _Scored) -> list[Result]:
    return _coverage_in(scored, _cells(scored))


def _coverage_by_condition(scored: _Scored) -> list[Result]:
    return _coverage_in(scored, _conditions(scored))


def _coverage_in(scored: _Scored, parts: Iterator[tuple[str, NDArray[np.bool_]]]) -> list[Result]:
    inside, naive = _inside(scored, _LEARNED), _inside(scored, "independent")
    return [
        scored.row(
            f"coverage_90_{name}",
            scored.mean(inside, at),
            "share",
            "higher",
            "independent",
            scored.mean(naive, at),
        )
        for name, at in parts
    ]


def _grid_coverage(scored: _Scored) -> list[Result]:
    """Return the coverage of power at the connection point, for each size of group and each drop-out."""
    level, rows = scored.fleet.history.level, []
    inside = _inside(scored, _LEARNED)
    is_grid = np.arange(len(QUANTITIES)) == QUANTITIES.index("grid_w")
    for number, name in enumerate(_LEVEL_NAMES):
        for frac in LEVELS:
            at = (level == number)[None, :, None] & is_grid
            at = at & (scored.fleet.level_frac[scored.instants] == frac)[:, None, None]
            case = f"coverage_90_grid_w_{name}_silent_{frac * 100:.0f}pct"
            rows.append(scored.row(case, scored.mean(inside, at), "share", "higher", None, 0.0))
    return rows


def _miscalibration(scored: _Scored) -> list[Result]:
    """Return the mean distance of coverage from 90 % over sizes, drop-outs and quantities."""

    def distance(name: str) -> float:
        inside = _inside(scored, name)
        found = [abs(scored.mean(inside, at) - _NOMINAL) for _, at in _cells(scored)]
        return float(np.nanmean(found))

    return [
        scored.row("miscalibration", distance(_LEARNED), "share", "lower", peer, distance(peer))
        for peer in _PEERS
    ]


def _width(scored: _Scored) -> list[Result]:
    level = scored.fleet.history.level
    rows = []
    for number, name in enumerate(_LEVEL_NAMES):
        for quantity, label in enumerate(QUANTITIES):
            at = (level == number)[None, :, None] & (np.arange(len(QUANTITIES)) == quantity)
            own = scored.mean(_width_w(scored, _LEARNED), at)
            other = scored.mean(_width_w(scored, "built-in"), at)
            rows.append(
                scored.row(f"width_90_{name}_{label[:-2]}", own, "W/home", "lower", "built-in", other)
            )
    return rows


def _pinball(scored: _Scored) -> list[Result]:
    own = scored.mean(_pinball_w(scored, _LEARNED))
    return [
        scored.row("pinball", own, "W/home", "lower", peer, scored.mean(_pinball_w(scored, peer)))
        for peer in _PEERS
    ]


def _firm_miss(scored: _Scored) -> list[Result]:
    """Return how often a group delivered less than its firm power: 10 and 5 % are promised."""

    def missed(name: str, promised_w: NDArray[np.float64]) -> float:
        is_short = (scored.truth_w > promised_w + _SMALL_W).astype(np.float64)
        return scored.mean(is_short)

    rows = []
    for case, field in (("firm_miss_10", "firm_w"), ("firm_miss_05", "high_w")):
        own = missed(_LEARNED, getattr(scored.said[_LEARNED], field))
        for peer in _PEERS:
            other = missed(peer, getattr(scored.said[peer], field))
            rows.append(scored.row(case, own, "share", "lower", peer, other))
    return rows


_PEERS: Final = ("built-in", "independent", "dropped")
_CASES: Final[dict[str, Callable[[_Scored], list[Result]]]] = {
    "coverage_90": _coverage,
    "coverage_90_by_cell": _coverage_by_cell,
    "coverage_90_by_condition": _coverage_by_condition,
    "coverage_90_grid": _grid_coverage,
    "miscalibration": _miscalibration,
    "width_90": _width,
    "pinball": _pinball,
    "firm_miss": _firm_miss,
}

BENCHMARK: Final = Benchmark(
    name="uncertainty",
    about="how well the intervals of groups with silent sites keep their word, on measured homes",
    cases=tuple(_CASES),
    run=run,
)
