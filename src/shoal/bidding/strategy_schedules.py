"""Strategies that follow a schedule whatever the price: the baselines that any other has to beat.

Each guesses the prices of the coming two days in its own way and follows the best plan on them through its trading day.
They bid at the floor and at the cap, so that the schedule is dispatched as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoal.bidding.strategy import BandOffer, Bands, Known, Setting
from shoal.domain.interval import NS_PER_HOUR
from shoal.optimise.storage import plan_storage

DAY_NS: Final = 24 * NS_PER_HOUR
SHAPE_DAYS: Final = 28
HORIZON_DAYS: Final = 2

Guess: TypeAlias = Callable[[Known, int], NDArray[np.float64]]
"""From what is known and the slots of a day to a price for each slot of the local day; NaN where none is known."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Schedule:
    """Net power by interval from an instant on: charging positive."""

    start_ns: int
    net_kw: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleStrategy:
    """Follows the best plan on a guess of the prices."""

    setting: Setting
    guess: Guess

    @property
    def plans_a_day(self) -> int:
        """Once."""
        return 1

    def bands(self, known: Known) -> Bands:
        """Return the floor to sell at and the cap to buy at."""
        market = self.setting.market
        return Bands(sell_per_mwh=(market.floor_per_mwh,), buy_per_mwh=(market.cap_per_mwh,))

    def plan(self, known: Known, bands: Bands, energy_kwh: float) -> Schedule:
        """Return the best plan of the next two days on the guessed prices; an empty one without history."""
        market = self.setting.market
        slots = market.slots_count
        price = self.guess(known, slots)
        present = np.isfinite(price)
        if not present.any():
            return Schedule(start_ns=known.now_ns, net_kw=np.zeros(0))
        price = np.where(present, price, float(np.mean(price[present])))
        ahead = np.tile(np.roll(price, -known.slot_number), HORIZON_DAYS)
        storage = replace(self.setting.storage, initial_energy_kwh=energy_kwh)
        found = plan_storage(storage, ahead, market.interval_h)
        return Schedule(start_ns=known.now_ns, net_kw=found.charge_kw - found.discharge_kw)

    def offer(self, plan: Schedule, known: Known, energy_kwh: float) -> BandOffer:
        """Return the schedule's power of the interval."""
        at = (known.now_ns - plan.start_ns) // self.setting.market.interval_ns
        net_kw = float(plan.net_kw[at]) if at < len(plan.net_kw) else 0.0
        return BandOffer(sell_kw=(max(-net_kw, 0.0),), buy_kw=(max(net_kw, 0.0),))


def shape(known: Known, slots: int) -> NDArray[np.float64]:
    """Return the mean of each slot over the last 28 days."""
    recent = known.start_ns >= known.now_ns - SHAPE_DAYS * DAY_NS
    slot = known.slot_numbers[recent]
    seen = np.bincount(slot, minlength=slots)
    total = np.bincount(slot, weights=known.price_per_mwh[recent], minlength=slots)
    return np.asarray(np.divide(total, seen, out=np.full(slots, np.nan), where=seen > 0))


def lagged(days: int) -> Guess:
    """Return the guess that prices are as they were on the day that ended `days` - 1 days ago."""

    def guess(known: Known, slots: int) -> NDArray[np.float64]:
        # a span that is missing falls back on the newest day before it
        until_ns = known.now_ns - (days - 1) * DAY_NS
        end = int(np.searchsorted(known.start_ns, until_ns))
        end = end if end > 0 else len(known.start_ns)
        first = max(0, end - slots)
        price = np.full(slots, np.nan)
        price[known.slot_numbers[first:end]] = known.price_per_mwh[first:end]
        return price

    return guess


def top_and_bottom(setting: Setting) -> Guess:
    """Return the guess that tells only the hours to charge in (0), to discharge in (2) and others (1).

    They are the hours with the lowest and highest means of the last 28 days, as many as the storage needs.
    """
    storage = setting.storage
    charge_h = storage.energy_capacity_kwh / (storage.charge_limit_kw * storage.charge_efficiency_frac)
    release_h = storage.energy_capacity_kwh * storage.discharge_efficiency_frac / storage.discharge_limit_kw

    def guess(known: Known, slots: int) -> NDArray[np.float64]:
        price = shape(known, slots)
        if not np.isfinite(price).all():
            return np.full(slots, np.nan)
        hours = np.mean(price.reshape(min(24, slots), -1), axis=1)
        order = np.argsort(hours, kind="stable")
        level = np.full(len(hours), 1.0)
        level[order[: int(np.ceil(charge_h))]] = 0.0
        level[order[len(hours) - int(np.ceil(release_h)) :]] = 2.0
        # far enough apart that no wear and no loss keeps the plan from moving
        return np.repeat(level, slots // len(hours)) * (1e4 + 10.0 * storage.throughput_cost_per_mwh)

    return guess
