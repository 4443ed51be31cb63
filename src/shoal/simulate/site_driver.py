"""A simulated home as a driver of the site agent: the physics of `HomeWorld` for one site, and a smooth made-up household.

The world goes on whenever it is looked at, from the present of the clock that it is given. Like a real battery it goes back
to nothing by itself when it is not commanded for a while.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import UnavailableError
from shoal.domain.fleet import NAMEPLATE, Fleet
from shoal.domain.ids import SiteId
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, NS_PER_S
from shoal.edge.drivers.protocol import Measurement, Parameters
from shoal.simulate.physics import HomeWorld

_STEP_NS: Final = NS_PER_MINUTE
_DAY_H: Final = 24.0
_LONGEST_NS: Final = 6 * NS_PER_HOUR
"""Of a longer gap only the end is lived through."""


class SmoothHousehold:
    """Load with a morning and an evening, sun from six to six (UTC), clouds that drift; no noise that is not a function of time.

    Args:
        load_kw: Mean load.
        solar_kw: Rated solar power.
        ev_kw: Rated power of a car that charges two hours every evening.
    """

    def __init__(self, *, load_kw: float, solar_kw: float, ev_kw: float = 0.0) -> None:
        self._load_w, self._solar_w, self._ev_w = load_kw * 1e3, solar_kw * 1e3, ev_kw * 1e3

    def power_w(
        self, t0_ns: int, t1_ns: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return load (>= 0), solar (<= 0) and EV (>= 0) power in the middle of a span, in watts."""
        hours = (t0_ns + t1_ns) / 2 / NS_PER_HOUR
        hour = hours % _DAY_H
        humps = math.exp(-((hour - 7.5) ** 2) / 3.0) + 1.6 * math.exp(-((hour - 19.5) ** 2) / 6.0)
        wobble = 0.2 * math.sin(hours * 7.3) + 0.1 * math.sin(hours * 41.0)
        load = self._load_w * max(0.5 + humps + wobble, 0.1)
        height = max(math.sin((hour - 6.0) / 12.0 * math.pi), 0.0)
        clear = 0.75 + 0.25 * math.sin(hours * 0.9) * math.sin(hours * 3.7)
        car = self._ev_w if 18.0 <= hour < 20.0 else 0.0
        return _whole(load), _whole(-self._solar_w * height * clear), _whole(car)


class SimulatedSite:
    """The driver.

    Args:
        now_ns: The world's clock.
        capacity_kwh: Of the battery.
        power_kw: Of the battery, either way.
        household: What is used and generated; needs `power_w` as `SmoothHousehold` has it.
        efficiency_frac: One way.
        soc_frac: State of charge at the start.
        revert_s: After so long without a command the battery rests.
        hz: Nominal frequency.
    """

    def __init__(
        self,
        *,
        now_ns: Callable[[], int],
        capacity_kwh: float,
        power_kw: float,
        household: SmoothHousehold,
        efficiency_frac: float = 0.95,
        soc_frac: float = 0.5,
        revert_s: float = 60.0,
        hz: float = 50.0,
    ) -> None:
        plate = NAMEPLATE.empty(1)
        plate["charge_limit_kw"] = plate["discharge_limit_kw"] = power_kw
        plate["energy_capacity_kwh"] = capacity_kwh
        plate["charge_efficiency_frac"] = plate["discharge_efficiency_frac"] = efficiency_frac
        fleet = Fleet(
            site_ids=(SiteId("simulated"),),
            nameplate=plate,
            latitude_deg=np.zeros(1),
            longitude_deg=np.zeros(1),
            groups=(),
            leaf_group={},
            resources=(),
        )
        self._now_ns = now_ns
        self._capacity_kwh, self._power_kw = capacity_kwh, power_kw
        self._revert_ns = int(revert_s * NS_PER_S)
        self._hz = hz
        self._asked_w = 0
        self._asked_ns = now_ns()
        # any household will do: the physics only asks for its powers
        self.world = HomeWorld(fleet, cast("Any", household), start_ns=now_ns() - NS_PER_S, seed=1)
        self.world.stored_kwh = np.array([capacity_kwh * soc_frac])
        self.cut = False

    async def read(self) -> Measurement:
        """Live until now and return what is measured."""
        self._check()
        self._live()
        world = self.world
        wobble = 0.01 * math.sin(self._now_ns() / NS_PER_S / 13.0)
        return Measurement(
            battery_w=int(world.battery_w[0]),
            solar_w=int(world.solar_w[0]),
            load_w=int(world.load_w[0]),
            ev_w=int(world.ev_w[0]),
            grid_w=int(world.grid_w[0]),
            soc_frac=float(world.soc_frac[0]),
            frequency_hz=self._hz + wobble,
            charge_wh=int(world.charge_wh[0]),
            discharge_wh=int(world.discharge_wh[0]),
            import_wh=int(world.import_wh[0]),
            export_wh=int(world.export_wh[0]),
        )

    async def write(self, battery_w: int) -> None:
        """Let the battery do so from now on."""
        self._check()
        self._live()
        self._asked_w, self._asked_ns = battery_w, self._now_ns()

    async def release(self) -> None:
        """Let the battery rest."""
        await self.write(0)

    async def parameters(self) -> Parameters:
        """Return what is installed."""
        return Parameters(
            charge_limit_w=round(self._power_kw * 1e3),
            discharge_limit_w=round(self._power_kw * 1e3),
            energy_capacity_wh=round(self._capacity_kwh * 1e3),
            maker="simulated",
            model="home",
        )

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""

    def _check(self) -> None:
        if self.cut:
            raise UnavailableError("simulated home", "its cable is unplugged")

    def _live(self) -> None:
        now_ns, world = self._now_ns(), self.world
        world.now_ns = max(world.now_ns, now_ns - _LONGEST_NS)
        reverts_ns = self._asked_ns + self._revert_ns
        while world.now_ns < now_ns:
            commanded = world.now_ns < reverts_ns
            until_ns = min(now_ns, world.now_ns + _STEP_NS)
            if commanded:
                until_ns = min(until_ns, reverts_ns)
            world.advance(until_ns, np.array([self._asked_w if commanded else 0]))


def _whole(power_w: float) -> NDArray[np.int64]:
    return np.array([round(power_w)], dtype=np.int64)
