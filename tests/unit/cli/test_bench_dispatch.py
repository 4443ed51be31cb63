"""`shoal bench dispatch`: every case runs, and a peer that is not installed is left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from shoal.cli.bench import benchmarks


def test_quick_run_has_a_median_and_a_percentile_for_each_case(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    bench = benchmarks()["dispatch"]
    rows = bench.run(None, True)
    assert {row.case for row in rows} == set(bench.cases)
    for case in bench.cases:
        sizes = [row.size for row in rows if row.case == case]
        assert any("p50" in size for size in sizes)
        assert any("p99" in size for size in sizes)
    assert all(row.value > 0.0 for row in rows)
    assert all(row.peer is None for row in rows)
    assert "osqp 1.1.3 is left out: it is not installed" in capsys.readouterr().err
