"""The routes of commands: orders, kill switches and the audit; to change something takes an operator.

What is said is kept; the control role takes it up within a cycle, a kill switch within a second or two.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import msgspec
from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from shoal.api.command_answers import AuditView, OrderView, StopView
from shoal.api.contract import answer, answers
from shoal.api.rights import acting_operator
from shoal.api.state import MS_PER_NS, to_ms
from shoal.control.asking import check_asked, gently, named, power_w_of, scope_of, target_of
from shoal.control.schedule import check_known
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_MINUTE
from shoal.programs.program import ProgramBook
from shoal.store.order_records import (
    AuditEntry,
    CanarySpec,
    EventSpec,
    Order,
    Scope,
    SetPointSpec,
    Stop,
    Trial,
)
from shoal.store.orders import EVERY_STATE, Orders

MAX_LINES: Final = 1_000
MAX_NAMES: Final = 10_000
MAX_REASON_CHARACTERS: Final = 500
MAX_MINUTES: Final = 14 * 24 * 60

OrderId = Annotated[str, Path(max_length=64, description="The order's id.")]
StopId = Annotated[str, Path(max_length=64, description="The kill switch's id.")]


class ScopeAsked(BaseModel):
    """Who is meant: sites, groups, or the fleet."""

    sites: list[str] = Field(default_factory=list, max_length=MAX_NAMES)
    groups: list[str] = Field(default_factory=list, max_length=MAX_NAMES)
    fleet: bool = False

    def scope(self) -> Scope:
        """Return it as it is kept."""
        return scope_of(sites=self.sites, groups=self.groups, fleet=self.fleet)


class CanaryAsked(BaseModel):
    """A trial on a few sites first."""

    share_frac: float = Field(default=0.02, gt=0, lt=1)
    watch_s: float = Field(default=300.0, gt=0)
    responding_frac: float = Field(default=0.9, ge=0, le=1)
    error_frac: float = Field(default=0.2, ge=0)


class SetPointAsked(ScopeAsked):
    """A power of all sites together, from now on; in one direction, or neither to rest."""

    minutes: float = Field(ge=1, le=MAX_MINUTES)
    charge_kw: float | None = None
    discharge_kw: float | None = None
    program: str = "emergency"
    reason: str = Field(default="", max_length=MAX_REASON_CHARACTERS)
    canary: CanaryAsked | None = None


class EventAsked(ScopeAsked):
    """An event that devices are told ahead; a power is of all together, or of each site with `each`."""

    kind: Literal["power", "charge", "hold", "local"]
    start_ms: int = Field(ge=0, le=2**62 // MS_PER_NS)
    minutes: float = Field(ge=1, le=MAX_MINUTES)
    charge_kw: float | None = None
    discharge_kw: float | None = None
    each: bool = False
    soc_frac: float = Field(default=0.0, ge=0, le=1)
    solar_only: bool = False
    slope_kw_per_min: float | None = Field(default=None, gt=0)
    may_opt_out: bool = True
    program: str = "peak"
    reason: str = Field(default="", max_length=MAX_REASON_CHARACTERS)
    canary: CanaryAsked | None = None


class ChangeAsked(BaseModel):
    """A change of an order; what is absent stays. `revision` is the one that was read."""

    revision: int = Field(ge=1)
    end_ms: int | None = Field(default=None, ge=0, le=2**62 // MS_PER_NS)
    reason: str = Field(default="", max_length=MAX_REASON_CHARACTERS)


class EndAsked(BaseModel):
    """The end of an order; `now` calls it off at once, without its ramp."""

    now: bool = False
    reason: str = Field(default="", max_length=MAX_REASON_CHARACTERS)


class StopAsked(ScopeAsked):
    """A kill switch for one site, one group or the fleet."""

    reason: str = Field(min_length=1, max_length=MAX_REASON_CHARACTERS)


class ReleaseAsked(BaseModel):
    """The release of a kill switch."""

    reason: str = Field(min_length=1, max_length=MAX_REASON_CHARACTERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandDoor:
    """What the routes stand on.

    Attributes:
        orders: Where orders are kept.
        fleet: Who can be meant.
        book: The programs.
        now_ns: The plant's clock.
        may_release: Operators who may release a kill switch; empty for all of them.
    """

    orders: Orders
    fleet: Fleet
    book: ProgramBook
    now_ns: Callable[[], int]
    may_release: Collection[str] = ()


def command_routes(door: CommandDoor) -> APIRouter:
    """Return the routes; they read and write the database, so they run in threads."""
    router = APIRouter(prefix="/api/commands", tags=["commands"])
    orders = door.orders

    def keep(order: Order) -> Response:
        check_asked(order, door.fleet, door.book, now_ns=door.now_ns())
        return answer(order_view(orders.put(order)))

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

    @router.post("/setpoints", responses=answers(OrderView, 403, 404, 422))
    def send(request: Request, asked: SetPointAsked) -> Response:
        """Let sites together follow a power from now on; for operators only."""
        by, now_ns, scope = acting_operator(request), door.now_ns(), asked.scope()
        power_w = power_w_of(charge_kw=asked.charge_kw, discharge_kw=asked.discharge_kw)
        return keep(
            Order(
                order_id=named("send", now_ns, by, scope, power_w),
                program=asked.program,
                scope=scope,
                start_ns=now_ns,
                end_ns=now_ns + round(asked.minutes * NS_PER_MINUTE),
                spec=SetPointSpec(power_w=power_w),
                canary=_canary(asked.canary),
                by=by,
                at_ns=now_ns,
                reason=asked.reason,
            )
        )

    @router.post("/events", responses=answers(OrderView, 403, 404, 422))
    def schedule(request: Request, asked: EventAsked) -> Response:
        """Tell sites an event ahead; for operators only."""
        by, now_ns, scope = acting_operator(request), door.now_ns(), asked.scope()
        power_w = power_w_of(charge_kw=asked.charge_kw, discharge_kw=asked.discharge_kw)
        spec = EventSpec(
            kind=asked.kind,
            battery_w=power_w if asked.each else 0,
            group_w=None if asked.each or not power_w else power_w,
            soc_frac=asked.soc_frac,
            solar_only=asked.solar_only,
            may_opt_out=asked.may_opt_out,
        )
        start_ns = asked.start_ms * MS_PER_NS
        order = Order(
            order_id=named(asked.kind, now_ns, by, scope, spec),
            program=asked.program,
            scope=scope,
            start_ns=start_ns,
            end_ns=start_ns + round(asked.minutes * NS_PER_MINUTE),
            spec=spec,
            canary=_canary(asked.canary),
            by=by,
            at_ns=now_ns,
            reason=asked.reason,
        )
        if asked.slope_kw_per_min is not None:
            how = gently(order, door.fleet, limit_kw_per_min=asked.slope_kw_per_min)
            spec = msgspec.structs.replace(spec, ramp_s=how.ramp_s, spread_s=how.spread_s)
            order = msgspec.structs.replace(order, spec=spec)
        return keep(order)

    @router.post("/orders/{order_id}/change", responses=answers(OrderView, 403, 404, 422))
    def change(request: Request, order_id: OrderId, asked: ChangeAsked) -> Response:
        """Extend or shorten an order; for operators only."""
        by = acting_operator(request)
        held = orders.order(order_id)
        return keep(
            msgspec.structs.replace(
                held,
                revision=asked.revision + 1,
                end_ns=held.end_ns if asked.end_ms is None else asked.end_ms * MS_PER_NS,
                by=by,
                at_ns=door.now_ns(),
                reason=asked.reason or held.reason,
            )
        )

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


def _canary(asked: CanaryAsked | None) -> CanarySpec | None:
    if asked is None:
        return None
    return CanarySpec(
        share_frac=asked.share_frac,
        watch_s=asked.watch_s,
        responding_frac=asked.responding_frac,
        error_frac=asked.error_frac,
    )
