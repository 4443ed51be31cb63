"""Compiled kernel of a home's whole plan: the car's energy and the demand charge around the plan at given prices.

What a kWh in the car is worth is one number; the cost as a function of it is concave, and two tangents that meet there give
the optimum as a mixture of their two plans. The highest import is one number too, and the cost is convex in it. Both
searches keep a bound, so that every plan comes with what no plan can go below.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shoal.domain.kernel import kernel
from shoal.optimise import _home_kernel as at_prices
from shoal.optimise import _home_plain as plain
from shoal.optimise import _home_room as rooms
from shoal.optimise import _home_stage as stage
from shoal.optimise._home_room import Room

Floats = NDArray[np.float64]
Holds = NDArray[np.int8]

CAR_PER_KWH, CAR_STEP = range(2)
"""What a search remembers of a car: the worth of its energy, and the first step of the next search away from that."""
CAR_COLUMNS = 2
_MOST_PEAKS = 60
_MOST_TANGENTS = 80


def cars_of(count: int, worth_per_kwh: float) -> Floats:
    """Return what a first search of so many homes begins with: what a kWh in the car may be worth."""
    cars = np.zeros((count, CAR_COLUMNS))
    cars[:, CAR_PER_KWH], cars[:, CAR_STEP] = worth_per_kwh, np.inf
    return cars


@kernel
def optimum(
    home: Floats,
    load_kwh: Floats,
    solar_kwh: Floats,
    import_per_kwh: Floats,
    export_per_kwh: Floats,
    ramp_kwh: Floats,
    ramp_per_kwh: Floats,
    direction: Holds,
    side: Holds,
    car: Floats,
    gap_amount: float,
    room: Room,
) -> tuple[float, float, int]:
    """Leave the best path in ``room.paths[BEST]``; return its cost, a bound, and what was made convex.

    `car` is what the last search remembers and the next begins with; the searches end `gap_amount` of money above their
    bounds. Where something was made convex, the cost may be above the bound; `EXCESS` of the path says where.
    """
    paths = room.paths
    charge, known = home[stage.DEMAND_PER_KWH], home[stage.DEMAND_KWH]
    # A bound from secants magnifies what their points are off.
    inner_gap = gap_amount if charge <= 0.0 else 1e-3 * gap_amount
    is_plain = ramp_kwh.shape[0] == 0 and direction.shape[0] == 0
    is_plain = is_plain and plain.is_plain(load_kwh, import_per_kwh, export_per_kwh)
    bound, cost, state = _at_peak(
        home, load_kwh, solar_kwh, import_per_kwh, export_per_kwh, ramp_kwh, ramp_per_kwh, direction, side, is_plain,
        np.inf, car, inner_gap, rooms.BEST, room
    )  # fmt: skip
    if charge <= 0.0:
        return cost, bound, state
    peak = paths[rooms.BEST][rooms.NET_KWH].max()
    if peak <= known:
        return cost, bound, state
    best = cost + charge * (peak - known)
    if state != at_prices.CONVEX:
        # What was relaxed may import more than the path: begin where no limit of the import can matter.
        peak = max((load_kwh + home[stage.CAR_KWH] + home[stage.CHARGE_KWH]).max(), peak)
    # The highest imports tried, rising, and the bound at each.
    peaks, bounds = np.empty(_MOST_PEAKS + 3), np.empty(_MOST_PEAKS + 3)
    peaks[0], bounds[0], size = peak, bound + charge * (peak - known), 1
    trial, least = known, -np.inf
    for _ in range(_MOST_PEAKS):
        bound, cost, warned = _at_peak(
            home, load_kwh, solar_kwh, import_per_kwh, export_per_kwh, ramp_kwh, ramp_per_kwh, direction, side, is_plain,
            trial, car, inner_gap, rooms.TRIAL, room
        )  # fmt: skip
        state = max(state, warned)
        highest = max(paths[rooms.TRIAL][rooms.NET_KWH].max(), known)
        cost += charge * (highest - known)
        if cost < best:
            best = cost
            paths[rooms.BEST] = paths[rooms.TRIAL]
        at = size
        while at > 0 and peaks[at - 1] > trial:
            peaks[at], bounds[at] = peaks[at - 1], bounds[at - 1]
            at -= 1
        peaks[at], bounds[at] = trial, bound + charge * (trial - known)
        size += 1
        least, trial = _next_peak(peaks, bounds, size, charge)
        if (
            min(best, bounds[:size].min()) - least <= gap_amount
            or (trial - peaks[0]) * (peaks[size - 1] - trial) <= 0.0
        ):
            break
    if state == at_prices.BENT:
        # Not proven convex in the peak; but what the plan costs without the charge only falls with it.
        least = bounds[0]
        for k in range(1, size):
            least = min(least, bounds[k] - charge * (peaks[k] - peaks[k - 1]))
    return best, min(least, best), state


@kernel
def _next_peak(peaks: Floats, bounds: Floats, size: int, charge_per_kwh: float) -> tuple[float, float]:
    """Return what a convex function through these points cannot go below, and where it might be there."""
    least, trial = np.inf, peaks[0]
    at = 0
    for k in range(1, size):
        at = k if bounds[k] < bounds[at] else at
    for k in (at - 1, at):
        if k < 0 or k + 1 >= size:
            continue
        low, high = peaks[k], peaks[k + 1]
        right = charge_per_kwh
        if k + 2 < size:
            right = (bounds[k + 2] - bounds[k + 1]) / (peaks[k + 2] - high)
        inner = (bounds[k + 1] - bounds[k]) / (high - low)
        if k > 0:
            left = (bounds[k] - bounds[k - 1]) / (low - peaks[k - 1])
            if right - inner <= 0.0 or inner - left <= 0.0:  # linear up to rounding: no less than at its ends
                value, where = min(bounds[k], bounds[k + 1]), 0.5 * (low + high)
            else:
                where = (bounds[k + 1] - right * high - bounds[k] + left * low) / (left - right)
                value = bounds[k] + left * (where - low)
        else:
            value, where = bounds[k + 1] - max(right, 0.0) * (high - low), 0.5 * (low + high)
        where = min(max(where, low + 1e-3 * (high - low)), high - 1e-3 * (high - low))
        value = min(value, bounds[k], bounds[k + 1])
        if value < least:
            least, trial = value, where
    return min(least, bounds[at]), trial


@kernel
def _at_peak(
    home: Floats,
    load_kwh: Floats,
    solar_kwh: Floats,
    import_per_kwh: Floats,
    export_per_kwh: Floats,
    ramp_kwh: Floats,
    ramp_per_kwh: Floats,
    direction: Holds,
    side: Holds,
    is_plain: bool,
    peak_kwh: float,
    car: Floats,
    gap_amount: float,
    target: int,
    room: Room,
) -> tuple[float, float, int]:
    """Leave the best path below a peak in ``room.paths[target]``; return a bound, its cost, what was made convex.

    The bound counts a break of the peak; the true cost does not.
    """
    paths, steps = room.paths, load_kwh.shape[0]
    wanted, most = home[stage.CAR_ENERGY_KWH], home[stage.SHORT_PER_KWH]
    has_car = home[stage.CAR_KWH] > 0.0 and wanted > 0.0
    value = -most
    if has_car:
        value = min(max(car[CAR_PER_KWH], -most), most)
    guess = value
    state, bound = at_prices.CONVEX, -np.inf
    least_step, most_step = 1e-7 * abs(value) + 1e-12, 0.02 * abs(value) + 1e-4 * most
    step = min(max(car[CAR_STEP], least_step), most_step) if has_car else 0.0
    low_value, low_cost, low_short, high_value, high_cost, high_short = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    # Three slots take turns: the plans of the two tangents, and the next one.
    low, high, trial = -1, -1, rooms.TRIAL if has_car else target
    slot, share, met = trial, 1.0, False
    cost, taken, warned = 0.0, 0.0, at_prices.CONVEX
    staged_from, staged_to = 0, steps
    for _ in range(_MOST_TANGENTS):
        if is_plain:
            is_plain = plain.stages(
                home, load_kwh, solar_kwh, import_per_kwh, export_per_kwh, peak_kwh, value, staged_from, staged_to, room
            )  # fmt: skip
            # What a kWh in the car is worth changes nothing where it cannot charge.
            staged_from, staged_to = int(home[stage.CAR_START]), int(home[stage.CAR_END])
        if is_plain:
            cost, taken = plain.relax(
                home, load_kwh, solar_kwh, import_per_kwh, export_per_kwh, peak_kwh, value, room, paths[trial]
            )
        else:
            cost, taken, warned = at_prices.relax(
                home, load_kwh, solar_kwh, import_per_kwh, export_per_kwh, ramp_kwh, ramp_per_kwh, direction, side,
                peak_kwh, value, room, paths[trial]
            )  # fmt: skip
        state = max(state, warned)
        slot, share = trial, 1.0
        if not has_car:
            bound, met = cost, True
            break
        cost += value * wanted
        short = wanted - taken
        bound = max(bound, cost)
        if abs(short) <= 1e-9 * wanted or (short > 0.0 and value >= most) or (short < 0.0 and value <= -most):
            met = True
            break
        if low >= 0 and high >= 0 and low_cost + low_short * (value - low_value) - bound <= gap_amount:
            slot, share = low, high_short / (high_short - low_short)
            break
        if short > 0.0:
            low, trial = trial, low
            low_value, low_cost, low_short = value, cost, short
        else:
            high, trial = trial, high
            high_value, high_cost, high_short = value, cost, short
        if trial < 0:
            trial = 3 - low - high if low >= 0 and high >= 0 else (slot + 1) % 3
        if low < 0:
            value, step = max(value - step, -most), 6.0 * step
        elif high < 0:
            value, step = min(value + step, most), 6.0 * step
        else:
            slot, share = low, high_short / (high_short - low_short)
            value = (high_cost - high_short * high_value - low_cost + low_short * low_value) / (
                low_short - high_short
            )
            if low_cost + low_short * (value - low_value) - bound <= gap_amount:
                break
    if has_car:
        away = abs(value - guess)
        # Most cars stay at the same kink: a step just across it then ends the search.
        car[CAR_PER_KWH], car[CAR_STEP] = value, max(2.0 * away, 0.1 * min(car[CAR_STEP], most_step))
    if met and target == rooms.BEST and state == at_prices.CONVEX:
        # Nothing to mix and nothing made convex: what was relaxed is true.
        if slot != target:
            paths[target] = paths[slot]
        return bound, cost, state
    cost = _finish(
        home, load_kwh, solar_kwh, import_per_kwh, export_per_kwh, ramp_kwh, ramp_per_kwh, peak_kwh, paths[slot],
        paths[max(high, 0)], share, state, paths[target]
    )  # fmt: skip
    return bound, cost, state


@kernel
def _finish(
    home: Floats,
    load_kwh: Floats,
    solar_kwh: Floats,
    import_per_kwh: Floats,
    export_per_kwh: Floats,
    ramp_kwh: Floats,
    ramp_per_kwh: Floats,
    peak_kwh: float,
    first: Floats,
    second: Floats,
    share: float,
    state: int,
    path: Floats,
) -> float:
    """Mix two paths by their stored energy and the car's, and return the true cost; what is left of the car's is charged."""
    charge_frac, discharge_frac = home[stage.CHARGE_FRAC], home[stage.DISCHARGE_FRAC]
    now, total, car_total = home[stage.INITIAL_KWH], 0.0, 0.0
    other = 1.0 - share
    for t in range(load_kwh.shape[0]):
        released, car, relaxed = (
            first[rooms.RELEASED_KWH, t],
            first[rooms.CAR_KWH, t],
            first[rooms.RELAXED, t],
        )
        curtailed = first[rooms.CURTAILED_KWH, t]
        if share < 1.0:
            released = share * released + other * second[rooms.RELEASED_KWH, t]
            car = share * car + other * second[rooms.CAR_KWH, t]
            relaxed = share * relaxed + other * second[rooms.RELAXED, t]
        drawn = -released / charge_frac if released < 0.0 else -released * discharge_frac
        raw = load_kwh[t] - solar_kwh[t] + car + drawn
        if share < 1.0 or state != at_prices.CONVEX:
            curtailed = stage.best_curtailment(
                home, raw, solar_kwh[t], import_per_kwh[t], export_per_kwh[t], peak_kwh
            )
        net = raw + curtailed
        cost = stage.bill(home, net, drawn, import_per_kwh[t], export_per_kwh[t], np.inf)
        now = min(max(home[stage.KEPT_FRAC] * now - released, 0.0), home[stage.CAPACITY_KWH])
        for r in range(ramp_kwh.shape[0]):
            cost += max(ramp_kwh[r] - now, 0.0) * ramp_per_kwh[r]
        path[rooms.RELEASED_KWH, t], path[rooms.CAR_KWH, t] = released, car
        path[rooms.RELAXED, t], path[rooms.NET_KWH, t] = relaxed, net
        path[rooms.CURTAILED_KWH, t], path[rooms.EXCESS, t] = curtailed, cost - relaxed
        total += cost
        car_total += car
    if home[stage.CAR_KWH] > 0.0:
        total += home[stage.SHORT_PER_KWH] * max(home[stage.CAR_ENERGY_KWH] - car_total, 0.0)
    return float(total - home[stage.TERMINAL_PER_KWH] * now)
