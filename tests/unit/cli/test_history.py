"""`shoal history`: answers in every form, exports of any size, and shape on demand."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from shoal.cli.main import run
from shoal.store.history_folder import LocalFolder
from tests.unit.store.history_cases import register, write_minutes


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    folder = LocalFolder(tmp_path / "data" / "history")
    for _ in range(3):
        asyncio.run(write_minutes(folder, register(tmp_path), minutes=30))
    return tmp_path / "data"


def _run(capsys: pytest.CaptureFixture[str], data_dir: Path, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        run(["history", *arguments, "--set", f"data_dir={data_dir}"])
    told = capsys.readouterr()
    return int(left.value.code or 0), told.out, told.err


def test_query_prints_columns_json_and_csv(capsys: pytest.CaptureFixture[str], data_dir: Path) -> None:
    sql = "SELECT hour, count(*) AS n FROM telemetry GROUP BY 1 ORDER BY 1"
    code, out, _ = _run(capsys, data_dir, "query", sql)
    assert (code, out.split()) == (0, ["hour", "n", "2021-02-10T06", "180", "2021-02-10T07", "90"])
    _, out, _ = _run(capsys, data_dir, "query", sql, "--json")
    assert json.loads(out)["rows"] == [
        {"hour": "2021-02-10T06", "n": 180},
        {"hour": "2021-02-10T07", "n": 90},
    ]
    _, out, _ = _run(capsys, data_dir, "query", sql, "--json", "--from", "2021-02-10T07:00Z")
    assert json.loads(out)["rows"] == [{"hour": "2021-02-10T07", "n": 90}]
    _, out, _ = _run(capsys, data_dir, "query", sql, "--json", "--to", "2021-02-10T07:00:00")
    assert json.loads(out)["rows"] == [{"hour": "2021-02-10T06", "n": 180}]


def test_query_writes_parquet_and_tells_how_much(
    capsys: pytest.CaptureFixture[str], data_dir: Path, tmp_path: Path
) -> None:
    file = tmp_path / "answer.parquet"
    code, out, _ = _run(capsys, data_dir, "query", "SELECT * FROM telemetry", "--parquet", str(file))
    assert (code, out.strip()) == (0, f"{file}: 270 rows")
    assert pq.read_table(file).num_rows == 270


def test_export_names_a_span_and_a_tier(
    capsys: pytest.CaptureFixture[str], data_dir: Path, tmp_path: Path
) -> None:
    file = tmp_path / "export.csv"
    span = ("--from", "2021-02-10T06:10", "--to", "2021-02-10T06:20")
    assert _run(capsys, data_dir, "export", str(file), *span)[1].strip() == f"{file}: 30 rows"
    head, *rows = file.read_text().splitlines()
    assert (head.split(",")[:3], len(rows)) == (['"site_id"', '"site_no"', '"ts_ns"'], 30)
    assert _run(capsys, data_dir, "compact")[0] == 0
    file = tmp_path / "export.parquet"
    assert _run(capsys, data_dir, "export", str(file), "--tier", "rollup_1h")[1].strip() == f"{file}: 6 rows"


def test_compact_and_status_say_what_was_done_and_what_is_there(
    capsys: pytest.CaptureFixture[str], data_dir: Path
) -> None:
    _, out, _ = _run(capsys, data_dir, "status", "--json")
    before = json.loads(out)
    assert (before["parts"], before["positions"]) == (2, {"history": 90})
    _, out, _ = _run(capsys, data_dir, "compact", "--json", "--grace", "0")
    done = json.loads(out)
    assert (done["merged_hours"], done["rolled_hours"], done["expired"]) == (1, 2, 0)
    code, out, _ = _run(capsys, data_dir, "status")
    assert code == 0 and "rollup_5min" in out and "position 90" in out


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("query", "DROP TABLE x"), "sql"),
        (("query", "SELECT 1", "--from", "yesterday"), "--from"),
        (("export", "x.txt"), "FILE"),
        (("export", "x.csv", "--tier", "days"), "--tier"),
        (("status", "--set", "history.url=nosuchkind://x"), "history.url"),
        (("status", "--set", "history.rollup_5min_days=10"), "history.rollup_5min_days"),
    ],
)
def test_bad_input_is_named(
    capsys: pytest.CaptureFixture[str], data_dir: Path, arguments: tuple[str, ...], field: str
) -> None:
    code, _, err = _run(capsys, data_dir, *arguments)
    assert code == 2
    assert field in err and "Traceback" not in err


def test_delta_is_chosen_by_the_settings(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("deltalake")
    code, out, _ = _run(
        capsys,
        tmp_path,
        "query",
        "SELECT count(*) AS n FROM telemetry",
        "--json",
        "--set",
        "history.format=delta",
    )
    assert (code, json.loads(out)["rows"]) == (0, [{"n": 0}])
