"""`shoal event`: what an event would ask of a group and bring, calling one, and what one that is over came to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from shoal.cli import event_calls
from shoal.cli.event_settle import battery_rows, fleet_of, settle
from shoal.cli.options import AsJson, ConfigFile, SetValues, print_columns, print_json, read_settings

if TYPE_CHECKING:
    from shoal.control.emergency import EventStep
    from shoal.control.emergency_plan import SitesNow
    from shoal.domain.fleet import Fleet

app = typer.Typer(
    help="Plan events, call them, and settle them.", no_args_is_help=True, rich_markup_mode=None
)

_INSTANT: Final = "like 2026-05-04T16:00:00-05:00"

GroupName = Annotated[str, typer.Option("--group", metavar="GROUP", help="Whose sites.")]
From = Annotated[str, typer.Option("--from", metavar="INSTANT", help=f"When it begins, {_INSTANT}.")]
To = Annotated[str, typer.Option("--to", metavar="INSTANT", help="When it ends, exclusive.")]


@app.callback()
def root() -> None:
    """Plan events, call them, and settle them."""


@app.command()
def plan(
    group: GroupName,
    kw: Annotated[float, typer.Option("--kw", min=0.0, help="Power to deliver throughout.")],
    from_: From,
    to: To,
    called: Annotated[
        str | None,
        typer.Option("--called", metavar="INSTANT", help="When notice is given; else six hours ahead."),
    ] = None,
    stored: Annotated[
        float, typer.Option("--stored", min=0.0, max=1.0, help="State of charge to reckon with, 0 to 1.")
    ] = 0.6,
    solar_h: Annotated[
        float,
        typer.Option("--solar-hours", min=0.0, help="Hours of full surplus sun until then, to reckon with."),
    ] = 0.0,
    program: Annotated[str, typer.Option("--program", help="emergency or peak.")] = "emergency",
    as_json: AsJson = False,
    config: ConfigFile = None,
    set_: SetValues = None,
) -> None:
    """Say what would be asked of whom and what may be expected of it; nothing is sent."""
    from shoal.cli.cycle_stores import parse_instant
    from shoal.control.emergency import Called, EventPolicy, EventState, step_event
    from shoal.control.emergency_plan import EventCall, GroupTarget
    from shoal.control.peak import PEAK_POLICY
    from shoal.domain.errors import InvalidInputError
    from shoal.domain.interval import NS_PER_HOUR, Interval

    if program not in ("emergency", "peak"):
        raise InvalidInputError(field="--program", value=program, fix="emergency or peak")
    window = Interval(start_ns=parse_instant("--from", from_), end_ns=parse_instant("--to", to))
    called_ns = window.start_ns - 6 * NS_PER_HOUR if called is None else parse_instant("--called", called)
    fleet = fleet_of(read_settings(config, set_), window.start_ns)
    rows = battery_rows(fleet, group)
    call = EventCall(
        event_id="plan",
        program=program,
        called_ns=called_ns,
        window=window,
        groups=(GroupTarget(group_id=group, target_w=round(kw * 1e3), rows=tuple(rows)),),
    )
    sites = _assumed(fleet, stored, solar_h)
    policy = PEAK_POLICY if program == "peak" else EventPolicy()
    _, step = step_event(EventState(), [Called(call=call)], t_ns=called_ns, sites=sites, policy=policy)
    if as_json:
        print_json(_told_plan(step))
    else:
        _print_plan(step, group)


def _assumed(fleet: Fleet, stored: float, solar_h: float) -> SitesNow:
    """Return a fleet of which all that is known is what is installed."""
    import numpy as np

    from shoal.control.emergency_plan import SitesNow

    plate, count = fleet.nameplate, len(fleet.site_ids)
    capacity_wh = plate["energy_capacity_kwh"] * 1e3
    limit_w = np.floor(plate["discharge_limit_kw"] * 1e3).astype(np.int64)
    solar_wh = plate["solar_limit_kw"] * 1e3 * solar_h * plate["charge_efficiency_frac"]
    return SitesNow(
        energy_wh=capacity_wh * stored,
        reserve_wh=capacity_wh * plate["reserve_frac"],
        capacity_wh=capacity_wh,
        discharge_w=limit_w,
        charge_w=np.floor(plate["charge_limit_kw"] * 1e3).astype(np.int64),
        discharge_efficiency_frac=plate["discharge_efficiency_frac"].astype(np.float64),
        metered_wh=np.zeros(count, dtype=np.int64),
        known=np.ones(count, dtype=np.bool_),
        available=np.ones(count, dtype=np.bool_),
        solar_wh=solar_wh,
        solar_low_wh=np.zeros(count),
        most_export_w=limit_w,
    )


def _told_plan(step: EventStep) -> dict[str, Any]:
    import msgspec

    told = [
        msgspec.to_builtins(entry.item)
        | {
            "stretch": _stretch(entry.key),
            "sites": len(entry.rows),
            "all_w": None if entry.battery_w is None else int(entry.battery_w.sum()),
        }
        for entry in step.entries
    ]
    told.sort(key=lambda one: (one["start_ns"], one["stretch"]))
    return {"stretches": told, "expected": msgspec.to_builtins(step.expected)}


def _stretch(key: str) -> str:
    return key.removeprefix("plan").removeprefix("-") or "power"


def _print_plan(step: EventStep, group: str) -> None:
    from shoal.domain.interval import iso

    rows = [("", "from", "to", "sites", "all together")]
    for told in _told_plan(step)["stretches"]:
        power = "" if told["all_w"] is None else f"{abs(told['all_w']) / 1e3:,.1f} kW"
        limit = "up to " if told["stretch"] == "charge" else ""
        rows.append(
            (
                told["kind"],
                iso(told["start_ns"]),
                iso(told["end_ns"]),
                f"{told['sites']:,}",
                f"{limit}{power}",
            )
        )
    print_columns(rows)
    expected = step.expected
    if expected is not None:
        typer.echo(
            f"{group}: {expected.target_w / 1e3:,.1f} kW wanted, {expected.asked_w / 1e3:,.1f} kW asked for, "
            f"{expected.expected_w / 1e3:,.1f} kW expected, nine times out of ten "
            f"{expected.low_w / 1e3:,.1f} to {expected.high_w / 1e3:,.1f} kW"
        )
        if expected.missing_w:
            typer.echo(f"{expected.missing_w / 1e3:,.1f} kW cannot be asked of anybody.")
        reasons = ", ".join(f"{count:,} {word.replace('_', ' ')}" for word, count in expected.reasons.items())
        typer.echo(f"Sites: {reasons}")


event_calls.register(app)
app.command()(settle)
