"""From the groups' sums to what the page shows of the fleet and of each group. Pure.

The fleet is the sum over the root groups of one hierarchy, in which every site hangs once.
"""

from __future__ import annotations

from typing import Final

from shoal.api.state import FleetNow, Group
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_S
from shoal.domain.live import Aggregates

FLEET_HIERARCHY: Final = "grid"


def root_numbers(fleet: Fleet) -> tuple[int, ...]:
    """Return the positions of the root groups of the hierarchy ``grid``, or of the first one where there is none."""
    names = [group.hierarchy_id for group in fleet.groups]
    chosen = FLEET_HIERARCHY if FLEET_HIERARCHY in names else next(iter(names), "")
    return tuple(
        number
        for number, group in enumerate(fleet.groups)
        if group.parent_id is None and group.hierarchy_id == chosen
    )


def fleet_now(aggregates: Aggregates, roots: tuple[int, ...]) -> FleetNow:
    """Return the sums over the root groups."""

    def total(column: list[float]) -> float:
        return float(sum(column[number] for number in roots))

    def count(column: list[int]) -> int:
        return sum(column[number] for number in roots)

    sites, capacity_kw = count(aggregates.sites), total(aggregates.capacity_kw)
    energy_kwh, energy_capacity_kwh = total(aggregates.energy_kwh), total(aggregates.fresh_capacity_kwh)
    ages_s = [aggregates.oldest_age_s[number] for number in roots if aggregates.sites[number] > 0]
    return FleetNow(
        sites=sites,
        fresh=count(aggregates.fresh),
        stale=count(aggregates.stale),
        unknown=count(aggregates.unknown),
        capacity_kw=capacity_kw,
        coverage_count_frac=count(aggregates.fresh) / sites if sites else 0.0,
        coverage_kw_frac=total(aggregates.fresh_kw) / capacity_kw if capacity_kw > 0 else 0.0,
        oldest_age_s=_age_s(max(ages_s, default=-1.0), aggregates.t_ns),
        battery_kw=total(aggregates.battery_kw),
        battery_low_kw=total(aggregates.low_kw),
        battery_high_kw=total(aggregates.high_kw),
        solar_kw=total(aggregates.solar_kw),
        load_kw=total(aggregates.load_kw),
        ev_kw=total(aggregates.ev_kw),
        grid_kw=total(aggregates.grid_kw),
        energy_kwh=energy_kwh,
        energy_capacity_kwh=energy_capacity_kwh,
        soc_frac=energy_kwh / energy_capacity_kwh if energy_capacity_kwh > 0 else None,
        charge_headroom_kw=total(aggregates.charge_headroom_kw),
        discharge_headroom_kw=total(aggregates.discharge_headroom_kw),
    )


def group_views(aggregates: Aggregates, fleet: Fleet) -> list[Group]:
    """Return every group in the order of the fleet's groups."""
    views = []
    for number, group in enumerate(fleet.groups):
        capacity_kw = aggregates.capacity_kw[number]
        energy_capacity_kwh = aggregates.fresh_capacity_kwh[number]
        views.append(
            Group(
                group_id=group.group_id,
                hierarchy_id=group.hierarchy_id,
                parent_id=group.parent_id,
                name=group.name,
                level=group.level,
                sites=aggregates.sites[number],
                fresh=aggregates.fresh[number],
                coverage_kw_frac=aggregates.fresh_kw[number] / capacity_kw if capacity_kw > 0 else 0.0,
                battery_kw=aggregates.battery_kw[number],
                low_kw=aggregates.low_kw[number],
                high_kw=aggregates.high_kw[number],
                grid_kw=aggregates.grid_kw[number],
                soc_frac=(
                    aggregates.energy_kwh[number] / energy_capacity_kwh if energy_capacity_kwh > 0 else None
                ),
                oldest_age_s=_age_s(aggregates.oldest_age_s[number], aggregates.t_ns),
            )
        )
    return views


def _age_s(age_s: float, t_ns: int) -> float | None:
    """Return None for no site (a negative age) and for one that was never heard (as old as time itself)."""
    return age_s if 0 <= age_s < t_ns / NS_PER_S else None
