"""The peers of `shoal bench optimise` that run apart: modelling languages and energy managers, each in an environment of its own.

Each gets the same days and must find the same objective; one that cannot be installed, fails or finds another is absent,
with the reason.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import typer
from numpy.typing import NDArray

from shoal.cli.benches._optimise_instances import Instance
from shoal.cli.benches._peers import Absent, Peer, _execute, environments, prepare

_SCRIPT: Final = Path(__file__).parent / "_optimise_peers_run.py"
_TIMEOUT_S: Final = 600.0
_INSTALL_TIMEOUT_S: Final = 1800.0
_WITH_SOURCES: Final = ("flexmeasures",)
"""Peers some of whose dependencies are not to be had as wheels."""
_ONE_THREAD: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)


def _peer(name: str, about: str, *pins: str) -> Peer:
    return Peer(name=f"optimise-{name}", module=name, pins=pins, about=about, devices=0, rounds=0)


PEERS: Final = (
    _peer("linopy", "model built and solved by HiGHS", "linopy==0.10.1", "highspy==1.15.1"),
    _peer("pypsa", "network built and solved by HiGHS", "pypsa==1.4.0", "highspy==1.15.1"),
    _peer("cvxpy", "problem built and solved by HiGHS", "cvxpy==1.9.3", "highspy==1.15.1"),
    _peer("emhass", "its day-ahead optimisation without loads and sun", "emhass==0.18.7", "highspy==1.15.1"),
    _peer(
        "flexmeasures",
        "its device scheduler, without server and database",
        "flexmeasures==1.0.1",
        "Flask-Security-Too<5.8",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PeerAnswers:
    """How long a peer took for each day, and what each was worth to it, in currency."""

    took_s: NDArray[np.float64]
    values: NDArray[np.float64]


def as_object(instance: Instance) -> dict[str, object]:
    """Return a day as the peers read it."""
    own, limits = instance.storage, instance.limits
    assert limits.energy_min_kwh is not None and limits.energy_max_kwh is not None
    return {
        "price_per_mwh": instance.price_per_mwh.tolist(),
        "interval_h": instance.interval_h,
        "charge_limit_kw": own.charge_limit_kw,
        "discharge_limit_kw": own.discharge_limit_kw,
        "charge_efficiency_frac": own.charge_efficiency_frac,
        "discharge_efficiency_frac": own.discharge_efficiency_frac,
        "energy_capacity_kwh": own.energy_capacity_kwh,
        "initial_energy_kwh": own.initial_energy_kwh,
        "energy_min_kwh": limits.energy_min_kwh.tolist(),
        "energy_max_kwh": limits.energy_max_kwh.tolist(),
    }


def ask_peer(peer: Peer, days: Sequence[Instance], *, install: bool) -> PeerAnswers | Absent:
    """Let a peer solve days in its own environment."""
    python = _prepared(peer, install)
    if isinstance(python, Absent):
        return python
    with tempfile.TemporaryDirectory(prefix="shoal-bench-", ignore_cleanup_errors=True) as directory:
        path = Path(directory) / "days.json"
        path.write_text(json.dumps([as_object(day) for day in days]), encoding="utf-8")
        outcome = _execute(
            [str(python), str(_SCRIPT), peer.module, str(path)], _TIMEOUT_S, **_ONE_THREAD, HOME=directory
        )
    if isinstance(outcome, Absent):
        return Absent(f"it did not finish: {outcome.reason}")
    content = json.loads(outcome.splitlines()[-1])
    return PeerAnswers(took_s=np.array(content["took_s"]), values=np.array(content["values"]))


@cache
def _prepared(peer: Peer, install: bool) -> Path | Absent:
    if peer.module not in _WITH_SOURCES:
        return prepare(peer, install=install)
    home = environments() / peer.name
    python, mark = home / "bin" / "python", home / "pinned.txt"
    pinned = "\n".join([sys.version, *peer.pins])
    if python.exists() and mark.exists() and mark.read_text(encoding="utf-8") == pinned:
        return python
    if not install:
        return Absent("it is not installed; a run without --quick installs it")
    typer.echo(f"setting up {peer.label} in {home}", err=True)
    shutil.rmtree(home, ignore_errors=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--prefer-binary"]
    for step in ([sys.executable, "-m", "venv", str(home)], [*pip, *peer.pins]):
        outcome = _execute(step, _INSTALL_TIMEOUT_S)
        if isinstance(outcome, Absent):
            return Absent(f"it cannot be installed: {outcome.reason}")
    mark.write_text(pinned, encoding="utf-8")
    return python
