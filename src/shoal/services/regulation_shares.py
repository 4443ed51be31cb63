"""Who takes which part of a regulation offer: a base power and a share in either direction for each home.

Shares are armed ahead, in a document, so that following the signal takes one broadcast number a tick. They follow the
energy that each home has left, as far as its power allows: homes move towards each other while they follow, and the base
power brings the fleet back to where it can answer in both directions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError

Floats = NDArray[np.float64]
Watts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RegulationAbility:
    """What N homes can do, as far as is known.

    Attributes:
        charge_limit_w: Largest charging power, >= 0; 0 for a home that may not take part.
        discharge_limit_w: Largest discharging power, >= 0.
        stored_kwh: Energy stored; not a number when unknown, and then nothing is asked of the home.
        floor_kwh: Energy that stays: the owner's reserve.
        ceiling_kwh: Energy when full.
        charge_efficiency_frac: Stored per energy taken in.
        discharge_efficiency_frac: Given out per stored energy.
    """

    charge_limit_w: Watts
    discharge_limit_w: Watts
    stored_kwh: Floats
    floor_kwh: Floats
    ceiling_kwh: Floats
    charge_efficiency_frac: Floats
    discharge_efficiency_frac: Floats

    def spare_wh(self) -> Floats:
        """Return what each home can still give at its terminals (N), above its reserve."""
        return np.fmax(self.stored_kwh - self.floor_kwh, 0.0) * self.discharge_efficiency_frac * 1e3

    def room_wh(self) -> Floats:
        """Return what each home can still take at its terminals (N)."""
        return np.fmax(self.ceiling_kwh - self.stored_kwh, 0.0) / self.charge_efficiency_frac * 1e3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RegulationShares:
    """What N homes are armed for; all limits hold at the same time, whatever the signal.

    Attributes:
        base_w: Power at a signal of 0, load-positive.
        up_w: Most by which the power falls below the base when the signal is 1: less charging, more discharging.
        down_w: Most by which it rises above the base when the signal is -1.
        short_up_w: What is missing upward of the offer with its margin, in total.
        short_down_w: What is missing downward.
    """

    base_w: Watts
    up_w: Watts
    down_w: Watts
    short_up_w: int = 0
    short_down_w: int = 0


def answer_w(value_frac: Floats | float, *, base_w: Watts, up_w: Watts, down_w: Watts) -> Watts:
    """Return what homes do at a broadcast value from -1 to 1, load-positive whole watts.

    A value above 0 asks for more output, as PJM's signals do; the device and the plant use this same function. What is not
    a finite number counts as 0.
    """
    value = np.nan_to_num(np.asarray(value_frac, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    value = np.clip(value, -1.0, 1.0)
    moved_w = np.where(value > 0.0, -value * up_w, -value * down_w)
    answer: Watts = np.asarray(base_w + np.rint(moved_w).astype(np.int64))
    return answer


def answer_of_one_w(value_frac: float, *, base_w: int, up_w: int, down_w: int) -> int:
    """Return what `answer_w` returns for one home, without the cost of columns."""
    value = min(max(value_frac, -1.0), 1.0) if math.isfinite(value_frac) else 0.0
    return base_w + round(-value * (up_w if value > 0.0 else down_w))


def recentring_w(ability: RegulationAbility, *, target_frac: float, duration_h: float, limit_w: int) -> int:
    """Return the total base power that brings the fleet to `target_frac` of its usable energy within `duration_h`.

    Load-positive, at most `limit_w` either way; homes whose energy is unknown do not count.

    Raises:
        InvalidInputError: when a number is out of range.
    """
    if not 0.0 <= target_frac <= 1.0 or not duration_h > 0.0 or limit_w < 0:
        raise InvalidInputError(
            field="target_frac, duration_h, limit_w",
            value=(target_frac, duration_h, limit_w),
            fix="give a share from 0 to 1, a duration above 0 and a limit of at least 0",
        )
    known = np.isfinite(ability.stored_kwh)
    usable_kwh = ability.ceiling_kwh - ability.floor_kwh
    missing_kwh = np.where(known, ability.floor_kwh + target_frac * usable_kwh - ability.stored_kwh, 0.0)
    total_kwh = float(missing_kwh.sum())
    efficiency = (
        ability.charge_efficiency_frac if total_kwh > 0.0 else 1.0 / ability.discharge_efficiency_frac
    )
    loss = float(np.mean(efficiency)) if len(missing_kwh) else 1.0
    return int(np.clip(round(total_kwh * 1e3 / loss / duration_h), -limit_w, limit_w))


def share_out(
    ability: RegulationAbility, *, offer_w: int, margin_frac: float, base_total_w: int = 0
) -> RegulationShares:
    """Return each home's base and shares, so that together they can give the offer with a margin in both directions.

    The margin covers homes that drop out and the overshoot that makes up for late messages. In each direction a share is
    in proportion to the energy left, as far as the power beyond the base allows; so no home runs out before the others
    unless its power is the limit. Shares add up to the offer times ``1 + margin_frac``, rounded up to a watt a home, or to
    all there is, and then it says what is missing.

    Args:
        ability: What the homes can do.
        offer_w: Capability offered, the same in both directions.
        margin_frac: Share of the offer that is armed beyond it, >= 0.
        base_total_w: Sum of the base powers, load-positive; less if the homes cannot do it.

    Raises:
        InvalidInputError: when `offer_w` or `margin_frac` is negative.
    """
    if offer_w < 0 or not 0.0 <= margin_frac < np.inf:
        raise InvalidInputError(
            field="offer_w, margin_frac", value=(offer_w, margin_frac), fix="give at least 0"
        )
    known = np.isfinite(ability.stored_kwh)
    charge = np.where(known, ability.charge_limit_w, 0).astype(np.float64)
    discharge = np.where(known, ability.discharge_limit_w, 0).astype(np.float64)
    spare_wh, room_wh = np.where(known, ability.spare_wh(), 0.0), np.where(known, ability.room_wh(), 0.0)
    if base_total_w >= 0:
        base = _proportional(float(base_total_w), charge, room_wh)
    else:
        base = -_proportional(float(-base_total_w), discharge, spare_wh)
    base_w = np.trunc(base).astype(np.int64)
    wanted_w = offer_w * (1.0 + margin_frac)
    up = np.floor(discharge + base_w)
    down = np.floor(charge - base_w)
    up_w = np.minimum(np.ceil(_proportional(wanted_w, up, spare_wh)), up).astype(np.int64)
    down_w = np.minimum(np.ceil(_proportional(wanted_w, down, room_wh)), down).astype(np.int64)
    return RegulationShares(
        base_w=base_w,
        up_w=up_w,
        down_w=down_w,
        short_up_w=max(int(np.ceil(wanted_w)) - int(up_w.sum()), 0),
        short_down_w=max(int(np.ceil(wanted_w)) - int(down_w.sum()), 0),
    )


def _proportional(total_w: float, limit_w: Floats, energy_wh: Floats) -> Floats:
    """Return powers in proportion to the energies, none above its limit, that add up to the total if they can."""
    free = (energy_wh > 0.0) & (limit_w > 0.0)
    most_w = np.where(free, limit_w, 0.0)
    if not free.any() or most_w.sum() <= total_w:
        return most_w
    # The rate (power per energy) at which each home meets its limit; below the i-th of them, sorted, i homes have met it.
    rate = np.where(free, limit_w / np.where(free, energy_wh, 1.0), np.inf)
    order = np.argsort(rate, kind="stable")
    met_w = np.concatenate(([0.0], np.cumsum(most_w[order])))[:-1]
    free_wh = np.where(free, energy_wh, 0.0)[order]
    left_wh = np.cumsum(free_wh[::-1])[::-1]
    reached_w = met_w + np.where(np.isfinite(rate[order]), rate[order], 0.0) * left_wh
    first = int(np.searchsorted(np.where(np.isfinite(rate[order]), reached_w, np.inf), total_w))
    first = min(first, len(order) - 1)
    level = (total_w - met_w[first]) / left_wh[first] if left_wh[first] > 0.0 else 0.0
    powers: Floats = np.minimum(most_w, level * np.where(free, energy_wh, 0.0))
    return powers
