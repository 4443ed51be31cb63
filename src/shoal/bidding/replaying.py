"""Past decisions made again for who asks from a page: in a process of their own, one at a time, cut off when it hangs.

What came of it is kept in memory for a while: it can always be asked for again, and nothing of it is a record.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Final, Literal, TypeAlias

import msgspec
import structlog

from shoal.bidding.cycle.replay import Replayed, replay
from shoal.domain.errors import ShoalError, UnavailableError
from shoal.store.cycles import Cycles
from shoal.store.database import open_database
from shoal.store.facts import FactStore

State: TypeAlias = Literal["running", "done", "failed"]

LIMIT_S: Final = 180.0
"""The first decision of a process may have to compile for a minute."""
KEPT: Final = 100
_NICENESS: Final = 10
_STOP_S: Final = 2.0
_log = structlog.get_logger(__name__)


class Replaying(msgspec.Struct, frozen=True, kw_only=True):
    """How a replay stands.

    Attributes:
        name: Of the decision.
        state: ``running``, ``done``, or ``failed`` when nothing came of it.
        by: Who asked.
        began_ns: When, on the machine's clock.
        took_s: How long it took; None while it runs.
        found: What came of it.
        reason: Why nothing did.
    """

    name: str
    state: State
    by: str
    began_ns: int
    took_s: float | None = None
    found: Replayed | None = None
    reason: str = ""


class Replays:
    """Replays one decision at a time; safe to use from several threads.

    Args:
        url: Of the database with decisions and facts.
        limit_s: A process that takes longer is killed.
        decide: Runs in the process; returns what came of it.
    """

    def __init__(
        self,
        url: str,
        *,
        limit_s: float = LIMIT_S,
        decide: Callable[[str, str], Replayed] | None = None,
    ) -> None:
        self._url = url
        self._limit_s = limit_s
        self._decide = decide or decide_again
        self._lock = threading.Lock()
        self._at_work: str | None = None
        self._kept: OrderedDict[str, Replaying] = OrderedDict()

    def begin(self, name: str, *, by: str) -> Replaying:
        """Begin to replay a decision, and return at once; one that is under way is left to it.

        Raises:
            UnavailableError: when another one is under way.
        """
        with self._lock:
            if self._at_work == name:
                return self._kept[name]
            if self._at_work is not None:
                raise UnavailableError("the replay", "another decision is being made again; ask in a minute")
            begun = Replaying(name=name, state="running", by=by, began_ns=time.time_ns())
            self._at_work = name
            self._keep(begun)
        threading.Thread(target=self._work, args=(begun,), name="replay", daemon=True).start()
        return begun

    def of(self, name: str) -> Replaying | None:
        """Return how the replay of a decision stands; None when nobody asked lately."""
        with self._lock:
            return self._kept.get(name)

    def _work(self, begun: Replaying) -> None:
        started_s = time.monotonic()
        ended = msgspec.structs.replace(begun, state="failed", reason="it could not be begun")
        try:
            ended = self._in_process(begun)
        except OSError as error:
            ended = msgspec.structs.replace(begun, state="failed", reason=f"it could not be begun: {error}")
        finally:
            with self._lock:
                self._at_work = None
                self._keep(msgspec.structs.replace(ended, took_s=time.monotonic() - started_s))

    def _in_process(self, begun: Replaying) -> Replaying:
        # spawned: a process that is forked from one with threads may hang
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(
            target=_child, args=(theirs, self._decide, self._url, begun.name), name="replay", daemon=True
        )
        process.start()
        theirs.close()
        try:
            if not ours.poll(self._limit_s):
                why = f"it was cut off after {self._limit_s:g} s"
                return msgspec.structs.replace(begun, state="failed", reason=why)
            answer = ours.recv_bytes()
        except EOFError:
            why = "its process died; the log of the interface says why"
            return msgspec.structs.replace(begun, state="failed", reason=why)
        finally:
            ours.close()
            process.join(_STOP_S)
            if process.is_alive():
                process.kill()
                process.join(_STOP_S)
        said = msgspec.json.decode(answer, type=_Said)
        if said.found is None:
            return msgspec.structs.replace(begun, state="failed", reason=said.reason)
        return msgspec.structs.replace(begun, state="done", found=said.found)

    def _keep(self, one: Replaying) -> None:
        self._kept[one.name] = one
        self._kept.move_to_end(one.name)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)


class _Said(msgspec.Struct, frozen=True, kw_only=True):
    found: Replayed | None
    reason: str = ""


def decide_again(url: str, name: str) -> Replayed:
    """Make a decision again with every strategy of the package.

    Raises:
        ShoalError: as `shoal.bidding.cycle.replay.replay`.
    """
    from shoal.bidding.cycle.runner import STRATEGIES

    for module in STRATEGIES:
        importlib.import_module(module)
    engine = open_database(url)
    try:
        return replay(Cycles(engine), FactStore(engine), name)
    finally:
        engine.dispose()


def _child(pipe: Connection, decide: Callable[[str, str], Replayed], url: str, name: str) -> None:
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            os.nice(_NICENESS)  # the live view and the bids go first
    try:
        said = _Said(found=decide(url, name))
    except ShoalError as error:
        said = _Said(found=None, reason=str(error))
    pipe.send_bytes(msgspec.json.encode(said))
    pipe.close()
