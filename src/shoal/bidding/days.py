"""Delivered days become statements: once the meters are likely to be in, again when a day rests on estimates, and again
whenever its award is corrected.

What is known of a day is compared with what was settled before; equal content makes no new version. Nothing is
remembered that a new start would miss: a day that is settled once more than needed comes out the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from shoal.bidding.awarded import Awarded
from shoal.bidding.settlement import SettledDay, bounds_of, settle_day
from shoal.domain.fleet import Fleet, Resource
from shoal.domain.interval import NS_PER_HOUR
from shoal.domain.live import WorkflowRun, WorkflowStep
from shoal.market.registry import MARKETS, market_module
from shoal.market.types import Award
from shoal.settle.statement import Statement as DayStatement
from shoal.settle.statement import balance_error
from shoal.store.group_energy import Memberships
from shoal.store.history import History
from shoal.store.ledger import Ledger
from shoal.store.records import Statement

SETTLE_AFTER_NS: Final = NS_PER_HOUR
AGAIN_AFTER_NS: Final = 24 * NS_PER_HOUR
"""A day that rests on estimated readings is settled again after so long."""
SETTLE_BACK_NS: Final = 7 * 24 * NS_PER_HOUR
SETTLED_HERE: Final = frozenset(rules.market_id for rules in MARKETS)
"""Markets whose days the plant settles by its own deviation charge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DaysStatistics:
    """Counters since the start."""

    days_settled: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Done:
    """What a day was settled from: the version of its award, when, and whether readings were estimated."""

    version: int
    at_ns: int
    estimated: bool


class Days:
    """Settles the delivered days of resources.

    Args:
        fleet: The fleet as registered.
        awarded: What was awarded.
        ledger: Statements and runs.
        history: The meters.
        publish_run: Tells everybody of a settlement.
        memberships: Who was in a resource's group when; those who are in it now when None.
    """

    def __init__(
        self,
        *,
        fleet: Fleet,
        awarded: Awarded,
        ledger: Ledger,
        history: History,
        publish_run: Callable[[WorkflowRun], None],
        memberships: Memberships | None = None,
    ) -> None:
        self._fleet = fleet
        self._awarded = awarded
        self._ledger = ledger
        self._history = history
        self._publish_run = publish_run
        self._memberships = memberships
        self._done: dict[tuple[str, str], _Done] = {}
        self._count: Counter[str] = Counter()

    def settle(self, resource_ids: Sequence[str], t_ns: int, *, closing: bool = False) -> int:
        """Settle what is due of some resources; return how many days were settled.

        Args:
            resource_ids: Whose days.
            t_ns: Now.
            closing: Whether the run ends: then everything that has ended is settled, for the last time.

        Raises:
            UnavailableError: when meters or memberships cannot be read.
        """
        settled = 0
        for resource in self._fleet.resources:
            if resource.resource_id not in resource_ids or resource.market_id not in SETTLED_HERE:
                continue
            for award in self._awarded.days(resource, t_ns - SETTLE_BACK_NS, t_ns):
                if self._due(award, t_ns, closing=closing):
                    self._settle(resource, award, t_ns, final=closing)
                    settled += 1
        return settled

    def _due(self, award: Award, t_ns: int, *, closing: bool) -> bool:
        bounds_ns = bounds_of(award.market_id, award.delivery_date)
        if len(award.intervals) != len(bounds_ns) - 1:
            return False  # the rest of the day's prices is still to come
        if t_ns < int(bounds_ns[-1]) + (0 if closing else SETTLE_AFTER_NS):
            return False
        done = self._done.get((award.resource_id, award.delivery_date))
        if closing or done is None or done.version != award.version:
            return True
        return done.estimated and t_ns - done.at_ns >= AGAIN_AFTER_NS

    def _settle(self, resource: Resource, award: Award, t_ns: int, *, final: bool) -> None:
        settled = settle_day(
            fleet=self._fleet,
            resource=resource,
            award=award,
            history=self._history,
            bounds_ns=bounds_of(award.market_id, award.delivery_date),
            memberships=self._memberships,
        )
        self._count["split_error"] += balance_error(
            settled.statement, settled.owner_amount, settled.operator_amount
        )
        self._record(resource, settled, t_ns, final=final)
        self._done[award.resource_id, award.delivery_date] = _Done(
            version=award.version, at_ns=t_ns, estimated=settled.estimated_intervals > 0
        )
        self._count["days_settled"] += 1

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
        first_ns = statement.intervals[0].start_ns
        market = market_module(resource.market_id)
        product_id = market.rules.products[0].product_id
        run = WorkflowRun(
            workflow_id=f"settle-{statement.resource_id}-{statement.delivery_date}-v{version}",
            kind="settle",
            resource_id=statement.resource_id,
            delivery_date=statement.delivery_date,
            gate_ns=market.gates(product_id, market.delivery_date(first_ns))[0].closes_ns,
            started_ns=t_ns,
            finished_ns=t_ns,
            status="settled",
            rung="final" if final else "provisional",
            rung_reason=f"{settled.estimated_intervals} intervals with an estimated reading",
            steps=[WorkflowStep(name="meters", took_s=0.0, outcome="ok")],
        )
        self._ledger.record_run(run)
        self._publish_run(run)

    def account(self) -> dict[str, Any]:
        """Return every statement with the sum of its shares, and by how much a split ever missed its whole."""
        return {
            "statements": [
                self._statement_account(kept)
                for resource in self._fleet.resources
                for kept in self._ledger.statements(resource.resource_id)
            ],
            "split_error": self._count["split_error"],
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

    def statistics(self) -> DaysStatistics:
        """Return the counters."""
        return DaysStatistics(days_settled=self._count["days_settled"])
