"""Become another program that dies with its parent: run as a script, `python _launch.py <parent pid> <program> ...`.

Linux keeps the parent-death signal across exec, so setting it here, in a process of our own, needs no code between
fork and exec of the parent, which would not be safe there. Elsewhere the program simply runs on. The kernel sends the
signal when the *thread* that started this process ends: start servers from a thread that lives as long as the plant.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Arrange the signal and replace this process."""
    parent, program = int(arguments[0]), arguments[1]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            sys.exit("the parent is gone already")
    os.execv(program, arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
