"""A `Fleet` to rows and back: the new is inserted in bulk, the changed updated, the rest left alone.

Reading goes by columns: each array is made from one column of the result, never from an object a site.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Table, bindparam, delete, func, select, update

from shoal.domain.errors import InvalidInputError
from shoal.domain.fleet import NAMEPLATE, Fleet, Group, Resource
from shoal.domain.ids import GroupId, HierarchyId, ResourceId, SiteId, checked_id
from shoal.store.database import bulk_insert, column_parts
from shoal.store.effective import MEMBERSHIPS, put, valid_at
from shoal.store.records import Asset, Program
from shoal.store.schema import ASSET, GROUP_NODE, HIERARCHY, MEMBERSHIP, PROGRAM, RESOURCE, SITE

_SITE_VALUES: Final = ("latitude_deg", "longitude_deg", *NAMEPLATE.names)
_ASSET_COLUMNS: Final = ("asset_id", "site_id", "kind", "rated_kw", "energy_kwh")


def check_fleet(fleet: Fleet) -> None:
    """Raise unless every id is one, every site is named once and every nameplate is in range.

    Raises:
        InvalidInputError: naming the first site or id that is wrong.
    """
    if len(fleet.row_of) != len(fleet.site_ids):
        raise InvalidInputError(field="fleet.site_ids", value="a repeated id", fix="name each site once")
    for kind, ids in (
        ("site_id", fleet.site_ids),
        ("group_id", [group.group_id for group in fleet.groups]),
        ("hierarchy_id", list(fleet.leaf_group)),
        ("resource_id", [resource.resource_id for resource in fleet.resources]),
    ):
        for value in ids:
            checked_id(kind, value)
    wrong = NAMEPLATE.violations(fleet.nameplate)
    for row in np.flatnonzero(wrong >= 0)[:1]:
        column = NAMEPLATE.columns[wrong[row]]
        raise InvalidInputError(
            field=f"{column.name} of site {fleet.site_ids[row]}",
            value=float(fleet.nameplate[column.name][row]),
            fix=f"give {column.description} within its range",
        )
    if not (np.isfinite(fleet.latitude_deg).all() and np.isfinite(fleet.longitude_deg).all()):
        raise InvalidInputError(
            field="fleet.latitude_deg", value="not a number", fix="give every site a place"
        )


def save_groups(connection: Connection, fleet: Fleet) -> None:
    """Insert or update the hierarchies, their nodes (a parent before its children) and the resources."""
    names = {group.hierarchy_id for group in fleet.groups} | set(fleet.leaf_group)
    _save(connection, HIERARCHY, None, [{"hierarchy_id": name} for name in sorted(names)])
    _save(connection, GROUP_NODE, "group_no", [asdict(group) for group in fleet.groups])
    _save(
        connection,
        RESOURCE,
        "resource_no",
        [asdict(item) for item in fleet.resources],
    )


def save_programs(connection: Connection, programs: Sequence[Program]) -> None:
    """Insert or update the programs."""
    rows = [
        {
            "program_id": checked_id("program_id", item.program_id),
            "name": item.name,
            "priority": item.priority,
        }
        for item in programs
    ]
    _save(connection, PROGRAM, None, rows)


def _save(connection: Connection, table: Table, number: str | None, rows: Sequence[dict[str, Any]]) -> None:
    """Insert what is new, numbered on from the last, and update what differs; the key is the first column."""
    key = next(iter(table.primary_key.columns)).name
    known = {row[key]: row for row in connection.execute(select(table)).mappings()}
    new: list[dict[str, Any]] = []
    for row in rows:
        stored = known.get(row[key])
        if stored is None:
            new.append(row if number is None else {**row, number: len(known) + len(new)})
        elif any(stored[name] != value for name, value in row.items()):
            connection.execute(update(table).where(table.c[key] == row[key]).values(row))
    # A parent is inserted before its children.
    for row in sorted(new, key=lambda item: item.get("level", 0)):
        connection.execute(table.insert().values(row))


def save_sites(connection: Connection, fleet: Fleet, *, batch: int) -> None:
    """Insert new sites with their assets, numbered on from the last, and update those that differ."""
    known: dict[SiteId, tuple[float, ...]] = {}
    for part in column_parts(connection, select(SITE.c.site_id, *_site_columns())):
        known.update(zip(part[0], zip(*part[1:], strict=True), strict=True))
    new: list[tuple[Any, ...]] = []
    changed: list[dict[str, Any]] = []
    assets: list[tuple[Any, ...]] = []
    for site, values in zip(fleet.site_ids, _site_values(fleet), strict=True):
        stored = known.get(site)
        if stored == values:
            continue
        plate = dict(zip(_SITE_VALUES, values, strict=True))
        assets.extend(_assets(site, plate))
        if stored is None:
            new.append((site, len(known) + len(new), *values))
        else:
            changed.append({"key": site, **plate})
    bulk_insert(connection, SITE, ("site_id", "site_no", *_SITE_VALUES), new, batch=batch)
    if changed:
        # Named apart from the column, which is not to be set.
        keys = [{"key": row["key"]} for row in changed]
        names: dict[str, Any] = {name: bindparam(name) for name in _SITE_VALUES}
        connection.execute(update(SITE).where(SITE.c.site_id == bindparam("key")).values(names), changed)
        connection.execute(delete(ASSET).where(ASSET.c.site_id == bindparam("key")), keys)
    bulk_insert(connection, ASSET, _ASSET_COLUMNS, assets, batch=batch)


def _site_columns() -> list[Any]:
    return [SITE.c[name] for name in _SITE_VALUES]


def _site_values(fleet: Fleet) -> Iterator[tuple[float, ...]]:
    plates = [fleet.nameplate[name].tolist() for name in NAMEPLATE.names]
    return zip(fleet.latitude_deg.tolist(), fleet.longitude_deg.tolist(), *plates, strict=True)


def _assets(site: SiteId, plate: dict[str, float]) -> Iterator[tuple[Any, ...]]:
    """Yield a row for each device on the nameplate; every site has a load, of unknown rating."""
    battery_kw = max(plate["charge_limit_kw"], plate["discharge_limit_kw"])
    if battery_kw > 0 or plate["energy_capacity_kwh"] > 0:
        yield f"{site}-battery", site, "battery", battery_kw, plate["energy_capacity_kwh"]
    for kind in ("solar", "ev"):
        if plate[f"{kind}_limit_kw"] > 0:
            yield f"{site}-{kind}", site, kind, plate[f"{kind}_limit_kw"], None
    yield f"{site}-load", site, "load", None, None


def save_memberships(connection: Connection, fleet: Fleet, at_ns: int, *, batch: int) -> None:
    """Make every site's group what the fleet says, from an instant on."""
    for hierarchy, leaves in fleet.leaf_group.items():
        wanted = {
            site: None if number < 0 else (str(fleet.groups[number].group_id),)
            for site, number in zip(fleet.site_ids, leaves.tolist(), strict=True)
        }
        put(connection, MEMBERSHIPS, hierarchy, wanted, at_ns, batch=batch)


def read_fleet(connection: Connection, t_ns: int) -> Fleet:
    """Return all sites, in the order of their numbers, with the memberships valid at the instant."""
    sites = connection.execute(select(func.count()).select_from(SITE)).scalar_one()
    ids: list[SiteId] = []
    nameplate = np.empty(sites, dtype=NAMEPLATE.dtype)
    place = {name: np.empty(sites, dtype=np.float64) for name in ("latitude_deg", "longitude_deg")}
    query = select(SITE.c.site_id, *_site_columns()).order_by(SITE.c.site_no)
    for part in column_parts(connection, query):
        rows = slice(len(ids), len(ids) + len(part[0]))
        ids.extend(part[0])
        for name, values in zip(_SITE_VALUES, part[1:], strict=True):
            (place if name in place else nameplate)[name][rows] = values
    groups = read_groups(connection)
    return Fleet(
        site_ids=tuple(ids),
        nameplate=nameplate,
        latitude_deg=place["latitude_deg"],
        longitude_deg=place["longitude_deg"],
        groups=groups,
        leaf_group=_read_leaves(connection, groups, ids, t_ns),
        resources=read_resources(connection),
    )


def read_groups(connection: Connection) -> tuple[Group, ...]:
    """Return every node of every hierarchy in the order of their numbers."""
    return tuple(
        Group(
            group_id=GroupId(row.group_id),
            hierarchy_id=HierarchyId(row.hierarchy_id),
            parent_id=None if row.parent_id is None else GroupId(row.parent_id),
            name=row.name,
            level=row.level,
        )
        for row in connection.execute(select(GROUP_NODE).order_by(GROUP_NODE.c.group_no))
    )


def read_resources(connection: Connection) -> tuple[Resource, ...]:
    """Return the resources in the order of their numbers."""
    return tuple(
        Resource(
            resource_id=ResourceId(row.resource_id),
            market_id=row.market_id,
            settlement_point=row.settlement_point,
            group_id=GroupId(row.group_id),
            throughput_cost_per_mwh=row.throughput_cost_per_mwh,
            owner_share_frac=row.owner_share_frac,
        )
        for row in connection.execute(select(RESOURCE).order_by(RESOURCE.c.resource_no))
    )


def _read_leaves(
    connection: Connection, groups: Sequence[Group], ids: Sequence[SiteId], t_ns: int
) -> dict[HierarchyId, NDArray[np.int32]]:
    row_of = {site: row for row, site in enumerate(ids)}
    number_of = {group.group_id: number for number, group in enumerate(groups)}
    names = connection.execute(select(HIERARCHY.c.hierarchy_id).order_by(HIERARCHY.c.hierarchy_id)).scalars()
    leaves: dict[HierarchyId, NDArray[np.int32]] = {}
    for name in names:
        leaf = np.full(len(ids), -1, dtype=np.int32)
        query = select(MEMBERSHIP.c.site_id, MEMBERSHIP.c.group_id).where(
            MEMBERSHIP.c.hierarchy_id == name, valid_at(MEMBERSHIP, t_ns)
        )
        for sites, owners in column_parts(connection, query):
            leaf[[row_of[site] for site in sites]] = [number_of[owner] for owner in owners]
        leaves[HierarchyId(name)] = leaf
    return leaves


def read_assets(connection: Connection, site: SiteId) -> tuple[Asset, ...]:
    """Return the assets of a site in the order of their ids."""
    rows = connection.execute(select(ASSET).where(ASSET.c.site_id == site).order_by(ASSET.c.asset_id))
    return tuple(Asset(**row) for row in rows.mappings())
