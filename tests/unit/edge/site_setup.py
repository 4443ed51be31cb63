"""A site agent on a clock of the test's own, with a simulated home."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from shoal.edge.drivers.protocol import Driver
from shoal.edge.site import Site
from shoal.edge.site_config import Checked, EdgeConfig, check_config
from shoal.edge.site_state import StateFile
from shoal.edge.store_forward import StoreForward
from shoal.simulate.site_driver import SimulatedSite, SmoothHousehold

START_NS = 1_700_006_400_000_000_000  # 2023-11-15T00:00:00Z
HOUR_NS = 3_600_000_000_000


class Time:
    """One clock, seen as the time of day and as one that is never set."""

    def __init__(self, start_ns: int = START_NS) -> None:
        self.ns = start_ns
        self.s = 1_000.0

    def now_ns(self) -> int:
        return self.ns

    def monotonic_s(self) -> float:
        return self.s

    def pass_s(self, seconds: float) -> None:
        self.ns += int(seconds * 1e9)
        self.s += seconds


def config(folder: Path, **changed: Any) -> EdgeConfig:
    content: dict[str, Any] = {
        "site": "home-1",
        "state_dir": str(folder / "state"),
        "battery": {
            "capacity_kwh": 13.5,
            "charge_limit_kw": 5.0,
            "discharge_limit_kw": 5.0,
            "reserve_frac": 0.2,
        },
        "driver": {"kind": "simulated"},
        "page": {"listen": "127.0.0.1", "port": 0},
        "times": {"tick_s": 10.0, "stale_s": 30.0},
    }
    return msgspec.convert({**content, **changed}, EdgeConfig)


def checked(folder: Path, **changed: Any) -> Checked:
    return check_config(config(folder, **changed))


def home(time: Time, **options: Any) -> SimulatedSite:
    household = SmoothHousehold(load_kw=0.8, solar_kw=5.0)
    return SimulatedSite(now_ns=time.now_ns, capacity_kwh=13.5, power_kw=5.0, household=household, **options)


def site(folder: Path, time: Time, driver: Driver, **changed: Any) -> Site:
    settings = checked(folder, **changed)
    state = Path(settings.config.state_dir)
    return Site(
        settings,
        driver,
        store=StoreForward(state / "samples.ring", capacity=2_000),
        state=StateFile(state / "agent.state"),
        now_ns=time.now_ns,
        monotonic_s=time.monotonic_s,
    )


async def live(agent: Site, time: Time, seconds: float, tick_s: float = 10.0) -> None:
    """Let the agent live for a while."""
    for _ in range(round(seconds / tick_s)):
        time.pass_s(tick_s)
        await agent.step()
