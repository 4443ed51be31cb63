"""Whichever orders do not clear, the stored energy stays within the battery, and the market takes the bid."""

from __future__ import annotations

from datetime import date

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.domain.outcome import Accepted
from shoal.market.ercot import ERCOT_DAY_AHEAD as MARKET
from tests.unit.bidding.plans import (
    DAY,
    LONG_DAY,
    SHORT_DAY,
    bid_of,
    change_kwh,
    offer_for,
    storage,
    two_peaks,
)


@settings(max_examples=60, deadline=None)
@given(
    day=st.sampled_from([DAY, LONG_DAY, SHORT_DAY]),
    seed=st.integers(0, 2**32 - 1),
    noise=st.sampled_from([0.0, 5.0, 60.0]),
    power_kw=st.floats(50.0, 5_000.0),
    capacity_kwh=st.floats(0.0, 9_000.0),
    stored_frac=st.floats(0.0, 1.0),
    efficiency_frac=st.floats(0.7, 1.0),
    wear_per_mwh=st.sampled_from([0.0, 5.0, 40.0]),
)
def test_any_orders_may_fail_to_clear_that_carry_a_limit(
    day: date,
    seed: int,
    noise: float,
    power_kw: float,
    capacity_kwh: float,
    stored_frac: float,
    efficiency_frac: float,
    wear_per_mwh: float,
) -> None:
    random = np.random.default_rng(seed)
    battery = storage(
        charge_limit_kw=power_kw,
        discharge_limit_kw=power_kw * random.uniform(0.5, 1.5),
        charge_efficiency_frac=efficiency_frac,
        discharge_efficiency_frac=efficiency_frac,
        energy_capacity_kwh=capacity_kwh,
        initial_energy_kwh=capacity_kwh * stored_frac,
        throughput_cost_per_mwh=wear_per_mwh,
    )
    prices = two_peaks(49, seed) + random.normal(0.0, noise, 49)
    offer = offer_for(day, prices, battery)
    assert MARKET.validate(bid_of(day, offer.orders), received_ns=MARKET.gate_ns(day) - 1) == Accepted()
    floor, cap = MARKET.price_limits(day)
    changes = np.array([change_kwh(order, battery) for order in offer.orders])
    certain = ~np.array(offer.priced, dtype=np.bool_)
    for order, takes_any in zip(offer.orders, certain, strict=True):
        assert not takes_any or order.limit_price_per_mwh == (cap if order.side == "buy" else floor)
    slack_kwh = 1e-6 * max(capacity_kwh, 1.0)
    losses = [
        np.zeros(len(changes), dtype=np.bool_),
        ~certain & (changes > 0),
        ~certain & (changes < 0),
        *(~certain & (random.random(len(changes)) < random.random()) for _ in range(30)),
    ]
    for lost in losses:
        path_kwh = battery.initial_energy_kwh + np.cumsum(np.where(lost, 0.0, changes))
        assert np.all(path_kwh >= -slack_kwh)
        assert np.all(path_kwh <= capacity_kwh + slack_kwh)
