"""When is a child ready? Askers: questions that the supervisor repeats until the answer is yes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

_PATIENCE_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A child that is starting.

    Attributes:
        pid: Its number.
        log_file: Where its output goes.
        log_start_bytes: Where in the file this start's output begins.
        ready_file: The file that `announce_ready` writes.
    """

    pid: int
    log_file: Path
    log_start_bytes: int
    ready_file: Path


Asker: TypeAlias = Callable[[Candidate], Awaitable[bool]]


async def announced(candidate: Candidate) -> bool:
    """Whether the child called `announce_ready`."""
    return candidate.ready_file.exists()


async def at_once(candidate: Candidate) -> bool:
    """Whether the child was started."""
    return True


def log_says(text: str) -> Asker:
    """Return an asker: has the child written `text`?"""

    async def ask(candidate: Candidate) -> bool:
        return text.encode() in read_log(candidate.log_file, candidate.log_start_bytes)

    return ask


def file_exists(path: Path) -> Asker:
    """Return an asker: is the file there? Who starts the child removes one of an earlier run."""

    async def ask(candidate: Candidate) -> bool:
        return path.exists()

    return ask


def port_open(host: str, port: int) -> Asker:
    """Return an asker: does something listen at the port?"""

    async def ask(candidate: Candidate) -> bool:
        return await _exchange(host, port, b"") is not None

    return ask


def http_ready(host: str, port: int, path: str = "/readyz") -> Asker:
    """Return an asker: does the URL answer 200?"""
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()

    async def ask(candidate: Candidate) -> bool:
        answer = await _exchange(host, port, request)
        return answer is not None and answer.split(b" ", 2)[1:2] == [b"200"]

    return ask


def read_log(log_file: Path, start_bytes: int) -> bytes:
    """Return what a log holds from a position on; all of it when it was cut since."""
    with contextlib.suppress(FileNotFoundError), log_file.open("rb") as log:
        if start_bytes <= log.seek(0, 2):
            log.seek(start_bytes)
        else:
            log.seek(0)
        return log.read()
    return b""


async def _exchange(host: str, port: int, request: bytes) -> bytes | None:
    """Return the first line that comes back (empty when nothing was asked), or None when nobody answers."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                if not request:
                    return b""
                writer.write(request)
                return await reader.readline()
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError):
        return None
