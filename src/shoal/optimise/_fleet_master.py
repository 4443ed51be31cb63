"""The linear programme over what groups of homes were found to do: it mixes their columns and prices the fleet's wishes.

One row says what each feeder draws in each interval, one keeps each commitment, one makes each group's mixture whole. The duals
of the first are the prices that homes on that feeder answer next. Columns are only added, so the last basis stays a start.
"""

from __future__ import annotations

from dataclasses import dataclass

import highspy
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

_PRIMAL = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Duals:
    """Prices of the fleet's wishes, per kWh.

    Attributes:
        commitment_per_kwh: What one kWh drawn beyond the commitment costs, shape (T,).
        import_per_kwh: What a kWh of import limit would save on each feeder, >= 0, shape (F, T).
        export_per_kwh: Likewise of export limit, shape (F, T).
    """

    commitment_per_kwh: Floats
    import_per_kwh: Floats
    export_per_kwh: Floats

    def toward(self, other: Duals, share: float) -> Duals:
        """Return the point that far on the way to other duals."""
        keep = 1.0 - share
        return Duals(
            commitment_per_kwh=keep * self.commitment_per_kwh + share * other.commitment_per_kwh,
            import_per_kwh=keep * self.import_per_kwh + share * other.import_per_kwh,
            export_per_kwh=keep * self.export_per_kwh + share * other.export_per_kwh,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Wishes:
    """What the fleet as a whole pays for: the terms in the master's columns, energies in kWh of an interval."""

    wholesale_per_kwh: Floats
    committed_kwh: Floats
    short_per_kwh: Floats
    over_per_kwh: Floats
    import_kwh: Floats
    export_kwh: Floats
    excess_per_kwh: float


class Master:
    """The programme; `scale` is what a home's share of energy and money is, so that numbers stay near one."""

    def __init__(self, wishes: Wishes, feeder_of: Whole, *, scale: float) -> None:
        self._wishes, self._feeder_of, self._scale = wishes, feeder_of, scale
        self._feeders, self._steps = wishes.import_kwh.shape
        self._groups = feeder_of.size
        self._rows = self._feeders * self._steps
        self._committed = np.flatnonzero((wishes.short_per_kwh > 0.0) | (wishes.over_per_kwh > 0.0))
        self._highs = highspy.Highs()  # type: ignore[no-untyped-call]
        self._highs.setOptionValue("output_flag", False)
        self._highs.setOptionValue("simplex_strategy", _PRIMAL)
        self._highs.setOptionValue("presolve", "off")
        self._fixed_columns = self._build()
        self.columns = 0
        self._owner: list[Whole] = []
        self._round: list[Whole] = []

    def _build(self) -> int:
        highs, wishes, scale, inf = self._highs, self._wishes, self._scale, highspy.kHighsInf
        rows, commitments = self._rows, self._committed.size
        none = np.empty(0, np.int32)
        lower = np.concatenate(
            (np.zeros(rows), wishes.committed_kwh[self._committed] / scale, np.ones(self._groups))
        )
        highs.addRows(lower.size, lower, lower, 0, np.zeros(lower.size, np.int32), none, np.empty(0))
        commitment_row = {int(t): rows + at for at, t in enumerate(self._committed)}
        for feeder in range(self._feeders):
            for t in range(self._steps):
                here, there = feeder * self._steps + t, commitment_row.get(t, -1)
                entries = ([here, there], [-1.0, 1.0]) if there >= 0 else ([here], [-1.0])
                least, most = -wishes.export_kwh[feeder, t] / scale, wishes.import_kwh[feeder, t] / scale
                price, excess = wishes.wholesale_per_kwh[t], wishes.excess_per_kwh
                for low, high, cost in (
                    (max(least, -inf), min(most, inf), price),
                    (0.0, inf, price + excess),
                    (-inf, 0.0, price - excess),
                ):
                    highs.addCol(cost, low, high, len(entries[0]), *entries)
        for at, step in enumerate(self._committed):
            highs.addCol(wishes.short_per_kwh[step], 0.0, inf, 1, [rows + at], [-1.0])
            highs.addCol(wishes.over_per_kwh[step], 0.0, inf, 1, [rows + at], [1.0])
        return int(3 * rows + 2 * commitments)

    def set_box(self, center: Duals, radius_per_kwh: float) -> None:
        """Keep the prices of the wishes that near to these; infinite, the wishes' own costs hold."""
        wishes, excess = self._wishes, self._wishes.excess_per_kwh
        local = center.import_per_kwh - center.export_per_kwh
        high = np.minimum(excess, local + radius_per_kwh).ravel()
        low = np.maximum(-excess, local - radius_per_kwh).ravel()
        # Without a limit there is no price of it.
        high = np.where(np.isfinite(wishes.import_kwh).ravel(), high, np.minimum(high, 0.0))
        low = np.where(np.isfinite(wishes.export_kwh).ravel(), low, np.maximum(low, 0.0))
        price = np.tile(wishes.wholesale_per_kwh, self._feeders)
        cost = np.column_stack((price, price + high, price + low)).ravel()
        at = self._committed
        commitment = center.commitment_per_kwh[at]
        short = np.minimum(wishes.short_per_kwh[at], commitment + radius_per_kwh)
        over = np.minimum(wishes.over_per_kwh[at], radius_per_kwh - commitment)
        cost = np.concatenate((cost, np.column_stack((short, over)).ravel()))
        self._highs.changeColsCost(cost.size, np.arange(cost.size, dtype=np.int32), cost)

    def add(self, number: int, energy_kwh: Floats, cost: Floats) -> None:
        """Add what every group does, shape (G, T), and its own cost, as the columns of a round."""
        groups, steps, scale = self._groups, self._steps, self._scale
        entries = steps + 1
        index, value = np.empty((groups, entries), np.int32), np.empty((groups, entries))
        index[:, :steps] = self._feeder_of[:, np.newaxis] * steps + np.arange(steps)
        index[:, steps] = self._rows + self._committed.size + np.arange(groups)
        value[:, :steps], value[:, steps] = energy_kwh / scale, 1.0
        self._highs.addCols(
            groups,
            cost / scale,
            np.zeros(groups),
            np.full(groups, highspy.kHighsInf),
            groups * entries,
            (np.arange(groups) * entries).astype(np.int32),
            index.ravel(),
            value.ravel(),
        )
        self.columns += groups
        self._owner.append(np.arange(groups))
        self._round.append(np.full(groups, number))

    def set_offset(self, feeder_kwh: Floats) -> None:
        """Say what each feeder draws beyond what the columns say, shape (F, T)."""
        away = -(feeder_kwh / self._scale).ravel()
        self._highs.changeRowsBounds(  # type: ignore[attr-defined]  # the stubs lack it
            self._rows, np.arange(self._rows, dtype=np.int32), away, away
        )

    def solve(self) -> tuple[float, Duals]:
        """Return the cost of the best mixture and the prices at it."""
        self._highs.run()
        if self._highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            self._highs.clearSolver()
            self._highs.run()
        assert self._highs.getModelStatus() == highspy.HighsModelStatus.kOptimal
        dual = np.array(self._highs.getSolution().row_dual)
        wishes, rows = self._wishes, self._rows
        commitment = np.zeros(self._steps)
        commitment[self._committed] = -dual[rows : rows + self._committed.size]
        commitment = np.clip(commitment, -wishes.over_per_kwh, wishes.short_per_kwh)
        # The price that homes see is minus the dual of what their feeder draws.
        feeder = -dual[:rows].reshape(self._feeders, self._steps) - wishes.wholesale_per_kwh - commitment
        up = np.where(np.isfinite(wishes.import_kwh), np.clip(feeder, 0.0, wishes.excess_per_kwh), 0.0)
        down = np.where(np.isfinite(wishes.export_kwh), np.clip(-feeder, 0.0, wishes.excess_per_kwh), 0.0)
        cost: float = self._highs.getInfo().objective_function_value * self._scale
        return cost, Duals(commitment_per_kwh=commitment, import_per_kwh=up, export_per_kwh=down)

    def weights(self, count: int) -> Floats:
        """Return the share of each round in each group's mixture, shape (G, count)."""
        value = np.array(self._highs.getSolution().col_value)[self._fixed_columns :]
        found = np.zeros((self._groups, count))
        np.add.at(found, (np.concatenate(self._owner), np.concatenate(self._round)), np.maximum(value, 0.0))
        found[found < 1e-9] = 0.0
        total = found.sum(axis=1, keepdims=True)
        return found / np.where(total > 0.0, total, 1.0)
