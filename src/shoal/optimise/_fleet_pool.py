"""What groups of homes were found to do, round by round, and the programme that mixes it.

A pool whose rounds are all homes' own answers tells the truth. One that came from a sample, or from the last search, is a model:
what all homes do under its mixture shows how far each group is off, and the model is moved by that much.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from shoal.optimise._fleet_master import Duals, Master, Wishes

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Round:
    """One answer of all groups.

    Attributes:
        prices_per_kwh: The rows of prices asked, shape (R, F, T).
        weights: The share of each row in each group, shape (G, R).
        energy_kwh: What the groups do, shape (G, T).
        cost: Their own cost in currency, with `penalty`, shape (G,).
        penalty: What of it is for wishes that cannot be met, shape (G,).
    """

    prices_per_kwh: Floats
    weights: Floats
    energy_kwh: Floats
    cost: Floats
    penalty: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FleetMemory:
    """What a search leaves to the next: what groups were found to do at which prices, and the best prices of the wishes."""

    rounds: tuple[Round, ...]
    duals: Duals

    def later(self, steps: int) -> FleetMemory:
        """Return it for a search that begins so many intervals later; the last interval stands for those to come."""
        rounds = tuple(
            Round(
                prices_per_kwh=_later(one.prices_per_kwh, steps),
                weights=one.weights,
                energy_kwh=_later(one.energy_kwh, steps),
                cost=one.cost,
                penalty=one.penalty,
            )
            for one in self.rounds
        )
        duals = Duals(
            commitment_per_kwh=_later(self.duals.commitment_per_kwh, steps),
            import_per_kwh=_later(self.duals.import_per_kwh, steps),
            export_per_kwh=_later(self.duals.export_per_kwh, steps),
        )
        return FleetMemory(rounds=rounds, duals=duals)


def within(duals: Duals, wishes: Wishes) -> Duals:
    """Return duals of other terms as duals of these."""
    most = wishes.excess_per_kwh
    return Duals(
        commitment_per_kwh=np.clip(duals.commitment_per_kwh, -wishes.over_per_kwh, wishes.short_per_kwh),
        import_per_kwh=np.where(
            np.isfinite(wishes.import_kwh), np.clip(duals.import_per_kwh, 0.0, most), 0.0
        ),
        export_per_kwh=np.where(
            np.isfinite(wishes.export_kwh), np.clip(duals.export_per_kwh, 0.0, most), 0.0
        ),
    )


class Pool:
    """Rounds and their programme."""

    def __init__(self, wishes: Wishes, feeder_of: NDArray[np.int64], *, scale: float) -> None:
        self._feeder_of, self._shape = feeder_of, wishes.import_kwh.shape
        self._master = Master(wishes, feeder_of, scale=scale)
        self.rounds: list[Round] = []
        # What each group does and costs beyond what the rounds say.
        self._off_kwh = np.zeros((feeder_of.size, self._shape[1]))
        self._off_cost = np.zeros(feeder_of.size)

    @property
    def size(self) -> int:
        """How many rounds there are."""
        return len(self.rounds)

    def add(self, one: Round) -> None:
        """Add a round as it is."""
        self._master.add(self.size, one.energy_kwh, one.cost)
        self.rounds.append(one)

    def add_corrected(self, one: Round) -> None:
        """Add a round that is true to a model that is moved by what it has wrong."""
        self.add(
            Round(
                prices_per_kwh=one.prices_per_kwh,
                weights=one.weights,
                energy_kwh=one.energy_kwh - self._off_kwh,
                cost=one.cost - self._off_cost,
                penalty=one.penalty,
            )
        )

    def correct(self, truth: Round) -> None:
        """Move the model by what its present mixture has wrong."""
        mixed = self.mixed()
        self._off_kwh = truth.energy_kwh - mixed.energy_kwh
        self._off_cost = truth.cost - mixed.cost
        feeder_kwh = np.zeros(self._shape)
        np.add.at(feeder_kwh, self._feeder_of, self._off_kwh)
        self._master.set_offset(feeder_kwh)

    def corrected(self) -> tuple[Round, ...]:
        """Return the rounds, moved."""
        return tuple(
            Round(
                prices_per_kwh=one.prices_per_kwh,
                weights=one.weights,
                energy_kwh=one.energy_kwh + self._off_kwh,
                cost=one.cost + self._off_cost,
                penalty=one.penalty,
            )
            for one in self.rounds
        )

    def solve(self) -> tuple[float, Duals]:
        """Return the cost of the best mixture and the prices at it."""
        return self._master.solve()

    def solve_near(self, center: Duals, radius_per_kwh: float) -> tuple[float, Duals]:
        """Return the most that the bound can be near these prices, by the rounds, and the prices where it would be.

        The mixture is then not the best one: beyond that distance, wishes are not worth more to it.
        """
        self._master.set_box(center, radius_per_kwh)
        found = self._master.solve()
        self._master.set_box(center, inf)
        return found

    def mixture(self) -> tuple[Floats, Floats]:
        """Return the rows of prices with a share in the mixture, shape (R, F, T), and the shares, shape (G, R)."""
        shares = self._master.weights(self.size)
        rows: dict[bytes, tuple[Floats, Floats]] = {}
        for at, one in enumerate(self.rounds):
            for row, prices in enumerate(one.prices_per_kwh):
                share = shares[:, at] * one.weights[:, row]
                if share.any():
                    key = prices.tobytes()
                    rows[key] = (prices, share + rows[key][1] if key in rows else share)
        return np.array([row for row, _ in rows.values()]), np.column_stack(
            [share for _, share in rows.values()]
        )

    def mixed(self) -> Round:
        """Return what the groups do under the mixture, by the rounds as they are."""
        rows, weights = self.mixture()
        energy_kwh, cost, penalty = self.totals()
        return Round(prices_per_kwh=rows, weights=weights, energy_kwh=energy_kwh, cost=cost, penalty=penalty)

    def totals(self) -> tuple[Floats, Floats, Floats]:
        """Return each group's energy, cost and penalty under the mixture, by the rounds as they are."""
        shares = self._master.weights(self.size)
        energy = np.zeros_like(self._off_kwh)
        cost, penalty = np.zeros_like(self._off_cost), np.zeros_like(self._off_cost)
        for at, one in enumerate(self.rounds):
            energy += shares[:, at, np.newaxis] * one.energy_kwh
            cost += shares[:, at] * one.cost
            penalty += shares[:, at] * one.penalty
        return energy, cost, penalty


def _later(values: Floats, steps: int) -> Floats:
    tail = np.repeat(values[..., -1:], min(steps, values.shape[-1]), axis=-1)
    return np.concatenate((values[..., steps:], tail), axis=-1)
