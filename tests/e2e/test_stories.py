"""The stories as a person runs them: by the command, judged by their own checks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

pytestmark = pytest.mark.slow


# The smallest plants for which each story is one: so many homes, so long.
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("emergency", ["--sites", "24"]),
        ("cut", ["--sites", "40", "--for", "16h"]),
        ("regulation", ["--sites", "24", "--for", "1h"]),
        ("peak", ["--sites", "20", "--for", "21h"]),
        ("battery", ["--for", "1d"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_story_ends_well(name: str, options: list[str], tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "shoal.cli.main",
        "demo",
        "--scenario",
        name,
        "--speed",
        "max",
        "--headless",
    ]
    ended = subprocess.run(
        [*command, *options, "--data-dir", str(tmp_path), "--json"],
        capture_output=True,
        timeout=600,
        check=False,
    )
    told = msgspec.json.decode(ended.stdout)["story"]
    assert [check for check in told["checks"] if not check["passed"]] == []
    assert (told["name"], told["passed"], ended.returncode) == (name, True, 0)
