"""Contracts: only what breaks one is set aside, with the reason, and its neighbours survive."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest

from shoal.domain.contracts import Breach, SeriesContract, ValueColumn, check, violations
from shoal.domain.errors import InvalidInputError
from shoal.domain.facts import Facts, SeriesId

PRICE = SeriesId("price/nem/VIC1/dispatch")
STEP = 300


def contract(**changes: Any) -> SeriesContract:
    column = ValueColumn(name="price_per_mwh", low=-1_000.0, high=17_500.0, tick_size=0.01)
    values: dict[str, Any] = {"series_id": PRICE, "unit": "AUD/MWh", "columns": (column,), "step_ns": STEP}
    return SeriesContract(**values | changes)


def facts(value: list[float], *, start: int = 0, step: int = STEP) -> Facts:
    start_ns = start + step * np.arange(len(value))
    return Facts(
        series_id=PRICE,
        source="aemo",
        known_ns=7,
        revision=2,
        start_ns=start_ns,
        end_ns=start_ns + step,
        value=np.array(value)[:, None],
    )


def reasons(said: Facts, rule: SeriesContract | None) -> list[tuple[int, Breach]]:
    return [(item.index, item.reason) for item in check(said, rule)[1]]


def test_facts_that_keep_the_contract_are_all_accepted() -> None:
    said = facts([20.0, -1_000.0, 17_500.0, math.nan, 0.01])
    accepted, bad = check(said, contract())
    assert accepted is said
    assert bad == []


def test_only_the_bad_intervals_are_set_aside_and_neighbours_survive() -> None:
    accepted, bad = check(facts([20.0, -1_000.01, 17_500.01, math.inf, 20.0001, 30.0]), contract())
    assert accepted is not None
    assert accepted.start_ns.tolist() == [0, 5 * STEP]
    assert accepted.value[:, 0].tolist() == [20.0, 30.0]
    assert (accepted.known_ns, accepted.revision, accepted.source) == (7, 2, "aemo")
    assert [(item.index, item.start_ns, item.reason) for item in bad] == [
        (1, STEP, "range"),
        (2, 2 * STEP, "range"),
        (3, 3 * STEP, "infinite"),
        (4, 4 * STEP, "resolution"),
    ]
    assert bad[1].value == (17_500.01,)
    assert bad[1].detail == "price_per_mwh is above 17500"


def test_nothing_is_left_when_every_interval_is_bad() -> None:
    assert check(facts([1e9, -1e9]), contract())[0] is None


def test_intervals_of_another_length_or_place_are_set_aside() -> None:
    assert reasons(facts([1.0], step=2 * STEP), contract()) == [(0, "step")]
    assert reasons(facts([1.0], start=100), contract()) == [(0, "phase")]
    assert reasons(facts([1.0], start=100), contract(phase_ns=100)) == []
    assert reasons(facts([1.0, 2.0], start=7, step=11), contract(step_ns=None)) == []


def test_another_number_of_values_breaks_the_contract() -> None:
    two = (ValueColumn(name="a_mw"), ValueColumn(name="b_mw"))
    assert reasons(facts([1.0, 2.0]), contract(columns=two)) == [(0, "width"), (1, "width")]


def test_each_column_has_its_own_range() -> None:
    columns = (ValueColumn(name="a_mw", low=0.0), ValueColumn(name="b_mw", high=5.0))
    value = np.array([[0.0, 5.0], [-1.0, 5.0], [0.0, 6.0], [math.nan, 6.0], [-1.0, math.nan]])
    start_ns = STEP * np.arange(5)
    bad = violations(start_ns, start_ns + STEP, value, contract(columns=columns))
    assert [(item.index, item.detail) for item in bad] == [
        (1, "a_mw is below 0"),
        (2, "b_mw is above 5"),
        (3, "b_mw is above 5"),
        (4, "a_mw is below 0"),
    ]


def test_without_a_contract_only_infinite_values_are_set_aside() -> None:
    assert reasons(facts([1e300, -math.inf, math.nan], start=7, step=11), None) == [(1, "infinite")]


@pytest.mark.parametrize(
    "changes",
    [
        {"series_id": SeriesId("")},
        {"columns": ()},
        {"columns": (ValueColumn(name="a"), ValueColumn(name="a"))},
        {"columns": (ValueColumn(name="a", low=1.0, high=0.0),)},
        {"columns": (ValueColumn(name="a", low=math.nan, high=0.0),)},
        {"columns": (ValueColumn(name="a", tick_size=0.0),)},
        {"step_ns": 0},
        {"stale_after_ns": -1},
    ],
)
def test_contracts_that_make_no_sense_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        contract(**changes)


def test_contract_comes_back_from_json() -> None:
    kept = contract(stale_after_ns=600)
    assert msgspec.json.decode(msgspec.json.encode(kept), type=SeriesContract) == kept
