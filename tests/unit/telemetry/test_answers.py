"""What devices are told is safe: the latest word for each, in turn, and a request for what is missing."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import numpy as np

from shoal.domain.desired import DurableUpTo
from shoal.domain.errors import UnavailableError
from shoal.telemetry.actor import Durable, ShardActor
from shoal.telemetry.answers import DurableAnswers


class Owned:
    """A shard that answers with what the test says, or not at all."""

    def __init__(self) -> None:
        self.safe: dict[int, int] = {}
        self.holes: dict[int, int] = {}
        self.away = False
        self.actor = SimpleNamespace(ask=self.ask)

    async def ask(self, message: object) -> Any:
        assert isinstance(message, Durable)
        if self.away:
            raise UnavailableError("actor shard.0", "it is busy")
        return _columns(self.safe), _columns(self.holes)


def _columns(pairs: dict[int, int]) -> tuple[Any, Any]:
    return np.array(list(pairs), dtype=np.int64), np.array(list(pairs.values()), dtype=np.int64)


class Rig:
    def __init__(self) -> None:
        self.sent: list[tuple[str, DurableUpTo]] = []
        self.shard = Owned()
        self.answers = DurableAnswers(publish=self.publish, subject=lambda row: f"to.{row}")

    async def publish(self, subject: str, payload: bytes) -> None:
        self.sent.append((subject, msgspec.json.decode(payload, type=DurableUpTo)))

    async def collect(self) -> None:
        await self.answers.collect(cast(list[ShardActor], [self.shard]))

    def told(self) -> list[tuple[str, int, bool]]:
        return [(subject, one.seq, one.resend) for subject, one in self.sent]


def test_devices_hear_what_is_safe_and_what_to_send_again() -> None:
    async def body() -> None:
        rig = Rig()
        rig.shard.safe = {1: 10, 2: 20}
        rig.shard.holes = {2: 21, 3: 7}
        await rig.collect()
        assert await rig.answers.send(10) == 3
        assert rig.told() == [("to.1", 10, False), ("to.2", 20, True), ("to.3", 6, True)]
        assert await rig.answers.send(10) == 0

    asyncio.run(body())


def test_answers_go_out_some_at_a_time_and_the_latest_word_counts() -> None:
    async def body() -> None:
        rig = Rig()
        rig.shard.safe = {1: 10, 2: 20, 3: 30}
        rig.shard.holes = {3: 31}
        await rig.collect()
        assert await rig.answers.send(1) == 1
        rig.shard.safe, rig.shard.holes = {1: 11, 3: 35}, {}
        await rig.collect()
        assert len(rig.answers) == 3, "one a device waits, however often it is looked at"
        assert await rig.answers.send(10) == 3
        assert rig.told()[1:] == [("to.2", 20, False), ("to.3", 35, True), ("to.1", 11, False)]

    asyncio.run(body())


def test_shard_that_is_busy_is_asked_another_time() -> None:
    async def body() -> None:
        rig = Rig()
        rig.shard.safe, rig.shard.away = {1: 10}, True
        await rig.collect()
        assert len(rig.answers) == 0
        rig.shard.away = False
        await rig.collect()
        assert await rig.answers.send(1) == 1

    asyncio.run(body())
