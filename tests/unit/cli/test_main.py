"""The command line as a user meets it: one clear line for every fault, JSON when asked, and a fast start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import shoal
from shoal.cli import main
from shoal.runtime.settings import all_keys


@pytest.fixture(autouse=True)
def somewhere_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def shoal_command(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main.run(arguments)
    code = caught.value.code
    return 0 if code is None else int(code)


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert shoal_command("--version") == 0
    assert capsys.readouterr().out == f"shoal {shoal.__version__}\n"


def test_start_imports_nothing_heavy() -> None:
    source = (
        "import sys, shoal.cli.main\n"
        "heavy = {'numpy', 'numba', 'sqlalchemy', 'fastapi', 'nats', 'dbos', 'duckdb', 'pyarrow', 'rich', 'httpx'}\n"
        "sys.exit(' '.join(sorted(heavy & set(sys.modules))) or 0)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(shoal.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", source], env=env, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_config_show_tells_value_and_source(capsys: pytest.CaptureFixture[str]) -> None:
    Path("shoal.toml").write_text("[api]\ntoken = 'hush'\nport = 7000\n")
    assert shoal_command("config", "show", "--set", "telemetry.shards=4") == 0
    lines = {line.split()[0]: line.split(maxsplit=1)[1] for line in capsys.readouterr().out.splitlines()}
    assert lines["telemetry.shards"].split() == ["4", "(flag)"]
    assert lines["api.port"].split() == ["7000", "(shoal.toml)"]
    assert lines["api.token"].split() == ["***", "(shoal.toml)"]
    assert lines.keys() == {declared.name for declared in all_keys()}


def test_config_show_json_has_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert shoal_command("config", "show", "--json", "--set", "api.token=hush") == 0
    out = capsys.readouterr().out
    content: dict[str, Any] = json.loads(out)
    assert content.keys() == {declared.name for declared in all_keys()}
    assert content["api.token"]["value"] == "***"
    assert content["control.step_s"]["unit"] == "s"
    assert "hush" not in out


def test_config_check_accepts_and_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = Path("good.toml"), Path("bad.toml")
    good.write_text("[api]\nport = 7000\n")
    bad.write_text("[api]\nprot = 7000\n")
    assert shoal_command("config", "check", str(good)) == 0
    assert capsys.readouterr().out == "good.toml: 1 key, all well\n"
    assert shoal_command("config", "check", str(bad)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "api.prot" in captured.err
    assert "bad.toml" in captured.err
    assert "api.port" in captured.err


def test_config_docs_is_markdown_of_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert shoal_command("config", "docs") == 0
    out = capsys.readouterr().out
    assert all(f"`{declared.name}`" in out for declared in all_keys())


@pytest.mark.parametrize(
    ("arguments", "kind", "part"),
    [
        (("config", "show", "--set", "api.port=x"), "SettingsError", "api.port"),
        (("config", "show", "--set", "api.port"), "SettingsError", "KEY=VALUE"),
        (("config", "show", "--config", "none.toml"), "SettingsError", "none.toml"),
        (("bench", "nope"), "InvalidInputError", "loop"),
        (("bench", "loop", "--case", "nope"), "InvalidInputError", "homes-50-6h"),
        (("bogus",), "UsageError", "bogus"),
        (("doctor", "--bogus"), "UsageError", "--bogus"),
    ],
)
def test_fault_is_one_line_or_one_object(
    arguments: tuple[str, ...], kind: str, part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shoal_command(*arguments) == 2
    plain = capsys.readouterr()
    assert part in plain.err
    assert "Traceback" not in plain.err
    assert plain.out == ""
    if kind != "UsageError":
        assert plain.err.count("\n") == 1
    assert shoal_command(*arguments, "--json") == 2
    told = json.loads(capsys.readouterr().err)
    assert told["error"] == kind
    assert part in told["detail"]


def test_script_entry_point_is_declared() -> None:
    project = Path(__file__).parents[3] / "pyproject.toml"
    assert tomllib.loads(project.read_text())["project"]["scripts"]["shoal"] == "shoal.cli.entry:run"
