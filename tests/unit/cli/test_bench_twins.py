"""The benchmark of the twins: its answer to expect is right, peers run apart, and who is absent is named with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shoal.cli.benches import _peers, _twin_peers, twins
from shoal.cli.benches._peers import PEERS, Absent, Peer, PeerRun, prepare, run_peer
from shoal.cli.benches._timing import timed
from shoal.cli.benches._twin_inputs import (
    START_NS,
    STEP_NS,
    UPDATE,
    disturb,
    group_sums_w,
    make_fleet,
    make_samples,
    make_updates,
)
from shoal.cli.benches._twin_peers import apply_all, apply_beside, shoal_sums_w
from shoal.twin.columns import Twins
from shoal.twin.layout import Layout

ASYNCIO = PEERS[0]
NOWHERE = Peer(name="nowhere", module="none", pins=("shoal-no-such-peer==0",), about="", devices=10, rounds=2)


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    _twin_peers._peer_run.cache_clear()


def sums_one_by_one(updates: NDArray[Any], groups: int) -> list[int]:
    """Return the sums by the book: a dictionary, one update after the other."""
    newest: dict[int, tuple[int, int]] = {}
    for device, power_w, _, _, seq in updates.tolist():
        if seq > newest.get(device, (0, 0))[0]:
            newest[device] = (seq, power_w)
    sums_w = [0] * groups
    for device, (_, power_w) in newest.items():
        sums_w[device % groups] += power_w
    return sums_w


@st.composite
def streams(draw: st.DrawFn) -> NDArray[Any]:
    """Updates of some devices in any order, with holes and repeats; what is repeated is the same."""
    powers = np.random.default_rng(draw(st.integers(0, 9))).integers(0, 9_000, (6, 33))
    pairs = draw(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 32)), max_size=80))
    updates = np.zeros(len(pairs), dtype=UPDATE)
    for at, (device, seq) in enumerate(pairs):
        updates[at] = (device, powers[device, seq], 500_000, START_NS + seq * STEP_NS, seq)
    return updates


@settings(max_examples=200, deadline=None)
@given(streams(), st.integers(1, 8))
def test_expected_sums_are_those_of_a_dictionary_and_those_of_the_twins(
    updates: NDArray[Any], groups: int
) -> None:
    expected_w = sums_one_by_one(updates, groups)
    assert group_sums_w(updates, groups).tolist() == expected_w
    assert shoal_sums_w(updates, 6, groups).tolist() == expected_w


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 300), st.integers(1, 12), st.integers(0, 1_000))
def test_streams_for_peers_have_one_answer(devices: int, rounds: int, seed: int) -> None:
    updates = make_updates(devices, rounds, seed=seed)
    expected_w = sums_one_by_one(updates, 7)
    assert group_sums_w(updates, 7).tolist() == expected_w
    assert shoal_sums_w(updates, devices, 7).tolist() == expected_w
    assert {(d, s) for d, s in zip(updates["device"].tolist(), updates["seq"].tolist(), strict=True)} == {
        (d, s) for d in range(devices) for s in range(1, rounds + 1)
    }


def test_streams_for_peers_hold_late_and_repeated_updates() -> None:
    updates = make_updates(1_000, 10)
    seen: set[tuple[int, int]] = set()
    newest: dict[int, int] = {}
    repeated = late = 0
    for device, seq in zip(updates["device"].tolist(), updates["seq"].tolist(), strict=True):
        repeated += (device, seq) in seen
        late += (device, seq) not in seen and seq < newest.get(device, 0)
        seen.add((device, seq))
        newest[device] = max(seq, newest.get(device, 0))
    assert repeated == 100
    assert 20 <= late <= 100


def test_ordinary_samples_are_all_taken_and_unremarkable() -> None:
    fleet = make_fleet(500)
    samples = make_samples(fleet, 6)
    applied = Twins(500, layout=Layout.of(fleet)).apply(*samples)
    assert applied.new == 3_000
    assert set(applied.flagged().values()) == {0}


def test_disturbed_samples_lose_repeat_and_delay_some() -> None:
    fleet = make_fleet(2_000)
    disturbed = disturb(make_samples(fleet, 11).part(2_000, 22_000), 2_000)
    held = Twins(2_000, layout=Layout.of(fleet))
    held.apply(*make_samples(fleet, 1))
    taken = apply_all(held, disturbed)
    assert 19_600 < taken < 19_950
    assert len(disturbed.rows) - taken > 100


def test_timing_takes_the_median_after_a_warm_up() -> None:
    calls: list[int] = []
    timing = timed(calls.append, ready=lambda: len(calls), repeats=3)
    assert calls == [0, 1, 2, 3]
    assert 0 < timing.least_s <= timing.took_s <= timing.most_s


def test_peer_runs_in_its_own_environment_and_gives_the_right_sums(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    python = prepare(ASYNCIO, install=False)
    assert isinstance(python, Path)
    assert python.is_relative_to(tmp_path / "cache" / "shoal" / "peers" / "asyncio")
    made = python.parent.stat().st_mtime_ns
    assert prepare(ASYNCIO, install=False) == python
    assert python.parent.stat().st_mtime_ns == made
    updates = make_updates(50, 20)
    updates.tofile(tmp_path / "stream")
    outcome = run_peer(ASYNCIO, python, tmp_path / "stream", devices=50, groups=8, repeats=2)
    assert isinstance(outcome, PeerRun)
    assert outcome.sums_w == tuple(sums_one_by_one(updates, 8))
    assert 0 < outcome.spread_s[0] <= outcome.took_s <= outcome.spread_s[1]


def test_peer_that_cannot_be_installed_is_absent_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(NOWHERE, install=False) == Absent("it is not installed; a run without --quick installs it")
    assert capsys.readouterr().err == ""
    absent = prepare(NOWHERE, install=True)
    assert isinstance(absent, Absent)
    assert "cannot be installed" in absent.reason
    assert "No matching distribution found for shoal-no-such-peer" in absent.reason
    assert "setting up shoal-no-such-peer 0" in capsys.readouterr().err
    assert isinstance(prepare(NOWHERE, install=False), Absent)


def test_peer_that_fails_or_hangs_is_absent_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = prepare(ASYNCIO, install=False)
    assert isinstance(python, Path)
    make_updates(50, 20).tofile(tmp_path / "stream")
    failed = run_peer(NOWHERE, python, tmp_path / "stream", devices=50, groups=8, repeats=1)
    assert failed == Absent("it did not finish: ModuleNotFoundError: No module named 'none'")
    monkeypatch.setattr(_peers, "_RUN_TIMEOUT_S", 0.01)
    hung = run_peer(ASYNCIO, python, tmp_path / "stream", devices=50, groups=8, repeats=1)
    assert hung == Absent("it did not finish: it took more than 0 s")


def test_peer_with_wrong_sums_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = PeerRun(took_s=1.0, spread_s=(1.0, 1.0), memory_bytes=1, sums_w=(0,) * _twin_peers.GROUPS)
    monkeypatch.setattr(_twin_peers, "run_peer", lambda *_, **__: wrong)
    row = apply_beside(ASYNCIO, True)
    assert row.peer_value is None
    assert row.ratio is None
    assert row.size.endswith("absent: its sums are wrong")


def test_quick_run_installs_nothing_and_names_who_is_absent(tmp_path: Path) -> None:
    rows = twins.run(None, True)
    assert {row.case for row in rows} == set(twins.BENCHMARK.cases)
    assert all(row.value > 0 for row in rows)
    beside = {row.peer: row for row in rows if row.peer is not None}
    assert beside.keys() == {peer.label for peer in PEERS}
    assert beside["asyncio"].peer_value is not None
    assert all("absent: it is not installed" in beside[peer.label].size for peer in PEERS[1:])
    assert [entry.name for entry in (tmp_path / "cache" / "shoal" / "peers").iterdir()] == ["asyncio"]
