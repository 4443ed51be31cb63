"""The benchmark of silent sites runs everywhere: without measured data, on what comes with the package."""

from __future__ import annotations

from pathlib import Path

import pytest

from shoal.cli.benches import uncertainty


def test_uncertainty_scores_every_treatment_on_packaged_profiles(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    small = uncertainty._Size(sites=200, weeks=1, scored_weeks=1, every_steps=48)
    monkeypatch.setattr(uncertainty, "_QUICK", small)
    monkeypatch.chdir(tmp_path)
    rows = uncertainty.run(None, True)
    assert all("SimBench" in row.size and "measured" not in row.size for row in rows)
    by_case = {(row.case, row.peer): row for row in rows}
    assert 0.7 < by_case["coverage_90", "dropped"].value <= 1.0
    other = by_case["coverage_90", "dropped"].peer_value
    assert other is not None
    assert other < 0.6
    assert by_case["pinball", "dropped"].value < (by_case["pinball", "dropped"].peer_value or 0.0)
    assert by_case["firm_miss_05", "built-in"].value <= by_case["firm_miss_10", "built-in"].value
    assert {"coverage_90_root_200", "coverage_90_silent_30pct", "coverage_90_grid_w"} <= {
        row.case for row in rows
    }
