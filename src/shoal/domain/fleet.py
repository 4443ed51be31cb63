"""The fleet as data: what is installed where, and which groups it belongs to.

A `Fleet` is columnar: position `row` in every array is the same site. It is what the registry gives to the
services, and what a simulator seeds the registry with. A site has a connection of its own or shares a gateway's;
it may hang from one group in each of any number of hierarchies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.ids import GroupId, HierarchyId, ResourceId, SiteId
from shoal.domain.partition import partitions_of
from shoal.domain.table import Column, Table

MOST_LEVELS: Final = 8
"""How many levels a hierarchy may have, its root included."""
MOST_UNITS: Final = 65_535
"""How many sites a gateway may speak for; 0 is the gateway itself."""

NAMEPLATE: Final = Table(
    name="nameplate",
    version=1,
    columns=(
        Column(
            name="charge_limit_kw",
            dtype="<f8",
            unit="kW",
            low=0,
            description="rated charging power at the terminals",
        ),
        Column(
            name="discharge_limit_kw",
            dtype="<f8",
            unit="kW",
            low=0,
            description="rated discharging power at the terminals",
        ),
        Column(
            name="energy_capacity_kwh",
            dtype="<f8",
            unit="kWh",
            low=0,
            description="energy that the battery holds when full",
        ),
        Column(
            name="charge_efficiency_frac",
            dtype="<f8",
            unit="1",
            default=0.95,
            low=0.5,
            high=1.0,
            description="stored energy per energy taken in (one way)",
        ),
        Column(
            name="discharge_efficiency_frac",
            dtype="<f8",
            unit="1",
            default=0.95,
            low=0.5,
            high=1.0,
            description="energy given out per stored energy (one way)",
        ),
        Column(
            name="reserve_frac",
            dtype="<f8",
            unit="1",
            default=0.2,
            low=0.0,
            high=1.0,
            description="state of charge that the owner keeps for outages; no program may go below",
        ),
        Column(name="solar_limit_kw", dtype="<f8", unit="kW", low=0, description="rated solar power"),
        Column(
            name="ev_limit_kw", dtype="<f8", unit="kW", low=0, description="rated power of the EV charger"
        ),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A node of a hierarchy; `parent_id` is None at its root. `level` counts from 0 at the root."""

    group_id: GroupId
    hierarchy_id: HierarchyId
    parent_id: GroupId | None
    name: str
    level: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """What a market or a program sees: one big battery or a whole VPP.

    Attributes:
        resource_id: Its name.
        market_id: The market it bids into, e.g. ``ercot-da``.
        settlement_point: The price location.
        group_id: The group whose sites make it up.
        throughput_cost_per_mwh: Cost of wear per MWh discharged, in the market's currency.
        owner_share_frac: The part of the net revenue that goes to the sites' owners.
    """

    resource_id: ResourceId
    market_id: str
    settlement_point: str
    group_id: GroupId
    throughput_cost_per_mwh: float
    owner_share_frac: float


def check_groups(groups: Sequence[Group]) -> None:
    """Raise unless the groups are trees of at most `MOST_LEVELS` levels, each within one hierarchy.

    Raises:
        InvalidInputError: naming the first group that is wrong.
    """
    by_id: dict[GroupId, Group] = {}
    for group in groups:
        if by_id.setdefault(group.group_id, group) is not group:
            raise InvalidInputError(field="group_id", value=group.group_id, fix="name each group once")
    for group in groups:
        where = f"group {group.group_id}"
        if group.level >= MOST_LEVELS or group.level < 0:
            raise InvalidInputError(
                field=f"level of {where}",
                value=group.level,
                fix=f"a hierarchy has at most {MOST_LEVELS} levels, 0 to {MOST_LEVELS - 1}; take one out",
            )
        if group.parent_id is None:
            expected_level = 0
        else:
            parent = by_id.get(group.parent_id)
            if parent is None or parent.hierarchy_id != group.hierarchy_id:
                raise InvalidInputError(
                    field=f"parent_id of {where}",
                    value=group.parent_id,
                    fix=f"name a group of hierarchy {group.hierarchy_id}",
                )
            expected_level = parent.level + 1
        # Levels that grow from parent to child also rule out a circle.
        if group.level != expected_level:
            raise InvalidInputError(
                field=f"level of {where}", value=group.level, fix=f"below its parent it is {expected_level}"
            )


def _no_numbers() -> NDArray[np.int32]:
    return np.empty(0, dtype=np.int32)


def _no_types() -> NDArray[np.uint8]:
    return np.empty(0, dtype=np.uint8)


SITE_COLUMNS: Final = (
    "nameplate",
    "latitude_deg",
    "longitude_deg",
    "gateway_of",
    "gateway_unit",
    "device_type",
)
"""What a fleet has of each site, beside its name and its memberships."""


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Sites with nameplates and memberships, valid at one instant.

    Attributes:
        site_ids: N names; the position is the row.
        nameplate: N records of `NAMEPLATE`.
        latitude_deg: N.
        longitude_deg: N.
        groups: Every node of every hierarchy; its position is the group's number.
        leaf_group: For each hierarchy, N numbers: the position in `groups` of the group that the site hangs from,
            -1 when it belongs to none.
        resources: The resources.
        gateway_ids: The gateways that speak for several sites over one connection.
        gateway_of: N positions in `gateway_ids`, -1 for a site with a connection of its own; all -1 when left out.
        gateway_unit: N, the number of the site behind its gateway from 1 on, 0 without one.
        device_type: N numbers of `shoal.domain.telemetry.DeviceType`; all 0, a home, when left out.

    Raises:
        InvalidInputError: when the columns differ in length.
    """

    site_ids: tuple[SiteId, ...]
    nameplate: NDArray[np.void]
    latitude_deg: NDArray[np.float64]
    longitude_deg: NDArray[np.float64]
    groups: tuple[Group, ...]
    leaf_group: dict[HierarchyId, NDArray[np.int32]]
    resources: tuple[Resource, ...]
    gateway_ids: tuple[str, ...] = ()
    gateway_of: NDArray[np.int32] = field(default_factory=_no_numbers)
    gateway_unit: NDArray[np.int32] = field(default_factory=_no_numbers)
    device_type: NDArray[np.uint8] = field(default_factory=_no_types)

    def __post_init__(self) -> None:
        sites = len(self.site_ids)
        for name, default in (("gateway_of", -1), ("gateway_unit", 0), ("device_type", 0)):
            values = getattr(self, name)
            if not len(values):
                object.__setattr__(self, name, np.full(sites, default, dtype=values.dtype))
        lengths = {name: len(getattr(self, name)) for name in SITE_COLUMNS}
        lengths |= {f"leaf_group[{name}]": len(leaves) for name, leaves in self.leaf_group.items()}
        for name, length in lengths.items():
            if length != sites:
                raise InvalidInputError(
                    field=f"fleet.{name}", value=f"{length} rows", fix=f"give one for each of {sites} sites"
                )

    def take(self, rows: NDArray[np.int64]) -> Fleet:
        """Return the fleet of these rows only, in their order; groups, resources and gateways stay."""
        columns: dict[str, Any] = {name: getattr(self, name)[rows] for name in SITE_COLUMNS}
        return replace(
            self,
            site_ids=tuple(self.site_ids[row] for row in rows.tolist()),
            leaf_group={name: leaves[rows] for name, leaves in self.leaf_group.items()},
            **columns,
        )

    @cached_property
    def partition(self) -> NDArray[np.int32]:
        """N partitions: that of the site's name, or of its gateway's."""
        own = partitions_of(self.site_ids)
        if not self.gateway_ids:
            return own
        shared = partitions_of(self.gateway_ids)
        return np.where(self.gateway_of >= 0, shared[np.maximum(self.gateway_of, 0)], own)

    @cached_property
    def row_of(self) -> dict[SiteId, int]:
        """Row by site id."""
        return {site: row for row, site in enumerate(self.site_ids)}

    @cached_property
    def group_number(self) -> dict[GroupId, int]:
        """Position in `groups` by group id."""
        return {group.group_id: number for number, group in enumerate(self.groups)}

    @cached_property
    def parent_number(self) -> NDArray[np.int32]:
        """Position of each group's parent in `groups`, -1 at a root."""
        return np.array(
            [-1 if g.parent_id is None else self.group_number[g.parent_id] for g in self.groups],
            dtype=np.int32,
        )

    def rows_in(self, group_id: GroupId) -> NDArray[np.int64]:
        """Return the rows of the sites at or below the group, ascending."""
        number = self.group_number[group_id]
        inside = np.zeros(len(self.groups), dtype=np.bool_)
        inside[number] = True
        for child in sorted(range(len(self.groups)), key=lambda n: self.groups[n].level):
            parent = self.parent_number[child]
            if parent >= 0 and inside[parent]:
                inside[child] = True
        leaves = self.leaf_group[self.groups[number].hierarchy_id]
        return np.flatnonzero((leaves >= 0) & inside[np.maximum(leaves, 0)])

    def battery_rows_in(self, group_id: GroupId) -> NDArray[np.int64]:
        """Return the rows of those of them that have a battery: who can deliver, and shares in what is earned."""
        rows = self.rows_in(group_id)
        return rows[self.nameplate["energy_capacity_kwh"][rows] > 0]
