"""The scenario programme per unit: its rows, its gradient, its objective, and the bound that multipliers prove.

All is per unit: power of the larger limit, energy of an hour of it, prices of their mean size. The rows come in four
groups: those of the chains, of the first stage, of the tail (what falls short of its threshold covers the loss), and that
nothing falls short by less than nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoal.optimise._scenario_kernel import LINKS, ROWS, chain_gradient, chain_profit, chain_rows

Floats = NDArray[np.float64]
Rows: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
"""One array for each group of rows: chains (7, S, T), first stage (M,), tail (S,), shortfall (S,)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Programme:
    """The scenario programme per unit; S scenarios, T intervals, X unknowns of the first stage.

    The first stage is reserve (P x T), energy and room kept at the boundaries (T each), the curve (T x K), and, where
    risk counts, the tail's threshold last.

    Attributes:
        by_discharge: Profit of a unit discharged at a held energy, shape (S, T).
        by_change: Profit of a unit of energy stored, shape (S, T).
        by_first: Profit of the first stage, shape (S, X).
        by_paid: What is paid for holding reserve, shape (S, P T).
        terminal: Worth of a unit of energy at the end, shape (1,).
        start: Energy at the start, shape (1,).
        constants: Charge per change of energy, charge per discharge, limits of charge and discharge, capacity.
        links: What a unit of the first stage puts into the chains, shape (5T, X).
        first: Where each row of the first stage begins, shape (M + 1,).
        column_index: The unknown of each entry.
        entry: The entries.
        limit: The rows' right sides, shape (M,).
        lowest: The least each unknown can be, shape (X,).
        highest: The most.
        probability: Of each scenario, shape (S,).
        risk_frac: Weight of the tail in the objective.
        tail_frac: Share of the worst that makes the tail.
    """

    by_discharge: Floats
    by_change: Floats
    by_first: Floats
    by_paid: Floats
    terminal: Floats
    start: Floats
    constants: Floats
    chord: Floats
    links: Floats
    first: NDArray[np.int64]
    column_index: NDArray[np.int64]
    entry: Floats
    limit: Floats
    lowest: Floats
    highest: Floats
    probability: Floats
    risk_frac: float
    tail_frac: float

    @property
    def scenarios(self) -> int:
        """How many scenarios there are."""
        return len(self.by_discharge)

    @property
    def steps(self) -> int:
        """How many intervals there are."""
        return len(self.by_discharge[0])

    @property
    def risky(self) -> bool:
        """Whether the tail counts."""
        return self.risk_frac > 0.0

    def first_rows(self, x: Floats) -> Floats:
        """Return the left sides of the first stage's rows."""
        sums: Floats = np.add.reduceat(self.entry * x[self.column_index], self.first[:-1])
        return sums

    def linked(self, x: Floats) -> Floats:
        """Return what the first stage puts into the chains, shape (5, T)."""
        return (self.links @ x).reshape(LINKS, self.steps)

    def first_gradient(self, y: Floats) -> Floats:
        """Return the transpose of the first stage's rows times `y`."""
        repeated = np.repeat(y, np.diff(self.first))
        total = np.bincount(self.column_index, self.entry * repeated, minlength=self.links.shape[1])
        return np.asarray(total, dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Unknowns:
    """Values, or changes, or derivatives of all unknowns.

    Attributes:
        d: Discharge, shape (S, T).
        e: Energy after each interval, shape (S, T).
        x: The first stage, shape (X,).
        z: What each scenario falls short of the tail's threshold, shape (S,); empty where risk does not count.
    """

    d: Floats
    e: Floats
    x: Floats
    z: Floats

    def plus(self, other: Unknowns, share: float = 1.0) -> Unknowns:
        """Return the sum with a share of another."""
        return Unknowns(
            d=self.d + share * other.d,
            e=self.e + share * other.e,
            x=self.x + share * other.x,
            z=self.z + share * other.z,
        )


def gradient(p: Programme, y: Rows, *, scale: float = 1.0) -> Unknowns:
    """Return the Lagrangian's derivatives at multipliers `y`; `scale` multiplies the objective's part."""
    weight = scale * (1.0 - p.risk_frac) * p.probability
    if p.risky:
        weight = weight + y[2]
    shape = (p.scenarios, p.steps)
    by_d, by_e, by_link = np.empty(shape), np.empty(shape), np.empty((LINKS, p.steps))
    chain_gradient(
        y[0],
        weight,
        p.by_discharge,
        p.by_change,
        p.terminal,
        p.constants,
        p.chord,
        by_d,
        by_e,
        by_link,
    )
    by_x = p.first_gradient(y[1]) + by_link.ravel() @ p.links - weight @ p.by_first
    by_z = np.empty(0)
    if p.risky:
        by_x[-1] += y[2].sum() - scale * p.risk_frac
        by_z = scale * p.risk_frac / p.tail_frac * p.probability - y[2] - y[3]
    return Unknowns(d=by_d, e=by_e, x=by_x, z=by_z)


def left_sides(p: Programme, u: Unknowns, start: Floats) -> Rows:
    """Return the left sides of all rows; `start` is the energy at the start, 0 for a change of the unknowns."""
    link = p.linked(u.x)
    chain = np.empty((ROWS, p.scenarios, p.steps))
    chain_rows(u.d, u.e, link, start, p.constants, p.chord, chain)
    if not p.risky:
        return chain, p.first_rows(u.x), np.empty(0), np.empty(0)
    return chain, p.first_rows(u.x), u.x[-1] - u.z - _profit(p, u, link, start), -u.z


def excess(p: Programme, u: Unknowns) -> Rows:
    """Return the left sides less the right sides: not above 0 where the rows hold."""
    rows = left_sides(p, u, p.start)
    rows[0][2] -= p.constants[3]
    rows[0][3] -= p.constants[2]
    rows[0][5] -= p.constants[4]
    rows[0][6] -= 1.0
    rows[1][:] -= p.limit
    return rows


def objective(p: Programme, u: Unknowns) -> float:
    """Return what is maximised, were the unknowns within every row."""
    profit = _profit(p, u, p.linked(u.x), p.start)
    total = (1.0 - p.risk_frac) * float(p.probability @ profit)
    if p.risky:
        total += p.risk_frac * float(u.x[-1] - p.probability @ u.z / p.tail_frac)
    return total


def bound_of(p: Programme, y: Rows) -> float:
    """Return what no plan's objective can exceed, proved by multipliers that are not negative.

    The Lagrangian relaxes every row; what the multipliers leave of the gradient is taken at its best within the
    unknowns' own ranges.
    """
    by = gradient(p, y)
    nothing = Unknowns(d=0.0 * by.d, e=0.0 * by.e, x=0.0 * by.x, z=0.0 * by.z)
    most = objective(p, nothing)
    most -= sum(
        float(np.vdot(multiplier, row)) for multiplier, row in zip(y, excess(p, nothing), strict=True)
    )
    most -= float(np.minimum(by.d, 0.0).sum() * p.constants[3])
    most -= float(np.minimum(by.e, 0.0).sum() * p.constants[4])
    most -= float(np.minimum(by.x * p.lowest, by.x * p.highest).sum())
    if p.risky:
        # The tail's threshold and what falls short of it lie within what a scenario can earn or lose.
        most -= float(np.minimum(by.z, 0.0).sum() * 2.0 * p.highest[-1])
    return most


def both_ways(p: Programme, u: Unknowns) -> tuple[Floats, Floats]:
    """Return what each interval of each scenario draws and delivers, shape (S, T)."""
    change = np.diff(u.e, axis=1, prepend=p.start[0]) - p.linked(u.x)[0]
    return p.constants[0] * change + p.constants[1] * u.d, u.d


def reserve_costs(p: Programme, y: Rows, products_count: int) -> Floats:
    """Return what a unit of each product costs to hold: the gradient less its own bounds and pay, shape (P, T)."""
    size = products_count * p.steps
    first = y[1].copy()
    first[: 2 * size] = 0.0
    by_x = gradient(p, (y[0], first, y[2], y[3])).x[:size]
    weight = (1.0 - p.risk_frac) * p.probability
    if p.risky:
        weight = weight + y[2]
    return (by_x + weight @ p.by_paid).reshape(products_count, p.steps)


def _profit(p: Programme, u: Unknowns, link: Floats, start: Floats) -> Floats:
    profit = np.empty(p.scenarios)
    chain_profit(u.d, u.e, link[0], start, p.by_discharge, p.by_change, p.terminal, profit)
    return profit + p.by_first @ u.x
