"""The fleet optimum over processes of this machine: each holds a share of the homes and answers over a pipe.

A process that dies or does not answer in time is a silent part; the search goes on without it.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import UnavailableError
from shoal.optimise.fleet_optimum import Answer, Ask
from shoal.optimise.fleet_optimum_parts import LocalHomes, Part, PartLedger
from shoal.optimise.home_batch import GroupSums, HomeBatch

Build = Callable[[int, int], HomeBatch]
"""Makes the homes of one of so many shards, in its own process; a function of a module."""

_START_TIMEOUT_S: Final = 300.0
_STOP_TIMEOUT_S: Final = 5.0


class ShardedHomes:
    """An answerer for homes in other processes; use it as a context.

    Args:
        build: Makes the homes of a shard.
        shards: How many processes.
        round_timeout_s: How long a round waits for those who have not answered, in seconds.

    Raises:
        UnavailableError: on entering, when a process does not start.
    """

    def __init__(self, build: Build, *, shards: int, round_timeout_s: float = 120.0) -> None:
        self._build, self._shards, self._round_timeout_s = build, shards, round_timeout_s
        self._processes: list[BaseProcess] = []
        self._pipes: dict[str, Connection] = {}
        self._waits: dict[str, int] = {}
        self.parts: dict[str, Part] = {}
        self._feeder_of: NDArray[np.int64] = np.empty(0, np.int64)
        self._ledger: PartLedger | None = None
        self.down_bytes = self.up_bytes = 0

    def __enter__(self) -> ShardedHomes:
        context = multiprocessing.get_context("spawn")
        for shard in range(self._shards):
            here, there = context.Pipe()
            process = context.Process(
                target=_serve,
                args=(there, self._build, shard, self._shards),
                daemon=True,
                name=f"homes-{shard}",
            )
            process.start()
            there.close()
            self._processes.append(process)
            self._pipes[str(shard)] = here
        for name, pipe in self._pipes.items():
            if not pipe.poll(_START_TIMEOUT_S):
                self._stop()
                raise UnavailableError(f"shard {name}", f"it did not start in {_START_TIMEOUT_S:g} s")
            try:
                self.parts[name], self._feeder_of = pipe.recv()
            except EOFError as error:
                self._stop()
                raise UnavailableError(f"shard {name}", "it ended while it started") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    @property
    def homes_count(self) -> int:
        """How many homes there are."""
        return int(sum(part.homes_count.sum() for part in self.parts.values()))

    @property
    def feeder_of(self) -> NDArray[np.int64]:
        """The feeder of each group."""
        return self._feeder_of

    @property
    def pids(self) -> Sequence[int]:
        """The processes, in the order of the shards."""
        return [process.pid or 0 for process in self._processes]

    def begin(self) -> None:
        """Forget who was silent: a new search begins."""
        self._ledger = PartLedger(self.parts, self._feeder_of)

    def answer(self, ask: Ask) -> Answer:
        """Return what the homes do at the prices asked.

        Raises:
            UnavailableError: no process answers.
        """
        if self._ledger is None or ask.number == 0:
            self.begin()
        assert self._ledger is not None
        answers = self._round(ask)
        if not answers and not self._ledger.started:
            raise UnavailableError("the fleet", "no shard answers")
        return self._ledger.combine(ask, answers)

    def _round(self, ask: Ask) -> dict[str, GroupSums]:
        asked = {name for name in list(self._pipes) if self._send(name, ask)}
        answers: dict[str, GroupSums] = {}
        deadline_s = time.monotonic() + self._round_timeout_s
        while asked & self._pipes.keys() - answers.keys():
            open_pipes = {pipe: name for name, pipe in self._pipes.items() if self._waits.get(name, 0)}
            ready = wait(list(open_pipes), timeout=max(deadline_s - time.monotonic(), 0.0))
            if not ready:
                break
            for pipe in ready:
                assert isinstance(pipe, Connection)
                sums = self._receive(open_pipes[pipe])
                if sums is not None and open_pipes[pipe] in asked:  # else it is of an earlier round
                    answers[open_pipes[pipe]] = sums
        return answers

    def _send(self, name: str, ask: Ask) -> bool:
        """Ask a shard, unless it is still busy with an earlier round: its pipe may be full."""
        pipe = self._pipes[name]
        while self._waits.get(name, 0) and pipe.poll() and self._receive(name) is not None:
            pass
        if name not in self._pipes or self._waits.get(name, 0):
            return False
        try:
            pipe.send(ask)
        except OSError:
            self._lose(name)
            return False
        self._waits[name] = 1
        self.down_bytes += ask.nbytes
        return True

    def _receive(self, name: str) -> GroupSums | None:
        try:
            sums: GroupSums = self._pipes[name].recv()
        except (EOFError, OSError):
            self._lose(name)
            return None
        self._waits[name] -= 1
        self.up_bytes += sums.energy_kwh.nbytes + 3 * sums.cost.nbytes
        return sums

    def _lose(self, name: str) -> None:
        self._pipes.pop(name).close()

    def _stop(self) -> None:
        for pipe in self._pipes.values():
            pipe.close()
        self._pipes.clear()
        for process in self._processes:
            process.join(_STOP_TIMEOUT_S)
            if process.is_alive():
                process.kill()
                process.join()


def _serve(pipe: Connection, build: Build, shard: int, shards: int) -> None:
    batch = build(shard, shards)
    homes = LocalHomes(batch)
    pipe.send((Part.of(batch), batch.feeder_of))
    while True:
        try:
            ask = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            pipe.send(homes.sums(ask))
        except (BrokenPipeError, KeyboardInterrupt):
            return
