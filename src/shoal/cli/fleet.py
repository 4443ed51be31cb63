"""`shoal fleet`: what is installed where, from files and back; moves, credentials, and what a weather alert touches."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shoal.cli.options import AsJson, ConfigFile, SetValues, print_columns, print_json, read_settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from shoal.domain.alert import WeatherAlert
    from shoal.domain.fleet import Fleet
    from shoal.store.registry import Registry
    from shoal.twin.alerts import AlertImpact

app = typer.Typer(help="Register sites, move them, find them.", no_args_is_help=True, rich_markup_mode=None)

At = Annotated[
    str | None, typer.Option("--at", metavar="INSTANT", help="Like 2026-05-04T16:00:00-05:00; else now.")
]
SiteIds = Annotated[list[str] | None, typer.Argument(metavar="SITE...", help="Sites or gateways.")]
_SHOWN = 50


@app.command(name="import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that ends in .csv or .parquet.")],
    at: At = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Register the sites of a file, or change them; to do so twice changes nothing.

    Groups hold from the instant on. A column that is missing and a cell that is empty leave a known site as it is.
    """
    from shoal.store.fleet_files import read_sites

    registry = _registry(config, set_)
    at_ns = _instant(at)
    base = registry.fleet_at(at_ns)
    sites = read_sites(file, base)
    changed = registry.load_fleet(sites, valid_from_ns=at_ns)
    told = {
        "file": str(file),
        "sites": len(sites.site_ids),
        "new_sites": sum(site not in base.row_of for site in sites.site_ids),
        "new_groups": len(sites.groups) - len(base.groups),
        "changes": changed,
        "version": registry.version(),
    }
    if as_json:
        print_json(told)
    else:
        typer.echo(
            f"{file}: {told['sites']} sites, {told['new_sites']} of them new, {told['new_groups']} new groups, "
            f"{changed} changes"
        )


@app.command()
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that ends in .csv or .parquet.")],
    at: At = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Write every site to a file that `shoal fleet import` reads."""
    from shoal.store.fleet_files import write_sites

    fleet = _registry(config, set_).fleet_at(_instant(at))
    write_sites(file, fleet)
    if as_json:
        print_json({"file": str(file), "sites": len(fleet.site_ids)})
    else:
        typer.echo(f"{file}: {len(fleet.site_ids)} sites")


@app.command()
def move(
    site: Annotated[str, typer.Argument(metavar="SITE")],
    hierarchy: Annotated[str, typer.Argument(metavar="HIERARCHY")],
    group: Annotated[str, typer.Argument(metavar="GROUP")],
    at: At = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Hang a site from another group of a hierarchy, from an instant on."""
    from shoal.domain.ids import GroupId, HierarchyId, SiteId
    from shoal.domain.interval import iso

    registry = _registry(config, set_)
    at_ns = _instant(at)
    registry.move_site(SiteId(site), HierarchyId(hierarchy), GroupId(group), at_ns)
    if as_json:
        print_json(
            {
                "site_id": site,
                "hierarchy_id": hierarchy,
                "group_id": group,
                "at": iso(at_ns),
                "version": registry.version(),
            }
        )
    else:
        typer.echo(f"{site} hangs from {group} of {hierarchy} from {iso(at_ns)} on")


@app.command()
def credential(
    sites: SiteIds = None,
    missing: Annotated[bool, typer.Option("--missing", help="All that sign in and have none yet.")] = False,
    by: Annotated[
        str | None, typer.Option("--by", metavar="NAME", help="Who says so; else who is signed in.")
    ] = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Give devices new secrets, shown this once; their former ones are good no more, and what they opened ends."""
    import getpass
    import time

    from shoal.domain.errors import InvalidInputError
    from shoal.domain.ids import SiteId

    registry = _registry(config, set_)
    named = list(dict.fromkeys(SiteId(site) for site in sites or ()))
    if missing:
        fleet, known = registry.fleet_at(time.time_ns()), registry.credentials().keys()
        own = [
            site
            for site, gateway in zip(fleet.site_ids, fleet.gateway_of.tolist(), strict=True)
            if gateway < 0
        ]
        named += [name for name in (*own, *map(SiteId, fleet.gateway_ids)) if name not in known]
    if not named and not missing:
        raise InvalidInputError(field="SITE", value="none", fix="name sites or gateways, or say --missing")
    who = getpass.getuser() if by is None else by
    issued = registry.issue_credentials(named, at_ns=time.time_ns(), by=who)
    if as_json:
        print_json(issued)
    else:
        print_columns(list(issued.items()))


@app.command(name="list")
def list_(
    group: Annotated[
        str | None, typer.Option("--group", metavar="GROUP", help="Only sites at or below it.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="How many to show.")] = _SHOWN,
    at: At = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """List sites with what they can do and where they belong."""
    import numpy as np

    from shoal.domain.errors import UnknownIdError
    from shoal.domain.ids import GroupId

    fleet = _registry(config, set_).fleet_at(_instant(at))
    rows = np.arange(len(fleet.site_ids))
    if group is not None:
        if group not in fleet.group_number:
            raise UnknownIdError("group", group)
        rows = fleet.rows_in(GroupId(group))
    shown = _described(fleet, rows[:limit])
    if as_json:
        print_json({"sites": len(rows), "shown": shown})
        return
    print_columns(
        [
            (
                str(site["site_id"]),
                str(site["device_type"]),
                f"{site['discharge_limit_kw']:g} kW",
                f"{site['energy_capacity_kwh']:g} kWh",
                str(site["groups"] or "-"),
            )
            for site in shown
        ]
    )
    if len(rows) > len(shown):
        typer.echo(f"{len(shown)} of {len(rows)} sites; --limit shows more", err=True)


@app.command()
def show(
    site: Annotated[str, typer.Argument(metavar="SITE")],
    at: At = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Show all that is registered of a site."""
    import numpy as np

    from shoal.domain.errors import UnknownIdError
    from shoal.domain.ids import SiteId

    registry = _registry(config, set_)
    fleet = registry.fleet_at(_instant(at))
    if site not in fleet.row_of:
        raise UnknownIdError("site", site)
    row = fleet.row_of[SiteId(site)]
    (facts,) = _described(fleet, np.array([row]))
    facts["partition"] = int(fleet.partition[row])
    signs_in = str(facts["gateway_id"] or site)
    sealed = registry.credentials([SiteId(signs_in)]).get(SiteId(signs_in))
    facts["credential"] = "none" if sealed is None else "revoked" if sealed.revoked_ns else "issued"
    if as_json:
        print_json(facts)
    else:
        print_columns([(name, "-" if value is None else str(value)) for name, value in facts.items()])


@app.command()
def alert(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="GeoJSON: alerts with areas, or an area.")],
    at: At = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Tell which sites lie in the area of a weather alert, what they can do and which groups they belong to."""
    import msgspec

    from shoal.domain.errors import InvalidInputError
    from shoal.twin.alerts import alerts_from_geojson, impact_of
    from shoal.twin.layout import Layout
    from shoal.twin.zones import ZoneIndex

    try:
        alerts = alerts_from_geojson(msgspec.json.decode(file.read_bytes()))
    except (OSError, msgspec.DecodeError) as error:
        raise InvalidInputError(field="file", value=str(file), fix=f"it cannot be read: {error}") from error
    fleet = _registry(config, set_).fleet_at(_instant(at))
    layout = Layout.of(fleet)
    index = ZoneIndex(fleet.latitude_deg, fleet.longitude_deg)
    told = [_touched(item, impact_of(index.inside(item.area), fleet, layout), fleet) for item in alerts]
    if as_json:
        print_json({"alerts": told})
        return
    for entry in told:
        title = " ".join(str(entry[name]) for name in ("event", "alert_id") if entry[name]) or "area"
        typer.echo(
            f"{title}: {entry['sites']} sites, {entry['discharge_kw']:g} kW, {entry['capacity_kwh']:g} kWh"
        )
        print_columns(
            [("", f"{g['hierarchy_id']}={g['group_id']}", str(g["sites"])) for g in entry["groups"]]
        )
    if not told:
        typer.echo(f"{file}: no alert with an area")


def _registry(config: Path | None, set_: list[str] | None) -> Registry:
    from shoal.cli.roles.host import sqlite_url
    from shoal.store.database import migrate, open_database
    from shoal.store.registry import Registry

    settings = read_settings(config, set_)
    url = settings.registry.database_url or sqlite_url(settings, "registry.db")
    migrate(url)
    return Registry(open_database(url))


def _instant(text: str | None) -> int:
    import time
    from datetime import datetime

    from shoal.domain.errors import InvalidInputError
    from shoal.domain.interval import to_ns

    if text is None:
        return time.time_ns()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInputError(
            field="--at", value=text, fix="write it like 2026-05-04T16:00:00-05:00"
        ) from error
    if moment.tzinfo is None:
        raise InvalidInputError(field="--at", value=text, fix="add its distance from UTC, like Z or -05:00")
    return to_ns(moment)


def _described(fleet: Fleet, rows: NDArray[np.int64]) -> list[dict[str, object]]:
    from shoal.domain.fleet import NAMEPLATE
    from shoal.domain.telemetry import DeviceType
    from shoal.store.fleet_paths import paths_of

    some = fleet.take(rows)
    paths = paths_of(some)
    return [
        {
            "site_id": site,
            "device_type": DeviceType(some.device_type[row]).name.lower(),
            "latitude_deg": float(some.latitude_deg[row]),
            "longitude_deg": float(some.longitude_deg[row]),
            **{name: float(some.nameplate[name][row]) for name in NAMEPLATE.names},
            "gateway_id": None if some.gateway_of[row] < 0 else some.gateway_ids[some.gateway_of[row]],
            "gateway_unit": None if some.gateway_of[row] < 0 else int(some.gateway_unit[row]),
            "groups": paths[row],
        }
        for row, site in enumerate(some.site_ids)
    ]


def _touched(item: WeatherAlert, impact: AlertImpact, fleet: Fleet) -> dict[str, Any]:
    from shoal.domain.interval import iso

    groups = [fleet.groups[fleet.group_number[name]] for name in impact.sites_by_group]
    return {
        "alert_id": item.alert_id,
        "event": item.event,
        "severity": item.severity,
        "from": None if item.effective is None else iso(item.effective.start_ns),
        "until": None if item.effective is None else iso(item.effective.end_ns),
        "sites": len(impact.rows),
        "charge_kw": impact.charge_kw,
        "discharge_kw": impact.discharge_kw,
        "capacity_kwh": impact.capacity_kwh,
        "groups": [
            {
                "hierarchy_id": group.hierarchy_id,
                "group_id": group.group_id,
                "level": group.level,
                "sites": impact.sites_by_group[group.group_id],
            }
            for group in groups
        ],
    }
