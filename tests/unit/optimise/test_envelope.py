"""Which orders may be lost: small cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.domain.errors import InvalidInputError
from shoal.optimise.envelope import removable_orders


def test_orders_of_one_direction_are_removable_while_there_is_energy() -> None:
    # Losing a discharge leaves more energy, and there is room for both.
    change_kwh, equal = np.array([-2.0, -2.0]), np.ones(2)
    assert removable_orders(change_kwh, 10.0, 5.0, equal).tolist() == [True, True]


def test_order_that_makes_room_for_another_is_not_removable() -> None:
    # Full: the charge is only possible after the discharge; losing the charge itself harms nobody.
    removable = removable_orders(np.array([-4.0, 4.0]), 10.0, 10.0, np.array([5.0, 1.0]))
    assert removable.tolist() == [False, True]


def test_preferred_order_is_taken_when_only_one_can_be() -> None:
    # Two discharges make room for a later charge; 1 kWh of slack allows losing one of them.
    change_kwh = np.array([-1.0, -1.0, 2.0])
    assert removable_orders(change_kwh, 10.0, 9.0, np.array([1.0, 2.0, 0.0])).tolist() == [False, True, True]
    assert removable_orders(change_kwh, 10.0, 9.0, np.array([2.0, 1.0, 0.0])).tolist() == [True, False, True]


def test_equal_preference_takes_the_earlier_order() -> None:
    assert removable_orders(np.array([-1.0, -1.0, 2.0]), 10.0, 9.0, np.ones(3)).tolist() == [
        True,
        False,
        True,
    ]


def test_order_of_no_change_is_removable() -> None:
    assert removable_orders(np.array([0.0]), 0.0, 0.0, np.array([-1.0])).tolist() == [True]


def test_no_orders_give_an_empty_answer() -> None:
    assert removable_orders(np.array([]), 10.0, 5.0, np.array([])).shape == (0,)


def test_rounding_of_the_plan_is_tolerated() -> None:
    change_kwh = np.array([0.1, 0.2, -0.3 - 1e-12])
    assert removable_orders(change_kwh, 1.0, 0.0, np.ones(3)).tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("change_kwh", "initial_kwh", "preference", "field"),
    [
        ([3.0, -4.0], 0.0, [1.0, 1.0], "change_kwh[1]"),
        ([3.0, 9.0], 0.0, [1.0, 1.0], "change_kwh[1]"),
        ([np.nan], 0.0, [1.0], "change_kwh[0]"),
        ([1.0], 0.0, [np.nan], "preference[0]"),
        ([1.0], 0.0, [1.0, 2.0], "preference"),
        ([1.0], 11.0, [1.0], "initial_energy_kwh"),
    ],
)
def test_malformed_plan_is_refused(
    change_kwh: list[float], initial_kwh: float, preference: list[float], field: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        removable_orders(np.array(change_kwh), 10.0, initial_kwh, np.array(preference))
    assert caught.value.field == field
