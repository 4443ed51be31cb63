"""Rows to a `Fleet`: each array is made from one column of the result, never from an object a site."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, func, or_, select

from shoal.domain.errors import UnknownIdError
from shoal.domain.fleet import NAMEPLATE, Fleet, Group, Resource
from shoal.domain.ids import GroupId, HierarchyId, ResourceId, SiteId
from shoal.store.database import column_parts
from shoal.store.effective import valid_at
from shoal.store.fleet_rows import SITE_VALUES
from shoal.store.records import Asset
from shoal.store.schema import GATEWAY, GROUP_NODE, HIERARCHY, MEMBERSHIP, RESOURCE, SITE
from shoal.twin.membership import Spans, split

_FOREVER_NS: Final = int(np.iinfo(np.int64).max)


def read_fleet(connection: Connection, t_ns: int) -> Fleet:
    """Return all sites, in the order of their numbers, with the memberships valid at the instant."""
    sites = connection.execute(select(func.count()).select_from(SITE)).scalar_one()
    gateways = tuple(
        connection.execute(select(GATEWAY.c.gateway_id).order_by(GATEWAY.c.gateway_no)).scalars()
    )
    gateway_number: dict[str | None, int] = {name: number for number, name in enumerate(gateways)}
    gateway_number[None] = -1
    ids = np.empty(sites, dtype=object)
    nameplate = np.empty(sites, dtype=NAMEPLATE.dtype)
    place = {name: np.empty(sites, dtype=np.float64) for name in ("latitude_deg", "longitude_deg")}
    device_type = np.empty(sites, dtype=np.uint8)
    gateway_of = np.full(sites, -1, dtype=np.int32)
    gateway_unit = np.zeros(sites, dtype=np.int32)
    # Not sorted by the database: as they lie in the file is a third of the work, and the number says the row.
    query = select(SITE.c.site_no, SITE.c.site_id, *(SITE.c[name] for name in SITE_VALUES))
    for numbers, site_ids, latitude, longitude, *plates, types, behind, units in column_parts(
        connection, query
    ):
        rows = np.array(numbers)
        ids[rows] = site_ids
        place["latitude_deg"][rows], place["longitude_deg"][rows] = latitude, longitude
        for name, column in zip(NAMEPLATE.names, plates, strict=True):
            nameplate[name][rows] = column
        device_type[rows] = types
        if gateways:
            gateway_of[rows] = [gateway_number[name] for name in behind]
            gateway_unit[rows] = [unit or 0 for unit in units]
    groups = read_groups(connection)
    names: tuple[SiteId, ...] = tuple(ids.tolist())
    return Fleet(
        site_ids=names,
        nameplate=nameplate,
        latitude_deg=place["latitude_deg"],
        longitude_deg=place["longitude_deg"],
        groups=groups,
        leaf_group=_read_leaves(connection, groups, names, t_ns),
        resources=read_resources(connection),
        gateway_ids=gateways,
        gateway_of=gateway_of,
        gateway_unit=gateway_unit,
        device_type=device_type,
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
    connection: Connection, groups: Sequence[Group], ids: tuple[SiteId, ...], t_ns: int
) -> dict[HierarchyId, NDArray[np.int32]]:
    hierarchies = connection.execute(
        select(HIERARCHY.c.hierarchy_id).order_by(HIERARCHY.c.hierarchy_id)
    ).scalars()
    tree_number = {HierarchyId(name): number for number, name in enumerate(hierarchies)}
    tree_of = np.array([tree_number[group.hierarchy_id] for group in groups], dtype=np.int64)
    leaves = np.full((len(tree_number), len(ids)), -1, dtype=np.int32)
    rows_of = _RowFinder(ids)
    group_number = {group.group_id: number for number, group in enumerate(groups)}
    # One pass for all hierarchies: a group belongs to one of them. Most rows are valid, so no index helps.
    query = select(MEMBERSHIP.c.site_id, MEMBERSHIP.c.group_id).where(
        valid_at(MEMBERSHIP, t_ns, by_index=False)
    )
    for sites, owners in column_parts(connection, query):
        numbers = np.array([group_number[owner] for owner in owners])
        leaves[tree_of[numbers], rows_of.find(sites)] = numbers
    return {name: leaves[number] for name, number in tree_number.items()}


class _RowFinder:
    """Finds the rows of sites that mostly come in the order of the fleet, as they were loaded."""

    def __init__(self, ids: tuple[SiteId, ...]) -> None:
        self._ids = ids
        self._row_of: dict[SiteId, int] = {}
        self._expected = 0

    def find(self, sites: tuple[SiteId, ...]) -> NDArray[np.int64]:
        begin, end = self._expected, self._expected + len(sites)
        if self._ids[begin:end] == sites:
            rows = np.arange(begin, end)
        else:
            if not self._row_of:
                self._row_of = {site: row for row, site in enumerate(self._ids)}
            rows = np.array([self._row_of[site] for site in sites])
        self._expected = int(rows[-1]) + 1
        return rows


def read_spans(connection: Connection, hierarchy: HierarchyId, start_ns: int, end_ns: int) -> Spans:
    """Return the memberships of a hierarchy over `[start_ns, end_ns)`, cut to it, with the gaps between them.

    Raises:
        InvalidInputError: when the interval is empty.
        UnknownIdError: when there is no such hierarchy.
    """
    known = select(HIERARCHY.c.hierarchy_id).where(HIERARCHY.c.hierarchy_id == hierarchy)
    if connection.execute(known).first() is None:
        raise UnknownIdError("hierarchy", hierarchy)
    row_of: dict[str, int] = {}
    for site_ids, numbers in column_parts(connection, select(SITE.c.site_id, SITE.c.site_no)):
        row_of.update(zip(site_ids, numbers, strict=True))
    numbering = select(GROUP_NODE.c.group_id, GROUP_NODE.c.group_no)
    group_number: dict[str, int] = {row.group_id: row.group_no for row in connection.execute(numbering)}
    table = MEMBERSHIP
    query = select(table.c.site_id, table.c.group_id, table.c.valid_from_ns, table.c.valid_until_ns).where(
        table.c.hierarchy_id == hierarchy,
        table.c.valid_from_ns + 0 < end_ns,  # the sum keeps the index out: most rows qualify
        or_(table.c.valid_until_ns.is_(None), table.c.valid_until_ns > start_ns),
    )
    parts: list[NDArray[np.int64]] = [np.empty((4, 0), dtype=np.int64)]
    for site_ids, groups, starts, ends in column_parts(connection, query):
        part = np.empty((4, len(site_ids)), dtype=np.int64)
        part[0] = [row_of[site] for site in site_ids]
        part[1] = [group_number[group] for group in groups]
        part[2] = starts
        part[3] = [_FOREVER_NS if end is None else end for end in ends]
        parts.append(part)
    columns = np.concatenate(parts, axis=1)
    return split(
        site_row=columns[0],
        group=columns[1].astype(np.int32),
        from_ns=columns[2],
        until_ns=columns[3],
        sites=len(row_of),
        start_ns=start_ns,
        end_ns=end_ns,
    )


def read_assets(connection: Connection, site: SiteId) -> tuple[Asset, ...]:
    """Return the devices on a site's nameplate, by kind; every site has a load, of unknown rating."""
    plate = connection.execute(select(SITE).where(SITE.c.site_id == site)).mappings().one()
    battery_kw = max(plate["charge_limit_kw"], plate["discharge_limit_kw"])
    capacity_kwh = plate["energy_capacity_kwh"]
    assets: list[Asset] = []

    def add(
        kind: Literal["battery", "solar", "ev", "load"], kw: float | None, kwh: float | None = None
    ) -> None:
        assets.append(Asset(asset_id=f"{site}-{kind}", site_id=site, kind=kind, rated_kw=kw, energy_kwh=kwh))

    if battery_kw > 0 or capacity_kwh > 0:
        add("battery", battery_kw, capacity_kwh)
    if plate["ev_limit_kw"] > 0:
        add("ev", plate["ev_limit_kw"])
    add("load", None)
    if plate["solar_limit_kw"] > 0:
        add("solar", plate["solar_limit_kw"])
    return tuple(assets)
