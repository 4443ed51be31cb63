"""What holds for every home: a plan for one price is no better at another, and the bound is a bound."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.optimise.home import HomePlan, plan_home
from tests.unit.optimise.test_home import check_physics, random_home


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 10_000), hard=st.booleans(), other=st.integers(0, 10_000))
def test_no_plan_is_cheaper_than_the_bound_at_any_price(seed: int, hard: bool, other: int) -> None:
    home, buying, selling, interval_h = random_home(seed, hard=hard)
    added = np.random.default_rng(other).normal(0.0, 0.2, buying.size)

    def planned(price: np.ndarray[tuple[int], np.dtype[np.float64]] | None) -> HomePlan:
        return plan_home(
            home,
            import_per_kwh=buying,
            export_per_kwh=selling,
            interval_h=interval_h,
            price_per_kwh=price,
            node_limit=20,
        )

    here, there = planned(None), planned(added)
    for plan in (here, there):
        check_physics(home, plan, interval_h)
        assert plan.lower_bound <= plan.cost + 1e-9
    if here.reasons or there.reasons:
        return  # wishes that gave way may have done so differently
    # The same powers at the other price: what the price adds is linear in the net import.
    here_cost = here.cost + float(added @ here.grid_kw) * interval_h
    there_cost = there.cost - float(added @ there.grid_kw) * interval_h
    assert here_cost >= there.lower_bound - 1e-6
    assert there_cost >= here.lower_bound - 1e-6
