"""Homes as columns: the same plans as one by one, sums by group, samples and mixtures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.cli.benches import _fleet_instances as instances
from shoal.domain.errors import InvalidInputError
from shoal.optimise.home import EvSession, Home, plan_home
from shoal.optimise.home_batch import HomeBatch, HomeColumns
from shoal.optimise.storage import Storage

Floats = NDArray[np.float64]
COUNT = 24


@pytest.fixture(scope="module")
def columns() -> HomeColumns:
    made = instances.homes(COUNT, groups=4, feeders=2)
    charge = np.where(np.arange(COUNT) % 5 == 0, 0.3, 0.0)
    return replace(made, demand_charge_per_kw=charge, demand_so_far_kw=np.full(COUNT, 1.0))


@pytest.fixture(scope="module")
def batch(columns: HomeColumns) -> HomeBatch:
    return HomeBatch(columns)


def prices(seed: int) -> Floats:
    return np.random.default_rng(seed).normal(0.05, 0.1, (2, instances.STEPS))


def home_of(columns: HomeColumns, row: int) -> Home:
    assert columns.ev_limit_kw is not None and columns.ev_energy_kwh is not None
    assert columns.ev_start_row is not None and columns.ev_end_row is not None
    assert columns.import_limit_kw is not None and columns.export_limit_kw is not None
    assert columns.demand_charge_per_kw is not None
    one = {name: float(getattr(columns.storage, name)[row]) for name in columns.storage.__slots__}
    return Home(
        load_kw=columns.load_kw[columns.load_row[row]] * columns.load_scale[row],
        solar_potential_kw=columns.solar_kw[0] * columns.solar_scale[row],
        storage=Storage(**one),  # type: ignore[arg-type]
        ev=EvSession(
            limit_kw=float(columns.ev_limit_kw[row]),
            start_step=int(columns.ev_start_row[row]),
            end_step=int(columns.ev_end_row[row]),
            energy_kwh=float(columns.ev_energy_kwh[row]),
        ),
        import_limit_kw=float(columns.import_limit_kw[row]),
        export_limit_kw=float(columns.export_limit_kw[row]),
        demand_charge_per_kw=float(columns.demand_charge_per_kw[row]),
        demand_so_far_kw=1.0,
    )


def test_batch_answers_what_each_home_plans_by_itself(columns: HomeColumns, batch: HomeBatch) -> None:
    price = prices(1)
    sums = batch.answer(price)
    plans = batch.plans(price[np.newaxis], np.ones((4, 1)), how="choose", first=0, count=COUNT)
    total, bound = np.zeros(4), np.zeros(4)
    for row in range(COUNT):
        group = int(columns.group_of[row])
        alone = plan_home(
            home_of(columns, row),
            import_per_kwh=columns.import_per_kwh[columns.tariff_row[row]],
            export_per_kwh=columns.export_per_kwh[columns.tariff_row[row]],
            interval_h=columns.interval_h,
            price_per_kwh=price[columns.feeder_of[group]],
        )
        total[group] += alone.cost
        bound[group] += alone.lower_bound
        np.testing.assert_allclose(
            plans.grid_kw[row],
            home_of(columns, row).load_kw + plans.battery_kw[row] + plans.ev_kw[row] + plans.solar_kw[row],
            atol=1e-9,
        )
    priced = sums.cost + (price[columns.feeder_of] * sums.energy_kwh).sum(axis=1)
    np.testing.assert_allclose(priced, total, rtol=1e-5, atol=1e-3)
    assert (sums.lower_bound <= total + 1e-9).all()
    np.testing.assert_allclose(sums.lower_bound, bound, rtol=1e-5, atol=1e-3)
    energy = np.zeros_like(sums.energy_kwh)
    np.add.at(energy, columns.group_of, plans.grid_kw * columns.interval_h)
    np.testing.assert_allclose(energy, sums.energy_kwh, atol=1e-9)


def test_batch_stays_within_what_it_said_it_could_reach(batch: HomeBatch) -> None:
    least, most = batch.reach_kwh()
    for seed in range(3):
        energy = batch.answer(prices(seed) * 4).energy_kwh
        assert (energy >= least - 1e-9).all() and (energy <= most + 1e-9).all()


def test_sample_speaks_for_all_of_its_groups(batch: HomeBatch) -> None:
    sample = batch.sample(0.5)
    assert sample.count == COUNT // 2
    whole, half = batch.answer(prices(0) * 0), sample.answer(prices(0) * 0)
    assert np.abs(half.energy_kwh.sum() - whole.energy_kwh.sum()) < 0.5 * np.abs(whole.energy_kwh).sum()
    assert batch.sample(1e-6).count == 4
    assert batch.sample(1.0) is batch


def test_mixture_of_one_row_is_its_answer(batch: HomeBatch) -> None:
    price = prices(2)
    rows = np.array([price, prices(3)])
    weights = np.tile([1.0, 0.0], (4, 1))
    answer = batch.answer(price)
    for how in ("choose", "average"):
        mixed = batch.realise(rows, weights, how=how)
        np.testing.assert_allclose(mixed.energy_kwh, answer.energy_kwh, atol=1e-4)


def test_mean_of_plans_is_a_plan_that_costs_no_more(columns: HomeColumns, batch: HomeBatch) -> None:
    rows, weights = np.array([prices(2), prices(3)]), np.full((4, 2), 0.5)
    mixed = batch.realise(rows, weights, how="average")
    mean_cost = (batch.answer(rows[0]).cost + batch.answer(rows[1]).cost) / 2
    assert (mixed.cost <= mean_cost + 1e-6).all()
    plans = batch.plans(rows, weights, how="average", first=0, count=COUNT)
    stored = columns.storage.initial_energy_kwh.copy()
    for t in range(instances.STEPS):
        power = plans.battery_kw[:, t] * columns.interval_h
        stored += np.where(
            power > 0.0,
            power * columns.storage.charge_efficiency_frac,
            power / columns.storage.discharge_efficiency_frac,
        )
        assert (stored >= -1e-6).all() and (stored <= columns.storage.energy_capacity_kwh + 1e-6).all()
    assert (plans.grid_kw <= 17.0 + 1e-6).all() and (plans.grid_kw >= -10.0 - 1e-6).all()
    assert columns.ev_energy_kwh is not None
    np.testing.assert_allclose(plans.ev_kw.sum(axis=1) * columns.interval_h, columns.ev_energy_kwh, atol=1e-4)


def test_chosen_homes_add_up_to_all(columns: HomeColumns, batch: HomeBatch) -> None:
    price = prices(4)
    parts = [HomeBatch(columns.chosen(np.arange(part, COUNT, 3))).answer(price) for part in range(3)]
    total = parts[0].plus(parts[1]).plus(parts[2])
    np.testing.assert_allclose(total.energy_kwh.sum(), batch.answer(price).energy_kwh.sum(), atol=1e-3)
    np.testing.assert_allclose(total.lower_bound, batch.answer(price).lower_bound, rtol=1e-5, atol=1e-4)


def test_batch_refuses_prices_beyond_what_was_agreed(columns: HomeColumns, batch: HomeBatch) -> None:
    with pytest.raises(InvalidInputError, match="prices_per_kwh"):
        batch.answer(np.full((2, instances.STEPS), 99.0))
    with pytest.raises(InvalidInputError, match="prices_per_kwh"):
        batch.answer(np.zeros((1, instances.STEPS)))
    with pytest.raises(InvalidInputError, match="tariff_row"):
        HomeBatch(replace(columns, tariff_row=np.full(COUNT, 9)))
