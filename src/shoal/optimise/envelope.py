"""Which orders of a storage schedule may be lost without making another one impossible.

An order with a limit price may not clear. A lost discharge leaves the stored energy higher from then on, a
lost charge lower, so over all subsets of the removable orders the extreme paths are reached by losing all of
one direction. Both stay within the storage exactly when every subset does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.optimise._inputs import column, number

# A path may overstep an end of the storage by this share of the capacity: rounding of a sum of changes.
TOLERANCE_FRAC = 1e-9


def removable_orders(
    change_kwh: NDArray[np.float64],
    energy_capacity_kwh: float,
    initial_energy_kwh: float,
    preference: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Return which orders may fail to clear, in any combination, with stored energy in its range.

    Orders are taken greedily, the most preferred first and the earlier of equals; the set is maximal (no
    order can be added to it) but not always the set of the highest total preference. An order of no change is
    always in it.

    Args:
        change_kwh: Change of stored energy of each interval if its order clears, charging positive, shape
            (T,).
        energy_capacity_kwh: Usable stored energy when full.
        initial_energy_kwh: Usable stored energy at the start.
        preference: How much is gained by letting the order carry a limit price, any scale, shape (T,).

    Raises:
        InvalidInputError: An array is malformed, or the plan itself leaves ``[0, capacity]`` by more than a
            billionth of the capacity.

    Example:
        >>> removable_orders(np.array([4.0, -4.0]), 10.0, 0.0, np.array([1.0, 2.0])).tolist()
        [False, True]
    """
    change = column("change_kwh", change_kwh)
    score = column("preference", preference, length=change.size)
    number("energy_capacity_kwh", energy_capacity_kwh, low=0.0)
    number("initial_energy_kwh", initial_energy_kwh, low=0.0, high=energy_capacity_kwh)
    slack_kwh = TOLERANCE_FRAC * energy_capacity_kwh
    highest = initial_energy_kwh + np.cumsum(change)
    lowest = highest.copy()
    outside = (lowest < -slack_kwh) | (highest > energy_capacity_kwh + slack_kwh)
    if outside.any():
        row = int(np.argmax(outside))
        raise InvalidInputError(
            field=f"change_kwh[{row}]",
            value=float(change[row]),
            fix=f"stay between 0 and {energy_capacity_kwh} kWh; this order leads to {highest[row]}",
        )
    removable = np.zeros(change.size, dtype=np.bool_)
    for row in np.argsort(-score, kind="stable"):
        lost_kwh = change[row]
        if lost_kwh > 0:
            removable[row] = lowest[row:].min() - lost_kwh >= -slack_kwh
            lowest[row:] -= lost_kwh * removable[row]
        else:
            removable[row] = highest[row:].max() - lost_kwh <= energy_capacity_kwh + slack_kwh
            highest[row:] -= lost_kwh * removable[row]
    return removable
