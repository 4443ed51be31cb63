"""Slow readings for who asks: a few at once, in threads of their own, and waited for so long.

A reading that nobody waits for any more keeps its thread until it ends: whoever asks again and again waits behind it,
and never has the threads in which orders are kept and people signed in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from shoal.domain.errors import UnavailableError

AT_ONCE: Final = 2
WAIT_S: Final = 20.0
R = TypeVar("R")


class SlowReads:
    """Readings of one kind.

    Args:
        name: Of their threads.
        at_once: How many there are at once.
        wait_s: How long one is waited for, its turn included, in seconds.
    """

    def __init__(self, name: str, *, at_once: int = AT_ONCE, wait_s: float = WAIT_S) -> None:
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix=name)
        self._wait_s = wait_s

    async def read(self, what: str, ask: Callable[[], R]) -> R:
        """Return what is read; one whose turn does not come in time is not begun.

        Raises:
            UnavailableError: when it was not read in time.
        """
        try:
            async with asyncio.timeout(self._wait_s):
                return await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        except TimeoutError as error:
            why = f"it was not read within {self._wait_s:g} s; ask for a shorter span, or again"
            raise UnavailableError(what, why) from error
