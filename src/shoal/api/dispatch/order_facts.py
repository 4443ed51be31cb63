"""What there is to know of an order by itself: its kind, where it is in time, whom it means, what it asks when. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from shoal.api.dispatch.order_answers import OrderKind, Phase
from shoal.control.dry_run import each_of
from shoal.control.schedule import Enrolled, rows_of_order
from shoal.control.second_person import most_w
from shoal.control.standing_claims import told_w
from shoal.domain.fleet import Fleet
from shoal.store.order_records import (
    CallSpec,
    DroopSpec,
    EnvelopeSpec,
    EventSpec,
    Order,
    PriceSpec,
    SetPointSpec,
)

DISPATCHES: Final = (SetPointSpec, EventSpec, CallSpec)
"""What asks sites for something at a time; the rest are prices, limits and standing responses."""
_W_PER_KW: Final = 1_000.0
KeptEvent = Callable[[str], dict[str, Any]]


def kind_of(order: Order) -> OrderKind:
    """Return what an order is."""
    spec = order.spec
    if isinstance(spec, SetPointSpec):
        return "setpoint"
    if isinstance(spec, EventSpec):
        return "event"
    if isinstance(spec, CallSpec):
        return "call"
    if isinstance(spec, PriceSpec):
        return "prices"
    if isinstance(spec, DroopSpec):
        return "droop"
    assert isinstance(spec, EnvelopeSpec)
    return "envelope"


def ends_ns(order: Order) -> int:
    """Return when an order ends, or was ended."""
    return order.end_ns if order.state == "standing" else max(min(order.end_ns, order.at_ns), order.start_ns)


def phase_of(order: Order, t_ns: int) -> Phase:
    """Return where an order is in time; what was ended is past."""
    if order.state != "standing" or t_ns >= order.end_ns:
        return "past"
    return "planned" if t_ns < order.start_ns else "running"


def asked_w_of(order: Order, fleet: Fleet) -> int | None:
    """Return what an order asks of all together, charging positive; None where each site does what it can."""
    spec = order.spec
    if isinstance(spec, SetPointSpec | CallSpec):
        return most_w(order, fleet)
    if isinstance(spec, EventSpec) and (spec.group_w is not None or spec.battery_w):
        return most_w(order, fleet)
    return None


def commanded_kw(order: Order, fleet: Fleet, t_ns: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return what an order asks of all together at some instants, ramps left out; NaN outside of it and where it asks none."""
    asked_w = asked_w_of(order, fleet)
    if asked_w is None:
        return np.full(len(t_ns), np.nan)
    inside = (t_ns >= order.start_ns) & (t_ns < ends_ns(order))
    return np.where(inside, asked_w / _W_PER_KW, np.nan)


def rows_meant(order: Order, fleet: Fleet, enrolled: Enrolled) -> NDArray[np.int64]:
    """Return whom an order means now."""
    return rows_of_order(order, fleet, enrolled)


def each_now_w(
    order: Order, rows: NDArray[np.int64], fleet: Fleet, kept_event: KeptEvent
) -> tuple[NDArray[np.int64], Literal["told", "by rating"]]:
    """Return what each site is asked while an order runs, charging positive, and how surely that is so.

    A set-point is shared out anew in every cycle by what each can do; here by rated power.
    """
    if isinstance(order.spec, CallSpec):
        return -told_w(kept_event(order.order_id), len(fleet.site_ids))[rows], "told"
    how: Literal["told", "by rating"] = "by rating" if isinstance(order.spec, SetPointSpec) else "told"
    return each_of(order, rows, fleet), how
