"""The same job by Shoal and by its peers: hold the newest value of every device, and have the sum of every group at the end.

The largest sequence number wins, repeats do not count. Each gets the same updates, as the objects that suit it, made
beforehand; every answer is checked against `group_sums_w`.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.cli.bench import Result
from shoal.cli.benches._peers import Absent, Peer, PeerRun, prepare, run_peer
from shoal.cli.benches._timing import Timing, timed
from shoal.cli.benches._twin_inputs import GRID, Arguments, group_sums_w, make_fleet, make_updates, samples_of
from shoal.domain.interval import NS_PER_HOUR
from shoal.twin.aggregate import Timeouts, sum_twins
from shoal.twin.columns import Twins
from shoal.twin.layout import Layout
from shoal.twin.silence_default import built_in_table

GROUPS: Final = 64
BATCH: Final = 32_768
"""Records that are applied at once, as when a shard reads its journal and is busy."""
_QUICK_DEVICES: Final = 1_000
_QUICK_ROUNDS: Final = 5
_FOREVER: Final = Timeouts.alike(fresh_ns=NS_PER_HOUR, unknown_ns=NS_PER_HOUR)


def apply_all(twins: Twins, samples: Arguments) -> int:
    """Apply samples a batch at a time; return how many were taken."""
    taken = 0
    for start in range(0, len(samples.rows), BATCH):
        taken += twins.apply(*samples.part(start, start + BATCH)).new
    return taken


def shoal_sums_w(updates: NDArray[Any], devices: int, groups: int) -> NDArray[np.int64]:
    """Return the sums by Shoal; a device's group is its number modulo `groups`."""
    return _take_and_sum(Twins(devices), samples_of(updates), _layout(devices, groups))


def apply_beside(peer: Peer, quick: bool) -> Result:
    """Return updates a second of Shoal and of a peer, until the sums are right."""
    devices, rounds = size_of(peer, quick)
    count = len(_updates(devices, rounds))
    own, other = _shoal_run(devices, rounds), _peer_run(peer, quick)
    about = f"{devices:,} devices, {count:,} updates until {GROUPS} sums are right; {peer.about}"
    if isinstance(other, Absent):
        about, peer_value = f"{about}; absent: {other.reason}", None
    else:
        least_s, most_s = other.spread_s
        about = f"{about}: {count / most_s:.3g} to {count / least_s:.3g}"
        peer_value = count / other.took_s
    return Result(
        case="apply",
        size=about,
        value=count / own.took_s,
        unit="updates/s",
        better="higher",
        peer=peer.label,
        peer_value=peer_value,
    )


def bytes_beside(peer: Peer, quick: bool, bytes_each: float) -> Result:
    """Return bytes a twin beside what a peer's process grew by a device, its input not counted."""
    devices, _ = size_of(peer, quick)
    other = _peer_run(peer, quick)
    about = f"{devices:,} devices; growth of the peer's process without its input: {peer.about}"
    return Result(
        case="bytes",
        size=f"{about}; absent: {other.reason}" if isinstance(other, Absent) else about,
        value=bytes_each,
        unit="bytes/twin",
        better="lower",
        peer=peer.label,
        peer_value=None if isinstance(other, Absent) else other.memory_bytes / devices,
    )


def size_of(peer: Peer, quick: bool) -> tuple[int, int]:
    """Return how many devices a peer gets, and how many updates each."""
    return (min(peer.devices, _QUICK_DEVICES), _QUICK_ROUNDS) if quick else (peer.devices, peer.rounds)


@cache
def _updates(devices: int, rounds: int) -> NDArray[Any]:
    return make_updates(devices, rounds)


def _layout(devices: int, groups: int) -> Layout:
    fleet = make_fleet(devices, branches=(1, groups))
    leaf = (1 + np.arange(devices) % groups).astype(np.int32)
    return Layout.of(replace(fleet, leaf_group={GRID: leaf}))


def _take_and_sum(twins: Twins, samples: Arguments, layout: Layout) -> NDArray[np.int64]:
    apply_all(twins, samples)
    now_ns = int(samples.arrival_ns.max(initial=0))
    sums = sum_twins(twins.rows, layout, built_in_table().effective(), now_ns=now_ns, timeouts=_FOREVER)
    return sums.column("power_w_load")[1:]


@cache
def _shoal_run(devices: int, rounds: int) -> Timing:
    """Time Shoal.

    Raises:
        RuntimeError: when its sums are wrong.
    """
    updates = _updates(devices, rounds)
    samples, layout = samples_of(updates), _layout(devices, GROUPS)
    if (_take_and_sum(Twins(devices), samples, layout) != group_sums_w(updates, GROUPS)).any():
        raise RuntimeError("the twins' sums are wrong")
    return timed(lambda twins: _take_and_sum(twins, samples, layout), ready=lambda: Twins(devices))


@cache
def _peer_run(peer: Peer, quick: bool) -> PeerRun | Absent:
    """Run a peer once for all cases; one whose sums are wrong is absent."""
    devices, rounds = size_of(peer, quick)
    python = prepare(peer, install=not quick)
    if isinstance(python, Absent):
        return python
    updates = _updates(devices, rounds)
    with tempfile.TemporaryDirectory(prefix="shoal-bench-", ignore_cleanup_errors=True) as directory:
        stream = Path(directory) / "stream"
        updates.tofile(stream)
        outcome = run_peer(peer, python, stream, devices=devices, groups=GROUPS, repeats=1 if quick else 3)
    if isinstance(outcome, PeerRun) and outcome.sums_w != tuple(group_sums_w(updates, GROUPS).tolist()):
        return Absent("its sums are wrong")
    return outcome
