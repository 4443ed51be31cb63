"""The twins in memory, on one core and without the network: updates, aggregates, bytes, answers and the decoder.

Beside them actor and stream libraries do the same job on the same updates in the same run, each in a virtual environment
that is set up at the first run. A value is the median of repeats; `size` says how far these lie apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import numpy as np
import psutil  # type: ignore[import-untyped]

from shoal.cli.bench import Benchmark, Result
from shoal.cli.benches._peers import PEERS
from shoal.cli.benches._timing import timed
from shoal.cli.benches._twin_answers import ask, decode, make_shard
from shoal.cli.benches._twin_inputs import DELAY_NS, START_NS, disturb, make_fleet, make_samples
from shoal.cli.benches._twin_peers import apply_all, apply_beside, bytes_beside, size_of
from shoal.domain.directory import Directory
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, NS_PER_S
from shoal.domain.live import Aggregates
from shoal.telemetry.shard import Shard
from shoal.twin.aggregate import Timeouts, aggregates_of, sum_twins
from shoal.twin.columns import Twins
from shoal.twin.layout import Layout
from shoal.twin.silence import FleetTrail, estimate
from shoal.twin.silence_default import built_in_table

_SMALL: Final = 10_000
_APPLY: Final = ((100_000, 20), (10_000, 100), (1_000_000, 3))
"""Twins, and updates of each."""
_REFRESH: Final = (1_000_000, 100_000, _SMALL)
_TARIFFS: Final = 5
_MIB: Final = 1 << 20


def run(case: str | None, quick: bool) -> list[Result]:
    """Run one case, or all of them one after the other."""
    chosen = list(_CASES) if case is None else [case]
    return [result for name in chosen for result in _CASES[name](quick)]


def apply(quick: bool) -> list[Result]:
    """Return updates a second: of ordinary samples, of disturbed ones, and beside the peers."""
    sizes = ((_SMALL, 4),) if quick else _APPLY
    rows = [_apply(sites, rounds) for sites, rounds in sizes]
    rows.append(_apply(*sizes[0], disturbed=True))
    return rows + [apply_beside(peer, quick) for peer in PEERS]


def _apply(sites: int, rounds: int, *, disturbed: bool = False) -> Result:
    fleet = make_fleet(sites)
    layout = Layout.of(fleet)
    whole = make_samples(fleet, rounds + 1)
    first, rest = whole.part(0, sites), whole.part(sites, len(whole.rows))
    if disturbed:
        rest = disturb(rest, sites)

    def heard_once() -> Twins:
        twins = Twins(sites, layout=layout)
        apply_all(twins, first)
        return twins

    timing = timed(lambda twins: apply_all(twins, rest), ready=heard_once)
    count = len(rest.rows)
    kind = "samples, 1 % late, 1 % repeated, 1 % missing," if disturbed else "ordinary samples"
    return Result(
        case="apply",
        size=f"{sites:,} twins, {count:,} {kind} in random order; {timing.about(count)}",
        value=count / timing.took_s,
        unit="updates/s",
        better="higher",
    )


def refresh(quick: bool) -> list[Result]:
    """Return how long all aggregates with coverage and intervals take."""
    sizes = (_SMALL,) if quick else _REFRESH
    return [*(_refresh(sites) for sites in sizes), _refresh(sizes[0], tariffs=_TARIFFS)]


def _refresh(sites: int, *, tariffs: int = 0) -> Result:
    fleet = make_fleet(sites, tariffs=tariffs)
    layout = Layout.of(fleet)
    twins, now_ns = _mixed_twins(fleet, layout)
    table = built_in_table()
    parts_ms: list[np.ndarray[tuple[int], np.dtype[np.float64]]] = []

    def once(trail: FleetTrail) -> Aggregates:
        moments = [time.perf_counter()]
        rates = table.effective(trail)
        sums = sum_twins(twins.rows, layout, rates, now_ns=now_ns, timeouts=Timeouts.alike())
        sums.push_to(trail, now_ns)
        moments.append(time.perf_counter())
        said = estimate(table, sums.silence(), layout.parent_number, layout.level_of)
        moments.append(time.perf_counter())
        record = aggregates_of(sums, said, t_ns=now_ns)
        moments.append(time.perf_counter())
        parts_ms.append(1e3 * np.diff(moments))
        return record

    timing = timed(once, ready=lambda: _day_of_trail(now_ns))
    sums_ms, estimate_ms, record_ms = np.median(parts_ms[1:], axis=0)
    fresh_pct = 100 * once(_day_of_trail(now_ns)).fresh[0] / sites
    across = ", a second tree across" if tariffs else ""
    return Result(
        case="refresh",
        size=f"{sites:,} sites, {fresh_pct:.0f} % fresh, {len(fleet.groups):,} groups in 5 levels{across}, "
        f"{layout.cells:,} cells: sums {sums_ms:.1f}, intervals {estimate_ms:.1f}, record {record_ms:.1f} ms; "
        f"{timing.about_ms()}",
        value=1e3 * timing.took_s,
        unit="ms",
        better="lower",
    )


def _mixed_twins(fleet: Fleet, layout: Layout) -> tuple[Twins, int]:
    """Return twins, 8 % of them silent for up to three hours, 1 % impossible, 1 % never heard; and the present."""
    random = np.random.default_rng(5)
    sites = len(fleet.site_ids)
    now_ns = START_NS + 4 * NS_PER_HOUR
    samples = make_samples(fleet, 1)
    kind = random.random(sites)
    records = samples.records
    age_s = np.where(kind < 0.08, random.uniform(180, 10_800, sites), random.uniform(0, 60, sites))
    records["ts_ns"] = now_ns - (age_s * NS_PER_S).astype(np.int64)
    records["load_w"][kind > 0.99] = -5_000
    heard = (kind <= 0.98) | (kind > 0.99)
    twins = Twins(sites, layout=layout)
    arrival_ns = records["ts_ns"][heard] + DELAY_NS
    twins.apply(samples.rows[heard], records[heard], samples.oldest_seq[heard], arrival_ns)
    return twins, now_ns


def _day_of_trail(now_ns: int) -> FleetTrail:
    """Return what a fleet did through a day, so that looking back has something to find."""
    trail = FleetTrail()
    for minute in range(24 * 60, 0, -1):
        mean_w = np.array([0.02, -0.2, 500.0, 0.05]) * (1.0 + 0.5 * np.sin(minute / 230.0))
        trail.push(
            now_ns - minute * NS_PER_MINUTE,
            fresh_w=mean_w * 1e6,
            fresh_scale=np.full(4, 1e6),
            square=(2.0 * mean_w) ** 2 * 1e6,
            scale_square=np.full(4, 1e6),
        )
    return trail


def memory(quick: bool) -> list[Result]:
    """Return bytes a twin in one shard of all sites, by its arrays and by how the process grew; and beside the peers."""
    sites = _SMALL if quick else 1_000_000
    fleet = make_fleet(sites)
    process = psutil.Process()
    before_bytes = process.memory_info().rss
    layout = Layout.of(fleet)
    shard = make_shard(fleet, layout)
    grown_bytes = process.memory_info().rss - before_bytes
    about = f"{sites:,} twins with names of {len(fleet.site_ids[0])} bytes"
    counted = {
        _parts(fleet, layout, shard): shard.nbytes,
        f"growth of the process, {grown_bytes / _MIB:.0f} MiB": grown_bytes,
    }
    rows = [
        Result(case="bytes", size=f"{about}: {what}", value=size / sites, unit="bytes/twin", better="lower")
        for what, size in counted.items()
    ]
    if quick:  # the growth of a process by a few pages tells nothing
        return rows[:1]
    each = {devices: _bytes_each(devices) for devices in {size_of(peer, quick)[0] for peer in PEERS}}
    return rows + [bytes_beside(peer, quick, each[size_of(peer, quick)[0]]) for peer in PEERS]


def _parts(fleet: Fleet, layout: Layout, shard: Shard) -> str:
    sites = len(fleet.site_ids)
    directory = Directory.of_fleet(fleet)
    names_bytes = directory.arrays.names.nbytes
    parts = {
        "row": Twins(sites).nbytes,
        "lookup": directory.nbytes - names_bytes,
        "name": names_bytes,
        "cell and nameplate": layout.cell_of.nbytes + layout.plate_of.nbytes,
        "fleet row": shard.rows.nbytes,
    }
    return ", ".join(f"{what} {size / sites:.1f}" for what, size in parts.items())


def _bytes_each(sites: int) -> float:
    fleet = make_fleet(sites)
    return make_shard(fleet, Layout.of(fleet)).nbytes / sites


_CASES: Final[dict[str, Callable[[bool], list[Result]]]] = {
    "apply": apply,
    "refresh": refresh,
    "bytes": memory,
    "ask": ask,
    "decode": decode,
}

BENCHMARK: Final = Benchmark(
    name="twins",
    about="the twins in memory: updates, aggregates, bytes, answers, decoder; beside actor and stream libraries",
    cases=tuple(_CASES),
    run=run,
)
