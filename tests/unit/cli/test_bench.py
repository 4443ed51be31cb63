"""The benchmark registry: the object that is printed, and what the ratio means."""

from __future__ import annotations

import json
import sys
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from shoal.cli import bench, main
from shoal.cli.bench import Benchmark, Result


@pytest.mark.parametrize(
    ("better", "value", "peer_value", "ratio"),
    [
        ("higher", 10.0, 5.0, 2.0),
        ("lower", 5.0, 10.0, 2.0),
        ("lower", 10.0, 5.0, 0.5),
        ("higher", 1.0, None, None),
    ],
)
def test_ratio_above_one_is_ahead(
    better: Any, value: float, peer_value: float | None, ratio: float | None
) -> None:
    result = Result(case="c", size="s", value=value, unit="s", better=better, peer="p", peer_value=peer_value)
    assert result.ratio == ratio


def test_printed_object_has_the_agreed_shape(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(case: str | None, quick: bool) -> list[Result]:
        return [Result(case=case or "all", size="1", value=float(quick), unit="s", better="lower")]

    mine = Benchmark(name="mine", about="", cases=("a",), run=run)
    monkeypatch.setattr(bench, "benchmarks", lambda: {"mine": mine})
    with pytest.raises(SystemExit):
        main.run(["bench", "mine", "--case", "a", "--quick", "--json"])
    content = json.loads(capsys.readouterr().out)
    assert content.keys() == {"bench", "machine", "results"}
    assert content["machine"].keys() >= {"cpu", "cores", "memory_gib", "python"}
    assert content["results"] == [
        {
            "case": "a", "size": "1", "value": 1.0, "unit": "s", "better": "lower",
            "peer": None, "peer_value": None, "ratio": None,
        }
    ]  # fmt: skip
    with pytest.raises(SystemExit):
        main.run(["bench", "mine"])
    assert "all" in capsys.readouterr().out


def test_list_names_every_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.run(["bench", "--json"])
    listed = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert listed.keys() == bench.benchmarks().keys()
    assert listed["loop"]["cases"] == ["homes-500-3d", "homes-50-6h"]


def test_loop_runs_the_demonstration_and_divides_by_wall_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def run_headless(**arguments: Any) -> dict[str, Any]:
        asked.update(arguments)
        assert arguments["data_dir"].is_dir()
        return {}

    demo = ModuleType("shoal.cli.demo")
    demo.run_headless = run_headless  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "shoal.cli.demo", demo)
    (row,) = bench.measure("loop", None, quick=True)["results"]
    assert (row["case"], row["unit"], row["better"]) == ("homes-50-6h", "sim_h/s", "higher")
    assert row["value"] > 6.0
    assert (asked["sites"], asked["duration_s"], asked["from_day"]) == (50, 21_600, date(2021, 2, 10))
    assert isinstance(asked["data_dir"], Path)
    assert not asked["data_dir"].exists()
