"""One stream split into lanes by key: each key always takes the same lane, so its order is kept.

The lanes live and end together: closing one closes all, because what comes for it would otherwise be lost unseen.
With the policy `WAIT` a lane whose reader is slow holds up the others once its own room is full.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from shoal.domain.errors import InvalidInputError, UnavailableError
from shoal.flow.channel import Channel, Policy
from shoal.flow.statistics import FlowStatistics, Meter
from shoal.flow.stream import Stream

T = TypeVar("T")


class _Splitter(Generic[T]):
    """The task behind the lanes."""

    def __init__(self, upstream: Stream[T], lane_of: Callable[[T], int], lanes: tuple[Lane[T], ...]) -> None:
        self.upstream = upstream
        self._lane_of = lane_of
        self._lanes = lanes
        self._task: asyncio.Task[None] | None = None
        self._ended = False

    def start(self) -> None:
        if self._task is None and not self._ended:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="flow split")

    async def aclose(self) -> None:
        self._ended = True
        try:
            if self._task is not None and not self._task.done():
                self._task.cancel()
                await asyncio.wait({self._task})
        finally:
            for lane in self._lanes:
                lane.meter.abandon(lane.channel.abandon())
            await self.upstream.aclose()

    async def _run(self) -> None:
        error: Exception | None = None
        try:
            async for item in self.upstream:
                await self._deal(self._lanes[self._lane_of(item)], item)
        except asyncio.CancelledError:
            error = UnavailableError("stream split", "it was stopped")
            raise
        except Exception as found:  # noqa: BLE001 - it is handed to whoever reads
            error = found
        finally:
            try:
                await self.upstream.aclose()
            finally:
                for lane in self._lanes:
                    lane.channel.close(error)

    @staticmethod
    async def _deal(lane: Lane[T], item: T) -> None:
        lane.meter.take()
        try:
            await lane.channel.send(item)
        except BaseException:
            lane.meter.abandon(1)
            raise
        finally:
            lane.meter.release()


class Lane(Stream[T]):
    """One lane of a split; read each in a task of its own."""

    def __init__(self, name: str, *, capacity: int, policy: Policy) -> None:
        self.name = name
        self.meter = Meter()
        self.channel: Channel[T] = Channel(capacity, policy=policy, name=name, meter=self.meter)
        self._splitter: _Splitter[T] | None = None

    def join(self, splitter: _Splitter[T]) -> None:
        """Be fed by this splitter."""
        self._splitter = splitter
        self.upstream = (splitter.upstream,)

    async def __anext__(self) -> T:
        assert self._splitter is not None
        self._splitter.start()
        return await self.channel.__anext__()

    async def aclose(self) -> None:
        """End all lanes of the split, and what feeds it."""
        assert self._splitter is not None
        await self._splitter.aclose()

    def finish(self) -> None:
        """Let the source end; what was taken comes through."""
        for feeder in self.upstream:
            feeder.finish()

    def statistics(self) -> FlowStatistics:
        """Return the counters of this lane."""
        return self.channel.statistics()


def split(
    lane_of: Callable[[T], int],
    lanes: int,
    *,
    capacity: int = 1,
    policy: Policy = Policy.WAIT,
    name: str = "lane",
) -> Callable[[Stream[T]], tuple[Lane[T], ...]]:
    """Return an operator that splits a stream into lanes.

    Args:
        lane_of: The lane of an item, from 0; another number ends the stream with an `IndexError`.
        lanes: How many there are.
        capacity: How many items may wait in each.
        policy: What a full lane does.
        name: How statistics call the lanes, with their number behind.

    Raises:
        InvalidInputError: when there is no lane.
    """
    if lanes < 1:
        raise InvalidInputError(field="lanes", value=lanes, fix="give at least 1")

    def operator(upstream: Stream[T]) -> tuple[Lane[T], ...]:
        made = tuple(Lane[T](f"{name} {number}", capacity=capacity, policy=policy) for number in range(lanes))
        splitter = _Splitter(upstream, lane_of, made)
        for lane in made:
            lane.join(splitter)
        return made

    return operator
