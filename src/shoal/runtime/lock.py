"""One plant for one data directory: a lock that the kernel takes back when its holder dies, however."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Final

from shoal.domain.errors import UnavailableError

LOCK_FILE: Final = "plant.pid"


class InstanceLock:
    """Holds a data directory while the context is open.

    The file names the holder for people; the lock itself is the kernel's, so a file left by a dead holder
    is in nobody's way.

    Args:
        data_dir: The directory; it is made when it is not there.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._handle: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            UnavailableError: when a living process holds it, or the directory cannot be written.
        """
        try:
            self._data_dir.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._data_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            why = f"{error.strerror}; choose another with --set data_dir=DIR"
            raise UnavailableError(f"data directory {self._data_dir}", why) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(handle, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(handle)
            raise UnavailableError(
                f"data directory {self._data_dir}",
                f"process {holder} is using it; stop that one or choose another with --set data_dir=DIR",
            ) from error
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        self._handle = handle

    def release(self) -> None:
        """Give the lock back; the file stays, empty."""
        if self._handle is not None:
            os.ftruncate(self._handle, 0)
            os.close(self._handle)
            self._handle = None

    def __enter__(self) -> InstanceLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
