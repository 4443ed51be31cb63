"""The agent of one site in a process of its own, as `shoal edge` runs it, with a home of a few lines of arithmetic.

The home is not the simulator's: its physics would bring more megabytes than the agent that is measured. Prints one JSON
object: after the first decision, or after an hour of simulated time with a plant that cannot be reached.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
import time
from pathlib import Path
from typing import Final

import shoal.cli.edge
from shoal.edge.drivers.protocol import Measurement, Parameters
from shoal.edge.site_config import read_config
from shoal.edge.site_service import SiteService
from shoal.runtime.log import configure_logging
from shoal.runtime.sections import Log

TICK_S: Final = 5.0
HOUR_S: Final = 3_600.0
START_NS: Final = 1_700_006_400_000_000_000


class Moment:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.passed_s = 0.0

    def now_ns(self) -> int:
        """Return the simulated time of day."""
        return START_NS + int(self.passed_s * 1e9)

    def monotonic_s(self) -> float:
        """Return the seconds that have passed."""
        return self.passed_s


class ArithmeticHome:
    """A driver: sun and load by the hour, and a battery that does what it is asked."""

    def __init__(self, moment: Moment) -> None:
        self._moment = moment
        self._asked_w = 0
        self._stored_kwh = 6.0
        self._at_s = 0.0

    async def read(self) -> Measurement:
        """Return what is measured now."""
        hours = self._moment.passed_s / HOUR_S
        self._stored_kwh += self._asked_w / 1e3 * (self._moment.passed_s - self._at_s) / HOUR_S
        self._at_s = self._moment.passed_s
        solar_w = -round(5_000 * max(math.sin((hours % 24 - 6) / 12 * math.pi), 0.0))
        load_w = round(700 + 300 * math.sin(hours * 2.1))
        return Measurement(
            battery_w=self._asked_w,
            solar_w=solar_w,
            load_w=load_w,
            soc_frac=min(max(self._stored_kwh / 13.5, 0.0), 1.0),
            frequency_hz=50.0,
        )

    async def write(self, battery_w: int) -> None:
        """Do so from now on."""
        self._asked_w = battery_w

    async def release(self) -> None:
        """Rest."""
        self._asked_w = 0

    async def parameters(self) -> Parameters:
        """Say nothing."""
        return Parameters()

    async def close(self) -> None:
        """Do nothing."""


async def live(config: Path, hours: float) -> dict[str, float]:
    """Return resident megabytes after so much simulated time, and what was done in it."""
    moment = Moment()
    service = SiteService(
        read_config(config, {}),
        ArithmeticHome(moment),
        secret="secret",
        now_ns=moment.now_ns,
        monotonic_s=moment.monotonic_s,
    )
    site = await service.start()
    if not hours:
        return {}
    assert service.link is not None, "the configuration names a plant"
    await service.link.look_up()
    while moment.passed_s < hours * HOUR_S:
        moment.passed_s += TICK_S
        await site.step()
        service.link.poll(moment.now_ns())
        service.link.send(moment.now_ns())
        if round(moment.passed_s) % 600 == 0:
            service.status()
    service.link.close()
    statistics = site.statistics()
    return {
        "resident_mb": resident_mb(),
        "steps": statistics.steps,
        "plans": statistics.plans,
        "waiting": len(site.store),
    }


def resident_mb() -> float:
    """Return how much memory this process has now, in MB."""
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1_024
    return math.nan


def main() -> None:
    """Run as ``python -m shoal.cli.benches._edge_child CONFIG HOURS``."""
    # the command itself is part of what is measured: its imports are those of `shoal edge`
    assert callable(shoal.cli.edge.main)
    configure_logging(Log(level="error"), role="edge")
    outcome = asyncio.run(live(Path(sys.argv[1]), float(sys.argv[2])))
    sys.stdout.write(json.dumps({"decided_at_s": time.time(), **outcome}) + "\n")


if __name__ == "__main__":
    main()
