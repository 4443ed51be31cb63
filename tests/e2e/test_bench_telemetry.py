"""The benchmark of the telemetry path, in small: it runs real processes, and loses nothing."""

from __future__ import annotations

import pytest

from shoal.cli.bench import measure


@pytest.mark.alone
@pytest.mark.parametrize("case", ["ingest_k1", "ingest_k25"])
def test_bench_ingest_accounts_for_every_sample(case: str) -> None:
    rows = measure("telemetry", case, quick=True)["results"]
    results = [row for row in rows if row["peer"] is None]
    rate, missing, p50, p99 = (row["value"] for row in results)
    assert {row["case"] for row in rows} == {case}
    assert [row["unit"] for row in results] == ["samples/s", "samples", "ms", "ms"]
    beside = [row for row in rows if row["peer"] is not None]
    assert len(beside) == 5
    assert all(row["value"] == rate and (row["peer_value"] or "absent" in row["size"]) for row in beside)
    assert rate > 0
    assert missing == 0
    assert 0 < p50 <= p99
