"""The linear programme that mixes pieces of storage plans until all throughput budgets are kept (Dantzig and Wolfe).

Plans are cut where a budget's stretch begins or ends. Mixtures of pieces that meet in their stored energy are plans again,
and the prices of the budgets in the programme ask for the next plan.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import highspy
import numpy as np
from numpy.typing import NDArray

from shoal.optimise._storage_search import standing_value

if TYPE_CHECKING:
    from shoal.optimise._storage_budget import BudgetProblem

Floats = NDArray[np.float64]
Holds = NDArray[np.int8]

# The gap at which a search ends, as a share of the money that could move.
GAP_FRAC = 1e-12
MOST_ROUNDS = 400


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidate:
    """A plan that is optimal for some prices: `value` in currency without them, `spent_kwh` of each budget."""

    energy_kwh: Floats
    charged_kwh: Floats
    released_kwh: Floats
    value: float
    spent_kwh: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Relaxed:
    """The optimum of a relaxation: a mixture of candidates, what bounds it, and the prices of the budgets."""

    energy_kwh: Floats
    charged_kwh: Floats
    released_kwh: Floats
    value: float
    value_bound: float
    price_per_kwh: Floats


class Mixer:
    """The linear programme that mixes pieces of candidates; columns are added until its value meets the bound."""

    def __init__(self, problem: BudgetProblem, candidates: list[Candidate], *, money: bool) -> None:
        self.problem = problem
        self.candidates: list[Candidate] = []
        self._money = money
        cuts = {0, problem.steps, *(cut for stretch in problem.stretches for cut in stretch)}
        edges = sorted(cuts)
        self._blocks = list(itertools.pairwise(edges))
        self._in_block = [
            [w for w, (first, last) in enumerate(problem.stretches) if first <= start and end <= last]
            for start, end in self._blocks
        ]
        # Currency and energies of about one keep the tolerances of the linear programme meaningful.
        self._energy_unit_kwh = max(float(problem.end_kwh[-1]), 1e-12)
        self._budget_unit_kwh = np.maximum(problem.budget_kwh, 1e-6 * self._energy_unit_kwh)
        self._money_unit = max(problem.at_stake, 1e-12) if money else self._energy_unit_kwh
        self._bound = np.inf
        self._price_per_kwh = np.zeros(problem.budget_kwh.size)
        self._columns: list[tuple[int, int]] = []
        self._highs = self._empty_programme()
        for candidate in candidates:
            self._add(candidate)

    def _empty_programme(self) -> highspy.Highs:
        highs = highspy.Highs()  # type: ignore[no-untyped-call]
        for option, value in (
            ("output_flag", False),
            ("primal_feasibility_tolerance", 1e-10),
            ("dual_feasibility_tolerance", 1e-10),
            ("presolve", "off"),
            ("solver", "simplex"),
            ("threads", 1),
        ):
            highs.setOptionValue(option, value)
        none_rows, none = np.empty(0, np.int32), np.empty(0)
        for _ in self._blocks:
            highs.addRow(1.0, 1.0, 0, none_rows, none)
        for _ in self._blocks[1:]:
            highs.addRow(0.0, 0.0, 0, none_rows, none)
        first_budget = 2 * len(self._blocks) - 1
        for row, (budget, unit) in enumerate(
            zip(self.problem.budget_kwh, self._budget_unit_kwh, strict=True)
        ):
            highs.addRow(-highspy.kHighsInf, float(budget / unit), 0, none_rows, none)
            most = 0.0 if self._money else highspy.kHighsInf
            entry = np.array([-self._energy_unit_kwh / unit])
            highs.addCol(1.0, 0.0, most, 1, np.array([first_budget + row], np.int32), entry)
        return highs

    def _add(self, candidate: Candidate) -> None:
        problem, count = self.problem, len(self._blocks)
        charge, discharge = problem.prepared[:2, :-1]
        number = len(self.candidates)
        self.candidates.append(candidate)
        # Differences of the standing value up to the end of each block: what its pieces are worth by themselves.
        for block, (start, end) in enumerate(self._blocks):
            energy = candidate.energy_kwh
            released, charged = candidate.released_kwh[start:end], candidate.charged_kwh[start:end]
            worth = float(released @ discharge[start:end] - charged @ charge[start:end])
            worth += self._standing(energy, start, end)
            spent_kwh = float(released @ problem.delivered_frac[start:end])
            entries: dict[int, float] = {block: 1.0}
            if block:
                entries[count + block - 1] = -float(energy[start]) / self._energy_unit_kwh
            if block < count - 1:
                entries[count + block] = float(energy[end]) / self._energy_unit_kwh
            for budget in self._in_block[block]:
                entries[2 * count - 1 + budget] = spent_kwh / float(self._budget_unit_kwh[budget])
            cost = -worth / self._money_unit if self._money else 0.0
            self._highs.addCol(
                cost,
                0.0,
                highspy.kHighsInf,
                len(entries),
                np.array(list(entries), np.int32),
                np.array(list(entries.values())),
            )
            self._columns.append((block, number))

    def _standing(self, energy: Floats, start: int, end: int) -> float:
        problem = self.problem
        value = 0.0
        if problem.ramp_kwh.size:
            inside = slice(start + 1, end + 1)
            missing = np.maximum(problem.ramp_kwh[:, inside] - energy[inside], 0.0)
            value = -float((missing * problem.ramp_per_kwh[:, inside]).sum())
        if end == problem.steps:
            none = np.empty((0, 0))
            value += standing_value(problem.end_kwh, problem.end_per_kwh, none, none, energy)
        return value

    def run(self, hold: Holds) -> None:
        """Add columns until the programme's value meets the bound, or none is left that would raise it."""
        problem = self.problem
        tolerance = GAP_FRAC * (problem.at_stake if self._money else self._energy_unit_kwh)
        for _ in range(MOST_ROUNDS):
            self._highs.run()
            assert self._highs.getModelStatus() == highspy.HighsModelStatus.kOptimal
            duals = np.array(self._highs.getSolution().row_dual)[2 * len(self._blocks) - 1 :]
            price = np.maximum(-duals, 0.0) * (self._money_unit / self._budget_unit_kwh)
            found = problem.best_at(hold, price, money=self._money)
            assert found is not None, "what can be reached does not hang on prices"
            worth = found.value if self._money else 0.0
            bound = worth - float(price @ (found.spent_kwh - problem.budget_kwh))
            if bound < self._bound:
                self._bound, self._price_per_kwh = bound, price
            if bound <= self.value() + tolerance:
                return
            self._add(found)

    def value(self) -> float:
        """Return the value of the programme as it stands."""
        return float(-self._highs.getInfo().objective_function_value * self._money_unit)

    def over_kwh(self) -> Floats:
        """Return by how much each budget is exceeded."""
        values = np.array(self._highs.getSolution().col_value)
        return values[: self.problem.budget_kwh.size] * self._energy_unit_kwh

    def mixture(self) -> Relaxed:
        """Return the mixture of the pieces that the programme chose."""
        weights = np.array(self._highs.getSolution().col_value)[self.problem.budget_kwh.size :]
        steps = self.problem.steps
        energy, charged, released = np.zeros(steps + 1), np.zeros(steps), np.zeros(steps)
        energy[0] = self.problem.initial_kwh
        for (block, number), weight in zip(self._columns, weights, strict=True):
            if weight > 0.0:
                start, end = self._blocks[block]
                piece = self.candidates[number]
                energy[start + 1 : end + 1] += weight * piece.energy_kwh[start + 1 : end + 1]
                charged[start:end] += weight * piece.charged_kwh[start:end]
                released[start:end] += weight * piece.released_kwh[start:end]
        return Relaxed(
            energy_kwh=energy,
            charged_kwh=charged,
            released_kwh=released,
            value=self.value(),
            value_bound=max(self._bound, self.value()),
            price_per_kwh=self._price_per_kwh,
        )
