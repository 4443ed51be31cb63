"""The fleet as data: what is installed where, and which groups it belongs to.

A `Fleet` is columnar: position `row` in every array is the same site. It is what the registry gives to the
services, and what a simulator seeds the registry with.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.ids import GroupId, HierarchyId, ResourceId, SiteId
from shoal.domain.table import Column, Table

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
    """

    site_ids: tuple[SiteId, ...]
    nameplate: NDArray[np.void]
    latitude_deg: NDArray[np.float64]
    longitude_deg: NDArray[np.float64]
    groups: tuple[Group, ...]
    leaf_group: dict[HierarchyId, NDArray[np.int32]]
    resources: tuple[Resource, ...]

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
