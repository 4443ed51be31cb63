"""The channel: its two ends, its policies, and many tasks at each end."""

from __future__ import annotations

import asyncio

import pytest

from shoal.domain.errors import InvalidInputError, UnavailableError
from shoal.flow.channel import Channel, Policy
from tests.unit.flow.virtual import DeadlockError, run


def test_channel_hands_on_what_is_queued_before_it_ends() -> None:
    async def scenario() -> None:
        channel: Channel[int] = Channel(3)
        for item in range(3):
            await channel.send(item)
        channel.close()
        assert [item async for item in channel] == [0, 1, 2]
        with pytest.raises(StopAsyncIteration):
            await anext(channel)
        with pytest.raises(UnavailableError):
            await channel.send(4)

    run(scenario())


def test_channel_error_comes_after_what_is_queued() -> None:
    async def scenario() -> None:
        channel: Channel[int] = Channel(3)
        await channel.send(1)
        channel.close(ValueError("no more"))
        assert await anext(channel) == 1
        for _ in range(2):
            with pytest.raises(ValueError, match="no more"):
                await anext(channel)

    run(scenario())


def test_many_senders_and_readers_share_a_channel() -> None:
    async def scenario() -> None:
        channel: Channel[int] = Channel(2)
        found: list[int] = []

        async def send(first: int) -> None:
            for item in range(first, first + 50):
                await channel.send(item)

        async def read() -> None:
            async for item in channel:
                found.append(item)
                await asyncio.sleep(0.01)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(3):
                tasks.create_task(read())
            async with asyncio.TaskGroup() as senders:
                for number in range(4):
                    senders.create_task(send(50 * number))
            channel.close()
        assert sorted(found) == list(range(200))
        statistics = channel.statistics()
        assert (statistics.taken_total, statistics.given_total, statistics.high_water) == (200, 200, 2)

    run(scenario())


def test_cancelled_reader_passes_its_turn_on() -> None:
    """A reader that is woken and cancelled in the same moment must not leave the other one asleep."""

    async def scenario() -> None:
        channel: Channel[int] = Channel(1)
        first = asyncio.ensure_future(anext(channel))
        second = asyncio.ensure_future(anext(channel))
        await asyncio.sleep(0)
        channel.send_nowait(7)
        first.cancel()
        assert await second == 7
        assert first.cancelled()

    run(scenario())


def test_cancelled_sender_has_sent_nothing_and_passes_its_turn_on() -> None:
    async def scenario() -> None:
        channel: Channel[int] = Channel(1)
        await channel.send(0)
        first = asyncio.ensure_future(channel.send(1))
        second = asyncio.ensure_future(channel.send(2))
        await asyncio.sleep(1)
        assert await anext(channel) == 0
        first.cancel()
        await second
        assert await anext(channel) == 2
        assert not len(channel)
        assert channel.statistics().waited_s_total >= 2.0

    run(scenario())


def test_reader_that_leaves_frees_the_senders() -> None:
    async def scenario() -> None:
        channel: Channel[int] = Channel(1)
        await channel.send(0)
        waiting = asyncio.ensure_future(channel.send(1))
        await asyncio.sleep(0)
        await channel.aclose()
        with pytest.raises(UnavailableError, match="its reader"):
            await waiting
        assert channel.statistics().abandoned_total == 1

    run(scenario())


@pytest.mark.parametrize(
    ("policy", "kept"), [(Policy.DROP_OLDEST, [3, 4]), (Policy.DROP_NEWEST, [0, 1])], ids=str
)
def test_full_channel_drops_by_its_policy(policy: Policy, kept: list[int]) -> None:
    async def scenario() -> None:
        channel: Channel[int] = Channel(2, policy=policy)
        for item in range(5):
            await channel.send(item)
        channel.close()
        assert [item async for item in channel] == kept
        assert channel.statistics().dropped_total == {policy.value: 3}

    run(scenario())


def test_full_channel_that_waits_takes_nothing_at_once() -> None:
    async def scenario() -> None:
        channel: Channel[int] = Channel(1)
        assert channel.send_nowait(1)
        assert not channel.send_nowait(2)
        await asyncio.sleep(5)
        assert channel.oldest_age_s() == pytest.approx(5)
        assert channel.statistics().taken_total == 1

    run(scenario())


def test_channel_needs_room() -> None:
    with pytest.raises(InvalidInputError, match="at least 1"):
        Channel(0)


def test_virtual_time_finds_a_deadlock() -> None:
    """The tests of this package rest on it: a wait that nobody ends is seen, not sat out."""

    async def scenario() -> None:
        await anext(Channel[int](1))

    with pytest.raises(DeadlockError):
        run(scenario())
