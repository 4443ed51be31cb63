"""When the table of silent sites is learned, by whom, and that nothing it does ends the role."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from shoal.domain.errors import UnavailableError
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S
from shoal.fabric.silence_feed import KeptSilence
from shoal.telemetry.silence_job import AGAIN_S, SilenceJob
from shoal.telemetry.silence_sample import TooLittleHistoryError
from shoal.twin.silence_default import built_in_table
from shoal.twin.silence_learned import LearnedSilence
from shoal.twin.silence_trial import TrialScore
from tests.unit.telemetry.journals import SetClock
from tests.unit.telemetry.shards import until

DAY_NS = 24 * NS_PER_HOUR


class Feed:
    def __init__(self) -> None:
        self.kept = KeptSilence(0, None)

    async def current(self) -> KeptSilence:
        return self.kept

    async def publish(self, learned: LearnedSilence, *, over: int) -> int:
        if over != self.kept.seq:
            raise UnavailableError("the table", "somebody else was first")
        self.kept = KeptSilence(over + 1, learned)
        return over + 1


def table_of(now_ns: int, loss_w: float = 4.0) -> LearnedSilence:
    return LearnedSilence(
        table=built_in_table(),
        learned_ns=now_ns,
        from_ns=0,
        to_ns=now_ns,
        sites=7,
        fleet_sites=9,
        sample_count=1,
        is_recorded=True,
        trial=TrialScore(0.9, loss_w),
        built_in_trial=TrialScore(0.9, 5.0),
    )


class Scene:
    def __init__(self) -> None:
        self.clock = SetClock(100 * DAY_NS)
        self.feed = Feed()
        self.fault: Exception | None = None
        self.mine = True
        self.loss_w = 4.0
        self.tried: list[int] = []
        self.threads: set[str] = set()
        self.job = SilenceJob(
            clock=self.clock,
            feed=self.feed,
            learn=self._learn,
            every_s=86_400.0,
            is_mine=lambda: self.mine,
            look_every_s=0.005,
        )

    def _learn(self, now_ns: int, stop: Callable[[], bool]) -> LearnedSilence:
        self.tried.append(now_ns)
        self.threads.add(threading.current_thread().name)
        if self.fault is not None:
            raise self.fault
        return table_of(now_ns, self.loss_w)

    async def tries(self, count: int) -> None:
        await until(lambda: len(self.tried) >= count)
        await asyncio.sleep(0.05)  # no more than these
        assert len(self.tried) == count


def play(act: Callable[[Scene], object]) -> None:
    async def body() -> None:
        scene = Scene()
        running = asyncio.create_task(scene.job.run())
        async with asyncio.timeout(20):
            await act(scene)  # type: ignore[misc]
        assert not running.done()
        running.cancel()
        await asyncio.wait([running])

    asyncio.run(body())


def test_it_learns_once_a_day_in_a_thread() -> None:
    async def act(scene: Scene) -> None:
        await scene.tries(1)
        assert (scene.feed.kept.seq, scene.threads) == (1, {"silence"})
        scene.clock.now += DAY_NS - NS_PER_S
        await scene.tries(1)
        scene.clock.now += NS_PER_S
        await scene.tries(2)
        assert (scene.job.statistics().learned_total, scene.job.statistics().sites) == (2, 7)

    play(act)


def test_age_of_what_is_kept_decides_and_another_process_waits() -> None:
    async def act(scene: Scene) -> None:
        scene.mine = False
        scene.feed.kept = KeptSilence(5, table_of(scene.clock.now - DAY_NS // 2))
        await scene.tries(0)
        scene.mine = True
        await scene.tries(0)
        scene.clock.now += DAY_NS // 2
        await scene.tries(1)
        assert scene.feed.kept.seq == 6

    play(act)


def test_whatever_fails_is_counted_and_tried_again_later() -> None:
    async def act(scene: Scene) -> None:
        for count, fault in enumerate(
            [RuntimeError("broken"), UnavailableError("history", "gone"), MemoryError()], start=1
        ):
            scene.fault = fault
            await scene.tries(count)
            assert scene.job.statistics().failed_total == count
            scene.clock.now += int(AGAIN_S * NS_PER_S)
        scene.fault = TooLittleHistoryError(field="history", value=1, fix="wait")
        await scene.tries(4)
        assert (scene.job.statistics().waited_total, scene.job.statistics().failed_total) == (1, 3)
        scene.fault = None
        scene.clock.now += int(AGAIN_S * NS_PER_S)
        await scene.tries(5)
        assert scene.job.statistics().learned_total == 1

    play(act)


def test_what_does_no_better_is_not_taken_and_tried_again_the_next_day() -> None:
    async def act(scene: Scene) -> None:
        scene.loss_w = 6.0
        await scene.tries(1)
        assert (scene.feed.kept.seq, scene.job.statistics().worse_total) == (0, 1)
        scene.clock.now += DAY_NS - NS_PER_S
        scene.loss_w = 4.0
        await scene.tries(1)
        scene.clock.now += NS_PER_S
        await scene.tries(2)
        assert scene.feed.kept.seq == 1

    play(act)
