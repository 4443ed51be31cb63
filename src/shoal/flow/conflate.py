"""Conflation and dropping by declared policy: for readers to whom the latest matters, not every step to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import TypeVar

from shoal.flow.channel import Channel, Policy
from shoal.flow.stage import Stage, through
from shoal.flow.statistics import Meter
from shoal.flow.stream import Stream

T = TypeVar("T")


class ConflatingChannel(Channel[T]):
    """A channel that holds one item a key: a newer one takes the place of the older, in its place in the queue.

    The item is chosen when it is read, so a reader never sees one that is out of date. Only a new key can find the
    channel full, and then its sender waits.

    Args:
        key: Tells what an item is about.
        capacity: How many keys may wait.
        merge: Makes one item of the older and the newer; the newer alone when None.
        name: How statistics call it.
        meter: Where it counts; its own when None.
    """

    def __init__(
        self,
        key: Callable[[T], Hashable],
        capacity: int,
        *,
        merge: Callable[[T, T], T] | None = None,
        name: str = "conflate",
        meter: Meter | None = None,
    ) -> None:
        super().__init__(capacity, name=name, meter=meter)
        self._key = key
        self._merge = merge
        self._held: dict[Hashable, tuple[T, float]] = {}

    def __len__(self) -> int:
        return len(self._held)

    def _full(self, item: T) -> bool:
        return len(self._held) >= self._capacity and self._key(item) not in self._held

    def _put(self, item: T) -> None:
        key = self._key(item)
        older = self._held.get(key)
        if older is None:
            self._held[key] = (item, asyncio.get_running_loop().time())
            return
        self._meter.drop("conflated")
        self._held[key] = (item if self._merge is None else self._merge(older[0], item), older[1])

    def _pop(self) -> T:
        first = next(iter(self._held))
        return self._held.pop(first)[0]

    def _oldest_s(self) -> float:
        return next(iter(self._held.values()))[1]

    def _clear(self) -> None:
        self._held.clear()


def conflate(
    *,
    key: Callable[[T], Hashable] = lambda _: None,
    max_keys: int = 1,
    merge: Callable[[T, T], T] | None = None,
    name: str = "conflate",
) -> Callable[[Stream[T]], Stage[T]]:
    """Return an operator that always reads, and hands on the latest item of each key; the older ones are counted.

    Args:
        key: What an item is about; by default all items are about the same.
        max_keys: How many keys may wait; with more, the source waits.
        merge: Makes one item of an older and a newer; the newer alone when None.
        name: How statistics call it.
    """

    def operator(upstream: Stream[T]) -> Stage[T]:
        meter = Meter()
        channel = ConflatingChannel(key, max_keys, merge=merge, name=name, meter=meter)
        return through(channel, meter)(upstream)

    return operator


def drop_when_full(capacity: int, policy: Policy, *, name: str = "shed") -> Callable[[Stream[T]], Stage[T]]:
    """Return an operator that never lets its source wait: what does not fit is let go by the policy, and counted."""

    def operator(upstream: Stream[T]) -> Stage[T]:
        meter = Meter()
        channel: Channel[T] = Channel(capacity, policy=policy, name=name, meter=meter)
        return through(channel, meter)(upstream)

    return operator
