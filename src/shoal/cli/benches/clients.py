"""Many open pages on one process of the interface: how soon each has what is new, whether all have all, and a slow one.

The benchmark speaks for telemetry: it publishes numbered sums of a fleet once a second, and every client says when it
holds which number. One more client follows more than its connection carries and reads nothing for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from nats.aio.client import Client
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from shoal.cli.bench import Benchmark, Result
from shoal.cli.benches._plant import MeasuredPlant, allow_many_files, measured_plant
from shoal.cli.plant import free_ports
from shoal.domain.errors import UnavailableError
from shoal.domain.interval import NS_PER_S
from shoal.domain.live import Aggregates, QuarantineState
from shoal.fabric.keys import Role
from shoal.fabric.subjects import LIVE_AGGREGATES, LIVE_QUARANTINE
from shoal.simulate.load_fleet import LoadPlan

_SITES: Final = 1_000
_FIRST_T_S: Final = 1_700_000_000
_AT_ONCE: Final = 50
_MEMBERS: Final = "abcd"
_BULK_BYTES: Final = 900_000
"""Of each member, every update: several times what the system takes for a connection that is not read."""
_RECEIVE_BYTES: Final = 16_384
_PAUSE_S: Final = 4.0
_LATEST_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    clients: int
    updates: int

    @property
    def size(self) -> str:
        return f"{self.clients:,} clients, {self.updates} updates at 1 Hz, one more client slow"


_CASES: Final = {
    "clients-100": _Case(clients=100, updates=6),
    "clients-1000": _Case(clients=1_000, updates=30),
}
_QUICK: Final = "clients-100"
_USUAL: Final = "clients-1000"


class _Twins(msgspec.Struct, frozen=True):
    applied: int


class _Parts(msgspec.Struct, frozen=True):
    twins: _Twins | None = None


class _Said(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """The part of a message that is looked at."""

    kind: str
    seq: int = 0
    from_: int = 0
    slow: bool = False
    set: _Parts | None = None


_SAID: Final = msgspec.json.Decoder(_Said)


@dataclass(kw_only=True)
class _Page:
    """One client: up to which number it has everything, and when it got there."""

    at: int = -1
    seq: int | None = None
    gaps: int = 0
    told_slow: bool = False
    steps: list[tuple[int, float]] = field(default_factory=list)

    def take(self, text: str | bytes, now_s: float) -> None:
        """Take one message."""
        said = _SAID.decode(text)
        if said.kind == "slow":
            self.told_slow |= said.slow
            return
        self.gaps += said.kind == "delta" and said.from_ != self.seq
        self.seq = said.seq
        if said.set is not None and said.set.twins is not None:
            self.at = said.set.twins.applied
            self.steps.append((self.at, now_s))

    async def follow(self, opened: ClientConnection) -> None:
        """Take messages until the connection ends."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                self.take(await opened.recv(), time.monotonic())


def run(case: str | None, quick: bool) -> list[Result]:
    """Run one case on a fabric and an interface of its own.

    Raises:
        UnavailableError: when a client misses an update for good.
    """
    chosen = _CASES[case or (_QUICK if quick else _USUAL)]
    allow_many_files()
    return asyncio.run(_measure(chosen))


async def _measure(case: _Case) -> list[Result]:
    plan = LoadPlan(sites=_SITES, gateways=8)
    values = {"api.port": free_ports(1)[0]}
    with tempfile.TemporaryDirectory(prefix="shoal-bench-") as directory:
        async with measured_plant(Path(directory), plan, roles=("fabric", "api"), values=values) as plant:
            telemetry = await plant.client(Role.TELEMETRY)
            try:
                return await _watched(case, plant, telemetry)
            finally:
                await telemetry.close()


async def _watched(case: _Case, plant: MeasuredPlant, telemetry: Client) -> list[Result]:
    pages = [_Page() for _ in range(case.clients)]
    slow = _Page()
    async with contextlib.AsyncExitStack() as stack:
        for start in range(0, case.clients, _AT_ONCE):
            some = pages[start : start + _AT_ONCE]
            opened = await asyncio.gather(
                *(stack.enter_async_context(_socket(plant, "now,fleet")) for _ in some)
            )
            for page, one in zip(some, opened, strict=True):
                await stack.enter_async_context(_running(page.follow(one)))
        late = await stack.enter_async_context(_socket(plant, "now,fleet,system", narrow=True))
        await stack.enter_async_context(_running(_reading_late(slow, late)))
        sent_s = await _publish(case.updates, plant, telemetry)
        await _wait_for([*pages, slow], case.updates - 1)
        # What it missed it has; that it was slow it is told with what comes next.
        last = case.updates
        while not slow.told_slow and last < case.updates + 10:
            await _publish_one(last, plant, telemetry)
            await _wait_for([slow], last)
            last += 1
    return _results(case, pages, slow, sent_s)


def _results(case: _Case, pages: list[_Page], slow: _Page, sent_s: list[float]) -> list[Result]:
    """Return what came of it; the first update finds caches cold and counts as well."""
    late_ms = [ms for page in pages for ms in _late_ms(page, sent_s)]
    p50, p99, most = np.percentile(late_ms, [50, 99, 100]).tolist()
    gaps = float(sum(page.gaps for page in (*pages, slow)))
    rows: list[tuple[str, float, str, Any]] = [
        ("delivered_frac", len(late_ms) / (len(pages) * len(sent_s)), "of all updates", "higher"),
        ("gaps", gaps, "gaps", "lower"),
        ("latency_p50_ms", p50, "ms", "lower"),
        ("latency_p99_ms", p99, "ms", "lower"),
        ("latency_max_ms", most, "ms", "lower"),
        ("slow_client_told", float(slow.told_slow), "told", "higher"),
    ]
    return [
        Result(case=name, size=case.size, value=value, unit=unit, better=better)
        for name, value, unit, better in rows
    ]


def _late_ms(page: _Page, sent_s: list[float]) -> list[float]:
    """Return for each update how long it took until the client had it, or a newer one."""
    late, number = [], 0
    for at, when_s in page.steps:
        while number < len(sent_s) and number <= at:
            late.append((when_s - sent_s[number]) * 1_000)
            number += 1
    return late


async def _reading_late(page: _Page, opened: ClientConnection) -> None:
    """Read nothing for a while, then everything."""
    await asyncio.sleep(_PAUSE_S)
    await page.follow(opened)


@contextlib.asynccontextmanager
async def _socket(
    plant: MeasuredPlant, topics: str, *, narrow: bool = False
) -> AsyncIterator[ClientConnection]:
    """Open a live socket; a narrow one has room for little that was not read."""
    port = plant.settings.api.port
    made = socket.socket()
    if narrow:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
    made.setblocking(False)
    await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", port))
    url = f"ws://127.0.0.1:{port}/api/live?topics={topics}"
    async with connect(
        url, sock=made, max_size=None, max_queue=1 if narrow else 16, ping_interval=None, compression=None
    ) as opened:
        yield opened


@contextlib.asynccontextmanager
async def _running(work: Any) -> AsyncIterator[None]:
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _publish(updates: int, plant: MeasuredPlant, telemetry: Client) -> list[float]:
    """Publish numbered updates once a second and return when each was handed over."""
    sent_s = []
    begun_s = time.monotonic()
    for number in range(updates):
        await asyncio.sleep(max(0.0, begun_s + number - time.monotonic()))
        sent_s.append(await _publish_one(number, plant, telemetry))
    return sent_s


async def _publish_one(number: int, plant: MeasuredPlant, telemetry: Client) -> float:
    t_ns = (_FIRST_T_S + number) * NS_PER_S
    groups = len(plant.fleet.groups)
    columns: dict[str, Any] = {
        column.name: [number + 1] * groups if column.type == list[int] else [number + 1.0] * groups
        for column in msgspec.structs.fields(Aggregates)
        if column.type in (list[int], list[float])
    }
    sums = msgspec.msgpack.encode(Aggregates(t_ns=t_ns, applied=number, **columns))
    sent_s = time.monotonic()
    await telemetry.publish(LIVE_AGGREGATES, sums)
    # For the slow one alone: nobody else follows it.
    for member in _MEMBERS:
        bulk = QuarantineState(
            t_ns=t_ns, total=number, by_reason={member * _BULK_BYTES: number}, recent=[], member=member
        )
        await telemetry.publish(LIVE_QUARANTINE, msgspec.json.encode(bulk))
    return sent_s


async def _wait_for(pages: list[_Page], number: int) -> None:
    """Wait until every client has an update.

    Raises:
        UnavailableError: when one does not get it.
    """
    until_s = time.monotonic() + _LATEST_S
    while (missing := sum(page.at < number for page in pages)) > 0:
        if time.monotonic() > until_s:
            raise UnavailableError("the live state", f"{missing} clients never got update {number}")
        await asyncio.sleep(0.05)


BENCHMARK: Final = Benchmark(
    name="clients",
    about="many open pages on one process of the interface, one of them slow",
    cases=tuple(_CASES),
    run=run,
)
