"""Learns the table of silent sites once a day, beside the work of writing history; whatever fails there stays there."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

import structlog

from shoal.domain.clock import Clock
from shoal.domain.interval import NS_PER_S
from shoal.fabric.silence_feed import KeptSilence
from shoal.telemetry.silence_sample import TooLittleHistoryError
from shoal.twin.silence_learned import LearnedSilence

LOOK_EVERY_S: Final = 5.0
AGAIN_S: Final = 3_600.0
"""Plant time after a failure, or when there is too little history, before it is tried again."""

_log = structlog.get_logger(__name__)
T = TypeVar("T")


class Feed(Protocol):
    """Where tables are kept, see `shoal.fabric.silence_feed.SilenceFeed`."""

    async def current(self) -> KeptSilence:
        """Return the newest table."""
        ...

    async def publish(self, learned: LearnedSilence, *, over: int) -> int:
        """Keep another."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SilenceJobStatistics:
    """What was learned by this process.

    Attributes:
        learned_total: Tables published.
        failed_total: Times that it failed.
        waited_total: Times that there was too little history.
        worse_total: Times that what was learned did no better than the built-in table, so that nothing changed.
        took_s: How long the latest took, machine time.
        sites: From how many sites it was learned.
    """

    learned_total: int = 0
    failed_total: int = 0
    waited_total: int = 0
    worse_total: int = 0
    took_s: float = 0.0
    sites: int = 0


class SilenceJob:
    """Learns when it is time, as long as it is this process's turn.

    Args:
        clock: The plant's clock.
        feed: Where tables are kept.
        learn: Learns at an instant, in a thread; asks its second argument now and then whether to give up.
        every_s: Plant time between two tables; the age of the one that is kept decides, so a restart changes nothing.
        is_mine: Whether it is this process's turn.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        feed: Feed,
        learn: Callable[[int, Callable[[], bool]], LearnedSilence],
        every_s: float,
        is_mine: Callable[[], bool],
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        self._clock = clock
        self._feed = feed
        self._learn = learn
        self._every_ns = int(every_s * NS_PER_S)
        self._is_mine = is_mine
        self._look_every_s = look_every_s
        self._not_before_ns = 0
        self._learned = self._failed = self._waited = self._worse = self._sites = 0
        self._took_s = 0.0

    async def run(self) -> None:
        """Learn whenever it is time, for ever."""
        while True:
            if self._is_mine() and self._clock.now_ns() >= self._not_before_ns:
                await self._look()
            await asyncio.sleep(self._look_every_s)

    async def _look(self) -> None:
        now_ns = self._clock.now_ns()
        began_s = time.monotonic()
        self._not_before_ns = now_ns + min(int(AGAIN_S * NS_PER_S), self._every_ns)
        try:
            kept = await self._feed.current()
            if kept.learned is not None and 0 <= now_ns - kept.learned.learned_ns < self._every_ns:
                self._not_before_ns = kept.learned.learned_ns + self._every_ns
                return
            learned = await _in_thread(lambda stop: self._learn(now_ns, stop))
            if not self._is_mine():
                return
            self._not_before_ns = now_ns + self._every_ns
            if not learned.is_better:
                self._worse += 1
                _log.info(
                    "the table of silent sites in use stays",
                    about=learned.table.provenance,
                    own=learned.trial._asdict(),
                    built_in=learned.built_in_trial._asdict(),
                )
                return
            await self._feed.publish(learned, over=kept.seq)
        except TooLittleHistoryError as error:
            self._waited += 1
            _log.info("table of silent sites not learned yet", why=str(error))
        except Exception as error:  # noqa: BLE001 - whatever fails here, history must be written
            self._failed += 1
            _log.warning("table of silent sites not learned", why=str(error), kind=type(error).__name__)
        else:
            self._learned += 1
            self._sites, self._took_s = learned.sites, time.monotonic() - began_s
            _log.info("table of silent sites learned", about=learned.table.provenance)

    def statistics(self) -> SilenceJobStatistics:
        """Return the counters."""
        return SilenceJobStatistics(
            learned_total=self._learned,
            failed_total=self._failed,
            waited_total=self._waited,
            worse_total=self._worse,
            took_s=round(self._took_s, 3),
            sites=self._sites,
        )


async def _in_thread(act: Callable[[Callable[[], bool]], T]) -> T:
    """Return what `act` does in a thread of its own, which the end of the process does not wait for."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    stopped = threading.Event()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def work() -> None:
        result: T | None = None
        fault: BaseException | None = None
        try:
            result = act(stopped.is_set)
        except Exception as error:  # noqa: BLE001 - it is handed to whoever waits
            fault = error
        if not stopped.is_set():
            loop.call_soon_threadsafe(settle, result, fault)

    threading.Thread(target=work, name="silence", daemon=True).start()
    try:
        return await done
    finally:
        stopped.set()
