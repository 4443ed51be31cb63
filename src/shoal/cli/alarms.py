"""`shoal alarms`: what stands, what is over, one alarm with its every step, and taking note, through the interface."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import typer

from shoal.cli.options import AsJson, ConfigFile, SetValues, print_columns, print_json, read_settings

if TYPE_CHECKING:
    import httpx

app = typer.Typer(help="List alarms and take note of them.", no_args_is_help=True, rich_markup_mode=None)

TOKEN_VARIABLE: Final = "SHOAL_OPERATOR_TOKEN"
_TIMEOUT_S: Final = 15.0

Url: TypeAlias = Annotated[
    str | None,
    typer.Option("--url", help="Address of the interface; else that of the settings.", metavar="URL"),
]
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
    with _interface(url, config, set_) as interface:
        if history:
            found = _asked(interface, "GET", "/api/alarms/history", params={"limit": limit})["alarms"]
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
    with _interface(url, config, set_) as interface:
        found = _asked(interface, "GET", f"/api/alarms/{number}")
    if as_json:
        print_json(found)
        return
    print_columns([_line(found["alarm"])])
    steps = found["steps"]
    print_columns([(_time(s["t_ms"]), s["action"], s["alarm"]["severity"], _who(s)) for s in steps])


@app.command()
def ack(
    number: Number,
    note: Annotated[str, typer.Option("--note", help="What there is to say about it.")] = "",
    url: Url = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Take note of an alarm, under the name that the token in SHOAL_OPERATOR_TOKEN belongs to."""
    with _interface(url, config, set_) as interface:
        alarm = _asked(interface, "POST", f"/api/alarms/{number}/ack", json={"note": note})
    if as_json:
        print_json(alarm)
    else:
        typer.echo(f"alarm {number} was acknowledged by {alarm['acknowledged_by']}")


def _interface(url: str | None, config: Path | None, assignments: list[str] | None) -> httpx.Client:
    """Return a client of the plant's interface that shows the operator's token, else the one of the settings."""
    import httpx

    settings = read_settings(config, assignments).api
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)
    token = os.environ.get(TOKEN_VARIABLE) or settings.token
    return httpx.Client(
        base_url=url or f"http://{host}:{settings.port}",
        headers={"Authorization": f"Bearer {token}"} if token else {},
        timeout=_TIMEOUT_S,
        trust_env=False,
    )


def _asked(interface: httpx.Client, method: str, path: str, **request: Any) -> Any:
    """Return the answer of the interface.

    Raises:
        UnavailableError: when it cannot be reached, or cannot answer now.
        InvalidInputError: when it refuses.
    """
    import httpx

    from shoal.domain.errors import InvalidInputError, UnavailableError

    try:
        response = interface.request(method, path, **request)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UnavailableError(f"the interface {interface.base_url}", str(error)) from error
    if response.is_success:
        return response.json()
    try:
        detail = str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        detail = response.reason_phrase
    if response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
        raise UnavailableError("the plant", detail)
    fixes = {401: f"set {TOKEN_VARIABLE}", 403: f"set {TOKEN_VARIABLE} to an operator's token"}
    fix = fixes.get(response.status_code, "`shoal alarms list` shows what stands")
    raise InvalidInputError(field=path, value=detail, fix=fix)


def _line(alarm: dict[str, Any]) -> tuple[str, ...]:
    about = alarm["name"] if alarm["name"] == alarm["subject"] else f"{alarm['name']} ({alarm['subject']})"
    where = f"scattered in {about}" if alarm["detail"] == "scattered" else about
    if alarm["of_sites"] > 1:
        where += f", {alarm['sites'] or alarm['peak_sites']} of {alarm['of_sites']} sites"
    elif alarm["value"] is not None:
        where += f", {alarm['value']:g} {alarm['detail']}"
    noted = f"acknowledged by {alarm['acknowledged_by']}" if alarm["acknowledged_by"] else "not acknowledged"
    state = f"over since {_time(alarm['cleared_ms'])}" if alarm["cleared_ms"] is not None else noted
    kind = alarm["kind"].replace("_", " ")
    return str(alarm["number"]), alarm["severity"], kind, _time(alarm["raised_ms"]), state, where


def _who(step: dict[str, Any]) -> str:
    note = f": {step['alarm']['note']}" if step["action"] == "acknowledged" and step["alarm"]["note"] else ""
    return f"{step['by']}{note}"


def _time(t_ms: int) -> str:
    return datetime.fromtimestamp(t_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
