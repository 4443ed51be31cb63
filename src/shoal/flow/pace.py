"""The pace of a stream: not faster than a rate, and never silent for longer than a while."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from shoal.domain.errors import InvalidInputError
from shoal.flow.stage import CAPACITY, Stage
from shoal.flow.stream import LATE, Stream

T = TypeVar("T")


def throttle(
    rate_per_s: float, *, burst: int = 1, capacity: int = CAPACITY, name: str = "throttle"
) -> Callable[[Stream[T]], Stage[T]]:
    """Return an operator that hands on at most `rate_per_s * t + burst` items in any `t` seconds, in order.

    Raises:
        InvalidInputError: when the rate or the burst is not positive.
    """
    if not rate_per_s > 0:
        raise InvalidInputError(field="rate_per_s", value=rate_per_s, fix="give a positive rate")
    if burst < 1:
        raise InvalidInputError(field="burst", value=burst, fix="give at least 1")

    def operator(upstream: Stream[T]) -> Stage[T]:
        async def work(stage: Stage[T]) -> None:
            loop = asyncio.get_running_loop()
            tokens, at_s = float(burst), loop.time()
            async for item in upstream:
                stage.meter.take()
                now_s = loop.time()
                tokens, at_s = min(tokens + (now_s - at_s) * rate_per_s, float(burst)), now_s
                if tokens < 1.0:
                    await asyncio.sleep((1.0 - tokens) / rate_per_s)
                    tokens, at_s = 1.0, loop.time()
                tokens -= 1.0
                await stage.give(item)

        return Stage(name, work, upstream=(upstream,), capacity=capacity)

    return operator


def keep_alive(
    every_s: float, make: Callable[[], T], *, capacity: int = CAPACITY, name: str = "keep_alive"
) -> Callable[[Stream[T]], Stage[T]]:
    """Return an operator that hands on `make()` whenever nothing else came for `every_s`.

    A sign of life is made only for a reader who has taken what was before it.

    Raises:
        InvalidInputError: when the time is not positive.
    """
    if not every_s > 0:
        raise InvalidInputError(field="every_s", value=every_s, fix="give a positive time")

    def operator(upstream: Stream[T]) -> Stage[T]:
        async def work(stage: Stage[T]) -> None:
            loop = asyncio.get_running_loop()
            while True:
                try:
                    item = await stage.take_before(upstream, loop.time() + every_s)
                except StopAsyncIteration:
                    return
                if item is LATE:
                    if not len(stage.out):
                        await stage.give(make(), worth=0)
                else:
                    await stage.give(item)

        return Stage(name, work, upstream=(upstream,), capacity=capacity)

    return operator
