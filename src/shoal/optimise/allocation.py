"""The split of one set-point over many devices, and what a battery can hold for how long.

Every device follows one price: it moves from its preferred power by the price times its weight until it meets
a limit. The price at which the powers add up to the target is found by Newton steps inside a bracket, and the
rounding that is left goes to devices with room, so the sum is met and not approached.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shoal.domain.errors import InvalidInputError
from shoal.optimise._allocation_kernel import (
    CLOSE_FRAC,
    HUGE,
    TINY,
    close,
    fill,
    guess_price,
    hold_limits,
    place,
    price_between,
    reach,
    survey,
)
from shoal.optimise._allocation_whole import settle
from shoal.optimise._inputs import column, number, whole_column

# Devices that are looked at first, to see where the price lies.
_SAMPLE_SIZE = 8192
# Ranges of prices that are tried before the sure way is gone.
_TRIES = 4
# Single watts beyond four standard deviations of rounding that the finish looks at.
_STEPS = 16.0

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]
Limits = Floats | Whole
Fleet = tuple[Floats, Floats, Floats, Floats]


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
    target = number("target_kw", target_kw)
    fleet = _floats(lower_kw, upper_kw, weight, preferred_kw)
    price, _ = _likely_price(target, *fleet, whole=False)
    power = np.empty(fleet[0].size)
    if np.isfinite(price):
        gap = target - place(price, *fleet, power)
        if close(gap, target, fleet[0], fleet[1], fleet[2], power):
            return Allocation(power_kw=power, unmet_kw=0.0, shift_kw=price)
    bad, least_kw, most_kw, size_kw = reach(*fleet, False)
    if bad:
        fleet = _checked("kw", lower_kw, upper_kw, weight, preferred_kw)
    nearest_kw = min(max(target, least_kw), most_kw)
    if bad or abs(target - nearest_kw) <= CLOSE_FRAC * (abs(target) + size_kw):
        return _split_surely(target, *fleet)
    power = (fleet[1] if target > nearest_kw else fleet[0]).copy()
    stays = np.flatnonzero(fleet[2] == 0.0)
    power[stays] = np.clip(fleet[3][stays], fleet[0][stays], fleet[1][stays])
    unmet_kw = target - nearest_kw
    return Allocation(power_kw=power, unmet_kw=unmet_kw, shift_kw=float(np.copysign(np.inf, unmet_kw)))


def split_setpoint_w(
    target_w: int,
    lower_w: NDArray[np.int64],
    upper_w: NDArray[np.int64],
    weight: Floats,
    preferred_w: Floats,
) -> WholeAllocation:
    """Return the whole watts nearest to the preferred powers that add up to `target_w` exactly.

    The cost is that of `split_setpoint`, and no other whole watts cost less: every device stands at the whole watt
    nearest to what it would do at one price, and of those that stand between two watts the earlier rows take
    the upper one. A device of weight 0 stays at its preferred power rounded to a whole watt.

    Raises:
        InvalidInputError: As `split_setpoint`, or the limits are not integer arrays.

    Example:
        >>> split_setpoint_w(7, np.zeros(2, int), np.full(2, 9), np.ones(2), np.zeros(2)).power_w.tolist()
        [4, 3]
    """
    target = int(target_w)
    fleet = _whole(lower_w, upper_w, weight, preferred_w)
    price, step_price = _likely_price(float(target), *fleet, whole=True)
    if not np.isfinite(price):
        bad, least_w, most_w, _ = reach(*fleet, True)
        if bad:
            lower, upper, readiness, preferred = _checked("w", lower_w, upper_w, weight, preferred_w)
            _, least_w, most_w, _ = reach(lower, upper, readiness, preferred, True)
            fleet = (fleet[0], fleet[1], _relative(readiness), preferred)
        if not least_w < target < most_w:
            power = (fleet[1] if target >= most_w else fleet[0]).copy()
            stays = np.flatnonzero(fleet[2] == 0.0)
            power[stays] = np.clip(np.floor(fleet[3][stays] + 0.5), fleet[0][stays], fleet[1][stays])
            return WholeAllocation(power_w=power, unmet_w=target - int(power.sum()))
    power = settle(target, *fleet, price_w=price, step_price_w=step_price)
    return WholeAllocation(power_w=power, unmet_w=0)


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
    number("duration_h", duration_h, above=0.0)
    given = (
        energy_kwh,
        energy_capacity_kwh,
        reserve_kwh,
        charge_limit_kw,
        discharge_limit_kw,
        charge_efficiency_frac,
        discharge_efficiency_frac,
    )
    energy, *others = (_plain(values) for values in given)
    lower, upper = np.empty(energy.size), np.empty(energy.size)
    alike = energy.ndim == 1 and all(one.shape == energy.shape for one in others)
    if not alike or hold_limits(energy, *others, duration_h, lower, upper):  # type: ignore[call-arg,arg-type]
        _name_unusable(*given)
    return lower, upper


def _name_unusable(
    energy: ArrayLike,
    capacity: ArrayLike,
    reserve: ArrayLike,
    charge: ArrayLike,
    discharge: ArrayLike,
    charge_frac: ArrayLike,
    discharge_frac: ArrayLike,
) -> None:
    """Raise the error that names what is wrong with the columns of `battery_limits`."""
    count = column("energy_kwh", energy, low=-HUGE, high=HUGE).size
    named = {
        "energy_capacity_kwh": capacity,
        "reserve_kwh": reserve,
        "charge_limit_kw": charge,
        "discharge_limit_kw": discharge,
    }
    for field, values in named.items():
        column(field, values, length=count, low=0.0, high=HUGE)
    column("charge_efficiency_frac", charge_frac, length=count, above=0.0, high=1.0)
    column("discharge_efficiency_frac", discharge_frac, length=count, above=0.0, high=1.0)


def _split_surely(
    target: float, lower: Floats, upper: Floats, weight: Floats, preferred: Floats
) -> Allocation:
    """Split between the prices at which everybody is at a limit, whatever the scale of the weights."""
    free = weight > 0.0
    heaviest = float(weight.max(initial=0.0)) or 1.0
    relative = _relative(weight)
    settled = np.clip(preferred, lower, upper)
    extremes = []
    for sign, limit in ((-1.0, lower), (1.0, upper)):
        power = np.where(free, limit, settled)
        extreme = sign * float(np.max(sign * (limit - preferred)[free] / relative[free], initial=-np.inf))
        extremes.append(extreme if free.any() else 0.0)
        unmet = target - float(power.sum())
        if abs(unmet) <= CLOSE_FRAC * (abs(target) + float(np.abs(power).sum())):
            return Allocation(power_kw=power, unmet_kw=0.0, shift_kw=extremes[-1] / heaviest)
        if sign * unmet > 0.0:
            return Allocation(power_kw=power, unmet_kw=unmet, shift_kw=sign * np.inf)
    power = np.empty(lower.size)
    price = fill(target, lower, upper, relative, preferred, extremes[0], extremes[1], power, True)
    return Allocation(power_kw=power, unmet_kw=0.0, shift_kw=price / heaviest)


def _relative(weight: Floats) -> Floats:
    """Return weights as shares of the largest, none so small that a price would overflow."""
    heaviest = float(weight.max(initial=0.0)) or 1.0
    return np.where(weight > 0.0, np.maximum(weight / heaviest, TINY), 0.0)


def _likely_price(
    target: float, lower: Limits, upper: Limits, weight: Floats, preferred: Floats, *, whole: bool
) -> tuple[float, float]:
    """Return the price and one that moves some devices by a watt; NaN when the sure way has to be gone."""
    count = lower.size
    if count == 0:
        return np.nan, np.nan
    size = min(count, max(_SAMPLE_SIZE // 8, min(_SAMPLE_SIZE, count // 32)))
    low, high = guess_price(target, lower, upper, weight, preferred, whole, size)
    kinked = np.empty(count + 1, dtype=np.int32)
    for turn in range(_TRIES):
        if not -np.inf < low <= high < np.inf:
            break
        bad, constant, slope, found = survey(lower, upper, weight, preferred, whole, low, high, kinked)
        if bad:
            break
        price, least, most = price_between(
            target, lower, upper, weight, preferred, low, high, kinked[:found], (constant, slope)
        )
        if np.isfinite(price):
            step_price = (_STEPS + 4.0 * (count / 12.0) ** 0.5) / slope if slope > 0.0 else 0.0
            return price, step_price
        if turn == 0:
            _, lowest, highest, _ = reach(lower, upper, weight, preferred, whole)
            if not lowest < target < highest:
                break
        # the sample was not like the fleet: look twice as far on the side where the target is
        width = 2.0 * (high - low)
        shift = (target - most if target > most else least - target) / slope if slope > 0.0 else width
        width = max(width, 2.0 * shift)
        low, high = (high, high + width) if target > most else (low - width, low)
    return np.nan, np.nan


def _floats(lower: ArrayLike, upper: ArrayLike, weight: ArrayLike, preferred: ArrayLike) -> Fleet:
    """Return the columns as they are, by type and shape; what is in them the passes check."""
    low, high, readiness, rest = (_plain(values) for values in (lower, upper, weight, preferred))
    if low.ndim != 1 or any(one.shape != low.shape for one in (high, readiness, rest)):
        _checked("kw", lower, upper, weight, preferred)
    return low, high, readiness, rest


def _whole(
    lower: ArrayLike, upper: ArrayLike, weight: ArrayLike, preferred: ArrayLike
) -> tuple[Whole, Whole, Floats, Floats]:
    low, high = (np.ascontiguousarray(values) for values in (lower, upper))
    if low.dtype != np.int64 or high.dtype != np.int64:
        low, high = whole_column("lower_w", low), whole_column("upper_w", high)
    readiness, rest = _plain(weight), _plain(preferred)
    if low.ndim != 1 or any(one.shape != low.shape for one in (high, readiness, rest)):
        _checked("w", low, high, weight, preferred)
    return low, high, readiness, rest


def _plain(values: ArrayLike) -> Floats:
    return np.ascontiguousarray(values, dtype=np.float64)


def _checked(unit: str, lower: ArrayLike, upper: ArrayLike, weight: ArrayLike, preferred: ArrayLike) -> Fleet:
    """Return usable columns, or raise the error that names what is wrong."""
    low = column(f"lower_{unit}", lower)
    high = column(f"upper_{unit}", upper, length=low.size)
    readiness = column("weight", weight, length=low.size, low=0.0)
    rest = column(f"preferred_{unit}", preferred, length=low.size)
    crossed = low > high
    if crossed.any():
        row = int(np.argmax(crossed))
        raise InvalidInputError(field=f"lower_{unit}[{row}]", value=low[row], fix=f"give at most {high[row]}")
    return low, high, readiness, rest
