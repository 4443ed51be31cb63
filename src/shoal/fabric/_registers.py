"""Registers in the engine: one message a subject, written only over the version that the writer has seen.

The engine compares and sets: a write that names an older version is refused, whoever sends it and however late it
arrives. Keys of members vanish by themselves when they are not written again in time; the engine's clock decides.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from shoal.domain.errors import UnavailableError
from shoal.fabric.connection import translated

_WRONG_LAST_SEQUENCE: Final = 10071
_NO_MESSAGE: Final = 10037
_LAST: Final = re.compile(r"(\d+)\s*$")
_ENDS: Final = frozenset({"204", "404"})


class ConflictError(Exception):
    """A write over a version that is no longer the newest; `newest` is the one that is."""

    def __init__(self, newest: int) -> None:
        super().__init__(f"the newest version is {newest}")
        self.newest = newest


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A message of the stream: its version (position) and its content."""

    seq: int
    data: bytes


@dataclass(slots=True, kw_only=True)
class _Pending:
    entries: dict[str, Entry] = field(default_factory=dict)
    expected: int = 0
    done: asyncio.Future[None]


class Registers:
    """Reads and writes the newest message of subjects of one stream."""

    def __init__(self, client: Client, *, stream: str, timeout_s: float = 1.0) -> None:
        self._client = client
        self._stream = stream
        self._timeout_s = timeout_s
        self._inbox = client.new_inbox()
        self._subscription: Subscription | None = None
        self._pending: dict[str, _Pending] = {}
        self._asked = 0

    async def open(self) -> None:
        """Subscribe to the answers of `read_all`.

        Raises:
            UnavailableError: when the connection is closed.
        """
        with translated(f"stream {self._stream}"):
            self._subscription = await self._client.subscribe(f"{self._inbox}.*", cb=self._received)

    async def close(self) -> None:
        """Take the subscription back."""
        if self._subscription is not None and not self._client.is_closed:
            with contextlib.suppress(UnavailableError), translated(f"stream {self._stream}"):
                await self._subscription.unsubscribe()
        self._subscription = None

    async def write(
        self, subject: str, data: bytes, *, over: int | None = None, ttl_s: int | None = None
    ) -> int:
        """Write, and return the new version.

        Args:
            subject: Of the register.
            data: Its new content.
            over: The version that this replaces, 0 for none; None replaces whatever there is.
            ttl_s: After how long it vanishes unless it is written again, in whole seconds; None for never.

        Raises:
            ConflictError: when `over` is not the newest version.
            UnavailableError: when no answer comes in time: the write may have happened or may happen yet.
        """
        headers: dict[str, Any] = {}
        if over is not None:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(over)
        if ttl_s is not None:
            headers["Nats-TTL"] = f"{ttl_s}s"
        answer = await self._ask(subject, data, headers or None)
        if (error := answer.get("error")) is not None:
            why = str(error.get("description", "refused"))
            if error.get("err_code") == _WRONG_LAST_SEQUENCE:
                newest = _LAST.search(why)
                raise ConflictError(int(newest[1]) if newest else 0)
            raise UnavailableError(f"stream {self._stream}", why)
        return int(answer["seq"])

    async def read(self, subject: str) -> Entry | None:
        """Return the newest message of a subject as the leader of the stream has it, or None when there is none.

        Raises:
            UnavailableError: when no answer comes in time.
        """
        request = msgspec.json.encode({"last_by_subj": subject})
        answer = await self._ask(f"$JS.API.STREAM.MSG.GET.{self._stream}", request, None)
        if (error := answer.get("error")) is not None:
            if error.get("err_code") == _NO_MESSAGE:
                return None
            raise UnavailableError(f"stream {self._stream}", str(error.get("description", "refused")))
        message = answer["message"]
        return Entry(seq=int(message["seq"]), data=base64.b64decode(message.get("data", "")))

    async def read_all(self, filters: Sequence[str]) -> dict[str, Entry]:
        """Return the newest message of every subject that matches, as one server of the cluster has them.

        That may be a server that is behind, but it shows the stream as it was at some moment.

        Raises:
            UnavailableError: when no whole answer comes in time.
        """
        self._asked += 1
        token = str(self._asked)
        pending = _Pending(done=asyncio.get_running_loop().create_future())
        self._pending[token] = pending
        request = msgspec.json.encode({"multi_last": list(filters)})
        try:
            with translated(f"stream {self._stream}"):
                await self._client.publish(
                    f"$JS.API.DIRECT.GET.{self._stream}", request, reply=f"{self._inbox}.{token}"
                )
                async with asyncio.timeout(self._timeout_s):
                    await pending.done
        finally:
            del self._pending[token]
        return pending.entries

    async def _received(self, message: Msg) -> None:
        pending = self._pending.get(message.subject.rpartition(".")[2])
        if pending is None or pending.done.done():
            return
        headers = message.headers or {}
        status = headers.get("Status")
        if status is None:
            pending.expected = pending.expected or int(headers["Nats-Num-Pending"]) + 1
            pending.entries[headers["Nats-Subject"]] = Entry(
                seq=int(headers["Nats-Sequence"]), data=message.data
            )
        elif status in _ENDS and len(pending.entries) == pending.expected:
            pending.done.set_result(None)
        else:
            pending.done.set_exception(
                UnavailableError(f"stream {self._stream}", f"an answer broke off with status {status}")
            )

    async def _ask(self, subject: str, data: bytes, headers: dict[str, Any] | None) -> dict[str, Any]:
        with translated(f"stream {self._stream}"):
            reply = await self._client.request(subject, data, timeout=self._timeout_s, headers=headers)
        answer: dict[str, Any] = msgspec.json.decode(reply.data)
        return answer
