"""A pull consumer on one connection: what was asked for, what has come, and whether anything is missing.

It is ephemeral and nothing is acknowledged: the reader's position is the only state, so a new consumer at that
position replaces a lost one. The consumer numbers its deliveries from 1; a hole in them is a lost delivery.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from nats.nuid import NUID
from numpy.typing import NDArray

from shoal.domain.errors import CorruptStateError, UnavailableError
from shoal.domain.interval import NS_PER_S
from shoal.fabric._frames import CONSUMER_SEQ
from shoal.fabric._wire import Wire

_EXPIRES_S: Final = 30.0
_HEARTBEAT_S: Final = 2.0
_INACTIVE_S: Final = 60.0
_CATCH_UP_S: Final = 3.0
_REQUEST_TIMEOUT_S: Final = 3.0
_PULL_BYTES: Final = 16 << 20
"""Demand is bounded in bytes too, or large messages would overrun what the server holds for one client."""
_MOST_DIGITS: Final = 19
_NOT_FOUND: Final = 404
_HEARTBEAT: Final = 100


class LostDeliveryError(ConnectionError):
    """The server sent messages that did not arrive."""


class PullConsumer:
    """One consumer and the demand that is on its way to the server."""

    def __init__(
        self,
        wire: Wire,
        *,
        stream: str,
        name: str,
        inbox: str,
        first_seq: int,
        batch: int,
        depth: int,
        wanted: Callable[[], int] | None = None,
    ) -> None:
        self.wire = wire
        self.first_seq = first_seq
        self._delete = f"PUB $JS.API.CONSUMER.DELETE.{stream}.{name} 0\r\n\r\n".encode()
        self._batch = batch
        self._depth = depth
        self._demand = 0
        self._seq = 0
        self._wanted = wanted
        self._inbox = inbox
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}"
        self._pull = self._request(batch)
        self.demand_more()

    @classmethod
    async def create(
        cls,
        wire: Wire,
        *,
        inbox: str,
        stream: str,
        filters: Sequence[str],
        start_seq: int,
        batch: int,
        depth: int,
        wanted: Callable[[], int] | None = None,
    ) -> PullConsumer:
        """Make a consumer at `start_seq`, or at the oldest message when that is later (see `first_seq`).

        Raises:
            CorruptStateError: when `start_seq` is beyond the end of the stream.
            UnavailableError: when there is no such stream.
            OSError: when the server cannot answer now.
        """
        first, last = await _span(wire, stream=stream, inbox=inbox)
        patient_until_s = time.monotonic() + _CATCH_UP_S
        while start_seq > last + 1 and time.monotonic() < patient_until_s:
            # The new leader of a cluster may not have looked at all that it holds.
            await asyncio.sleep(_CATCH_UP_S / 10)
            first, last = await _span(wire, stream=stream, inbox=inbox)
        if start_seq > last + 1:
            raise CorruptStateError(
                f"stream {stream}",
                f"position {start_seq} is wanted but it ends at {last}; was the store replaced?",
            )
        first_seq = max(start_seq, first)
        name = unique()
        config = {
            "name": name,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": first_seq,
            "ack_policy": "none",
            "replay_policy": "instant",
            "filter_subjects": list(filters),
            "max_waiting": 4 * depth,
            "inactive_threshold": int(_INACTIVE_S * NS_PER_S),
            "mem_storage": True,
            "num_replicas": 1,
        }
        request = {"stream_name": stream, "config": config, "action": "create"}
        await ask(wire, f"CONSUMER.CREATE.{stream}.{name}", request, stream=stream, inbox=inbox)
        return cls(
            wire,
            stream=stream,
            name=name,
            inbox=inbox,
            first_seq=first_seq,
            batch=batch,
            depth=depth,
            wanted=wanted,
        )

    def _request(self, batch: int) -> bytes:
        request = msgspec.json.encode(
            {
                "batch": batch,
                "expires": int(_EXPIRES_S * NS_PER_S),
                "idle_heartbeat": int(_HEARTBEAT_S * NS_PER_S),
                "max_bytes": _PULL_BYTES,
            }
        )
        return f"PUB {self._next} {self._inbox} {len(request)}\r\n".encode() + request + b"\r\n"

    def demand_more(self) -> None:
        """Ask for more unless enough is on its way."""
        if self._wanted is not None:
            lack = min(self._wanted(), self._batch) - self._demand
            if lack > 0:
                self._demand += lack
                self.wire.send(self._request(lack))
            return
        requests = 0
        while self._demand <= self._batch * (self._depth - 1):
            self._demand += self._batch
            requests += 1
        if requests:
            self.wire.send(self._pull * requests)

    def delivered(self, data: NDArray[np.int64]) -> int:
        """Count the deliveries in `data` (parsed frames); return how many there are before the first hole."""
        expected = np.arange(self._seq + 1, self._seq + 1 + data.shape[1])
        holes = np.flatnonzero(data[CONSUMER_SEQ] != expected)
        count = int(holes[0]) if len(holes) else data.shape[1]
        self._seq += count
        self._demand -= count
        return count

    def handle_status(self, headers: bytes) -> None:
        """Follow what the server says: 100 it is alive; 404, 408 and 409 with a remainder, a request has ended.

        Raises:
            LostDeliveryError: when messages went missing.
            ConnectionError: when the consumer is gone, or the server cannot be understood.
        """
        status, fields = _status(headers)
        if status == _HEARTBEAT:
            if _number(fields.get("nats-last-consumer", "0")) > self._seq:
                raise LostDeliveryError("a delivery was lost")
        elif "nats-pending-messages" in fields:
            left = _number(fields["nats-pending-messages"])
            if left > self._batch:
                raise ConnectionError(f"a request of at most {self._batch} ends with {left} left")
            self._demand -= left
        else:
            raise ConnectionError(f"the consumer answers with status {status}")

    def close(self) -> None:
        """Remove the consumer, if the server can still be told, and close the connection."""
        try:
            self.wire.send(self._delete)
        except OSError:
            pass  # it expires by itself
        finally:
            self.wire.close()


async def _span(wire: Wire, *, stream: str, inbox: str) -> tuple[int, int]:
    """Return the first and the last position of a stream."""
    info = await ask(wire, f"STREAM.INFO.{stream}", {}, stream=stream, inbox=inbox)
    return int(info["state"]["first_seq"]), int(info["state"]["last_seq"])


async def ask(wire: Wire, what: str, request: dict[str, Any], *, stream: str, inbox: str) -> dict[str, Any]:
    """Ask the server's journal API on a connection that is subscribed to `inbox`.

    Raises:
        UnavailableError: when there is no such stream.
        OSError: when the server cannot answer now.
    """
    body = msgspec.json.encode(request)
    answer = await wire.request(f"$JS.API.{what}", body, inbox=inbox, timeout_s=_REQUEST_TIMEOUT_S)
    error = answer.get("error")
    if error is None:
        return answer
    why = f"{error.get('description', 'refused')} ({error.get('err_code', error.get('code'))})"
    if error.get("code") == _NOT_FOUND:
        raise UnavailableError(f"stream {stream}", why)
    raise ConnectionError(why)


def unique() -> str:
    """Return a name that nobody else has."""
    return NUID().next().decode()


def _status(headers: bytes) -> tuple[int, dict[str, str]]:
    """Return the status of a header block, ``NATS/1.0 <code> ...``, and its fields by lower-case name."""
    lines = headers.decode("utf-8", errors="replace").split("\r\n")
    words = lines[0].split(" ", 2)
    status = _number(words[1]) if len(words) > 1 else 0
    fields = (line.partition(":") for line in lines[1:] if ":" in line)
    return status, {name.strip().lower(): value.strip() for name, _, value in fields}


def _number(text: str) -> int:
    """Return a decimal number.

    Raises:
        ConnectionError: when it is none.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        raise ConnectionError(f"the server says {text[:20]!r} where a number belongs")
    return int(text)
