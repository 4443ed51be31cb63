"""The routes of events: calling them hours ahead, changing and calling them off, and how they go; operators act."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from shoal.api.contract import answer, answers
from shoal.api.event_answers import EventView, ExpectedView, TargetView
from shoal.api.rights import acting_operator
from shoal.api.routes_commands import CommandDoor
from shoal.api.state import MS_PER_NS, to_ms
from shoal.control.asking import named
from shoal.control.event_calls import check_call, event_order, group_calls, left_of, make_call
from shoal.domain.interval import Interval
from shoal.store.order_records import CallSpec, Order, Scope
from shoal.store.orders import EVERY_STATE

MOST_GROUPS: Final = 1_000
MOST_LINES: Final = 100_000
MOST_REASON_CHARACTERS: Final = 500
_LATEST_MS: Final = 2**62 // MS_PER_NS

EventId = Annotated[str, Path(max_length=60, description="The event's id.")]
KeptNow = Callable[[str], dict[str, Any]]
"""Returns what the controller remembers of an event; empty when it has not taken it up."""


class TargetAsked(BaseModel):
    """What a group delivers throughout."""

    group: str
    power_kw: float = Field(gt=0, lt=1e9)


class CallAsked(BaseModel):
    """An event; notice is given now. It begins and ends at quarters of an hour."""

    event_id: str | None = Field(default=None, max_length=60)
    program: str = "emergency"
    targets: list[TargetAsked] = Field(min_length=1, max_length=MOST_GROUPS)
    start_ms: int = Field(ge=0, le=_LATEST_MS)
    end_ms: int = Field(ge=0, le=_LATEST_MS)
    feeds_in: bool = True
    measure: str = "battery"
    price_per_mwh: float = Field(default=0.0, ge=0, le=1e7)
    owner_share_permille: int = Field(default=800, ge=0, le=1000)
    currency: str = Field(default="USD", min_length=3, max_length=3)
    reason: str = Field(default="", max_length=MOST_REASON_CHARACTERS)


class CallChanged(BaseModel):
    """A change of an event; what is absent stays. `revision` is the one that was read."""

    revision: int = Field(ge=1)
    targets: list[TargetAsked] | None = Field(default=None, min_length=1, max_length=MOST_GROUPS)
    end_ms: int | None = Field(default=None, ge=0, le=_LATEST_MS)
    reason: str = Field(default="", max_length=MOST_REASON_CHARACTERS)


class CallEnded(BaseModel):
    """Why an event is called off."""

    reason: str = Field(default="", max_length=MOST_REASON_CHARACTERS)


def event_routes(door: CommandDoor, kept_now: KeptNow) -> APIRouter:
    """Return the routes; they read and write the database, so they run in threads."""
    router = APIRouter(prefix="/api/events", tags=["events"])
    orders = door.orders

    def view(order: Order) -> EventView:
        return event_view(order, kept_now(order.order_id), orders.audit(MOST_LINES, subject=order.order_id))

    def keep(order: Order) -> Response:
        check_call(order, door.fleet, door.book, now_ns=door.now_ns())
        return answer(view(orders.put(order)))

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

    @router.post("", responses=answers(EventView, 403, 404, 422))
    def call(request: Request, asked: CallAsked) -> Response:
        """Call an event; for operators only."""
        by, now_ns = acting_operator(request), door.now_ns()
        window = Interval(start_ns=asked.start_ms * MS_PER_NS, end_ns=asked.end_ms * MS_PER_NS)
        targets = [(one.group, one.power_kw) for one in asked.targets]
        return keep(
            make_call(
                event_id=asked.event_id or named(asked.program, now_ns, by, targets, window),
                program=asked.program,
                targets=targets,
                window=window,
                by=by,
                now_ns=now_ns,
                reason=asked.reason,
                feeds_in=asked.feeds_in,
                measure=asked.measure,
                price_per_mwh=asked.price_per_mwh,
                owner_share_permille=asked.owner_share_permille,
                currency=asked.currency,
            )
        )

    @router.post("/{event_id}/change", responses=answers(EventView, 403, 404, 422))
    def change(request: Request, event_id: EventId, asked: CallChanged) -> Response:
        """Change an event that is ahead or under way; for operators only."""
        by = acting_operator(request)
        held = event_order([orders.order(event_id)], event_id)
        spec, scope = held.spec, held.scope
        if asked.targets is not None:
            groups = group_calls((one.group, one.power_kw) for one in asked.targets)
            spec = msgspec.structs.replace(spec, targets=groups)
            scope = Scope(groups=tuple(one.group for one in groups))
        return keep(
            msgspec.structs.replace(
                held,
                revision=asked.revision + 1,
                scope=scope,
                spec=spec,
                end_ns=held.end_ns if asked.end_ms is None else asked.end_ms * MS_PER_NS,
                by=by,
                at_ns=door.now_ns(),
                reason=asked.reason or held.reason,
            )
        )

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
