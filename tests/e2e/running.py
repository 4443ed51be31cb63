"""A whole plant for a test: a short demonstration run with something done to it on the way."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shoal.cli.demo import Demo, Progress
from shoal.runtime.settings import Settings, load_settings
from shoal.runtime.supervisor import Supervisor

Act = Callable[[Progress, Supervisor], None]


def settings_for(data_dir: Path, *, sites: int, hours: int, seed: int = 1) -> Settings:
    """Return the settings of a run as fast as the machine allows, on free ports."""
    return load_settings(
        file=None,
        env={},
        flags={
            "data_dir": str(data_dir),
            "demo.sites": sites,
            "demo.duration_s": hours * 3_600,
            "demo.seed": seed,
            "demo.speed": 0.0,
            "api.port": 0,
        },
    )


def run_plant(
    data_dir: Path,
    *,
    sites: int = 30,
    hours: int = 24,
    seed: int = 1,
    page: bool = False,
    act: Act | None = None,
    on_page: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Run from the lead-in to the last step and return the report."""
    demo = Demo(
        settings=settings_for(data_dir, sites=sites, hours=hours, seed=seed),
        page=page,
        on_progress=act,
        on_page=on_page,
    )
    return asyncio.run(demo.run())


def once_at(done_frac: float, action: Callable[[Supervisor], None]) -> tuple[Act, list[float]]:
    """Return an `act` that does the action once when the run has come so far, and the list that notes it."""
    done: list[float] = []

    def act(progress: Progress, supervisor: Supervisor) -> None:
        if not done and progress.phase == "run" and progress.done_frac >= done_frac:
            done.append(progress.done_frac)
            action(supervisor)

    return act, done


def kill_role(supervisor: Supervisor, role: str) -> None:
    """Kill the process of a role as the system would: no word of farewell."""
    pid = supervisor.state(role).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def assert_zeros(report: dict[str, Any]) -> None:
    """Assert everything that must be zero in any run, whatever happened to it."""
    must_be_zero = (
        "samples_lost",
        "samples_twice_in_history",
        "gates_missed",
        "bids_duplicate",
        "lease_violations",
        "reserve_violations",
        "limit_violations",
        "money_balance_error",
    )
    assert {name: report[name] for name in must_be_zero} == dict.fromkeys(must_be_zero, 0), report
    assert report["energy_balance_error_kwh"] <= 1e-6 * report["energy_moved_kwh"], report
    assert report["award_mwh"] > 0, report
    assert report["delivered_share"] >= 0.98, report
    assert report["gates_total"] > 0
