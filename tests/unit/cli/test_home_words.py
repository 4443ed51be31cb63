"""Owners' words: one answer that fails keeps no other from its home, and the next word is heard."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, cast

import msgspec
from nats.aio.msg import Msg

from shoal.cli.roles.home_words import HomeWords
from shoal.control.desired_book import DesiredBook
from shoal.domain.owners import AskHome, HomeTold
from tests.unit.api.plants import make_fleet


class Word:
    """A message that tells when it was answered, or whose answer fails."""

    def __init__(self, site: str, *, fails: bool = False) -> None:
        self.data = msgspec.json.encode(AskHome(site_id=site))
        self.fails = fails
        self.answered = asyncio.Event()

    async def respond(self, payload: bytes) -> None:
        if self.fails:
            raise ConnectionError("the asker is gone")
        msgspec.json.decode(payload, type=HomeTold)
        self.answered.set()


def test_answer_that_fails_keeps_no_other_from_its_home() -> None:
    async def body() -> None:
        fleet = make_fleet()
        looks: list[None] = []

        async def look() -> None:
            looks.append(None)

        words = HomeWords(fleet, DesiredBook(len(fleet.site_ids)), look=look, now_ns=lambda: 0)
        first, second, later = Word("home-0", fails=True), Word("home-1"), Word("home-0")
        for word in (first, second):
            await words.take(cast(Msg, cast(Any, word)))
        running = asyncio.create_task(words.run())
        async with asyncio.timeout(5):
            await second.answered.wait()
            assert not first.answered.is_set()
            assert len(looks) == 1, "words that wait together are one look"
            await words.take(cast(Msg, cast(Any, later)))
            await later.answered.wait()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running

    asyncio.run(body())
