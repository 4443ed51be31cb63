"""What the page shows of the ledger: prices with the forecast's fan, bids with awards, delivery and money.

Everything is read anew each time, as known at one instant, and turned into the page's words; nothing is remembered.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Final

import msgspec

from shoal.api.model import RUNS_KEPT
from shoal.api.state import (
    AwardedInterval,
    Bid,
    Money,
    MoneyDay,
    Order,
    PriceSeries,
    to_ms,
)
from shoal.api.views import Books, DeliveryHour, ResourceTotals, run_view
from shoal.bidding.rungs import StoredForecast
from shoal.domain.fleet import Fleet
from shoal.domain.ids import ResourceId
from shoal.domain.interval import NS_PER_HOUR, to_datetime
from shoal.market.registry import market
from shoal.market.rules import DayAheadMarket
from shoal.market.types import Award
from shoal.settle.statement import AMOUNT_PER_CURRENCY, SettledInterval, Statement
from shoal.store.ledger import Ledger
from shoal.store.records import BidRecord

PAST_NS: Final = 48 * NS_PER_HOUR
AHEAD_NS: Final = 72 * NS_PER_HOUR
DELIVERY_PAST_NS: Final = 72 * NS_PER_HOUR
MONEY_DAYS: Final = 31
BID_DAYS: Final = range(-1, 3)
_WH_PER_MWH: Final = 1_000_000
_STATEMENT: Final = msgspec.json.Decoder(Statement)
_FORECAST: Final = msgspec.json.Decoder(StoredForecast)


def read_books(ledger: Ledger, fleet: Fleet, now_ns: int) -> Books:
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
    awards = {
        resource.resource_id: ledger.awards(
            resource.resource_id, now_ns - DELIVERY_PAST_NS, now_ns + AHEAD_NS, as_of_ns=now_ns
        )
        for resource in fleet.resources
    }
    points = dict.fromkeys(resource.settlement_point for resource in fleet.resources)
    return Books(
        prices=tuple(price_series(ledger, point, now_ns) for point in points),
        bids=tuple(_bids(ledger, fleet, awards, now_ns)),
        delivery={
            name: delivery_hours(awards[name], statements[name], from_ns=now_ns - DELIVERY_PAST_NS)
            for name in statements
        },
        totals={name: totals_of(settled) for name, settled in statements.items() if settled},
        money=money_of(statements, currency=_currency(fleet)),
        runs=tuple(run_view(run) for run in ledger.runs(RUNS_KEPT)),
    )


def price_series(ledger: Ledger, settlement_point: str, now_ns: int) -> PriceSeries:
    """Return the last two days, what is published of the next, and the fan of the latest forecast."""
    from_ns = now_ns // NS_PER_HOUR * NS_PER_HOUR - PAST_NS
    starts, values = ledger.prices(
        settlement_point, from_ns=from_ns, to_ns=now_ns + AHEAD_NS, as_of_ns=now_ns
    )
    actual = dict(zip(starts.tolist(), values.tolist(), strict=True))
    kept = ledger.latest_forecast(settlement_point, as_of_ns=now_ns)
    fan: dict[int, tuple[float | None, ...]] = {}
    if kept is not None:
        forecast = _FORECAST.decode(kept.payload)
        columns = [_level(forecast, level) for level in (0.05, 0.5, 0.95)]
        for start_ns, quantiles in zip(forecast.start_ns, forecast.quantile_per_mwh, strict=True):
            if start_ns >= from_ns:
                fan[start_ns] = tuple(None if c is None else _finite(quantiles[c]) for c in columns)
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


def bid_view(record: BidRecord, award: Award | None, rules: DayAheadMarket) -> Bid:
    """Return a bid with its award in the page's words."""
    bid = record.bid
    return Bid(
        resource_id=bid.resource_id,
        delivery_date=bid.delivery_date,
        status=record.status,
        rung=record.rung,
        rung_reason=record.rung_reason,
        gate_ms=to_ms(rules.gate_ns(date.fromisoformat(bid.delivery_date))),
        submitted_ms=None if record.submitted_ns is None else to_ms(record.submitted_ns),
        orders=[
            Order(
                start_ms=to_ms(order.start_ns),
                end_ms=to_ms(order.end_ns),
                side=order.side,
                quantity_mw=order.quantity_mw,
                limit_price_per_mwh=order.limit_price_per_mwh,
            )
            for order in bid.orders
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
    ledger: Ledger, fleet: Fleet, awards: Mapping[ResourceId, Sequence[Award]], now_ns: int
) -> Iterator[Bid]:
    """Yield the latest bid of each resource for the days from yesterday to the day after tomorrow."""
    for resource in fleet.resources:
        rules = market(resource.market_id)
        today = to_datetime(now_ns, rules.zone).date()
        by_day = {award.delivery_date: award for award in awards[resource.resource_id]}
        for offset in BID_DAYS:
            day = (today + timedelta(days=offset)).isoformat()
            records = ledger.bids(delivery_date=day, resource_id=resource.resource_id)
            if records:
                yield bid_view(records[-1], by_day.get(day), rules)


def _intervals(statements: Sequence[Statement]) -> Iterator[SettledInterval]:
    for statement in statements:
        yield from statement.intervals


def _currency(fleet: Fleet) -> str:
    return market(fleet.resources[0].market_id).currency if fleet.resources else "USD"


def _level(forecast: StoredForecast, level: float) -> int | None:
    """Return the position of a quantile level, None when the forecast does not have it."""
    for position, found in enumerate(forecast.quantile_level):
        if math.isclose(found, level, abs_tol=1e-9):
            return position
    return None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
