from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.domain.errors import InvalidInputError, UnavailableError
from shoal.runtime.actor import Actor, ActorFailedError, Supervision


class Adder:
    """Adds what it is told; fails on negative numbers."""

    def __init__(self) -> None:
        self.total = -1
        self.stops = 0

    async def start(self) -> None:
        self.total = 0

    def step(self, message: int) -> int:
        if message < 0:
            raise ValueError(message)
        self.total += message
        return self.total

    async def stop(self) -> None:
        self.stops += 1


def play(scene: Callable[[Actor[int, int], Adder], Awaitable[Any]], **options: Any) -> Any:
    async def act() -> Any:
        adder = Adder()
        actor = Actor("adder", adder, sleep=lambda _: asyncio.sleep(0), **options)
        running = asyncio.ensure_future(actor.run())
        try:
            return await scene(actor, adder)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    return asyncio.run(act())


@given(st.lists(st.integers(0, 9), max_size=30))
def test_messages_are_taken_once_each_and_in_order(numbers: list[int]) -> None:
    async def scene(actor: Actor[int, int], _: Adder) -> list[int]:
        return await asyncio.gather(*(actor.ask(number) for number in numbers))

    sums = play(scene)
    assert sums == [sum(numbers[: k + 1]) for k in range(len(numbers))]


def test_a_full_mailbox_refuses_and_counts() -> None:
    async def scene(actor: Actor[int, int], _: Adder) -> None:
        assert [actor.tell(1) for _ in range(4)] == [True, True, False, False]
        with pytest.raises(UnavailableError, match="busy"):
            await actor.ask(1)
        assert actor.statistics().refused == 3
        assert actor.statistics().queued == 2

    play(scene, capacity=2)


def test_who_delivers_to_a_full_mailbox_waits_for_room() -> None:
    async def scene(actor: Actor[int, int], adder: Adder) -> None:
        for _ in range(100):
            await actor.deliver(1)
        while actor.statistics().queued:  # noqa: ASYNC110 - an actor has no event for it
            await asyncio.sleep(0)
        assert adder.total == 100
        assert actor.statistics().most_queued <= 3
        assert actor.statistics().refused == 0

    play(scene, capacity=3)


def test_places_that_are_reserved_are_left_to_those_who_ask() -> None:
    async def scene(actor: Actor[int, int], adder: Adder) -> None:
        stream = [asyncio.ensure_future(actor.deliver(1)) for _ in range(5)]
        await asyncio.sleep(0)
        assert actor.statistics().queued == 1, "the others wait for a place that is not reserved"
        assert [actor.tell(10) for _ in range(3)] == [True, True, False]
        await asyncio.gather(*stream)
        assert await actor.ask(0) == 25

    play(scene, capacity=3, reserved=2)
    with pytest.raises(InvalidInputError, match="reserved"):
        Actor("adder", Adder(), capacity=3, reserved=3)


def test_a_failure_answers_its_asker_and_starts_anew_with_the_mailbox_kept() -> None:
    async def scene(actor: Actor[int, int], adder: Adder) -> None:
        before, bad, after = (asyncio.ensure_future(actor.ask(n)) for n in (5, -1, 2))
        assert await before == 5
        with pytest.raises(UnavailableError, match="failed"):
            await bad
        assert await after == 2  # the state was made anew: the five are gone
        seen = actor.statistics()
        assert (seen.failed, seen.starts, seen.handled) == (1, 2, 2)
        assert "ValueError" in seen.last_failure
        assert adder.stops == 1

    play(scene)


def test_an_actor_that_fails_too_often_is_given_up() -> None:
    async def act() -> None:
        actor = Actor("adder", Adder(), supervision=Supervision(failures=3), sleep=lambda _: asyncio.sleep(0))
        waiting = [asyncio.ensure_future(actor.ask(-1)) for _ in range(3)]
        late = asyncio.ensure_future(actor.ask(1))
        await asyncio.sleep(0)
        with pytest.raises(ActorFailedError):
            await actor.run()
        for outcome in [*waiting, late]:
            with pytest.raises(UnavailableError):
                await outcome
        assert not actor.tell(1)
        with pytest.raises(UnavailableError, match="ended"):
            await actor.deliver(1)

    asyncio.run(act())


def test_failures_long_ago_are_forgiven() -> None:
    now_s = 0.0

    async def scene(actor: Actor[int, int], _: Adder) -> None:
        nonlocal now_s
        for _failure in range(6):
            with pytest.raises(UnavailableError):
                await actor.ask(-1)
            now_s += 31.0
        assert await actor.ask(4) == 4

    play(scene, supervision=Supervision(failures=3, window_s=60.0), now_s=lambda: now_s)


def test_an_ask_that_is_not_taken_in_time_is_unavailable() -> None:
    async def act() -> None:
        actor: Actor[int, int] = Actor("adder", Adder())
        with pytest.raises(UnavailableError, match="no answer"):
            await actor.ask(1, timeout_s=0.01)

    asyncio.run(act())
