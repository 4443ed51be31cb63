"""What every market of the contract must do, whichever it is: one suite that each module in the registry passes."""

from __future__ import annotations

import inspect
from datetime import date, timedelta
from itertools import pairwise
from random import Random

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import Interval
from shoal.domain.outcome import Accepted
from shoal.market import awards, bids
from shoal.market.awards import Delivered, MarketAward, Settlement
from shoal.market.bids import MarketBid
from shoal.market.contract import Market
from shoal.market.registry import MODULES, market_module
from shoal.market.standing import in_force
from tests.property.market.refusals import refusals_of
from tests.property.market.specimens import DAY, bid_of, bounds_of, in_time_ns

each_market = pytest.mark.parametrize("market", MODULES, ids=lambda market: market.rules.market_id)
randoms = st.randoms(use_true_random=False)
quick = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def prices_for(random: Random, market: Market, bid: MarketBid, count: int = 3) -> dict[str, dict[int, float]]:
    """Return a price for the first intervals of every product of a bid, some of them a limit of the bid."""
    limits = [
        order.limit_price_per_mwh for o in bid.offers if isinstance(o, bids.Orders) for order in o.orders
    ]
    limits += [price for o in bid.offers if isinstance(o, bids.BandOffer) for price in o.band_price_per_mwh]
    return {
        product: {
            interval.start_ns: random.choice([*limits, round(random.uniform(-110, 310), 2)])
            for interval in market.delivery_intervals(product, date.fromisoformat(bid.delivery_date))[:count]
        }
        for product in {offer.product for offer in bid.offers}
    }


def cleared(market: Market, bid: MarketBid, prices: dict[str, dict[int, float]]) -> MarketAward:
    return market.clear(bid, prices, bid_id="b1", published_ns=1)


# ── what it states ──────────────────────────────────────────────────────────────────────────────────────────────


@each_market
def test_rules_are_complete(market: Market) -> None:
    rules = market.rules
    assert market_module(rules.market_id) is market
    assert len(rules.currency) == 3 and rules.runs and rules.dispatch.measurement
    assert rules.submission.read_back  # without it an UNKNOWN submission could not be resolved
    assert len({product.product_id for product in rules.products}) == len(rules.products)
    for product in rules.products:
        assert set(product.shapes) <= set(bids.SHAPES) and product.gates
        dates = [[each.effective_from for each in dated] for dated in (product.limits, product.lengths)]
        for days in (*dates, [each.effective_from for each in product.sustain]):
            assert days == sorted(set(days))
        assert all(limits.floor_per_mwh < limits.cap_per_mwh for limits in product.limits)
        assert bool(product.sustain) <= (product.kind == "capacity")
        assert market.product(product.product_id) is product


@each_market
@quick
@given(days=st.dates(date(2015, 1, 1), date(2035, 12, 31)), second=st.integers(0, 86_399))
def test_intervals_tile_the_day_and_gates_come_before(market: Market, days: date, second: int) -> None:
    alike = {(product.gates, product.lengths): product for product in market.rules.products}
    for product in alike.values():
        name = product.product_id
        intervals = market.delivery_intervals(name, days)
        assert all(a.end_ns == b.start_ns for a, b in pairwise(intervals))
        assert intervals[-1].end_ns == market.delivery_intervals(name, days + timedelta(days=1))[0].start_ns
        gates = market.gates(name, days)
        assert [gate.closes_ns for gate in gates] == sorted(gate.closes_ns for gate in gates)
        for gate in gates:
            assert gate.closes_ns < gate.covers.start_ns
            assert gate.publishes_ns is None or gate.closes_ns < gate.publishes_ns
        assert (
            market.closes_ns(name, intervals[0])
            == [gate.closes_ns for gate in gates if gate.covers.start_ns == intervals[0].start_ns][-1]
        )
        t_ns = intervals[0].start_ns + second * 1_000_000_000
        assert market.interval_at(name, t_ns).contains(t_ns)
        assert market.labelled(name, market.label_ns(intervals[-1])) == intervals[-1]
        assert (
            market.delivery_date(intervals[0].start_ns)
            == days
            == market.delivery_date(intervals[-1].end_ns - 1)
        )
        known = [g for number in range(-1, 3) for g in market.gates(name, days + timedelta(days=number))]
        later = [gate for gate in known if gate.closes_ns > t_ns]
        assert market.next_gate(name, t_ns) == min(later, key=lambda gate: gate.closes_ns)


@each_market
@given(
    quantity_mw=st.floats(0, 500),
    price_per_mwh=st.floats(-2e5, 2e5),
    day=st.dates(date(2016, 1, 1), date(2035, 12, 31)),
)
def test_rounding_is_never_worse_and_is_taken(
    market: Market, quantity_mw: float, price_per_mwh: float, day: date
) -> None:
    for product in market.products(day):
        rounded = market.round_quantity_mw(product.product_id, quantity_mw)
        assert rounded <= quantity_mw + 1e-6 and (rounded == 0 or rounded >= product.quantity_minimum_mw)
        assert quantity_mw - rounded < product.quantity_step_mw + 1e-6 or rounded == 0
        floor, cap = market.price_limits(product.product_id, day)
        held = min(max(price_per_mwh, floor), cap)
        buy = market.clip_price(product.product_id, price_per_mwh, day=day, side="buy")
        sell = market.clip_price(product.product_id, price_per_mwh, day=day, side="sell")
        assert floor <= buy <= held + 1e-6 and held - 1e-6 <= sell <= cap
        assert sell - buy < product.price_tick_per_mwh + 1e-6


# ── what it takes and refuses ───────────────────────────────────────────────────────────────────────────────────


@each_market
@quick
@given(random=randoms)
def test_valid_bids_are_accepted_and_revised(market: Market, random: Random) -> None:
    bid = bid_of(random, market)
    received_ns = in_time_ns(market)
    assert market.validate(bid, received_ns=received_ns) == Accepted()
    second = msgspec.structs.replace(bid, idempotency_key="k2", revision=2)
    assert market.validate(second, received_ns=received_ns, standing=bid) == Accepted()
    assert in_force(bid, second).offers == in_force(None, second).offers
    empty = msgspec.structs.replace(bid, offers=())
    assert market.validate(empty, received_ns=received_ns) == Accepted()


@each_market
def test_every_declared_refusal_is_reached_with_field_value_and_fix(market: Market) -> None:
    reached = set()
    for case in refusals_of(market):
        outcome = market.validate(case.bid, received_ns=case.received_ns, standing=case.standing)
        assert not isinstance(outcome, Accepted), case.reason
        assert outcome.reason == case.reason, (case.reason, outcome)
        assert outcome.field and outcome.fix
        assert outcome.detail.startswith(f"{outcome.field}: ")
        assert outcome.detail.endswith(f" cannot be used; {outcome.fix}")
        assert outcome.value in outcome.detail
        reached.add(outcome.reason)
    assert reached == set(market.rules.reasons)


# ── clearing ────────────────────────────────────────────────────────────────────────────────────────────────────


@each_market
@quick
@given(random=randoms)
def test_awards_stay_within_bids(market: Market, random: Random) -> None:
    bid = bid_of(random, market)
    prices = prices_for(random, market, bid)
    award = cleared(market, bid, prices)
    assert award == cleared(market, bid, prices)
    assert (award.resource_id, award.delivery_date) == (bid.resource_id, bid.delivery_date)
    for quantity in award.quantities:
        product = market.product(quantity.product)
        offers = [offer for offer in bid.offers if offer.product == quantity.product]
        bounds = bounds_of(product, offers, quantity.start_ns)
        assert bounds.least_w <= quantity.power_w <= bounds.most_w
        assert quantity.end_ns - quantity.start_ns in {length.interval_ns for length in product.lengths}


@each_market
@quick
@given(random=randoms, better=st.floats(0, 200))
def test_a_better_price_never_awards_less(market: Market, random: Random, better: float) -> None:
    bid = bid_of(random, market)
    prices = prices_for(random, market, bid)
    for name in prices:
        product = market.product(name)
        raised = prices | {name: {start: price + better for start, price in prices[name].items()}}
        low = {q.start_ns: q.power_w for q in cleared(market, bid, prices).quantities if q.product == name}
        high = {q.start_ns: q.power_w for q in cleared(market, bid, raised).quantities if q.product == name}
        sign = -1 if product.kind == "energy" else 1  # sold is negative, capacity is not
        if "blocks" in product.shapes:  # a block is taken for all of its intervals together
            assert sign * sum(low.values()) <= sign * sum(high.values())
            continue
        assert all(sign * low[start] <= sign * high[start] for start in low)


@each_market
@pytest.mark.parametrize("price", [float("nan"), float("inf")])
def test_a_price_that_is_no_number_is_refused(market: Market, price: float) -> None:
    bid = bid_of(Random(1), market)
    product = bid.offers[0].product
    start_ns = market.delivery_intervals(product, DAY)[0].start_ns
    with pytest.raises(InvalidInputError, match="give a finite price"):
        cleared(market, bid, {product: {start_ns: price}})


# ── settlement ──────────────────────────────────────────────────────────────────────────────────────────────────


def settlement_of(
    market: Market, random: Random
) -> tuple[MarketAward, list[Delivered], dict[str, dict[int, float]], Settlement]:
    bid = bid_of(random, market, count=4)
    prices = prices_for(random, market, bid, count=4)
    award = cleared(market, bid, prices)
    longest_ns = max(interval_ns for p in market.rules.products for interval_ns in [p.lengths[0].interval_ns])
    start_ns = min(quantity.start_ns for quantity in award.quantities)
    step_ns = market.rules.settlement_ns
    delivered = [
        Delivered(start_ns=t_ns, end_ns=t_ns + step_ns, delivered_wh=random.randint(-50_000, 50_000))
        for t_ns in range(start_ns, start_ns + 4 * longest_ns, step_ns)
    ]
    for key in {market.rules.imbalance_price, "energy"} - {""}:
        held = prices.setdefault(key, {})
        for reading in delivered:
            held.setdefault(reading.start_ns, round(random.uniform(-100, 300), 2))
    run = market.rules.runs[0].run
    return award, delivered, prices, market.settle(award, delivered, prices, run=run, issued_ns=1)


@each_market
@quick
@given(random=randoms)
def test_settlement_sums_to_the_unit(market: Market, random: Random) -> None:
    _, _, _, settled = settlement_of(market, random)
    assert settled.lines
    assert settled.amount == sum(line.amount for line in settled.lines)
    for line in settled.lines:
        sign = 1 if line.kind == "capacity" else -1
        assert line.amount == sign * line.energy_wh * line.price_cents_per_mwh
    assert settled.version == 1
    assert {(line.start_ns, line.end_ns) for line in settled.lines} == {
        (interval.start_ns, interval.end_ns) for interval in settled.changed
    }


@each_market
@quick
@given(random=randoms)
def test_a_correction_changes_exactly_what_it_names(market: Market, random: Random) -> None:
    award, delivered, prices, first = settlement_of(market, random)
    corrected = random.sample(list(first.lines), min(2, len(first.lines)))
    named = [Interval(start_ns=line.start_ns, end_ns=line.end_ns) for line in corrected]
    # Everything is different now, but only what is named may follow.
    other_prices = {k: {t: p + 7.0 for t, p in held.items()} for k, held in prices.items()}
    other = [msgspec.structs.replace(each, delivered_wh=each.delivered_wh - 1_000) for each in delivered]
    run = market.rules.runs[-1].run
    second = market.settle(award, other, other_prices, run=run, issued_ns=2, previous=first, named=named)
    whole = market.settle(award, other, other_prices, run=run, issued_ns=2, previous=first)

    def inside(start_ns: int, end_ns: int) -> bool:
        return any(n.start_ns <= start_ns and end_ns <= n.end_ns for n in named)

    for old, new, anew in zip(first.lines, second.lines, whole.lines, strict=True):
        assert new == (anew if inside(new.start_ns, new.end_ns) else old)
    assert all(inside(interval.start_ns, interval.end_ns) for interval in second.changed)
    moved = sum(new.amount - old.amount for old, new in zip(first.lines, second.lines, strict=True))
    assert second.amount - first.amount == moved
    assert (second.version, second.run) == (2, run)
    again = market.settle(award, other, other_prices, run=run, issued_ns=3, previous=second, named=named)
    assert again.changed == () and again.lines == second.lines


@each_market
def test_settlement_faults_say_what_is_missing(market: Market) -> None:
    award, delivered, prices, first = settlement_of(market, Random(3))
    with pytest.raises(InvalidInputError, match="use one of"):
        market.settle(award, delivered, prices, run="R99", issued_ns=1)
    somewhere = Interval(start_ns=0, end_ns=1)
    with pytest.raises(InvalidInputError, match="give the settlement that is corrected"):
        market.settle(award, delivered, prices, run=first.run, issued_ns=1, named=[somewhere])
    with pytest.raises(InvalidInputError, match="name intervals that are settled"):
        market.settle(award, delivered, prices, run=first.run, issued_ns=1, previous=first, named=[somewhere])
    with pytest.raises(InvalidInputError, match="one reading for an interval"):
        market.settle(award, [*delivered, delivered[0]], prices, run=first.run, issued_ns=1)
    with pytest.raises(InvalidInputError, match="read meters every"):
        half = msgspec.structs.replace(delivered[0], end_ns=delivered[0].end_ns - 1)
        market.settle(award, [half], prices, run=first.run, issued_ns=1)
    if market.rules.imbalance_price:
        with pytest.raises(InvalidInputError, match="give a reading"):
            market.settle(award, [], prices, run=first.run, issued_ns=1)
        without = prices | {market.rules.imbalance_price: {}}
        with pytest.raises(InvalidInputError, match="give the published price"):
            market.settle(award, delivered, without, run=first.run, issued_ns=1)


# ── on the wire ─────────────────────────────────────────────────────────────────────────────────────────────────


def structs_in(value: object) -> list[msgspec.Struct]:
    """Return every struct within a value."""
    if isinstance(value, msgspec.Struct):
        return [value, *(s for f in value.__struct_fields__ for s in structs_in(getattr(value, f)))]
    return [s for each in value for s in structs_in(each)] if isinstance(value, tuple) else []


def test_every_struct_survives_the_wire() -> None:
    seen: dict[type[msgspec.Struct], msgspec.Struct] = {}
    for market in MODULES:
        random = Random(5)
        bid = bid_of(random, market, products=11)
        bid = msgspec.structs.replace(
            bid,
            rebid=bids.RebidReason(
                category="physical", reason="less available", event_ns=1, aware_ns=2, decision_ns=3
            ),
        )
        award, delivered, _, settled = settlement_of(market, random)
        receipt = awards.MarketReceipt(
            idempotency_key="k", bid_id="b", state="unknown", received_ns=1, reason="lost"
        )
        for struct in structs_in((bid, award, settled, receipt, *delivered)):
            seen[type(struct)] = struct
        assert msgspec.json.decode(msgspec.json.encode(bid), type=MarketBid) == bid
        assert msgspec.json.decode(msgspec.json.encode(settled), type=Settlement) == settled
    for kind, struct in seen.items():
        assert msgspec.json.decode(msgspec.json.encode(struct), type=kind) == struct
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(struct), type=kind) == struct
    declared = {
        member
        for module in (bids, awards)
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, msgspec.Struct) and member.__module__ == module.__name__
    }
    assert declared <= seen.keys()
