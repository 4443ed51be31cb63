"""The HTTP server inside the role's own event loop: it listens at once, leaves signals alone, and ends in order."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from shoal.domain.errors import UnavailableError

_STUCK_MS: Final = 30_000
_BACKLOG: Final = 1_024
_CONNECTIONS: Final = 2_000
_GRACE_S: Final = 3
_MAX_INCOMING_BYTES: Final = 16_384
"""What a client of the live socket may say at once: topics, and the names of the groups that it watches."""


class _Server(uvicorn.Server):
    """A server that leaves the process's signals to the role."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes a free one.

    Raises:
        UnavailableError: when the address cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UnavailableError(f"the interface {host}:{port}", error.strerror or str(error)) from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # Inherited by every connection: one whose far side takes nothing more is given up by the system.
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _STUCK_MS)
        listening.bind(address)
        # Callers may come from now on; they wait here until the server is up.
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise UnavailableError(f"the interface {host}:{port}", error.strerror or str(error)) from error
    return listening


async def serve(app: ASGIApp, listening: socket.socket) -> None:
    """Serve until cancelled; then open connections have 3 s to end."""
    config = uvicorn.Config(
        app,
        log_config=None,
        # What it says below this names addresses with their query, and so tokens.
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="websockets-sansio",
        ws_max_size=_MAX_INCOMING_BYTES,
        ws_per_message_deflate=False,
        backlog=_BACKLOG,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=_GRACE_S,
        server_header=False,
    )
    server = _Server(config)
    # Shielded from our own cancellation, because the server must see its connections out.
    serving = asyncio.ensure_future(server.serve(sockets=[listening]))
    try:
        await asyncio.shield(serving)
    finally:
        server.should_exit = True
        await serving
