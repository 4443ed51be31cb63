"""A fleet in parts, of which some do not answer in time: what stands in for them, and what that does to the bound.

A part that answered before stands with its last answer, and its bound is carried over to the new prices by the most that its
homes could gain: the gap widens, and stays certified. A part that never answered in this search is taken to do what the
others' mean did in the first round, and to be beyond reach; the share of homes that was heard says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from shoal.optimise.fleet_optimum import Answer, Ask
from shoal.optimise.home_batch import GroupSums, HomeBatch

Floats = NDArray[np.float64]

_BOUNDS_KEPT = 12


class LocalHomes:
    """An answerer for homes in this process."""

    def __init__(self, batch: HomeBatch) -> None:
        self._batch = batch
        self._samples: dict[float, HomeBatch] = {1.0: batch}

    def sums(self, ask: Ask) -> GroupSums:
        """Return what the homes, or a sample of them, do at the prices asked."""
        if ask.sample_frac not in self._samples:
            self._samples[ask.sample_frac] = self._batch.sample(ask.sample_frac)
        return self._samples[ask.sample_frac].realise(ask.prices_per_kwh, ask.weights, how=ask.how)

    def answer(self, ask: Ask) -> Answer:
        """Return what the homes do at the prices asked."""
        return Answer(sums=self.sums(ask))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """Some of the homes of a fleet: those of one process, gateway or worker.

    Attributes:
        homes_count: How many of each group, shape (G,).
        least_kwh: What each group of it can draw at the least in each interval, shape (G, T).
        most_kwh: What it can draw at the most.
    """

    homes_count: NDArray[np.int64]
    least_kwh: Floats
    most_kwh: Floats

    @classmethod
    def of(cls, batch: HomeBatch) -> Part:
        """Return a batch as a part."""
        least, most = batch.reach_kwh()
        return cls(homes_count=batch.homes_count, least_kwh=least, most_kwh=most)


@dataclass(slots=True)
class _Heard:
    last: GroupSums
    bounds: list[tuple[Floats, Floats]] = field(default_factory=list)
    """Prices of the part's groups, shape (G, T), and its bound at them, shape (G,)."""


class PartLedger:
    """Who said what in this search; it makes one answer of many.

    Args:
        parts: The parts by name.
        feeder_of: The feeder of each group, shape (G,).
    """

    def __init__(self, parts: Mapping[str, Part], feeder_of: NDArray[np.int64]) -> None:
        self._parts, self._feeder_of = dict(parts), feeder_of
        self._homes_count = int(sum(part.homes_count.sum() for part in parts.values()))
        self._heard: dict[str, _Heard] = {}
        self._fixed: dict[str, GroupSums] | None = None
        self._sample_frac = 1.0

    @property
    def started(self) -> bool:
        """Whether any part was heard in this search."""
        return bool(self._heard)

    def combine(self, ask: Ask, answers: Mapping[str, GroupSums]) -> Answer:
        """Return the fleet's answer; parts that are missing from `answers` did not answer in time."""
        if self._fixed is None or ask.sample_frac != self._sample_frac:
            self._begin(ask, answers)
        assert self._fixed is not None
        pure = len(ask.prices_per_kwh) == 1
        prices = ask.prices_per_kwh[0][self._feeder_of]
        steps = prices.shape[1]
        total = GroupSums.zeros(self._feeder_of.size, steps)
        answered = 0
        for name, part in self._parts.items():
            heard = self._heard.get(name)
            if heard is None:
                # Beyond reach: it does what it does, at these prices as at any.
                fixed = self._fixed[name]
                bound = fixed.cost + (prices * fixed.energy_kwh).sum(axis=1)
                total = total.plus(_with_bound(fixed, bound))
                continue
            sums = answers.get(name)
            if sums is None:
                total = total.plus(_with_bound(heard.last, _carried(heard, part, prices)))
                continue
            answered += int(part.homes_count.sum())
            heard.last = sums
            if pure:
                heard.bounds = [*heard.bounds[1 - _BOUNDS_KEPT :], (prices, sums.lower_bound)]
            total = total.plus(sums)
        reached = sum(int(self._parts[name].homes_count.sum()) for name in self._heard)
        whole = max(self._homes_count, 1)
        return Answer(sums=total, answered_frac=answered / whole, heard_frac=reached / whole)

    def _begin(self, ask: Ask, answers: Mapping[str, GroupSums]) -> None:
        """Take stock of who answers the first round; who does not is beyond reach until the next search."""
        self._sample_frac = ask.sample_frac
        known = {name: sums for name, sums in answers.items() if name in self._parts}
        self._heard = {name: _Heard(last=sums) for name, sums in known.items()}
        steps = ask.prices_per_kwh.shape[2]
        total, counts = GroupSums.zeros(self._feeder_of.size, steps), np.zeros(self._feeder_of.size)
        for name, sums in known.items():
            total = total.plus(sums)
            counts += self._parts[name].homes_count
        everyone = max(float(counts.sum()), 1.0)
        # Of a group that nobody speaks for, the mean of all homes is the best guess.
        share = np.where(counts > 0.0, 1.0 / np.maximum(counts, 1.0), 0.0)
        energy = np.where(
            counts[:, np.newaxis] > 0.0,
            total.energy_kwh * share[:, np.newaxis],
            total.energy_kwh.sum(axis=0) / everyone,
        )
        cost = np.where(counts > 0.0, total.cost * share, total.cost.sum() / everyone)
        self._fixed = {}
        for name, part in self._parts.items():
            if name not in known:
                homes = part.homes_count.astype(np.float64)
                none = np.zeros(homes.size)
                self._fixed[name] = GroupSums(
                    energy_kwh=energy * homes[:, np.newaxis],
                    cost=cost * homes,
                    lower_bound=none,
                    penalty=none,
                )


def _with_bound(sums: GroupSums, bound: Floats) -> GroupSums:
    return GroupSums(energy_kwh=sums.energy_kwh, cost=sums.cost, lower_bound=bound, penalty=sums.penalty)


def _carried(heard: _Heard, part: Part, prices: Floats) -> Floats:
    """Return what no plans of a part cost less than at these prices, by what it said at others."""
    best = np.full(len(prices), -np.inf)
    for there, bound in heard.bounds:
        change = prices - there
        gained = np.minimum(change * part.least_kwh, change * part.most_kwh).sum(axis=1)
        best = np.maximum(best, bound + gained)
    return np.where(part.homes_count > 0, best, 0.0)
