"""A real HTTP server on a free port that says what a test tells it to, well-behaved or not, and remembers who asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One answer.

    Attributes:
        status: Of the answer.
        body: Sent as it is.
        headers: Besides the length.
        missing: How many bytes of the body are announced and never sent.
        wait: Sent only when this is set.
        match: An entity tag: a request that carries it is answered with 304.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    missing: int = 0
    wait: threading.Event | None = None
    match: str = ""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One request."""

    path: str
    query: str
    headers: Mapping[str, str]


class Provider:
    """What the server says at each path: replies in turn, the last one for ever. Other paths are 404."""

    def __init__(self) -> None:
        self.url = ""
        self.seen: list[Seen] = []
        self._replies: dict[str, list[Reply]] = {}
        self._lock = threading.Lock()

    def says(self, path: str, *replies: Reply) -> None:
        with self._lock:
            self._replies[path] = list(replies)

    def count(self, path: str = "") -> int:
        with self._lock:
            return sum(seen.path == path or not path for seen in self.seen)

    def answer(self, seen: Seen) -> Reply:
        with self._lock:
            self.seen.append(seen)
            waiting = self._replies.get(seen.path, [Reply(status=404)])
            return waiting.pop(0) if len(waiting) > 1 else waiting[0]


@contextmanager
def provider() -> Iterator[Provider]:
    """Run a server until the block ends."""
    told = Provider()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            reply = told.answer(Seen(path=path, query=query, headers=dict(self.headers)))
            if reply.wait is not None:
                reply.wait.wait(10.0)
            if reply.match and self.headers.get("If-None-Match") == reply.match:
                reply = Reply(status=304, headers=reply.headers)
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if reply.match:
                self.send_header("ETag", reply.match)
            if reply.status != 304:
                self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body[: len(reply.body) - reply.missing])
            if reply.missing:
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Say nothing: a client that hangs up is part of the test."""

    server = Server(("127.0.0.1", 0), Handler)
    told.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
