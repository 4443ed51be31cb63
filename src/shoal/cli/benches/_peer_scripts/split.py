"""Runs one peer of `shoal bench dispatch`: `python split.py PEER FLEET ROUNDS`; prints times and where its powers are, as JSON.

It runs in the peer's own virtual environment, where Shoal is not. The fleet is an `.npz` of columns in W. Each round is
what its users do for a new set-point: the solvers build their problem and solve it, the distribution gets its components'
newest data and distributes; imports and the making of matrices are not timed, and neither is one round before.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

Solve = Callable[[], Any]


def rows_of(fleet: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Return the limits of sums as a sparse matrix with its lower and upper sides, in kW; the target comes first."""
    numpy: Any = importlib.import_module("numpy")
    sparse: Any = importlib.import_module("scipy.sparse")
    sites, target_kw = len(fleet["weight"]), float(fleet["target_w"]) / 1e3
    total = sparse.csr_matrix(numpy.ones((1, sites)))
    if "leaf" not in fleet:
        return total, numpy.array([target_kw]), numpy.array([target_kw])
    parent, above = fleet["parent"], fleet["leaf"].copy()
    groups = len(parent)
    members = sparse.csr_matrix((groups, sites))
    rows = numpy.arange(sites)
    while len(rows):
        members = members + sparse.csr_matrix((numpy.ones(len(rows)), (above, rows)), shape=(groups, sites))
        above = parent[above]
        rows, above = rows[above >= 0], above[above >= 0]
    base_kw = members @ fleet["base_w"] / 1e3
    low = numpy.maximum(fleet["group_lower_w"] / 1e3 - base_kw, -1e7)
    return (
        sparse.vstack([total, members]).tocsc(),
        numpy.append(target_kw, low),
        numpy.append(target_kw, fleet["group_upper_w"] / 1e3 - base_kw),
    )


def solve_osqp(fleet: dict[str, Any]) -> Solve:
    """Return OSQP's solution in W."""
    numpy: Any = importlib.import_module("numpy")
    sparse: Any = importlib.import_module("scipy.sparse")
    osqp: Any = importlib.import_module("osqp")
    sums, low, high = rows_of(fleet)
    matrix = sparse.vstack([sums, sparse.eye(len(fleet["weight"]))]).tocsc()
    quadratic = sparse.diags(1.0 / fleet["weight"]).tocsc()
    linear = -fleet["preferred_w"] / 1e3 / fleet["weight"]
    lower = numpy.append(low, fleet["lower_w"] / 1e3)
    upper = numpy.append(high, fleet["upper_w"] / 1e3)

    def solve() -> Any:
        problem = osqp.OSQP()
        problem.setup(
            quadratic,
            linear,
            matrix,
            lower,
            upper,
            verbose=False,
            eps_abs=1e-6,
            eps_rel=1e-6,
            max_iter=20_000,
            polishing=True,
        )
        return problem.solve().x * 1e3

    return solve


def solve_clarabel(fleet: dict[str, Any]) -> Solve:
    """Return Clarabel's solution in W."""
    numpy: Any = importlib.import_module("numpy")
    sparse: Any = importlib.import_module("scipy.sparse")
    clarabel: Any = importlib.import_module("clarabel")
    sums, _, high = rows_of(fleet)
    sites = len(fleet["weight"])
    quadratic = sparse.triu(sparse.diags(1.0 / fleet["weight"])).tocsc()
    linear = -fleet["preferred_w"] / 1e3 / fleet["weight"]
    identity = sparse.eye(sites)
    # the lower limits of groups are out of reach: to leave them out is to its advantage
    matrix = sparse.vstack([sums, identity, -identity]).tocsc()
    side = numpy.concatenate([high, fleet["upper_w"] / 1e3, -fleet["lower_w"] / 1e3])
    cones = [clarabel.ZeroConeT(1), clarabel.NonnegativeConeT(matrix.shape[0] - 1)]
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.max_threads = 1
    return lambda: (
        numpy.array(clarabel.DefaultSolver(quadratic, linear, matrix, side, cones, settings).solve().x) * 1e3
    )


def solve_frequenz(fleet: dict[str, Any]) -> Solve:
    """Return what Frequenz's algorithm distributes, in W."""
    numpy: Any = importlib.import_module("numpy")
    datetime: Any = importlib.import_module("datetime")
    distributing: Any = importlib.import_module(
        "frequenz.sdk.actor.power_distributing._distribution_algorithm"
    )
    component: Any = importlib.import_module("frequenz.sdk.microgrid.component")
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
    columns = ("soc_frac", "weight", "lower_w", "upper_w")
    homes = list(zip(*(fleet[name].tolist() for name in columns), strict=True))
    algorithm = distributing.DistributionAlgorithm()

    def solve() -> Any:
        pairs = [
            distributing.InvBatPair(
                component.BatteryData(
                    2 * row,
                    now,
                    100.0 * soc,
                    20.0,
                    100.0,
                    1e3 * kwh,
                    low,
                    0.0,
                    high,
                    0.0,
                    25.0,
                    None,
                    None,
                    [],
                ),
                component.InverterData(2 * row + 1, now, 0.0, low, 0.0, high, 0.0, None, []),
            )
            for row, (soc, kwh, low, high) in enumerate(homes)
        ]
        powers = algorithm.distribute_power(float(fleet["target_w"]), pairs).distribution
        return numpy.array([powers[2 * row + 1] for row in range(len(homes))])

    return solve


PEERS: dict[str, Callable[[dict[str, Any]], Solve]] = {
    "osqp": solve_osqp,
    "clarabel": solve_clarabel,
    "frequenz": solve_frequenz,
}


def main(peer: str, path: str, rounds: str) -> None:
    """Split with a peer some times; print how long each took and the file of its powers."""
    warnings.simplefilter("ignore")
    numpy: Any = importlib.import_module("numpy")
    with numpy.load(path) as file:
        solve = PEERS[peer]({name: file[name] for name in file.files})
    solve()
    took_s = []
    for _ in range(int(rounds)):
        began_s = time.perf_counter()
        power_w = solve()
        took_s.append(time.perf_counter() - began_s)
    answer = Path(path).with_name("power.npy")
    numpy.save(answer, power_w)
    sys.stdout.write("\n" + json.dumps({"took_s": took_s, "power": str(answer)}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
