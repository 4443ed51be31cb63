"""What many homes said as sums of their groups: silence, bounds that are carried, and homes that hide each other."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.control.price_groups import most_weighted, price_groups
from shoal.control.price_sums import HomeSums
from shoal.domain.errors import UnknownIdError
from shoal.edge.price_round import PriceAnswer, column
from tests.integration.store.fleets import make_fleet

STEPS = 2


def answer(energy: float, cost: float = 1.0, bound: float = 1.0) -> PriceAnswer:
    return PriceAnswer(
        search="s", number=0, energy=column([energy, energy]), cost=cost, lower_bound=bound
    )  # fmt: skip


def sums(group_of: list[int], *, alone: list[bool] | None = None, least_homes: int = 1) -> HomeSums:
    count = len(group_of)
    return HomeSums(
        group_of=np.array(group_of),
        groups=2,
        least_kwh=np.full((count, STEPS), -1.0),
        most_kwh=np.full((count, STEPS), 3.0),
        alone=np.array(alone or [False] * count),
        least_homes=least_homes,
    )


def at(price: float, count: int) -> np.ndarray:
    return np.full((count, STEPS), price)


def test_who_never_answers_does_as_the_mean_of_its_group() -> None:
    made = sums([0, 0, 0, 1])
    first = made.add(at(0.0, 4), {0: answer(1.0), 1: answer(2.0, cost=3.0), 3: answer(5.0)})
    assert first is not None
    assert first.sums.energy_kwh[:, 0].tolist() == [4.5, 5.0]
    assert first.sums.cost.tolist() == [6.0, 1.0]
    assert (first.answered_count, first.heard_count, first.silent.tolist()) == (3, 3, [2])
    # beyond reach: it does the same at any price, and pays it
    later = made.add(at(1.0, 4), {0: answer(1.0), 1: answer(2.0), 2: answer(9.0), 3: answer(5.0)})
    assert later is not None
    assert later.sums.energy_kwh[0, 0] == 4.5
    assert later.sums.lower_bound[0] == pytest.approx(1.0 + 1.0 + 2.0 + 3.0)


def test_who_falls_silent_stands_with_its_last_word_and_the_most_that_it_could_gain() -> None:
    made = sums([0, 0])
    made.add(at(0.0, 2), {0: answer(1.0, bound=10.0), 1: answer(1.0, bound=20.0)})
    later = made.add(at(0.5, 2), {0: answer(0.0, bound=11.0)})
    assert later is not None
    assert later.sums.energy_kwh[0].tolist() == [1.0, 1.0]
    assert later.sums.lower_bound[0] == pytest.approx(11.0 + 20.0 - 2 * 0.5)
    assert (later.answered_count, later.heard_count, later.silent.tolist()) == (1, 2, [1])
    back = made.add(at(0.0, 2), {})
    assert back is not None
    assert back.sums.lower_bound[0] == pytest.approx(10.0 + 20.0), "the best of the bounds that are known"


def test_answers_to_mixtures_give_no_bound() -> None:
    made = sums([0, 0])
    first = made.add(at(0.2, 2), {0: answer(1.0, bound=99.0), 1: answer(1.0, bound=99.0)}, mixed=True)
    assert first is not None and first.heard_count == 2
    later = made.add(at(0.0, 2), {0: answer(1.0, bound=4.0)})
    assert later is not None
    assert later.sums.lower_bound[0] == pytest.approx(4.0 + 1.0), "the other one is beyond reach"
    assert later.heard_count == 1


def test_too_few_answers_of_a_group_are_in_no_sum() -> None:
    made = sums([0, 0, 0, 1, 1], least_homes=3)
    first = made.add(at(0.0, 5), {row: answer(float(row)) for row in range(5)})
    assert first is not None
    assert first.answered_count == 3
    assert first.silent.tolist() == [3, 4], "two homes do not hide each other"
    assert first.sums.energy_kwh[1, 0] == pytest.approx(2.0), "the others' mean stands for them"
    again = made.add(at(0.0, 5), {0: answer(7.0), 1: answer(7.0)})
    assert again is not None
    assert again.sums.energy_kwh[0, 0] == 3.0, "a sum that would show two homes' change is not given"


def test_who_agreed_is_seen_alone() -> None:
    made = sums([0, 1], alone=[True, False], least_homes=5)
    first = made.add(at(0.0, 2), {0: answer(4.0), 1: answer(9.0)})
    assert first is not None
    assert first.sums.energy_kwh[:, 0].tolist() == [4.0, 4.0]
    assert made.started
    assert sums([0], least_homes=5).add(at(0.0, 1), {0: answer(1.0)}) is None


def test_groups_are_those_with_limits_and_the_rest() -> None:
    fleet = make_fleet(6)
    with pytest.raises(UnknownIdError):
        price_groups(fleet, ("nobody",), None)
    groups = price_groups(fleet, (), np.array([1, 2]))
    assert groups.feeders == ("rest",)
    able = np.flatnonzero(fleet.nameplate["energy_capacity_kwh"] > 0)
    assert np.flatnonzero(groups.feeder_of_row >= 0).tolist() == [row for row in (1, 2) if row in able]
    assert groups.feeder_of.tolist() == [0, 0]


def test_rows_of_a_mixture_are_the_heaviest_with_shares_that_add_up() -> None:
    rows = np.array([[1.0], [2.0], [1.0], [3.0]])
    some, shares = most_weighted(rows, np.array([0.2, 0.3, 0.2, 0.3]), 2)
    assert some == [[1.0], [2.0]]
    assert shares == pytest.approx([0.4 / 0.7, 0.3 / 0.7])
