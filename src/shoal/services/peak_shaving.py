"""Peak shaving: a battery holds a feeder below a target, with as much energy kept as the forecast says it will take.

Backwards from the end of the forecast follows how much must be stored at each step so that every later excess can be covered,
charging below the target counted. What is above that is free for others; what is below is charged in time. When a target
cannot be held, the tightest one that can is held instead: a peak cut evenly, not one that breaks through when the battery is
empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.kernel import kernel

Floats = NDArray[np.float64]

_HALVINGS: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class ShavingBattery:
    """The battery behind the feeder, or many seen as one.

    Attributes:
        charge_limit_kw: Largest charging power, >= 0.
        discharge_limit_kw: Largest discharging power, >= 0.
        energy_capacity_kwh: Usable energy, the reserve not counted, >= 0.
        charge_efficiency_frac: Stored per energy taken in, in (0, 1].
        discharge_efficiency_frac: Given out per stored energy, in (0, 1].
    """

    charge_limit_kw: float
    discharge_limit_kw: float
    energy_capacity_kwh: float
    charge_efficiency_frac: float = 0.95
    discharge_efficiency_frac: float = 0.95

    def __post_init__(self) -> None:
        if not (min(self.charge_limit_kw, self.discharge_limit_kw, self.energy_capacity_kwh) >= 0.0):
            raise InvalidInputError(field="battery", value=self, fix="give limits of at least 0")
        if not (0.0 < self.charge_efficiency_frac <= 1.0 and 0.0 < self.discharge_efficiency_frac <= 1.0):
            raise InvalidInputError(field="battery", value=self, fix="give efficiencies above 0, at most 1")

    def column(self) -> Floats:
        """Return the numbers in the order of the compiled kernels."""
        return np.array(
            (
                self.charge_limit_kw,
                self.discharge_limit_kw,
                self.energy_capacity_kwh,
                self.charge_efficiency_frac,
                self.discharge_efficiency_frac,
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ShavingStep:
    """What the battery does now and what is known of the target.

    Attributes:
        battery_kw: Charging positive.
        held_kw: Level that is held: the target, or the tightest that can be held when it cannot.
        can_hold: Whether the target can be held, by the forecast that counts.
        needed_kwh: What must be stored at the end of this step to hold the level.
        spare_kwh: What is stored now beyond what the level takes: free for others.
        beyond_kw: How far the feeder is above the target now, the battery counted; 0 if it is not.
    """

    battery_kw: float
    held_kw: float
    can_hold: bool
    needed_kwh: float
    spare_kwh: float
    beyond_kw: float


def tightest_kw(load_kw: Floats, *, stored_kwh: float, step_h: float, battery: ShavingBattery) -> float:
    """Return the lowest level that this load can be held to, from what is stored at its start.

    Exact up to one part in 10**12: with the load as it will be, it is the optimum of foresight.

    Raises:
        InvalidInputError: when the load is empty or a number is not finite or out of range.
    """
    load = _checked(load_kw, stored_kwh, step_h)
    high = float(load.max())
    low = high - battery.discharge_limit_kw
    column = battery.column()
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        if _holds(load, middle, stored_kwh, step_h, column):
            high = middle
        else:
            low = middle
    return high


def needed_kwh(load_kw: Floats, *, level_kw: float, step_h: float, battery: ShavingBattery) -> Floats:
    """Return what must be stored at the start of each step and at the end to hold a level (T + 1).

    Above the capacity, or infinite where the power does not suffice, says that the level cannot be held from there on.
    """
    return _needed(np.asarray(load_kw, dtype=np.float64), level_kw, step_h, battery.column())


def shave_step(
    *,
    load_kw: float,
    forecast_kw: Floats,
    stored_kwh: float,
    target_kw: float,
    step_h: float,
    battery: ShavingBattery,
    likely_kw: Floats | None = None,
    held_before_kw: float = -inf,
    keep_kwh: float = 0.0,
) -> ShavingStep:
    """Return what the battery does in this step; it sees the load now and a forecast, nothing else.

    Args:
        load_kw: Load of the feeder now, the battery left out.
        forecast_kw: A forecast quantile of the load of the following steps (T, may be empty); the higher the quantile, the
            more is kept. It should reach past the next peak.
        stored_kwh: Usable energy stored now.
        target_kw: Level that the feeder is to stay below.
        step_h: Length of a step.
        battery: The battery.
        likely_kw: The middle of the forecast (T): from it follows the level that is held when the target cannot be; the same
            as `forecast_kw` when left out, which holds a higher level than it often needs to.
        held_before_kw: A level that the feeder was above already, e.g. the month's peak so far: nothing is won by holding
            less than that.
        keep_kwh: Energy that is stored whenever there is room below the level, for what no forecast shows.

    Raises:
        InvalidInputError: when a number is not finite or out of range.
    """
    ahead = np.concatenate(([load_kw], np.asarray(forecast_kw, dtype=np.float64)))
    ahead = _checked(ahead, stored_kwh, step_h)
    if not isfinite(target_kw):
        raise InvalidInputError(field="target_kw", value=target_kw, fix="give a finite number")
    stored_kwh = min(stored_kwh, battery.energy_capacity_kwh)
    column = battery.column()
    wanted_kw = max(target_kw, held_before_kw)
    can_hold = bool(_holds(ahead, wanted_kw, stored_kwh, step_h, column))
    held_kw = wanted_kw
    if not can_hold:
        likely = (
            ahead
            if likely_kw is None
            else _checked(np.concatenate(([load_kw], likely_kw)), stored_kwh, step_h)
        )
        held_kw = max(tightest_kw(likely, stored_kwh=stored_kwh, step_h=step_h, battery=battery), wanted_kw)
    need = _needed(ahead, held_kw, step_h, column)
    excess_kw = load_kw - held_kw
    if excess_kw > 0.0:
        spare_kw = stored_kwh * battery.discharge_efficiency_frac / step_h
        battery_kw = -min(excess_kw, battery.discharge_limit_kw, spare_kw)
    else:
        goal_kwh = min(max(float(need[1]), keep_kwh), battery.energy_capacity_kwh)
        missing_kw = max(goal_kwh - stored_kwh, 0.0) / battery.charge_efficiency_frac / step_h
        battery_kw = min(missing_kw, -excess_kw, battery.charge_limit_kw)
    return ShavingStep(
        battery_kw=battery_kw,
        held_kw=held_kw,
        can_hold=can_hold and held_kw <= target_kw,
        needed_kwh=float(need[1]),
        spare_kwh=max(stored_kwh - max(float(need[0]), keep_kwh), 0.0),
        beyond_kw=max(load_kw + battery_kw - target_kw, 0.0),
    )


def stored_after_kwh(
    stored_kwh: float, battery_kw: float, *, step_h: float, battery: ShavingBattery
) -> float:
    """Return the stored energy after a step at a power, charging positive, within empty and full."""
    efficiency = (
        battery.charge_efficiency_frac if battery_kw > 0.0 else 1.0 / battery.discharge_efficiency_frac
    )
    return min(max(stored_kwh + battery_kw * efficiency * step_h, 0.0), battery.energy_capacity_kwh)


def _checked(load_kw: Floats, stored_kwh: float, step_h: float) -> Floats:
    load = np.asarray(load_kw, dtype=np.float64)
    if load.ndim != 1 or len(load) == 0 or not np.isfinite(load).all():
        raise InvalidInputError(field="load_kw", value=load.shape, fix="give a row of finite numbers")
    if not (isfinite(stored_kwh) and stored_kwh >= 0.0 and 0.0 < step_h < inf):
        raise InvalidInputError(
            field="stored_kwh, step_h", value=(stored_kwh, step_h), fix="give at least 0, and above 0"
        )
    return load


@kernel
def _holds(load_kw: Floats, level_kw: float, stored_kwh: float, step_h: float, battery: Floats) -> bool:
    """Whether a level can be held: charging all it allows below it, giving just what it takes above."""
    charge_kw, discharge_kw, capacity_kwh, charge_frac, discharge_frac = battery
    stored = min(stored_kwh, capacity_kwh)
    for step in range(len(load_kw)):
        excess_kw = load_kw[step] - level_kw
        if excess_kw > 0.0:
            stored -= excess_kw * step_h / discharge_frac
            if excess_kw > discharge_kw * (1.0 + 1e-12) or stored < -1e-9:
                return False
        else:
            stored = min(stored + min(-excess_kw, charge_kw) * charge_frac * step_h, capacity_kwh)
    return True


@kernel
def _needed(load_kw: Floats, level_kw: float, step_h: float, battery: Floats) -> Floats:
    charge_kw, discharge_kw, _, charge_frac, discharge_frac = battery
    need = np.zeros(len(load_kw) + 1)
    for step in range(len(load_kw) - 1, -1, -1):
        excess_kw = load_kw[step] - level_kw
        if excess_kw > discharge_kw * (1.0 + 1e-9) + 1e-9:
            need[step] = np.inf
        elif excess_kw > 0.0:
            need[step] = need[step + 1] + excess_kw * step_h / discharge_frac
        else:
            need[step] = max(need[step + 1] - min(-excess_kw, charge_kw) * charge_frac * step_h, 0.0)
    return need
