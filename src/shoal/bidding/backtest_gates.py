"""A registered strategy of the cycle over all gates of a span, through the functions that the plant runs.

At each gate's instant the situation is made, the ladder climbed and the bid drafted by `shoal.bidding.cycle.workflow`; the
market's module validates, clears at the prices that came out, and settles; the storage follows as far as it can. What is
not the cycle's own is small: a clock, a storage on paper, and a tape of facts that shows nothing before it came out.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from datetime import date
from typing import Final

import numpy as np

from shoal.bidding.backtest_books import NobodySaid, PaperCycles
from shoal.bidding.backtest_ledger import RESOURCE, GateOutcome, GateSetting, Ledger
from shoal.bidding.backtest_limits import limits_of
from shoal.bidding.backtest_prices import GridPrices, load_prices
from shoal.bidding.backtest_tape import Tape
from shoal.bidding.cycle.budget import BudgetRules
from shoal.bidding.cycle.climb import Climbed, InPlace
from shoal.bidding.cycle.decision import strategy
from shoal.bidding.cycle.known import GateRef, Situation, gate_ref
from shoal.bidding.cycle.ports import Bidder, Measured
from shoal.bidding.cycle.submission import Submission
from shoal.bidding.cycle.workflow import Order, Plant, changes, decide_now, draft, situation_of
from shoal.domain.errors import UnavailableError
from shoal.domain.interval import NS_PER_S
from shoal.market.contract import Market
from shoal.market.peak import PeakMarket

_FOREVER_S: Final = 1e9
"""A back-test cuts no rung off: what it decides must not depend on the machine."""

Heard = Callable[[Situation, Climbed], None]


def run_gates(
    setting: GateSetting,
    prices: GridPrices,
    *,
    first_index: int = 0,
    end_index: int | None = None,
    tape: Tape | None = None,
    progress: Callable[[int], None] = lambda done: None,
    heard: Heard = lambda situation, climbed: None,
) -> GateOutcome:
    """Return what a strategy does at every gate of a span.

    Args:
        setting: What is tested.
        prices: Prices that came out; those before the first interval are history.
        first_index: The first interval that is bid for.
        end_index: The interval after the last one; None for all.
        tape: Further facts that strategies may ask for; the prices are added to it.
        progress: Told after each gate how many intervals are behind it.
        heard: Told of each decision with what it was made from.

    Raises:
        UnknownIdError: there is no strategy of that name.
        InvalidInputError: a decision could not be settled: a price is missing.
    """
    end = len(prices.start_ns) if end_index is None else end_index
    tape = tape or Tape()
    load_prices(tape, setting.market, setting.settlement_point, setting.product_id, prices)
    for product_id, service in setting.services.items():
        load_prices(tape, setting.market, setting.settlement_point, product_id, service)
    run = _Run(setting, prices, tape, first_index, end)
    for gate in gates_of(setting.market, setting.product_id, prices, first_index, end):
        heard(*run.meet(gate, gate.closes_ns - int(setting.lead_s * NS_PER_S)))
        progress(run.ledger.behind_count(gate.closes_ns))
    run.advance(int(prices.end_ns[end - 1]))
    progress(end - first_index)
    return run.outcome()


def gates_of(
    market: Market, product_id: str, prices: GridPrices, first_index: int, end_index: int
) -> list[GateRef]:
    """Return the gates of a product whose intervals have a price, in the order in which they close.

    Gates of days that begin before the first interval, or end after the last one, are left out but for those of one interval.
    """
    starts = prices.start_ns[first_index:end_index]
    first_ns, last_ns = int(starts[0]), int(prices.end_ns[end_index - 1])
    found: list[GateRef] = []
    for day in sorted({market.delivery_date(int(t)) for t in starts[:: prices.stride_count]}):
        for gate in market.gates(product_id, day):
            low, high = np.searchsorted(starts, (gate.covers.start_ns, gate.covers.end_ns)).tolist()
            if low < high and first_ns <= gate.covers.start_ns and gate.covers.end_ns <= last_ns:
                found.append(gate_ref(market.rules.market_id, day.isoformat(), gate))
    return sorted(found, key=lambda one: (one.closes_ns, one.covers_start_ns))


class _Run:
    """The clock, what is due when, and the plant that the functions of the cycle are given."""

    def __init__(
        self, setting: GateSetting, prices: GridPrices, tape: Tape, first_index: int, end_index: int
    ) -> None:
        self._setting, self._market, self._tape = setting, setting.market, tape
        self._product = self._market.product(setting.product_id)
        self._cycles = PaperCycles()
        self.ledger: Final = Ledger(setting, prices, first_index, end_index, award_of=self._cycles.award)
        self._rungs: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._now_ns = 0
        self._due: list[tuple[int, int, GateRef]] = []
        bidder = Bidder(
            resource_id=RESOURCE,
            market_id=self._market.rules.market_id,
            settlement_point=setting.settlement_point,
            strategy=setting.strategy,
            settings=dict(setting.settings),
        )
        self._plant = Plant(
            bidders={RESOURCE: bidder},
            market=lambda _market_id: setting.market,
            cycles=self._cycles,
            consents=NobodySaid(),
            facts=tape,
            measure=self._measured,
            solver=InPlace(),
            submission=_nothing_is_sent,
            now_ns=lambda: self._now_ns,
            left_s=lambda _closes_ns: _FOREVER_S,
            budget=BudgetRules(most_s=_FOREVER_S),
            executor_id="backtest",
        )

    # ── the gate ────────────────────────────────────────────────────────────────────────────────────────────

    def meet(self, gate: GateRef, as_of_ns: int) -> tuple[Situation, Climbed]:
        """Decide for a gate at an instant, and let the bid stand; return from what it was decided, and what."""
        self.advance(as_of_ns)
        order = Order(
            resource_id=RESOURCE,
            gate=gate,
            trigger="schedule",
            why="the gate comes near",
            event_ns=as_of_ns,
            number=0,
        )
        about = situation_of(self._plant, order, shadow="")
        climbed = decide_now(self._plant, order, about)
        decision = climbed.decision
        self._rungs[decision.rung] += 1
        for one in climbed.tried[:-1]:
            # the error and what it is about, without the value: so that the same reason counts as one
            self._reasons[": ".join([one.rung, *one.outcome.split(": ")[:2]])] += 1
        if decision.offers and changes(self._plant, order, about, decision):
            draft(self._plant, order, about, decision, author="")
        for facts in strategy(about.strategy).leaves(about, decision):
            self._tape.record(facts)
        self.ledger.note_plan(gate, decision)
        known_ns = self._awarded_ns(gate)
        if known_ns is not None:
            heapq.heappush(self._due, (known_ns, gate.covers_start_ns, gate))
        return about, climbed

    def _measured(self, _resource_id: str, _gate: GateRef, as_of_ns: int) -> Measured:
        return Measured(storage=self.ledger.storage_at(as_of_ns), silent_frac=0.0)

    def _awarded_ns(self, gate: GateRef) -> int | None:
        """Return when what a gate's bid is awarded becomes known; None for a gate of prices only."""
        if gate.kind == "bands":
            return None
        if self._product.settled_by == "notified":
            return gate.closes_ns  # no price decides: what is notified stands
        if gate.kind == "interval":
            return gate.covers_start_ns
        day = date.fromisoformat(gate.delivery_date)
        published = [one.publishes_ns for one in self._market.gates(gate.product_id, day)]
        return next((one for one in published if one is not None), gate.closes_ns)

    # ── what follows ────────────────────────────────────────────────────────────────────────────────────────

    def advance(self, until_ns: int) -> None:
        """Let time pass: awards come out, the storage follows them, and days that end are settled."""
        while self._due and self._due[0][0] <= until_ns:
            at_ns, _, gate = heapq.heappop(self._due)
            self._award(gate, at_ns)
        for day in self.ledger.deliver(until_ns):
            self._cycles.forget(day)
        self._now_ns = until_ns

    def _award(self, gate: GateRef, at_ns: int) -> None:
        """Clear what stands for a gate's intervals at the prices that came out."""
        standing = self._cycles.standing(gate.delivery_date)
        if standing is None:
            return
        ledger = self.ledger
        covered = range(ledger.behind_count(gate.covers_start_ns), ledger.behind_count(gate.covers_end_ns))
        given = {} if self._product.settled_by == "notified" else ledger.prices_at(covered)
        award = self._market.clear(standing, given, bid_id=standing.idempotency_key, published_ns=at_ns)
        called_mw = self._setting.called_mw
        if called_mw is not None and isinstance(self._market, PeakMarket):
            award = self._market.clear_to_target(award, called_mw)
        own = [
            one
            for one in award.quantities
            if one.product in {self._setting.product_id, *self._setting.services}
            and gate.covers_start_ns <= one.start_ns < gate.covers_end_ns
        ]
        self._cycles.add_award(standing, own, at_ns=at_ns)
        ledger.ask(own)
        for at in covered:
            ledger.note_limits(at, limits_of(standing, self._setting.product_id, ledger.start_ns[at]))

    def outcome(self) -> GateOutcome:
        """Return the books."""
        return self.ledger.outcome(rungs=self._rungs, reasons=self._reasons)


def _nothing_is_sent(market_id: str) -> Submission:
    raise UnavailableError(market_id, "a back-test sends nothing")
