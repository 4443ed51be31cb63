"""`shoal twin`: one site as the plant sees it now, the sites in one state, and who owns the twins, through the interface."""

from __future__ import annotations

from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from shoal.cli.interface import Url, ask_interface, instant, open_interface
from shoal.cli.options import AsJson, ConfigFile, SetValues, print_columns, print_json

app = typer.Typer(help="Look at twins and their owners.", no_args_is_help=True, rich_markup_mode=None)

_STATES: Final = ("any", "fresh", "suspect", "stale", "unknown", "silent")


@app.command(short_help="Print one site as the plant sees it now.")
def show(
    site: Annotated[str, typer.Argument(metavar="SITE")],
    url: Url = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Print one site with its twin: what was measured last, how old it is, and what is to be said of it."""
    with open_interface(url, config, set_) as interface:
        found = ask_interface(
            interface, "GET", f"/api/sites/{quote(site, safe='')}", fix="`shoal fleet list` shows the sites"
        )
    if as_json:
        print_json(found)
        return
    facts = found["site"]
    plate = facts["nameplate"]
    heard = (
        "never heard"
        if found["heard_ms"] is None
        else f"{instant(found['heard_ms'])}, {_age(found['age_s'])} ago"
    )
    battery = f"{plate['discharge_limit_kw']:g} kW, {plate['energy_capacity_kwh']:g} kWh"
    stored = "" if found["soc_frac"] is None else f"{found['soc_frac']:.1%}, {found['energy_kwh']:.1f} kWh"
    behind = facts["gateway_id"] and f"{facts['gateway_id']}, unit {facts['gateway_unit']}"
    rows = [
        ("site", facts["site_id"]),
        ("device", facts["device_type"].replace("_", " ")),
        *([("gateway", behind)] if behind else []),
        ("battery", battery),
        *[(f"group, {one['hierarchy_id']}", " / ".join(one["path"])) for one in found["memberships"]],
        ("state", found["grade"]),
        ("newest sample", heard),
        *([("stored", stored)] if stored else []),
        *[(one["signal"], _signal(one)) for one in found["signals"] if one["grade"] is not None],
        *[(one["flag"].replace("_", " "), _flag(one)) for one in found["flags"]],
        ("shard", f"{found['shard']}, token {found['token']}"),
    ]
    print_columns([(name, str(value)) for name, value in rows])


@app.command(name="list")
def list_(
    group: Annotated[
        str | None, typer.Option("--group", metavar="GROUP", help="Only sites at or below it.")
    ] = None,
    state: Annotated[
        str, typer.Option("--state", help=f"One of {', '.join(_STATES)}; silent is stale or unknown.")
    ] = "any",
    limit: Annotated[int, typer.Option("--limit", min=1, max=1_000, help="How many at most.")] = 50,
    url: Url = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Print the sites of a group that are in one state."""
    with open_interface(url, config, set_) as interface:
        found = ask_interface(
            interface,
            "GET",
            "/api/twins",
            fix="`shoal fleet list` shows groups, --help the states",
            query={"group": group, "state": state, "limit": limit},
        )
    if as_json:
        print_json(found)
        return
    if not found["twins"]:
        typer.echo(f"none of {found['sites']} sites" + ("" if state == "any" else f" is {state}"))
        return
    print_columns([_line(twin) for twin in found["twins"]])
    if found["more"]:
        typer.echo(
            f"{len(found['twins'])} among the first {found['looked_at']} of {found['sites']} sites; "
            "--limit shows more",
            err=True,
        )


@app.command(short_help="Print who owns which shards.")
def shards(
    url: Url = None, config: ConfigFile = None, set_: SetValues = None, as_json: AsJson = False
) -> None:
    """Print who owns which shards, and how far behind the journal the state is that they kept last."""
    with open_interface(url, config, set_) as interface:
        found = ask_interface(interface, "GET", "/api/owners", fix="start the plant with `shoal up`")
    if as_json:
        print_json(found)
        return
    rows = [("group", "unit", "token", "position", "behind", "owner")]
    for unit in found:
        owner = unit["owner"] or "nobody"
        if unit["owner"] and not unit["alive"]:
            owner += " (gone)"
        numbers = ["-" if unit[name] is None else str(unit[name]) for name in ("position", "behind")]
        rows.append((unit["group"], unit["unit"], str(unit["token"]), *numbers, owner))
    print_columns(rows)


def _line(twin: dict[str, Any]) -> tuple[str, ...]:
    age = "never heard" if twin["age_s"] is None else f"{_age(twin['age_s'])} old"
    power = "-" if twin["battery_kw"] is None else _power(twin["battery_kw"])
    soc = "-" if twin["soc_frac"] is None else f"{twin['soc_frac']:.0%}"
    flags = ", ".join(flag.replace("_", " ") for flag in twin["flags"]) or "-"
    return twin["site_id"], twin["grade"], age, power, soc, flags


def _signal(signal: dict[str, Any]) -> str:
    return f"{_power(signal['power_kw'], signal['signal'])}, {_age(signal['age_s'])} old, {signal['grade']}"


def _power(power_kw: float, signal: str = "battery") -> str:
    """Return a power in words; inside, what is taken is positive."""
    size = f"{abs(power_kw):.2f} kW"
    if signal == "solar" or signal == "load":
        return size
    return "idle" if power_kw == 0 else f"{'charging' if power_kw > 0 else 'discharging'} {size}"


def _flag(flag: dict[str, Any]) -> str:
    consequence = ": it does not count in sums or for settlement" if flag["suspect"] else ""
    return f"{flag['about']}{consequence}"


def _age(age_s: float) -> str:
    if age_s < 120:
        return f"{age_s:.1f} s"
    return f"{age_s / 60:.0f} min" if age_s < 7_200 else f"{age_s / 3_600:.1f} h"
