"""The site's session with the plant: says what waits, hears what is asked, and finds its way back.

Telemetry is sent from the store until the plant calls it durable. After an outage the backlog and the session itself come
back at a place of the site's own in time, so that a street that had no network does not return as one.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Callable
from typing import Final

import numpy as np

from shoal.domain.errors import UnavailableError, WireFormatError
from shoal.domain.ids import SiteId
from shoal.domain.orders import OrderReport
from shoal.domain.pace import decode_pace
from shoal.edge import agent
from shoal.edge.downlink import Message
from shoal.edge.link import Links, LinkSettings
from shoal.edge.negotiation import Negotiation
from shoal.edge.orders_report import encode_report
from shoal.edge.pacing import Pacing
from shoal.edge.site_mind import Kind
from shoal.edge.store_forward import StoreForward

_ROW: Final = 0
_ONE: Final = np.array([0])
_KEEP_ALIVE_S: Final = 60
_MOST_AT_ONCE: Final = 600
"""Samples of a backlog that are sent in one go."""
_RESOLVE_AGAIN_S: Final = (5.0, 60.0)
_LOOK_UP_AGAIN_S: Final = 600.0
"""A plant that has been out of reach for so long may have moved."""
_BACK_WITHIN_S: Final = 30.0
_AGAIN_WITHIN_S: Final = 5.0


class SiteLink:
    """The session of one site.

    Args:
        site: Its id.
        secret: Its password.
        host: The plant's broker.
        port: Its MQTT port.
        tls: How to check it; None for plain TCP.
        store: The samples that wait.
        hear: Called with kind, message and nothing else when the plant asks something; returns what to say of it.
        regulate: Called with an arming or a broadcast of regulation; None to take part in none.
        price: Called with a question of the search for prices; None to answer none.
        rng_seed: Seed of the site's own places in time.
        monotonic_s: A clock that is never set.
    """

    def __init__(
        self,
        *,
        site: SiteId,
        secret: str,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        store: StoreForward,
        hear: Callable[[Kind, bytes], OrderReport],
        rng_seed: int,
        regulate: Callable[[Message], None] | None = None,
        price: Callable[[Message], None] | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
        settings: LinkSettings | None = None,
    ) -> None:
        self._links = Links(
            host,
            port,
            [site],
            [secret],
            tls=tls,
            keep_alive_s=_KEEP_ALIVE_S,
            rng_seed=rng_seed,
            settings=settings or LinkSettings(spread_s=_BACK_WITHIN_S, backoff_cap_s=60.0),
        )
        self._store = store
        self._hear = hear
        self._regulate = regulate
        self._price = price
        self._negotiation = Negotiation(1)
        self._pacing = Pacing(1, rng_seed)
        self._rng = np.random.default_rng(rng_seed)
        self._monotonic_s = monotonic_s
        self._sent_seq = store.last_seq
        self._again_at_s: float | None = None
        self._reports: list[bytes] = []
        self._looked_up = False
        self._pausing = False
        self.last_contact_s: float | None = None
        self.why_down = "not connected yet"

    @property
    def up(self) -> bool:
        """Whether the plant is reached now."""
        return bool(self._links.up[_ROW])

    def report(self, report: OrderReport) -> None:
        """Say a report; while the plant is out of reach the newest few wait."""
        self._reports = [*self._reports, encode_report(report)][-8:]
        self._say_reports()

    def reading(self, payload: bytes) -> None:
        """Say a reading; one that cannot be said now is of no use later."""
        self._links.publish_answer(_ROW, payload, kind="reading")

    def parameters(self, payload: bytes) -> bool:
        """Say what the site is set to; return whether it left."""
        return bool(self._links.publish_answer(_ROW, payload))

    def answer(self, payload: bytes) -> None:
        """Say what the site would do at some prices; one that cannot be said now is of no use later."""
        self._links.publish_answer(_ROW, payload, kind="answer")

    def send(self, now_ns: int) -> None:
        """Send what waits, as far as the plant's pace lets it."""
        if not self.up:
            return
        self._say_reports()
        if self._again_at_s is not None and self._monotonic_s() >= self._again_at_s:
            self._again_at_s = None
            self._sent_seq = self._store.oldest_seq - 1
        if self._again_at_s is not None or self._sent_seq >= self._store.last_seq:
            return
        if not self._pacing.may_report(now_ns)[_ROW]:
            return
        for message in self._store.messages_since(self._sent_seq, _MOST_AT_ONCE):
            if not self._links.publish(_ROW, message):
                return
        self._sent_seq = min(
            max(self._sent_seq, self._store.oldest_seq - 1) + _MOST_AT_ONCE, self._store.last_seq
        )
        self._pacing.reported(_ONE, now_ns)

    def poll(self, now_ns: int, timeout_s: float = 0.0) -> None:
        """Do what the connection asks for, and take in what has come."""
        if not self._looked_up or self._pausing:
            return
        for message in self._links.poll(timeout_s):
            self._take(message, now_ns)
        if len(self._links.went_up()):
            self._came_up()
        if not self.up:
            statistics = self._links.statistics()
            if statistics.dropped_by_reason:
                self.why_down = _why(statistics.refused_by_code, statistics.dropped_by_reason)

    async def keep(self, now_ns: Callable[[], int], *, every_s: float = 0.2) -> None:
        """Keep the session until cancelled: look the plant up, poll, and send."""
        loop = asyncio.get_running_loop()
        finder = asyncio.create_task(self._keep_looking_up())
        with contextlib.suppress(UnavailableError):
            loop.add_reader(self._links.fileno(), lambda: self.poll(now_ns()))
        try:
            while True:
                self.poll(now_ns())
                self.send(now_ns())
                await asyncio.sleep(every_s)
        finally:
            finder.cancel()
            with contextlib.suppress(UnavailableError):
                loop.remove_reader(self._links.fileno())
            await asyncio.wait([finder])

    async def look_up(self) -> bool:
        """Find the plant's address, which may wait for a name server; return whether that worked."""
        self._pausing = True
        try:
            await asyncio.to_thread(self._links.connect_all, 1.0)
        except UnavailableError as error:
            self.why_down = error.why
            return False
        finally:
            self._pausing = False
        self._looked_up = True
        return True

    def close(self) -> None:
        """End the session."""
        self._links.close()

    async def _keep_looking_up(self) -> None:
        wait_s = _RESOLVE_AGAIN_S[0]
        while not await self.look_up():
            await asyncio.sleep(wait_s * float(self._rng.uniform(0.5, 1.0)))
            wait_s = min(2 * wait_s, _RESOLVE_AGAIN_S[1])
        while True:
            await asyncio.sleep(_LOOK_UP_AGAIN_S * float(self._rng.uniform(0.5, 1.0)))
            if not self.up:
                await self.look_up()

    def _came_up(self) -> None:
        self.last_contact_s = self._monotonic_s()
        self._say_again(_AGAIN_WITHIN_S)
        if len(self._negotiation.to_say(_ONE)) and self._links.publish_hello(_ROW, self._negotiation.hello):
            self._negotiation.said(_ROW)
        self._say_reports()

    def _take(self, message: Message, now_ns: int) -> None:
        self.last_contact_s = self._monotonic_s()
        with contextlib.suppress(WireFormatError):
            if message.kind == "durable":
                durable = agent.decode_durable(message.payload)
                self._store.durable(durable.seq)
                if durable.resend:
                    self._say_again(_AGAIN_WITHIN_S)
            elif message.kind == "pace":
                pace = decode_pace(message.payload)
                self._pacing.hear(_ONE, pace, now_ns)
                if pace.spread_s:
                    self._links.spread_s = pace.spread_s
            elif message.kind == "schema":
                version = self._negotiation.heard(_ROW, message.payload)
                if version is not None and self._store.speak(version):
                    self._say_again(_AGAIN_WITHIN_S)
            elif message.kind == "desired":
                self.report(self._hear("desired", message.payload))
            elif message.kind == "orders":
                self.report(self._hear("orders", message.payload))
            elif message.kind == "prices":
                if self._price is not None:
                    self._price(message)
            elif self._regulate is not None:
                self._regulate(message)

    def _say_again(self, within_s: float) -> None:
        """Send again, at a place of the site's own in time, what was sent and is not known to be durable."""
        if self._again_at_s is None:
            self._again_at_s = self._monotonic_s() + within_s * float(self._rng.random())

    def _say_reports(self) -> None:
        while self._reports and self._links.publish_answer(_ROW, self._reports[0]):
            self._reports = self._reports[1:]


def _why(refused: dict[int, int], dropped: dict[str, int]) -> str:
    """Return why the plant is out of reach, for people."""
    if refused:
        return "the plant refuses the sign-in: check site id and secret, or the plant is busy"
    if "tls" in dropped:
        return "the plant's certificate cannot be checked"
    return "no connection"
