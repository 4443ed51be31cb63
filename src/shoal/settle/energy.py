"""Energy by interval, from cumulative meter registers.

A register is read at every boundary between intervals, and energy is the difference of two readings; so the
intervals of a site always add up to the difference of its outermost readings, to the last watt-hour, gaps or
not. A register never runs backwards: of readings that contradict each other the fewest possible are set aside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.kernel import kernel

NOT_MEASURED: Final = -1
"""Stands for a reading in a sample that does not have the register."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """One register on L lines of K instants each.

    Attributes:
        register_wh: L x K readings.
        estimated: L x K, whether no sample lay exactly there.
        known: L, whether the site had a reading at all; without one the register is 0, which means unknown.
    """

    register_wh: NDArray[np.int64]
    estimated: NDArray[np.bool_]
    known: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundaryRegisters:
    """Registers of N sites, or on N lines, at B + 1 boundaries.

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
    line_row: NDArray[np.int64] | None = None,
) -> BoundaryRegisters:
    """Return both registers of every site at every boundary, each read by `registers_at`.

    A register that a site does not have at all counts as 0.

    Args:
        site_row: S rows, 0 to `site_count` - 1. Fastest when the samples come sorted by site and time.
        ts_ns: S instants of the samples.
        charge_wh: S readings, `NOT_MEASURED` in samples without one.
        discharge_wh: S readings, likewise.
        boundary_ns: B + 1 instants, ascending; or L x (B + 1), each line's own, which may repeat.
        site_count: N.
        line_row: L rows, the site of each line; every site has one line when None.

    Raises:
        InvalidInputError: when the arrays differ in length, a row is out of range, or boundaries do not
            ascend.
    """
    _check(site_row, ts_ns, charge_wh, discharge_wh, boundary_ns, site_count)
    lines = np.arange(site_count, dtype=np.int64) if line_row is None else line_row
    at_ns = np.broadcast_to(boundary_ns, (len(lines), boundary_ns.shape[-1]))
    charge, discharge = (
        registers_at(
            site_row=site_row,
            ts_ns=ts_ns,
            register_wh=register_wh,
            line_row=lines,
            at_ns=at_ns,
            site_count=site_count,
        )
        for register_wh in (charge_wh, discharge_wh)
    )
    nothing = ~(charge.known | discharge.known)
    estimated = (charge.estimated & charge.known[:, None]) | (discharge.estimated & discharge.known[:, None])
    return BoundaryRegisters(
        charge_wh=charge.register_wh,
        discharge_wh=discharge.register_wh,
        estimated=estimated | nothing[:, None],
        sample_count=np.bincount(site_row, minlength=site_count)[lines],
    )


def registers_at(
    *,
    site_row: NDArray[np.int64],
    ts_ns: NDArray[np.int64],
    register_wh: NDArray[np.int64],
    line_row: NDArray[np.int64],
    at_ns: NDArray[np.int64],
    site_count: int,
) -> Readings:
    """Return one register of the sites of L lines, each at K instants of its own.

    Between two samples a register is interpolated linearly in whole watt-hours, rounded down; before the
    first and after the last sample it is held flat. Of several samples of a site at one instant the last
    given counts. Where readings run backwards, the longest series of them that does not is believed.

    Args:
        site_row: S rows, 0 to `site_count` - 1. Fastest when the samples come sorted by site and time.
        ts_ns: S instants of the samples.
        register_wh: S readings; `NOT_MEASURED` where the sample has none.
        line_row: L rows, the site of each line.
        at_ns: L x K instants.
        site_count: N.
    """
    read = register_wh > NOT_MEASURED
    if not np.all(read):
        site_row, ts_ns, register_wh = site_row[read], ts_ns[read], register_wh[read]
    order = _sorted_order(site_row, ts_ns)
    if order is not None:
        site_row, ts_ns, register_wh = site_row[order], ts_ns[order], register_wh[order]
    if np.any((np.diff(register_wh) < 0) & (np.diff(site_row) == 0)):
        sound = np.ones(len(ts_ns), dtype=np.bool_)
        _set_aside(np.searchsorted(site_row, np.arange(site_count + 1)), register_wh, sound)
        site_row, ts_ns, register_wh = site_row[sound], ts_ns[sound], register_wh[sound]
    edge = np.searchsorted(site_row, np.arange(site_count + 1))
    known = np.diff(edge)[line_row] > 0
    register, estimated = np.zeros(at_ns.shape, dtype=np.int64), np.ones(at_ns.shape, dtype=np.bool_)
    if np.any(known):
        rows, at = line_row[known], at_ns[known]
        first, end = edge[rows], edge[rows + 1]
        after = _first_later(ts_ns, first, end, at)
        before = np.maximum(after - 1, first[:, None])
        after = np.minimum(after, (end - 1)[:, None])
        register[known] = _interpolated(ts_ns, register_wh, before, after, at)
        estimated[known] = ts_ns[before] != at
    return Readings(register_wh=register, estimated=estimated, known=known)


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
    step_ns = np.diff(boundary_ns)
    if boundary_ns.shape[-1] < 2 or np.any(step_ns < 0 if boundary_ns.ndim > 1 else step_ns <= 0):
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
    """Return, for each line and boundary, the position of its site's first sample after it, its end if none.

    One bisection for all pairs at once: a Python call for each site would cost more than the search.
    """
    low = np.repeat(first[:, None], boundary_ns.shape[1], axis=1)
    high = np.repeat(end[:, None], boundary_ns.shape[1], axis=1)
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


@kernel
def _set_aside(edge: NDArray[np.int64], register_wh: NDArray[np.int64], sound: NDArray[np.bool_]) -> None:
    """Mark the readings that do not belong to their site's longest series without a fall; of equal ones the latest."""
    for site in range(edge.shape[0] - 1):
        first, end = edge[site], edge[site + 1]
        falls = False
        for i in range(first + 1, end):
            falls = falls or register_wh[i] < register_wh[i - 1]
        if not falls:
            continue
        # last[k]: where the series of k + 1 readings with the smallest end so far ends
        last = np.empty(end - first, dtype=np.int64)
        previous = np.empty(end - first, dtype=np.int64)
        length = 0
        for i in range(first, end):
            low, high = 0, length
            while low < high:
                middle = (low + high) // 2
                if register_wh[last[middle]] <= register_wh[i]:
                    low = middle + 1
                else:
                    high = middle
            previous[i - first] = last[low - 1] if low > 0 else -1
            last[low] = i
            length = max(length, low + 1)
        sound[first:end] = False
        i = last[length - 1]
        while i >= 0:
            sound[i] = True
            i = previous[i - first]
