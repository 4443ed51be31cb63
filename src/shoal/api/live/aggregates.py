"""From the groups' sums to what the page shows of the fleet and of single groups. Pure.

The fleet is the sum over the root groups of one hierarchy, in which every site hangs once. Figures are in whole watts:
what lies beyond is noise that would make everything new all the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from shoal.api.groups.commanded import Commanded
from shoal.api.live.state import FleetNow, Group, TwinsNow
from shoal.domain import fleet as registry
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_S
from shoal.domain.live import Aggregates

FLEET_HIERARCHY: Final = "grid"
_DECIMALS: Final = 3


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
        return round(float(sum(column[number] for number in roots)), _DECIMALS)

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
        suspect=count(aggregates.suspect),
        capacity_kw=capacity_kw,
        coverage_count_frac=_share(count(aggregates.fresh), sites),
        coverage_kw_frac=_share(total(aggregates.fresh_kw), capacity_kw),
        oldest_age_s=_age_s(max(ages_s, default=-1.0), aggregates.t_ns),
        battery_kw=total(aggregates.battery_kw),
        battery_expected_kw=total(aggregates.expected_kw),
        battery_low_kw=total(aggregates.low_kw),
        battery_high_kw=total(aggregates.high_kw),
        solar_kw=total(aggregates.solar_kw),
        load_kw=total(aggregates.load_kw),
        ev_kw=total(aggregates.ev_kw),
        grid_kw=total(aggregates.grid_kw),
        grid_expected_kw=total(aggregates.grid_expected_kw),
        grid_low_kw=total(aggregates.grid_low_kw),
        grid_high_kw=total(aggregates.grid_high_kw),
        energy_kwh=energy_kwh,
        energy_capacity_kwh=energy_capacity_kwh,
        soc_frac=_share(energy_kwh, energy_capacity_kwh),
        charge_headroom_kw=total(aggregates.charge_headroom_kw),
        discharge_headroom_kw=total(aggregates.discharge_headroom_kw),
        firm_charge_kw=total(aggregates.firm_charge_kw),
        firm_discharge_kw=total(aggregates.firm_discharge_kw),
    )


def twins_now(aggregates: Aggregates) -> TwinsNow:
    """Return how the twins keep up."""
    return TwinsNow(
        applied=aggregates.applied,
        lag=aggregates.lag,
        shards=aggregates.shards,
        live_shards=aggregates.live_shards,
    )


def group_views(
    aggregates: Aggregates,
    groups: Sequence[registry.Group],
    numbers: Sequence[int],
    children: Sequence[int],
    commanded: Commanded | None = None,
) -> list[Group]:
    """Return some groups as of one instant.

    Args:
        aggregates: All groups' sums.
        groups: All groups.
        numbers: Positions of those that are wanted; the answer is in their order.
        children: How many groups are right below each group.
        commanded: What is commanded of groups, as far as it is known.
    """

    def kw(column: list[float], number: int) -> float:
        return round(column[number], _DECIMALS)

    views = []
    for number in numbers:
        group = groups[number]
        told = None if commanded is None else commanded.of(number, aggregates.t_ns)
        off_frac = None if commanded is None else commanded.deviation_frac(number, aggregates)
        views.append(
            Group(
                group_id=group.group_id,
                hierarchy_id=group.hierarchy_id,
                parent_id=group.parent_id,
                name=group.name,
                level=group.level,
                children=children[number],
                sites=aggregates.sites[number],
                fresh=aggregates.fresh[number],
                stale=aggregates.stale[number],
                unknown=aggregates.unknown[number],
                suspect=aggregates.suspect[number],
                capacity_kw=kw(aggregates.capacity_kw, number),
                coverage_count_frac=_share(aggregates.fresh[number], aggregates.sites[number]),
                coverage_kw_frac=_share(aggregates.fresh_kw[number], aggregates.capacity_kw[number]),
                oldest_age_s=_age_s(aggregates.oldest_age_s[number], aggregates.t_ns),
                battery_kw=kw(aggregates.battery_kw, number),
                expected_kw=kw(aggregates.expected_kw, number),
                low_kw=kw(aggregates.low_kw, number),
                high_kw=kw(aggregates.high_kw, number),
                grid_kw=kw(aggregates.grid_kw, number),
                grid_expected_kw=kw(aggregates.grid_expected_kw, number),
                grid_low_kw=kw(aggregates.grid_low_kw, number),
                grid_high_kw=kw(aggregates.grid_high_kw, number),
                soc_frac=_share(aggregates.energy_kwh[number], aggregates.fresh_capacity_kwh[number]),
                firm_charge_kw=kw(aggregates.firm_charge_kw, number),
                firm_discharge_kw=kw(aggregates.firm_discharge_kw, number),
                commanded_kw=None if told is None else round(told.commanded_kw, _DECIMALS),
                commanded_sites=0 if told is None else told.sites,
                deviation_frac=None if off_frac is None else round(off_frac, 4),
            )
        )
    return views


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None


def _age_s(age_s: float, t_ns: int) -> float | None:
    """Return None for no site (a negative age) and for one that was never heard (as old as time itself)."""
    return round(age_s, _DECIMALS) if 0 <= age_s < t_ns / NS_PER_S else None
