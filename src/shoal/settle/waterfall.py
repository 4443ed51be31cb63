"""A waterfall of money in whole cents: every bar is rounded for people, and still they add up to the last cent.

Not the steps are rounded but the levels between them, each by itself; a step in cents is the difference of two levels. So the
first level and the steps come to the last level exactly, in units and in cents, and no step is off by more than a cent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from shoal.domain.errors import InvalidInputError
from shoal.settle.statement import AMOUNT_PER_CURRENCY

AMOUNT_PER_CENT: Final = AMOUNT_PER_CURRENCY // 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What lies between two levels.

    Attributes:
        name: Of the level to which it leads.
        amount: What it adds, negative when it takes; 1e-8 currency units.
        step_cents: The same in cents, so that the cents add up.
        level_amount: Where it leads.
    """

    name: str
    amount: int
    step_cents: int
    level_amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Waterfall:
    """From the first level over every step to the last.

    Attributes:
        first_name: Of the first level.
        first_amount: Where it begins, 1e-8 currency units.
        first_cents: The same in cents.
        steps: In order.
        last_amount: Where it ends.
        last_cents: The same in cents.
    """

    first_name: str
    first_amount: int
    first_cents: int
    steps: tuple[Step, ...]
    last_amount: int
    last_cents: int


def to_cents(amount: int) -> int:
    """Return an amount in whole cents, halves to even.

    >>> to_cents(1_500_000), to_cents(2_500_000), to_cents(-2_500_001)
    (2, 2, -3)
    """
    whole_cents, rest = divmod(amount, AMOUNT_PER_CENT)
    if 2 * rest > AMOUNT_PER_CENT or (2 * rest == AMOUNT_PER_CENT and whole_cents % 2 == 1):
        whole_cents += 1
    return whole_cents


def parts_in_cents(parts_amount: Sequence[int]) -> list[int]:
    """Return parts of a whole in cents that sum to the whole in cents."""
    level_amount, found = 0, []
    for amount in parts_amount:
        found.append(to_cents(level_amount + amount) - to_cents(level_amount))
        level_amount += amount
    return found


def waterfall(levels: Sequence[tuple[str, int]]) -> Waterfall:
    """Return the waterfall through named levels, in 1e-8 currency units.

    Raises:
        InvalidInputError: when there is no level.
    """
    if not levels:
        raise InvalidInputError(field="levels", value=0, fix="give at least one level")
    (first_name, first_amount), (_, last_amount) = levels[0], levels[-1]
    return Waterfall(
        first_name=first_name,
        first_amount=first_amount,
        first_cents=to_cents(first_amount),
        steps=tuple(
            Step(
                name=name,
                amount=amount - before_amount,
                step_cents=to_cents(amount) - to_cents(before_amount),
                level_amount=amount,
            )
            for (_, before_amount), (name, amount) in pairwise(levels)
        ),
        last_amount=last_amount,
        last_cents=to_cents(last_amount),
    )
