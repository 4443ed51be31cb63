"""A workflow run in the words of the interface: its steps against the gate, what it knew, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from itertools import pairwise
from typing import Final

import msgspec

from shoal.api.live import state
from shoal.api.live.views import run_view
from shoal.api.runs.answers import RunBid, RunDecision, RunDetail, RunGate, RunInput, RunStep
from shoal.bidding.cycle.climb import GATHER, Tried
from shoal.bidding.cycle.decision import Decision
from shoal.bidding.cycle.keeper import OPEN_STATES
from shoal.bidding.cycle.known import GateRef, Question, Situation
from shoal.bidding.runs import reason_of
from shoal.domain.contracts import SeriesContract
from shoal.domain.errors import UnknownIdError
from shoal.domain.interval import NS_PER_S
from shoal.domain.live import WorkflowRun
from shoal.market.registry import market_module
from shoal.settle.statement import format_amount
from shoal.store.cycles import BidStep, DecisionRecord, MarketBidRecord
from shoal.store.facts import FactStore
from shoal.store.ledger import Ledger

NOT_DECIDED: Final = "nothing was decided in it: it reads meters and published prices"
MADE_BY_HAND: Final = "a person made this bid; the machine decided nothing"
MOST_WORDS: Final = 40
_DIGITS: Final = 8
_OK: Final = "ok"
_TRIED: Final = msgspec.json.Decoder(tuple[Tried, ...])
_SITUATION: Final = msgspec.json.Decoder(Situation)
_DECISION: Final = msgspec.json.Decoder(Decision)
_QUESTIONS: Final = msgspec.json.Decoder(list[Question])


def read_run(ledger: Ledger, facts: FactStore, workflow_id: str, *, now_ns: int) -> RunDetail:
    """Return one run with all that is kept of it; blocks.

    Raises:
        UnknownIdError: when there is no such run.
    """
    run = ledger.run(workflow_id)
    if run is None:
        raise UnknownIdError("run", workflow_id)
    if run.kind != "bid":
        return _without_decision(run, NOT_DECIDED)
    record = ledger.bid(workflow_id)
    sent = ledger.steps(workflow_id)
    try:
        kept = ledger.decision(workflow_id)
    except UnknownIdError:
        return _by_hand(run, record, sent, now_ns)
    about = _SITUATION.decode(kept.situation)
    tried = _TRIED.decode(kept.tried)
    return RunDetail(
        run=run_view(run),
        zone=_zone(about.gate.market_id),
        gate=_gate(about.gate),
        sent_ms=_sent_ms(sent),
        late=is_late(run, sent, now_ns=now_ns),
        steps=[*_tried_steps(kept, tried), *_sent_steps(sent)],
        decision=_decision(kept, about, tried, facts),
        bid=None if record is None else _bid(record),
        no_replay="",
    )


def is_late(run: WorkflowRun, sent: Sequence[BidStep], *, now_ns: int) -> bool:
    """Whether a bid was sent when its gate had closed, or the gate closed and it was not sent."""
    if run.kind != "bid":
        return False
    if run.status == "missed":
        return True
    sent_ns = _sent_ns(sent)
    if sent_ns is not None:
        return sent_ns >= run.gate_ns
    return run.status in OPEN_STATES and now_ns >= run.gate_ns


def inputs_of(kept: DecisionRecord, about: Situation, facts: FactStore) -> list[RunInput]:
    """Return what was known of each series that was asked for, as of the decision; blocks."""
    asked = _QUESTIONS.decode(kept.questions)
    contracts = facts.contracts() if asked else {}
    return [_input(one, about, facts, contracts.get(one.series_id)) for one in asked]


def _input(one: Question, about: Situation, facts: FactStore, contract: SeriesContract | None) -> RunInput:
    found = facts.as_of([one.series_id], one.from_ns, one.to_ns, about.as_of_ns, up_to_record=about.record_no)
    known = found[one.series_id]
    stale_after_ns = None if contract is None else contract.stale_after_ns
    if not len(known.start_ns):
        return RunInput(
            series_id=one.series_id,
            from_ms=state.to_ms(one.from_ns),
            to_ms=state.to_ms(one.to_ns),
            intervals=0,
            known_ms=None,
            age_s=None,
            reaches_ms=None,
            source="",
            stale_after_s=None if stale_after_ns is None else stale_after_ns / NS_PER_S,
            state="missing",
        )
    newest = int(known.known_ns.argmax())
    known_ns = int(known.known_ns[newest])
    age_ns = about.as_of_ns - known_ns
    said = facts.history(one.series_id, int(known.start_ns[newest]))
    sources = [
        source for source, at_ns in zip(said.source, said.known_ns.tolist(), strict=True) if at_ns == known_ns
    ]
    judged = stale_after_ns is not None
    return RunInput(
        series_id=one.series_id,
        from_ms=state.to_ms(one.from_ns),
        to_ms=state.to_ms(one.to_ns),
        intervals=len(known.start_ns),
        known_ms=state.to_ms(known_ns),
        age_s=age_ns / NS_PER_S,
        reaches_ms=state.to_ms(int(known.end_ns.max())),
        source=sources[-1] if sources else "",
        stale_after_s=None if stale_after_ns is None else stale_after_ns / NS_PER_S,
        state=("stale" if stale_after_ns is not None and age_ns > stale_after_ns else "fresh")
        if judged
        else "not judged",
    )


def _decision(
    kept: DecisionRecord, about: Situation, tried: tuple[Tried, ...], facts: FactStore
) -> RunDecision:
    made = _DECISION.decode(kept.decision)
    return RunDecision(
        decision_id=kept.decision_id,
        trigger=kept.trigger,
        as_of_ms=state.to_ms(kept.as_of_ns),
        record_no=about.record_no,
        strategy=kept.strategy,
        strategy_version=kept.strategy_version,
        rung=kept.rung,
        better_rungs=max(len([one for one in tried if one.rung != GATHER]) - 1, 0),
        reason=reason_of(tried),
        reasons=list(made.reasons[:MOST_WORDS]),
        relaxed=list(made.relaxed[:MOST_WORDS]),
        expected_amount=None
        if made.expected_amount is None
        else format_amount(made.expected_amount, digits=_DIGITS),
        currency=_currency(about.gate.market_id),
        stored_kwh=about.storage.initial_energy_kwh,
        capacity_kwh=about.storage.energy_capacity_kwh,
        silent_frac=about.silent_frac,
        withheld=[one.said for one in about.less.withheld[:MOST_WORDS]],
        standing_revision=None if about.standing is None else about.standing.revision,
        fixed_by_hand=len(about.fixed),
        inputs=inputs_of(kept, about, facts),
    )


def _tried_steps(kept: DecisionRecord, tried: tuple[Tried, ...]) -> Iterator[RunStep]:
    """Yield the rungs; each begins where the one before ended, the first at the instant of the decision."""
    start_s = 0.0
    for at, one in enumerate(tried):
        yield RunStep(
            phase="decide",
            name=one.rung,
            start_ms=state.to_ms(kept.as_of_ns + round(start_s * NS_PER_S)),
            took_s=one.took_s,
            budget_s=one.budget_s,
            outcome=one.outcome,
            held=at == len(tried) - 1,
            by=f"{kept.strategy} {kept.strategy_version}",
        )
        start_s += one.took_s


def _sent_steps(steps: Sequence[BidStep]) -> Iterator[RunStep]:
    for before, step in pairwise(steps):
        yield RunStep(
            phase="send",
            name=step.state,
            start_ms=state.to_ms(before.at_ns),
            took_s=(step.at_ns - before.at_ns) / NS_PER_S,
            budget_s=None,
            outcome=step.said or step.state,
            held=step is steps[-1],
            by=step.by,
        )


def _without_decision(run: WorkflowRun, why: str) -> RunDetail:
    start_ms = state.to_ms(run.started_ns)
    return RunDetail(
        run=run_view(run),
        zone="",
        gate=None,
        sent_ms=None,
        late=False,
        steps=[
            RunStep(
                phase="settle",
                name=one.name,
                start_ms=start_ms,
                took_s=one.took_s,
                budget_s=None,
                outcome=one.outcome,
                held=one.outcome == _OK,
                by="",
            )
            for one in run.steps
        ],
        decision=None,
        bid=None,
        no_replay=why,
    )


def _by_hand(
    run: WorkflowRun, record: MarketBidRecord | None, sent: Sequence[BidStep], now_ns: int
) -> RunDetail:
    return RunDetail(
        run=run_view(run),
        zone="" if record is None else _zone(record.bid.market_id),
        gate=None if record is None else _gate_of_bid(record),
        sent_ms=_sent_ms(sent),
        late=is_late(run, sent, now_ns=now_ns),
        steps=list(_sent_steps(sent)),
        decision=None,
        bid=None if record is None else _bid(record),
        no_replay=MADE_BY_HAND,
    )


def _gate(gate: GateRef) -> RunGate:
    return RunGate(
        market_id=gate.market_id,
        product_id=gate.product_id,
        kind=gate.kind,
        delivery_date=gate.delivery_date,
        covers_start_ms=state.to_ms(gate.covers_start_ns),
        covers_end_ms=state.to_ms(gate.covers_end_ns),
        closes_ms=state.to_ms(gate.closes_ns),
    )


def _gate_of_bid(record: MarketBidRecord) -> RunGate | None:
    """Return the gate of a bid from its market's calendar, by its key."""
    market = market_module(record.bid.market_id)
    day = date.fromisoformat(record.bid.delivery_date)
    for product in market.rules.products:
        for one in market.gates(product.product_id, day):
            if one.closes_ns == record.closes_ns:
                return RunGate(
                    market_id=record.bid.market_id,
                    product_id=one.product_id,
                    kind=one.kind,
                    delivery_date=record.bid.delivery_date,
                    covers_start_ms=state.to_ms(one.covers.start_ns),
                    covers_end_ms=state.to_ms(one.covers.end_ns),
                    closes_ms=state.to_ms(one.closes_ns),
                )
    return None


def _bid(record: MarketBidRecord) -> RunBid:
    return RunBid(
        bid_key=record.bid.idempotency_key,
        revision=record.bid.revision,
        state=record.state,
        author=record.author,
    )


def _sent_ns(steps: Sequence[BidStep]) -> int | None:
    return next((one.at_ns for one in steps if one.state == "submitted"), None)


def _sent_ms(steps: Sequence[BidStep]) -> int | None:
    sent_ns = _sent_ns(steps)
    return None if sent_ns is None else state.to_ms(sent_ns)


def _zone(market_id: str) -> str:
    try:
        return market_module(market_id).rules.zone
    except UnknownIdError:
        return ""


def _currency(market_id: str) -> str:
    try:
        return market_module(market_id).rules.currency
    except UnknownIdError:
        return ""
