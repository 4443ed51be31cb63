"""The one contract of everything that owns a state: an address, a bounded mailbox, one step at a time, supervision.

Nobody reads an actor's state; whoever wants something sends a message. A message that makes an actor fail is dropped
and counted, the state is made anew by `start` (from a snapshot and a replay, say), and the mailbox is kept. An actor
that fails again and again is given up, and who runs it decides what comes next: another member may own its work.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

import structlog

from shoal.domain.errors import InvalidInputError, UnavailableError
from shoal.flow.retry import Backoff

_log = structlog.get_logger(__name__)

Message = TypeVar("Message", contravariant=True)
Answer = TypeVar("Answer", covariant=True)
_M = TypeVar("_M")
_A = TypeVar("_A")


class Behaviour(Protocol[Message, Answer]):
    """What an actor does. Its state is its own: nothing outside holds a reference into it."""

    async def start(self) -> None:
        """Make the state, for the first time or after a failure."""
        ...

    def step(self, message: Message) -> Answer:
        """Take one message and answer it."""
        ...

    async def stop(self) -> None:
        """Let go of what `start` took hold of; also called after a failure."""
        ...


_PAUSES: Final = Backoff(first_s=0.05, cap_s=5.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervision:
    """How often a failing actor is started again.

    Attributes:
        pauses: How long it rests before each new start; at least half of what they allow.
        failures: So many failures within `window_s` and the actor is given up.
        window_s: See `failures`.
    """

    pauses: Backoff = _PAUSES
    failures: int = 5
    window_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorStatistics:
    """What an actor did so far.

    Attributes:
        queued: Messages that wait.
        most_queued: The most that ever waited.
        oldest_s: How long the next one has waited, in seconds.
        handled: Messages taken.
        refused: Messages that found the mailbox full.
        failed: Messages that made the actor fail.
        starts: How often its state was made.
        last_failure: Why it failed last; empty when it never did.
    """

    queued: int
    most_queued: int
    oldest_s: float
    handled: int
    refused: int
    failed: int
    starts: int
    last_failure: str


@dataclass(frozen=True, slots=True)
class _Envelope(Generic[_M, _A]):
    message: _M
    since_s: float
    reply: asyncio.Future[_A] | None


class ActorFailedError(UnavailableError):
    """An actor failed too often and was given up."""


class Actor(Generic[_M, _A]):
    """One actor. Run `run()` in a task group.

    Args:
        address: Its name, unique in the process.
        behaviour: What it does.
        capacity: How many messages may wait.
        reserved: So many of these places are not for `deliver`, so that who asks is heard while a stream flows in.
        supervision: When it is started again.
        now_s: A clock that never goes back.
        sleep: How to wait.
    """

    def __init__(
        self,
        address: str,
        behaviour: Behaviour[_M, _A],
        *,
        capacity: int = 64,
        reserved: int = 0,
        supervision: Supervision | None = None,
        now_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        if capacity < 1:
            raise InvalidInputError(field="capacity", value=capacity, fix="give at least 1")
        if not 0 <= reserved < capacity:
            raise InvalidInputError(
                field="reserved", value=reserved, fix="leave at least one place to `deliver`"
            )
        self.address = address
        self._behaviour = behaviour
        self._capacity = capacity
        self._deliverable = capacity - reserved
        self._supervision = supervision or Supervision()
        self._now_s = now_s
        self._sleep = sleep
        self._mail: deque[_Envelope[_M, _A]] = deque()
        self._came = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._failures: deque[float] = deque()
        self._ended = False
        self._most_queued = self._handled = self._refused = self._failed = self._starts = 0
        self._last_failure = ""

    def tell(self, message: _M) -> bool:
        """Send without waiting for anything; return False (and count it) when the mailbox is full."""
        if self._ended or len(self._mail) >= self._capacity:
            self._refused += 1
            return False
        self._put(_Envelope(message, self._now_s(), None))
        return True

    async def deliver(self, message: _M) -> None:
        """Send as soon as there is room: who sends faster than the actor works is slowed down.

        Raises:
            UnavailableError: when the actor has ended.
        """
        while len(self._mail) >= self._deliverable and not self._ended:
            self._room.clear()
            await self._room.wait()
        if self._ended:
            raise UnavailableError(f"actor {self.address}", "it has ended")
        self._put(_Envelope(message, self._now_s(), None))

    async def ask(self, message: _M, *, timeout_s: float = 5.0) -> _A:
        """Send and return the answer.

        Raises:
            UnavailableError: when the mailbox is full, the actor failed on the message or has ended, or no answer
                comes in time.
        """
        if self._ended or len(self._mail) >= self._capacity:
            self._refused += 1
            raise UnavailableError(f"actor {self.address}", "it has ended" if self._ended else "it is busy")
        reply: asyncio.Future[_A] = asyncio.get_running_loop().create_future()
        self._put(_Envelope(message, self._now_s(), reply))
        try:
            async with asyncio.timeout(timeout_s):
                return await reply
        except TimeoutError as error:
            raise UnavailableError(f"actor {self.address}", f"no answer within {timeout_s:g} s") from error

    async def run(self) -> None:
        """Take messages one after the other until cancelled.

        Raises:
            ActorFailedError: when it failed too often.
        """
        try:
            while True:
                try:
                    self._starts += 1
                    await self._behaviour.start()
                    await self._work()
                except Exception as error:  # noqa: BLE001 - this is the supervisor
                    await self._behaviour.stop()
                    await self._pause_after(error)
        finally:
            self._end()
            await self._behaviour.stop()

    def statistics(self) -> ActorStatistics:
        """Return what it did so far."""
        return ActorStatistics(
            queued=len(self._mail),
            most_queued=self._most_queued,
            oldest_s=self._now_s() - self._mail[0].since_s if self._mail else 0.0,
            handled=self._handled,
            refused=self._refused,
            failed=self._failed,
            starts=self._starts,
            last_failure=self._last_failure,
        )

    def _put(self, envelope: _Envelope[_M, _A]) -> None:
        self._mail.append(envelope)
        self._most_queued = max(self._most_queued, len(self._mail))
        self._came.set()

    async def _work(self) -> None:
        while True:
            if not self._mail:
                self._came.clear()
                await self._came.wait()
            envelope = self._mail.popleft()
            self._room.set()
            try:
                answer = self._behaviour.step(envelope.message)
            except Exception as error:
                _settle(envelope.reply, UnavailableError(f"actor {self.address}", f"it failed: {error}"))
                raise
            self._handled += 1
            if envelope.reply is not None and not envelope.reply.done():
                envelope.reply.set_result(answer)
            await asyncio.sleep(0)

    async def _pause_after(self, error: Exception) -> None:
        """Count a failure and wait before the next start.

        Raises:
            ActorFailedError: when there were too many.
        """
        now_s = self._now_s()
        self._failed += 1
        self._last_failure = f"{type(error).__name__}: {error}"
        _log.warning("actor failed", actor=self.address, why=self._last_failure, exc_info=error)
        self._failures.append(now_s)
        while self._failures and now_s - self._failures[0] > self._supervision.window_s:
            self._failures.popleft()
        if len(self._failures) >= self._supervision.failures:
            raise ActorFailedError(f"actor {self.address}", self._last_failure) from error
        await self._sleep(self._supervision.pauses.wait_s(len(self._failures), random.uniform(0.5, 1.0)))

    def _end(self) -> None:
        self._ended = True
        self._room.set()
        while self._mail:
            _settle(self._mail.popleft().reply, UnavailableError(f"actor {self.address}", "it has ended"))


def _settle(reply: asyncio.Future[Any] | None, error: Exception) -> None:
    if reply is not None and not reply.done():
        reply.set_exception(error)
