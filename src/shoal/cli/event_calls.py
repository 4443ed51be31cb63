"""`shoal event call|change|cancel|list|show`: events as people call them; the control role takes them up within a cycle."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from shoal.cli.cycle_stores import By, open_stores, parse_instant, speaker
from shoal.cli.desk_clock import plant_now_ns
from shoal.cli.options import AsJson, ConfigFile, SetValues, print_columns, print_json, read_settings

if TYPE_CHECKING:
    from shoal.domain.fleet import Fleet
    from shoal.programs.program import ProgramBook
    from shoal.store.order_records import Order
    from shoal.store.orders import Orders

MOST_LINES = 100_000

EventName: TypeAlias = Annotated[str, typer.Argument(metavar="EVENT", help="Its name.")]
Targets: TypeAlias = Annotated[
    list[str], typer.Option("--target", metavar="GROUP=KW", help="What a group delivers; may be given again.")
]


def call(
    targets: Targets,
    from_: Annotated[str, typer.Option("--from", metavar="INSTANT", help="When it begins.")],
    to: Annotated[str, typer.Option("--to", metavar="INSTANT", help="When it ends, exclusive.")],
    name: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Its name; else one is made.")
    ] = None,
    program: Annotated[
        str, typer.Option("--program", help="For whom, e.g. emergency or peak.")
    ] = "emergency",
    feed_in: Annotated[
        bool, typer.Option("--feed-in/--no-feed-in", help="Whether homes may feed into the grid.")
    ] = True,
    measure: Annotated[
        str, typer.Option("--measure", help="battery, or a baseline; `shoal baseline list` names them.")
    ] = "battery",
    price: Annotated[float, typer.Option("--price", min=0.0, help="What a delivered MWh is paid.")] = 0.0,
    owner_permille: Annotated[
        int, typer.Option("--owners", min=0, max=1000, help="The owners' part, in thousandths.")
    ] = 800,
    currency: Annotated[str, typer.Option("--currency", help="Of the price.")] = "USD",
    reason: Annotated[str, typer.Option("--reason", help="Why.")] = "",
    by: By = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Call an event: notice is given now, and homes get ready at once."""
    from shoal.control.asking import named
    from shoal.control.event_calls import check_call, make_call
    from shoal.domain.interval import Interval

    door = open_door(config, set_)
    who, wanted = speaker(by), _targets(targets)
    window = Interval(start_ns=parse_instant("--from", from_), end_ns=parse_instant("--to", to))
    order = make_call(
        event_id=name or named(program, door.now_ns, who, wanted, window),
        program=program,
        targets=wanted,
        window=window,
        by=who,
        now_ns=door.now_ns,
        reason=reason,
        feeds_in=feed_in,
        measure=measure,
        price_per_mwh=price,
        owner_share_permille=owner_permille,
        currency=currency,
    )
    check_call(order, door.fleet, door.book, now_ns=door.now_ns)
    _tell(door.orders.put(order), as_json=as_json)


def change(
    event: EventName,
    targets: Annotated[
        list[str] | None, typer.Option("--target", metavar="GROUP=KW", help="In place of the former ones.")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", metavar="INSTANT", help="End then.")] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why.")] = "",
    by: By = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Change an event that is ahead or under way; what is not given stays."""
    import msgspec

    from shoal.control.event_calls import check_call, event_order, group_calls
    from shoal.store.order_records import Scope

    door = open_door(config, set_)
    held = event_order([door.orders.order(event)], event)
    spec, scope = held.spec, held.scope
    if targets:
        groups = group_calls(_targets(targets))
        spec = msgspec.structs.replace(spec, targets=groups)
        scope = Scope(groups=tuple(one.group for one in groups))
    order = msgspec.structs.replace(
        held,
        revision=held.revision + 1,
        scope=scope,
        spec=spec,
        end_ns=held.end_ns if to is None else parse_instant("--to", to),
        by=speaker(by),
        at_ns=door.now_ns,
        reason=reason or held.reason,
    )
    check_call(order, door.fleet, door.book, now_ns=door.now_ns)
    _tell(door.orders.put(order), as_json=as_json)


def cancel(
    event: EventName,
    reason: Annotated[str, typer.Option("--reason", help="Why.")] = "",
    by: By = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Call an event off: homes go back to their own use, each with its ramp."""
    from shoal.control.event_calls import event_order

    door = open_door(config, set_)
    event_order([door.orders.order(event)], event)
    ended = door.orders.end(event, "cancelled", by=speaker(by), at_ns=door.now_ns, reason=reason)
    if as_json:
        print_json(ended)
    else:
        typer.echo(f"{event} is {ended.state}")


def list_(
    every: Annotated[bool, typer.Option("--all", help="Also those that are over or called off.")] = False,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """List the events that are called, the earliest first."""
    from shoal.store.order_records import CallSpec
    from shoal.store.orders import EVERY_STATE

    door = open_door(config, set_, strict=False)
    found = (
        door.orders.orders(after_ns=-1, states=EVERY_STATE)
        if every
        else door.orders.orders(after_ns=door.now_ns)
    )
    calls = [order for order in found if isinstance(order.spec, CallSpec)]
    if as_json:
        print_json(calls)
    elif not calls:
        typer.echo("no event is called")
    else:
        print_columns([("id", "program", "what", "from", "until", "state"), *(_line(one) for one in calls)])


def show(
    event: EventName,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Show an event: what the controller expects of it, who has left, and what came of it."""
    from shoal.control.event_calls import event_order, kept_of, left_of
    from shoal.store.database import open_database
    from shoal.store.ledger import Ledger

    door = open_door(config, set_, strict=False)
    order = event_order([door.orders.order(event)], event)
    lines = door.orders.audit(MOST_LINES, subject=event)
    now = kept_of(Ledger(open_database(door.ledger_url)), event)
    shown: dict[str, Any] = {
        "call": order,
        "phase": now.get("phase", "not taken up"),
        "expected": now.get("expected"),
        "left": left_of(lines),
        "results": [line.detail for line in reversed(lines) if line.action == "result"],
    }
    if as_json:
        print_json(shown)
        return
    _tell(order, as_json=False)
    typer.echo(f"phase: {shown['phase']}")
    expected = shown["expected"]
    if expected is not None:
        typer.echo(
            f"{expected['asked_w'] / 1e3:,.1f} of {expected['target_w'] / 1e3:,.1f} kW asked for, nine times out of "
            f"ten {expected['low_w'] / 1e3:,.1f} to {expected['high_w'] / 1e3:,.1f} kW come"
        )
    typer.echo(f"{len(shown['left'])} owners have left")
    for told in shown["results"]:
        typer.echo(told)


def register(app: typer.Typer) -> None:
    """Add the commands to `shoal event`."""
    app.command()(call)
    app.command()(change)
    app.command()(cancel)
    app.command(name="list")(list_)
    app.command()(show)


# ── what the commands share ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class EventDoor:
    """What the commands stand on."""

    orders: Orders
    fleet: Fleet
    book: ProgramBook
    now_ns: int
    ledger_url: str


def open_door(config: Path | None, set_: list[str] | None, *, strict: bool = True) -> EventDoor:
    """Return the plant's orders, fleet, programs and present instant; where that is not known and not `strict`, the machine's.

    Raises:
        UnavailableError: when there is no plant there, or its clock cannot be read.
    """
    from shoal.cli.roles.host import sqlite_url
    from shoal.domain.errors import UnavailableError
    from shoal.store.database import open_database
    from shoal.store.orders import Orders
    from shoal.store.programs import ProgramStore
    from shoal.store.registry import Registry

    stores = open_stores(config, set_)
    settings = read_settings(config, set_)
    try:
        now_ns = plant_now_ns(stores, config, set_)
    except UnavailableError:
        if strict:
            raise
        now_ns = time.time_ns()
    registry_url = settings.registry.database_url or sqlite_url(settings, "registry.db")
    ledger_url = settings.bidding.database_url or sqlite_url(settings, "registry.db")
    registry = open_database(registry_url)
    return EventDoor(
        orders=Orders(open_database(ledger_url)),
        fleet=Registry(registry).fleet_at(now_ns),
        book=ProgramStore(registry).book(),
        now_ns=now_ns,
        ledger_url=ledger_url,
    )


def _targets(given: list[str]) -> list[tuple[str, float]]:
    from shoal.domain.errors import InvalidInputError

    found = []
    for one in given:
        group, equals, power_kw = one.rpartition("=")
        try:
            found.append((group, float(power_kw)))
        except ValueError:
            equals = ""
        if not (equals and group):
            raise InvalidInputError(field="--target", value=one, fix="write it like feeder-7=200")
    return found


def _tell(order: Order, *, as_json: bool) -> None:
    if as_json:
        print_json(order)
    else:
        print_columns([_line(order)])


def _line(order: Order) -> tuple[str, ...]:
    from shoal.domain.interval import iso
    from shoal.store.order_records import CallSpec

    assert isinstance(order.spec, CallSpec)
    what = ", ".join(f"{one.group} {one.target_w / 1e3:g} kW" for one in order.spec.targets)
    return (order.order_id, order.program, what, iso(order.start_ns), iso(order.end_ns), order.state)
