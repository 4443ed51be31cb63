"""A long load at a good part of what the plant takes: nothing lost, and memory as flat at the end as at the beginning."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from shoal.cli.benches._ingest import LEAST_WINDOW, WINDOW_S, Account, Run, loaded_plant
from shoal.cli.benches._plant import WITH_HISTORY
from shoal.cli.benches._watch import Latency
from shoal.simulate.load_fleet import LoadPlan

LOAD_FRAC: Final = 0.7
_SAMPLE_EVERY_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Soak:
    """What was seen.

    Attributes:
        rate_per_s: Samples a second.
        latency: From the meant sending to being visible, over the whole time.
        account: What became of everything.
        first_bytes: Mean memory of each process in the first part of the time.
        last_bytes: The same for the last part.
    """

    rate_per_s: float
    latency: Latency | None
    account: Account
    first_bytes: Mapping[str, float]
    last_bytes: Mapping[str, float]

    @property
    def growth_frac(self) -> float:
        """By how much memory, all processes together, grew from the first part to the last."""
        return sum(self.last_bytes.values()) / sum(self.first_bytes.values()) - 1.0


async def measure_soak(
    plan: LoadPlan, *, find_s: float, settle_s: float, duration_s: float, part_s: float
) -> Soak:
    """Find what the plant takes, then load it with a part of that.

    Args:
        plan: Who sends.
        find_s: How long to look for the limit.
        settle_s: Load before the time that counts, while caches fill.
        duration_s: The time that counts.
        part_s: Length of its first and of its last part.
    """
    async with loaded_plant(plan, roles=WITH_HISTORY) as run:
        rate = await run.sustain(find_s, LEAST_WINDOW)
        rate = await run.sustain(find_s, int(rate / plan.samples_per_message * WINDOW_S))
        await run.pace(LOAD_FRAC * rate, settle_s)
        memory: list[tuple[float, dict[str, int]]] = []
        sampling = asyncio.create_task(_sample(run, memory))
        began_s = time.monotonic()
        latency = await run.pace(LOAD_FRAC * rate, duration_s)
        ended_s = time.monotonic()
        sampling.cancel()
        return Soak(
            rate_per_s=LOAD_FRAC * rate,
            latency=latency,
            account=await run.account(),
            first_bytes=_mean(memory, began_s, began_s + part_s),
            last_bytes=_mean(memory, ended_s - part_s, ended_s),
        )


async def _sample(run: Run, memory: list[tuple[float, dict[str, int]]]) -> None:
    while True:
        used = await run.plant.usage()
        memory.append((time.monotonic(), {name: one.rss_bytes for name, one in used.items()}))
        await asyncio.sleep(_SAMPLE_EVERY_S)


def _mean(memory: list[tuple[float, dict[str, int]]], from_s: float, until_s: float) -> dict[str, float]:
    some = [used for at_s, used in memory if from_s <= at_s <= until_s]
    names = some[0] if some else {}
    return {name: float(np.mean([used[name] for used in some if name in used])) for name in names}
