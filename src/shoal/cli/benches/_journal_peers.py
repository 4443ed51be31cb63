"""The peers of ingest: what they take from the same engine, journal and load generator, one peer after the other.

A peer reads what is durable and keeps each site's newest sample and the sum of their power, which it shows every few
milliseconds; the load follows what it has shown, as it follows the plant. It does less than the plant: it keeps nothing
over a restart, answers no device, judges no sample and writes no history. A peer whose last sum is wrong is absent.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Final

import numpy as np
from numpy.typing import NDArray

from shoal.cli.benches._peers import (
    PEERS,
    READER_PINS,
    SCRIPTS,
    Absent,
    Peer,
    clean_environment,
    last_complaint,
    prepare,
)
from shoal.cli.benches._plant import MeasuredPlant, allow_many_files, measured_plant
from shoal.domain.wire import V2_HEADER_BYTES, decode
from shoal.fabric.keys import Keys, Role
from shoal.fabric.subjects import TELEMETRY_STREAM
from shoal.simulate.load import Load
from shoal.simulate.load_fleet import POWER_STEPS, LoadPlan
from shoal.simulate.load_fleet import prepare as prepare_messages

_MODULES: Final = {
    "asyncio": ("journal_asyncio", "a bounded queue and a task a site"),
    "pykka": ("journal_pykka", "an actor (a thread) a gateway"),
    "frequenz-channels": ("journal_frequenz", "a channel and a task a site"),
    "bytewax": ("journal_bytewax", "one worker, keyed by site, stateful map"),
    "ray": ("journal_ray", "2 shard actors in processes of their own, numpy batches"),
}
_WINDOW: Final = 20_000
"""Messages that may be under way, stored or not, unless that makes too many samples."""
_WINDOW_SAMPLES: Final = 200_000
_WARM_UP_FRAC: Final = 0.6
"""Of the time that counts: until every site has spoken."""
_FETCH_MESSAGES: Final = {"ray": 4_000}
"""Messages to fetch at once by who is better off with many of them; `_LEAST_FETCH` for the others."""
_LEAST_FETCH: Final = 1_000
_MOST_FETCH_SAMPLES: Final = 25_000
_READY_S: Final = 60.0
_DRAIN_S: Final = 60.0
_END_S: Final = 20.0
_NS_PER_MS: Final = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalPeer:
    """A peer as it follows the journal: who it is, for people, and what is installed and run."""

    label: str
    peer: Peer


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """What a peer did.

    Attributes:
        rate_per_s: Samples a second, until all that were sent were in its sum.
        slowest_refresh_ms: The longest time between two sums that it showed.
    """

    rate_per_s: float
    slowest_refresh_ms: float


def journal_peers() -> tuple[JournalPeer, ...]:
    """Return the peers; one that needs nothing but the standard library for the twins has an environment for this."""
    found: list[JournalPeer] = []
    for peer in PEERS:
        module, about = _MODULES[peer.name]
        beside = peer if peer.pins else replace(peer, name=f"{peer.name}-journal", pins=READER_PINS)
        found.append(JournalPeer(label=peer.label, peer=replace(beside, module=module, about=about)))
    return tuple(found)


async def measure_peers(
    plan: LoadPlan, duration_s: float, *, install: bool
) -> list[tuple[JournalPeer, Followed | Absent]]:
    """Let one peer after the other follow the load of a plan with gateways."""
    allow_many_files()
    peers = journal_peers()
    pythons = [await asyncio.to_thread(prepare, one.peer, install=install) for one in peers]
    outcomes: list[Followed | Absent] = []
    if all(isinstance(python, Absent) for python in pythons):
        return list(zip(peers, [python for python in pythons if isinstance(python, Absent)], strict=True))
    with tempfile.TemporaryDirectory(prefix="shoal-bench-", ignore_cleanup_errors=True) as directory:
        async with measured_plant(Path(directory) / "plant", plan, roles=("fabric",)) as plant:
            with await asyncio.to_thread(plant.open_load) as load:
                for one, python in zip(peers, pythons, strict=True):
                    outcomes.append(
                        python
                        if isinstance(python, Absent)
                        else await asyncio.to_thread(
                            follow_load, one.peer, python, plant, load, duration_s, Path(directory)
                        )
                    )
    return list(zip(peers, outcomes, strict=True))


def follow_load(
    peer: Peer, python: Path, plant: MeasuredPlant, load: Load, duration_s: float, directory: Path
) -> Followed | Absent:
    """Let a peer follow the load for a while; `directory` is for what it leaves. Blocks."""
    plan, first, before = plant.plan, load.messages, load.last_seq()
    window = min(_WINDOW, _WINDOW_SAMPLES // plan.samples_per_message)
    with _running(peer, python, directory) as running:
        shown = Shown(running.output)
        running.input.write(job_of(plant, peer) + "\n")
        running.input.flush()
        if not shown.wait(lambda: shown.times_ns != [], _READY_S):
            return Absent(f"it did not start: {running.complaint()}")
        for part_s in (_WARM_UP_FRAC * duration_s, duration_s):
            start, began_s, began_ns = load.messages, time.monotonic(), time.monotonic_ns()
            load.send_within(lambda: first + shown.samples // plan.samples_per_message, window, part_s)
            sent = (load.messages - first) * plan.samples_per_message
            if not shown.wait(functools.partial(shown.has, sent), _DRAIN_S):
                return Absent(f"it has {shown.samples:,} of {sent:,} samples: {running.complaint()}")
            took_s = time.monotonic() - began_s
        if (shown.samples, shown.sum_w) != (sent, expected_sum_w(plan, before, load.last_seq())):
            return Absent("its sum is wrong")
        times_ns = np.array(shown.times_ns, dtype=np.int64)
        running.end()
    return Followed(
        rate_per_s=(load.messages - start) * plan.samples_per_message / took_s,
        slowest_refresh_ms=float(np.diff(times_ns[times_ns >= began_ns]).max(initial=0)) / _NS_PER_MS,
    )


class Shown:
    """What a peer has shown so far, read by a thread of its own until the output ends."""

    def __init__(self, output: IO[str]) -> None:
        self.samples = 0
        self.sum_w = 0
        self.times_ns: list[int] = []
        self._ended = False
        self._news = threading.Condition()
        threading.Thread(target=self._read, args=(output,), daemon=True).start()

    def has(self, samples: int) -> bool:
        """Return whether so many samples are in the sum."""
        return self.samples >= samples

    def wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until a condition of what is shown holds; return whether it does, sooner when nothing more will come."""
        with self._news:
            self._news.wait_for(lambda: condition() or self._ended, timeout_s)
            return condition()

    def _read(self, output: IO[str]) -> None:
        for line in output:
            if line.startswith("shown "):
                samples, sum_w, at_ns = (int(word) for word in line.split()[1:])
                with self._news:
                    self.samples, self.sum_w = samples, sum_w
                    self.times_ns.append(at_ns)
                    self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()


def job_of(plant: MeasuredPlant, peer: Peer) -> str:
    """Return what a peer is told, as one line of JSON."""
    plan = plant.plan
    fitting = min(_FETCH_MESSAGES.get(peer.name, 0), _MOST_FETCH_SAMPLES // plan.samples_per_message)
    keys = Keys.create_or_load(plant.settings.data_dir / "keys")
    return json.dumps(
        {
            "url": plant.fabric_url,
            "seed": keys.seed(Role.JOURNAL),
            "inbox": keys.identity(Role.JOURNAL).inbox_prefix,
            "stream": TELEMETRY_STREAM,
            "batch": max(_LEAST_FETCH, fitting),
            "sites": len(plan.site_ids),
            "first_row": {device: number * plan.each for number, device in enumerate(plan.devices)},
        }
    )


def expected_sum_w(plan: LoadPlan, before: NDArray[np.int64], after: NDArray[np.int64]) -> int:
    """Return the power of all sites that have sent since `before`, by the last sample of each."""
    spoke = after > before
    beside_w = np.tile(_constant_w(plan), len(plan.devices))
    return int((after % POWER_STEPS + beside_w)[spoke].sum())


def _constant_w(plan: LoadPlan) -> NDArray[np.int64]:
    """Return solar and load of each site of a gateway, which are alike for all gateways and never change."""
    rings, places = prepare_messages(plan)
    ring = rings[0].reshape(plan.ring, places.message_bytes)
    begin = places.records_at - V2_HEADER_BYTES
    end = places.records_at + places.records * places.record_bytes
    found = np.zeros(plan.each, dtype=np.int64)
    for message in ring[:, begin:end]:
        records, _, units = decode(message.tobytes())
        found[units.astype(np.int64) - 1] = records["solar_w"].astype(np.int64) + records["load_w"]
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Running:
    """A peer's process."""

    process: subprocess.Popen[str]
    input: IO[str]
    output: IO[str]
    errors: Path

    def complaint(self) -> str:
        """Return the last that it complained."""
        return last_complaint(self.errors.read_text(encoding="utf-8", errors="replace"), self.process.poll())

    def end(self) -> None:
        """Let it end by itself, for a while."""
        self.input.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_END_S)


@contextlib.contextmanager
def _running(peer: Peer, python: Path, directory: Path) -> Iterator[_Running]:
    """Run a peer's process; it and all that it started are gone afterwards."""
    complaint = directory / f"{peer.module}.txt"
    with (
        complaint.open("w", encoding="utf-8") as errors,
        subprocess.Popen(
            [str(python), str(SCRIPTS / "follow.py"), peer.module],
            env=clean_environment(RAY_TMPDIR=str(directory)),  # Ray would leave its sessions behind
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        try:
            if process.stdin is None or process.stdout is None:
                raise RuntimeError("a process without the pipes that it was given")
            yield _Running(process=process, input=process.stdin, output=process.stdout, errors=complaint)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
