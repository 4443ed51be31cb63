"""A fleet seen as one battery whose every schedule can be split, and what a plain sum of ratings would promise too much.

Every battery follows the stored energy of the whole: below today's level each takes a fixed share of it, above it
another. So the state of each depends on the state of the whole alone, whatever the way there, and the whole can do what
no battery's share exceeds: a power `P` held until an energy `E` is gone needs ``sum(min(P_i / P, E_i / E)) >= 1``.
In one direction that is also necessary: ``sum(min(P_i * t, E_i))`` is all there is for a duration `t`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shoal.domain.errors import InvalidInputError
from shoal.optimise._inputs import column, number, whole_column
from shoal.optimise.storage import Storage

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

# Differences below this share of a sum are not worth a reason.
_VISIBLE_FRAC = 1e-6
# Powers that differ by less are the same corner.
_ROUNDING_FRAC = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupLimits:
    """Limits of feeders and other groups on what the batteries behind them may do together.

    Attributes:
        leaf: Row of the group that each battery hangs from, -1 for none, shape (N,).
        parent: Row of the group around each group, -1 for none, shape (G,); it comes before the group.
        charge_limit_kw: Most that the batteries behind each group may charge, shape (G,): what the load leaves at worst.
        discharge_limit_kw: Most that they may discharge, shape (G,).
    """

    leaf: Whole
    parent: Whole
    charge_limit_kw: Floats
    discharge_limit_kw: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FleetBattery:
    """Many batteries as one.

    Attributes:
        storage: The one battery; any schedule within it can be split. Where efficiencies differ it has the lowest that any
            way of splitting comes to: what is stored is never less than planned, and room may be less by the difference.
        overstated_kw: Discharging power that the sum of ratings would promise beyond it.
        overstated_charge_kw: Charging power that it would.
        overstated_kwh: Energy between empty and full that it would.
        reasons: Why, in words; empty when the sums can be split as they are.
        share_below: Share of each battery in the whole's stored energy below today's level, shape (N,).
        share_above: Share of each above it, shape (N,).
        stored_kwh: Energy of each within its window today, shape (N,).
        charge_efficiency_frac: Of each battery, shape (N,).
        discharge_efficiency_frac: Of each battery, shape (N,).
        availability_frac: What part of the fleet the one battery is.
        most_share: The most that any split makes each battery's share in what all of them do, at the cells, shape (N,).
    """

    storage: Storage
    overstated_kw: float
    overstated_charge_kw: float
    overstated_kwh: float
    reasons: tuple[str, ...]
    share_below: Floats
    share_above: Floats
    stored_kwh: Floats
    charge_efficiency_frac: Floats
    discharge_efficiency_frac: Floats
    availability_frac: float
    most_share: Floats

    def preferred_kw(self, change_kwh: ArrayLike, target_kw: float, interval_h: float) -> Floats:
        """Return the power of each battery that keeps the fleet able to follow any schedule, shape (N,).

        It is what to prefer in `split_setpoint`; when every battery has followed it so far, it meets the target and
        all limits by itself.

        Args:
            change_kwh: Stored energy of each battery now, less what it had when the fleet was aggregated, shape (N,).
            target_kw: Wanted sum, load-positive.
            interval_h: How long it is held.

        Raises:
            InvalidInputError: The array is malformed or a number not finite.
        """
        change = column("change_kwh", change_kwh, length=self.stored_kwh.size)
        number("target_kw", target_kw)
        number("interval_h", interval_h, above=0.0)
        one = self.storage
        level_kwh = float(change.sum())
        if target_kw > 0.0:
            level_kwh += target_kw * interval_h * one.charge_efficiency_frac
        else:
            level_kwh += target_kw * interval_h / one.discharge_efficiency_frac
        wanted_kwh = self.share_below * min(level_kwh, 0.0) + self.share_above * max(level_kwh, 0.0)
        step_kw = (wanted_kwh - change) / interval_h
        return np.where(
            step_kw > 0.0, step_kw / self.charge_efficiency_frac, step_kw * self.discharge_efficiency_frac
        )


def fleet_battery(
    *,
    energy_kwh: Floats,
    energy_capacity_kwh: Floats,
    reserve_frac: Floats,
    charge_limit_kw: Floats,
    discharge_limit_kw: Floats,
    charge_efficiency_frac: Floats,
    discharge_efficiency_frac: Floats,
    availability_frac: float = 1.0,
    energy_margin_frac: float = 0.0,
    throughput_cost_per_mwh: float = 0.0,
    groups: GroupLimits | None = None,
) -> FleetBattery:
    """Return many batteries as the one that promises most among those whose every schedule can be split.

    Power and energy are a trade: a battery with little energy cannot hold its power, one with little power cannot
    release its energy. Of all pairs the one with the largest product is taken. The limits of a group scale down all
    batteries behind it.

    Args:
        energy_kwh: Stored energy of each battery, shape (N,).
        energy_capacity_kwh: Stored energy when full, shape (N,).
        reserve_frac: Share of the capacity that stays in it, shape (N,).
        charge_limit_kw: Highest charging power, shape (N,).
        discharge_limit_kw: Highest discharging power, shape (N,).
        charge_efficiency_frac: Stored of charged energy, shape (N,).
        discharge_efficiency_frac: Released of discharged energy, shape (N,).
        availability_frac: Scales power and energy for those who will be silent.
        energy_margin_frac: Share of the energy that is left unused, half of it at either end.
        throughput_cost_per_mwh: Passed on to the storage.
        groups: Limits of feeders and other groups.

    Raises:
        InvalidInputError: An array is malformed or a number out of its range.
    """
    stored = column("energy_kwh", energy_kwh)
    count = stored.size
    capacity = column("energy_capacity_kwh", energy_capacity_kwh, length=count, low=0.0)
    reserve = column("reserve_frac", reserve_frac, length=count, low=0.0, high=1.0)
    charge = column("charge_limit_kw", charge_limit_kw, length=count, low=0.0)
    discharge = column("discharge_limit_kw", discharge_limit_kw, length=count, low=0.0)
    charge_frac = column("charge_efficiency_frac", charge_efficiency_frac, length=count, above=0.0, high=1.0)
    discharge_frac = column(
        "discharge_efficiency_frac", discharge_efficiency_frac, length=count, above=0.0, high=1.0
    )
    number("availability_frac", availability_frac, low=0.0, high=1.0)
    number("energy_margin_frac", energy_margin_frac, low=0.0, high=1.0)
    usable = capacity * (1.0 - reserve)
    window = usable * (1.0 - energy_margin_frac)
    below = np.clip(stored - reserve * capacity - 0.5 * energy_margin_frac * usable, 0.0, window)
    # what a battery below its reserve takes it does not give back: it is charged apart from this
    lacking = stored < reserve * capacity - _ROUNDING_FRAC * capacity
    above = np.where(lacking, 0.0, window - below)
    # at the cells, where energy is counted, and by share of the whole, so that both directions compare
    cells = (charge * charge_frac, discharge / discharge_frac)
    sums = (float(cells[0].sum()), float(cells[1].sum()))
    part = np.ones(count) if groups is None else _group_parts(groups, charge, discharge)
    power = part * np.minimum(
        cells[0] / sums[0] if sums[0] > 0.0 else 0.0, cells[1] / sums[1] if sums[1] > 0.0 else 0.0
    )
    frac, below_kwh, above_kwh = _best_pair(power, below, above)
    share_below, share_above = _shares(power, frac, below, below_kwh), _shares(power, frac, above, above_kwh)
    # whoever does it, no more is lost than this: what is stored is never less than a plan says
    used = np.where((window > 0.0) & ~lacking, power, 0.0)
    storing, charging = _range(used, frac, 1.0 / charge_frac)
    releasing, _ = _range(used, frac, discharge_frac)
    together_kwh = below_kwh + above_kwh
    storage = Storage(
        charge_limit_kw=availability_frac * frac * sums[0] * (storing if together_kwh > 0.0 else 0.0),
        discharge_limit_kw=availability_frac * frac * sums[1] * (releasing if together_kwh > 0.0 else 0.0),
        charge_efficiency_frac=min(1.0 / charging, 1.0) if charging > 0.0 else 1.0,
        discharge_efficiency_frac=min(releasing, 1.0) if releasing > 0.0 else 1.0,
        energy_capacity_kwh=availability_frac * together_kwh,
        initial_energy_kwh=availability_frac * below_kwh,
        throughput_cost_per_mwh=throughput_cost_per_mwh,
        terminal_value_per_mwh=0.0,
    )
    over = (
        availability_frac * float(discharge.sum()) - storage.discharge_limit_kw,
        availability_frac * float(charge.sum()) - storage.charge_limit_kw,
        availability_frac * float(window.sum()) - storage.energy_capacity_kwh,
    )
    return FleetBattery(
        storage=storage,
        overstated_kw=max(over[0], 0.0),
        overstated_charge_kw=max(over[1], 0.0),
        overstated_kwh=max(over[2], 0.0),
        reasons=_reasons(
            part, window, below, above, lacking, (charge, discharge), (charge_frac, discharge_frac), over
        ),
        share_below=share_below,
        share_above=share_above,
        stored_kwh=below,
        charge_efficiency_frac=charge_frac,
        discharge_efficiency_frac=discharge_frac,
        availability_frac=availability_frac,
        most_share=np.minimum(used / frac, 1.0) if frac > 0.0 else np.zeros(count),
    )


def _group_parts(groups: GroupLimits, charge: Floats, discharge: Floats) -> Floats:
    """Return by how much each battery is scaled down, so that no group's limit is passed when all do their most."""
    count = charge.size
    leaf = whole_column("groups.leaf", groups.leaf, length=count)
    parent = whole_column("groups.parent", groups.parent)
    limits = tuple(
        column(f"groups.{name}", values, length=parent.size, low=0.0)
        for name, values in (
            ("charge_limit_kw", groups.charge_limit_kw),
            ("discharge_limit_kw", groups.discharge_limit_kw),
        )
    )
    if ((leaf < -1) | (leaf >= parent.size)).any():
        row = int(np.argmax((leaf < -1) | (leaf >= parent.size)))
        raise InvalidInputError(
            field=f"groups.leaf[{row}]", value=int(leaf[row]), fix="give -1 or a group's row"
        )
    late = (parent < -1) | (parent >= np.arange(parent.size))
    if late.any():
        row = int(np.argmax(late))
        raise InvalidInputError(
            field=f"groups.parent[{row}]",
            value=int(parent[row]),
            fix="give -1 or the row of a group before it",
        )
    hung = leaf >= 0
    scale = np.ones(parent.size)
    sums = [
        np.bincount(leaf[hung], weights=power[hung], minlength=parent.size) for power in (charge, discharge)
    ]
    for row in range(parent.size - 1, -1, -1):
        fits = [
            limit[row] / total[row] for limit, total in zip(limits, sums, strict=True) if total[row] > 0.0
        ]
        scale[row] = min([1.0, *fits])
        if parent[row] >= 0:
            for total in sums:
                total[parent[row]] += scale[row] * total[row]
    for row in range(parent.size):
        scale[row] *= scale[parent[row]] if parent[row] >= 0 else 1.0
    part = np.ones(count)
    part[hung] = scale[leaf[hung]]
    return part


def _best_pair(power: Floats, below: Floats, above: Floats) -> tuple[float, float, float]:
    """Return the share of all power and the energies below and above with the largest product of power and energy."""
    corners = np.unique(np.concatenate([_corners(power, below), _corners(power, above)]))
    if corners.size == 0:
        return 0.0, 0.0, 0.0
    energy = _energy_at(corners, power, below) + _energy_at(corners, power, above)
    best = int(np.argmax(corners * energy))  # between two corners the product is convex
    frac = corners[best : best + 1]
    return float(frac[0]), float(_energy_at(frac, power, below)[0]), float(_energy_at(frac, power, above)[0])


def _sorted(power: Floats, energy: Floats) -> tuple[Floats, Floats, Floats]:
    """Return how long batteries last, ascending; the energy of each and those before; the power of those after it."""
    useful = (power > 0.0) & (energy > 0.0)
    time = energy[useful] / power[useful]
    order = np.argsort(time, kind="stable")
    power_up = np.cumsum(power[useful][order])
    return time[order], np.cumsum(energy[useful][order]), (power_up[-1:] - power_up).clip(0.0)


def _corners(power: Floats, energy: Floats) -> Floats:
    """Return the powers below which one more battery runs out of energy before the whole does, falling."""
    time, spent, lasting = _sorted(power, energy)
    return lasting + spent / time


def _energy_at(frac: Floats, power: Floats, energy: Floats) -> Floats:
    """Return the most energy that can be released at each power, however it is done."""
    time, spent, lasting = _sorted(power, energy)
    if time.size == 0:
        return np.zeros(frac.size)
    corner = lasting + spent / time
    # the sum of min(power, energy / duration) is `lasting + spent / duration` between two corners
    row = np.searchsorted(-corner, -frac * (1.0 - _ROUNDING_FRAC), side="right") - 1
    duration = spent[row] / np.maximum(frac - lasting[row], np.finfo(np.float64).tiny)
    return np.where(row >= 0, np.minimum(frac * duration, spent[-1]), 0.0)


def _shares(power: Floats, frac: float, energy: Floats, together_kwh: float) -> Floats:
    if together_kwh <= 0.0 or frac <= 0.0:
        return np.zeros(power.size)
    share = np.minimum(power / frac, energy / together_kwh)
    return share / float(share.sum())


def _range(power: Floats, frac: float, value: Floats) -> tuple[float, float]:
    """Return the least and the most that a mean can be by shares that add up to 1, none above `power` / `frac`."""
    if frac <= 0.0:
        return 0.0, 0.0
    order = np.argsort(value, kind="stable")
    found = []
    for rows in (order, order[::-1]):
        most = power[rows] / frac
        share = np.clip(1.0 - (np.cumsum(most) - most), 0.0, most)
        found.append(float((share * value[rows]).sum() / max(float(share.sum()), np.finfo(np.float64).tiny)))
    return found[0], found[1]


def _reasons(
    part: Floats,
    window: Floats,
    below: Floats,
    above: Floats,
    lacking: NDArray[np.bool_],
    ratings: tuple[Floats, Floats],
    efficiencies: tuple[Floats, Floats],
    over: tuple[float, float, float],
) -> tuple[str, ...]:
    """Say why the sums of the ratings cannot be split as they are."""
    said = []
    charge, discharge = ratings
    held_kw = float((discharge * (1.0 - part)).sum())
    if held_kw > _VISIBLE_FRAC * float(discharge.sum()):
        said.append(f"limits of groups leave {held_kw:.6g} kW of discharging power unused")
    usual = (window > 0.0) & ~lacking
    for what, rows, power in (
        ("cannot discharge: they are at their reserve", usual & (below <= 0.0), discharge),
        ("cannot charge: they are full", usual & (above <= 0.0), charge),
        ("have to be charged to their reserve first", lacking & (window > 0.0), discharge),
    ):
        if rows.any():
            said.append(f"batteries of {float(power[rows].sum()):.6g} kW {what}")
    useful = (window > 0.0) & (discharge > 0.0)
    visible = over[0] > _VISIBLE_FRAC * float(discharge.sum()) or over[2] > _VISIBLE_FRAC * float(
        window.sum()
    )
    if useful.any() and visible:
        lasts_h = window[useful] / discharge[useful]
        said.append(
            f"full batteries last from {lasts_h.min():.3g} to {lasts_h.max():.3g} h, and fill levels differ: "
            f"{max(over[0], 0.0):.6g} kW and {max(over[2], 0.0):.6g} kWh of the sums would not be there throughout"
        )
    for name, frac in zip(("charging", "discharging"), efficiencies, strict=True):
        if frac.size and float(np.ptp(frac)) > _VISIBLE_FRAC:
            said.append(
                f"efficiencies of {name} lie between {frac.min():.3g} and {frac.max():.3g}: what is stored drifts from "
                "the plan until it is measured anew"
            )
    return tuple(said)
