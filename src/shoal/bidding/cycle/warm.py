"""What a solver's process does before it is asked: every rung once, on prices that were made up, so that kernels are compiled.

Compiling is what makes the first decision of a machine slow, and what the rungs are made of is compiled by the types of
their inputs, whatever the numbers: so a small battery on a daily curve will do. What comes of it is thrown away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Final

import numpy as np

from shoal.bidding.cycle.decision import GateStrategy, strategy
from shoal.bidding.cycle.known import GateRef, Known, Question, Series, Situation, gate_ref
from shoal.bidding.cycle.ports import Bidder
from shoal.domain.errors import ShoalError
from shoal.domain.facts import SeriesId
from shoal.domain.interval import NS_PER_HOUR
from shoal.market.contract import Market
from shoal.market.series import price_series
from shoal.optimise.storage import Storage

LOOK_AHEAD_DAYS: Final = 3
SMALL: Final = Storage(
    charge_limit_kw=1_000.0,
    discharge_limit_kw=1_000.0,
    charge_efficiency_frac=0.92,
    discharge_efficiency_frac=0.92,
    energy_capacity_kwh=2_000.0,
    initial_energy_kwh=1_000.0,
    throughput_cost_per_mwh=10.0,
)
_SEED: Final = 5


def warm_ups(
    bidders: Iterable[Bidder], market: Callable[[str], Market], *, now_ns: int
) -> list[tuple[Known, str]]:
    """Return what to decide once for every market and strategy that bidders use, shadows too, and on which rung.

    Args:
        bidders: Who bids.
        market: Returns a market by id.
        now_ns: The plant's clock.
    """
    found: list[tuple[Known, str]] = []
    pairs = {(one.market_id, name): one for one in bidders for name in (one.strategy, *one.shadows)}
    for (market_id, name), bidder in pairs.items():
        try:
            chosen, there = strategy(name), market(market_id)
            for gate in next_gates(there, market_id, now_ns):
                known = canned(there, gate, bidder, chosen, now_ns=now_ns)
                found += [(known, rung.name) for rung in chosen.rungs if not rung.light]
        except ShoalError:
            continue  # what cannot be made up is not warmed: the first order will say what is wrong
    return found


def canned(market: Market, gate: GateRef, bidder: Bidder, chosen: GateStrategy, *, now_ns: int) -> Known:
    """Return a situation before a gate, with made-up answers to all that a strategy asks."""
    about = Situation(
        resource_id=bidder.resource_id,
        settlement_point=bidder.settlement_point,
        gate=gate,
        as_of_ns=now_ns,
        record_no=0,
        storage=SMALL,
        strategy=chosen.name,
        strategy_version=chosen.version,
        settings=dict(bidder.settings or {}),
    )
    steps_ns = _steps_ns(market, bidder, gate)
    facts: dict[SeriesId, Series] = {}
    for question in chosen.questions(about):
        step_ns = steps_ns.get(question.series_id, NS_PER_HOUR)
        made = _made_up(question, step_ns, now_ns)
        before = facts.get(question.series_id)
        facts[question.series_id] = (
            made if before is None or len(made.start_ns) > len(before.start_ns) else before
        )
    return Known(situation=about, facts=facts)


def next_gates(market: Market, market_id: str, now_ns: int) -> list[GateRef]:
    """Return the next gate of each kind that a market has; those of auctions and days go first."""
    day = market.delivery_date(now_ns)
    next_of: dict[str, GateRef] = {}
    for ahead in range(LOOK_AHEAD_DAYS + 1):
        on = day + timedelta(days=ahead)
        for product in market.products(on):
            for gate in market.gates(product.product_id, on):
                before = next_of.get(gate.kind)
                if gate.closes_ns > now_ns and (before is None or gate.closes_ns < before.closes_ns):
                    next_of[gate.kind] = gate_ref(market_id, on.isoformat(), gate)
    return sorted(next_of.values(), key=lambda gate: (gate.kind == "interval", gate.closes_ns))


def _steps_ns(market: Market, bidder: Bidder, gate: GateRef) -> dict[SeriesId, int]:
    """Return how long the intervals of each product's prices are."""
    day = market.delivery_date(gate.covers_start_ns)
    found: dict[SeriesId, int] = {}
    for product in market.products(day):
        first = market.delivery_intervals(product.product_id, day)[0]
        series_id = price_series(bidder.market_id, bidder.settlement_point, product.product_id)
        found[series_id] = first.end_ns - first.start_ns
    return found


def _made_up(question: Question, step_ns: int, now_ns: int) -> Series:
    """Return a daily curve with noise over the span of a question, known from the start of each interval at the latest now."""
    first_ns = -(-question.from_ns // step_ns) * step_ns
    start_ns = np.arange(first_ns, max(question.to_ns, first_ns), step_ns, dtype=np.int64)
    hour = start_ns / NS_PER_HOUR % 24.0
    noise = np.random.default_rng(_SEED).normal(scale=10.0, size=len(start_ns))
    price = np.round(60.0 + 40.0 * np.sin((hour - 9.0) / 24.0 * 2.0 * np.pi) + noise, 2)
    return Series(
        start_ns=start_ns,
        end_ns=start_ns + step_ns,
        value=price[:, None],
        known_ns=np.minimum(start_ns, now_ns),
        revision=np.zeros(len(start_ns), dtype=np.int64),
    )
