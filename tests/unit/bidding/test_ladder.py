"""The ladder: whatever fails, something stands, and it is known why."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from shoal.bidding.ladder import Rung, climb
from shoal.domain.errors import InvalidInputError


def rung(name: str, make: Callable[[], str], budget_s: float = 5.0) -> Rung[str]:
    return Rung(name=name, make=make, budget_s=budget_s)


def fails(error: Exception) -> Callable[[], str]:
    def make() -> str:
        raise error

    return make


LAST = rung("last", lambda: "nothing", 0.0)


def test_first_rung_that_holds_is_taken() -> None:
    climbed = climb(
        [rung("best", lambda: "all"), rung("next", fails(AssertionError("never asked")))], last=LAST
    )
    assert (climbed.rung, climbed.value, climbed.reason) == ("best", "all", "")
    assert climbed.outcome == {"best": "ok"}
    assert climbed.took_s.keys() == {"best"}


def test_exception_is_the_reason_for_the_next_rung() -> None:
    wrong = InvalidInputError(field="price history", value="ends yesterday", fix="wait")
    climbed = climb(
        [
            rung("best", fails(wrong)),
            rung("next", fails(ZeroDivisionError("by zero"))),
            rung("third", lambda: "some"),
        ],
        last=LAST,
    )
    assert (climbed.rung, climbed.value) == ("third", "some")
    assert climbed.reason == f"best: {wrong}; next: by zero"
    assert climbed.outcome == {
        "best": f"InvalidInputError: {wrong}",
        "next": "ZeroDivisionError: by zero",
        "third": "ok",
    }
    assert list(climbed.took_s) == ["best", "next", "third"]


def test_overrun_of_the_budget_is_the_reason_for_the_next_rung() -> None:
    release = threading.Event()

    def slow() -> str:
        release.wait(30)
        return "too late"

    try:
        climbed = climb([rung("best", slow, 0.05), rung("next", lambda: "less")], last=LAST)
    finally:
        release.set()
    assert (climbed.rung, climbed.value) == ("next", "less")
    assert climbed.reason == "best: step 'best' overran its budget of 0.050 s"
    assert climbed.outcome["best"].startswith("DeadlineExceededError")
    assert climbed.took_s["best"] >= 0.05


def test_time_out_within_a_rung_is_not_an_overrun() -> None:
    climbed = climb([rung("best", fails(TimeoutError("the database")))], last=LAST)
    assert climbed.reason == "best: the database"
    assert climbed.outcome["best"] == "TimeoutError: the database"


def test_every_rung_may_hang_at_once() -> None:
    release = threading.Event()

    def slow() -> str:
        release.wait(30)
        return "too late"

    try:
        climbed = climb([rung(name, slow, 0.02) for name in ("a", "b", "c")], last=LAST)
    finally:
        release.set()
    assert (climbed.rung, climbed.value) == ("last", "nothing")
    assert [text.partition(":")[0] for text in climbed.reason.split("; ")] == ["a", "b", "c"]
    assert climbed.outcome["last"] == "ok"


def test_last_rung_stands_alone() -> None:
    climbed = climb([], last=LAST)
    assert (climbed.rung, climbed.value, climbed.reason, climbed.outcome) == (
        "last",
        "nothing",
        "",
        {"last": "ok"},
    )


def test_last_rung_that_fails_is_a_fault_of_the_program() -> None:
    with pytest.raises(ZeroDivisionError):
        climb([], last=rung("last", fails(ZeroDivisionError())))
