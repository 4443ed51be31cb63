"""The split within nested limits against HiGHS, against every whole-watt split there is, and on bad days."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import highspy
import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.optimise.allocation import split_setpoint_w
from shoal.optimise.allocation_nested import NestedAllocation, split_nested_w

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Case:
    lower: Whole
    upper: Whole
    weight: Floats
    preferred: Floats
    leaf: Whole
    parent: Whole
    group_lower: Whole
    group_upper: Whole
    base: Whole

    def split(self, target: int) -> NestedAllocation:
        return split_nested_w(
            target,
            lower_w=self.lower,
            upper_w=self.upper,
            weight=self.weight,
            preferred_w=self.preferred,
            leaf=self.leaf,
            parent=self.parent,
            group_lower_w=self.group_lower,
            group_upper_w=self.group_upper,
            base_w=self.base,
        )

    def members(self) -> list[list[int]]:
        found: list[list[int]] = [[] for _ in self.parent]
        for site, group in enumerate(self.leaf):
            while group >= 0:
                found[group].append(site)
                group = self.parent[group]
        return found

    def flow(self, power: Whole) -> Whole:
        return np.array([int((power + self.base)[rows].sum()) for rows in self.members()], dtype=np.int64)

    def cost(self, power: NDArray[Any]) -> float:
        return float(((power - self.preferred) ** 2 / self.weight).sum()) / 2.0


def random_case(rng: np.random.Generator, sites: int, groups: int, size_w: int) -> Case:
    parent = np.array([int(rng.integers(-1, row)) for row in range(groups)], dtype=np.int64)
    unlimited = rng.random(groups) < 0.3
    return Case(
        lower=-rng.integers(0, size_w, sites),
        upper=rng.integers(0, size_w, sites),
        weight=rng.choice([0.1, 1.0, 2.0, 5.0, 13.5], sites),
        preferred=rng.normal(0.0, size_w / 2, sites),
        leaf=rng.integers(-1, groups, sites),
        parent=parent,
        group_lower=np.where(unlimited, -(1 << 62), -rng.integers(0, 2 * size_w, groups)),
        group_upper=np.where(unlimited, 1 << 62, rng.integers(0, 2 * size_w, groups)),
        base=rng.integers(-size_w // 2, size_w // 2 + 1, sites),
    )


def by_highs(case: Case, target: int | None, direction: int = 0) -> Floats | None:
    """Return the unrounded optimum, or the most there is in a direction; None when there is none."""
    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    solver.setOptionValue("output_flag", False)
    model = highspy.HighsModel()
    sites = len(case.lower)
    rows = [*case.members()] if target is None else [list(range(sites)), *case.members()]
    base = [int(case.base[row].sum()) for row in case.members()]
    low = np.where(case.group_lower < -(1 << 60), -np.inf, case.group_lower - np.array(base, dtype=np.int64))
    high = np.where(case.group_upper > 1 << 60, np.inf, case.group_upper - np.array(base, dtype=np.int64))
    model.lp_.num_col_ = sites
    model.lp_.col_cost_ = -case.preferred / case.weight if target is not None else np.full(sites, -direction)
    model.lp_.col_lower_, model.lp_.col_upper_ = case.lower.astype(float), case.upper.astype(float)
    model.lp_.num_row_ = len(rows)
    first = [] if target is None else [float(target)]
    model.lp_.row_lower_ = np.array([*first, *low], dtype=float)
    model.lp_.row_upper_ = np.array([*first, *high], dtype=float)
    model.lp_.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    model.lp_.a_matrix_.start_ = np.r_[0, np.cumsum([len(row) for row in rows])].astype(np.int32)
    model.lp_.a_matrix_.index_ = np.array(list(itertools.chain(*rows)), dtype=np.int32)
    model.lp_.a_matrix_.value_ = np.ones(sum(map(len, rows)))
    if target is not None:
        model.hessian_.dim_ = sites
        model.hessian_.format_ = highspy.HessianFormat.kTriangular
        model.hessian_.start_ = np.arange(sites + 1, dtype=np.int32)
        model.hessian_.index_ = np.arange(sites, dtype=np.int32)
        model.hessian_.value_ = 1.0 / case.weight
    solver.passModel(model)
    solver.run()
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        return None
    return np.array(solver.getSolution().col_value)


def test_split_within_limits_is_the_optimum_of_highs() -> None:
    rng = np.random.default_rng(7)
    compared = bound = 0
    for _ in range(300):
        case = random_case(rng, int(rng.integers(1, 25)), int(rng.integers(0, 8)), 1000)
        target = int(rng.uniform(case.lower.sum(), case.upper.sum()))
        got = case.split(target)
        if got.unmet_w or got.overload_rows.size:
            continue
        wanted = by_highs(case, target)
        if wanted is None:
            continue
        compared += 1
        bound += got.bound_rows.size
        assert np.abs(got.power_w - wanted).max() <= 1.0 + 1e-2
    assert compared > 150
    assert bound > 80


def test_unmet_is_what_no_split_within_the_limits_can_do() -> None:
    rng = np.random.default_rng(8)
    compared = 0
    for _ in range(200):
        case = random_case(rng, int(rng.integers(1, 20)), int(rng.integers(1, 8)), 1000)
        for direction in (-1, 1):
            target = direction * 10**6
            got = case.split(target)
            if got.overload_rows.size:
                continue
            most = by_highs(case, None, direction)
            assert most is not None
            compared += 1
            assert int(got.power_w.sum()) == pytest.approx(float(most.sum()), abs=1e-4)
            own = case.upper.sum() if direction > 0 else case.lower.sum()
            assert got.short_w == target - own
            assert got.unmet_w == got.short_w + got.held_w.sum()
    assert compared > 150


def test_whole_watts_cost_no_more_than_a_watt_each_above_the_best_of_all() -> None:
    rng = np.random.default_rng(9)
    compared = 0
    for _ in range(60):
        case = random_case(rng, 4, int(rng.integers(1, 4)), 4)
        target = int(rng.integers(case.lower.sum(), case.upper.sum() + 1))
        got = case.split(target)
        spans = (range(low, high + 1) for low, high in zip(case.lower, case.upper, strict=True))
        every = [np.array(power) for power in itertools.product(*spans) if sum(power) == target]
        held = [
            power
            for power in every
            if np.all(case.flow(power) <= case.group_upper) and np.all(case.flow(power) >= case.group_lower)
        ]
        assert bool(held) == (got.unmet_w == 0 and got.overload_rows.size == 0)
        if held:
            compared += 1
            best = min(held, key=case.cost)
            assert np.abs(got.power_w - best).max() <= 2
    assert compared > 20


def test_limits_of_thousands_of_groups_hold_to_the_watt() -> None:
    rng = np.random.default_rng(10)
    sites, feeders = 20_000, 400
    parent = np.r_[-1, np.zeros(8, dtype=np.int64), 1 + np.arange(feeders) % 8]
    leaf = 9 + rng.integers(0, feeders, sites)
    case = Case(
        lower=-rng.integers(0, 5000, sites),
        upper=rng.integers(0, 5000, sites),
        weight=rng.uniform(5.0, 27.0, sites),
        preferred=rng.normal(0.0, 1000.0, sites),
        leaf=leaf,
        parent=parent,
        group_lower=np.full(409, -(1 << 40)),
        group_upper=np.r_[1 << 40, np.full(8, 2_600_000), rng.integers(30_000, 90_000, feeders)],
        base=rng.integers(-2000, 2000, sites),
    )
    got = case.split(15_000_000)
    assert got.unmet_w == 0
    assert int(got.power_w.sum()) == 15_000_000
    assert got.overload_rows.size == 0
    np.testing.assert_array_equal(got.group_w, case.flow(got.power_w))
    assert np.all(got.group_w <= case.group_upper)
    assert got.bound_rows.size > 50
    np.testing.assert_array_equal(got.group_w[got.bound_rows], case.group_upper[got.bound_rows])
    assert np.all(got.shadow_price_per_w > 0.0)
    # the order in which the sites come makes no difference beyond rounding
    order = np.argsort(leaf, kind="stable")
    columns = ("lower", "upper", "weight", "preferred", "leaf", "base")
    again = replace(case, **{name: getattr(case, name)[order] for name in columns}).split(15_000_000)
    np.testing.assert_allclose(again.power_w, got.power_w[order], atol=1)


def test_without_limits_it_is_the_plain_split() -> None:
    rng = np.random.default_rng(11)
    for sites in (1, 7, 3000):
        case = replace(random_case(rng, sites, 0, 5000), leaf=np.full(sites, -1))
        target = int(rng.uniform(0.9 * case.lower.sum(), 0.9 * case.upper.sum()))
        plain = split_setpoint_w(target, case.lower, case.upper, case.weight, case.preferred)
        np.testing.assert_allclose(case.split(target).power_w, plain.power_w, atol=2)


def test_shadow_price_is_what_a_watt_more_would_save() -> None:
    two = Case(
        lower=np.full(4, -10_000),
        upper=np.full(4, 10_000),
        weight=np.ones(4),
        preferred=np.zeros(4),
        leaf=np.array([0, 0, 1, 1]),
        parent=np.array([-1, -1]),
        group_lower=np.full(2, -(1 << 62)),
        group_upper=np.array([2000, 1 << 62]),
        base=np.zeros(4, dtype=np.int64),
    )
    tight, loose = two.split(10_000), replace(two, group_upper=np.array([2200, 1 << 62])).split(10_000)
    assert tight.power_w.tolist() == [1000, 1000, 4000, 4000]
    assert (tight.bound_rows.tolist(), tight.bound_above_mask.tolist()) == ([0], [True])
    assert tight.shadow_price_per_w.tolist() == pytest.approx([3000.0])
    saved = two.cost(tight.power_w) - two.cost(loose.power_w)
    middle = (tight.shadow_price_per_w[0] + loose.shadow_price_per_w[0]) / 2
    assert saved / 200 == pytest.approx(middle)


def test_group_that_its_sites_cannot_relieve_is_said_and_relieved_as_far_as_they_can() -> None:
    case = Case(
        lower=np.array([-1000, -1000, -5000]),
        upper=np.array([5000, 5000, 5000]),
        weight=np.ones(3),
        preferred=np.zeros(3),
        leaf=np.array([0, 0, -1]),
        parent=np.array([-1]),
        group_lower=np.array([-9000]),
        group_upper=np.array([4000]),
        base=np.array([4000, 4000, 0]),
    )
    got = case.split(2000)
    assert got.power_w.tolist() == [-1000, -1000, 4000]
    assert (got.overload_rows.tolist(), got.overload_w.tolist()) == ([0], [2000])
    assert got.group_w.tolist() == [6000]


def test_site_of_no_weight_stays_where_it_is() -> None:
    got = split_nested_w(
        3000,
        lower_w=np.full(3, -5000),
        upper_w=np.full(3, 5000),
        weight=np.array([0.0, 1.0, 1.0]),
        preferred_w=np.array([700.4, 0.0, 0.0]),
        leaf=np.zeros(3, dtype=np.int64),
        parent=np.array([-1]),
        group_lower_w=np.array([-9000]),
        group_upper_w=np.array([9000]),
        base_w=np.zeros(3, dtype=np.int64),
    )
    assert got.power_w.tolist() == [700, 1150, 1150]


def test_no_sites_and_no_groups_leave_the_target_unmet() -> None:
    none, real = np.zeros(0, dtype=np.int64), np.zeros(0)
    empty = Case(
        lower=none,
        upper=none,
        weight=real,
        preferred=real,
        leaf=none,
        parent=none,
        group_lower=none,
        group_upper=none,
        base=none,
    )
    assert (empty.split(5).unmet_w, empty.split(0).unmet_w) == (5, 0)
    bare = replace(empty, parent=np.array([-1]), group_lower=np.array([3]), group_upper=np.array([9]))
    assert bare.split(0).overload_w.tolist() == [-3]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"lower": np.array([6])}, "lower_w[0]"),
        ({"weight": np.array([-1.0])}, "weight[0]"),
        ({"preferred": np.array([np.nan])}, "preferred_w[0]"),
        ({"base": np.array([0.5])}, "base_w"),
        ({"leaf": np.array([1])}, "leaf[0]"),
        ({"parent": np.array([0])}, "parent[0]"),
        ({"group_lower": np.array([10])}, "group_lower_w[0]"),
        ({"group_upper": np.array([1, 2])}, "group_upper_w"),
        ({"upper": np.array([5, 6])}, "upper_w"),
    ],
)
def test_malformed_input_is_named(change: dict[str, Any], field: str) -> None:
    case = Case(
        lower=np.array([-5]),
        upper=np.array([5]),
        weight=np.array([1.0]),
        preferred=np.array([0.0]),
        leaf=np.array([0]),
        parent=np.array([-1]),
        group_lower=np.array([-9]),
        group_upper=np.array([9]),
        base=np.array([0]),
    )
    with pytest.raises(InvalidInputError) as caught:
        replace(case, **change).split(1)
    assert caught.value.field == field
