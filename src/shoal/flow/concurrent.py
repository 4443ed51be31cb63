"""A function called for many items at once: at most so many under way, results in order or as they come.

When a call fails and nothing else was declared, nothing new is taken, the calls under way are seen through and their
results handed on; then the reader gets the error. So of what was taken only the failed item is missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from shoal.domain.errors import InvalidInputError
from shoal.flow.stage import CAPACITY, Stage
from shoal.flow.stream import Stream

A = TypeVar("A")
B = TypeVar("B")

FAILED: Final = "set_aside"
"""Under this name failed items are counted that a `set_aside` took."""


def map_concurrently(
    function: Callable[[A], Awaitable[B]],
    limit: int,
    *,
    ordered: bool = True,
    set_aside: Callable[[A, Exception], None] | None = None,
    capacity: int = CAPACITY,
    name: str = "map",
) -> Callable[[Stream[A]], Stage[B]]:
    """Return an operator that hands on `await function(item)` for each item.

    Args:
        function: What is called.
        limit: How many items may be taken and not yet handed on.
        ordered: Whether results come in the order of their items, or as they are ready.
        set_aside: Takes an item that failed, with the error, and the stream goes on; None ends it with the error.
        capacity: How many results may wait for the reader.
        name: How statistics call it.

    Raises:
        InvalidInputError: when the limit is below 1.
    """
    if limit < 1:
        raise InvalidInputError(field="limit", value=limit, fix="give at least 1")

    def operator(upstream: Stream[A]) -> Stage[B]:
        async def work(stage: Stage[B]) -> None:
            await _Calls(stage, upstream, function, limit, ordered, set_aside).run()

        return Stage(name, work, upstream=(upstream,), capacity=capacity)

    return operator


class _Calls(Generic[A, B]):
    """The calls of one stage: an intake that starts them, and a delivery that hands on what they return."""

    def __init__(
        self,
        stage: Stage[B],
        upstream: Stream[A],
        function: Callable[[A], Awaitable[B]],
        limit: int,
        ordered: bool,
        set_aside: Callable[[A, Exception], None] | None,
    ) -> None:
        self._stage = stage
        self._upstream = upstream
        self._function = function
        self._ordered = ordered
        self._set_aside = set_aside
        self._slots = asyncio.Semaphore(limit)
        # Bounded by the slots: whoever is in it holds one.
        self._ready: asyncio.Queue[asyncio.Task[tuple[A, B | None, Exception | None]] | None] = (
            asyncio.Queue()
        )
        self._started = 0
        self._failures: list[Exception] = []
        self._upstream_error: Exception | None = None

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            intake = tasks.create_task(self._take_in(tasks))
            await self._deliver(intake)
        if self._upstream_error is not None:
            self._failures.append(self._upstream_error)
        if len(self._failures) == 1:
            raise self._failures[0]
        if self._failures:
            raise ExceptionGroup(f"calls of {self._stage.name} failed", self._failures)

    async def _take_in(self, tasks: asyncio.TaskGroup) -> None:
        try:
            while True:
                await self._slots.acquire()
                item = await self._stage.take(self._upstream)
                self._started += 1
                call = tasks.create_task(self._call(item))
                if self._ordered:
                    self._ready.put_nowait(call)
                else:
                    call.add_done_callback(self._ready.put_nowait)
        except StopAsyncIteration:
            pass
        except Exception as error:  # noqa: BLE001 - it is handed on, after what was ready before it
            self._upstream_error = error
        finally:
            self._ready.put_nowait(None)

    async def _call(self, item: A) -> tuple[A, B | None, Exception | None]:
        try:
            return item, await self._function(item), None
        except Exception as error:  # noqa: BLE001 - it is handed on, or set aside as declared
            return item, None, error

    async def _deliver(self, intake: asyncio.Task[None]) -> None:
        delivered, ended = 0, False
        while not (ended and delivered == self._started):
            call = await self._ready.get()
            if call is None:
                ended = True
                continue
            item, result, error = await call
            if error is None:
                await self._stage.give(result)  # type: ignore[arg-type]
            else:
                self._fail(item, error, intake)
            delivered += 1
            self._slots.release()

    def _fail(self, item: A, error: Exception, intake: asyncio.Task[None]) -> None:
        self._stage.meter.errors += 1
        if self._set_aside is not None:
            self._set_aside(item, error)
            self._stage.drop(FAILED)
            return
        self._stage.meter.release()
        self._failures.append(error)
        intake.cancel()
