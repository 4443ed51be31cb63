"""What stored energy is worth at the end of a plan, from the solver's own slopes over the time that follows.

A plan for today with this curve at its end is the first part of the best plan for today and all that follows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shoal.optimise import _storage_rows as rows
from shoal.optimise._storage_inputs import (
    check_loss,
    check_numbers,
    price_column,
    ramp_rows,
    terminal_columns,
)
from shoal.optimise._storage_rows import KWH_PER_MWH
from shoal.optimise._storage_search import WORK_ROWS, relax
from shoal.optimise.storage import Storage, TerminalValue

_NONE = np.empty(0)


def terminal_value(
    storage: Storage,
    price_per_mwh: NDArray[np.float64],
    interval_h: float,
    *,
    terminal: TerminalValue | None = None,
) -> TerminalValue:
    """Return what energy stored before these prices is worth: the whole curve, for every level of stored energy.

    Where charging while discharging would pay (very negative prices) the worth is not concave, and the curve is that of
    the least concave bound the solver knows.

    Args:
        storage: The storage; what is stored at first does not matter.
        price_per_mwh: The prices that follow the plan's end, shape (T,), T >= 1.
        interval_h: Length of every interval, in hours.
        terminal: What energy is worth after these prices; instead of the storage's one number for all of it.

    Raises:
        InvalidInputError: An array has the wrong shape or holds NaN or an out-of-range number.

    Example:
        >>> battery = Storage(charge_limit_kw=5, discharge_limit_kw=5, charge_efficiency_frac=1.0,
        ...     discharge_efficiency_frac=1.0, energy_capacity_kwh=10, initial_energy_kwh=0)
        >>> later = terminal_value(battery, np.array([90.0, 30.0]), 1.0)
        >>> later.end_kwh.tolist(), later.slope_per_mwh.tolist()
        ([5.0, 10.0], [90.0, 30.0])
    """
    price = price_column(price_per_mwh)
    check_numbers(interval_h, 1)
    check_loss(storage.standing_loss_frac_per_h, price.size * interval_h)
    steps, capacity_kwh = price.size, storage.energy_capacity_kwh
    prepared = np.empty((rows.PREPARED_ROWS, steps + 1))
    rows.prepare(storage.column(), price, interval_h, _NONE, _NONE, _NONE, _NONE, prepared)
    charge, discharge, up, down, low, high, scale = prepared
    end_kwh, end_per_kwh = terminal_columns(storage, terminal)
    if not end_kwh.size:
        end_kwh = np.array([capacity_kwh])
        end_per_kwh = np.array([storage.terminal_value_per_mwh / KWH_PER_MWH])
    ramp_kwh, ramp_per_kwh = ramp_rows(storage, steps, interval_h, None)
    if ramp_kwh.size:
        ramp_kwh, ramp_per_kwh = ramp_kwh / scale, ramp_per_kwh * scale
    work = np.empty((WORK_ROWS, 2 * steps + end_kwh.size + ramp_kwh.size + 8))
    size, _ = relax(
        charge[:-1],
        discharge[:-1],
        up[:-1],
        down[:-1],
        low,
        high,
        end_kwh / scale[-1],
        end_per_kwh * scale[-1],
        ramp_kwh,
        ramp_per_kwh,
        0.0,
        not ramp_kwh.size and rows.is_long(prepared, steps),
        np.zeros(steps, np.int8),
        work,
        np.empty(steps, np.bool_),
        np.empty(steps + 1),
    )
    ends, slopes = work[0, :size], np.minimum.accumulate(work[1, :size])
    last = np.append(slopes[1:] != slopes[:-1], True)
    ends = np.minimum(ends[last], capacity_kwh)
    ends[-1] = capacity_kwh
    return TerminalValue(end_kwh=ends, slope_per_mwh=slopes[last] * KWH_PER_MWH)
