"""`shoal command charging`: let the cars at chargers wait for a while; each is full by when its owner was promised."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from shoal.cli.cycle_stores import By, parse_instant, speaker
from shoal.cli.options import AsJson, ConfigFile, SetValues, print_json

NO_LIMIT_W: Final = 10**9
MOST_KW: Final = NO_LIMIT_W / 1e3
MOST_MIN: Final = 14 * 24 * 60


def charging(
    most: Annotated[
        float, typer.Option("--most", metavar="KW", min=0.0, help="What each charger may draw; 0 to wait.")
    ],
    minutes: Annotated[float, typer.Option("--for", metavar="MINUTES", min=1, help="For how long.")],
    start: Annotated[
        str | None, typer.Option("--start", metavar="INSTANT", help="When it begins; else now.")
    ] = None,
    site: Annotated[
        list[str] | None, typer.Option("--site", metavar="SITE", help="A site; may be given again.")
    ] = None,
    group: Annotated[
        list[str] | None, typer.Option("--group", metavar="GROUP", help="A group; may be given again.")
    ] = None,
    fleet: Annotated[bool, typer.Option("--fleet", help="Every charger.")] = False,
    program: Annotated[str, typer.Option("--program", help="Who takes part in it is meant.")] = "peak",
    name: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Its name; else one is made.")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why.")] = "",
    by: By = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Let sites that are chargers and nothing else draw so much at most; `shoal command cancel` ends it early."""
    from shoal.cli.event_calls import open_door
    from shoal.control.asking import check_asked, named, scope_of
    from shoal.domain.errors import InvalidInputError
    from shoal.domain.interval import NS_PER_MINUTE, iso
    from shoal.store.order_records import EnvelopeSpec, Order

    if not most <= MOST_KW:
        raise InvalidInputError(field="--most", value=most, fix=f"give kW from 0 to {MOST_KW:g}")
    if not minutes <= MOST_MIN:
        raise InvalidInputError(field="--for", value=minutes, fix=f"give at most {MOST_MIN:g} minutes")
    door = open_door(config, set_, strict=start is None)
    scope, who = scope_of(sites=site, groups=group, fleet=fleet), speaker(by)
    start_ns = door.now_ns if start is None else parse_instant("--start", start)
    order = Order(
        order_id=name or named("charging", door.now_ns, who, scope, most),
        program=program,
        scope=scope,
        start_ns=start_ns,
        end_ns=start_ns + round(minutes * NS_PER_MINUTE),
        spec=EnvelopeSpec(import_limit_w=round(most * 1e3), export_limit_w=NO_LIMIT_W, chargers_only=True),
        by=who,
        at_ns=min(door.now_ns, start_ns),
        reason=reason,
    )
    check_asked(order, door.fleet, door.book, now_ns=min(door.now_ns, start_ns))
    kept = door.orders.put(order)
    if as_json:
        print_json(kept)
    else:
        typer.echo(f"{kept.order_id}: at most {most:g} kW each until {iso(kept.end_ns)}")


def register(app: typer.Typer) -> None:
    """Add the command to `shoal command`."""
    app.command(name="charging", short_help="Let the cars at chargers wait for a while.")(charging)
