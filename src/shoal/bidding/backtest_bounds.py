"""What could have been earned: perfect foresight day by day, from where a strategy stood and valued as it values.

Perfect foresight over a whole span (`shoal.bidding.backtest.perfect_foresight`) also knows next week. Of an auction for
one day it is fairer to ask what the best bids for that day would have come to. Two ways are usual, and both are here:

from the strategy's state   each delivery day alone, from what the strategy had in store when it began; energy left at its end
                            counts for both at what the strategy's own plan said that a MWh more is worth there
from empty                  each delivery day alone, from an empty storage, and what is left at its end is worth nothing: the
                            measure of `shoal forecast score` and of studies of forecasts by what they earn

A day's gain is what it earns, net of wear, and what it adds to the store. Planning on prices of the past and comparing with
perfect foresight is the back-casting of Sioshansi, Denholm, Jenkin and Weiss, Energy Economics 31 (2009) 269-277.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.optimise.storage import Storage, plan_storage

KWH_PER_MWH: Final = 1e3
_NODE_LIMIT: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DailyForesight:
    """D delivery days, in currency.

    Attributes:
        gain: D gains of the strategy: earned, and added to the store.
        best_gain: D gains of the best bids of the day alone, from the strategy's state.
        from_empty: D earnings of the best bids of the day alone, from empty to worthless.
    """

    gain: NDArray[np.float64]
    best_gain: NDArray[np.float64]
    from_empty: NDArray[np.float64]

    @property
    def share(self) -> float | None:
        """What the strategy gained of the best, both from its own states; None when there was nothing to gain."""
        best = float(self.best_gain.sum())
        return float(self.gain.sum()) / best if best > 0 else None


def daily_foresight(
    storage: Storage,
    *,
    days: tuple[date, ...],
    first_index: NDArray[np.int64],
    price_per_mwh: NDArray[np.float64],
    interval_h: float,
    earned: NDArray[np.float64],
    energy_kwh: NDArray[np.float64],
    end_value_per_mwh: Mapping[date, float],
) -> DailyForesight:
    """Return what each day could have earned alone.

    Args:
        storage: The storage.
        days: D delivery days.
        first_index: D + 1 positions: where each day begins, and the end.
        price_per_mwh: N prices.
        interval_h: The length of an interval.
        earned: D amounts of the strategy, net of wear.
        energy_kwh: N + 1 stored energies of the strategy.
        end_value_per_mwh: What a MWh more is worth at the end of a day, by the strategy's own plan; 0 where it had none.
    """
    gain, best, empty = (np.zeros(len(days)) for _ in range(3))
    for at, day in enumerate(days):
        low, high = int(first_index[at]), int(first_index[at + 1])
        begin_kwh, end_kwh = float(energy_kwh[low]), float(energy_kwh[high])
        worth = end_value_per_mwh.get(day, 0.0)
        worth = worth if np.isfinite(worth) else 0.0
        price = np.ascontiguousarray(price_per_mwh[low:high])
        from_here = replace(storage, initial_energy_kwh=begin_kwh, terminal_value_per_mwh=worth)
        gain[at] = earned[at] + worth * (end_kwh - begin_kwh) / KWH_PER_MWH
        best[at] = (
            plan_storage(from_here, price, interval_h, node_limit=_NODE_LIMIT).value
            - worth * begin_kwh / KWH_PER_MWH
        )
        from_empty = replace(storage, initial_energy_kwh=0.0, terminal_value_per_mwh=0.0)
        empty[at] = plan_storage(from_empty, price, interval_h, node_limit=_NODE_LIMIT).value
    return DailyForesight(gain=gain, best_gain=best, from_empty=empty)
