"""`shoal parameters`: what the offers of services assume of devices, what devices say, and where the two have drifted apart."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from shoal.cli.options import AsJson, ConfigFile, SetValues, print_columns, print_json, read_settings

if TYPE_CHECKING:
    from shoal.services.drift import AssumedParameters, DeviceParameters
    from shoal.store.device_parameters import DeviceParameterStore, ServiceBacking

app = typer.Typer(
    help="Parameters of devices: what offers assume, what devices say, what has drifted.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

At: TypeAlias = Annotated[
    str | None, typer.Option("--at", metavar="INSTANT", help="Like 2026-05-04T16:00:00-05:00; else now.")
]


@app.command()
def assume(
    resource: Annotated[str, typer.Argument(metavar="RESOURCE")],
    service: Annotated[str, typer.Argument(metavar="SERVICE", help="The market's name of the product.")],
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="JSON: an object of assumptions by site; without one, none."),
    ] = None,
    by: Annotated[
        str | None, typer.Option("--by", metavar="NAME", help="Who says so; else who is signed in.")
    ] = None,
    at: At = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Say what the offers of a service assume of the devices that back it, in place of what was said before."""
    import getpass

    store = _opened(config, set_)
    assumed = {} if file is None else _assumed(file, service)
    store.assume(resource, service, assumed, by=getpass.getuser() if by is None else by, at_ns=_instant(at))
    capacity_w = sum(one.capacity_w for one in assumed.values())
    told = {"resource": resource, "service": service, "sites": len(assumed), "capacity_w": capacity_w}
    _tell(told, f"{service} of {resource}: {capacity_w:,} W of {len(assumed)} devices", as_json=as_json)


@app.command()
def report(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="JSON: what a device says, or a list; `t_ns` is now if left out."
        ),
    ],
    at: At = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Take what devices say that they are set to; of each the newest report counts."""
    reports = _reports(file, _instant(at))
    changed = _opened(config, set_).report(reports)
    told = {"reports": len(reports), "newer": changed}
    _tell(told, f"{len(reports)} reports, {changed} newer than what was known", as_json=as_json)


@app.command()
def drift(at: At = None, config: ConfigFile = None, set_: SetValues = None, as_json: AsJson = False) -> None:
    """Show how far each service is backed, and what has drifted."""
    shown = [_line(one) for one in _opened(config, set_).backing(_instant(at))]
    if as_json:
        print_json(shown)
    elif not shown:
        typer.echo("nothing is assumed of any service")
    else:
        heads = ("resource", "service", "assumed_w", "backed_w", "detail")
        print_columns(
            [
                ("RESOURCE", "SERVICE", "ASSUMED W", "BACKED W", ""),
                *([str(one[name]) for name in heads] for one in shown),
            ]
        )


def _line(one: ServiceBacking) -> dict[str, Any]:
    return {
        "resource": one.resource_id,
        "service": one.service,
        "assumed_w": one.assumed_w,
        "backed_w": one.backed_w,
        "withheld_w": one.withheld_w,
        "severity": "" if one.alarm is None else one.alarm.severity.value,
        "detail": "" if one.alarm is None else one.alarm.detail,
    }


def _opened(config: Path | None, set_: list[str] | None) -> DeviceParameterStore:
    from shoal.cli.roles.host import sqlite_url
    from shoal.store.database import migrate, open_database
    from shoal.store.device_parameters import DeviceParameterStore

    settings = read_settings(config, set_)
    url = settings.registry.database_url or sqlite_url(settings, "registry.db")
    migrate(url)
    return DeviceParameterStore(open_database(url))


def _assumed(file: Path, service: str) -> dict[str, AssumedParameters]:
    from shoal.services.drift import AssumedParameters

    found = _decoded(file, dict[str, dict[str, Any]])
    return {
        site: _converted({**fields, "service": service}, AssumedParameters, f"{site} of {file}")
        for site, fields in found.items()
    }


def _reports(file: Path, now_ns: int) -> list[DeviceParameters]:
    from shoal.services.drift import DeviceParameters

    found = _decoded(file, list[dict[str, Any]] | dict[str, Any])
    return [
        _converted({"t_ns": now_ns, **one}, DeviceParameters, str(file))
        for one in ([found] if isinstance(found, dict) else found)
    ]


def _decoded(file: Path, kind: Any) -> Any:
    import msgspec

    from shoal.domain.errors import InvalidInputError

    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(field="FILE", value=str(file), fix=f"it cannot be read: {error}") from error


def _converted(fields: dict[str, Any], kind: Any, where: str) -> Any:
    import inspect

    import msgspec

    from shoal.domain.errors import InvalidInputError

    known = set(inspect.signature(kind).parameters)
    for name in fields:
        if name not in known:
            fix = f"leave it out, or use one of: {', '.join(sorted(known))}"
            raise InvalidInputError(field=f"{name} of {where}", value=fields[name], fix=fix)
    try:
        return msgspec.convert(fields, type=kind)
    except msgspec.ValidationError as error:
        raise InvalidInputError(field=where, value=str(fields), fix=str(error)) from error


def _instant(text: str | None) -> int:
    from shoal.cli.cycle_stores import parse_instant

    return time.time_ns() if text is None else parse_instant("--at", text)


def _tell(content: dict[str, Any], text: str, *, as_json: bool) -> None:
    if as_json:
        print_json(content)
    else:
        typer.echo(text)
