"""`shoal bench forecast`: where it finds its data, and its rows on the real market for a few days."""

from __future__ import annotations

from pathlib import Path

import pytest

from shoal.cli.benches.forecast import BENCHMARK, data_folder, run
from shoal.domain.errors import InvalidInputError

SHARED = Path(__file__).parents[4] / "shared/data"


def test_data_that_is_nowhere_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_DATA", str(tmp_path))
    with pytest.raises(InvalidInputError, match=r"epf_benchmark\.parquet"):
        data_folder()


def test_cases_are_the_five_markets() -> None:
    assert BENCHMARK.cases == ("epf_np", "epf_pjm", "epf_be", "epf_fr", "epf_de")


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="the prices are not beside the checkout")
def test_quick_run_has_a_row_for_each_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_DATA", str(SHARED))
    rows = run("epf_np", True)
    errors = {row.peer: row for row in rows if row.unit.startswith("MAE")}
    assert set(errors) == {"naive", "dnn", "lear"}
    assert errors["naive"].value < (errors["naive"].peer_value or 0.0)
    assert all(row.value > 0.0 for row in rows if row.unit.endswith("one core"))
