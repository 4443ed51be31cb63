"""Whatever the times and bounds: order kept where promised, nothing lost, nothing twice, memory bounded."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.flow.batch import batch
from shoal.flow.channel import Policy
from shoal.flow.concurrent import map_concurrently
from shoal.flow.conflate import conflate, drop_when_full
from shoal.flow.pace import keep_alive, throttle
from shoal.flow.split import split
from shoal.flow.stage import Stage, buffer, source
from shoal.flow.stream import LATE, Stream, all_statistics, collect, for_each, next_before
from tests.unit.flow.virtual import Source, now_s, run

TIMES = st.sampled_from([0.0, 0.0, 0.001, 0.01, 0.1, 1.0])
PAUSES = st.lists(TIMES, max_size=40)


class OnPurposeError(Exception):
    pass


def _napping(naps_s: list[float]) -> Callable[[int], Any]:
    async def nap(item: int) -> int:
        await asyncio.sleep(naps_s[item % len(naps_s)])
        return item

    return nap


def _operators() -> st.SearchStrategy[Callable[[Stream[int]], Stage[int]]]:
    """Operators that promise to hand on every item, in order."""
    return st.one_of(
        st.integers(1, 4).map(buffer),
        st.builds(
            lambda rate, burst: throttle(rate, burst=burst), st.sampled_from([1.0, 50.0]), st.integers(1, 3)
        ),
        st.builds(
            lambda naps, limit: map_concurrently(_napping(naps), limit),
            st.lists(TIMES, min_size=1, max_size=4),
            st.integers(1, 4),
        ),
    )


PIPELINES = st.lists(_operators(), max_size=3)


def _assembled(made: Source, operators: list[Callable[[Stream[int]], Stage[int]]]) -> Stream[int]:
    stream: Stream[int] = source(made.items())
    for operator in operators:
        stream = stream | operator
    return stream


def _balanced(stream: Stream[Any]) -> None:
    for one in all_statistics(stream):
        out = one.given_total + sum(one.dropped_total.values()) + one.abandoned_total + one.queued
        assert one.taken_total == out, one


@settings(deadline=None)
@given(PAUSES, PIPELINES)
def test_lossless_operators_hand_on_everything_in_order(
    pauses: list[float], operators: list[Callable[[Stream[int]], Stage[int]]]
) -> None:
    async def scenario() -> None:
        stream = _assembled(Source(pauses), operators)
        assert await collect(stream) == list(range(len(pauses)))
        _balanced(stream)

    run(scenario())


@settings(deadline=None)
@given(PAUSES, PIPELINES, st.lists(TIMES, min_size=1, max_size=10))
def test_reads_that_time_out_lose_nothing(
    pauses: list[float], operators: list[Callable[[Stream[int]], Stage[int]]], patience: list[float]
) -> None:
    async def scenario() -> None:
        found: list[int] = []
        tries = 0
        async with _assembled(Source(pauses), operators) as stream:
            while True:
                try:
                    item = await next_before(stream, now_s() + patience[tries % len(patience)] + 3e-3)
                except StopAsyncIteration:
                    break
                tries += 1
                if item is not LATE:
                    found.append(item)
        assert found == list(range(len(pauses)))

    run(scenario())


@settings(deadline=None)
@given(PAUSES, PIPELINES)
def test_error_of_the_source_comes_after_everything_before_it(
    pauses: list[float], operators: list[Callable[[Stream[int]], Stage[int]]]
) -> None:
    async def scenario() -> None:
        stream = _assembled(Source(pauses, OnPurposeError()), operators)
        found: list[int] = []
        with pytest.raises(OnPurposeError):
            async for item in stream:
                found.append(item)
        assert found == list(range(len(pauses)))

    run(scenario())


@settings(deadline=None)
@given(PAUSES, PIPELINES, st.integers(0, 40), st.booleans())
def test_closing_or_finishing_at_any_moment_accounts_for_every_item(
    pauses: list[float], operators: list[Callable[[Stream[int]], Stage[int]]], reads: int, finish: bool
) -> None:
    async def scenario() -> None:
        made = Source(pauses)
        stream = _assembled(made, operators)
        found: list[int] = []
        async for item in stream:
            found.append(item)
            if len(found) >= reads:
                break
        if finish:
            stream.finish()
            found += [item async for item in stream]
            assert found == made.given, "what was taken comes through"
        await stream.aclose()
        assert found == list(range(len(found)))
        _balanced(stream)
        if found:
            assert sum(one.abandoned_total for one in all_statistics(stream)) == len(made.given) - len(found)

    run(scenario())


@settings(max_examples=30, deadline=None)
@given(PIPELINES, st.integers(1, 8))
def test_sink_a_hundred_times_too_slow_holds_back_the_source(
    operators: list[Callable[[Stream[int]], Stage[int]]], items: int
) -> None:
    """Nothing is dropped, what waits inside is bounded by what was declared, and the lag is seen."""

    async def scenario() -> None:
        made = Source([0.001] * 200)
        stream = _assembled(made, [*operators, buffer(4)])
        most = consumed = 0
        async with stream:
            async for _ in stream:
                consumed += 1
                if consumed == 20 * items:
                    break
                await asyncio.sleep(0.1 if not operators else 10.0)
                most = max(most, len(made.given) - consumed)
            # four of the last buffer, and at most nine for every stage: its room, its calls, and one in hand
            assert most <= 9 * (len(operators) + 2)
            last = all_statistics(stream)[-1]
            assert last.oldest_age_s > 0 and last.high_water >= 4 and last.waited_s_total > 0
            assert not any(one.dropped_total for one in all_statistics(stream))

    run(scenario())


@settings(deadline=None)
@given(PAUSES, st.integers(1, 5), st.sampled_from([0.005, 0.05, 0.5]), TIMES)
def test_batches_hold_everything_in_order_and_in_time(
    pauses: list[float], most: int, wait_s: float, sink_s: float
) -> None:
    async def scenario() -> None:
        made = Source(pauses)
        stream = source(made.items()) | batch(most, wait_s)
        found: list[int] = []

        async def sink(items: list[int]) -> None:
            assert 1 <= len(items) <= most
            if sink_s == 0:
                assert now_s() - made.at_s[items[0]] <= wait_s + 1e-9
            found.extend(items)
            await asyncio.sleep(sink_s)

        await for_each(stream, sink)
        assert found == list(range(len(pauses)))

    run(scenario())


@settings(deadline=None)
@given(
    PAUSES,
    st.lists(TIMES, min_size=1, max_size=5),
    st.integers(1, 5),
    st.booleans(),
    st.sets(st.integers(0, 39)),
)
def test_concurrent_map_never_exceeds_its_limit_and_sets_failures_aside(
    pauses: list[float], naps: list[float], limit: int, ordered: bool, bad: set[int]
) -> None:
    async def scenario() -> None:
        under_way = most = 0

        async def call(item: int) -> int:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(naps[item % len(naps)])
            under_way -= 1
            if item in bad:
                raise OnPurposeError
            return item

        aside: list[int] = []
        stream = source(Source(pauses).items()) | map_concurrently(
            call, limit, ordered=ordered, set_aside=lambda item, error: aside.append(item)
        )
        found = await collect(stream)
        good = [n for n in range(len(pauses)) if n not in bad]
        assert (found if ordered else sorted(found)) == good
        assert sorted(aside) == [n for n in range(len(pauses)) if n in bad]
        assert most <= limit
        _balanced(stream)

    run(scenario())


@settings(deadline=None)
@given(
    st.integers(1, 30), st.lists(TIMES, min_size=1, max_size=5), st.integers(1, 5), st.booleans(), st.data()
)
def test_failed_call_ends_the_stream_after_the_results_of_the_others(
    items: int, naps: list[float], limit: int, ordered: bool, data: st.DataObject
) -> None:
    bad = data.draw(st.integers(0, items - 1))

    async def scenario() -> None:
        begun: list[int] = []

        async def call(item: int) -> int:
            begun.append(item)
            await asyncio.sleep(naps[item % len(naps)])
            if item == bad:
                raise OnPurposeError
            return item

        found: list[int] = []
        stream = source(range(items)) | map_concurrently(call, limit, ordered=ordered)
        with pytest.raises(OnPurposeError):
            async for item in stream:
                found.append(item)
        assert sorted([*found, bad]) == begun, "what was begun is handed on, but for the failed one"
        assert not ordered or found == sorted(found)

    run(scenario())


@settings(deadline=None)
@given(PAUSES, st.sampled_from([0.5, 5.0, 100.0]), st.integers(1, 4))
def test_throttle_never_exceeds_its_rate(pauses: list[float], rate: float, burst: int) -> None:
    async def scenario() -> None:
        at_s: list[float] = []
        async for _ in source(Source(pauses).items()) | throttle(rate, burst=burst):
            at_s.append(now_s())
        for first in range(len(at_s)):
            for last in range(first + burst, len(at_s)):
                # one result may wait in the stage while its reader is elsewhere; this reader never is
                assert last - first + 1 <= (at_s[last] - at_s[first]) * rate + burst + 1e-6

    run(scenario())


@settings(deadline=None)
@given(PAUSES, st.sampled_from([0.05, 0.5]))
def test_keep_alive_is_never_silent_for_longer(pauses: list[float], every_s: float) -> None:
    async def scenario() -> None:
        at_s = [0.0]
        found: list[int] = []
        async for item in source(Source(pauses).items()) | keep_alive(every_s, lambda: -1):
            at_s.append(now_s())
            found.append(item)
        assert [item for item in found if item >= 0] == list(range(len(pauses)))
        assert all(b - a <= every_s + 1e-9 for a, b in itertools.pairwise(at_s))

    run(scenario())


@settings(deadline=None)
@given(PAUSES, st.integers(1, 5), st.integers(1, 5), TIMES)
def test_conflation_keeps_the_latest_of_each_key(
    pauses: list[float], keys: int, room: int, sink_s: float
) -> None:
    def key_of(item: int) -> int:
        return item % keys

    async def scenario() -> None:
        stream = source(Source(pauses).items()) | conflate(key=key_of, max_keys=room)
        found: list[int] = []
        async for item in stream:
            found.append(item)
            await asyncio.sleep(sink_s)
        for key in range(keys):
            of_key = [item for item in found if item % keys == key]
            assert of_key == sorted(set(of_key)), "in order, nothing twice"
            sent = [item for item in range(len(pauses)) if item % keys == key]
            assert of_key[-1:] == sent[-1:], "the latest is never lost"
        assert len(found) + stream.statistics().dropped_total.get("conflated", 0) == len(pauses)
        assert stream.statistics().high_water <= room + 1

    run(scenario())


@settings(deadline=None)
@given(PAUSES, st.integers(1, 4), TIMES)
def test_conflation_may_merge_instead(pauses: list[float], room: int, sink_s: float) -> None:
    async def scenario() -> None:
        parts = source(Source(pauses).items()) | map_concurrently(_listed, 1)
        total = 0
        async for items in parts | conflate(merge=lambda older, newer: older + newer):
            total += len(items)
            await asyncio.sleep(sink_s)
        assert total == len(pauses)

    run(scenario())


async def _listed(item: int) -> list[int]:
    return [item]


@settings(deadline=None)
@given(PAUSES, st.integers(1, 4), st.sampled_from([Policy.DROP_OLDEST, Policy.DROP_NEWEST]), TIMES)
def test_shedding_follows_its_policy_and_is_counted(
    pauses: list[float], room: int, policy: Policy, sink_s: float
) -> None:
    async def scenario() -> None:
        made = Source(pauses)
        stream = source(made.items()) | drop_when_full(room, policy)
        found: list[int] = []
        async for item in stream:
            found.append(item)
            await asyncio.sleep(sink_s)
        assert found == sorted(set(found))
        dropped = stream.statistics().dropped_total.get(policy.value, 0)
        assert len(found) + dropped == len(pauses)
        assert stream.statistics().high_water <= room + 1
        if pauses:
            kept = len(pauses) - 1 if policy is Policy.DROP_OLDEST else 0
            assert kept in found

    run(scenario())


@settings(deadline=None)
@given(PAUSES, st.integers(1, 4), st.integers(1, 3), st.lists(TIMES, min_size=4, max_size=4))
def test_split_keeps_each_keys_order_and_loses_nothing(
    pauses: list[float], lanes: int, room: int, naps: list[float]
) -> None:
    def lane_of(item: int) -> int:
        return item * 7 % lanes

    async def scenario() -> None:
        made = source(Source(pauses).items()) | split(lane_of, lanes, capacity=room)
        found: list[list[int]] = [[] for _ in made]

        async def read(number: int) -> None:
            async for item in made[number]:
                found[number].append(item)
                await asyncio.sleep(naps[number])

        async with asyncio.TaskGroup() as tasks:
            for number in range(lanes):
                tasks.create_task(read(number))
        for number, items in enumerate(found):
            assert items == [item for item in range(len(pauses)) if item * 7 % lanes == number]

    run(scenario())
