"""`shoal command`: set-points, scheduled events and kill switches, and what became of them.

What is said is kept in the plant's database with who said it; the control role takes it up within a cycle, a kill switch
within a second or two.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from shoal.cli.cycle_stores import By, open_stores, parse_instant, speaker
from shoal.cli.desk_clock import plant_now_ns
from shoal.cli.options import AsJson, ConfigFile, SetValues, print_columns, print_json, read_settings

if TYPE_CHECKING:
    from shoal.domain.fleet import Fleet
    from shoal.store.ledger import Ledger
    from shoal.store.order_records import CanarySpec, Order, Scope
    from shoal.store.orders import Orders

app = typer.Typer(help="Command sites, and stop that.", no_args_is_help=True, rich_markup_mode=None)

Sites: TypeAlias = Annotated[
    list[str] | None, typer.Option("--site", metavar="SITE", help="A site; may be given again.")
]
Groups: TypeAlias = Annotated[
    list[str] | None, typer.Option("--group", metavar="GROUP", help="A group; may be given again.")
]
WholeFleet: TypeAlias = Annotated[bool, typer.Option("--fleet", help="Every site.")]
Charge: TypeAlias = Annotated[float | None, typer.Option("--charge", metavar="KW", help="Charge so much.")]
Discharge: TypeAlias = Annotated[
    float | None, typer.Option("--discharge", metavar="KW", help="Discharge so much.")
]
Reason: TypeAlias = Annotated[str, typer.Option("--reason", help="Why.")]
Program: TypeAlias = Annotated[
    str, typer.Option("--program", metavar="PROGRAM", help="For which program; it says who goes first.")
]
Name: TypeAlias = Annotated[str, typer.Argument(metavar="ID", help="As the command named it.")]
NewName: TypeAlias = Annotated[
    str | None, typer.Option("--id", metavar="ID", help="Its name; else one is made.")
]
CanaryShare: TypeAlias = Annotated[
    float | None,
    typer.Option("--canary", metavar="SHARE", help="Try it on this share of the sites first, e.g. 0.02."),
]
WatchMinutes: TypeAlias = Annotated[
    float,
    typer.Option("--watch", metavar="MINUTES", min=0.1, help="How long the meters of the few are watched."),
]


class KindName(StrEnum):
    """What an event asks of a site."""

    POWER = "power"
    CHARGE = "charge"
    HOLD = "hold"
    LOCAL = "local"


def register(app_: typer.Typer) -> None:
    """Add the command."""
    app_.add_typer(app, name="command")


@app.command(short_help="Let a group or site follow a power for a time.")
def send(
    minutes: Annotated[float, typer.Option("--for", metavar="MINUTES", min=1, help="For how long.")],
    site: Sites = None,
    group: Groups = None,
    fleet: WholeFleet = False,
    charge: Charge = None,
    discharge: Discharge = None,
    reason: Reason = "",
    program: Program = "emergency",
    name: NewName = None,
    canary: CanaryShare = None,
    watch: WatchMinutes = 5.0,
    by: By = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Let the sites together follow a power from now on; without --charge and --discharge they rest.

    The controller follows their meters: what some do not deliver, others are asked for.
    """
    from shoal.control.asking import named, power_w_of
    from shoal.domain.interval import NS_PER_MINUTE
    from shoal.store.order_records import Order, SetPointSpec

    desk = _open(config, set_)
    scope, who = _scope(site, group, fleet), speaker(by)
    power_w = power_w_of(charge_kw=charge, discharge_kw=discharge)
    order = Order(
        order_id=name or named("send", desk.now_ns, who, scope, power_w),
        program=program,
        scope=scope,
        start_ns=desk.now_ns,
        end_ns=desk.now_ns + round(minutes * NS_PER_MINUTE),
        spec=SetPointSpec(power_w=power_w),
        canary=_canary(canary, watch),
        by=who,
        at_ns=desk.now_ns,
        reason=reason,
    )
    _put(desk, order, as_json=as_json)


@app.command(short_help="Tell sites an event ahead, to run by their own clocks.")
def schedule(
    kind: Annotated[KindName, typer.Argument(help="What is asked.")],
    start: Annotated[
        str, typer.Option("--start", metavar="INSTANT", help="When, like 2026-05-04T16:00:00-05:00.")
    ],
    minutes: Annotated[float, typer.Option("--for", metavar="MINUTES", min=1, help="For how long.")],
    site: Sites = None,
    group: Groups = None,
    fleet: WholeFleet = False,
    charge: Charge = None,
    discharge: Discharge = None,
    each: Annotated[
        bool, typer.Option("--each", help="The power is of each site, not of all together.")
    ] = False,
    soc: Annotated[
        float, typer.Option("--soc", min=0, max=1, metavar="SHARE", help="Charge up to, or hold, so much.")
    ] = 0.0,
    solar_only: Annotated[
        bool, typer.Option("--solar-only", help="Charge from surplus solar power alone.")
    ] = False,
    slope: Annotated[
        float | None,
        typer.Option(
            "--slope", metavar="KW_PER_MINUTE", help="Let their sum change no faster, at either end."
        ),
    ] = None,
    ramp: Annotated[float, typer.Option("--ramp", metavar="SECONDS", min=0, help="Ramp of each site.")] = 0.0,
    spread: Annotated[
        float, typer.Option("--spread", metavar="SECONDS", min=0, help="Spread of their beginnings.")
    ] = 0.0,
    opt_out: Annotated[
        bool, typer.Option("--opt-out/--no-opt-out", help="Whether owners may leave it.")
    ] = True,
    reason: Reason = "",
    program: Program = "peak",
    name: NewName = None,
    canary: CanaryShare = None,
    watch: WatchMinutes = 5.0,
    by: By = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Tell sites an event ahead; each runs it by its own clock, even when it loses the plant."""
    import msgspec

    from shoal.control.asking import gently, named, power_w_of
    from shoal.domain.interval import NS_PER_MINUTE
    from shoal.store.order_records import EventSpec, Order

    desk = _open(config, set_)
    scope, who = _scope(site, group, fleet), speaker(by)
    power_w, start_ns = power_w_of(charge_kw=charge, discharge_kw=discharge), parse_instant("--start", start)
    spec = EventSpec(
        kind=kind.value,
        battery_w=power_w if each else 0,
        group_w=None if each or not power_w else power_w,
        soc_frac=soc,
        solar_only=solar_only,
        ramp_s=ramp,
        spread_s=spread,
        may_opt_out=opt_out,
    )
    order = Order(
        order_id=name or named(kind.value, desk.now_ns, who, scope, spec),
        program=program,
        scope=scope,
        start_ns=start_ns,
        end_ns=start_ns + round(minutes * NS_PER_MINUTE),
        spec=spec,
        canary=_canary(canary, watch),
        by=who,
        at_ns=desk.now_ns,
        reason=reason,
    )
    if slope is not None:
        how = gently(order, desk.fleet, limit_kw_per_min=slope)
        spec = msgspec.structs.replace(spec, ramp_s=max(ramp, how.ramp_s), spread_s=max(spread, how.spread_s))
        order = msgspec.structs.replace(order, spec=spec)
    _put(desk, order, as_json=as_json)


@app.command(short_help="Change or extend an order.")
def change(
    name: Name,
    start: Annotated[str | None, typer.Option("--start", metavar="INSTANT", help="Begin then.")] = None,
    end: Annotated[str | None, typer.Option("--end", metavar="INSTANT", help="End then.")] = None,
    charge: Charge = None,
    discharge: Discharge = None,
    soc: Annotated[
        float | None,
        typer.Option("--soc", min=0, max=1, metavar="SHARE", help="Charge up to, or hold, so much."),
    ] = None,
    reason: Reason = "",
    by: By = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Change an order that stands; what is not given stays. Devices get the new one in place of the old."""
    import msgspec

    from shoal.control.asking import power_w_of
    from shoal.domain.errors import InvalidInputError
    from shoal.store.order_records import EventSpec, SetPointSpec

    desk = _open(config, set_)
    held = desk.orders.order(name)
    spec = held.spec
    if charge is not None or discharge is not None:
        power_w = power_w_of(charge_kw=charge, discharge_kw=discharge)
        if isinstance(spec, SetPointSpec):
            spec = SetPointSpec(power_w=power_w)
        elif isinstance(spec, EventSpec):
            own = {"battery_w": power_w} if spec.group_w is None else {"group_w": power_w}
            spec = msgspec.structs.replace(spec, **own)
        else:
            raise InvalidInputError(field="power", value=name, fix="this order has none")
    if soc is not None:
        if not isinstance(spec, EventSpec):
            raise InvalidInputError(field="--soc", value=name, fix="only an event has one")
        spec = msgspec.structs.replace(spec, soc_frac=soc)
    order = msgspec.structs.replace(
        held,
        revision=held.revision + 1,
        start_ns=held.start_ns if start is None else parse_instant("--start", start),
        end_ns=held.end_ns if end is None else parse_instant("--end", end),
        spec=spec,
        by=speaker(by),
        at_ns=desk.now_ns,
        reason=reason or held.reason,
    )
    _put(desk, order, as_json=as_json)


@app.command(short_help="End an order.")
def cancel(
    name: Name,
    now: Annotated[
        bool, typer.Option("--now", help="Abort: at once, without its ramp; batteries rest meanwhile.")
    ] = False,
    reason: Reason = "",
    by: By = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """End an order before its time; with --now at once."""
    desk = _open(config, set_)
    ended = desk.orders.end(
        name, "aborted" if now else "cancelled", by=speaker(by), at_ns=desk.now_ns, reason=reason
    )
    if as_json:
        print_json(ended)
    else:
        typer.echo(f"{name} is {ended.state}")


@app.command(name="list", short_help="List orders and kill switches.")
def list_(
    every: Annotated[
        bool, typer.Option("--all", help="Also those that are over, ended or released.")
    ] = False,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """List the orders that stand, the kill switches that hold, how canary trials go, and what who lacks and why."""
    from shoal.store.orders import EVERY_STATE

    desk = _open(config, set_)
    orders = (
        desk.orders.orders(after_ns=-1, states=EVERY_STATE)
        if every
        else desk.orders.orders(after_ns=desk.now_ns)
    )
    stops, trials = desk.orders.stops(released=every), desk.orders.trials()
    if as_json:
        mine = {key: trial for key, trial in trials.items() if any(order.order_id == key for order in orders)}
        print_json({"orders": orders, "stops": stops, "trials": mine, "losses": desk.losses()})
        return
    for stop in stops:
        over = "" if stop.released_ns is None else f", released by {stop.released_by}: {stop.release_reason}"
        what = f"{stop.kind} {stop.target}".strip()
        typer.echo(f"STOPPED  {what}  {stop.stop_id}  by {stop.by}: {stop.reason}{over}")
    if orders:
        print_columns(
            [("id", "program", "what", "who", "from", "until", "state"), *(_line(one) for one in orders)]
        )
        for order in orders:
            trial = trials.get(order.order_id)
            if trial is not None:
                typer.echo(
                    f"{order.order_id}: canary of {len(trial.sites)} sites {trial.state} {trial.reason}".rstrip()
                )
    elif not stops:
        typer.echo("there is no order")
    for line in desk.losses():
        typer.echo(f"lacks  {line}")


@app.command(short_help="Stop commanding a site, a group or the fleet.")
def kill(
    reason: Annotated[str, typer.Option("--reason", help="Why.")],
    site: Sites = None,
    group: Groups = None,
    fleet: WholeFleet = False,
    by: By = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Stop commanding: the sites go on by themselves until somebody releases the switch, whatever else is asked."""
    from shoal.control.asking import named, target_of
    from shoal.control.schedule import check_known
    from shoal.store.order_records import Stop

    desk = _open(config, set_, strict=False)
    scope, who = _scope(site, group, fleet), speaker(by)
    check_known(scope, desk.fleet)
    kind, target = target_of(scope)
    stop = Stop(
        stop_id=named("stop", desk.now_ns, kind, target),
        kind=kind,
        target=target,
        since_ns=desk.now_ns,
        by=who,
        reason=reason,
    )
    held = desk.orders.stop(stop)
    if as_json:
        print_json(held)
    else:
        what = f"{kind} {target}".strip()
        typer.echo(f"{what} is stopped by {held.stop_id}; `shoal command release {held.stop_id}` ends it")


@app.command(short_help="Release a kill switch.")
def release(
    name: Name,
    reason: Annotated[str, typer.Option("--reason", help="Why it is safe again.")],
    by: By = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Release a kill switch; the sites are commanded again from the next cycle on."""
    desk = _open(config, set_, strict=False)
    released = desk.orders.release(
        name, by=speaker(by), at_ns=desk.now_ns, reason=reason, authorised=desk.may_release
    )
    if as_json:
        print_json(released)
    else:
        typer.echo(f"{name} is released")


@app.command(name="dry-run", short_help="Say what a power would come to; nothing is sent.")
def dry_run(
    minutes: Annotated[float, typer.Option("--for", metavar="MINUTES", min=1, help="For how long.")],
    site: Sites = None,
    group: Groups = None,
    fleet: WholeFleet = False,
    charge: Charge = None,
    discharge: Discharge = None,
    program: Program = "emergency",
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Say what a power would come to now: how much with which certainty, who would lose, and which limits bind."""
    from shoal.cli.command_preview import preview_now, print_preview
    from shoal.control.asking import check_asked, power_w_of
    from shoal.domain.interval import NS_PER_MINUTE
    from shoal.programs.program import default_book
    from shoal.store.order_records import Order, SetPointSpec

    desk = _open(config, set_)
    order = Order(
        order_id="dry-run",
        program=program,
        scope=_scope(site, group, fleet),
        start_ns=desk.now_ns,
        end_ns=desk.now_ns + round(minutes * NS_PER_MINUTE),
        spec=SetPointSpec(power_w=power_w_of(charge_kw=charge, discharge_kw=discharge)),
        by="dry-run",
        at_ns=desk.now_ns,
    )
    check_asked(order, desk.fleet, default_book(), now_ns=desk.now_ns)
    seen = preview_now(read_settings(config, set_), desk.orders, desk.fleet, order, now_ns=desk.now_ns)
    if as_json:
        print_json(seen)
    else:
        print_preview(seen)


@app.command(short_help="List who asked what, and what was refused.")
def audit(
    about: Annotated[
        str, typer.Option("--about", metavar="NAME", help="Only of this order, stop, site or person.")
    ] = "",
    refused: Annotated[bool, typer.Option("--refused", help="Only what was refused.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many at most.")] = 50,
    before: Annotated[int, typer.Option("--before", min=0, help="Only lines before this number.")] = 0,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """List every word that was said and every command that a device refused as replayed, forged or another's."""
    from shoal.domain.interval import iso

    desk = _open(config, set_, strict=False)
    lines = desk.orders.audit(limit, subject=about, before=before, refused_only=refused)
    if as_json:
        print_json(lines)
    elif not lines:
        typer.echo("there is nothing")
    else:
        print_columns(
            [
                (
                    str(line.number),
                    iso(line.at_ns),
                    line.by,
                    line.action,
                    line.subject,
                    line.outcome,
                    f"{line.reason} {line.detail}".strip(),
                )
                for line in lines
            ]
        )


# ── what the commands share ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class _Desk:
    orders: Orders
    ledger: Ledger
    fleet: Fleet
    now_ns: int
    may_release: tuple[str, ...]

    def losses(self) -> list[str]:
        """Return what dispatches and events did not get in the last cycle, and why, in words."""
        from shoal.control.grid_state import kept_limits

        state = kept_limits(self.ledger)
        return [] if state is None else state.losses


def _open(config: Path | None, set_: list[str] | None, *, strict: bool = True) -> _Desk:
    from shoal.cli.roles.host import sqlite_url
    from shoal.domain.errors import UnavailableError
    from shoal.store.database import open_database
    from shoal.store.ledger import Ledger
    from shoal.store.orders import Orders
    from shoal.store.registry import Registry

    stores = open_stores(config, set_)
    settings = read_settings(config, set_)
    try:
        now_ns = plant_now_ns(stores, config, set_)
    except UnavailableError:
        if strict:
            raise
        now_ns = time.time_ns()  # a kill switch does not wait for a clock
    registry_url = settings.registry.database_url or sqlite_url(settings, "registry.db")
    ledger_url = settings.bidding.database_url or sqlite_url(settings, "registry.db")
    named = settings.control.may_release
    database = open_database(ledger_url)
    return _Desk(
        orders=Orders(database),
        ledger=Ledger(database),
        fleet=Registry(open_database(registry_url)).fleet_at(now_ns),
        now_ns=now_ns,
        may_release=tuple(name.strip() for name in named.split(",") if name.strip()),
    )


def _scope(sites: list[str] | None, groups: list[str] | None, fleet: bool) -> Scope:
    from shoal.control.asking import scope_of

    return scope_of(sites=sites, groups=groups, fleet=fleet)


def _canary(share: float | None, watch_minutes: float) -> CanarySpec | None:
    from shoal.store.order_records import CanarySpec

    return None if share is None else CanarySpec(share_frac=share, watch_s=watch_minutes * 60)


def _put(desk: _Desk, order: Order, *, as_json: bool) -> None:
    from shoal.control.asking import check_asked
    from shoal.programs.program import default_book

    check_asked(order, desk.fleet, default_book(), now_ns=desk.now_ns)
    kept = desk.orders.put(order)
    if as_json:
        print_json(kept)
    else:
        print_columns([_line(kept)])


def _line(order: Order) -> tuple[str, ...]:
    from shoal.domain.interval import iso

    scope = order.scope
    who = "fleet" if scope.fleet else ", ".join((*scope.groups, *scope.sites))
    return (
        order.order_id,
        order.program,
        _what(order.spec),
        who,
        iso(order.start_ns),
        iso(order.end_ns),
        order.state,
    )


def _what(spec: Any) -> str:
    from shoal.store.order_records import EventSpec, SetPointSpec

    if isinstance(spec, SetPointSpec):
        return f"{_power(spec.power_w)} together"
    if isinstance(spec, EventSpec):
        power = _power(spec.group_w) + " together" if spec.group_w else _power(spec.battery_w) + " each"
        level = f" to {spec.soc_frac:.0%}" if spec.soc_frac else ""
        return f"{spec.kind}{level}, {power}" if spec.battery_w or spec.group_w else f"{spec.kind}{level}"
    return type(spec).__name__.removesuffix("Spec").lower()


def _power(power_w: int) -> str:
    if power_w == 0:
        return "rest"
    return f"{'charge' if power_w > 0 else 'discharge'} {abs(power_w) / 1e3:g} kW"
