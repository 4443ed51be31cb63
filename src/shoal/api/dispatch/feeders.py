"""Which feeders an order touches: the groups right above its sites in the hierarchy of the grid, or higher where there are
too many of them to show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.api.live.aggregates import root_numbers
from shoal.control.grid_limits import NO_LIMIT_W, LimitsNow
from shoal.domain.fleet import Fleet
from shoal.programs.claims import Whole

MOST_FEEDERS: Final = 200
NOWHERE: Final = "under no feeder"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Feeder:
    """One feeder: its number in `Fleet.groups`, -1 for none, and where its sites are among those asked for."""

    number: int
    group_id: str
    name: str
    at: NDArray[np.int64]


def feeders_of(rows: NDArray[np.int64], fleet: Fleet) -> list[Feeder]:
    """Return the feeders of some sites, by their order in the fleet; at most `MOST_FEEDERS`, and one for the rest."""
    roots = root_numbers(fleet)
    if not roots or not len(rows):
        return []
    leaf = fleet.leaf_group[fleet.groups[roots[0]].hierarchy_id][rows].astype(np.int64)
    levels = np.array([group.level for group in fleet.groups], dtype=np.int64)
    parent = fleet.parent_number
    while len(np.unique(leaf[leaf >= 0])) > MOST_FEEDERS:
        deepest = levels[leaf[leaf >= 0]].max()
        if deepest == 0:
            break
        low = (leaf >= 0) & (levels[np.maximum(leaf, 0)] == deepest)
        leaf = np.where(low, parent[np.maximum(leaf, 0)], leaf)
    order = np.argsort(leaf, kind="stable")
    numbers, starts = np.unique(leaf[order], return_index=True)
    found = []
    for number, at in zip(numbers.tolist(), np.split(order, starts[1:]), strict=True):
        group = fleet.groups[number] if number >= 0 else None
        found.append(
            Feeder(
                number=number,
                group_id="" if group is None else str(group.group_id),
                name=NOWHERE if group is None else group.name,
                at=at,
            )
        )
    return found


def limit_of(number: int, limits: LimitsNow, fleet: Fleet, *, charges: bool) -> tuple[float | None, str]:
    """Return the tightest limit of a group and those above it in a direction, in kW without sign, and whose it is."""
    place = {name: tree.first + at for tree in limits.trees for at, name in enumerate(tree.group_ids)}
    column: Whole = limits.group_upper_w if charges else -limits.group_lower_w
    tightest, whose = NO_LIMIT_W, ""
    while number >= 0:
        name = str(fleet.groups[number].group_id)
        at = place.get(name)
        if at is not None and int(column[at]) < tightest:
            tightest, whose = int(column[at]), name
        number = int(fleet.parent_number[number])
    return (tightest / 1e3, whose) if whose else (None, "")
