"""Five thousand homes that follow PJM's real signals, scored by the hour; and beside them a proportional rule.

Both see only what arrives. Documents with base and shares go out every five minutes, ahead of their time; the base of an hour
is set five minutes before it begins, by the state of charge as reported by then. The rule beside it splits the signal by
rating and sends it on: no reports, no allowance for what is lost or late.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from shoal.cli.benches._regulation_world import TICK_NS, TICK_S, Homes, Network, World, make_homes
from shoal.services import regulation
from shoal.services.performance_score import SAMPLE_S, PerformanceScore, performance_score
from shoal.services.regulation_shares import (
    RegulationAbility,
    RegulationShares,
    recentring_w,
    share_out,
)

FILE: Final = "pjm_regulation_signals_2s_samples.parquet"
OFFER_FRAC: Final = 0.4
"""Offered capability as a share of the rated power of all homes."""
MARGIN_FRAC: Final = 0.3
HOLD_TICKS: Final = 5
"""A device follows a broadcast for 10 s when none comes after it."""

_ARM_TICKS: Final = 150
_AHEAD_TICKS: Final = 30
_RETRY_TICKS: Final = 5
_HOUR_TICKS: Final = 1800
_SAMPLE_TICKS: Final = round(SAMPLE_S / TICK_S)

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Followed:
    """What came of following one signal.

    Attributes:
        mean: Scored by the mean power of the tick that each signal stands for.
        end: Scored by the power at the end of that tick.
        late: Scored by the power at the instant the signal comes, before anybody can know it: a whole tick late.
        limit_violations: Home-ticks beyond power, reserve or capacity.
        decide_s: Time that the plant's decisions took.
        signal_s: Time that the signal lasted.
        heard_frac: Share of broadcasts that arrived.
        missed_frac: Error of the mean power as a share of the offer, on average.
        lowest_frac, highest_frac: Usable energy of the fleet at its lowest and highest.
        gain_frac, lag_s: Learned at the end.
        messages_per_tick: Broadcasts and documents sent, a tick on average.
    """

    mean: PerformanceScore
    end: PerformanceScore
    late: PerformanceScore
    limit_violations: int
    decide_s: float
    signal_s: float
    heard_frac: float
    missed_frac: float
    lowest_frac: float
    highest_frac: float
    gain_frac: float
    lag_s: float
    messages_per_tick: float


def read_signals(file: Path) -> dict[str, Floats]:
    """Return every signal of the file, from -1 to 1, one value every 2 s."""
    table = pq.read_table(file, columns=["signal", "t_s", "value"])
    names = table["signal"].cast("string")
    signals = {}
    for name in pc.unique(names).to_pylist():
        part = table.filter(pc.equal(names, name))
        t_s = part["t_s"].to_numpy()
        if not (np.diff(t_s) == TICK_S).all():
            raise ValueError(f"{name} is not one value every {TICK_S:g} s")
        signals[name] = np.asarray(part["value"].to_numpy(), dtype=np.float64)
    return signals


def made_up_signal(hours: int, seed: int) -> Floats:
    """Return a signal like RegD: smooth swings over minutes with some jitter, from -1 to 1."""
    random = np.random.default_rng(seed)
    steps = hours * _HOUR_TICKS
    signal, swing = np.empty(steps), 0.0
    noise, jitter = random.standard_normal(steps), random.standard_normal(steps)
    for step in range(steps):
        swing = 0.985 * swing + 0.06 * noise[step]
        signal[step] = swing + 0.02 * jitter[step]
    return np.clip(signal, -1.0, 1.0)


class _Plant:
    """The plant's side: arms, broadcasts, listens. `step` returns the broadcast of a tick."""

    def __init__(self, homes: Homes, offer_w: int, *, follows: bool) -> None:
        self._ability, self._offer_w, self._follows = homes.ability, offer_w, follows
        self.columns = regulation.FollowColumns(
            len(homes.response_s),
            regulation.FollowRules(),
            energy_floor_kwh=homes.ability.floor_kwh,
            energy_ceiling_kwh=homes.ability.ceiling_kwh,
        )
        self.columns.stored_kwh[:] = homes.ability.stored_kwh  # what the twins knew before the service began
        self._base_total_w = 0
        self._seq = 0
        self.state: regulation.FollowState | None = None
        rating = homes.ability.discharge_limit_w
        self._equal_w = np.rint(offer_w * rating / rating.sum()).astype(np.int64)
        self._rating = rating

    def known(self) -> RegulationAbility:
        return replace(self._ability, stored_kwh=self.columns.stored_kwh)

    def set_base(self) -> None:
        limit_w = int(self._rating.sum() * 0.9 - self._offer_w * (1.0 + MARGIN_FRAC))
        self._base_total_w = recentring_w(
            self.known(), target_frac=0.5, duration_h=1.0, limit_w=max(limit_w, 0)
        )

    def shares(self) -> RegulationShares:
        if self._follows:
            return share_out(
                self.known(), offer_w=self._offer_w, margin_frac=MARGIN_FRAC, base_total_w=self._base_total_w
            )
        base = np.rint(self._base_total_w * self._rating / self._rating.sum()).astype(np.int64)
        return RegulationShares(base_w=base, up_w=self._equal_w, down_w=self._equal_w)

    def step(self, t_ns: int, signal_frac: float) -> regulation.RegulationSignal:
        hold_ns = HOLD_TICKS * TICK_NS
        if self._follows:
            signal, self.state = regulation.follow(
                self.columns, t_ns=t_ns, target_w=-signal_frac * self._offer_w, hold_ns=hold_ns
            )
            return signal
        self._seq += 1
        return regulation.RegulationSignal(
            seq=self._seq,
            t_ns=t_ns,
            end_ns=t_ns + hold_ns,
            value_frac=signal_frac,
            version=self.columns.version,
        )


def follow_signal(
    signal_frac: Floats, *, sites: int, seed: int, follows: bool = True, network: Network | None = None
) -> Followed:
    """Let homes follow a signal from its first value to its last and score them; `follows` False takes the rule."""
    homes = make_homes(sites, seed)
    offer_w = int(OFFER_FRAC * homes.ability.discharge_limit_w.sum())
    world = World(homes, network or Network(), hold_ticks=HOLD_TICKS, seed=seed + 1)
    plant = _Plant(homes, offer_w, follows=follows)
    steps = len(signal_frac)
    mean_w, end_w, base_w = np.zeros(steps), np.zeros(steps), np.zeros(steps)
    usable_kwh = (homes.ability.ceiling_kwh - homes.ability.floor_kwh).sum()
    filled = np.zeros(steps // _ARM_TICKS + 1)
    shares, coming, decide_s, documents = plant.shares(), plant.shares(), 0.0, 0
    for _ in range(6):
        world.send_arming(coming, 1)
    for tick in range(steps):
        t_ns = tick * TICK_NS
        if tick % _ARM_TICKS == 0:
            shares = coming
            regulation.arm(plant.columns, shares, version=tick // _ARM_TICKS + 1, start_ns=t_ns)
            world.begin_arming(first=True)
            documents += len(shares.base_w)
            filled[tick // _ARM_TICKS] = (world.stored_kwh - homes.ability.floor_kwh).sum() / usable_kwh
        began = time.perf_counter()
        for reports in world.hear(0):
            regulation.hear(plant.columns, reports, now_ns=t_ns)
        signal = plant.step(t_ns, float(signal_frac[tick]))
        ahead = tick + _AHEAD_TICKS
        if ahead % _ARM_TICKS == 0:
            if ahead % _HOUR_TICKS == 0:
                plant.set_base()
            coming = plant.shares()
        decide_s += time.perf_counter() - began
        if tick % _RETRY_TICKS == 0:
            to_come = ahead % _ARM_TICKS < _AHEAD_TICKS and tick >= _AHEAD_TICKS
            world.send_arming(
                coming if to_come else shares, (tick + (_AHEAD_TICKS if to_come else 0)) // _ARM_TICKS + 1
            )
            if not to_come:
                world.begin_arming(first=False)
        world.step(signal)
        mean_w[tick], end_w[tick], base_w[tick] = world.mean_w.sum(), world.end_w.sum(), shares.base_w.sum()
    asked_w = signal_frac * offer_w
    up_mean_w, up_end_w = base_w - mean_w, base_w - end_w
    before_w = np.concatenate(([0.0], up_end_w[:-1]))
    state = plant.state
    return Followed(
        mean=_score(asked_w, up_mean_w, offer_w),
        end=_score(asked_w, up_end_w, offer_w),
        late=_score(asked_w, before_w, offer_w),
        limit_violations=world.limit_violations,
        decide_s=decide_s,
        signal_s=steps * TICK_S,
        heard_frac=world.delivered / (steps * sites),
        missed_frac=float(np.abs(up_mean_w - asked_w).mean() / offer_w),
        lowest_frac=float(filled[filled > 0].min()),
        highest_frac=float(filled.max()),
        gain_frac=state.gain_frac if state else 1.0,
        lag_s=state.lag_s if state else 0.0,
        messages_per_tick=1.0 + documents / steps,
    )


def _score(asked_w: Floats, given_w: Floats, offer_w: int) -> PerformanceScore:
    """Return the score of the samples that PJM takes: one every 10 s."""
    return performance_score(asked_w[::_SAMPLE_TICKS], given_w[::_SAMPLE_TICKS], capability_w=float(offer_w))
