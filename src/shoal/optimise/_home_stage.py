"""Compiled kernel of one interval of a home: what the battery's energy costs there, once all else is at its best.

The cost of the net import is piecewise linear, with kinks at zero and at the site's limits. Solar that may be curtailed and
a car that may charge are further pieces of slope: 0 and what a kWh in the car is worth. All of them sorted by slope give
the cost of what the battery draws; seen from the stored energy, it is the list of what each kWh released earns.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shoal.domain.kernel import kernel

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

MOST_PIECES = 4
START, FULL, FULL_COST = range(MOST_PIECES, MOST_PIECES + 3)
"""After the lengths of the pieces: where they start; what a full charge draws, and what it costs."""
PIECE_COLUMNS = MOST_PIECES + 3
PIECES, SLOPES = range(2)
COUNT_COLUMNS = 2
MOST_SLOPES = 8
"""Pieces between the limits, two beyond them, one more for the sign of the battery's power; and one to spare."""
GRID, SOLAR, CAR = 0, 1, 2

# Columns of a home's numbers; energies are those of one interval.
CHARGE_KWH, DISCHARGE_KWH, CHARGE_FRAC, DISCHARGE_FRAC, CAPACITY_KWH, INITIAL_KWH = range(6)
WEAR_PER_KWH, TERMINAL_PER_KWH, KEPT_FRAC = range(6, 9)
IMPORT_KWH, EXPORT_KWH, CAR_KWH, CAR_START, CAR_END, CAR_ENERGY_KWH = range(9, 15)
DEMAND_PER_KWH, DEMAND_KWH, SHORT_PER_KWH, BREAK_PER_KWH = range(15, 19)
HOME_COLUMNS = 19


@kernel
def release_slopes(
    home: Floats,
    load_kwh: float,
    solar_kwh: float,
    import_per_kwh: float,
    export_per_kwh: float,
    export_most_kwh: float,
    import_most_kwh: float,
    peak_kwh: float,
    car_kwh: float,
    car_per_kwh: float,
    draw_kwh: float,
    give_kwh: float,
    at: int,
    worth: Floats,
    reach: Floats,
    pieces: Floats,
    counts: Whole,
    kinds: Whole,
) -> tuple[int, int]:
    """Fill row `at`: what each kWh released earns, falling, from a full charge on; return how many, what was made convex.

    `pieces` and `kinds` keep the pieces of the cost over what the battery draws, rising. They start where all solar is
    curtailed, the car charges at its limit and the export is at its limit. `peak_kwh` is a further limit of the import; a
    chord over both directions of the grid does not know it, so that the cost stays convex in it.
    """
    export_most = min(export_most_kwh, max(solar_kwh + give_kwh - load_kwh, 0.0))
    import_most = min(import_most_kwh, max(load_kwh + car_kwh + draw_kwh, 0.0))
    import_now, count, state = min(import_most, peak_kwh), 0, 0
    s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
    if export_per_kwh > import_per_kwh and export_most > 0.0 and import_most > 0.0:
        s0 = (export_per_kwh * export_most + import_per_kwh * import_most) / (export_most + import_most)
        pieces[at, 0], kinds[at, 0] = export_most + import_now, GRID
        count, state = 1, 1
    else:
        if export_most > 0.0:
            s0, pieces[at, 0], kinds[at, 0] = export_per_kwh, export_most, GRID
            count = 1
        if import_now > 0.0:
            if count == 0:
                s0 = import_per_kwh
            else:
                s1 = import_per_kwh
            pieces[at, count], kinds[at, count] = import_now, GRID
            count += 1
    for kind in (SOLAR, CAR):
        length, slope = (solar_kwh, 0.0) if kind == SOLAR else (car_kwh, car_per_kwh)
        if length <= 0.0:
            continue
        k = count
        if k > 2 and s2 > slope:
            s3, pieces[at, 3], kinds[at, 3] = s2, pieces[at, 2], kinds[at, 2]
            k = 2
        if k == 2 and s1 > slope:
            s2, pieces[at, 2], kinds[at, 2] = s1, pieces[at, 1], kinds[at, 1]
            k = 1
        if k == 1 and s0 > slope:
            s1, pieces[at, 1], kinds[at, 1] = s0, pieces[at, 0], kinds[at, 0]
            k = 0
        pieces[at, k], kinds[at, k] = length, kind
        if k == 0:
            s0 = slope
        elif k == 1:
            s1 = slope
        elif k == 2:
            s2 = slope
        else:
            s3 = slope
        count += 1
    start = -export_most - load_kwh - car_kwh
    cost = -export_per_kwh * export_most - car_per_kwh * car_kwh
    # The cost of a full charge.
    lowest, highest = export_per_kwh - home[BREAK_PER_KWH], import_per_kwh + home[BREAK_PER_KWH]
    end, place = start, start
    for k in range(count):
        slope = s0 if k == 0 else (s1 if k == 1 else (s2 if k == 2 else s3))
        end += pieces[at, k]
        step = min(end, draw_kwh) - place
        if step > 0.0:
            cost += slope * step
            place += step
    cost += highest * (draw_kwh - place) if draw_kwh > place else lowest * (draw_kwh - place)
    # Down from a full charge to a full discharge.
    charge_frac, discharge_frac, wear = home[CHARGE_FRAC], home[DISCHARGE_FRAC], home[WEAR_PER_KWH]
    high, filled = draw_kwh, 0
    for k in range(count, -2, -1):
        if k == count:
            slope = highest
        elif k < 0:
            slope, end = lowest, -give_kwh
        else:
            slope = s0 if k == 0 else (s1 if k == 1 else (s2 if k == 2 else s3))
            end -= pieces[at, k]
        low = max(start if k == 0 else end, -give_kwh)
        if low >= high:
            continue
        if high > 0.0:
            middle = max(low, 0.0)
            value, length = slope / charge_frac, (high - middle) * charge_frac
            high = middle
        else:
            value, length = (slope - wear) * discharge_frac, (high - low) / discharge_frac
            high = low
        while True:
            while filled > 0 and value > worth[at, filled - 1]:
                state = 2  # the slopes would rise: the chord of the pieces concerned
                total = length + reach[at, filled - 1]
                value = (value * length + worth[at, filled - 1] * reach[at, filled - 1]) / total
                length = total
                filled -= 1
            worth[at, filled], reach[at, filled] = value, length
            filled += 1
            if high <= low:
                break
            value, length = (slope - wear) * discharge_frac, (high - low) / discharge_frac
            high = low
        if high <= -give_kwh:
            break
    pieces[at, START], pieces[at, FULL], pieces[at, FULL_COST] = start, draw_kwh, cost
    counts[at, PIECES], counts[at, SLOPES] = count, filled
    return filled, state


@kernel
def bill(
    home: Floats,
    net_kwh: float,
    drawn_kwh: float,
    import_per_kwh: float,
    export_per_kwh: float,
    peak_kwh: float,
) -> float:
    """Return what an interval truly costs: energy, wear, and what breaking a limit is charged."""
    cost = net_kwh * (import_per_kwh if net_kwh > 0.0 else export_per_kwh)
    cost += home[WEAR_PER_KWH] * max(-drawn_kwh, 0.0)
    most = min(home[IMPORT_KWH], peak_kwh)
    if net_kwh > most:
        cost += home[BREAK_PER_KWH] * (net_kwh - most)
    elif net_kwh < -home[EXPORT_KWH]:
        cost += home[BREAK_PER_KWH] * (-home[EXPORT_KWH] - net_kwh)
    return float(cost)


@kernel
def best_curtailment(
    home: Floats,
    raw_kwh: float,
    solar_kwh: float,
    import_per_kwh: float,
    export_per_kwh: float,
    peak_kwh: float,
) -> float:
    """Return the solar to curtail where the net import without curtailment would be `raw_kwh`."""
    best, chosen = np.inf, 0.0
    most = min(home[IMPORT_KWH], peak_kwh)
    for k in range(5):
        # The cost is piecewise linear: its least is at a kink or at an end.
        if k == 0:
            cut = 0.0
        elif k == 1:
            cut = -raw_kwh
        elif k == 2:
            cut = -home[EXPORT_KWH] - raw_kwh
        elif k == 3:
            cut = most - raw_kwh
        else:
            cut = solar_kwh
        cut = min(max(cut, 0.0), solar_kwh)
        cost = bill(home, raw_kwh + cut, 0.0, import_per_kwh, export_per_kwh, peak_kwh)
        if cost < best:
            best, chosen = cost, cut
    return chosen
