"""One child process: started so that it dies with its parent, waited for, measured, ended with all its own.

It leads a process group. When it ends, whatever it left behind in the group is killed before its number is
given back to the kernel, so that no signal ever reaches a stranger.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]

from shoal.runtime import _exec_child
from shoal.runtime.child import SUPERVISED_VARIABLE

_HELPER: Final = str(Path(_exec_child.__file__).resolve())


class ChildProcess:
    """A running child.

    The thread that starts a child must live as long as the child may: on Linux the kernel ties the two.

    Args:
        argv: Program and arguments.
        env: Added to this process's environment.
        log_file: Takes standard output and error; it is appended to.

    Raises:
        OSError: when no process can be started or the log cannot be written.
    """

    def __init__(self, *, argv: Sequence[str], env: Mapping[str, str], log_file: Path) -> None:
        log_file.parent.mkdir(parents=True, exist_ok=True)
        with log_file.open("ab") as log:
            self.log_start_bytes = log.tell()
            self._popen = subprocess.Popen(
                [sys.executable, "-I", "-S", _HELPER, str(os.getpid()), *argv],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **env, SUPERVISED_VARIABLE: "1"},
                start_new_session=True,
            )
        self.pid: Final = self._popen.pid
        self.exit_code: int | None = None
        self.peak_rss_bytes = 0
        self._reaping = threading.Lock()
        self._loop = asyncio.get_running_loop()
        self._exited = asyncio.Event()
        threading.Thread(target=self._reap, name=f"reap-{self.pid}", daemon=True).start()

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.exit_code is None

    @property
    def ending(self) -> str:
        """Say in words how it ended; empty while it runs."""
        if self.exit_code is None:
            return ""
        if self.exit_code >= 0:
            return f"exit code {self.exit_code}"
        return f"killed by {signal.Signals(-self.exit_code).name}"

    def terminate(self) -> None:
        """Ask it to end."""
        with self._reaping:
            if self.running:
                os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End it and all of its group by force."""
        with self._reaping:
            if self.running:
                os.kill(self.pid, signal.SIGKILL)
                _kill_group(self.pid)

    async def wait_exited(self, timeout_s: float | None = None) -> bool:
        """Wait until it has ended, at most `timeout_s`; return whether it has."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._exited.wait()
        return not self.running

    def measure(self) -> None:
        """Read how much memory it has taken at most, while it runs."""
        self.peak_rss_bytes = max(self.peak_rss_bytes, peak_rss_bytes(self.pid))

    def _reap(self) -> None:
        if hasattr(os, "waitid"):
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)  # it is dead, its number still ours
            with self._reaping:
                _kill_group(self.pid)
                self._collect()
        else:
            self._collect()

    def _collect(self) -> None:
        _, status = os.waitpid(self.pid, 0)
        self.exit_code = self._popen.returncode = os.waitstatus_to_exitcode(status)
        if self._popen.stdin is not None:
            self._popen.stdin.close()
        with contextlib.suppress(RuntimeError):  # the loop is gone: nobody waits
            self._loop.call_soon_threadsafe(self._exited.set)


def peak_rss_bytes(pid: int) -> int:
    """Return the most resident memory that a process has had; 0 when it is gone.

    Where the system keeps no such mark, the present use is returned: the caller keeps the largest.
    """
    status = Path(f"/proc/{pid}/status")
    try:
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
