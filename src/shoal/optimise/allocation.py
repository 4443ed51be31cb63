"""The split of one set-point over many devices, and what a battery can hold for how long.

Every device follows one price: it moves from its preferred power by the price times its weight until it meets
a limit. The price at which the powers add up to the target is found by Newton steps inside a bracket, and the
rounding that is left goes to devices with room, so the sum is met and not approached.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.kernel import kernel
from shoal.optimise._inputs import column, number, whole_column

# Newton needs 5 to 10 steps; halving the bracket, the fallback, meets the end of float64 before this.
_STEP_LIMIT = 2200
# Sums that differ by less than this share of what was added up are equal.
_CLOSE_FRAC = 1e-12
# Weights further below the largest than this are raised to it, so that no price overflows.
_WEIGHT_RANGE = 1e-100

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Allocation:
    """A split set-point.

    Attributes:
        power_kw: Power of each device, load-positive, shape (N,).
        unmet_kw: Target less the sum of the powers; 0 when the target is within reach.
        shift_kw: Shift from the preferred power per unit of weight, in kW; infinite with the sign of `unmet_kw`.
    """

    power_kw: Floats
    unmet_kw: float
    shift_kw: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WholeAllocation:
    """A set-point split in whole watts.

    Attributes:
        power_w: Power of each device, load-positive, shape (N,).
        unmet_w: Target less the sum of the powers, exactly; 0 when the target is within reach.
    """

    power_w: NDArray[np.int64]
    unmet_w: int


def split_setpoint(
    target_kw: float, lower_kw: Floats, upper_kw: Floats, weight: Floats, preferred_kw: Floats
) -> Allocation:
    """Return the powers nearest to the preferred ones that add up to `target_kw`.

    Minimises ``sum((power - preferred)**2 / weight) / 2`` within the limits (water-filling). A device of
    weight 0 stays at its preferred power, or at the limit next to it. Beyond reach, every other device is at
    its limit and the rest is `unmet_kw`.

    Args:
        target_kw: Wanted sum, load-positive.
        lower_kw: Lowest power of each device, shape (N,); N may be 0.
        upper_kw: Highest power of each device, shape (N,).
        weight: Readiness to leave the preferred power, >= 0, any scale, shape (N,).
        preferred_kw: Power of each device if there were no target, shape (N,).

    Raises:
        InvalidInputError: An array is malformed, a weight negative, or a lower limit above its upper one.

    Example:
        >>> split_setpoint(6.0, np.zeros(2), np.array([1.0, 9.0]), np.ones(2), np.zeros(2)).power_kw.tolist()
        [1.0, 5.0]
    """
    number("target_kw", target_kw)
    lower = column("lower_kw", lower_kw)
    upper = column("upper_kw", upper_kw, length=lower.size)
    readiness = column("weight", weight, length=lower.size, low=0.0)
    preferred = column("preferred_kw", preferred_kw, length=lower.size)
    _check_limits("lower_kw", lower, upper)
    free = readiness > 0.0
    heaviest = float(readiness.max(initial=0.0))
    relative = np.where(free, np.maximum(readiness / (heaviest or 1.0), _WEIGHT_RANGE), 0.0)
    settled = np.clip(preferred, lower, upper)
    extremes = []
    for sign, limit in ((-1.0, lower), (1.0, upper)):
        power = np.where(free, limit, settled)
        extreme = sign * float(np.max(sign * (limit - preferred)[free] / relative[free], initial=-np.inf))
        extremes.append(extreme if free.any() else 0.0)
        unmet_kw = target_kw - float(power.sum())
        if abs(unmet_kw) <= _CLOSE_FRAC * (abs(target_kw) + float(np.abs(power).sum())):
            return Allocation(power_kw=power, unmet_kw=0.0, shift_kw=extremes[-1] / (heaviest or 1.0))
        if sign * unmet_kw > 0.0:
            return Allocation(power_kw=power, unmet_kw=unmet_kw, shift_kw=sign * np.inf)
    power = np.empty(lower.size)
    price = _fill(target_kw, lower, upper, relative, preferred, extremes[0], extremes[1], power)
    return Allocation(power_kw=power, unmet_kw=0.0, shift_kw=price / heaviest)


def split_setpoint_w(
    target_w: int,
    lower_w: NDArray[np.int64],
    upper_w: NDArray[np.int64],
    weight: Floats,
    preferred_w: Floats,
) -> WholeAllocation:
    """Return the split of `split_setpoint` in whole watts that add up to `target_w` exactly.

    Powers are rounded down and the watts left over go to the largest remainders, within the limits; each
    power is within 1 W of the unrounded split. A device of weight 0 stays at its preferred power rounded to a
    whole watt.

    Raises:
        InvalidInputError: As `split_setpoint`, or the limits are not integer arrays.
    """
    lower = whole_column("lower_w", lower_w)
    upper = whole_column("upper_w", upper_w, length=lower.size)
    readiness = column("weight", weight, length=lower.size, low=0.0)
    preferred = column("preferred_w", preferred_w, length=lower.size)
    _check_limits("lower_w", lower, upper)
    fixed = readiness == 0.0
    settled = np.where(fixed, np.rint(preferred), preferred)
    real = split_setpoint(
        float(target_w), lower.astype(np.float64), upper.astype(np.float64), readiness, settled
    ).power_kw  # kW or W: the split does not mind
    power = np.clip(np.floor(real).astype(np.int64), lower, upper)
    free = np.flatnonzero(~fixed)
    remainder = real[free] - power[free]
    left_w = int(target_w) - int(power.sum())
    while left_w != 0:
        step = 1 if left_w > 0 else -1
        room = power[free] < upper[free] if step > 0 else power[free] > lower[free]
        order = np.argsort(-step * remainder[room], kind="stable")[: abs(left_w)]
        chosen = free[room][order]
        if chosen.size == 0:
            break
        power[chosen] += step
        remainder = real[free] - power[free]
        left_w -= step * chosen.size
    return WholeAllocation(power_w=power, unmet_w=left_w)


def battery_limits(
    energy_kwh: Floats,
    energy_capacity_kwh: Floats,
    reserve_kwh: Floats,
    charge_limit_kw: Floats,
    discharge_limit_kw: Floats,
    charge_efficiency_frac: Floats,
    discharge_efficiency_frac: Floats,
    duration_h: float,
) -> tuple[Floats, Floats]:
    """Return the lowest (<= 0) and highest (>= 0) power in kW that each battery can hold throughout.

    Load-positive: the lowest is the strongest discharge, down to the reserve; the highest the strongest
    charge, up to the capacity. A battery at or below its reserve cannot discharge, one at or above its
    capacity cannot charge. All arrays have shape (N,).

    Raises:
        InvalidInputError: An array is malformed, a number out of its range, or `duration_h` not above 0.
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
    number("duration_h", duration_h, above=0.0)
    releasable_kw = np.maximum(energy - reserve, 0.0) * discharge_frac / duration_h
    storable_kw = np.maximum(capacity - energy, 0.0) / (charge_frac * duration_h)
    return -np.minimum(discharge, releasable_kw), np.minimum(charge, storable_kw)


@kernel
def _fill(
    target_kw: float,
    lower_kw: Floats,
    upper_kw: Floats,
    weight: Floats,
    preferred_kw: Floats,
    low_price: float,
    high_price: float,
    power_kw: Floats,
) -> float:
    """Fill `power_kw` so that it adds up to a target within reach, and return the price."""
    low, high, price, gap = low_price, high_price, min(max(0.0, low_price), high_price), 0.0
    width = np.inf
    for step in range(_STEP_LIMIT):
        total, free_weight, size = 0.0, 0.0, abs(target_kw)
        for i in range(weight.shape[0]):
            wanted = preferred_kw[i] + price * weight[i]
            power_kw[i] = min(max(wanted, lower_kw[i]), upper_kw[i])
            total += power_kw[i]
            size += abs(power_kw[i])
            if lower_kw[i] < wanted < upper_kw[i]:
                free_weight += weight[i]
        gap = target_kw - total
        if abs(gap) <= _CLOSE_FRAC * size:
            break
        if gap > 0.0:
            low = price
        else:
            high = price
        following = price + gap / free_weight if free_weight > 0.0 else np.nan
        # Newton may step to and fro over a kink: three steps have to have halved the bracket.
        if step % 3 == 2:
            following = following if high - low <= 0.5 * width else np.nan
            width = high - low
        if not low < following < high:
            following = low + 0.5 * (high - low)
            if not low < following < high:
                break
        price = following
    for i in range(weight.shape[0]):
        if weight[i] > 0.0:
            settled = min(max(power_kw[i] + gap, lower_kw[i]), upper_kw[i])
            gap -= settled - power_kw[i]
            power_kw[i] = settled
    return price


def _check_limits(field: str, lower: NDArray[np.generic], upper: NDArray[np.generic]) -> None:
    crossed = np.asarray(lower > upper)  # type: ignore[operator]
    if crossed.any():
        row = int(np.argmax(crossed))
        raise InvalidInputError(field=f"{field}[{row}]", value=lower[row], fix=f"give at most {upper[row]}")
