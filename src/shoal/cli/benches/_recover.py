"""Owners of shards killed at random moments under load: how soon another is current, and that nothing is lost or doubled.

Two processes share the shards. One is killed with SIGKILL; the plant is current again when the published aggregates
include, of every probe, a sample that was meant to be sent after the kill.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from dataclasses import dataclass
from typing import Final

from shoal.cli.benches._ingest import Run, last_seq_of_shards, loaded_plant
from shoal.cli.benches._plant import start_again
from shoal.cli.benches._watch import wait_until
from shoal.domain.errors import UnavailableError
from shoal.simulate.load_fleet import LoadPlan

OWNERS: Final = ("telemetry", "telemetry-2")
SHARDS: Final = 4
_PAUSE_S: Final = (10.5, 14.0)
"""Between two kills: a process that dies sooner counts as crashing again and again, and is given up at last."""
_CURRENT_TIMEOUT_S: Final = 60.0
_READY_TIMEOUT_S: Final = 120.0
_FOREVER_S: Final = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What was seen.

    Attributes:
        took_s: From each kill until the aggregates were current again.
        missing: Sites whose shard has not the last sample that they sent, in the end.
        lost: Samples that the shards gave up.
        doubled: By how many the samples that were counted as taken differ from those that were sent.
        sent: Samples.
    """

    took_s: tuple[float, ...]
    missing: int
    lost: int
    doubled: int
    sent: int


async def measure_recovery(plan: LoadPlan, *, rate_per_s: float, kills: int, seed: int) -> Recovery:
    """Kill owners under load.

    Raises:
        UnavailableError: when the plant is not current within a minute.
    """
    rng = random.Random(seed)
    async with loaded_plant(plan, values={"telemetry.shards": SHARDS}, processes=OWNERS) as run:
        start_again(run.plant, OWNERS[0], OWNERS[1])
        await run.plant.supervisor.wait_ready(*OWNERS, timeout_s=_READY_TIMEOUT_S)
        sending = asyncio.create_task(asyncio.to_thread(run.load.send, rate_per_s, _FOREVER_S))
        await _current(run, time.time_ns())
        took_s = []
        for _ in range(kills):
            await asyncio.sleep(rng.uniform(*_PAUSE_S))
            took_s.append(await _kill(run, rng.choice(OWNERS)))
        run.load.stop()
        await sending
        await _current(run, run.load.meant_ns(run.load.messages - 1) - _round_ns(plan, rate_per_s))
        behind = await last_seq_of_shards(run.plant) != run.load.last_seq()
        await run.applied.look()
        sent = run.load.statistics().samples
        return Recovery(
            took_s=tuple(took_s),
            missing=int(behind.sum()),
            lost=run.applied.lost,
            doubled=abs(run.applied.samples + run.applied.lost - sent),
            sent=sent,
        )


async def _kill(run: Run, owner: str) -> float:
    """Kill a process that owns its share of the shards; return the seconds until the aggregates are current again."""
    supervisor = run.plant.supervisor

    async def owns() -> bool:
        return (await run.plant.metrics(owner)).get("shoal_telemetry_twins_shards", 0.0) >= SHARDS / len(
            OWNERS
        )

    if not await wait_until(owns, _READY_TIMEOUT_S):
        raise UnavailableError(owner, "it does not get its share of the shards")
    pid = supervisor.state(owner).pid
    if pid is None:
        raise UnavailableError(owner, "it does not run")
    killed_ns = time.time_ns()
    os.kill(pid, signal.SIGKILL)
    took_s = (await _current(run, killed_ns) - killed_ns) / 1e9

    async def noticed() -> bool:
        return supervisor.state(owner).pid != pid

    await wait_until(noticed, _READY_TIMEOUT_S)
    await supervisor.wait_ready(*OWNERS, timeout_s=_READY_TIMEOUT_S)
    return took_s


async def _current(run: Run, since_ns: int) -> int:
    """Return when every probe had a visible sample that was meant for `since_ns` or later."""

    async def current() -> bool:
        return run.seen.oldest_visible_ns() >= since_ns

    if not await wait_until(current, _CURRENT_TIMEOUT_S, every_s=0.01):
        raise UnavailableError("the aggregates", "they are not current after a minute")
    return time.time_ns()


def _round_ns(plan: LoadPlan, rate_per_s: float) -> int:
    """Return the time in which every site speaks once."""
    return int(len(plan.site_ids) / rate_per_s * 1e9) + 1
