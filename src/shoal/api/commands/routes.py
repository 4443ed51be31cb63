"""The routes of commands: orders, kill switches and the audit; to change something takes an operator.

What is said is kept; the control role takes it up within a cycle, a kill switch within a second or two.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from fastapi import APIRouter, Path, Query, Request
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from shoal.api.bodies import Body
from shoal.api.commands.answers import AuditView, OrderView, StopView
from shoal.api.commands.door import CommandDoor
from shoal.api.contract import answer, answers
from shoal.api.dispatch.launching import launch
from shoal.api.dispatch.order_asked import (
    MAX_REASON_CHARACTERS,
    ChangeAsked,
    EventAsked,
    ScopeAsked,
    SetPointAsked,
    changed_order,
    scheduled_order,
    setpoint_order,
)
from shoal.api.door.rights import acting_operator
from shoal.api.live.state import to_ms
from shoal.control.asking import named, target_of
from shoal.control.schedule import check_known
from shoal.store.order_records import AuditEntry, Order, Stop, Trial
from shoal.store.orders import EVERY_STATE

MAX_LINES: Final = 1_000

OrderId = Annotated[str, Path(max_length=64, description="The order's id.")]
StopId = Annotated[str, Path(max_length=64, description="The kill switch's id.")]


class EndAsked(Body):
    """The end of an order; `now` calls it off at once, without its ramp."""

    now: bool = False
    reason: str = Field(default="", max_length=MAX_REASON_CHARACTERS)


class StopAsked(ScopeAsked):
    """A kill switch for one site, one group or the fleet."""

    reason: str = Field(min_length=1, max_length=MAX_REASON_CHARACTERS)


class ReleaseAsked(Body):
    """The release of a kill switch."""

    reason: str = Field(min_length=1, max_length=MAX_REASON_CHARACTERS)


def command_routes(door: CommandDoor) -> APIRouter:
    """Return the routes; they read and write the database, so they run in threads."""
    router = APIRouter(prefix="/api/commands", tags=["commands"])
    orders = door.orders

    @router.get("/orders", responses=answers(list[OrderView]))
    def read_orders(
        over: Annotated[bool, Query(description="Also what is over or ended.")] = False,
    ) -> Response:
        """Return the orders that stand, the earliest start first."""
        found = (
            orders.orders(after_ns=-1, states=EVERY_STATE) if over else orders.orders(after_ns=door.now_ns())
        )
        trials = orders.trials()
        return answer([order_view(order, trials.get(order.order_id)) for order in found])

    @router.get("/orders/{order_id}", responses=answers(OrderView, 404))
    def read_order(order_id: OrderId) -> Response:
        """Return one order."""
        return answer(order_view(orders.order(order_id), orders.trials().get(order_id)))

    @router.post("/setpoints", responses=answers(OrderView, 403, 404, 409, 422))
    def send(request: Request, asked: SetPointAsked) -> Response:
        """Let sites together follow a power from now on; for operators only.

        409 when a second person has to approve it: propose it then.
        """
        by, seen = acting_operator(request), door.previews.of(asked.preview, asked)
        return answer(order_view(launch(door, setpoint_order(asked, by=by, now_ns=door.now_ns()), seen=seen)))

    @router.post("/events", responses=answers(OrderView, 403, 404, 409, 422))
    def schedule(request: Request, asked: EventAsked) -> Response:
        """Tell sites an event ahead; for operators only.

        409 when a second person has to approve it: propose it then.
        """
        by, seen = acting_operator(request), door.previews.of(asked.preview, asked)
        order = scheduled_order(asked, door.fleet, by=by, now_ns=door.now_ns())
        return answer(order_view(launch(door, order, seen=seen)))

    @router.post("/orders/{order_id}/change", responses=answers(OrderView, 403, 404, 409, 422))
    def change(request: Request, order_id: OrderId, asked: ChangeAsked) -> Response:
        """Extend or shorten an order; for operators only.

        409 when it becomes longer and a second person has to approve that: propose it then.
        """
        by, held = acting_operator(request), orders.order(order_id)
        order = changed_order(held, asked, by=by, now_ns=door.now_ns())
        return answer(order_view(launch(door, order, held=held)))

    @router.post("/orders/{order_id}/end", responses=answers(OrderView, 403, 404, 422))
    def end(request: Request, order_id: OrderId, asked: EndAsked) -> Response:
        """Cancel an order, or abort it at once; for operators only."""
        by = acting_operator(request)
        state: Literal["aborted", "cancelled"] = "aborted" if asked.now else "cancelled"
        return answer(
            order_view(orders.end(order_id, state, by=by, at_ns=door.now_ns(), reason=asked.reason))
        )

    @router.get("/stops", responses=answers(list[StopView]))
    def read_stops(
        released: Annotated[bool, Query(description="Also those of the past.")] = False,
    ) -> Response:
        """Return the kill switches that hold, the earliest first."""
        return answer([stop_view(stop) for stop in orders.stops(released=released)])

    @router.post("/stops", responses=answers(StopView, 403, 404, 422))
    def kill(request: Request, asked: StopAsked) -> Response:
        """Stop commanding a site, a group or the fleet; for operators only."""
        by, now_ns, scope = acting_operator(request), door.now_ns(), asked.scope()
        check_known(scope, door.fleet)
        kind, target = target_of(scope)
        stop = Stop(
            stop_id=named("stop", now_ns, kind, target),
            kind=kind,
            target=target,
            since_ns=now_ns,
            by=by,
            reason=asked.reason,
        )
        return answer(stop_view(orders.stop(stop)))

    @router.post("/stops/{stop_id}/release", responses=answers(StopView, 403, 404, 422))
    def release(request: Request, stop_id: StopId, asked: ReleaseAsked) -> Response:
        """Release a kill switch; for operators only, and for those who are named for it."""
        by, now_ns = acting_operator(request), door.now_ns()
        if door.may_release and by not in door.may_release:
            refused = AuditEntry(
                at_ns=now_ns,
                by=by,
                action="release",
                subject=stop_id,
                outcome="refused",
                reason="not_authorised",
            )
            orders.note([refused])
            raise HTTPException(403, "only those who are named for it may release a kill switch")
        return answer(stop_view(orders.release(stop_id, by=by, at_ns=now_ns, reason=asked.reason)))

    @router.get("/audit", responses=answers(list[AuditView], 422))
    def read_audit(
        about: Annotated[str, Query(max_length=64, description="An order, stop, site or person.")] = "",
        refused: Annotated[bool, Query(description="Only what was refused.")] = False,
        limit: Annotated[int, Query(ge=1, le=MAX_LINES)] = 100,
        before: Annotated[int, Query(ge=0, description="Only lines with smaller numbers; 0 for all.")] = 0,
    ) -> Response:
        """Return who asked what and what devices refused, the newest first."""
        lines = orders.audit(limit, subject=about, before=before, refused_only=refused)
        return answer([audit_view(line) for line in lines])

    return router


def order_view(order: Order, trial: Trial | None = None) -> OrderView:
    """Return an order as it is shown."""
    return OrderView(
        order_id=order.order_id,
        revision=order.revision,
        program=order.program,
        sites=order.scope.sites,
        groups=order.scope.groups,
        fleet=order.scope.fleet,
        start_ms=to_ms(order.start_ns),
        end_ms=to_ms(order.end_ns),
        spec=msgspec.to_builtins(order.spec),
        state=order.state,
        by=order.by,
        at_ms=to_ms(order.at_ns),
        reason=order.reason,
        trial=None if trial is None else f"{trial.state} on {len(trial.sites)} sites {trial.reason}".rstrip(),
    )


def stop_view(stop: Stop) -> StopView:
    """Return a kill switch as it is shown."""
    return StopView(
        stop_id=stop.stop_id,
        kind=stop.kind,
        target=stop.target,
        since_ms=to_ms(stop.since_ns),
        by=stop.by,
        reason=stop.reason,
        released_ms=None if stop.released_ns is None else to_ms(stop.released_ns),
        released_by=stop.released_by,
        release_reason=stop.release_reason,
    )


def audit_view(line: AuditEntry) -> AuditView:
    """Return a line of the audit as it is shown."""
    return AuditView(
        number=line.number,
        at_ms=to_ms(line.at_ns),
        by=line.by,
        action=line.action,
        subject=line.subject,
        outcome=line.outcome,
        reason=line.reason,
        detail=line.detail,
    )
