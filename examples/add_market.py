"""A market of one's own: its rules as data, a bid that it takes, one that it refuses and why, an award and the money."""

from __future__ import annotations

import sys
from datetime import date, time

from shoal.domain.interval import NS_PER_HOUR
from shoal.market.awards import Delivered
from shoal.market.bids import MarketBid, Orders
from shoal.market.checks import reasons
from shoal.market.contract import (
    DispatchRules,
    GateRule,
    LengthFrom,
    MarketRules,
    Product,
    RebidRules,
    SettlementRunRule,
    SubmissionRules,
)
from shoal.market.module import MarketModule
from shoal.market.rules import PriceLimits
from shoal.market.types import Order
from shoal.settle.statement import format_amount

FIRST_DAY = date(2020, 1, 1)
VALLEY = MarketModule(
    rules=MarketRules(
        market_id="valley",
        name="Night valley auction",
        zone="Europe/Lisbon",
        currency="EUR",
        day_start=time(0),
        label="start",
        products=(
            Product(
                product_id="hour",
                name="An hour of energy",
                kind="energy",
                direction="both",
                shapes=("orders",),
                gates=(GateRule(kind="auction", at=time(18), publication=time(19)),),
                lengths=(LengthFrom(effective_from=FIRST_DAY, interval_ns=NS_PER_HOUR),),
                limits=(PriceLimits(effective_from=FIRST_DAY, floor_per_mwh=-100.0, cap_per_mwh=900.0),),
                quantity_minimum_mw=0.1,
                quantity_step_mw=0.1,
                price_tick_per_mwh=0.01,
                points_count=10,
                settled_by="position",
                first_day=FIRST_DAY,
            ),
        ),
        rebid=RebidRules(allowed=True),
        submission=SubmissionRules(idempotent=True, read_back=True),
        dispatch=DispatchRules(instruction_s=0, telemetry_s=60, measurement="hourly meters"),
        runs=(SettlementRunRule(run="first", after_days=2),),
        settlement_ns=NS_PER_HOUR,
        imbalance_price="imbalance",
        reasons=reasons("orders"),
    )
)


def main() -> None:
    """Bid a day whose clock is put back, clear it and settle it."""
    day = date(2025, 10, 26)
    hours = VALLEY.delivery_intervals("hour", day)
    print_line(f"{day} has {len(hours)} hours")

    def bid(quantity_mw: float) -> MarketBid:
        order = Order(
            start_ns=hours[19].start_ns,
            end_ns=hours[19].end_ns,
            side="sell",
            quantity_mw=quantity_mw,
            limit_price_per_mwh=80.0,
        )
        return MarketBid(
            idempotency_key="battery-valley-1",
            resource_id="battery",
            market_id="valley",
            settlement_point="valley",
            delivery_date=day.isoformat(),
            revision=1,
            offers=(Orders(product="hour", orders=(order,)),),
        )

    received_ns = VALLEY.gates("hour", day)[0].closes_ns - 1
    print_line(f"0.25 MW: {VALLEY.validate(bid(0.25), received_ns=received_ns)}")
    print_line(f"0.30 MW: {VALLEY.validate(bid(0.3), received_ns=received_ns)}")
    prices = {
        "hour": {hour.start_ns: 60.0 + 2.0 * number for number, hour in enumerate(hours)},
        "imbalance": {hour.start_ns: 70.0 for hour in hours},
    }
    award = VALLEY.clear(bid(0.3), prices, bid_id="1", published_ns=received_ns)
    delivered = [
        Delivered(start_ns=hour.start_ns, end_ns=hour.end_ns, delivered_wh=-290_000 if number == 19 else 0)
        for number, hour in enumerate(hours)
    ]
    settled = VALLEY.settle(award, delivered, prices, run="first", issued_ns=hours[-1].end_ns)
    for line in settled.lines:
        if line.amount:
            money = f"at {line.price_cents_per_mwh / 100:6.2f}: {format_amount(line.amount)} EUR"
            print_line(f"{line.kind:10s} {line.energy_wh / 1e6:7.3f} MWh {money}")
    print_line(f"in all {format_amount(settled.amount)} EUR")


def print_line(text: str) -> None:
    """Write a line."""
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    main()
