"""How messages leave: a cycle's set-points and documents in batches, each under one signature, counted.

The first batch is on its way while the next is made, so nobody waits for the last to be signed. Who holds no issuer key sends
plain JSON, which only devices without a root key take.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

from shoal.domain.fleet import Fleet
from shoal.fabric.subjects import desired_subject, downlink_name, orders_subject

Kind: TypeAlias = Literal["desired", "orders"]
_SUBJECT: Final = {"desired": desired_subject, "orders": orders_subject}
BATCH: Final = 512
"""So many messages share a signature: few enough for short proofs and for the loop not to stand still, enough for the
signature to weigh nothing."""


class Signer(Protocol):
    """Signs for a plant; `shoal.edge.signed.Issuer` does with one certificate, `shoal.control.issuing.LivingIssuer` for good."""

    def sign_batch(self, messages: Sequence[tuple[str, str, bytes]]) -> list[bytes]:
        """Return the frames of messages `(site, kind, payload)`."""
        ...


PublishMany: TypeAlias = Callable[[Sequence[tuple[bytes, bytes]]], Awaitable[None]]
"""Publishes pairs of subject and payload."""


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
        publish_many: Publishes a batch at once, in place of `publish`; None for a connection that cannot.
    """

    def __init__(
        self,
        fleet: Fleet,
        *,
        publish: Callable[[str, bytes], Awaitable[None]],
        flush: Callable[[], Awaitable[None]],
        issuer: Signer | None = None,
        publish_many: PublishMany | None = None,
    ) -> None:
        self._fleet = fleet
        self._publish = publish
        self._flush = flush
        self._issuer = issuer
        self._publish_many = publish_many or self._publish_each
        self._subjects: dict[tuple[int, Kind], bytes] = {}
        self._batches = self._signed = self._desired = self._orders = self._bytes = 0

    async def send(self, messages: Sequence[Outgoing]) -> None:
        """Send all of them; returns when they have reached the fabric."""
        if not messages:
            return
        for first in range(0, len(messages), BATCH):
            batch = messages[first : first + BATCH]
            payloads = self._frames(batch)
            await self._publish_many(
                [
                    (self._subject(message.row, message.kind), payload)
                    for message, payload in zip(batch, payloads, strict=True)
                ]
            )
            self._bytes += sum(map(len, payloads))
            await asyncio.sleep(0)  # lets it leave, and others go on
        await self._flush()
        self._batches += 1
        desired = sum(message.kind == "desired" for message in messages)
        self._desired += desired
        self._orders += len(messages) - desired

    def _frames(self, messages: Sequence[Outgoing]) -> Sequence[bytes]:
        if self._issuer is None:
            return [message.payload for message in messages]
        self._signed += 1
        sites = self._fleet.site_ids
        return self._issuer.sign_batch(
            [(str(sites[message.row]), message.kind, message.payload) for message in messages]
        )

    async def _publish_each(self, messages: Sequence[tuple[bytes, bytes]]) -> None:
        for subject, payload in messages:
            await self._publish(subject.decode(), payload)

    def _subject(self, row: int, kind: Kind) -> bytes:
        subject = self._subjects.get((row, kind))
        if subject is None:
            subject = self._subjects[row, kind] = _SUBJECT[kind](downlink_name(self._fleet, row)).encode()
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
