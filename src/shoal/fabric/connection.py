"""Connecting to the fabric with nats-py, for everything but bulk telemetry, and keeping the streams as declared.

A connection comes back by itself for ever, after a short wait with jitter; what is published meanwhile goes to a
bounded buffer. Library errors become `UnavailableError` here and nowhere else.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import msgspec
import nats.errors
import structlog
from nats.aio.client import Client, Server

from shoal.domain.errors import UnavailableError
from shoal.domain.interval import NS_PER_S
from shoal.fabric.keys import Identity
from shoal.fabric.subjects import (
    QUARANTINE_STREAM,
    QUARANTINE_SUBJECTS,
    TELEMETRY_STREAM,
    TELEMETRY_SUBJECTS,
)

_PENDING_BYTES: Final = 8 << 20
_CONNECT_TIMEOUT_S: Final = 10.0
_ATTEMPT_TIMEOUT_S: Final = 3
_FIRST_WAIT_S: Final = 0.05
_API_TIMEOUT_S: Final = 5.0
_REFUSAL: Final = "authorization violation"
_STREAM_NOT_FOUND: Final = 10059
_DAY_S: Final = 86_400
_GIB: Final = 1 << 30

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
        url: ``nats://``, ``tls://``, ``ws://`` or ``wss://`` address.
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
                url,
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
                ping_interval=10,
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


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """How much the two streams keep; the oldest goes first.

    Attributes:
        telemetry_max_age_s: Age limit of telemetry, in seconds.
        telemetry_max_bytes: Size limit of telemetry.
        quarantine_max_age_s: Age limit of quarantined messages, in seconds.
        quarantine_max_bytes: Size limit of quarantined messages.
        replicas: Copies in a cluster, 1, 3 or 5.
    """

    telemetry_max_age_s: float = 7 * _DAY_S
    telemetry_max_bytes: int = 8 * _GIB
    quarantine_max_age_s: float = 30 * _DAY_S
    quarantine_max_bytes: int = _GIB // 2
    replicas: int = 1


_DEFAULT_LIMITS: Final = StreamLimits()


async def ensure_streams(client: Client, limits: StreamLimits = _DEFAULT_LIMITS) -> None:
    """Create the telemetry and quarantine streams, or change them to `limits`; nothing happens when they are so.

    Needs the rights of the role ``fabric``.

    Raises:
        UnavailableError: when the server does not answer or refuses.
    """
    telemetry = _stream(
        TELEMETRY_STREAM,
        TELEMETRY_SUBJECTS,
        limits.telemetry_max_age_s,
        limits.telemetry_max_bytes,
        limits.replicas,
    )
    quarantine = _stream(
        QUARANTINE_STREAM,
        QUARANTINE_SUBJECTS,
        limits.quarantine_max_age_s,
        limits.quarantine_max_bytes,
        limits.replicas,
    )
    for wanted in (telemetry, quarantine):
        await _ensure(client, wanted)


def _stream(name: str, subjects: str, max_age_s: float, max_bytes: int, replicas: int) -> dict[str, Any]:
    return {
        "name": name,
        "subjects": [subjects],
        "retention": "limits",
        "storage": "file",
        "discard": "old",
        "max_age": int(max_age_s * NS_PER_S),
        "max_bytes": max_bytes,
        "num_replicas": replicas,
    }


async def _ensure(client: Client, wanted: dict[str, Any]) -> None:
    name = wanted["name"]
    answer = await _api(client, f"STREAM.INFO.{name}", {})
    if answer.get("error", {}).get("err_code") == _STREAM_NOT_FOUND:
        answer = await _api(client, f"STREAM.CREATE.{name}", wanted)
    elif "error" not in answer:
        present = answer["config"]
        if all(present.get(key) == value for key, value in wanted.items()):
            return
        answer = await _api(client, f"STREAM.UPDATE.{name}", {**present, **wanted})
    if "error" in answer:
        raise UnavailableError(f"stream {name}", answer["error"].get("description", "refused"))
    _log.info("stream ensured", stream=name)


async def _api(client: Client, what: str, request: dict[str, Any]) -> dict[str, Any]:
    with translated(f"the journal ({what})"):
        reply = await client.request(f"$JS.API.{what}", msgspec.json.encode(request), timeout=_API_TIMEOUT_S)
    answer: dict[str, Any] = msgspec.json.decode(reply.data)
    return answer


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
