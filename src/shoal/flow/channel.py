"""A bounded channel: senders on one side, readers on the other, and a declared policy for when it is full.

`close()` is the sender's word that nothing more comes: readers get what is queued, then the end (or the error).
`aclose()` is the reader's: nobody reads any more, senders are told so. Any number of tasks may send and read.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import TypeAlias, TypeVar

from shoal.domain.errors import InvalidInputError, UnavailableError
from shoal.flow.statistics import FlowStatistics, Meter
from shoal.flow.stream import Stream

T = TypeVar("T")
_Waiters: TypeAlias = deque[asyncio.Future[None]]


class Policy(StrEnum):
    """What a full channel does with one more item."""

    WAIT = "wait"
    """The sender waits: back-pressure."""
    DROP_OLDEST = "drop_oldest"
    """What waits longest is let go, and counted."""
    DROP_NEWEST = "drop_newest"
    """The new item is let go, and counted."""


class Channel(Stream[T]):
    """A queue of at most `capacity` items.

    Args:
        capacity: How many items may wait, at least 1.
        policy: What a full channel does.
        name: How statistics and errors call it.
        meter: Where it counts; its own when None.

    Raises:
        InvalidInputError: when the capacity is below 1.
    """

    def __init__(
        self,
        capacity: int,
        *,
        policy: Policy = Policy.WAIT,
        name: str = "channel",
        meter: Meter | None = None,
    ) -> None:
        if capacity < 1:
            raise InvalidInputError(field="capacity", value=capacity, fix="give at least 1")
        self.name = name
        self._capacity = capacity
        self._policy = policy
        self._items: deque[tuple[T, float]] = deque()
        self._getters: _Waiters = deque()
        self._putters: _Waiters = deque()
        self._closed = False
        self._unread = False
        self._error: BaseException | None = None
        self._own = meter is None
        self._meter = Meter() if meter is None else meter

    def __len__(self) -> int:
        return len(self._items)

    @property
    def closed(self) -> bool:
        """Whether nothing more can be sent."""
        return self._closed

    # -- the sender's side

    async def send(self, item: T) -> None:
        """Send one item; on a full channel do what the policy says. Cancelling this has sent nothing.

        Raises:
            UnavailableError: when the channel is closed.
        """
        if self._policy is Policy.WAIT and self._full(item) and not self._closed:
            loop = asyncio.get_running_loop()
            since_s = loop.time()
            try:
                while self._full(item) and not self._closed:
                    await self._wait(self._putters, lambda: not self._full(item))
            finally:
                self._meter.waited_s += loop.time() - since_s
        self.send_nowait(item)

    def send_nowait(self, item: T) -> bool:
        """Send one item without waiting; return False when it could not be taken, or was let go by the policy.

        Raises:
            UnavailableError: when the channel is closed.
        """
        if self._closed:
            why = "its reader has closed it" if self._unread else "it is closed; nothing can be sent any more"
            raise UnavailableError(self.name, why)
        if self._full(item):
            if self._policy is Policy.WAIT:
                return False
            self._count_in()
            self._meter.drop(self._policy.value)
            if self._policy is Policy.DROP_NEWEST:
                return False
            self._items.popleft()
        else:
            self._count_in()
        self._put(item)
        self._meter.level(len(self) + self._meter.in_hand)
        self._wake(self._getters)
        return True

    def close(self, error: BaseException | None = None) -> None:
        """Send nothing more; readers get what is queued and then the end, or `error`. The first call counts."""
        if not self._closed:
            self._closed, self._error = True, error
            self._wake_all()

    # -- the reader's side

    async def __anext__(self) -> T:
        while not len(self):
            if self._closed:
                raise self._end()
            await self._wait(self._getters, lambda: len(self) > 0)
        item = self._pop()
        self._meter.given += 1
        self._wake(self._putters)
        return item

    async def aclose(self) -> None:
        """Let nobody read any more; what is queued counts as abandoned, and senders are refused."""
        self.abandon()

    def abandon(self) -> int:
        """Do what `aclose` says at once; return how many items were queued."""
        self.close(UnavailableError(self.name, "its reader has closed it"))
        queued = len(self)
        self._clear()
        self._unread = True
        if self._own:
            self._meter.abandon(queued)
        self._wake_all()
        return queued

    def finish(self) -> None:
        """Take nothing new: the same as `close`."""
        self.close()

    def statistics(self) -> FlowStatistics:
        """Return the counters."""
        return self._meter.read(
            self.name, queued=len(self) + self._meter.in_hand, oldest_age_s=self.oldest_age_s()
        )

    def oldest_age_s(self) -> float:
        """Return how long the first item has waited, in seconds; 0 when nothing waits."""
        if not len(self):
            return 0.0
        return max(asyncio.get_running_loop().time() - self._oldest_s(), 0.0)

    # -- what waits; another order or bound overrides these

    def _full(self, item: T) -> bool:
        return len(self._items) >= self._capacity

    def _put(self, item: T) -> None:
        self._items.append((item, asyncio.get_running_loop().time()))

    def _pop(self) -> T:
        return self._items.popleft()[0]

    def _oldest_s(self) -> float:
        return self._items[0][1]

    def _clear(self) -> None:
        self._items.clear()

    # -- waiting

    def _count_in(self) -> None:
        if self._own:
            self._meter.taken += 1

    def _end(self) -> BaseException:
        return StopAsyncIteration() if self._error is None else self._error

    async def _wait(self, waiters: _Waiters, may_go_on: Callable[[], bool]) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters.append(waiter)
        try:
            await waiter
        except BaseException:
            waiter.cancel()
            with contextlib.suppress(ValueError):
                waiters.remove(waiter)
            if not waiter.cancelled() and may_go_on():
                self._wake(waiters)  # it was our turn: pass it on
            raise

    @staticmethod
    def _wake(waiters: _Waiters) -> None:
        while waiters:
            waiter = waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _wake_all(self) -> None:
        for waiters in (self._getters, self._putters):
            while waiters:
                self._wake(waiters)
