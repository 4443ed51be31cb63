"""A waterfall adds up: in units, in cents, and no bar is off by more than a cent."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.domain.errors import InvalidInputError
from shoal.settle.statement import format_amount
from shoal.settle.waterfall import AMOUNT_PER_CENT, parts_in_cents, to_cents, waterfall

amounts = st.integers(min_value=-(10**18), max_value=10**18)


@given(st.lists(amounts, min_size=1, max_size=12))
def test_first_level_and_steps_come_to_the_last_in_units_and_in_cents(levels: list[int]) -> None:
    fall = waterfall([(str(number), amount) for number, amount in enumerate(levels)])
    assert fall.first_amount + sum(one.amount for one in fall.steps) == fall.last_amount == levels[-1]
    assert fall.first_cents + sum(one.step_cents for one in fall.steps) == fall.last_cents
    assert [one.level_amount for one in fall.steps] == levels[1:]
    for one in fall.steps:
        assert abs(one.step_cents * AMOUNT_PER_CENT - one.amount) <= AMOUNT_PER_CENT


@given(st.lists(amounts, max_size=12))
def test_parts_in_cents_come_to_the_whole_in_cents(parts: list[int]) -> None:
    cents = parts_in_cents(parts)
    assert len(cents) == len(parts) and sum(cents) == to_cents(sum(parts))


@given(amounts)
def test_cents_are_those_that_an_amount_is_written_with(amount: int) -> None:
    exact = (Decimal(amount) / AMOUNT_PER_CENT).quantize(Decimal(1), rounding=ROUND_HALF_EVEN)
    assert to_cents(amount) == int(exact)
    assert Decimal(to_cents(amount)) / 100 == Decimal(format_amount(amount))


def test_nothing_has_no_waterfall() -> None:
    with pytest.raises(InvalidInputError, match="at least one level"):
        waterfall([])
