"""The bidding role: at every tick, whatever the calendar asks for and is not done yet.

The cycle is level-triggered: published prices that are not in the ledger are fetched, awards that are missing are
collected, a bid whose gate comes near and that is not placed is placed, a delivered day without a statement is settled. So a
restart, a late publication or a market that was away need no special case.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.bidding.settlement import SettledDay, bounds_of, settle_day
from shoal.connect.market_http import MarketGateway
from shoal.domain.clock import Clock, Stage, Tick
from shoal.domain.errors import UnavailableError
from shoal.domain.fleet import Fleet, Resource
from shoal.domain.ids import ResourceId
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S, to_datetime
from shoal.domain.live import WorkflowRun, WorkflowStep
from shoal.market.registry import market
from shoal.market.types import Award
from shoal.settle.statement import Statement as DayStatement
from shoal.settle.statement import balance_error
from shoal.store.group_energy import Memberships
from shoal.store.history import History
from shoal.store.ledger import Ledger
from shoal.store.records import Statement

TICK_S: Final = 300.0
FIRST_HISTORY_DAYS: Final = 120
LAST_CALL_SHARE: Final = 4
"""In the last quarter of the lead time a bid is made with whatever is known."""
GOOD_COVERAGE_FRAC: Final = 0.9
SETTLE_AFTER_NS: Final = NS_PER_HOUR
SETTLE_BACK_NS: Final = 7 * 24 * NS_PER_HOUR
FINAL_STATUSES: Final = frozenset({"accepted", "rejected", "missed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class BiddingStatistics:
    """Counters since the process started."""

    bids_placed: int
    awards_collected: int
    days_settled: int
    market_unavailable: int


class Bidding:
    """The market cycle of every resource.

    Args:
        fleet: The fleet as registered.
        clock: The plant's clock.
        ledger: Prices, forecasts, bids, awards, statements.
        gateway: The way to the market.
        history: The meters.
        memberships: Who was in a resource's group when; those who are in it now when None.
        launch: Starts the workflow engine (and with it whatever was interrupted); called at the first tick.
        place: Places a bid durably and returns its final status; blocks.
        coverage_frac: Tells which share of a resource reports fresh; blocks.
        lead_time_s: How long before a gate the bid is made.
        publish_money: Tells everybody that statements changed.
        publish_run: Tells everybody how a run stands.
    """

    def __init__(
        self,
        *,
        fleet: Fleet,
        clock: Clock,
        ledger: Ledger,
        gateway: MarketGateway,
        history: History,
        launch: Callable[[], None],
        place: Callable[[str, str], str],
        coverage_frac: Callable[[str], float],
        lead_time_s: float,
        publish_money: Callable[[], Awaitable[None]],
        publish_run: Callable[[WorkflowRun], None],
        memberships: Memberships | None = None,
    ) -> None:
        self._fleet = fleet
        self._clock = clock
        self._ledger = ledger
        self._gateway = gateway
        self._history = history
        self._memberships = memberships
        self._launch = launch
        self._place = place
        self._coverage_frac = coverage_frac
        self._lead_ns = int(lead_time_s * NS_PER_S)
        self._publish_money = publish_money
        self._publish_run = publish_run
        self._placed: dict[tuple[str, str], str] = {}
        self._prices_to_ns: dict[str, int] = {}
        self._awarded: set[tuple[str, str]] = set()
        self._settled: set[tuple[str, str]] = set()
        self._count: Counter[str] = Counter()
        self._first_ns = 0

    async def follow(self) -> None:
        """Run the cycle at every tick until the clock stops."""
        async for tick in self._clock.ticks(Stage.DECIDE, TICK_S):
            if self._first_ns == 0:
                self._first_ns = tick.t_ns
                await asyncio.to_thread(self._launch)
            closing = bool(tick.facts.get("closing"))
            await asyncio.to_thread(self._cycle, tick, closing=closing)
            if self._count["money_changed"]:
                self._count["money_changed"] = 0
                await self._publish_money()
            if closing:
                self._clock.account(self._account())

    def _cycle(self, tick: Tick, *, closing: bool) -> None:
        # each by itself: a market that gives no prices may still take bids, and a bid can do without the newest prices
        for part in (self._collect_prices, self._collect_awards, self._place_bids):
            try:
                part(tick.t_ns)
            except UnavailableError:
                self._count["market_unavailable"] += 1
        self._settle_days(tick.t_ns, closing=closing)

    def _published_to_ns(self, resource: Resource, t_ns: int) -> int:
        """Return the end of the last local day whose prices are out."""
        rules = market(resource.market_id)
        today = to_datetime(t_ns, rules.zone).date()
        day = today + timedelta(days=1)
        last = day if rules.publication_ns(day) <= t_ns else today
        return rules.delivery_intervals(last)[-1].end_ns

    def _collect_prices(self, t_ns: int) -> None:
        for resource in self._fleet.resources:
            point = resource.settlement_point
            to_ns = self._published_to_ns(resource, t_ns)
            from_ns = self._prices_to_ns.get(point, t_ns - FIRST_HISTORY_DAYS * 24 * NS_PER_HOUR)
            if to_ns <= from_ns:
                continue
            prices = self._gateway.prices(point, from_ns=from_ns, to_ns=to_ns)
            if prices:
                self._ledger.record_prices(prices)
                self._prices_to_ns[point] = max(price.end_ns for price in prices)

    def _collect_awards(self, t_ns: int) -> None:
        for resource in self._fleet.resources:
            rules = market(resource.market_id)
            today = to_datetime(t_ns, rules.zone).date()
            for day in (today - timedelta(days=1), today, today + timedelta(days=1)):
                key = (resource.resource_id, day.isoformat())
                if key in self._awarded or rules.publication_ns(day) > t_ns:
                    continue
                if rules.gate_ns(day) < self._first_ns and not self._known_bid(*key):
                    self._awarded.add(key)  # the plant was not there to bid
                    continue
                award = self._gateway.award(*key)
                if award is not None:
                    self._ledger.record_award(award)
                    self._awarded.add(key)
                    self._count["awards_collected"] += 1

    def _known_bid(self, resource_id: str, delivery_date: str) -> bool:
        return bool(self._ledger.bids(delivery_date=delivery_date, resource_id=ResourceId(resource_id)))

    def _place_bids(self, t_ns: int) -> None:
        for resource in self._fleet.resources:
            day, gate_ns = market(resource.market_id).next_gate(t_ns)
            key = (resource.resource_id, day.isoformat())
            if t_ns < gate_ns - self._lead_ns or self._placed.get(key) in FINAL_STATUSES:
                continue
            patient = t_ns < gate_ns - self._lead_ns // LAST_CALL_SHARE
            if patient and self._coverage_frac(resource.resource_id) < GOOD_COVERAGE_FRAC:
                continue  # there is time: more of the resource may report before the last call
            self._placed[key] = self._place(*key)
            self._count["bids_placed"] += self._placed[key] in FINAL_STATUSES

    def _settle_days(self, t_ns: int, *, closing: bool) -> None:
        for resource in self._fleet.resources:
            for award in self._ledger.awards(resource.resource_id, t_ns - SETTLE_BACK_NS, t_ns):
                key = (resource.resource_id, award.delivery_date)
                bounds_ns = bounds_of(resource.market_id, award.delivery_date)
                due_ns = int(bounds_ns[-1]) + (0 if closing else SETTLE_AFTER_NS)
                if t_ns < due_ns or (key in self._settled and not closing):
                    continue
                self._settle(resource, award, bounds_ns, t_ns, final=closing)
                self._settled.add(key)

    def _settle(
        self, resource: Resource, award: Award, bounds_ns: NDArray[np.int64], t_ns: int, *, final: bool
    ) -> None:
        settled = settle_day(
            fleet=self._fleet,
            resource=resource,
            award=award,
            history=self._history,
            bounds_ns=bounds_ns,
            memberships=self._memberships,
        )
        self._count["split_error"] += balance_error(
            settled.statement, settled.owner_amount, settled.operator_amount
        )
        self._record(resource, settled, t_ns, final=final)
        self._count["days_settled"] += 1
        self._count["money_changed"] += 1

    def _record(self, resource: Resource, settled: SettledDay, t_ns: int, *, final: bool) -> None:
        statement = settled.statement
        payload = msgspec.json.encode(statement)
        kept = self._ledger.statement(resource.resource_id, statement.delivery_date)
        if kept is not None and kept.payload == payload:
            return
        version = 1 if kept is None else kept.version + 1
        self._ledger.record_statement(
            Statement(
                resource_id=resource.resource_id,
                delivery_date=statement.delivery_date,
                version=version,
                known_ns=t_ns,
                net_amount=statement.net_amount,
                payload=payload,
            ),
            site_ids=[self._fleet.site_ids[int(row)] for row in settled.rows],
            amounts=settled.owner_amount,
        )
        run = WorkflowRun(
            workflow_id=f"settle-{statement.resource_id}-{statement.delivery_date}-v{version}",
            kind="settle",
            resource_id=statement.resource_id,
            delivery_date=statement.delivery_date,
            gate_ns=market(resource.market_id).gate_ns(date.fromisoformat(statement.delivery_date)),
            started_ns=t_ns,
            finished_ns=t_ns,
            status="settled",
            rung="final" if final else "provisional",
            rung_reason=f"{settled.estimated_intervals} intervals with an estimated reading",
            steps=[WorkflowStep(name="meters", took_s=0.0, outcome="ok")],
        )
        self._ledger.record_run(run)
        self._publish_run(run)

    def _account(self) -> dict[str, Any]:
        rungs = Counter(record.rung for record in self._ledger.bids())
        statements = [
            self._statement_account(kept)
            for resource in self._fleet.resources
            for kept in self._ledger.statements(resource.resource_id)
        ]
        return {
            "rungs": dict(sorted(rungs.items())),
            "statements": statements,
            "split_error": self._count["split_error"],
            "statistics": msgspec.to_builtins(self.statistics()),
        }

    def _statement_account(self, kept: Statement) -> dict[str, Any]:
        content = msgspec.json.decode(kept.payload, type=DayStatement)
        _, shares = self._ledger.site_shares(kept.resource_id, kept.delivery_date)
        return {
            "resource_id": kept.resource_id,
            "delivery_date": kept.delivery_date,
            "version": kept.version,
            "net_amount": kept.net_amount,
            "shares_amount": int(shares.sum()),
            "award_wh": content.award_wh,
            "delivered_wh": content.delivered_wh,
        }

    def statistics(self) -> BiddingStatistics:
        """Return the counters."""
        return BiddingStatistics(
            bids_placed=self._count["bids_placed"],
            awards_collected=self._count["awards_collected"],
            days_settled=self._count["days_settled"],
            market_unavailable=self._count["market_unavailable"],
        )
