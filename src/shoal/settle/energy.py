"""Energy by interval, from cumulative meter registers.

A register is read at every boundary between intervals, and energy is the difference of two readings; so the
intervals of a site always add up to the difference of its outermost readings, to the last watt-hour, gaps or
not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundaryRegisters:
    """Registers of N sites at B + 1 boundaries.

    Attributes:
        charge_wh: N x (B + 1), energy into the battery up to the boundary.
        discharge_wh: N x (B + 1), energy out of it.
        estimated: N x (B + 1), whether no sample lay exactly at the boundary.
        sample_count: N, how many samples the site had; with 0 the registers are 0, which means unknown.
    """

    charge_wh: NDArray[np.int64]
    discharge_wh: NDArray[np.int64]
    estimated: NDArray[np.bool_]
    sample_count: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalEnergy:
    """Energy of N sites in B intervals.

    Attributes:
        delivered_wh: N x B net energy, charging positive, discharging negative.
        throughput_wh: N x B, charged plus discharged.
        estimated: N x B, whether a boundary of the interval was estimated.
    """

    delivered_wh: NDArray[np.int64]
    throughput_wh: NDArray[np.int64]
    estimated: NDArray[np.bool_]


def boundary_registers(
    *,
    site_row: NDArray[np.int64],
    ts_ns: NDArray[np.int64],
    charge_wh: NDArray[np.int64],
    discharge_wh: NDArray[np.int64],
    boundary_ns: NDArray[np.int64],
    site_count: int,
) -> BoundaryRegisters:
    """Return both registers of every site at every boundary.

    Between two samples a register is interpolated linearly in whole watt-hours, rounded down; before the
    first and after the last sample it is held flat. Of several samples of a site at one instant the last
    given counts.

    Args:
        site_row: S rows, 0 to `site_count` - 1. Fastest when the samples come sorted by site and time.
        ts_ns: S instants of the samples.
        charge_wh: S readings.
        discharge_wh: S readings.
        boundary_ns: B + 1 instants, ascending.
        site_count: N.

    Raises:
        InvalidInputError: when the arrays differ in length, a row is out of range, or boundaries do not
            ascend.
    """
    _check(site_row, ts_ns, charge_wh, discharge_wh, boundary_ns, site_count)
    order = _sorted_order(site_row, ts_ns)
    if order is not None:
        site_row, ts_ns = site_row[order], ts_ns[order]
        charge_wh, discharge_wh = charge_wh[order], discharge_wh[order]
    edge = np.searchsorted(site_row, np.arange(site_count + 1))
    count = np.diff(edge)
    seen = count > 0
    shape = (site_count, len(boundary_ns))
    charge, discharge = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    estimated = np.ones(shape, dtype=np.bool_)
    if np.any(seen):
        first, end = edge[:-1][seen], edge[1:][seen]
        after = _first_later(ts_ns, first, end, boundary_ns)
        before = np.maximum(after - 1, first[:, None])
        after = np.minimum(after, (end - 1)[:, None])
        charge[seen] = _interpolated(ts_ns, charge_wh, before, after, boundary_ns)
        discharge[seen] = _interpolated(ts_ns, discharge_wh, before, after, boundary_ns)
        estimated[seen] = ts_ns[before] != boundary_ns
    return BoundaryRegisters(
        charge_wh=charge, discharge_wh=discharge, estimated=estimated, sample_count=count
    )


def interval_energy(registers: BoundaryRegisters) -> IntervalEnergy:
    """Return the energy between consecutive boundaries."""
    charged_wh = np.diff(registers.charge_wh, axis=1)
    discharged_wh = np.diff(registers.discharge_wh, axis=1)
    return IntervalEnergy(
        delivered_wh=charged_wh - discharged_wh,
        throughput_wh=charged_wh + discharged_wh,
        estimated=registers.estimated[:, :-1] | registers.estimated[:, 1:],
    )


def _check(
    site_row: NDArray[np.int64],
    ts_ns: NDArray[np.int64],
    charge_wh: NDArray[np.int64],
    discharge_wh: NDArray[np.int64],
    boundary_ns: NDArray[np.int64],
    site_count: int,
) -> None:
    lengths = (len(site_row), len(ts_ns), len(charge_wh), len(discharge_wh))
    if len(set(lengths)) != 1:
        raise InvalidInputError(field="samples", value=lengths, fix="give four arrays of one length")
    if len(site_row) and not (site_row.min() >= 0 and site_row.max() < site_count):
        raise InvalidInputError(
            field="site_row",
            value=(int(site_row.min()), int(site_row.max())),
            fix=f"stay within 0 to {site_count - 1}",
        )
    if len(boundary_ns) < 2 or np.any(np.diff(boundary_ns) <= 0):
        raise InvalidInputError(
            field="boundary_ns", value=len(boundary_ns), fix="give at least two, ascending"
        )


def _sorted_order(site_row: NDArray[np.int64], ts_ns: NDArray[np.int64]) -> NDArray[np.intp] | None:
    """Return the stable order by site and time, None when the samples already have it."""
    step = np.diff(site_row)
    if np.all((step > 0) | ((step == 0) & (np.diff(ts_ns) >= 0))):
        return None
    return np.lexsort((ts_ns, site_row))


def _first_later(
    ts_ns: NDArray[np.int64], first: NDArray[np.int64], end: NDArray[np.int64], boundary_ns: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return, for each site and boundary, the position of the site's first sample after it, its end if none.

    One bisection for all pairs at once: a Python call for each site would cost more than the search.
    """
    low = np.repeat(first[:, None], len(boundary_ns), axis=1)
    high = np.repeat(end[:, None], len(boundary_ns), axis=1)
    for _ in range(int((end - first).max()).bit_length()):
        open_ = low < high
        middle = (low + high) // 2
        later = ts_ns[np.minimum(middle, len(ts_ns) - 1)] > boundary_ns
        high = np.where(open_ & later, middle, high)
        low = np.where(open_ & ~later, middle + 1, low)
    return low


def _interpolated(
    ts_ns: NDArray[np.int64],
    register_wh: NDArray[np.int64],
    before: NDArray[np.int64],
    after: NDArray[np.int64],
    boundary_ns: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return the register at the boundaries between samples `before` and `after`, rounded down, exactly."""
    gap_ns = ts_ns[after] - ts_ns[before]
    # Held flat where there is no neighbour on one side: then `before` and `after` are the same sample.
    into_ns = np.where(gap_ns > 0, boundary_ns - ts_ns[before], 0)
    gap_ns = np.maximum(gap_ns, 1)
    rise_wh = register_wh[after] - register_wh[before]
    # Watt-hours times nanoseconds outgrow int64 after a long gap; those few are done in Python's integers.
    wide = np.abs(rise_wh) > np.iinfo(np.int64).max // np.maximum(into_ns, 1)
    part_wh = np.where(wide, 0, rise_wh) * into_ns // gap_ns
    for at in zip(*np.nonzero(wide), strict=True):
        part_wh[at] = int(rise_wh[at]) * int(into_ns[at]) // int(gap_ns[at])
    return np.asarray(register_wh[before] + part_wh)
