"""The day-ahead rules, on ERCOT's data: calendar, validation, clearing."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from shoal.domain.errors import InvalidInputError, UnknownIdError
from shoal.domain.interval import NS_PER_HOUR, to_ns
from shoal.domain.outcome import Accepted, Rejected
from shoal.market.ercot import ERCOT_DAY_AHEAD as ERCOT
from shoal.market.registry import MARKETS, market
from shoal.market.types import Bid, Order, Side

DAY = date(2021, 6, 15)
GATE_NS = to_ns(datetime(2021, 6, 14, 15, tzinfo=UTC))  # 10:00 CDT


def an_order(hour: int = 0, *, side: Side = "buy", day: date = DAY, **changes: Any) -> Order:
    interval = ERCOT.delivery_intervals(day)[hour]
    order = Order(
        start_ns=interval.start_ns,
        end_ns=interval.end_ns,
        side=side,
        quantity_mw=1.5,
        limit_price_per_mwh=30.0,
    )
    return msgspec.structs.replace(order, **changes)


def a_bid(*orders: Order, day: date = DAY, **changes: Any) -> Bid:
    bid = Bid(
        idempotency_key="k1",
        resource_id="north",
        market_id="ercot-da",
        settlement_point="HB_NORTH",
        delivery_date=day.isoformat(),
        revision=1,
        orders=orders,
    )
    return msgspec.structs.replace(bid, **changes)


def reason(bid: Bid, *, received_ns: int = GATE_NS - 1) -> str:
    outcome = ERCOT.validate(bid, received_ns=received_ns)
    return outcome.reason if isinstance(outcome, Rejected) else ""


def prices(day: date = DAY, price_per_mwh: float = 30.0) -> dict[int, float]:
    return {interval.start_ns: price_per_mwh for interval in ERCOT.delivery_intervals(day)}


def energy(bid: Bid, price_per_mwh: float, *, day: date = DAY) -> int:
    award = ERCOT.clear(bid, prices(day, price_per_mwh), bid_id="b1", published_ns=1)
    return sum(interval.energy_wh for interval in award.intervals)


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2021, 3, 14), 23), (date(2021, 6, 15), 24), (date(2021, 11, 7), 25)]
)
def test_delivery_intervals_follow_the_clock_change(day: date, hours: int) -> None:
    intervals = ERCOT.delivery_intervals(day)
    assert len(intervals) == hours
    assert all(interval.end_ns - interval.start_ns == NS_PER_HOUR for interval in intervals)
    assert all(a.end_ns == b.start_ns for a, b in pairwise(intervals))
    assert intervals[-1].end_ns == ERCOT.delivery_intervals(day + timedelta(days=1))[0].start_ns


def test_gate_and_publication_are_local_times_on_the_day_before() -> None:
    assert ERCOT.gate_ns(date(2021, 1, 15)) == to_ns(datetime(2021, 1, 14, 16, tzinfo=UTC))
    assert ERCOT.gate_ns(DAY) == GATE_NS
    assert ERCOT.publication_ns(DAY) == to_ns(datetime(2021, 6, 14, 18, 30, tzinfo=UTC))


@pytest.mark.parametrize(
    ("day", "utc_hour"),
    # The clock changes on the 14th (forward) and the 7th (back), at 02:00, before that day's gate.
    [(date(2021, 3, 14), 16), (date(2021, 3, 15), 15), (date(2021, 11, 7), 15), (date(2021, 11, 8), 16)],
)
def test_gate_follows_the_clock_change(day: date, utc_hour: int) -> None:
    eve = day - timedelta(days=1)
    assert ERCOT.gate_ns(day) == to_ns(datetime(eve.year, eve.month, eve.day, utc_hour, tzinfo=UTC))


def test_next_gate_is_strictly_after_now() -> None:
    assert ERCOT.next_gate(GATE_NS - 1) == (DAY, GATE_NS)
    following = DAY + timedelta(days=1)
    assert ERCOT.next_gate(GATE_NS) == (following, ERCOT.gate_ns(following))


def test_validate_accepts_a_bid_just_before_the_gate() -> None:
    bid = a_bid(an_order(0), an_order(20, side="sell", limit_price_per_mwh=80.25))
    assert ERCOT.validate(bid, received_ns=GATE_NS - 1) == Accepted()


def test_validate_rejects_a_bid_exactly_at_the_gate() -> None:
    assert reason(a_bid(an_order()), received_ns=GATE_NS) == "gate_closed"


def test_validate_accepts_an_empty_bid() -> None:
    assert ERCOT.validate(a_bid(), received_ns=GATE_NS - 1) == Accepted()


@pytest.mark.parametrize(
    ("bid", "code"),
    [
        (a_bid(an_order(), market_id="other"), "market_unknown"),
        (a_bid(an_order(), delivery_date="15.06.2021"), "delivery_date"),
        (a_bid(an_order(), delivery_date="20210615"), "delivery_date"),
        (a_bid(an_order(), delivery_date="2010-01-01"), "delivery_date"),
        (a_bid(an_order(), revision=0), "revision"),
        (a_bid(an_order(day=date(2021, 6, 16))), "interval_unknown"),
        (a_bid(an_order(end_ns=an_order().start_ns + 1)), "interval_unknown"),
        (a_bid(an_order(end_ns=an_order().start_ns)), "interval_unknown"),
        (a_bid(msgspec.structs.replace(an_order(), side="hold")), "side_unknown"),
        (a_bid(an_order(quantity_mw=0.0)), "quantity_minimum"),
        (a_bid(an_order(quantity_mw=-1.0)), "quantity_minimum"),
        (a_bid(an_order(quantity_mw=float("nan"))), "quantity_minimum"),
        (a_bid(an_order(quantity_mw=float("inf"))), "quantity_minimum"),
        (a_bid(an_order(quantity_mw=1.55)), "quantity_step"),
        (a_bid(an_order(limit_price_per_mwh=30.005)), "price_tick"),
        (a_bid(an_order(limit_price_per_mwh=9000.01)), "price_limit"),
        (a_bid(an_order(limit_price_per_mwh=-250.01)), "price_limit"),
        (a_bid(an_order(limit_price_per_mwh=float("nan"))), "price_limit"),
        (a_bid(an_order(), an_order(limit_price_per_mwh=31.0)), "duplicate_interval"),
        (a_bid(an_order(), an_order(side="sell")), "side_conflict"),
    ],
)
def test_validate_names_what_is_wrong(bid: Bid, code: str) -> None:
    assert reason(bid) == code


def test_validate_detail_names_field_value_and_fix() -> None:
    outcome = ERCOT.validate(a_bid(an_order(0), an_order(1, quantity_mw=1.55)), received_ns=GATE_NS - 1)
    assert outcome == Rejected(
        reason="quantity_step",
        detail="orders[1].quantity_mw: 1.55 cannot be used; give a multiple of 0.1 MW",
    )


def test_validate_takes_both_sides_that_cannot_clear_together() -> None:
    bid = a_bid(an_order(limit_price_per_mwh=29.99), an_order(side="sell", limit_price_per_mwh=30.0))
    assert ERCOT.validate(bid, received_ns=GATE_NS - 1) == Accepted()


def test_validate_takes_binary_fractions_of_steps_and_ticks() -> None:
    bid = a_bid(an_order(quantity_mw=0.1 + 0.2, limit_price_per_mwh=0.07 * 3))
    assert ERCOT.validate(bid, received_ns=GATE_NS - 1) == Accepted()


def test_price_limits_change_with_the_delivery_day() -> None:
    assert ERCOT.price_limits(date(2021, 12, 31)) == (-250.0, 9000.0)
    assert ERCOT.price_limits(date(2022, 1, 1)) == (-250.0, 5000.0)
    with pytest.raises(InvalidInputError, match="delivery_date"):
        ERCOT.price_limits(date(2010, 1, 1))


def test_clip_price_rounds_in_favour_of_the_participant_within_limits() -> None:
    assert ERCOT.clip_price(30.017, delivery_date=DAY, side="buy") == 30.01
    assert ERCOT.clip_price(30.011, delivery_date=DAY, side="sell") == 30.02
    assert ERCOT.clip_price(0.07 * 3, delivery_date=DAY, side="sell") == 0.21
    assert ERCOT.clip_price(-5.017, delivery_date=DAY, side="buy") == -5.02
    assert ERCOT.clip_price(float("inf"), delivery_date=date(2022, 1, 1), side="sell") == 5000.0
    assert ERCOT.clip_price(-1e9, delivery_date=DAY, side="buy") == -250.0
    with pytest.raises(InvalidInputError):
        ERCOT.clip_price(float("nan"), delivery_date=DAY, side="buy")


def test_round_quantity_goes_down_to_the_step() -> None:
    assert ERCOT.round_quantity_mw(1.2999) == 1.2
    assert ERCOT.round_quantity_mw(0.1 + 0.2) == 0.3
    assert ERCOT.round_quantity_mw(0.0999) == 0.0
    with pytest.raises(InvalidInputError):
        ERCOT.round_quantity_mw(-0.1)


@pytest.mark.parametrize(
    ("side", "price_per_mwh", "energy_wh"),
    [
        ("buy", 30.0, 1_500_000),
        ("buy", 30.01, 0),
        ("buy", -20.0, 1_500_000),
        ("sell", 30.0, -1_500_000),
        ("sell", 29.99, 0),
    ],
)
def test_clear_compares_with_the_limit_inclusive(side: Side, price_per_mwh: float, energy_wh: int) -> None:
    assert energy(a_bid(an_order(side=side)), price_per_mwh) == energy_wh


def test_clear_treats_a_float32_price_at_the_limit_as_a_tie() -> None:
    price_per_mwh = 23.450000762939453  # what 23.45 becomes in single precision
    order = an_order(limit_price_per_mwh=23.45)
    award = ERCOT.clear(a_bid(order), prices(price_per_mwh=price_per_mwh), bid_id="b1", published_ns=1)
    assert award.intervals[0].energy_wh == 1_500_000
    assert award.intervals[0].price_per_mwh == 23.45


def test_clear_sells_at_negative_limit_and_price() -> None:
    order = an_order(side="sell", limit_price_per_mwh=-10.0)
    assert energy(a_bid(order), -10.0) == -1_500_000
    assert energy(a_bid(order), -10.01) == 0


@pytest.mark.parametrize(("day", "hours"), [(date(2021, 3, 14), 23), (DAY, 24), (date(2021, 11, 7), 25)])
def test_clear_lists_every_interval_with_its_price(day: date, hours: int) -> None:
    bid = a_bid(an_order(2, day=day), day=day)
    award = ERCOT.clear(bid, prices(day, 12.5), bid_id="b7", published_ns=99)
    assert len(award.intervals) == hours
    assert {interval.price_per_mwh for interval in award.intervals} == {12.5}
    assert [interval.energy_wh for interval in award.intervals] == [0, 0, 1_500_000] + [0] * (hours - 3)
    assert (award.bid_id, award.published_ns, award.version) == ("b7", 99, 1)


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_clear_refuses_a_day_with_an_unknown_price(missing: float | None) -> None:
    known: dict[int, float] = prices()
    start_ns = ERCOT.delivery_intervals(DAY)[5].start_ns
    if missing is None:
        del known[start_ns]
    else:
        known[start_ns] = missing
    with pytest.raises(InvalidInputError, match="2021-06-15T10:00"):
        ERCOT.clear(a_bid(an_order()), known, bid_id="b1", published_ns=1)


def test_clear_refuses_an_order_outside_the_day() -> None:
    with pytest.raises(InvalidInputError, match="start_ns"):
        ERCOT.clear(a_bid(an_order(day=date(2021, 6, 16))), prices(), bid_id="b1", published_ns=1)


def test_market_finds_by_id() -> None:
    assert market("ercot-da") is ERCOT
    assert len({known.market_id for known in MARKETS}) == len(MARKETS)
    with pytest.raises(UnknownIdError, match="nowhere"):
        market("nowhere")
