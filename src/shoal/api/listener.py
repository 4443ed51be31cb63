"""One client of the live socket: a bounded mailbox, and the groups that it watches."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final, Protocol

CLOSE_PATIENCE_S: Final = 10.0
TRY_AGAIN_LATER: Final = 1013


class Sink(Protocol):
    """The far side of a live socket."""

    async def send_text(self, data: str) -> None:
        """Send one message; waits while the other side does not take it."""
        ...

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        """Close with a code and a reason."""
        ...


class Listener:
    """One client's bounded mailbox.

    Args:
        queue_messages: How many messages the client may be behind.

    Attributes:
        behind: Whether it was let go.
        watched: Numbers of the groups that it wants the figures of.
        watched_refresh: Of which refresh of the groups it has them; negative when it has none.
        watched_due_s: When it is due to get newer ones, on a clock that only goes forward.
    """

    def __init__(self, *, queue_messages: int) -> None:
        self._queue: asyncio.Queue[str | None] = asyncio.Queue(queue_messages)
        self._patience: asyncio.Timeout | None = None
        self.behind = False
        self.watched: tuple[int, ...] = ()
        self.watched_refresh = -1
        self.watched_due_s = 0.0

    def put_nowait(self, text: str) -> bool:
        """Queue a message; when there is no room, let the client go and return False."""
        if self.behind:
            return False
        try:
            self._queue.put_nowait(text)
        except asyncio.QueueFull:
            self._let_go()
            return False
        return True

    async def forward(self, sink: Sink) -> None:
        """Send what comes, until the client is let go; a client that takes nothing more is left after 10 s."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None) as self._patience:
                while (text := await self._queue.get()) is not None:
                    await sink.send_text(text)
                await sink.close(TRY_AGAIN_LATER, "too slow; connect again for a fresh snapshot")

    def _let_go(self) -> None:
        self.behind = True
        while not self._queue.empty():
            self._queue.get_nowait()
        self._queue.put_nowait(None)
        if self._patience is not None:
            self._patience.reschedule(asyncio.get_running_loop().time() + CLOSE_PATIENCE_S)
