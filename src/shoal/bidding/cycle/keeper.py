"""The keeper of gates: at every tick, whatever the calendars ask for and is not done yet.

The cycle is level-triggered. A gate that comes near and has no bid of its own is given to a workflow; an outcome that
is not known is read back; a bid that waits for a person goes as soon as the person has spoken; facts that came late,
and capacity that went silent, lead to a better bid while there is time. So a restart, a takeover or a market that was
away need no special case.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import msgspec

from shoal.bidding.cycle.collector import award_series
from shoal.bidding.cycle.consent import ModeSet, mode_at
from shoal.bidding.cycle.decision import strategy
from shoal.bidding.cycle.known import FixedPower, GateRef, Offered, Situation, gate_ref
from shoal.bidding.cycle.manual import draft_manual
from shoal.bidding.cycle.ports import Bidder
from shoal.bidding.cycle.workflow import Done, Order, Plant, manual_bids, send_if_allowed
from shoal.domain.errors import ShoalError
from shoal.domain.facts import SeriesId
from shoal.domain.interval import NS_PER_S
from shoal.market.contract import Market
from shoal.market.series import price_series
from shoal.store.cycles import MarketBidRecord

OPEN_STATES: Final = ("draft", "submitted", "unknown")
MOST_AGAIN: Final = 5
"""So often is tried again at once for one gate after an order failed or its bid was refused."""
AGAIN_EVERY_NS: Final = 30 * NS_PER_S
"""And then so often while orders fail, as they do on a full disk, or bids by hand go first: the gate may be hours away."""
FINAL: Final = "final"
SAID_NO: Final = ("off:", "refused:")
"""How the last step of a bid begins that a person did not let go."""
SILENCE_STEP_FRAC: Final = 0.02
"""A change of silent capacity by so much leads to another bid."""
OWN_SERIES: Final = "forecast/"
"""What decisions leave for later ones begins like this; it is no news to them."""
LAST_CALL_SHARE: Final = 4
"""In the last quarter of the lead of a daily gate nobody is waited for any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeeperStatistics:
    """Counters since the start."""

    gates_seen: int
    orders_given: int
    accepted: int
    rejected: int
    unknown: int
    standing: int
    withdrawn: int
    waiting: int
    failed: int
    rungs: dict[str, int]
    reasons: dict[str, int]


@dataclass(slots=True, kw_only=True)
class _Handled:
    """What became of a gate so far."""

    gate: GateRef
    orders: int = 0
    again: int = 0
    again_ns: int = 0
    running: Future[Done] | None = None
    done: Done | None = None
    facts_no: int = 0
    silent_frac: float = 0.0
    less: Offered = field(default_factory=Offered)
    fixed: frozenset[FixedPower] = frozenset()
    order: Order | None = None
    asked: tuple[SeriesId, ...] = ()


def gates_between(market: Market, market_id: str, *, from_ns: int, to_ns: int) -> Iterator[GateRef]:
    """Yield the gates of all products that close in ``[from_ns, to_ns)``, one of each instant and span, in order.

    Products that close together over the same span are bid for together: the first of them gives the gate its name.
    """
    seen: dict[tuple[int, int, int], GateRef] = {}
    day, last = market.delivery_date(from_ns), market.delivery_date(to_ns) + timedelta(days=2)
    while day <= last:
        for product in market.products(day):
            for gate in market.gates(product.product_id, day):
                if from_ns <= gate.closes_ns < to_ns:
                    key = (gate.closes_ns, gate.covers.start_ns, gate.covers.end_ns)
                    seen.setdefault(key, gate_ref(market_id, day.isoformat(), gate))
        day += timedelta(days=1)
    yield from (seen[key] for key in sorted(seen))


def _covered(fixed: Iterable[FixedPower], gate: GateRef) -> frozenset[FixedPower]:
    """Return what is decided elsewhere of what a gate covers."""
    from_ns, to_ns = gate.covers_start_ns, gate.covers_end_ns
    return frozenset(one for one in fixed if one.start_ns < to_ns and from_ns < one.end_ns)


class Keeper:
    """Gives orders for gates and follows them.

    Args:
        plant: What workflows work with.
        held: The resources that this process bids for now; it changes as slots are won and lost.
        bring: Carries out an order durably; blocks until it ends.
        facts_no: Returns a number that grows with every fact recorded of some series.
        again_s: How much wall time must be left to a gate for a better bid.
        workers: Orders carried out side by side.
        shadow: Told of every order when its live bid has gone, or failed to go.
    """

    def __init__(
        self,
        plant: Plant,
        *,
        held: Mapping[str, Bidder],
        bring: Callable[[Order], Done],
        facts_no: Callable[[Iterable[SeriesId]], int],
        again_s: float = 5.0,
        workers: int = 4,
        shadow: Callable[[Order], None] = lambda _order: None,
    ) -> None:
        self._plant = plant
        self._held = held
        self._bring = bring
        self._facts_no = facts_no
        self._shadow = shadow
        self._again_s = again_s
        self._pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="gate")
        self._gates: dict[tuple[str, str], _Handled] = {}
        self._coming: dict[tuple[str, str], GateRef] = {}
        self._seen_to_ns: dict[str, int] = {}
        self._finishing: dict[str, Future[None]] = {}
        self._count: Counter[str] = Counter()
        self._rungs: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()

    def cycle(self, now_ns: int) -> None:
        """Do what is due; returns at once, whatever asks others runs in the background."""
        bidders = dict(self._held)
        for bidder in bidders.values():
            self._open_gates(bidder, now_ns)
            self._draft_manual(bidder, now_ns)
        for key, handled in list(self._gates.items()):
            bidder_of = bidders.get(key[0])
            if bidder_of is not None:
                self._follow(bidder_of, handled, now_ns)
            if handled.running is None and (bidder_of is None or handled.gate.closes_ns <= now_ns):
                del self._gates[key]
        self._finish_open(bidders)

    def _open_gates(self, bidder: Bidder, now_ns: int) -> None:
        daily_s = max(bidder.daily_lead_s, bidder.early_lead_s)
        longest_s = max(bidder.lead_s, daily_s)
        market = self._plant.market(bidder.market_id)
        to_ns = now_ns + int(longest_s * NS_PER_S) + 1  # a gate that is exactly so far away has come
        seen_ns = self._seen_to_ns.get(bidder.resource_id, now_ns)
        for gate in gates_between(market, bidder.market_id, from_ns=max(seen_ns, now_ns), to_ns=to_ns):
            self._coming.setdefault((bidder.resource_id, gate.key), gate)
        self._seen_to_ns[bidder.resource_id] = max(seen_ns, to_ns)
        for key, gate in list(self._coming.items()):
            lead_s = bidder.lead_s if gate.kind == "interval" else daily_s
            if key[0] == bidder.resource_id and gate.closes_ns <= now_ns + int(lead_s * NS_PER_S):
                del self._coming[key]
                self._gates.setdefault(key, _Handled(gate=gate))
                self._count["gates_seen"] += 1

    def _follow(self, bidder: Bidder, handled: _Handled, now_ns: int) -> None:
        if handled.running is not None:
            if not handled.running.done():
                return
            self._note(handled, handled.running)
            handled.running = None
        if handled.gate.closes_ns <= now_ns:
            return
        early = self._early(bidder, handled.gate, now_ns)
        if handled.orders == 0:
            if not (early and self._asks_people(bidder, now_ns)):
                self._begin(bidder, handled, now_ns)
            return
        state = self._state(handled)
        if state in {"waiting", "unknown"}:
            return  # `_finish_open` goes on with it
        if state in {"failed", "rejected", "withdrawn"}:
            if handled.again < MOST_AGAIN or (state != "rejected" and now_ns >= handled.again_ns):
                handled.again += 1
                handled.again_ns = now_ns + AGAIN_EVERY_NS
                self._give(bidder, handled, "again", "the order before it failed", now_ns)
        elif state != FINAL and not early and self._plant.left_s(handled.gate.closes_ns) >= self._again_s:
            self._better(bidder, handled, now_ns)

    def _early(self, bidder: Bidder, gate: GateRef, now_ns: int) -> bool:
        """Whether something is to stand already, but its better is not due yet."""
        return gate.kind != "interval" and gate.closes_ns > now_ns + int(bidder.daily_lead_s * NS_PER_S)

    def _asks_people(self, bidder: Bidder, now_ns: int) -> bool:
        """Whether a person lets bids go: nobody is asked twice for one gate."""
        said = self._plant.consents.said("mode", subject=bidder.resource_id, as_of_ns=now_ns)
        modes = [msgspec.json.decode(one.content, type=ModeSet) for one in said]
        return mode_at(modes, bidder.resource_id, as_of_ns=now_ns).mode != "automatic"

    def _begin(self, bidder: Bidder, handled: _Handled, now_ns: int) -> None:
        """Give the first order for a gate, or the newest one that was given before this process was there."""
        before = self._orders_before(bidder, handled.gate)
        early = self._early(bidder, handled.gate, now_ns)
        if before is None and not early and self._waits(bidder, handled.gate, now_ns):
            return
        handled.orders = before or 0
        self._give(bidder, handled, "schedule", "the gate comes near", now_ns)

    def _orders_before(self, bidder: Bidder, gate: GateRef) -> int | None:
        """Return the number of the newest order for a gate of which a decision is kept, None without any."""
        prefix = f"{bidder.resource_id}-{gate.key}-"
        names = self._plant.cycles.decision_ids(
            bidder.resource_id, from_ns=gate.closes_ns, to_ns=gate.closes_ns + 1
        )
        numbers = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
        return max((int(number) for number in numbers if number.isdecimal()), default=None)

    def _waits(self, bidder: Bidder, gate: GateRef, now_ns: int) -> bool:
        """Whether there is time to wait for more of the resource to report."""
        last_call_ns = gate.closes_ns - int(bidder.daily_lead_s * NS_PER_S) // LAST_CALL_SHARE
        if gate.kind == "interval" or bidder.wait_silent_frac >= 1.0 or now_ns >= last_call_ns:
            return False
        return self._plant.measure(bidder.resource_id, gate, now_ns).silent_frac > bidder.wait_silent_frac

    def _state(self, handled: _Handled) -> str:
        """Return where the newest order is, as the store has it; `FINAL` when a person said no."""
        if handled.done is None or handled.order is None:
            return "failed"
        if handled.done.state not in {"waiting", "unknown", "withdrawn"}:
            return handled.done.state
        record = self._plant.cycles.bid(handled.order.name)
        if record is None:
            return handled.done.state
        if record.state == "withdrawn":
            said = self._plant.cycles.steps(handled.order.name)[-1].said
            return FINAL if said.startswith(SAID_NO) else "withdrawn"
        if record.state == "draft":
            return "waiting"
        handled.done = msgspec.structs.replace(handled.done, state=record.state)
        return record.state

    def _draft_manual(self, bidder: Bidder, now_ns: int) -> None:
        try:
            draft_manual(self._plant, bidder, now_ns=now_ns)
        except ShoalError as error:
            self._count["failed"] += 1
            self._reasons[f"manual: {type(error).__name__}"] += 1

    def _better(self, bidder: Bidder, handled: _Handled, now_ns: int) -> None:
        """Give another order when more is known than the last one knew."""
        if self._newest(bidder, handled.asked) > handled.facts_no:
            corrected = self._newest_correction(bidder) > handled.facts_no
            why = "an award was corrected" if corrected else "newer data arrived"
            self._give(bidder, handled, "late", why, now_ns)
            return
        if self._by_hand(handled, now_ns) != handled.fixed:
            self._give(bidder, handled, "manual", "bids by hand changed", now_ns)
            return
        measured = self._plant.measure(bidder.resource_id, handled.gate, now_ns).for_plan(
            counts_cycles=strategy(bidder.strategy).counts_cycles
        )
        silent, less = measured.silent_frac, measured.offered or Offered()
        if abs(silent - handled.silent_frac) >= SILENCE_STEP_FRAC:
            self._give(bidder, handled, "coverage", f"{silent:.0%} of the capacity does not report", now_ns)
        elif abs(less.withheld_frac - handled.less.withheld_frac) >= SILENCE_STEP_FRAC:
            self._give(bidder, handled, "coverage", f"{less.withheld_frac:.0%} is not offered", now_ns)
        elif less.service_limit_kw != handled.less.service_limit_kw:
            self._give(bidder, handled, "coverage", "other services are backed", now_ns)

    def _by_hand(self, handled: _Handled, now_ns: int) -> frozenset[FixedPower]:
        """Return what people have decided of what a gate covers."""
        if handled.order is None:
            return handled.fixed
        manual = manual_bids(self._plant, handled.order, as_of_ns=now_ns)
        return _covered([fixed for one in manual for fixed in one.fixed], handled.gate)

    def _newest(self, bidder: Bidder, asked: tuple[SeriesId, ...] = ()) -> int:
        """Return the number of the newest fact that a decision would look at.

        These are the prices that a resource bids on, corrections of its awards, and whatever else its last decision asked for.
        """
        names = [one.product_id for one in self._plant.market(bidder.market_id).products()]
        prices = [price_series(bidder.market_id, bidder.settlement_point, name) for name in names]
        return self._facts_no({*prices, *self._correction_series(bidder), *asked})

    def _newest_correction(self, bidder: Bidder) -> int:
        """Return the number of the newest fact about corrections of a resource's awards."""
        return self._facts_no(self._correction_series(bidder))

    def _correction_series(self, bidder: Bidder) -> list[SeriesId]:
        return [
            award_series(bidder.market_id, bidder.resource_id, one.product_id)
            for one in self._plant.market(bidder.market_id).products()
        ]

    def _give(self, bidder: Bidder, handled: _Handled, trigger: str, why: str, now_ns: int) -> None:
        order = Order(
            resource_id=bidder.resource_id,
            gate=handled.gate,
            trigger=trigger,
            why=why,
            event_ns=now_ns,
            number=handled.orders,
        )
        handled.orders += 1
        handled.order = order
        handled.facts_no = self._newest(bidder)
        self._count["orders_given"] += 1
        handled.running = self._pool.submit(self._bring, order)

    def _note(self, handled: _Handled, running: Future[Done]) -> None:
        try:
            done = running.result()
        except Exception as error:  # noqa: BLE001 - whatever ended the workflow, another order is given
            self._count["failed"] += 1
            self._reasons[f"workflow: {type(error).__name__}"] += 1
            handled.done = None
        else:
            handled.done = done
            self._count[done.state] += 1
            self._rungs[done.rung] += 1
            if done.reason:
                self._reasons[done.reason] += 1
            self._remember(handled)
        if handled.order is not None:
            self._shadow(handled.order)

    def _remember(self, handled: _Handled) -> None:
        """Note what the newest decision knew, so that it is made again when more is known."""
        if handled.order is None:
            return
        try:
            kept = self._plant.cycles.decision(handled.order.name)
        except ShoalError:
            return  # what was known when the order was given has to do
        about = msgspec.json.decode(kept.situation, type=Situation)
        handled.facts_no, handled.silent_frac = about.record_no, about.silent_frac
        handled.less = about.less
        handled.fixed = _covered(about.fixed, handled.gate)
        handled.asked = tuple(
            one.series_id
            for one in strategy(about.strategy).questions(about)
            if not one.series_id.startswith(OWN_SERIES)
        )

    def _finish_open(self, bidders: Mapping[str, Bidder]) -> None:
        """Send what a person has let go meanwhile, and read back what is not known; each by itself.

        Only bids by hand of one day go one after another, as they were made: the later of two is to stand over the earlier.
        """
        busy = {
            one.order.name
            for one in self._gates.values()
            if one.order is not None and one.running is not None
        }
        self._finishing = {key: future for key, future in self._finishing.items() if not future.done()}
        together: dict[str, list[MarketBidRecord]] = {}
        for record in self._plant.cycles.bids(states=OPEN_STATES):
            bid = record.bid
            if bid.idempotency_key not in busy and bid.resource_id in bidders:
                by_hand = f"by hand {bid.resource_id} {bid.market_id} {bid.delivery_date}"
                together.setdefault(by_hand if record.author else bid.idempotency_key, []).append(record)
        for name, records in together.items():
            if name not in self._finishing:
                self._finishing[name] = self._pool.submit(self._finish_each, records)

    def _finish_each(self, records: list[MarketBidRecord]) -> None:
        for record in records:
            self._finish(record)

    def _finish(self, record: MarketBidRecord) -> None:
        """Bring a draft, and a bid that was read back as absent, to the market; read back what somebody may be sending."""
        key = record.bid.idempotency_key
        try:
            if record.state == "draft" or (
                record.state == "unknown" and self._plant.now_ns() < record.closes_ns
            ):
                send_if_allowed(self._plant, key)
            else:
                self._plant.submission(record.bid.market_id).resolve(key)
        except ShoalError:
            self._count["failed"] += 1  # the next turn finds it again

    @property
    def busy(self) -> bool:
        """Whether an order is being carried out, or a bid finished."""
        return any(one.running is not None for one in self._gates.values()) or any(
            not future.done() for future in self._finishing.values()
        )

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until nothing runs; return whether that came about in time."""
        waiting: list[Future[Any]] = list(self._finishing.values())
        waiting += [one.running for one in self._gates.values() if one.running is not None]
        return not wait(waiting, timeout=timeout_s).not_done

    def statistics(self) -> KeeperStatistics:
        """Return the counters."""
        names = (
            "gates_seen",
            "orders_given",
            "accepted",
            "rejected",
            "unknown",
            "standing",
            "withdrawn",
            "waiting",
            "failed",
        )
        return KeeperStatistics(
            **{name: self._count[name] for name in names},
            rungs=dict(self._rungs),
            reasons=dict(self._reasons),
        )

    def close(self) -> None:
        """Wait for nothing: what runs is durable and goes on elsewhere."""
        self._pool.shutdown(wait=False, cancel_futures=True)
