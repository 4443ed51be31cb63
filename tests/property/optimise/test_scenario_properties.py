"""The scenario programme against HiGHS on the whole linear programme, and what must hold of any offers."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.cli.benches._optimise_scenario import sample_scenarios, whole_programme
from shoal.optimise.scenario import plan_scenarios, price_grid
from shoal.optimise.scenario_inputs import PriceScenarios, ReserveProduct, Risk, ScenarioPlan, tail_mean
from shoal.optimise.storage import Storage

Floats = NDArray[np.float64]
GAP_FRAC = 1e-4


class Case:
    """A random instance, small enough for HiGHS to be quick."""

    def __init__(self, seed: int, *, negative: bool) -> None:
        draw = np.random.default_rng(seed)
        count, steps, products = (int(draw.integers(*ends)) for ends in ((1, 11), (1, 13), (0, 6)))
        self.interval_h = float(draw.choice([1.0, 0.5, 0.25]))
        self.products = tuple(
            ReserveProduct(
                name=f"product {k}",
                direction="up" if draw.random() < 0.5 else "down",
                duration_h=float(draw.choice([0.0, 0.25, 1.0, 4.0])),
                call_frac=float(draw.choice([0.0, 0.05, 0.3])),
                limit_kw=None if draw.random() < 0.6 else float(draw.choice([0.0, 30.0, 120.0])),
            )
            for k in range(products)
        )
        capacity_kwh = float(draw.choice([50.0, 200.0, 400.0]))
        self.storage = Storage(
            charge_limit_kw=float(draw.choice([50.0, 100.0])),
            discharge_limit_kw=float(draw.choice([40.0, 100.0])),
            charge_efficiency_frac=float(draw.choice([1.0, 0.93, 0.8])),
            discharge_efficiency_frac=float(draw.choice([1.0, 0.93])),
            energy_capacity_kwh=capacity_kwh,
            initial_energy_kwh=capacity_kwh * float(draw.choice([0.0, 0.3, 1.0])),
            throughput_cost_per_mwh=float(draw.choice([0.0, 8.0])),
            terminal_value_per_mwh=float(draw.choice([0.0, 30.0])),
        )
        sample = sample_scenarios(count, steps, self.products, seed)
        assert sample.day_ahead_per_mwh is not None
        move = -60.0 if negative else 0.0
        least = -np.inf if negative else 0.0
        weights = draw.random(count) + 0.1
        self.scenarios = PriceScenarios(
            real_time_per_mwh=np.maximum(sample.real_time_per_mwh + move, least),
            day_ahead_per_mwh=None if draw.random() < 0.2 else sample.day_ahead_per_mwh + move,
            reserve_per_mw=sample.reserve_per_mw if products else None,
            weights=weights / weights.sum() if draw.random() < 0.3 else None,
        )
        self.risk = Risk(
            level=float(draw.choice([0.0, 0.5, 0.9])), weight=float(draw.choice([0.0, 0.3, 1.0]))
        )
        self.grid: Floats | None = None
        if self.scenarios.day_ahead_per_mwh is not None:
            self.grid = price_grid(self.scenarios.day_ahead_per_mwh, int(draw.integers(1, 6)))

    def plan(self) -> ScenarioPlan:
        return plan_scenarios(
            self.storage,
            self.scenarios,
            self.interval_h,
            products=self.products,
            risk=self.risk,
            day_ahead_grid_per_mwh=self.grid,
            gap_frac=GAP_FRAC,
        )

    def optimum(self) -> float:
        return whole_programme(
            self.storage, self.scenarios, self.interval_h, self.products, self.risk, self.grid
        ).value


@pytest.mark.parametrize("seed", range(60))
def test_value_and_bound_enclose_the_optimum_of_highs(seed: int) -> None:
    case = Case(seed, negative=False)
    plan, optimum = case.plan(), case.optimum()
    slack = 1e-7 * (1e-3 + abs(optimum))
    assert plan.value <= optimum + slack
    assert plan.value_bound >= optimum - slack
    assert plan.gap_frac <= GAP_FRAC


@pytest.mark.parametrize("seed", range(100, 130))
def test_bound_holds_and_gap_is_honest_at_negative_prices(seed: int) -> None:
    """Where burning energy would pay, HiGHS's relaxation may be worth more than anything that can be done."""
    case = Case(seed, negative=True)
    plan, optimum = case.plan(), case.optimum()
    slack = 1e-7 * (1e-3 + abs(optimum))
    assert plan.value <= optimum + slack
    assert plan.value_bound >= optimum - slack
    assert plan.value_bound <= optimum + GAP_FRAC * (1e-3 + abs(optimum))
    assert plan.gap_frac <= 0.1


@pytest.mark.parametrize("seed", range(200, 225))
def test_offers_can_be_carried_out_in_every_scenario(seed: int) -> None:
    case = Case(seed, negative=seed % 3 == 0)
    plan, storage, h = case.plan(), case.storage, case.interval_h
    up_kw, down_kw = (
        sum(
            (plan.reserve_kw[:, k] for k, p in enumerate(case.products) if p.direction == way),
            np.zeros(case.scenarios.steps),
        )
        for way in ("up", "down")
    )
    close = 1e-6 * 100.0
    net_kw = plan.charge_kw - plan.discharge_kw
    assert np.all(plan.reserve_kw >= 0.0)
    assert not np.any((plan.charge_kw > 0) & (plan.discharge_kw > 0))
    assert np.all(up_kw - net_kw <= storage.discharge_limit_kw + close)
    assert np.all(net_kw + down_kw <= storage.charge_limit_kw + close)
    called_kwh, need_kwh, room_kwh = (np.zeros(case.scenarios.steps) for _ in range(3))
    for k, product in enumerate(case.products):
        held_kw = plan.reserve_kw[:, k]
        if product.limit_kw is not None:
            assert np.all(held_kw <= product.limit_kw + close)
        if product.direction == "up":
            called_kwh -= h * product.call_frac * held_kw / storage.discharge_efficiency_frac
            need_kwh += product.duration_h * held_kw / storage.discharge_efficiency_frac
        else:
            called_kwh += h * product.call_frac * held_kw * storage.charge_efficiency_frac
            room_kwh += product.duration_h * held_kw * storage.charge_efficiency_frac
    change = h * (
        plan.charge_kw * storage.charge_efficiency_frac
        - plan.discharge_kw / storage.discharge_efficiency_frac
    )
    np.testing.assert_allclose(np.diff(plan.energy_kwh, axis=1), change + called_kwh, rtol=0, atol=close)
    for end in (plan.energy_kwh[:, :-1], plan.energy_kwh[:, 1:]):
        assert np.all(end >= need_kwh - close)
        assert np.all(end <= storage.energy_capacity_kwh - room_kwh + close)
    assert np.all(np.diff(plan.day_ahead_kw, axis=1) <= close), (
        "a curve never asks for more at a higher price"
    )
    if plan.day_ahead_kw.shape[1]:
        assert np.all(plan.day_ahead_kw + down_kw[:, None] <= storage.charge_limit_kw + close)
        assert np.all(-plan.day_ahead_kw + up_kw[:, None] <= storage.discharge_limit_kw + close)


@pytest.mark.parametrize("seed", range(300, 312))
def test_amounts_are_what_the_dispatch_and_the_offers_earn(seed: int) -> None:
    case = Case(seed, negative=False)
    plan, storage, scenarios, h = case.plan(), case.storage, case.scenarios, case.interval_h
    rt, wear = scenarios.real_time_per_mwh, storage.throughput_cost_per_mwh
    earned = h * (rt * (plan.discharge_kw - plan.charge_kw) - wear * plan.discharge_kw).sum(axis=1)
    earned += storage.terminal_value_per_mwh * plan.energy_kwh[:, -1]
    for k, product in enumerate(case.products):
        assert scenarios.reserve_per_mw is not None
        called = rt - wear if product.direction == "up" else -rt
        paid = scenarios.reserve_per_mw[:, :, k] + product.call_frac * called
        earned += h * paid @ plan.reserve_kw[:, k]
    if scenarios.day_ahead_per_mwh is not None:
        for s in range(scenarios.count):
            for t in range(scenarios.steps):
                ahead = scenarios.day_ahead_per_mwh[s, t]
                bucket = np.searchsorted(plan.day_ahead_grid_per_mwh[t], ahead, side="right")
                earned[s] -= h * (ahead - rt[s, t]) * plan.day_ahead_kw[t, bucket]
    np.testing.assert_allclose(plan.scenario_amount, earned / 1e3, rtol=0, atol=1e-6)
    probability = scenarios.probability()
    mean, tail = probability @ earned / 1e3, tail_mean(earned / 1e3, probability, 1.0 - case.risk.level)
    assert plan.mean_amount == pytest.approx(mean, abs=1e-6)
    assert plan.tail_amount == pytest.approx(tail, abs=1e-6)
    assert plan.value == pytest.approx((1 - case.risk.weight) * mean + case.risk.weight * tail, abs=1e-6)


@pytest.mark.parametrize("seed", range(400, 410))
def test_more_risk_aversion_never_lowers_the_tail(seed: int) -> None:
    case = Case(seed, negative=False)
    tails = []
    for weight in (0.0, 0.5, 1.0):
        case.risk = Risk(level=0.7, weight=weight)
        tails.append(case.plan().tail_amount)
    slack = 3e-4 * (1e-2 + max(abs(tail) for tail in tails))
    assert tails[0] <= tails[1] + slack
    assert tails[1] <= tails[2] + slack
