"""The European single day-ahead coupling (SDAC): one auction a day for every bidding zone, curve orders and block orders.

Sources: gate 12:00 CET/CEST, delivery day from midnight to midnight, quarter-hours for delivery from 2025-10-01 (Nord Pool,
"SDAC 15-minute MTU go-live"); harmonised limits -500 to +3,000 EUR/MWh, +4,000 from the trading day 2022-05-10, the rise to
5,000 announced for 2022-09-20 was withdrawn (BSP Southpool, EnEx and EXAA notices); rules of linked and exclusive blocks,
NEMO Committee, "Euphemia public description".

Simplified: curves are stepped, where some exchanges interpolate; before October 2025 every zone had hours, though a few had
half-hours or quarter-hours of their own; results are taken to be out at 12:57; a bid sees its zone's prices only. A linked
child may rescue its parent, as in Euphemia; blocks of an exclusive group have no links (Nord Pool allows a few); a bidder that
moves no price has its blocks taken whole, so a minimum acceptance ratio never bites. Deviations are settled at the zone's
imbalance price, given under the key ``imbalance`` (a transmission operator's tariff, not the auction's).
"""

from __future__ import annotations

from datetime import date, time
from typing import Final

from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE
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

DAY_AHEAD: Final = "day-ahead"

SDAC: Final = MarketModule(
    rules=MarketRules(
        market_id="sdac",
        name="Single day-ahead coupling",
        zone="Europe/Brussels",
        currency="EUR",
        day_start=time(0),
        label="start",
        products=(
            Product(
                product_id=DAY_AHEAD,
                name="Day-ahead energy",
                kind="energy",
                direction="both",
                shapes=("orders", "blocks"),
                gates=(GateRule(kind="auction", at=time(12), publication=time(12, 57)),),
                lengths=(
                    LengthFrom(effective_from=date(2014, 2, 5), interval_ns=NS_PER_HOUR),
                    LengthFrom(effective_from=date(2025, 10, 1), interval_ns=15 * NS_PER_MINUTE),
                ),
                limits=(
                    PriceLimits(effective_from=date(2014, 2, 5), floor_per_mwh=-500.0, cap_per_mwh=3000.0),
                    PriceLimits(effective_from=date(2022, 5, 11), floor_per_mwh=-500.0, cap_per_mwh=4000.0),
                ),
                quantity_minimum_mw=0.1,
                quantity_step_mw=0.1,
                price_tick_per_mwh=0.01,
                points_count=200,
                settled_by="position",
                first_day=date(2014, 2, 5),
            ),
        ),
        rebid=RebidRules(allowed=True),
        submission=SubmissionRules(idempotent=False, read_back=True),
        dispatch=DispatchRules(
            instruction_s=0,
            telemetry_s=0,
            measurement="metered energy of the balance group by imbalance settlement period",
        ),
        runs=(
            SettlementRunRule(run="initial", after_days=1),
            SettlementRunRule(run="final", after_days=45),
        ),
        settlement_ns=15 * NS_PER_MINUTE,
        imbalance_price="imbalance",
        reasons=reasons("orders", "blocks"),
    )
)
