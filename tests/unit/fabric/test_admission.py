"""The gate before the sign-in: a rate with a second's worth at once, and who was cut off stays out for a while."""

from __future__ import annotations

import pytest

from shoal.domain.errors import InvalidInputError
from shoal.fabric.admission import Admission


class Time:
    def __init__(self) -> None:
        self.now_s = 50.0

    def __call__(self) -> float:
        return self.now_s


def admitted(gate: Admission, count: int) -> int:
    return sum(gate.reason_to_refuse(f"home-{number}") == "" for number in range(count))


def test_admission_lets_through_so_many_a_second() -> None:
    clock = Time()
    gate = Admission(rate_per_s=100.0, monotonic_s=clock)
    assert admitted(gate, 500) == 100, "a second's worth may come at once"
    assert gate.reason_to_refuse("home-1") == "busy"
    passed = 0
    for _ in range(1_000):
        clock.now_s += 0.01
        passed += admitted(gate, 7)
    assert passed == pytest.approx(1_000, abs=1)
    clock.now_s += 3_600
    assert admitted(gate, 500) == 100, "quiet times are not saved up"
    seen = gate.statistics()
    assert seen.admitted_total == 200 + passed
    assert seen.busy_total == 500 + 1 + 7_000 + 500 - seen.admitted_total


def test_admission_without_a_rate_lets_everybody_through() -> None:
    assert admitted(Admission(monotonic_s=Time()), 50_000) == 50_000


def test_admission_keeps_out_who_was_cut_off_for_its_time_and_nobody_else() -> None:
    clock = Time()
    gate = Admission(monotonic_s=clock)
    gate.cut_off("loud", 60.0)
    gate.cut_off("loud", 10.0)
    assert gate.reason_to_refuse("loud") == "cut_off"
    assert gate.reason_to_refuse("quiet") == ""
    assert gate.statistics().cut_off == 1
    clock.now_s += 59.9
    assert gate.reason_to_refuse("loud") == "cut_off", "the longer time counts"
    clock.now_s += 0.2
    assert gate.reason_to_refuse("loud") == ""
    assert (gate.statistics().cut_off_total, gate.statistics().cut_off) == (2, 0)


def test_admission_forgets_who_may_come_again() -> None:
    clock = Time()
    gate = Admission(monotonic_s=clock)
    for number in range(5_000):
        gate.cut_off(f"loud-{number}", 1.0)
        clock.now_s += 0.01
    assert len(gate._until_s) < 2_000


@pytest.mark.parametrize("rate_per_s", [0.0, -1.0, float("nan")])
def test_admission_refuses_a_rate_that_is_none(rate_per_s: float) -> None:
    with pytest.raises(InvalidInputError):
        Admission(rate_per_s=rate_per_s)


def test_many_cut_off_at_once_are_all_kept_out_and_let_go_of_later() -> None:
    clock = Time()
    gate = Admission(monotonic_s=clock)
    for number in range(20_000):
        gate.cut_off(f"home-{number}", 31.0)
    assert gate.statistics().cut_off == 20_000
    assert gate.is_cut_off("home-0")
    clock.now_s += 30.9
    assert gate.reason_to_refuse("home-19999") == "cut_off"
    clock.now_s += 0.2
    assert not gate.is_cut_off("home-0")
    assert gate.reason_to_refuse("home-0") == ""
    for number in range(40_000):
        gate.cut_off(f"car-{number}", 1.0)
        clock.now_s += 1.0
    assert len(gate._until_s) <= 40_000, "who may come again is not remembered for ever"
