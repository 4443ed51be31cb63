"""Decisions made in a process of their own, which is killed when it takes too long: a hung solver is cut off, not waited for.

One process works, another stands by with everything loaded, so that cutting one off costs no start-up in the next
gate. What travels is what is known and the name of a rung; what comes back is the decision or why there is none.
Each process first decides some made-up cases, so that whatever has to be compiled is; one at a time does so, in the
background, while another is there to decide.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import pickle
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, Final, TypeAlias

import msgspec
import structlog

from shoal.bidding.cycle.decision import Decision, decide
from shoal.bidding.cycle.known import Known
from shoal.domain.errors import DeadlineExceededError, ShoalError, UnavailableError

Case: TypeAlias = tuple[Known, str]
"""What is known, and the rung that decides on it."""

_READY: Final = "ready"
_STOP_S: Final = 1.0
_LOOK_AGAIN_S: Final = 0.005
_LOOK_FOR_COLD_S: Final = 0.05
CASE_S: Final = 120.0
"""A made-up case that takes longer is at fault and left out from then on; the first of all compile for a minute."""
ONLY_WARM_S: Final = 20.0
"""So long is a warm process waited for, once a cold one was too slow; then a cold one is better than none."""
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SolverStatistics:
    """Counters since the start.

    Attributes:
        decided: Questions answered.
        failed: Questions to which a rung had no answer.
        cut_off: Processes killed since they took too long.
        died: Processes that died at work.
        not_ready: Questions for which no process was ready.
        warmed: Processes that have decided the made-up cases.
    """

    decided: int
    failed: int
    cut_off: int
    died: int
    not_ready: int
    warmed: int


class Solver:
    """Processes that decide; safe to use from several threads, one decision at a time each.

    Args:
        prepare: Names of modules that register strategies; imported in each process.
        spares: Processes that stand by beside the one at work.
        warm: Returns cases that every process decides once before it is asked; called in the background.
    """

    def __init__(
        self, *, prepare: Sequence[str], spares: int = 1, warm: Callable[[], Sequence[Case]] = tuple
    ) -> None:
        self._prepare = tuple(prepare)
        self._wanted = spares + 1
        self._context = multiprocessing.get_context("spawn")
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._count = dict.fromkeys(("decided", "failed", "cut_off", "died", "not_ready", "warmed"), 0)
        self._closed = False
        self._warm = warm
        self._cases: tuple[Case, ...] | None = None
        self._warming: threading.Thread | None = None
        self._at_warm: _Worker | None = None
        self._warm_since_s: float | None = None
        self._cold_too_slow = False

    def start(self) -> None:
        """Start the processes; returns at once, they load in the background."""
        with self._lock:
            # one that is being warmed stands by again soon
            wanted = self._wanted - (self._at_warm is not None and bool(self._idle))
            while not self._closed and len(self._idle) < wanted:
                self._idle.append(_Worker(self._context, self._prepare))
            if self._warming is None and not self._closed and self._has_cold():
                self._warming = threading.Thread(target=self._warm_up, name="solver-warm", daemon=True)
                self._warming.start()

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait until a process is ready; return whether one is."""
        until_s = time.monotonic() + timeout_s
        while True:
            with self._lock:
                if any(worker.is_ready() for worker in self._idle):
                    return True
                waiting = list(self._idle)
            left_s = until_s - time.monotonic()
            if left_s <= 0 or not waiting:
                return False
            multiprocessing.connection.wait([worker.pipe for worker in waiting], timeout=left_s)

    def wait_warm(self, timeout_s: float) -> bool:
        """Wait until every process has decided the made-up cases; return whether that came about in time."""
        until_s = time.monotonic() + timeout_s
        while time.monotonic() < until_s:
            with self._lock:
                if not self._has_cold() and self._warming is None:
                    return True
            time.sleep(_LOOK_AGAIN_S)
        return False

    def decide(self, known: Known, rung: str, *, budget_s: float) -> Decision:
        """Return what a rung decides, within the budget.

        Raises:
            DeadlineExceededError: it took longer; the process was killed.
            UnavailableError: no process was ready within the budget, or it died at work.
            ShoalError: what the rung itself raised.
        """
        started_s = time.monotonic()
        worker = self._take(budget_s)
        try:
            answer = worker.ask((known, rung), max(budget_s - (time.monotonic() - started_s), 0.0))
        except TimeoutError:
            worker.kill()
            self._note("cut_off")
            self._cold_too_slow = self._cold_too_slow or not worker.warm
            raise DeadlineExceededError(rung, budget_s) from None
        except (EOFError, OSError) as error:
            worker.kill()
            self._note("died")
            raise UnavailableError("solver", f"its process died at rung {rung}") from error
        finally:
            self._give_back(worker)
        if isinstance(answer, bytes):
            self._note("decided")
            return msgspec.json.decode(answer, type=Decision)
        self._note("failed")
        raise RungFailedError(rung, str(answer))

    def statistics(self) -> SolverStatistics:
        """Return the counters."""
        with self._lock:
            return SolverStatistics(**self._count)

    def close(self) -> None:
        """End every process."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            if self._at_warm is not None:
                self._at_warm.end()  # whoever waits for it does the rest
        for worker in idle:
            worker.kill()

    def _take(self, budget_s: float) -> _Worker:
        until_s = time.monotonic() + budget_s
        while True:
            self.start()
            left_s = until_s - time.monotonic()
            ready = self.wait_ready(max(left_s, 0.0))
            with self._lock:
                if ready:
                    there = [worker for worker in self._idle if worker.is_ready()]
                    for worker in sorted(there, key=lambda one: not one.warm):
                        if worker.warm or not self._only_warm():
                            self._idle.remove(worker)
                            return worker
            if left_s <= 0:
                self._note("not_ready")
                raise UnavailableError("solver", f"no process was ready within {budget_s:.2f} s")
            time.sleep(min(_LOOK_AGAIN_S, left_s))

    def _give_back(self, worker: _Worker) -> None:
        with self._lock:
            if worker.alive and not self._closed:
                self._idle.insert(0, worker)
        if not self._closed:
            self.start()
        elif worker.alive:
            worker.kill()

    # ── made-up cases ───────────────────────────────────────────────────────────────────────────────────────

    def _warms(self) -> bool:
        """Return whether processes are warmed at all."""
        return self._cases is None or bool(self._cases)

    def _has_cold(self) -> bool:
        """Return whether a process has made-up cases before it; the caller holds the lock."""
        return self._warms() and any(not worker.warm for worker in self._idle)

    def _only_warm(self) -> bool:
        """Return whether a cold process is of no use: one was too slow before, and to cut off one after the other warms none."""
        soon = self._warm_since_s is None or time.monotonic() - self._warm_since_s < ONLY_WARM_S
        return self._cold_too_slow and soon and self._warms()

    def _warm_up(self) -> None:
        """Warm one process after the other, until none is cold; the body of a thread."""
        while True:
            if self._cases is None:
                self._cases = self._made_up()
            with self._lock:
                if self._closed or not self._has_cold():
                    self._warming = None
                    return
                worker = self._cold()
            if worker is None:
                time.sleep(_LOOK_FOR_COLD_S)
                continue
            self._warm_one(worker)

    def _made_up(self) -> tuple[Case, ...]:
        try:
            return tuple(self._warm())
        except Exception as error:  # noqa: BLE001 - without them the first decisions are slow, and that is all
            _log.warning("solver_not_warmed", why=f"{type(error).__name__}: {error}")
            return ()

    def _cold(self) -> _Worker | None:
        """Take a cold process that is ready, leaving one to decide; None while there is none."""
        there = [worker for worker in self._idle if worker.is_ready()]
        cold = [worker for worker in there if not worker.warm]
        if not cold:
            return None
        if len(there) < 2 and not self._only_warm():
            if len(self._idle) < max(self._wanted, 2):
                # it has none that stands by: one more for the time being, and the colder one goes
                self._idle.append(_Worker(self._context, self._prepare))
            return None
        self._at_warm = cold[-1]
        self._idle.remove(cold[-1])
        return cold[-1]

    def _warm_one(self, worker: _Worker) -> None:
        if self._warm_since_s is None:
            self._warm_since_s = time.monotonic()
        cases, failed = self._cases or (), []
        for position, case in enumerate(cases):
            try:
                answer = worker.ask(case, CASE_S)
            except (TimeoutError, EOFError, OSError) as error:
                worker.kill()
                if not self._closed:
                    self._cases = cases[:position] + cases[position + 1 :]
                    _log.warning("solver_case_left_out", rung=case[1], why=type(error).__name__)
                break
            if isinstance(answer, str):
                failed.append(f"{case[1]}: {answer}")
        else:
            worker.warm = True
            self._note("warmed")
            _log.info("solver_warmed", failed=failed)
            self._warm_since_s = None
        surplus: list[_Worker] = []
        with self._lock:
            self._at_warm = None
            if self._closed:
                surplus.append(worker)
            elif worker.alive:
                self._idle.insert(0, worker)
            while len(self._idle) > self._wanted:
                colder = [one for one in self._idle if not one.warm] or self._idle
                surplus.append(colder[-1])
                self._idle.remove(colder[-1])
        for one in surplus:
            one.kill()
        self.start()

    def _note(self, what: str) -> None:
        with self._lock:
            self._count[what] += 1


class RungFailedError(ShoalError):
    """A rung could not decide; the text says why."""

    def __init__(self, rung: str, why: str) -> None:
        super().__init__(why)
        self.rung = rung


class _Worker:
    """One process and the pipe to it."""

    def __init__(self, context: Any, prepare: tuple[str, ...]) -> None:
        self.pipe: Connection
        self.pipe, theirs = context.Pipe()
        self._process: SpawnProcess = context.Process(
            target=_work, args=(theirs, prepare), daemon=True, name="solver"
        )
        self._process.start()
        theirs.close()
        self._ready = False
        self.alive = True
        self.warm = False

    def is_ready(self) -> bool:
        """Whether it has loaded everything; does not wait."""
        if not self._ready and self.alive:
            try:
                if self.pipe.poll():
                    self._ready = self.pipe.recv() == _READY
            except (EOFError, OSError):
                self.kill()
        return self._ready and self.alive

    def ask(self, question: Any, budget_s: float) -> Any:
        """Send a question and return the answer.

        Raises:
            TimeoutError: none came in time.
            EOFError, OSError: the process died.
        """
        _limit_sending(self.pipe, budget_s)
        try:
            self.pipe.send_bytes(pickle.dumps(question, protocol=pickle.HIGHEST_PROTOCOL))
        except BlockingIOError:
            raise TimeoutError from None
        if not self.pipe.poll(budget_s):
            raise TimeoutError
        return self.pipe.recv()

    def end(self) -> None:
        """End the process, and leave the pipe to whoever waits at it."""
        self._process.kill()

    def kill(self) -> None:
        """End the process at once."""
        self.alive = False
        with contextlib.suppress(OSError):
            self.pipe.close()
        self._process.kill()
        self._process.join(_STOP_S)


def _limit_sending(pipe: Connection, budget_s: float) -> None:
    """Have a write to a process that does not read fail after the budget instead of waiting for ever."""
    whole_s, rest = divmod(max(budget_s, 1e-6), 1.0)
    limit = struct.pack("ll", int(whole_s), max(int(rest * 1e6), 1))
    with socket.socket(fileno=os.dup(pipe.fileno())) as end:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


def _work(pipe: Connection, prepare: tuple[str, ...]) -> None:
    """Answer questions until the other end is gone; the body of a process."""
    import importlib
    import signal

    # the terminal's interrupt is for the plant, which ends its children itself
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    for name in prepare:
        importlib.import_module(name)
    with contextlib.suppress(EOFError, OSError):
        pipe.send(_READY)
        while True:
            known, rung = pickle.loads(pipe.recv_bytes())
            pipe.send(_answer(known, rung))


def _end_with_parent() -> None:
    """Wait until the bidder is gone, and end: a rung that hangs would otherwise outlive a bidder that was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _answer(known: Known, rung: str) -> bytes | str:
    try:
        return decide(known, rung).content()
    except Exception as error:  # noqa: BLE001 - whatever a rung raises is the reason for the next
        return f"{type(error).__name__}: {error}"
