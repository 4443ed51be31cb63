"""Sums up the hierarchies, never without their coverage, age and interval.

A group's sum runs over its fresh sites. What the silent ones may be doing is not guessed but bounded: a battery turns
round within a second, so a silent one is anywhere between its nameplate limits, however young its last value. Every
sum is recomputed in full from whole watts, so it is exact and does not drift; sums of shards add up to the sums of
the fleet.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_S
from shoal.domain.live import Aggregates

FRESH: Final = 0
STALE: Final = 1
UNKNOWN: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSums:
    """Sums of every group (G of them) over some of the sites; add two with `plus`.

    Powers in whole watts and energies in watt-hours, load-positive; `oldest_ns` is the largest age, -1 for none.
    """

    sites: NDArray[np.int64]
    fresh: NDArray[np.int64]
    stale: NDArray[np.int64]
    unknown: NDArray[np.int64]
    capacity_w: NDArray[np.int64]
    fresh_w: NDArray[np.int64]
    battery_w: NDArray[np.int64]
    solar_w: NDArray[np.int64]
    load_w: NDArray[np.int64]
    ev_w: NDArray[np.int64]
    energy_wh: NDArray[np.int64]
    fresh_capacity_wh: NDArray[np.int64]
    charge_headroom_w: NDArray[np.int64]
    discharge_headroom_w: NDArray[np.int64]
    low_w: NDArray[np.int64]
    high_w: NDArray[np.int64]
    oldest_ns: NDArray[np.int64]

    def plus(self, other: GroupSums) -> GroupSums:
        """Return the sums over both sets of sites."""
        summed = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        summed["oldest_ns"] = np.maximum(self.oldest_ns, other.oldest_ns)
        return GroupSums(**summed)


def quality(ts_ns: NDArray[np.int64], *, now_ns: int, fresh_ns: int, unknown_ns: int) -> NDArray[np.int8]:
    """Return `FRESH`, `STALE` or `UNKNOWN` for each device time; 0 means that nothing came yet."""
    age_ns = now_ns - ts_ns
    grade = np.where(age_ns <= fresh_ns, FRESH, np.where(age_ns <= unknown_ns, STALE, UNKNOWN)).astype(
        np.int8
    )
    grade[ts_ns == 0] = UNKNOWN
    return grade


def sum_groups(
    latest: NDArray[Any],
    rows: NDArray[np.int64],
    fleet: Fleet,
    *,
    now_ns: int,
    fresh_ns: int,
    unknown_ns: int,
) -> GroupSums:
    """Return the sums of every group over the sites in `rows`.

    Args:
        latest: Latest record of each of these sites.
        rows: Their rows in the fleet.
        fleet: Nameplates, groups and memberships.
        now_ns: The instant.
        fresh_ns: Age up to which a site counts as fresh.
        unknown_ns: Age beyond which nothing is known of it.
    """
    plate = fleet.nameplate[rows]
    grade = quality(latest["ts_ns"], now_ns=now_ns, fresh_ns=fresh_ns, unknown_ns=unknown_ns)
    is_fresh = grade == FRESH
    is_silent = ~is_fresh
    charge_w = np.rint(plate["charge_limit_kw"] * 1e3).astype(np.int64)
    discharge_w = np.rint(plate["discharge_limit_kw"] * 1e3).astype(np.int64)
    capacity_wh = plate["energy_capacity_kwh"] * 1e3
    capacity_w = np.maximum(charge_w, discharge_w)
    battery_w = latest["battery_w"].astype(np.int64)
    age_ns = np.where(latest["ts_ns"] > 0, np.maximum(now_ns - latest["ts_ns"], 0), -1)
    stored_wh = latest["soc_frac"] * capacity_wh
    usable_wh = np.maximum(stored_wh - plate["reserve_frac"] * capacity_wh, 0.0)
    room_wh = np.maximum(capacity_wh - stored_wh, 0.0)
    columns: dict[str, NDArray[np.int64]] = {
        "sites": np.ones(len(rows), dtype=np.int64),
        "fresh": is_fresh.astype(np.int64),
        "stale": (grade == STALE).astype(np.int64),
        "unknown": (grade == UNKNOWN).astype(np.int64),
        "capacity_w": capacity_w,
        "fresh_w": capacity_w * is_fresh,
        "battery_w": battery_w * is_fresh,
        "solar_w": latest["solar_w"].astype(np.int64) * is_fresh,
        "load_w": latest["load_w"].astype(np.int64) * is_fresh,
        "ev_w": latest["ev_w"].astype(np.int64) * is_fresh,
        "energy_wh": np.rint(stored_wh * is_fresh).astype(np.int64),
        "fresh_capacity_wh": np.rint(capacity_wh * is_fresh).astype(np.int64),
        "charge_headroom_w": np.where(is_fresh & (room_wh > 1.0), np.maximum(charge_w - battery_w, 0), 0),
        "discharge_headroom_w": np.where(
            is_fresh & (usable_wh > 1.0), np.maximum(battery_w + discharge_w, 0), 0
        ),
        "low_w": np.where(is_fresh, battery_w, -discharge_w),
        "high_w": np.where(is_fresh, battery_w, charge_w),
    }
    groups = len(fleet.groups)
    sums = {name: np.zeros(groups, dtype=np.int64) for name in columns}
    oldest = np.full(groups, -1, dtype=np.int64)
    oldest_by_site = np.where(is_silent & (age_ns < 0), now_ns, age_ns)
    for leaves in fleet.leaf_group.values():
        leaf = leaves[rows]
        member = leaf >= 0
        at = leaf[member]
        for name, values in columns.items():
            # float64 holds whole numbers up to 2^53 exactly: 9 PW in watts
            sums[name] += np.bincount(at, weights=values[member], minlength=groups).astype(np.int64)
        np.maximum.at(oldest, at, oldest_by_site[member])
    for number in sorted(range(groups), key=lambda n: -fleet.groups[n].level):
        parent = fleet.parent_number[number]
        if parent >= 0:
            for values in sums.values():
                values[parent] += values[number]
            oldest[parent] = max(oldest[parent], oldest[number])
    return GroupSums(**sums, oldest_ns=oldest)


def to_aggregates(sums: GroupSums, *, t_ns: int) -> Aggregates:
    """Return the sums as the record that goes out, in kW and kWh."""

    def kilo(values: NDArray[np.int64]) -> list[float]:
        return [float(v) for v in values / 1e3]

    grid_w = sums.battery_w + sums.solar_w + sums.load_w + sums.ev_w
    return Aggregates(
        t_ns=t_ns,
        sites=sums.sites.tolist(),
        fresh=sums.fresh.tolist(),
        stale=sums.stale.tolist(),
        unknown=sums.unknown.tolist(),
        capacity_kw=kilo(sums.capacity_w),
        fresh_kw=kilo(sums.fresh_w),
        battery_kw=kilo(sums.battery_w),
        solar_kw=kilo(sums.solar_w),
        load_kw=kilo(sums.load_w),
        ev_kw=kilo(sums.ev_w),
        grid_kw=kilo(grid_w),
        energy_kwh=kilo(sums.energy_wh),
        fresh_capacity_kwh=kilo(sums.fresh_capacity_wh),
        charge_headroom_kw=kilo(sums.charge_headroom_w),
        discharge_headroom_kw=kilo(sums.discharge_headroom_w),
        oldest_age_s=[float(v) / NS_PER_S for v in sums.oldest_ns],
        low_kw=kilo(sums.low_w),
        high_kw=kilo(sums.high_w),
    )
