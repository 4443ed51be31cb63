"""A whole bidder in the test's own process: its database on a disk that a test can fill, its market behind a wire that hangs."""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dbos import DBOS

from shoal.bidding.cycle.ports import Bidder
from shoal.bidding.cycle.runner import Opened, RunnerOptions, open_autobidder
from shoal.connect.exchange_http import HttpExchange
from shoal.domain.interval import NS_PER_S
from shoal.simulate.exchange import create_exchange
from shoal.simulate.exchange_book import ExchangeBook
from shoal.store.cycles import Cycles
from shoal.store.database import migrate, open_database
from tests.integration.bidding.cycle_world import (
    DAY,
    NEM,
    PARTICIPANT,
    POINT,
    RESOURCE,
    TOKEN,
    measured_from,
    tape,
)
from tests.integration.simulate.clocks import HandClock
from tests.integration.simulate.test_market import serving

GATES: Final = NEM.gates("energy", DAY)
SPEED: Final = 60.0
LEAD_S: Final = 600.0
PATIENCE_S: Final = 90.0
STEP_S: Final = 0.02
WIRE: Final = "wire"
MARKETS: Final = (WIRE, "AnyIO")
"""How the names of threads begin that are the market's, not the bidder's."""


class RunningClock(HandClock):
    """Stands still until it is set running, and can be set to another instant."""

    def __init__(self, t_ns: int) -> None:
        super().__init__(t_ns)
        self._since_s: float | None = None

    def run_from(self, t_ns: int) -> None:
        self.t_ns, self._since_s = t_ns, time.monotonic()

    def now_ns(self) -> int:
        if self._since_s is None:
            return self.t_ns
        return self.t_ns + int((time.monotonic() - self._since_s) * SPEED * NS_PER_S)


class Wire:
    """Forwards connections to a port, or hangs: then it accepts, answers nothing, and what was said in that time is lost."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = int(self._listener.getsockname()[1])
        self._open = threading.Event()
        self._open.set()
        self._ended = False
        self._ends: list[socket.socket] = []
        self.accepted = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def hang(self) -> None:
        self._open.clear()

    def go_on(self) -> None:
        self._open.set()

    def close(self) -> None:
        self._ended = True
        self._open.set()
        for end in (self._listener, *self._ends):
            with contextlib.suppress(OSError):
                end.close()

    def _accept(self) -> None:
        while not self._ended:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            self._ends.append(near)
            threading.Thread(target=self._forward, args=(near,), name=WIRE, daemon=True).start()

    def _forward(self, near: socket.socket) -> None:
        if not self._open.is_set():
            self._open.wait()
            near.close()
            return
        try:
            far = socket.create_connection(("127.0.0.1", self._to))
        except OSError:
            near.close()
            return
        with near, far, selectors.DefaultSelector() as ready, contextlib.suppress(OSError):
            for end in (near, far):
                ready.register(end, selectors.EVENT_READ, end)
            while True:
                for key, _ in ready.select():
                    said_by: socket.socket = key.data
                    part = said_by.recv(65_536)
                    if not self._open.is_set():
                        self._open.wait()
                        return
                    if not part:
                        return
                    (far if said_by is near else near).sendall(part)


@dataclass(slots=True)
class BadDay:
    """What a test looks at."""

    clock: RunningClock
    wire: Wire
    book: ExchangeBook
    opened: Opened
    cycles: Cycles
    task: asyncio.Task[None]

    async def until(self, condition: Callable[[], bool], why: str) -> None:
        """Wait for a condition while the bidder runs."""
        until_s = time.monotonic() + PATIENCE_S
        while not condition():
            if self.task.done():
                self.task.result()
            assert time.monotonic() < until_s, why
            await asyncio.sleep(STEP_S)

    async def closed(self, number: int) -> None:
        """Wait until the gate of that number has closed."""
        await self.until(lambda: self.clock.now_ns() > GATES[number].closes_ns, "time stands still")

    def accepted(self) -> int:
        """How many bids the market has taken."""
        return self.book.summary(now_ns=self.clock.now_ns()).bids_accepted

    def next_gate(self) -> int:
        """The number of the next gate to close."""
        return next(k for k, gate in enumerate(GATES) if gate.closes_ns > self.clock.now_ns())


def bidders_threads() -> Counter[str]:
    """Return how many threads the bidder has, by the beginnings of their names."""
    names = [one.name for one in threading.enumerate() if not one.name.startswith(MARKETS)]
    return Counter(name.rstrip("0123456789 ()_-") for name in names)


@contextmanager
def _market(folder: Path, clock: RunningClock) -> Iterator[tuple[Wire, ExchangeBook]]:
    app = create_exchange(
        NEM,
        clock,
        store=folder / "market" / "book.db",
        tokens={TOKEN: "shoal"},
        resources=[PARTICIPANT],
        tapes=[tape(days_before=12, days_after=2)],
        since_ns=GATES[0].closes_ns - 1,
    )
    with serving(app) as url:
        wire = Wire(int(url.rsplit(":", 1)[1]))
        try:
            yield wire, app.state.book
        finally:
            wire.close()


@asynccontextmanager
async def bad_day(folder: Path, disk: Path) -> AsyncIterator[BadDay]:
    """Run a bidder whose day stands in the market, from some minutes before the first interval's gate on.

    Args:
        folder: Of the market.
        disk: Of the bidder's databases.
    """
    clock = RunningClock(GATES[0].closes_ns - 600 * NS_PER_S)
    url = f"sqlite:///{disk / 'plant.db'}"
    migrate(url)
    engine = open_database(url)
    cycles = Cycles(engine)
    bidder = Bidder(
        resource_id=RESOURCE, market_id="nem", settlement_point=POINT, strategy="markov", lead_s=LEAD_S
    )
    with _market(folder, clock) as (wire, book):
        exchange = HttpExchange(url=f"http://127.0.0.1:{wire.port}", token=TOKEN, timeout_s=1.0)
        opened = open_autobidder(
            engine=engine,
            workflows_url=f"sqlite:///{disk / 'workflows.db'}",
            bidders={RESOURCE: bidder},
            exchanges={"nem": exchange},
            measure=measured_from(cycles),
            clock=clock,
            left_s=lambda t_ns: (t_ns - clock.now_ns()) / NS_PER_S / SPEED,
            holder="bidder",
            options=RunnerOptions(
                turn_s=0.2, again_s=0.5, exchange_s=1.0, first_days=14, instance=folder.name
            ),
        )
        task = asyncio.create_task(opened.autobidder.run())
        day = BadDay(clock, wire, book, opened, cycles, task)
        try:
            await day.until(lambda: opened.solver.wait_ready(0.0), "no solver is ready")
            await day.until(lambda: day.accepted() >= 1, "the day was not bid for")
            clock.run_from(GATES[1].closes_ns - int(LEAD_S * NS_PER_S))
            await day.closed(2)
            yield day
        finally:
            wire.go_on()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            opened.close()
            DBOS.destroy()
            exchange.close()
            engine.dispose()
