"""Batches by size or by time, whichever comes first: the price of one call shared by many items."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from shoal.domain.errors import InvalidInputError
from shoal.flow.stage import CAPACITY, Stage
from shoal.flow.stream import LATE, Stream

T = TypeVar("T")


def batch(
    max_items: int, max_wait_s: float, *, capacity: int = CAPACITY, name: str = "batch"
) -> Callable[[Stream[T]], Stage[list[T]]]:
    """Return an operator that gathers items in order into lists, none of them empty.

    A list is handed on when it has `max_items`, when its first item has waited `max_wait_s`, at the end of the
    stream, and before an error of the stream is.

    Raises:
        InvalidInputError: when a bound is not positive.
    """
    if max_items < 1:
        raise InvalidInputError(field="max_items", value=max_items, fix="give at least 1")
    if not max_wait_s > 0:
        raise InvalidInputError(field="max_wait_s", value=max_wait_s, fix="give a positive time")

    def operator(upstream: Stream[T]) -> Stage[list[T]]:
        async def work(stage: Stage[list[T]]) -> None:
            while True:
                try:
                    held = [await stage.take(upstream)]
                except StopAsyncIteration:
                    return
                due_s = asyncio.get_running_loop().time() + max_wait_s
                try:
                    while len(held) < max_items:
                        item = await stage.take_before(upstream, due_s)
                        if item is LATE:
                            break
                        held.append(item)
                except StopAsyncIteration:
                    await stage.give(held, worth=len(held))
                    return
                except Exception:
                    await stage.give(held, worth=len(held))
                    raise
                await stage.give(held, worth=len(held))

        return Stage(name, work, upstream=(upstream,), capacity=capacity)

    return operator
