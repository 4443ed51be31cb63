"""The peers of `shoal bench dispatch`, each in an environment of its own: quadratic solvers and a microgrid kit.

The solvers get the same problem, and what their answer costs is compared; the distribution follows a rule of its own,
so what it costs says how far that rule is from the optimum. A peer that cannot be had or does not finish is absent.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from shoal.cli.benches._dispatch_inputs import Fleet, Grid
from shoal.cli.benches._peers import SCRIPTS, Absent, Peer, _execute, prepare

_TIMEOUT_S: Final = 300.0
_SCRIPT: Final = SCRIPTS / "split.py"
_ONE_THREAD: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"), "1"
)


def _peer(module: str, about: str, devices: int, *pins: str) -> Peer:
    return Peer(name=f"dispatch-{module}", module=module, pins=pins, about=about, devices=devices, rounds=5)


SOLVERS: Final = (
    _peer("osqp", "operator splitting, 1e-6, polished", 100_000, "osqp==1.1.3", "scipy==1.17.1"),
    _peer("clarabel", "interior point", 100_000, "clarabel==0.11.1", "scipy==1.17.1"),
)
DISTRIBUTION: Final = _peer(
    "frequenz", "its rule for batteries behind inverters", 1000, "frequenz-sdk==0.25.2"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerSplit:
    """What a peer answered.

    Attributes:
        took_s: How long it took, the median over its rounds.
        cost: What its split costs.
        missed_w: The farthest that it is from the target or beyond a limit.
    """

    took_s: float
    cost: float
    missed_w: float


def ask_peer(
    peer: Peer, fleet: Fleet, target_w: int, grid: Grid | None = None, *, install: bool
) -> PeerSplit | Absent:
    """Let a peer split a set-point in its own environment."""
    python = prepare(peer, install=install)
    if isinstance(python, Absent):
        return python
    with tempfile.TemporaryDirectory(prefix="shoal-bench-", ignore_cleanup_errors=True) as directory:
        path = Path(directory) / "fleet.npz"
        extra = {} if grid is None else {name: getattr(grid, name) for name in Grid.__slots__}
        columns = {name: getattr(fleet, name) for name in Fleet.__slots__}
        np.savez(path, **(columns | extra | {"target_w": np.int64(target_w)}))
        outcome = _execute(
            [str(python), str(_SCRIPT), peer.module, str(path), str(peer.rounds)],
            _TIMEOUT_S,
            **_ONE_THREAD,
            HOME=directory,
        )
        if isinstance(outcome, Absent):
            return Absent(f"it did not finish: {outcome.reason}")
        content = json.loads(outcome.splitlines()[-1])
        power_w = np.load(content["power"])
    missed_w = max(
        abs(float(power_w.sum()) - target_w),
        float((fleet.lower_w - power_w).max()),
        float((power_w - fleet.upper_w).max()),
        0.0,
    )
    return PeerSplit(took_s=float(np.median(content["took_s"])), cost=fleet.cost(power_w), missed_w=missed_w)
