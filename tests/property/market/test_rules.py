"""Properties of the day-ahead rules that hold for every instant, price and quantity."""

from __future__ import annotations

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from shoal.domain.interval import NS_PER_HOUR, NS_PER_S
from shoal.domain.outcome import Accepted
from shoal.market.ercot import ERCOT_DAY_AHEAD as ERCOT
from shoal.market.types import Bid, Order, Side

days = st.dates(min_value=date(2020, 1, 1), max_value=date(2026, 12, 31))
sides: st.SearchStrategy[Side] = st.sampled_from(("buy", "sell"))


@given(st.integers(min_value=1_577_836_800, max_value=1_798_761_600), st.integers(0, NS_PER_S - 1))
def test_next_gate_is_the_first_after_now(now_s: int, rest_ns: int) -> None:
    now_ns = now_s * NS_PER_S + rest_ns
    day, gate_ns = ERCOT.next_gate(now_ns)
    assert gate_ns == ERCOT.gate_ns(day) > now_ns
    assert ERCOT.gate_ns(day - timedelta(days=1)) <= now_ns


@given(days)
def test_delivery_intervals_tile_the_days(day: date) -> None:
    intervals = ERCOT.delivery_intervals(day)
    assert len(intervals) in (23, 24, 25)
    assert ERCOT.gate_ns(day) < ERCOT.publication_ns(day) < intervals[0].start_ns
    assert intervals[-1].end_ns == ERCOT.delivery_intervals(day + timedelta(days=1))[0].start_ns


@given(days, sides, st.floats(0, 500), st.floats(-1e5, 1e5), st.floats(-300, 9000, width=32))
def test_rounded_orders_are_accepted_and_clear_exactly(
    day: date, side: Side, quantity_mw: float, limit_price_per_mwh: float, price_per_mwh: float
) -> None:
    rounded_mw = ERCOT.round_quantity_mw(quantity_mw)
    assert rounded_mw <= quantity_mw + 1e-6
    if rounded_mw == 0.0:
        return
    intervals = ERCOT.delivery_intervals(day)
    limit = ERCOT.clip_price(limit_price_per_mwh, delivery_date=day, side=side)
    order = Order(
        start_ns=intervals[0].start_ns,
        end_ns=intervals[0].end_ns,
        side=side,
        quantity_mw=rounded_mw,
        limit_price_per_mwh=limit,
    )
    bid = Bid(
        idempotency_key="k",
        resource_id="r",
        market_id=ERCOT.market_id,
        settlement_point="HB_NORTH",
        delivery_date=day.isoformat(),
        revision=1,
        orders=(order,),
    )
    assert ERCOT.validate(bid, received_ns=ERCOT.gate_ns(day) - 1) == Accepted()
    award = ERCOT.clear(
        bid, {interval.start_ns: price_per_mwh for interval in intervals}, bid_id="b", published_ns=0
    )
    first = award.intervals[0]
    # An independent reading of the rule, in whole cents and hectowatts.
    price_cents, limit_cents = round(price_per_mwh * 100), round(limit * 100)
    clears = price_cents <= limit_cents if side == "buy" else price_cents >= limit_cents
    sign = (1 if side == "buy" else -1) if clears else 0
    assert first.energy_wh == sign * round(rounded_mw * 10) * 100_000
    assert first.end_ns - first.start_ns == NS_PER_HOUR
    assert all(interval.energy_wh == 0 for interval in award.intervals[1:])
