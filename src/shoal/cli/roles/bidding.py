"""The bidding role: the cycle of every gate, and the statements of delivered days.

Where time runs, the cycle and the books go their ways beside each other. Where time is conducted, each tick is one turn of
both, to its end, so that the same seed makes the same bids and the same money.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import msgspec
import structlog
from dbos import DBOS
from sqlalchemy import Engine

from shoal.bidding.awarded import Awarded
from shoal.bidding.backed import BackedServices
from shoal.bidding.cycle.budget import BudgetRules
from shoal.bidding.cycle.decision import strategies
from shoal.bidding.cycle.runner import Opened, RunnerOptions, open_autobidder
from shoal.bidding.days import Days
from shoal.bidding.measure import Choices, TwinMeasuring, bidders_of, named
from shoal.bidding.offered import Offering
from shoal.bidding.runs import RunBook
from shoal.bidding.settling_runner import open_settling
from shoal.cli.cycle_stores import load_strategies
from shoal.cli.history_store import open_history
from shoal.cli.roles.held_sites import HeldSites
from shoal.cli.roles.host import Host, sqlite_url
from shoal.cli.roles.twins import ask_twins
from shoal.connect.exchange_http import HttpExchange
from shoal.domain.clock import Clock, Stage, Tick
from shoal.domain.errors import InvalidInputError, ShoalError
from shoal.domain.interval import NS_PER_S
from shoal.domain.live import WorkflowRun
from shoal.domain.twins import FleetView
from shoal.fabric.fleet_feed import FleetFeed
from shoal.fabric.subjects import LIVE_MONEY, LIVE_RUNS
from shoal.market.registry import market_module
from shoal.runtime.clock import ConductedClock, ScaledClock
from shoal.runtime.settings import Settings
from shoal.store.database import migrate, open_database
from shoal.store.device_parameters import DeviceParameterStore
from shoal.store.ledger import Ledger
from shoal.store.orders import Orders
from shoal.store.terms_over import SpanTerms
from shoal.store.weather_alerts import WeatherAlertLog

TICK_S: Final = 300.0
BOOKS_S: Final = 2.0
"""Between looks at what became of open bids, in seconds of wall time."""
ASK_PATIENCE_S: Final = 5.0
"""A bid is made without twins that do not answer for so long; in conducted time everybody is waited for."""
SETTLE_S: Final = 30.0
"""Between looks at what markets settled, in seconds of wall time."""
SOLVERS_READY_S: Final = 120.0
FIRST_DAYS: Final = 740
"""So far back prices are fetched at the first turn: what the forecasts learn from."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketStatistics:
    """Counters of the market cycle since the process started."""

    bids_placed: int
    awards_collected: int
    market_unavailable: int
    orders_failed: int
    slots_held: int
    taken_over: int
    turns_failed: int
    days_settled: int


async def bidding(host: Host) -> None:
    """Run the market cycle of every resource."""
    settings = host.settings
    loop = asyncio.get_running_loop()
    conducted = isinstance(host.clock, ConductedClock)
    client = await host.connect()
    feed = FleetFeed(client)
    published = await host.published_fleet(feed)
    fleet = published.fleet
    await asyncio.to_thread(migrate, host.ledger_url())
    engine = open_database(host.ledger_url())
    ledger = Ledger(engine)
    ask = partial(ask_twins, client, shards=settings.telemetry.shards, sites=len(fleet.site_ids))

    def view() -> FleetView:
        asked = ask() if conducted else ask(patience_s=ASK_PATIENCE_S)
        return asyncio.run_coroutine_threadsafe(asked, loop).result()

    def publish_run(run: WorkflowRun) -> None:
        asyncio.run_coroutine_threadsafe(client.publish(LIVE_RUNS, msgspec.json.encode(run)), loop)

    bidders, strangers = bidders_of(
        fleet,
        market_module,
        lead_s=settings.bidding.interval_lead_s,
        daily_lead_s=settings.bidding.lead_time_s,
        choices=choices(settings, conducted=conducted),
    )
    if strangers:
        _log.warning("market_unknown", resources=list(strangers))
    registry = await asyncio.to_thread(registry_of, host)
    held = HeldSites(
        fleet,
        Orders(engine),
        WeatherAlertLog(engine),
        states=ledger,
        regulation=settings.regulation.resource,
    )
    exchange = HttpExchange(url=settings.bidding.market_url, token=settings.bidding.market_token)
    runs = RunBook(ledger, record=ledger.record_run, publish=publish_run)
    opened = await asyncio.to_thread(
        partial(
            open_autobidder,
            engine=engine,
            workflows_url=settings.bidding.database_url or sqlite_url(settings, "workflows.db"),
            bidders=bidders,
            exchanges={bidder.market_id: exchange for bidder in bidders.values()},
            measure=TwinMeasuring(
                fleet=fleet,
                view=view,
                availability_frac=settings.bidding.availability_frac,
                fresh_timeout_s=settings.telemetry.fresh_timeout_s,
                offering=Offering(None if registry is None else SpanTerms(registry), held),
                backed=None if registry is None else BackedServices(DeviceParameterStore(registry)),
            ),
            clock=host.clock,
            left_s=left_s(host.clock, settings),
            holder=f"bidding-{os.getpid()}-{secrets.token_hex(4)}",
            options=runner_options(settings, conducted=conducted),
            on_order=lambda order: runs.note(order.name),
        )
    )
    history = open_history(settings)
    days = Days(
        fleet=fleet,
        awarded=Awarded(cycles=ledger, market=market_module),
        ledger=ledger,
        history=history,
        publish_run=publish_run,
        memberships=host.memberships() if host.has_registry() else None,
    )

    settling = open_settling(
        engine=engine,
        fleet=lambda: fleet,
        history=history,
        memberships=host.memberships() if host.has_registry() else None,
    )

    async def publish_money() -> None:
        await client.publish(LIVE_MONEY, b"{}")

    books = Books(
        opened=opened,
        days=days,
        runs=runs,
        clock=host.clock,
        publish_money=publish_money,
        settle=partial(
            settling.run,
            held=opened.autobidder.held_bidders,
            market=market_module,
            exchanges={bidder.market_id: exchange for bidder in bidders.values()},
            clock=host.clock,
            turn_s=SETTLE_S,
        ),
    )
    host.ops.register("market", books.statistics)
    host.ops.register("settling", settling.statistics)
    if conducted:
        # nobody is in a hurry, and a bid from a rung that was not loaded yet would be another one in every run
        await asyncio.to_thread(opened.solver.wait_ready, SOLVERS_READY_S)
    host.ready()
    watching = asyncio.create_task(host.end_on_change(feed, published))
    try:
        if conducted:
            await books.follow_steps(patience_s=work_s(settings))
        else:
            await books.run()
    finally:
        watching.cancel()
        await asyncio.to_thread(opened.close)
        await asyncio.to_thread(DBOS.destroy)
        exchange.close()
        history.close()
        await client.close()


def registry_of(host: Host) -> Engine | None:
    """Return the registry's database, migrated; None where it is on another machine and its URL is not set.

    Without it nobody is known to have left or to keep more than the nameplate says, and no service is withheld.
    """
    registry = host.registry()
    if registry is None:
        _log.warning("enrolments are not known here; set registry.database_url")
    return registry


def work_s(settings: Settings) -> float:
    """Return how long a bid may take in all, in seconds of wall time."""
    return settings.bidding.decide_budget_s + settings.bidding.submit_budget_s


def choices(settings: Settings, *, conducted: bool) -> Choices:
    """Return what the settings choose for resources; conducted time waits for every bid, so none has to be early.

    Raises:
        InvalidInputError: when a strategy is not known.
    """
    load_strategies()
    bidding = settings.bidding
    strategy = dict(named(bidding.strategies))
    shadows: dict[str, tuple[str, ...]] = {}
    for resource_id, name in named(bidding.shadows):
        shadows[resource_id] = (*shadows.get(resource_id, ()), name)
    known = {one.name for one in strategies()}
    for field, names in (
        ("bidding.strategies", list(strategy.values())),
        ("bidding.shadows", [name for found in shadows.values() for name in found]),
    ):
        for name in names:
            if name not in known:
                raise InvalidInputError(field=field, value=name, fix=f"one of {', '.join(sorted(known))}")
    return Choices(
        strategy=strategy, shadows=shadows, early_lead_s=0.0 if conducted else bidding.early_lead_s
    )


def left_s(clock: Clock, settings: Settings) -> Callable[[int], float]:
    """Return what tells how many seconds of wall time are left until an instant.

    Conducted time stands still while a bid is made, so every bid has the whole of its budget.
    """
    if isinstance(clock, ConductedClock):
        return lambda t_ns: work_s(settings) if t_ns > clock.now_ns() else 0.0
    speed = clock.speed if isinstance(clock, ScaledClock) else 1.0
    return lambda t_ns: (t_ns - clock.now_ns()) / NS_PER_S / speed


def runner_options(settings: Settings, *, conducted: bool) -> RunnerOptions:
    """Return how the cycle runs by the settings.

    In conducted time one order is carried out after the other, by one solver, so that what is recorded comes in one order.
    """
    bidding = settings.bidding
    return RunnerOptions(
        budget=BudgetRules(submit_share=bidding.submit_budget_s / work_s(settings), most_s=work_s(settings)),
        exchange_s=min(5.0, bidding.submit_budget_s),
        first_days=FIRST_DAYS,
        workers=1 if conducted else 4,
        spares=0 if conducted else 1,
    )


class Books:
    """The cycle of gates beside the statements of days.

    Args:
        opened: The cycle.
        days: The statements.
        runs: What people see of both.
        clock: The plant's clock.
        publish_money: Tells everybody that statements changed.
        settle: Tells the markets what the meters say, and checks and shares what they settle, until cancelled. Where time is
            conducted it is not called: no market settles within the days of such a run.
    """

    def __init__(
        self,
        *,
        opened: Opened,
        days: Days,
        runs: RunBook,
        clock: Clock,
        publish_money: Callable[[], Awaitable[None]],
        settle: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        self._opened = opened
        self._days = days
        self._runs = runs
        self._clock = clock
        self._publish_money = publish_money
        self._settle_with_markets = settle
        self._failed = 0

    async def run(self) -> None:
        """Bid and settle until cancelled, in time that runs."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._opened.autobidder.run())
            group.create_task(self._follow_bids())
            group.create_task(self._follow_days())
            group.create_task(self._settle_with_markets())

    async def follow_steps(self, *, patience_s: float) -> None:
        """Bid and settle at every tick until the clock stops, in conducted time.

        Args:
            patience_s: How long orders are waited for in one turn, in seconds of wall time.
        """
        autobidder = self._opened.autobidder
        async for tick in self._clock.ticks(Stage.DECIDE, TICK_S):
            await autobidder.step(patience_s=patience_s)
            await self._attempt(self._look)
            await self._settle(tick)
            if tick.facts.get("closing"):
                self._clock.account(await asyncio.to_thread(self._account))
        await autobidder.leave()

    async def _follow_bids(self) -> None:
        while True:
            await self._attempt(self._look)
            await asyncio.sleep(BOOKS_S)

    async def _follow_days(self) -> None:
        async for tick in self._clock.ticks(Stage.DECIDE, TICK_S):
            await self._settle(tick)

    async def _settle(self, tick: Tick) -> None:
        async def settle() -> None:
            held = self._opened.autobidder.held()
            closing = bool(tick.facts.get("closing"))
            if await asyncio.to_thread(partial(self._days.settle, held, tick.t_ns, closing=closing)):
                await self._publish_money()

        await self._attempt(settle)

    async def _look(self) -> None:
        await asyncio.to_thread(self._runs.refresh)

    async def _attempt(self, turn: Callable[[], Awaitable[None]]) -> None:
        try:
            await turn()
        except ShoalError as error:
            self._failed += 1
            _log.warning("books_failed", error=f"{type(error).__name__}: {error}")

    def _account(self) -> dict[str, Any]:
        """Return this part's own account of a run."""
        return {
            "rungs": dict(sorted(self._rungs_at_gates().items())),
            **self._days.account(),
            "statistics": msgspec.to_builtins(self.statistics()),
        }

    def _rungs_at_gates(self) -> Counter[str]:
        """Count the rungs of the bids that stood at their gates: the last one of each."""
        cycles = self._opened.cycles
        stood = {
            (record.bid.resource_id, record.bid.delivery_date): record.decision_id
            for record in cycles.bids(states=("accepted",))
        }
        tried = cycles.tried(list(stood.values()))
        return Counter(tried[name][0] if name in tried else "manual" for name in stood.values())

    def statistics(self) -> MarketStatistics:
        """Return the counters."""
        cycle, days = self._opened.autobidder.statistics(), self._days.statistics()
        return MarketStatistics(
            bids_placed=cycle.keeper.accepted,
            awards_collected=cycle.collector.awards,
            market_unavailable=cycle.collector.unavailable,
            orders_failed=cycle.keeper.failed,
            slots_held=cycle.slots_held,
            taken_over=cycle.taken_over,
            turns_failed=cycle.turns_failed + self._failed,
            days_settled=days.days_settled,
        )
