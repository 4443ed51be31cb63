"""The ladder: ways to make a bid, the best first, so that one stands at the gate whatever fails.

Each rung has a wall-time budget. What a rung raises, or its overrunning the budget, is the reason for the next; the
last rung cannot fail. The rung taken is recorded with the reasons of those above it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import Generic, TypeVar

from shoal.domain.errors import DeadlineExceededError

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung(Generic[T]):
    """One way: a name, a function without arguments, and how many seconds it may take."""

    name: str
    make: Callable[[], T]
    budget_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Climbed(Generic[T]):
    """What came of a ladder: the rung that held, its result, and why those above did not."""

    rung: str
    reason: str
    value: T
    took_s: dict[str, float]
    outcome: dict[str, str]


def climb(rungs: Sequence[Rung[T]], *, last: Rung[T]) -> Climbed[T]:
    """Return the result of the first rung that holds; `last` runs without a budget."""
    reasons: list[str] = []
    took_s: dict[str, float] = {}
    outcome: dict[str, str] = {}
    # an overrunning rung keeps its thread: it must not be waited for
    pool = ThreadPoolExecutor(max_workers=max(len(rungs), 1), thread_name_prefix="rung")
    try:
        for rung in rungs:
            started = time.perf_counter()
            running = pool.submit(rung.make)
            try:
                value = running.result(timeout=rung.budget_s)
            except FutureTimeoutError as raised:
                # the rung itself may have met a time-out: then that is the reason
                error: Exception = (
                    raised if running.done() else DeadlineExceededError(rung.name, rung.budget_s)
                )
            except Exception as raised:  # noqa: BLE001 - whatever fails, the gate must be met
                error = raised
            else:
                took_s[rung.name] = time.perf_counter() - started
                outcome[rung.name] = "ok"
                return Climbed(
                    rung=rung.name, reason="; ".join(reasons), value=value, took_s=took_s, outcome=outcome
                )
            took_s[rung.name] = time.perf_counter() - started
            outcome[rung.name] = f"{type(error).__name__}: {error}"
            reasons.append(f"{rung.name}: {error}")
        started = time.perf_counter()
        value = last.make()
        took_s[last.name] = time.perf_counter() - started
        outcome[last.name] = "ok"
        return Climbed(rung=last.name, reason="; ".join(reasons), value=value, took_s=took_s, outcome=outcome)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
