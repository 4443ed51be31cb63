"""Sites that have lost the grid: their power is no longer the plant's, from the first word of it.

A device says so itself, at once, with a report of its orders: reason ``islanded`` while it runs on its own, any other
reason when it is back. Nothing else can say it: a home that lives on its battery in the evening has the same powers and the
same meters standing still. An islanded site keeps reporting and counts as fresh, so it must be taken out by name: out of
what may be promised, and out of what a target is split over. One that falls dark is silent, and is out for that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.orders import OrderReport
from shoal.programs.claims import SiteAbility

ISLANDED: Final = "islanded"
"""Reason of an `OrderReport` by which a device says that it has no grid."""

_GRID_NOISE_W: Final = 25


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IslandState:
    """What is known of N sites.

    Attributes:
        islanded: N, whether the site has no grid.
        said_ns: N instants of its device's last word of that; an older one changes nothing.
        grid_wh: N sums of what the grid meters have counted, as last seen.
        seen_ns: N times of the samples last seen.
    """

    islanded: NDArray[np.bool_]
    said_ns: NDArray[np.int64]
    grid_wh: NDArray[np.int64]
    seen_ns: NDArray[np.int64]

    @classmethod
    def of(cls, sites: int) -> IslandState:
        """Return the state of a fleet that nothing is known of."""
        zeros = np.zeros(sites, dtype=np.int64)
        return cls(islanded=np.zeros(sites, dtype=np.bool_), said_ns=zeros, grid_wh=zeros, seen_ns=zeros)

    @classmethod
    def restored(cls, sites: int, kept: Mapping[str, int]) -> IslandState:
        """Return the state of a fleet of which a predecessor has kept who has no grid; see `kept`."""
        state = cls.of(sites)
        islanded, said_ns = state.islanded.copy(), state.said_ns.copy()
        for name, at_ns in kept.items():
            if int(name) < sites:
                islanded[int(name)], said_ns[int(name)] = True, at_ns
        return replace(state, islanded=islanded, said_ns=said_ns)

    def kept(self) -> dict[str, int]:
        """Return who has no grid, and when it said so, by row: what must survive the controller."""
        return {str(row): int(self.said_ns[row]) for row in np.flatnonzero(self.islanded).tolist()}


@dataclass(frozen=True, slots=True, kw_only=True)
class IslandStep:
    """What changed.

    Attributes:
        lost: Rows that have lost the grid since.
        back: Rows that have it again.
    """

    lost: tuple[int, ...] = field(default=())
    back: tuple[int, ...] = field(default=())


def step_islands(
    state: IslandState, reports: Iterable[tuple[int, OrderReport]], latest: NDArray[Any]
) -> tuple[IslandState, IslandStep]:
    """Return the state after some reports and the latest samples, and who lost the grid or has it again.

    Args:
        state: What was before.
        reports: Rows and what their devices said since.
        latest: N latest records of `TELEMETRY`; `ts_ns` is 0 where there is none.
    """
    islanded, said_ns = state.islanded.copy(), state.said_ns.copy()
    for row, report in reports:
        if report.t_ns >= said_ns[row]:
            islanded[row], said_ns[row] = report.reason == ISLANDED, report.t_ns
    # Energy through the connection, after the device spoke and between two samples, shows a grid: a word may be lost.
    new = latest["ts_ns"] > state.seen_ns
    grid_wh = latest["import_wh"] + latest["export_wh"]
    grid_w = latest["battery_w"] + latest["solar_w"] + latest["load_w"] + latest["ev_w"]
    flows = new & (state.seen_ns > said_ns) & (grid_wh > state.grid_wh) & (np.abs(grid_w) > _GRID_NOISE_W)
    islanded &= ~flows
    after = IslandState(
        islanded=islanded,
        said_ns=said_ns,
        grid_wh=np.where(new, grid_wh, state.grid_wh),
        seen_ns=np.where(new, latest["ts_ns"], state.seen_ns),
    )
    return after, IslandStep(
        lost=tuple(np.flatnonzero(islanded & ~state.islanded).tolist()),
        back=tuple(np.flatnonzero(state.islanded & ~islanded).tolist()),
    )


def without_islanded(ability: SiteAbility, islanded: NDArray[np.bool_]) -> SiteAbility:
    """Return what sites can do for the grid: those without one nothing at all, until they have it again."""
    zero = np.zeros_like(ability.charge_w)
    return replace(
        ability,
        charge_w=np.where(islanded, zero, ability.charge_w),
        discharge_w=np.where(islanded, zero, ability.discharge_w),
        charge_wh=np.where(islanded, zero, ability.charge_wh),
        discharge_wh=np.where(islanded, zero, ability.discharge_wh),
    )


def without_islanded_kw(
    total_kw: float, each_kw: NDArray[np.float64], islanded: NDArray[np.bool_], counted: NDArray[np.bool_]
) -> float:
    """Return a sum over fresh sites, of headroom for instance, without those that have no grid.

    Args:
        total_kw: The sum as the twins gave it.
        each_kw: What each site has in it, N.
        islanded: N.
        counted: N, whether the site is in the sum.
    """
    return total_kw - float(each_kw[islanded & counted].sum())
