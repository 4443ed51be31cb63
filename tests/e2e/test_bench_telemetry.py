"""The benchmark of the telemetry path, in small: it runs real processes, and loses nothing."""

from __future__ import annotations

import pytest

from shoal.cli.bench import measure


@pytest.mark.parametrize("case", ["ingest_k1", "ingest_k25"])
def test_bench_ingest_accounts_for_every_sample(case: str) -> None:
    results = measure("telemetry", case, quick=True)["results"]
    rate, missing, p50, p99 = (row["value"] for row in results)
    assert {row["case"] for row in results} == {case}
    assert [row["unit"] for row in results] == ["samples/s", "samples", "ms", "ms"]
    assert rate > 0
    assert missing == 0
    assert 0 < p50 <= p99
