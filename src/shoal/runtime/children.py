"""What the supervisor knows of its children: how each is run, when it is started again, how it is now."""

from __future__ import annotations

import contextlib
import shutil
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias

from shoal.runtime.keys import mask_url
from shoal.runtime.process import ChildProcess
from shoal.runtime.readiness import Asker, announced, read_log

Status: TypeAlias = Literal["starting", "ready", "backoff", "crash_loop", "stopping", "stopped"]

_LOG_LIMIT_BYTES: Final = 32 << 20
_TAIL_LINES: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """How to run a child.

    Attributes:
        role: Its name: letters, digits, ``-`` and ``_``.
        argv: Program and arguments.
        log_file: Takes its output; at 32 MiB it is moved to ``<name>.1``.
        env: Added to this process's environment.
        ready: The question whether it is ready.
        tier: Children of a higher tier stop before those of a lower one.
    """

    role: str
    argv: tuple[str, ...]
    log_file: Path
    env: Mapping[str, str] = field(default_factory=dict)
    ready: Asker = announced
    tier: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """When a dead child is started again.

    Attributes:
        first_pause_s: Pause before the first restart; it doubles with each further one.
        longest_pause_s: Where it stops growing.
        stable_after_s: A child that ran this long begins afresh with the first pause.
        loop_deaths: So many deaths within `loop_window_s` are a crash loop.
        loop_window_s: See `loop_deaths`.
    """

    first_pause_s: float = 0.1
    longest_pause_s: float = 5.0
    stable_after_s: float = 10.0
    loop_deaths: int = 5
    loop_window_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildState:
    """A child as it is now; `pid` is None while it does not run."""

    role: str
    status: Status
    pid: int | None
    restarts: int
    last_ending: str
    peak_rss_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorStatistics:
    """Counts over all children."""

    children: int
    ready: int
    restarts_total: int
    peak_rss_bytes: int


class Child:
    """What the supervisor knows of one role, over all its starts."""

    def __init__(self, spec: ChildSpec, ready_file: Path) -> None:
        self.spec = spec
        self.ready_file = ready_file
        self.status: Status = "starting"
        self.process: ChildProcess | None = None
        self.restarts = 0
        self.wanted = True
        self.last_ending = ""
        self.peak_rss_bytes = 0
        self.deaths: deque[float] = deque()

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.running

    def measure(self) -> None:
        if self.process is not None:
            self.process.measure()
            self.peak_rss_bytes = max(self.peak_rss_bytes, self.process.peak_rss_bytes)

    def state(self) -> ChildState:
        return ChildState(
            role=self.spec.role,
            status=self.status,
            pid=self.process.pid if self.process is not None and self.process.running else None,
            restarts=self.restarts,
            last_ending=self.last_ending,
            peak_rss_bytes=self.peak_rss_bytes,
        )

    def last_lines(self) -> list[str]:
        start_bytes = self.process.log_start_bytes if self.process else 0
        text = read_log(self.spec.log_file, start_bytes).decode("utf-8", "replace")
        return [mask_url(line) for line in text.splitlines()[-_TAIL_LINES:]]


def turn_over(log_file: Path, *, live: bool) -> None:
    """Move a log that has grown too large to ``<name>.1``; a living child appends to the emptied file."""
    with contextlib.suppress(FileNotFoundError):
        if log_file.stat().st_size < _LOG_LIMIT_BYTES:
            return
        old = log_file.with_name(log_file.name + ".1")
        if live:
            shutil.copyfile(log_file, old)
            with log_file.open("r+b") as log:
                log.truncate(0)
        else:
            log_file.replace(old)
