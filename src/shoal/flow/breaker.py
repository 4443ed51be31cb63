"""A circuit breaker: after failures in a row, a service that is down is left alone for a while.

Closed, every call goes through. Open, every call is refused at once. When the rest is over, one call at a time goes
through as a probe: a success closes the circuit, a failure opens it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from shoal.domain.errors import InvalidInputError, UnavailableError

R = TypeVar("R")


class Circuit(StrEnum):
    """Whether calls go through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerStatistics:
    """What a breaker has done.

    Attributes:
        circuit: Whether calls go through now.
        is_open: The same as a number for metrics: 1 while calls are refused.
        calls_total: Calls that went through.
        errors_total: Those that failed in a way that counts.
        refused_total: Calls refused at once.
        opened_total: How often the circuit was opened.
    """

    circuit: str
    is_open: int
    calls_total: int
    errors_total: int
    refused_total: int
    opened_total: int


class CircuitBreaker:
    """Guards one service, for one event loop.

    Args:
        name: The service, as the refusal names it.
        failures: How many failures in a row open the circuit.
        rest_s: How long it stays open.
        counts: Errors that speak against the service; any other counts as an answer.
        now_s: A clock; the event loop's when None.

    Raises:
        InvalidInputError: when `failures` is below 1 or the rest is negative.
    """

    def __init__(
        self,
        name: str,
        *,
        failures: int,
        rest_s: float,
        counts: tuple[type[Exception], ...] = (UnavailableError,),
        now_s: Callable[[], float] | None = None,
    ) -> None:
        if failures < 1:
            raise InvalidInputError(field="failures", value=failures, fix="give at least 1")
        if rest_s < 0:
            raise InvalidInputError(field="rest_s", value=rest_s, fix="give a time that is not negative")
        self._name = name
        self._failures_to_open = failures
        self._rest_s = rest_s
        self._counts = counts
        self._now_s = now_s
        self._in_a_row = 0
        self._opened_s: float | None = None
        self._probing = False
        self._calls = self._errors = self._refused = self._opened = 0

    def circuit(self) -> Circuit:
        """Return whether calls go through now."""
        if self._opened_s is None:
            return Circuit.CLOSED
        return Circuit.OPEN if self._time_s() < self._opened_s + self._rest_s else Circuit.HALF_OPEN

    async def call(self, function: Callable[[], Awaitable[R]]) -> R:
        """Return what the function answers.

        Raises:
            UnavailableError: when the circuit is open, or a probe is under way.
            Exception: the function's own.
        """
        circuit = self.circuit()
        if circuit is Circuit.OPEN or (circuit is Circuit.HALF_OPEN and self._probing):
            self._refused += 1
            raise UnavailableError(self._name, "it failed too often and is left alone for a while")
        self._calls += 1
        is_probe = circuit is Circuit.HALF_OPEN
        self._probing = self._probing or is_probe
        try:
            answer = await function()
        except self._counts:
            self._errors += 1
            self._fail(is_probe=is_probe)
            raise
        except Exception:
            self._succeed(is_probe=is_probe)  # an answer, though not a welcome one
            raise
        else:
            self._succeed(is_probe=is_probe)
            return answer
        finally:
            if is_probe:
                self._probing = False  # also when it was cancelled: nothing was learnt, the next one probes

    def statistics(self) -> BreakerStatistics:
        """Return the counters."""
        circuit = self.circuit()
        return BreakerStatistics(
            circuit=circuit.value,
            is_open=int(circuit is Circuit.OPEN),
            calls_total=self._calls,
            errors_total=self._errors,
            refused_total=self._refused,
            opened_total=self._opened,
        )

    def _fail(self, *, is_probe: bool) -> None:
        self._in_a_row += 1
        # A call that began before the circuit opened says nothing new.
        if is_probe or (self._opened_s is None and self._in_a_row >= self._failures_to_open):
            self._opened_s = self._time_s()
            self._opened += 1

    def _succeed(self, *, is_probe: bool) -> None:
        if is_probe or self._opened_s is None:
            self._in_a_row = 0
            self._opened_s = None

    def _time_s(self) -> float:
        return asyncio.get_running_loop().time() if self._now_s is None else self._now_s()
