"""`shoal service`: services that stand for days, what they do now, and what they reached; the control role runs them."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from shoal.cli.cycle_stores import By, parse_instant, speaker
from shoal.cli.options import AsJson, ConfigFile, SetValues, print_columns, print_json, read_settings

if TYPE_CHECKING:
    from shoal.store.standing import StandingService, StandingServices

app = typer.Typer(
    help="Services that stand for days: a feeder below its target, a farm held to its ramp.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Service: TypeAlias = Annotated[str, typer.Argument(metavar="SERVICE", help="Its name.")]
_LATEST_DAYS = 7


class KindName(StrEnum):
    """What a service holds."""

    PEAK_SHAVING = "peak-shaving"
    SMOOTHING = "smoothing"


@app.command()
def add(
    service: Service,
    kind: Annotated[KindName, typer.Option("--kind", help="What is held.")],
    group: Annotated[str, typer.Option("--group", metavar="GROUP", help="Whose batteries serve.")],
    target: Annotated[
        float, typer.Option("--target", metavar="KW", help="Peak shaving: what a feeder stays below.")
    ] = 0.0,
    ramp: Annotated[
        float, typer.Option("--ramp", metavar="KW_PER_MINUTE", help="Smoothing: what a farm may change by.")
    ] = 0.0,
    measured: Annotated[
        str, typer.Option("--measured", metavar="GROUP", help="Whose sum is held; else that of --group.")
    ] = "",
    meter: Annotated[
        str, typer.Option("--meter", metavar="SITE", help="A meter that is held in place of a sum.")
    ] = "",
    highest: Annotated[
        float, typer.Option("--highest", metavar="KW", help="Most that a farm gives; else its rating.")
    ] = 0.0,
    window: Annotated[
        list[str] | None,
        typer.Option("--window", help="When it counts, like 'mon-fri 16:00-21:00'; may be given again."),
    ] = None,
    zone: Annotated[str, typer.Option("--zone", help="Of windows and days, like America/Chicago.")] = "UTC",
    from_: Annotated[str | None, typer.Option("--from", metavar="INSTANT", help="From when.")] = None,
    to: Annotated[str | None, typer.Option("--to", metavar="INSTANT", help="Until when.")] = None,
    program: Annotated[
        str, typer.Option("--program", help="Who takes part in it serves; its place says who goes first.")
    ] = "peak",
    coverage: Annotated[
        float, typer.Option("--coverage", min=0.0, max=1.0, help="Share that must be heard from.")
    ] = 0.9,
    reason: Annotated[str, typer.Option("--reason", help="Why.")] = "",
    by: By = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Let a service stand from now on; one of the same name that stands is changed."""
    from shoal.cli.event_calls import open_door
    from shoal.control.standing_asking import check_runnable, window_of
    from shoal.domain.errors import UnknownIdError
    from shoal.store.standing import FOREVER_NS, StandingService

    door = open_door(config, set_, strict=False)
    store = _store(door.ledger_url)
    try:
        revision = store.service(service).revision + 1
    except UnknownIdError:
        revision = 1
    made = StandingService(
        service_id=service,
        kind="peak_shaving" if kind is KindName.PEAK_SHAVING else "smoothing",
        program=program,
        group=group,
        measured_group=measured,
        meter=meter,
        target_kw=target,
        ramp_kw_per_min=ramp,
        highest_kw=highest,
        windows=tuple(window_of(text) for text in window or ()),
        zone=zone,
        start_ns=door.now_ns if from_ is None else parse_instant("--from", from_),
        end_ns=FOREVER_NS if to is None else parse_instant("--to", to),
        least_coverage_frac=coverage,
        tenant=read_settings(config, set_).control.tenant,
        revision=revision,
        by=speaker(by),
        at_ns=door.now_ns,
        reason=reason,
    )
    check_runnable(made, door.fleet, door.book, now_ns=door.now_ns)
    store.put(made)
    if as_json:
        print_json(made)
    else:
        print_columns([_line(made)])


@app.command(name="list")
def list_(
    every: Annotated[bool, typer.Option("--all", help="Also those that are stopped.")] = False,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """List the services that stand."""
    from shoal.cli.event_calls import open_door

    found = _store(open_door(config, set_, strict=False).ledger_url).services(stopped=every)
    if as_json:
        print_json(found)
    elif not found:
        typer.echo("no service stands")
    else:
        heads = ("service", "kind", "limit", "batteries of", "measured", "when", "program", "state")
        print_columns([heads, *(_line(one) for one in found)])


@app.command()
def show(
    service: Service, config: ConfigFile = None, set_: SetValues = None, as_json: AsJson = False
) -> None:
    """Show what a service does now, and what it reached, day by day."""
    from shoal.cli.event_calls import open_door
    from shoal.control.standing_asking import kept_service
    from shoal.store.database import open_database
    from shoal.store.ledger import Ledger

    door = open_door(config, set_, strict=False)
    found = _store(door.ledger_url).service(service)
    kept = kept_service(Ledger(open_database(door.ledger_url)), service)
    days = kept.get("tally", {}).get("days", [])
    if as_json:
        print_json({"service": found, "now": kept.get("now"), "days": days})
        return
    print_columns([_line(found)])
    typer.echo(_now_words(kept.get("now")))
    if days:
        print_columns(_day_rows(found, days[-_LATEST_DAYS:]))


@app.command()
def stop(
    service: Service,
    reason: Annotated[str, typer.Option("--reason", help="Why.")] = "",
    by: By = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Stop a service for good: its batteries go back to their own use within minutes."""
    from shoal.cli.event_calls import open_door

    door = open_door(config, set_, strict=False)
    ended = _store(door.ledger_url).stop(service, by=speaker(by), at_ns=door.now_ns, reason=reason)
    if as_json:
        print_json(ended)
    else:
        typer.echo(f"{service} is {ended.state}")


def _store(ledger_url: str) -> StandingServices:
    from shoal.store.database import open_database
    from shoal.store.standing import StandingServices

    return StandingServices(open_database(ledger_url))


def _line(one: StandingService) -> tuple[str, ...]:
    from shoal.control.standing_asking import window_words

    peak = one.kind == "peak_shaving"
    return (
        one.service_id,
        one.kind.replace("_", " "),
        f"{one.target_kw:g} kW" if peak else f"{one.ramp_kw_per_min:g} kW/min",
        one.group,
        f"meter {one.meter}" if one.meter else one.measured_group or one.group,
        f"{'; '.join(map(window_words, one.windows)) or 'always'} {one.zone}",
        one.program,
        one.state,
    )


def _now_words(now: dict[str, Any] | None) -> str:
    if now is None:
        return "the controller has not taken it up"
    wish, measured, serving = now["wish"], now["measured"], now["serving"]
    power_kw = wish["power_kw"]
    if power_kw is None:
        does = f"{wish['why']}: nothing is asked of the batteries"
    elif abs(power_kw) < 0.05:
        does = f"{wish['why']}: the batteries rest"
    else:
        way = "charging" if power_kw > 0 else "discharging"
        does = f"{wish['why']}: {abs(power_kw):,.1f} kW {way}"
    told = [f"{does}, {serving['sites']} sites with {serving['stored_kwh']:,.1f} kWh"]
    coverage = f"{measured['coverage_frac']:.0%} heard from, the oldest {measured['oldest_age_s']:.0f} s ago"
    if measured["with_kw"] is None:
        told.append(f"not measured: {coverage}")
    else:
        told.append(
            f"measured {measured['with_kw']:,.1f} kW, without the batteries {measured['without_kw']:,.1f} kW ({coverage})"
        )
    if not wish["can_hold"]:
        told.append("the limit cannot be held by what is expected and stored")
    if now["fault"]:
        told.append(now["fault"])
    return "\n".join(told)


def _day_rows(service: StandingService, days: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    peak = service.kind == "peak_shaving"
    names = ("peak_without_kw", "peak_with_kw")
    if not peak:
        names = ("ramp_without_kw_per_min", "ramp_with_kw_per_min")
    unit = "kW" if peak else "kW/min"
    rows: list[tuple[str, ...]] = [
        ("day", f"without, {unit}", f"with, {unit}", "charged", "discharged", "beyond", "not seen")
    ]
    for day in days:
        values = ["" if day[name] is None else f"{day[name]:,.1f}" for name in names]
        rows.append(
            (
                day["day"],
                *values,
                f"{day['charged_kwh']:,.1f} kWh",
                f"{day['discharged_kwh']:,.1f} kWh",
                f"{day['beyond_s'] / 60:,.0f} of {day['counted_s'] / 60:,.0f} min "
                f"(without: {day['beyond_without_s'] / 60:,.0f})",
                f"{day['blind_s'] / 60:,.0f} min",
            )
        )
    return rows
