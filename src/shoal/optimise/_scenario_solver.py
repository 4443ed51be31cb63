"""The interior-point method of the scenario programme: a predictor and a corrector a step, on the arrow-shaped system.

The Newton system is eliminated scenario by scenario (each a chain) down to one dense system of the first stage. What is
found is proved apart from how it was found: any multipliers that are not negative give a bound, and any first stage gives
a value, by the exact dispatch of every scenario; the caller stops when the two are close enough.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shoal.optimise._scenario_kernel import (
    LINKS,
    ROWS,
    factor_chains,
    reduce_chains,
    restore_chains,
    solve_lower,
    sparse_normal,
)
from shoal.optimise._scenario_programme import Programme, Rows, Unknowns, excess, gradient, left_sides

Floats = NDArray[np.float64]
# A step stops short of the nearest bound by this share of the way.
_STEP_FRAC = 0.995
# What is added to a matrix that rounding has made indefinite, as a share of its diagonal.
_JITTER_FRAC = 1e-13
_MOST_JITTER_FRAC = 1e-4
_REFINEMENTS = 4
_REFINED = 1e-10


@dataclass(slots=True, kw_only=True, eq=False)
class Point:
    """Where the method stands: unknowns, and of every row its slack and its multiplier, both above 0."""

    at: Unknowns
    slack: Rows
    y: Rows


def starting_point(p: Programme, x: Floats) -> Point:
    """Return a point well inside every bound, though its slacks need not be what the rows leave."""
    shape, tails = (p.scenarios, p.steps), p.scenarios if p.risky else 0
    at = Unknowns(
        d=np.full(shape, 0.2 * p.constants[3]),
        e=np.full(shape, 0.5 * p.constants[4]),
        x=x.copy(),
        z=np.ones(tails),
    )
    chain, first, tail, over = excess(p, at)
    tail_weight = p.risk_frac * p.probability[:tails]
    over_weight = np.maximum(tail_weight * (1.0 / p.tail_frac - 1.0), 1e-3 * p.risk_frac / p.scenarios)
    return Point(
        at=at,
        slack=(
            np.maximum(-chain, 0.1),
            np.maximum(-first, 0.1),
            np.maximum(-tail, 0.5 * p.steps),
            np.maximum(-over, 0.5 * p.steps),
        ),
        y=(
            np.broadcast_to(0.2 * p.probability[:, None], (ROWS, *shape)).copy(),
            np.full(p.limit.size, 0.05),
            tail_weight,
            over_weight,
        ),
    )


def advance(p: Programme, point: Point) -> None:
    """Move the point by one step of predictor and corrector.

    Raises:
        LinAlgError: Rounding has made the system useless.
    """
    residual = _rows(excess(p, point.at), point.slack, lambda e, s: e + s)
    system = _Newton(p, _rows(point.y, point.slack, lambda y, s: y / s))
    shifted = _rows(system.theta, residual, lambda t, r: t * r)
    count = sum(s.size for s in point.slack)
    mu = _products(point.slack, point.y) / count

    product = _rows(point.slack, point.y, lambda s, y: -s * y)
    _, slack, y = _direction(p, system, point, residual, shifted, product, 0)
    primal, dual = _longest(point.slack, slack), _longest(point.y, y)
    after = _products(
        _rows(point.slack, slack, lambda s, ds: s + primal * ds),
        _rows(point.y, y, lambda v, dv: v + dual * dv),
    )
    target = (after / count / mu) ** 3 * mu
    second = _rows(slack, y, lambda ds, dy: target - ds * dy)
    product = _rows(product, second, lambda first, more: first + more)
    step, slack, y = _direction(p, system, point, residual, shifted, product, _REFINEMENTS)
    primal = min(1.0, _STEP_FRAC * _longest(point.slack, slack))
    dual = min(1.0, _STEP_FRAC * _longest(point.y, y))
    point.at = point.at.plus(step, primal)
    point.slack = _rows(point.slack, slack, lambda s, ds: s + primal * ds)
    point.y = _rows(point.y, y, lambda v, dv: v + dual * dv)


class _Newton:
    """The factored system of one step."""

    def __init__(self, programme: Programme, theta: Rows) -> None:
        p = self._programme = programme
        s, t = p.scenarios, p.steps
        self.theta = theta
        self._local = np.empty((ROWS, s, t))
        self._pivot, self._ratio, self._answer = np.empty((s, t)), np.zeros((s, t)), np.empty((s, t))
        by_link, curvature, schur = (
            np.empty((s, LINKS * t)),
            np.empty(s),
            np.empty((LINKS * t, LINKS * t)),
        )
        factor_chains(
            theta[0],
            p.by_discharge,
            p.by_change,
            p.terminal,
            p.constants,
            p.chord,
            self._local,
            self._pivot,
            self._ratio,
            self._answer,
            by_link,
            curvature,
            schur,
        )
        linked = _linked_size(p)
        links = p.links[:, :linked]
        matrix = np.zeros((p.links.shape[1], p.links.shape[1]))
        matrix[:linked, :linked] = links.T @ schur @ links
        sparse_normal(p.first, p.column_index, p.entry, theta[1], matrix)
        self._row = np.empty((0, 0))
        self._curvature = np.empty(0)
        if p.risky:
            self._row = -p.by_first
            self._row[:, :linked] += by_link @ links
            self._row[:, -1] += 1.0
            self._curvature = curvature + 1.0 / theta[2] + 1.0 / theta[3]
            scaled = self._row / np.sqrt(self._curvature)[:, None]
            matrix += scaled.T @ scaled
        self._lower, self._scale = _cholesky(matrix)

    def solve(self, right: Unknowns) -> Unknowns:
        """Return the changes of the unknowns."""
        p = self._programme
        link, held, along = np.empty((LINKS, p.steps)), np.empty_like(right.e), np.empty(p.scenarios)
        reduce_chains(
            right.d,
            right.e,
            self.theta[0],
            p.by_discharge,
            self._local,
            self._pivot,
            self._ratio,
            self._answer,
            link,
            held,
            along,
        )
        x, z = right.x + link.ravel() @ p.links, right.z
        if p.risky:
            along -= right.z / self.theta[3]
            x -= (along / self._curvature) @ self._row
        x *= self._scale
        solve_lower(self._lower, x)
        x *= self._scale
        if p.risky:
            along = (self._row @ x + along) / self._curvature
            z = (right.z + along) / self.theta[3]
        else:
            along[:] = 0.0
        d, e = np.empty_like(right.d), np.empty_like(right.e)
        restore_chains(
            right.d,
            self.theta[0],
            p.by_discharge,
            self._local,
            self._pivot,
            self._ratio,
            self._answer,
            held,
            p.linked(x),
            along,
            d,
            e,
        )
        return Unknowns(d=d, e=e, x=x, z=z)


def _direction(
    p: Programme,
    system: _Newton,
    point: Point,
    residual: Rows,
    shifted: Rows,
    product: Rows,
    refinements: int,
) -> tuple[Unknowns, Rows, Rows]:
    """Return the Newton step of unknowns, slacks and multipliers that changes their products by `product`."""
    wanted = _rows(product, point.slack, lambda q, s: q / s)
    wanted = _rows(_rows(wanted, shifted, lambda q, r: q + r), point.y, lambda q, y: q + y)
    right = gradient(p, wanted)
    step = system.solve(_negative(right))
    moved = left_sides(p, step, np.zeros(1))
    for _ in range(refinements):
        # What rounding left of the system: late steps need it taken out to stay dual feasible.
        left = gradient(p, _rows(system.theta, moved, lambda t, m: t * m), scale=0.0).plus(right)
        if max(float(np.abs(part).max()) for part in (left.d, left.e, left.x)) <= _REFINED:
            break
        step = step.plus(system.solve(_negative(left)))
        moved = left_sides(p, step, np.zeros(1))
    slack = _rows(residual, moved, lambda r, m: -r - m)
    used = _rows(point.y, slack, lambda y, ds: y * ds)
    rest = _rows(product, used, lambda q, u: q - u)
    return step, slack, _rows(rest, point.slack, lambda q, s: q / s)


def _rows(first: Rows, second: Rows, combine: Callable[[Floats, Floats], Floats]) -> Rows:
    """Return two sets of rows combined, group by group."""
    a, b, c, d = (combine(one, other) for one, other in zip(first, second, strict=True))
    return a, b, c, d


def _negative(u: Unknowns) -> Unknowns:
    return Unknowns(d=-u.d, e=-u.e, x=-u.x, z=-u.z)


def _products(slack: Rows, y: Rows) -> float:
    return sum(float(np.vdot(s, v)) for s, v in zip(slack, y, strict=True))


def _longest(values: Rows, change: Rows) -> float:
    """Return how far values above 0 can be changed, at most 1, before one of them is used up."""
    longest = 1.0
    for value, moved in zip(values, change, strict=True):
        if value.size:
            fastest = float((-moved / value).max())
            longest = min(longest, 1.0 / fastest) if fastest > 0.0 else longest
    return longest


def _linked_size(p: Programme) -> int:
    """Return how many of the first stage's unknowns reach into the chains; they come first."""
    reached = np.flatnonzero(p.links.any(axis=0))
    return int(reached[-1]) + 1 if reached.size else 0


def _cholesky(matrix: Floats) -> tuple[Floats, Floats]:
    """Return the lower factor of the matrix scaled to a diagonal of ones, and the scale; `matrix` is used up."""
    scale = 1.0 / np.sqrt(np.maximum(np.diagonal(matrix), np.finfo(np.float64).tiny))
    matrix *= scale[:, None]
    matrix *= scale
    jitter = _JITTER_FRAC
    while True:
        try:
            matrix[np.diag_indices_from(matrix)] = 1.0 + jitter
            return np.linalg.cholesky(matrix).astype(np.float64, copy=False), scale
        except np.linalg.LinAlgError:
            if jitter > _MOST_JITTER_FRAC:
                raise
            jitter *= 100.0
