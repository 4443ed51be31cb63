"""The time until a gate is carved so that all steps together never take more than there is, and sending is never starved."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.bidding.cycle.budget import BudgetRules, carve
from shoal.domain.errors import InvalidInputError

RULES = st.builds(
    BudgetRules,
    submit_share=st.floats(0.01, 0.99),
    submit_least_s=st.floats(0.0, 10.0),
    gather_share=st.floats(0.01, 0.99),
    most_s=st.floats(0.1, 600.0),
    rung_least_s=st.floats(0.0, 1.0),
)
SHARES = st.lists(st.floats(0.01, 1.0), max_size=6)


@given(left_s=st.floats(-1e6, 1e6), shares=SHARES, rules=RULES)
def test_budgets_never_take_more_than_there_is(
    left_s: float, shares: list[float], rules: BudgetRules
) -> None:
    budget = carve(left_s, shares, rules=rules)
    there_s = min(max(left_s, 0.0), rules.most_s)
    assert budget.total_s <= there_s * (1 + 1e-12)
    assert min(budget.gather_s, budget.submit_s, *budget.rung_s, 0.0) == 0.0
    assert len(budget.rung_s) == len(shares)
    assert budget.submit_s >= min(there_s, max(rules.submit_least_s, there_s * rules.submit_share)) * (
        1 - 1e-12
    )
    assert all(part_s == 0.0 or part_s >= rules.rung_least_s for part_s in budget.rung_s)


@given(left_s=st.floats(0.0, 1e4), more_s=st.floats(0.0, 1e4), shares=SHARES, rules=RULES)
def test_more_time_starves_nobody(
    left_s: float, more_s: float, shares: list[float], rules: BudgetRules
) -> None:
    less, more = carve(left_s, shares, rules=rules), carve(left_s + more_s, shares, rules=rules)
    assert more.submit_s >= less.submit_s * (1 - 1e-12)
    # the first rung gains; those below it may lose a crumb to one that has just become worth its while
    if shares:
        assert more.rung_s[0] >= less.rung_s[0] * (1 - 1e-12) - 1e-12


@pytest.mark.parametrize("left_s", [0.0, -5.0, 1.9])
def test_a_gate_too_near_leaves_all_the_time_for_sending(left_s: float) -> None:
    budget = carve(left_s, [0.6, 0.6, 1.0], rules=BudgetRules())
    assert budget.rung_s == (0.0, 0.0, 0.0) and budget.gather_s == 0.0
    assert budget.submit_s == max(left_s, 0.0)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.01])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(InvalidInputError, match="share"):
        carve(60.0, [share], rules=BudgetRules())
