"""The bulk reader of the journal: every message once, in order, from a given position, whatever happens on the way.

It owns no state in the server: an ephemeral pull consumer is made at the next position that is wanted, and made again
there after any trouble. Demand goes upstream: the server sends only what was asked for, and the next request leaves
before the last one is used up, so an idle journal delivers at once and a busy one never pauses.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import numpy as np
import structlog
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError, UnavailableError
from shoal.fabric._consumer import LostDeliveryError, PullConsumer, ask, unique
from shoal.fabric._frames import (
    DATA,
    KIND,
    MESSAGE,
    PAYLOAD_AT,
    PAYLOAD_BYTES,
    PENDING,
    STREAM_SEQ,
    SUBJECT_AT,
    SUBJECT_BYTES,
    TIMESTAMP_NS,
)
from shoal.fabric._wire import Address, ProtocolError, Wire
from shoal.fabric.batch import JournalBatch
from shoal.fabric.connection import addresses
from shoal.fabric.keys import Identity

MOST_BATCH: Final = 10_000
"""Messages of a request; larger ones bring nothing more."""
_SILENCE_S: Final = 6.0
_CONNECT_TIMEOUT_S: Final = 5.0
_BACKOFF_S: Final = (0.05, 2.0)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalStatistics:
    """What the reader did so far.

    Attributes:
        messages: Delivered to the caller.
        bytes: Their payloads.
        next_seq: The position that it waits for.
        pending: How far it is behind, in messages.
        connected: Whether it has a consumer now.
        reconnects: How often it had to connect again.
        lost_deliveries: How often messages were missing on the way and were fetched again.
        malformed: How often the server's bytes were no frames.
        discarded: Positions that the stream's limits had discarded before they were read.
        last_fault: Why it reconnected last; empty when it never did.
    """

    messages: int
    bytes: int
    next_seq: int
    pending: int
    connected: bool
    reconnects: int
    lost_deliveries: int
    malformed: int
    discarded: int
    last_fault: str


class JournalReader:
    """Reads a stream from a position on. One task reads; `last_seq` may be asked by another.

    Args:
        address: ``nats://host:port`` or ``tls://host:port``; several of a cluster with commas between.
        seed: The reader's identity.
        stream: Name of the stream.
        filters: Subject filters that do not overlap, see `journal_filter`; without any, everything comes, which is
            by far the cheapest for the engine.
        start_seq: The first position wanted, from 1.
        batch: Messages asked for in one request.
        depth: Requests on their way at once.
        tls: Trust for a server with TLS.
        name: Shown in the server's monitoring.
        eager: Whether demand is always on its way to the server; otherwise only what `ask` asked for is.
    """

    def __init__(
        self,
        address: str,
        *,
        seed: str,
        stream: str,
        filters: Sequence[str] = (),
        start_seq: int,
        batch: int = MOST_BATCH,
        depth: int = 2,
        tls: ssl.SSLContext | None = None,
        name: str = "journal-reader",
        eager: bool = True,
    ) -> None:
        if batch < 1 or depth < 2:
            raise InvalidInputError(
                field="journal batch, depth", value=(batch, depth), fix="at least 1 and 2"
            )
        self._addresses = deque(Address.parse(one) for one in addresses(address) or [address])
        self._identity = Identity.from_seed(seed)
        self._stream = stream
        self._filters = list(filters)
        self._batch = batch
        self._depth = depth
        self._tls = tls
        self._name = name
        self._consumer: PullConsumer | None = None
        self._side: tuple[Wire, str] | None = None
        self._side_lock = asyncio.Lock()
        self._next_seq = max(1, start_seq)
        self._eager = eager
        self._owed = 0
        self._retry_at_s = 0.0
        self._backoff_s = _BACKOFF_S[0]
        self._connections = 0
        self._messages = 0
        self._bytes = 0
        self._pending = 0
        self._lost_deliveries = 0
        self._malformed = 0
        self._discarded = 0
        self._last_fault = ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def read(self, max_wait_s: float) -> JournalBatch | None:
        """Return the next messages as soon as there are any, or None after `max_wait_s`.

        While the server is away this waits and tries again; an attempt to connect may take longer than `max_wait_s`,
        5 s at most. Cancelling loses nothing.

        Raises:
            UnavailableError: when the server refuses the identity, or has no such stream.
            CorruptStateError: when the position is beyond the end of the stream: the store was replaced.
        """
        deadline_s = time.monotonic() + max_wait_s
        await asyncio.sleep(0)  # a reader that always finds data must not keep others from running
        while True:
            try:
                consumer = self._consumer or await self._connect(deadline_s)
                if consumer is None:
                    return None
                while (frames := consumer.wire.parse()) > 0:
                    if (batch := self._take(consumer, frames)) is not None:
                        return batch
                if not consumer.wire.receive_nowait() and not await self._wait(consumer.wire, deadline_s):
                    return None
            except OSError as error:
                self._drop(error)

    def ask(self, count: int) -> None:
        """Let at least `count` more messages come (for a reader that is not eager); `read` brings them."""
        self._owed = max(self._owed, count)
        if self._consumer is not None:
            try:
                self._consumer.demand_more()
            except OSError as error:
                self._drop(error)

    async def last_seq(self) -> int:
        """Return the position of the newest message of the stream, 0 when it never had one.

        Raises:
            UnavailableError: when the server does not answer, or has no such stream.
        """
        async with self._side_lock:
            try:
                if self._side is None:
                    self._side = await self._open()
                wire, inbox = self._side
                info = await ask(wire, f"STREAM.INFO.{self._stream}", {}, stream=self._stream, inbox=inbox)
            except OSError as error:
                self._close_side()
                raise UnavailableError(
                    f"stream {self._stream}", str(error) or type(error).__name__
                ) from error
            except BaseException:
                self._close_side()
                raise
            return int(info["state"]["last_seq"])

    def statistics(self) -> JournalStatistics:
        """Return what the reader did so far."""
        return JournalStatistics(
            messages=self._messages,
            bytes=self._bytes,
            next_seq=self._next_seq,
            pending=self._pending,
            connected=self._consumer is not None,
            reconnects=max(0, self._connections - 1),
            lost_deliveries=self._lost_deliveries,
            malformed=self._malformed,
            discarded=self._discarded,
            last_fault=self._last_fault,
        )

    async def close(self) -> None:
        """Remove the consumer and close the connections."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None
        self._close_side()

    async def _connect(self, deadline_s: float) -> PullConsumer | None:
        """Return a new consumer at the next position, or None when the time is over before the next attempt."""
        wait_s, left_s = self._retry_at_s - time.monotonic(), deadline_s - time.monotonic()
        if wait_s > 0:
            await asyncio.sleep(max(0.0, min(wait_s, left_s)))
            if wait_s >= left_s:
                return None
        wire, inbox = await self._open()
        try:
            consumer = await PullConsumer.create(
                wire,
                inbox=inbox,
                stream=self._stream,
                filters=self._filters,
                start_seq=self._next_seq,
                batch=self._batch,
                depth=self._depth,
                wanted=None if self._eager else lambda: self._owed,
            )
        except BaseException:
            wire.close()
            raise
        if consumer.first_seq > self._next_seq:
            missed = consumer.first_seq - self._next_seq
            _log.warning("journal discarded unread messages", stream=self._stream, positions=missed)
            self._discarded += missed
            self._next_seq = consumer.first_seq
        self._consumer = consumer
        self._connections += 1
        return consumer

    async def _open(self) -> tuple[Wire, str]:
        """Return a connection that is subscribed to the inbox beside it, to the first server that takes it."""
        for left in reversed(range(len(self._addresses))):
            try:
                wire = await Wire.open(
                    self._addresses[0],
                    identity=self._identity,
                    name=self._name,
                    tls=self._tls,
                    timeout_s=_CONNECT_TIMEOUT_S,
                )
                break
            except OSError:
                self._addresses.rotate(-1)
                if not left:
                    raise
        inbox = f"{self._identity.inbox_prefix}.{unique()}"
        wire.send(f"SUB {inbox} 1\r\n".encode())
        return wire, inbox

    async def _wait(self, wire: Wire, deadline_s: float) -> bool:
        """Wait for bytes; return False when the time is over.

        Raises:
            ConnectionError: when not even a heartbeat has come for too long.
        """
        now_s = time.monotonic()
        silent_at_s = wire.received_at_s + _SILENCE_S
        if now_s >= silent_at_s:
            raise ConnectionError(f"nothing heard for {_SILENCE_S:.0f} s")
        if now_s >= deadline_s:
            return False
        await wire.wait_readable(min(deadline_s, silent_at_s) - now_s)
        return True

    def _take(self, consumer: PullConsumer, count: int) -> JournalBatch | None:
        """Turn parsed frames into a batch, and answer the others among them.

        Raises:
            OSError: when the connection is of no more use and there is no batch; with a batch in hand that is
                settled here, for the batch must not be lost.
            UnavailableError: likewise, when the server refuses something.
        """
        frames = consumer.wire.frames[:, :count]
        is_data = frames[KIND] == DATA
        data = frames if is_data.all() else frames[:, is_data]
        whole = consumer.delivered(data)
        batch = self._batch_of(consumer.wire, data[:, :whole]) if whole else None
        try:
            if whole < data.shape[1]:
                raise LostDeliveryError("a delivery was lost")
            for frame in np.flatnonzero(~is_data).tolist():
                if int(frames[KIND, frame]) == MESSAGE:
                    consumer.handle_status(consumer.wire.text(frame, headers=True))
                else:
                    consumer.wire.handle_control(frame)
            consumer.demand_more()
        except (OSError, UnavailableError) as error:
            if batch is None:
                raise
            self._drop(error)
        return batch

    def _batch_of(self, wire: Wire, data: NDArray[np.int64]) -> JournalBatch:
        seq = data[STREAM_SEQ].copy()
        self._next_seq = int(seq[-1]) + 1
        self._owed = max(0, self._owed - len(seq))
        self._pending = int(data[PENDING, -1])
        self._messages += len(seq)
        self._bytes += int(data[PAYLOAD_BYTES].sum())
        self._backoff_s = _BACKOFF_S[0]
        low = int(data[SUBJECT_AT, 0])
        end = int(data[PAYLOAD_AT, -1] + data[PAYLOAD_BYTES, -1])
        return JournalBatch(
            buffer=wire.buffer[low:end].copy(),
            subject_at=data[SUBJECT_AT] - low,
            subject_bytes=data[SUBJECT_BYTES].copy(),
            payload_at=data[PAYLOAD_AT] - low,
            payload_bytes=data[PAYLOAD_BYTES].copy(),
            seq=seq,
            timestamp_ns=data[TIMESTAMP_NS].copy(),
            pending=self._pending,
        )

    def _drop(self, error: Exception) -> None:
        """Give the connection up; the next read makes a new one, at the next position."""
        if self._consumer is not None:
            self._consumer.wire.close()
            self._consumer = None
        self._addresses.rotate(-1)
        self._malformed += isinstance(error, ProtocolError)
        self._lost_deliveries += isinstance(error, LostDeliveryError)
        self._last_fault = str(error) or type(error).__name__
        self._retry_at_s = time.monotonic() + self._backoff_s * random.uniform(0.5, 1.0)
        self._backoff_s = min(2 * self._backoff_s, _BACKOFF_S[1])
        _log.info("journal reader reconnects", stream=self._stream, at=self._next_seq, why=self._last_fault)

    def _close_side(self) -> None:
        if self._side is not None:
            self._side[0].close()
            self._side = None
