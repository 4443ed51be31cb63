"""Strategies that decide beside the live one, for the same gate and from the same instant, and send nothing.

A shadow runs after the live bid is on its way, in a thread of its own with a budget of its own; work that would pile up
is dropped and counted. It has a storage on paper: its own bids stand, and its stored energy follows what they would have
been awarded. So it meets the consequences of what it decided, not those of the live strategy.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

import msgspec
import structlog

from shoal.bidding.cycle.budget import BudgetRules, carve
from shoal.bidding.cycle.climb import Climbed, Deciding, climb
from shoal.bidding.cycle.decision import Decision, GateStrategy, strategy
from shoal.bidding.cycle.known import Situation, canonical, gate_ref
from shoal.bidding.cycle.paper import awarded, follow, published_prices, span_of
from shoal.bidding.cycle.workflow import (
    Order,
    Plant,
    bid_of,
    decision_record,
    known_of,
    situation_of,
)
from shoal.domain.errors import UnknownIdError
from shoal.domain.interval import NS_PER_HOUR
from shoal.market.awards import AwardedQuantity
from shoal.market.bids import MarketBid
from shoal.market.contract import RejectedBid
from shoal.market.standing import in_force
from shoal.store.cycles import DecisionRecord

BUDGET_S: Final = 10.0
MOST_WAITING: Final = 32
READY_S: Final = 60.0
"""A process that a shadow hung is replaced by one that has to load everything first: the next shadow waits for it."""
LOOK_BACK_NS: Final = 3 * 24 * NS_PER_HOUR
"""How far back, after a new start, a shadow looks for what it decided last."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowStatistics:
    """Counters since the start.

    Attributes:
        decided: Decisions recorded, those that stood still included.
        failed: Decisions that ended in an error.
        dropped: Decisions that were not begun, since too many waited.
        waiting: Decisions that wait or are being made.
    """

    decided: int
    failed: int
    dropped: int
    waiting: int


@dataclass(slots=True, kw_only=True)
class _Paper:
    """The storage on paper of one resource and strategy, and what stands for it by day."""

    energy_kwh: float
    at_ns: int
    standing: dict[str, MarketBid | None]


class Shadows:
    """Lets the shadows of bidders decide.

    Args:
        plant: What the live bidding works with; only read, but for decisions marked as shadows.
        solver: Where shadows decide: processes of their own, never those of the live bid.
        budget_s: How long one decision may take, in seconds of wall time.
        most_waiting: More than so many at once are dropped.
        wait_ready: Waits for so many seconds at most until the solver can decide: a shadow has no gate to meet.
    """

    def __init__(
        self,
        plant: Plant,
        *,
        solver: Deciding,
        budget_s: float = BUDGET_S,
        most_waiting: int = MOST_WAITING,
        wait_ready: Callable[[float], object] = lambda _timeout_s: None,
    ) -> None:
        self._plant = plant
        self._solver = solver
        self._rules = BudgetRules(submit_share=0.01, submit_least_s=0.0, most_s=budget_s)
        self._most_waiting = most_waiting
        self._wait_ready = wait_ready
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="shadow")
        self._changed = threading.Condition()
        self._waiting = 0
        self._closed = False
        self._count: Counter[str] = Counter()
        self._papers: dict[tuple[str, str, str], _Paper] = {}

    def watch(self, order: Order) -> None:
        """Have every shadow of the order's resource decide; returns at once and never raises.

        Call it when the live bid of the order has gone, or failed to go.
        """
        bidder = self._plant.bidders.get(order.resource_id)
        for name in () if bidder is None else bidder.shadows:
            with self._changed:
                if self._closed or self._waiting >= self._most_waiting:
                    self._count["dropped"] += 1
                    continue
                self._waiting += 1
                self._pool.submit(self._run, order, name)

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until nothing waits or runs; return whether that came about in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._waiting == 0, timeout=timeout_s)

    def statistics(self) -> ShadowStatistics:
        """Return the counters."""
        with self._changed:
            return ShadowStatistics(
                decided=self._count["decided"],
                failed=self._count["failed"],
                dropped=self._count["dropped"],
                waiting=self._waiting,
            )

    def close(self) -> None:
        """Begin nothing more, and wait for nothing."""
        with self._changed:
            self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self, order: Order, name: str) -> None:
        outcome = "failed"
        try:
            self._decide(order, name)
            outcome = "decided"
        except Exception as error:  # noqa: BLE001 - supervises shadows: none of them may end the others
            _log.warning(
                "shadow_failed", order=order.name, strategy=name, why=f"{type(error).__name__}: {error}"
            )
        finally:
            with self._changed:
                self._count[outcome] += 1
                self._waiting -= 1
                self._changed.notify_all()

    def _decide(self, order: Order, name: str) -> None:
        chosen = strategy(name)
        live = self._live_situation(order, name)
        key = (order.resource_id, order.gate.market_id, name)
        if key not in self._papers:
            self._papers[key] = self._resumed(order, name, live)
        paper = self._papers[key]
        about = self._on_paper(paper, order, chosen, live)
        self._wait_ready(READY_S)
        climbed = self._climbed(order, about, chosen)
        self._plant.cycles.record_decision(decision_record(order, about, climbed, shadow=True))
        if climbed.decision.offers:
            bid = self._bid(order, about, climbed.decision)
            paper.standing[order.gate.delivery_date] = in_force(about.standing, bid)

    def _live_situation(self, order: Order, name: str) -> Situation:
        """Return the situation that the live decision was made in; that of now when none came about."""
        try:
            record = self._plant.cycles.decision(order.name)
        except UnknownIdError:
            return situation_of(self._plant, order, shadow=name)
        return msgspec.json.decode(record.situation, type=Situation)

    def _climbed(self, order: Order, about: Situation, chosen: GateStrategy) -> Climbed:
        budget = carve(self._rules.most_s, [rung.share for rung in chosen.rungs], rules=self._rules)
        market = self._plant.market(order.gate.market_id)

        def acceptable(decision: Decision) -> str:
            if not decision.offers:
                return ""
            # judged as of the instant of the live decision: by now the gate may have closed
            bid = self._bid(order, about, decision)
            verdict = market.validate(bid, received_ns=about.as_of_ns, standing=about.standing)
            return f"the market would refuse it: {verdict.detail}" if isinstance(verdict, RejectedBid) else ""

        return climb(
            about,
            chosen,
            lambda: known_of(self._plant.facts, about, chosen),
            self._solver,
            budget.rung_s,
            gather_s=budget.gather_s,
            acceptable=acceptable,
        )

    def _bid(self, order: Order, about: Situation, decision: Decision) -> MarketBid:
        revision = 1 if about.standing is None else about.standing.revision + 1
        key = f"{order.name}-{about.strategy}"
        bid = bid_of(self._plant, order, about, decision.offers, key=key, revision=revision)
        if bid.rebid is None:
            return bid
        return msgspec.structs.replace(
            bid, rebid=msgspec.structs.replace(bid.rebid, decision_ns=about.as_of_ns)
        )

    # ── the storage on paper ────────────────────────────────────────────────────────────────────────────────

    def _on_paper(self, paper: _Paper, order: Order, chosen: GateStrategy, live: Situation) -> Situation:
        """Return the shadow's own situation: its strategy, its stored energy, what stands for it and what it was awarded."""
        day = order.gate.delivery_date
        if day not in paper.standing:
            paper.standing[day] = self._last_standing(order, chosen.name)
        quantities = [
            one for bid in paper.standing.values() if bid for one in self._awarded(bid, order, live)
        ]
        quantities.sort(key=lambda one: one.start_ns)
        storage = live.storage
        held_kwh = min(paper.energy_kwh, storage.energy_capacity_kwh)
        done = [_clipped(one, paper.at_ns, live.as_of_ns) for one in quantities]
        followed = follow(
            replace(storage, initial_energy_kwh=held_kwh), [one for one in done if one is not None]
        )
        paper.energy_kwh, paper.at_ns = float(followed.energy_kwh[-1]), live.as_of_ns
        for old in sorted(paper.standing)[:-3]:
            del paper.standing[old]
        about = msgspec.structs.replace(
            live,
            storage=replace(storage, initial_energy_kwh=paper.energy_kwh),
            standing=paper.standing[day],
            commitments=tuple(one for one in quantities if one.end_ns > live.as_of_ns),
            strategy=chosen.name,
            strategy_version=chosen.version,
        )
        return msgspec.json.decode(canonical(about), type=Situation)  # as it is recorded, to the last digit

    def _awarded(self, bid: MarketBid, order: Order, live: Situation) -> tuple[AwardedQuantity, ...]:
        """Return what a bid on paper is awarded at the prices that were known."""
        product = order.gate.product_id
        span = span_of(bid, product)
        if span is None:
            return ()
        prices = published_prices(
            self._plant.facts,
            bid.market_id,
            bid.settlement_point,
            product,
            from_ns=span[0],
            to_ns=span[1] + 1,
            as_of_ns=live.as_of_ns,
            up_to_record=live.record_no,
        )
        return awarded(self._plant.market(bid.market_id), bid, product, prices, published_ns=live.as_of_ns)

    def _resumed(self, order: Order, name: str, live: Situation) -> _Paper:
        """Return the storage on paper as the shadow's last decision left it; as measured when there is none."""
        for record in self._newest_first(order, name):
            about = msgspec.json.decode(record.situation, type=Situation)
            day = about.gate.delivery_date
            return _Paper(
                energy_kwh=about.storage.initial_energy_kwh,
                at_ns=about.as_of_ns,
                standing={day: self._standing_after(record, about)},
            )
        return _Paper(energy_kwh=live.storage.initial_energy_kwh, at_ns=live.as_of_ns, standing={})

    def _last_standing(self, order: Order, name: str) -> MarketBid | None:
        """Return what stood for a day after the shadow's last decision about it."""
        gate = order.gate
        market = self._plant.market(gate.market_id)
        day = date.fromisoformat(gate.delivery_date)
        gates = market.gates(gate.product_id, day)
        prefixes = {
            f"{order.resource_id}-{gate_ref(gate.market_id, gate.delivery_date, one).key}" for one in gates
        }
        for record in self._newest_first(order, name, prefixes):
            return self._standing_after(record, msgspec.json.decode(record.situation, type=Situation))
        return None

    def _newest_first(
        self, order: Order, name: str, prefixes: set[str] | None = None
    ) -> Iterator[DecisionRecord]:
        """Yield the shadow's decisions of the last days, the newest first, or only those for some gates."""
        now_ns = order.gate.closes_ns
        names = self._plant.cycles.decision_ids(
            order.resource_id, from_ns=now_ns - LOOK_BACK_NS, to_ns=now_ns + 1, shadow=True
        )
        for one in reversed(names):
            head, _, _number = one.removesuffix(f"-{name}").rpartition("-")
            if one.endswith(f"-{name}") and (prefixes is None or head in prefixes):
                record = self._plant.cycles.decision(one)
                if record.strategy == name:
                    yield record

    def _standing_after(self, record: DecisionRecord, about: Situation) -> MarketBid | None:
        decision = msgspec.json.decode(record.decision, type=Decision)
        if not decision.offers:
            return about.standing
        bid = MarketBid(
            idempotency_key=record.decision_id,
            resource_id=about.resource_id,
            market_id=about.gate.market_id,
            settlement_point=about.settlement_point,
            delivery_date=about.gate.delivery_date,
            revision=1 if about.standing is None else about.standing.revision + 1,
            offers=decision.offers,
        )
        return in_force(about.standing, bid)


def _clipped(one: AwardedQuantity, from_ns: int, to_ns: int) -> AwardedQuantity | None:
    """Return the part of an award that lies in a span; None when none does."""
    start_ns, end_ns = max(one.start_ns, from_ns), min(one.end_ns, to_ns)
    if start_ns >= end_ns:
        return None
    return msgspec.structs.replace(one, start_ns=start_ns, end_ns=end_ns)
