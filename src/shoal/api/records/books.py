"""What the page shows of the ledger: prices with the forecast's fan, bids with awards, delivery and money.

Everything is read anew each time, as known at one instant, and turned into the page's words; nothing is remembered.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import reduce
from typing import Final

import msgspec

from shoal.api.live.model import RUNS_KEPT
from shoal.api.live.state import (
    AwardedInterval,
    Bid,
    BidStatus,
    Money,
    MoneyDay,
    Order,
    PriceSeries,
    to_ms,
)
from shoal.api.live.views import Books, DeliveryHour, ResourceTotals, run_view
from shoal.bidding.awarded import Awarded
from shoal.bidding.runs import MANUAL, made_by, reason_in
from shoal.domain.errors import UnknownIdError
from shoal.domain.facts import SeriesId
from shoal.domain.fleet import Fleet, Resource
from shoal.domain.ids import ResourceId
from shoal.domain.interval import NS_PER_HOUR
from shoal.market import series
from shoal.market.awards import SubmissionState
from shoal.market.bids import MarketBid, Orders
from shoal.market.registry import market_module
from shoal.market.standing import in_force
from shoal.market.types import Award
from shoal.settle.statement import AMOUNT_PER_CURRENCY, SettledInterval, Statement
from shoal.store.cycles import MarketBidRecord
from shoal.store.facts import FactStore
from shoal.store.ledger import Ledger

PAST_NS: Final = 48 * NS_PER_HOUR
AHEAD_NS: Final = 72 * NS_PER_HOUR
DELIVERY_PAST_NS: Final = 72 * NS_PER_HOUR
MONEY_DAYS: Final = 31
BID_DAYS: Final = range(-1, 3)
DEFAULT_CURRENCY: Final = "USD"
FAN: Final = (1, 2, 3)
"""The columns of a forecast that say within what, and around what, a price is expected: after the mean."""
_WH_PER_MWH: Final = 1_000_000
_STATEMENT: Final = msgspec.json.Decoder(Statement)
_SHOWN_AS: Final[dict[SubmissionState, BidStatus]] = {
    "draft": "building",
    "submitted": "submitted",
    "unknown": "unknown",
    "accepted": "accepted",
    "superseded": "accepted",
    "rejected": "rejected",
    "withdrawn": "rejected",
}
_NOTHING_STANDS: Final = ("rejected", "withdrawn")
_STANDS: Final = ("accepted", "superseded")


def read_books(ledger: Ledger, facts: FactStore, fleet: Fleet, now_ns: int) -> Books:
    """Return what the ledger says at an instant; blocks.

    Raises:
        UnavailableError: when the database cannot be reached.
        CorruptStateError: when its file is damaged.
    """
    statements = {
        resource.resource_id: [
            _STATEMENT.decode(kept.payload) for kept in ledger.statements(resource.resource_id)
        ]
        for resource in fleet.resources
    }
    known = known_resources(fleet.resources)
    awarded = Awarded(cycles=ledger, market=market_module)
    awards: dict[ResourceId, list[Award]] = {resource.resource_id: [] for resource in fleet.resources}
    for resource in known:
        awards[resource.resource_id] = awarded.days(
            resource, now_ns - DELIVERY_PAST_NS, now_ns + AHEAD_NS, as_of_ns=now_ns
        )
    points = dict.fromkeys((resource.market_id, resource.settlement_point) for resource in known)
    return Books(
        prices=tuple(price_series(facts, market_id, point, now_ns) for market_id, point in points),
        bids=tuple(_bids(ledger, known, awards, now_ns)),
        delivery={
            name: delivery_hours(awards[name], statements[name], from_ns=now_ns - DELIVERY_PAST_NS)
            for name in statements
        },
        totals={name: totals_of(settled) for name, settled in statements.items() if settled},
        money=money_of(statements, currency=_currency(known)),
        runs=tuple(run_view(run) for run in ledger.runs(RUNS_KEPT)),
    )


def known_resources(resources: Sequence[Resource]) -> tuple[Resource, ...]:
    """Return the resources whose market is known: nobody bids for the others."""

    def known(resource: Resource) -> bool:
        try:
            market_module(resource.market_id)
        except UnknownIdError:
            return False
        return True

    return tuple(resource for resource in resources if known(resource))


def price_series(facts: FactStore, market_id: str, settlement_point: str, now_ns: int) -> PriceSeries:
    """Return the last two days, what is published of the next, and the fan of the latest forecasts."""
    from_ns = now_ns // NS_PER_HOUR * NS_PER_HOUR - PAST_NS
    product = market_module(market_id).rules.products[0].product_id
    prices = series.price_series(market_id, settlement_point, product)
    forecast = SeriesId(f"forecast/{prices}")
    found = facts.as_of([prices, forecast], from_ns, now_ns + AHEAD_NS, now_ns)
    published = found[prices]
    actual = dict(zip(published.start_ns.tolist(), published.value[:, 0].tolist(), strict=True))
    expected = found[forecast]
    whole = expected.value.shape[1] > max(FAN)
    fan = {
        start_ns: tuple(_finite(row[column]) for column in FAN) if whole else (None, _finite(row[0]), None)
        for start_ns, row in zip(expected.start_ns.tolist(), expected.value.tolist(), strict=True)
    }
    hours = sorted(actual.keys() | fan.keys())
    blank: tuple[float | None, ...] = (None, None, None)
    return PriceSeries(
        settlement_point=settlement_point,
        start_ms=[to_ms(start_ns) for start_ns in hours],
        actual=[_finite(actual[start_ns]) if start_ns in actual else None for start_ns in hours],
        q05=[fan.get(start_ns, blank)[0] for start_ns in hours],
        q50=[fan.get(start_ns, blank)[1] for start_ns in hours],
        q95=[fan.get(start_ns, blank)[2] for start_ns in hours],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DayBid:
    """What one resource bids for one day.

    Attributes:
        record: The bid that says how it stands: the newest one that was not refused or withdrawn, else the newest.
        whole: What stands in the market, or would.
        rung: The rung that made it.
        rung_reason: Why better ones did not.
        submitted_ns: When it was sent, None before.
    """

    record: MarketBidRecord
    whole: MarketBid
    rung: str
    rung_reason: str
    submitted_ns: int | None


def day_bids(ledger: Ledger, records: Sequence[MarketBidRecord]) -> Iterator[DayBid]:
    """Yield what is bid for each resource and day, from bids by resource, day and revision."""
    days: dict[tuple[str, str], list[MarketBidRecord]] = {}
    for record in records:
        days.setdefault((record.bid.resource_id, record.bid.delivery_date), []).append(record)
    chosen = {
        key: next((one for one in reversed(some) if one.state not in _NOTHING_STANDS), some[-1])
        for key, some in days.items()
    }
    tried = ledger.tried([record.decision_id for record in chosen.values()])
    for key, record in chosen.items():
        stands = [one.bid for one in days[key] if one.state in _STANDS or one is record]
        rung, steps = tried.get(record.decision_id, (MANUAL if record.author else "", ""))
        sent = (step.at_ns for step in ledger.steps(record.bid.idempotency_key) if step.state == "submitted")
        yield DayBid(
            record=record,
            whole=reduce(in_force, stands[1:], stands[0]),
            rung=rung,
            rung_reason=reason_in(steps) if steps else made_by(record),
            submitted_ns=next(sent, None),
        )


def bid_view(bid: DayBid, award: Award | None) -> Bid:
    """Return a bid with its award in the page's words."""
    record = bid.record
    return Bid(
        resource_id=record.bid.resource_id,
        delivery_date=record.bid.delivery_date,
        status=_SHOWN_AS[record.state],
        rung=bid.rung,
        rung_reason=bid.rung_reason,
        gate_ms=to_ms(record.closes_ns),
        submitted_ms=None if bid.submitted_ns is None else to_ms(bid.submitted_ns),
        orders=[
            Order(
                start_ms=to_ms(order.start_ns),
                end_ms=to_ms(order.end_ns),
                side=order.side,
                quantity_mw=order.quantity_mw,
                limit_price_per_mwh=order.limit_price_per_mwh,
            )
            for offer in bid.whole.offers
            if isinstance(offer, Orders)
            for order in offer.orders
        ],
        award=None if award is None else award_intervals(award),
    )


def award_intervals(award: Award) -> list[AwardedInterval]:
    """Return what was awarded, in MWh."""
    return [
        AwardedInterval(
            start_ms=to_ms(item.start_ns),
            end_ms=to_ms(item.end_ns),
            energy_mwh=item.energy_wh / _WH_PER_MWH,
            price_per_mwh=item.price_per_mwh,
        )
        for item in award.intervals
    ]


def delivery_hours(
    awards: Sequence[Award], statements: Sequence[Statement], *, from_ns: int
) -> tuple[DeliveryHour, ...]:
    """Return the intervals since `from_ns` in order: settled ones from the statements, the others awarded only."""
    hours = {
        item.start_ns: DeliveryHour(
            start_ms=to_ms(item.start_ns), award_mwh=item.energy_wh / _WH_PER_MWH, delivered_mwh=None
        )
        for award in awards
        for item in award.intervals
        if item.start_ns >= from_ns
    }
    for interval in _intervals(statements):
        if interval.start_ns >= from_ns:
            hours[interval.start_ns] = DeliveryHour(
                start_ms=to_ms(interval.start_ns),
                award_mwh=interval.award_wh / _WH_PER_MWH,
                delivered_mwh=interval.delivered_wh / _WH_PER_MWH,
            )
    return tuple(hours[start_ns] for start_ns in sorted(hours))


def totals_of(statements: Sequence[Statement]) -> ResourceTotals:
    """Return the sums over the settled days; delivery counts up to the award and in its direction."""
    award_wh = delivered_wh = 0
    for interval in _intervals(statements):
        size_wh = abs(interval.award_wh)
        forward_wh = interval.delivered_wh if interval.award_wh > 0 else -interval.delivered_wh
        award_wh += size_wh
        delivered_wh += min(max(forward_wh, 0), size_wh)
    return ResourceTotals(
        revenue=sum(statement.net_amount for statement in statements) / AMOUNT_PER_CURRENCY,
        award_total_mwh=award_wh / _WH_PER_MWH,
        delivered_total_mwh=delivered_wh / _WH_PER_MWH,
    )


def money_of(statements: Mapping[ResourceId, Sequence[Statement]], *, currency: str) -> Money:
    """Return the revenue over all settled days, and the latest of these days."""
    every = [statement for settled in statements.values() for statement in settled]
    latest = sorted({statement.delivery_date for statement in every})[-MONEY_DAYS:]
    return Money(
        currency=currency,
        revenue=sum(one.net_amount for one in every) / AMOUNT_PER_CURRENCY if every else None,
        perfect_foresight=None,
        by_day=[
            MoneyDay(
                delivery_date=one.delivery_date,
                resource_id=one.resource_id,
                revenue=one.net_amount / AMOUNT_PER_CURRENCY,
                # what was traded, both directions added: a battery that buys and sells the same has not been idle
                award_mwh=sum(abs(part.award_wh) for part in one.intervals) / _WH_PER_MWH,
                delivered_mwh=sum(abs(part.delivered_wh) for part in one.intervals) / _WH_PER_MWH,
                status="provisional" if any(part.estimated for part in one.intervals) else "settled",
            )
            for one in sorted(every, key=lambda one: one.delivery_date)
            if one.delivery_date in latest
        ],
    )


def _bids(
    ledger: Ledger, resources: Sequence[Resource], awards: Mapping[ResourceId, Sequence[Award]], now_ns: int
) -> Iterator[Bid]:
    """Yield the bid of each resource for the days from yesterday to the day after tomorrow."""
    for resource in resources:
        today = market_module(resource.market_id).delivery_date(now_ns)
        by_day = {award.delivery_date: award for award in awards[resource.resource_id]}
        for offset in BID_DAYS:
            day = (today + timedelta(days=offset)).isoformat()
            records = ledger.bids(
                resource_id=resource.resource_id, market_id=resource.market_id, delivery_date=day
            )
            for bid in day_bids(ledger, records):
                yield bid_view(bid, by_day.get(day))


def _intervals(statements: Sequence[Statement]) -> Iterator[SettledInterval]:
    for statement in statements:
        yield from statement.intervals


def _currency(resources: Sequence[Resource]) -> str:
    return market_module(resources[0].market_id).rules.currency if resources else DEFAULT_CURRENCY


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
