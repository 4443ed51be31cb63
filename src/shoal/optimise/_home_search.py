"""The search behind a home's plan: branch and bound over the few intervals that its prices make non-convex.

An export price above the import price, or a price so low that wasting energy would pay, is replaced by a chord; a branch holds
one such interval to one direction of the grid or of the battery. Every node's plan is a plan, and its bound a bound.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shoal.optimise import _home_kernel as at_prices
from shoal.optimise import _home_optimum as kernel
from shoal.optimise import _home_room as rooms
from shoal.optimise._home_room import Room

Floats = NDArray[np.float64]
Holds = NDArray[np.int8]

_FREE: Holds = np.empty(0, np.int8)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Problem:
    """A home in the columns of the kernels: its numbers, and energies and prices of each interval."""

    home: Floats
    load_kwh: Floats
    solar_kwh: Floats
    import_per_kwh: Floats
    export_per_kwh: Floats
    ramp_kwh: Floats
    ramp_per_kwh: Floats
    gap_amount: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """The best path, its cost, what no path can go below, and how many relaxations were solved."""

    path: Floats
    cost_amount: float
    bound_amount: float
    nodes: int


class _Search:
    def __init__(self, problem: Problem, room: Room) -> None:
        self.problem, self.room = problem, room
        self.path = np.empty((rooms.PATH_ROWS, problem.load_kwh.size))
        self.cost = np.inf
        self.nodes = 0
        self._car = kernel.cars_of(1, 0.0)[0]

    def solve(self, direction: Holds, side: Holds) -> tuple[float, Floats, bool]:
        """Return the bound, the path and whether it may be above it, of a node; a better path is kept."""
        problem, room = self.problem, self.room
        cost, bound, state = kernel.optimum(
            problem.home, problem.load_kwh, problem.solar_kwh, problem.import_per_kwh, problem.export_per_kwh,
            problem.ramp_kwh, problem.ramp_per_kwh, direction, side, self._car, problem.gap_amount, room
        )  # fmt: skip
        self.nodes += 1
        path = room.paths[rooms.BEST].copy()
        if cost < self.cost:
            self.cost, self.path = cost, path
        return bound, path, state != at_prices.CONVEX

    def branch(self, path: Floats, direction: Holds, side: Holds) -> list[tuple[Holds, Holds]]:
        """Return the two halves of a node at its worst interval; none when every interval is held."""
        problem = self.problem
        wrong = problem.export_per_kwh > problem.import_per_kwh
        by_side = wrong & (side == 0)
        excess = path[rooms.EXCESS]
        below = np.minimum(problem.import_per_kwh, problem.export_per_kwh) < 0.0
        worst = np.where(by_side | ((direction == 0) & (below | (excess > 0.0))), excess, -np.inf)
        at = int(np.argmax(worst))
        if worst[at] == -np.inf:
            return []
        halves = []
        for held in (-1, 1):
            one, other = direction.copy(), side.copy()
            if by_side[at]:
                other[at] = held
            else:
                one[at] = held
            halves.append((one, other))
        return halves

    def dive(self, path: Floats, direction: Holds, side: Holds) -> None:
        """Try the plan that keeps each interval to the direction that a relaxed path takes in it."""
        wrong = self.problem.export_per_kwh > self.problem.import_per_kwh
        net, released = path[rooms.NET_KWH], path[rooms.RELEASED_KWH]
        sides = np.where(wrong & (side == 0), np.where(net < 0.0, -1, 1), side).astype(np.int8)
        both = (direction == 0) & (np.minimum(self.problem.import_per_kwh, self.problem.export_per_kwh) < 0.0)
        ways = np.where(both, np.where(released > 0.0, -1, 1), direction).astype(np.int8)
        self.solve(ways, sides)


def search(problem: Problem, room: Room, *, node_limit: int) -> Found:
    """Return the best plan that so many relaxations find, and what no plan can go below."""
    run = _Search(problem, room)
    bound, path, bent = run.solve(_FREE, _FREE)
    if not bent or run.cost - bound <= problem.gap_amount:
        return Found(path=run.path, cost_amount=run.cost, bound_amount=min(bound, run.cost), nodes=1)
    steps = problem.load_kwh.size
    free = np.zeros(steps, np.int8)
    run.dive(path, free, free)
    # Nodes by their bounds, the lowest first; the number breaks ties.
    waiting: list[tuple[float, int, Floats, Holds, Holds]] = [(bound, 0, path, free, free)]
    floor = np.inf
    while waiting and run.nodes + 3 <= node_limit:
        bound, _, path, direction, side = heapq.heappop(waiting)
        if bound >= run.cost - problem.gap_amount:
            floor = min(floor, bound)
            break
        halves = run.branch(path, direction, side)
        if not halves:
            floor = min(floor, bound)
            continue
        for one, other in halves:
            low, found, inside = run.solve(one, other)
            low = max(low, bound)
            if low < run.cost - problem.gap_amount and inside:
                heapq.heappush(waiting, (low, run.nodes, found, one, other))
            else:
                floor = min(floor, low)
        if waiting:
            low, _, found, one, other = waiting[0]
            if run.nodes % 8 == 0:
                run.dive(found, one, other)
    floor = min([floor, run.cost, *(node[0] for node in waiting)])
    return Found(path=run.path, cost_amount=run.cost, bound_amount=floor, nodes=run.nodes)
