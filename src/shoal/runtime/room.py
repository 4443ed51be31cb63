"""Whether a disk has room: who writes there stops in time, says so once, and goes on when there is room again.

It is full when less is free than was declared, or when the system refused a write, and has room again once a quarter more
than that is free: whoever writes near the limit does not start and stop for each file.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from shoal.flow.retry import Backoff

REFUSALS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the system says when a disk, a quota or the largest file is full."""
_AGAIN: Final = Backoff(first_s=1.0, cap_s=15.0)
_LOOK_EVERY_S: Final = 1.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomStatistics:
    """What is known of a disk.

    Attributes:
        free_bytes: Free when it was last looked at; -1 when the store has no such number.
        least_bytes: Below this nothing more is written.
        full: 1 while it is full, else 0.
        full_total: How often it became full.
        refused_total: Writes that the system refused for lack of room.
    """

    free_bytes: int
    least_bytes: int
    full: int
    full_total: int
    refused_total: int


class DiskRoom:
    """The room on the disk that holds a folder.

    Args:
        what: What stops when it is full, for the log.
        folder: The folder; it need not exist yet. None when the store has no disk that can be looked at.
        least_bytes: How much must stay free.
        free: Tells how many bytes are free at a path.
        now_s: A clock that never goes back.
        again: How long to wait before another look while it is full.
    """

    WORD: Final = "disk full"

    def __init__(
        self,
        what: str,
        folder: Path | None,
        least_bytes: int,
        *,
        free: Callable[[Path], int] | None = None,
        now_s: Callable[[], float] = time.monotonic,
        again: Backoff = _AGAIN,
    ) -> None:
        self._what = what
        self._folder = folder
        self._least_bytes = least_bytes
        self._free = free or free_bytes
        self._now_s = now_s
        self._again = again
        self._free_bytes = -1
        self._full = False
        self._word = ""
        self._refused = False
        self._looks = 0
        self._next_look_s = 0.0
        self._full_total = self._refused_total = 0

    @property
    def full(self) -> bool:
        """Whether it was full at the last look."""
        return self._full

    def word(self) -> str:
        """Return what is the matter in words; empty while there is room."""
        return self._word if self._full else ""

    def enough(self) -> bool:
        """Return whether to write now. Looks at most once a second, and ever more rarely while it is full.

        After a refusal with more free than is needed, only another try can tell: it is let through, now and then.
        """
        now_s = self._now_s()
        if now_s < self._next_look_s:
            return not self._full
        self._free_bytes = self._measured()
        # a store without a number is never full by it
        is_low = 0 <= self._free_bytes < self._least_bytes + (self._least_bytes // 4 if self._full else 0)
        if is_low:
            self._fill(f"{self._free_bytes} bytes free below {self._least_bytes}")
        elif not self._refused:
            self._empty()
        self._rest()
        return not is_low

    async def wait(self) -> None:
        """Return once there is room to write."""
        while not self.enough():  # noqa: ASYNC110 - a disk has no event for it
            await asyncio.sleep(max(self._next_look_s - self._now_s(), 0.01))

    def refused(self, error: BaseException) -> bool:
        """Take a write's error; return whether it was for lack of room. If so it is full until a write succeeds."""
        found = error if isinstance(error, OSError) else error.__cause__
        if not isinstance(found, OSError) or found.errno not in REFUSALS:
            return False
        self._refused = True
        self._refused_total += 1
        self._free_bytes = self._measured()
        self._fill(f"{found.strerror}, {self._free_bytes} bytes free of the {self._least_bytes} wanted")
        self._rest()
        return True

    def wrote(self) -> None:
        """Take note that a write succeeded."""
        if self._refused:
            self._refused = False
            self._empty()
            self._next_look_s = 0.0

    def statistics(self) -> RoomStatistics:
        """Return what is known."""
        return RoomStatistics(
            free_bytes=self._free_bytes,
            least_bytes=self._least_bytes,
            full=int(self._full),
            full_total=self._full_total,
            refused_total=self._refused_total,
        )

    def _measured(self) -> int:
        return self._free(self._folder) if self._folder is not None else -1

    def _rest(self) -> None:
        """Set when to look again."""
        wait_s = _LOOK_EVERY_S
        if self._full:
            self._looks += 1
            wait_s = self._again.ceiling_s(self._looks) * random.uniform(0.5, 1.0)
        self._next_look_s = self._now_s() + wait_s

    def _fill(self, found: str) -> None:
        if not self._full:
            self._full, self._looks = True, 0
            self._full_total += 1
            self._word = f"{self.WORD}: {found}"
            _log.error(self._word, stops=self._what, folder=str(self._folder or ""))

    def _empty(self) -> None:
        if self._full:
            self._full = False
            _log.info("disk has room again", goes_on=self._what, free_bytes=self._free_bytes)


def free_bytes(path: Path) -> int:
    """Return how many bytes this user may still write at a path, or at the nearest folder above that is there."""
    for candidate in (path.absolute(), *path.absolute().parents):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return shutil.disk_usage(candidate).free
    return shutil.disk_usage(os.sep).free
