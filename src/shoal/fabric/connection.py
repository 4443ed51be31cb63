"""Connecting to the fabric with nats-py, for everything but bulk telemetry.

A connection comes back by itself for ever, after a short wait with jitter, to whichever server of a cluster takes it;
what is published meanwhile goes to a bounded buffer. Library errors become `UnavailableError` here and nowhere else.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

import nats.errors
import structlog
from nats.aio.client import Client, Server

from shoal.domain.errors import UnavailableError
from shoal.fabric.keys import Identity

_PENDING_BYTES: Final = 8 << 20
_CONNECT_TIMEOUT_S: Final = 10.0
_ATTEMPT_TIMEOUT_S: Final = 3
_FIRST_WAIT_S: Final = 0.05
_REFUSAL: Final = "authorization violation"
_PING_EVERY_S: Final = 3
"""Two pings unanswered and the connection is given up: a server that stands still must not hold its clients."""

_log = structlog.get_logger(__name__)

EventCallback = Callable[[str, str], None]
"""Called with an event (``error``, ``disconnected``, ``reconnected``, ``closed``) and its detail."""


class EventCounter:
    """An `on_event` that counts, by event."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def __call__(self, event: str, detail: str) -> None:
        self._counts[event] += 1

    def statistics(self) -> Mapping[str, int]:
        """Return how often each event happened."""
        return dict(self._counts)


@contextlib.contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn the library's errors into `UnavailableError`.

    Raises:
        UnavailableError: in place of any error of the library or the socket.
    """
    try:
        yield
    except (nats.errors.Error, OSError, TimeoutError) as error:
        raise UnavailableError(what, str(error) or type(error).__name__) from error


def addresses(url: str) -> list[str]:
    """Return the addresses in a text that may name several, with commas between."""
    return [address for part in url.split(",") if (address := part.strip())]


async def connect(
    url: str,
    *,
    seed: str,
    name: str,
    tls: ssl.SSLContext | None = None,
    on_event: EventCallback | None = None,
    timeout_s: float = _CONNECT_TIMEOUT_S,
    longest_wait_s: float = 2.0,
) -> Client:
    """Connect as the owner of `seed` and stay connected.

    Replies come to an inbox that no other identity may read.

    Args:
        url: ``nats://``, ``tls://``, ``ws://`` or ``wss://`` address; several of a cluster with commas between.
        seed: The identity's secret.
        name: Shown in the server's monitoring.
        tls: Trust for a server with TLS.
        on_event: Told of each loss, return and error; must not block.
        timeout_s: For the first connection, in seconds.
        longest_wait_s: Between two attempts to come back, in seconds; the first waits are shorter.

    Raises:
        UnavailableError: when the server cannot be reached in time, or refuses the identity.
    """
    events = _Events(name=name, on_event=on_event)
    client = Client()
    try:
        async with asyncio.timeout(timeout_s):
            await client.connect(
                addresses(url),
                name=name,
                nkeys_seed_str=seed,
                inbox_prefix=Identity.from_seed(seed).inbox_prefix,
                tls=tls,
                error_cb=events.error,
                disconnected_cb=events.disconnected,
                reconnected_cb=events.reconnected,
                closed_cb=events.closed,
                max_reconnect_attempts=-1,
                reconnect_time_wait=_FIRST_WAIT_S,  # type: ignore[arg-type]  # seconds; a fraction works
                reconnect_to_server_handler=partial(_next_attempt, longest_wait_s),
                connect_timeout=_ATTEMPT_TIMEOUT_S,
                ping_interval=_PING_EVERY_S,
                max_outstanding_pings=2,
                pending_size=_PENDING_BYTES,
            )
            # The library may return before the server has accepted: only an answer shows that it has.
            while not await _answers(client):  # noqa: ASYNC110 - the library has no event for it
                await asyncio.sleep(_FIRST_WAIT_S)
    except (nats.errors.Error, OSError, TimeoutError) as error:
        await client.close()
        raise UnavailableError(
            f"the fabric at {url}", events.last or str(error) or "no answer in time"
        ) from error
    except BaseException:
        await client.close()
        raise
    events.connected = True
    return client


def _next_attempt(longest_wait_s: float, servers: list[Server], info: dict[str, Any]) -> tuple[Server, float]:
    """Choose the server that failed least, and a wait that grows with its failures."""
    server = min(servers, key=lambda candidate: candidate.reconnects)
    wait_s = min(_FIRST_WAIT_S * 2.0 ** min(server.reconnects, 10), longest_wait_s)
    return server, wait_s * random.uniform(0.5, 1.5)


async def _answers(client: Client) -> bool:
    if client.is_closed:
        raise nats.errors.ConnectionClosedError
    try:
        await client.flush(timeout=_ATTEMPT_TIMEOUT_S)
    except nats.errors.TimeoutError:
        return False
    return client.is_connected


class _Events:
    """The library's callbacks, told on as plain events."""

    def __init__(self, *, name: str, on_event: EventCallback | None) -> None:
        self._name = name
        self._on_event = on_event
        self.connected = False
        self.last = ""

    async def error(self, error: Exception) -> None:
        self.last = str(error) or type(error).__name__
        self._tell("error", self.last)
        if not self.connected and _REFUSAL in self.last.lower():
            # The library would try for ever; an identity that is refused stays refused.
            raise UnavailableError("the fabric", f"it refuses the identity of {self._name!r}") from error

    async def disconnected(self) -> None:
        self._tell("disconnected", self.last)

    async def reconnected(self) -> None:
        self._tell("reconnected", "")

    async def closed(self) -> None:
        self._tell("closed", self.last)

    def _tell(self, event: str, detail: str) -> None:
        _log.debug("fabric connection", connection=self._name, what=event, detail=detail)
        if self._on_event is not None:
            self._on_event(event, detail)
