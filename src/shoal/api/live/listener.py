"""One client of the live socket: what it follows, and up to where it is. There is no queue: who is behind gets one message.

The far side is written to as fast as it reads. Meanwhile nothing is kept for it, and its next message covers all
that happened since.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

import msgspec

from shoal.api.door.rights import LOCAL, Caller
from shoal.api.live.messages import SlowMessage

PATIENCE_S: Final = 60.0
"""How long one message may take to be taken by the far side."""
SLOW_S: Final = 1.0
"""A client that takes so long to take a message reads slowly."""
TRY_AGAIN_LATER: Final = 1013
SESSION_OVER: Final = 4401
_SLOW: Final = msgspec.json.encode(SlowMessage(slow=True)).decode()
_QUICK: Final = msgspec.json.encode(SlowMessage(slow=False)).decode()


class Sink(Protocol):
    """The far side of a live socket."""

    async def send_text(self, data: str) -> None:
        """Send one message; waits while the other side does not take it."""
        ...

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        """Close with a code and a reason."""
        ...


@dataclass(eq=False, slots=True, kw_only=True)
class Listener:
    """One client.

    Attributes:
        caller: Who it is.
        topics: Topics of the state that it follows, in order.
        feeds: Feeds that it follows, in order.
        fresh: Topics and feeds of which it has nothing yet.
        seq: Up to where it is; None before its first message.
        told_s: When it was sent something last, on a clock that only goes forward.
        watched: Numbers of the groups that it wants the figures of.
        watched_refresh: Of which refresh of the groups it has them; negative when it has none.
        watched_due_s: When it is due to get newer ones, on a clock that only goes forward.
        closing: The code with which it is let go.
        slow: Whether it takes long to take what it is sent.
    """

    topics: tuple[str, ...]
    caller: Caller = LOCAL
    feeds: tuple[str, ...] = ()
    fresh: set[str] = field(default_factory=set)
    seq: int | None = None
    told_s: float = 0.0
    watched: tuple[int, ...] = ()
    watched_refresh: int = -1
    watched_due_s: float = 0.0
    closing: tuple[int, str] | None = None
    slow: bool = False
    _slow_told: bool = False
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """Say that there may be something for it."""
        self._news.set()

    def let_go(self, code: int, reason: str) -> None:
        """Close it after what it is being sent now."""
        self.closing = (code, reason)
        self._news.set()

    def take_slow(self) -> str | None:
        """Return the message that says that it reads slowly, or no longer does; None when that was said."""
        if self.slow == self._slow_told:
            return None
        self._slow_told = self.slow
        return _SLOW if self.slow else _QUICK

    async def forward(self, sink: Sink, texts: Callable[[Listener], list[str]]) -> None:
        """Send what there is for it, again and again, until it is let go; one that takes nothing more is left."""
        with contextlib.suppress(TimeoutError):
            while self.closing is None:
                self._news.clear()
                for text in texts(self):
                    began_s = time.monotonic()
                    async with asyncio.timeout(PATIENCE_S):
                        await sink.send_text(text)
                    self.told_s = time.monotonic()
                    self.slow = self.told_s - began_s > SLOW_S
                if self.closing is None:
                    await self._news.wait()
            code, reason = self.closing
            async with asyncio.timeout(PATIENCE_S):
                await sink.close(code, reason)
