"""A plain plant of batteries that do what they are told, for tests of the controller."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoal.control.dispatch import AwardNow, Decision, Dispatcher, DispatchOptions
from shoal.domain.desired import DesiredState
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, NS_PER_S, Interval
from shoal.domain.telemetry import TELEMETRY
from tests.unit.edge.sites import nameplates

START_NS = 1_612_936_800 * NS_PER_S
OPTIONS = DispatchOptions(lease_s=900.0, fresh_timeout_s=180.0, issuer="control", fence=1)
HOUR = Interval(start_ns=START_NS, end_ns=START_NS + NS_PER_HOUR)


def award(energy_wh: int, interval: Interval = HOUR) -> AwardNow:
    return AwardNow(interval=interval, energy_wh=energy_wh)


def mixed_nameplates(sites: int, seed: int) -> NDArray[Any]:
    """Return batteries of different sizes and efficiencies."""
    random = np.random.default_rng(seed)
    plate = nameplates(sites)
    for name, low, high in (
        ("charge_limit_kw", 3.0, 8.0),
        ("discharge_limit_kw", 3.0, 8.0),
        ("energy_capacity_kwh", 6.0, 27.0),
        ("charge_efficiency_frac", 0.9, 0.97),
        ("discharge_efficiency_frac", 0.9, 0.97),
        ("reserve_frac", 0.1, 0.3),
    ):
        plate[name] = random.uniform(low, high, sites)
    return plate


def make_dispatcher(plate: NDArray[Any], options: DispatchOptions = OPTIONS) -> Dispatcher:
    return Dispatcher(resource_id="vpp-1", rows=10 + np.arange(len(plate)), nameplate=plate, options=options)


class Plant:
    """N batteries, their meters, and what the plant last heard of them.

    Each follows its lease, within power, reserve and capacity; without one it rests. A minute is one step.
    """

    def __init__(self, plate: NDArray[Any], *, soc_frac: float = 0.6) -> None:
        sites = len(plate)
        self.plate = plate
        self.t_ns = START_NS
        self.stored_kwh = plate["energy_capacity_kwh"] * soc_frac
        self.charge_wh = np.zeros(sites)
        self.discharge_wh = np.zeros(sites)
        self.heard = TELEMETRY.empty(sites)
        self.lease: dict[int, DesiredState] = {}
        self.power_w = np.zeros(sites)
        self.report(np.ones(sites, dtype=np.bool_))

    def delivered_wh(self) -> float:
        return float((self.charge_wh - self.discharge_wh).sum())

    def report(self, online: NDArray[np.bool_]) -> None:
        """Let those who are online say how they stand."""
        records = TELEMETRY.empty(len(self.plate))
        records["ts_ns"] = self.t_ns
        records["battery_w"] = np.rint(self.power_w)
        records["soc_frac"] = self.stored_kwh / self.plate["energy_capacity_kwh"]
        records["charge_wh"] = self.charge_wh
        records["discharge_wh"] = self.discharge_wh
        records["command_version"] = [
            lease.version if (lease := self._lease_of(row)) else 0 for row in range(len(self.plate))
        ]
        self.heard[online] = records[online]

    def obey(self, decision: Decision, online: NDArray[np.bool_]) -> None:
        for row, desired in decision.commands:
            if online[row - 10]:
                self.lease[row - 10] = desired

    def advance(self, online: NDArray[np.bool_]) -> None:
        """Live for a minute; those who are online report at its end."""
        hours = 1.0 / 60.0
        for row in range(len(self.plate)):
            lease, plate = self._lease_of(row), self.plate[row]
            asked_kw = lease.battery_w / 1e3 if lease else 0.0
            floor_kwh = plate["reserve_frac"] * plate["energy_capacity_kwh"]
            out_kw = (self.stored_kwh[row] - floor_kwh) * plate["discharge_efficiency_frac"] / hours
            in_kw = (
                (plate["energy_capacity_kwh"] - self.stored_kwh[row])
                / plate["charge_efficiency_frac"]
                / hours
            )
            low_kw = -min(plate["discharge_limit_kw"], max(out_kw, 0.0))
            high_kw = min(plate["charge_limit_kw"], max(in_kw, 0.0))
            power_kw = min(max(asked_kw, low_kw), high_kw)
            self.power_w[row] = power_kw * 1e3
            if power_kw > 0:
                self.stored_kwh[row] += power_kw * hours * plate["charge_efficiency_frac"]
                self.charge_wh[row] += power_kw * hours * 1e3
            else:
                self.stored_kwh[row] += power_kw * hours / plate["discharge_efficiency_frac"]
                self.discharge_wh[row] -= power_kw * hours * 1e3
        self.t_ns += NS_PER_MINUTE
        self.report(online)

    def _lease_of(self, row: int) -> DesiredState | None:
        lease = self.lease.get(row)
        return lease if lease is not None and lease.start_ns <= self.t_ns < lease.end_ns else None


def step(dispatcher: Dispatcher, plant: Plant, now: AwardNow) -> Decision:
    return dispatcher.step(t_ns=plant.t_ns, step_ns=NS_PER_MINUTE, latest=plant.heard, award=now)
