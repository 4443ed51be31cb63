"""Compiled kernel of a home's plan at given prices where nothing bends: no ramp, no hold, no export price above the import price.

The slopes of an interval's cost are independent of all other intervals, and worked out for all at once. Stored energy goes to
whatever earns most: backward in time, a list sorted by worth holds what competes for it. What even an empty battery gives is
settled and leaves at the front, what even a full one does not give leaves at the back; what leaves at the front is the plan.
Lists are in energy at the plan's start: what stands at the end of an interval is divided by what a kWh has become until then.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shoal.domain.kernel import kernel
from shoal.optimise import _home_room as rooms
from shoal.optimise import _home_stage as stage
from shoal.optimise._home_room import Room

Floats = NDArray[np.float64]

_LEAST_KWH = 1e-13
"""Shorter pieces are rounding."""


@kernel
def is_plain(load_kwh: Floats, import_per_kwh: Floats, export_per_kwh: Floats) -> bool:
    """Return whether `stages` may be tried: loads that are no generation, and no export price above the import price."""
    bent = 0
    for t in range(load_kwh.shape[0]):
        bent += (load_kwh[t] < 0.0) | (export_per_kwh[t] > import_per_kwh[t])
    return bent == 0


@kernel
def stages(
    home: Floats,
    load_kwh: Floats,
    solar_kwh: Floats,
    import_per_kwh: Floats,
    export_per_kwh: Floats,
    peak_kwh: float,
    car_per_kwh: float,
    first_step: int,
    end_step: int,
    room: Room,
) -> bool:
    """Fill what each kWh released earns, falling, from `first_step` to before `end_step`; return whether nothing bends.

    Pieces are as of `_home_stage.release_slopes`. A price so low that wasting energy would pay bends.
    """
    edges = room.edges
    give, draw = home[stage.DISCHARGE_KWH], home[stage.CHARGE_KWH]
    export_limit, import_limit = home[stage.EXPORT_KWH], min(home[stage.IMPORT_KWH], peak_kwh)
    car_limit, car_start, car_end = home[stage.CAR_KWH], home[stage.CAR_START], home[stage.CAR_END]
    for t in range(first_step, end_step):
        load, solar, buying, selling = load_kwh[t], solar_kwh[t], import_per_kwh[t], export_per_kwh[t]
        car = car_limit if car_start <= t < car_end else 0.0
        sold = min(export_limit, max(solar + give - load, 0.0))
        bought = min(import_limit, max(load + car + draw, 0.0))
        # Slopes and lengths of export, curtailment, import and car, by slope.
        swap = selling < 0.0
        slope_1, length_1 = (selling, sold) if swap else (0.0, solar)
        slope_2, length_2 = (0.0, solar) if swap else (selling, sold)
        swap = buying < slope_2
        slope_3, length_3 = (slope_2, length_2) if swap else (buying, bought)
        slope_2, length_2 = (buying, bought) if swap else (slope_2, length_2)
        swap = car_per_kwh < slope_1
        edges[5, t], reach_1 = (car_per_kwh, car) if swap else (slope_1, length_1)
        slope_1, length_1 = (slope_1, length_1) if swap else (car_per_kwh, car)
        swap = slope_1 < slope_2
        edges[6, t], reach_2 = (slope_1, length_1) if swap else (slope_2, length_2)
        slope_2, length_2 = (slope_2, length_2) if swap else (slope_1, length_1)
        swap = slope_2 < slope_3
        edges[7, t], reach_3 = (slope_2, length_2) if swap else (slope_3, length_3)
        edges[8, t], reach_4 = (slope_3, length_3) if swap else (slope_2, length_2)
        start = -sold - load - car
        edges[0, t] = start
        edges[1, t] = start + reach_1
        edges[2, t] = start + reach_1 + reach_2
        edges[3, t] = start + reach_1 + reach_2 + reach_3
        edges[4, t] = start + reach_1 + reach_2 + reach_3 + reach_4
    return _cut(home, import_per_kwh, export_per_kwh, first_step, end_step, room)


@kernel
def _cut(
    home: Floats, import_per_kwh: Floats, export_per_kwh: Floats, first_step: int, end_step: int, room: Room
) -> bool:
    """Cut the pieces to what the battery can do, and at zero; keep those that are left, from a full charge on."""
    edges, worth, reach = room.edges, room.plain_worth, room.plain_reach
    give, draw, wear = home[stage.DISCHARGE_KWH], home[stage.CHARGE_KWH], home[stage.WEAR_PER_KWH]
    stored_frac, given_frac = home[stage.CHARGE_FRAC], home[stage.DISCHARGE_FRAC]
    per_stored, per_given = 1.0 / stored_frac, 1.0 / given_frac
    plain = True
    for t in range(first_step, end_step):
        highest, lowest = (
            import_per_kwh[t] + home[stage.BREAK_PER_KWH],
            export_per_kwh[t] - home[stage.BREAK_PER_KWH],
        )
        filled, above = 0, draw
        for k in range(4, -1, -1):
            below = max(min(edges[k, t], draw), 0.0)
            length = above - below
            worth[t, filled] = (highest if k == 4 else edges[5 + k, t]) * per_stored
            reach[t, filled] = length * stored_frac
            filled += length > _LEAST_KWH
            above = below
        middle, above = filled, 0.0
        for k in range(4, -2, -1):
            below = min(max(edges[k, t], -give), 0.0) if k >= 0 else -give
            length = above - below
            slope = highest if k == 4 else (edges[5 + k, t] if k >= 0 else lowest)
            worth[t, filled] = (slope - wear) * given_frac
            reach[t, filled] = length * per_given
            filled += length > _LEAST_KWH
            above = below
        room.plain_counts[t] = filled
        plain &= middle == 0 or middle == filled or worth[t, middle] <= worth[t, middle - 1]
    return plain


@kernel
def relax(
    home: Floats,
    load_kwh: Floats,
    solar_kwh: Floats,
    import_per_kwh: Floats,
    export_per_kwh: Floats,
    peak_kwh: float,
    car_per_kwh: float,
    room: Room,
    path: Floats,
) -> tuple[float, float]:
    """Fill the best path from `stages`; return its cost less what the car's energy is worth, and the car's energy."""
    worth, reach, used = room.plain_worth, room.plain_reach, room.used_kwh
    slopes, lengths, rows = room.slope_per_kwh, room.length_kwh, room.row
    steps, kept, capacity = load_kwh.shape[0], home[stage.KEPT_FRAC], home[stage.CAPACITY_KWH]
    charged = home[stage.CHARGE_KWH] * home[stage.CHARGE_FRAC]
    used[:] = 0.0
    become, per_become = kept**steps, kept**-steps
    first = slopes.shape[0] // 2
    last = first + 1
    total = capacity * per_become
    slopes[first], lengths[first], rows[first] = home[stage.TERMINAL_PER_KWH] * become, total, steps
    for t in range(steps - 1, -1, -1):
        # Pieces `at` to before `end` of this interval are open; the first and the last of them may be cut.
        at, end = 0, room.plain_counts[t]
        need = charged * per_become
        total -= need
        for j in range(end):
            total += reach[t, j] * per_become
        mine = 0.0
        front = reach[t, 0] * per_become if end > 0 else 0.0
        front_worth = worth[t, 0] * become if end > 0 else -np.inf
        while need > 0.0:
            if last > first and not front_worth > slopes[first]:
                length, row = lengths[first], rows[first]
                if length <= need:
                    used[row] += length
                    need -= length
                    first += 1
                else:
                    used[row] += need
                    lengths[first] = length - need
                    need = 0.0
            elif at < end:
                if front <= need:
                    mine += front
                    need -= front
                    at += 1
                    front = reach[t, at] * per_become if at < end else 0.0
                    front_worth = worth[t, at] * become if at < end else -np.inf
                else:
                    mine += need
                    front -= need
                    need = 0.0
            else:
                break
        used[t] += mine
        # Before this interval, no more can be stored than the battery holds.
        most = capacity * per_become * kept
        need = max(total - most, 0.0)
        total = min(total, most)
        back = 0.0
        back_worth = np.inf
        if at < end:
            back = front if at == end - 1 else reach[t, end - 1] * per_become
            back_worth = worth[t, end - 1] * become
        while need > 0.0:
            if last > first and slopes[last - 1] < back_worth:
                length = lengths[last - 1]
                if length <= need:
                    need -= length
                    last -= 1
                else:
                    lengths[last - 1] = length - need
                    need = 0.0
            elif at < end:
                if back <= need:
                    need -= back
                    end -= 1
                    back, back_worth = 0.0, np.inf
                    if at < end:
                        back = front if at == end - 1 else reach[t, end - 1] * per_become
                        back_worth = worth[t, end - 1] * become
                else:
                    back -= need
                    need = 0.0
            else:
                break
        for j in range(at, end):
            value = worth[t, j] * become
            length = back if j == end - 1 else (front if j == at else reach[t, j] * per_become)
            if last > first and value > slopes[(first + last) // 2]:
                # Nearer to the front: what earns at least as much moves on.
                first -= 1
                k = first
                while slopes[k + 1] >= value:
                    slopes[k], lengths[k], rows[k] = slopes[k + 1], lengths[k + 1], rows[k + 1]
                    k += 1
            else:
                k = last
                last += 1
                while k > first and slopes[k - 1] < value:
                    slopes[k], lengths[k], rows[k] = slopes[k - 1], lengths[k - 1], rows[k - 1]
                    k -= 1
            slopes[k], lengths[k], rows[k] = value, length, t
        become, per_become = become / kept, per_become * kept
    need = home[stage.INITIAL_KWH]
    while first < last and need > 0.0:
        length = min(lengths[first], need)
        used[rows[first]] += length
        need -= length
        first += 1
    return _follow(
        home, load_kwh, solar_kwh, import_per_kwh, export_per_kwh, peak_kwh, car_per_kwh, used, path
    )


@kernel
def _follow(
    home: Floats,
    load_kwh: Floats,
    solar_kwh: Floats,
    import_per_kwh: Floats,
    export_per_kwh: Floats,
    peak_kwh: float,
    car_per_kwh: float,
    used_kwh: Floats,
    path: Floats,
) -> tuple[float, float]:
    """Fill a path by what each interval uses of stored energy beyond a full charge, in energy at the plan's start."""
    steps, kept = load_kwh.shape[0], home[stage.KEPT_FRAC]
    give, draw, wear = home[stage.DISCHARGE_KWH], home[stage.CHARGE_KWH], home[stage.WEAR_PER_KWH]
    given_frac, charged = home[stage.DISCHARGE_FRAC], draw * home[stage.CHARGE_FRAC]
    per_stored, penalty = 1.0 / home[stage.CHARGE_FRAC], home[stage.BREAK_PER_KWH]
    export_limit, import_limit = home[stage.EXPORT_KWH], min(home[stage.IMPORT_KWH], peak_kwh)
    car_limit, car_start, car_end = home[stage.CAR_KWH], home[stage.CAR_START], home[stage.CAR_END]
    total, car_total, become = 0.0, 0.0, 1.0
    for t in range(steps):
        become *= kept
        released = used_kwh[t] * become - charged
        drawn = -released * per_stored if released < 0.0 else -released * given_frac
        load, solar, buying, selling = load_kwh[t], solar_kwh[t], import_per_kwh[t], export_per_kwh[t]
        most = car_limit if car_start <= t < car_end else 0.0
        sold = min(export_limit, max(solar + give - load, 0.0))
        bought = min(import_limit, max(load + most + draw, 0.0))
        # What the battery draws beyond the start of the pieces uses them up, the cheapest first.
        beyond = drawn + sold + load + most
        before_solar = (sold if selling < 0.0 else 0.0) + (bought if buying < 0.0 else 0.0)
        before_solar += most if car_per_kwh < 0.0 else 0.0
        before_car = (sold if selling <= car_per_kwh else 0.0) + (bought if buying <= car_per_kwh else 0.0)
        before_car += solar if car_per_kwh >= 0.0 else 0.0
        curtailed = solar - min(max(beyond - before_solar, 0.0), solar)
        car = most - min(max(beyond - before_car, 0.0), most)
        net = load - solar + curtailed + car + drawn
        cost = net * (buying if net > 0.0 else selling) + wear * max(-drawn, 0.0)
        cost += penalty * (max(net - import_limit, 0.0) + max(-export_limit - net, 0.0))
        path[rooms.RELEASED_KWH, t], path[rooms.CAR_KWH, t], path[rooms.RELAXED, t] = released, car, cost
        path[rooms.NET_KWH, t], path[rooms.CURTAILED_KWH, t] = net, curtailed
        total += cost - car_per_kwh * car
        car_total += car
    return total - home[stage.TERMINAL_PER_KWH] * used_kwh[steps] * become, car_total
