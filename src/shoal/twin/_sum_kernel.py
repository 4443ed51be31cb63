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


# What a good site adds to its cell, on one line of memory: the sums of four signals, then these.
STORED: Final = 4
UP: Final = 5
DOWN: Final = 6
FLOWS: Final = 8

# Columns of what a cell would have if all of its sites were good: see `at_rest`.
REST_SITES: Final = 0
REST_CAPACITY: Final = 1
REST_SCALE: Final = 2
RESTS: Final = 6

GOOD: Final = 1 | SOC
"""Bits of `present` of a battery that is fully known."""


@kernel
def at_rest(
    cell_of: NDArray[np.integer[Any]],
    plate_of: NDArray[np.integer[Any]],
    plates: NDArray[Any],
    scale_rows: NDArray[np.int64],
    rest_rows: NDArray[np.int64],
) -> None:
    """Add up what does not change while sites are good: how many a cell has, their capacities and scales."""
    for i in range(cell_of.shape[0]):
        sums = rest_rows[cell_of[i]]
        scale = scale_rows[plate_of[i]]
        sums[REST_SITES] += 1
        sums[REST_CAPACITY] += plates[plate_of[i]].capacity_wh
        for signal in range(4):
            sums[REST_SCALE + signal] += scale[signal]


@kernel
def sum_sites(
    twins: NDArray[Any],
    cell_of: NDArray[np.integer[Any]],
    plate_of: NDArray[np.integer[Any]],
    plates: NDArray[Any],
    scale_rows: NDArray[np.int64],
    rest_rows: NDArray[np.int64],
    fresh_ns: NDArray[np.int64],
    unknown_ns: NDArray[np.int64],
    now_ns: int,
    edges_ns: NDArray[np.int64],
    first_bins: NDArray[np.int64],
    rate_rows: NDArray[np.float64],
    flow_rows: NDArray[np.int64],
    cells: NDArray[np.int64],
    oldest_ns: NDArray[np.int64],
    squares: NDArray[np.int64],
) -> None:
    """Sum up the sites: a good one touches one line of its cell; others correct what `rest_rows` take for granted."""
    least_fresh_ns = fresh_ns.min()
    # in variables of their own: a sum in memory would have to wait for itself at every site
    square_0 = square_1 = square_2 = square_3 = np.int64(0)
    for i in range(twins.shape[0]):
        twin = twins[i]
        cell = cell_of[i]
        plate = plates[plate_of[i]]
        scale = scale_rows[plate_of[i]]
        heard_ns = (np.int64(twin.ms_high) << 32 | np.int64(twin.ms_low)) * NS_PER_MS
        present = np.int64(twin.present)
        suspects = np.int64(twin.flags) >> SUSPECT_SHIFT & 15
        # one that was never heard is as old as time itself
        age_ns = max(now_ns - heard_ns, np.int64(0))
        if age_ns > oldest_ns[cell]:
            oldest_ns[cell] = age_ns
        is_whole = scale[4] & ~present == 0 and (plate.capacity_wh == 0 or present & GOOD == GOOD)
        in_parts = present & IN_PARTS
        if heard_ns != 0 and age_ns <= least_fresh_ns and suspects | in_parts == 0 and is_whole:
            # what a device does not measure is 0 in its twin
            flow = flow_rows[cell]
            battery_w = np.int64(twin.battery_w)
            solar_w = np.int64(twin.solar_w)
            load_w = np.int64(twin.load_w)
            ev_w = np.int64(twin.ev_w)
            flow[0] += battery_w
            flow[1] += solar_w
            flow[2] += load_w
            flow[3] += ev_w
            square_0 += battery_w * battery_w >> 6
            square_1 += solar_w * solar_w >> 6
            square_2 += (load_w * load_w >> 6) * scale[2]
            square_3 += ev_w * ev_w >> 6
            if plate.capacity_wh:
                _add_stored(twin, plate, battery_w, flow)
        else:
            sums = cells[cell]
            if heard_ns != 0 and age_ns <= least_fresh_ns and suspects | in_parts == 0:
                fresh: Int = present & 15
                grade: Int = FRESH
            else:
                fresh, grade = _fresh_signals(twin, heard_ns, age_ns, present, suspects, fresh_ns, unknown_ns)
            if grade != FRESH:
                sums[COUNTS + FRESH] -= 1
                sums[COUNTS + grade] += 1
            _add_partly(twin, plate, scale, fresh, present, flow_rows[cell], sums, squares)
            silent = scale[4] & ~fresh
            if silent:
                sums[SILENT] += 1
                usable = present & ~suspects
                _add_silent(twin, age_ns, usable, silent, scale, edges_ns, first_bins, rate_rows, sums)
    squares[0] += square_0
    squares[1] += square_1
    squares[2] += square_2
    squares[3] += square_3
    _put_together(rest_rows, flow_rows, cells)


@kernel
def _add_stored(twin: Any, plate: Any, battery_w: Int, flow: NDArray[np.int64]) -> None:
    stored_wh = (np.int64(twin.soc) - 100) * plate.capacity_wh // 60_000
    flow[STORED] += stored_wh
    if plate.capacity_wh - stored_wh > 1:
        flow[UP] += max(plate.charge_w - battery_w, 0)
    if stored_wh - plate.reserve_wh > 1:
        flow[DOWN] += max(battery_w + plate.discharge_w, 0)


@kernel
def _add_partly(
    twin: Any,
    plate: Any,
    scale: NDArray[np.int64],
    fresh: Int,
    present: Int,
    flow: NDArray[np.int64],
    sums: NDArray[np.int64],
    squares: NDArray[np.int64],
) -> None:
    """Add the signals that are fresh; take back the scales and the capacity of those that are not."""
    for signal in range(4):
        if fresh >> signal & 1:
            value_w = _value_w(twin, signal)
            flow[signal] += value_w
            squares[signal] += (value_w * value_w >> 6) * (scale[2] if signal == 2 else 1)
        else:
            sums[SCALE + signal] -= scale[signal]
            squares[4 + signal] -= scale[2] if signal == 2 else scale[signal] * scale[signal] >> 6
    if fresh & 1 and present & SOC:
        _add_stored(twin, plate, np.int64(twin.battery_w), flow)
    else:
        sums[FRESH_CAPACITY] -= plate.capacity_wh


@kernel
def _put_together(
    rest_rows: NDArray[np.int64], flow_rows: NDArray[np.int64], cells: NDArray[np.int64]
) -> None:
    for cell in range(cells.shape[0]):
        sums, flow, still = cells[cell], flow_rows[cell], rest_rows[cell]
        sums[SITES] += still[REST_SITES]
        sums[COUNTS + FRESH] += still[REST_SITES]
        sums[CAPACITY] += still[REST_SCALE]
        sums[FRESH_CAPACITY] += still[REST_CAPACITY]
        sums[CHARGE] += flow[UP]
        sums[DISCHARGE] += flow[DOWN]
        sums[ENERGY] += flow[STORED]
        for signal in range(4):
            sums[POWER + signal] += flow[signal]
            sums[SCALE + signal] += still[REST_SCALE + signal]


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
