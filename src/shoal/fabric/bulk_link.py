"""One connection for thousands of small messages each way: batches are written as one, and what has come is taken in one look.

It comes back by itself for ever, to whichever server of a cluster takes it. Nothing is kept for later: what cannot be written is
refused, and what others said while it was away is lost, so it is for those who say again what was not answered.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import structlog

from shoal.domain.errors import UnavailableError
from shoal.fabric._frames import KIND, MESSAGE, OTHER, PAYLOAD_AT, PAYLOAD_BYTES, SUBJECT_AT, SUBJECT_BYTES
from shoal.fabric._wire import Address, Wire
from shoal.fabric.connection import addresses
from shoal.fabric.keys import Identity

Take: TypeAlias = Callable[[list[bytes], list[bytes]], None]
"""Called with the subjects and the payloads of what has come, in its order; must not block."""

_LOOK_EVERY_S: Final = 0.002
"""Between two looks while messages come: so one wake-up is for many."""
_CONNECT_TIMEOUT_S: Final = 5.0
_WRITE_TIMEOUT_S: Final = 10.0
_PING_EVERY_S: Final = 3.0
_SILENCE_S: Final = 9.0
_BACKOFF_S: Final = (0.05, 2.0)
_MOST_UNSENT_BYTES: Final = 1 << 20

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkStatistics:
    """What the connection did so far.

    Attributes:
        connected: Whether it is up now.
        reconnects: How often it had to connect again.
        published: Messages written.
        received: Messages taken.
        looks: In how many looks.
        faults: Looks whose messages could not be taken.
        last_fault: Why it went down last; empty when it never did.
    """

    connected: bool
    reconnects: int
    published: int
    received: int
    looks: int
    faults: int
    last_fault: str


class BulkLink:
    """A connection that a task follows and others publish on.

    Args:
        url: ``nats://`` or ``tls://`` address; several of a cluster with commas between.
        seed: The identity's secret.
        name: Shown in the server's monitoring.
        subjects: What to hear.
        take: Told of what has come.
        tls: Trust for a server with TLS.
    """

    def __init__(
        self,
        url: str,
        *,
        seed: str,
        name: str,
        subjects: Sequence[str] = (),
        take: Take = lambda subjects, payloads: None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._addresses = deque(Address.parse(one) for one in addresses(url) or [url])
        self._identity = Identity.from_seed(seed)
        self._name = name
        self._subscribe = "".join(f"SUB {what} {sid}\r\n" for sid, what in enumerate(subjects, 1)).encode()
        self._take = take
        self._tls = tls
        self._wire: Wire | None = None
        self._up = asyncio.Event()
        self._pongs: deque[asyncio.Future[None] | None] = deque()
        self._connections = self._published = self._received = self._looks = self._faults = 0
        self._last_fault = ""

    async def follow(self) -> None:
        """Be connected and take what comes, until cancelled."""
        backoff_s = _BACKOFF_S[0]
        try:
            while True:
                try:
                    wire = await self._open()
                    backoff_s = _BACKOFF_S[0]
                    await self._serve(wire)
                except (OSError, UnavailableError) as error:
                    self._down(str(error) or type(error).__name__)
                except Exception as error:  # noqa: BLE001 - the supervisor of the connection: the next one must come
                    _log.exception("bulk link failed", connection=self._name)
                    self._down(type(error).__name__)
                await asyncio.sleep(backoff_s * random.uniform(0.5, 1.5))
                backoff_s = min(2 * backoff_s, _BACKOFF_S[1])
        finally:
            self._down("closed")

    async def wait_connected(self, timeout_s: float) -> None:
        """Wait until the server knows what is to be heard.

        Raises:
            UnavailableError: when it does not in time.
        """
        await self._connected(timeout_s)
        await self.flush(timeout_s)

    async def publish_many(self, messages: Sequence[tuple[bytes, bytes]]) -> None:
        """Write messages, pairs of subject and payload; what they are written before is on its way when this returns.

        Raises:
            UnavailableError: when there is no connection, or it takes nothing.
        """
        wire = await self._connected(_WRITE_TIMEOUT_S)
        try:
            wire.send(
                b"".join(
                    [
                        b"PUB %b %d\r\n%b\r\n" % (subject, len(payload), payload)
                        for subject, payload in messages
                    ]
                )
            )
            if wire.unsent_bytes > _MOST_UNSENT_BYTES:
                async with asyncio.timeout(_WRITE_TIMEOUT_S):
                    await wire.drain()
            elif wire.unsent_bytes:
                wire.push()
        except (OSError, TimeoutError) as error:
            raise UnavailableError("the fabric", str(error) or type(error).__name__) from error
        self._published += len(messages)

    async def flush(self, timeout_s: float = _WRITE_TIMEOUT_S) -> None:
        """Return when the server has everything that was published.

        Raises:
            UnavailableError: when it does not say so in time.
        """
        wire = await self._connected(timeout_s)
        pong: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout_s):
                wire.send(b"PING\r\n")
                self._pongs.append(pong)
                await wire.drain()
                await pong
        except (OSError, TimeoutError) as error:
            raise UnavailableError("the fabric", str(error) or type(error).__name__) from error

    def statistics(self) -> BulkStatistics:
        """Return what the connection did so far."""
        return BulkStatistics(
            connected=self._wire is not None,
            reconnects=max(0, self._connections - 1),
            published=self._published,
            received=self._received,
            looks=self._looks,
            faults=self._faults,
            last_fault=self._last_fault,
        )

    async def _connected(self, timeout_s: float) -> Wire:
        try:
            async with asyncio.timeout(timeout_s):
                while self._wire is None:
                    await self._up.wait()
        except TimeoutError as error:
            raise UnavailableError("the fabric", self._last_fault or "no connection in time") from error
        return self._wire

    async def _open(self) -> Wire:
        address = self._addresses[0]
        self._addresses.rotate(-1)
        wire = await Wire.open(
            address, identity=self._identity, name=self._name, tls=self._tls, timeout_s=_CONNECT_TIMEOUT_S
        )
        wire.send(self._subscribe)
        self._wire = wire
        self._connections += 1
        self._up.set()
        return wire

    def _down(self, why: str) -> None:
        wire, self._wire = self._wire, None
        self._up.clear()
        if wire is not None:
            wire.close()
        if wire is not None or why != self._last_fault:
            _log.info("bulk link is down", connection=self._name, why=why)
        self._last_fault = why
        while self._pongs:
            pong = self._pongs.popleft()
            if pong is not None and not pong.done():
                pong.set_exception(ConnectionResetError(why))

    async def _serve(self, wire: Wire) -> None:
        """Take what comes until the connection is of no more use.

        Raises:
            OSError: then.
            UnavailableError: when the server refuses something.
        """
        while True:
            if wire.receive_nowait():
                while count := wire.parse():
                    self._take_frames(wire, count)
                await asyncio.sleep(_LOOK_EVERY_S)
                continue
            silent_s = time.monotonic() - wire.received_at_s
            if silent_s >= _SILENCE_S:
                raise ConnectionError(f"nothing heard for {_SILENCE_S:.0f} s")
            if silent_s >= _PING_EVERY_S:
                wire.send(b"PING\r\n")
                self._pongs.append(None)
            await wire.wait_readable(_PING_EVERY_S)

    def _take_frames(self, wire: Wire, count: int) -> None:
        frames = wire.frames[:, :count]
        heard = np.flatnonzero(frames[KIND] == MESSAGE)
        for frame in np.flatnonzero(frames[KIND] != MESSAGE).tolist():
            if int(frames[KIND, frame]) == OTHER:
                pong = self._pongs.popleft() if self._pongs else None
                if pong is not None and not pong.done():
                    pong.set_result(None)
            else:
                wire.handle_control(frame)
        if not len(heard):
            return
        self._looks += 1
        self._received += len(heard)
        columns = frames[:, heard]
        low, high = int(columns[SUBJECT_AT, 0]), int(columns[PAYLOAD_AT, -1] + columns[PAYLOAD_BYTES, -1])
        text = wire.buffer[low:high].tobytes()
        subjects, payloads = (
            [text[start : start + size] for start, size in zip(at.tolist(), sizes.tolist(), strict=True)]
            for at, sizes in (
                (columns[SUBJECT_AT] - low, columns[SUBJECT_BYTES]),
                (columns[PAYLOAD_AT] - low, columns[PAYLOAD_BYTES]),
            )
        )
        try:
            self._take(subjects, payloads)
        except Exception:  # noqa: BLE001 - the supervisor of what hears: what comes next must be heard
            self._faults += 1
            _log.exception("what was heard could not be taken", connection=self._name, messages=len(heard))
