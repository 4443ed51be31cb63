"""A utility's peak-shaving programme: a reduction committed by the hour the day before, paid by performance, fined for lack.

The utility announces an event the day before with a target for each hour; a participant commits MW of reduction below its
baseline until the gate and may revise it. Delivered energy here is the deviation from the baseline (load-positive, so a
reduction is negative), which `shoal.settle` or the utility makes. What was delivered is paid, up to the commitment; what is
missing beyond the tolerance is charged.

The figures of `PEAK` are an example to be replaced by those of a contract. The payment of 2 USD/kWh is that of California's
Emergency Load Reduction Program (CPUC decision 21-12-015), which has no penalty; gate, tolerance and penalty are examples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time
from typing import Final

import msgspec

from shoal.domain.interval import NS_PER_HOUR, Interval
from shoal.market.awards import Delivered, MarketAward, SettlementLine
from shoal.market.bids import LoadTarget, MarketBid
from shoal.market.checks import reasons, rejected
from shoal.market.clearing import watts
from shoal.market.contract import (
    DispatchRules,
    GateRule,
    LengthFrom,
    MarketRules,
    Prices,
    Product,
    RebidRules,
    RejectedBid,
    SettlementRunRule,
    SubmissionRules,
)
from shoal.market.module import MarketModule
from shoal.market.rules import PriceLimits
from shoal.market.settlement import line, positions_wh

REDUCTION: Final = "reduction"
_PERMILLE: Final = 1_000
_CENTS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class PeakMarket(MarketModule):
    """A programme with its money.

    Attributes:
        performance_per_mwh: Paid for each MWh of reduction delivered, up to the commitment.
        penalty_per_mwh: Charged for each MWh that is missing beyond the tolerance.
        tolerance_permille: The share of the commitment that may be missing without a charge, in thousandths.
    """

    performance_per_mwh: float
    penalty_per_mwh: float
    tolerance_permille: int

    def clear_to_target(self, award: MarketAward, target_mw: Mapping[int, float]) -> MarketAward:
        """Return an award held to the utility's target for each hour, by the start of the hour; others are not called.

        Args:
            award: What `clear` gave: the whole commitment.
            target_mw: The reduction that the utility asks of this participant, never negative.
        """
        quantities = tuple(
            msgspec.structs.replace(
                each, power_w=max(each.power_w, -watts(target_mw.get(each.start_ns, 0.0)))
            )
            for each in award.quantities
        )
        return msgspec.structs.replace(award, quantities=quantities, version=award.version + 1)

    def _refused(
        self, bid: MarketBid, standing: MarketBid | None, day: date, received_ns: int
    ) -> RejectedBid | None:
        """Return the first commitment that is no reduction."""
        for position, offer in enumerate(bid.offers):
            for number, target in enumerate(offer.intervals if isinstance(offer, LoadTarget) else ()):
                if target.load_mw > 0:
                    field = f"offers[{position}].intervals[{number}].load_mw"
                    return rejected("reduction", field, target.load_mw, "give a reduction: 0 or less")
        return None

    def _lines(
        self,
        award: MarketAward,
        delivered: Sequence[Delivered],
        prices: Prices,
        wanted: Callable[[Interval], bool],
    ) -> list[SettlementLine]:
        """Return performance and penalty of the hours with a commitment."""
        committed_wh = positions_wh(self.rules, award)
        lines = []
        for reading in delivered:
            interval = Interval(start_ns=reading.start_ns, end_ns=reading.end_ns)
            promised_wh = -committed_wh.get(reading.start_ns, 0)
            if promised_wh == 0 or not wanted(interval):
                continue
            reduced_wh = max(0, min(-reading.delivered_wh, promised_wh))
            lines.append(
                line(
                    REDUCTION,
                    "performance",
                    interval,
                    -reduced_wh,
                    round(self.performance_per_mwh * _CENTS),
                    estimated=reading.estimated,
                )
            )
            allowed_wh = promised_wh * self.tolerance_permille // _PERMILLE
            missing_wh = max(0, promised_wh - reduced_wh - allowed_wh)
            lines.append(
                line(
                    REDUCTION,
                    "penalty",
                    interval,
                    missing_wh,
                    round(self.penalty_per_mwh * _CENTS),
                    estimated=reading.estimated,
                )
            )
        return lines


PEAK: Final = PeakMarket(
    rules=MarketRules(
        market_id="peak",
        name="Peak-shaving programme",
        zone="America/Los_Angeles",
        currency="USD",
        day_start=time(0),
        label="start",
        products=(
            Product(
                product_id=REDUCTION,
                name="Reduction below the baseline",
                kind="energy",
                direction="up",
                shapes=("load_target",),
                gates=(GateRule(kind="auction", at=time(16), publication=time(17)),),
                lengths=(LengthFrom(effective_from=date(2015, 1, 1), interval_ns=NS_PER_HOUR),),
                limits=(PriceLimits(effective_from=date(2015, 1, 1), floor_per_mwh=0.0, cap_per_mwh=2000.0),),
                quantity_minimum_mw=0.001,
                quantity_step_mw=0.001,
                price_tick_per_mwh=0.01,
                points_count=1,
                settled_by="notified",
                first_day=date(2015, 1, 1),
            ),
        ),
        rebid=RebidRules(allowed=True),
        submission=SubmissionRules(idempotent=True, read_back=True),
        dispatch=DispatchRules(
            instruction_s=0, telemetry_s=300, measurement="meters against a baseline, by the hour"
        ),
        runs=(
            SettlementRunRule(run="initial", after_days=10),
            SettlementRunRule(run="final", after_days=60),
        ),
        settlement_ns=NS_PER_HOUR,
        imbalance_price="",
        reasons=(*reasons("load_target"), "reduction"),
    ),
    performance_per_mwh=2000.0,
    penalty_per_mwh=500.0,
    tolerance_permille=100,
)
