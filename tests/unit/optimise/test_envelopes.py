"""Envelopes end, grow stale and overlap; the static limit is what remains."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.domain.errors import InvalidInputError
from shoal.optimise.envelopes import Envelopes, Limits


def pairs(limits: Limits) -> list[tuple[int, int]]:
    return list(zip(limits.lower_w.tolist(), limits.upper_w.tolist(), strict=True))


def one(**change: object) -> Envelopes:
    given: dict[str, object] = {
        "static_lower_w": [-5000, -5000],
        "static_upper_w": [10_000, 10_000],
        "row": [1],
        "start_ns": [100],
        "end_ns": [200],
        "issued_ns": [50],
        "lower_w": [-8000],
        "upper_w": [7000],
    }
    return Envelopes(**(given | change))  # type: ignore[arg-type]


def test_envelope_holds_from_its_start_until_its_end_and_then_the_static_limit_does() -> None:
    static, inside = (-5000, 10_000), (-8000, 7000)
    for t_ns, wanted in ((99, static), (100, inside), (199, inside), (200, static)):
        limits = one().limits_at(t_ns)
        assert pairs(limits) == [static, wanted]
        assert limits.static_mask.tolist() == [True, wanted == static]


def test_stretch_that_outlives_an_envelope_keeps_to_both() -> None:
    limits = one().limits_at(150, until_ns=201)
    assert pairs(limits)[1] == (-5000, 7000)
    assert limits.static_mask[1]
    assert pairs(one().limits_at(150, until_ns=200))[1] == (-8000, 7000)
    assert pairs(one().limits_at(90, until_ns=101))[1] == (-5000, 7000)


def test_stale_envelope_gives_the_static_limit() -> None:
    assert pairs(one().limits_at(150, stale_after_ns=100))[1] == (-8000, 7000)
    assert pairs(one().limits_at(151, stale_after_ns=100))[1] == (-5000, 10_000)


def test_newest_envelope_holds_and_of_equally_new_ones_the_tightest() -> None:
    many = {
        "row": [1, 1, 1],
        "start_ns": [0, 0, 0],
        "end_ns": [300, 300, 300],
        "lower_w": [0, -8000, -7000],
        "upper_w": [0, 9000, 9500],
    }
    assert pairs(one(**many, issued_ns=[1, 2, 2]).limits_at(10))[1] == (-7000, 9000)
    assert pairs(one(**many, issued_ns=[3, 2, 2]).limits_at(10))[1] == (0, 0)


def test_contradiction_of_equally_new_envelopes_gives_the_static_limit() -> None:
    many = {"row": [1, 1], "start_ns": [0, 0], "end_ns": [9, 9], "issued_ns": [1, 1]}
    limits = one(**many, lower_w=[-9, 5], upper_w=[-5, 9]).limits_at(3)
    assert pairs(limits)[1] == (-5000, 10_000)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1))
def test_limits_of_a_stretch_hold_at_every_moment_of_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(0, 12))
    start = rng.integers(0, 20, count)
    book = Envelopes(
        static_lower_w=-rng.integers(1, 5, 3),
        static_upper_w=rng.integers(1, 5, 3),
        row=rng.integers(0, 3, count),
        start_ns=start,
        end_ns=start + rng.integers(0, 10, count),
        issued_ns=rng.integers(0, 5, count),
        lower_w=-rng.integers(0, 9, count),
        upper_w=rng.integers(0, 9, count),
    )
    limits = book.limits_at(5, until_ns=15)
    for t_ns in range(5, 15):
        then = book.limits_at(t_ns)
        assert np.all(limits.lower_w >= then.lower_w)
        assert np.all(limits.upper_w <= then.upper_w)
    assert np.all(limits.lower_w <= limits.upper_w)


@pytest.mark.parametrize(
    ("change", "field"),
    [({"row": [2]}, "row[0]"), ({"lower_w": [7001]}, "lower_w[0]"), ({"end_ns": [1, 2]}, "end_ns")],
)
def test_malformed_envelope_is_named(change: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        one(**change)
    assert caught.value.field == field


def test_stretch_has_to_end_after_it_begins() -> None:
    with pytest.raises(InvalidInputError):
        one().limits_at(5, until_ns=5)
