"""The routes by which a trader has a say: modes, approvals, and bids made by hand, until the gate.

What is said is kept with the caller's name, and read by whoever bids at its next turn; nothing goes to a market from here.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from fastapi import APIRouter, Path, Request
from pydantic import ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from shoal.api.bodies import Body
from shoal.api.contract import answer, answers
from shoal.api.door.rights import acting
from shoal.api.live import state
from shoal.api.market.act_answers import ApprovalAnswer, ManualAnswer, ManualList
from shoal.api.market.answers import MarketMode
from shoal.api.market.manual import ManualBody, file_of, manual_answer, problem_of, refused_answer
from shoal.api.market.routes import BidKey, OneResource, desk_of, known_bid, resource_of
from shoal.api.market.views import bid_row, mode_view
from shoal.api.plant import Plant
from shoal.bidding.cycle.consent import ManualBid
from shoal.bidding.cycle.manual import ManualFile, closes_ns
from shoal.bidding.desk_views import manual_word, manual_words, mode_of
from shoal.bidding.desk_words import (
    bid_to_judge,
    check_open,
    checked_manual,
    keep_manual,
    last_gate_ns,
    loosens,
    say_of_bid,
    set_mode,
    take_back,
)
from shoal.domain.errors import InvalidInputError, UnknownIdError
from shoal.domain.interval import NS_PER_HOUR
from shoal.domain.outcome import Rejected
from shoal.market.contract import Market
from shoal.market.standing import starts_of

KEPT_NS: Final = 48 * NS_PER_HOUR
"""A bid made by hand is listed for so long after its gate."""

ManualId: TypeAlias = Annotated[str, Path(max_length=200, description="The name of a bid made by hand.")]
ResourceInPath: TypeAlias = Annotated[str, Path(max_length=64, description="The resource.")]


class ModeBody(Body):
    """How a resource is to bid; what is left out stays as it is."""

    model_config = ConfigDict(extra="forbid")
    mode: Literal["automatic", "advisory", "off"] | None = None
    four_eyes: bool | None = None
    reason: str = Field(default="", max_length=500)


class JudgeBody(Body):
    """A word about a bid; `content_digest` is of what was looked at, so that a changed bid is not covered."""

    model_config = ConfigDict(extra="forbid")
    reason: str = Field(default="", max_length=500)
    content_digest: str | None = Field(default=None, max_length=128)


class ReasonBody(Body):
    """Why."""

    model_config = ConfigDict(extra="forbid")
    reason: str = Field(default="", max_length=500)


def market_act_routes(plant: Plant) -> APIRouter:
    """Return the routes; they take the right to trade, and use the database in threads."""
    router = APIRouter(prefix="/api/market", tags=["market"])
    desk = desk_of(plant)

    def judge(request: Request, key: str, body: JudgeBody, *, approved: bool) -> Response:
        now_ns, by = plant.now_ns(), acting(request).name
        record = known_bid(desk, key)
        check_open(record.closes_ns, now_ns)
        try:
            record = bid_to_judge(desk.cycles, key)
        except InvalidInputError as error:
            raise HTTPException(409, f"the bid is {error.value}: only a draft waits for a person") from error
        if body.content_digest not in (None, record.content_digest):
            raise HTTPException(409, "the bid has changed since it was looked at: read it again")
        if not approved and not body.reason.strip():
            raise InvalidInputError(field="reason", value=body.reason, fix="say why it is refused")
        _, verdict = say_of_bid(
            desk.consents, record, approved=approved, by=by, at_ns=now_ns, reason=body.reason
        )
        held = verdict.detail if isinstance(verdict, Rejected) else ""
        return answer(ApprovalAnswer(bid=bid_row(desk, record, now_ns), may_go=not held, words=held))

    @router.post("/bids/{key}/approve", responses=answers(ApprovalAnswer, 401, 403, 404, 409, 422))
    def approve_bid(request: Request, key: BidKey, body: JudgeBody) -> Response:
        """Let a bid go that waits for a person; where two are wanted, one of them does not suffice."""
        return judge(request, key, body, approved=True)

    @router.post("/bids/{key}/refuse", responses=answers(ApprovalAnswer, 401, 403, 404, 409, 422))
    def refuse_bid(request: Request, key: BidKey, body: JudgeBody) -> Response:
        """Hold a bid back that waits for a person; whoever bids withdraws it at its next turn."""
        return judge(request, key, body, approved=False)

    @router.put("/{resource}/mode", responses=answers(MarketMode, 401, 403, 404, 422))
    def put_mode(request: Request, resource: ResourceInPath, body: ModeBody) -> Response:
        """Say how a resource bids: by itself, after a person's approval, or not at all; and whether two persons are wanted.

        Where two are wanted, no trader alone can end that: it takes an administrator's right too.
        """
        resource_of(plant, resource)
        caller = acting(request)
        if "administer" not in caller.rights and loosens(
            desk.consents, resource, mode=body.mode, four_eyes=body.four_eyes
        ):
            raise HTTPException(
                403, "two persons are wanted here: a trader who is an administrator too may end that"
            )
        said = set_mode(
            desk.consents,
            resource,
            mode=body.mode,
            four_eyes=body.four_eyes,
            by=caller.name,
            at_ns=plant.now_ns(),
            reason=body.reason,
        )
        return answer(mode_view(said))

    @router.get("/manual", responses=answers(ManualList, 404, 422))
    def read_manual(resource: OneResource) -> Response:
        """Return the bids made by hand for a resource, drafts too, the newest first, until two days after their gate."""
        one, market = resource_of(plant, resource)
        now_ns = plant.now_ns()
        shown = [
            manual
            for manual in reversed(manual_words(desk.consents, resource))
            if manual.market_id == market.rules.market_id
            and closes_ns(market, manual.offers) > now_ns - KEPT_NS
        ]
        return answer(
            ManualList(
                as_of_ms=state.to_ms(now_ns),
                resource_id=resource,
                manual=[manual_answer(desk, manual, one, market, now_ns) for manual in shown],
            )
        )

    @router.post("/manual", responses=answers(ManualAnswer, 401, 403, 404, 409, 422))
    def draft_manual(request: Request, body: ManualBody) -> Response:
        """Keep a draft of a bid made by hand if the market would take it, else say what is wrong and where."""
        one, market = resource_of(plant, body.resource_id)
        now_ns, by = plant.now_ns(), acting(request).name
        try:
            if not body.reason.strip():
                raise InvalidInputError(field="reason", value=body.reason, fix="say why it is made by hand")
            file = file_of(body, one, market)
            if not any(starts_of(offer) for offer in file.offers):
                raise InvalidInputError(field="offers", value="none", fix="offer something in an interval")
            check_open(closes_ns(market, file.offers), now_ns)
            made, _ = checked_manual(
                desk.cycles,
                file,
                market,
                resource_id=body.resource_id,
                settlement_point=one.settlement_point,
                by=by,
                at_ns=now_ns,
                reason=body.reason,
            )
        except (InvalidInputError, UnknownIdError) as error:
            problems = [problem_of(error, body)]
            return answer(refused_answer(body, one, problems, by=by, now_ns=now_ns))
        kept = keep_manual(desk.consents, msgspec.structs.replace(made, drafted=True))
        return answer(manual_answer(desk, kept, one, market, now_ns))

    @router.post("/manual/{manual_id}/submit", responses=answers(ManualAnswer, 401, 403, 404, 409, 422))
    def submit_manual(request: Request, manual_id: ManualId) -> Response:
        """Hand a draft to whoever bids: it goes to the market at its next turn, and all else is planned around it."""
        manual = manual_word(desk.consents, manual_id)
        one, market = resource_of(plant, manual.resource_id)
        now_ns, by = plant.now_ns(), acting(request).name
        check_open(closes_ns(market, manual.offers), now_ns)
        if manual.withdrawn or not manual.drafted:
            what = "taken back" if manual.withdrawn else "submitted"
            raise HTTPException(409, f"{manual.by} has {what} it already")
        mode = mode_of(desk.consents, manual.resource_id)
        if mode.mode == "off":
            fix = (
                f"{mode.by} switched bidding of {mode.resource_id} off: set it to automatic or advisory first"
            )
            raise InvalidInputError(field="mode", value="off", fix=fix)
        _check_again(manual, market, by=by, now_ns=now_ns)
        said = msgspec.structs.replace(manual, drafted=False, by=by, at_ns=now_ns)
        return answer(manual_answer(desk, keep_manual(desk.consents, said), one, market, now_ns))

    def _check_again(manual: ManualBid, market: Market, *, by: str, now_ns: int) -> None:
        """Refuse what the market would refuse by now, for what stands may have changed since it was drafted."""
        first_ns = min(start_ns for offer in manual.offers for start_ns in starts_of(offer))
        checked_manual(
            desk.cycles,
            ManualFile(
                market_id=manual.market_id,
                delivery_date=market.delivery_date(first_ns).isoformat(),
                offers=manual.offers,
                category=manual.category,
                fixed=(),
            ),
            market,
            resource_id=manual.resource_id,
            settlement_point=resource_of(plant, manual.resource_id)[0].settlement_point,
            by=by,
            at_ns=now_ns,
            reason=manual.reason,
        )

    @router.post("/manual/{manual_id}/withdraw", responses=answers(ManualAnswer, 401, 403, 404, 409, 422))
    def withdraw_manual(request: Request, manual_id: ManualId, body: ReasonBody) -> Response:
        """Take a bid made by hand back: what comes next is planned without it; what stands in the market stays until then."""
        manual = manual_word(desk.consents, manual_id)
        one, market = resource_of(plant, manual.resource_id)
        now_ns, by = plant.now_ns(), acting(request).name
        if not manual.drafted:
            check_open(last_gate_ns(market, manual.offers), now_ns)
        if manual.withdrawn:
            raise HTTPException(409, f"{manual.by} took it back already")
        taken = take_back(desk.consents, manual_id, by=by, at_ns=now_ns, reason=body.reason)
        return answer(manual_answer(desk, taken, one, market, now_ns))

    return router
