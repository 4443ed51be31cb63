"""`shoal limit`: what may flow at the connections of sites and groups, always and for a while, and what that costs now.

What is said is kept in the plant's database with who said it; the control role takes it up within a cycle.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from shoal.cli.cycle_stores import By, open_stores, parse_instant, speaker
from shoal.cli.desk_clock import plant_now_ns
from shoal.cli.options import AsJson, ConfigFile, SetValues, print_columns, print_json, read_settings

if TYPE_CHECKING:
    from shoal.control.grid_room import GroupNow
    from shoal.control.grid_state import LimitsState
    from shoal.domain.fleet import Fleet
    from shoal.store.limit_records import LimitKind, OperatingEnvelope
    from shoal.store.limits import LimitStore, StandingLimits

app = typer.Typer(
    help="Limits of feeders, groups and connections.", no_args_is_help=True, rich_markup_mode=None
)

_MOST_KW = 1e9
_MOST_MIN = 14 * 24 * 60

Names: TypeAlias = Annotated[
    list[str] | None, typer.Argument(metavar="GROUP...", help="Groups, such as feeders and substations.")
]
Sites: TypeAlias = Annotated[
    list[str] | None, typer.Option("--site", metavar="SITE", help="A site; may be given again.")
]
Import: TypeAlias = Annotated[
    float | None, typer.Option("--import", metavar="KW", min=0, help="Most that may be drawn.")
]
Export: TypeAlias = Annotated[
    float | None, typer.Option("--export", metavar="KW", min=0, help="Most that may be fed in.")
]
Reason: TypeAlias = Annotated[str, typer.Option("--reason", help="Why.")]


def register(app_: typer.Typer) -> None:
    """Add the command."""
    app_.add_typer(app, name="limit")


@app.command(name="set", short_help="Set what may always flow.")
def set_limit(
    groups: Names = None,
    site: Sites = None,
    most_import: Import = None,
    most_export: Export = None,
    reason: Reason = "",
    by: By = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Set what may flow at the connection of groups or sites when no envelope says otherwise.

    Of a group it is what its sites carry together: load, solar power, cars and batteries. What is not given has no limit.
    """
    from shoal.store.limit_records import ConnectionLimit

    desk = _open(config, set_)
    limits = [
        ConnectionLimit(
            kind=kind,
            target=target,
            import_limit_w=_watts(most_import),
            export_limit_w=_watts(most_export),
            by=speaker(by),
            at_ns=desk.now_ns,
            reason=reason,
        )
        for kind, target in _targets(desk.fleet, groups, site)
    ]
    desk.store.put(limits)
    if as_json:
        print_json(limits)
    else:
        many = "limit" if len(limits) == 1 else "limits"
        typer.echo(f"{len(limits)} {many} set; held from the next cycle on")


@app.command(short_help="Take limits back.")
def clear(
    groups: Names = None,
    site: Sites = None,
    reason: Reason = "",
    by: By = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Take limits back, with the envelopes that stand on them."""
    desk = _open(config, set_)
    cleared = _targets(None, groups, site)
    for kind, target in cleared:
        desk.store.clear(kind, target, by=speaker(by), at_ns=desk.now_ns, reason=reason)
    if as_json:
        print_json({"cleared": [target for _, target in cleared]})
    else:
        typer.echo(f"no limit any more: {', '.join(target for _, target in cleared)}")


@app.command(short_help="Let something else flow for a while.")
def envelope(
    groups: Names = None,
    site: Sites = None,
    most_import: Import = None,
    most_export: Export = None,
    start: Annotated[
        str | None, typer.Option("--start", metavar="INSTANT", help="From when; else from now on.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="INSTANT", help="Until when.")] = None,
    minutes: Annotated[
        float | None, typer.Option("--for", metavar="MINUTES", min=1, help="Or for how long.")
    ] = None,
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="Take back those that stand: the static limits hold at once.")
    ] = False,
    by: By = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Give groups or sites an operating envelope, which ends by itself; then the static limit holds again."""
    from shoal.domain.errors import InvalidInputError
    from shoal.domain.interval import NS_PER_MINUTE
    from shoal.store.limit_records import OperatingEnvelope

    desk = _open(config, set_)
    targets = _targets(desk.fleet, groups, site)
    if withdraw:
        gone = sum(
            desk.store.withdraw(kind, target, by=speaker(by), at_ns=desk.now_ns) for kind, target in targets
        )
        print_json({"withdrawn": gone}) if as_json else typer.echo(f"{gone} envelopes withdrawn")
        return
    start_ns = desk.now_ns if start is None else parse_instant("--start", start)
    if (until is None) == (minutes is None):
        raise InvalidInputError(field="--until", value=until, fix="give --until or --for, one of them")
    if minutes is not None and not minutes <= _MOST_MIN:
        raise InvalidInputError(field="--for", value=minutes, fix=f"give at most {_MOST_MIN} minutes")
    if most_import is None or most_export is None:
        raise InvalidInputError(field="envelope", value="half", fix="give --import and --export")
    end_ns = (
        start_ns + round((minutes or 0) * NS_PER_MINUTE) if until is None else parse_instant("--until", until)
    )
    envelopes = [
        OperatingEnvelope(
            kind=kind,
            target=target,
            start_ns=start_ns,
            end_ns=end_ns,
            issued_ns=desk.now_ns,
            import_limit_w=_watts(most_import) or 0,
            export_limit_w=_watts(most_export) or 0,
            by=speaker(by),
            at_ns=desk.now_ns,
        )
        for kind, target in targets
    ]
    _put(desk, envelopes, as_json=as_json)


@app.command(short_help="Take in a network operator's envelopes.")
def feed(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A list of envelopes (JSON), as docs/allocation.md has it.")
    ],
    by: By = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Take in what a network operator issued: all of it or, when one cannot be used, nothing."""
    from shoal.control.envelope_feed import read_envelopes
    from shoal.domain.errors import InvalidInputError

    try:
        text = file.read_bytes()
    except OSError as error:
        raise InvalidInputError(field="FILE", value=str(file), fix=f"it cannot be read: {error}") from error
    desk = _open(config, set_)
    _put(
        desk,
        read_envelopes(text, desk.fleet, by=speaker(by), now_ns=desk.now_ns),
        as_json=as_json,
    )


@app.command(name="list", short_help="List limits and envelopes, and how they stand.")
def list_(
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """List the limits, the envelopes that are not over, and what the last cycle made of them."""
    desk = _open(config, set_)
    standing = desk.store.standing(desk.now_ns)
    state = desk.state()
    if as_json:
        print_json({"limits": standing.limits, "envelopes": standing.envelopes, "state": state})
        return
    if not standing.limits:
        typer.echo("there is no limit")
        return
    now = {} if state is None else {group.group_id: group for group in state.groups}
    print_columns(_limit_rows(standing, now, desk.now_ns))
    _tell_state(state)


def _limit_rows(
    standing: StandingLimits, now: dict[str, GroupNow], now_ns: int
) -> list[tuple[str, str, str, str, str]]:
    from shoal.domain.interval import iso

    rows = [("of", "import", "export", "until", "now")]
    for one in standing.limits:
        group = now.get(one.target) if one.kind == "group" else None
        flow = "" if group is None else _flow(group.flow_w)
        rows.append((one.target, _kw(one.import_limit_w), _kw(one.export_limit_w), "", flow))
        for envelope_ in standing.envelopes:
            if (envelope_.kind, envelope_.target) == (one.kind, one.target):
                begins = f"from {iso(envelope_.start_ns)} " if envelope_.start_ns > now_ns else ""
                rows.append(
                    (
                        "  envelope",
                        _kw(envelope_.import_limit_w),
                        _kw(envelope_.export_limit_w),
                        f"{begins}until {iso(envelope_.end_ns)}",
                        "",
                    )
                )
    return rows


def _tell_state(state: LimitsState | None) -> None:
    from shoal.domain.interval import iso

    if state is None:
        typer.echo("no cycle has looked at them yet")
        return
    typer.echo(f"as of {iso(state.t_ns)}:")
    for line in (*state.said, *state.losses):
        typer.echo(f"  {line}")
    if state.limited_sites:
        typer.echo(f"  {state.limited_sites} batteries are kept from their rating by their own connection")
    if state.unknown:
        typer.echo(f"  nobody knows {', '.join(state.unknown)}")
    if not (state.said or state.losses or state.limited_sites or state.unknown):
        typer.echo("  no limit holds anything back")


# ── what the commands share ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class _Desk:
    store: LimitStore
    ledger: Any
    fleet: Fleet
    now_ns: int

    def state(self) -> LimitsState | None:
        from shoal.control.grid_state import kept_limits

        return kept_limits(self.ledger)


def _open(config: Path | None, set_: list[str] | None) -> _Desk:
    from shoal.cli.roles.host import sqlite_url
    from shoal.store.database import open_database
    from shoal.store.ledger import Ledger
    from shoal.store.limits import LimitStore
    from shoal.store.registry import Registry

    stores = open_stores(config, set_)
    settings = read_settings(config, set_)
    now_ns = plant_now_ns(stores, config, set_)
    ledger = open_database(settings.bidding.database_url or sqlite_url(settings, "registry.db"))
    registry_url = settings.registry.database_url or sqlite_url(settings, "registry.db")
    return _Desk(
        store=LimitStore(ledger),
        ledger=Ledger(ledger),
        fleet=Registry(open_database(registry_url)).fleet_at(now_ns),
        now_ns=now_ns,
    )


def _targets(
    fleet: Fleet | None, groups: list[str] | None, sites: list[str] | None
) -> list[tuple[LimitKind, str]]:
    from shoal.control.grid_limits import check_targets
    from shoal.domain.errors import InvalidInputError

    named: list[tuple[LimitKind, str]] = []
    pairs: tuple[tuple[LimitKind, list[str] | None], ...] = (("group", groups), ("site", sites))
    for kind, targets in pairs:
        named += [(kind, target) for target in dict.fromkeys(targets or ())]
        if fleet is not None:
            check_targets(fleet, kind, targets or ())
    if not named:
        raise InvalidInputError(field="GROUP", value="none", fix="name groups, or sites with --site")
    return named


def _put(desk: _Desk, envelopes: list[OperatingEnvelope], *, as_json: bool) -> None:
    count = desk.store.put_envelopes(envelopes)
    if as_json:
        print_json(envelopes)
    else:
        typer.echo(f"{count} {'envelope' if count == 1 else 'envelopes'} taken; held from the next cycle on")


def _watts(power_kw: float | None) -> int | None:
    from shoal.domain.errors import InvalidInputError

    if power_kw is not None and not 0.0 <= power_kw <= _MOST_KW:
        raise InvalidInputError(field="limit", value=power_kw, fix=f"give kW from 0 to {_MOST_KW:g}")
    return None if power_kw is None else round(power_kw * 1e3)


def _kw(power_w: int | None) -> str:
    return "any" if power_w is None else f"{power_w / 1e3:,g} kW"


def _flow(power_w: int) -> str:
    return f"{'importing' if power_w >= 0 else 'exporting'} {abs(power_w) / 1e3:,.1f} kW"
