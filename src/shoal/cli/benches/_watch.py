"""What has become visible, seen from outside: the published aggregates alone say it, by the sums of probe groups.

A probe is alone in its group and says the number of its sample by its power, so a group's sum names the latest sample
that the aggregate includes; when that sample was meant to be sent is known exactly.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np
from nats.aio.msg import Msg
from numpy.typing import NDArray

from shoal.cli.benches._plant import MeasuredPlant
from shoal.domain.errors import UnavailableError
from shoal.domain.fleet import Fleet
from shoal.fabric.subjects import LIVE_AGGREGATES
from shoal.simulate.load_fleet import POWER_STEPS, PROBES, LoadPlan

_W_PER_KW: Final = 1_000.0
_NS_PER_MS: Final = 1_000_000


class _Sums(msgspec.Struct, frozen=True):
    """The part of the aggregates that is looked at."""

    t_ns: int
    fresh: list[int]
    battery_kw: list[float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """From the instant at which a sample was meant to be sent to its being visible, in ms."""

    samples: int
    p50_ms: float
    p99_ms: float
    max_ms: float


@dataclass(kw_only=True)
class Watch:
    """Follows the aggregates.

    Args:
        plan: Who sends.
        fleet: The groups, in the order of the aggregates' columns.
        meant_ns: When a message was meant to be sent; 0 when it had no such instant.
    """

    plan: LoadPlan
    fleet: Fleet
    meant_ns: Callable[[int], int]
    _group: NDArray[np.int64] = field(init=False)
    _seq: NDArray[np.int64] = field(init=False)
    _meant: list[int] = field(default_factory=list)
    _late: list[int] = field(default_factory=list)
    _newest_ns: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        rows = self.plan.probe_rows
        leaves = self.fleet.leaf_group.get(PROBES, np.empty(0, dtype=np.int32))
        self._group = leaves[rows].astype(np.int64)
        self._seq = np.full(len(rows), self.plan.first_seq - 1)
        self._newest_ns = np.zeros(len(rows), dtype=np.int64)

    async def received(self, message: Msg) -> None:
        """Take published aggregates."""
        self.take(message.data, time.time_ns())

    def take(self, payload: bytes, now_ns: int) -> None:
        """Take aggregates that arrived at an instant."""
        sums = msgspec.json.decode(payload, type=_Sums)
        power_w = np.rint(np.array([kw or 0.0 for kw in sums.battery_kw])[self._group] * _W_PER_KW).astype(
            np.int64
        )
        known = np.array(sums.fresh)[self._group] > 0
        grown = np.where(known, (power_w - self._seq) % POWER_STEPS, 0)
        for probe in np.flatnonzero(grown).tolist():
            row = int(self.plan.probe_rows[probe])
            first = int(self._seq[probe]) + 1
            last = int(self._seq[probe] + grown[probe])
            for seq in range(first, last + 1):
                meant_ns = self.meant_ns(self.plan.message_of(row, seq))
                if meant_ns:
                    self._meant.append(meant_ns)
                    self._late.append(now_ns - meant_ns)
                    self._newest_ns[probe] = meant_ns
        self._seq += grown

    def visible_seq(self) -> NDArray[np.int64]:
        """Return the number of the latest visible sample of each probe."""
        return self._seq.copy()

    def oldest_visible_ns(self) -> int:
        """Return for when the latest visible sample of the probe that is furthest behind was meant."""
        return int(self._newest_ns.min(initial=2**62))

    def latency(self, *, from_ns: int, until_ns: int) -> Latency:
        """Return the latency of the probes' samples that were meant for `[from_ns, until_ns)`.

        Raises:
            UnavailableError: when none of them became visible.
        """
        meant = np.array(self._meant, dtype=np.int64)
        late = np.array(self._late, dtype=np.int64)[(meant >= from_ns) & (meant < until_ns)]
        if not len(late):
            raise UnavailableError("the aggregates", "no sample of a probe became visible")
        p50, p99, most = np.percentile(late, [50, 99, 100]) / _NS_PER_MS
        return Latency(samples=len(late), p50_ms=float(p50), p99_ms=float(p99), max_ms=float(most))


class Applied:
    """How many samples the shards have applied, asked again and again; `messages` may be read by another thread."""

    def __init__(self, plant: MeasuredPlant, processes: tuple[str, ...] = ("telemetry",)) -> None:
        self._plant = plant
        self._processes = processes
        self.samples = 0
        self.lost = 0

    @property
    def messages(self) -> int:
        """How many whole messages that makes."""
        return self.samples // self._plant.plan.samples_per_message

    async def look(self) -> None:
        """Ask once."""
        found = [await self._plant.metrics(process) for process in self._processes]
        self.samples, self.lost = (
            int(sum(metrics.get(f"shoal_telemetry_twins_{name}", 0.0) for metrics in found))
            for name in ("applied", "lost")
        )

    async def follow(self, every_s: float) -> None:
        """Ask for ever; a process that does not answer is asked again."""
        while True:
            with contextlib.suppress(UnavailableError):  # it is being restarted
                await self.look()
            await asyncio.sleep(every_s)

    async def wait(self, samples: int, timeout_s: float) -> bool:
        """Wait until so many are applied or given up; return whether they are."""
        return await wait_until(self._accounted(samples), timeout_s)

    def _accounted(self, samples: int) -> Callable[[], Awaitable[bool]]:
        async def accounted() -> bool:
            try:
                await self.look()
            except UnavailableError:
                return False
            return self.samples + self.lost >= samples

        return accounted


async def watch(
    plant: MeasuredPlant, meant_ns: Callable[[int], int]
) -> tuple[Watch, Callable[[], Awaitable[None]]]:
    """Return a watch of a plant's aggregates and what ends it."""
    watching = Watch(plan=plant.plan, fleet=plant.fleet, meant_ns=meant_ns)
    client = await plant.client()
    await client.subscribe(LIVE_AGGREGATES, cb=watching.received)
    await client.flush()
    return watching, client.close


async def wait_until(
    condition: Callable[[], Awaitable[bool]], timeout_s: float, every_s: float = 0.05
) -> bool:
    """Ask until the answer is yes or the time is over; return the last answer."""
    until_s = time.monotonic() + timeout_s
    while True:
        answer = await condition()
        if answer or time.monotonic() >= until_s:
            return answer
        await asyncio.sleep(every_s)
