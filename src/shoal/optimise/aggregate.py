"""Many batteries seen as one storage, for a plan that is made before it is split over them.

The sum is an outer approximation: it lets the fleet move energy as if every battery could always use its full
power, while in truth an empty or full battery drops out early. `availability_frac` is the margin against that
and against batteries that do not answer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shoal.optimise._inputs import column, number
from shoal.optimise.storage import Storage


def virtual_storage(
    energy_kwh: NDArray[np.float64],
    energy_capacity_kwh: NDArray[np.float64],
    reserve_frac: NDArray[np.float64],
    charge_limit_kw: NDArray[np.float64],
    discharge_limit_kw: NDArray[np.float64],
    charge_efficiency_frac: NDArray[np.float64],
    discharge_efficiency_frac: NDArray[np.float64],
    *,
    availability_frac: float,
    throughput_cost_per_mwh: float,
    terminal_value_per_mwh: float,
) -> Storage:
    """Return one storage in place of N batteries; of no batteries, a storage of nothing.

    Powers, capacities above the reserve and stored energies above the reserve are summed and scaled by
    `availability_frac`; efficiencies are means weighted by capacity. A battery below its reserve counts as
    holding nothing, so the energy that first refills its reserve is not counted as room (cautious), and its
    charging power is counted as if it stored usable energy (optimistic). Uneven states of charge make summed
    power and energy optimistic together: the fleet may not sustain the plan's power to its last kWh. Uneven
    efficiencies are exact when every battery moves the same share of its capacity.

    Args:
        energy_kwh: Stored energy, reserve included; above the capacity it counts as full.
        energy_capacity_kwh: Stored energy when full, reserve included.
        reserve_frac: Share of the capacity that is not to be used.
        charge_limit_kw: Highest charging power at the AC terminals, >= 0.
        discharge_limit_kw: Highest discharging power at the AC terminals, >= 0.
        charge_efficiency_frac: Stored energy per energy drawn, in (0, 1].
        discharge_efficiency_frac: Energy delivered per stored energy released, in (0, 1].
        availability_frac: Share of the fleet to count on, from 0 to 1.
        throughput_cost_per_mwh: Wear, per MWh discharged at the terminals.
        terminal_value_per_mwh: What a MWh still stored at the end is worth.

    Raises:
        InvalidInputError: An array is malformed or a number is out of its range.
    """
    capacity = column("energy_capacity_kwh", energy_capacity_kwh, low=0.0)
    count = capacity.size
    energy = column("energy_kwh", energy_kwh, length=count, low=0.0)
    reserve = column("reserve_frac", reserve_frac, length=count, low=0.0, high=1.0) * capacity
    charge = column("charge_limit_kw", charge_limit_kw, length=count, low=0.0)
    discharge = column("discharge_limit_kw", discharge_limit_kw, length=count, low=0.0)
    charge_frac = column("charge_efficiency_frac", charge_efficiency_frac, length=count, above=0.0, high=1.0)
    discharge_frac = column(
        "discharge_efficiency_frac", discharge_efficiency_frac, length=count, above=0.0, high=1.0
    )
    available = number("availability_frac", availability_frac, low=0.0, high=1.0)
    usable = capacity - reserve
    held = np.clip(energy - reserve, 0.0, usable)
    usable_kwh = available * float(usable.sum())
    return Storage(
        charge_limit_kw=available * float(charge.sum()),
        discharge_limit_kw=available * float(discharge.sum()),
        charge_efficiency_frac=_mean_frac(charge_frac, capacity),
        discharge_efficiency_frac=_mean_frac(discharge_frac, capacity),
        energy_capacity_kwh=usable_kwh,
        initial_energy_kwh=min(available * float(held.sum()), usable_kwh),
        throughput_cost_per_mwh=throughput_cost_per_mwh,
        terminal_value_per_mwh=terminal_value_per_mwh,
    )


def _mean_frac(values: NDArray[np.float64], weight: NDArray[np.float64]) -> float:
    """Return the weighted mean, at most 1; with nothing to weigh, 1."""
    total = float(weight.sum())
    return min(float(values @ weight) / total, 1.0) if total > 0 else 1.0
