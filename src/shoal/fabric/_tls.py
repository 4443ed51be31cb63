"""TLS over a non-blocking socket, through memory, so that taking bytes never waits in between."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Final

_HANDSHAKE_BYTES: Final = 1 << 16
_RECEIVE_BYTES: Final = 1 << 18


class TlsSession:
    """TLS over a non-blocking socket, through memory."""

    def __init__(self, context: ssl.SSLContext, server_hostname: str) -> None:
        self._incoming = ssl.MemoryBIO()
        self._sealed = ssl.MemoryBIO()
        self._session = context.wrap_bio(self._incoming, self._sealed, server_hostname=server_hostname)

    async def handshake(self, connection: socket.socket) -> None:
        """Agree on keys with the server.

        Raises:
            OSError: when the connection ends, or its certificate is not trusted.
        """
        loop = asyncio.get_running_loop()
        while True:
            try:
                self._session.do_handshake()
            except ssl.SSLWantReadError:
                await loop.sock_sendall(connection, self._sealed.read())
                part = await loop.sock_recv(connection, _HANDSHAKE_BYTES)
                if not part:
                    raise ConnectionResetError("the server ended the TLS handshake") from None
                self._incoming.write(part)
            else:
                await loop.sock_sendall(connection, self._sealed.read())
                return

    def seal(self, data: bytes) -> bytes:
        """Return `data` as it goes over the wire."""
        self._session.write(data)
        return self._sealed.read()

    def receive_into(self, connection: socket.socket, room: memoryview) -> int:
        """Return the number of bytes opened; 0 at the end; raise BlockingIOError when there are none yet."""
        opened = self._open(room)
        if opened:
            return opened
        part = connection.recv(_RECEIVE_BYTES)
        if not part:
            return 0
        self._incoming.write(part)
        opened = self._open(room)
        if not opened:
            raise BlockingIOError
        return opened

    def _open(self, room: memoryview) -> int:
        opened = 0
        try:
            while opened < len(room):
                count = self._session.read(len(room) - opened, room[opened:])
                if not count:
                    break
                opened += int(count)
        except ssl.SSLWantReadError:
            pass
        return opened
