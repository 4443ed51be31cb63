"""A site of the simulated fleet that can live without the grid: a few homes, a roof, a battery and a generator on one meter.

It takes the place of a home, so that it hangs where a home would and is reached the same way.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.fleet import Fleet
from shoal.domain.ids import SiteId
from shoal.optimise.microgrid import Microgrid, diesel
from shoal.simulate.fleet import VPP

HAMLET: Final = SiteId("hamlet-1")
HOMES: Final = 6
ANNUAL_KWH: Final = 11_300.0 * HOMES
POWER_KW: Final = 4.0 * HOMES
CAPACITY_KWH: Final = 20.0 * HOMES
SOLAR_KW: Final = 7.0 * HOMES
GENERATOR_KW: Final = 3.5 * HOMES
"""It can carry the homes alone but for their highest peaks."""
FLOOR_FRAC: Final = 0.25
"""Of the battery, kept for a generator that does not start; what its owners keep as well."""


def with_hamlet(fleet: Fleet) -> Fleet:
    """Return a fleet in which the first home with a battery is the hamlet."""
    row = int(fleet.battery_rows_in(next(r.group_id for r in fleet.resources if r.resource_id == VPP))[0])
    plate = fleet.nameplate.copy()
    plate["charge_limit_kw"][row] = plate["discharge_limit_kw"][row] = POWER_KW
    plate["energy_capacity_kwh"][row] = CAPACITY_KWH
    plate["charge_efficiency_frac"][row] = plate["discharge_efficiency_frac"][row] = 0.96
    plate["reserve_frac"][row] = FLOOR_FRAC
    plate["solar_limit_kw"][row] = SOLAR_KW
    plate["ev_limit_kw"][row] = 0.0
    names = (*fleet.site_ids[:row], HAMLET, *fleet.site_ids[row + 1 :])
    return replace(fleet, site_ids=names, nameplate=plate)


def microgrid() -> Microgrid:
    """Return the hamlet as its own controller knows it."""
    return Microgrid(
        generator=diesel(GENERATOR_KW),
        charge_limit_kw=POWER_KW,
        discharge_limit_kw=POWER_KW,
        charge_efficiency_frac=0.96,
        discharge_efficiency_frac=0.96,
        energy_capacity_kwh=CAPACITY_KWH,
        floor_kwh=FLOOR_FRAC * CAPACITY_KWH,
        empty_kwh=0.05 * CAPACITY_KWH,
    )


def annual_kwh(fleet: Fleet) -> NDArray[np.float64] | None:
    """Return what the hamlet uses in a year, not a number for homes, of which it is drawn; None without a hamlet."""
    if HAMLET not in fleet.site_ids:
        return None
    found = np.full(len(fleet.site_ids), np.nan)
    found[fleet.site_ids.index(HAMLET)] = ANNUAL_KWH
    return found
