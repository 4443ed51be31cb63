"""One raw connection that speaks the NATS client protocol: bytes in, parsed frames out.

Bytes are taken from the socket without a wait in between, so cancelling a reader never loses any. The buffer grows up
to one largest message and no further.
"""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
import time
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import numpy as np

from shoal.domain.errors import InvalidInputError, UnavailableError
from shoal.fabric import _frames
from shoal.fabric._frames import (
    ERROR,
    FIELDS,
    HEADER_AT,
    INFO,
    KIND,
    MESSAGE,
    PAYLOAD_AT,
    PAYLOAD_BYTES,
    PING,
)
from shoal.fabric._tls import TlsSession
from shoal.fabric.keys import Identity

_FIRST_BUFFER_BYTES: Final = 1 << 20
_ROOM_BYTES: Final = 1 << 16
_FRAMES: Final = 8192
_MOST_PAYLOAD_BYTES: Final = 1 << 30
_DEFAULT_PORT: Final = 4222
_REFUSALS: Final = ("authorization violation", "permissions violation")


class ProtocolError(ConnectionError):
    """Bytes that are no NATS frames, or an error that the server reports; the connection is of no more use."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens."""

    host: str
    port: int

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read ``nats://host:port`` or ``tls://host:port``.

        Raises:
            InvalidInputError: when it is something else.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("nats", "tls") or not parts.hostname:
            raise InvalidInputError(
                field="fabric address", value=url, fix="use nats://host:port or tls://host:port"
            )
        return cls(parts.hostname, parts.port or _DEFAULT_PORT)


class Wire:
    """A connection after its handshake. Not for several tasks at once."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._tls: TlsSession | None = None
        self._outgoing = bytearray()
        self._drained: asyncio.Future[bool] | None = None
        self._start = 0
        self._end = 0
        self._max_payload_bytes = 1 << 20
        self.buffer = np.empty(_FIRST_BUFFER_BYTES, np.uint8)
        self.frames = np.zeros((FIELDS, _FRAMES), np.int64)
        self.received_at_s = time.monotonic()

    @classmethod
    async def open(
        cls, address: Address, *, identity: Identity, name: str, tls: ssl.SSLContext | None, timeout_s: float
    ) -> Wire:
        """Connect and sign in.

        Raises:
            UnavailableError: when the server refuses the identity.
            OSError: when it cannot be reached, or not in time.
        """
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(timeout_s):
            found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
            family, kind, protocol, _, target = found[0]
            connection = socket.socket(family, kind, protocol)
            wire = cls(connection)
            try:
                connection.setblocking(False)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await loop.sock_connect(connection, target)
                await wire._sign_in(identity, name, tls, address.host)
            except BaseException:
                wire.close()
                raise
        return wire

    def close(self) -> None:
        """Close the socket."""
        drained, self._drained = self._drained, None
        if drained is not None:
            asyncio.get_running_loop().remove_writer(self._socket.fileno())
            self._outgoing.clear()
            _settle(drained, False)
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send what the socket takes now; the rest goes with the next wait."""
        self._outgoing += self._tls.seal(data) if self._tls else data
        self._flush()

    @property
    def unsent_bytes(self) -> int:
        """How much waits for the socket."""
        return len(self._outgoing)

    async def drain(self) -> None:
        """Wait until the socket has taken everything; another task may wait for bytes to read meanwhile.

        Raises:
            OSError: when the connection ends before.
        """
        while self._outgoing:
            if not await asyncio.shield(self.push()):
                raise ConnectionResetError("the connection has ended")

    def push(self) -> asyncio.Future[bool]:
        """Let what waits go as the socket takes it; return when that is done, and whether it was taken."""
        if self._drained is None:
            loop = asyncio.get_running_loop()
            self._drained = loop.create_future()
            loop.add_writer(self._socket.fileno(), self._drain_later, self._drained)
        return self._drained

    def receive_nowait(self) -> bool:
        """Take what has arrived into the buffer; return whether there was anything. Earlier frames end here.

        Raises:
            OSError: when the connection has ended.
        """
        self._make_room()
        room = memoryview(self.buffer.data)[self._end :]
        try:
            count = self._tls.receive_into(self._socket, room) if self._tls else self._socket.recv_into(room)
        except BlockingIOError:
            return False
        if count == 0:
            raise ConnectionResetError("the server closed the connection")
        self._end += count
        self.received_at_s = time.monotonic()
        return True

    def parse(self) -> int:
        """Parse what is in the buffer into `frames`; return how many; call again while it gives any.

        Raises:
            ProtocolError: when the next frame is malformed.
        """
        limit = self._max_payload_bytes + _frames.MAX_LINE_BYTES
        count, self._start, malformed = _frames.parse(self.buffer, self._start, self._end, limit, self.frames)
        if malformed and count == 0:
            raise ProtocolError("malformed frame")
        return count

    def text(self, frame: int, *, headers: bool = False) -> bytes:
        """Return the payload, the line, or the headers of a parsed frame."""
        start = int(self.frames[PAYLOAD_AT, frame])
        if headers:
            return self.buffer[int(self.frames[HEADER_AT, frame]) : start].tobytes()
        return self.buffer[start : start + int(self.frames[PAYLOAD_BYTES, frame])].tobytes()

    def handle_control(self, frame: int) -> None:
        """Answer a ping, and take note of what else the server says by itself.

        Raises:
            UnavailableError: when it refuses the identity or a subject.
            ProtocolError: when it reports another error, or cannot be understood.
        """
        kind = int(self.frames[KIND, frame])
        if kind == PING:
            self.send(b"PONG\r\n")
        elif kind == INFO:
            self._learn(self.text(frame))
        elif kind == ERROR:
            _raise_reported(self.text(frame))

    async def wait_readable(self, timeout_s: float) -> bool:
        """Wait until bytes arrive (sending what is left to send); return False when the time is over."""
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[bool] = loop.create_future()
        descriptor = self._socket.fileno()
        timer = loop.call_later(max(timeout_s, 0.0), _settle, ready, False)
        loop.add_reader(descriptor, _settle, ready, True)
        if self._outgoing and self._drained is None:
            loop.add_writer(descriptor, self._flush_later, ready)
        try:
            return await ready
        finally:
            timer.cancel()
            loop.remove_reader(descriptor)
            if self._drained is None:
                loop.remove_writer(descriptor)

    async def request(self, subject: str, payload: bytes, *, inbox: str, timeout_s: float) -> dict[str, Any]:
        """Ask the server's API; `inbox` must be subscribed to, and nothing else may arrive meanwhile.

        Raises:
            OSError: when the connection ends, or no answer comes in time.
        """
        self.send(f"PUB {subject} {inbox} {len(payload)}\r\n".encode() + payload + b"\r\n")
        deadline_s = time.monotonic() + timeout_s
        while True:
            for frame in range(self.parse()):
                if int(self.frames[KIND, frame]) != MESSAGE:
                    self.handle_control(frame)
                    continue
                body = self.text(frame)
                if not body:
                    raise ConnectionError(f"nobody answers {subject}")
                return _object(body)
            await self._wait_more(deadline_s)

    async def _sign_in(
        self, identity: Identity, name: str, tls: ssl.SSLContext | None, server_hostname: str
    ) -> None:
        info = await self._first_info()
        if tls is not None or info.get("tls_required"):
            self._tls = TlsSession(tls or ssl.create_default_context(), server_hostname)
            await self._tls.handshake(self._socket)
        signature = identity.sign(str(info.get("nonce", "")).encode())
        options = {
            "verbose": False,
            "pedantic": False,
            "lang": "python",
            "version": "1",
            "protocol": 1,
            "name": name,
            "headers": True,
            "no_responders": True,
            "nkey": identity.public,
            "sig": base64.urlsafe_b64encode(signature).rstrip(b"=").decode(),
        }
        self.send(b"CONNECT " + msgspec.json.encode(options) + b"\r\nPING\r\n")
        deadline_s = time.monotonic() + 60.0
        while True:
            for frame in range(self.parse()):
                if int(self.frames[KIND, frame]) == _frames.OTHER:
                    return
                self.handle_control(frame)
            await self._wait_more(deadline_s)

    async def _first_info(self) -> dict[str, Any]:
        deadline_s = time.monotonic() + 60.0
        while True:
            for frame in range(self.parse()):
                if int(self.frames[KIND, frame]) == INFO:
                    return self._learn(self.text(frame))
                self.handle_control(frame)
            await self._wait_more(deadline_s)

    async def _wait_more(self, deadline_s: float) -> None:
        while not self.receive_nowait():
            if not await self.wait_readable(deadline_s - time.monotonic()):
                raise TimeoutError("no answer in time")

    def _learn(self, line: bytes) -> dict[str, Any]:
        info = _object(line[5:])
        largest = info.get("max_payload", self._max_payload_bytes)
        if type(largest) is not int or not 0 < largest <= _MOST_PAYLOAD_BYTES:
            raise ProtocolError("malformed INFO")
        self._max_payload_bytes = largest
        return info

    def _make_room(self) -> None:
        if self._start == self._end:
            self._start = self._end = 0
        if len(self.buffer) - self._end >= _ROOM_BYTES:
            return
        held = self._end - self._start
        target = self.buffer
        if held > len(self.buffer) // 2:
            target = np.empty(min(2 * len(self.buffer), self._largest_buffer_bytes), np.uint8)
        if held >= len(target):
            raise ProtocolError(f"a frame of more than {held} bytes")
        target[:held] = self.buffer[self._start : self._end].copy()
        self.buffer, self._start, self._end = target, 0, held

    @property
    def _largest_buffer_bytes(self) -> int:
        return max(_FIRST_BUFFER_BYTES, self._max_payload_bytes + 4 * _frames.MAX_LINE_BYTES)

    def _flush(self) -> None:
        while self._outgoing:
            try:
                sent = self._socket.send(self._outgoing)
            except BlockingIOError:
                return
            del self._outgoing[:sent]

    def _flush_later(self, ready: asyncio.Future[bool]) -> None:
        try:
            self._flush()
        except OSError:
            _settle(ready, True)  # the following read reports what is wrong
        if not self._outgoing:
            asyncio.get_running_loop().remove_writer(self._socket.fileno())

    def _drain_later(self, drained: asyncio.Future[bool]) -> None:
        try:
            self._flush()
        except OSError:
            self._outgoing.clear()  # the following read reports what is wrong
            self._end_drain(drained, False)
        if not self._outgoing:
            self._end_drain(drained, True)

    def _end_drain(self, drained: asyncio.Future[bool], value: bool) -> None:
        if self._drained is drained:
            self._drained = None
            asyncio.get_running_loop().remove_writer(self._socket.fileno())
        _settle(drained, value)


def _object(text: bytes) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        ProtocolError: when it is something else.
    """
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"malformed JSON: {error}") from error
    if not isinstance(found, dict):
        raise ProtocolError("malformed JSON: not an object")
    return found


def _settle(future: asyncio.Future[bool], value: bool) -> None:
    if not future.done():
        future.set_result(value)


def _raise_reported(line: bytes) -> None:
    why = line[5:].decode("utf-8", errors="replace").strip(" '")
    if why.lower().startswith(_REFUSALS):
        raise UnavailableError("the fabric", why)
    raise ProtocolError(why)
