"""Products, bids and their stories as `/api/market` answers them, from what the desk reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from shoal.api.live.state import to_ms
from shoal.api.market.answers import (
    BidAuditStep,
    BidAward,
    BidAwarded,
    BidDecision,
    BidDetail,
    BidInput,
    BidReceipt,
    BidRow,
    BidTried,
    MarketMode,
    MarketProduct,
    MarketResource,
)
from shoal.api.market.offers import offer_views
from shoal.api.settlement.views import money
from shoal.bidding.cycle.consent import Approval, ModeSet
from shoal.bidding.desk_plans import plan_of
from shoal.bidding.desk_prices import why_price
from shoal.bidding.desk_views import (
    AwardedOf,
    Told,
    approval_of,
    approvals_of,
    awarded_of,
    inputs_of,
    keys_that_stand,
    mode_of,
    told_of,
    words_of,
)
from shoal.bidding.runs import MANUAL, made_by, reason_in
from shoal.domain.fleet import Resource
from shoal.market.awards import MarketAward
from shoal.market.contract import Gate, Market, Product
from shoal.market.standing import starts_of
from shoal.store.consents import Consents
from shoal.store.cycles import Cycles, MarketBidRecord
from shoal.store.facts import FactStore

W_PER_MW: Final = 1e6
DAYS_AROUND: Final = 2
"""A gate closes at most so many days before what it covers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What the desk reads: bids, words about them, and facts."""

    cycles: Cycles
    consents: Consents
    facts: FactStore


def mode_view(mode: ModeSet) -> MarketMode:
    """Return how a resource bids."""
    return MarketMode(
        resource_id=mode.resource_id,
        mode=mode.mode,
        four_eyes=mode.four_eyes,
        by=mode.by,
        at_ms=to_ms(mode.at_ns) if mode.by else None,
        reason=mode.reason,
    )


def resource_view(resource: Resource, market: Market, mode: ModeSet) -> MarketResource:
    """Return a resource that bids."""
    return MarketResource(
        resource_id=resource.resource_id,
        market_id=market.rules.market_id,
        market_name=market.rules.name,
        settlement_point=resource.settlement_point,
        zone=market.rules.zone,
        currency=market.rules.currency,
        mode=mode_view(mode),
    )


# ── products ────────────────────────────────────────────────────────────────────────────────────────────────


def product_rows(desk: Desk, resource: Resource, market: Market, now_ns: int) -> Iterator[MarketProduct]:
    """Yield each product of a resource's market at the gate that closed last and at the next one of each kind."""
    mode = mode_of(desk.consents, resource.resource_id)
    days: dict[str, _Day] = {}
    for product in market.products(market.delivery_date(now_ns)):
        for day, gate in _gates_around(market, product, now_ns):
            if day not in days:
                days[day] = _day(desk, resource, market, day)
            yield _product_row(desk, market, product, gate, days[day], resource, mode, now_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Day:
    """A delivery day's bids and what they were made by."""

    date: str
    records: list[MarketBidRecord]
    tried: dict[str, tuple[str, str]]
    award: MarketAward | None


def _day(desk: Desk, resource: Resource, market: Market, day: str) -> _Day:
    market_id = market.rules.market_id
    records = desk.cycles.bids(resource_id=resource.resource_id, market_id=market_id, delivery_date=day)
    awards = desk.cycles.awards(resource.resource_id, market_id, day)
    tried = desk.cycles.tried([one.decision_id for one in records if one.decision_id])
    return _Day(date=day, records=records, tried=tried, award=awards[-1] if awards else None)


def _gates_around(market: Market, product: Product, now_ns: int) -> list[tuple[str, Gate]]:
    """Return, by kind, the gate of a product that closed last and the one that closes next, each with its delivery day."""
    today = market.delivery_date(now_ns)
    closed: dict[str, tuple[str, Gate]] = {}
    coming: dict[str, tuple[str, Gate]] = {}
    for ahead in range(-1, DAYS_AROUND + 1):
        day = today + timedelta(days=ahead)
        if all(one.product_id != product.product_id for one in market.products(day)):
            continue
        for gate in market.gates(product.product_id, day):
            if gate.closes_ns <= now_ns:
                closed[gate.kind] = day.isoformat(), gate
            else:
                coming.setdefault(gate.kind, (day.isoformat(), gate))
    return sorted([*closed.values(), *coming.values()], key=lambda one: one[1].closes_ns)


def _product_row(
    desk: Desk,
    market: Market,
    product: Product,
    gate: Gate,
    day: _Day,
    resource: Resource,
    mode: ModeSet,
    now_ns: int,
) -> MarketProduct:
    record = next((one for one in reversed(day.records) if _lists(one, product.product_id, gate)), None)
    approvals = [] if record is None else approvals_of(desk.consents, record.bid.idempotency_key)
    rung, reason = ("", "") if record is None else _rung(record, day.tried)
    published = day.award is not None and any(
        one.product == product.product_id and gate.covers.start_ns <= one.start_ns < gate.covers.end_ns
        for one in day.award.quantities
    )
    return MarketProduct(
        resource_id=resource.resource_id,
        market_id=market.rules.market_id,
        product_id=product.product_id,
        name=product.name,
        kind=product.kind,
        gate_kind=gate.kind,
        delivery_date=day.date,
        covers_start_ms=to_ms(gate.covers.start_ns),
        covers_end_ms=to_ms(gate.covers.end_ns),
        gate_ms=to_ms(gate.closes_ns),
        publishes_ms=None if gate.publishes_ns is None else to_ms(gate.publishes_ns),
        state="open" if now_ns < gate.closes_ns else "published" if published else "closed",
        bid_key=None if record is None else record.bid.idempotency_key,
        revision=None if record is None else record.bid.revision,
        status=None if record is None else record.state,
        author="" if record is None else record.author,
        rung=rung,
        rung_reason=reason,
        mode=mode.mode,
        approval="not needed" if record is None else approval_of(mode, record, approvals)[0],
    )


def _lists(record: MarketBidRecord, product_id: str, gate: Gate) -> bool:
    return any(
        offer.product == product_id
        and any(gate.covers.start_ns <= start_ns < gate.covers.end_ns for start_ns in starts_of(offer))
        for offer in record.bid.offers
    )


def _rung(record: MarketBidRecord, tried: Mapping[str, tuple[str, str]]) -> tuple[str, str]:
    """Return the rung that made a bid, and why better ones did not; who made it where a person did."""
    if record.decision_id not in tried:
        return (MANUAL if record.author else ""), made_by(record)
    rung, steps = tried[record.decision_id]
    return rung, reason_in(steps)


# ── bids ────────────────────────────────────────────────────────────────────────────────────────────────────


def bid_rows(
    desk: Desk, every: Sequence[MarketBidRecord], shown: Sequence[MarketBidRecord], now_ns: int
) -> list[BidRow]:
    """Return some bids of a day.

    Args:
        desk: The stores.
        every: All bids of the resource and day.
        shown: Those that are wanted.
        now_ns: The present.
    """
    stand = keys_that_stand(every)
    tried = desk.cycles.tried([one.decision_id for one in shown if one.decision_id])
    modes: dict[str, ModeSet] = {}
    judged = set(desk.consents.subjects("approval"))
    rows = []
    for record in shown:
        name, key = record.bid.resource_id, record.bid.idempotency_key
        if name not in modes:
            modes[name] = mode_of(desk.consents, name)
        approvals = approvals_of(desk.consents, key) if key in judged else []
        rows.append(
            _bid_row(
                record,
                modes[name],
                approvals,
                stands=key in stand,
                rung=_rung(record, tried),
                submitted_ns=_submitted_ns(desk, record),
                now_ns=now_ns,
            )
        )
    return rows


def bid_row(desk: Desk, record: MarketBidRecord, now_ns: int) -> BidRow:
    """Return one bid."""
    (row,) = bid_rows(desk, bids_of_day(desk, record), [record], now_ns)
    return row


def bids_of_day(desk: Desk, record: MarketBidRecord) -> list[MarketBidRecord]:
    """Return all bids of the resource, market and day of a bid, by revision."""
    bid = record.bid
    return desk.cycles.bids(
        resource_id=bid.resource_id, market_id=bid.market_id, delivery_date=bid.delivery_date
    )


def _submitted_ns(desk: Desk, record: MarketBidRecord) -> int | None:
    if record.state == "draft":
        return None
    steps = desk.cycles.steps(record.bid.idempotency_key)
    return next((step.at_ns for step in steps if step.state == "submitted"), None)


def _bid_row(
    record: MarketBidRecord,
    mode: ModeSet,
    approvals: Sequence[Approval],
    *,
    stands: bool,
    rung: tuple[str, str],
    submitted_ns: int | None,
    now_ns: int,
) -> BidRow:
    bid = record.bid
    approval, words = approval_of(mode, record, approvals)
    return BidRow(
        key=bid.idempotency_key,
        resource_id=bid.resource_id,
        market_id=bid.market_id,
        delivery_date=bid.delivery_date,
        revision=bid.revision,
        state=record.state,
        author=record.author,
        created_ms=to_ms(record.created_ns),
        submitted_ms=None if submitted_ns is None else to_ms(submitted_ns),
        gate_ms=to_ms(record.closes_ns),
        open=now_ns < record.closes_ns,
        stands=stands,
        content_digest=record.content_digest,
        decision_id=record.decision_id or None,
        rung=rung[0],
        rung_reason=rung[1],
        products=sorted({offer.product for offer in bid.offers}),
        intervals=len({(offer.product, start) for offer in bid.offers for start in starts_of(offer)}),
        approval=approval,
        approval_words=words,
    )


def bid_detail(desk: Desk, record: MarketBidRecord, market: Market, now_ns: int) -> BidDetail:
    """Return all that is kept about a bid; solves the plan behind it again where that says why its prices are so."""
    bid, told = record.bid, told_of(desk.cycles, record.decision_id) if record.decision_id else None
    mode = mode_of(desk.consents, bid.resource_id)
    approvals = approvals_of(desk.consents, bid.idempotency_key)
    plan = None if told is None else plan_of(told)
    return BidDetail(
        as_of_ms=to_ms(now_ns),
        bid=bid_row(desk, record, now_ns),
        settlement_point=bid.settlement_point,
        zone=market.rules.zone,
        currency=market.rules.currency,
        offers=offer_views(
            market,
            bid.offers,
            why=why_price(market, record, told),
            rows={} if plan is None else {row.start_ns: row for row in plan.rows},
        ),
        rebid_category="" if bid.rebid is None else bid.rebid.category,
        rebid_reason="" if bid.rebid is None else bid.rebid.reason,
        decision=None if told is None else decision_view(desk, told),
        manual_id=bid.idempotency_key if record.author else None,
        audit=_audit(desk, record, mode, approvals),
        receipt=_receipt(record),
        award=_award(awarded_of(desk.cycles, bid)),
    )


def decision_view(desk: Desk, told: Told) -> BidDecision:
    """Return the decision behind a bid."""
    record, decision = told.record, told.decision
    return BidDecision(
        decision_id=record.decision_id,
        trigger=record.trigger,
        as_of_ms=to_ms(record.as_of_ns),
        strategy=record.strategy,
        strategy_version=record.strategy_version,
        rung=record.rung,
        tried=[BidTried(rung=one.rung, took_s=one.took_s, outcome=one.outcome) for one in told.tried],
        reasons=list(decision.reasons),
        relaxed=list(decision.relaxed),
        expected_amount=None if decision.expected_amount is None else money(decision.expected_amount),
        stored_kwh=told.about.storage.initial_energy_kwh,
        capacity_kwh=told.about.storage.energy_capacity_kwh,
        silent_frac=told.about.silent_frac,
        inputs=[
            BidInput(
                series_id=one.series_id,
                from_ms=to_ms(one.from_ns),
                to_ms=to_ms(one.to_ns),
                intervals=one.intervals_count,
                newest_known_ms=None if one.newest_known_ns is None else to_ms(one.newest_known_ns),
                newest_age_s=one.newest_age_s,
                newest_interval_end_ms=None if one.newest_end_ns is None else to_ms(one.newest_end_ns),
            )
            for one in inputs_of(desk.facts, told)
        ],
    )


def _audit(
    desk: Desk, record: MarketBidRecord, mode: ModeSet, approvals: Sequence[Approval]
) -> list[BidAuditStep]:
    """Return what was said of a bid and done to it, by time."""
    found = [
        BidAuditStep(at_ms=to_ms(one.at_ns), by=one.by, what=one.what, said=one.reason, kind="word")
        for one in words_of(mode, record, approvals)
        if one.at_ns is not None
    ]
    found += [
        BidAuditStep(at_ms=to_ms(step.at_ns), by=step.by, what=step.state, said=step.said, kind="step")
        for step in desk.cycles.steps(record.bid.idempotency_key)
    ]
    return sorted(found, key=lambda one: one.at_ms)


def _receipt(record: MarketBidRecord) -> BidReceipt | None:
    receipt = record.receipt
    if receipt is None:
        return None
    return BidReceipt(
        state=receipt.state,
        bid_id=receipt.bid_id,
        received_ms=to_ms(receipt.received_ns),
        reason=receipt.reason,
        field=receipt.field,
        value=receipt.value,
        fix=receipt.fix,
    )


def _award(found: AwardedOf | None) -> BidAward | None:
    if found is None:
        return None
    return BidAward(
        version=found.award.version,
        published_ms=to_ms(found.award.published_ns),
        quantities=[
            BidAwarded(
                product=one.product,
                start_ms=to_ms(one.start_ns),
                end_ms=to_ms(one.end_ns),
                power_mw=one.power_w / W_PER_MW,
                price_per_mwh=one.price_per_mwh,
            )
            for one in found.quantities
        ],
    )
