"""How one host is treated: not faster than a rate, not before it asked to be called again, not while it is down."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from shoal.flow.breaker import CircuitBreaker


class HostPace:
    """Spaces requests to one host evenly.

    Args:
        rate_per_s: The most requests a second.
        now_s: A clock that never goes back.
        sleep: How a coroutine waits.
    """

    def __init__(
        self,
        *,
        rate_per_s: float,
        now_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._gap_s = 1.0 / rate_per_s
        self._now_s = now_s
        self._sleep = sleep
        self._next_s = float("-inf")
        self._waited_s = 0.0

    async def wait_turn(self) -> None:
        """Return when it is this caller's turn; turns are given in the order of calls."""
        now_s = self._now_s()
        turn_s = max(now_s, self._next_s)
        self._next_s = turn_s + self._gap_s
        if turn_s > now_s:
            self._waited_s += turn_s - now_s
            await self._sleep(turn_s - now_s)

    def hold(self, for_s: float) -> None:
        """Give no turn for a while."""
        self._next_s = max(self._next_s, self._now_s() + for_s)

    def slow_to(self, rate_per_s: float) -> None:
        """Take the slower of the rate so far and another one."""
        self._gap_s = max(self._gap_s, 1.0 / rate_per_s)

    @property
    def waited_s_total(self) -> float:
        """How long callers waited for their turns."""
        return self._waited_s


class Host:
    """One host: its pace and its circuit breaker."""

    def __init__(self, pace: HostPace, breaker: CircuitBreaker) -> None:
        self.pace = pace
        self.breaker = breaker
