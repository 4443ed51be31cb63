"""Many batteries seen as one storage, for a plan that is made before it is split over them.

An inner approximation while states of charge are alike: whatever the one can do, the many can do together. What the sum
of their rated powers could do beyond that is left unused rather than promised. `fleet_battery` holds for any states of
charge, promises more, and says what a sum would overstate.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shoal.optimise.storage import Storage


def fleet_storage(
    *,
    energy_kwh: NDArray[np.float64],
    energy_capacity_kwh: NDArray[np.float64],
    reserve_frac: NDArray[np.float64],
    charge_limit_kw: NDArray[np.float64],
    discharge_limit_kw: NDArray[np.float64],
    charge_efficiency_frac: NDArray[np.float64],
    discharge_efficiency_frac: NDArray[np.float64],
    availability_frac: float,
    energy_margin_frac: float,
    throughput_cost_per_mwh: float,
) -> Storage:
    """Return many batteries as one whose every schedule can be split among them when they are equally full.

    Each battery takes the share of the whole that its usable energy is of all usable energy; the power limits are the
    largest that no battery's own limit cuts under that rule. So the sum of the rated powers is never promised when the
    energy behind it is unevenly spread (an inner approximation, exact when all have the same ratio of power to energy and
    the same state of charge). `availability_frac` scales power and energy for those who will be silent;
    `energy_margin_frac` of the energy is left unused, half of it at either end, for losses that nobody meters and for
    plans that do not go to the watt-hour.
    """
    usable_kwh = energy_capacity_kwh * (1.0 - reserve_frac)
    total_kwh = float(usable_kwh.sum())
    share = usable_kwh / max(total_kwh, 1e-9)
    part = share > 0
    if not part.any():
        return Storage(
            charge_limit_kw=0.0,
            discharge_limit_kw=0.0,
            charge_efficiency_frac=1.0,
            discharge_efficiency_frac=1.0,
            energy_capacity_kwh=0.0,
            initial_energy_kwh=0.0,
        )
    margin_kwh = 0.5 * energy_margin_frac * usable_kwh
    window_kwh = usable_kwh - 2.0 * margin_kwh
    stored_kwh = np.clip(energy_kwh - reserve_frac * energy_capacity_kwh - margin_kwh, 0.0, window_kwh)
    return Storage(
        charge_limit_kw=availability_frac * float((charge_limit_kw[part] / share[part]).min()),
        discharge_limit_kw=availability_frac * float((discharge_limit_kw[part] / share[part]).min()),
        charge_efficiency_frac=float((charge_efficiency_frac * share).sum()),
        discharge_efficiency_frac=float((discharge_efficiency_frac * share).sum()),
        energy_capacity_kwh=availability_frac * float(window_kwh.sum()),
        initial_energy_kwh=availability_frac * float(stored_kwh.sum()),
        throughput_cost_per_mwh=throughput_cost_per_mwh,
        terminal_value_per_mwh=0.0,
    )
