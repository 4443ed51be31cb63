"""What may be on its way into the server: bounded, larger for a quick one, smaller for a slow one."""

from __future__ import annotations

import asyncio

import nats.errors
import pytest

from shoal.fabric._window import Window


class Reader:
    """The connection's ping: it is answered when the test says so."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[None]] = []

    async def flush(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self.asked.append(future)
        await future


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_window_closes_when_nothing_is_read_and_opens_when_it_is() -> None:
    async def body() -> None:
        reader = Reader()
        async with asyncio.TaskGroup() as tasks:
            window = Window(reader, tasks)  # type: ignore[arg-type]
            sent = 0
            while window._room.is_set():
                await window.wait_room()
                window.sent()
                sent += 1
            assert sent == window.size == 256
            await settle()
            assert len(reader.asked) == 8
            reader.asked[0].set_result(None)
            await settle()
            assert window._room.is_set()
            assert (window.unread, window.size) == (224, 288)
            for asked in reader.asked[1:]:
                asked.set_result(None)
        assert window.unread == 0
        assert window.size == 512

    asyncio.run(body())


def test_window_shrinks_for_a_slow_reader_and_for_one_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        reader = Reader()
        async with asyncio.TaskGroup() as tasks:
            window = Window(reader, tasks)  # type: ignore[arg-type]
            for _ in range(128):
                window.sent()
            await settle()
            reader.asked[0].set_exception(nats.errors.TimeoutError())
            await settle()
            assert (window.size, window.unread) == (128, 96)
            monkeypatch.setattr("shoal.fabric._window._SLOW_S", -1.0)
            for asked in reader.asked[1:]:
                asked.set_result(None)
        assert (window.size, window.unread) == (64, 0)

    asyncio.run(body())
