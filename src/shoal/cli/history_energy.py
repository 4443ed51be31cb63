"""`shoal history energy`: how much energy the groups of a hierarchy moved over an interval, whoever moved group meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from shoal.cli.options import AsJson, ConfigFile, SetValues, print_columns, print_json, read_settings
from shoal.domain.errors import UnavailableError

if TYPE_CHECKING:
    from shoal.api.answers import EnergyLine

_HEAD = ("", "charge Wh", "discharge Wh", "import Wh", "export Wh", "sites", "without reading", "coverage")


def energy(
    hierarchy: Annotated[str, typer.Option("--hierarchy", metavar="NAME", help="Of whose groups.")],
    from_: Annotated[str, typer.Option("--from", metavar="TIME", help="Beginning, e.g. 2021-02-10T06:00Z.")],
    to: Annotated[str, typer.Option("--to", metavar="TIME", help="End, exclusive.")],
    group: Annotated[
        str | None, typer.Option("--group", metavar="NAME", help="Only this group and those below it.")
    ] = None,
    as_json: AsJson = False,
    config: ConfigFile = None,
    set_: SetValues = None,
) -> None:
    """Print the energy of every group of a hierarchy, to the watt-hour; a site counts where it hung when."""
    from shoal.api.groups.energy import NS_PER_MS, hierarchy_energy
    from shoal.cli.history import instant_ns
    from shoal.cli.history_store import open_history
    from shoal.store.database import open_database
    from shoal.store.registry import Registry

    settings = read_settings(config, set_)
    file = settings.data_dir / "registry.db"
    if not settings.registry.database_url and not file.exists():
        raise UnavailableError(f"registry {file}", "no site is registered; see `shoal fleet import`")
    registry = Registry(
        open_database(settings.registry.database_url or f"sqlite:///{file.absolute()}"),
    )
    from_ms, to_ms = instant_ns("--from", from_) // NS_PER_MS, instant_ns("--to", to) // NS_PER_MS
    history = open_history(settings)
    try:
        found = hierarchy_energy(
            fleet=registry.fleet_at(to_ms * NS_PER_MS),
            history=history,
            memberships=registry.memberships,
            hierarchy_id=hierarchy,
            group_id=group,
            from_ms=from_ms,
            to_ms=to_ms,
        )
    finally:
        history.close()
    if as_json:
        print_json(found)
        return
    parent = {line.group_id: line.parent_id for line in found.groups}

    def path(group_id: str | None) -> tuple[str, ...]:
        return () if group_id is None else (*path(parent.get(group_id)), group_id)

    rows: list[tuple[str, ...]] = [_HEAD]
    for line in sorted(found.groups, key=lambda line: path(line.group_id)):
        rows.append(_row("  " * line.level + line.group_id, line))
    rows += [_row("of no group", found.no_group), _row("all sites", found.total)]
    print_columns(rows)


def _row(name: str, line: EnergyLine) -> tuple[str, ...]:
    energies = (line.charge_wh, line.discharge_wh, line.import_wh, line.export_wh)
    coverage = "-" if line.coverage_frac is None else f"{line.coverage_frac:.1%}"
    return (name, *map(str, energies), str(line.sites), str(line.sites_without_reading), coverage)
