"""The fleet's prices against one linear programme of all homes; samples, memory and parts that do not answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shoal.cli.benches import _fleet_instances as instances
from shoal.cli.benches._fleet_highs import solve_central
from shoal.domain.errors import InvalidInputError
from shoal.optimise.fleet_optimum import FleetPlan, FleetSearch, FleetTerms, SearchOptions, solve_fleet
from shoal.optimise.fleet_optimum_parts import LocalHomes, Part, PartLedger
from shoal.optimise.home_batch import GroupSums, HomeBatch, HomeColumns

COUNT, GROUPS, FEEDERS = 24, 24, 2
GAP = 1e-3
OPTIONS = SearchOptions(gap_frac=GAP)


@pytest.fixture(scope="module")
def homes() -> HomeColumns:
    return instances.homes(COUNT, groups=GROUPS, feeders=FEEDERS)


@pytest.fixture(scope="module")
def terms() -> FleetTerms:
    return instances.terms(COUNT, feeders=FEEDERS)


@pytest.fixture(scope="module")
def best(homes: HomeColumns, terms: FleetTerms) -> float:
    return solve_central(homes, terms).cost


@pytest.fixture(scope="module")
def plan(homes: HomeColumns, terms: FleetTerms) -> FleetPlan:
    return solve_fleet(search(homes, terms), LocalHomes(HomeBatch(homes)))


def search(homes: HomeColumns, terms: FleetTerms, **more: object) -> FleetSearch:
    return FleetSearch(terms, homes.feeder_of, homes_count=COUNT, **{"options": OPTIONS, **more})  # type: ignore[arg-type]


def cost_of(sums: GroupSums, homes: HomeColumns, terms: FleetTerms) -> float:
    feeder_kwh = np.zeros_like(terms.feeder_import_kwh)
    np.add.at(feeder_kwh, homes.feeder_of, sums.energy_kwh)
    return float(sums.cost.sum()) + terms.cost(feeder_kwh)


def test_fleet_plan_holds_the_true_optimum_between_bound_and_cost(plan: FleetPlan, best: float) -> None:
    assert plan.gap_frac <= GAP
    assert plan.lower_bound <= best + 1e-6 * abs(best)
    assert plan.cost >= best - 1e-6 * abs(best)
    assert plan.penalty == pytest.approx(0.0, abs=1e-6)


def test_fleet_plan_is_realised_by_the_mean_of_each_homes_plans(
    plan: FleetPlan, homes: HomeColumns, terms: FleetTerms, best: float
) -> None:
    real = cost_of(HomeBatch(homes).realise(plan.prices_per_kwh, plan.weights, how="average"), homes, terms)
    assert best - 1e-6 * abs(best) <= real <= plan.cost + 3e-3 * abs(best)


def test_prices_differ_where_feeders_do(homes: HomeColumns, terms: FleetTerms) -> None:
    tight = terms.feeder_import_kwh.copy()
    tight[0] *= 0.2
    other = replace(terms, feeder_import_kwh=tight)
    found = solve_fleet(search(homes, other), LocalHomes(HomeBatch(homes)))
    assert found.duals.import_per_kwh[0].sum() > found.duals.import_per_kwh[1].sum()
    central = solve_central(homes, other).cost
    assert found.lower_bound <= central + 1e-6 * abs(central) <= found.cost + 2e-6 * abs(central)


def test_search_that_begins_with_a_sample_ends_at_the_same_optimum() -> None:
    homes, terms = instances.homes(60, groups=30), instances.terms(60)
    central = solve_central(homes, terms).cost
    options = SearchOptions(gap_frac=GAP, sample_frac=0.5, sample_gap_frac=0.02, most_rounds=30)
    looking = FleetSearch(terms, homes.feeder_of, homes_count=60, options=options)
    found = solve_fleet(looking, LocalHomes(HomeBatch(homes)))
    assert found.sample_rounds > 0
    assert found.lower_bound <= central + 1e-6 * abs(central)
    assert found.cost >= central - 1e-6 * abs(central)
    assert found.gap_frac <= 0.05


def test_search_from_its_own_memory_is_over_in_a_few_rounds(
    plan: FleetPlan, homes: HomeColumns, terms: FleetTerms
) -> None:
    again = solve_fleet(search(homes, terms, start=plan.memory.later(0)), LocalHomes(HomeBatch(homes)))
    assert again.rounds <= 10 < plan.rounds
    assert again.gap_frac <= GAP


def test_memory_moves_with_time(plan: FleetPlan) -> None:
    later = plan.memory.later(3)
    np.testing.assert_array_equal(later.rounds[0].energy_kwh[:, :-3], plan.memory.rounds[0].energy_kwh[:, 3:])
    assert (later.rounds[0].energy_kwh[:, -3:] == plan.memory.rounds[0].energy_kwh[:, -1:]).all()


def over_parts(homes: HomeColumns, terms: FleetTerms, silent: dict[str, int]) -> tuple[FleetPlan, PartLedger]:
    """Search over six parts; a part in `silent` answers that many rounds and then no more."""
    batches = {str(part): HomeBatch(homes.chosen(np.arange(part, COUNT, 6))) for part in range(6)}
    ledger = PartLedger({name: Part.of(batch) for name, batch in batches.items()}, homes.feeder_of)
    local = {name: LocalHomes(batch) for name, batch in batches.items()}
    looking, number = search(homes, terms, options=SearchOptions(gap_frac=GAP, most_rounds=40)), 0
    while (ask := looking.ask) is not None:
        answers = {name: one.sums(ask) for name, one in local.items() if number < silent.get(name, 1000)}
        looking.tell(ledger.combine(ask, answers))
        number += 1
    return looking.plan(), ledger


def test_parts_that_all_answer_are_one_fleet(homes: HomeColumns, terms: FleetTerms, best: float) -> None:
    found, _ = over_parts(homes, terms, {})
    assert found.heard_frac == found.answered_frac == 1.0
    assert found.lower_bound <= best + 1e-6 * abs(best)
    assert found.cost >= best - 1e-6 * abs(best)


def test_part_that_falls_silent_widens_the_gap_and_never_breaks_the_bound(
    homes: HomeColumns, terms: FleetTerms, best: float
) -> None:
    found, _ = over_parts(homes, terms, {"2": 12})
    assert found.heard_frac == 1.0
    assert found.answered_frac == pytest.approx(5 / 6)
    assert found.lower_bound <= best + 1e-6 * abs(best)
    assert found.cost >= best - 1e-6 * abs(best)


def test_part_that_never_answers_stands_with_the_mean_and_is_told(
    homes: HomeColumns, terms: FleetTerms
) -> None:
    found, ledger = over_parts(homes, terms, {"4": 0})
    assert ledger.started
    assert found.heard_frac == pytest.approx(5 / 6)
    assert found.gap_frac <= 0.05


def test_terms_refuse_what_does_not_fit() -> None:
    with pytest.raises(InvalidInputError, match="feeder_import_kwh"):
        FleetTerms(
            wholesale_per_kwh=np.zeros(3),
            feeder_import_kwh=-np.ones((1, 3)),
            feeder_export_kwh=np.ones((1, 3)),
            excess_per_kwh=1.0,
        )
    with pytest.raises(InvalidInputError, match="export"):
        FleetTerms(
            wholesale_per_kwh=np.zeros(3),
            feeder_import_kwh=np.ones((2, 3)),
            feeder_export_kwh=np.ones((1, 3)),
            excess_per_kwh=1.0,
        )


def test_search_has_no_plan_before_an_answer(homes: HomeColumns, terms: FleetTerms) -> None:
    with pytest.raises(InvalidInputError, match="at least one answer"):
        search(homes, terms).plan()
