"""The conductor: stages in order, facts passed on, and nobody left behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import msgspec
import numpy as np
import pytest

from shoal.domain.clock import Stage, Tick
from shoal.domain.errors import UnavailableError
from shoal.domain.interval import NS_PER_MINUTE
from shoal.runtime.clock import ConductedClock
from shoal.runtime.conductor import Conductor

TOKEN = "the run's secret"
T0 = 1_612_936_800 * 1_000_000_000
Act = Callable[[Tick, ConductedClock], Awaitable[None]]


class Stagehand:
    """A participant: remembers its ticks, and does what the test asks at each."""

    def __init__(self, port: int, name: str, stage: Stage, log: list[tuple[str, int]]) -> None:
        self.name = name
        self.stage = stage
        self.clock = ConductedClock(host="127.0.0.1", port=port, token=TOKEN, name=name)
        self.ticks: list[Tick] = []
        self._log = log

    async def follow(self, *, every_s: float = 60.0, act: Act | None = None) -> None:
        async for tick in self.clock.ticks(self.stage, every_s):
            self._log.append((self.name, tick.t_ns))
            self.ticks.append(tick)
            assert self.clock.now_ns() == tick.t_ns
            if act is not None:
                await act(tick, self.clock)


class Stageplay:
    """A conductor with its participants, all in one loop."""

    def __init__(self, stages: dict[str, Stage], **options: Any) -> None:
        self.conductor = Conductor(participants=stages, token=TOKEN, **options)
        self.stages = stages
        self.log: list[tuple[str, int]] = []
        self.hands: dict[str, Stagehand] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.port = 0

    async def __aenter__(self) -> Stageplay:
        _, self.port = await self.conductor.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.conductor.stop()
        for task in self.tasks.values():
            with suppress(asyncio.CancelledError):
                await asyncio.wait_for(task, 5)

    def join(self, name: str, *, every_s: float = 60.0, act: Act | None = None) -> Stagehand:
        hand = Stagehand(self.port, name, self.stages[name], self.log)
        self.hands[name] = hand
        self.tasks[name] = asyncio.create_task(hand.follow(every_s=every_s, act=act))
        return hand

    async def leave(self, name: str) -> None:
        """End a participant as a killed process would: its socket closes."""
        self.tasks[name].cancel()
        with suppress(asyncio.CancelledError):
            await self.tasks[name]


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(10):
            await scenario()

    asyncio.run(limited())


def test_stages_act_one_after_the_other() -> None:
    async def scenario() -> None:
        stages = {
            "control": Stage.ACT,
            "homes": Stage.WORLD,
            "telemetry": Stage.MEASURE,
            "api": Stage.OBSERVE,
        }
        async with Stageplay(stages) as play:
            assert play.conductor.missing() == sorted(stages)
            for name in stages:
                play.join(name)
            await play.conductor.wait_joined()
            assert play.conductor.missing() == []
            for minute in range(3):
                await play.conductor.step(T0 + minute * NS_PER_MINUTE, {})
            order = ["homes", "telemetry", "control", "api"]
            assert play.log == [(name, T0 + m * NS_PER_MINUTE) for m in range(3) for name in order]
            assert play.conductor.stage_wall_s.keys() == {"world", "measure", "act", "observe"}

    run(scenario)


def test_participants_of_one_stage_act_at_the_same_time() -> None:
    async def scenario() -> None:
        both = asyncio.Barrier(2)

        async def meet(_: Tick, __: ConductedClock) -> None:
            await both.wait()

        async with Stageplay({"market": Stage.WORLD, "homes": Stage.WORLD}) as play:
            play.join("market", act=meet)
            play.join("homes", act=meet)
            await play.conductor.wait_joined()
            await play.conductor.step(T0, {})
            assert len(play.log) == 2

    run(scenario)


def test_facts_are_passed_on_to_later_stages_and_back() -> None:
    async def scenario() -> None:
        async def count(tick: Tick, clock: ConductedClock) -> None:
            clock.report({"samples_released": 12})

        async def command(tick: Tick, clock: ConductedClock) -> None:
            clock.report({"desired_sent": tick.facts["samples_released"] + 1})

        async with Stageplay({"homes": Stage.WORLD, "control": Stage.ACT}) as play:
            homes = play.join("homes", act=count)
            control = play.join("control", act=command)
            await play.conductor.wait_joined()
            counted = await play.conductor.step(T0, {"step_s": 60})
            assert counted == {"step_s": 60, "samples_released": 12, "desired_sent": 13}
            assert dict(homes.ticks[0].facts) == {"step_s": 60}
            assert dict(control.ticks[0].facts) == {"step_s": 60, "samples_released": 12}
            await play.conductor.step(T0 + NS_PER_MINUTE, {})
            assert dict(homes.ticks[1].facts) == {}, "facts are those of one step"

    run(scenario)


def test_accounts_are_kept_by_name() -> None:
    async def scenario() -> None:
        async def account(tick: Tick, clock: ConductedClock) -> None:
            clock.account({"created": 7} if tick.t_ns == T0 else {"lost": 0})

        async with Stageplay({"homes": Stage.WORLD, "api": Stage.OBSERVE}) as play:
            play.join("homes", act=account)
            play.join("api")
            await play.conductor.wait_joined()
            await play.conductor.step(T0, {})
            await play.conductor.step(T0 + NS_PER_MINUTE, {"closing": 1})
            assert play.conductor.accounts == {"homes": {"created": 7, "lost": 0}}

    run(scenario)


def test_longer_periods_are_respected_until_the_close() -> None:
    async def scenario() -> None:
        async with Stageplay({"homes": Stage.WORLD, "bidding": Stage.DECIDE}) as play:
            homes = play.join("homes")
            bidding = play.join("bidding", every_s=300.0)
            await play.conductor.wait_joined()
            for minute in range(7):
                await play.conductor.step(T0 + minute * NS_PER_MINUTE, {})
            assert [(t.t_ns - T0) // NS_PER_MINUTE for t in homes.ticks] == list(range(7))
            assert [(t.t_ns - T0) // NS_PER_MINUTE for t in bidding.ticks] == [0, 5]
            await play.conductor.step(T0 + 7 * NS_PER_MINUTE, {"closing": 1})
            assert bidding.ticks[-1].facts == {"closing": 1}

    run(scenario)


def test_participant_that_dies_is_waited_for_and_gets_its_tick_again() -> None:
    async def scenario() -> None:
        dying = asyncio.Event()

        async def die(tick: Tick, _: ConductedClock) -> None:
            if tick.t_ns > T0:
                dying.set()
                await asyncio.Event().wait()

        async with Stageplay({"homes": Stage.WORLD, "control": Stage.ACT}) as play:
            play.join("homes")
            play.join("control", act=die)
            await play.conductor.wait_joined()
            await play.conductor.step(T0, {})
            step = asyncio.create_task(play.conductor.step(T0 + NS_PER_MINUTE, {"step_s": 60}))
            await dying.wait()
            await play.leave("control")
            again = play.join("control")
            await step
            assert [(t.t_ns, t.replay, dict(t.facts)) for t in again.ticks] == [
                (T0 + NS_PER_MINUTE, True, {"step_s": 60})
            ]
            await play.conductor.step(T0 + 2 * NS_PER_MINUTE, {})
            assert [t.replay for t in again.ticks] == [True, False]

    run(scenario)


def test_participant_that_dies_between_steps_misses_nothing() -> None:
    async def scenario() -> None:
        async with Stageplay({"homes": Stage.WORLD}) as play:
            play.join("homes")
            await play.conductor.wait_joined()
            await play.conductor.step(T0, {})
            await play.leave("homes")
            step = asyncio.create_task(play.conductor.step(T0 + NS_PER_MINUTE, {}))
            await asyncio.sleep(0)
            again = play.join("homes")
            await step
            assert [t.t_ns for t in again.ticks] == [T0 + NS_PER_MINUTE]

    run(scenario)


def test_stall_is_reported_with_the_names_waited_for() -> None:
    async def scenario() -> None:
        release = asyncio.Event()
        told: list[tuple[list[str], float]] = []

        def on_stall(names: list[str], waited_s: float) -> None:
            told.append((names, waited_s))
            if len(told) == 2:
                release.set()

        async def slow(_: Tick, __: ConductedClock) -> None:
            await release.wait()

        stages = {"homes": Stage.WORLD, "market": Stage.WORLD}
        async with Stageplay(stages, on_stall=on_stall, stall_s=0.05) as play:
            play.join("homes", act=slow)
            play.join("market")
            await play.conductor.wait_joined()
            await play.conductor.step(T0, {})
            assert [names for names, _ in told[:2]] == [["homes"], ["homes"]]
            assert 0.05 <= told[0][1] <= told[1][1]

    run(scenario)


def test_stop_ends_every_participant() -> None:
    async def scenario() -> None:
        async with Stageplay({"homes": Stage.WORLD, "api": Stage.OBSERVE}) as play:
            play.join("homes")
            play.join("api")
            await play.conductor.wait_joined()
            await play.conductor.step(T0, {})
        assert all(task.done() and task.exception() is None for task in play.tasks.values())

    run(scenario)


@pytest.mark.parametrize(
    ("token", "name"), [("wrong", "homes"), ("", "homes"), (TOKEN, "somebody"), ("wrøng", "homes")]
)
def test_stranger_is_refused_and_told_so(monkeypatch: pytest.MonkeyPatch, token: str, name: str) -> None:
    monkeypatch.setattr("shoal.runtime.clock._RETRY_S", 0.0)

    async def scenario() -> None:
        async with Stageplay({"homes": Stage.WORLD}) as play:
            clock = ConductedClock(host="127.0.0.1", port=play.port, token=token, name=name)
            with pytest.raises(UnavailableError, match="token"):
                async for _ in clock.ticks(Stage.WORLD, 60.0):
                    raise AssertionError("a stranger got a tick")
            assert play.conductor.missing() == ["homes"]

    run(scenario)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\xff\xfe",
        b"{",
        b"5",
        b"[]",
        b"{}",
        b'{"name": "homes"}',
        b'{"name": 1, "token": null, "every_s": []}',
    ],
)
def test_rubbish_at_the_door_is_turned_away(line: bytes) -> None:
    async def scenario() -> None:
        async with Stageplay({"homes": Stage.WORLD}) as play:
            reader, writer = await asyncio.open_connection("127.0.0.1", play.port)
            writer.write(line + b"\n")
            assert await reader.read() == b"", "the door is closed"
            writer.close()
            await writer.wait_closed()
            play.join("homes")
            await play.conductor.wait_joined()
            await play.conductor.step(T0, {})
            assert play.log == [("homes", T0)]

    run(scenario)


def test_answer_to_another_step_does_not_count() -> None:
    async def scenario() -> None:
        async with Stageplay({"homes": Stage.WORLD}) as play:
            reader, writer = await asyncio.open_connection("127.0.0.1", play.port)
            hello = {"op": "join", "token": TOKEN, "name": "homes", "stage": 0, "every_s": 60.0}
            writer.write(msgspec.json.encode(hello) + b"\n")
            await play.conductor.wait_joined()
            step = asyncio.create_task(play.conductor.step(T0, {}))
            assert msgspec.json.decode(await reader.readline())["t_ns"] == T0

            def answer(t_ns: int, facts: dict[str, int]) -> bytes:
                done = {"op": "done", "t_ns": t_ns, "facts": facts, "account": {}}
                return msgspec.json.encode(done) + b"\n"

            writer.write(answer(T0 - NS_PER_MINUTE, {"old": 1}) + answer(T0, {"new": 1}))
            assert await step == {"new": 1}
            writer.close()
            await writer.wait_closed()

    run(scenario)


def test_who_joins_late_knows_when_in_the_run_an_earlier_message_came() -> None:
    async def act() -> None:
        async with Stageplay({"early": Stage.WORLD, "late": Stage.MEASURE}) as play:
            marks: list[int] = []

            async def mark(_: Tick, __: ConductedClock) -> None:
                marks.append(time.time_ns())

            early = Stagehand(play.port, "early", Stage.WORLD, play.log)
            play.tasks["early"] = asyncio.create_task(early.follow(act=mark))
            late = Stagehand(play.port, "late", Stage.MEASURE, play.log)
            play.tasks["late"] = asyncio.create_task(late.follow(every_s=180.0))
            await play.conductor.wait_joined()
            for minute in range(4):
                await play.conductor.step(T0 + minute * NS_PER_MINUTE, {})
            play.tasks.pop("late").cancel()
            again = Stagehand(play.port, "late", Stage.MEASURE, play.log)
            play.tasks["again"] = asyncio.create_task(again.follow(every_s=180.0))
            while not again.clock.at(np.array([0]))[0].any():  # noqa: ASYNC110 - the clock has no event
                await asyncio.sleep(0)
            wanted = [T0 + minute * NS_PER_MINUTE for minute in range(4)]
            for clock in (late.clock, again.clock):
                earliest, latest = clock.at(np.array(marks))
                assert earliest.tolist() == wanted
                # the journal's time is coarse: all of this was over within one of its steps
                assert latest.tolist() == [wanted[-1]] * 4
            assert late.clock.at(np.array([0]))[0].tolist() == [T0]

    asyncio.run(act())
