"""The hub between the fabric and every open page: news comes in, one encoded delta goes out to all.

A client first gets a snapshot and then every delta after it, without a gap: both are made at the same moment, at
most five times a second. Deltas have of the groups the roots alone; a client says which others it watches, and gets
those once a second. A client that falls too far behind is let go and starts again with a snapshot.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from shoal.api.listener import Listener
from shoal.api.messages import DeltaMessage, GroupsMessage, SnapshotMessage
from shoal.api.model import LiveModel
from shoal.api.newest import Newest
from shoal.api.state import AlertNow, LiveState, RoleHealth
from shoal.api.views import Books
from shoal.domain.alarms import LiveAlarms
from shoal.domain.errors import ShoalError
from shoal.domain.interval import NS_PER_HOUR
from shoal.domain.live import Aggregates, QuarantineState, ResourceState, WorkflowRun
from shoal.fabric.connection import translated
from shoal.fabric.subjects import (
    LIVE_AGGREGATES,
    LIVE_ALARMS,
    LIVE_ALL,
    LIVE_MONEY,
    LIVE_QUARANTINE,
    LIVE_RESOURCES,
    LIVE_RUNS,
)

DELTA_EVERY_S: Final = 0.2
HEARTBEAT_S: Final = 5.0
BOOKS_EVERY_S: Final = 1.0
BOOKS_IDLE_S: Final = 60.0
QUEUE_MESSAGES: Final = 32
MAX_CLIENTS: Final = 256
MAX_WATCHED: Final = 200
WATCHED_EVERY_S: Final = 1.0
_PENDING_MESSAGES: Final = 1_024
_PENDING_BYTES: Final = 64 << 20

_log = structlog.get_logger(__name__)

_JSON_AGGREGATES: Final = msgspec.json.Decoder(Aggregates)
_PACKED_AGGREGATES: Final = msgspec.msgpack.Decoder(Aggregates)
_RESOURCES: Final = msgspec.json.Decoder(list[ResourceState])
_RUN: Final = msgspec.json.Decoder(WorkflowRun)
_ALARMS: Final = msgspec.json.Decoder(LiveAlarms)
_QUARANTINE: Final = msgspec.json.Decoder(QuarantineState)


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveStatistics:
    """Counters of the hub since its start.

    Attributes:
        clients: Open live sockets.
        messages_total: Live messages taken.
        conflated_total: Those of them that a newer one replaced before they were read.
        watched: Groups that clients watch, each client's counted.
        malformed_total: Live messages that could not be decoded, or are of another fleet.
        deltas_total: Deltas made, each sent to every client.
        snapshots_total: Clients that were given a snapshot.
        dropped_total: Clients let go because they fell behind.
        refused_total: Clients refused because there were too many.
        books_read_total: How often the ledger was read.
        books_failed_total: How often it could not be read.
        last_message_age_s: Wall time since the last live message, in seconds; None before the first.
    """

    clients: int
    messages_total: int
    conflated_total: int
    watched: int
    malformed_total: int
    deltas_total: int
    snapshots_total: int
    dropped_total: int
    refused_total: int
    books_read_total: int
    books_failed_total: int
    last_message_age_s: float | None


class LiveHub:
    """Feeds the model and the clients. Run `run()` in a task group.

    Args:
        model: The page's state.
        read_books: Reads the ledger as of an instant; blocks, runs in a thread.
        read_health: Says how the parts of the plant are; blocks, runs in a thread.
        now_ns: The plant's clock; None for a plant whose time is only known from its messages.
        queue_messages: How many messages a client may be behind.
        max_clients: How many clients are served at once.
    """

    def __init__(
        self,
        *,
        model: LiveModel,
        read_books: Callable[[int], Books],
        read_health: Callable[[], Sequence[RoleHealth]],
        now_ns: Callable[[], int] | None = None,
        queue_messages: int = QUEUE_MESSAGES,
        max_clients: int = MAX_CLIENTS,
    ) -> None:
        self._model = model
        self._read_books = read_books
        self._read_health = read_health
        self._clock_ns = now_ns
        self._queue_messages = queue_messages
        self._max_clients = max_clients
        self._listeners: set[Listener] = set()
        self._joining: set[Listener] = set()
        self._seq = 0
        self._news = asyncio.Event()
        self._books_wanted = asyncio.Event()
        self._books_wanted.set()
        self._hour = 0
        self._newest = Newest()
        self._last_message_s: float | None = None
        self._count: Counter[str] = Counter()

    # -- clients

    def is_full(self) -> bool:
        """Whether no further client is taken; each refusal is counted."""
        full = len(self._listeners) + len(self._joining) >= self._max_clients
        self._count["refused"] += full
        return full

    @contextlib.contextmanager
    def listening(self) -> Iterator[Listener]:
        """Yield a mailbox that gets a snapshot and then every delta."""
        listener = Listener(queue_messages=self._queue_messages)
        self._joining.add(listener)
        self._news.set()
        try:
            yield listener
        finally:
            self._joining.discard(listener)
            self._listeners.discard(listener)

    def watch(self, listener: Listener, group_ids: Sequence[str]) -> None:
        """Let a client have the figures of these groups from now on, and of no others.

        Names that there are not are left out, and what goes beyond `MAX_WATCHED`.
        """
        listener.watched = self._model.tree.known(group_ids[:MAX_WATCHED])
        listener.watched_refresh = -1
        self._news.set()

    def take_alerts(self, alerts: Sequence[AlertNow]) -> None:
        """Take the weather alerts that touch a site."""
        self._model.on_alerts(alerts)
        self._news.set()

    def catch_up(self) -> None:
        """Bring the newest aggregates into the model, when there is time for it."""
        self._read_newest()

    def state(self) -> LiveState:
        """Return the whole state as it is now."""
        self._read_newest()
        self._tell_time()
        return self._model.snapshot()

    def statistics(self) -> LiveStatistics:
        """Return the counters."""
        since_s = self._last_message_s
        return LiveStatistics(
            clients=len(self._listeners) + len(self._joining),
            messages_total=self._count["messages"],
            conflated_total=self._newest.replaced,
            watched=sum(len(listener.watched) for listener in self._listeners),
            malformed_total=self._count["malformed"],
            deltas_total=self._count["deltas"],
            snapshots_total=self._count["snapshots"],
            dropped_total=self._count["dropped"],
            refused_total=self._count["refused"],
            books_read_total=self._count["books_read"],
            books_failed_total=self._count["books_failed"],
            last_message_age_s=None if since_s is None else time.monotonic() - since_s,
        )

    # -- news

    async def subscribe(self, client: Client) -> None:
        """Take the live messages of the fabric; what cannot be taken in time is dropped by the client library.

        Raises:
            UnavailableError: when the fabric is away.
        """

        async def received(message: Msg) -> None:
            self.take(message.subject, message.data)

        with translated("the live messages"):
            await client.subscribe(
                LIVE_ALL,
                cb=received,
                pending_msgs_limit=_PENDING_MESSAGES,
                pending_bytes_limit=_PENDING_BYTES,
            )
            # Twice: the library's ping overtakes commands that it has not written yet, so only the second one
            # comes back after the subscription is in force.
            await client.flush()
            await client.flush()

    def take(self, subject: str, payload: bytes) -> None:
        """Take one live message; what cannot be decoded is counted and left."""
        self._count["messages"] += 1
        self._last_message_s = time.monotonic()
        if subject == LIVE_AGGREGATES:
            self._newest.put(payload)
            self._read_newest()
        else:
            self._try(subject, payload)
        self._news.set()

    def _read_newest(self) -> None:
        """Read the newest aggregates, when some wait and there is time for it."""
        payload = self._newest.take()
        if payload is not None:
            began_s = time.monotonic()
            self._try(LIVE_AGGREGATES, payload)
            self._newest.spent(time.monotonic() - began_s)

    def _try(self, subject: str, payload: bytes) -> None:
        try:
            taken = self._apply(subject, payload)
        except msgspec.DecodeError as error:
            taken = False
            _log.warning("live message not understood", subject=subject, why=str(error))
        self._count["malformed"] += not taken
        hour = self._model.now_ns // NS_PER_HOUR
        if hour != self._hour:
            self._hour = hour
            self._books_wanted.set()

    def _apply(self, subject: str, payload: bytes) -> bool:
        """Bring one message into the model; False when it is of another fleet."""
        if subject == LIVE_AGGREGATES:
            decoder = _JSON_AGGREGATES if payload[:1] == b"{" else _PACKED_AGGREGATES
            return self._model.on_aggregates(decoder.decode(payload))
        if subject == LIVE_RESOURCES:
            self._model.on_resources(_RESOURCES.decode(payload))
        elif subject == LIVE_RUNS:
            self._model.on_run(_RUN.decode(payload))
            self._books_wanted.set()
        elif subject == LIVE_QUARANTINE:
            self._model.on_quarantine(_QUARANTINE.decode(payload))
        elif subject == LIVE_ALARMS:
            self._model.on_alarms(_ALARMS.decode(payload))
        elif subject == LIVE_MONEY:
            self._books_wanted.set()
        return True

    def _tell_time(self) -> None:
        if self._clock_ns is not None:
            self._model.on_time(self._clock_ns())

    # -- tasks

    async def run(self) -> None:
        """Send deltas, read the ledger and the health, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send_deltas())
            tasks.create_task(self._follow_books())
            tasks.create_task(self._follow_health())

    async def _send_deltas(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._news.wait()
            self._news.clear()
            self._read_newest()
            self._flush()
            if self._newest.waits:
                self._news.set()
            await asyncio.sleep(DELTA_EVERY_S)

    def _flush(self) -> None:
        """Give every client one delta, empty as a sign of life, and every new one the snapshot after it."""
        if not self._listeners and not self._joining:
            return
        self._tell_time()
        delta = self._model.delta()
        self._seq += 1
        if self._listeners:
            message = DeltaMessage(seq=self._seq, set=dict(delta.set), append=dict(delta.append))
            text = msgspec.json.encode(message).decode()
            self._send_all(dict.fromkeys(self._listeners, text))
            self._count["deltas"] += 1
            self._send_all(self._watched_texts())
        if self._joining:
            snapshot = SnapshotMessage(seq=self._seq, state=self._model.snapshot())
            text = msgspec.json.encode(snapshot).decode()
            for listener in self._joining:
                listener.put_nowait(text)
            self._count["snapshots"] += len(self._joining)
            self._listeners |= self._joining
            self._joining.clear()

    def _send_all(self, texts: Mapping[Listener, str]) -> None:
        for listener, text in texts.items():
            if not listener.put_nowait(text) and listener in self._listeners:
                self._listeners.discard(listener)
                self._count["dropped"] += 1
                _log.warning("live client let go", why="it does not take what it is sent")

    def _watched_texts(self) -> dict[Listener, str]:
        """Return what each client is due to get of the groups that it watches; each group is encoded once."""
        now_s, refresh, as_of_ms = time.monotonic(), self._model.refreshes, self._model.groups_as_of_ms
        due = [
            listener
            for listener in self._listeners
            if listener.watched
            and listener.watched_refresh != refresh
            and (now_s >= listener.watched_due_s or listener.watched_refresh < 0)
        ]
        if as_of_ms is None or not due:
            return {}
        numbers = sorted({number for listener in due for number in listener.watched})
        views = self._model.groups(numbers)
        encoded = {n: msgspec.Raw(msgspec.json.encode(view)) for n, view in zip(numbers, views, strict=True)}
        texts = {}
        for listener in due:
            groups: list[Any] = [encoded[number] for number in listener.watched]
            message = GroupsMessage(as_of_ms=as_of_ms, groups=groups)
            texts[listener] = msgspec.json.encode(message).decode()
            listener.watched_refresh = refresh
            listener.watched_due_s = now_s + WATCHED_EVERY_S
        return texts

    async def _follow_books(self) -> None:
        """Read the ledger when something says so, and every minute, yet at most once a second."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BOOKS_IDLE_S):
                    await self._books_wanted.wait()
            self._books_wanted.clear()
            self._tell_time()
            if self._model.now_ns > 0:
                await self._refresh_books()
            await asyncio.sleep(BOOKS_EVERY_S)

    async def _refresh_books(self) -> None:
        try:
            books = await asyncio.to_thread(self._read_books, self._model.now_ns)
        except (ShoalError, msgspec.DecodeError) as error:
            # The page goes on with what it had; the next reading is due within a minute.
            self._count["books_failed"] += 1
            _log.warning("ledger not read", why=str(error))
            return
        self._model.on_ledger(books)
        self._count["books_read"] += 1
        self._news.set()

    async def _follow_health(self) -> None:
        last: list[RoleHealth] = []
        while True:
            health = list(await asyncio.to_thread(self._read_health))
            if health != last:
                last = health
                self._model.on_health(health)
                self._news.set()
            await asyncio.sleep(BOOKS_EVERY_S)
