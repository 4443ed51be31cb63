"""A storage on paper never gives what it does not hold and never takes what it has no room for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.bidding.cycle.paper import follow
from shoal.domain.interval import NS_PER_HOUR
from shoal.market.awards import AwardedQuantity
from shoal.optimise.storage import Storage


@st.composite
def storages(draw: st.DrawFn) -> Storage:
    capacity_kwh = draw(st.floats(0.0, 1e6))
    return Storage(
        charge_limit_kw=draw(st.floats(0.0, 1e6)),
        discharge_limit_kw=draw(st.floats(0.0, 1e6)),
        charge_efficiency_frac=draw(st.floats(0.3, 1.0)),
        discharge_efficiency_frac=draw(st.floats(0.3, 1.0)),
        energy_capacity_kwh=capacity_kwh,
        initial_energy_kwh=capacity_kwh * draw(st.floats(0.0, 1.0)),
        throughput_cost_per_mwh=draw(st.sampled_from([0.0, 10.0])),
    )


def awards(powers_w: list[int], minutes: int, prices: list[float]) -> list[AwardedQuantity]:
    step_ns = minutes * NS_PER_HOUR // 60
    return [
        AwardedQuantity(
            product="energy",
            start_ns=at * step_ns,
            end_ns=(at + 1) * step_ns,
            power_w=power_w,
            price_per_mwh=prices[at % len(prices)],
        )
        for at, power_w in enumerate(powers_w)
    ]


@given(
    storage=storages(),
    powers_w=st.lists(st.integers(-(10**9), 10**9), max_size=30),
    minutes=st.sampled_from([5, 15, 30, 60]),
    prices=st.lists(st.integers(-100_000, 2_000_000).map(lambda cents: cents / 100), min_size=1, max_size=5),
)
def test_what_is_followed_is_possible_and_no_more_than_asked(
    storage: Storage, powers_w: list[int], minutes: int, prices: list[float]
) -> None:
    found = follow(storage, awards(powers_w, minutes, prices))
    energy, delivered = found.energy_kwh, found.delivered_wh
    slack_kwh = 1e-6 * max(storage.energy_capacity_kwh, 1.0)
    assert ((energy >= 0.0) & (energy <= storage.energy_capacity_kwh)).all()
    assert (np.sign(delivered) * np.sign(found.asked_wh) >= 0).all()
    assert (np.abs(delivered) <= np.abs(found.asked_wh) + 1).all()
    hours = minutes / 60
    assert (delivered <= storage.charge_limit_kw * 1e3 * hours + 1e-3).all()
    assert (-delivered <= storage.discharge_limit_kw * 1e3 * hours + 1e-3).all()
    charged_kwh = np.maximum(delivered, 0).sum() / 1e3 * storage.charge_efficiency_frac
    drawn_kwh = np.maximum(-delivered, 0).sum() / 1e3 / storage.discharge_efficiency_frac
    assert energy[-1] == pytest.approx(
        storage.initial_energy_kwh + charged_kwh - drawn_kwh, abs=slack_kwh + 1e-6
    )
    amounts = found.amounts(storage)
    wear_cents = round(storage.throughput_cost_per_mwh * 100)
    for at, wh in enumerate(delivered.tolist()):
        cents = round(prices[at % len(prices)] * 100)
        assert amounts[at] == -wh * cents - wear_cents * max(-wh, 0)


@given(storage=storages(), powers_w=st.lists(st.integers(-1000, 1000), min_size=1, max_size=10))
def test_what_is_possible_is_followed_to_the_watt_hour(storage: Storage, powers_w: list[int]) -> None:
    roomy = Storage(
        charge_limit_kw=1e3,
        discharge_limit_kw=1e3,
        charge_efficiency_frac=storage.charge_efficiency_frac,
        discharge_efficiency_frac=storage.discharge_efficiency_frac,
        energy_capacity_kwh=1e6,
        initial_energy_kwh=5e5,
    )
    found = follow(roomy, awards(powers_w, 60, [50.0]))
    assert found.delivered_wh.tolist() == powers_w == found.asked_wh.tolist()
