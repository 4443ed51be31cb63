"""`shoal bench optimise`: the storage solver and the scenario programme beside HiGHS, modelling languages and energy managers."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Final

from shoal.cli.bench import Benchmark, Result
from shoal.cli.benches import _optimise_storage

_SCENARIO: Final = "shoal.cli.benches._optimise_scenario"


def run(case: str | None, quick: bool) -> list[Result]:
    """Run one case, or all of them one after the other."""
    chosen = list(_CASES) if case is None else [case]
    return [result for name in chosen for result in _CASES[name](quick)]


def scenario(quick: bool) -> list[Result]:
    """Return what the benchmark of the scenario programme measured."""
    measured: list[Result] = importlib.import_module(_SCENARIO).run(quick)
    return measured


_CASES: Final[dict[str, Callable[[bool], list[Result]]]] = {
    **_optimise_storage.CASES,
    **({"scenario_s200_as": scenario} if importlib.util.find_spec(_SCENARIO) else {}),
}

BENCHMARK: Final = Benchmark(
    name="optimise",
    about="exact storage plans: a day, 100,000 batteries, 100 hours, wasteful prices; beside HiGHS and whole toolkits",
    cases=tuple(_CASES),
    run=run,
)
