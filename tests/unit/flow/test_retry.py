"""Retry and breaker on clocks of their own: no test waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.domain.errors import InvalidInputError, UnavailableError
from shoal.flow.breaker import Circuit, CircuitBreaker
from shoal.flow.retry import Backoff, Retry
from tests.unit.flow.virtual import run


class Clock:
    """A clock that only waiting moves."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.waits_s: list[float] = []

    def rest(self, wait_s: float) -> None:
        self.waits_s.append(wait_s)
        self.now_s += wait_s

    async def sleep(self, wait_s: float) -> None:
        self.rest(wait_s)


def make_retry(clock: Clock, draw: Callable[[], float] = lambda: 1.0, **options: object) -> Retry:
    return Retry(
        backoff=Backoff(first_s=1.0, cap_s=8.0),
        draw=draw,
        sleep=clock.sleep,
        rest=clock.rest,
        now_s=lambda: clock.now_s,
        **options,  # type: ignore[arg-type]
    )


def failing(times: int, error: Exception | None = None) -> Callable[[], str]:
    left = [times]

    def function() -> str:
        left[0] -= 1
        if left[0] >= 0:
            raise error or UnavailableError("the market", "it is away")
        return "answer"

    return function


def test_retry_waits_longer_each_time_up_to_the_cap() -> None:
    clock = Clock()
    retry = make_retry(clock)
    assert retry.call_blocking(failing(6)) == "answer"
    assert clock.waits_s == [1, 2, 4, 8, 8, 8]
    assert retry.statistics().tries_total == 7
    assert retry.statistics().waited_s_total == 31


def test_retry_gives_up_after_its_tries_and_after_its_budget() -> None:
    clock = Clock()
    with pytest.raises(UnavailableError):
        make_retry(clock, tries=3).call_blocking(failing(99))
    assert clock.waits_s == [1, 2]
    clock = Clock()
    retry = make_retry(clock, budget_s=5.5)
    with pytest.raises(UnavailableError):
        retry.call_blocking(failing(99))
    assert clock.waits_s == [1, 2, 2.5], "the last wait is cut to the budget"
    assert retry.statistics().given_up_total == 1


def test_retry_lets_other_errors_through_at_once() -> None:
    clock = Clock()
    with pytest.raises(ValueError, match="wrong"):
        make_retry(clock).call_blocking(failing(1, ValueError("wrong")))
    assert not clock.waits_s


def test_retry_of_coroutines_is_the_same() -> None:
    clock = Clock()
    function = failing(3)

    async def ask() -> str:
        return function()

    assert run(make_retry(clock).call(ask)) == "answer"
    assert clock.waits_s == [1, 2, 4]


@given(st.integers(1, 2_000), st.floats(0, 1, exclude_max=True), st.floats(0, 10), st.floats(10, 1e6))
def test_backoff_with_full_jitter_stays_below_its_ceiling(
    failures: int, draw: float, first_s: float, cap_s: float
) -> None:
    backoff = Backoff(first_s=first_s, cap_s=cap_s)
    assert 0 <= backoff.wait_s(failures, draw) <= backoff.ceiling_s(failures) <= cap_s
    assert backoff.ceiling_s(failures) <= backoff.ceiling_s(failures + 1)


def test_backoff_refuses_a_cap_below_its_first_wait() -> None:
    with pytest.raises(InvalidInputError, match="first_s"):
        Backoff(first_s=2.0, cap_s=1.0)


def make_breaker(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker("the market", failures=3, rest_s=10.0, now_s=lambda: clock.now_s)


async def well() -> str:
    return "answer"


async def away() -> str:
    raise UnavailableError("the market", "it is away")


async def wrong() -> str:
    raise ValueError("wrong")


async def fail(breaker: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        with pytest.raises(UnavailableError):
            await breaker.call(away)


def test_breaker_opens_after_failures_in_a_row_and_closes_after_a_probe() -> None:
    async def scenario() -> None:
        clock = Clock()
        breaker = make_breaker(clock)
        await fail(breaker, 2)
        assert await breaker.call(well) == "answer"
        await fail(breaker, 2)
        assert breaker.circuit() is Circuit.CLOSED, "only failures in a row count"
        await fail(breaker, 1)
        assert breaker.circuit() is Circuit.OPEN
        with pytest.raises(UnavailableError, match="left alone"):
            await breaker.call(well)
        clock.now_s = 10.0
        assert breaker.circuit() is Circuit.HALF_OPEN
        await fail(breaker, 1)
        assert breaker.circuit() is Circuit.OPEN, "a failed probe opens it at once"
        clock.now_s = 20.0
        assert await breaker.call(well) == "answer"
        assert breaker.circuit() is Circuit.CLOSED
        statistics = breaker.statistics()
        assert (statistics.opened_total, statistics.refused_total, statistics.is_open) == (2, 1, 0)

    run(scenario())


def test_breaker_lets_one_probe_through_at_a_time() -> None:
    async def scenario() -> None:
        clock = Clock()
        breaker = make_breaker(clock)
        await fail(breaker, 3)
        clock.now_s = 10.0
        gate = asyncio.Event()

        async def slow() -> str:
            await gate.wait()
            return "answer"

        probe = asyncio.ensure_future(breaker.call(slow))
        await asyncio.sleep(0)
        with pytest.raises(UnavailableError):
            await breaker.call(well)
        probe.cancel()
        await asyncio.wait({probe})
        assert await breaker.call(well) == "answer", (
            "a cancelled probe has learnt nothing; the next one may try"
        )

    run(scenario())


def test_breaker_takes_an_unwelcome_answer_for_an_answer() -> None:
    async def scenario() -> None:
        breaker = make_breaker(Clock())
        for _ in range(5):
            with pytest.raises(ValueError, match="wrong"):
                await breaker.call(wrong)
        assert breaker.circuit() is Circuit.CLOSED

    run(scenario())


def test_late_answer_does_not_close_a_circuit_that_opened_meanwhile() -> None:
    async def scenario() -> None:
        breaker = make_breaker(Clock())
        gate = asyncio.Event()

        async def slow() -> str:
            await gate.wait()
            return "answer"

        early = asyncio.ensure_future(breaker.call(slow))
        await asyncio.sleep(0)
        await fail(breaker, 3)
        gate.set()
        assert await early == "answer"
        assert breaker.circuit() is Circuit.OPEN

    run(scenario())
