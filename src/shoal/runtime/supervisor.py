"""The supervisor: starts child processes, starts them again when they die, and leaves none behind.

Any exit that was not asked for is a death. A child that dies is started again at once, then after growing
pauses; one that keeps dying is reported with the last lines that it wrote. Children stop tier by tier.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import msgspec
import structlog

from shoal.domain.errors import InvalidInputError, UnavailableError
from shoal.domain.ids import checked_id
from shoal.runtime.child import READY_FILE_VARIABLE
from shoal.runtime.children import (
    Child,
    ChildSpec,
    ChildState,
    RestartPolicy,
    Status,
    SupervisorStatistics,
    turn_over,
)
from shoal.runtime.process import ChildProcess
from shoal.runtime.readiness import Candidate

_ASK_EVERY_S: Final = 0.05
_MEASURE_EVERY_S: Final = 1.0
_KILL_RESERVE_S: Final = 0.5

_log: Final = structlog.get_logger(__name__)


class Supervisor:
    """Runs children while its context is open; leaving it stops them all.

    Enter it on the main thread: on Linux the children end with the thread that started them.

    Args:
        run_dir: Holds the children's ready files.
        policy: When a dead child is started again.
        on_change: Called with a child's state whenever its status changes.
    """

    def __init__(
        self,
        *,
        run_dir: Path,
        policy: RestartPolicy | None = None,
        on_change: Callable[[ChildState], None] | None = None,
    ) -> None:
        self._run_dir = run_dir
        self._policy = policy or RestartPolicy()
        self._on_change = on_change
        self._children: dict[str, Child] = {}
        self._changed = asyncio.Condition()
        self._stopping = asyncio.Event()
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Supervisor:
        self._run_dir.mkdir(parents=True, exist_ok=True)
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.stop()
        finally:
            if kind is asyncio.CancelledError:
                await self._tasks.__aexit__(kind, error, trace)
            else:  # an error of the body stays what it is, not a part of a group
                await self._tasks.__aexit__(None, None, None)

    def start(self, spec: ChildSpec) -> None:
        """Start a child and keep it running.

        Raises:
            InvalidInputError: when the role is no name or is taken.
        """
        checked_id("role", spec.role)
        if spec.role in self._children:
            raise InvalidInputError(field="role", value=spec.role, fix="start each role once")
        child = Child(spec, self._run_dir / f"{spec.role}.ready")
        self._children[spec.role] = child
        self._tasks.create_task(self._keep(child), name=f"supervise-{spec.role}")

    async def wait_ready(self, *roles: str, timeout_s: float = 30.0) -> None:
        """Return when the roles (all when none is named) are ready.

        Raises:
            UnavailableError: when one is in a crash loop, has ended, or is not ready in time; the text holds
                the last lines that it wrote.
        """
        children = [self._children[role] for role in roles or self._children]

        def settled() -> bool:
            failed = any(child.status in ("crash_loop", "stopped", "stopping") for child in children)
            return failed or all(child.status == "ready" for child in children)

        await self.wait_for(settled, timeout_s=timeout_s)
        for child in sorted(children, key=lambda c: c.status != "crash_loop"):
            if child.status != "ready":
                raise UnavailableError(child.spec.role, self._why(child, timeout_s))

    def _why(self, child: Child, timeout_s: float) -> str:
        match child.status:
            case "crash_loop":
                why = f"it ended {len(child.deaths)} times in a row ({child.last_ending})"
            case "stopped" | "stopping":
                why = f"it was stopped ({child.last_ending})" if child.last_ending else "it was stopped"
            case _:
                why = f"it was not ready within {timeout_s:g} s"
        lines = child.last_lines()
        said = "; its last lines:\n  " + "\n  ".join(lines) if lines else ", and wrote nothing"
        return f"{why}; its log is {child.spec.log_file}{said}"

    def expect_exit(self, *roles: str) -> None:
        """From now on the roles (all when none is named) may end by themselves and are not started again."""
        for role in roles or self._children:
            self._children[role].wanted = False

    async def wait_exited(self, *roles: str, timeout_s: float) -> bool:
        """Wait until the roles (all when none is named) have ended for good; return whether they have."""
        children = [self._children[role] for role in roles or self._children]
        return await self.wait_for(lambda: all(c.status == "stopped" for c in children), timeout_s=timeout_s)

    async def wait_for(self, condition: Callable[[], bool], *, timeout_s: float) -> bool:
        """Wait until `condition`, asked at every change of a status, is true; return whether it is."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), self._changed:
                await self._changed.wait_for(condition)
        return condition()

    async def stop(self, grace_s: float = 5.0) -> None:
        """Stop every child within `grace_s`: ask tier by tier, highest first, and end by force who stays."""
        self._stopping.set()
        clock = asyncio.get_running_loop()
        deadline = clock.time() + max(0.0, grace_s - _KILL_RESERVE_S)
        tiers = sorted({child.spec.tier for child in self._children.values()}, reverse=True)
        for position, tier in enumerate(tiers):
            alive = [c for c in self._children.values() if c.spec.tier == tier and c.running]
            for child in alive:
                child.measure()
                await self._become(child, "stopping")
                if child.process:
                    child.process.terminate()
            share_s = max(0.0, deadline - clock.time()) / (len(tiers) - position)
            until = clock.time() + share_s
            for child in alive:
                if child.process and not await child.process.wait_exited(max(0.0, until - clock.time())):
                    _log.warning(
                        "child_killed", child=child.spec.role, pid=child.process.pid, after_s=share_s
                    )
                    child.measure()
                    child.process.kill()
                    await child.process.wait_exited()

    def states(self) -> tuple[ChildState, ...]:
        """Return every child as it is now, in the order of starting."""
        return tuple(child.state() for child in self._children.values())

    def state(self, role: str) -> ChildState:
        """Return one child as it is now."""
        return self._children[role].state()

    def facts(self, role: str) -> dict[str, Any]:
        """Return what the child said with `announce_ready`; nothing before it did."""
        with contextlib.suppress(FileNotFoundError):
            content: dict[str, Any] = msgspec.json.decode(self._children[role].ready_file.read_bytes())
            return content
        return {}

    def peak_rss_bytes(self) -> int:
        """Return the most resident memory of each child over all its starts, summed over the children."""
        for child in self._children.values():
            child.measure()
        return sum(child.peak_rss_bytes for child in self._children.values())

    def statistics(self) -> SupervisorStatistics:
        """Count over all children."""
        children = self._children.values()
        return SupervisorStatistics(
            children=len(children),
            ready=sum(child.status == "ready" for child in children),
            restarts_total=sum(child.restarts for child in children),
            peak_rss_bytes=self.peak_rss_bytes(),
        )

    async def _keep(self, child: Child) -> None:
        pause_s = self._policy.first_pause_s
        while not self._stopping.is_set():
            began_s = asyncio.get_running_loop().time()
            await self._run_once(child)
            if self._stopping.is_set() or not child.wanted:
                break
            ran_s = asyncio.get_running_loop().time() - began_s
            if ran_s >= self._policy.stable_after_s:
                pause_s = self._policy.first_pause_s
            await self._mourn(child, pause_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._stopping.wait()
            pause_s = min(2 * pause_s, self._policy.longest_pause_s)
            child.restarts += 1
        await self._become(child, "stopped")

    async def _run_once(self, child: Child) -> None:
        """Start the child and return when it has ended."""
        child.ready_file.unlink(missing_ok=True)
        turn_over(child.spec.log_file, live=False)
        env = {**child.spec.env, READY_FILE_VARIABLE: str(child.ready_file.absolute())}
        try:
            process = ChildProcess(argv=child.spec.argv, env=env, log_file=child.spec.log_file)
        except OSError as error:
            child.last_ending = f"it could not be started: {error.strerror}"
            return
        child.process = process
        if child.status != "crash_loop":
            await self._become(child, "starting")
        candidate = Candidate(
            pid=process.pid,
            log_file=child.spec.log_file,
            log_start_bytes=process.log_start_bytes,
            ready_file=child.ready_file,
        )
        while not await process.wait_exited(0 if self._stopping.is_set() else _ASK_EVERY_S):
            child.measure()
            if await child.spec.ready(candidate):
                if process.running and not self._stopping.is_set():
                    await self._become(child, "ready")
                break
            if self._stopping.is_set():
                break
        while not await process.wait_exited(_MEASURE_EVERY_S):
            child.measure()
            await asyncio.to_thread(turn_over, child.spec.log_file, live=True)
        child.last_ending = process.ending

    async def _mourn(self, child: Child, pause_s: float) -> None:
        """Count a death that was not asked for and say what it was."""
        now_s = asyncio.get_running_loop().time()
        child.deaths.append(now_s)
        while child.deaths and child.deaths[0] < now_s - self._policy.loop_window_s:
            child.deaths.popleft()
        role = child.spec.role
        if len(child.deaths) >= self._policy.loop_deaths:
            _log.error(
                "child_crash_loop", child=role, deaths=len(child.deaths), ending=child.last_ending,
                log_file=str(child.spec.log_file), last_lines=child.last_lines(),
            )  # fmt: skip
            await self._become(child, "crash_loop")
        else:
            _log.warning("child_died", child=role, ending=child.last_ending, restart_in_s=pause_s)
            await self._become(child, "backoff")

    async def _become(self, child: Child, status: Status) -> None:
        async with self._changed:
            child.status = status
            self._changed.notify_all()
        if self._on_change is not None:
            self._on_change(child.state())
