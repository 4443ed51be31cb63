"""Kernels of an islanded site: one interval's physics, the worth of stored energy by induction, and the choice from it.

All powers are kW and all energies kWh. `p` holds the numbers of the site in the order of the constants below.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.kernel import kernel

RATED: Final = 0
LEAST: Final = 1
IDLE_FUEL: Final = 2
FUEL_PER_KWH: Final = 3
START_FUEL: Final = 4
CHARGE: Final = 5
DISCHARGE: Final = 6
CHARGE_EFFICIENCY: Final = 7
DISCHARGE_EFFICIENCY: Final = 8
CAPACITY: Final = 9
FLOOR: Final = 10
EMPTY: Final = 11
STEP_H: Final = 12
FAILS: Final = 13
UNSERVED_FUEL: Final = 14
BELOW_FLOOR_FUEL: Final = 15
STUCK: Final = 16
STUCK_STEPS: Final = 17
NUMBERS: Final = 18

LEVELS: Final = 4
"""Powers between least and rated that are looked at, besides the one that just carries the load."""

_NEVER: Final = 1e30


@kernel
def carry(
    p: NDArray[np.float64], energy_kwh: float, net_kw: float, generator_kw: float
) -> tuple[float, float, float, float]:
    """Return energy afterwards, the generator's real power, what was not served and what was not used, in kW.

    The battery carries what the generator leaves. A running generator gives more before anybody is without power, and
    less, down to its least, before solar power is left unused. `generator_kw` 0 is a generator that does not run.
    """
    h = p[STEP_H]
    most_out = min(p[DISCHARGE], max(energy_kwh - p[EMPTY], 0.0) * p[DISCHARGE_EFFICIENCY] / h)
    most_in = min(p[CHARGE], max(p[CAPACITY] - energy_kwh, 0.0) / (p[CHARGE_EFFICIENCY] * h))
    power = generator_kw
    if power > 0.0:
        power = min(max(power, net_kw - most_out, p[LEAST]), p[RATED])
        power = max(min(power, max(net_kw + most_in, p[LEAST])), p[LEAST])
    rest = net_kw - power
    out = min(max(rest, 0.0), most_out)
    into = min(max(-rest, 0.0), most_in)
    after = energy_kwh + into * p[CHARGE_EFFICIENCY] * h - out * h / p[DISCHARGE_EFFICIENCY]
    return after, power, max(rest - out, 0.0), max(-rest - into, 0.0)


@kernel
def must_run(p: NDArray[np.float64], energy_kwh: float, net_kw: float) -> bool:
    """Whether the battery cannot carry the load alone for an interval without going below its floor."""
    if net_kw <= 0.0:
        return False
    if net_kw > p[DISCHARGE]:
        return True
    return bool(energy_kwh - net_kw * p[STEP_H] / p[DISCHARGE_EFFICIENCY] < p[FLOOR])


@kernel
def fuel(p: NDArray[np.float64], generator_kw: float) -> float:
    """Return the fuel of an interval, kWh, of a generator that runs; 0 of one that does not."""
    if generator_kw <= 0.0:
        return 0.0
    return float((p[IDLE_FUEL] + p[FUEL_PER_KWH] * generator_kw) * p[STEP_H])


@kernel
def level(p: NDArray[np.float64], net_kw: float, number: int) -> float:
    """Return the power of a choice: 0 is off, 1 carries the load, the others lie between least and rated."""
    if number == 0:
        return 0.0
    if number == 1:
        return float(min(max(net_kw, p[LEAST]), p[RATED]))
    return float(p[LEAST] + (p[RATED] - p[LEAST]) * (number - 2) / (LEVELS - 1))


@kernel
def worth(lowest_kwh: float, cell_kwh: float, values: NDArray[np.float64], energy_kwh: float) -> float:
    """Return the value between two nodes, by a straight line."""
    place = (energy_kwh - lowest_kwh) / cell_kwh
    cell = min(max(int(place), 0), values.shape[0] - 2)
    share = min(max(place - cell, 0.0), 1.0)
    return float(values[cell] * (1.0 - share) + values[cell + 1] * share)


@kernel
def outcomes(
    p: NDArray[np.float64],
    energy_kwh: float,
    net_kw: float,
    left_kwh: NDArray[np.float64],
    cost_kwh: NDArray[np.float64],
) -> bool:
    """Fill, by choice, the energy afterwards and the fuel of the interval; return whether it can do without generator."""
    for number in range(LEVELS + 2):
        left, power, dark, _ = carry(p, energy_kwh, net_kw, level(p, net_kw, number))
        left_kwh[number] = left
        cost_kwh[number] = fuel(p, power) + p[UNSERVED_FUEL] * dark * p[STEP_H]
        cost_kwh[number] += p[BELOW_FLOOR_FUEL] * max(p[FLOOR] - left, 0.0) * p[STEP_H]
    return not must_run(p, energy_kwh, net_kw)


@kernel
def best_of(
    p: NDArray[np.float64],
    after_kwh: NDArray[np.float64],
    ran_steps: int,
    may_stop: bool,
    left_kwh: NDArray[np.float64],
    cost_kwh: NDArray[np.float64],
    stuck_kwh: float,
) -> tuple[float, int]:
    """Return the least fuel from here on, in expectation, and the choice that it takes; `stuck_kwh` weighs on a start.

    `after_kwh` is Z x E: fuel from the next interval on by how long the generator has run and by energy. A generator that
    is started may fail to; then the battery carries the interval, and it is tried again.
    """
    lowest = p[EMPTY]
    cell = (p[CAPACITY] - p[EMPTY]) / (after_kwh.shape[1] - 1)
    longest = after_kwh.shape[0] - 1
    without = cost_kwh[0] + worth(lowest, cell, after_kwh[0], left_kwh[0])
    best, chosen = _NEVER, 1
    if may_stop and (ran_steps == 0 or ran_steps == longest):
        best, chosen = without, 0
    running = after_kwh[min(ran_steps + 1, longest)]
    for number in range(1, LEVELS + 2):
        cost = cost_kwh[number] + worth(lowest, cell, running, left_kwh[number])
        if ran_steps == 0:
            cost = p[START_FUEL] + stuck_kwh + (1.0 - p[FAILS]) * cost + p[FAILS] * without
        if cost < best:
            best, chosen = cost, number
    return best, chosen


@kernel
def stuck(p: NDArray[np.float64], energy_kwh: float, need_kwh: float) -> float:
    """Return what a start weighs because the generator may be stuck: the dark that comes of it, as fuel."""
    store_kwh = max(energy_kwh - p[EMPTY], 0.0) * p[DISCHARGE_EFFICIENCY]
    return float(p[STUCK] * p[UNSERVED_FUEL] * max(need_kwh - store_kwh, 0.0))


@kernel
def needs(p: NDArray[np.float64], net_kw: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return, for each interval, the energy that is needed from store while a generator started then is stuck."""
    steps, span = net_kw.shape[0], int(p[STUCK_STEPS])
    need = np.zeros(steps)
    for t in range(steps):
        for later in range(t, min(t + span, steps)):
            need[t] += max(net_kw[later], 0.0) * p[STEP_H]
    return need


@kernel
def induct(
    p: NDArray[np.float64],
    net_kw: NDArray[np.float64],
    end_kwh: NDArray[np.float64],
    value: NDArray[np.float64],
) -> None:
    """Fill `value` (T + 1) x Z x E with the fuel from each interval on, backwards from `end_kwh` (E)."""
    steps = net_kw.shape[0]
    states, nodes = value.shape[1], value.shape[2]
    cell = (p[CAPACITY] - p[EMPTY]) / (nodes - 1)
    left, cost = np.empty(LEVELS + 2), np.empty(LEVELS + 2)
    need = needs(p, net_kw)
    for z in range(states):
        value[steps, z] = end_kwh
    for t in range(steps - 1, -1, -1):
        for k in range(nodes):
            energy = p[EMPTY] + k * cell
            may_stop = outcomes(p, energy, net_kw[t], left, cost)
            risk = stuck(p, energy, need[t])
            for z in range(states):
                value[t, z, k] = best_of(p, value[t + 1], z, may_stop, left, cost, risk)[0]


@kernel
def choose(
    p: NDArray[np.float64],
    after_kwh: NDArray[np.float64],
    energy_kwh: float,
    net_kw: float,
    ran_steps: int,
    need_kwh: float,
) -> float:
    """Return the generator's power of the choice that costs least; 0 for off."""
    left, cost = np.empty(LEVELS + 2), np.empty(LEVELS + 2)
    may_stop = outcomes(p, energy_kwh, net_kw, left, cost)
    risk = stuck(p, energy_kwh, need_kwh)
    return level(p, net_kw, best_of(p, after_kwh, ran_steps, may_stop, left, cost, risk)[1])


@kernel
def rule_power(
    p: NDArray[np.float64],
    energy_kwh: float,
    net_kw: float,
    ran_steps: int,
    least_run_steps: int,
    cycles: bool,
    start_kwh: float,
    stop_kwh: float,
) -> float:
    """Return the generator's power by the usual rules; 0 for off.

    It starts when the battery cannot carry the load, or falls to `start_kwh`. Load following gives what the load needs
    and stops as soon as sun and battery carry it; cycle charging gives all it has and stops at `stop_kwh`.
    """
    needed = must_run(p, energy_kwh, net_kw) or (energy_kwh <= start_kwh and net_kw > 0.0)
    stays = ran_steps > 0 and ran_steps < least_run_steps
    if ran_steps >= least_run_steps:
        stays = energy_kwh < stop_kwh if cycles else energy_kwh < stop_kwh and net_kw > 0.0
    if not (needed or stays):
        return 0.0
    return float(p[RATED] if cycles else min(max(net_kw, p[LEAST]), p[RATED]))
