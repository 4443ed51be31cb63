"""The split of one set-point over a fleet, on one core: without limits of groups, and within three levels of them.

Beside it quadratic solvers split the same set-point, and a microgrid kit distributes it by its own rule, each in a virtual
environment that is set up at the first run. Latencies are of whole calls, checks of the input included.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import typer
from numpy.typing import NDArray

from shoal.cli.bench import Benchmark, Result
from shoal.cli.benches._dispatch_inputs import Fleet, Grid, make_fleet, make_grid
from shoal.cli.benches._dispatch_peers import DISTRIBUTION, SOLVERS, ask_peer
from shoal.cli.benches._peers import Absent, Peer
from shoal.optimise.allocation import split_setpoint, split_setpoint_w
from shoal.optimise.allocation_nested import NestedAllocation, split_nested_w

_QUICK_SITES: Final = 2000
_NESTED_PEER_SITES: Final = 20_000
"""With more, the solvers take minutes."""
_LITTLE_W: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Times:
    """Latencies of many calls."""

    wall_ms: NDArray[np.float64]
    cpu_ms: NDArray[np.float64]

    def rows(self, case: str, size: str) -> list[Result]:
        """Return the median and the 99th percentile."""
        cpu = f"{np.median(self.cpu_ms):.3g} and {np.percentile(self.cpu_ms, 99):.3g} ms by processor time"
        return [
            Result(
                case=case,
                size=f"{size}, {name} of {len(self.wall_ms)} calls; {cpu}",
                value=float(np.percentile(self.wall_ms, level)),
                unit="ms",
                better="lower",
            )
            for name, level in (("p50", 50), ("p99", 99))
        ]


def run(case: str | None, quick: bool) -> list[Result]:
    """Run one case, or all of them one after the other."""
    chosen = list(_CASES) if case is None else [case]
    return [result for name in chosen for result in _CASES[name](quick)]


def split_100k(quick: bool) -> list[Result]:
    """Return latencies of the plain split of 100,000 sites, and beside the peers at the sizes that they can do."""
    sites = _QUICK_SITES if quick else 100_000
    rows = _split("split_100k", sites, 50 if quick else 1000)
    return rows + [
        row
        for peer in (*SOLVERS, DISTRIBUTION)
        for row in _beside("split_100k", peer, min(peer.devices, sites), quick)
    ]


def split_1m(quick: bool) -> list[Result]:
    """Return latencies of the plain split of a million sites."""
    return _split("split_1m", _QUICK_SITES if quick else 1_000_000, 50 if quick else 300)


def nested_100k(quick: bool) -> list[Result]:
    """Return latencies of the split of 100,000 sites within three levels of limits, and beside the solvers."""
    sites = _QUICK_SITES if quick else 100_000
    rows = _nested("nested_100k", sites, 20 if quick else 300)
    beside = min(sites, _NESTED_PEER_SITES)
    return rows + [
        row for peer in SOLVERS for row in _beside("nested_100k", peer, beside, quick, nested=True)
    ]


def nested_1m(quick: bool) -> list[Result]:
    """Return latencies of the split of a million sites within three levels of limits."""
    return _nested("nested_1m", _QUICK_SITES if quick else 1_000_000, 20 if quick else 100)


def _split(case: str, sites: int, calls: int) -> list[Result]:
    fleet = make_fleet(sites)
    lower, upper = fleet.lower_w.astype(np.float64), fleet.upper_w.astype(np.float64)
    targets = fleet.targets_w(calls + 1)

    def real(target_w: int) -> None:
        split_setpoint(float(target_w), lower, upper, fleet.weight, fleet.preferred_w)

    def whole(target_w: int) -> None:
        got = split_setpoint_w(target_w, fleet.lower_w, fleet.upper_w, fleet.weight, fleet.preferred_w)
        assert got.unmet_w == 0

    rows = _times(real, targets).rows(case, f"{sites:,} sites")
    return rows + _times(whole, targets).rows(case, f"{sites:,} sites, in whole watts")


def _nested(case: str, sites: int, calls: int) -> list[Result]:
    fleet = make_fleet(sites)
    grid = make_grid(fleet)
    got = _split_nested(fleet, grid, grid.target_w)
    assert got.unmet_w == 0
    assert np.all(
        got.group_w <= np.maximum(grid.group_upper_w, got.group_w[got.overload_rows].max(initial=0))
    )
    span_w = abs(grid.target_w) // 100
    targets = [grid.target_w - int(part * span_w) for part in np.random.default_rng(4).random(calls + 1)]
    nested = _times(lambda target_w: _split_nested(fleet, grid, target_w), targets)
    plain = _times(
        lambda target_w: split_setpoint_w(
            target_w, fleet.lower_w, fleet.upper_w, fleet.weight, fleet.preferred_w
        ),
        targets,
    )
    about = (
        f"{sites:,} sites in whole watts, {len(grid.parent):,} groups in 3 levels, "
        f"{len(got.bound_rows):,} of them at their limit"
    )
    rows = nested.rows(case, about)
    times = float(np.median(nested.cpu_ms) / np.median(plain.cpu_ms))
    return [
        *rows,
        Result(
            case=case,
            size=f"{about}: processor time as a multiple of the split without groups",
            value=times,
            unit="times",
            better="lower",
        ),
    ]


def _split_nested(fleet: Fleet, grid: Grid, target_w: int) -> NestedAllocation:
    return split_nested_w(
        target_w,
        lower_w=fleet.lower_w,
        upper_w=fleet.upper_w,
        weight=fleet.weight,
        preferred_w=fleet.preferred_w,
        leaf=grid.leaf,
        parent=grid.parent,
        group_lower_w=grid.group_lower_w,
        group_upper_w=grid.group_upper_w,
        base_w=grid.base_w,
    )


def _times(job: Callable[[int], object], targets: list[int]) -> _Times:
    """Time a job on every target but the first, which warms up."""
    job(targets[0])
    taken = []
    for target_w in targets[1:]:
        began_s, began_cpu_s = time.perf_counter(), time.thread_time()
        job(target_w)
        taken.append((time.perf_counter() - began_s, time.thread_time() - began_cpu_s))
    wall, cpu = 1e3 * np.array(taken).T
    return _Times(wall_ms=wall, cpu_ms=cpu)


def _beside(case: str, peer: Peer, sites: int, quick: bool, *, nested: bool = False) -> list[Result]:
    """Return a peer's row; none when it is absent."""
    fleet = make_fleet(sites)
    grid = make_grid(fleet) if nested else None
    target_w = fleet.targets_w(1)[0] if grid is None else grid.target_w
    theirs = ask_peer(peer, fleet, target_w, grid, install=not quick)
    if isinstance(theirs, Absent):
        typer.echo(f"{peer.label} is left out: {theirs.reason}", err=True)
        return []
    columns = (fleet.lower_w, fleet.upper_w, fleet.weight, fleet.preferred_w)
    if grid is None:
        cost = fleet.cost(split_setpoint_w(target_w, *columns).power_w)
        times = _times(lambda target_w: split_setpoint_w(target_w, *columns), [target_w] * 21)
    else:
        cost = fleet.cost(_split_nested(fleet, grid, target_w).power_w)
        times = _times(lambda target_w: _split_nested(fleet, grid, target_w), [target_w] * 21)
    said = f"its split costs {theirs.cost / cost - 1.0:+.2g} of ours"
    if theirs.missed_w > _LITTLE_W:
        said += f" and misses the target or a limit by {theirs.missed_w:.3g} W"
    return [
        Result(
            case=case,
            size=f"{sites:,} sites in whole watts; {peer.label}: {peer.about}; {said}",
            value=float(np.median(times.wall_ms)),
            unit="ms",
            better="lower",
            peer=peer.label,
            peer_value=1e3 * theirs.took_s,
        )
    ]


_CASES: Final[dict[str, Callable[[bool], list[Result]]]] = {
    "split_100k": split_100k,
    "split_1m": split_1m,
    "nested_100k": nested_100k,
    "nested_1m": nested_1m,
}

BENCHMARK: Final = Benchmark(
    name="dispatch",
    about="the split of a set-point over a fleet, plain and within nested limits; beside quadratic solvers and a microgrid kit",
    cases=tuple(_CASES),
    run=run,
)
