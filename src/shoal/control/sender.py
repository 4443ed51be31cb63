"""How messages leave: a cycle's set-points and documents as one batch, under one signature, counted.

Who holds no issuer key sends plain JSON, which only devices without a root key take.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

from shoal.domain.fleet import Fleet
from shoal.edge.signed import Issuer
from shoal.fabric.subjects import desired_subject, downlink_name, orders_subject

Kind: TypeAlias = Literal["desired", "orders"]
_SUBJECT: Final = {"desired": desired_subject, "orders": orders_subject}
_IN_A_THREAD: Final = 2_000
"""So many messages take longer to sign than the loop may stand still."""


class Outgoing(NamedTuple):
    """A message to one site."""

    row: int
    kind: Kind
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderStatistics:
    """Counters since the process started."""

    batches: int
    signed_batches: int
    desired: int
    orders: int
    sent_bytes: int


class Sender(Protocol):
    """Sends a cycle's messages."""

    async def send(self, messages: Sequence[Outgoing]) -> None:
        """Send all of them; returns when they have reached the fabric."""
        ...

    def statistics(self) -> SenderStatistics:
        """Return the counters."""
        ...


class FabricSender:
    """Sends over the fabric.

    Args:
        fleet: Whose rows are meant.
        publish: Publishes on a subject.
        flush: Returns when everything published has reached the fabric.
        issuer: Signs; None sends plain JSON.
    """

    def __init__(
        self,
        fleet: Fleet,
        *,
        publish: Callable[[str, bytes], Awaitable[None]],
        flush: Callable[[], Awaitable[None]],
        issuer: Issuer | None = None,
    ) -> None:
        self._fleet = fleet
        self._publish = publish
        self._flush = flush
        self._issuer = issuer
        self._subjects: dict[tuple[int, Kind], str] = {}
        self._batches = self._signed = self._desired = self._orders = self._bytes = 0

    async def send(self, messages: Sequence[Outgoing]) -> None:
        """Send all of them; returns when they have reached the fabric."""
        if not messages:
            return
        payloads = await self._frames(messages)
        for message, payload in zip(messages, payloads, strict=True):
            await self._publish(self._subject(message.row, message.kind), payload)
            self._bytes += len(payload)
        await self._flush()
        self._batches += 1
        desired = sum(message.kind == "desired" for message in messages)
        self._desired += desired
        self._orders += len(messages) - desired

    async def _frames(self, messages: Sequence[Outgoing]) -> Sequence[bytes]:
        if self._issuer is None:
            return [message.payload for message in messages]
        self._signed += 1
        sites = self._fleet.site_ids
        batch = [(str(sites[message.row]), message.kind, message.payload) for message in messages]
        if len(batch) < _IN_A_THREAD:
            return self._issuer.sign_batch(batch)
        return await asyncio.to_thread(self._issuer.sign_batch, batch)

    def _subject(self, row: int, kind: Kind) -> str:
        subject = self._subjects.get((row, kind))
        if subject is None:
            subject = self._subjects[row, kind] = _SUBJECT[kind](downlink_name(self._fleet, row))
        return subject

    def statistics(self) -> SenderStatistics:
        """Return the counters."""
        return SenderStatistics(
            batches=self._batches,
            signed_batches=self._signed,
            desired=self._desired,
            orders=self._orders,
            sent_bytes=self._bytes,
        )
