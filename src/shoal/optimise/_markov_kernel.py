"""Compiled kernels of the Markov programme: backward induction on stored energy, and the offer of one interval.

The value of stored energy is held on a grid of energies for each state. Given the price of an interval, the best move is
two levels: charge up to one, discharge down to the other, as far as one interval reaches. Energies are kWh stored, values
currency; a move releases energy (negative: charges).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shoal.domain.kernel import kernel

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@kernel
def value_at(values: Floats, energy_cells: float) -> float:
    """Return a value between the points of the grid; `energy_cells` is the energy in widths of a cell."""
    last = values.shape[0] - 1
    cell = min(max(int(energy_cells), 0), last - 1)
    part = energy_cells - cell
    return float(values[cell] * (1.0 - part) + values[cell + 1] * part)


@kernel
def _first_at_most(kept: Floats, begin: int, slope: float) -> int:
    """Return the first point from `begin` on after which value rises by at most `slope` a cell."""
    low, high = begin, kept.shape[0] - 1
    while low < high:
        middle = (low + high) // 2
        if kept[middle + 1] - kept[middle] > slope:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def add_best(
    kept: Floats,
    charge_amount: float,
    discharge_amount: float,
    up_cells: float,
    down_cells: float,
    share: float,
    total: Floats,
) -> None:
    """Add `share` of the value before the best move to `total`; `kept` is the value after it, concave.

    `charge_amount` and `discharge_amount` are what a cell's width of energy costs to store and gains when released.
    """
    last = kept.shape[0] - 1
    low = _first_at_most(kept, 0, charge_amount)
    high = _first_at_most(kept, low, discharge_amount)
    up, down = int(up_cells), int(down_cells)
    up_part, down_part = up_cells - up, down_cells - down
    full = min(max(int(np.floor(low - up_cells)) + 1, 0), low)
    for m in range(full):
        to = kept[m + up]
        if up_part > 0.0:
            to = to * (1.0 - up_part) + kept[m + up + 1] * up_part
        total[m] += share * (to - charge_amount * up_cells)
    for m in range(full, low):
        total[m] += share * (kept[low] - charge_amount * (low - m))
    for m in range(low, high + 1):
        total[m] += share * kept[m]
    full = max(min(int(np.ceil(high + down_cells)), last + 1), high + 1)
    for m in range(high + 1, full):
        total[m] += share * (kept[high] + discharge_amount * (m - high))
    for m in range(full, last + 1):
        to = kept[m - down]
        if down_part > 0.0:
            to = to * (1.0 - down_part) + kept[m - down - 1] * down_part
        total[m] += share * (to + discharge_amount * down_cells)


@kernel
def induct(
    charge: Floats,
    discharge: Floats,
    chance: Floats,
    next_state: Counts,
    next_chance: Floats,
    slot: Counts,
    up_cells: float,
    down_cells: float,
    terminal: Floats,
    value: Floats,
) -> None:
    """Fill the value of energy before each of the first K intervals, when its price is not known yet.

    Args:
        charge: S x Z x O, what storing a cell's width costs in each slot, state and outcome.
        discharge: S x Z x O, what releasing a cell's width gains; very low where it is not allowed.
        chance: S x Z x O chances of the outcomes.
        next_state: Z x O x C states that may follow.
        next_chance: Z x O x C chances of these.
        slot: T slots, of each interval.
        up_cells: How many cells one interval can charge.
        down_cells: How many cells one interval can discharge.
        terminal: Z x (M + 1), the value after the last interval.
        value: K x Z x (M + 1), filled.
    """
    steps, keep_steps = slot.shape[0], value.shape[0]
    states, outcomes, ways = next_state.shape
    points = terminal.shape[1]
    after, before, kept = terminal.copy(), np.empty((states, points)), np.empty(points)
    for t in range(steps - 1, -1, -1):
        s = slot[t]
        for z in range(states):
            before[z, :] = 0.0
            for o in range(outcomes):
                if chance[s, z, o] <= 0.0:
                    continue
                kept[:] = 0.0
                for c in range(ways):
                    share = next_chance[z, o, c]
                    if share > 0.0:
                        row = after[next_state[z, o, c]]
                        for m in range(points):
                            kept[m] += share * row[m]
                add_best(
                    kept,
                    charge[s, z, o],
                    discharge[s, z, o],
                    up_cells,
                    down_cells,
                    chance[s, z, o],
                    before[z],
                )
        after, before = before, after
        if t < keep_steps:
            value[t] = after


@kernel
def _choose(
    gain: Floats, chance: Floats, sells: NDArray[np.bool_], buys: NDArray[np.bool_], choice: Counts
) -> float:
    """Fill the move of each level of price such that bands can express them; return the gain.

    A higher price never releases less. Where two levels meet, the sale can change only if a band to sell stands there,
    the purchase only if one to buy does; below every band nothing is sold, above every band nothing is bought.

    Args:
        gain: L x Q, what each move is worth at each level; Q is odd, the middle move is none.
        chance: L, how likely each level is.
        sells: L - 1, whether a band to sell stands where a level begins, from the second on.
        buys: L - 1, whether a band to buy stands there.
        choice: L, filled with the numbers of the moves.
    """
    levels, moves = gain.shape
    idle = moves // 2
    best = np.full((levels, moves), -np.inf)
    came = np.zeros((levels, moves), np.int64)
    for q in range(idle + 1):
        best[0, q] = chance[0] * gain[0, q]
    for k in range(1, levels):
        for q in range(moves):
            for p in range(q + 1):
                sold = max(q, idle) > max(p, idle)
                bought = min(p, idle) < min(q, idle)
                if (sold and not sells[k - 1]) or (bought and not buys[k - 1]):
                    continue
                if best[k - 1, p] > best[k, q]:
                    best[k, q], came[k, q] = best[k - 1, p], p
            best[k, q] += chance[k] * gain[k, q]
    q = idle
    for one in range(idle + 1, moves):
        if best[levels - 1, one] > best[levels - 1, q]:
            q = one
    total = best[levels - 1, q]
    for k in range(levels - 1, -1, -1):
        choice[k] = q
        q = came[k, q]
    return float(total)


@kernel
def offer_moves(
    charge: Floats,
    discharge: Floats,
    chance: Floats,
    next_state: Counts,
    next_chance: Floats,
    value: Floats,
    sells: NDArray[np.bool_],
    buys: NDArray[np.bool_],
    cell_kwh: float,
    up_kwh: float,
    down_kwh: float,
    energy_kwh: float,
    release_kwh: Floats,
) -> float:
    """Fill the release of each level that is best in expectation among those that bands can express.

    Moves are full, half or none of what can be stored, and likewise of what can be released.

    Args:
        charge: L, what a stored kWh costs at each level.
        discharge: L, what a released kWh gains.
        chance: L, how likely each level is.
        next_state: L x C states that may follow.
        next_chance: L x C chances of these.
        value: Z x (M + 1), the value of energy in each next state.
        sells: L - 1, whether a band to sell stands where levels meet.
        buys: L - 1, whether a band to buy stands there.
        cell_kwh: Width of a cell.
        up_kwh: How much can be stored.
        down_kwh: How much can be released.
        energy_kwh: What is stored now.
        release_kwh: L, filled.
    """
    levels, ways = next_state.shape
    moves = np.array([-up_kwh, -0.5 * up_kwh, 0.0, 0.5 * down_kwh, down_kwh])
    gain = np.zeros((levels, moves.shape[0]))
    for k in range(levels):
        for q in range(moves.shape[0]):
            x = moves[q]
            if x > 0.0:
                gain[k, q] = discharge[k] * x
            elif x < 0.0:
                gain[k, q] = charge[k] * x
            for c in range(ways):
                if next_chance[k, c] > 0.0:
                    gain[k, q] += next_chance[k, c] * value_at(
                        value[next_state[k, c]], (energy_kwh - x) / cell_kwh
                    )
    choice = np.zeros(levels, np.int64)
    total = _choose(gain, chance, sells, buys, choice)
    for k in range(levels):
        release_kwh[k] = moves[choice[k]]
    return total
