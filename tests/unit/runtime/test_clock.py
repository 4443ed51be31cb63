"""Clocks: ticks at multiples of the period, in their own pace, and none for what was overslept."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise

import pytest

from shoal.domain.clock import Clock, Stage
from shoal.domain.errors import InvalidInputError, UnavailableError
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S
from shoal.runtime.clock import ConductedClock, ScaledClock, SystemClock, open_clock

ORIGIN_NS = 1_612_936_800 * NS_PER_S


async def first_ticks(clock: Clock, every_s: float, count: int, *, pause_s: float = 0.0) -> list[int]:
    found: list[int] = []
    async for tick in clock.ticks(Stage.WORLD, every_s):
        found.append(tick.t_ns)
        assert not tick.facts
        assert not tick.replay
        if len(found) == count:
            return found
        await asyncio.sleep(pause_s)
    raise AssertionError("the clock stopped")


def test_system_clock_is_the_machines() -> None:
    before = time.time_ns()
    now = SystemClock().now_ns()
    assert before <= now <= time.time_ns()


def test_system_clock_ticks_at_multiples_and_never_early() -> None:
    async def scenario() -> None:
        clock = SystemClock()
        begun = clock.now_ns()
        ticks = await first_ticks(clock, 0.05, 4)
        assert all(t % 50_000_000 == 0 for t in ticks)
        assert begun < ticks[0]
        assert all(later > earlier for earlier, later in pairwise(ticks))
        assert clock.now_ns() >= ticks[-1]

    asyncio.run(scenario())


def test_overslept_ticks_are_left_out() -> None:
    async def scenario() -> None:
        ticks = await first_ticks(SystemClock(), 0.02, 3, pause_s=0.07)
        steps = [later - earlier for earlier, later in pairwise(ticks)]
        assert all(step % 20_000_000 == 0 and step >= 60_000_000 for step in steps)

    asyncio.run(scenario())


def test_scaled_clock_runs_at_its_pace() -> None:
    async def scenario() -> None:
        clock = ScaledClock(origin_ns=ORIGIN_NS, speed=36_000.0)
        started = time.monotonic()
        ticks = await first_ticks(clock, 3_600.0, 4)
        wall_s = time.monotonic() - started
        assert all(t % NS_PER_HOUR == ORIGIN_NS % NS_PER_HOUR for t in ticks)
        assert ticks[0] > ORIGIN_NS
        assert all(later > earlier for earlier, later in pairwise(ticks))
        assert wall_s >= 0.95 * (ticks[-1] - ORIGIN_NS) / 36_000.0 / NS_PER_S
        assert clock.now_ns() - ORIGIN_NS >= 4 * NS_PER_HOUR

    asyncio.run(scenario())


def test_scaled_clock_sleeps_until_its_own_time() -> None:
    async def scenario() -> None:
        clock = ScaledClock(origin_ns=ORIGIN_NS, speed=1_000.0)
        await clock.sleep_until(ORIGIN_NS + 100 * NS_PER_S)
        assert clock.now_ns() >= ORIGIN_NS + 100 * NS_PER_S
        await clock.sleep_until(ORIGIN_NS)

    asyncio.run(scenario())


def test_scaled_clocks_of_several_processes_show_the_same() -> None:
    since_ns = time.time_ns() - NS_PER_S
    one, other = (ScaledClock(origin_ns=ORIGIN_NS, speed=60.0, since_ns=since_ns) for _ in range(2))
    assert abs(one.now_ns() - other.now_ns()) < NS_PER_S
    assert one.now_ns() >= ORIGIN_NS + 60 * NS_PER_S


@pytest.mark.parametrize("speed", [0.0, -1.0])
def test_scaled_clock_runs_forward(speed: float) -> None:
    with pytest.raises(InvalidInputError, match="positive"):
        ScaledClock(origin_ns=0, speed=speed)


def test_clocks_that_wait_for_nobody_take_facts_and_forget_them() -> None:
    for clock in (SystemClock(), ScaledClock(origin_ns=0, speed=1.0)):
        clock.report({"samples": 1})
        clock.account({"samples": 1})


def test_clock_is_opened_by_its_source() -> None:
    assert isinstance(open_clock("system", token="t", name="a"), SystemClock)
    conducted = open_clock("stepped://127.0.0.1:4000", token="t", name="a")
    assert isinstance(conducted, ConductedClock)
    assert conducted.now_ns() == 0


@pytest.mark.parametrize(
    "source", ["", "sundial", "stepped://", "stepped://here", "stepped://:4000", "stepped://a:b"]
)
def test_unknown_source_is_refused(source: str) -> None:
    with pytest.raises(InvalidInputError):
        open_clock(source, token="t", name="a")


def test_conducted_clock_says_that_nobody_conducts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal.runtime.clock._RETRY_S", 0.0)
    probe = asyncio.run(_free_port())

    async def scenario() -> None:
        clock = ConductedClock(host="127.0.0.1", port=probe, token="t", name="a")
        with pytest.raises(UnavailableError, match="conductor"):
            await first_ticks(clock, 60.0, 1)

    asyncio.run(scenario())


async def _free_port() -> int:
    server = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port
