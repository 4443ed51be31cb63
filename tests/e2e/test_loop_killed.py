"""Processes killed in the middle of the loop: the next cycle has a controller, and homes say again what an engine lost."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from shoal.runtime.supervisor import Supervisor
from tests.e2e.running import assert_zeros, kill_role, once_at, run_plant

pytestmark = pytest.mark.slow


def test_a_killed_controller_is_replaced_by_the_next_cycle(tmp_path: Path) -> None:
    act, done = once_at(0.53, lambda supervisor: kill_role(supervisor, "control"))
    report = run_plant(tmp_path, act=act)
    assert done
    assert report["restarts"]["control"] == 1
    assert_zeros(report)


def test_a_killed_engine_is_restarted_and_homes_say_again_what_was_lost(tmp_path: Path) -> None:
    def kill_engine(_: Supervisor) -> None:
        os.kill(int((tmp_path / "fabric" / "nats-server.pid").read_text()), signal.SIGKILL)

    act, done = once_at(0.4, kill_engine)
    report = run_plant(tmp_path, act=act)
    assert done
    assert report["homes"]["resent"] > 0
    assert_zeros(report)
