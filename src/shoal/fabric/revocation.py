"""What becomes of a device whose secret is good no more: its connections end, and it is kept out until that is known.

Sign-ins are checked against the registry, but a connection lasts as long as the device likes. So whoever was revoked, or
given a new secret, is looked for on every server and ended there; until a few looks in a row find nothing, because one that
signed in a moment earlier is not connected yet. Once the new secret is let in, nobody is looked for any more.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final

import msgspec
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from shoal.domain.errors import ShoalError, UnavailableError
from shoal.domain.interval import NS_PER_S
from shoal.fabric.admission import Admission
from shoal.fabric.config import PLANT_ACCOUNT
from shoal.fabric.connection import connect, translated
from shoal.fabric.guard import CONNECTIONS_SUBJECT
from shoal.fabric.keys import Keys, Role

EVERY_S: Final = 2.0
LOOKS: Final = 3
KEPT_OUT_S: Final = 31.0
"""A verified secret is believed for half a minute without asking again; see `shoal.fabric.identity`."""
MOST_CONNECTIONS: Final = 256
"""Of one device and server, in one answer; those beyond it are in the next."""
MOST_ASKED: Final = 64
"""Devices that are asked for in one look: to find one, a server goes through all its connections."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationStatistics:
    """What was done so far.

    Attributes:
        devices_total: Devices whose secret had changed.
        ended_total: Connections of theirs that were ended.
        sought: Devices that are still looked for.
        failures_total: Looks or ends that did not succeed.
    """

    devices_total: int
    ended_total: int
    sought: int
    failures_total: int


class _Connection(msgspec.Struct, frozen=True, gc=False):
    cid: int
    start: datetime
    authorized_user: str = ""


class _Connections(msgspec.Struct, frozen=True):
    server_id: str
    connections: list[_Connection] = []


class _Answer(msgspec.Struct, frozen=True):
    data: _Connections


@dataclass(slots=True, kw_only=True)
class _Sought:
    """A device that is looked for.

    Attributes:
        before_ns: Only what began before it is ended; None for all.
        looks_left: So many more that find nothing.
        until_s: By the monotonic clock, when the search ends in any case; None before it was asked for.
    """

    before_ns: int | None
    looks_left: int = LOOKS
    until_s: float | None = None

    def is_meant(self, one: _Connection) -> bool:
        if self.until_s is None or time.monotonic() > self.until_s:
            return False
        return self.before_ns is None or one.start.timestamp() * NS_PER_S < self.before_ns


_ANSWER: Final = msgspec.json.Decoder(_Answer)


class Revocation:
    """Ends connections of devices whose secret changed. Run `serve()` in a task group.

    Args:
        keys: The plant's keys.
        admission: Where they are kept out for a while.
        changed: Returns the devices whose secret was revoked or replaced since it was last asked; those that came to be
            known late with the instant (UTC, ns) before which a connection is of the former secret.
        every_s: Time between two looks, in seconds.
        kept_out_s: How long a sign-in is refused at the door, in seconds.
    """

    def __init__(
        self,
        keys: Keys,
        admission: Admission,
        changed: Callable[[], Awaitable[Mapping[str, int | None]]],
        *,
        every_s: float = EVERY_S,
        kept_out_s: float = KEPT_OUT_S,
    ) -> None:
        self._seed = keys.seed(Role.GUARD)
        self._admission = admission
        self._changed = changed
        self._every_s = every_s
        self._kept_out_s = kept_out_s
        self._sought: dict[str, _Sought] = {}
        self._devices = self._ended = self._failures = 0

    async def serve(self, url: str, *, tls: ssl.SSLContext | None = None) -> None:
        """Look and end until cancelled, over any number of server restarts.

        Raises:
            UnavailableError: when the first connection fails, or the server ends the connection for good.
        """
        client = await connect(url, seed=self._seed, name="revocation", tls=tls)
        inbox, outcome = client.new_inbox(), client.new_inbox()

        async def answered(message: Msg) -> None:
            await self._answered(client, message.data, outcome)

        async def ended(message: Msg) -> None:
            self._failures += b'"error"' in message.data

        try:
            with translated("revocation"):
                await client.subscribe(inbox, cb=answered)
                await client.subscribe(outcome, cb=ended)
            while True:
                began_s = time.monotonic()
                if client.is_closed:
                    raise UnavailableError("revocation", "the server ended its connection")
                await self._look(client, inbox)
                await asyncio.sleep(max(self._every_s - (time.monotonic() - began_s), 0.0))
        finally:
            await client.close()

    def statistics(self) -> RevocationStatistics:
        """Return what was done so far."""
        return RevocationStatistics(
            devices_total=self._devices,
            ended_total=self._ended,
            sought=len(self._sought),
            failures_total=self._failures,
        )

    async def _look(self, client: Client, inbox: str) -> None:
        try:
            changed = await self._changed()
        except ShoalError as error:  # whatever it is: with this look would end everybody's sign-in
            self._failures += 1
            _log.warning("changed secrets are not known", why=str(error))
            changed = {}
        for device, before_ns in changed.items():
            # First the door, then the connection: the device is back within milliseconds. What became known late needs no
            # closed door: a secret is not believed for as long.
            if before_ns is None:
                self._admission.cut_off(device, self._kept_out_s)
            self._sought.pop(device, None)
            self._sought[device] = _Sought(before_ns=before_ns)
            self._devices += 1
        if not client.is_connected:
            return  # what is asked now would be asked late, and many times over
        for device, sought in list(islice(self._sought.items(), MOST_ASKED)):
            del self._sought[device]
            now_s = time.monotonic()
            if not sought.looks_left or (sought.until_s is not None and now_s > sought.until_s):
                continue  # the answers to the last look have come
            self._sought[device] = sought  # behind all others
            question = {"auth": True, "acc": PLANT_ACCOUNT, "user": device, "limit": MOST_CONNECTIONS}
            if await self._publish(client, CONNECTIONS_SUBJECT, msgspec.json.encode(question), inbox):
                sought.looks_left -= 1
                if sought.until_s is None:
                    sought.until_s = now_s + self._kept_out_s

    async def _answered(self, client: Client, payload: bytes, outcome: str) -> None:
        try:
            said = _ANSWER.decode(payload).data
        except msgspec.MsgspecError as error:
            self._failures += 1
            _log.warning("connections not understood", why=str(error))
            return
        for one in said.connections:
            sought = self._sought.get(one.authorized_user)
            if sought is None or not sought.is_meant(one):
                continue
            kick = f"$SYS.REQ.SERVER.{said.server_id}.KICK"
            # A server does nothing for a request that it cannot answer.
            await self._publish(client, kick, msgspec.json.encode({"cid": one.cid}), outcome)
            sought.looks_left = LOOKS
            self._ended += 1
            _log.info("connection ended", device=one.authorized_user, why="its secret is good no more")

    async def _publish(self, client: Client, subject: str, payload: bytes, reply: str) -> bool:
        try:
            with translated("revocation"):
                await client.publish(subject, payload, reply=reply)
        except UnavailableError as error:
            self._failures += 1
            _log.warning("revocation not heard", why=error.why)
            return False
        return True
