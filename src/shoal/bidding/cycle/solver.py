"""Decisions made in a process of their own, which is killed when it takes too long: a hung solver is cut off, not waited for.

One process works, another stands by with everything loaded, so that cutting one off costs no start-up in the next
gate. What travels is what is known and the name of a rung; what comes back is the decision or why there is none.
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
from typing import Any, Final

import msgspec

from shoal.bidding.cycle.decision import Decision, decide
from shoal.bidding.cycle.known import Known
from shoal.domain.errors import DeadlineExceededError, ShoalError, UnavailableError

_READY: Final = "ready"
_STOP_S: Final = 1.0
_LOOK_AGAIN_S: Final = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class SolverStatistics:
    """Counters since the start."""

    decided: int
    failed: int
    cut_off: int
    died: int
    not_ready: int


class Solver:
    """Processes that decide; safe to use from several threads, one decision at a time each.

    Args:
        prepare: Names of modules that register strategies; imported in each process.
        spares: Processes that stand by beside the one at work.
    """

    def __init__(self, *, prepare: Sequence[str], spares: int = 1) -> None:
        self._prepare = tuple(prepare)
        self._wanted = spares + 1
        self._context = multiprocessing.get_context("spawn")
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._count = {"decided": 0, "failed": 0, "cut_off": 0, "died": 0, "not_ready": 0}
        self._closed = False

    def start(self) -> None:
        """Start the processes; returns at once, they load in the background."""
        with self._lock:
            while not self._closed and len(self._idle) < self._wanted:
                self._idle.append(_Worker(self._context, self._prepare))

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
        for worker in idle:
            worker.kill()

    def _take(self, budget_s: float) -> _Worker:
        until_s = time.monotonic() + budget_s
        while True:
            self.start()
            left_s = until_s - time.monotonic()
            ready = self.wait_ready(max(left_s, 0.0))
            with self._lock:
                for position, worker in enumerate(self._idle):
                    if ready and worker.is_ready():
                        return self._idle.pop(position)
            if left_s <= 0:
                self._note("not_ready")
                raise UnavailableError("solver", f"no process was ready within {budget_s:.2f} s")
            time.sleep(min(_LOOK_AGAIN_S, left_s))

    def _give_back(self, worker: _Worker) -> None:
        with self._lock:
            if worker.alive and not self._closed:
                self._idle.insert(0, worker)
        if not worker.alive:
            self.start()
        elif self._closed:
            worker.kill()

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
    for name in prepare:
        importlib.import_module(name)
    with contextlib.suppress(EOFError, OSError):
        pipe.send(_READY)
        while True:
            known, rung = pickle.loads(pipe.recv_bytes())
            pipe.send(_answer(lambda: decide(known, rung)))  # noqa: B023 - called at once


def _answer(make: Callable[[], Decision]) -> bytes | str:
    try:
        return make().content()
    except Exception as error:  # noqa: BLE001 - whatever a rung raises is the reason for the next
        return f"{type(error).__name__}: {error}"
