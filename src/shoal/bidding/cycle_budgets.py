"""Owners' cycle budgets in what is offered: as a share of each site that outlasts anything, or as a limit on what all give a day.

A plan that does not count cycles may only have the share of a site which its budget outlasts however it is cycled. A plan
that counts them may have nearly all of it, and gives no more in a day than leaves every budget kept, however it is split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.bidding.cycle.known import DayBudget
from shoal.domain.interval import NS_PER_HOUR, Interval
from shoal.optimise.fleet_battery import FleetBattery
from shoal.programs.claims import UNLIMITED_WH

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

KEPT_FRAC: Final = 0.9
"""So much of the energy is to count; a site that may give less often than that counts for as much of itself as keeps up."""
_WH_PER_KWH: Final = 1e3
_HALVINGS: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DayLeft:
    """What is left of the budgets of M sites in a day of UTC.

    Attributes:
        day: The day.
        left_wh: What each may still give in it, `UNLIMITED_WH` for one without a budget (M).
        at_once_ns: Length of the part of it in which the span itself, and what was sold before it, lie; 0 for a day after it.
    """

    day: Interval
    left_wh: Whole
    at_once_ns: int


def strict_share(days: Sequence[DayLeft], plate: NDArray[Any], window_kwh: Floats) -> Floats:
    """Return as what share of itself each site's budget outlasts any schedule, day by day.

    Args:
        days: What is left.
        plate: The sites' nameplates.
        window_kwh: Usable stored energy of each when full.
    """
    share_frac = np.ones(len(plate))
    for one in days:
        limited = one.left_wh < UNLIMITED_WH
        if not limited.any() or not one.at_once_ns:
            continue
        most_wh = most_discharged_kwh(plate, window_kwh, one.at_once_ns / NS_PER_HOUR) * _WH_PER_KWH
        is_cut = limited & (most_wh > one.left_wh)
        of_day = np.divide(one.left_wh, most_wh, out=np.ones(len(plate)), where=is_cut)
        share_frac = np.minimum(share_frac, of_day)
    return share_frac


def counted_share(days: Sequence[DayLeft], plate: NDArray[Any], window_kwh: Floats) -> Floats:
    """Return as what share of itself each site counts for a plan that gives no more in a day than `day_budgets`.

    All of them are cycled alike, so that one whose budget is small would hold up the others: it counts for less.
    """
    cycle_wh = window_kwh * plate["discharge_efficiency_frac"] * _WH_PER_KWH
    cycles = np.full(len(plate), np.inf)
    for one in days:
        if one.at_once_ns:
            limited = (one.left_wh < UNLIMITED_WH) & (cycle_wh > 0.0)
            of_day = np.divide(one.left_wh, cycle_wh, out=np.full(len(plate), np.inf), where=limited)
            cycles = np.minimum(cycles, of_day)
    some = (cycles > 0.0) & (cycle_wh > 0.0)
    if not np.isfinite(cycles[some]).any():
        return np.where(cycles > 0.0, 1.0, 0.0)
    # the most cycles that leave so much of the energy of those that have any left
    low, high = 0.0, float(cycles[some & np.isfinite(cycles)].max())
    wanted_wh = KEPT_FRAC * float(cycle_wh[some].sum())
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        kept_wh = float((np.minimum(cycles[some] / max(middle, 1e-12), 1.0) * cycle_wh[some]).sum())
        low, high = (middle, high) if kept_wh >= wanted_wh else (low, middle)
    return np.minimum(cycles / max(low, 1e-12), 1.0)


def day_budgets(
    days: Sequence[DayLeft], one: FleetBattery, discharge_efficiency_frac: Floats
) -> tuple[DayBudget, ...]:
    """Return what all may give in each day, so that nobody's share in it is more than is left of the own budget.

    Args:
        days: What is left.
        one: The sites as one battery.
        discharge_efficiency_frac: Of each site.
    """
    # at the terminals: the largest part of what all give that can be one's own
    part = one.most_share * discharge_efficiency_frac / one.storage.discharge_efficiency_frac
    found = []
    for day in days:
        takes = (part > 0.0) & (day.left_wh < UNLIMITED_WH)
        if takes.any():
            least_wh = float((day.left_wh[takes] / part[takes]).min()) * one.availability_frac
            found.append(
                DayBudget(
                    start_ns=day.day.start_ns,
                    end_ns=day.day.end_ns,
                    discharge_kwh=least_wh / _WH_PER_KWH,
                )
            )
    return tuple(found)


def most_discharged_kwh(plate: NDArray[Any], window_kwh: Floats, hours: float) -> Floats:
    """Return the most that each battery can give at its terminals in some hours, full at first and cycled without rest.

    Both scale with the size of the battery, so a share of it gives that share of this.

    Args:
        plate: The nameplates.
        window_kwh: Usable stored energy when full.
        hours: For how long.
    """
    out_kw = plate["discharge_limit_kw"].astype(np.float64)
    back_kw = plate["charge_limit_kw"] * plate["charge_efficiency_frac"] * plate["discharge_efficiency_frac"]
    first_kwh = window_kwh * plate["discharge_efficiency_frac"]
    # out_kw * t = first_kwh + back_kw * (hours - t): it discharges for t hours and charges in the others
    hours_out = np.divide(
        first_kwh + back_kw * hours, out_kw + back_kw, out=np.zeros(len(plate)), where=out_kw + back_kw > 0.0
    )
    most: Floats = out_kw * np.minimum(hours_out, hours)
    return most
