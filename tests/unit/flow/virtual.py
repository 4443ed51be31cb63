"""An event loop whose clock jumps to the next deadline: hours of waiting in no time, and a deadlock is an error."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


class DeadlockError(RuntimeError):
    """Nothing is due and nobody will wake anybody."""


class _Jumping(selectors.DefaultSelector):
    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise DeadlockError("every task waits, and nothing is due")
        if timeout > 0:
            self.now_s += timeout
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s


def run(scenario: Coroutine[Any, Any, T]) -> T:
    """Run on virtual time; a task that is left over in the end, or an error that nobody saw, is a failure."""
    unseen: list[dict[str, Any]] = []

    async def watched() -> T:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
        result = await scenario
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks left over: {left}"
        return result

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        result = runner.run(watched())
    assert not unseen, unseen
    return result


def now_s() -> float:
    return asyncio.get_running_loop().time()


class Source:
    """Gives numbers from 0, each after its own pause, and then ends or fails."""

    def __init__(self, pauses_s: Sequence[float], error: Exception | None = None) -> None:
        self._pauses_s = pauses_s
        self._error = error
        self.given: list[int] = []
        self.at_s: list[float] = []

    async def items(self) -> AsyncIterator[int]:
        for number, pause_s in enumerate(self._pauses_s):
            if pause_s > 0:
                await asyncio.sleep(pause_s)
            self.given.append(number)
            self.at_s.append(now_s())
            yield number
        if self._error is not None:
            raise self._error
