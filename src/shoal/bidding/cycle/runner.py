"""Putting a bidder process together: stores, workflow engine, solver processes, keeper, collector, slots.

The same composition serves the role of the plant and whoever measures it; what differs comes in: the twins, the
markets, the clock.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from dbos import DBOS, DBOSConfig
from sqlalchemy import Engine

from shoal.bidding.cycle.budget import BudgetRules
from shoal.bidding.cycle.collector import FIRST_DAYS, Collector
from shoal.bidding.cycle.keeper import Keeper
from shoal.bidding.cycle.known import Known
from shoal.bidding.cycle.ports import Bidder, Exchange, Measuring
from shoal.bidding.cycle.service import BEAT_S, DEAD_AFTER_S, Autobidder
from shoal.bidding.cycle.shadow import Shadows
from shoal.bidding.cycle.solver import Solver
from shoal.bidding.cycle.submission import Submission
from shoal.bidding.cycle.warm import warm_ups
from shoal.bidding.cycle.workflow import GateWorkflow, Order, Plant
from shoal.domain.clock import Clock
from shoal.market.registry import market_module
from shoal.store.consents import Consents
from shoal.store.cycles import Cycles
from shoal.store.facts import FactStore
from shoal.store.slots import Slots

STRATEGIES: Final = (
    "shoal.bidding.cycle.day_ahead",
    "shoal.bidding.cycle.five_minute",
    "shoal.bidding.cycle.balancing",
    "shoal.bidding.cycle.peak_event",
    "shoal.bidding.cycle.reserves",
)
"""The modules whose strategies a solver process knows."""
WORKFLOW_VERSION: Final = "gate-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerOptions:
    """How a bidder process runs; times in seconds of the machine.

    Attributes:
        prepare: Further modules with strategies.
        budget: How the time until a gate is carved.
        turn_s: Between turns of keeper and collector.
        again_s: So much must be left to a gate for a better bid.
        exchange_s: How long one exchange with a market may take.
        beat_s: Between beats.
        dead_after_s: How long a count must stand still.
        workers: Orders carried out side by side.
        spares: Solver processes that stand by.
        first_days: How far back prices are fetched at the first turn.
        instance: The workflow engine's name for these workflows; the same in every process that shares the work.
    """

    prepare: tuple[str, ...] = ()
    budget: BudgetRules = field(default_factory=BudgetRules)
    turn_s: float = 1.0
    again_s: float = 5.0
    exchange_s: float = 2.0
    beat_s: float = BEAT_S
    dead_after_s: float = DEAD_AFTER_S
    workers: int = 4
    spares: int = 1
    first_days: int = FIRST_DAYS
    instance: str = "gate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A bidder process that is ready to run, and what has to be closed after it."""

    autobidder: Autobidder
    solver: Solver
    cycles: Cycles
    shadows: Shadows | None
    shadow_solver: Solver | None

    def close(self) -> None:
        """End the shadows and the solver processes."""
        if self.shadows is not None:
            self.shadows.close()
        for solver in (self.solver, self.shadow_solver):
            if solver is not None:
                solver.close()


def open_autobidder(
    *,
    engine: Engine,
    workflows_url: str,
    bidders: Mapping[str, Bidder],
    exchanges: Mapping[str, Exchange],
    measure: Measuring,
    clock: Clock,
    left_s: Callable[[int], float],
    holder: str,
    options: RunnerOptions,
    on_order: Callable[[Order], None] = lambda _order: None,
) -> Opened:
    """Return a bidder that is ready to run; the workflow engine is launched.

    Args:
        engine: The migrated database of bids, facts, consents and slots.
        workflows_url: The workflow engine's own database; the same for all bidders that share work.
        bidders: Every resource that may be bid for.
        exchanges: The way to each market.
        measure: The twins.
        clock: The plant's clock.
        left_s: Wall seconds until an instant of the plant's clock.
        holder: The name of this process, another one at every start.
        options: How it runs.
        on_order: Told of every order that was carried out, or failed to be.
    """
    for module in (*STRATEGIES, *options.prepare):
        importlib.import_module(module)

    def warm() -> list[tuple[Known, str]]:
        return warm_ups(bidders.values(), market_module, now_ns=clock.now_ns())

    solver = Solver(prepare=(*STRATEGIES, *options.prepare), spares=options.spares, warm=warm)
    solver.start()
    cycles, facts = Cycles(engine), FactStore(engine)
    ways = {
        market_id: Submission(
            cycles=cycles,
            exchange=exchange,
            now_ns=clock.now_ns,
            left_s=left_s,
            by=holder,
            exchange_s=options.exchange_s,
        )
        for market_id, exchange in exchanges.items()
    }

    plant = Plant(
        bidders=bidders,
        market=market_module,
        cycles=cycles,
        consents=Consents(engine),
        facts=facts,
        measure=measure,
        solver=solver,
        submission=ways.__getitem__,
        now_ns=clock.now_ns,
        left_s=left_s,
        budget=options.budget,
        executor_id=holder,
    )

    shadow_solver: Solver | None = None
    shadows: Shadows | None = None
    if any(bidder.shadows for bidder in bidders.values()):
        # processes of their own: a shadow never takes a solver from the live bid
        shadow_solver = Solver(prepare=(*STRATEGIES, *options.prepare), spares=0, warm=warm)
        shadows = Shadows(plant, solver=shadow_solver, wait_ready=shadow_solver.wait_ready)

    def carried_out(order: Order) -> None:
        on_order(order)
        if shadows is not None:
            shadows.watch(order)

    def keeper_for(held: Mapping[str, Bidder]) -> Keeper:
        return Keeper(
            plant,
            held=held,
            bring=workflow.bring,
            facts_no=facts.last_record_of,
            again_s=options.again_s,
            workers=options.workers,
            shadow=carried_out,
        )

    config: DBOSConfig = {
        "name": "shoal-gates",
        "system_database_url": workflows_url,
        "executor_id": holder,
        "application_version": WORKFLOW_VERSION,
        "log_level": "WARNING",
    }
    DBOS(config=config)
    workflow = GateWorkflow(plant, name=options.instance)
    autobidder = Autobidder(
        plant=plant,
        keeper_for=keeper_for,
        exchanges=exchanges,
        collector=Collector(facts=facts, cycles=cycles, first_days=options.first_days),
        slots=Slots(engine),
        resume=resume,
        clock=clock,
        holder=holder,
        turn_s=options.turn_s,
        beat_s=options.beat_s,
        dead_after_s=options.dead_after_s,
    )
    DBOS.launch()
    return Opened(
        autobidder=autobidder, solver=solver, cycles=cycles, shadows=shadows, shadow_solver=shadow_solver
    )


def resume(holder: str, resource_id: str) -> int:
    """Go on with the workflows that a dead holder left for a resource; return how many."""
    left = DBOS.list_workflows(
        status="PENDING",
        executor_id=holder,
        workflow_id_prefix=f"{resource_id}-",
        load_input=False,
        load_output=False,
    )
    for workflow in left:
        DBOS.resume_workflow(workflow.workflow_id)
    return len(left)
