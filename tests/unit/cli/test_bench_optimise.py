"""The benchmark of the optimiser: every case has its rows, objectives are compared, and who is absent is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shoal.cli.benches import _optimise_peers, _optimise_storage, optimise
from shoal.cli.benches._optimise_instances import day
from shoal.cli.benches._optimise_peers import PEERS, PeerAnswers, as_object
from shoal.cli.benches._peers import Absent, Peer


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr(_optimise_storage, "_MEASURED_S", 0.01)
    _optimise_peers._prepared.cache_clear()


def test_day_has_a_row_for_every_peer_and_says_who_is_absent() -> None:
    rows = optimise.run("storage_t96", True)
    assert [row.peer for row in rows] == ["highspy", "highspy-warm", *(peer.module for peer in PEERS)]
    cold, warm, *apart = rows
    assert cold.peer_value is not None
    assert warm.peer_value is not None
    assert "objectives differ by at most" in cold.size
    assert all(row.peer_value is None and "absent: it is not installed" in row.size for row in apart)
    assert len({row.value for row in rows}) == 1


@pytest.mark.parametrize("case", ["storage_t288", "storage_long", "xor", "storage_batch_100k_t96"])
def test_quick_case_measures_something(case: str) -> None:
    rows = optimise.run(case, True)
    assert rows
    assert all(row.case == case and row.value > 0.0 for row in rows)


def test_exactness_compares_with_highs() -> None:
    (row,) = optimise.run("exactness", True)
    assert 0.0 <= row.value <= 1e-9
    assert "with budgets" in row.size


def test_peer_in_its_environment_answers_or_is_absent_with_its_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    days = [day(96, 0)]
    right = _optimise_storage.solve(days[0]).value

    def answers(wrong_by: float) -> PeerAnswers:
        return PeerAnswers(took_s=np.array([2.0]), values=np.array([right * (1.0 + wrong_by)]))

    def ask(peer: Peer, days: object, *, install: bool) -> PeerAnswers | Absent:
        return {"linopy": answers(0.0), "pypsa": answers(0.01)}.get(peer.module, Absent("it rains"))

    monkeypatch.setattr(_optimise_storage, "ask_peer", ask)
    by_peer = {row.peer: row for row in optimise.run("storage_t96", True)}
    assert by_peer["linopy"].peer_value == 2e6
    assert by_peer["linopy"].ratio == pytest.approx(2e6 / by_peer["linopy"].value)
    assert by_peer["pypsa"].peer_value is None
    assert "differs by 0.01" in by_peer["pypsa"].size
    assert "it rains" in by_peer["emhass"].size


def test_highs_that_finds_another_objective_stops_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        _optimise_storage, "_highs_cold", lambda days, **_: ([1.0] * len(days), [0.0] * len(days))
    )
    with pytest.raises(RuntimeError, match="differs"):
        optimise.run("storage_long", True)


def test_day_of_a_peer_is_told_in_plain_numbers() -> None:
    told = as_object(day(96, 3))
    prices, low, high = told["price_per_mwh"], told["energy_min_kwh"], told["energy_max_kwh"]
    assert isinstance(prices, list)
    assert isinstance(low, list)
    assert isinstance(high, list)
    assert len(prices) == len(low) == len(high) == 96
    assert low[-1] == high[-1] == told["initial_energy_kwh"]
