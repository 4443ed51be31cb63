"""An owner's word between two processes: the interface says that there is news, the controller looks, tells the home, answers.

Words that come while the controller looks are looked at together, so a thousand owners at once are a few looks.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from shoal.control.desired_book import DesiredBook
from shoal.control.owners_word import home_told
from shoal.domain.errors import UnavailableError
from shoal.domain.fleet import Fleet
from shoal.domain.ids import SiteId
from shoal.domain.owners import AskHome, HomeTold
from shoal.fabric.subjects import ASK_HOMES

ASK_TIMEOUT_S: Final = 2.0
MOST_WAITING: Final = 20_000
"""More words than that are not answered; they are found in the database all the same."""

_ASK: Final = msgspec.json.Decoder(AskHome)
_TOLD: Final = msgspec.json.Decoder(HomeTold)
_log = structlog.get_logger(__name__)


async def ask_home(client: Client, asked: AskHome) -> HomeTold:
    """Return what a home was told, after the controller has looked at what owners said.

    Raises:
        UnavailableError: when the controller does not answer soon.
    """
    try:
        reply = await client.request(ASK_HOMES, msgspec.json.encode(asked), timeout=ASK_TIMEOUT_S)
    except (nats.errors.Error, TimeoutError) as error:
        raise UnavailableError("the controller", "it does not answer") from error
    return _TOLD.decode(reply.data)


class HomeWords:
    """The controller's side.

    Args:
        fleet: The fleet.
        book: The documents.
        look: Looks at what owners said, and sends what follows.
        now_ns: The plant's clock.
    """

    def __init__(
        self,
        fleet: Fleet,
        book: DesiredBook,
        *,
        look: Callable[[], Awaitable[object]],
        now_ns: Callable[[], int],
    ) -> None:
        self._fleet = fleet
        self._book = book
        self._look = look
        self._now_ns = now_ns
        self._waiting: deque[tuple[AskHome, Msg]] = deque()
        self._news = asyncio.Event()

    async def take(self, message: Msg) -> None:
        """Take a word from the fabric; it is answered once it was looked at."""
        try:
            asked = _ASK.decode(message.data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return
        if SiteId(asked.site_id) in self._fleet.row_of and len(self._waiting) < MOST_WAITING:
            self._waiting.append((asked, message))
            self._news.set()

    async def run(self) -> None:
        """Look whenever there is news, and answer everybody who waits, until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            waiting, self._waiting = self._waiting, deque()
            try:
                if any(asked.look for asked, _ in waiting):
                    await self._look()
            except Exception:  # noqa: BLE001 - the supervisor of the words: the next one must be heard
                _log.exception("owners' words could not be taken")
                continue
            for asked, message in waiting:
                try:
                    await message.respond(msgspec.json.encode(self._told(asked.site_id)))
                except Exception:  # noqa: BLE001 - one answer that fails keeps no other from its home
                    _log.exception("an owner's word was not answered", site=asked.site_id)

    def _told(self, site_id: str) -> HomeTold:
        row = self._fleet.row_of[SiteId(site_id)]
        return home_told(self._book, row, site_id, self._now_ns())
