"""What may come after an order ends: those that gave refill what they gave, from the grid, all at once. A bound, and pure.

Nobody knows how much of it the sun does, or when devices with plans of their own come back; that they take no more than
this, and no faster, is sure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, NS_PER_S

POINTS: Final = 61
LEAD_NS: Final = 10 * NS_PER_MINUTE
"""So long before the end the curve begins."""
LEAST_STEP_S: Final = 60.0
"""A step that is not drawn out falls into one minute at the most."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReboundBound:
    """The bound; powers charging positive.

    Attributes:
        peak_w: Most that they take together.
        energy_wh: What they take in until all is as before, at the terminals.
        from_ns: When the first come back.
        until_ns: When the last is as before.
        steepest_kw_per_min: How fast their sum changes at the most.
        t_ns: Instants of the curve.
        power_w: Most that they do then.
    """

    peak_w: float
    energy_wh: float
    from_ns: int
    until_ns: int
    steepest_kw_per_min: float
    t_ns: NDArray[np.int64]
    power_w: NDArray[np.float64]


def rebound_after(
    held_w: NDArray[np.int64],
    *,
    plate: NDArray[Any],
    start_ns: int,
    end_ns: int,
    rests_s: float = 0.0,
    drawn_out_s: float = 0.0,
) -> ReboundBound:
    """Return what may come after N sites have held a power.

    Args:
        held_w: What each holds to the end, charging positive.
        plate: Their records of `shoal.domain.fleet.NAMEPLATE`.
        start_ns: When they begin.
        end_ns: When they end.
        rests_s: For so long afterwards they take nothing from the grid.
        drawn_out_s: Over how long they come back, ramps and spread together.
    """
    hours = (end_ns - start_ns) / NS_PER_HOUR
    gives = held_w < 0
    charge_w = np.where(gives, plate["charge_limit_kw"] * 1e3, 0.0)
    stored_wh = np.where(gives, -held_w * hours, 0.0) / plate["discharge_efficiency_frac"]
    taken_wh = stored_wh / plate["charge_efficiency_frac"]
    refills = (charge_w > 0) & (taken_wh > 0)
    from_ns = end_ns + int(rests_s * NS_PER_S)
    lasts_ns = np.zeros(len(held_w))
    lasts_ns[refills] = taken_wh[refills] / charge_w[refills] * NS_PER_HOUR
    until_ns = from_ns + int(lasts_ns.max(initial=0.0))
    if not refills.any():
        from_ns = until_ns = end_ns
    span_ns = max(until_ns - end_ns, NS_PER_MINUTE)
    t_ns = np.linspace(end_ns - LEAD_NS, end_ns + span_ns * 1.05, POINTS).astype(np.int64)
    order = np.argsort(lasts_ns[refills])
    ends_ns = from_ns + lasts_ns[refills][order]
    left_w = np.concatenate((np.cumsum(charge_w[refills][order][::-1])[::-1], [0.0]))
    after_w = np.where(t_ns >= from_ns, left_w[np.searchsorted(ends_ns, t_ns, side="right")], 0.0)
    before_w = float(held_w.sum())
    peak_w = float(charge_w[refills].sum())
    largest_w = max(abs(before_w), peak_w - (before_w if from_ns == end_ns else 0.0))
    return ReboundBound(
        peak_w=peak_w,
        energy_wh=float(taken_wh[refills].sum()),
        from_ns=from_ns,
        until_ns=until_ns,
        steepest_kw_per_min=largest_w / 1e3 * 60.0 / max(drawn_out_s, LEAST_STEP_S),
        t_ns=t_ns,
        power_w=np.where(t_ns < end_ns, before_w, after_w),
    )
