"""A battery that bids for tomorrow, for tests of the market's doors: prices, a real decision, its bid, and two traders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np

import shoal.bidding.cycle.day_ahead  # noqa: F401 - registers its strategy
from shoal.api.plant import Plant
from shoal.bidding.cycle.climb import Climbed, InPlace, climb
from shoal.bidding.cycle.decision import strategy
from shoal.bidding.cycle.known import GateRef, Situation, gate_ref
from shoal.bidding.cycle.workflow import Order, content_digest, decision_record, known_of
from shoal.domain.interval import NS_PER_HOUR
from shoal.market.awards import MarketReceipt
from shoal.market.bids import MarketBid, Offer
from shoal.market.registry import market_module
from shoal.market.series import price_series
from shoal.optimise.storage import Storage
from shoal.store.consents import Consents
from shoal.store.facts import FactStore
from shoal.store.facts_records import FactBatch
from tests.unit.api.doors import ask, make_plant
from tests.unit.api.plants import BESS, T0_NS

MARKET: Final = market_module("ercot-da")
NOW_NS: Final = T0_NS - NS_PER_HOUR
GATE: Final = MARKET.next_gate("day-ahead", NOW_NS)
DAY: Final = MARKET.delivery_date(GATE.covers.start_ns)
TOKENS: Final = {"ann": "a-token-of-ann", "bob": "a-token-of-bob"}
DAYS: Final = 40
STORAGE: Final = Storage(
    charge_limit_kw=10_000.0,
    discharge_limit_kw=10_000.0,
    charge_efficiency_frac=0.95,
    discharge_efficiency_frac=0.95,
    energy_capacity_kwh=20_000.0,
    initial_energy_kwh=5_000.0,
    throughput_cost_per_mwh=10.0,
)


def market_plant(folder: Path, *, now_ns: int = NOW_NS) -> Plant:
    """Return a plant with forty days of prices, an hour before the gate of the day ahead."""
    plant = replace(make_plant(folder), now_ns=lambda: now_ns)
    start_ns = GATE.covers.start_ns - np.arange(DAYS * 24, 0, -1, dtype=np.int64) * NS_PER_HOUR
    hour = start_ns / NS_PER_HOUR % 24.0
    price = 40.0 + 30.0 * np.sin((hour - 15.0) / 12.0 * np.pi) + hour
    FactStore(plant.database).load(
        FactBatch(
            series_id=price_series("ercot-da", "HB_NORTH", "day-ahead"),
            source="ercot-da",
            known_ns=start_ns - 36 * NS_PER_HOUR,
            revision=np.zeros(len(start_ns), dtype=np.int64),
            start_ns=start_ns,
            end_ns=start_ns + NS_PER_HOUR,
            value=np.round(price, 2).reshape(-1, 1),
        )
    )
    return plant


def gate_reference() -> GateRef:
    return gate_ref("ercot-da", DAY.isoformat(), GATE)


def decide(plant: Plant, *, rung: int = 1, number: int = 0, storage: Storage = STORAGE) -> Climbed:
    """Have the machine decide on a rung, as the cycle does, and keep its decision and forecast."""
    facts, chosen = FactStore(plant.database), strategy("day-ahead")
    about = Situation(
        resource_id=BESS,
        settlement_point="HB_NORTH",
        gate=gate_reference(),
        as_of_ns=plant.now_ns() - 60_000_000_000,
        record_no=facts.last_record(),
        storage=storage,
        strategy=chosen.name,
        strategy_version=chosen.version,
    )
    rung_s = tuple(0.0 if at < rung else 60.0 for at in range(len(chosen.rungs)))
    climbed = climb(about, chosen, lambda: known_of(facts, about, chosen), InPlace(), rung_s)
    order = Order(
        resource_id=BESS, gate=about.gate, trigger="schedule", why="", event_ns=about.as_of_ns, number=number
    )
    plant.ledger.record_decision(decision_record(order, about, climbed, shadow=False))
    for one in chosen.leaves(about, climbed.decision):
        facts.record(one)
    return climbed


def draft(
    plant: Plant, offers: tuple[Offer, ...], *, key: str = "", number: int = 0, author: str = ""
) -> str:
    """Write a bid of the battery for tomorrow; return its key."""
    key = key or f"{BESS}-{gate_reference().key}-{number}"

    def make(revision: int) -> MarketBid:
        return MarketBid(
            idempotency_key=key,
            resource_id=BESS,
            market_id="ercot-da",
            settlement_point="HB_NORTH",
            delivery_date=DAY.isoformat(),
            revision=revision,
            offers=offers,
        )

    plant.ledger.draft_bid(
        make,
        resource_id=BESS,
        market_id="ercot-da",
        delivery_date=DAY.isoformat(),
        idempotency_key=key,
        gate_key=gate_reference().key,
        closes_ns=GATE.closes_ns,
        decision_id="" if author else key,
        author=author,
        created_ns=NOW_NS,
        digest=content_digest,
        by="bidder",
    )
    return key


def accept(plant: Plant, key: str) -> None:
    """Have the market take a bid."""
    assert plant.ledger.begin_sending(key, at_ns=NOW_NS, by="bidder")
    receipt = MarketReceipt(idempotency_key=key, bid_id="m-1", state="accepted", received_ns=NOW_NS)
    plant.ledger.move_bid(key, "accepted", at_ns=NOW_NS, by="bidder", receipt=receipt)


def consents(plant: Plant) -> Consents:
    return Consents(plant.database)


def as_trader(plant: Plant, method: str, path: str, *, name: str = "ann", **request: Any) -> httpx.Response:
    """Ask under somebody's name."""
    headers = {"Authorization": f"Bearer {TOKENS[name]}"}
    return ask(plant, method, path, token="see", operators=TOKENS, headers=headers, **request)
