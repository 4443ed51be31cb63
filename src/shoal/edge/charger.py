"""The decision at chargers, for many sites at once: what each car draws within what the connection may, and by when it is full.

A limit in force (of a document, else the site's own) makes a car wait. Its owner's promise goes first: once the time that is left
is only just enough, it charges with all that the charger can, whatever anybody asked for. What it missed is made up for when
nothing holds it back, over an hour or so beside what it would draw anyway: thousands that may charge again make no new peak.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.interval import NS_PER_HOUR, NS_PER_S
from shoal.edge.agent_columns import AgentColumns, Floats, Watts
from shoal.edge.agent_layers import site_bounds

CATCH_UP_H: Final = 1.0
LEAST_CATCH_UP_W: Final = 200
FOR_MISSED_FRAC: Final = 0.8
"""Of a charger is left for what was missed, whatever the car goes on to draw meanwhile."""


def most_charge_w(columns: AgentColumns, now_ns: int, *, others_w: Watts, battery_w: Watts) -> Watts | None:
    """Return the most that each charger may draw (N, never negative) by the limits at the connection points; None without any.

    Args:
        columns: The agents.
        now_ns: The present instant.
        others_w: What the site draws beside car and battery.
        battery_w: What its battery does.
    """
    bounds_w = site_bounds(columns, now_ns, others_w)
    if bounds_w is None:
        return None
    most_w: Watts = np.maximum(bounds_w[1] - battery_w, 0)
    return most_w


def must_charge(
    *,
    missing_wh: Floats,
    limit_w: Watts,
    now_ns: int,
    deadline_ns: Watts,
    hold_s: float,
) -> NDArray[np.bool_]:
    """Return whose car cannot wait any longer (N): after this step the time left would not be enough.

    Args:
        missing_wh: What is still to be charged until the deadline.
        limit_w: What each charger can do.
        now_ns: The present instant.
        deadline_ns: By when the car is to be full.
        hold_s: How long the decision is held.
    """
    left_h = (deadline_ns - now_ns - hold_s * NS_PER_S) / NS_PER_HOUR
    must: NDArray[np.bool_] = (missing_wh > 0.0) & (missing_wh > FOR_MISSED_FRAC * limit_w * left_h)
    return must


def charge_w(
    *,
    wanted_w: Watts,
    most_w: Watts | None,
    limit_w: Watts,
    missing_wh: Floats,
    deadline_ns: Watts,
    now_ns: int,
    hold_s: float,
) -> Watts:
    """Return what each car draws from now on (N).

    Args:
        wanted_w: What it would draw if nobody had ever asked for anything.
        most_w: What it may draw; None for no limit.
        limit_w: What the charger can do.
        missing_wh: What it has missed so far.
        deadline_ns: By when that is to be made up for.
        now_ns: The present instant.
        hold_s: How long the decision is held.
    """
    missing = np.maximum(missing_wh, 0.0)
    at_once_w = np.ceil(missing * 3_600.0 / hold_s).astype(np.int64)
    gently_w = np.minimum(np.ceil(missing / CATCH_UP_H).astype(np.int64) + LEAST_CATCH_UP_W, at_once_w)
    eager_w = np.minimum(wanted_w + at_once_w, limit_w)
    gentle_w = np.minimum(wanted_w + gently_w, limit_w)
    must = must_charge(
        missing_wh=missing_wh, limit_w=limit_w, now_ns=now_ns, deadline_ns=deadline_ns, hold_s=hold_s
    )
    held_w = gentle_w if most_w is None else np.minimum(gentle_w, most_w)
    drawn_w: Watts = np.where(must, eager_w, held_w)
    return drawn_w
