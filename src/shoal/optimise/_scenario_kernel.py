"""Compiled kernels of the scenario programme's interior-point method: every scenario is a chain, all share one head.

An interval of a scenario has two unknowns, the discharge `d` and the energy `e` after it; the charge follows from the
balance. Seven rows hold each: no negative discharge, no negative charge, room for reserve up, room for reserve down,
energy behind reserve up, room behind reserve down, and charge and discharge on one side of their chord. What the first
stage puts into a chain is five numbers an interval (shift of energy, up, down, floor, room), so the Newton system is
tridiagonal in each scenario, and the scenarios meet in one small dense matrix. All is per unit of power and price.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shoal.domain.kernel import kernel

Floats = NDArray[np.float64]
ROWS = 7
SHIFT, UP, DOWN, FLOOR, ROOM = 0, 1, 2, 3, 4
LINKS = 5


@kernel
def chain_rows(
    d: Floats, e: Floats, link: Floats, start: Floats, constants: Floats, chord: Floats, rows: Floats
) -> None:
    """Fill the left sides of the chain rows, shape (7, S, T), at the first-stage `link`, shape (5, T).

    `start` holds the energy at the start (0 for a direction of change); `constants` charge per change of energy, charge
    per discharge at a held energy; `chord` the reciprocals of what an interval can draw and deliver, shape (2, S, T).
    """
    kappa, phi = constants[0], constants[1]
    scenarios, steps = d.shape
    for s in range(scenarios):
        before = start[0]
        for t in range(steps):
            c = kappa * (e[s, t] - before - link[0, t]) + phi * d[s, t]
            net = c - d[s, t]
            rows[0, s, t] = -d[s, t]
            rows[1, s, t] = -c
            rows[2, s, t] = link[1, t] - net
            rows[3, s, t] = net + link[2, t]
            rows[4, s, t] = link[3, t] - e[s, t]
            rows[5, s, t] = e[s, t] + link[4, t]
            rows[6, s, t] = c * chord[0, s, t] + d[s, t] * chord[1, s, t]
            before = e[s, t]


@kernel
def chain_profit(
    d: Floats,
    e: Floats,
    shift: Floats,
    start: Floats,
    by_discharge: Floats,
    by_change: Floats,
    terminal: Floats,
    profit: Floats,
) -> None:
    """Fill what each scenario earns with its chain, shape (S,)."""
    scenarios, steps = d.shape
    for s in range(scenarios):
        before, total = start[0], terminal[0] * e[s, steps - 1]
        for t in range(steps):
            total += by_discharge[s, t] * d[s, t] + by_change[s, t] * (e[s, t] - before - shift[t])
            before = e[s, t]
        profit[s] = total


@kernel
def chain_gradient(
    y: Floats,
    weight: Floats,
    by_discharge: Floats,
    by_change: Floats,
    terminal: Floats,
    constants: Floats,
    chord: Floats,
    by_d: Floats,
    by_e: Floats,
    by_link: Floats,
) -> None:
    """Fill the rows' transpose times `y`, less the profit's gradient times each scenario's `weight`."""
    kappa, phi = constants[0], constants[1]
    scenarios, steps = by_d.shape
    by_link[:] = 0.0
    for s in range(scenarios):
        w = weight[s]
        for t in range(steps):
            both = phi * chord[0, s, t] + chord[1, s, t]
            spread = y[3, s, t] - y[2, s, t]
            by_d[s, t] = (
                (phi - 1.0) * spread
                - y[0, s, t]
                - phi * y[1, s, t]
                + both * y[6, s, t]
                - w * by_discharge[s, t]
            )
            change = kappa * (spread - y[1, s, t] + y[6, s, t] * chord[0, s, t]) - w * by_change[s, t]
            by_e[s, t] = change - y[4, s, t] + y[5, s, t]
            if t > 0:
                by_e[s, t - 1] -= change
            by_link[0, t] -= change
            by_link[1, t] += y[2, s, t]
            by_link[2, t] += y[3, s, t]
            by_link[3, t] += y[4, s, t]
            by_link[4, t] += y[5, s, t]
        by_e[s, steps - 1] -= w * terminal[0]


@kernel
def factor_chains(
    theta: Floats,
    by_discharge: Floats,
    by_change: Floats,
    terminal: Floats,
    constants: Floats,
    chord: Floats,
    local: Floats,
    pivot: Floats,
    ratio: Floats,
    answer: Floats,
    by_link: Floats,
    curvature: Floats,
    schur: Floats,
) -> None:
    """Factor every scenario's chain for the row weights `theta`; add up the Schur complement on the links.

    Fills for the back-substitution `local` (7, S, T): the discharge's own second derivative and its ratios to change,
    up and down, then the three of the change; the tridiagonal factors `pivot` and `ratio`; and of the
    profit's row: `answer`, what it does to the chain, `by_link` (S, 5T) and its `curvature`. `schur` is (5T, 5T).
    """
    kappa, phi = constants[0], constants[1]
    scenarios, steps = by_discharge.shape
    inverse, differenced, twice = np.zeros((steps, steps)), np.zeros((steps, steps)), np.zeros((steps, steps))
    v, own, g = np.empty((LINKS, steps)), np.empty(steps), np.empty((3, steps))
    schur[:] = 0.0
    for s in range(scenarios):
        curve = 0.0
        for t in range(steps):
            t0, t1, t2, t3, t6 = (
                theta[0, s, t],
                theta[1, s, t],
                theta[2, s, t],
                theta[3, s, t],
                theta[6, s, t],
            )
            power, inward = t2 + t3, chord[0, s, t]
            both = phi * inward + chord[1, s, t]
            dd = t0 + t1 * phi * phi + power * (1.0 - phi) * (1.0 - phi) + t6 * both * both
            dn = kappa * (t1 * phi + power * (phi - 1.0) + t6 * both * inward)
            nn = kappa * kappa * (t1 + power + t6 * inward * inward)
            du, dw = t2 * (1.0 - phi), t3 * (phi - 1.0)
            rn, ru, rw = dn / dd, du / dd, dw / dd
            nn -= rn * dn
            nu, nw = -kappa * t2 - rn * du, kappa * t3 - rn * dw
            local[0, s, t], local[1, s, t], local[2, s, t], local[3, s, t] = dd, rn, ru, rw
            local[4, s, t], local[5, s, t], local[6, s, t] = nn, nu, nw
            v[0, t], v[1, t], v[2, t] = -nn, nu, nw
            v[3, t], v[4, t] = -theta[4, s, t], theta[5, s, t]
            schur[t, t] += nn
            schur[t, steps + t] -= nu
            schur[t, 2 * steps + t] -= nw
            schur[steps + t, steps + t] += t2 - ru * du
            schur[steps + t, 2 * steps + t] -= ru * dw
            schur[2 * steps + t, 2 * steps + t] += t3 - rw * dw
            schur[3 * steps + t, 3 * steps + t] += theta[4, s, t]
            schur[4 * steps + t, 4 * steps + t] += theta[5, s, t]
            by_d = -by_discharge[s, t]
            curve += by_d * by_d / dd
            g[0, t] = -by_change[s, t] - rn * by_d
            g[1, t], g[2, t] = -ru * by_d, -rw * by_d
            own[t] = nn + theta[4, s, t] + theta[5, s, t]
        for t in range(steps - 1):
            own[t] -= v[0, t + 1]
        # Tridiagonal factors, and the answer to the profit's gradient.
        pivot[s, 0] = own[0]
        for t in range(steps - 1):
            ratio[s, t] = v[0, t + 1] / pivot[s, t]
            pivot[s, t + 1] = own[t + 1] - ratio[s, t] * v[0, t + 1]
        for t in range(steps):
            answer[s, t] = g[0, t] - (g[0, t + 1] if t + 1 < steps else terminal[0])
        for t in range(steps):
            own[t] = answer[s, t]
        for t in range(1, steps):
            answer[s, t] -= ratio[s, t - 1] * answer[s, t - 1]
        answer[s, steps - 1] /= pivot[s, steps - 1]
        for t in range(steps - 2, -1, -1):
            answer[s, t] = answer[s, t] / pivot[s, t] - ratio[s, t] * answer[s, t + 1]
        for t in range(steps):
            curve += own[t] * answer[s, t]
            step = answer[s, t] - (answer[s, t - 1] if t > 0 else 0.0)
            by_link[s, t] = -g[0, t] - v[0, t] * step
            by_link[s, steps + t] = g[1, t] - v[1, t] * step
            by_link[s, 2 * steps + t] = g[2, t] - v[2, t] * step
            by_link[s, 3 * steps + t] = -v[3, t] * answer[s, t]
            by_link[s, 4 * steps + t] = -v[4, t] * answer[s, t]
        curvature[s] = curve
        # The inverse of the chain's matrix, and its differences along both sides.
        inverse[steps - 1, steps - 1] = 1.0 / pivot[s, steps - 1]
        for t in range(steps - 2, -1, -1):
            r = ratio[s, t]
            inverse[t, t] = 1.0 / pivot[s, t] + r * r * inverse[t + 1, t + 1]
            for k in range(t + 1, steps):
                inverse[t, k] = -r * inverse[t + 1, k]
                inverse[k, t] = inverse[t, k]
        for t in range(steps):
            for k in range(steps):
                differenced[t, k] = inverse[t, k] - (inverse[t - 1, k] if t > 0 else 0.0)
            twice[t, 0] = differenced[t, 0]
            for k in range(1, steps):
                twice[t, k] = differenced[t, k] - differenced[t, k - 1]
        for i in range(LINKS):
            for j in range(i, LINKS):
                middle = twice if j < 3 else (differenced if i < 3 else inverse)
                for t in range(steps):
                    factor, row, first = v[i, t], i * steps + t, j * steps
                    for k in range(steps):
                        schur[row, first + k] -= factor * middle[t, k] * v[j, k]
    for i in range(LINKS * steps):
        for k in range(i):
            schur[i, k] = schur[k, i]


@kernel
def reduce_chains(
    right_d: Floats,
    right_e: Floats,
    theta: Floats,
    by_discharge: Floats,
    local: Floats,
    pivot: Floats,
    ratio: Floats,
    answer: Floats,
    right_link: Floats,
    held: Floats,
    along: Floats,
) -> None:
    """Eliminate the chains from a right side: fill what is added to the links' (5, T), the chains' own answer `held`,
    and how far that goes `along` each profit's row.
    """
    scenarios, steps = right_d.shape
    right_link[:] = 0.0
    for s in range(scenarios):
        for t in range(steps):
            held[s, t] = right_e[s, t]
        total = 0.0
        for t in range(steps):
            moved = -local[1, s, t] * right_d[s, t]
            total -= by_discharge[s, t] * right_d[s, t] / local[0, s, t]
            held[s, t] += moved
            if t > 0:
                held[s, t - 1] -= moved
            right_link[0, t] -= moved
            right_link[1, t] -= local[2, s, t] * right_d[s, t]
            right_link[2, t] -= local[3, s, t] * right_d[s, t]
        for t in range(steps):
            total += answer[s, t] * held[s, t]
        along[s] = total
        _solve_chain(pivot, ratio, s, held)
        for t in range(steps):
            step = held[s, t] - (held[s, t - 1] if t > 0 else 0.0)
            right_link[0, t] += local[4, s, t] * step
            right_link[1, t] -= local[5, s, t] * step
            right_link[2, t] -= local[6, s, t] * step
            right_link[3, t] += theta[4, s, t] * held[s, t]
            right_link[4, t] -= theta[5, s, t] * held[s, t]


@kernel
def _solve_chain(pivot: Floats, ratio: Floats, s: int, x: Floats) -> None:
    steps = x.shape[1]
    for t in range(1, steps):
        x[s, t] -= ratio[s, t - 1] * x[s, t - 1]
    x[s, steps - 1] /= pivot[s, steps - 1]
    for t in range(steps - 2, -1, -1):
        x[s, t] = x[s, t] / pivot[s, t] - ratio[s, t] * x[s, t + 1]


@kernel
def restore_chains(
    right_d: Floats,
    theta: Floats,
    by_discharge: Floats,
    local: Floats,
    pivot: Floats,
    ratio: Floats,
    answer: Floats,
    held: Floats,
    link: Floats,
    along: Floats,
    d: Floats,
    e: Floats,
) -> None:
    """Fill the chains' part of the Newton step from the links' part and the profit rows' multipliers `along`."""
    scenarios, steps = right_d.shape
    for s in range(scenarios):
        for t in range(steps):
            by_change = (
                local[5, s, t] * link[1, t] + local[6, s, t] * link[2, t] - local[4, s, t] * link[0, t]
            )
            e[s, t] = by_change - theta[4, s, t] * link[3, t] + theta[5, s, t] * link[4, t]
            if t > 0:
                e[s, t - 1] -= by_change
        _solve_chain(pivot, ratio, s, e)
        for t in range(steps):
            e[s, t] = held[s, t] - e[s, t] - along[s] * answer[s, t]
        before = 0.0
        for t in range(steps):
            change = e[s, t] - before - link[0, t]
            before = e[s, t]
            d[s, t] = (
                (right_d[s, t] + by_discharge[s, t] * along[s]) / local[0, s, t]
                - local[1, s, t] * change
                - local[2, s, t] * link[1, t]
                - local[3, s, t] * link[2, t]
            )


@kernel
def sparse_normal(
    first: NDArray[np.int64], column_index: NDArray[np.int64], entry: Floats, weight: Floats, matrix: Floats
) -> None:
    """Add the rows' weighted normal matrix; row i has the entries from ``first[i]`` to ``first[i + 1]``."""
    for i in range(weight.shape[0]):
        for a in range(first[i], first[i + 1]):
            scaled = weight[i] * entry[a]
            for b in range(first[i], first[i + 1]):
                matrix[column_index[a], column_index[b]] += scaled * entry[b]


@kernel
def solve_lower(lower: Floats, x: Floats) -> None:
    """Solve ``lower lower' x = x`` in place."""
    size = x.shape[0]
    for i in range(size):
        total = x[i]
        for k in range(i):
            total -= lower[i, k] * x[k]
        x[i] = total / lower[i, i]
    for i in range(size - 1, -1, -1):
        x[i] /= lower[i, i]
        value = x[i]
        for k in range(i):
            x[k] -= lower[i, k] * value
