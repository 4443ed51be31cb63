"""`shoal sim microgrid`: an islanded village for a year, by plan and by the usual rules, on the same weather."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from shoal.cli.options import AsJson, print_columns, print_json

if TYPE_CHECKING:
    from shoal.simulate.microgrid import Comparison, Outcome


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="microgrid")(microgrid)


def microgrid(
    year: Annotated[bool, typer.Option("--year", help="A whole year; else a week.")] = False,
    days: Annotated[int, typer.Option("--days", min=1, max=366, help="Or so many days.")] = 7,
    start: Annotated[str, typer.Option("--from", metavar="DATE", help="The first day.")] = "2021-01-01",
    seed: Annotated[int, typer.Option("--seed", help="Of load, weather and failures.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Keep the lights on with generator, sun and battery; say what it took, and what the usual rules take."""
    found = run_microgrid(first=start, days=365 if year else days, seed=seed)
    if as_json:
        print_json(told(found))
    else:
        _print(found)
    if found.plan.unserved_kwh > 0.0:
        raise typer.Exit(1)


def run_microgrid(*, first: str, days: int, seed: int) -> Comparison:
    """Return what a span of days comes to.

    Raises:
        InvalidInputError: when the first day is none.
    """
    from datetime import date

    from shoal.domain.errors import InvalidInputError
    from shoal.simulate.microgrid import compare
    from shoal.simulate.microgrid_world import make_year

    try:
        day = date.fromisoformat(first)
    except ValueError as error:
        raise InvalidInputError(field="--from", value=first, fix="write it like 2021-01-01") from error
    return compare(make_year(day, days, seed=seed))


def told(found: Comparison) -> dict[str, Any]:
    """Return a comparison for machines."""
    from dataclasses import asdict

    return asdict(found)


def _print(found: Comparison) -> None:
    rules = sorted(found.rules, key=lambda one: one.fuel_litres_even)
    chosen = [found.plan, *rules[:3], *(one for one in found.usual if one not in rules[:3])]
    typer.echo(f"{found.days} days, {found.plan.load_kwh:,.0f} kWh asked for, {found.plans_made:,} plans")
    print_columns(
        [
            ("", "litres", "unserved", "starts", "failed", "hours", "unused", "least in store"),
            *(_row(one) for one in chosen),
        ]
    )
    typer.echo(
        f"The plan takes {found.fuel_saved_frac:.1%} less fuel than the best of {len(rules)} rules, chosen afterwards, "
        f"and {found.fuel_saved_usual_frac:.1%} less than the better of the usual two."
    )
    for cause, count in found.plan.dark_because.items():
        typer.echo(f"Dark in {count} quarters of an hour: {cause.replace('_', ' ')}.")


def _row(one: Outcome) -> tuple[str, ...]:
    return (
        one.name,
        f"{one.fuel_litres_even:,.0f}",
        f"{one.unserved_kwh:,.1f} kWh",
        f"{one.starts:,}",
        f"{one.failed_starts:,}",
        f"{one.run_h:,.0f}",
        f"{one.unused_kwh:,.0f} kWh",
        f"{one.lowest_kwh:,.0f} kWh",
    )
