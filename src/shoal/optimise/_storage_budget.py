"""Throughput budgets of a storage plan: a price on discharging for each, found exactly, and branch and bound on top.

At given prices the plan without budgets answers. For one budget the price is where two optimal plans, one above and one
below the budget, are worth the same: their mixture spends exactly the budget. For several, plans are cut at the ends of
the budgets' stretches, and a small linear programme mixes the pieces (Dantzig and Wolfe) until its value meets the
bound that its prices prove.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from shoal.optimise import _storage_rows as rows
from shoal.optimise._storage_kernel import marginal_slopes
from shoal.optimise._storage_mix import GAP_FRAC, MOST_ROUNDS, Candidate, Mixer, Relaxed
from shoal.optimise._storage_search import WORK_ROWS, at_stake, relax, standing_value

Floats = NDArray[np.float64]
Holds = NDArray[np.int8]

# A gap up to this share still counts as closed: what rounding in a linear programme leaves.
_CLOSED_FRAC = 1e-10
# A budget missed by less than this share of the larger of budget and capacity is missed by rounding.
_SLACK_FRAC = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BudgetSolution:
    """The best path found, in the units of the search, and what bounds its value."""

    energy_kwh: Floats
    value_bound: float
    price_per_kwh: Floats
    nodes: int
    exact: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class BudgetProblem:
    """An instance in the units of the search.

    Attributes:
        prepared: As `prepare` fills it.
        end_kwh: Right ends of the pieces of the terminal value.
        end_per_kwh: Slopes of these.
        ramp_kwh: Levels below which energy costs, a row a reason.
        ramp_per_kwh: How much, a row a reason.
        initial_kwh: Stored energy at the start.
        delivered_frac: What a released kWh of each interval takes of a budget.
        stretches: First interval and the one after the last, of each budget.
        budget_kwh: The budgets.
    """

    prepared: Floats
    end_kwh: Floats
    end_per_kwh: Floats
    ramp_kwh: Floats
    ramp_per_kwh: Floats
    initial_kwh: float
    delivered_frac: Floats
    stretches: tuple[tuple[int, int], ...]
    budget_kwh: Floats

    @cached_property
    def steps(self) -> int:
        """How many intervals there are."""
        return int(self.delivered_frac.size)

    @cached_property
    def at_stake(self) -> float:
        """The money that could move, in currency."""
        charge, discharge, up, down = self.prepared[:4, :-1]
        return at_stake(charge, discharge, up, down, self.end_kwh, self.end_per_kwh)

    @cached_property
    def slack_kwh(self) -> float:
        """By how much a budget is missed by rounding only."""
        return _SLACK_FRAC * max(float(self.end_kwh[-1]), float(self.budget_kwh.max(initial=0.0)))

    def solve(self, node_limit: int) -> BudgetSolution | Floats:
        """Return the best plan, or by how many kWh each budget is exceeded at least (their sum is least)."""
        tolerance = GAP_FRAC * self.at_stake
        best, best_value, price = np.empty(0), -np.inf, np.empty(0)
        nodes, root_bound, loosest = 0, np.inf, 0.0
        stack = [np.zeros(self.steps, np.int8)]
        while stack and nodes < node_limit:
            hold = stack.pop()
            relaxed = self._relaxed(hold)
            nodes += 1
            if isinstance(relaxed, np.ndarray):
                if nodes == 1:
                    return relaxed
                continue
            if nodes == 1:
                root_bound = relaxed.value_bound
            if relaxed.value_bound <= best_value + tolerance:
                continue
            truth, at = self._assess(relaxed)
            if truth > best_value:
                best, best_value, price = relaxed.energy_kwh, truth, relaxed.price_per_kwh
            if at >= 0 and relaxed.value_bound > best_value + tolerance:
                charges = relaxed.energy_kwh[at + 1] > relaxed.energy_kwh[at]
                for direction in (-1, 1) if charges else (1, -1):
                    held = hold.copy()
                    held[at] = direction
                    stack.append(held)
            else:
                loosest = max(loosest, relaxed.value_bound - best_value)
        closed = not stack and loosest <= _CLOSED_FRAC * self.at_stake
        bound = root_bound if stack else min(root_bound, best_value + max(tolerance, loosest))
        return BudgetSolution(
            energy_kwh=best, value_bound=bound, price_per_kwh=price, nodes=nodes, exact=closed
        )

    def fill_slopes(self, solution: BudgetSolution, plan: Floats) -> None:
        """Fill the slopes of the value along the solution, with the prices of the budgets in them."""
        charge, discharge, up, down = self.prepared[:4, :-1]
        marginal_slopes(
            charge,
            discharge - self._toll(solution.price_per_kwh),
            up,
            down,
            self.prepared[rows.P_LOW],
            self.prepared[rows.P_HIGH],
            self.end_kwh,
            self.end_per_kwh,
            self.ramp_kwh,
            self.ramp_per_kwh,
            solution.energy_kwh,
            plan[rows.GAIN],
            plan[rows.LOSS],
        )

    def best_at(self, hold: Holds, price_per_kwh: Floats, *, money: bool = True) -> Candidate | None:
        """Return the best plan at prices of the budgets; without `money`, only these prices count."""
        charge, discharge, up, down = self.prepared[:4, :-1]
        worth = 1.0 if money else 0.0
        energy, mixed = np.empty(self.steps + 1), np.empty(self.steps, np.bool_)
        size, _ = relax(
            charge * worth,
            discharge * worth - self._toll(price_per_kwh),
            up,
            down,
            self.prepared[rows.P_LOW],
            self.prepared[rows.P_HIGH],
            self.end_kwh,
            self.end_per_kwh * worth,
            self.ramp_kwh,
            self.ramp_per_kwh * worth,
            self.initial_kwh,
            self._long,
            hold,
            self._work,
            mixed,
            energy,
        )
        if size < 0:
            return None
        released = energy[:-1] - energy[1:]
        charged = np.maximum(-released, 0.0)
        if mixed.any():  # on the chord both directions are used in part
            both = up[mixed] + down[mixed]
            charged[mixed] = up[mixed] * (down[mixed] - released[mixed]) / both
        return self._candidate(energy, charged, released + charged)

    def standing(self, energy_kwh: Floats) -> float:
        """Return the terminal value of a path less what ramps charge."""
        return standing_value(self.end_kwh, self.end_per_kwh, self.ramp_kwh, self.ramp_per_kwh, energy_kwh)

    def _candidate(self, energy: Floats, charged: Floats, released: Floats) -> Candidate:
        charge, discharge = self.prepared[:2, :-1]
        given = released * self.delivered_frac
        return Candidate(
            energy_kwh=energy,
            charged_kwh=charged,
            released_kwh=released,
            value=float(released @ discharge - charged @ charge) + self.standing(energy),
            spent_kwh=np.array([given[first:last].sum() for first, last in self.stretches]),
        )

    @cached_property
    def _long(self) -> bool:
        return self.ramp_kwh.shape[0] == 0 and rows.is_long(self.prepared, self.steps)

    @cached_property
    def _work(self) -> Floats:
        return np.empty((WORK_ROWS, 2 * self.steps + self.end_kwh.size + self.ramp_kwh.size + 8))

    def _toll(self, price_per_kwh: Floats) -> Floats:
        toll = np.zeros(self.steps)
        for (first, last), price in zip(self.stretches, price_per_kwh, strict=True):
            toll[first:last] += price
        return toll * self.delivered_frac

    def _assess(self, relaxed: Relaxed) -> tuple[float, int]:
        """Return what the path is worth when no interval goes both ways, and where that costs most (or -1)."""
        charge, discharge = self.prepared[:2, :-1]
        net = relaxed.released_kwh - relaxed.charged_kwh
        truth = net * np.where(net < 0.0, charge, discharge)
        lost = relaxed.released_kwh * discharge - relaxed.charged_kwh * charge - truth
        lost[charge >= discharge] = 0.0
        at = int(np.argmax(lost))
        value = float(truth.sum()) + self.standing(relaxed.energy_kwh)
        return value, at if lost[at] > GAP_FRAC * self.at_stake else -1

    def _relaxed(self, hold: Holds) -> Relaxed | Floats:
        """Return the optimum of a relaxation, or by how much each budget is exceeded at least."""
        free = np.zeros(self.budget_kwh.size)
        greedy = self.best_at(hold, free)
        if greedy is None:
            return free
        if (greedy.spent_kwh <= self.budget_kwh).all():
            return Relaxed(
                energy_kwh=greedy.energy_kwh,
                charged_kwh=greedy.charged_kwh,
                released_kwh=greedy.released_kwh,
                value=greedy.value,
                value_bound=greedy.value,
                price_per_kwh=free,
            )
        frugal = self.best_at(hold, np.ones_like(free), money=False)
        assert frugal is not None, "what can be reached does not hang on prices"
        if self.budget_kwh.size == 1:
            return self._one(hold, greedy, frugal)
        return self._several(hold, greedy, frugal)

    def _one(self, hold: Holds, above: Candidate, below: Candidate) -> Relaxed | Floats:
        budget = float(self.budget_kwh[0])
        over = float(below.spent_kwh[0]) - budget
        if over > self.slack_kwh:
            return np.array([over])
        budget = max(budget, float(below.spent_kwh[0]))
        price = 0.0
        for _ in range(MOST_ROUNDS):
            spread = float(above.spent_kwh[0] - below.spent_kwh[0])
            if spread <= 0.0:
                break
            price = max((above.value - below.value) / spread, 0.0)
            found = self.best_at(hold, np.array([price]))
            assert found is not None, "what can be reached does not hang on prices"
            spent = float(found.spent_kwh[0])
            gained = found.value - above.value - price * (spent - float(above.spent_kwh[0]))
            if gained <= GAP_FRAC * self.at_stake:
                break
            above, below = (found, below) if spent > budget else (above, found)
        spread = float(above.spent_kwh[0] - below.spent_kwh[0])
        share = (budget - float(below.spent_kwh[0])) / spread if spread > 0.0 else 0.0
        value = share * above.value + (1.0 - share) * below.value
        return Relaxed(
            energy_kwh=share * above.energy_kwh + (1.0 - share) * below.energy_kwh,
            charged_kwh=share * above.charged_kwh + (1.0 - share) * below.charged_kwh,
            released_kwh=share * above.released_kwh + (1.0 - share) * below.released_kwh,
            value=value,
            value_bound=value + GAP_FRAC * self.at_stake,
            price_per_kwh=np.array([price]),
        )

    def _several(self, hold: Holds, greedy: Candidate, frugal: Candidate) -> Relaxed | Floats:
        candidates = [frugal, greedy]
        if (frugal.spent_kwh > self.budget_kwh).any():
            first = Mixer(self, candidates, money=False)
            first.run(hold)
            over = first.over_kwh()
            if over.sum() > self.slack_kwh:
                return over
            candidates = first.candidates
        mixer = Mixer(self, candidates, money=True)
        mixer.run(hold)
        return mixer.mixture()
