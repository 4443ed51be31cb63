"""The peers of `shoal bench twins` and of ingest: each is installed once into a virtual environment of its own and run there.

Their pins would conflict with each other and with Shoal's, and none of them is a dependency of Shoal. The environments
stay under the user's cache directory; a peer that cannot be had or whose sums are wrong is absent, with the reason.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import typer

SCRIPTS: Final = Path(__file__).parent / "_peer_scripts"
READER_PINS: Final = ("nats-py==2.16.0", "nkeys==0.2.1", "numpy==2.4.6")
"""What a peer needs to read the journal."""
_SOURCE_ONLY: Final = "nkeys"
"""What is not to be had as a wheel."""
_MARK: Final = "pinned.txt"
_INSTALL_TIMEOUT_S: Final = 900.0
_RUN_TIMEOUT_S: Final = 180.0
_MOST_REASON: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another library that can hold the newest value of devices.

    Attributes:
        name: What it is called, and the directory of its environment.
        module: Its module in `_peer_scripts`.
        pins: What is installed, ``name==version``.
        about: How it does the job, for people.
        devices: How many devices it can bear.
        rounds: How many updates each device gets: a few seconds' worth in all.
    """

    name: str
    module: str
    pins: tuple[str, ...]
    about: str
    devices: int
    rounds: int

    @property
    def label(self) -> str:
        """Its name and version."""
        return self.pins[0].replace("==", " ") if self.pins else self.name


PEERS: Final = (
    Peer(
        name="asyncio",
        module="asyncio_queues",
        pins=(),
        about="a bounded queue and a task a device",
        devices=10_000,
        rounds=30,
    ),
    Peer(
        name="pykka",
        module="pykka_actors",
        pins=("pykka==4.5.0", *READER_PINS),
        about="an actor (a thread) a device",
        devices=1_000,
        rounds=40,
    ),
    Peer(
        name="frequenz-channels",
        module="frequenz_channels",
        pins=("frequenz-channels==1.12.0", *READER_PINS),
        about="a channel and a task a device",
        devices=10_000,
        rounds=8,
    ),
    Peer(
        name="bytewax",
        module="bytewax_flow",
        pins=("bytewax==0.21.1", *READER_PINS),
        about="one worker, keyed by device, stateful map",
        devices=10_000,
        rounds=20,
    ),
    Peer(
        name="ray",
        module="ray_shards",
        pins=("ray==2.60.0", *READER_PINS),
        about="2 shard actors in processes of their own, numpy batches of 20,000",
        devices=100_000,
        rounds=30,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerRun:
    """What a peer did.

    Attributes:
        took_s: How long all updates took, the median over the repeats.
        spread_s: The shortest and the longest of them.
        memory_bytes: What its devices took.
        sums_w: The sum of every group.
    """

    took_s: float
    spread_s: tuple[float, float]
    memory_bytes: int
    sums_w: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Absent:
    """Says why a peer did not take part."""

    reason: str


def environments() -> Path:
    """Return where the virtual environments are kept."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "shoal" / "peers"


def prepare(peer: Peer, *, install: bool) -> Path | Absent:
    """Return the interpreter of a peer's environment; it is made first when it is not there and may be installed."""
    home = environments() / peer.name
    python, mark = home / "bin" / "python", home / _MARK
    pinned = "\n".join([sys.version, *peer.pins])
    if python.exists() and mark.exists() and mark.read_text(encoding="utf-8") == pinned:
        return python
    if peer.pins and not install:
        return Absent("it is not installed; a run without --quick installs it")
    typer.echo(f"setting up {peer.label} in {home}", err=True)
    shutil.rmtree(home, ignore_errors=True)
    steps = [[sys.executable, "-m", "venv", *([] if peer.pins else ["--without-pip"]), str(home)]]
    if peer.pins:
        wheels = [
            "--quiet",
            "--disable-pip-version-check",
            "--only-binary=:all:",
            f"--no-binary={_SOURCE_ONLY}",
        ]
        steps.append([str(python), "-m", "pip", "install", *wheels, *peer.pins])
    for step in steps:
        outcome = _execute(step, _INSTALL_TIMEOUT_S)
        if isinstance(outcome, Absent):
            return Absent(f"it cannot be installed: {outcome.reason}")
    mark.write_text(pinned, encoding="utf-8")
    return python


def run_peer(
    peer: Peer, python: Path, stream: Path, *, devices: int, groups: int, repeats: int
) -> PeerRun | Absent:
    """Let a peer take the updates of a stream in its own environment."""
    job = [peer.module, str(stream), str(devices), str(groups), str(repeats)]
    # Ray would leave its sessions behind
    outcome = _execute(
        [str(python), str(SCRIPTS / "run.py"), *job], _RUN_TIMEOUT_S, RAY_TMPDIR=str(stream.parent)
    )
    if isinstance(outcome, Absent):
        return Absent(f"it did not finish: {outcome.reason}")
    content = json.loads(outcome.splitlines()[-1])
    took_s = content["took_s"]
    return PeerRun(
        took_s=statistics.median(took_s),
        spread_s=(min(took_s), max(took_s)),
        memory_bytes=content["bytes"],
        sums_w=tuple(content["sums_w"]),
    )


def clean_environment(**variables: str) -> dict[str, str]:
    """Return the environment of a peer's process: nothing of this interpreter's reaches it."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PYTHON") and name != "VIRTUAL_ENV"
    }
    return inherited | variables


def last_complaint(complaint: str, status: int | None) -> str:
    """Return the last line of what a process complained, or how it ended; None for one that still runs."""
    lines = [line for line in complaint.splitlines() if line.strip()]
    ended = "it still runs" if status is None else f"exit status {status}"
    return (lines[-1] if lines else ended)[:_MOST_REASON]


def _execute(command: Sequence[str], timeout_s: float, **variables: str) -> str | Absent:
    """Return what a command printed."""
    try:
        with subprocess.Popen(
            command,
            env=clean_environment(**variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                printed, complaint = process.communicate(timeout=timeout_s)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
    except subprocess.TimeoutExpired:
        return Absent(f"it took more than {timeout_s:.0f} s")
    except OSError as error:
        return Absent(str(error))
    if process.returncode:
        return Absent(last_complaint(complaint, process.returncode))
    return printed
