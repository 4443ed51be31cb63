"""A stream: an asynchronous iterator that may be read with a deadline, composed with `|`, and closed.

The one promise that everything rests on: a read that is cancelled (by a time-out, say) has taken nothing, and the next
read goes on where it was. Time is the event loop's own, so a loop with another clock makes every operator run on it.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from enum import Enum
from types import TracebackType
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar

from shoal.flow.statistics import FlowStatistics

T = TypeVar("T")
R = TypeVar("R")
S = TypeVar("S", bound="Stream[Any]")


class Late(Enum):
    """The word of `next_before` for a deadline that passed first."""

    LATE = 0


LATE: Final = Late.LATE
Nothing: TypeAlias = Literal[Late.LATE]


class Stream(ABC, Generic[T]):
    """What operators take and give. Read by one task at a time, unless it says otherwise."""

    name: str = "stream"
    upstream: tuple[Stream[Any], ...] = ()

    def __aiter__(self) -> Stream[T]:
        return self

    @abstractmethod
    async def __anext__(self) -> T:
        """Return the next item; cancelling this loses nothing."""

    @abstractmethod
    async def aclose(self) -> None:
        """Read no more: end every task of this stream and of what feeds it; what they held counts as abandoned."""

    @abstractmethod
    def finish(self) -> None:
        """Take nothing new at the source; what was taken still comes through, and then the stream ends."""

    @abstractmethod
    def statistics(self) -> FlowStatistics:
        """Return the counters."""

    def __or__(self, operator: Callable[[Stream[T]], R]) -> R:
        return operator(self)

    async def __aenter__(self: S) -> S:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


async def next_before(stream: Stream[T], due_s: float) -> T | Nothing:
    """Return the next item, or `LATE` when the loop's clock reaches `due_s` first; then nothing was taken.

    Raises:
        StopAsyncIteration: at the end of the stream.
    """
    deadline = asyncio.timeout_at(due_s)
    try:
        async with deadline:
            return await anext(stream)
    except TimeoutError:
        if not deadline.expired():
            raise  # the stream's own
        return LATE


async def for_each(stream: Stream[T], function: Callable[[T], Awaitable[object]]) -> None:
    """Call `function` with every item, one after the other; the stream is closed in the end, whatever happens."""
    async with stream:
        async for item in stream:
            await function(item)


async def collect(stream: Stream[T]) -> list[T]:
    """Return every item up to the end and close the stream."""
    async with stream:
        return [item async for item in stream]


def all_statistics(stream: Stream[Any]) -> tuple[FlowStatistics, ...]:
    """Return the counters of a stream and of all that feeds it, from the source on."""
    found: dict[int, Stream[Any]] = {}

    def visit(one: Stream[Any]) -> None:
        for feeder in one.upstream:
            visit(feeder)
        found.setdefault(id(one), one)

    visit(stream)
    return tuple(one.statistics() for one in found.values())
