"""`shoal forecast study`: a model a home or one for all? Measured on real homes, written into the document.

The numbers stand between two marks of the document and are replaced by each run; the text around them is kept.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from shoal.cli.options import AsJson, print_json
from shoal.domain.errors import InvalidInputError

SITES: Final = "10,17,100,1000,10000"
BEGIN: Final = "<!-- computed: global-or-local -->"
END: Final = "<!-- end of computed -->"
_TEXT: Final = f"""# Global or local?

A site forecast can come from a model of its own (local), from one model for all sites (global), or from both, mixed site
by site as their losses tell (adapted). This page answers which, with numbers that a command computes from measured homes:

    shoal forecast study --data DIR --out docs/global-or-local.md

{BEGIN}
{END}

## How it is measured

- Every forecast is made at local midnight for the 24 hours that follow, from nothing but what was known then. The last 120
  days of each set are scored; models are fitted anew every 30 days; widths and mixes learn every night. Trees and step
  sizes were chosen on days 150 to 240 of the Californian year, which are not among the scored ones, and on no other set.
- Naive is the value of a week before, with intervals from its own past errors. All four methods are calibrated in the same
  way, on days that had not taught them. Coverage counts steps whose widest interval is wider than a tenth of the home's
  usual power: at night nothing is to be said about the sun. "Within 2 points" is the share of the homes' 80 and 90 %
  intervals whose coverage over the 120 days is within two points of that.
- "Scaled error" is the mean absolute error of the median, divided by the home's mean power, averaged over the homes.
- "Told a forecast" is given the solar forecast that the French home's own system had noted (its hour of issue is not in the
  data; part of it is absent), and is taught by that roof alone. The weather that comes with the Californian set is not used:
  its day-to-day changes are unrelated to those of the roofs (correlation 0.01) and of the loads (0.04), so it does
  not belong to these days, and its "predictions" are that weather itself, bit for bit.
- Single homes are forecast by a global model that saw other homes, in another country or year, and never these; adapted
  adds a model of their own as they have days.
- Cold start: half of the homes teach the global model, the other half are new, and the other way round. "Warm" is the same
  homes on the same days with all of their history, all homes teaching.
- Costs are CPU seconds on one thread, 14 of the 90 days calibrating. The sites of the cost table are mixtures of the
  measured New South Wales homes' days (two homes a site, days of the same weekday drawn afresh): right for cost and
  memory, meaningless for accuracy, of which that table says nothing. The global model learns from at most 150,000 steps
  drawn from all sites: its trees cost the same at any number of sites.

The homes: CityLearn Challenge 2022 (17 homes, Fontana, MIT licence), Smart Grid Smart City (10 homes), Ausgrid customer 12,
and the EMHASS example home (France).
"""


def add_to(group: typer.Typer) -> None:
    """Add the command to `shoal forecast`."""
    group.command(short_help="Compare local, global and adapted forecasts on real homes.")(study)


def register(app: typer.Typer) -> None:
    """Add the command to the group that is given, as `add_to`."""
    add_to(app)


def study(
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="Folder of the homes' Parquet files.")],
    sites: Annotated[
        str, typer.Option("--sites", metavar="N,N,...", help="Numbers of sites whose cost is measured.")
    ] = SITES,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Document whose numbers are replaced.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Less of everything, for a smoke run.")] = False,
    as_json: AsJson = False,
) -> None:
    """Answer whether homes are better forecast by a model each or by one for all: accuracy, cost, memory, cold start."""
    counts = _counts(sites)
    found = _measured(data, counts, quick=quick, shows=not as_json and sys.stderr.isatty())
    if out is not None:
        write_document(out, markdown(found))
    if as_json:
        print_json(found)
    else:
        typer.echo(markdown(found))


def write_document(file: Path, computed: str) -> None:
    """Put the computed part into a document, which is made when it is not there.

    Raises:
        InvalidInputError: when the document has not the two marks.
    """
    text = file.read_text(encoding="utf-8") if file.is_file() else _TEXT
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise InvalidInputError(field="--out", value=str(file), fix=f"let it hold {BEGIN} and {END}")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{head}{BEGIN}\n\n{computed.strip()}\n\n{END}{tail}", encoding="utf-8")


def _counts(text: str) -> list[int]:
    try:
        counts = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        counts = []
    if not counts or min(counts) < 1:
        raise InvalidInputError(field="--sites", value=text, fix="give numbers of sites, as 10,100,1000")
    return counts


def _measured(data: Path, counts: Sequence[int], *, quick: bool, shows: bool) -> dict[str, Any]:
    from shoal.cli.forecast_study_homes import read_homes
    from shoal.cli.forecast_study_measure import Effort, accuracy, cold_start, cost
    from shoal.forecast.sites_trees import TreeSettings

    effort = Effort()
    if quick:
        effort = Effort(tested_days=4, refit_days=4, cold_origins=1, trees=TreeSettings(tree_count=10))
    homes = read_homes(data)
    found: dict[str, Any] = {"accuracy": [], "cold_start": [], "cost": []}
    several = [home for home in homes if home.pool is None]
    jobs = [("accuracy", accuracy, (home, effort)) for home in homes]
    cold = [("cold_start", cold_start, (home, effort)) for home in several]
    costs = [("cost", cost, (several[1].panel, count, effort)) for count in counts]
    with typer.progressbar(
        [*jobs, *cold, *costs], label="measuring", file=sys.stderr, hidden=not shows
    ) as steps:
        for part, measure, arguments in steps:
            found[part].extend(measure(*arguments))  # type: ignore[operator]
    return found


def markdown(found: dict[str, Any]) -> str:
    """Return what was measured as Markdown, the answer first."""
    parts = [_answer(found)]
    rows = [
        "| homes | method | MAE, kW | scaled error | pinball | 90 % | 80 % | within 2 points | fit, s | forecast, ms |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in found["accuracy"]:
        rows.append(
            f"| {row['set']} | {row['method']} | {row['mae']:.4f} | {row['scaled_mae']:.3f} "
            f"| {row['scaled_pinball']:.4f} | {100 * row['coverage_90']:.1f} | {100 * row['coverage_80']:.1f} "
            f"| {100 * row['homes_within_2_points']:.0f} % | {row['fit_s']:.2f} "
            f"| {row['predict_ms_per_site_day']:.2f} |"
        )
    parts.append("### Accuracy\n\n" + "\n".join(rows))
    ages = [name for name in found["cold_start"][0] if name not in ("set", "method")]
    rows = [
        f"| homes | method | {' | '.join(ages)} |",
        f"|---|---|{'--:|' * len(ages)}",
    ]
    for row in found["cold_start"]:
        cells = " | ".join("none" if row[age] is None else f"{row[age]:.3f}" for age in ages)
        rows.append(f"| {row['set']} | {row['method']} | {cells} |")
    parts.append("### A new home: scaled error after so many days of data\n\n" + "\n".join(rows))
    rows = [
        "| sites | method | fit, s | fit, ms a site | learn a day, ms a site | forecast a day, ms a site "
        "| model, MB | peak of fit, MB | peak of forecast, MB |",
        "|--:|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in found["cost"]:
        rows.append(
            f"| {row['sites']:,} | {row['method']} | {row['fit_s']:.2f} | {row['fit_ms_per_site']:.2f} "
            f"| {row['adapt_ms_per_site_day']:.3f} | {row['predict_ms_per_site_day']:.3f} "
            f"| {row['model_mb']:.2f} | {row['fit_peak_mb']:.0f} | {row['predict_peak_mb']:.0f} |"
        )
    parts.append("### Cost and memory, 90 days of half-hours\n\n" + "\n".join(rows))
    return "\n\n".join(parts)


def _answer(found: dict[str, Any]) -> str:
    """Return the answer in words, from the numbers."""
    lines = []
    error: dict[str, dict[str, float]] = {}
    for row in found["accuracy"]:
        error.setdefault(row["set"], {})[row["method"]] = row["scaled_mae"]
    for name, by_method in error.items():
        usual = {method: value for method, value in by_method.items() if "," not in method}
        best = min(usual, key=lambda method: usual[method])
        gain = 100.0 * (1.0 - usual[best] / usual["naive"])
        behind = 100.0 * (usual["adapted"] / usual[best] - 1.0)
        lines.append(
            f"- {name}: {best} is best, {gain:.0f} % better than last week's values"
            + ("." if best == "adapted" else f"; adapted is {behind:.1f} % behind it.")
        )
    first = [row for row in found["cold_start"] if row["method"] in ("local", "adapted")]
    for name in dict.fromkeys(row["set"] for row in first):
        local, adapted = (
            next(row for row in first if row["set"] == name and row["method"] == method)
            for method in ("local", "adapted")
        )
        lines.append(
            f"- A new one of {name}: on its first day adapted errs {adapted['0 d']:.3f} (local cannot say), after a week "
            f"{adapted['7 d']:.3f} against {local['7 d']:.3f}, warm {adapted['warm']:.3f} against {local['warm']:.3f}."
        )
    largest = max(row["sites"] for row in found["cost"])
    told = {row["method"]: row for row in found["cost"] if row["sites"] == largest}
    day_s = {method: row["predict_ms_per_site_day"] * largest / 1e3 for method, row in told.items()}
    lines.append(
        f"- {largest:,} sites: fitting takes {told['local']['fit_s']:.0f} s local, "
        f"{told['global']['fit_s']:.0f} s global and {told['adapted']['fit_s']:.0f} s adapted, the days that calibrate included; "
        f"forecasting a day of all takes {day_s['local']:.1f}, {day_s['global']:.1f} and "
        f"{day_s['adapted']:.1f} s."
    )
    return "\n".join(lines)
