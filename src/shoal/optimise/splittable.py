"""What each battery should do of a set-point, so that whatever else was promised of all of them stays possible.

Of shares that add up to 1 and of which none is above ``min(D/P, C/Q, b/B)``, moving along them keeps every promise: `D` and
`C` are what a battery discharges and charges at most, `P` and `Q` the most that is promised of all of them, `b` what it
holds and `B` what they all hold together of the promise. For what it holds stays in proportion or grows, and `min` is
concave, so what it can take stays enough as well. Nothing has to be remembered, and no order of steps leaves anybody stuck.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shoal.domain.errors import InvalidInputError
from shoal.optimise._inputs import column, number

Floats = NDArray[np.float64]

_ROUNDS: Final = 3
_STEPS: Final = 60


def splittable_kw(
    target_kw: float,
    *,
    most_charge_kw: float,
    most_discharge_kw: float,
    energy_kwh: ArrayLike,
    energy_capacity_kwh: ArrayLike,
    reserve_kwh: ArrayLike,
    charge_limit_kw: ArrayLike,
    discharge_limit_kw: ArrayLike,
    charge_efficiency_frac: ArrayLike,
    discharge_efficiency_frac: ArrayLike,
    fairness: ArrayLike | None = None,
    still_kwh: float = math.inf,
) -> Floats:
    """Return the power of each battery to prefer in a split, load-positive, shape (N,); they add up to the target.

    Every schedule that was within what `fleet_battery` promised before the step is possible after it. Where not even the
    target can be had throughout, everybody who can gives in proportion to power. One below its reserve takes part when there is
    charging to do. Limits of this very minute are the split's.

    Args:
        target_kw: What is asked of all of them now, load-positive.
        most_charge_kw: The most that they are still to take in any interval to come; 0 when nothing.
        most_discharge_kw: The most that they are still to give.
        energy_kwh: Stored energy of each battery now, shape (N,).
        energy_capacity_kwh: Stored energy when full, shape (N,).
        reserve_kwh: What stays in it, shape (N,).
        charge_limit_kw: Highest charging power that it holds while there is room, shape (N,).
        discharge_limit_kw: Highest discharging power that it holds while there is energy, shape (N,).
        charge_efficiency_frac: Stored of charged energy, shape (N,).
        discharge_efficiency_frac: Released of discharged energy, shape (N,).
        fairness: How much each is to do beyond what it holds, relative to the others, shape (N,); as far as promises let it.
        still_kwh: The most that is still to be given in all (taken, for a target above 0), at the terminals, this interval
            included; where it is less than what could be promised, `fairness` has its way within the difference.

    Raises:
        InvalidInputError: An array is malformed or a number out of its range.

    Example:
        >>> two = {"energy_capacity_kwh": [9.0, 9.0], "reserve_kwh": [0.0, 0.0], "charge_limit_kw": [5.0, 5.0],
        ...     "discharge_limit_kw": [5.0, 5.0], "charge_efficiency_frac": [1, 1], "discharge_efficiency_frac": [1, 1]}
        >>> splittable_kw(-4.0, most_charge_kw=0, most_discharge_kw=4, energy_kwh=[6.0, 2.0], **two).tolist()
        [-3.0, -1.0]
        >>> splittable_kw(-4.0, most_charge_kw=0, most_discharge_kw=6, energy_kwh=[8.0, 2.0], **two).tolist()
        [-3.2, -0.8]
    """
    energy = column("energy_kwh", energy_kwh)
    count = energy.size
    capacity = column("energy_capacity_kwh", energy_capacity_kwh, length=count, low=0.0)
    reserve = column("reserve_kwh", reserve_kwh, length=count, low=0.0)
    charge = column("charge_limit_kw", charge_limit_kw, length=count, low=0.0)
    discharge = column("discharge_limit_kw", discharge_limit_kw, length=count, low=0.0)
    charge_frac = column("charge_efficiency_frac", charge_efficiency_frac, length=count, above=0.0, high=1.0)
    discharge_frac = column(
        "discharge_efficiency_frac", discharge_efficiency_frac, length=count, above=0.0, high=1.0
    )
    target = number("target_kw", target_kw)
    most_in_kw = max(number("most_charge_kw", most_charge_kw, low=0.0), target)
    most_out_kw = max(number("most_discharge_kw", most_discharge_kw, low=0.0), -target)
    if target == 0.0 or count == 0:
        return np.zeros(count)
    takes = target > 0.0
    per_cell = 1.0 / charge_frac if takes else discharge_frac
    held = np.maximum(capacity - energy if takes else energy - reserve, 0.0)
    cells = (charge * charge_frac, discharge / discharge_frac)
    fair = np.ones(count) if fairness is None else column("fairness", fairness, length=count, low=0.0)
    if math.isnan(still_kwh) or still_kwh < 0.0:
        raise InvalidInputError(field="still_kwh", value=still_kwh, fix="give at least 0")
    most_kw = (most_in_kw, most_out_kw)
    share = _shares(cells, most_kw, (charge_frac, discharge_frac), held, fair, still_kwh, takes=takes)
    power = share * per_cell
    together = float(power.sum())
    return target * power / together if together > 0.0 else np.zeros(count)


def _shares(
    cells: tuple[Floats, Floats],
    most_kw: tuple[float, float],
    efficiencies: tuple[Floats, Floats],
    held: Floats,
    fair: Floats,
    still_kwh: float,
    *,
    takes: bool,
) -> Floats:
    """Return the share of each battery in a change of stored energy.

    What is promised is a power at the terminals; what it is at the cells depends on who does it, so a few rounds are made.
    """
    there = held > 0.0
    weight = np.where(there, np.minimum(*cells), 0.0)
    if float(weight.sum()) <= 0.0:
        # who can go this way, whether they can come back or not
        weight = np.where(there, cells[0] if takes else cells[1], 0.0)
    if float(weight.sum()) <= 0.0:
        return weight
    share = weight / float(weight.sum())
    for _ in range(_ROUNDS):
        # at the cells: the most to take and to give, if it were done in these shares
        most_in = most_kw[0] / float((share / efficiencies[0]).sum())
        most_out = most_kw[1] / float((share * efficiencies[1]).sum())
        power = np.full(held.size, np.inf)
        if most_in > 0.0:
            power = np.minimum(power, cells[0] / most_in)
        if most_out > 0.0:
            power = np.minimum(power, cells[1] / most_out)
        found = most_energy_shares(power, held)
        # at the cells, at worst; of less than all that could be promised, who has it is open
        still = still_kwh * (float(efficiencies[0].max()) if takes else 1.0 / float(efficiencies[1].min()))
        if still < math.inf:
            open_to = np.minimum(power, held / max(still, 1e-9))
            if float(open_to.sum()) > 1.0:
                found = most_energy_shares(open_to, held * fair)
        if np.abs(found - share).max() < 1e-12:
            return found
        share = found
    return share


def most_energy_shares(power: Floats, held: Floats) -> Floats:
    """Return ``min(power, held / energy)`` at the most energy at which they add up to 1, shape (N,).

    Where they cannot, everybody who holds something has a share in proportion to power.

    Args:
        power: The most that each may have, shape (N,); infinite for no limit.
        held: Energy of each, >= 0, shape (N,).
    """
    there = held > 0.0
    limit = np.where(there, power, 0.0)
    total = float(limit.sum())
    if total <= 1.0:
        return limit / total if total > 0.0 else np.zeros(held.size)
    # the sum is concave in 1 / energy, so Newton's steps come from below and end at the piece of the answer
    inverse = 1.0 / float(held.sum())
    for _ in range(_STEPS):
        bound = held * inverse < limit
        slope = float(held[bound].sum())
        if slope <= 0.0:
            break
        better = (1.0 - float(limit[~bound].sum())) / slope
        if better <= inverse * (1.0 + 1e-15):
            break
        inverse = better
    share = np.minimum(limit, held * inverse)
    return share / float(share.sum())
