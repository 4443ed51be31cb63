"""The price model: levels in order, chances that are chances, spikes learned and feared, factors that carry on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.forecast.spikes import (
    STAGES,
    PriceModel,
    PriceModelSettings,
    carry_on,
    fit_price_model,
    level_edges,
    next_levels,
    outcomes_of,
    stage_of,
)

Floats = NDArray[np.float64]
SLOTS = 48
FLOOR, CAP = -1_000.0, 17_500.0


def history(days: int, *, seed: int = 1, spikes: bool = True) -> Floats:
    rng = np.random.default_rng(seed)
    hour = np.arange(days * SLOTS) % SLOTS / 2.0
    price = 60.0 + 60.0 * np.exp(-(((hour - 18.0) / 2.0) ** 2)) + rng.normal(0.0, 15.0, len(hour))
    if spikes:
        price[(hour == 18.0) & (rng.random(len(hour)) < 0.3)] = 6_000.0
    return price


def fitted(price: Floats, settings: PriceModelSettings | None = None) -> PriceModel:
    count = len(price)
    return fit_price_model(
        price_per_mwh=price,
        age_days=(count - np.arange(count)) / SLOTS,
        slot_number=np.arange(count) % SLOTS,
        follows=np.arange(count) > 0,
        slots_count=SLOTS,
        cap_per_mwh=CAP,
        settings=settings or PriceModelSettings(),
    )


@pytest.mark.parametrize("days", [1, 3, 40])
def test_outcomes_are_chances_over_states_that_exist(days: int) -> None:
    outcomes = outcomes_of(fitted(history(days)))
    np.testing.assert_allclose(outcomes.chance.sum(axis=-1), 1.0, rtol=0, atol=1e-12)
    np.testing.assert_allclose(outcomes.next_chance.sum(axis=-1), 1.0, rtol=0, atol=1e-12)
    states = outcomes.chance.shape[1]
    assert states == 25 * STAGES
    assert outcomes.next_position.min() >= 0
    assert outcomes.next_position.max() < states
    assert np.isfinite(outcomes.price_per_mwh).all()
    assert outcomes.price_per_mwh.max() <= CAP


@pytest.mark.parametrize("price", [history(40), np.full(200, 50.0), np.full(200, FLOOR), np.full(200, CAP)])
def test_levels_ascend_between_floor_and_cap(price: Floats) -> None:
    edges = level_edges(
        price, floor_per_mwh=FLOOR, cap_per_mwh=CAP, body_frac=(0.1, 0.5, 0.9), tail_edges_count=3
    )
    assert len(edges) == 6
    assert np.all(np.diff(edges) > 0.5)
    assert edges[0] > FLOOR
    assert edges[-1] < CAP


def test_usual_prices_follow_the_time_of_day_and_forget_spikes() -> None:
    model = fitted(history(60))
    usual = model.money_scale * np.sinh(model.usual)
    assert usual[36] == pytest.approx(110.0, rel=0.35)  # a spike counts as its lowest price at most
    assert usual[6] == pytest.approx(60.0, rel=0.1)
    assert model.premium_per_mwh[36] > 50.0 > model.premium_per_mwh[6]


def test_spikes_begin_more_likely_at_higher_prices_and_are_feared_unseen() -> None:
    calm, spiky = fitted(history(60, spikes=False)), fitted(history(60))
    assert np.all(np.diff(calm.entry) >= 0.0)
    assert calm.entry.min() > 0.0
    assert spiky.entry.max() > calm.entry.max()
    np.testing.assert_allclose(calm.height_chance.sum(axis=1), 1.0)
    assert spiky.height_chance[0][2] > calm.height_chance[0][2]


def test_factors_carried_on_are_those_learned_from_all() -> None:
    price = history(40)
    model = fitted(price)
    slot = np.arange(len(price)) % SLOTS
    begun = carry_on(model, np.zeros(2), price[:-100], slot[:-100])
    carried = carry_on(model, begun, price[-100:], slot[-100:])
    np.testing.assert_array_equal(carried, model.factors)


def test_factors_rise_with_dear_hours_and_fade() -> None:
    model = fitted(history(40, spikes=False))
    slot = np.arange(12)
    dear = carry_on(model, np.zeros(2), np.full(12, 200.0), slot)
    assert np.all(dear > 0.3)
    later = carry_on(model, dear, model.money_scale * np.sinh(model.usual), np.arange(SLOTS))
    assert np.all(np.abs(later) < dear)


def test_next_levels_shift_with_the_factors() -> None:
    model = fitted(history(40))
    edges = np.array([20.0, 60.0, 100.0, 200.0, 1_000.0, 5_000.0])
    stands = np.array([0.0, 40.0, 80.0, 150.0, 500.0, 3_000.0, 9_000.0])
    calm = np.full(4, 60.0)
    low, position, share = next_levels(model, np.array([-1.0, -0.5]), calm, 6, edges, stands)
    high, _, _ = next_levels(model, np.array([1.0, 0.5]), calm, 6, edges, stands)
    assert low.sum() == pytest.approx(high.sum(), abs=1e-3)
    assert low @ stands < high @ stands
    np.testing.assert_allclose(share.sum(axis=1), 1.0)
    assert position.min() >= 0
    assert position.max() < 25 * STAGES
    spiking, _, _ = next_levels(model, np.zeros(2), np.full(4, 6_000.0), 6, edges, stands)
    assert spiking[-2:].sum() > 10 * low[-2:].sum()


def test_a_spike_is_established_by_lasting() -> None:
    model = replace(fitted(history(10)), window_count=6)
    calm, spike = [50.0] * 6, [9_000.0]
    assert stage_of(model, np.array(calm)) == 0
    assert stage_of(model, np.array(calm + spike)) == 1
    assert stage_of(model, np.array(calm + spike * 3)) == 2
    assert stage_of(model, np.array(spike * 3 + calm[:1])) == 0
    assert stage_of(model, np.zeros(0)) == 0


def test_moves_over_a_gap_are_not_counted() -> None:
    price = history(20, spikes=False)
    price[200:220] = 8_000.0
    count = len(price)
    stays = []
    for follows in (
        np.arange(count) > 0,
        (np.arange(count) > 0) & ~((np.arange(count) > 200) & (np.arange(count) < 220)),
    ):
        model = fit_price_model(
            price_per_mwh=price,
            age_days=(count - np.arange(count)) / SLOTS,
            slot_number=np.arange(count) % SLOTS,
            follows=follows,
            slots_count=SLOTS,
            cap_per_mwh=CAP,
            settings=PriceModelSettings(),
        )
        stays.append(float(model.stay[2]))
    assert stays[0] > stays[1]
