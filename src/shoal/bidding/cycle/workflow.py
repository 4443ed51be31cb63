"""The durable workflow of one gate: gather, make, record, send.

DBOS keeps the result of each finished step, so whoever goes on with it begins at the step it was in. A step may run
twice: the decision is recorded under a name that is a function of the order, the bid is drafted under a key that is
one, too, and sending reads back first. What a step returns is small; what it made is in the store of cycles.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import msgspec
from dbos import DBOS, DBOSConfiguredInstance, SetWorkflowID

from shoal.bidding.cycle.budget import BudgetRules, carve
from shoal.bidding.cycle.by_hand import left_of
from shoal.bidding.cycle.climb import Climbed, Deciding, climb
from shoal.bidding.cycle.consent import Approval, ManualBid, ModeSet, manual_for, may_go, mode_at
from shoal.bidding.cycle.decision import Decision, GateStrategy, strategy
from shoal.bidding.cycle.footing import NOT_AT_THE_MARKET, footing_of
from shoal.bidding.cycle.known import GateRef, Known, Question, Situation, canonical, series_of
from shoal.bidding.cycle.ports import Bidder, FactKeeper, FactReader, Measuring
from shoal.bidding.cycle.submission import Submission
from shoal.domain.errors import UnavailableError, UnknownIdError
from shoal.domain.facts import SeriesId
from shoal.domain.outcome import Rejected
from shoal.market.awards import AwardedQuantity
from shoal.market.bids import MarketBid, Offer, RebidCategory, RebidReason
from shoal.market.contract import Market, RejectedBid
from shoal.market.standing import in_force
from shoal.store.consents import Consents
from shoal.store.cycles import Cycles, DecisionRecord, MarketBidRecord

STEP_TRIES: Final = 4
STEP_REST_S: Final = 0.2
POLL_S: Final = 0.05
FINAL_STATES: Final = frozenset({"accepted", "rejected", "superseded", "withdrawn"})
_NOT_GONE: Final = frozenset({"rejected", "withdrawn"})


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a workflow is to do: a bid of a resource for a gate, and what brought it about.

    Attributes:
        resource_id: Whose bid.
        gate: For which gate.
        trigger: ``schedule``, ``late``, ``coverage``, ``manual`` or ``again``.
        why: In words; goes to the market as the reason of a rebid.
        event_ns: When what brought it about happened.
        number: Counts the orders for one gate, from 0.
    """

    resource_id: str
    gate: GateRef
    trigger: str
    why: str
    event_ns: int
    number: int

    @property
    def name(self) -> str:
        """A function of the order: the workflow's id, the decision's, and the bid's idempotency key."""
        return f"{self.resource_id}-{self.gate.key}-{self.number}"


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """What the step of making came to: the key of the bid, empty when what stands is left as it is."""

    rung: str
    reason: str
    key: str


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """How an order ended: ``standing`` when nothing was to be sent, else the state of its bid."""

    state: str
    rung: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """What the workflows of one process work with.

    Attributes:
        bidders: How each resource bids, by resource.
        market: Returns a market by id.
        cycles: Decisions, bids, awards.
        consents: What people said.
        facts: The store of facts.
        measure: The twins.
        solver: Where rungs are decided.
        submission: The way of a bid to a market, by market.
        now_ns: The plant's clock.
        left_s: Wall seconds until an instant of the plant's clock.
        budget: How time is carved.
        executor_id: The name of this process.
    """

    bidders: Mapping[str, Bidder]
    market: Callable[[str], Market]
    cycles: Cycles
    consents: Consents
    facts: FactKeeper
    measure: Measuring
    solver: Deciding
    submission: Callable[[str], Submission]
    now_ns: Callable[[], int]
    left_s: Callable[[int], float]
    budget: BudgetRules
    executor_id: str


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, UnavailableError)


_step: Final = DBOS.step(
    retries_allowed=True, max_attempts=STEP_TRIES, interval_seconds=STEP_REST_S, should_retry=_may_pass
)


@DBOS.dbos_class()
class GateWorkflow(DBOSConfiguredInstance):
    """Makes and sends bids.

    Args:
        plant: What it works with.
        name: Of the instance; recovery finds it by this, so it must be the same in every process that shares the work.
    """

    def __init__(self, plant: Plant, *, name: str = "gate") -> None:
        super().__init__(config_name=name)
        self._plant = plant

    def bring(self, order: Order) -> Done:
        """Carry out an order once, whoever asks and however often; blocks until it ends."""
        with SetWorkflowID(order.name):
            handle = DBOS.start_workflow(self.carry_out, msgspec.json.encode(order).decode())
        return msgspec.json.decode(handle.get_result(polling_interval_sec=POLL_S), type=Done)

    @DBOS.workflow()
    def carry_out(self, order: str) -> str:
        """Carry out an order; return how it ended."""
        made = self.make(order, self.gather(order))
        return self.send(order, made)

    @_step
    def gather(self, order: str) -> str:
        """Measure the resource and note the instant; the decision is made from what is known at it."""
        asked = msgspec.json.decode(order, type=Order)
        return _packed(canonical(situation_of(self._plant, asked, shadow="")))

    @_step
    def make(self, order: str, situation: str) -> str:
        """Decide on the best rung that holds, record what was decided and why, and draft the bid."""
        plant, asked = self._plant, msgspec.json.decode(order, type=Order)
        about = msgspec.json.decode(_unpacked(situation), type=Situation)
        climbed = decide_now(plant, asked, about)
        plant.cycles.record_decision(decision_record(asked, about, climbed, shadow=False))
        # a predecessor may have died right here: what was recorded first is what holds
        kept = plant.cycles.decision(asked.name)
        decision = msgspec.json.decode(kept.decision, type=Decision)
        about = msgspec.json.decode(kept.situation, type=Situation)
        for facts in strategy(about.strategy).leaves(about, decision):
            plant.facts.record(facts)
        made = Made(rung=decision.rung, reason=climbed.reason, key="")
        if decision.offers and changes(plant, asked, about, decision):
            draft(plant, asked, about, decision, author="")
            made = msgspec.structs.replace(made, key=asked.name)
        return msgspec.json.encode(made).decode()

    @_step
    def send(self, order: str, made: str) -> str:
        """Bring the bid to the market if it may go."""
        what = msgspec.json.decode(made, type=Made)
        state = "standing" if not what.key else send_if_allowed(self._plant, what.key)
        return msgspec.json.encode(Done(state=state, rung=what.rung, reason=what.reason)).decode()


def _packed(content: bytes) -> str:
    """Return bytes as a short text: the workflow engine keeps what a step returns."""
    return base64.b85encode(zlib.compress(content)).decode()


def _unpacked(text: str) -> bytes:
    return zlib.decompress(base64.b85decode(text))


def situation_of(plant: Plant, order: Order, *, shadow: str) -> Situation:
    """Return the situation of an order now, for the resource's strategy or a shadow of it."""
    bidder = plant.bidders[order.resource_id]
    chosen = strategy(shadow or bidder.strategy)
    as_of_ns = plant.now_ns()
    measured = plant.measure(order.resource_id, order.gate, as_of_ns).for_plan(
        counts_cycles=chosen.counts_cycles
    )
    manual = manual_bids(plant, order, as_of_ns=as_of_ns)
    return Situation(
        resource_id=order.resource_id,
        settlement_point=bidder.settlement_point,
        gate=order.gate,
        as_of_ns=as_of_ns,
        record_no=plant.facts.last_record(),
        storage=measured.storage,
        silent_frac=measured.silent_frac,
        standing=standing_bid(plant, order),
        commitments=commitments(plant, order, from_ns=as_of_ns),
        fixed=tuple(fixed for one in manual for fixed in one.fixed),
        strategy=chosen.name,
        strategy_version=chosen.version,
        settings=dict(bidder.settings or {}),
        offered=msgspec.UNSET if measured.offered is None else measured.offered,
        budgets=measured.counted.budgets if chosen.counts_cycles and measured.counted else msgspec.UNSET,
    )


def decide_now(plant: Plant, order: Order, about: Situation) -> Climbed:
    """Return what is decided in a situation within the time that is left to the gate."""
    chosen = strategy(about.strategy)
    shares = [rung.share for rung in chosen.rungs]
    budget = carve(plant.left_s(order.gate.closes_ns), shares, rules=plant.budget)

    def acceptable(decision: Decision) -> str:
        if not decision.offers:
            return ""
        revision = 1 if about.standing is None else about.standing.revision + 1
        bid = bid_of(plant, order, about, decision.offers, key=order.name, revision=revision)
        market = plant.market(order.gate.market_id)
        verdict = market.validate(bid, received_ns=plant.now_ns(), standing=about.standing)
        return f"the market would refuse it: {verdict.detail}" if isinstance(verdict, RejectedBid) else ""

    return climb(
        about,
        chosen,
        lambda: known_of(plant.facts, about, chosen),
        plant.solver,
        budget.rung_s,
        gather_s=budget.gather_s,
        acceptable=acceptable,
    )


def known_of(facts: FactReader, about: Situation, chosen: GateStrategy) -> Known:
    """Return what was known in a situation: the same today and in a year."""
    spans: dict[SeriesId, tuple[int, int]] = {}
    for question in chosen.questions(about):
        from_ns, to_ns = spans.get(question.series_id, (question.from_ns, question.to_ns))
        spans[question.series_id] = min(from_ns, question.from_ns), max(to_ns, question.to_ns)
    found = {}
    for series_id, (from_ns, to_ns) in spans.items():
        answer = facts.as_of([series_id], from_ns, to_ns, about.as_of_ns, up_to_record=about.record_no)
        found[series_id] = series_of(answer[series_id])
    return Known(situation=about, facts=found)


def decision_record(order: Order, about: Situation, climbed: Climbed, *, shadow: bool) -> DecisionRecord:
    """Return a decision as it is kept."""
    questions: tuple[Question, ...] = ()
    if climbed.known.facts:
        asked = strategy(about.strategy).questions(about)
        questions = tuple(one for one in asked if one.series_id in climbed.known.facts)
    return DecisionRecord(
        decision_id=f"{order.name}-{about.strategy}" if shadow else order.name,
        resource_id=order.resource_id,
        market_id=order.gate.market_id,
        gate_key=order.gate.key,
        closes_ns=order.gate.closes_ns,
        as_of_ns=about.as_of_ns,
        strategy=about.strategy,
        strategy_version=about.strategy_version,
        rung=climbed.decision.rung,
        shadow=shadow,
        trigger=order.trigger,
        situation=canonical(about).decode(),
        questions=canonical(questions).decode(),
        known_digest=climbed.known.digest(),
        known_parts=canonical(climbed.known.parts()).decode(),
        tried=canonical(climbed.tried).decode(),
        decision=climbed.decision.content().decode(),
    )


def bid_of(
    plant: Plant, order: Order, about: Situation, offers: tuple[Offer, ...], *, key: str, revision: int
) -> MarketBid:
    """Return the bid that lists some offers; a revision after the daily gate says why where the market asks."""
    rules = plant.market(order.gate.market_id).rules.rebid
    rebid = None
    if revision > 1 and rules.reason_required:
        category: RebidCategory = "physical" if order.trigger == "coverage" else "forecast"
        rebid = RebidReason(
            category=category,
            reason=order.why[:120] or "expected prices changed",
            event_ns=min(order.event_ns, about.as_of_ns),
            aware_ns=about.as_of_ns,
            decision_ns=max(plant.now_ns(), about.as_of_ns),
        )
    return MarketBid(
        idempotency_key=key,
        resource_id=order.resource_id,
        market_id=order.gate.market_id,
        settlement_point=about.settlement_point,
        delivery_date=order.gate.delivery_date,
        revision=revision,
        offers=offers,
        rebid=rebid,
    )


def draft(
    plant: Plant, order: Order, about: Situation, decision: Decision, *, author: str
) -> MarketBidRecord:
    """Write the bid of a decision under the next revision of its day."""
    return plant.cycles.draft_bid(
        lambda revision: bid_of(plant, order, about, decision.offers, key=order.name, revision=revision),
        resource_id=order.resource_id,
        market_id=order.gate.market_id,
        delivery_date=order.gate.delivery_date,
        idempotency_key=order.name,
        gate_key=order.gate.key,
        closes_ns=order.gate.closes_ns,
        decision_id=order.name,
        author=author,
        created_ns=about.as_of_ns,
        digest=content_digest,
        by=plant.executor_id,
    )


def changes(plant: Plant, order: Order, about: Situation, decision: Decision) -> bool:
    """Return whether a decision's offers would change anything that stands."""
    if about.standing is None:
        return True
    revision = about.standing.revision + 1
    bid = bid_of(plant, order, about, decision.offers, key=order.name, revision=revision)
    return in_force(about.standing, bid).offers != about.standing.offers


def content_digest(bid: MarketBid) -> str:
    """Return the SHA-256 of what a bid offers, whatever its key and revision: what an approval covers."""
    return hashlib.sha256(
        canonical((bid.resource_id, bid.market_id, bid.delivery_date, bid.offers))
    ).hexdigest()


def send_if_allowed(plant: Plant, key: str) -> str:
    """Bring a drafted bid to the market if everybody who has a say lets it go; return its state, or ``waiting``.

    Raises:
        UnknownIdError: when there is no such bid.
    """
    record = plant.cycles.bid(key)
    if record is None:
        raise UnknownIdError("bid", key)
    if record.state in FINAL_STATES:
        return record.state
    now_ns, resource_id = plant.now_ns(), record.bid.resource_id
    if record.state == "draft":
        record = _beside_people(plant, record, now_ns=now_ns)
        if record.state in FINAL_STATES:
            return record.state
    said = plant.consents.said("mode", subject=resource_id, as_of_ns=now_ns)
    modes = [msgspec.json.decode(one.content, type=ModeSet) for one in said]
    approvals = plant.consents.said("approval", subject=key, as_of_ns=now_ns)
    verdict = may_go(
        mode_at(modes, resource_id, as_of_ns=now_ns),
        key=key,
        content_digest=record.content_digest,
        author=record.author,
        approvals=[msgspec.json.decode(one.content, type=Approval) for one in approvals],
    )
    submission = plant.submission(record.bid.market_id)
    if isinstance(verdict, Rejected) and record.state != "draft":
        return submission.resolve(key).state  # it may be there: that is learned, but nothing is sent any more
    if isinstance(verdict, Rejected):
        if verdict.reason in {"off", "refused"} or now_ns >= record.closes_ns:
            why = f"{verdict.reason}: {verdict.detail}"
            moved = plant.cycles.move_bid(key, "withdrawn", at_ns=now_ns, by=plant.executor_id, said=why)
            return moved.state
        return "waiting"
    if record.state == "draft":
        record, market = submission.raised(record), plant.market(record.bid.market_id)
        footing = footing_of(
            record, cycles=plant.cycles, submission=submission, market=market, now_ns=plant.now_ns()
        )
        if footing.refusal:
            moved = plant.cycles.move_bid(
                key, "withdrawn", at_ns=plant.now_ns(), by=plant.executor_id, said=footing.refusal
            )
            return moved.state
        if footing.waits_for and plant.now_ns() < record.closes_ns:
            return "waiting"  # for what becomes of the bid that it builds upon
    # what a market that is away does not take within this time is taken up again at a later turn
    budget_s = carve(plant.left_s(record.closes_ns), (), rules=plant.budget).submit_s
    return submission.bring(key, budget_s=budget_s).state


def _beside_people(plant: Plant, record: MarketBidRecord, *, now_ns: int) -> MarketBidRecord:
    """Return a draft without what people decided meanwhile, withdrawn when that is all of it."""
    left = left_of(record, consents=plant.consents, cycles=plant.cycles, now_ns=now_ns)
    key, names = record.bid.idempotency_key, ", ".join(left.people)
    if not left.people:
        return record
    if not left.offers:
        said = f"{names} decided all of it by hand"
        return plant.cycles.move_bid(key, "withdrawn", at_ns=now_ns, by=plant.executor_id, said=said)
    return plant.cycles.change_draft(
        key,
        lambda bid, _revision: msgspec.structs.replace(bid, offers=left.offers),
        digest=content_digest,
        at_ns=now_ns,
        by=plant.executor_id,
        said=f"leaves out what {names} decided by hand meanwhile",
    )


def manual_bids(plant: Plant, order: Order, *, as_of_ns: int) -> tuple[ManualBid, ...]:
    """Return the manual bids in force for the order's resource and market; one that did not go is planned around no more."""
    said = plant.consents.said("manual", subject=order.resource_id, as_of_ns=as_of_ns)
    decoded = [msgspec.json.decode(one.content, type=ManualBid) for one in said]
    found = manual_for(decoded, order.gate, order.resource_id, as_of_ns=as_of_ns)
    records = {one.manual_id: plant.cycles.bid(one.manual_id) for one in found}
    gone = {name for name, one in records.items() if one is not None and one.state in _NOT_GONE}
    return tuple(one for one in found if one.manual_id not in gone)


def standing_bid(plant: Plant, order: Order) -> MarketBid | None:
    """Return the whole that stands in the market for the order's day, as far as this plant knows."""
    standing: MarketBid | None = None
    for record in plant.cycles.bids(
        resource_id=order.resource_id, market_id=order.gate.market_id, delivery_date=order.gate.delivery_date
    ):
        if record.state not in NOT_AT_THE_MARKET:
            standing = in_force(standing, record.bid)
    return standing


def commitments(plant: Plant, order: Order, *, from_ns: int) -> tuple[AwardedQuantity, ...]:
    """Return what was awarded and is not delivered yet, up to the order's day, in the newest versions."""
    market = plant.market(order.gate.market_id)
    day, last = market.delivery_date(from_ns), date.fromisoformat(order.gate.delivery_date)
    found: list[AwardedQuantity] = []
    while day <= last:
        awards = plant.cycles.awards(order.resource_id, order.gate.market_id, day.isoformat())
        found += [one for one in awards[-1].quantities if one.end_ns > from_ns] if awards else []
        day += timedelta(days=1)
    return tuple(found)
