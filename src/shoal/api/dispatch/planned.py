"""What a called event would ask of whom: one step of the controller's own, from what is known now. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoal.api.dispatch.preview_answers import CallStep
from shoal.api.live.state import to_ms
from shoal.control.emergency import Called, EventState, step_event
from shoal.control.emergency_plan import Expected, Response
from shoal.control.event_calls import call_of, policy_of
from shoal.control.sites_now import own_load_w, sites_now
from shoal.control.taking_part import TakingPart
from shoal.domain.fleet import Fleet
from shoal.domain.orders import ScheduledEvent
from shoal.store.order_records import CallSpec, Order


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Planned:
    """A call as it would be run.

    Attributes:
        asked_w: What each of N sites would be asked, discharging positive.
        expected: What may be expected of it.
        response: How sites are taken to respond.
        steps: What would be told when.
    """

    asked_w: NDArray[np.int64]
    expected: Expected | None
    response: Response
    steps: list[CallStep]


def plan_call(
    order: Order,
    fleet: Fleet,
    taking: TakingPart,
    latest: NDArray[Any],
    *,
    t_ns: int,
    fresh_ns: int,
    halted: NDArray[np.bool_],
) -> Planned:
    """Return what a call would ask of its sites.

    Args:
        order: The call.
        fleet: The fleet.
        taking: Who takes part, and what owners keep.
        latest: Latest records of the fleet.
        t_ns: Now.
        fresh_ns: Who was silent for longer is not counted on.
        halted: Who is under a kill switch.
    """
    spec = order.spec
    assert isinstance(spec, CallSpec)
    mask = np.zeros(len(fleet.site_ids), dtype=np.bool_)
    enrolled = taking.enrolled(order.program)
    mask[slice(None) if enrolled is None else enrolled] = True
    known = (latest["ts_ns"] > 0) & (t_ns - latest["ts_ns"] <= fresh_ns)
    sites = sites_now(
        fleet.nameplate,
        latest,
        t_ns=t_ns,
        fresh_ns=fresh_ns,
        reserve_frac=taking.reserve_frac(),
        available=mask & ~halted,
        cycle_left_wh=taking.ability(t_ns, latest, known).cycle_left_wh,
    )
    if not spec.feeds_in:
        sites = replace(sites, most_export_w=np.minimum(sites.most_export_w, own_load_w(latest)))
    response = Response()
    state, step = step_event(
        EventState(),
        [Called(call=call_of(order, fleet))],
        t_ns=min(t_ns, order.end_ns - 1),
        sites=sites,
        policy=policy_of(order.program),
        response=response,
    )
    steps = []
    for entry in step.entries:
        item = entry.item
        if isinstance(item, ScheduledEvent):
            all_w = None if entry.battery_w is None else int(entry.battery_w.sum())
            steps.append(
                CallStep(
                    stretch=entry.key.removeprefix(order.order_id).removeprefix("-") or "power",
                    kind=item.kind,
                    start_ms=to_ms(item.start_ns),
                    end_ms=to_ms(item.end_ns),
                    sites=len(entry.rows),
                    all_kw=None if all_w is None else all_w / 1e3,
                )
            )
    return Planned(
        asked_w=state.asked_w,
        expected=step.expected,
        response=response,
        steps=sorted(steps, key=lambda one: (one.start_ms, one.stretch)),
    )
