"""The operations endpoint of a process: `/metrics`, `/healthz` and `/readyz` over plain HTTP.

Alive means that the event loop still turns. Ready is the role's own word about itself; it never looks at its
neighbours, so that one slow part does not make every part look broken.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from shoal.domain.errors import UnavailableError
from shoal.runtime.metrics import Read, StatisticsCollector

_MAX_HEAD_BYTES: Final = 16_384
_PATIENCE_S: Final = 5.0
_REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    503: "Not Ready",
}


class OpsServer:
    """Serves one process's operations endpoint.

    Args:
        role: Who the process is.
        ready: Returns an empty text when the role is ready, else why it is not yet.
    """

    def __init__(self, *, role: str, ready: Callable[[], str]) -> None:
        self._role = role
        self._ready = ready
        self._statistics = StatisticsCollector(role)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self.registry = CollectorRegistry()
        self.registry.register(self._statistics)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def register(self, name: str, read: Read, *, counters: Iterable[str] = ()) -> None:
        """Export a stage's statistics as metrics; see `StatisticsCollector.register`.

        Raises:
            InvalidInputError: when the name is taken.
        """
        self._statistics.register(name, read, counters=counters)

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> tuple[str, int]:
        """Listen and return the address; port 0 takes a free one.

        Raises:
            UnavailableError: when the address cannot be had.
        """
        try:
            self._server = await asyncio.start_server(self._serve, host, port, limit=_MAX_HEAD_BYTES)
        except OSError as error:
            why = error.strerror or str(error)
            raise UnavailableError(f"the operations endpoint {host}:{port} of {self._role}", why) from error
        bound = self._server.sockets[0].getsockname()
        return str(bound[0]), int(bound[1])

    async def stop(self) -> None:
        """Close the door and every open connection."""
        if self._server is None:
            return
        self._server.close()
        for writer in list(self._open):
            writer.close()
        await self._server.wait_closed()
        self._server = None

    async def __aenter__(self) -> OpsServer:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                head = await reader.readuntil(b"\r\n\r\n")
                status, kind, body = self._answer(head)
                writer.write(
                    f"HTTP/1.1 {status} {_REASONS[status]}\r\n"
                    f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
                    "Cache-Control: no-store\r\nConnection: close\r\n\r\n".encode()
                )
                if not head.startswith(b"HEAD "):
                    writer.write(body)
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a caller that hangs, leaves or talks nonsense is dropped
        finally:
            self._open.discard(writer)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _answer(self, head: bytes) -> tuple[int, str, bytes]:
        try:
            method, target, _ = head.split(b"\r\n", 1)[0].decode("ascii").split(" ", 2)
        except ValueError:
            return _json(400, {"detail": "not an HTTP request"})
        if method not in ("GET", "HEAD"):
            return _json(405, {"detail": "only GET and HEAD"})
        match target.partition("?")[0]:
            case "/metrics":
                return 200, CONTENT_TYPE_LATEST, generate_latest(self.registry)
            case "/healthz":
                return _json(200, {"role": self._role, "status": "alive"})
            case "/readyz":
                reason = self._ready()
                if reason:
                    return _json(503, {"role": self._role, "status": "not ready", "reason": reason})
                return _json(200, {"role": self._role, "status": "ready"})
            case _:
                return _json(404, {"detail": "there are /metrics, /healthz and /readyz"})


def _json(status: int, content: dict[str, str]) -> tuple[int, str, bytes]:
    return status, "application/json", msgspec.json.encode(content)
