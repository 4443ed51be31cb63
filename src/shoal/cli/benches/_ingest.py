"""Samples from real connections through the durable journal into the twins: how many a second, how late, none lost.

First the load follows the plant, with a bounded number of samples under way, to find what it sustains. Then it keeps
half of that pace whatever the plant does, and each sample's way is timed from the instant at which it was meant to be
sent. At the end each site's shard is asked for the last number that it has.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.cli.benches._plant import LIVE, MeasuredPlant, Usage, allow_many_files, measured_plant
from shoal.cli.benches._watch import Applied, Latency, Watch, watch
from shoal.cli.roles.twins import ask_twins
from shoal.domain.errors import UnavailableError
from shoal.fabric.keys import Role
from shoal.simulate.load import Load
from shoal.simulate.load_fleet import LoadPlan

_LOOK_EVERY_S: Final = 0.05
_DRAIN_S: Final = 60.0
_SETTLE_S: Final = 0.5
WINDOW_S: Final = 1.0
LEAST_WINDOW: Final = 60_000
_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """How long each part of a measurement takes, in seconds."""

    warm_up_s: float
    sustained_s: float
    half_s: float


USUAL: Final = Lengths(warm_up_s=5.0, sustained_s=60.0, half_s=30.0)
QUICK: Final = Lengths(warm_up_s=1.0, sustained_s=2.0, half_s=2.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What became of everything that was sent.

    Attributes:
        sent: Samples.
        applied: Samples that the shards have taken, each once.
        lost: Numbers that the shards gave up.
        behind: Sites whose shard has not the last number that they sent.
    """

    sent: int
    applied: int
    lost: int
    behind: int

    @property
    def missing(self) -> int:
        """Samples that are not accounted for as applied, each once."""
        return max(abs(self.sent - self.applied), self.lost, self.behind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingest:
    """One measurement.

    Attributes:
        rate_per_s: Samples a second that the plant sustained.
        half_rate_per_s: The pace at which the latency was measured.
        latency: From the meant sending to being in a published aggregate; None when nobody published any.
        account: What became of all of them.
        cores: Processor time a second while sustaining, by process; the load generator is ``load``.
        rss_bytes: Memory at the end of that, by process.
    """

    rate_per_s: float
    half_rate_per_s: float
    latency: Latency | None
    account: Account
    cores: Mapping[str, float]
    rss_bytes: Mapping[str, int]

    @property
    def effort(self) -> str:
        """What it took, for people."""
        parts = [f"{name} {cores:.2f}" for name, cores in self.cores.items()]
        memory = sum(self.rss_bytes.values()) / _MIB
        return f"cores: {', '.join(parts)}; memory {memory:.0f} MiB"


class Run:
    """A loaded plant while it is measured; make one with `loaded_plant`."""

    def __init__(
        self,
        plant: MeasuredPlant,
        load: Load,
        applied: Applied,
        seen: Watch,
        following: asyncio.Task[None],
    ) -> None:
        self.plant = plant
        self.load = load
        self.applied = applied
        self.seen = seen
        self._following = following

    async def sustain(self, duration_s: float, window: int) -> float:
        """Send as fast as the plant follows; return the samples a second until all were applied.

        Raises:
            UnavailableError: when they are not within a minute.
        """
        before = self.load.statistics().samples
        began_s = time.monotonic()
        await asyncio.to_thread(self.load.send_within, self._applied_messages, window, duration_s)
        await self.drain()
        return (self.load.statistics().samples - before) / (time.monotonic() - began_s)

    async def pace(self, rate_per_s: float, duration_s: float) -> Latency | None:
        """Send at a fixed pace; return the latency of what was sent."""
        from_ns = time.time_ns()
        await asyncio.to_thread(self.load.send, rate_per_s, duration_s)
        until_ns = time.time_ns()
        await self.drain()
        await asyncio.sleep(_SETTLE_S)  # the last aggregates are still to come
        with contextlib.suppress(UnavailableError):
            return self.seen.latency(from_ns=from_ns, until_ns=until_ns)
        return None

    async def drain(self) -> None:
        """Wait until the shards have accounted for everything that was sent.

        Raises:
            UnavailableError: when they have not within a minute.
        """
        sent = self.load.statistics().samples
        if not await self.applied.wait(sent, _DRAIN_S):
            raise UnavailableError(
                "the twins", f"they have {self.applied.samples} of {sent} samples after a minute"
            )

    def look_no_more(self) -> None:
        """Stop asking the shards what they have applied, for who measures something else beside a paced load."""
        self._following.cancel()

    async def account(self) -> Account:
        """Ask every shard what it has."""
        await self.applied.look()
        expected = self.load.last_seq()
        behind = int(np.count_nonzero(await last_seq_of_shards(self.plant) != expected))
        sent = self.load.statistics().samples
        return Account(sent=sent, applied=self.applied.samples, lost=self.applied.lost, behind=behind)

    def _applied_messages(self) -> int:
        return self.applied.messages


@contextlib.asynccontextmanager
async def loaded_plant(
    plan: LoadPlan,
    *,
    values: Mapping[str, object] | None = None,
    processes: tuple[str, ...] = ("telemetry",),
    roles: tuple[str, ...] = LIVE,
) -> AsyncIterator[Run]:
    """Run a plant of these roles in a temporary directory with the load connected; `processes` hold the shards."""
    allow_many_files()
    with tempfile.TemporaryDirectory(prefix="shoal-bench-") as directory:
        async with measured_plant(Path(directory), plan, roles=roles, values=values) as plant:
            load = await asyncio.to_thread(plant.open_load)
            applied = Applied(plant, processes)
            seen, end_watch = await watch(plant, load.meant_ns)
            following = asyncio.create_task(applied.follow(_LOOK_EVERY_S))
            try:
                yield Run(plant, load, applied, seen, following)
            finally:
                following.cancel()
                load.stop()
                await end_watch()
                load.close()


async def measure_ingest(plan: LoadPlan, lengths: Lengths) -> Ingest:
    """Measure what a plant sustains and, at half of that, how late a sample is visible."""
    async with loaded_plant(plan) as run:
        rate = await run.sustain(lengths.warm_up_s, LEAST_WINDOW)
        window = int(rate / plan.samples_per_message * WINDOW_S)
        before, load_cpu_s, began_s = await run.plant.usage(), run.load.statistics().cpu_s, time.monotonic()
        rate = await run.sustain(lengths.sustained_s, max(window, LEAST_WINDOW))
        took_s = time.monotonic() - began_s
        after = await run.plant.usage()
        latency = await run.pace(rate / 2, lengths.half_s)
        return Ingest(
            rate_per_s=rate,
            half_rate_per_s=rate / 2,
            latency=latency,
            account=await run.account(),
            cores={
                **cores_between(before, after, took_s),
                "load": (run.load.statistics().cpu_s - load_cpu_s) / took_s,
            },
            rss_bytes={name: used.rss_bytes for name, used in after.items()},
        )


async def last_seq_of_shards(plant: MeasuredPlant) -> NDArray[np.int64]:
    """Return the number of the latest sample of each site, as its shard answers."""
    client = await plant.client(Role.API)
    try:
        view = await ask_twins(
            client, shards=plant.settings.telemetry.shards, sites=len(plant.fleet.site_ids)
        )
    finally:
        await client.close()
    seq: NDArray[np.int64] = view.latest["seq"].astype(np.int64)
    return seq


def cores_between(before: Mapping[str, Usage], after: Mapping[str, Usage], took_s: float) -> dict[str, float]:
    """Return processor time a second of each process."""
    return {
        name: (used.cpu_s - before[name].cpu_s) / took_s for name, used in after.items() if name in before
    }
