"""What is known before a gate, made from plain columns, for tests of strategies of the cycle."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.bidding.cycle.decision import Decision, strategy
from shoal.bidding.cycle.known import Known, Series, Situation, gate_ref
from shoal.domain.facts import SeriesId
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S
from shoal.domain.outcome import Accepted
from shoal.market.bids import MarketBid, RebidReason
from shoal.market.contract import Gate
from shoal.market.registry import market_module
from shoal.optimise.storage import Storage

RESOURCE: Final = "big"
BATTERY: Final = Storage(
    charge_limit_kw=100_000.0,
    discharge_limit_kw=100_000.0,
    charge_efficiency_frac=0.92,
    discharge_efficiency_frac=0.92,
    energy_capacity_kwh=200_000.0,
    initial_energy_kwh=100_000.0,
    throughput_cost_per_mwh=10.0,
)


def column(start_ns: NDArray[np.int64], step_ns: int, value: NDArray[np.float64]) -> Series:
    """Return a series of equal steps, each known at its end; what is not finite is left out."""
    there = np.isfinite(value)
    start = np.ascontiguousarray(start_ns[there], dtype=np.int64)
    return Series(
        start_ns=start,
        end_ns=start + step_ns,
        value=np.ascontiguousarray(value[there], dtype=np.float64).reshape(-1, 1),
        known_ns=start + step_ns,
        revision=np.zeros(len(start), dtype=np.int64),
    )


def daily(
    until_ns: int,
    *,
    days: int,
    step_ns: int,
    seed: int,
    level: float = 50.0,
    swing: float = 40.0,
    noise: float = 8.0,
    spikes: float = 0.0,
) -> Series:
    """Return prices with a daily swing, noise and spikes, up to an instant."""
    count = days * 24 * NS_PER_HOUR // step_ns
    start_ns = until_ns - (np.arange(count, 0, -1, dtype=np.int64)) * step_ns
    rng = np.random.default_rng(seed)
    hour = start_ns / NS_PER_HOUR % 24.0
    price = level + swing * np.sin((hour - 9.0) / 24.0 * 2.0 * np.pi) + rng.normal(scale=noise, size=count)
    price[rng.random(count) < spikes] *= 20.0
    return column(start_ns, step_ns, np.round(price, 2))


def known_at(
    market_id: str,
    point: str,
    day: date,
    gate: Gate,
    strategy_name: str,
    facts: Mapping[SeriesId, Series],
    *,
    storage: Storage = BATTERY,
    before_s: int = 60,
    **more: Any,
) -> Known:
    """Return a situation before a gate with its facts, cut to what the strategy asks for."""
    chosen = strategy(strategy_name)
    situation = Situation(
        resource_id=RESOURCE,
        settlement_point=point,
        gate=gate_ref(market_id, day.isoformat(), gate),
        as_of_ns=gate.closes_ns - before_s * NS_PER_S,
        record_no=1,
        storage=storage,
        strategy=chosen.name,
        strategy_version=chosen.version,
        **more,
    )
    empty = column(np.empty(0, dtype=np.int64), NS_PER_HOUR, np.empty(0))
    asked = {one.series_id for one in chosen.questions(situation)}
    return Known(situation=situation, facts={name: facts.get(name, empty) for name in asked})


def bid_of(known: Known, decision: Decision, *, revision: int = 1) -> MarketBid:
    """Return the bid of a decision."""
    about = known.situation
    at_ns = about.as_of_ns
    rebid = None
    if revision > 1 and market_module(about.gate.market_id).rules.rebid.reason_required:
        rebid = RebidReason(
            category="forecast", reason="prices", event_ns=at_ns, aware_ns=at_ns, decision_ns=at_ns
        )
    return MarketBid(
        idempotency_key=f"k-{revision}",
        resource_id=about.resource_id,
        market_id=about.gate.market_id,
        settlement_point=about.settlement_point,
        delivery_date=about.gate.delivery_date,
        revision=revision,
        offers=decision.offers,
        rebid=rebid,
    )


def assert_valid(known: Known, decision: Decision) -> MarketBid:
    """Assert that the market takes the decision's bid upon what stands, and return it."""
    about = known.situation
    bid = bid_of(known, decision, revision=1 if about.standing is None else about.standing.revision + 1)
    market = market_module(about.gate.market_id)
    assert market.validate(bid, received_ns=about.as_of_ns, standing=about.standing) == Accepted()
    assert decision.content()  # it can be kept
    return bid
