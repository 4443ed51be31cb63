"""The passes over many sites: what each may still give to a claim, and what keeps each from giving more."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.kernel import kernel

MS_PER_H: Final = 3_600_000

LIMIT: Final = 0
NOT_ENROLLED: Final = 1
OPTED_OUT: Final = 2
EXCLUSIVE: Final = 3
SILENT: Final = 4
# what is kept: these three follow each other
CYCLE_BUDGET: Final = 5
RESERVE: Final = 6
NO_ENERGY: Final = 7
HOURS: Final = 8
TAKEN: Final = 9
"""By the claim whose number is the code less this."""

Whole = NDArray[np.int64]
Bits = NDArray[np.uint64]


# Helpers take numbers, not arrays: arrays handed on would be counted in and out for every site.
@kernel
def shut_by(
    program_index: int,
    beside: bool,
    enrolled_bits: np.uint64,
    opted_out_bits: np.uint64,
    exclusive_index: int,
    known: bool,
) -> int:
    """Return why a program has nothing to ask of a site, -1 when it may ask."""
    bit = np.uint64(1) << np.uint64(program_index)
    if enrolled_bits & bit == np.uint64(0):
        return NOT_ENROLLED
    if opted_out_bits & bit != np.uint64(0):
        # the highest bit says that it is for the hour
        return OPTED_OUT if opted_out_bits >> np.uint64(63) == np.uint64(0) else HOURS
    if exclusive_index >= 0 and exclusive_index != program_index and not beside:
        return EXCLUSIVE
    return -1 if known else SILENT


@kernel
def barred_by(charging: bool, capacity: bool, against: bool, mover_number: int, filler_number: int) -> int:
    """Return the claim that this would undo, because the site moves the other way for it already; -1 for none."""
    if not charging and filler_number >= 0:
        return filler_number
    if not capacity and against:
        return mover_number
    return -1


@kernel
def within(power_w: int, energy_wh: int, for_ms: int) -> int:
    """Return the most of a power that the energy sustains for so long."""
    # Products are quick; the division, which is not, is only made where the energy binds.
    if power_w * for_ms <= energy_wh * MS_PER_H:
        return power_w
    return energy_wh * MS_PER_H // for_ms


@kernel
def fill_room(
    rows: Whole,
    program_index: int,
    beside: bool,
    charging: bool,
    capacity: bool,
    for_ms: int,
    left_w: Whole,
    left_wh: Whole,
    cycle_wh: Whole,
    enrolled: Bits,
    opted_out: Bits,
    exclusive_index: NDArray[np.int16],
    known: NDArray[np.bool_],
    against: NDArray[np.bool_],
    mover_number: NDArray[np.int16],
    filler_number: NDArray[np.int16],
    room_w: Whole,
) -> None:
    """Fill `room_w` with the most that each of the rows may give to a claim."""
    for place in range(rows.shape[0]):
        row = rows[place]
        room_w[place] = 0
        shut = shut_by(program_index, beside, enrolled[row], opted_out[row], exclusive_index[row], known[row])
        if shut >= 0:
            continue
        barred = barred_by(charging, capacity, against[row], mover_number[row], filler_number[row])
        if barred >= 0:
            continue
        usable_wh = left_wh[row] if charging else min(left_wh[row], cycle_wh[row])
        room_w[place] = within(left_w[row], usable_wh, for_ms)


@kernel
def add_reasons(
    rows: Whole,
    wanted_w: Whole,
    program_index: int,
    beside: bool,
    charging: bool,
    capacity: bool,
    for_ms: int,
    rated_w: Whole,
    able_wh: Whole,
    budget_wh: Whole,
    kept_wh: Whole,
    left_w: Whole,
    left_wh: Whole,
    cycle_wh: Whole,
    taken_w: NDArray[np.int64],
    taken_wh: NDArray[np.int64],
    before_count: int,
    enrolled: Bits,
    opted_out: Bits,
    exclusive_index: NDArray[np.int16],
    known: NDArray[np.bool_],
    against: NDArray[np.bool_],
    mover_number: NDArray[np.int16],
    filler_number: NDArray[np.int16],
    lost_w: Whole,
    sites: Whole,
) -> None:
    """Add to `lost_w` and `sites`, by code, what keeps each row from giving all that is wanted of it.

    Per row the reasons and the room add up to what is wanted: the row's rating when `wanted_w` is empty.
    """
    owners_w = np.zeros(3, dtype=np.int64)
    for place in range(rows.shape[0]):
        row = rows[place]
        wanted = wanted_w[place] if wanted_w.shape[0] > 0 else rated_w[row]
        if wanted == 0:
            continue
        able = min(wanted, rated_w[row])
        if wanted > able:
            lost_w[LIMIT] += wanted - able
            sites[LIMIT] += 1
        if able == 0:
            continue
        shut = shut_by(program_index, beside, enrolled[row], opted_out[row], exclusive_index[row], known[row])
        barred = barred_by(charging, capacity, against[row], mover_number[row], filler_number[row])
        if shut >= 0 or barred >= 0:
            code = shut if shut >= 0 else TAKEN + barred
            lost_w[code] += able
            sites[code] += 1
            continue
        left = min(able, left_w[row])
        # power that is given away; then energy: given away, beyond the budget, in reserve, not there
        gone = able - left
        budget = able_wh[row] if charging else min(able_wh[row], budget_wh[row])
        usable = left_wh[row] if charging else min(left_wh[row], cycle_wh[row])
        whole = able_wh[row] if charging else able_wh[row] + kept_wh[row]
        now_w = within(left, usable, for_ms)
        if gone == 0 and now_w == left:
            continue
        budget_w = within(left, budget, for_ms)
        above_w = within(left, able_wh[row], for_ms)
        all_w = within(left, whole, for_ms)
        spent = budget_w - now_w
        for number in range(before_count):
            # those who go first answer for it first
            if gone == 0 and spent == 0:
                break
            part = min(gone, taken_w[number, row])
            gone -= part
            if spent > 0:
                more = min(spent, -(-taken_wh[number, row] * MS_PER_H // for_ms))
                spent -= more
                part += more
            if part > 0:
                lost_w[TAKEN + number] += part
                sites[TAKEN + number] += 1
        owners_w[0], owners_w[1], owners_w[2] = above_w - budget_w, all_w - above_w, left - all_w
        for code in range(3):
            if owners_w[code] > 0:
                lost_w[CYCLE_BUDGET + code] += owners_w[code]
                sites[CYCLE_BUDGET + code] += 1
