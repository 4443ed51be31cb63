"""The routes of dispatch: looking at an order before it is launched, four eyes, and the orders with how they go.

Launching, changing and ending are the doors of commands and events; nothing here commands the fleet but an approval.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Final, Literal, TypeAlias

import numpy as np
from fastapi import APIRouter, Path, Query, Request
from pydantic import Field
from starlette.responses import Response

from shoal.api.bodies import Body
from shoal.api.contract import answer, answers
from shoal.api.dispatch.feed import OrderDesk, order_feed
from shoal.api.dispatch.order_answers import (
    OrderDetail,
    OrderNow,
    OrderPage,
    OrderSeries,
    Phase,
    Proposal,
    ProposalPage,
    ProposalState,
)
from shoal.api.dispatch.order_asked import (
    MAX_REASON_CHARACTERS,
    MAX_TOKEN_CHARACTERS,
    DispatchAsked,
    PreviewToken,
    check_order_asked,
    order_of,
)
from shoal.api.dispatch.order_list import OrderList
from shoal.api.dispatch.preview import PreviewDesk
from shoal.api.dispatch.preview_answers import PreviewSite, PreviewSites, PreviewView, Reason
from shoal.api.dispatch.previews import KeptPreview
from shoal.api.dispatch.proposals import DispatchProposals, proposal_view
from shoal.api.dispatch.reasons import REASONS
from shoal.api.dispatch.taking_now import TakingNow
from shoal.api.door.rights import acting_operator
from shoal.api.fleet.latest import FleetLatest, latest_of
from shoal.api.live.state import MS_PER_NS, to_ms
from shoal.api.plant import Plant
from shoal.domain.errors import InvalidInputError, UnavailableError
from shoal.store.order_records import Order
from shoal.store.proposals import Proposals, Verdict

MAX_ROWS: Final = 1_000
_LATEST_MS: Final = 2**62 // MS_PER_NS

ReasonAsked: TypeAlias = Literal[""] | Reason
Token = Annotated[str, Path(max_length=MAX_TOKEN_CHARACTERS, description="The preview's token.")]
ProposalId = Annotated[str, Path(max_length=64, description="The proposal's id.")]
OrderId = Annotated[str, Path(max_length=64, description="The order's id.")]
Instant = Annotated[
    int | None,
    Query(ge=0, le=_LATEST_MS, description="Milliseconds since 1970, UTC; of the order when left out."),
]
Points = Annotated[int, Query(ge=10, le=4_000, description="About how many points at most.")]
Offset = Annotated[int, Query(ge=0, description="How many to leave out at the beginning.")]
Limit = Annotated[int, Query(ge=1, le=MAX_ROWS, description="How many to list at most.")]


class ProposalAsked(DispatchAsked):
    """An order that somebody else is asked to approve, why, and the preview that was looked at."""

    reason: str = Field(min_length=1, max_length=MAX_REASON_CHARACTERS)
    preview: PreviewToken = ""


class DecisionAsked(Body):
    """What is said with a decision; a refusal says why."""

    note: str = Field(default="", max_length=MAX_REASON_CHARACTERS)


def dispatch_routes(plant: Plant) -> APIRouter:
    """Return the routes of previews and proposals."""
    router = APIRouter(prefix="/api/dispatch", tags=["dispatch"])
    door = plant.commands
    desk = PreviewDesk(plant)
    store = door.proposals or Proposals(plant.database)
    proposals = DispatchProposals(door, store)
    taking = TakingNow(plant)
    orders = OrderDesk(plant, taking)
    plant.hub.feeds.add(order_feed(orders))
    above_kw = None if door.second is None else door.second.above_kw

    @router.post("/preview", responses=answers(PreviewView, 403, 404, 422, 503))
    async def look(request: Request, asked: DispatchAsked) -> Response:
        """Return what an order would come to: who would take part, who not and why, power, cost, rebound. Nothing is sent."""
        by, now_ns = acting_operator(request), plant.now_ns()
        kind, what = asked.one()

        def make() -> Order:
            order = order_of(what, orders=door.orders, fleet=plant.fleet, by=by, now_ns=now_ns)
            check_order_asked(order, plant.fleet, door.book, now_ns=now_ns)
            return order

        order = await asyncio.to_thread(make)
        return answer(await desk.look(order, kind, what))

    @router.get("/preview/{token}", responses=answers(PreviewView, 404))
    def read_preview(token: Token) -> Response:
        """Return a preview again, as it was; they are kept for a quarter of an hour."""
        return answer(door.previews.find(token).view)

    @router.get("/preview/{token}/sites", responses=answers(PreviewSites, 404, 422))
    def read_sites(
        token: Token,
        reason: Annotated[ReasonAsked, Query(description="Only these; empty for all in scope.")] = "",
        offset: Offset = 0,
        limit: Limit = 100,
    ) -> Response:
        """Return the sites of a preview, of one reason or all, some at a time."""
        return answer(_sites(plant, door.previews.find(token), reason, offset, limit))

    @router.post("/proposals", responses=answers(Proposal, 403, 404, 422))
    def propose(request: Request, asked: ProposalAsked) -> Response:
        """Ask another operator to approve an order; it is checked as if it were launched now, and nothing is sent."""
        by = acting_operator(request)
        what = DispatchAsked.model_validate(asked.model_dump(exclude={"reason", "preview"}))
        return answer(proposals.propose(what, by=by, reason=asked.reason, token=asked.preview))

    @router.get("/proposals", responses=answers(ProposalPage, 422))
    def read_proposals(
        state: Annotated[ProposalState | None, Query(description="Only these.")] = None,
        offset: Offset = 0,
        limit: Limit = 100,
    ) -> Response:
        """Return proposals: those that wait first, the earliest to be void on top, then the newest."""
        now_ns = plant.now_ns()
        total, found = store.proposals("dispatch", now_ns=now_ns, state=state, offset=offset, limit=limit)
        return answer(
            ProposalPage(
                above_kw=above_kw,
                now_ms=to_ms(now_ns),
                total=total,
                offset=offset,
                limit=limit,
                rows=[proposal_view(one) for one in found],
            )
        )

    @router.get("/proposals/{proposal_id}", responses=answers(Proposal, 404))
    def read_proposal(proposal_id: ProposalId) -> Response:
        """Return one proposal."""
        return answer(proposal_view(store.proposal(proposal_id, now_ns=plant.now_ns())))

    def decide(request: Request, proposal_id: str, verdict: Verdict, asked: DecisionAsked) -> Response:
        by = acting_operator(request)
        return answer(proposals.decide(proposal_id, verdict, by=by, note=asked.note))

    @router.post("/proposals/{proposal_id}/approve", responses=answers(Proposal, 403, 404, 409, 422))
    def approve(request: Request, proposal_id: ProposalId, asked: DecisionAsked) -> Response:
        """Approve what somebody else proposed: it is launched at once. 409 for one's own, and for what is decided or void."""
        return decide(request, proposal_id, "approved", asked)

    @router.post("/proposals/{proposal_id}/refuse", responses=answers(Proposal, 403, 404, 409, 422))
    def refuse(request: Request, proposal_id: ProposalId, asked: DecisionAsked) -> Response:
        """Refuse a proposal, and say why."""
        return decide(request, proposal_id, "refused", asked)

    @router.post("/proposals/{proposal_id}/withdraw", responses=answers(Proposal, 403, 404, 409, 422))
    def withdraw(request: Request, proposal_id: ProposalId, asked: DecisionAsked) -> Response:
        """Take back what one proposed oneself."""
        return decide(request, proposal_id, "withdrawn", asked)

    _add_orders(router, plant, OrderList(plant, store, taking), orders)
    return router


def _add_orders(router: APIRouter, plant: Plant, listed: OrderList, desk: OrderDesk) -> None:
    """Add the routes of orders."""

    async def seen() -> FleetLatest | None:
        """Return how the sites are, when any order runs and they answer."""
        try:
            if await asyncio.to_thread(listed.any_running, plant.now_ns()):
                return await latest_of(plant)
        except UnavailableError:
            pass  # the orders are told all the same
        return None

    @router.get("", responses=answers(OrderPage, 422, 503))
    async def read_orders(
        phase: Annotated[Phase | None, Query(description="Only these.")] = None,
        every_kind: Annotated[bool, Query(description="Also prices, limits and standing responses.")] = False,
        offset: Offset = 0,
        limit: Limit = 100,
    ) -> Response:
        """Return the orders: what runs, what is planned, what is past; with what is commanded and measured now."""
        latest = await seen()

        def read() -> OrderPage:
            return listed.page(phase=phase, every_kind=every_kind, offset=offset, limit=limit, latest=latest)

        return answer(await asyncio.to_thread(read))

    @router.get("/orders/{order_id}", responses=answers(OrderDetail, 404, 503))
    async def read_order(order_id: OrderId) -> Response:
        """Return one order: what it asks, the preview and proposal that it came from, and all that was done to it."""
        latest = await seen()
        return answer(await asyncio.to_thread(listed.detail, order_id, latest))

    @router.get("/orders/{order_id}/now", responses=answers(OrderNow, 404, 503))
    async def read_now(order_id: OrderId) -> Response:
        """Return an order as it goes: what the feed `order/<id>` says once a second."""
        return answer(await desk.now(order_id))

    @router.get("/orders/{order_id}/series", responses=answers(OrderSeries, 404, 422, 503))
    async def read_series(
        order_id: OrderId, from_ms: Instant = None, to_ms: Instant = None, points: Points = 600
    ) -> Response:
        """Return what an order asked and what its sites did, from a little before it up to now; the feed goes on from there."""
        return answer(await desk.series(order_id, from_ms, to_ms, points))


def _sites(plant: Plant, kept: KeptPreview, reason: ReasonAsked, offset: int, limit: int) -> PreviewSites:
    rows = kept.rows
    chosen = np.arange(len(rows.rows))
    if reason:
        if reason not in REASONS:
            raise InvalidInputError(field="reason", value=reason, fix=f"give one of {', '.join(REASONS)}")
        chosen = np.flatnonzero(rows.reason == REASONS.index(reason))
    ids = plant.fleet.site_ids

    def plain(value: float) -> float | None:
        return None if value != value else round(value, 4)

    return PreviewSites(
        token=kept.view.token,
        reason=reason,
        total=len(chosen),
        offset=offset,
        limit=limit,
        rows=[
            PreviewSite(
                site_id=str(ids[int(rows.rows[at])]),
                reason=REASONS[int(rows.reason[at])],
                asked_kw=int(rows.asked_w[at]) / 1e3,
                expected_kw=int(rows.expected_w[at]) / 1e3,
                sustained_kw=int(rows.held_w[at]) / 1e3,
                soc_frac=plain(float(rows.soc_frac[at])),
                age_s=plain(float(rows.age_s[at])),
            )
            for at in chosen[offset : offset + limit].tolist()
        ],
    )
