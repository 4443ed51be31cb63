"""What many homes said in a search, as sums of their groups: the one place where the answers of single homes meet.

A home that answered before stands with its last answer, its bound carried to the new prices by the most that it could gain; one
that never answered in this search does what the mean of its group did first, and is beyond reach, like one that fell silent
before it gave a bound. A group's answers count
together or not at all: where fewer have answered than are hidden in a sum, everybody's last word stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.edge.price_round import PriceAnswer, numbers
from shoal.optimise.home_batch import GroupSums

Rows = NDArray[np.int64]
Floats = NDArray[np.float64]

_BOUNDS_KEPT: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Added:
    """The sums of a round.

    Attributes:
        sums: By group.
        answered_count: How many homes' own answers to this round are in them.
        heard_count: How many homes have answered any round of this search, with a bound where that was asked for.
        silent: Places of the homes whose own answer is not in them.
    """

    sums: GroupSums
    answered_count: int
    heard_count: int
    silent: Rows


class HomeSums:
    """The answers of n homes in one search.

    Args:
        group_of: The group of each, shape (n,).
        groups: How many groups there are.
        least_kwh: The least net import of each in each interval, shape (n, T).
        most_kwh: The most.
        alone: Whose answer may be seen by itself, shape (n,).
        least_homes: How many homes hide each other in a sum.
    """

    def __init__(
        self,
        *,
        group_of: Rows,
        groups: int,
        least_kwh: Floats,
        most_kwh: Floats,
        alone: NDArray[np.bool_],
        least_homes: int,
    ) -> None:
        homes, steps = least_kwh.shape
        self._group_of, self._groups, self._least_homes = group_of, groups, least_homes
        self._least_kwh, self._most_kwh, self._alone = least_kwh, most_kwh, alone
        self._energy_kwh = np.zeros((homes, steps))
        self._cost, self._penalty = np.zeros(homes), np.zeros(homes)
        self._heard = np.zeros(homes, dtype=np.bool_)
        self._started = False
        self._prices = np.zeros((_BOUNDS_KEPT, homes, steps))
        self._bounds = np.full((_BOUNDS_KEPT, homes), -np.inf)
        self._next = np.zeros(homes, dtype=np.int64)

    @property
    def started(self) -> bool:
        """Whether any home was heard in this search."""
        return self._started

    def add(
        self, prices_per_kwh: Floats, answers: Mapping[int, PriceAnswer], *, mixed: bool = False
    ) -> Added | None:
        """Return the sums of a round; None while nobody was ever heard.

        Args:
            prices_per_kwh: What each home was asked, shape (n, T).
            answers: What came in time, by the home's place.
            mixed: Whether several rows were asked for together; then no bound comes of it.
        """
        fresh = self._released(np.array(sorted(answers), dtype=np.int64))
        steps = self._energy_kwh.shape[1]
        if not self._started and not len(fresh):
            return None
        for place in fresh.tolist():
            said = answers[place]
            self._energy_kwh[place] = numbers(said.energy, steps)
            self._cost[place], self._penalty[place] = said.cost, said.penalty
        if not mixed and len(fresh):
            # of each home the oldest bound that is kept goes
            at = self._next[fresh]
            self._next[fresh] = (at + 1) % _BOUNDS_KEPT
            self._bounds[at, fresh] = [answers[place].lower_bound for place in fresh.tolist()]
            self._prices[at, fresh] = prices_per_kwh[fresh]
        if not self._started:
            self._begin(fresh)
        bound = self._carried(prices_per_kwh)
        sums = GroupSums(
            energy_kwh=self._by_group(self._energy_kwh),
            cost=self._by_group(self._cost),
            lower_bound=self._by_group(bound),
            penalty=self._by_group(self._penalty),
        )
        bounded = np.isfinite(self._bounds).any(axis=0)
        silent = np.ones(len(self._cost), dtype=np.bool_)
        silent[fresh] = False
        return Added(
            sums=sums,
            answered_count=len(fresh),
            heard_count=int((self._heard & (bounded | (not bounded.any()))).sum()),
            silent=np.flatnonzero(silent),
        )

    def _released(self, fresh: Rows) -> Rows:
        """Return whose answers may go into a sum: enough of a group, or of those who agreed to be seen alone."""
        if self._started:
            # one that joins late is beyond reach until the next search
            fresh = fresh[self._heard[fresh]]
        hidden = fresh[~self._alone[fresh]]
        answered = np.bincount(self._group_of[fresh], minlength=self._groups)
        hides = np.bincount(self._group_of[hidden], minlength=self._groups)
        enough = (answered >= self._least_homes) | (hides == 0)
        released: Rows = fresh[enough[self._group_of[fresh]]]
        return released

    def _begin(self, fresh: Rows) -> None:
        """Take stock of who answers the first round, and let the mean of these stand for the others."""
        self._started = True
        self._heard[fresh] = True
        others = np.flatnonzero(~self._heard)
        if not len(others):
            return
        for group in np.unique(self._group_of[others]).tolist():
            like = fresh[self._group_of[fresh] == group]
            like = like if len(like) else fresh
            places = others[self._group_of[others] == group]
            self._energy_kwh[places] = self._energy_kwh[like].mean(axis=0)
            self._cost[places] = self._cost[like].mean()

    def _carried(self, prices_per_kwh: Floats) -> Floats:
        """Return what no plan of each home costs less at these prices, shape (n,)."""
        best = np.full(len(self._cost), -np.inf)
        for there, bound in zip(self._prices, self._bounds, strict=True):
            change = prices_per_kwh - there
            gained = np.minimum(change * self._least_kwh, change * self._most_kwh).sum(axis=1)
            best = np.maximum(best, bound + gained)
        fixed = self._cost + (prices_per_kwh * self._energy_kwh).sum(axis=1)
        return np.where(np.isfinite(best), best, fixed)

    def _by_group(self, values: Floats) -> Floats:
        sums = np.zeros((self._groups, *values.shape[1:]))
        np.add.at(sums, self._group_of, values)
        return sums
