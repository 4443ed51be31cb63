"""Trying again: exponential back-off with full jitter, bounded by tries and by a budget of time.

Full jitter (a wait drawn evenly between nothing and a ceiling that doubles) spreads callers that failed together better
than any narrower band: they return as thinly as the ceiling allows.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from shoal.domain.errors import InvalidInputError, UnavailableError

R = TypeVar("R")

_MOST_DOUBLINGS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How long to wait before each further try.

    Attributes:
        first_s: The first wait lies between 0 and this; the ceiling doubles with each failure.
        cap_s: The highest ceiling.
    """

    first_s: float
    cap_s: float

    def __post_init__(self) -> None:
        if not 0 <= self.first_s <= self.cap_s:
            raise InvalidInputError(field="first_s", value=self.first_s, fix=f"from 0 to {self.cap_s:g} s")

    def ceiling_s(self, failures: int) -> float:
        """Return the longest wait after so many failures, 1 for the first."""
        return min(self.cap_s, self.first_s * 2.0 ** min(max(failures - 1, 0), _MOST_DOUBLINGS))

    def wait_s(self, failures: int, draw: float) -> float:
        """Return the wait after so many failures; `draw` is even in [0, 1)."""
        return draw * self.ceiling_s(failures)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryStatistics:
    """What a `Retry` has done.

    Attributes:
        calls_total: Calls asked for.
        tries_total: Times that a function was run for them.
        given_up_total: Calls that ended with the last error.
        waited_s_total: Time spent between tries.
    """

    calls_total: int
    tries_total: int
    given_up_total: int
    waited_s_total: float


@dataclass(slots=True, kw_only=True)
class Retry:
    """Calls a function until it answers.

    Attributes:
        backoff: The waits.
        tries: The most runs of a call; None for no bound.
        budget_s: Time from the first run after which none begins; a wait is cut to what is left of it.
        again: Errors after which another run may help; any other goes straight to the caller.
        draw: Even random numbers in [0, 1).
        sleep: How a coroutine waits.
        rest: How a thread waits.
        now_s: The clock of the budget.
    """

    backoff: Backoff
    tries: int | None = None
    budget_s: float = float("inf")
    again: tuple[type[Exception], ...] = (UnavailableError,)
    draw: Callable[[], float] = random.random
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    rest: Callable[[float], object] = time.sleep
    now_s: Callable[[], float] = time.monotonic
    _calls: int = field(default=0, init=False)
    _tries: int = field(default=0, init=False)
    _given_up: int = field(default=0, init=False)
    _waited_s: float = field(default=0.0, init=False)

    async def call(self, function: Callable[[], Awaitable[R]]) -> R:
        """Return what the function answers.

        Raises:
            Exception: the last error of the function, once tries or budget are used up.
        """
        attempt = self._begin()
        while True:
            self._tries += 1
            try:
                return await function()
            except self.again:
                wait_s = attempt.after_failure()
                if wait_s is None:
                    self._given_up += 1
                    raise
            await self.sleep(wait_s)
            self._waited_s += wait_s

    def call_blocking(self, function: Callable[[], R]) -> R:
        """Return what the function answers; as `call`, for a thread.

        Raises:
            Exception: the last error of the function, once tries or budget are used up.
        """
        attempt = self._begin()
        while True:
            self._tries += 1
            try:
                return function()
            except self.again:
                wait_s = attempt.after_failure()
                if wait_s is None:
                    self._given_up += 1
                    raise
            self.rest(wait_s)
            self._waited_s += wait_s

    def statistics(self) -> RetryStatistics:
        """Return the counters."""
        return RetryStatistics(
            calls_total=self._calls,
            tries_total=self._tries,
            given_up_total=self._given_up,
            waited_s_total=self._waited_s,
        )

    def _begin(self) -> _Attempt:
        self._calls += 1
        return _Attempt(self, self.now_s() + self.budget_s)


class _Attempt:
    """The failures of one call so far."""

    def __init__(self, retry: Retry, deadline_s: float) -> None:
        self._retry = retry
        self._deadline_s = deadline_s
        self._failures = 0

    def after_failure(self) -> float | None:
        """Return how long to wait before the next run, None when there is to be none."""
        retry = self._retry
        self._failures += 1
        left_s = self._deadline_s - retry.now_s()
        if left_s <= 0 or (retry.tries is not None and self._failures >= retry.tries):
            return None
        return min(retry.backoff.wait_s(self._failures, retry.draw()), left_s)
