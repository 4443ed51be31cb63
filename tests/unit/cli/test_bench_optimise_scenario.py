"""The benchmark of the scenario programme compares the objectives of both before it says how long they took."""

from __future__ import annotations

import pytest

from shoal.cli.benches import _optimise_scenario as bench
from shoal.domain.errors import CorruptStateError


def test_quick_run_compares_with_highs() -> None:
    (result,) = bench.run(quick=True)
    assert (result.case, result.unit, result.better, result.peer) == (
        "scenario_s200_as",
        "ms",
        "lower",
        "highspy",
    )
    assert result.value > 0.0
    assert result.peer_value is not None
    assert result.peer_value > 0.0
    assert "20 scenarios, 24 h, 5 reserves, CVaR" in result.size


def test_run_fails_when_the_optimum_is_outside_what_was_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bench.whole_programme

    def richer(*args: object, **options: object) -> bench.Whole:
        found = whole(*args, **options)  # type: ignore[arg-type]
        return bench.Whole(value=1.01 * found.value, reserve_kw=found.reserve_kw, took_s=found.took_s)

    monkeypatch.setattr(bench, "whole_programme", richer)
    with pytest.raises(CorruptStateError, match="is not between"):
        bench.run(quick=True)
