"""`shoal bench fleet`: the prices of a whole fleet beside HiGHS on the whole programme, at sizes it can and cannot do."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from shoal.cli.bench import Benchmark, Result
from shoal.cli.benches import _fleet_cases as cases


def run(case: str | None, quick: bool) -> list[Result]:
    """Run one case, or all of them one after the other."""
    chosen = list(_CASES) if case is None else [case]
    return [result for name in chosen for result in _CASES[name](quick)]


_CASES: Final[dict[str, Callable[[bool], list[Result]]]] = {
    "fleet_1k": cases.fleet_1k,
    "fleet_100k": partial(cases.fleet_large, "fleet_100k", 100_000),
    "fleet_1m": partial(cases.fleet_large, "fleet_1m", 1_000_000),
    "rolling": cases.rolling,
    "silent": cases.silent,
    "compare": cases.compare,
}

BENCHMARK: Final = Benchmark(
    name="fleet",
    about="prices for a thousand to a million homes with feeder limits and a commitment, at a certified gap",
    cases=tuple(_CASES),
    run=run,
)
