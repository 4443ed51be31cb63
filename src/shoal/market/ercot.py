"""ERCOT, twice: `ERCOT_DAY_AHEAD`, the day-ahead auction that the plant trades, and `ERCOT`, the whole two-settlement market.

Rules that both share, from ERCOT's protocols: bids until 10:00 and results at 13:30 Central Prevailing Time on the day before,
hourly day-ahead intervals of a local day (23 or 25 hours when the clock changes), prices in US cents; the high system-wide
offer cap is 9,000 USD/MWh from 2015-06-01 and 5,000 from 2022-01-01 (Public Utility Commission of Texas, 2021-12-02; ERCOT
notice M-A120721-01). With real-time co-optimisation (RTC+B, operating day 2025-12-05) real-time offers are capped at 2,000.

`ERCOT`: energy curves and the single-model storage curve of at most ten points; five-minute dispatch (SCED) and settlement of
the deviation from day-ahead by the quarter-hour; five ancillary services, each with the time that it must be sustained: one
hour for regulation and RRS, two for ECRS (NPRR1096), one for Non-Spin and four from December 2022 (NPRR1096); with RTC+B half an
hour for regulation and RRS, one hour for ECRS (NPRR1282). ECRS began on 2023-06-10. Statements: initial about 5 business days
after the operating day, final 55 and true-up 180 days after (protocols, section 9).

Simplified in both:

- the cap is the high cap throughout; in truth it fell to 2,000 USD/MWh for the rest of a year whose scarcity revenue had passed
  a threshold, as in 2021 after the February storm;
- the floor of -250 USD/MWh and the cap, which ERCOT sets for offers, are applied to bids as well;
- orders from 0.1 MW are taken, so that small fleets can take part, where ERCOT asks for at least 1 MW in an energy-only offer
  or bid (Nodal Protocols 4.4.9.5.1 and 4.4.9.6.1);
- block orders, collateral and congestion rights are absent; results are taken to be out exactly at 13:30.

In `ERCOT_DAY_AHEAD` there is one order a side and interval, no ancillary service, and a deviation charge of 10 % that is no
ERCOT rule: Shoal's simulated settlement uses the day-ahead price and this charge where ERCOT uses real-time prices. In `ERCOT`
real-time offers close five minutes before each quarter-hour; capacity is settled at its day-ahead price without the real-time
imbalance of services; charges for leaving the base point are absent.
"""

from __future__ import annotations

from datetime import date, time
from typing import Final
from zoneinfo import ZoneInfo

from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE
from shoal.market.checks import reasons
from shoal.market.contract import (
    Direction,
    DispatchRules,
    GateRule,
    LengthFrom,
    MarketRules,
    Product,
    RebidRules,
    SettlementRunRule,
    SubmissionRules,
    SustainFrom,
)
from shoal.market.module import MarketModule
from shoal.market.rules import DayAheadMarket, PriceLimits

_FIRST_DAY: Final = date(2015, 6, 1)
_RTC_DAY: Final = date(2025, 12, 5)
_GATE: Final = time(10, 0)
_PUBLICATION: Final = time(13, 30)
_LIMITS: Final = (
    PriceLimits(effective_from=_FIRST_DAY, floor_per_mwh=-250.0, cap_per_mwh=9000.0),
    PriceLimits(effective_from=date(2022, 1, 1), floor_per_mwh=-250.0, cap_per_mwh=5000.0),
)

ERCOT_DAY_AHEAD: Final = DayAheadMarket(
    market_id="ercot-da",
    name="ERCOT day-ahead market",
    zone=ZoneInfo("America/Chicago"),
    currency="USD",
    gate=_GATE,
    publication=_PUBLICATION,
    interval_ns=NS_PER_HOUR,
    quantity_minimum_mw=0.1,
    quantity_step_mw=0.1,
    price_tick_per_mwh=0.01,
    price_limits_from=_LIMITS,
    max_orders_per_side=1,
    deviation_charge_permille=100,
)

DAY_AHEAD: Final = "day-ahead"
REAL_TIME: Final = "real-time"
_POINTS: Final = 10
_DAY_GATES: Final = (GateRule(kind="auction", at=_GATE, publication=_PUBLICATION),)
_HOURS: Final = (LengthFrom(effective_from=_FIRST_DAY, interval_ns=NS_PER_HOUR),)
_QUARTER_NS: Final = 15 * NS_PER_MINUTE


def _energy(
    product_id: str, name: str, shapes: tuple[str, ...], *, limits: tuple[PriceLimits, ...] = _LIMITS
) -> Product:
    day_ahead = product_id == DAY_AHEAD
    return Product(
        product_id=product_id,
        name=name,
        kind="energy",
        direction="both",
        shapes=shapes,
        gates=_DAY_GATES if day_ahead else (GateRule(kind="interval", lead_ns=5 * NS_PER_MINUTE),),
        lengths=_HOURS if day_ahead else (LengthFrom(effective_from=_FIRST_DAY, interval_ns=_QUARTER_NS),),
        limits=limits,
        quantity_minimum_mw=0.1,
        quantity_step_mw=0.1,
        price_tick_per_mwh=0.01,
        points_count=_POINTS,
        settled_by="position" if day_ahead else "instruction",
        first_day=_FIRST_DAY,
    )


def _service(
    product_id: str,
    name: str,
    direction: Direction,
    sustain_h: tuple[tuple[date, float], ...],
    *,
    first_day: date = _FIRST_DAY,
) -> Product:
    return Product(
        product_id=product_id,
        name=name,
        kind="capacity",
        direction=direction,
        shapes=("orders",),
        gates=_DAY_GATES,
        lengths=_HOURS,
        limits=tuple(
            PriceLimits(
                effective_from=limits.effective_from, floor_per_mwh=0.0, cap_per_mwh=limits.cap_per_mwh
            )
            for limits in _LIMITS
        ),
        quantity_minimum_mw=0.1,
        quantity_step_mw=0.1,
        price_tick_per_mwh=0.01,
        points_count=_POINTS,
        settled_by="capacity",
        first_day=first_day,
        sustain=tuple(SustainFrom(effective_from=day, sustain_h=hours) for day, hours in sustain_h),
    )


ERCOT: Final = MarketModule(
    rules=MarketRules(
        market_id="ercot",
        name="ERCOT day-ahead and real-time market",
        zone="America/Chicago",
        currency="USD",
        day_start=time(0),
        label="end",
        products=(
            _energy(DAY_AHEAD, "Day-ahead energy", ("orders", "storage_curves")),
            _energy(
                REAL_TIME,
                "Real-time energy",
                ("storage_curves",),
                limits=(
                    *_LIMITS,
                    PriceLimits(effective_from=_RTC_DAY, floor_per_mwh=-250.0, cap_per_mwh=2000.0),
                ),
            ),
            _service("regup", "Regulation up", "up", ((_FIRST_DAY, 1.0), (_RTC_DAY, 0.5))),
            _service("regdn", "Regulation down", "down", ((_FIRST_DAY, 1.0), (_RTC_DAY, 0.5))),
            _service("rrs", "Responsive reserve", "up", ((_FIRST_DAY, 1.0), (_RTC_DAY, 0.5))),
            _service(
                "ecrs",
                "Contingency reserve",
                "up",
                ((date(2023, 6, 10), 2.0), (_RTC_DAY, 1.0)),
                first_day=date(2023, 6, 10),
            ),
            _service("nonspin", "Non-spinning reserve", "up", ((_FIRST_DAY, 1.0), (date(2022, 12, 8), 4.0))),
        ),
        rebid=RebidRules(allowed=True),
        submission=SubmissionRules(idempotent=False, read_back=True),
        dispatch=DispatchRules(
            instruction_s=300,
            telemetry_s=2,
            measurement="quarter-hourly meters against day-ahead positions; services by award",
        ),
        runs=(
            SettlementRunRule(run="initial", after_days=5, working=True),
            SettlementRunRule(run="final", after_days=55),
            SettlementRunRule(run="true-up", after_days=180),
        ),
        settlement_ns=_QUARTER_NS,
        imbalance_price=REAL_TIME,
        reasons=reasons("orders", "storage_curves"),
    )
)

ERCOT_AUCTION: Final = MarketModule(
    rules=MarketRules(
        market_id="ercot-da",
        name="ERCOT day-ahead market",
        zone="America/Chicago",
        currency="USD",
        day_start=time(0),
        label="end",
        products=(_energy(DAY_AHEAD, "Day-ahead energy", ("orders",)),),
        rebid=RebidRules(allowed=True),
        submission=SubmissionRules(idempotent=False, read_back=True),
        dispatch=DispatchRules(instruction_s=0, telemetry_s=0, measurement="hourly meters"),
        runs=(SettlementRunRule(run="initial", after_days=5, working=True),),
        settlement_ns=NS_PER_HOUR,
        imbalance_price=DAY_AHEAD,
        reasons=reasons("orders"),
    )
)
"""`ERCOT_DAY_AHEAD` by the contract: the auction alone, with orders of up to ten steps a side and interval."""
