"""Feeds of the live socket: what a screen shows of one site, group or order, read while somebody looks and no longer.

A feed is read once for all who follow it, and sent when it changed. What it cannot say it says as a fault, and tries again.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import structlog

from shoal.api.door.rights import Caller, Right
from shoal.api.live.topics import Board
from shoal.domain.errors import ShoalError, UnknownIdError

MAX_OF_CLIENT: Final = 16
MAX_IN_ALL: Final = 2_000
READS_AT_ONCE: Final = 16
READ_TIMEOUT_S: Final = 10.0
_LOOK_EVERY_S: Final = 0.1

_log = structlog.get_logger(__name__)


class FeedSaid(msgspec.Struct, frozen=True, kw_only=True):
    """What a feed says: its value as of an instant, or why there is none."""

    as_of_ms: int | None
    value: Any
    fault: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """What can be followed under `<name>/<key>`.

    Attributes:
        name: The first part of its topics.
        every_s: How often it is read while somebody follows it.
        read: Reads one key; raises `ShoalError` for what cannot be told, such as an unknown name.
        right: What it takes.
        own: Whether the key is a site that has to be the caller's own.
    """

    name: str
    every_s: float
    read: Callable[[str], Awaitable[FeedSaid]]
    right: Right = "see"
    own: bool = False

    def open_to(self, caller: Caller, key: str) -> bool:
        """Whether somebody may follow one key."""
        return self.right in caller.rights and (not self.own or caller.sites is None or key in caller.sites)


class Feeds:
    """Reads what is followed. Run `run()` in a task group.

    Args:
        board: Where it is put up.
        on_news: Told when something new was put up.
    """

    def __init__(self, board: Board, *, on_news: Callable[[], None]) -> None:
        self._board = board
        self._on_news = on_news
        self._feeds: dict[str, Feed] = {}
        self._followers: Counter[str] = Counter()
        self._due_s: dict[str, float] = {}
        self._reading: set[str] = set()
        self._wanted = asyncio.Event()
        self.read_total = 0
        self.failed_total = 0

    def add(self, feed: Feed) -> None:
        """Let a feed be followed."""
        self._feeds[feed.name] = feed

    def allowed(self, topics: Collection[str], caller: Caller) -> tuple[str, ...]:
        """Return those of some topics that are feeds and open to the caller, at most `MAX_OF_CLIENT`."""
        found = []
        for topic in sorted(set(topics)):
            name, slash, key = topic.partition("/")
            feed = self._feeds.get(name)
            if slash and key and feed is not None and feed.open_to(caller, key):
                found.append(topic)
        return tuple(found[:MAX_OF_CLIENT])

    def follow(self, topics: Collection[str]) -> None:
        """Begin to read topics that were allowed; those beyond `MAX_IN_ALL` are left unread."""
        for topic in topics:
            self._followers[topic] += 1
            if topic not in self._due_s and len(self._due_s) < MAX_IN_ALL:
                self._due_s[topic] = 0.0
        self._wanted.set()

    def leave(self, topics: Collection[str]) -> None:
        """Follow topics no more."""
        for topic in topics:
            self._followers[topic] -= 1
            if self._followers[topic] <= 0:
                del self._followers[topic]
                self._due_s.pop(topic, None)
                self._board.drop_feed(topic)

    @property
    def followed(self) -> int:
        """How many feeds are read."""
        return len(self._due_s)

    async def run(self) -> None:
        """Read what is due until cancelled."""
        places = asyncio.Semaphore(READS_AT_ONCE)
        async with asyncio.TaskGroup() as tasks:
            while True:
                if not self._due_s:
                    self._wanted.clear()
                    await self._wanted.wait()
                now_s = time.monotonic()
                for topic, due_s in list(self._due_s.items()):
                    if due_s <= now_s and topic not in self._reading:
                        self._reading.add(topic)
                        tasks.create_task(self._read(topic, places))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_EVERY_S):
                        self._wanted.clear()
                        await self._wanted.wait()

    async def _read(self, topic: str, places: asyncio.Semaphore) -> None:
        name, _, key = topic.partition("/")
        feed = self._feeds[name]
        try:
            async with places:
                said = await self._said(feed, key)
            if topic in self._due_s:
                self._due_s[topic] = time.monotonic() + feed.every_s
                self._board.put_feed(topic, said)
                self._on_news()
        finally:
            self._reading.discard(topic)

    async def _said(self, feed: Feed, key: str) -> FeedSaid:
        self.read_total += 1
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                return await feed.read(key)
        except (ShoalError, TimeoutError) as error:
            self.failed_total += 1
            why = str(error) or f"it was not read within {READ_TIMEOUT_S:g} s"
            if isinstance(error, UnknownIdError):
                why = f"there is no {error.kind} {error.value!r}"
            _log.info("feed not read", feed=feed.name, why=why)
            return FeedSaid(as_of_ms=None, value=None, fault=why)
