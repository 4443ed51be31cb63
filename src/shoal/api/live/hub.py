"""The hub between the fabric and every open page: news comes in, and goes out as one encoded delta for all who are alike.

A client follows topics and gets what changed of them, at most five times a second; what it is behind comes in one
message, so a slow one is held up by itself alone. Deltas have of the groups the roots alone; a client says which others
it watches, and gets those once a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from shoal.api.door.rights import LOCAL, Caller
from shoal.api.live.feeds import Feeds
from shoal.api.live.listener import Listener
from shoal.api.live.messages import GroupsMessage
from shoal.api.live.model import LiveModel
from shoal.api.live.newest import Newest
from shoal.api.live.state import AlertNow, LiveState, RoleHealth
from shoal.api.live.statistics import LiveStatistics
from shoal.api.live.topics import SERIES, TOPICS, Board, known_topics
from shoal.api.live.views import Books
from shoal.control.doing import ControlNow
from shoal.domain.alarms import LiveAlarms
from shoal.domain.errors import ShoalError
from shoal.domain.interval import NS_PER_HOUR
from shoal.domain.live import Aggregates, QuarantineState, ResourceState, WorkflowRun
from shoal.fabric.connection import translated
from shoal.fabric.subjects import (
    LIVE_AGGREGATES,
    LIVE_ALARMS,
    LIVE_ALL,
    LIVE_CONTROL,
    LIVE_MONEY,
    LIVE_QUARANTINE,
    LIVE_RESOURCES,
    LIVE_RUNS,
)

DELTA_EVERY_S: Final = 0.2
HEARTBEAT_S: Final = 5.0
BOOKS_EVERY_S: Final = 1.0
BOOKS_IDLE_S: Final = 60.0
CLOCK_EVERY_S: Final = 1.0
"""How often a client is told the time where nothing else has changed."""
MAX_CLIENTS: Final = 1_200
MAX_WATCHED: Final = 200
WATCHED_EVERY_S: Final = 1.0
_PENDING_MESSAGES: Final = 1_024
_PENDING_BYTES: Final = 64 << 20

_log = structlog.get_logger(__name__)

_JSON_AGGREGATES: Final = msgspec.json.Decoder(Aggregates)
_PACKED_AGGREGATES: Final = msgspec.msgpack.Decoder(Aggregates)
_RESOURCES: Final = msgspec.json.Decoder(list[ResourceState])
_RUN: Final = msgspec.json.Decoder(WorkflowRun)
_CONTROL: Final = msgspec.msgpack.Decoder(ControlNow)
_ALARMS: Final = msgspec.json.Decoder(LiveAlarms)
_QUARANTINE: Final = msgspec.json.Decoder(QuarantineState)


class LiveHub:
    """Feeds the model and the clients. Run `run()` in a task group.

    Args:
        model: The page's state.
        read_books: Reads the ledger as of an instant; blocks, runs in a thread.
        read_health: Says how the parts of the plant are; blocks, runs in a thread.
        now_ns: The plant's clock; None for a plant whose time is only known from its messages.
        max_clients: How many clients are served at once.
    """

    def __init__(
        self,
        *,
        model: LiveModel,
        read_books: Callable[[int], Books],
        read_health: Callable[[], Sequence[RoleHealth]],
        now_ns: Callable[[], int] | None = None,
        max_clients: int = MAX_CLIENTS,
    ) -> None:
        self._model = model
        self._read_books = read_books
        self._read_health = read_health
        self._clock_ns = now_ns
        self._max_clients = max_clients
        self._listeners: set[Listener] = set()
        self._epoch = secrets.token_hex(8)
        self._board = Board()
        self._board.begin(model.parts())
        self._news = asyncio.Event()
        self.feeds = Feeds(self._board, on_news=self._news.set)
        self._books_wanted = asyncio.Event()
        self._books_wanted.set()
        self._hour = 0
        self._newest = Newest()
        self._groups_refresh = -1
        self._groups_encoded: dict[int, msgspec.Raw] = {}
        self._last_message_s: float | None = None
        self._count: Counter[str] = Counter()

    # -- clients

    def is_full(self) -> bool:
        """Whether no further client is taken; each refusal is counted."""
        full = len(self._listeners) >= self._max_clients
        self._count["refused"] += full
        return full

    @contextlib.contextmanager
    def listening(
        self,
        *,
        topics: Iterable[str] = tuple(TOPICS),
        caller: Caller = LOCAL,
        epoch: str = "",
        since: int | None = None,
    ) -> Iterator[Listener]:
        """Yield a client that gets everything that it follows, and then every change.

        Args:
            topics: What it follows; names that there are not are left out.
            caller: Who it is.
            epoch: Of which run of this process it has something.
            since: Up to where it has it.
        """
        listener = Listener(topics=(), caller=caller)
        if not self._listeners:
            self._put_up()  # nobody looked for a while
        if epoch == self._epoch and since is not None and 0 <= since <= self._board.seq:
            listener.seq = since
            self._count["resumed"] += 1
        self.follow(listener, topics)
        listener.fresh.clear()  # what it has nothing of it gets with its first message, or has already
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
            self.feeds.leave(listener.feeds)

    def follow(self, listener: Listener, topics: Iterable[str]) -> None:
        """Let a client follow these topics from now on, and no others."""
        asked = tuple(topics)
        named = known_topics(asked) if "see" in listener.caller.rights else known_topics(())
        feeds = self.feeds.allowed(asked, listener.caller)
        wanted = {*named, *feeds}
        # What was asked for a moment ago and not sent yet is still owed.
        listener.fresh = (listener.fresh & wanted) | (wanted - {*listener.topics, *listener.feeds})
        self.feeds.follow(feeds)
        self.feeds.leave(listener.feeds)
        listener.topics, listener.feeds = named, feeds
        listener.wake()

    def texts_for(self, listener: Listener) -> list[str]:
        """Return the messages that are due to a client."""
        now_s, board = time.monotonic(), self._board
        texts = [] if (slow := listener.take_slow()) is None else [slow]
        if listener.seq is None:
            texts.append(board.snapshot(listener.topics, listener.feeds, epoch=self._epoch))
            listener.seq = board.seq
            listener.fresh.clear()
            self._count["snapshots"] += 1
        elif board.seq > listener.seq or listener.fresh:
            text, news = board.delta(listener.seq, listener.topics, listener.feeds, whole=listener.fresh)
            if news or listener.fresh or now_s - listener.told_s >= CLOCK_EVERY_S:
                texts.append(text)
                listener.seq = board.seq
                listener.fresh.clear()
        watched = self._watched_text(listener, now_s)
        return texts if watched is None else [*texts, watched]

    def watch(self, listener: Listener, group_ids: Sequence[str]) -> None:
        """Let a client have the figures of these groups from now on, and of no others.

        Names that there are not are left out, and what goes beyond `MAX_WATCHED`.
        """
        listener.watched = self._model.tree.known(group_ids[:MAX_WATCHED])
        listener.watched_refresh = -1
        listener.wake()

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
            clients=len(self._listeners),
            messages_total=self._count["messages"],
            conflated_total=self._newest.replaced,
            watched=sum(len(listener.watched) for listener in self._listeners),
            feeds=self.feeds.followed,
            feeds_read_total=self.feeds.read_total,
            feeds_failed_total=self.feeds.failed_total,
            malformed_total=self._count["malformed"],
            deltas_total=self._count["deltas"],
            snapshots_total=self._count["snapshots"],
            resumed_total=self._count["resumed"],
            slow=sum(listener.slow for listener in self._listeners),
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
        elif subject == LIVE_CONTROL:
            return self._model.on_control(_CONTROL.decode(payload))
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
            tasks.create_task(self.feeds.run())

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
        """Put up what changed, and wake every client."""
        if not self._listeners:
            return
        self._put_up()
        self._count["deltas"] += 1
        for listener in self._listeners:
            listener.wake()

    def _put_up(self) -> None:
        self._tell_time()
        delta = self._model.delta()
        self._board.change(delta.set, delta.append.get(SERIES), self._model.series)

    def _watched_text(self, listener: Listener, now_s: float) -> str | None:
        """Return what a client is due to get of the groups that it watches; each group is encoded once a refresh."""
        refresh, as_of_ms = self._model.refreshes, self._model.groups_as_of_ms
        if not listener.watched or as_of_ms is None or listener.watched_refresh == refresh:
            return None
        if now_s < listener.watched_due_s and listener.watched_refresh >= 0:
            return None
        if self._groups_refresh != refresh:
            self._groups_refresh = refresh
            self._groups_encoded.clear()
        missing = [number for number in listener.watched if number not in self._groups_encoded]
        for number, view in zip(missing, self._model.groups(missing), strict=True):
            self._groups_encoded[number] = msgspec.Raw(msgspec.json.encode(view))
        groups: list[Any] = [self._groups_encoded[number] for number in listener.watched]
        listener.watched_refresh = refresh
        listener.watched_due_s = now_s + WATCHED_EVERY_S
        return msgspec.json.encode(GroupsMessage(as_of_ms=as_of_ms, groups=groups)).decode()

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
