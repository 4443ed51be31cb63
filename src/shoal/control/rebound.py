"""No rebound: when thousands start, stop or come back together, their sum changes no faster than a limit.

A step of a group is either drawn out by each device (a ramp, exact: the sum of straight lines is a straight line) or laid
over a time in which each begins at a place of its own (a spread). Ramps come first, up to what a device can be asked for;
what they cannot take is spread.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError

MOST_RAMP_S: Final = 900.0
MOST_SPREAD_S: Final = 3_600.0
PLACES_MARGIN: Final = 1.05
GOLDEN_FRAC: Final = (math.sqrt(5.0) - 1.0) / 2.0
"""Multiples of it fill a circle evenly, however many there are: any share of the places holds that share of the sites."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gentle:
    """How a step is taken.

    Attributes:
        ramp_s: Over how long each device goes from what it did to what is asked.
        spread_s: Within how long they begin, each at a place of its own.
        slope_kw_per_min: What the group's sum then changes by at most, if the places are spread evenly.
    """

    ramp_s: float
    spread_s: float
    slope_kw_per_min: float


STEP: Final = Gentle(ramp_s=0.0, spread_s=0.0, slope_kw_per_min=math.inf)


def gentle(
    step_kw: float,
    *,
    limit_kw_per_min: float,
    ramp_s: float = 0.0,
    spread_s: float = 0.0,
    most_ramp_s: float = MOST_RAMP_S,
) -> Gentle:
    """Return the ramp and spread with which a group's step stays below a slope.

    Args:
        step_kw: By how much the sum changes, either sign; give the largest of beginning, end and return.
        limit_kw_per_min: The slope allowed; infinite for none.
        ramp_s: The shortest ramp wanted anyway.
        spread_s: The shortest spread wanted anyway.
        most_ramp_s: The longest ramp that a device is asked for.

    Raises:
        InvalidInputError: when the limit is not positive.
    """
    if not limit_kw_per_min > 0:
        raise InvalidInputError(field="limit_kw_per_min", value=limit_kw_per_min, fix="give a positive slope")
    needed_s = 60.0 * abs(step_kw) / limit_kw_per_min
    # rounded up to whole seconds: a device's own clock may well be no finer
    ramp_s = max(ramp_s, min(math.ceil(needed_s), most_ramp_s))
    if ramp_s < needed_s:
        # as many are on their way at a time as fit into a ramp; a little more, for places are not infinitely many
        spread_s = max(spread_s, math.ceil(needed_s * PLACES_MARGIN))
    spread_s = min(spread_s, MOST_SPREAD_S)
    even_s = max(ramp_s, spread_s / PLACES_MARGIN)
    slope = 60.0 * abs(step_kw) / even_s if even_s > 0 else math.inf
    return Gentle(ramp_s=ramp_s, spread_s=spread_s, slope_kw_per_min=slope)


def gentle_together(
    steps_kw: Sequence[float], *, limit_kw_per_min: float, most_ramp_s: float = MOST_RAMP_S
) -> list[Gentle]:
    """Return how steps that may fall together are taken: each gets the share of the slope that its size has in all.

    Raises:
        InvalidInputError: when the limit is not positive.
    """
    total_kw = sum(abs(step_kw) for step_kw in steps_kw)
    return [
        gentle(
            step_kw,
            limit_kw_per_min=limit_kw_per_min * abs(step_kw) / total_kw if step_kw else limit_kw_per_min,
            most_ramp_s=most_ramp_s,
        )
        for step_kw in steps_kw
    ]


def places_frac(rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return a place in [0, 1) for each row, the same every time, evenly filled by any run of rows."""
    places: NDArray[np.float64] = np.mod(rows * GOLDEN_FRAC, 1.0)
    return places


def spread_ends_ns(
    end_ns: NDArray[np.int64], rows: NDArray[np.int64], spread_ns: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return an end for each row's lease, less than `spread_ns` before `end_ns`: what nobody renews does not end at once."""
    return end_ns - (places_frac(rows) * spread_ns).astype(np.int64)


def steepest_kw_per_min(
    *,
    step_w: NDArray[np.float64],
    begin_s: NDArray[np.float64],
    ramp_s: float,
    resolution_s: float = 1.0,
) -> float:
    """Return the steepest minute of a group whose sites each begin to change at a time of their own.

    Args:
        step_w: By how much each changes (N).
        begin_s: When each begins (N).
        ramp_s: Over how long each changes.
        resolution_s: Distance of the instants looked at.
    """
    if not len(step_w):
        return 0.0
    instants_s = np.arange(begin_s.min() - 60.0, begin_s.max() + ramp_s + 60.0 + resolution_s, resolution_s)
    power_w = np.zeros(len(instants_s))
    for begins_s, watts in zip(begin_s.tolist(), step_w.tolist(), strict=True):
        done = (instants_s - begins_s) / ramp_s if ramp_s > 0 else (instants_s >= begins_s).astype(np.float64)
        power_w += watts * np.clip(done, 0.0, 1.0)
    minute = max(1, round(60.0 / resolution_s))
    if len(power_w) <= minute:
        return abs(float(power_w[-1] - power_w[0])) / 1e3
    return float(np.abs(power_w[minute:] - power_w[:-minute]).max()) / 1e3
