"""Compiled kernels of opportunity cost: what to move at each price that an interval may come at.

Each price brings a path of expected prices with it; backward induction along the path says what energy kept is worth,
and the move is made against that.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shoal.domain.kernel import kernel
from shoal.optimise._markov_kernel import add_best

Floats = NDArray[np.float64]


@kernel
def value_along(
    charge: Floats,
    discharge: Floats,
    up_cells: Floats,
    down_cells: Floats,
    value: Floats,
    spare: Floats,
) -> None:
    """Turn the value of energy after the last block into that before the first, in place.

    Args:
        charge: J, what storing a cell's width of energy costs in each block.
        discharge: J, what releasing it gains.
        up_cells: J, how many cells a block can charge.
        down_cells: J, how many it can discharge.
        value: M + 1 values.
        spare: M + 1, room to work in.
    """
    for j in range(charge.shape[0] - 1, -1, -1):
        spare[:] = 0.0
        add_best(value, charge[j], discharge[j], up_cells[j], down_cells[j], 1.0, spare)
        value[:] = spare


@kernel
def _best_release(
    value: Floats,
    charge: float,
    discharge: float,
    cell_kwh: float,
    most_in_kwh: float,
    most_out_kwh: float,
    energy_kwh: float,
) -> float:
    """Return the energy to release (negative: to store) against concave values of what is kept."""
    low = 0
    last = value.shape[0] - 1
    while low < last and value[low + 1] - value[low] > charge:
        low += 1
    high = low
    while high < last and value[high + 1] - value[high] > discharge:
        high += 1
    if energy_kwh < low * cell_kwh:
        return -min(low * cell_kwh - energy_kwh, most_in_kwh)
    if energy_kwh > high * cell_kwh:
        return min(energy_kwh - high * cell_kwh, most_out_kwh)
    return 0.0


@kernel
def release_at(
    charge: Floats,
    discharge: Floats,
    charge_ahead: Floats,
    discharge_ahead: Floats,
    up_cells: Floats,
    down_cells: Floats,
    terminal: Floats,
    cell_kwh: float,
    most_in_kwh: float,
    most_out_kwh: float,
    energy_kwh: float,
    buys_count: int,
    release: Floats,
) -> None:
    """Fill the release at each of L prices: the first `buys_count` to buy at, ascending, the others to sell at.

    Prices to buy at are gone through from the highest, those to sell at from the lowest; once a move is as large as it
    can be, so are those beyond it. No move is ever smaller than one at a less favourable price.
    """
    count = charge.shape[0]
    value, spare = np.empty(terminal.shape[0]), np.empty(terminal.shape[0])
    release[:] = 0.0
    reached = 0.0
    for i in range(buys_count - 1, -1, -1):
        if reached < most_in_kwh:
            value[:] = terminal
            value_along(charge_ahead[i], discharge_ahead[i], up_cells, down_cells, value, spare)
            moved = _best_release(
                value, charge[i], discharge[i], cell_kwh, most_in_kwh, most_out_kwh, energy_kwh
            )
            reached = max(reached, -moved)
        release[i] = -reached
    reached = 0.0
    for i in range(buys_count, count):
        if reached < most_out_kwh:
            value[:] = terminal
            value_along(charge_ahead[i], discharge_ahead[i], up_cells, down_cells, value, spare)
            moved = _best_release(
                value, charge[i], discharge[i], cell_kwh, most_in_kwh, most_out_kwh, energy_kwh
            )
            reached = max(reached, moved)
        release[i] = reached
