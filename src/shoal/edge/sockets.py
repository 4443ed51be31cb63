"""Many non-blocking TCP or TLS connections of one process, as columns, on one selector.

A connection is a row. Nothing here waits and nothing decides: an operation that finds a connection lost
returns the reason as a short stable word (empty when all is well); the owner closes the row and says what comes next.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any, Final

from shoal.domain.errors import UnavailableError

READ: Final = selectors.EVENT_READ
WRITE: Final = selectors.EVENT_WRITE
_RECEIVE_BYTES: Final = 4_096
_READS_AT_ONCE: Final = 16
_IN_PROGRESS: Final = (0, errno.EINPROGRESS, errno.EWOULDBLOCK)
_WOULD_BLOCK: Final = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Sockets:
    """The sockets of N rows with the bytes that each could not send.

    Attributes:
        send: How to send at once (N); None while a row is not connected or has bytes waiting.
    """

    def __init__(self, rows: int, *, host: str, tls: ssl.SSLContext | None, max_unsent_bytes: int) -> None:
        """Begin with every row closed; `host` is the name that the peer's certificate must carry."""
        self._host = host
        self._tls = tls
        self._max_unsent_bytes = max_unsent_bytes
        self._selector = selectors.DefaultSelector()
        self._sockets: list[socket.socket | None] = [None] * rows
        self._unsent = [b""] * rows
        self.send: list[Callable[[bytes], int] | None] = [None] * rows

    def fileno(self) -> int:
        """Return the selector's file descriptor.

        Raises:
            UnavailableError: when this platform's selector has none.
        """
        fileno = getattr(self._selector, "fileno", None)
        if fileno is None:
            raise UnavailableError("the selector's file descriptor", "poll at regular times on this platform")
        return int(fileno())

    @property
    def unsent_bytes(self) -> int:
        """Bytes of all rows that wait for their socket."""
        return sum(map(len, self._unsent))

    def ready(self, timeout_s: float) -> Iterator[tuple[int, int]]:
        """Yield row and mask (`READ`, `WRITE`) of what can be done, having waited at most `timeout_s`."""
        for key, mask in self._selector.select(timeout_s):
            # A row may have been closed, even opened anew, by an earlier event of this batch.
            if self._sockets[key.data] is key.fileobj:
                yield key.data, mask

    def open(self, row: int, family: int, address: Any) -> str:
        """Begin to connect a closed row; when it is ready to write, `advance` it."""
        try:
            connection = socket.socket(family, socket.SOCK_STREAM)
        except OSError:
            return "os_error"
        self._sockets[row] = connection
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if connection.connect_ex(address) not in _IN_PROGRESS:
            return "os_error"
        self._selector.register(connection, WRITE, row)
        return ""

    def advance(self, row: int) -> str | None:
        """Take a row one step on, through TCP and TLS: empty once connected, None when it needs more."""
        connection = self._sockets[row]
        if connection is None:
            return "closed"
        if connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            return "os_error"
        if self._tls is not None:
            reason = self._shake_hands(row, connection, self._tls)
            if reason != "":
                return reason
            connection = self._sockets[row] or connection
        self._selector.modify(connection, READ, row)
        self.send[row] = connection.send
        return ""

    def write(self, row: int, packet: bytes) -> str:
        """Send bytes of a connected row, or keep them behind those that wait."""
        send = self.send[row]
        sent = 0
        if send is not None:
            try:
                sent = send(packet)
            except _WOULD_BLOCK:
                sent = 0
            except OSError:
                return "os_error"
        return "" if sent == len(packet) else self.keep(row, packet[sent:])

    def keep(self, row: int, rest: bytes) -> str:
        """Keep what a socket did not take; ``unsent_full`` when that would be more than a row may keep."""
        connection = self._sockets[row]
        if connection is None:
            return "closed"
        if len(self._unsent[row]) + len(rest) > self._max_unsent_bytes:
            return "unsent_full"
        self._unsent[row] += rest
        self.send[row] = None
        self._selector.modify(connection, READ | WRITE, row)
        return ""

    def flush(self, row: int) -> str:
        """Send what waits."""
        connection = self._sockets[row]
        if connection is None:
            return "closed"
        if self._unsent[row]:
            try:
                self._unsent[row] = self._unsent[row][connection.send(self._unsent[row]) :]
            except _WOULD_BLOCK:
                return ""
            except OSError:
                return "os_error"
        if not self._unsent[row]:
            self._selector.modify(connection, READ, row)
            self.send[row] = connection.send
        return ""

    def read(self, row: int) -> tuple[bytes, str]:
        """Return what has come in and, when the connection ended behind it, why."""
        connection = self._sockets[row]
        if connection is None:
            return b"", "closed"
        data = b""
        for _ in range(_READS_AT_ONCE):
            try:
                part = connection.recv(_RECEIVE_BYTES)
            except _WOULD_BLOCK:
                break
            except OSError:
                return data, "os_error"
            if not part:
                return data, "closed"
            data = data + part if data else part
            # TLS may hold decrypted bytes of which the selector knows nothing.
            if len(part) < _RECEIVE_BYTES and not (self._tls and _pending(connection)):
                break
        return data, ""

    def close(self, row: int) -> None:
        """Close a row and forget what it could not send."""
        connection = self._sockets[row]
        if connection is not None:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(connection)
            connection.close()
        self._sockets[row] = self.send[row] = None
        self._unsent[row] = b""

    def close_all(self) -> None:
        """Close every row and the selector."""
        for row in range(len(self._sockets)):
            self.close(row)
        self._selector.close()

    def _shake_hands(self, row: int, connection: socket.socket, tls: ssl.SSLContext) -> str | None:
        if not isinstance(connection, ssl.SSLSocket):
            self._selector.unregister(connection)
            try:
                connection = tls.wrap_socket(
                    connection, server_hostname=self._host, do_handshake_on_connect=False
                )
            except OSError:
                return "tls"
            self._sockets[row] = connection
            self._selector.register(connection, WRITE, row)
        try:
            connection.do_handshake()
        except ssl.SSLWantReadError:
            self._selector.modify(connection, READ, row)
            return None
        except ssl.SSLWantWriteError:
            self._selector.modify(connection, WRITE, row)
            return None
        except OSError:
            return "tls"
        return ""


def _pending(connection: socket.socket) -> bool:
    return isinstance(connection, ssl.SSLSocket) and connection.pending() > 0
