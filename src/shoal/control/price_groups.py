"""Who takes part in the search for prices, and in which group.

All of it follows from the fleet and the settings alone, so whoever asks the homes, whoever stands for them and whoever sends
the result say the same of each without talking about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import UnknownIdError
from shoal.domain.fleet import Fleet
from shoal.domain.ids import GroupId

REST: Final = "rest"
"""The feeder of all homes that hang from none with a limit."""

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PriceGroups:
    """The homes of a search; a group is the homes of a feeder that answer themselves, or those that are answered for.

    Attributes:
        feeders: Names of the F feeders; the last is `REST`.
        hangs_from: The feeder of each site of the fleet, shape (N,).
        feeder_of_row: The same of those that take part; -1 of the others.
    """

    feeders: tuple[str, ...]
    hangs_from: Rows
    feeder_of_row: Rows

    @property
    def groups(self) -> int:
        """How many groups there are: two a feeder."""
        return 2 * len(self.feeders)

    @property
    def feeder_of(self) -> Rows:
        """The feeder of each group, shape (G,)."""
        return np.tile(np.arange(len(self.feeders), dtype=np.int64), 2)

    def group_of(self, rows: Rows, *, answering: bool) -> Rows:
        """Return the groups of some sites: of those that answer themselves, or of those that do not."""
        return np.asarray(self.feeder_of_row[rows] + (0 if answering else len(self.feeders)))


def price_groups(fleet: Fleet, limited: Sequence[str], taking_part: Rows | None) -> PriceGroups:
    """Return who takes part: the sites with a battery, enrolled where that is asked for.

    Args:
        fleet: The fleet.
        limited: Groups with limits, none below another.
        taking_part: Rows of the sites that are enrolled; None for everybody.

    Raises:
        UnknownIdError: when there is no such group.
    """
    count = len(fleet.site_ids)
    feeder = np.full(count, len(limited), dtype=np.int64)
    for number, name in enumerate(limited):
        if GroupId(name) not in fleet.group_number:
            raise UnknownIdError("group", name)
        feeder[fleet.rows_in(GroupId(name))] = number
    able = fleet.nameplate["energy_capacity_kwh"] > 0
    if taking_part is not None:
        enrolled = np.zeros(count, dtype=np.bool_)
        enrolled[taking_part] = True
        able &= enrolled
    return PriceGroups(
        feeders=(*limited, REST),
        hangs_from=feeder,
        feeder_of_row=np.where(able, feeder, -1),
    )


def most_weighted(
    rows: NDArray[np.float64], shares: NDArray[np.float64], most: int
) -> tuple[list[list[float]], list[float]]:
    """Return the rows with the greatest shares, at most so many, with shares that add up to 1; one stands for equal ones.

    Args:
        rows: Rows of prices, shape (R, T).
        shares: Their shares, shape (R,).
        most: How many.
    """
    weight: dict[tuple[float, ...], float] = {}
    for row, share in zip(map(tuple, rows.tolist()), shares.tolist(), strict=True):
        if share > 1e-9:
            weight[row] = weight.get(row, 0.0) + share
    kept = sorted(weight.items(), key=lambda one: -one[1])[:most]
    total = sum(share for _, share in kept)
    return [list(row) for row, _ in kept], [share / total for _, share in kept]
