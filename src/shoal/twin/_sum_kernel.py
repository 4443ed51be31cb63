"""The compiled part of `sum_twins`: one pass over the sites, each added to its cell.

All of it lives in one file because the compiled code is kept on disk for as long as this file stays the same; that is
also why numbers of other modules are repeated here (a test compares them).
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoal.domain.kernel import kernel

# Positions in `shoal.twin.aggregate.COLUMNS`; of the last seven, each is the first of four signals.
SITES: Final = 0
COUNTS: Final = 1
SILENT: Final = 5
CAPACITY: Final = 6
CHARGE: Final = 7
DISCHARGE: Final = 8
ENERGY: Final = 9
FRESH_CAPACITY: Final = 10
POWER: Final = 11
SCALE: Final = 15
A: Final = 19
B: Final = 23
V: Final = 27
C: Final = 31
SILENT_SCALE: Final = 35

# Grades of a signal, from good to bad, in the order of the counts above.
FRESH: Final = 0
SUSPECT: Final = 1
STALE: Final = 2
UNKNOWN: Final = 3

NS_PER_MS: Final = 1_000_000
# Of `shoal.twin.row`, repeated because compiled code keeps what it was compiled with.
BEHIND_NS: Final = 4_000_000_000
NEVER: Final = 255
IN_PARTS: Final = 1 << 14
SUSPECT_SHIFT: Final = 8
SOC: Final = 16
AGE_SHIFT: Final = 33

Int: TypeAlias = int | np.integer[Any]
"""A whole number within a kernel."""


@kernel
def sum_sites(
    twins: NDArray[Any],
    cell_of: NDArray[np.integer[Any]],
    plate_of: NDArray[np.integer[Any]],
    plates: NDArray[Any],
    scale_rows: NDArray[np.int64],
    fresh_ns: NDArray[np.int64],
    unknown_ns: NDArray[np.int64],
    now_ns: int,
    edges_ns: NDArray[np.int64],
    first_bins: NDArray[np.int64],
    rate_rows: NDArray[np.float64],
    cells: NDArray[np.int64],
    oldest_ns: NDArray[np.int64],
    squares: NDArray[np.int64],
) -> None:
    least_fresh_ns = fresh_ns.min()
    # in variables of their own: a sum in memory would have to wait for itself at every site
    square_0 = square_1 = square_2 = square_3 = np.int64(0)
    scale_0 = scale_1 = scale_2 = scale_3 = np.int64(0)
    for i in range(twins.shape[0]):
        twin = twins[i]
        cell = cell_of[i]
        plate = plates[plate_of[i]]
        scale = scale_rows[plate_of[i]]
        sums = cells[cell]
        heard_ns = (np.int64(twin.ms_high) << 32 | np.int64(twin.ms_low)) * NS_PER_MS
        present = np.int64(twin.present)
        suspects = np.int64(twin.flags) >> SUSPECT_SHIFT & 15
        # one that was never heard is as old as time itself
        age_ns = max(now_ns - heard_ns, np.int64(0))
        oldest_ns[cell] = max(oldest_ns[cell], age_ns)
        sums[SITES] += 1
        sums[CAPACITY] += scale[0]
        if heard_ns != 0 and age_ns <= least_fresh_ns and suspects == 0 and present & IN_PARTS == 0:
            fresh: Int = present & 15
            grade: Int = FRESH
        else:
            fresh, grade = _fresh_signals(twin, heard_ns, age_ns, present, suspects, fresh_ns, unknown_ns)
        sums[COUNTS + grade] += 1
        silent = scale[4] & ~fresh
        if silent:
            sums[SILENT] += 1
            _add_silent(
                twin, age_ns, present & ~suspects, silent, scale, edges_ns, first_bins, rate_rows, sums
            )
        # what a device does not measure is 0 in its twin
        battery_w = np.int64(twin.battery_w)
        if fresh & 1:
            sums[POWER] += battery_w
            sums[SCALE] += scale[0]
            square_0 += battery_w * battery_w >> 6
            scale_0 += scale[0] * scale[0] >> 6
            if present & SOC:
                stored_wh = (np.int64(twin.soc) - 100) * plate.capacity_wh // 60_000
                sums[ENERGY] += stored_wh
                sums[FRESH_CAPACITY] += plate.capacity_wh
                if plate.capacity_wh - stored_wh > 1:
                    sums[CHARGE] += max(plate.charge_w - battery_w, 0)
                if stored_wh - plate.reserve_wh > 1:
                    sums[DISCHARGE] += max(battery_w + plate.discharge_w, 0)
        if fresh & 2:
            value_w = np.int64(twin.solar_w)
            sums[POWER + 1] += value_w
            sums[SCALE + 1] += scale[1]
            square_1 += value_w * value_w >> 6
            scale_1 += scale[1] * scale[1] >> 6
        if fresh & 4:
            value_w = np.int64(twin.load_w)
            sums[POWER + 2] += value_w
            sums[SCALE + 2] += scale[2]
            square_2 += (value_w * value_w >> 6) * scale[2]
            scale_2 += scale[2]
        if fresh & 8:
            value_w = np.int64(twin.ev_w)
            sums[POWER + 3] += value_w
            sums[SCALE + 3] += scale[3]
            square_3 += value_w * value_w >> 6
            scale_3 += scale[3] * scale[3] >> 6
    squares[0], squares[1], squares[2], squares[3] = square_0, square_1, square_2, square_3
    squares[4], squares[5], squares[6], squares[7] = scale_0, scale_1, scale_2, scale_3


@kernel
def _fresh_signals(
    twin: Any,
    heard_ns: Int,
    age_ns: Int,
    present: Int,
    suspects: Int,
    fresh_ns: NDArray[np.int64],
    unknown_ns: NDArray[np.int64],
) -> tuple[Int, Int]:
    """Return which signals are fresh and the grade of the site: that of the worst signal that it measures."""
    if heard_ns == 0:
        return 0, UNKNOWN
    fresh: Int = 0
    grade: Int = FRESH if present & 15 else _grade(age_ns, 0, fresh_ns[0], unknown_ns[0])
    for signal in range(4):
        if present >> signal & 1:
            behind = _behind(twin, signal)
            signal_ns = age_ns + behind * BEHIND_NS
            this = _grade(signal_ns, suspects >> signal & 1, fresh_ns[signal], unknown_ns[signal])
            if behind == NEVER:
                this = UNKNOWN
            if this == FRESH:
                fresh |= 1 << signal
            grade = max(grade, this)
    return fresh, grade


@kernel
def _add_silent(
    twin: Any,
    age_ns: Int,
    usable: Int,
    silent: Int,
    scale: NDArray[np.int64],
    edges_ns: NDArray[np.int64],
    first_bins: NDArray[np.int64],
    rate_rows: NDArray[np.float64],
    sums: NDArray[np.int64],
) -> None:
    """Add what is made of the silent signals to a cell; `shoal.twin.silence` says why."""
    for signal in range(4):
        if silent >> signal & 1 == 0:
            continue
        c = scale[signal]
        at: Int = edges_ns.shape[0]
        value_w: Int = 0
        if usable >> signal & 1:
            value_w = _value_w(twin, signal)
            signal_ns = age_ns + _behind(twin, signal) * BEHIND_NS
            at = first_bins[min(signal_ns >> AGE_SHIFT, first_bins.shape[0] - 1)]
            while at < edges_ns.shape[0] and edges_ns[at] <= signal_ns:
                at += 1
        rate = rate_rows[signal, at]
        sums[A + signal] += np.int64(np.rint((rate[0] * value_w + c * rate[1]) * 1_024.0))
        sums[B + signal] += np.int64(np.rint(c * rate[2] * 1_024.0))
        spread_w = c * rate[3]
        sums[V + signal] += np.int64(np.rint(spread_w * spread_w * (1.0 / 64.0)))
        sums[C + signal] += np.int64(np.rint(c * rate[4] * 1_024.0))
        sums[SILENT_SCALE + signal] += c


@kernel
def _behind(twin: Any, signal: Int) -> Int:
    if signal == 0:
        return np.int64(twin.battery_behind)
    if signal == 1:
        return np.int64(twin.solar_behind)
    return np.int64(twin.load_behind if signal == 2 else twin.ev_behind)


@kernel
def _value_w(twin: Any, signal: Int) -> Int:
    if signal == 0:
        return np.int64(twin.battery_w)
    if signal == 1:
        return np.int64(twin.solar_w)
    return np.int64(twin.load_w if signal == 2 else twin.ev_w)


@kernel
def _grade(age_ns: Int, is_suspect: Int, fresh_ns: Int, unknown_ns: Int) -> Int:
    if age_ns > unknown_ns:
        return UNKNOWN
    if age_ns > fresh_ns:
        return STALE
    return SUSPECT if is_suspect else FRESH
