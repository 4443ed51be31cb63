"""The whole loop, from homes to market and back: how many hours of plant time pass in a second of wall time.

The run is the one that the demonstration makes, with every process; start and stop are counted.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from shoal.cli.bench import Benchmark, Result

_FROM_DAY: Final = date(2021, 2, 10)
_SEED: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    sites: int
    duration_s: int
    size: str


_CASES: Final = {
    "homes-500-3d": _Case(sites=500, duration_s=3 * 86_400, size="500 homes, 3 days"),
    "homes-50-6h": _Case(sites=50, duration_s=6 * 3_600, size="50 homes, 6 hours"),
}
_QUICK: Final = "homes-50-6h"
_USUAL: Final = "homes-500-3d"


def run(case: str | None, quick: bool) -> list[Result]:
    """Run one case in a directory of its own and return its speed."""
    name = case or (_QUICK if quick else _USUAL)
    return [_measure(name, _CASES[name])]


def _measure(name: str, case: _Case) -> Result:
    from shoal.cli.demo import run_headless

    with tempfile.TemporaryDirectory(prefix="shoal-bench-") as directory:
        began_s = time.perf_counter()
        run_headless(
            sites=case.sites,
            from_day=_FROM_DAY,
            duration_s=case.duration_s,
            seed=_SEED,
            data_dir=Path(directory),
            speed=None,
        )
        took_s = time.perf_counter() - began_s
    speed = case.duration_s / 3_600 / took_s
    return Result(case=name, size=case.size, value=speed, unit="sim_h/s", better="higher")


BENCHMARK: Final = Benchmark(
    name="loop",
    about="plant hours per wall second of the whole loop",
    cases=tuple(_CASES),
    run=run,
)
