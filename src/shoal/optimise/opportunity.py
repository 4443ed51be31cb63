"""What to move at each price that an interval may come at, when each price changes what is expected to follow.

The idea: energy sold now is not there later, energy bought now is. At each price the worth of what is kept follows from
the best plan on the prices that are then expected (a rolling plan under certainty equivalence, solved anew before every
interval); the move is made against its marginal value.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.optimise._inputs import number
from shoal.optimise._opportunity_kernel import release_at
from shoal.optimise.storage import KWH_PER_MWH, Storage

DEFAULT_CELLS: Final = 24
NEVER_PER_KWH: Final = -1e9
"""What a move that is not allowed is worth."""

Floats = NDArray[np.float64]


def releases(
    storage: Storage,
    interval_h: float,
    *,
    price_per_mwh: Floats,
    buys_count: int,
    expected_per_mwh: Floats,
    block_count: NDArray[np.int64],
    energy_kwh: float,
    cells: int = DEFAULT_CELLS,
) -> Floats:
    """Return the stored energy to release at each price, in kWh, charging negative.

    Args:
        storage: The storage; energy left at the end of the path is worth its terminal value.
        interval_h: Length of the interval, in hours.
        price_per_mwh: L prices: first those to buy at, ascending, then those to sell at, ascending.
        buys_count: How many of them are to buy at.
        expected_per_mwh: L x J prices expected in the blocks after the interval, should it come at each price.
        block_count: J lengths of the blocks, in intervals.
        energy_kwh: Stored energy now.
        cells: How finely stored energy is divided.

    Raises:
        InvalidInputError: A shape does not fit or a number is out of range.
    """
    number("interval_h", interval_h, above=0.0)
    number("cells", cells, low=1)
    number("energy_capacity_kwh", storage.energy_capacity_kwh, above=0.0)
    if expected_per_mwh.shape != (len(price_per_mwh), len(block_count)):
        raise InvalidInputError(
            field="expected_per_mwh", value=expected_per_mwh.shape, fix="give a path for each price"
        )
    capacity_kwh = storage.energy_capacity_kwh
    cell_kwh = capacity_kwh / cells
    up_kwh = storage.charge_limit_kw * interval_h * storage.charge_efficiency_frac
    down_kwh = storage.discharge_limit_kw * interval_h / storage.discharge_efficiency_frac
    charge, discharge = _cell_worth(storage, price_per_mwh, cell_kwh)
    charge_ahead, discharge_ahead = _cell_worth(storage, expected_per_mwh, cell_kwh)
    terminal = np.linspace(0.0, capacity_kwh * storage.terminal_value_per_mwh / KWH_PER_MWH, cells + 1)
    release = np.empty(len(price_per_mwh))
    release_at(
        charge,
        discharge,
        charge_ahead,
        discharge_ahead,
        np.minimum(block_count * up_kwh, capacity_kwh) / cell_kwh,
        np.minimum(block_count * down_kwh, capacity_kwh) / cell_kwh,
        terminal,
        cell_kwh,
        min(up_kwh, max(capacity_kwh - energy_kwh, 0.0)),
        min(down_kwh, max(energy_kwh, 0.0)),
        energy_kwh,
        buys_count,
        release,
    )
    return release


def _cell_worth(storage: Storage, price_per_mwh: Floats, cell_kwh: float) -> tuple[Floats, Floats]:
    """Return what storing a cell's width of energy costs and releasing it gains at each price.

    Where the price is so negative that storing and releasing at once would pay, only storing is left.
    """
    charge = price_per_mwh * (cell_kwh / (KWH_PER_MWH * storage.charge_efficiency_frac))
    gain = cell_kwh * storage.discharge_efficiency_frac / KWH_PER_MWH
    discharge = (price_per_mwh - storage.throughput_cost_per_mwh) * gain
    return charge, np.where(discharge > charge, NEVER_PER_KWH, discharge)
