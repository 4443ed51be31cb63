"""What devices are told: up to which sample all is safe, and from which one on to send again.

A device hears once in a while, and again when it repeats what was safe already. A hole that was there at two looks in a
row will not fill by itself: its device is asked for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from shoal.domain.desired import DurableUpTo
from shoal.domain.errors import UnavailableError
from shoal.telemetry.actor import Durable, ShardActor
from shoal.telemetry.contract import Publish


class DurableAnswers:
    """The answers that are still to be sent.

    Args:
        publish: Sends a message on a subject.
        subject: Subject on which the site in a fleet row hears what is safe.
    """

    def __init__(self, *, publish: Publish, subject: Callable[[int], str]) -> None:
        self._publish = publish
        self._subject = subject
        self._waiting: dict[int, tuple[int, bool]] = {}  # the latest of each row, in the order of asking

    def __len__(self) -> int:
        return len(self._waiting)

    async def collect(self, actors: Iterable[ShardActor]) -> None:
        """Note which devices are to be told what is safe, and which are to send again what is missing."""
        for actor in list(actors):
            try:
                (rows, seq), (holes, missing) = await actor.actor.ask(Durable())
            except UnavailableError:
                continue
            again = dict(zip(holes.tolist(), missing.tolist(), strict=True))
            for row, number in zip(rows.tolist(), seq.tolist(), strict=True):
                self._note(row, number, resend=again.pop(row, 0) > 0)
            for row, first in again.items():
                self._note(row, first - 1, resend=True)

    def _note(self, row: int, seq: int, *, resend: bool) -> None:
        _, was_resend = self._waiting.get(row, (0, False))
        self._waiting[row] = (seq, resend or was_resend)

    async def send(self, most: int) -> int:
        """Send at most so many answers; return how many were sent."""
        sent = 0
        while self._waiting and sent < most:
            row = next(iter(self._waiting))
            seq, resend = self._waiting.pop(row)
            answer = DurableUpTo(seq=seq, resend=resend)
            await self._publish(self._subject(row), msgspec.json.encode(answer))
            sent += 1
        return sent
