"""The MQTT sessions of many devices of one process with the broker: sites, and gateways that speak for several.

A session is a row of columns. Nothing waits: `poll` does whatever the sockets and the deadlines ask for and
returns what came in. A row has one deadline, whose meaning follows from its phase: when to try again, when to
give up connecting, when to ping. Devices that lose the broker together come back spread over a time, not together.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from types import TracebackType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError, UnavailableError, WireFormatError
from shoal.domain.ids import SiteId
from shoal.edge import mqtt
from shoal.edge.downlink import Message, is_refused, message_of, subscription
from shoal.edge.sockets import READ, WRITE, Sockets
from shoal.flow.retry import Backoff

_HEADS: Final = tuple(b"\x30" + mqtt.remaining_length(size) for size in range(16_384))


class Phase(IntEnum):
    """How far a session is."""

    DOWN = 0
    CONNECTING = 1
    SIGN_IN = 2
    SUBSCRIBE = 3
    UP = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSettings:
    """Limits of the sessions.

    Attributes:
        connect_timeout_s: From the first packet to the granted subscription.
        backoff_base_s: The first wait after a failure is random between 0 and this; it doubles each time.
        backoff_cap_s: The longest wait, unless `spread_s` is longer.
        spread_s: No wait is drawn from less than this: a whole fleet that lost the broker comes back over so long a
            time. In proportion to the fleet; the plant can say another one.
        max_unsent_bytes: What a row may keep while its socket takes nothing; beyond it the row is dropped.
        max_packet_bytes: The longest packet taken from the broker.
    """

    connect_timeout_s: float = 20.0
    backoff_base_s: float = 0.5
    backoff_cap_s: float = 30.0
    spread_s: float = 0.0
    max_unsent_bytes: int = 262_144
    max_packet_bytes: int = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkStatistics:
    """What the sessions have done so far.

    Attributes:
        sites: Rows.
        up: Those connected and subscribed now.
        connecting: Those on their way.
        down: Those waiting for their next attempt, or held down.
        attempts: Connections begun.
        went_up: Sessions that came to be up.
        refused_by_code: Sign-ins refused, by the code of CONNACK.
        dropped_by_reason: Sessions ended: ``closed``, ``os_error``, ``tls``, ``wire_format``, ``refused``,
            ``subscription``, ``timeout``, ``silent``, ``unsent_full`` or ``held_down``.
        published: Messages that a session has taken.
        not_published: Messages offered while the row was not up, or lost with it.
        received: Messages returned by `poll`.
        unexpected: Packets of the broker that nobody had asked for.
        pings: Keep-alive packets sent.
        unsent_bytes: Bytes that wait for a socket now.
    """

    sites: int
    up: int
    connecting: int
    down: int
    attempts: int
    went_up: int
    refused_by_code: dict[int, int]
    dropped_by_reason: dict[str, int]
    published: int
    not_published: int
    received: int
    unexpected: int
    pings: int
    unsent_bytes: int


class Links:
    """The sessions of N devices. Not for two threads at once.

    Attributes:
        up: Whether each device is connected and subscribed (N); read only.
        phase: The `Phase` of each device (N); read only.
        spread_s: See `LinkSettings`; may be set at any time.
    """

    def __init__(
        self,
        host: str,
        port: int,
        site_ids: Sequence[SiteId],
        secrets: Sequence[str],
        *,
        tls: ssl.SSLContext | None,
        keep_alive_s: int,
        rng_seed: int,
        monotonic_s: Callable[[], float] = time.monotonic,
        settings: LinkSettings | None = None,
        gateways: Collection[int] = (),
    ) -> None:
        """Prepare the rows; nothing connects before `connect_all`.

        Args:
            host: The broker's name or address.
            port: Its MQTT port.
            site_ids: The devices; each is its own client id and user name.
            secrets: Their passwords.
            tls: How to check the broker; None for plain TCP.
            keep_alive_s: After one and a half times this in silence the broker drops a client.
            rng_seed: Seed of the jitter.
            monotonic_s: Wall time in seconds, for deadlines only.
            settings: Limits; the defaults when None.
            gateways: Rows of the devices that speak for several sites.

        Raises:
            InvalidInputError: when sites and secrets differ in number, or the keep-alive is no 16-bit number.
        """
        sites = len(site_ids)
        if len(secrets) != sites:
            raise InvalidInputError(field="secrets", value=len(secrets), fix=f"one for each of {sites} sites")
        if not 1 <= keep_alive_s <= 65_535:
            raise InvalidInputError(field="keep_alive_s", value=keep_alive_s, fix="1 to 65535 s")
        self._host, self._port = host, port
        self._keep_alive_s = keep_alive_s
        self._settings = settings or LinkSettings()
        self._backoff = Backoff(first_s=self._settings.backoff_base_s, cap_s=self._settings.backoff_cap_s)
        self.spread_s = self._settings.spread_s
        self._monotonic_s = monotonic_s
        self._rng = np.random.default_rng(rng_seed)
        self._hello = [
            mqtt.connect(client_id=site, username=site, password=secret, keep_alive_s=keep_alive_s)
            for site, secret in zip(site_ids, secrets, strict=True)
        ]
        behind = set(gateways)
        self._subscription = [subscription(site, gateway=row in behind) for row, site in enumerate(site_ids)]
        self._names = list(site_ids)
        self._tele_topic = [mqtt.text(f"dev/{site}/tele") for site in site_ids]
        self._report_topic = [b""] * sites
        self._down_topic = [f"to/{site}/".encode() for site in site_ids]
        self._addresses: list[tuple[int, Any]] = []
        self._sockets = Sockets(sites, host=host, tls=tls, max_unsent_bytes=self._settings.max_unsent_bytes)
        self._partial = [b""] * sites
        self._deadline_s = np.full(sites, np.inf)
        # No deadline is earlier: most polls need not look at all of them.
        self._soonest_s = np.inf
        self._failures = np.zeros(sites, dtype=np.int64)
        self._ping_open = np.zeros(sites, dtype=np.bool_)
        self._held = np.zeros(sites, dtype=np.bool_)
        self._newly_up = np.zeros(sites, dtype=np.bool_)
        self.phase = np.zeros(sites, dtype=np.uint8)
        self.up = np.zeros(sites, dtype=np.bool_)
        self._rate_per_s = 1.0
        self._tokens = 0.0
        self._tokens_at_s = monotonic_s()
        self._refused: Counter[int] = Counter()
        self._dropped: Counter[str] = Counter()
        self._attempts = self._ups = self._published = self._not_published = 0
        self._received = self._unexpected = self._pings = 0

    def __enter__(self) -> Links:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def fileno(self) -> int:
        """Return a descriptor that is readable when `poll` has something to do; deadlines are not in it.

        Raises:
            UnavailableError: when this platform has none.
        """
        return self._sockets.fileno()

    def connect_all(self, max_rate_per_s: float) -> None:
        """Let every row that is down connect, and later reconnect, at most so many a second all together.

        This looks up the broker's name, which may wait for a name server.

        Raises:
            UnavailableError: when the broker's name has no address.
            InvalidInputError: when the rate is not positive.
        """
        if not max_rate_per_s > 0:
            raise InvalidInputError(field="max_rate_per_s", value=max_rate_per_s, fix="give a positive rate")
        try:
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise UnavailableError(f"broker {self._host}:{self._port}", str(error)) from error
        self._addresses = [(family, address) for family, _, _, _, address in found]
        self._rate_per_s = max_rate_per_s
        self._tokens, self._tokens_at_s = 1.0, self._monotonic_s()
        self._deadline_s[(self.phase == Phase.DOWN) & ~self._held] = self._tokens_at_s
        self._soonest_s = -np.inf

    def hold_down(self, rows: Iterable[int]) -> None:
        """Disconnect sites, without a goodbye, and keep them so until `release`."""
        for row in rows:
            self._held[row] = True
            if self.phase.item(row) != Phase.DOWN:
                self._drop(row, "held_down")
            self._deadline_s[row] = np.inf

    def release(self, rows: Iterable[int]) -> None:
        """Let sites that were held down connect again."""
        now_s = self._monotonic_s()
        for row in rows:
            if self._held[row]:
                self._held[row] = False
                self._set_deadline(row, now_s if self._addresses else np.inf)

    def publish(self, row: int, payload: bytes) -> bool:
        """Send telemetry of a site at QoS 0; return False when it is not up.

        True says that the session has taken it, not that it arrived: keep the samples until they are durable.
        What the socket does not take at once waits in a bounded buffer; when that is full the session is
        dropped, for the outbox has the samples.
        """
        return self._publish_each((row,), (payload,)) == 1

    def publish_many(self, rows: NDArray[np.int64], payloads: Sequence[bytes]) -> int:
        """Send telemetry of many sites, see `publish`; return how many messages were taken.

        Raises:
            InvalidInputError: when there is not one payload for each row.
        """
        if len(rows) != len(payloads):
            raise InvalidInputError(
                field="payloads", value=len(payloads), fix=f"one for each of {len(rows)} rows"
            )
        return self._publish_each(rows.tolist(), payloads)

    def publish_hello(self, row: int, payload: bytes) -> bool:
        """Say which versions of telemetry a device can send; return False when it is not up."""
        if not self.up[row]:
            return False
        return not self._mind(
            row, self._sockets.write(row, mqtt.publish(f"dev/{self._names[row]}/hello", payload))
        )

    def publish_answer(self, row: int, payload: bytes, *, unit: int = 0, kind: str = "report") -> bool:
        """Say what a device, or the site numbered `unit` behind it, does with a command; return False when it is not up.

        The `kind` is ``report``, ``reading`` for what a meter says while the site is armed for regulation, or ``answer`` to
        prices.
        """
        if not self.up[row]:
            return False
        if unit or kind != "report":
            name = f"{self._names[row]}/{unit}" if unit else self._names[row]
            topic = mqtt.text(f"dev/{name}/{kind}")
        else:
            topic = self._report_topic[row]
            if not topic:
                topic = self._report_topic[row] = mqtt.text(f"dev/{self._names[row]}/report")
        return not self._mind(row, self._sockets.write(row, _packet(topic, payload)))

    def poll(self, timeout_s: float = 0.0) -> list[Message]:
        """Do what sockets and deadlines ask for, waiting at most `timeout_s`, and return what came in."""
        now_s = self._monotonic_s()
        self._act_on_deadlines(now_s)
        messages: list[Message] = []
        # `item` because comparing a numpy scalar with an enum costs microseconds, in every event.
        for row, mask in self._sockets.ready(self._wait_s(now_s, timeout_s)):
            if self.phase.item(row) == Phase.CONNECTING:
                self._advance(row)
                continue
            if mask & WRITE:
                self._mind(row, self._sockets.flush(row))
            if mask & READ and self.phase.item(row) != Phase.DOWN:
                self._receive(row, messages)
        self._received += len(messages)
        return messages

    def went_up(self) -> NDArray[np.int64]:
        """Return the rows that came up since this was last asked and still are: send what they missed."""
        rows = np.flatnonzero(self._newly_up)
        self._newly_up[rows] = False
        return rows

    def statistics(self) -> LinkStatistics:
        """Return what was counted so far."""
        down = int(np.count_nonzero(self.phase == Phase.DOWN))
        up = int(np.count_nonzero(self.up))
        return LinkStatistics(
            sites=len(self.up),
            up=up,
            connecting=len(self.up) - up - down,
            down=down,
            attempts=self._attempts,
            went_up=self._ups,
            refused_by_code=dict(self._refused),
            dropped_by_reason=dict(self._dropped),
            published=self._published,
            not_published=self._not_published,
            received=self._received,
            unexpected=self._unexpected,
            pings=self._pings,
            unsent_bytes=self._sockets.unsent_bytes,
        )

    def close(self) -> None:
        """Say goodbye where that does not block, and close everything."""
        for row in np.flatnonzero(self.up).tolist():
            send = self._sockets.send[row]
            if send is not None:
                with contextlib.suppress(OSError):
                    send(mqtt.DISCONNECT)
        self._sockets.close_all()
        self.phase[:] = Phase.DOWN
        self.up[:] = self._newly_up[:] = False
        self._deadline_s[:] = np.inf

    def _publish_each(self, rows: Iterable[int], payloads: Sequence[bytes]) -> int:
        up, write, topic_of = self.up, self._sockets.write, self._tele_topic
        taken = 0
        for row, payload in zip(rows, payloads, strict=True):
            if not up[row]:
                continue
            reason = write(row, _packet(topic_of[row], payload))
            if reason:
                self._drop(row, reason)
            else:
                taken += 1
        self._published += taken
        self._not_published += len(payloads) - taken
        return taken

    def _wait_s(self, now_s: float, timeout_s: float) -> float:
        if timeout_s <= 0:
            return 0.0
        # Rows whose time has come but which the rate holds back wait for the next token.
        wait_s = self._soonest_s - now_s if self._soonest_s > now_s else 1.0 / self._rate_per_s
        return min(timeout_s, wait_s)

    def _advance(self, row: int) -> None:
        reason = self._sockets.advance(row)
        if reason is None:
            return
        if not self._mind(row, reason):
            self.phase[row] = Phase.SIGN_IN
            self._mind(row, self._sockets.write(row, self._hello[row]))

    def _receive(self, row: int, messages: list[Message]) -> None:
        data, reason = self._sockets.read(row)
        packets: list[mqtt.Packet] = []
        buffer = self._partial[row] + data if self._partial[row] else data
        try:
            used = mqtt.parse(buffer, packets, self._settings.max_packet_bytes)
        except WireFormatError:
            self._drop(row, "wire_format")
            return
        self._partial[row] = buffer[used:] if used < len(buffer) else b""
        prefix = self._down_topic[row]
        for packet in packets:
            if type(packet) is mqtt.Publish:
                message = message_of(row, packet, prefix)
                if message is None:
                    self._unexpected += 1
                else:
                    messages.append(message)
            elif self.phase.item(row) != Phase.DOWN:
                self._control(row, packet)
        if reason and self.phase.item(row) != Phase.DOWN:
            self._drop(row, reason)

    def _control(self, row: int, packet: mqtt.Packet) -> None:
        """Act on a packet that is not a message."""
        phase = self.phase.item(row)
        if isinstance(packet, mqtt.ConnAck) and phase == Phase.SIGN_IN:
            if packet.code:
                self._refused[packet.code] += 1
                self._drop(row, "refused")
            else:
                self.phase[row] = Phase.SUBSCRIBE
                self._mind(row, self._sockets.write(row, self._subscription[row]))
        elif isinstance(packet, mqtt.SubAck) and phase == Phase.SUBSCRIBE:
            if is_refused(packet.codes):
                self._drop(row, "subscription")
            else:
                self.phase[row] = Phase.UP
                self.up[row] = self._newly_up[row] = True
                self._ups += 1
                self._set_deadline(row, self._monotonic_s() + self._next_ping_s())
        elif isinstance(packet, mqtt.PingResp) and self._ping_open[row]:
            self._ping_open[row] = False
            # Only a session that lasted is a success: one that is dropped at once keeps backing off.
            self._failures[row] = 0
        else:
            self._unexpected += 1

    def _next_ping_s(self) -> float:
        # Spread out, so that rows which came up together do not ping together for ever.
        return self._keep_alive_s * float(self._rng.uniform(0.3, 0.6))

    def _set_deadline(self, row: int, at_s: float) -> None:
        self._deadline_s[row] = at_s
        self._soonest_s = min(self._soonest_s, at_s)

    def _act_on_deadlines(self, now_s: float) -> None:
        if now_s >= self._soonest_s:
            self._act_on(np.flatnonzero(self._deadline_s <= now_s), now_s)
            self._soonest_s = float(self._deadline_s.min(initial=np.inf))

    def _act_on(self, due: NDArray[np.int64], now_s: float) -> None:
        """Do what is due: pings, ends of sessions that are silent, and attempts, as many as the rate lets."""
        phase = self.phase[due]
        for row in due[phase == Phase.UP].tolist():
            if self._ping_open[row]:
                self._drop(row, "silent")
                continue
            self._ping_open[row] = True
            self._pings += 1
            self._deadline_s[row] = now_s + self._next_ping_s()
            self._mind(row, self._sockets.write(row, mqtt.PINGREQ))
        for row in due[(phase != Phase.UP) & (phase != Phase.DOWN)].tolist():
            self._drop(row, "timeout")
        # At most a tenth of a second's worth at once, so that a pause is not followed by a crowd.
        earned = (now_s - self._tokens_at_s) * self._rate_per_s
        self._tokens = min(self._tokens + earned, max(1.0, self._rate_per_s / 10.0))
        self._tokens_at_s = now_s
        waiting = due[phase == Phase.DOWN]
        # The longest overdue first: otherwise rows that fail at once would keep later ones from ever trying.
        for row in waiting[np.argsort(self._deadline_s[waiting])][: int(self._tokens)].tolist():
            self._tokens -= 1.0
            self._begin(row, now_s)

    def _begin(self, row: int, now_s: float) -> None:
        """Start to connect, to another of the broker's addresses after each failure."""
        family, address = self._addresses[int(self._failures[row]) % len(self._addresses)]
        self._attempts += 1
        self.phase[row] = Phase.CONNECTING
        self._deadline_s[row] = now_s + self._settings.connect_timeout_s
        self._mind(row, self._sockets.open(row, family, address))

    def _mind(self, row: int, reason: str) -> bool:
        """Drop the row when an operation gave a reason to; return whether it did."""
        if reason:
            self._drop(row, reason)
        return bool(reason)

    def _drop(self, row: int, reason: str) -> None:
        """End a session and set the time of the next attempt: exponential back-off, full jitter over the spread."""
        self._sockets.close(row)
        self._partial[row] = b""
        self.phase[row] = Phase.DOWN
        self.up[row] = self._newly_up[row] = self._ping_open[row] = False
        self._dropped[reason] += 1
        self._failures[row] += 1
        ceiling_s = max(self._backoff.ceiling_s(int(self._failures[row])), self.spread_s)
        wait_s = ceiling_s * float(self._rng.random())
        self._set_deadline(row, np.inf if self._held[row] else self._monotonic_s() + wait_s)


def _packet(topic: bytes, payload: bytes) -> bytes:
    """Return PUBLISH at QoS 0 on a topic that carries its length already."""
    size = len(topic) + len(payload)
    head = _HEADS[size] if size < len(_HEADS) else b"\x30" + mqtt.remaining_length(size)
    return head + topic + payload
