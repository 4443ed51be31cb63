"""Room on the disk of a role: the role says so when there is none, and the journal stops in time and goes on by itself."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog
from nats.aio.client import Client

from shoal.cli.roles.host import Host
from shoal.domain.errors import UnavailableError
from shoal.fabric.server import NatsServer
from shoal.fabric.streams import StreamLimits, ensure_streams, hold_telemetry
from shoal.flow.retry import Backoff
from shoal.runtime.room import DiskRoom

LOOK_S: Final = 1.0
ASK_S: Final = 15.0
"""How often the engine is asked whether it writes although nothing points at it: the answer costs it a look at everything."""
_RESTARTS: Final = Backoff(first_s=5.0, cap_s=300.0)

_log = structlog.get_logger(__name__)


async def tell_room(host: Host, room: DiskRoom) -> None:
    """Let the role be not ready while its disk is full, for ever. Whoever writes looks at the disk."""
    while True:
        if room.full:
            host.not_ready = room.word()
        elif host.not_ready.startswith(room.WORD):
            host.not_ready = ""
        await asyncio.sleep(LOOK_S)


class JournalRoom:
    """Keeps the journal from filling its disk. Run `watch` in a task group.

    Below what must stay free no telemetry is taken; devices keep theirs and send it again. Registers and snapshots go on
    in what is left, so that whoever owns something still does. An engine that met a full disk all the same is started
    again once there is room, since until then it refuses to write.

    Args:
        client: Connection of the role fabric.
        limits: The streams as they are to be.
        room: The disk's.
        server: The engine; None when it is an outside one.
    """

    def __init__(
        self, client: Client, limits: StreamLimits, room: DiskRoom, server: NatsServer | None
    ) -> None:
        self._client = client
        self._limits = limits
        self._room = room
        self._server = server
        self._restarts = 0
        self._restart_after_s = 0.0
        self._ask_after_s = 0.0
        self._touched = False
        self.held = False

    async def watch(self) -> None:
        """Look once a second, for ever."""
        told = False
        while True:
            try:
                await self.look()
            except UnavailableError as error:
                (_log.debug if told else _log.warning)("the engine does not follow its disk", why=str(error))
                told = True
            else:
                told = False
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Hold telemetry or let it come, and start an engine again that no longer writes.

        Raises:
            UnavailableError: when the engine does not answer; the next look makes up for it.
        """
        if not self._room.enough():
            self._touched = True
            if not self.held:
                await hold_telemetry(self._client, self._limits.shards)
                self.held = True
            return
        if self._server is not None and (self._touched or self._clock_s() >= self._ask_after_s):
            self._ask_after_s = self._clock_s() + ASK_S
            if why := await self._server.write_fault():
                self._touched = True
                await self._start_again(self._server, why)
                return
        self._restarts = 0
        if self._touched:
            await ensure_streams(self._client, self._limits)
            self._touched = self.held = False

    @staticmethod
    def _clock_s() -> float:
        return asyncio.get_running_loop().time()

    async def _start_again(self, server: NatsServer, why: str) -> None:
        now_s = self._clock_s()
        if now_s < self._restart_after_s:
            return
        self._restarts += 1
        self._restart_after_s = now_s + _RESTARTS.ceiling_s(self._restarts)
        _log.error("the engine no longer writes and is started again", why=why)
        await server.restart()
