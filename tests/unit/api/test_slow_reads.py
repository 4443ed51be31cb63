"""Slow readings: bounded in number even when nobody waits for them any more."""

from __future__ import annotations

import asyncio
import threading

import pytest

from shoal.api.slow_reads import SlowReads
from shoal.domain.errors import UnavailableError


def test_readings_that_nobody_waits_for_stay_within_their_threads() -> None:
    reads = SlowReads("test", at_once=1, wait_s=0.02)
    go, began = threading.Event(), []

    def slow() -> None:
        began.append(1)
        go.wait(10.0)

    async def ask_often() -> str:
        for _ in range(4):
            with pytest.raises(UnavailableError, match="was not read within"):
                await reads.read("the history", slow)
        # what others do in threads is done meanwhile
        done = await asyncio.to_thread(lambda: "kept")
        go.set()
        return done

    assert asyncio.run(ask_often()) == "kept"
    assert len(began) == 1


def test_reading_returns_and_raises_as_it_does() -> None:
    reads = SlowReads("test")

    def wrong() -> int:
        raise KeyError("x")

    assert asyncio.run(reads.read("it", lambda: 3)) == 3
    with pytest.raises(KeyError):
        asyncio.run(reads.read("it", wrong))
