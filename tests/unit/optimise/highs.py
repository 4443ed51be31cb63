"""An independent optimum of the storage problem: the mixed-integer programme that the benchmark gives to HiGHS."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shoal.cli.benches import _optimise_highs
from shoal.cli.benches._optimise_instances import Instance
from shoal.optimise.storage import Storage
from shoal.optimise.storage_limits import StorageLimits

Floats = NDArray[np.float64]


def best_value(
    storage: Storage,
    price_per_mwh: Floats,
    interval_h: float,
    *,
    charge_limit_kw: Floats | None = None,
    discharge_limit_kw: Floats | None = None,
    exclusive: bool = True,
) -> float:
    """Return the optimal value in currency; not `exclusive` allows charging and discharging at once."""
    limits = StorageLimits(charge_limit_kw=charge_limit_kw, discharge_limit_kw=discharge_limit_kw)
    instance = Instance(storage=storage, price_per_mwh=price_per_mwh, interval_h=interval_h, limits=limits)
    value = _optimise_highs.best_value(instance, exclusive=exclusive)
    assert value is not None
    return value
