"""The fleet over the engine: who keeps the registry publishes it, everybody else follows, on whatever machine.

The newest fleet is a snapshot; a register says which one that is. A follower looks at the register every few seconds,
which costs next to nothing, and loads the snapshot when there is another one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog
from nats.aio.client import Client

from shoal.domain.errors import CorruptStateError, UnavailableError
from shoal.domain.fleet import Fleet
from shoal.domain.fleet_codec import fleet_arrays, fleet_of
from shoal.fabric._registers import ConflictError, Registers
from shoal.fabric.snapshots import Snapshots
from shoal.fabric.subjects import FLEET_GROUP, OWNERS_STREAM, register_subject

LOOK_EVERY_S: Final = 2.0
_UNIT: Final = "fleet"
_TRIES: Final = 5

_log = structlog.get_logger(__name__)


class _Current(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    valid_from_ns: int
    sites: int
    reference: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFleet:
    """A fleet that holds from an instant on.

    Attributes:
        fleet: The fleet.
        version: Of the registry.
        valid_from_ns: The instant; memberships take effect at it.
    """

    fleet: Fleet
    version: int
    valid_from_ns: int


class FleetFeed:
    """Publishes or follows the fleet.

    Args:
        client: A connection with the rights to do so.
    """

    def __init__(self, client: Client) -> None:
        self._registers = Registers(client, stream=OWNERS_STREAM, timeout_s=5.0)
        self._snapshots = Snapshots(client, group=FLEET_GROUP)
        self._subject = register_subject(FLEET_GROUP, _UNIT)

    async def publish(self, published: PublishedFleet) -> None:
        """Make this the fleet that followers get.

        Raises:
            UnavailableError: when the engine does not answer.
        """
        arrays = fleet_arrays(published.fleet)
        reference = await self._snapshots.save(_UNIT, published.version, arrays)
        current = _Current(
            version=published.version,
            valid_from_ns=published.valid_from_ns,
            sites=len(published.fleet.site_ids),
            reference=reference,
        )
        for _ in range(_TRIES):
            before = await self._registers.read(self._subject)
            with contextlib.suppress(ConflictError):
                await self._registers.write(
                    self._subject, msgspec.msgpack.encode(current), over=before.seq if before else 0
                )
                await self._snapshots.purge(reference)
                return
        raise UnavailableError("the fleet's register", "somebody else keeps writing it")

    async def current(self) -> PublishedFleet | None:
        """Return the fleet as it was published last, None before the first time.

        Raises:
            UnavailableError: when the engine does not answer.
            CorruptStateError: when it cannot be read.
        """
        for left in reversed(range(_TRIES)):
            current = await self._look()
            if current is None:
                return None
            try:
                arrays = await self._snapshots.load(current.reference)
            except CorruptStateError:
                if not left:
                    raise
                continue  # a newer one may have replaced it while it was read
            return PublishedFleet(
                fleet=fleet_of(arrays), version=current.version, valid_from_ns=current.valid_from_ns
            )
        raise AssertionError("unreachable")

    async def changes(self, after: PublishedFleet) -> AsyncIterator[PublishedFleet]:
        """Give every fleet that is published after this one, or the latest of several, for ever."""
        known = (after.version, after.valid_from_ns)
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                current = await self._look()
                if current is None or (current.version, current.valid_from_ns) == known:
                    continue
                fresh = await self.current()
            except (UnavailableError, CorruptStateError) as error:
                _log.info("fleet not read", why=str(error))
                continue
            if fresh is not None:
                known = (fresh.version, fresh.valid_from_ns)
                yield fresh

    async def _look(self) -> _Current | None:
        entry = await self._registers.read(self._subject)
        if entry is None:
            return None
        try:
            return msgspec.msgpack.decode(entry.data, type=_Current)
        except msgspec.MsgspecError as error:
            raise CorruptStateError("the fleet's register", str(error)) from error
