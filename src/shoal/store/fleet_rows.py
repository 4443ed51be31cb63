"""A `Fleet` to rows: the new is inserted in bulk, the changed updated, the rest left alone.

Every function says how many rows it changed, so that loading the same again leaves the registry's version alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from sqlalchemy import Connection, Table, bindparam, select, update

from shoal.domain.errors import InvalidInputError
from shoal.domain.fleet import MOST_UNITS, NAMEPLATE, Fleet, check_groups
from shoal.domain.ids import SiteId, checked_id
from shoal.domain.telemetry import DeviceType
from shoal.programs.program import default_book
from shoal.store.database import bulk_insert, column_parts
from shoal.store.effective import MEMBERSHIPS, put
from shoal.store.program_rows import terms_of
from shoal.store.records import Program
from shoal.store.schema import (
    GATEWAY,
    GROUP_NODE,
    HIERARCHY,
    PROGRAM,
    REGISTRY_VERSION,
    RESOURCE,
    SITE,
)

_BULK_CACHE_KIB: Final = 262_144
VERSION_NAME: Final = "fleet"
SITE_VALUES: Final = (
    "latitude_deg",
    "longitude_deg",
    *NAMEPLATE.names,
    "device_type",
    "gateway_id",
    "gateway_unit",
)


def check_fleet(fleet: Fleet) -> None:
    """Raise unless every id is one, every site is named once and every nameplate is in range.

    Raises:
        InvalidInputError: naming the first site or id that is wrong.
    """
    if len(fleet.row_of) != len(fleet.site_ids):
        raise InvalidInputError(field="fleet.site_ids", value="a repeated id", fix="name each site once")
    for kind, ids in (
        ("site_id", fleet.site_ids),
        ("gateway_id", fleet.gateway_ids),
        ("group_id", [group.group_id for group in fleet.groups]),
        ("hierarchy_id", list(fleet.leaf_group)),
        ("resource_id", [resource.resource_id for resource in fleet.resources]),
    ):
        for value in ids:
            checked_id(kind, value)
    check_groups(fleet.groups)
    _check_gateways(fleet)
    for row in np.flatnonzero(fleet.device_type > max(DeviceType))[:1]:
        raise InvalidInputError(
            field=f"device_type of site {fleet.site_ids[row]}",
            value=int(fleet.device_type[row]),
            fix=f"give a number up to {max(DeviceType)}",
        )
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


def _check_gateways(fleet: Fleet) -> None:
    if shared := set(fleet.gateway_ids) & fleet.row_of.keys():
        raise InvalidInputError(
            field="gateway_id", value=min(shared), fix="give the gateway another name than any site's"
        )
    if len(set(fleet.gateway_ids)) != len(fleet.gateway_ids):
        raise InvalidInputError(
            field="fleet.gateway_ids", value="a repeated id", fix="name each gateway once"
        )
    behind = fleet.gateway_of >= 0
    unit = fleet.gateway_unit
    wrong = np.where(behind, (unit < 1) | (unit > MOST_UNITS), unit != 0)
    wrong |= fleet.gateway_of >= len(fleet.gateway_ids)
    for row in np.flatnonzero(wrong)[:1]:
        raise InvalidInputError(
            field=f"gateway_unit of site {fleet.site_ids[row]}",
            value=int(unit[row]),
            fix=f"number the sites of a gateway from 1 to {MOST_UNITS}; 0 is for a site without one",
        )
    place = fleet.gateway_of[behind].astype(np.int64) * (MOST_UNITS + 1) + unit[behind]
    first_of_each = np.unique(place, return_index=True)[1]
    if len(first_of_each) != len(place):
        repeated = np.setdiff1d(np.arange(len(place)), first_of_each)[0]
        row = np.flatnonzero(behind)[repeated]
        raise InvalidInputError(
            field=f"gateway_unit of site {fleet.site_ids[row]}",
            value=int(unit[row]),
            fix=f"another site of gateway {fleet.gateway_ids[fleet.gateway_of[row]]} has this number",
        )


@contextmanager
def room_for_bulk(connection: Connection) -> Iterator[None]:
    """Let SQLite keep more pages in memory meanwhile: indexes beyond its 2 MB double the time of a large load."""
    if connection.dialect.name != "sqlite":
        yield
        return
    before = connection.exec_driver_sql("PRAGMA cache_size").scalar_one()
    connection.exec_driver_sql(f"PRAGMA cache_size = -{_BULK_CACHE_KIB}")
    try:
        yield
    finally:
        connection.exec_driver_sql(f"PRAGMA cache_size = {before}")


def save_groups(connection: Connection, fleet: Fleet) -> int:
    """Insert or update the hierarchies, their nodes (a parent before its children) and the resources."""
    names = {group.hierarchy_id for group in fleet.groups} | set(fleet.leaf_group)
    return (
        _save(connection, HIERARCHY, None, [{"hierarchy_id": name} for name in sorted(names)])
        + _save(connection, GROUP_NODE, "group_no", [asdict(group) for group in fleet.groups])
        + _save(connection, RESOURCE, "resource_no", [asdict(item) for item in fleet.resources])
    )


def save_programs(connection: Connection, programs: Sequence[Program]) -> int:
    """Insert or update the programs; a new one has the terms of its namesake in the package's book, if there is one."""
    known = set(connection.execute(select(PROGRAM.c.program_id)).scalars())
    book = default_book()
    changed = 0
    for item in programs:
        row = {
            "program_id": checked_id("program_id", item.program_id),
            "name": item.name,
            "priority": item.priority,
        }
        if item.program_id not in known and item.program_id in book.ids:
            row |= terms_of(book.program(item.program_id))
        changed += _save(connection, PROGRAM, None, [row])
    return changed


def _save(connection: Connection, table: Table, number: str | None, rows: Sequence[dict[str, Any]]) -> int:
    """Insert what is new, numbered on from the last, and update what differs; the key is the first column."""
    key = next(iter(table.primary_key.columns)).name
    known = {row[key]: row for row in connection.execute(select(table)).mappings()}
    new: list[dict[str, Any]] = []
    changed = 0
    for row in rows:
        stored = known.get(row[key])
        if stored is None:
            new.append(row if number is None else {**row, number: len(known) + len(new)})
        elif any(stored[name] != value for name, value in row.items()):
            connection.execute(update(table).where(table.c[key] == row[key]).values(row))
            changed += 1
    if new:
        # A parent is inserted before its children.
        new.sort(key=lambda item: item.get("level", 0))
        connection.execute(table.insert(), new)
    return changed + len(new)


def save_sites(connection: Connection, fleet: Fleet, *, batch: int) -> int:
    """Insert new sites, numbered on from the last, and update those that differ."""
    _save(connection, GATEWAY, "gateway_no", [{"gateway_id": name} for name in fleet.gateway_ids])
    known: dict[SiteId, tuple[Any, ...]] = {}
    for part in column_parts(connection, select(SITE.c.site_id, *(SITE.c[name] for name in SITE_VALUES))):
        known.update(zip(part[0], zip(*part[1:], strict=True), strict=True))
    new: list[tuple[Any, ...]] = []
    changed: list[dict[str, Any]] = []
    for site, values in zip(fleet.site_ids, _site_values(fleet), strict=True):
        stored = known.get(site)
        if stored == values:
            continue
        if stored is None:
            new.append((site, len(known) + len(new), *values))
        else:
            changed.append({"key": site, **dict(zip(SITE_VALUES, values, strict=True))})
    if changed:
        _update_sites(connection, changed)
    bulk_insert(connection, SITE, ("site_id", "site_no", *SITE_VALUES), new, batch=batch)
    return len(new) + len(changed)


def _update_sites(connection: Connection, changed: Sequence[dict[str, Any]]) -> None:
    # Named apart from the column, which is not to be set.
    mine = SITE.c.site_id == bindparam("key")
    keys = [{"key": row["key"]} for row in changed]
    # Two sites may exchange their places behind a gateway: both leave before either comes.
    left = update(SITE).where(mine, SITE.c.gateway_id.is_not(None))
    connection.execute(left.values(gateway_id=None, gateway_unit=None), keys)
    names: dict[str, Any] = {name: bindparam(name) for name in SITE_VALUES}
    connection.execute(update(SITE).where(mine).values(names), changed)


def _site_values(fleet: Fleet) -> Iterator[tuple[Any, ...]]:
    plates = [fleet.nameplate[name].tolist() for name in NAMEPLATE.names]
    gateways = (*fleet.gateway_ids, None)  # -1 is the last one: none
    return zip(
        fleet.latitude_deg.tolist(),
        fleet.longitude_deg.tolist(),
        *plates,
        fleet.device_type.tolist(),
        [gateways[number] for number in fleet.gateway_of.tolist()],
        [unit or None for unit in fleet.gateway_unit.tolist()],
        strict=True,
    )


def save_memberships(connection: Connection, fleet: Fleet, at_ns: int, *, batch: int) -> int:
    """Make every site's group what the fleet says, from an instant on."""
    changed = 0
    names: list[tuple[str] | None] = [(str(group.group_id),) for group in fleet.groups]
    names.append(None)  # -1 is the last one: no group
    for hierarchy, leaves in fleet.leaf_group.items():
        wanted = dict(zip(fleet.site_ids, map(names.__getitem__, leaves.tolist()), strict=True))
        changed += put(connection, MEMBERSHIPS, hierarchy, wanted, at_ns, batch=batch)
    return changed


def count_change(connection: Connection) -> None:
    """Make the registry's version grow."""
    table = REGISTRY_VERSION
    connection.execute(update(table).where(table.c.name == VERSION_NAME).values(version=table.c.version + 1))
