"""The offer: orders that the market takes, and that can be delivered whichever of them clear."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from shoal.bidding.offer import carry_forward
from shoal.domain.interval import NS_PER_HOUR
from shoal.domain.outcome import Accepted
from shoal.market.ercot import ERCOT_DAY_AHEAD as MARKET
from shoal.market.types import AwardedInterval
from tests.unit.bidding.plans import DAY, LONG_DAY, SHORT_DAY, bid_of, offer_for, storage, two_peaks


@pytest.mark.parametrize(("day", "hours"), [(DAY, 24), (LONG_DAY, 25), (SHORT_DAY, 23)])
def test_offer_is_what_the_market_takes(day: date, hours: int) -> None:
    offer = offer_for(day, two_peaks(49), storage())
    intervals = MARKET.delivery_intervals(day)
    assert len(intervals) == hours
    starts = [order.start_ns for order in offer.orders]
    assert starts == sorted(starts)
    assert set(starts) <= {interval.start_ns for interval in intervals}
    assert {order.side for order in offer.orders} == {"buy", "sell"}
    assert MARKET.validate(bid_of(day, offer.orders), received_ns=MARKET.gate_ns(day) - 1) == Accepted()


def test_offer_of_a_day_of_25_hours_uses_the_hour_that_comes_twice() -> None:
    """The dearest price is in the second 01:00 of the day on which the clock goes back."""
    prices = np.full(49, 30.0)
    prices[2] = 500.0
    offer = offer_for(LONG_DAY, prices, storage(initial_energy_kwh=2_000.0))
    best = max(offer.orders, key=lambda order: order.quantity_mw if order.side == "sell" else 0.0)
    assert best.start_ns == MARKET.delivery_intervals(LONG_DAY)[2].start_ns
    assert best.quantity_mw == 1.0


def test_offer_sells_dear_and_buys_cheap() -> None:
    prices = two_peaks(49)
    offer = offer_for(DAY, prices, storage())
    price_of = dict(zip([i.start_ns for i in MARKET.delivery_intervals(DAY)], prices, strict=False))
    sells = [price_of[o.start_ns] for o in offer.orders if o.side == "sell"]
    buys = [price_of[o.start_ns] for o in offer.orders if o.side == "buy"]
    assert min(sells) > max(buys)


def test_prices_on_ticks_quantities_on_lots() -> None:
    offer = offer_for(DAY, two_peaks(49), storage(charge_limit_kw=777.0, discharge_limit_kw=333.0))
    for order in offer.orders:
        assert round(order.quantity_mw * 10) == pytest.approx(order.quantity_mw * 10, abs=1e-9)
        assert order.quantity_mw >= 0.1
        assert round(order.limit_price_per_mwh * 100) == pytest.approx(
            order.limit_price_per_mwh * 100, abs=1e-6
        )
    assert max(o.quantity_mw for o in offer.orders if o.side == "buy") == 0.7
    assert max(o.quantity_mw for o in offer.orders if o.side == "sell") == 0.3


def test_battery_below_a_lot_offers_nothing() -> None:
    assert offer_for(DAY, two_peaks(49), storage(charge_limit_kw=99.0, discharge_limit_kw=99.0)).orders == ()
    assert (
        offer_for(DAY, two_peaks(49), storage(energy_capacity_kwh=0.0, initial_energy_kwh=0.0)).orders == ()
    )


def test_order_that_others_rely_on_takes_any_price() -> None:
    """An empty battery must buy before it can sell; a full one may keep what it has."""
    floor, cap = MARKET.price_limits(DAY)
    empty = offer_for(DAY, two_peaks(49), storage(initial_energy_kwh=0.0))
    assert empty.orders[0].side == "buy"
    for order, priced in zip(empty.orders, empty.priced, strict=True):
        if not priced:
            assert order.limit_price_per_mwh == (cap if order.side == "buy" else floor)
    assert not empty.priced[0], "were it lost, the sale after it could not be delivered"


def test_sale_is_kept_for_what_the_energy_is_worth_at_the_days_end() -> None:
    """One hour of the day is dear, one of the next is dearer still: between them the price falls to 10."""
    prices = np.full(49, 10.0)
    prices[18], prices[42] = 100.0, 60.0
    battery = storage(charge_limit_kw=0.0, initial_energy_kwh=1_000.0, energy_capacity_kwh=4_000.0)
    offer = offer_for(DAY, prices, battery)
    (order,) = offer.orders
    assert order.start_ns == MARKET.delivery_intervals(DAY)[18].start_ns
    assert offer.priced == (True,)
    # kept, a MWh would bring 60 less wear tomorrow; selling it now must bring as much
    assert order.limit_price_per_mwh == pytest.approx(60.0, abs=0.02)


def test_purchase_pays_what_the_energy_brings_tomorrow() -> None:
    prices = np.full(49, 80.0)
    prices[3] = 10.0
    prices[24:] = 20.0
    prices[42] = 100.0
    battery = storage(discharge_limit_kw=1_000.0, initial_energy_kwh=0.0)
    offer = offer_for(DAY, prices, battery)
    buys = [(o, priced) for o, priced in zip(offer.orders, offer.priced, strict=True) if o.side == "buy"]
    for order, priced in buys:
        if priced:
            assert 10.0 <= order.limit_price_per_mwh <= 0.95 * 0.95 * (100.0 - 5.0) + 0.01


def test_limit_never_refuses_the_expected_price() -> None:
    for seed in range(6):
        prices = two_peaks(49, seed)
        offer = offer_for(DAY, prices, storage(initial_energy_kwh=1_500.0))
        price_of = dict(zip([i.start_ns for i in MARKET.delivery_intervals(DAY)], prices, strict=False))
        for order in offer.orders:
            expected = price_of[order.start_ns]
            if order.side == "buy":
                assert order.limit_price_per_mwh >= expected - MARKET.price_tick_per_mwh
            else:
                assert order.limit_price_per_mwh <= expected + MARKET.price_tick_per_mwh


def test_limits_are_held_within_floor_and_cap() -> None:
    prices = np.full(49, 20.0)
    prices[17:20] = 8_999.995
    prices[41] = 20_000.0
    floor, cap = MARKET.price_limits(DAY)
    offer = offer_for(DAY, prices, storage(initial_energy_kwh=2_000.0))
    assert offer.orders
    assert all(floor <= order.limit_price_per_mwh <= cap for order in offer.orders)


# -- what is promised already


def promised(start_h: float, energy_wh: int, hours: float = 1.0) -> AwardedInterval:
    start_ns = round(start_h * NS_PER_HOUR)
    return AwardedInterval(
        start_ns=start_ns,
        end_ns=start_ns + round(hours * NS_PER_HOUR),
        energy_wh=energy_wh,
        price_per_mwh=30.0,
    )


def carried(*awards: AwardedInterval, now_h: float = 0.0, **values: float) -> float:
    return carry_forward(
        storage(**values), list(awards), now_ns=round(now_h * NS_PER_HOUR)
    ).initial_energy_kwh


def test_promised_energy_moves_the_start() -> None:
    assert carried() == 1_000.0
    assert carried(promised(1, 500_000)) == pytest.approx(1_000.0 + 500 * 0.95)
    assert carried(promised(1, -500_000)) == pytest.approx(1_000.0 - 500 / 0.95)


def test_interval_under_way_counts_for_what_is_left() -> None:
    assert carried(promised(1, 500_000), now_h=1.75) == pytest.approx(1_000.0 + 125 * 0.95)
    assert carried(promised(1, 500_000), now_h=2.0) == 1_000.0
    assert carried(promised(1, 500_000), now_h=9.0) == 1_000.0


def test_promises_are_kept_in_their_order_and_within_the_battery() -> None:
    full_first = carried(promised(2, -1_000_000), promised(1, 2_000_000), charge_efficiency_frac=1.0)
    assert full_first == pytest.approx(2_000.0 - 1_000 / 0.95), "filled to the brim, then emptied"
    assert carried(promised(1, -9_000_000)) == 0.0
    assert carried(promised(1, 9_000_000)) == 2_000.0
