"""Decisions of both strategies, recorded as the cycle records them, over facts that a test may add to and change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Final

import numpy as np

import shoal.bidding.cycle.day_ahead
import shoal.bidding.cycle.five_minute  # noqa: F401 - registers its strategy
from shoal.bidding.cycle.climb import Climbed, InPlace, climb
from shoal.bidding.cycle.decision import Decision, strategy
from shoal.bidding.cycle.known import GateRef, Known, Situation, canonical, gate_ref
from shoal.bidding.cycle.workflow import Order, decision_record, known_of
from shoal.domain.errors import UnavailableError
from shoal.domain.facts import SeriesId
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, NS_PER_S
from shoal.market.bids import MarketBid
from shoal.market.registry import market_module
from shoal.market.series import price_series
from shoal.market.standing import in_force
from shoal.optimise.storage import Storage
from shoal.store.cycles import Cycles, DecisionRecord
from shoal.store.database import migrate, open_database
from shoal.store.facts import FactStore
from shoal.store.facts_records import FactBatch

RESOURCE: Final = "big"
DAY: Final = date(2024, 12, 5)
DAY_NS: Final = 24 * NS_PER_HOUR
STORAGE: Final = Storage(
    charge_limit_kw=100_000.0,
    discharge_limit_kw=100_000.0,
    charge_efficiency_frac=0.92,
    discharge_efficiency_frac=0.92,
    energy_capacity_kwh=200_000.0,
    initial_energy_kwh=100_000.0,
    throughput_cost_per_mwh=10.0,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """One strategy with its market and its prices; some gates of one day, in order."""

    strategy: str
    market_id: str
    point: str
    product: str
    step_ns: int
    days: int
    gates: tuple[GateRef, ...]

    @property
    def series_id(self) -> SeriesId:
        return price_series(self.market_id, self.point, self.product)

    def as_of_ns(self, gate: GateRef) -> int:
        return gate.closes_ns - 100 * NS_PER_S

    def prices(self, seed: int = 5) -> FactBatch:
        """Return the prices of the days before the last gate and of the day after, each known when it is published."""
        end_ns = self.gates[-1].covers_end_ns + DAY_NS
        end_ns -= end_ns % self.step_ns
        count = self.days * DAY_NS // self.step_ns
        start_ns = end_ns - np.arange(count, 0, -1, dtype=np.int64) * self.step_ns
        rng = np.random.default_rng(seed)
        hour = start_ns / NS_PER_HOUR % 24.0
        price = 80.0 + 70.0 * np.sin((hour - 3.0) / 12.0 * np.pi) + rng.normal(scale=12.0, size=count)
        price[rng.random(count) < 0.003] = 3_000.0
        ahead_ns = 0 if self.market_id == "nem" else 36 * NS_PER_HOUR
        return FactBatch(
            series_id=self.series_id,
            source=self.market_id,
            known_ns=start_ns - ahead_ns,
            revision=np.zeros(count, dtype=np.int64),
            start_ns=start_ns,
            end_ns=start_ns + self.step_ns,
            value=np.round(price, 2).reshape(-1, 1),
        )

    def situation(self, gate: GateRef, facts: FactStore, standing: MarketBid | None = None) -> Situation:
        return Situation(
            resource_id=RESOURCE,
            settlement_point=self.point,
            gate=gate,
            as_of_ns=self.as_of_ns(gate),
            record_no=facts.last_record(),
            storage=STORAGE,
            standing=standing,
            strategy=self.strategy,
            strategy_version=strategy(self.strategy).version,
        )


def _gates(market_id: str, product: str, numbers: Sequence[int]) -> tuple[GateRef, ...]:
    gates = market_module(market_id).gates(product, DAY)
    return tuple(gate_ref(market_id, DAY.isoformat(), gates[number]) for number in numbers)


WORLDS: Final = (
    World(
        strategy="markov",
        market_id="nem",
        point="VIC1",
        product="energy",
        step_ns=5 * NS_PER_MINUTE,
        days=10,
        gates=_gates("nem", "energy", (0, 1, 2)),
    ),
    World(
        strategy="day-ahead",
        market_id="ercot",
        point="HB_NORTH",
        product="day-ahead",
        step_ns=NS_PER_HOUR,
        days=70,
        gates=_gates("ercot", "day-ahead", (0,)),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The stores of one plant."""

    cycles: Cycles
    facts: FactStore


def open_stored(folder: Path) -> Stored:
    url = f"sqlite:///{folder / 'plant.db'}"
    migrate(url)
    engine = open_database(url)
    return Stored(cycles=Cycles(engine), facts=FactStore(engine))


def order_for(gate: GateRef, number: int = 0) -> Order:
    return Order(
        resource_id=RESOURCE, gate=gate, trigger="schedule", why="", event_ns=gate.closes_ns, number=number
    )


def decide_and_record(
    stored: Stored, about: Situation, *, left_out: int = 0, away: bool = False
) -> tuple[DecisionRecord, Climbed]:
    """Decide as the cycle does, and keep it.

    Args:
        stored: The stores.
        about: The situation.
        left_out: So many of the best rungs have no time.
        away: Whether nothing can be gathered.
    """
    chosen = strategy(about.strategy)

    def gather() -> Known:
        if away:
            raise UnavailableError("facts", "the store is away")
        return known_of(stored.facts, about, chosen)

    rung_s = tuple(0.0 if at < left_out else 60.0 for at in range(len(chosen.rungs)))
    climbed = climb(about, chosen, gather, InPlace(), rung_s)
    number = left_out + (10 if away else 0)
    record = decision_record(order_for(about.gate, number), about, climbed, shadow=False)
    record = replace(record, known_parts=canonical(climbed.known.parts()).decode())
    stored.cycles.record_decision(record)
    for one in chosen.leaves(about, climbed.decision):
        stored.facts.record(one)
    return record, climbed


def stands_after(about: Situation, decision: Decision) -> MarketBid | None:
    """Return what stands in the market when a decision has been sent."""
    if not decision.offers:
        return about.standing
    bid = MarketBid(
        idempotency_key="k",
        resource_id=about.resource_id,
        market_id=about.gate.market_id,
        settlement_point=about.settlement_point,
        delivery_date=about.gate.delivery_date,
        revision=1 if about.standing is None else about.standing.revision + 1,
        offers=decision.offers,
    )
    return in_force(about.standing, bid)
