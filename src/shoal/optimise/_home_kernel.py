"""Compiled kernel of a home's plan at given prices: backward over the worth of stored energy, forward along the best path.

The worth of stored energy is concave and piecewise linear: a list of slopes. One step back merges the list with that of the
interval (see `_home_stage`) and cuts both ends to the battery's capacity; what is kept of a step are the levels at which
the interval's pieces enter the list, and they are the policy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shoal.domain.kernel import kernel
from shoal.optimise import _home_room as rooms
from shoal.optimise import _home_stage as stage
from shoal.optimise._home_room import Room

Floats = NDArray[np.float64]
Holds = NDArray[np.int8]

CONVEX, CHORDS, BENT = range(3)
"""What was made convex: nothing; the grid's two directions, jointly with the peak; the battery's two, for each peak alone."""


@kernel
def relax(
    home: Floats,
    load_kwh: Floats,
    solar_kwh: Floats,
    import_per_kwh: Floats,
    export_per_kwh: Floats,
    ramp_kwh: Floats,
    ramp_per_kwh: Floats,
    direction: Holds,
    side: Holds,
    peak_kwh: float,
    car_per_kwh: float,
    room: Room,
    path: Floats,
) -> tuple[float, float, int]:
    """Fill the best path where a kWh in the car is worth `car_per_kwh`.

    `direction` and `side` hold intervals to one direction of the battery or of the grid; empty, they hold nothing.
    `ramp_per_kwh[r]` is charged for each kWh below `ramp_kwh[r]` at the end of each interval.

    Returns:
        The relaxed cost less what the car's energy is worth; the car's energy; what was made convex.
    """
    lists, worth, reach, level = room.lists, room.worth, room.reach, room.level
    pieces, counts, kinds = room.pieces, room.counts, room.kinds
    steps, held = load_kwh.shape[0], direction.shape[0] > 0
    capacity, kept, stored_frac = home[stage.CAPACITY_KWH], home[stage.KEPT_FRAC], home[stage.CHARGE_FRAC]
    charge, discharge, car_limit = home[stage.CHARGE_KWH], home[stage.DISCHARGE_KWH], home[stage.CAR_KWH]
    car_start, car_end = home[stage.CAR_START], home[stage.CAR_END]
    ends, slopes, new_ends, new_slopes = lists[0], lists[1], lists[2], lists[3]
    ends[0], slopes[0] = capacity, home[stage.TERMINAL_PER_KWH]
    first, last = 0, _ramps(ramp_kwh, ramp_per_kwh, ends, slopes, 0, 1)
    state = CONVEX
    for t in range(steps - 1, -1, -1):
        draw, give = charge, discharge
        export_most, import_most = home[stage.EXPORT_KWH], home[stage.IMPORT_KWH]
        if held:
            draw = 0.0 if direction[t] < 0 else draw
            give = 0.0 if direction[t] > 0 else give
            export_most = 0.0 if side[t] > 0 else export_most
            import_most = 0.0 if side[t] < 0 else import_most
        car = car_limit if car_start <= t < car_end else 0.0
        m, made = stage.release_slopes(
            home, load_kwh[t], solar_kwh[t], import_per_kwh[t], export_per_kwh[t], export_most, import_most, peak_kwh,
            car, car_per_kwh, draw, give, t, worth, reach, pieces, counts, kinds
        )  # fmt: skip
        state = max(state, made)
        # The pieces enter the list where their slopes belong; what lies behind moves by their length.
        moved, filled, at = -draw * stored_frac, 0, first
        before = 0.0
        for j in range(m):
            slope = worth[t, j]
            while at < last and slopes[at] >= slope:
                before = ends[at]
                new_ends[filled], new_slopes[filled] = before + moved, slopes[at]
                filled += 1
                at += 1
            level[t, j] = before
            moved += reach[t, j]
            new_ends[filled], new_slopes[filled] = before + moved, slope
            filled += 1
        while at < last:
            new_ends[filled], new_slopes[filled] = ends[at] + moved, slopes[at]
            filled += 1
            at += 1
        # Of the list, only what a battery of this capacity can hold is kept.
        room = kept * capacity
        first, last = 0, filled
        while first < last - 1 and new_ends[first] <= 0.0:
            first += 1
        while last - 1 > first and new_ends[last - 2] >= room:
            last -= 1
        new_ends[last - 1] = room
        if kept < 1.0:
            for k in range(first, last):
                new_ends[k], new_slopes[k] = new_ends[k] / kept, new_slopes[k] * kept
        if t > 0:
            last = _ramps(ramp_kwh, ramp_per_kwh, new_ends, new_slopes, first, last)
        ends, new_ends = new_ends, ends
        slopes, new_slopes = new_slopes, slopes
    stored_frac, given_frac = home[stage.CHARGE_FRAC], home[stage.DISCHARGE_FRAC]
    now, total, car_total = home[stage.INITIAL_KWH], 0.0, 0.0
    for t in range(steps):
        most = -pieces[t, stage.FULL] * stored_frac
        left, used, cost = kept * now - most, 0.0, pieces[t, stage.FULL_COST]
        for j in range(counts[t, stage.SLOPES]):
            free = left - used - level[t, j]
            if free <= 0.0:
                break
            step = min(reach[t, j], free)
            used += step
            cost -= worth[t, j] * step
            if step < reach[t, j]:
                break
        released = used + most
        after = min(max(kept * now - released, 0.0), capacity)
        drawn = -released / stored_frac if released < 0.0 else -released * given_frac
        # What the battery draws beyond the start of the pieces uses them up, the cheapest first.
        curtailed, car = solar_kwh[t], car_limit if car_start <= t < car_end else 0.0
        beyond = drawn - pieces[t, stage.START]
        for k in range(counts[t, stage.PIECES]):
            if beyond <= 0.0:
                break
            step = min(pieces[t, k], beyond)
            beyond -= step
            if kinds[t, k] == stage.SOLAR:
                curtailed -= step
            elif kinds[t, k] == stage.CAR:
                car -= step
        for r in range(ramp_kwh.shape[0]):
            cost += max(ramp_kwh[r] - after, 0.0) * ramp_per_kwh[r]
        path[rooms.RELEASED_KWH, t], path[rooms.CAR_KWH, t], path[rooms.CURTAILED_KWH, t] = (
            released,
            car,
            curtailed,
        )
        path[rooms.RELAXED, t] = cost + car_per_kwh * car
        path[rooms.NET_KWH, t] = load_kwh[t] - solar_kwh[t] + curtailed + car + drawn
        total += cost
        car_total += car
        now = after
    return total - home[stage.TERMINAL_PER_KWH] * now, car_total, state


@kernel
def _ramps(
    ramp_kwh: Floats, ramp_per_kwh: Floats, ends: Floats, slopes: Floats, first: int, last: int
) -> int:
    """Raise the worth of what lies below each level, and return the new end of the list."""
    for r in range(ramp_kwh.shape[0]):
        start, k = 0.0, first
        while k < last and start < ramp_kwh[r]:
            if ends[k] > ramp_kwh[r]:
                for j in range(last, k, -1):
                    ends[j], slopes[j] = ends[j - 1], slopes[j - 1]
                ends[k] = ramp_kwh[r]
                last += 1
            start = ends[k]
            slopes[k] += ramp_per_kwh[r]
            k += 1
    return last
