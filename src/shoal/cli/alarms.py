"""`shoal alarms`: what stands, what is over, one alarm with its every step, and taking note, through the interface."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Final, TypeAlias

import typer

from shoal.cli.interface import TOKEN_VARIABLE, Url, ask_interface, instant, open_interface
from shoal.cli.options import AsJson, ConfigFile, SetValues, print_columns, print_json
from shoal.domain.alarms import AlarmKind

app = typer.Typer(help="List alarms and take note of them.", no_args_is_help=True, rich_markup_mode=None)

_asked: Final = partial(
    ask_interface,
    fix="`shoal alarms list` shows what stands",
    fixes={401: f"set {TOKEN_VARIABLE}", 403: f"set {TOKEN_VARIABLE} to an operator's token"},
)

Number: TypeAlias = Annotated[int, typer.Argument(metavar="NUMBER", min=1, help="The alarm's number.")]


@app.command(name="list")
def list_alarms(
    history: Annotated[
        bool, typer.Option("--history", help="Those that are over, the latest first.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=500, help="How many at most.")] = 50,
    url: Url = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Print the alarms that stand, the most urgent first."""
    with open_interface(url, config, set_) as interface:
        if history:
            found = _asked(interface, "GET", "/api/alarms/history", query={"limit": limit})["alarms"]
        else:
            found = _asked(interface, "GET", "/api/alarms")[:limit]
    if as_json:
        print_json(found)
    elif not found:
        typer.echo("no alarm is over yet" if history else "no alarm stands")
    else:
        print_columns([_line(alarm) for alarm in found])


@app.command()
def show(
    number: Number,
    url: Url = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Print one alarm and its every step."""
    with open_interface(url, config, set_) as interface:
        found = _asked(interface, "GET", f"/api/alarms/{number}")
    if as_json:
        print_json(found)
        return
    print_columns([_line(found["alarm"])])
    steps = found["steps"]
    print_columns([(instant(s["t_ms"]), s["action"], s["alarm"]["severity"], _who(s)) for s in steps])


@app.command(short_help="Take note of an alarm.")
def ack(
    number: Number,
    note: Annotated[str, typer.Option("--note", help="What there is to say about it.")] = "",
    url: Url = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Take note of an alarm, under the name that the token in SHOAL_OPERATOR_TOKEN belongs to."""
    with open_interface(url, config, set_) as interface:
        alarm = _asked(interface, "POST", f"/api/alarms/{number}/ack", body={"note": note})
    if as_json:
        print_json(alarm)
    else:
        typer.echo(f"alarm {number} was acknowledged by {alarm['acknowledged_by']}")


def _line(alarm: dict[str, Any]) -> tuple[str, ...]:
    about = alarm["name"] if alarm["name"] == alarm["subject"] else f"{alarm['name']} ({alarm['subject']})"
    where = f"scattered in {about}" if alarm["detail"] == "scattered" else about
    if alarm["of_sites"] > 1:
        where += f", {alarm['sites'] or alarm['peak_sites']} of {alarm['of_sites']} sites"
    if alarm["kind"] == AlarmKind.SAMPLES_LOST and alarm["value"] is not None:
        where += f", {alarm['value']:.0f} samples"
    elif alarm["scope"] == "part" and alarm["value"] is not None:
        where += f", {alarm['value']:g} {alarm['detail']}"
    noted = f"acknowledged by {alarm['acknowledged_by']}" if alarm["acknowledged_by"] else "not acknowledged"
    state = f"over since {instant(alarm['cleared_ms'])}" if alarm["cleared_ms"] is not None else noted
    kind = alarm["kind"].replace("_", " ")
    return str(alarm["number"]), alarm["severity"], kind, instant(alarm["raised_ms"]), state, where


def _who(step: dict[str, Any]) -> str:
    note = f": {step['alarm']['note']}" if step["action"] == "acknowledged" and step["alarm"]["note"] else ""
    return f"{step['by']}{note}"
