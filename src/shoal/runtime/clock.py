"""The three clocks: the machine's own, a scaled one, and one that is conducted step by step.

A `ConductedClock` follows a conductor (see `conductor`) over a local socket: it is told the instant, acts, and says
when it is done; time moves on only when every stage has caught up. A run is then as fast as the machine allows and
still exact, and a stage that was killed and restarted is simply waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.domain.clock import Clock, Stage, Tick
from shoal.domain.errors import InvalidInputError, UnavailableError
from shoal.domain.interval import NS_PER_S, to_ns

_MAX_LINE_BYTES: Final = 16 << 20
_RETRY_S: Final = 0.05
SOURCE_FORMS: Final = (
    "give system, scaled://2021-02-10T15:00:00Z?speed=60&since=<now>, or stepped://host:port"
)
_TRIES: Final = 100
JOURNAL_STEP_NS: Final = NS_PER_S // 2
"""How much older than the truth an arrival in the journal may be: the engine looks at its clock ten times a second, and
later when it is busy."""


class SystemClock:
    """The machine's own clock."""

    def now_ns(self) -> int:
        """Return the present instant."""
        return time.time_ns()

    def at(self, machine_ns: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the instants as they are."""
        return machine_ns, machine_ns

    def report(self, facts: Mapping[str, int]) -> None:
        """Do nothing: on a system clock nobody waits for counts."""

    def account(self, account: Mapping[str, Any]) -> None:
        """Do nothing: a plant on a system clock never closes its books."""

    async def ticks(self, stage: Stage, every_s: float) -> AsyncIterator[Tick]:
        """Yield at every multiple of `every_s`; a multiple that was overslept is left out."""
        async for tick in _periodic(self, every_s, speed=1.0):
            yield tick


class ScaledClock:
    """A clock that runs `speed` times as fast as the machine's, from `origin_ns` on.

    Args:
        origin_ns: What it shows at the start.
        speed: How many of its seconds pass in one of the machine's.
        since_ns: The machine's time at the start, so that several processes share one clock; now when None.

    Raises:
        InvalidInputError: when the speed is not positive.
    """

    def __init__(self, *, origin_ns: int, speed: float, since_ns: int | None = None) -> None:
        if speed <= 0:
            raise InvalidInputError(field="speed", value=speed, fix="give a positive number, or 'max'")
        self._origin_ns = origin_ns
        self._speed = speed
        now_ns = time.time_ns()
        self._since_ns = now_ns if since_ns is None else since_ns
        passed_s = (now_ns - self._since_ns) / NS_PER_S
        self._started = time.monotonic() - passed_s

    @property
    def speed(self) -> float:
        """How many of its seconds pass in one of the machine's."""
        return self._speed

    def now_ns(self) -> int:
        """Return the present instant."""
        return self._origin_ns + int((time.monotonic() - self._started) * self._speed * NS_PER_S)

    def at(self, machine_ns: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the scaled instants."""
        passed: NDArray[np.int64] = ((machine_ns - self._since_ns) * self._speed).astype(np.int64)
        earliest = self._origin_ns + passed
        return earliest, earliest + int(JOURNAL_STEP_NS * self._speed)

    def report(self, facts: Mapping[str, int]) -> None:
        """Do nothing: nobody waits for counts."""

    def account(self, account: Mapping[str, Any]) -> None:
        """Do nothing: nobody compares accounts."""

    async def ticks(self, stage: Stage, every_s: float) -> AsyncIterator[Tick]:
        """Yield at every multiple of `every_s` of scaled time."""
        async for tick in _periodic(self, every_s, speed=self._speed):
            yield tick

    async def sleep_until(self, t_ns: int) -> None:
        """Return when the scaled time has reached `t_ns`."""
        while (ahead_ns := t_ns - self.now_ns()) > 0:  # noqa: ASYNC110 - time is no event
            await asyncio.sleep(ahead_ns / NS_PER_S / self._speed)


async def _periodic(clock: SystemClock | ScaledClock, every_s: float, speed: float) -> AsyncIterator[Tick]:
    every_ns = int(every_s * NS_PER_S)
    due_ns = (clock.now_ns() // every_ns) * every_ns
    while True:
        due_ns = max(due_ns + every_ns, (clock.now_ns() // every_ns) * every_ns)
        while (ahead_ns := due_ns - clock.now_ns()) > 0:  # noqa: ASYNC110 - time is no event
            await asyncio.sleep(ahead_ns / NS_PER_S / speed)
        yield Tick(t_ns=due_ns)


class _Steps:
    """The steps of a conducted run so far: when each began on the machine's clock, and its instant."""

    def __init__(self) -> None:
        self._count = 0
        self._began_ns = np.empty(1_024, dtype=np.int64)
        self._t_ns = np.empty(1_024, dtype=np.int64)

    def extend(self, steps: Iterable[tuple[int, int]]) -> None:
        """Take the steps after the newest known one."""
        for began_ns, t_ns in steps:
            if self._count and began_ns <= self._began_ns[self._count - 1]:
                continue
            if self._count == len(self._t_ns):
                self._began_ns = np.concatenate([self._began_ns, np.empty_like(self._began_ns)])
                self._t_ns = np.concatenate([self._t_ns, np.empty_like(self._t_ns)])
            self._began_ns[self._count], self._t_ns[self._count] = began_ns, t_ns
            self._count += 1

    def at(self, machine_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the instant of the step under way; what came before all steps takes the first."""
        if not self._count:
            return np.zeros(len(machine_ns), dtype=np.int64)
        step = np.searchsorted(self._began_ns[: self._count], machine_ns, side="right") - 1
        instants: NDArray[np.int64] = self._t_ns[np.maximum(step, 0)]
        return instants


class ConductedClock:
    """A clock told by a conductor; one connection for each stage that takes part.

    Args:
        host: Where the conductor listens.
        port: Its port.
        token: The run's secret, so that nobody else on the machine moves this plant's time.
        name: Who this process is to the conductor.
    """

    def __init__(self, *, host: str, port: int, token: str, name: str) -> None:
        self._host = host
        self._port = port
        self._token = token
        self._name = name
        self._now_ns = 0
        self._steps = _Steps()
        self._facts: dict[str, int] = {}
        self._account: dict[str, Any] = {}

    def now_ns(self) -> int:
        """Return the instant of the latest tick (0 before the first)."""
        return self._now_ns

    def at(self, machine_ns: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the instants of the steps under way at each of them; what came before all steps takes the first."""
        return self._steps.at(machine_ns), self._steps.at(machine_ns + JOURNAL_STEP_NS)

    def report(self, facts: Mapping[str, int]) -> None:
        """Add counts that go out when the present tick is done."""
        self._facts.update(facts)

    def account(self, account: Mapping[str, Any]) -> None:
        """Hand in this stage's own account of the whole run (JSON values) with the present tick."""
        self._account.update(account)

    async def ticks(self, stage: Stage, every_s: float) -> AsyncIterator[Tick]:
        """Yield the conductor's ticks until it says stop.

        A lost connection is opened again; a tick that was not answered comes again with `replay` set.

        Raises:
            UnavailableError: when the conductor is gone, or closes every connection without a word.
        """
        refused = 0
        while refused < _TRIES:
            heard = False
            try:
                reader, writer = await self._join(stage, every_s)
            except OSError as error:
                raise UnavailableError("conductor", str(error)) from error
            try:
                while line := await reader.readline():
                    heard = True
                    message = msgspec.json.decode(line)
                    if message["op"] == "stop":
                        return
                    self._steps.extend(message["steps"])
                    if message["op"] == "past":
                        continue
                    self._now_ns = int(message["t_ns"])
                    self._facts, self._account = {}, {}
                    yield Tick(t_ns=self._now_ns, facts=message["facts"], replay=bool(message["replay"]))
                    done = {
                        "op": "done",
                        "t_ns": self._now_ns,
                        "facts": self._facts,
                        "account": self._account,
                    }
                    writer.write(msgspec.json.encode(done) + b"\n")
                    await writer.drain()
            except ConnectionError:
                pass
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
            refused = 0 if heard else refused + 1
            await asyncio.sleep(0.0 if heard else _RETRY_S)
        raise UnavailableError("conductor", "it closes every connection; is it given the token of this run?")

    async def _join(self, stage: Stage, every_s: float) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        last: OSError | None = None
        for _ in range(_TRIES):
            try:
                reader, writer = await asyncio.open_connection(self._host, self._port, limit=_MAX_LINE_BYTES)
            except OSError as error:
                last = error
                await asyncio.sleep(_RETRY_S)
                continue
            hello = {
                "op": "join",
                "token": self._token,
                "name": self._name,
                "stage": int(stage),
                "every_s": every_s,
            }
            writer.write(msgspec.json.encode(hello) + b"\n")
            await writer.drain()
            return reader, writer
        raise last or OSError("no connection")


def open_clock(source: str, *, token: str, name: str) -> Clock:
    """Return the clock that the settings name.

    ``system``; ``scaled://ORIGIN?speed=X&since=MACHINE_TIME`` with both times in ISO 8601, the same for every process
    that shares the clock; or ``stepped://host:port``, told by a conductor.

    Raises:
        InvalidInputError: when the source is none of them.
    """
    if source == "system":
        return SystemClock()
    scheme, _, rest = source.partition("://")
    try:
        if scheme == "scaled":
            origin, _, query = rest.partition("?")
            given = dict(part.split("=", 1) for part in query.split("&"))
            return ScaledClock(
                origin_ns=to_ns(datetime.fromisoformat(origin)),
                speed=float(given["speed"]),
                since_ns=to_ns(datetime.fromisoformat(given["since"])),
            )
        host, _, port = rest.rpartition(":")
        if scheme == "stepped" and host:
            return ConductedClock(host=host, port=int(port), token=token, name=name)
    except (ValueError, KeyError) as error:
        raise InvalidInputError(field="clock.source", value=source, fix=SOURCE_FORMS) from error
    raise InvalidInputError(field="clock.source", value=source, fix=SOURCE_FORMS)
