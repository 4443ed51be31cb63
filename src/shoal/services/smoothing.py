"""Smoothing of solar or wind power to a ramp limit with a battery: causal, with as little energy as it can.

From a power P the plant can ride out a fall of the generation to nothing while ``P**2 / (2 R)`` is stored, and a rise to the
most while there is room for ``(most - P)**2 / (2 R)``. In each step the power nearest to the generation is chosen from which
both still hold; if the battery is large enough for both at once, the limit R is never broken, whatever the weather does. Within
that the battery comes slowly back to its place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SmoothingBattery:
    """The battery beside a generator.

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


@dataclass(frozen=True, slots=True, kw_only=True)
class SmoothingRules:
    """What is smoothed to.

    Attributes:
        ramp_kw_per_min: The plant's power may change by so much a minute, either way, above 0.
        highest_kw: The most that the generator can give; how full the battery should be depends on it.
        recentre_h: Time in which the battery would come back to its place if the ramp limit allowed.
        may_curtail: Whether generation may be held back when the battery can take no more; then a rise never breaks the
            limit.
    """

    ramp_kw_per_min: float
    highest_kw: float
    recentre_h: float = 2.0
    may_curtail: bool = False

    def __post_init__(self) -> None:
        if not (self.ramp_kw_per_min > 0.0 and self.highest_kw > 0.0 and self.recentre_h > 0.0):
            raise InvalidInputError(
                field="rules", value=self, fix="give a ramp, a highest power and a time above 0"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class SmoothingStep:
    """What is done in one step.

    Attributes:
        battery_kw: Charging positive.
        output_kw: What leaves the plant: generation less charging, >= 0 for a generator.
        curtailed_kw: Generation that is held back, >= 0.
        stored_kwh: Energy stored at its end.
        beyond_kw: How far the output is beyond the ramp limit, because the battery could not do more; 0 if it is not.
    """

    battery_kw: float
    output_kw: float
    curtailed_kw: float
    stored_kwh: float
    beyond_kw: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Smoothed:
    """A whole record smoothed (T each); see `SmoothingStep`."""

    battery_kw: Floats
    output_kw: Floats
    curtailed_kw: Floats
    stored_kwh: Floats
    beyond_kw: Floats

    @property
    def violations_frac(self) -> float:
        """Share of the steps whose ramp is beyond the limit."""
        return float((self.beyond_kw > 0.0).mean()) if len(self.beyond_kw) else 0.0

    def throughput_kwh(self, step_s: float) -> float:
        """Return the energy that the battery took in and gave, together."""
        return float(np.abs(self.battery_kw).sum() * step_s / 3600.0)


def needed_kwh(output_kw: float, battery: SmoothingBattery, rules: SmoothingRules) -> tuple[float, float]:
    """Return the stored energy that the worst fall from this power would take, and the room that the worst rise needs."""
    per_h = rules.ramp_kw_per_min * 60.0
    here_kw = min(max(output_kw, 0.0), rules.highest_kw)
    fall_kwh = here_kw**2 / (2.0 * per_h) / battery.discharge_efficiency_frac
    rise_kwh = (rules.highest_kw - here_kw) ** 2 / (2.0 * per_h) * battery.charge_efficiency_frac
    return fall_kwh, 0.0 if rules.may_curtail else rise_kwh


def suffices(battery: SmoothingBattery, rules: SmoothingRules) -> bool:
    """Whether this battery can keep the limit against any weather, once it is in its place."""
    powers = np.linspace(0.0, rules.highest_kw, 101).tolist()
    strong = battery.discharge_limit_kw >= rules.highest_kw and (
        rules.may_curtail or battery.charge_limit_kw >= rules.highest_kw
    )
    return strong and all(
        sum(needed_kwh(power, battery, rules)) <= battery.energy_capacity_kwh for power in powers
    )


def place_kwh(output_kw: float, battery: SmoothingBattery, rules: SmoothingRules) -> float:
    """Return the stored energy that leaves as much beyond the worst fall as beyond the worst rise.

    If not both fit, they share what there is.
    """
    fall_kwh, rise_kwh = needed_kwh(output_kw, battery, rules)
    total_kwh = fall_kwh + rise_kwh
    if total_kwh >= battery.energy_capacity_kwh:
        return battery.energy_capacity_kwh * fall_kwh / total_kwh
    return fall_kwh + (battery.energy_capacity_kwh - total_kwh) / 2.0


def smooth_step(
    *,
    generation_kw: float,
    output_before_kw: float,
    stored_kwh: float,
    step_s: float,
    battery: SmoothingBattery,
    rules: SmoothingRules,
) -> SmoothingStep:
    """Return what battery and plant do in one step; it sees the present and nothing after it.

    Args:
        generation_kw: What the generator gives now, as a positive number.
        output_before_kw: What left the plant in the step before.
        stored_kwh: Usable energy stored now.
        step_s: Length of the step.
        battery: The battery.
        rules: What is smoothed to.

    Raises:
        InvalidInputError: when a number is not finite or the step is not above 0.
    """
    if not (isfinite(generation_kw) and isfinite(output_before_kw) and isfinite(stored_kwh) and step_s > 0.0):
        raise InvalidInputError(
            field="generation_kw, output_before_kw, stored_kwh, step_s",
            value=(generation_kw, output_before_kw, stored_kwh, step_s),
            fix="give finite numbers and a step above 0",
        )
    step_h = step_s / 3600.0
    ramp_kw = rules.ramp_kw_per_min * step_s / 60.0
    missing_kwh = place_kwh(output_before_kw, battery, rules) - stored_kwh
    # The power that would bring the battery back to its place in time, charging positive.
    back_kw = missing_kwh / rules.recentre_h
    back_kw *= 1.0 / battery.charge_efficiency_frac if back_kw > 0.0 else battery.discharge_efficiency_frac
    high_kw = output_before_kw + ramp_kw
    # The battery is never filled from the grid: the plant draws no more than the generator does by itself.
    low_kw = max(output_before_kw - ramp_kw, min(generation_kw, 0.0, high_kw))
    safe_low_kw, safe_high_kw = _safe_kw(generation_kw, stored_kwh, step_h, (low_kw, high_kw), battery, rules)
    if safe_low_kw <= safe_high_kw:
        low_kw, high_kw = safe_low_kw, safe_high_kw
    output_kw = min(max(generation_kw - back_kw, low_kw), high_kw)
    asked_kw = generation_kw - output_kw
    room_kw = max(battery.energy_capacity_kwh - stored_kwh, 0.0) / battery.charge_efficiency_frac / step_h
    spare_kw = max(stored_kwh, 0.0) * battery.discharge_efficiency_frac / step_h
    battery_kw = min(
        max(asked_kw, -min(battery.discharge_limit_kw, spare_kw)), battery.charge_limit_kw, room_kw
    )
    left_kw = asked_kw - battery_kw
    # What the battery cannot take is held back where that is allowed; what it cannot give is missing.
    curtailed_kw = min(left_kw, max(generation_kw, 0.0)) if rules.may_curtail and left_kw > 0.0 else 0.0
    output_kw = generation_kw - battery_kw - curtailed_kw
    beyond_kw = abs(output_kw - output_before_kw) - ramp_kw
    efficiency = (
        battery.charge_efficiency_frac if battery_kw > 0.0 else 1.0 / battery.discharge_efficiency_frac
    )
    stored = min(max(stored_kwh + battery_kw * efficiency * step_h, 0.0), battery.energy_capacity_kwh)
    return SmoothingStep(
        battery_kw=battery_kw,
        output_kw=output_kw,
        curtailed_kw=curtailed_kw,
        stored_kwh=stored,
        beyond_kw=beyond_kw if beyond_kw > 1e-9 * max(rules.highest_kw, 1.0) else 0.0,
    )


def _safe_kw(
    generation_kw: float,
    stored_kwh: float,
    step_h: float,
    reach_kw: tuple[float, float],
    battery: SmoothingBattery,
    rules: SmoothingRules,
) -> tuple[float, float]:
    """Return the lowest and highest power within reach after which the worst rise and fall can still be ridden out."""

    def after(output_kw: float) -> tuple[float, float]:
        power_kw = generation_kw - output_kw
        efficiency = (
            battery.charge_efficiency_frac if power_kw > 0.0 else 1.0 / battery.discharge_efficiency_frac
        )
        stored = stored_kwh + power_kw * efficiency * step_h
        fall_kwh, rise_kwh = needed_kwh(output_kw, battery, rules)
        return stored - fall_kwh, battery.energy_capacity_kwh - rise_kwh - stored

    low, high = reach_kw
    if after(low)[0] < 0.0 or after(high)[1] < 0.0:
        return high, low  # not even the end of the reach is safe
    return _edge(lambda kw: after(kw)[1], high, low), _edge(lambda kw: after(kw)[0], low, high)


def _edge(room_kwh: Callable[[float], float], good_kw: float, bad_kw: float) -> float:
    """Return the last power from `good_kw` towards `bad_kw` that leaves room, which shrinks on the way."""
    if room_kwh(bad_kw) >= 0.0:
        return bad_kw
    for _ in range(40):
        middle_kw = (good_kw + bad_kw) / 2.0
        if room_kwh(middle_kw) >= 0.0:
            good_kw = middle_kw
        else:
            bad_kw = middle_kw
    return good_kw


def smooth(
    generation_kw: Floats,
    *,
    step_s: float,
    battery: SmoothingBattery,
    rules: SmoothingRules,
    stored_kwh: float | None = None,
) -> Smoothed:
    """Return a record smoothed step by step, from its first value on; `stored_kwh` None begins at the best place.

    A value that is not a number (the meter was silent) repeats the one before it, or 0 at the start.

    Raises:
        InvalidInputError: when the step is not above 0.
    """
    record = np.asarray(generation_kw, dtype=np.float64)
    result = np.zeros((5, len(record)))
    last_kw = float(record[0]) if len(record) and np.isfinite(record[0]) else 0.0
    stored = place_kwh(last_kw, battery, rules) if stored_kwh is None else stored_kwh
    output_kw = last_kw
    for step, value in enumerate(record.tolist()):
        last_kw = value if np.isfinite(value) else last_kw
        done = smooth_step(
            generation_kw=last_kw,
            output_before_kw=output_kw,
            stored_kwh=stored,
            step_s=step_s,
            battery=battery,
            rules=rules,
        )
        stored, output_kw = done.stored_kwh, done.output_kw
        result[:, step] = done.battery_kw, done.output_kw, done.curtailed_kw, done.stored_kwh, done.beyond_kw
    return Smoothed(
        battery_kw=result[0],
        output_kw=result[1],
        curtailed_kw=result[2],
        stored_kwh=result[3],
        beyond_kw=result[4],
    )


def moving_average(
    generation_kw: Floats,
    *,
    step_s: float,
    battery: SmoothingBattery,
    rules: SmoothingRules,
    window_steps: int,
    stored_kwh: float,
) -> Smoothed:
    """Return what the usual rule does on the same record: the plant's power is the mean of the last `window_steps` values.

    The battery gives or takes the difference as far as it can; nothing brings it back to its place. For comparison.

    Raises:
        InvalidInputError: when the window is not above 0.
    """
    if window_steps < 1:
        raise InvalidInputError(field="window_steps", value=window_steps, fix="give at least 1")
    record = np.nan_to_num(np.asarray(generation_kw, dtype=np.float64))
    sums = np.concatenate(([0.0], np.cumsum(record)))
    first = np.maximum(np.arange(len(record)) - window_steps + 1, 0)
    wanted_kw = (sums[1:] - sums[first]) / (np.arange(len(record)) - first + 1)
    step_h, ramp_kw = step_s / 3600.0, rules.ramp_kw_per_min * step_s / 60.0
    result = np.zeros((5, len(record)))
    before_kw, stored = float(record[0]) if len(record) else 0.0, stored_kwh
    for step, value in enumerate(record.tolist()):
        room_kw = (battery.energy_capacity_kwh - stored) / battery.charge_efficiency_frac / step_h
        spare_kw = stored * battery.discharge_efficiency_frac / step_h
        asked_kw = value - float(wanted_kw[step])
        power = min(
            max(asked_kw, -min(battery.discharge_limit_kw, spare_kw)), battery.charge_limit_kw, room_kw
        )
        stored += (
            power
            * step_h
            * (battery.charge_efficiency_frac if power > 0.0 else 1.0 / battery.discharge_efficiency_frac)
        )
        stored = min(max(stored, 0.0), battery.energy_capacity_kwh)
        output_kw = value - power
        beyond_kw = abs(output_kw - before_kw) - ramp_kw
        result[:, step] = (
            power,
            output_kw,
            0.0,
            stored,
            beyond_kw if beyond_kw > 1e-9 * rules.highest_kw else 0.0,
        )
        before_kw = output_kw
    return Smoothed(
        battery_kw=result[0],
        output_kw=result[1],
        curtailed_kw=result[2],
        stored_kwh=result[3],
        beyond_kw=result[4],
    )
