"""A resource, a market and their prices for tests of the cycle: five-minute prices with a daily shape, noise and spikes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Final

import numpy as np
from dbos import DBOS, DBOSConfig

import shoal.bidding.cycle.day_ahead
import shoal.bidding.cycle.five_minute  # noqa: F401 - registers its strategy
from shoal.bidding.cycle.budget import BudgetRules
from shoal.bidding.cycle.climb import Deciding, InPlace
from shoal.bidding.cycle.collector import Collector
from shoal.bidding.cycle.keeper import Keeper
from shoal.bidding.cycle.known import GateRef
from shoal.bidding.cycle.ports import Bidder, Measured, Measuring
from shoal.bidding.cycle.submission import Submission
from shoal.bidding.cycle.workflow import GateWorkflow, Order, Plant
from shoal.connect.exchange_http import HttpExchange
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE
from shoal.market.registry import market_module
from shoal.optimise.storage import Storage
from shoal.simulate.exchange_book import Participant
from shoal.simulate.exchange_tape import Tape
from shoal.store.consents import Consents
from shoal.store.cycles import Cycles
from shoal.store.database import migrate, open_database
from shoal.store.facts import FactStore

RESOURCE: Final = "big"
TOKEN: Final = "token-of-shoal"
POINT: Final = "VIC1"
NEM: Final = market_module("nem")
DAY: Final = date(2024, 12, 5)
FIVE_NS: Final = 5 * NS_PER_MINUTE
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
PARTICIPANT: Final = Participant(
    resource_id=RESOURCE, settlement_point=POINT, participant="shoal", product="energy"
)


def tape(*, days_before: int, days_after: int, seed: int = 11) -> Tape:
    """Return prices around `DAY`, each out at the start of its interval."""
    first_ns = int(NEM.bounds_ns("energy", DAY)[0]) - days_before * DAY_NS
    start_ns = first_ns + np.arange((days_before + days_after) * 288, dtype=np.int64) * FIVE_NS
    rng = np.random.default_rng(seed)
    hour = start_ns / NS_PER_HOUR % 24.0
    price = (
        80.0 + 70.0 * np.sin((hour - 3.0) / 24.0 * 2.0 * np.pi) + rng.normal(scale=12.0, size=len(start_ns))
    )
    price[rng.random(len(price)) < 0.003] = 3_000.0
    return Tape(
        product="energy",
        settlement_point=POINT,
        start_ns=start_ns,
        end_ns=start_ns + FIVE_NS,
        price_per_mwh=np.round(price, 2),
        published_ns=start_ns,
    )


@dataclass(slots=True)
class Desk:
    """One bidder process in miniature, all of it real but for the battery, which stands as it was awarded."""

    plant: Plant
    keeper: Keeper
    collector: Collector
    exchange: HttpExchange
    cycles: Cycles
    consents: Consents
    facts: FactStore
    keep: Callable[[], Keeper]

    def forget(self) -> None:
        """Lose all that is remembered between turns, as a new process has."""
        self.keeper.close()
        self.keeper, self.collector = self.keep(), Collector(facts=self.facts, cycles=self.cycles)

    def turn(self, now_ns: int) -> None:
        """Collect and keep once, and wait until nothing runs."""
        for bidder in self.plant.bidders.values():
            market = market_module(bidder.market_id)
            self.collector.collect(bidder, market, self.exchange, now_ns=now_ns)
        self.keeper.cycle(now_ns)
        assert self.keeper.wait_idle(60.0)

    def close(self) -> None:
        """End it."""
        self.keeper.close()
        DBOS.destroy()
        self.exchange.close()


def measured_from(cycles: Cycles, storage: Storage = STORAGE) -> Callable[[str, GateRef, int], Measured]:
    """Return what measures a battery that follows its awards exactly."""

    def measure(resource_id: str, gate: GateRef, as_of_ns: int) -> Measured:
        energy_kwh = storage.initial_energy_kwh
        for day in (DAY,):
            awards = cycles.awards(resource_id, "nem", day.isoformat())
            for one in awards[-1].quantities if awards else ():
                done_ns = min(one.end_ns, as_of_ns) - one.start_ns
                if one.product != "energy" or done_ns <= 0:
                    continue
                terminal_kwh = one.power_w / 1e3 * done_ns / NS_PER_HOUR
                factor = (
                    storage.charge_efficiency_frac
                    if terminal_kwh > 0
                    else 1 / storage.discharge_efficiency_frac
                )
                energy_kwh += terminal_kwh * factor
        held = min(max(energy_kwh, 0.0), storage.energy_capacity_kwh)
        return Measured(storage=replace(storage, initial_energy_kwh=held), silent_frac=0.0)

    return measure


def open_desk(
    folder: Path,
    url: str,
    now_ns: Callable[[], int],
    *,
    solver: Deciding | None = None,
    left_s: Callable[[int], float] = lambda _ns: 20.0,
    bidders: Mapping[str, Bidder] | None = None,
    exchange_s: float = 2.0,
    shadow: Callable[[Order], None] = lambda _order: None,
    measure: Measuring | None = None,
) -> Desk:
    """Open a desk with its database in a folder, against the market at a URL."""
    database = f"sqlite:///{folder / 'plant.db'}"
    migrate(database)
    engine = open_database(database)
    cycles, consents, facts = Cycles(engine), Consents(engine), FactStore(engine)
    exchange = HttpExchange(url=url, token=TOKEN, timeout_s=exchange_s)
    submission = Submission(
        cycles=cycles,
        exchange=exchange,
        now_ns=now_ns,
        left_s=left_s,
        by="desk",
        exchange_s=exchange_s,
    )
    plant = Plant(
        bidders=bidders
        or {
            RESOURCE: Bidder(
                resource_id=RESOURCE,
                market_id="nem",
                settlement_point=POINT,
                strategy="markov",
                lead_s=120.0,
                early_lead_s=18 * 3_600.0,
            )
        },
        market=market_module,
        cycles=cycles,
        consents=consents,
        facts=facts,
        measure=measure or measured_from(cycles),
        solver=solver or InPlace(),
        submission=lambda _market_id: submission,
        now_ns=now_ns,
        left_s=left_s,
        budget=BudgetRules(),
        executor_id="desk",
    )
    config: DBOSConfig = {
        "name": "shoal-cycle",
        "system_database_url": f"sqlite:///{folder / 'workflows.db'}",
        "executor_id": "desk",
        "application_version": "cycle-1",
        "log_level": "WARNING",
    }
    DBOS(config=config)
    workflow = GateWorkflow(plant, name=folder.name)
    DBOS.launch()

    def keep() -> Keeper:
        return Keeper(
            plant,
            held=plant.bidders,
            bring=workflow.bring,
            facts_no=facts.last_record_of,
            workers=2,
            shadow=shadow,
        )

    return Desk(plant, keep(), Collector(facts=facts, cycles=cycles), exchange, cycles, consents, facts, keep)
