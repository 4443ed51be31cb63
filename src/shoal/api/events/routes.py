"""The routes of events: calling them hours ahead, changing and calling them off, and how they go; operators act."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request
from pydantic import Field
from starlette.responses import Response

from shoal.api.bodies import Body
from shoal.api.commands.door import CommandDoor
from shoal.api.contract import answer, answers
from shoal.api.dispatch.launching import launch
from shoal.api.dispatch.order_asked import (
    MAX_REASON_CHARACTERS,
    CallAsked,
    CallChanged,
    call_order,
    changed_call,
)
from shoal.api.door.rights import acting_operator
from shoal.api.events.answers import EventView, ExpectedView, TargetView
from shoal.api.live.state import to_ms
from shoal.control.event_calls import event_order, left_of
from shoal.store.order_records import CallSpec, Order
from shoal.store.orders import EVERY_STATE

MOST_LINES: Final = 100_000

EventId = Annotated[str, Path(max_length=60, description="The event's id.")]
KeptNow = Callable[[str], dict[str, Any]]
"""Returns what the controller remembers of an event; empty when it has not taken it up."""


class CallEnded(Body):
    """Why an event is called off."""

    reason: str = Field(default="", max_length=MAX_REASON_CHARACTERS)


def event_routes(door: CommandDoor, kept_now: KeptNow) -> APIRouter:
    """Return the routes; they read and write the database, so they run in threads."""
    router = APIRouter(prefix="/api/events", tags=["events"])
    orders = door.orders

    def view(order: Order) -> EventView:
        return event_view(order, kept_now(order.order_id), orders.audit(MOST_LINES, subject=order.order_id))

    @router.get("", responses=answers(list[EventView]))
    def read_events(over: Annotated[bool, Query(description="Also what is over.")] = False) -> Response:
        """Return the events that are called, the earliest start first."""
        found = (
            orders.orders(after_ns=-1, states=EVERY_STATE) if over else orders.orders(after_ns=door.now_ns())
        )
        return answer([view(order) for order in found if isinstance(order.spec, CallSpec)])

    @router.get("/{event_id}", responses=answers(EventView, 404))
    def read_event(event_id: EventId) -> Response:
        """Return one event."""
        return answer(view(event_order([orders.order(event_id)], event_id)))

    @router.post("", responses=answers(EventView, 403, 404, 409, 422))
    def call(request: Request, asked: CallAsked) -> Response:
        """Call an event; for operators only.

        409 when a second person has to approve it: propose it then.
        """
        by, seen = acting_operator(request), door.previews.of(asked.preview, asked)
        return answer(view(launch(door, call_order(asked, by=by, now_ns=door.now_ns()), seen=seen)))

    @router.post("/{event_id}/change", responses=answers(EventView, 403, 404, 409, 422))
    def change(request: Request, event_id: EventId, asked: CallChanged) -> Response:
        """Change an event that is ahead or under way; for operators only.

        409 when it becomes larger or longer and a second person has to approve that: propose it then.
        """
        by = acting_operator(request)
        held = event_order([orders.order(event_id)], event_id)
        return answer(view(launch(door, changed_call(held, asked, by=by, now_ns=door.now_ns()), held=held)))

    @router.post("/{event_id}/cancel", responses=answers(EventView, 403, 404, 422))
    def cancel(request: Request, event_id: EventId, asked: CallEnded) -> Response:
        """Call an event off; for operators only."""
        by = acting_operator(request)
        event_order([orders.order(event_id)], event_id)
        ended = orders.end(event_id, "cancelled", by=by, at_ns=door.now_ns(), reason=asked.reason)
        return answer(view(ended))

    return router


def event_view(order: Order, now: dict[str, Any], lines: list[Any]) -> EventView:
    """Return an event as it is shown."""
    spec = order.spec
    assert isinstance(spec, CallSpec)
    told = now.get("expected")
    expected = None
    if told is not None:
        powers = {
            f"{name}_kw": told[f"{name}_w"] / 1e3
            for name in ("target", "asked", "expected", "low", "high", "missing")
        }
        expected = ExpectedView(**powers, sites=dict(told["reasons"]))
    return EventView(
        event_id=order.order_id,
        revision=order.revision,
        program=order.program,
        targets=tuple(TargetView(group=one.group, power_kw=one.target_w / 1e3) for one in spec.targets),
        called_ms=to_ms(spec.called_ns),
        start_ms=to_ms(order.start_ns),
        end_ms=to_ms(order.end_ns),
        state=order.state,
        by=order.by,
        reason=order.reason,
        phase=str(now.get("phase", "not taken up")),
        expected=expected,
        left={site: to_ms(at_ns) for site, at_ns in left_of(lines).items()},
        results=tuple(line.detail for line in reversed(lines) if line.action == "result"),
    )
