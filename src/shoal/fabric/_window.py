"""How many messages may be on their way into the server: about as many as it takes in within a second.

A server that gets more than it can take in lets them queue up in its socket, where nobody sees them grow old. So every
few messages are followed by a ping, and the pong says that they were read. The window grows while pongs are quick and is
halved when they are slow.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

import structlog
from nats.aio.client import Client

from shoal.domain.errors import UnavailableError
from shoal.fabric.connection import translated

_MARK_EVERY: Final = 32
_LEAST, _FIRST, _MOST = 64, 256, 1_024
_QUICK_S: Final = 1.0
_SLOW_S: Final = 2.0

_log = structlog.get_logger(__name__)


class Window:
    """The messages that a connection has sent and the server has not read.

    Attributes:
        size: How many there may be now.
        unread: How many there are, up to a few that no ping has followed yet.
    """

    def __init__(self, client: Client, tasks: asyncio.TaskGroup) -> None:
        self._client = client
        self._tasks = tasks
        self._room = asyncio.Event()
        self._room.set()
        self._unmarked = 0
        self.size = _FIRST
        self.unread = 0

    async def wait_room(self) -> None:
        """Wait until another message may be sent."""
        await self._room.wait()

    def sent(self) -> None:
        """Note a message."""
        self.unread += 1
        self._unmarked += 1
        if self._unmarked >= _MARK_EVERY:
            self._tasks.create_task(self._read(self._unmarked))
            self._unmarked = 0
        self._judge()

    async def _read(self, messages: int) -> None:
        began_s = time.monotonic()
        try:
            with translated("the window"):
                await self._client.flush()
            took_s = time.monotonic() - began_s
        except UnavailableError as error:
            _log.debug("messages not read", why=error.why)
            took_s = float("inf")
        self.unread -= messages
        if took_s > _SLOW_S:
            self.size = max(self.size // 2, _LEAST)
        elif took_s < _QUICK_S:
            self.size = min(self.size + messages, _MOST)
        self._judge()

    def _judge(self) -> None:
        if self.unread < self.size:
            self._room.set()
        else:
            self._room.clear()
