"""What a storage can hold of a target for some hours: evenly through each event, energy for the first event first.

A reduction that fails in the last hour costs as much as one that fails in the first, so an event that cannot be held in full
is held in the same proportion in all of its hours. What is reachable at the boundaries is an interval, so the largest
proportion is found by halving, exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.interval import Interval
from shoal.optimise.relax import agree, commit_power
from shoal.optimise.relax_limits import Limits, energy_change, physical_limits, reachable_energy
from shoal.optimise.storage import Storage

Floats = NDArray[np.float64]
HOUR_H: Final = 1.0
_HALVINGS: Final = 40
_CLOSE_FRAC: Final = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shaved:
    """A day with events, T hours.

    Attributes:
        committed_kw: The reduction of each hour, >= 0, shape (T,).
        net_kw: The net load of the storage, charging positive, shape (T,).
        energy_kwh: Stored energy at the boundaries, shape (T + 1,).
        short_because: The hours whose target is not met, and why.
        relaxed: What had to give way of what is fixed.
    """

    committed_kw: Floats
    net_kw: Floats
    energy_kwh: Floats
    short_because: tuple[tuple[int, str], ...]
    relaxed: tuple[str, ...]


def hours_of(intervals: Sequence[Interval], targets: Mapping[int, float]) -> Floats:
    """Return the target of each interval by its start, 0 where there is none or it is negative."""
    return np.array([max(targets.get(one.start_ns, 0.0), 0.0) for one in intervals])


def held_evenly(storage: Storage, target_kw: Floats) -> Floats:
    """Return what the energy in store holds of a target without charging, in the same proportion in all hours."""
    asked = np.minimum(target_kw, storage.discharge_limit_kw)
    there_kwh = storage.initial_energy_kwh * storage.discharge_efficiency_frac
    total_kwh = float(asked.sum()) * HOUR_H
    share = min(1.0, there_kwh / total_kwh) if total_kwh > 0.0 else 0.0
    return np.asarray(asked * share)


def shave(storage: Storage, target_kw: Floats, *, fixed_kw: Mapping[int, float]) -> Shaved:
    """Return how much of each hour's target can be held, with charging before and between events and never in one.

    Args:
        storage: What surely answers, at the start of the day.
        target_kw: The target of each hour, 0 where there is no event, shape (T,).
        fixed_kw: Net load of hours that is decided elsewhere, by their number.
    """
    steps = len(target_kw)
    wishes = [commit_power(f"fixed in hour {row}", row, (kw,)) for row, kw in sorted(fixed_kw.items())]
    agreement = agree(storage, HOUR_H, wishes, physical=physical_limits(storage, steps))
    limits = agreement.limits
    asked = np.minimum(target_kw, storage.discharge_limit_kw)
    asked[sorted(fixed_kw)] = 0.0
    least, most = limits.least_kw.copy(), limits.most_kw.copy()
    for row in range(steps):
        if row not in fixed_kw:  # only an event discharges, and nothing charges in one
            least[row] = 0.0
            most[row] = 0.0 if target_kw[row] > 0.0 else most[row]
    limits = _possible(storage, replace(limits, least_kw=least, most_kw=most), agreement.limits)
    committed, because = np.zeros(steps), []
    for first, last in _events(asked):
        share, limits = _largest_share(storage, limits, asked, first, last)
        committed[first:last] = asked[first:last] * share
        if share < 1.0 - _CLOSE_FRAC:
            reason = f"the energy that can be in store by then holds {share:.1%} of it through the event"
            because += [(row, reason) for row in range(first, last) if asked[row] > 0.0]
    because += [
        (row, f"the power that surely answers is {storage.discharge_limit_kw:.0f} kW")
        for row in range(steps)
        if row not in fixed_kw and target_kw[row] > storage.discharge_limit_kw * (1.0 + _CLOSE_FRAC)
    ]
    net_kw, energy_kwh = _earliest(storage, limits)
    return Shaved(
        committed_kw=committed,
        net_kw=net_kw,
        energy_kwh=energy_kwh,
        short_because=tuple(sorted(because)),
        relaxed=tuple(one.sentence for one in agreement.relaxations),
    )


def _possible(storage: Storage, wanted: Limits, otherwise: Limits) -> Limits:
    """Return the limits that are wanted if they can be held: what is fixed may need other hours to charge or discharge."""
    return wanted if reachable_energy(storage, HOUR_H, wanted) is not None else otherwise


def _events(asked_kw: Floats) -> list[tuple[int, int]]:
    """Return the runs of hours with a target: first and last, the last exclusive."""
    there = np.concatenate([[False], asked_kw > 0.0, [False]])
    turns = np.flatnonzero(there[1:] != there[:-1])
    return list(zip(turns[::2].tolist(), turns[1::2].tolist(), strict=True))


def _largest_share(
    storage: Storage, limits: Limits, asked_kw: Floats, first: int, last: int
) -> tuple[float, Limits]:
    """Return the largest share of an event that can be held, and the limits with it."""

    def with_share(share: float) -> Limits:
        least, most = limits.least_kw.copy(), limits.most_kw.copy()
        least[first:last] = -asked_kw[first:last] * share
        most[first:last] = least[first:last]
        return replace(limits, least_kw=least, most_kw=most)

    def can(share: float) -> bool:
        return reachable_energy(storage, HOUR_H, with_share(share)) is not None

    if can(1.0):
        return 1.0, with_share(1.0)
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if can(middle) else (low, middle)
    return low, with_share(low) if low > 0.0 else limits


def _earliest(storage: Storage, limits: Limits) -> tuple[Floats, Floats]:
    """Return the path that charges as early as it may and no more than is needed: net load and stored energy."""
    reach = reachable_energy(storage, HOUR_H, limits)
    assert reach is not None, "what was committed can be held"
    lowest, highest = reach
    steps = limits.steps
    # the least energy at each boundary that lets everything after it be held
    change = energy_change(storage, limits.least_kw, HOUR_H)
    forced = np.where(limits.most_kw <= limits.least_kw, change, 0.0)
    needed = np.zeros(steps + 1)
    for row in range(steps - 1, -1, -1):
        needed[row] = max(needed[row + 1] - forced[row], lowest[row])
    net, energy = np.zeros(steps), np.empty(steps + 1)
    energy[0] = storage.initial_energy_kwh
    most = energy_change(storage, limits.most_kw, HOUR_H)
    for row in range(steps):
        aim = min(max(needed[row + 1], energy[row]), highest[row + 1])
        moved = min(max(aim - energy[row], change[row]), most[row])
        energy[row + 1] = energy[row] + moved
        gain = storage.charge_efficiency_frac
        net[row] = moved / gain / HOUR_H if moved > 0 else moved * storage.discharge_efficiency_frac / HOUR_H
    return net, energy
