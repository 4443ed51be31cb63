"""The connections of the load generator: signed in many at a time, written to without ado, minded now and then.

They are plain blocking sockets: when the server takes no more, the generator waits, and the wait shows in the latency
because each message keeps the instant at which it was meant to be sent.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from shoal.domain.errors import UnavailableError
from shoal.edge import mqtt
from shoal.simulate.load_fleet import Transport

_AT_ONCE: Final = 200
"""Sign-ins on their way at the same time: the plant answers each with a signature."""
_TIMEOUT_S: Final = 30.0
_ACCEPTED: Final = b"\x20\x02"
_PONG: Final = b"PONG\r\n"


def open_connections(
    host: str,
    port: int,
    devices: Sequence[str],
    secret_of: Callable[[str], str],
    *,
    transport: Transport,
    tls: ssl.SSLContext | None,
) -> list[socket.socket]:
    """Return a signed-in connection for each device.

    Raises:
        UnavailableError: when the server cannot be reached, or refuses a device.
    """
    opened: list[socket.socket] = []
    try:
        for first in range(0, len(devices), _AT_ONCE):
            some = devices[first : first + _AT_ONCE]
            fresh = len(opened)
            for device in some:
                opened.append(_open(host, port, tls, late_tls=transport is Transport.NATS))
                opened[-1].sendall(_hello(transport, device, secret_of(device)))
            for device, connection in zip(some, opened[fresh:], strict=True):
                _await_welcome(connection, transport, device)
    except OSError as error:
        close_all(opened)
        raise UnavailableError(f"the fabric at {host}:{port}", str(error) or type(error).__name__) from error
    except BaseException:
        close_all(opened)
        raise
    return opened


def close_all(connections: Sequence[socket.socket]) -> None:
    """Close every connection."""
    for connection in connections:
        with contextlib.suppress(OSError):
            connection.close()


class Minder:
    """Answers what the server says by itself on many connections."""

    def __init__(self, connections: Sequence[socket.socket], transport: Transport) -> None:
        self._transport = transport
        self._selector = selectors.DefaultSelector()
        for connection in connections:
            self._selector.register(connection, selectors.EVENT_READ)

    def mind(self) -> None:
        """Answer pings.

        Raises:
            UnavailableError: when the server ended a connection or reports an error.
        """
        for key, _ in self._selector.select(0):
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            heard = connection.recv(4_096)
            if not heard:
                raise UnavailableError("the fabric", "it closed a connection")
            if self._transport is Transport.NATS:
                _raise_if_error(heard)
                if b"PING\r\n" in heard:
                    connection.sendall(_PONG)

    def close(self) -> None:
        """Let go of the connections."""
        self._selector.close()


def round_trip(connections: Sequence[socket.socket], transport: Transport) -> None:
    """Return when the server has read everything that was sent.

    Raises:
        UnavailableError: when it reports an error instead.
    """
    question = b"PING\r\n" if transport is Transport.NATS else mqtt.PINGREQ
    answer = _PONG if transport is Transport.NATS else b"\xd0\x00"
    for connection in connections:
        connection.sendall(question)
    for connection in connections:
        _read_until(connection, answer)


def _open(host: str, port: int, tls: ssl.SSLContext | None, *, late_tls: bool) -> socket.socket:
    connection = socket.create_connection((host, port), timeout=_TIMEOUT_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tls is None:
        return connection
    if late_tls:  # a NATS server speaks first, in plain text
        _read_until(connection, b"\r\n")
    return tls.wrap_socket(connection, server_hostname=host)


def _hello(transport: Transport, device: str, secret: str) -> bytes:
    if transport is Transport.MQTT:
        return mqtt.connect(client_id=device, username=device, password=secret, keep_alive_s=0)
    options = {
        "verbose": False,
        "pedantic": False,
        "lang": "python",
        "version": "1",
        "protocol": 1,
        "name": device,
        "user": device,
        "pass": secret,
    }
    return b"CONNECT " + msgspec.json.encode(options) + b"\r\nPING\r\n"


def _await_welcome(connection: socket.socket, transport: Transport, device: str) -> None:
    if transport is Transport.NATS:
        _read_until(connection, _PONG)
        return
    answer = b""
    while len(answer) < 4 and (part := connection.recv(4 - len(answer))):
        answer += part
    if answer[:2] != _ACCEPTED or answer[3:] != b"\x00":
        raise UnavailableError("the fabric", f"it refuses the device {device!r}")


def _read_until(connection: socket.socket, wanted: bytes) -> None:
    heard = b""
    while wanted not in heard:
        part = connection.recv(4_096)
        if not part:
            raise UnavailableError("the fabric", "it closed a connection")
        heard += part
        _raise_if_error(heard)


def _raise_if_error(heard: bytes) -> None:
    at = heard.find(b"-ERR")
    if at >= 0:
        why = heard[at + 4 :].split(b"\r\n")[0].decode("utf-8", "replace").strip(" '")
        raise UnavailableError("the fabric", why)
