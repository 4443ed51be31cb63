"""The guard: sees which connections talk too much, ends them, and keeps their devices out for a while.

It asks the servers for their connections by latest activity. So it need not read all of them: who floods is always
among the first. A connection's rate is the difference of two answers; one that is beyond the limit several times in a
row is ended, and its device is refused at the next sign-ins. Nobody else notices.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

import msgspec
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from shoal.domain.errors import InvalidInputError, UnavailableError
from shoal.fabric.admission import Admission
from shoal.fabric.config import PLANT_ACCOUNT
from shoal.fabric.connection import connect, translated
from shoal.fabric.keys import Keys, Role

CONNECTIONS_SUBJECT: Final = "$SYS.REQ.SERVER.PING.CONNZ"
_MOST_REMEMBERED: Final = 16_384
_LEAST_SPAN_S: Final = 0.2
"""Two answers closer than this say nothing about a rate."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardLimits:
    """What a connection may do, and what follows when it does more.

    Attributes:
        messages_per_s: Most messages a second of a device; a gateway may do so for each of its sites.
        bytes_per_s: The same for bytes.
        every_s: Time between two looks, in seconds.
        strikes: Looks in a row that must find it beyond a limit.
        cut_off_s: How long it is refused afterwards, in seconds.
        most_seen: Connections asked for at each look and server.
    """

    messages_per_s: float = 20.0
    bytes_per_s: float = 131_072.0
    every_s: float = 3.0
    strikes: int = 2
    cut_off_s: float = 60.0
    most_seen: int = 512

    def __post_init__(self) -> None:
        for name in ("messages_per_s", "bytes_per_s", "every_s", "strikes", "cut_off_s", "most_seen"):
            value = getattr(self, name)
            if not value > 0:
                raise InvalidInputError(field=name, value=value, fix="give a positive number")


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardStatistics:
    """What was seen and done so far.

    Attributes:
        looks_total: Answers of servers.
        connections_seen: Connections in the latest answer.
        strikes_total: How often a connection was found beyond a limit.
        cut_off_total: Connections ended.
        failures_total: Looks or cuts that did not succeed.
        busiest_messages_per_s: Of the connections in the latest answer, the highest rate.
    """

    looks_total: int
    connections_seen: int
    strikes_total: int
    cut_off_total: int
    failures_total: int
    busiest_messages_per_s: float


class _Connection(msgspec.Struct, frozen=True, gc=False):
    cid: int
    start: datetime
    in_msgs: int = 0
    in_bytes: int = 0
    authorized_user: str = ""


class _Connections(msgspec.Struct, frozen=True):
    server_id: str
    now: datetime
    connections: list[_Connection] = []


class _Answer(msgspec.Struct, frozen=True):
    data: _Connections


class _Seen(NamedTuple):
    """What is remembered of a connection: when it was looked at, its counters then, strikes so far."""

    at_s: float
    messages: int
    bytes: int
    strikes: int


class _Offender(NamedTuple):
    server_id: str
    cid: int
    device: str
    messages_per_s: float
    bytes_per_s: float


_ANSWER: Final = msgspec.json.Decoder(_Answer)


class Watch:
    """The memory of the guard: from answer to answer, who is beyond the limits. No I/O.

    Args:
        limits: The limits.
        spared: Users that are no devices.
        sites_of: For how many sites a device speaks.
    """

    def __init__(
        self,
        limits: GuardLimits,
        *,
        spared: Collection[str] = (),
        sites_of: Callable[[str], int] = lambda _: 1,
    ) -> None:
        self._limits = limits
        self._spared = frozenset(spared)
        self._sites_of = sites_of
        self._seen: OrderedDict[tuple[str, int], _Seen] = OrderedDict()
        self.strikes_total = 0
        self.connections_seen = 0
        self.busiest_messages_per_s = 0.0

    def look(self, payload: bytes) -> list[_Offender]:
        """Return who is to be cut off, from one server's answer.

        Raises:
            msgspec.MsgspecError: when it is not such an answer.
        """
        data = _ANSWER.decode(payload).data
        now_s = data.now.timestamp()
        offenders: list[_Offender] = []
        self.busiest_messages_per_s = 0.0
        self.connections_seen = len(data.connections)
        for one in data.connections:
            if not one.authorized_user or one.authorized_user in self._spared:
                continue
            key = (data.server_id, one.cid)
            before = self._seen.get(key) or _Seen(one.start.timestamp(), 0, 0, 0)
            span_s = now_s - before.at_s
            if span_s < _LEAST_SPAN_S:
                continue
            messages_per_s = (one.in_msgs - before.messages) / span_s
            bytes_per_s = (one.in_bytes - before.bytes) / span_s
            self.busiest_messages_per_s = max(self.busiest_messages_per_s, messages_per_s)
            sites = max(self._sites_of(one.authorized_user), 1)
            beyond = (
                messages_per_s > self._limits.messages_per_s * sites
                or bytes_per_s > self._limits.bytes_per_s * sites
            )
            strikes = before.strikes + 1 if beyond else 0
            self.strikes_total += beyond
            self._seen[key] = _Seen(now_s, one.in_msgs, one.in_bytes, strikes)
            self._seen.move_to_end(key)
            if strikes >= self._limits.strikes:
                offender = _Offender(
                    data.server_id, one.cid, one.authorized_user, messages_per_s, bytes_per_s
                )
                offenders.append(offender)
        while len(self._seen) > _MOST_REMEMBERED:
            self._seen.popitem(last=False)
        return offenders


class Guard:
    """Watches the connections of every server of the fabric. Run `serve()` in a task group.

    Args:
        keys: The plant's keys.
        admission: Where who was cut off is kept out.
        limits: The limits.
        sites_of: For how many sites a device speaks; more than one for a gateway.
    """

    def __init__(
        self,
        keys: Keys,
        admission: Admission,
        limits: GuardLimits | None = None,
        *,
        sites_of: Callable[[str], int] = lambda _: 1,
    ) -> None:
        self._seed = keys.seed(Role.GUARD)
        self._admission = admission
        self._limits = limits or GuardLimits()
        self._watch = Watch(self._limits, spared=keys.publics().values(), sites_of=sites_of)
        self._looks = self._cut_off = self._failures = 0

    async def serve(self, url: str, *, tls: ssl.SSLContext | None = None) -> None:
        """Look and cut off until cancelled, over any number of server restarts.

        Raises:
            UnavailableError: when the first connection fails, or the server ends the connection for good.
        """
        client = await connect(url, seed=self._seed, name="guard", tls=tls)
        question = msgspec.json.encode(
            {"sort": "last", "limit": self._limits.most_seen, "auth": True, "acc": PLANT_ACCOUNT}
        )

        inbox, outcome = client.new_inbox(), client.new_inbox()

        async def answered(message: Msg) -> None:
            await self._answered(client, message.data, outcome)

        async def ended(message: Msg) -> None:
            self._ended(message.data)

        try:
            with translated("the guard"):
                await client.subscribe(inbox, cb=answered)
                await client.subscribe(outcome, cb=ended)
            while True:
                began_s = time.monotonic()
                if client.is_closed:
                    raise UnavailableError("the guard", "the server ended its connection")
                if client.is_connected:  # otherwise the question would be asked late, and many times over
                    await self._publish(client, CONNECTIONS_SUBJECT, question, inbox)
                await asyncio.sleep(max(self._limits.every_s - (time.monotonic() - began_s), 0.0))
        finally:
            await client.close()

    def statistics(self) -> GuardStatistics:
        """Return what was seen and done so far."""
        return GuardStatistics(
            looks_total=self._looks,
            connections_seen=self._watch.connections_seen,
            strikes_total=self._watch.strikes_total,
            cut_off_total=self._cut_off,
            failures_total=self._failures,
            busiest_messages_per_s=round(self._watch.busiest_messages_per_s, 3),
        )

    async def _answered(self, client: Client, payload: bytes, outcome: str) -> None:
        try:
            offenders = self._watch.look(payload)
        except msgspec.MsgspecError as error:
            self._failures += 1
            _log.warning("connections not understood", why=str(error))
            return
        self._looks += 1
        for one in offenders:
            # First the door, then the connection: the device is back within milliseconds.
            self._admission.cut_off(one.device, self._limits.cut_off_s)
            kick = f"$SYS.REQ.SERVER.{one.server_id}.KICK"
            # A server does nothing for a request that it cannot answer.
            await self._publish(client, kick, msgspec.json.encode({"cid": one.cid}), outcome)
            self._cut_off += 1
            _log.warning(
                "device cut off",
                site=one.device,
                messages_per_s=round(one.messages_per_s, 1),
                bytes_per_s=round(one.bytes_per_s),
                for_s=self._limits.cut_off_s,
            )

    def _ended(self, payload: bytes) -> None:
        """Note what a server has made of ending a connection; one that is gone already is no failure worth a word."""
        self._failures += b'"error"' in payload

    async def _publish(self, client: Client, subject: str, payload: bytes, reply: str) -> None:
        try:
            with translated("the guard"):
                await client.publish(subject, payload, reply=reply)
        except UnavailableError as error:
            self._failures += 1
            _log.warning("guard not heard", why=error.why)
