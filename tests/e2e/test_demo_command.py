"""The demonstration as a newcomer runs it: its page answers, Ctrl-C ends it cleanly, and it starts again."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import psutil  # type: ignore[import-untyped]
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.alone]

ROOT = Path(__file__).parents[2]
PAGE = re.compile(r"The page: (http://\S+)")
CLEAN_END_S = 5.0
LIVE_S = 60.0


@contextmanager
def demonstration(data_dir: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start `shoal demo` as a command and yield it with the address of its page."""
    command = [
        sys.executable,
        "-m",
        "shoal.cli.main",
        "demo",
        "--sites",
        "30",
        "--speed",
        "900",
        "--port",
        "0",
    ]
    process = subprocess.Popen(
        [*command, "--data-dir", str(data_dir)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    try:
        yield process, _page_of(process)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def test_ctrl_c_leaves_no_process_and_it_starts_again_over_what_it_left(tmp_path: Path) -> None:
    for _ in range(2):
        with demonstration(tmp_path) as (process, url):
            with urlopen(url, timeout=30) as answer:
                assert b'<div id="root">' in answer.read()
            family = psutil.Process(process.pid).children(recursive=True)
            assert len(family) >= 7, "every role and the engine run"
            took_s = _interrupt(process)
            assert took_s <= CLEAN_END_S
            _, alive = psutil.wait_procs(family, timeout=1.0)
            assert [one for one in alive if not _has_ended(one)] == []


def _has_ended(process: psutil.Process) -> bool:
    """Whether a process has ended; what outlived its parent by a moment waits for the system's first process to reap it."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _page_of(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    deadline = time.monotonic() + LIVE_S
    said = []
    for line in process.stderr:
        said.append(line)
        found = PAGE.search(line)
        if found:
            return found[1]
        if time.monotonic() > deadline:
            break
    raise AssertionError("no page came up: " + "".join(said))


def _interrupt(process: subprocess.Popen[str]) -> float:
    """Press Ctrl-C and return how long the end took."""
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.wait(timeout=30)
    assert process.returncode == 130
    return time.monotonic() - began
