"""Assignment: everything that can be owned is owned, evenly, by members that want it, and no more moves than must."""

from __future__ import annotations

import random
from collections import Counter
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.fabric.assignment import assign

MEMBERS = ["a", "b", "c", "d", "e"]
UNITS = [f"u{number}" for number in range(12)]


Group = tuple[dict[str, frozenset[str]], dict[str, str]]


@st.composite
def groups(draw: st.DrawFn, count: int = len(MEMBERS), size: int = len(UNITS)) -> Group:
    members = draw(st.sets(st.sampled_from(MEMBERS[:count])))
    willing = {member: frozenset(draw(st.sets(st.sampled_from(UNITS[:size])))) for member in members}
    owners = draw(st.dictionaries(st.sampled_from(UNITS[:size]), st.sampled_from(MEMBERS)))
    return willing, owners


@given(groups())
def test_assignment_gives_every_unit_to_somebody_who_wants_it(
    group: Group,
) -> None:
    willing, owners = group
    target = assign(willing, owners)
    assert target.keys() == set().union(*willing.values())
    assert all(unit in willing[member] for unit, member in target.items())


@given(groups(), st.randoms())
def test_assignment_does_not_depend_on_the_order_of_facts(
    group: Group,
    dice: random.Random,
) -> None:
    willing, owners = group
    members, held = list(willing), list(owners)
    dice.shuffle(members)
    dice.shuffle(held)
    assert assign(willing, owners) == assign(
        {member: willing[member] for member in members}, {unit: owners[unit] for unit in held}
    )


@given(groups(count=4, size=5))
@settings(max_examples=100)
def test_assignment_is_as_even_as_can_be(
    group: Group,
) -> None:
    """The sum of squared loads is the least that there is."""
    willing, owners = group
    target = assign(willing, owners)
    loads = Counter(target.values())
    assert sum(load * load for load in loads.values()) == least_squares(willing)


@given(groups())
def test_assignment_is_stable(group: Group) -> None:
    willing, owners = group
    target = assign(willing, owners)
    assert assign(willing, target) == target


@given(groups())
def test_assignment_without_balance_moves_nothing_that_has_an_owner(
    group: Group,
) -> None:
    willing, owners = group
    target = assign(willing, owners, balance=False)
    for unit, owner in owners.items():
        if unit in willing.get(owner, ()):
            assert target[unit] == owner


@given(st.integers(1, 5), st.integers(0, 12))
def test_assignment_moves_only_what_a_newcomer_needs(count: int, size: int) -> None:
    units = frozenset(UNITS[:size])
    before = assign(dict.fromkeys(MEMBERS[:count], units), {})
    after = assign(dict.fromkeys([*MEMBERS[:count], "new"], units), before)
    moved = [unit for unit in units if before[unit] != after[unit]]
    assert len(moved) == size // (count + 1)
    assert {after[unit] for unit in moved} <= {"new"}


@given(st.integers(2, 5), st.integers(0, 12))
def test_assignment_after_a_loss_moves_only_what_was_lost(count: int, size: int) -> None:
    units = frozenset(UNITS[:size])
    before = assign(dict.fromkeys(MEMBERS[:count], units), {})
    after = assign(dict.fromkeys(MEMBERS[1:count], units), before)
    assert all(after[unit] == owner for unit, owner in before.items() if owner != MEMBERS[0])


def least_squares(willing: dict[str, frozenset[str]]) -> int:
    """Return the least sum of squared loads, by trying everything."""
    units = sorted(set().union(*willing.values()))
    able = [[member for member in willing if unit in willing[member]] for unit in units]
    return min(sum(load * load for load in Counter(chosen).values()) for chosen in product(*able))
