"""Follows the durable journal with one peer: `python follow.py MODULE`; shows its sum on standard output as it goes.

It runs in the peer's own virtual environment, where Shoal is not. The first line of standard input is the job, as JSON;
when the input ends, so does the peer. A shown line is ``shown SAMPLES SUM_W MONOTONIC_NS``: how many samples are in the
sum over all sites of their newest battery, solar and load power, and when.
"""

from __future__ import annotations

import importlib
import json
import sys
import threading

from journal import Job  # type: ignore[import-not-found]


def main(module: str) -> None:
    """Let the peer follow until the input ends."""
    job = Job(**json.loads(sys.stdin.readline()), stopped=threading.Event())
    threading.Thread(target=_wait_for_end, args=(job.stopped,), daemon=True).start()
    importlib.import_module(module).follow(job)


def _wait_for_end(stopped: threading.Event) -> None:
    sys.stdin.read()
    stopped.set()


if __name__ == "__main__":
    main(*sys.argv[1:])
