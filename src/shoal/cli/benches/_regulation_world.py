"""Homes with batteries behind a bad network, in steps of one tick: what the regulation benchmark is measured against.

Every home has an inverter of its own (a first-order response and a small error of its gain), a meter with noise, an owner's
reserve, and takes messages when they arrive: each is lost or late by itself, in both directions, and whole homes drop out for
minutes. Within a tick the power is the exact solution of the inverter's response, not a step. Energy limits are those of
`shoal.edge.agent.energy_bounds`, applied last.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.interval import NS_PER_S
from shoal.domain.kernel import kernel
from shoal.services.regulation import MeterReports, RegulationSignal
from shoal.services.regulation_shares import RegulationAbility, RegulationShares

TICK_S: Final = 2.0
TICK_NS: Final = int(TICK_S * NS_PER_S)
REPORT_STEPS: Final = 2
"""A home's meter reports every so many ticks; half of the homes in each."""
LIMIT_HORIZON_S: Final = 6.0
"""A device limits its power to what its energy allows for so long: the tick and what the inverter does afterwards."""

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """How bad the network is.

    Attributes:
        lost_frac: Share of messages that never arrive, each way, each by itself.
        latency_s: Mean of the latency of each message each way, exponentially distributed: its spread is as large.
        out_frac: Share of the homes that are out at a time, hearing and saying nothing.
        out_s: How long a home is out on average, exponentially distributed.
    """

    lost_frac: float = 0.05
    latency_s: float = 0.2
    out_frac: float = 0.02
    out_s: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Homes:
    """What is installed (N each), and what a device does by itself."""

    ability: RegulationAbility
    response_s: Floats
    gain_frac: Floats


def make_homes(sites: int, seed: int) -> Homes:
    """Return homes of 3.6 to 7 kW and 2 to 3 h, half full, with inverters of 0.05 to 0.5 s that give 98 +- 1 %."""
    random = np.random.default_rng(seed)
    limit_w = random.choice(np.array([3_600, 5_000, 7_000]), sites)
    capacity_kwh = limit_w / 1e3 * random.uniform(2.0, 3.0, sites)
    reserve_frac = random.choice(np.array([0.1, 0.2, 0.3]), sites)
    floor_kwh = capacity_kwh * reserve_frac
    filled_frac = random.uniform(0.3, 0.7, sites)
    ability = RegulationAbility(
        charge_limit_w=limit_w,
        discharge_limit_w=limit_w,
        stored_kwh=floor_kwh + filled_frac * (capacity_kwh - floor_kwh),
        floor_kwh=floor_kwh,
        ceiling_kwh=capacity_kwh,
        charge_efficiency_frac=random.uniform(0.94, 0.97, sites),
        discharge_efficiency_frac=random.uniform(0.94, 0.97, sites),
    )
    return Homes(
        ability=ability,
        response_s=random.uniform(0.05, 0.5, sites),
        gain_frac=np.clip(random.normal(0.98, 0.01, sites), 0.9, 1.0),
    )


class World:
    """N homes and the network between them and the plant; only `hear` and `step` say what has arrived.

    Attributes:
        stored_kwh: Energy in each battery.
        mean_w: Mean power of each in the last tick, load-positive.
        end_w: Power of each at its end.
        out: Which homes are out.
        limit_violations: Home-ticks in which a battery was beyond its power, its reserve or full.
    """

    def __init__(self, homes: Homes, network: Network, *, hold_ticks: int, seed: int) -> None:
        sites = len(homes.response_s)
        self._homes, self._network, self._hold_ticks = homes, network, hold_ticks
        self._random = np.random.default_rng(seed)
        self.stored_kwh = homes.ability.stored_kwh.copy()
        self.mean_w, self.end_w = np.zeros(sites), np.zeros(sites)
        self.out = self._random.random(sites) < network.out_frac
        self.limit_violations = 0
        self.sent = self.delivered = 0
        self._tick = 0
        self._power = np.zeros(
            (6, sites)
        )  # power now, value followed, waiting value, its arrival, mean, shortest energy
        self._seq = np.full(
            (2, sites), -(10**9), dtype=np.int64
        )  # tick of the value followed, and of the one waiting
        self._power[3] = np.inf
        self._armed = np.zeros((4, sites), dtype=np.int64)  # base, up, down, version
        self._next: tuple[RegulationShares, int] | None = None
        self._has_next = np.zeros(sites, dtype=np.bool_)
        self._energy_w = np.zeros(sites)
        self._on_its_way: defaultdict[int, list[tuple[Any, ...]]] = defaultdict(list)

    def send_arming(self, shares: RegulationShares, version: int) -> None:
        """Try to bring a document to every home that is in and does not have it; it is in force from `begin_arming` on."""
        if self._next is None or self._next[1] != version:
            self._next, self._has_next = (shares, version), np.zeros(len(self.out), dtype=np.bool_)
        arrives = self._random.random(len(self.out)) >= self._network.lost_frac
        new = arrives & ~self.out & ~self._has_next
        self.sent += int((~self._has_next).sum())
        self._has_next |= new

    def begin_arming(self, *, first: bool) -> None:
        """Let the document before end and the next begin on every device's clock; `first` is at the start of its time."""
        if self._next is None:
            return
        shares, version = self._next
        if first:
            self._armed[:] = 0
        has = self._has_next & (self._armed[3] != version)
        for line, values in enumerate((shares.base_w, shares.up_w, shares.down_w)):
            self._armed[line, has] = values[has]
        self._armed[3, has] = version

    def step(self, signal: RegulationSignal) -> None:
        """Broadcast one signal and let a tick pass."""
        network, sites = self._network, len(self.out)
        draws = self._random.random(sites)
        leaves = draws < network.out_frac / (1.0 - network.out_frac) * TICK_S / network.out_s
        returns = draws < TICK_S / network.out_s
        self.out = np.where(self.out, ~returns, leaves)
        latency_s = self._random.exponential(network.latency_s, sites)
        latency_s[(self._random.random(sites) < network.lost_frac) | self.out] = np.inf
        self.sent += 1
        self.delivered += int(np.isfinite(latency_s).sum())
        ability = self._homes.ability
        self.limit_violations += _tick(
            self._tick,
            signal.value_frac,
            latency_s,
            self.out,
            self._power,
            self._seq,
            self._armed,
            self.stored_kwh,
            ability.charge_limit_w.astype(np.float64),
            ability.discharge_limit_w.astype(np.float64),
            ability.floor_kwh,
            ability.ceiling_kwh,
            ability.charge_efficiency_frac,
            ability.discharge_efficiency_frac,
            self._homes.response_s,
            self._homes.gain_frac,
            self._hold_ticks,
        )
        self.end_w, self.mean_w = self._power[0], self._power[4]
        self._energy_w += self.mean_w
        self._tick += 1
        self._report()

    def _report(self) -> None:
        """Let the meters whose turn it is report; what is not lost arrives in a tick to come."""
        network = self._network
        rows = np.arange(self._tick % REPORT_STEPS, len(self.out), REPORT_STEPS)
        mean_w = self._energy_w[rows] / REPORT_STEPS * (1.0 + 0.005 * self._random.standard_normal(len(rows)))
        self._energy_w[rows] = 0.0
        late = np.ceil(self._random.exponential(network.latency_s, len(rows)) / TICK_S).astype(np.int64)
        arrives = ~self.out[rows] & (self._random.random(len(rows)) >= network.lost_frac)
        for ticks in range(1, int(late[arrives].max(initial=0)) + 1):
            chosen = arrives & (late == ticks)
            which = rows[chosen]
            self._on_its_way[self._tick + ticks].append(
                (which, self._tick, mean_w[chosen], self.stored_kwh[which], self._armed[3, which])
            )

    def hear(self, start_ns: int) -> list[MeterReports]:
        """Return what has arrived from the meters by the present tick; the first tick was at `start_ns`."""
        batches = []
        for rows, tick, mean_w, stored_kwh, version in self._on_its_way.pop(self._tick, []):
            end_ns = np.full(len(rows), start_ns + tick * TICK_NS)
            batches.append(
                MeterReports(
                    rows=rows,
                    start_ns=end_ns - REPORT_STEPS * TICK_NS,
                    end_ns=end_ns,
                    mean_w=mean_w,
                    stored_kwh=stored_kwh,
                    version=version,
                )
            )
        return batches


@kernel
def _tick(
    tick: int,
    value_frac: float,
    latency_s: Floats,
    out: NDArray[np.bool_],
    power: Floats,
    seq: Numbers,
    armed: Numbers,
    stored_kwh: Floats,
    charge_limit_w: Floats,
    discharge_limit_w: Floats,
    floor_kwh: Floats,
    ceiling_kwh: Floats,
    charge_frac: Floats,
    discharge_frac: Floats,
    response_s: Floats,
    gain_frac: Floats,
    hold_ticks: int,
) -> int:
    """Let every home live through a tick of 2 s; return how many broke a limit."""
    broken = 0
    for i in range(len(latency_s)):
        now_s, energy_ws, y = 0.0, 0.0, power[0, i]
        new_s = latency_s[i] if latency_s[i] < 4.0 else np.inf
        if tick - seq[0, i] >= hold_ticks:
            power[1, i] = 0.0
        while now_s < 2.0:
            # the next thing that happens: a message that waits from the tick before, this tick's, or the tick's end
            until_s = min(power[3, i], new_s, 2.0)
            until_s = max(until_s, now_s)
            value = power[1, i]
            asked_w = armed[0, i] - value * armed[1, i] if value > 0.0 else armed[0, i] - value * armed[2, i]
            spare_w = max(stored_kwh[i] - floor_kwh[i], 0.0) * discharge_frac[i] * 3.6e6 / 6.0
            room_w = max(ceiling_kwh[i] - stored_kwh[i], 0.0) / charge_frac[i] * 3.6e6 / 6.0
            target_w = max(asked_w, -min(discharge_limit_w[i], spare_w))
            target_w = min(target_w, min(charge_limit_w[i], room_w)) * gain_frac[i]
            span_s = until_s - now_s
            if span_s > 0.0:
                decay = np.exp(-span_s / response_s[i])
                part_ws = target_w * span_s + (y - target_w) * response_s[i] * (1.0 - decay)
                y = target_w + (y - target_w) * decay
                energy_ws += part_ws
                stored_kwh[i] += (
                    part_ws / 3.6e6 * (charge_frac[i] if part_ws > 0.0 else 1.0 / discharge_frac[i])
                )
            now_s = until_s
            if now_s >= 2.0:
                break
            if now_s >= power[3, i]:
                if not out[i] and seq[1, i] > seq[0, i]:
                    power[1, i], seq[0, i] = power[2, i], seq[1, i]
                power[3, i] = np.inf
            if now_s >= new_s:
                if tick > seq[0, i]:
                    power[1, i], seq[0, i] = value_frac, tick
                new_s = np.inf
        if np.isfinite(power[3, i]):
            power[3, i] -= 2.0
        if np.isfinite(new_s):
            power[2, i], power[3, i], seq[1, i] = value_frac, new_s - 2.0, tick
        power[0, i], power[4, i] = y, energy_ws / 2.0
        over = y > charge_limit_w[i] + 1e-6 or y < -discharge_limit_w[i] - 1e-6
        if over or stored_kwh[i] < floor_kwh[i] - 1e-9 or stored_kwh[i] > ceiling_kwh[i] + 1e-9:
            broken += 1
    return broken
