"""Compiled kernel of very many homes: one call answers prices for a run of homes and sums them by group.

A home may answer one row of prices, chosen for it, or the mean of several plans: a mixture of plans by their stored energy and
the car's is again a plan, and costs no more than the mean of theirs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shoal.domain.kernel import kernel
from shoal.optimise import _home_optimum as whole
from shoal.optimise import _home_room as rooms
from shoal.optimise import _home_stage as stage

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

LOAD_ROW, SOLAR_ROW, TARIFF_ROW, GROUP_ROW, FEEDER_ROW = range(5)
ROW_COLUMNS = 5
LOAD_SCALE, SOLAR_SCALE, GAP = range(3)
SCALE_COLUMNS = 3
COST, BOUND, PENALTY = range(3)
SUM_COLUMNS = 3
"""Own cost without the fleet's price; no plan at these prices costs less with it; what broken wishes were charged."""
BATTERY_KWH, CAR_KWH, SOLAR_KWH, NET_KWH = range(4)
PLAN_COLUMNS = 4


@kernel
def answer_rows(
    homes: Floats,
    rows: Whole,
    scales: Floats,
    load_kwh: Floats,
    solar_kwh: Floats,
    import_per_kwh: Floats,
    export_per_kwh: Floats,
    prices_per_kwh: Floats,
    weights: Floats,
    quantiles: Floats,
    average: bool,
    cars: Floats,
    energy_kwh: Floats,
    sums: Floats,
    plans_kwh: Floats,
) -> None:
    """Add every home's answer to its group's `energy_kwh` and `sums`; fill its plan if there is room in `plans_kwh`.

    Prices have the shape (R, F, T), `weights` (G, R): the share of each row of prices in a group. Each home takes the row
    in which its quantile falls or, if `average`, the mean of its plans. `cars` is what each home's last search
    ended at, and where the next begins.
    """
    steps, choices = load_kwh.shape[1], prices_per_kwh.shape[0]
    room = rooms.room_for(steps, 0)
    paths = room.paths
    mean = np.empty((rooms.PATH_ROWS, steps))
    load, solar, buying, selling = np.empty(steps), np.empty(steps), np.empty(steps), np.empty(steps)
    none, free = np.empty(0), np.empty(0, np.int8)
    for i in range(homes.shape[0]):
        group, feeder, tariff = rows[i, GROUP_ROW], rows[i, FEEDER_ROW], rows[i, TARIFF_ROW]
        for t in range(steps):
            load[t] = load_kwh[rows[i, LOAD_ROW], t] * scales[i, LOAD_SCALE]
            solar[t] = solar_kwh[rows[i, SOLAR_ROW], t] * scales[i, SOLAR_SCALE]
        taken, mean[:] = -1, 0.0
        passed = 0.0
        for r in range(choices):
            passed += weights[group, r]
            if average:
                if weights[group, r] <= 0.0:
                    continue
            elif quantiles[i] >= passed and r < choices - 1:
                continue
            for t in range(steps):
                buying[t] = import_per_kwh[tariff, t] + prices_per_kwh[r, feeder, t]
                selling[t] = export_per_kwh[tariff, t] + prices_per_kwh[r, feeder, t]
            _, bound, _ = whole.optimum(
                homes[i], load, solar, buying, selling, none, none, free, free, cars[i], scales[i, GAP], room
            )
            if not average:
                taken = r
                break
            for row in (rooms.RELEASED_KWH, rooms.CAR_KWH, rooms.CURTAILED_KWH):
                for t in range(steps):
                    mean[row, t] += weights[group, r] * paths[rooms.BEST, row, t]
        path = mean if average else paths[rooms.BEST]
        own, penalty, priced = _own_cost(
            homes[i], load, solar, import_per_kwh[tariff], export_per_kwh[tariff], prices_per_kwh[max(taken, 0), feeder], path
        )  # fmt: skip
        sums[group, COST] += own
        sums[group, PENALTY] += penalty
        if not average:
            sums[group, BOUND] += min(bound, own + priced)
        for t in range(steps):
            energy_kwh[group, t] += path[rooms.NET_KWH, t]
        if plans_kwh.shape[0] > i:
            for t in range(steps):
                released = path[rooms.RELEASED_KWH, t]
                frac = 1.0 / homes[i, stage.CHARGE_FRAC] if released < 0.0 else homes[i, stage.DISCHARGE_FRAC]
                plans_kwh[i, BATTERY_KWH, t] = -released * frac
                plans_kwh[i, CAR_KWH, t] = path[rooms.CAR_KWH, t]
                plans_kwh[i, SOLAR_KWH, t] = path[rooms.CURTAILED_KWH, t] - solar[t]
                plans_kwh[i, NET_KWH, t] = path[rooms.NET_KWH, t]


@kernel
def _own_cost(
    home: Floats,
    load_kwh: Floats,
    solar_kwh: Floats,
    import_per_kwh: Floats,
    export_per_kwh: Floats,
    price_per_kwh: Floats,
    path: Floats,
) -> tuple[float, float, float]:
    """Fill the net import of a path; return its cost at the tariff, what of it is penalty, and what the price adds."""
    now, total, penalty, priced, car_total, highest = (
        home[stage.INITIAL_KWH],
        0.0,
        0.0,
        0.0,
        0.0,
        home[stage.DEMAND_KWH],
    )
    charge_frac, discharge_frac = home[stage.CHARGE_FRAC], home[stage.DISCHARGE_FRAC]
    for t in range(load_kwh.shape[0]):
        released, car = path[rooms.RELEASED_KWH, t], path[rooms.CAR_KWH, t]
        drawn = -released / charge_frac if released < 0.0 else -released * discharge_frac
        net = load_kwh[t] - solar_kwh[t] + path[rooms.CURTAILED_KWH, t] + car + drawn
        path[rooms.NET_KWH, t] = net
        total += net * (import_per_kwh[t] if net > 0.0 else export_per_kwh[t])
        total += home[stage.WEAR_PER_KWH] * max(-drawn, 0.0)
        over = max(net - home[stage.IMPORT_KWH], 0.0) + max(-home[stage.EXPORT_KWH] - net, 0.0)
        penalty += over * home[stage.BREAK_PER_KWH]
        priced += price_per_kwh[t] * net
        car_total += car
        highest = max(highest, net)
        now = min(max(home[stage.KEPT_FRAC] * now - released, 0.0), home[stage.CAPACITY_KWH])
    if home[stage.CAR_KWH] > 0.0:
        penalty += home[stage.SHORT_PER_KWH] * max(home[stage.CAR_ENERGY_KWH] - car_total, 0.0)
    total += home[stage.DEMAND_PER_KWH] * (highest - home[stage.DEMAND_KWH])
    return total + penalty - home[stage.TERMINAL_PER_KWH] * now, penalty, priced
