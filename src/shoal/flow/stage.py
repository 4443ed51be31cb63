"""A stage: one task that reads upstream, does its work, and sends into a bounded channel that the next one reads.

The task starts with the first read and ends with the stream, on an error, or when the stage is closed; whichever it
is, what feeds it is closed with it, so no task is left behind. An error reaches the reader after everything that
was ready before it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterable, Callable, Coroutine, Iterable
from typing import Any, Final, TypeVar

from shoal.domain.errors import UnavailableError
from shoal.flow.channel import Channel
from shoal.flow.statistics import FlowStatistics, Meter
from shoal.flow.stream import LATE, Nothing, Stream, next_before

T = TypeVar("T")
In = TypeVar("In")

CAPACITY: Final = 1
"""What a stage holds ready when nothing else is said: the least, so that back-pressure reaches the source soonest."""


class Stage(Stream[T]):
    """A stream made by a task.

    Args:
        name: How statistics and errors call it.
        work: The task: reads with `take`, sends with `give`, returns at the end.
        upstream: What it reads.
        capacity: How many results may wait for the reader.
        out: Another channel than one that makes the task wait; made with `meter`.
        meter: Where everything is counted.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Stage[T]], Coroutine[Any, Any, None]],
        *,
        upstream: tuple[Stream[Any], ...] = (),
        capacity: int = CAPACITY,
        out: Channel[T] | None = None,
        meter: Meter | None = None,
    ) -> None:
        self.name = name
        self.upstream = upstream
        self.meter = Meter() if meter is None else meter
        self.out = Channel(capacity, name=name, meter=self.meter) if out is None else out
        self._work = work
        self._task: asyncio.Task[None] | None = None
        self._ended = False

    async def __anext__(self) -> T:
        self.start()
        return await self.out.__anext__()

    def start(self) -> None:
        """Start the task if it never was; reading does so too."""
        if self._task is None and not self._ended:
            self._task = asyncio.get_running_loop().create_task(self._run(), name=f"flow {self.name}")

    async def aclose(self) -> None:
        """End the task and everything upstream."""
        self._ended = True
        try:
            if self._task is not None and not self._task.done():
                self._task.cancel()
                await asyncio.wait({self._task})
        finally:
            self._abandon()
            for feeder in self.upstream:
                await feeder.aclose()

    def finish(self) -> None:
        """Let the source end; what was taken comes through."""
        for feeder in self.upstream:
            feeder.finish()

    def statistics(self) -> FlowStatistics:
        """Return the counters."""
        return self.out.statistics()

    # -- for the task

    async def take(self, stream: Stream[In]) -> In:
        """Return the next item of `stream` and count it.

        Raises:
            StopAsyncIteration: at its end.
        """
        item = await anext(stream)
        self.meter.take()
        return item

    async def take_before(self, stream: Stream[In], due_s: float) -> In | Nothing:
        """Return the next item, or `LATE` when the loop's clock reaches `due_s` first."""
        item = await next_before(stream, due_s)
        if item is not LATE:
            self.meter.take()
        return item

    async def give(self, result: T, *, worth: int = 1) -> None:
        """Send a result that was made of `worth` items in hand; waits while the reader is behind."""
        await self.out.send(result)
        self.meter.release(worth)

    def drop(self, reason: str, items: int = 1) -> None:
        """Let go of items in hand, for a declared reason."""
        self.meter.release(items)
        self.meter.drop(reason, items)

    # -- the life of the task

    async def _run(self) -> None:
        # What feeds it ends first, so that a reader who is told of the end finds no task left.
        error: Exception | None = None
        try:
            await self._work(self)
        except asyncio.CancelledError:
            error = UnavailableError(f"stream {self.name}", "it was stopped")
            raise
        except Exception as found:  # noqa: BLE001 - it is handed to whoever reads
            error = found
        finally:
            try:
                self._drop_hand()
                for feeder in self.upstream:
                    await feeder.aclose()
            finally:
                self.out.close(error)

    def _drop_hand(self) -> None:
        self.meter.abandon(self.meter.in_hand)
        self.meter.in_hand = 0

    def _abandon(self) -> None:
        self._drop_hand()
        self.meter.abandon(self.out.abandon())


class _Source(Stage[T]):
    """A stage that reads anything iterable; `finish` ends it between two items."""

    def __init__(self, items: AsyncIterable[T] | Iterable[T], *, name: str, capacity: int) -> None:
        super().__init__(name, self._pull, capacity=capacity)
        self._items = items
        self._finishing = False
        self._reading = False

    def finish(self) -> None:
        self._finishing = True
        if self._task is None:
            self._ended = True
            self.out.close()
        elif self._reading:
            self._task.cancel()

    async def _pull(self, stage: Stage[T]) -> None:
        if not isinstance(self._items, AsyncIterable):
            for item in self._items:
                if self._finishing:
                    return
                self.meter.take()
                await self.give(item)
            return
        iterator = aiter(self._items)
        try:
            while not self._finishing:
                self._reading = True
                try:
                    item = await anext(iterator)
                finally:
                    self._reading = False
                self.meter.take()
                await self.give(item)
        except StopAsyncIteration:
            return
        except asyncio.CancelledError:
            if not self._finishing or self._ended:
                raise
        finally:
            if inspect.isasyncgen(iterator):
                await iterator.aclose()


def source(
    items: AsyncIterable[T] | Iterable[T], *, name: str = "source", capacity: int = CAPACITY
) -> Stage[T]:
    """Return a stream of what an iterable gives; it is asked only for what the reader has room for."""
    return _Source(items, name=name, capacity=capacity)


def buffer(capacity: int, *, name: str = "buffer") -> Callable[[Stream[T]], Stage[T]]:
    """Return an operator that lets `capacity` items run ahead of the reader."""
    return lambda upstream: Stage(name, _pass_on(upstream), upstream=(upstream,), capacity=capacity)


def through(channel: Channel[T], meter: Meter) -> Callable[[Stream[T]], Stage[T]]:
    """Return an operator that passes everything through a channel, which was made with `meter`, and its policy."""
    return lambda upstream: Stage(
        channel.name, _pass_on(upstream), upstream=(upstream,), out=channel, meter=meter
    )


def _pass_on(upstream: Stream[T]) -> Callable[[Stage[T]], Coroutine[Any, Any, None]]:
    async def work(stage: Stage[T]) -> None:
        async for item in upstream:
            stage.meter.take()
            await stage.give(item)

    return work
