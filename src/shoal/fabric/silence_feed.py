"""The learned table of silent sites over the engine: who keeps history writes it, who sums up the fleet follows.

It is small enough for a register. A writer names the version that it has seen, so of two that learn at once one counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import structlog
from nats.aio.client import Client

from shoal.domain.errors import CorruptStateError, UnavailableError
from shoal.fabric._registers import ConflictError, Registers
from shoal.fabric.subjects import OWNERS_STREAM, SILENCE_GROUP, register_subject
from shoal.twin.silence_learned import LearnedSilence, decode_learned, encode_learned

LOOK_EVERY_S: Final = 5.0

_log = structlog.get_logger(__name__)


class KeptSilence(NamedTuple):
    """What the register holds: its version (0 for never written), and the table unless it is none that can be used."""

    seq: int
    learned: LearnedSilence | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedStatistics:
    """What a follower has seen.

    Attributes:
        taken_total: Tables taken since the process began.
        refused_total: Tables that could not be used.
        learned_s: When the newest one was learned, plant time in seconds since 1970; 0 for none.
        sites: From how many sites.
    """

    taken_total: int
    refused_total: int
    learned_s: float
    sites: int


class SilenceFeed:
    """Publishes or follows the table.

    Args:
        client: A connection with the rights to do so.
    """

    def __init__(self, client: Client) -> None:
        self._registers = Registers(client, stream=OWNERS_STREAM, timeout_s=5.0)
        self._subject = register_subject(SILENCE_GROUP, "table")
        self._taken = self._refused = 0
        self._newest: LearnedSilence | None = None

    async def current(self) -> KeptSilence:
        """Return the table as it was published last; one that cannot be used is refused, with a line in the log.

        Raises:
            UnavailableError: when the engine does not answer.
        """
        entry = await self._registers.read(self._subject)
        if entry is None:
            return KeptSilence(0, None)
        try:
            learned = decode_learned(entry.data)
        except CorruptStateError as error:
            self._refused += 1
            _log.warning("table of silent sites refused, the one in use stays", why=str(error))
            return KeptSilence(entry.seq, None)
        self._taken += 1
        self._newest = learned
        return KeptSilence(entry.seq, learned)

    async def publish(self, learned: LearnedSilence, *, over: int) -> int:
        """Make this the table that followers get, over the version that `current` gave; return the new version.

        Raises:
            UnavailableError: when the engine does not answer, or somebody else has published meanwhile.
        """
        try:
            return await self._registers.write(self._subject, encode_learned(learned), over=over)
        except ConflictError as error:
            raise UnavailableError(
                "the table of silent sites", "somebody else has learned another"
            ) from error

    async def changes(self, after: int) -> AsyncIterator[LearnedSilence]:
        """Give every usable table that is published after this version, or the latest of several, for ever."""
        known = after
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                entry = await self._registers.read(self._subject)
                if entry is None or entry.seq == known:
                    continue
                found = await self.current()
            except UnavailableError as error:
                _log.info("table of silent sites not read", why=str(error))
                continue
            known = found.seq
            if found.learned is not None:
                yield found.learned

    def statistics(self) -> FeedStatistics:
        """Return the counters."""
        newest = self._newest
        return FeedStatistics(
            taken_total=self._taken,
            refused_total=self._refused,
            learned_s=newest.learned_ns / 1e9 if newest else 0.0,
            sites=newest.sites if newest else 0,
        )
