"""A utility's peak event: homes shave it with what they have, below their own load unless they may feed in.

When a feeder's forecast passes its target a window and a power are proposed; an event made of it runs as an emergency does,
under its own program and with its own manners: softer, longer ramps, and every owner may leave.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.control.emergency import EventPolicy
from shoal.control.emergency_plan import EventCall, GroupTarget
from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import Interval

PROGRAM: Final = "peak"
PEAK_POLICY: Final = EventPolicy(
    charge_soc_frac=0.9, ramp_s=300.0, spread_s=300.0, return_s=10_800.0, catch_up_frac=0.2
)


def find_peaks(
    load_kw: NDArray[np.float64],
    *,
    start_ns: int,
    step_ns: int,
    limit_kw: float,
    join_steps: int = 2,
) -> list[tuple[Interval, int]]:
    """Return when a load is forecast to pass a limit, and by how many watts at most, rounded up.

    Args:
        load_kw: T forecast powers; a quantile above the middle errs on the side of an event too many.
        start_ns: When the first interval begins.
        step_ns: Length of each.
        limit_kw: The target.
        join_steps: Windows no further apart than so many intervals are one.

    Raises:
        InvalidInputError: when a forecast is not finite.
    """
    if not np.isfinite(load_kw).all():
        raise InvalidInputError(field="load_kw", value="not finite", fix="leave out what is not known")
    over = np.flatnonzero(load_kw > limit_kw)
    found: list[tuple[Interval, int]] = []
    for part in np.split(over, np.flatnonzero(np.diff(over) > join_steps) + 1):
        if len(part):
            window = Interval(
                start_ns=start_ns + int(part[0]) * step_ns, end_ns=start_ns + (int(part[-1]) + 1) * step_ns
            )
            worst_kw = float(load_kw[part].max()) - limit_kw
            found.append((window, int(np.ceil(worst_kw * 1e3))))
    return found


def peak_call(
    *,
    event_id: str,
    group_id: str,
    rows: NDArray[np.int64],
    window: Interval,
    target_w: int,
    now_ns: int,
    notice_s: float,
) -> EventCall:
    """Return a peak event of one feeder.

    Raises:
        InvalidInputError: when the notice that the program owes is not kept any more.
    """
    if window.start_ns - now_ns < int(notice_s * 1e9):
        raise InvalidInputError(
            field="window",
            value=window.start_ns,
            fix=f"begin at least {notice_s / 60:.0f} minutes after the call",
        )
    group = GroupTarget(group_id=group_id, target_w=target_w, rows=tuple(sorted(int(row) for row in rows)))
    return EventCall(event_id=event_id, program=PROGRAM, called_ns=now_ns, window=window, groups=(group,))
