"""Fleets whose set-point is split by `shoal bench dispatch`: homes with batteries, and feeders, substations and regions.

Sizes, ratings and states of charge are drawn; a home prefers what draws the states of charge together. Limits of groups
are set around what would flow without them, so that about a third of the feeders is held back and every level has
groups that are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.optimise.allocation import split_setpoint_w
from shoal.optimise.allocation_nested import split_nested_w

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

HOMES_A_FEEDER: Final = 100
FEEDERS_A_SUBSTATION: Final = 50
SUBSTATIONS_A_REGION: Final = 10
LOAD_FRAC: Final = (0.3, 0.7)
"""Targets lie between these shares of the way from the lowest sum to the highest."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fleet:
    """Homes with batteries, in whole watts."""

    lower_w: Whole
    upper_w: Whole
    weight: Floats
    preferred_w: Floats
    soc_frac: Floats

    def targets_w(self, count: int) -> list[int]:
        """Return set-points, drawn."""
        low, high = int(self.lower_w.sum()), int(self.upper_w.sum())
        part = np.random.default_rng(2).uniform(*LOAD_FRAC, count)
        return [int(low + one * (high - low)) for one in part]

    def cost(self, power_w: NDArray[np.float64] | Whole) -> float:
        """Return what a split costs: half the squares of the deviations by weight."""
        return float(((power_w - self.preferred_w) ** 2 / self.weight).sum()) / 2.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grid:
    """What a fleet hangs from: regions, substations and feeders, in this order."""

    leaf: Whole
    parent: Whole
    group_lower_w: Whole
    group_upper_w: Whole
    base_w: Whole
    target_w: int


def make_fleet(sites: int) -> Fleet:
    """Return homes with batteries."""
    random = np.random.default_rng(1)
    capacity_kwh = random.choice([6.5, 10.0, 13.5, 27.0], sites)
    rating_w = random.choice([3300.0, 5000.0, 11_500.0], sites)
    soc_frac = random.uniform(0.05, 1.0, sites)
    # what can be held for five minutes, as the controller asks for it
    held_w = capacity_kwh * 1000.0 * 12.0
    lower_w = np.ceil(-np.minimum(rating_w, np.maximum(soc_frac - 0.2, 0.0) * held_w))
    upper_w = np.floor(np.minimum(rating_w, (1.0 - soc_frac) * held_w))
    return Fleet(
        lower_w=lower_w.astype(np.int64),
        upper_w=upper_w.astype(np.int64),
        weight=capacity_kwh,
        preferred_w=(0.5 - soc_frac) * capacity_kwh * 250.0,
        soc_frac=soc_frac,
    )


def make_grid(fleet: Fleet) -> Grid:
    """Return three levels of groups over a fleet whose homes come in order of their feeders."""
    random = np.random.default_rng(3)
    sites = len(fleet.weight)
    feeders = -(-sites // HOMES_A_FEEDER)
    substations = -(-feeders // FEEDERS_A_SUBSTATION)
    regions = -(-substations // SUBSTATIONS_A_REGION)
    parent = np.concatenate(
        [
            np.full(regions, -1),
            np.arange(substations) // SUBSTATIONS_A_REGION,
            regions + np.arange(feeders) // FEEDERS_A_SUBSTATION,
        ]
    )
    leaf = regions + substations + np.arange(sites) // HOMES_A_FEEDER
    base_w = random.integers(-3000, 4000, sites)
    low_w, high_w = int(fleet.lower_w.sum()), int(fleet.upper_w.sum())
    target_w = low_w + round(0.65 * (high_w - low_w))
    free = split_setpoint_w(target_w, fleet.lower_w, fleet.upper_w, fleet.weight, fleet.preferred_w)
    flow_w = np.bincount(leaf, weights=free.power_w + base_w, minlength=len(parent))
    for row in range(len(parent) - 1, regions - 1, -1):
        flow_w[parent[row]] += flow_w[row]
    room = np.concatenate(
        [random.uniform(0.96, 1.2, regions + substations), random.uniform(0.85, 1.4, feeders)]
    )
    group_lower_w = np.full(len(parent), -(10**12), dtype=np.int64)
    group_upper_w = np.maximum(flow_w * room, 0.0).astype(np.int64)
    most = split_nested_w(
        high_w,
        lower_w=fleet.lower_w,
        upper_w=fleet.upper_w,
        weight=fleet.weight,
        preferred_w=fleet.preferred_w,
        leaf=leaf,
        parent=parent,
        group_lower_w=group_lower_w,
        group_upper_w=group_upper_w,
        base_w=base_w,
    )
    return Grid(
        leaf=leaf,
        parent=parent,
        group_lower_w=group_lower_w,
        group_upper_w=group_upper_w,
        base_w=base_w,
        target_w=min(target_w, round(low_w + 0.98 * (high_w - most.unmet_w - low_w))),
    )
