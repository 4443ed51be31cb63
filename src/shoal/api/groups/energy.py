"""Energy of the groups of a hierarchy over an interval, as it is answered over HTTP and on the command line."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from shoal.api.answers import EnergyAnswer, EnergyLine, GroupEnergyLine
from shoal.domain.errors import InvalidInputError, UnknownIdError
from shoal.domain.fleet import Fleet
from shoal.domain.ids import GroupId, HierarchyId
from shoal.domain.telemetry import REGISTERS
from shoal.store.group_energy import GroupEnergy, Memberships, energy_of_groups
from shoal.store.history import History
from shoal.twin.membership import groups_below

NS_PER_MS = 1_000_000


def hierarchy_energy(
    *,
    fleet: Fleet,
    history: History,
    memberships: Memberships,
    hierarchy_id: str,
    group_id: str | None,
    from_ms: int,
    to_ms: int,
) -> EnergyAnswer:
    """Return the energy of every group of a hierarchy, or of a group and those below it; blocks.

    Args:
        fleet: The fleet as registered.
        history: The samples.
        memberships: Who hung from which group when.
        hierarchy_id: Whose groups.
        group_id: Of this group and all below it only.
        from_ms: Beginning of the interval.
        to_ms: Its end, exclusive.

    Raises:
        UnknownIdError: when there is no such hierarchy, or no such group in it.
        InvalidInputError: when the interval is empty.
        UnavailableError: when history or the registry cannot be read now, or the question is too large.
    """
    if to_ms <= from_ms:
        raise InvalidInputError(
            field="to", value=to_ms, fix="give an end after the beginning of the interval"
        )
    hierarchy = HierarchyId(hierarchy_id)
    if hierarchy not in fleet.leaf_group:
        raise UnknownIdError("hierarchy", hierarchy_id)
    inside = np.array([group.hierarchy_id == hierarchy for group in fleet.groups], dtype=np.bool_)
    if group_id is not None:
        number = fleet.group_number.get(GroupId(group_id))
        if number is None or not inside[number]:
            raise UnknownIdError(f"group of hierarchy {hierarchy_id}", group_id)
        inside = groups_below(fleet.parent_number, number)
    spans = memberships(hierarchy, from_ms * NS_PER_MS, to_ms * NS_PER_MS)
    energy = energy_of_groups(history, spans, fleet)
    return EnergyAnswer(
        hierarchy_id=hierarchy_id,
        from_ms=from_ms,
        to_ms=to_ms,
        groups=[_group_line(fleet, energy, number) for number in np.flatnonzero(inside).tolist()],
        no_group=EnergyLine(**_figures(energy, len(fleet.groups))),
        total=EnergyLine(**_figures(energy, None)),
    )


def _group_line(fleet: Fleet, energy: GroupEnergy, number: int) -> GroupEnergyLine:
    group = fleet.groups[number]
    return GroupEnergyLine(
        group_id=group.group_id,
        parent_id=group.parent_id,
        name=group.name,
        level=group.level,
        **_figures(energy, number),
    )


def _figures(energy: GroupEnergy, line: int | None) -> dict[str, Any]:
    """Return the figures of a line, of all sites when None."""
    if line is None:
        energy_wh, coverage = energy.total_wh, energy.total_coverage_frac
        sites, without = energy.total_sites, energy.total_without_reading
    else:
        energy_wh, coverage = energy.energy_wh[line], float(energy.coverage_frac[line])
        sites, without = int(energy.sites[line]), int(energy.sites_without_reading[line])
    return {
        **dict(zip(REGISTERS, energy_wh.tolist(), strict=True)),
        "sites": sites,
        "sites_without_reading": without,
        "coverage_frac": None if math.isnan(coverage) else coverage,
    }
