"""The imbalance market of Great Britain: a position notified by gate closure, and one price for every deviation from it.

A participant notifies the volume that it has contracted for each half-hour, up to an hour before it begins; what it delivers
beyond or short of that is paid at the system price of the half-hour, the same for surplus and shortage since 2015-11-05. The
money of the contracts themselves is settled between their parties and is not seen here.

Sources: Elexon, "Settlement & Invoicing" (gate closure one hour ahead; 48 periods, 46 and 50 on the days of clock change) and
the settlement calendars (runs SF, R1, R2, R3 and RF 16, 39, 84, 154 and 292 working days after the day, DF 28 months);
modification P305 for the single price; notified volumes are MWh with three decimals.

Simplified: one gate, that of the physical notification, serves positions too, though contracts may be notified later; working
days are counted by who asks; the shorter timetable of the half-hourly reform is not in force here; bids and offers to the
balancing mechanism, transmission losses and credit are absent.
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

IMBALANCE: Final = "imbalance"
_SINGLE_PRICE_FROM: Final = date(2015, 11, 5)

GB: Final = MarketModule(
    rules=MarketRules(
        market_id="gb",
        name="Great Britain imbalance settlement",
        zone="Europe/London",
        currency="GBP",
        day_start=time(0),
        label="start",
        products=(
            Product(
                product_id=IMBALANCE,
                name="Notified position",
                kind="energy",
                direction="both",
                shapes=("load_target",),
                gates=(GateRule(kind="interval", lead_ns=NS_PER_HOUR),),
                lengths=(LengthFrom(effective_from=_SINGLE_PRICE_FROM, interval_ns=30 * NS_PER_MINUTE),),
                limits=(
                    PriceLimits(
                        effective_from=_SINGLE_PRICE_FROM, floor_per_mwh=-99_999.0, cap_per_mwh=99_999.0
                    ),
                ),
                quantity_minimum_mw=0.002,
                quantity_step_mw=0.002,  # 0.001 MWh in half an hour
                price_tick_per_mwh=0.01,
                points_count=1,
                settled_by="notified",
                first_day=_SINGLE_PRICE_FROM,
            ),
        ),
        rebid=RebidRules(allowed=True),
        submission=SubmissionRules(idempotent=False, read_back=True),
        dispatch=DispatchRules(
            instruction_s=0,
            telemetry_s=0,
            measurement="half-hourly meters of the balancing unit",
        ),
        runs=(
            SettlementRunRule(run="II", after_days=5, working=True),
            SettlementRunRule(run="SF", after_days=16, working=True),
            SettlementRunRule(run="R1", after_days=39, working=True),
            SettlementRunRule(run="R2", after_days=84, working=True),
            SettlementRunRule(run="R3", after_days=154, working=True),
            SettlementRunRule(run="RF", after_days=292, working=True),
            SettlementRunRule(run="DF", after_days=852),
        ),
        settlement_ns=30 * NS_PER_MINUTE,
        imbalance_price=IMBALANCE,
        reasons=reasons("load_target"),
    )
)
