"""The Markov programme against exhaustive search on small cases, and the offer against every offer there is."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.optimise.markov import Levels, MarkovPrices, best_moves, plan_markov
from shoal.optimise.storage import Storage, plan_storage

Floats = NDArray[np.float64]


def chain(seed: int, *, slots: int, states: int, outcomes: int, ways: int = 2) -> MarkovPrices:
    rng = np.random.default_rng(seed)
    chance = rng.random((slots, states, outcomes)) + 0.05
    follows = rng.random((states, outcomes, ways)) + 0.05
    return MarkovPrices(
        price_per_mwh=rng.uniform(-20.0, 200.0, (slots, states, outcomes)),
        chance_frac=chance / chance.sum(axis=-1, keepdims=True),
        next_position=rng.integers(0, states, (states, outcomes, ways)),
        next_chance_frac=follows / follows.sum(axis=-1, keepdims=True),
    )


def battery(cells: int, *, wear: float = 3.0, terminal: float = 40.0) -> Storage:
    """One interval of an hour moves exactly one cell of one kWh."""
    return Storage(
        charge_limit_kw=1.0,
        discharge_limit_kw=1.0,
        charge_efficiency_frac=1.0,
        discharge_efficiency_frac=1.0,
        energy_capacity_kwh=float(cells),
        initial_energy_kwh=0.0,
        throughput_cost_per_mwh=wear,
        terminal_value_per_mwh=terminal,
    )


def searched(prices: MarkovPrices, storage: Storage, slot: list[int], t: int, state: int, kwh: int) -> float:
    """Return the best expected income from interval `t` on, before its price: every move, every future."""
    if t == len(slot):
        return storage.terminal_value_per_mwh * kwh / 1000.0
    worth = 0.0
    for o, chance in enumerate(prices.chance_frac[slot[t], state].tolist()):
        price, best = float(prices.price_per_mwh[slot[t], state, o]), -np.inf
        for release in (-1, 0, 1):
            if not 0 <= kwh - release <= storage.energy_capacity_kwh:
                continue
            income = release * price - (storage.throughput_cost_per_mwh if release > 0 else 0.0)
            ahead = sum(
                likely * searched(prices, storage, slot, t + 1, then, kwh - release)
                for then, likely in zip(
                    prices.next_position[state, o].tolist(),
                    prices.next_chance_frac[state, o].tolist(),
                    strict=True,
                )
            )
            best = max(best, income / 1000.0 + ahead)
        worth += chance * best
    return worth


@pytest.mark.parametrize(("seed", "states", "outcomes"), [(1, 2, 2), (2, 1, 3), (3, 3, 2), (4, 2, 3)])
def test_energy_is_worth_what_exhaustive_search_finds(seed: int, states: int, outcomes: int) -> None:
    cells, slot = 2, [0, 1, 1]
    prices = chain(seed, slots=2, states=states, outcomes=outcomes)
    storage = battery(cells)
    plan = plan_markov(storage, prices, 1.0, slot_number=np.array(slot), keep_steps=3, cells=cells)
    for t, z, m in itertools.product(range(3), range(states), range(cells + 1)):
        assert plan.value_amount[t, z, m] == pytest.approx(
            searched(prices, storage, slot, t, z, m), abs=1e-12
        )


def certain(price: Floats) -> MarkovPrices:
    return MarkovPrices(
        price_per_mwh=price[:, None, None],
        chance_frac=np.ones((len(price), 1, 1)),
        next_position=np.zeros((1, 1, 1), np.int64),
        next_chance_frac=np.ones((1, 1, 1)),
    )


@pytest.mark.parametrize("efficiency", [1.0, 0.9])
def test_prices_that_are_certain_give_the_value_of_the_exact_solver(efficiency: float) -> None:
    price = np.random.default_rng(7).uniform(-10.0, 150.0, 24)
    storage = Storage(
        charge_limit_kw=1.0,
        discharge_limit_kw=1.0,
        charge_efficiency_frac=efficiency,
        discharge_efficiency_frac=efficiency,
        energy_capacity_kwh=3.0,
        initial_energy_kwh=1.5,
        throughput_cost_per_mwh=5.0,
        terminal_value_per_mwh=30.0,
    )
    plan = plan_markov(
        storage,
        certain(price),
        1.0,
        slot_number=np.arange(24),
        keep_steps=1,
        cells=3 if efficiency == 1 else 3000,
    )
    exact = plan_storage(storage, price, 1.0).value
    half = plan.value_amount[0, 0, plan.value_amount.shape[2] // 2 :].min() if efficiency < 1 else None
    found = (
        float(np.mean(plan.value_amount[0, 0, 1:3])) if half is None else float(plan.value_amount[0, 0, 1500])
    )
    assert found == pytest.approx(exact, rel=1e-3 if efficiency < 1 else 1e-9)


def levels_of(seed: int, *, all_bands: bool) -> Levels:
    rng = np.random.default_rng(seed)
    chance, follows = rng.random(5) + 0.05, rng.random((5, 2)) + 0.05
    return Levels(
        price_per_mwh=np.sort(rng.uniform(-20.0, 200.0, 5)),
        chance_frac=chance / chance.sum(),
        next_position=rng.integers(0, 3, (5, 2)),
        next_chance_frac=follows / follows.sum(axis=1, keepdims=True),
        sells=np.ones(4, np.bool_) if all_bands else rng.random(4) < 0.5,
        buys=np.ones(4, np.bool_) if all_bands else rng.random(4) < 0.5,
    )


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("all_bands", [True, False])
def test_offer_is_the_best_of_all_that_bands_can_express(seed: int, all_bands: bool) -> None:
    prices = chain(seed, slots=2, states=3, outcomes=3)
    storage = battery(4)
    plan = plan_markov(storage, prices, 1.0, slot_number=np.array([0, 1, 0, 1, 0]), keep_steps=2, cells=4)
    levels = levels_of(seed, all_bands=all_bands)
    energy = float(np.random.default_rng(seed).choice([0.0, 0.5, 2.0, 3.7, 4.0]))
    release, worth = best_moves(plan, 1, levels, energy)
    up, down = min(1.0, 4.0 - energy), min(1.0, energy)
    moves = sorted({-up, -up / 2, 0.0, down / 2, down})
    grid = np.arange(5.0)

    def gain(k: int, x: float) -> float:
        after = [np.interp(energy - x, grid, plan.value_amount[1, z]) for z in levels.next_position[k]]
        income = x * levels.price_per_mwh[k] - max(x, 0.0) * storage.throughput_cost_per_mwh
        return float(income / 1000.0 + levels.next_chance_frac[k] @ after)

    def fits(offer: tuple[float, ...]) -> bool:
        if offer[0] > 0.0 or offer[-1] < 0.0:
            return False
        for k, (a, b) in enumerate(itertools.pairwise(offer)):
            if a > b or (max(a, 0.0) != max(b, 0.0) and not levels.sells[k]):
                return False
            if min(a, 0.0) != min(b, 0.0) and not levels.buys[k]:
                return False
        return True

    best = max(
        sum(levels.chance_frac[k] * gain(k, x) for k, x in enumerate(offer))
        for offer in itertools.product(moves, repeat=5)
        if fits(offer)
    )
    assert worth == pytest.approx(best, abs=1e-12)
    assert fits(tuple(release.tolist()))
    found = sum(levels.chance_frac[k] * gain(k, float(x)) for k, x in enumerate(release))
    assert found == pytest.approx(best, abs=1e-12)


def two_levels() -> Levels:
    return Levels(
        price_per_mwh=np.array([60.0, 15_000.0]),
        chance_frac=np.array([0.98, 0.02]),
        next_position=np.array([[0], [1]]),
        next_chance_frac=np.ones((2, 1)),
        sells=np.ones(1, np.bool_),
        buys=np.ones(1, np.bool_),
    )


def test_energy_is_kept_for_a_spike_that_may_come() -> None:
    """A likely 60 now against one in fifty of 15,000 in each of the next intervals: the store stays full."""
    prices = MarkovPrices(
        price_per_mwh=np.array([[[60.0, 15_000.0], [60.0, 15_000.0]]]),
        chance_frac=np.array([[[0.98, 0.02], [0.5, 0.5]]]),
        next_position=np.array([[[0], [1]], [[0], [1]]]),
        next_chance_frac=np.ones((2, 2, 1)),
    )
    plan = plan_markov(
        battery(2, terminal=50.0), prices, 1.0, slot_number=np.zeros(12, np.int64), keep_steps=2, cells=2
    )
    release, _ = best_moves(plan, 1, two_levels(), 2.0)
    assert release.tolist() == [0.0, 1.0]


def test_a_price_at_which_waste_would_pay_only_charges() -> None:
    prices = chain(1, slots=1, states=1, outcomes=2)
    prices.price_per_mwh[:] = [-900.0, 50.0]
    lossy = Storage(
        charge_limit_kw=1.0,
        discharge_limit_kw=1.0,
        charge_efficiency_frac=0.9,
        discharge_efficiency_frac=0.9,
        energy_capacity_kwh=2.0,
        initial_energy_kwh=0.0,
    )
    plan = plan_markov(lossy, prices, 1.0, slot_number=np.zeros(4, np.int64), keep_steps=2, cells=20)
    assert np.all(np.isfinite(plan.value_amount))
    assert np.all(np.abs(plan.value_amount) < 10.0)


def test_a_chain_that_is_none_is_refused() -> None:
    good = chain(1, slots=1, states=2, outcomes=2)
    for field, value in (
        ("chance_frac", good.chance_frac * 0.9),
        ("chance_frac", good.chance_frac[:, :1]),
        ("next_chance_frac", good.next_chance_frac * 1.1),
        ("next_position", good.next_position + 2),
        ("price_per_mwh", good.price_per_mwh * np.nan),
    ):
        fields = {name: getattr(good, name) for name in MarkovPrices.__slots__}
        with pytest.raises(InvalidInputError) as refused:
            MarkovPrices(**{**fields, field: value})
        assert refused.value.field == field
