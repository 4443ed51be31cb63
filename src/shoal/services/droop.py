"""Droop: the power that a battery adds by the frequency that it measures itself.

A curve is data: nothing within the deadband, a straight line from its edge to the whole power at the full deviation,
flat beyond. It has no memory, so that a device that starts in the middle of a disturbance does at once what the others do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.orders import DroopArming

Floats = NDArray[np.float64]
Watts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class DroopSlope:
    """How steep a curve is, in the words of nameplates and grid codes.

    Attributes:
        droop_frac: Deviation as a share of the nominal frequency, beyond the deadband, that gives the whole rated
            power: 0.05 for "5 % droop".
        deadband_hz: Distance from the reference within which nothing is done.
    """

    droop_frac: float
    deadband_hz: float


def droop_w(
    frequency_hz: Floats,
    *,
    reference_hz: Floats | float,
    deadband_hz: Floats | float,
    full_deviation_hz: Floats | float,
    up_w: Watts | int,
    down_w: Watts | int,
) -> Watts:
    """Return the power (N) that each battery adds at its frequency, load-positive whole watts.

    Low frequency gives a negative power (less charging, more discharging) of at most `up_w`, high frequency a positive
    one of at most `down_w`; each is nearest to the straight line. A frequency that is not a finite number gives 0: a
    device that cannot measure does not respond. So does an arming that makes no curve (`full_deviation_hz` not above
    `deadband_hz`), and a negative limit counts as 0. Arrays and single numbers mix.

    Example:
        >>> droop_w(np.array([49.8, 50.01, 50.3]), reference_hz=50.0, deadband_hz=0.02, full_deviation_hz=0.2,
        ...         up_w=900, down_w=500).tolist()
        [-900, 0, 500]
    """
    frequency, reference, deadband, full = (
        np.asarray(values, dtype=np.float64)
        for values in (frequency_hz, reference_hz, deadband_hz, full_deviation_hz)
    )
    deviation_hz = frequency - reference
    span_hz = full - deadband
    usable = np.isfinite(deviation_hz) & np.isfinite(span_hz) & (span_hz > 0.0) & (deadband >= 0.0)
    beyond_hz = np.where(usable, np.abs(deviation_hz) - deadband, 0.0)
    share_frac = np.clip(beyond_hz / np.where(usable, span_hz, 1.0), 0.0, 1.0)
    low = usable & (deviation_hz < 0.0)
    limit_w = np.maximum(np.where(low, up_w, down_w), 0)
    given_w: Watts = np.rint(share_frac * limit_w).astype(np.int64)
    return np.where(low, -given_w, given_w)


def droop_of(arming: DroopArming, frequency_hz: Floats, *, now_ns: int) -> Watts:
    """Return the power (N) that one arming asks at these frequencies; 0 outside the time it is armed for."""
    if not arming.start_ns <= now_ns < arming.end_ns:
        return np.zeros(np.shape(frequency_hz), dtype=np.int64)
    return droop_w(
        frequency_hz,
        reference_hz=arming.reference_hz,
        deadband_hz=arming.deadband_hz,
        full_deviation_hz=arming.full_deviation_hz,
        up_w=arming.up_w,
        down_w=arming.down_w,
    )


def check_arming(arming: DroopArming) -> None:
    """Make sure that an arming is a curve that a device can follow.

    Raises:
        InvalidInputError: when a number is not finite, a limit negative, the curve not rising or the time empty.
    """
    numbers = {
        "reference_hz": arming.reference_hz,
        "deadband_hz": arming.deadband_hz,
        "full_deviation_hz": arming.full_deviation_hz,
    }
    for field, value in numbers.items():
        if not math.isfinite(value) or value < 0.0:
            raise InvalidInputError(field=field, value=value, fix="give a finite number, 0 or above")
    if not arming.full_deviation_hz > arming.deadband_hz:
        raise InvalidInputError(
            field="full_deviation_hz", value=arming.full_deviation_hz, fix="give more than the deadband"
        )
    if arming.up_w < 0 or arming.down_w < 0:
        raise InvalidInputError(
            field="up_w, down_w", value=(arming.up_w, arming.down_w), fix="give 0 or more"
        )
    if arming.end_ns <= arming.start_ns:
        raise InvalidInputError(field="end_ns", value=arming.end_ns, fix="give an end after the start")


def slope_of(arming: DroopArming, *, rated_w: int) -> DroopSlope:
    """Return how steep an arming makes a battery of `rated_w`, by its upward power.

    Raises:
        InvalidInputError: when the arming is no curve, has no upward power, or `rated_w` is not above 0.
    """
    check_arming(arming)
    if arming.up_w == 0 or rated_w <= 0:
        raise InvalidInputError(field="up_w, rated_w", value=(arming.up_w, rated_w), fix="give more than 0")
    span_hz = arming.full_deviation_hz - arming.deadband_hz
    return DroopSlope(
        droop_frac=span_hz * rated_w / (arming.up_w * arming.reference_hz), deadband_hz=arming.deadband_hz
    )


def full_deviation_hz(slope: DroopSlope, *, reference_hz: float) -> float:
    """Return the deviation at which a curve of this slope gives the whole rated power, in Hz."""
    return slope.deadband_hz + slope.droop_frac * reference_hz


def droop_error_frac(asked_w: Watts, given_w: Watts, *, limit_w: Watts | int) -> Floats:
    """Return how far each battery is from its curve, as a share of the power that it was armed for (N).

    Where nothing was armed, nothing may be given: an error there is infinite, unless it is none.
    """
    off_w = np.abs(np.asarray(given_w, dtype=np.float64) - np.asarray(asked_w, dtype=np.float64))
    limit = np.asarray(limit_w, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        error_frac: Floats = np.where(off_w == 0.0, 0.0, off_w / limit)
    return error_frac
