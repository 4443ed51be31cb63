"""One plant for one data directory, whatever became of the last one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shoal.domain.errors import UnavailableError
from shoal.runtime.lock import LOCK_FILE, InstanceLock

HOLDER = """
import sys
from pathlib import Path
from shoal.runtime.lock import InstanceLock
with InstanceLock(Path(sys.argv[1])):
    sys.stdout.write("held\\n")
    sys.stdout.flush()
    sys.stdin.read()
"""


def hold(data_dir: Path) -> subprocess.Popen[str]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(data_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_live_holder_is_named_and_a_dead_one_is_taken_over(tmp_path: Path) -> None:
    with hold(tmp_path) as holder:
        with pytest.raises(UnavailableError, match=f"process {holder.pid} is using it"):
            InstanceLock(tmp_path).acquire()
        holder.kill()
    assert (tmp_path / LOCK_FILE).read_text().strip() == str(holder.pid)
    with InstanceLock(tmp_path):
        assert (tmp_path / LOCK_FILE).read_text().strip() == str(os.getpid())


def test_lock_can_be_taken_again_after_release(tmp_path: Path) -> None:
    for _ in range(2):
        with InstanceLock(tmp_path / "new"):
            pass


def test_unusable_directory_is_said_clearly(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match="data directory"):
        InstanceLock(tmp_path / "file").acquire()
