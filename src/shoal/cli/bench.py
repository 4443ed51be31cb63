"""`shoal bench`: the registry of benchmarks and how their results are printed.

A benchmark is a module of `shoal.cli.benches` that holds `BENCHMARK`; one with a leading underscore helps others. They
live inside the package, so that an installed wheel measures the same as a checkout does; a peer that is not
installed is left out.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import typer

from shoal.cli.options import AsJson, print_columns, print_json
from shoal.domain.errors import InvalidInputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One measured value, beside one peer that did the same work on the same input in the same run.

    Attributes:
        case: Which case of the benchmark.
        size: How much work, for people: ``500 homes, 3 days``.
        value: What was measured.
        unit: Its unit.
        better: Which direction is better.
        peer: Who else did the work; None when nobody did.
        peer_value: What was measured of the peer, in the same unit.
    """

    case: str
    size: str
    value: float
    unit: str
    better: Literal["higher", "lower"]
    peer: str | None = None
    peer_value: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times better than the peer: above 1 means that Shoal is ahead."""
        if self.peer_value is None:
            return None
        upper, lower = self.value, self.peer_value
        if self.better == "lower":
            upper, lower = lower, upper
        return upper / lower if lower else None

    def as_row(self) -> dict[str, Any]:
        """Return it as a row of the printed object."""
        return {
            "case": self.case,
            "size": self.size,
            "value": self.value,
            "unit": self.unit,
            "better": self.better,
            "peer": self.peer,
            "peer_value": self.peer_value,
            "ratio": self.ratio,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """Something that can be measured.

    Attributes:
        name: What it is called on the command line.
        about: One line for the list.
        cases: The names of its cases.
        run: Measures one case (every usual one when None); `quick` takes the small ones, for a smoke run.
        docs: Returns the tables of its document, as Markdown; None when it has no document.
    """

    name: str
    about: str
    cases: tuple[str, ...]
    run: Callable[[str | None, bool], list[Result]]
    docs: Callable[[], str] | None = None


def benchmarks() -> dict[str, Benchmark]:
    """Return every benchmark by name."""
    package = importlib.import_module("shoal.cli.benches")
    found: dict[str, Benchmark] = {}
    names = sorted(info.name for info in pkgutil.iter_modules(package.__path__))
    for module in (name for name in names if not name.startswith("_")):
        benchmark = importlib.import_module(f"{package.__name__}.{module}").BENCHMARK
        found[benchmark.name] = benchmark
    return found


def document_of(name: str) -> str:
    """Return the tables of a benchmark's document.

    Raises:
        InvalidInputError: when there is no such benchmark, or it has none.
    """
    docs = _benchmark(name).docs
    if docs is None:
        having = ", ".join(one.name for one in benchmarks().values() if one.docs is not None)
        raise InvalidInputError(field="--docs", value=name, fix=f"it has no document; these have: {having}")
    return docs()


def _benchmark(name: str) -> Benchmark:
    known = benchmarks()
    if name not in known:
        raise InvalidInputError(field="benchmark", value=name, fix=f"choose one of {', '.join(known)}")
    return known[name]


def measure(name: str, case: str | None, *, quick: bool) -> dict[str, Any]:
    """Run a benchmark and return the object that is printed.

    Raises:
        InvalidInputError: when there is no such benchmark or case.
    """
    from shoal.cli.machine import describe_machine

    benchmark = _benchmark(name)
    if case is not None and case not in benchmark.cases:
        raise InvalidInputError(field="case", value=case, fix=f"choose one of {', '.join(benchmark.cases)}")
    results = benchmark.run(case, quick)
    return {
        "bench": name,
        "machine": describe_machine(),
        "results": [result.as_row() for result in results],
    }


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="bench")(bench)


def bench(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="What to measure; without it, a list.")
    ] = None,
    case: Annotated[str | None, typer.Option("--case", help="One case only.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="The small cases: a smoke run, not a measurement.")
    ] = False,
    docs: Annotated[
        bool, typer.Option("--docs", help="Print the tables of its document instead, as Markdown.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Measure Shoal, beside its peers where there are any."""
    if name is None:
        _print_list(as_json=as_json)
        return
    if docs:
        typer.echo(document_of(name), nl=False)
        return
    outcome = measure(name, case, quick=quick)
    if as_json:
        print_json(outcome)
        return
    typer.echo(", ".join(f"{key} {value}" for key, value in outcome["machine"].items()))
    head = ("case", "size", "value", "better", "peer", "peer's value", "ratio")
    print_columns([head, *(_cells(row) for row in outcome["results"])])


def _print_list(*, as_json: bool) -> None:
    known = benchmarks().values()
    if as_json:
        print_json([{"name": b.name, "about": b.about, "cases": b.cases} for b in known])
    else:
        print_columns([(b.name, ", ".join(b.cases), b.about) for b in known])


def _cells(row: dict[str, Any]) -> Sequence[str]:
    unit = row["unit"]
    value = f"{row['value']:.4g} {unit}"
    peer_value = "-" if row["peer_value"] is None else f"{row['peer_value']:.4g} {unit}"
    ratio = "-" if row["ratio"] is None else f"{row['ratio']:.3g}"
    return row["case"], row["size"], value, row["better"], row["peer"] or "-", peer_value, ratio
